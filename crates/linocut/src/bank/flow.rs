//! Streams through the base: those of texts, and of the distances between tokens, which no text has to
//! itself; and what a fork makes of both.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::batch::{Fork, Streams};
use super::task::Task;
use crate::model::op::Rows;
use crate::model::program::Shape;

/// Streams of one place.
#[derive(Clone)]
pub(super) struct Flow {
    /// Of texts, a row a token.
    pub(super) tokens: Streams,
    /// Of distances, a row a group of them: one stream for all tasks that compute them alike.
    pub(super) distances: Streams,
}

/// Streams after a place where they may have forked.
pub(super) struct Forked {
    pub(super) after: Flow,
    tokens_before: Option<Before>,
    distances_before: Option<Before>,
}

/// Streams before a fork, and which one each came from.
type Before = (Streams, Vec<usize>);

impl Flow {
    /// The streams of values with such rows.
    pub(super) fn of(&self, rows: Rows) -> Cow<'_, Streams> {
        match rows {
            Rows::Tokens => self.tokens.of(false),
            Rows::Sequences => self.tokens.of(true),
            Rows::Distances(_) => Cow::Borrowed(&self.distances),
        }
    }

    /// The fork of texts at `parts`, and of distances at `of_distances`.
    pub(super) fn fork(
        self,
        parts: &[usize],
        of_distances: &[usize],
        tasks: &[Arc<Task>],
    ) -> Forked {
        let (tokens, tokens_before) = forked(self.tokens.fork(parts, tasks), self.tokens);
        let fork = self.distances.fork(of_distances, tasks);
        let (distances, distances_before) = forked(fork, self.distances);
        Forked { after: Flow { tokens, distances }, tokens_before, distances_before }
    }

    /// The streams of the tasks that `keep` keeps.
    pub(super) fn only(&self, keep: impl Fn(usize) -> bool) -> Forked {
        let (tokens, distances) = (self.tokens.only(&keep), self.distances.only(&keep));
        Forked {
            after: Flow { tokens: tokens.streams, distances: distances.streams },
            tokens_before: Some((self.tokens.clone(), tokens.from)),
            distances_before: Some((self.distances.clone(), distances.from)),
        }
    }

    /// The stream of distances of a task.
    fn stream_of_distances(&self, task: usize) -> usize {
        let holds = |stream: &super::batch::Stream| stream.tasks.contains(&task);
        self.distances.list.iter().position(holds).expect("every task has its distances")
    }

    /// The rows of a task's distances.
    pub(super) fn distances_of(&self, task: usize) -> Range<usize> {
        self.distances.range(self.stream_of_distances(task))
    }

    /// Adjacent texts whose tasks share distances, each with one of the tasks.
    pub(super) fn runs_of_distances(&self) -> Vec<(Range<usize>, usize)> {
        let mut runs: Vec<(Range<usize>, usize)> = vec![];
        let mut last = None;
        for (i, stream) in self.tokens.list.iter().enumerate() {
            let task = stream.tasks[0];
            let mine = Some(self.stream_of_distances(task));
            match runs.last_mut() {
                Some((run, _)) if last == mine => run.end = i + 1,
                _ => runs.push((i..i + 1, task)),
            }
            last = mine;
        }
        runs
    }
}

fn forked(fork: Option<Fork>, streams: Streams) -> (Streams, Option<Before>) {
    match fork {
        Some(Fork { streams: after, from }) => (after, Some((streams, from))),
        None => (streams, None),
    }
}

impl Forked {
    /// The streams before, of values with such rows, and which one each came from; `None` where they are
    /// those after.
    pub(super) fn before(&self, rows: Rows) -> Option<(Cow<'_, Streams>, &[usize])> {
        match rows {
            Rows::Distances(_) => {
                let (streams, from) = self.distances_before.as_ref()?;
                Some((Cow::Borrowed(streams), from))
            }
            Rows::Tokens | Rows::Sequences => {
                let (streams, from) = self.tokens_before.as_ref()?;
                Some((streams.of(rows == Rows::Sequences), from))
            }
        }
    }

    /// The streams of texts before.
    pub(super) fn tokens_before(&self) -> &Streams {
        self.tokens_before.as_ref().map_or(&self.after.tokens, |(before, _)| before)
    }

    /// `into` = the rows after the fork of a value that has the rows `x` before it.
    pub(super) fn copy(&self, shape: Shape, x: &[f32], into: &mut Vec<f32>) {
        into.clear();
        match self.before(shape.rows) {
            None => into.extend_from_slice(x),
            Some((before, from)) => {
                for &i in from {
                    let rows = before.range(i);
                    into.extend_from_slice(&x[rows.start * shape.width..rows.end * shape.width]);
                }
            }
        }
    }
}
