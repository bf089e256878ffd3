//! Products of a batch: the base's matrix over all rows that need it, then what each task does to it.

use std::ops::Range;
use std::sync::Arc;

use pulp::bytemuck;
use rayon::prelude::*;

use super::base::{self, Matrices, Matrix};
use super::batch::{Piece, Streams};
use super::forward::{Pass, fit};
use super::task::{Change, LowRank};
use crate::kernels::quantized::{Inputs, Quantized, Selected};
use crate::kernels::sparse::{self, LANES};
use crate::model::Part;

impl Pass<'_> {
    /// y = x·Wᵀ over the rows of `streams`, each with its task's own W of the part `number`. `x` has
    /// these rows, or those of the streams `before` a fork, with which of them each stream came from.
    pub(super) fn product(
        &self,
        number: usize,
        x: &[f32],
        (streams, before): (&Streams, Option<(&Streams, &[usize])>),
        y: &mut Vec<f32>,
        (shared, inputs): (&mut Vec<f32>, &mut Inputs),
    ) {
        let (part, of_base) = (self.view.part(number), self.view.of_base(number));
        let pieces = streams.pieces(number, self.tasks, before);
        let own = self.own_matrices(number, part, &pieces);
        let y = fit(y, streams.rows() * part.rows);
        if part.cols == 0 {
            return y.fill(0.0); // nothing is kept of X
        }
        let x_of = |rows: &Range<usize>| &x[rows.start * part.cols..rows.end * part.cols];
        let y_at = |rows: &Range<usize>| rows.start * part.rows..rows.end * part.rows;

        // The base's matrix, once for all rows that need it.
        let mut needed: Vec<Range<usize>> = pieces
            .iter()
            .zip(&own)
            .filter(|(_, own)| own.is_none())
            .map(|(p, _)| p.from.clone())
            .collect();
        needed.sort_by_key(|rows| rows.start);
        let joined = needed.into_iter().fold(Vec::<Range<usize>>::new(), |mut joined, rows| {
            match joined.last_mut() {
                Some(last) if rows.start <= last.end => last.end = last.end.max(rows.end),
                _ => joined.push(rows),
            }
            joined
        });
        let into = match before {
            Some((before, _)) => fit(shared, before.rows() * part.rows),
            None => &mut *y,
        };
        // In int8 what zeros take away is exact before the sums are scaled.
        let corrected = |(piece, own): (&Piece<'_>, &Option<_>)| {
            own.is_none() && matches!(piece.change.map(|c| &**c), Some(Change::Zeros(_)))
        };
        let sums = match self.matrices {
            Matrices::Int8(all) if pieces.iter().zip(&own).any(corrected) => Some(&all[&of_base]),
            _ => None,
        };
        if let Matrices::Int8(_) = self.matrices {
            inputs.quantise(x, part.cols);
        }
        for rows in joined {
            let into = &mut into[y_at(&rows)];
            match (self.matrices, sums) {
                (Matrices::F32(all), _) => match self.view.choice(number) {
                    Some(choice) => all[&of_base].multiply_some(choice, x_of(&rows), into),
                    None => all[&of_base].multiply(x_of(&rows), into),
                },
                (Matrices::Int8(all), None) => {
                    let w = &all[&of_base];
                    w.multiply_some(self.selected(number, w), inputs, rows, into);
                }
                (_, Some(w)) => {
                    let into = bytemuck::cast_slice_mut(into);
                    w.sums_of_some(self.selected(number, w), inputs, rows, into);
                }
            }
        }

        // Each task's own matrix, then what the base's had too much of.
        for (piece, own) in pieces.iter().zip(&own) {
            let y = &mut y[y_at(&piece.rows)];
            match own {
                Some(Own::Kept(w)) => base::multiply_by(w, part, x_of(&piece.from), y),
                Some(Own::Ready(w)) => match &**w {
                    Matrix::F32(w) => base::multiply_by(w, part, x_of(&piece.from), y),
                    Matrix::Int8(w) => w.multiply(inputs, piece.from.clone(), y),
                },
                Some(Own::Quantized(w)) => w.multiply(inputs, piece.from.clone(), y),
                None => {}
            }
        }
        let jobs = jobs(&pieces, &own, y, part.rows, before.is_some() || sums.is_some());
        let (w, taken) = (self.view.of_base_entries(number), self.view.taken(number));
        let room = || (sparse::Scratch::default(), Vec::new());
        jobs.into_par_iter().for_each_init(room, |(scratch, spare), job| {
            if before.is_some() {
                job.y.copy_from_slice(&shared[y_at(&job.from)]);
            }
            if let Some(w) = sums {
                if let Some(Change::Zeros(zeros)) = job.change {
                    let (rows, y) = (job.from.clone(), bytemuck::cast_slice_mut(job.y));
                    zeros.pattern.correct_sums(w, taken, inputs, rows, y, scratch);
                }
                self.selected(number, w).scale(inputs, job.from.clone(), job.y);
            }
            match job.change {
                Some(Change::Zeros(_)) if sums.is_some() => {}
                Some(Change::Zeros(zeros)) => {
                    if let Matrices::F32(all) = self.matrices {
                        let w = &all[&of_base];
                        zeros.pattern.correct(w, taken, x_of(&job.from), job.y, scratch);
                    }
                }
                Some(Change::Few(few)) => few.correct(w.0, part, x_of(&job.from), job.y),
                Some(Change::LowRank(all)) => {
                    for LowRank { row, thin } in all {
                        thin.add(x_of(&job.from), job.y, part.rows, *row, spare);
                    }
                }
                Some(Change::Whole(_) | Change::Quantized(_)) | None => {}
            }
        });
    }

    /// What a product with the base's `w` of a part takes of it.
    fn selected<'w>(&'w self, number: usize, w: &'w Quantized) -> &'w Selected {
        self.view.selected(number).unwrap_or(w.all())
    }

    /// For each piece the matrix it multiplies with, if that is not the base's.
    fn own_matrices<'p>(
        &self,
        number: usize,
        part: &Part,
        pieces: &[Piece<'p>],
    ) -> Vec<Option<Own<'p>>> {
        pieces
            .iter()
            .map(|piece| match piece.change.map(|change| (change, &**change)) {
                None | Some((_, Change::Few(_) | Change::LowRank(_))) => None,
                Some((_, Change::Whole(whole))) => Some(Own::Kept(whole)),
                Some((_, Change::Quantized(matrix))) => Some(Own::Quantized(matrix)),
                Some((change, Change::Zeros(_))) => {
                    let make = |zeros: &_| self.matrices.with_zeros(self.view, number, zeros);
                    self.planner.matrix(change, part, make, piece.rows.len()).map(Own::Ready)
                }
            })
            .collect()
    }
}

/// A task's own matrix.
enum Own<'a> {
    /// It was replaced.
    Kept(&'a [f32]),
    /// It is the base's with many zeros, kept ready.
    Ready(Arc<Matrix>),
    /// It was replaced, in int8.
    Quantized(&'a Quantized),
}

/// Rows of a product that one thread copies from before a fork, or puts right, or both.
struct Job<'a> {
    from: Range<usize>,
    y: &'a mut [f32],
    change: Option<&'a Change>,
}

/// The jobs of a product, of few enough rows for all threads to have some; with `all`, of pieces without a
/// change too.
fn jobs<'a>(
    pieces: &[Piece<'a>],
    own: &[Option<Own<'_>>],
    mut y: &'a mut [f32],
    width: usize,
    all: bool,
) -> Vec<Job<'a>> {
    let total: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
    let most = total.div_ceil(rayon::current_num_threads()).next_multiple_of(8).min(LANES);
    let mut jobs = Vec::new();
    for (piece, own) in pieces.iter().zip(own) {
        let (mut mine, rest) = std::mem::take(&mut y).split_at_mut(piece.rows.len() * width);
        y = rest;
        let change = piece.change.map(|change| &**change);
        if own.is_some() || change.is_none() && !all {
            continue;
        }
        let mut start = piece.from.start;
        while start < piece.from.end {
            let end = (start + most).min(piece.from.end);
            let (y, others) = mine.split_at_mut((end - start) * width);
            jobs.push(Job { from: start..end, y, change });
            (mine, start) = (others, end);
        }
    }
    jobs
}
