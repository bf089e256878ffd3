//! How each product is computed: with the base's matrix and put right after, or with a matrix of
//! the task's own, kept ready within a budget of memory.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use pulp::bytemuck;

use super::Dtype;
use super::base::{self, Matrix};
use super::task::{Change, Task, Zeros};
use super::view::{View, Views};
use crate::kernels::quantized::Inputs;
use crate::kernels::random::{normal, uniform};
use crate::kernels::sparse::{LANES, Scratch, WHOLE, ZeroPattern};
use crate::kernels::thin::Thin;
use crate::model::{Base, Part, Place};

/// What the parts of a product cost on this machine, in nanoseconds of one core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// A multiply-add of a product over many rows.
    pub dense: f64,
    /// An entry of a matrix that is read for a few rows of its own.
    pub own: f64,
    /// An entry of a matrix of the task's own, when it is made from the base's.
    pub make: f64,
    /// A zero, for each pass over up to 64 rows.
    pub zero: f64,
    /// A zero and row.
    pub zero_row: f64,
    /// An entry of X turned on its side, or of Y put right.
    pub turn: f64,
    /// A multiply-add of a product with narrow matrices.
    pub thin: f64,
}

/// A size of product: rows of X, and a matrix of so many entries, zeros, rows and columns.
#[derive(Debug, Clone, Copy)]
struct Size {
    rows: usize,
    outputs: usize,
    inputs: usize,
    zeros: usize,
}

impl Size {
    fn of(part: &Part, rows: usize, zeros: usize) -> Self {
        Self { rows, outputs: part.rows, inputs: part.cols, zeros }
    }

    fn entries(&self) -> f64 {
        (self.outputs * self.inputs) as f64
    }
}

impl Costs {
    /// Measures them on the base's largest kind of matrix, in some tens of milliseconds.
    pub fn measure(base: &Base, dtype: Dtype) -> Self {
        let layout = base.encoder.layout();
        // Of equals the first, as the widening of a feed-forward block.
        let largest = (0..layout.parts().len())
            .rev()
            .filter(|&number| base::role(base, number).is_matrix())
            .max_by_key(|&number| layout.parts()[number].entries())
            .expect("an encoder has matrices");
        let part = base::part(base, largest);
        let w = base::entries(base, largest);
        let threads = rayon::current_num_threads() as f64;
        const MANY: usize = 256;
        let x: Vec<f32> = (0..(MANY * part.cols) as u32).map(|i| normal(1, i)).collect();
        let mut y = vec![0.0; MANY * part.rows];
        let packed = LazyCell::new(|| base::packed(base, largest)); // int8 has no use for it
        let (quantized, mut inputs) = (base::quantized(base, largest), Inputs::default());
        let few_rows = 0..LANES;
        let (x_few, y_few) = (&x[..LANES * part.cols], LANES * part.rows);
        let (many, few) = match dtype {
            Dtype::F32 => {
                let many = quickest(|| packed.multiply(&x, &mut y));
                (many, quickest(|| base::multiply_by(w, part, x_few, &mut y[..y_few])))
            }
            Dtype::Int8 => {
                let many = quickest(|| {
                    inputs.quantise(&x, part.cols);
                    quantized.multiply(&inputs, 0..MANY, &mut y);
                });
                let few = || quantized.multiply(&inputs, few_rows.clone(), &mut y[..y_few]);
                (many, quickest(few))
            }
        };
        let (many, few) = (many * threads, few * threads);
        let entries = part.entries() as f64;
        let multiply = many / (MANY as f64 * entries);
        let mut scratch = Scratch::default();
        let mut correct = |rows: usize, density: f32| {
            let zeros: Vec<u32> =
                (0..part.entries() as u32).filter(|&i| uniform(2, i) < density).collect();
            let Some(pattern) = ZeroPattern::new(part.rows, part.cols, &zeros) else {
                return (f64::INFINITY, 1.0);
            };
            let (x, y) = (&x[..rows * part.cols], &mut y[..rows * part.rows]);
            let time = match dtype {
                Dtype::F32 => quickest(|| pattern.correct(&packed, WHOLE, x, y, &mut scratch)),
                Dtype::Int8 => {
                    let y = bytemuck::cast_slice_mut(y);
                    let rows = 0..rows;
                    quickest(|| {
                        pattern.correct_sums(
                            &quantized,
                            WHOLE,
                            &inputs,
                            rows.clone(),
                            y,
                            &mut scratch,
                        );
                    })
                }
            };
            (time, zeros.len() as f64)
        };
        let turned = (LANES * (part.rows + part.cols)) as f64;
        let (empty, _) = correct(LANES, 0.0);
        let (wide, zeros) = correct(LANES, 0.04);
        let (narrow, _) = correct(8, 0.04);
        let turn = empty / turned;
        let per_pass = |time: f64, rows: usize| {
            (time - turn * (rows * (part.rows + part.cols)) as f64).max(0.0) / zeros
        };
        let (wide, narrow) = (per_pass(wide, LANES), per_pass(narrow, 8));
        // A zero's multiply-add is never cheaper than one of a product, whatever a noisy moment says.
        let zero_row =
            ((wide - narrow) / (LANES - 8) as f64).max(wide / LANES as f64 / 8.0).max(multiply);
        let mut copy = Vec::new();
        let make = match dtype {
            Dtype::F32 => quickest(|| {
                copy.clear();
                copy.extend_from_slice(w);
                std::hint::black_box(&mut copy);
            }),
            Dtype::Int8 => {
                let none = ZeroPattern::new(part.rows, part.cols, &[]);
                none.map_or(f64::INFINITY, |none| {
                    quickest(|| {
                        drop(std::hint::black_box(none.set_in(&quantized, quantized.all())))
                    })
                })
            }
        };
        let make = make / entries;
        const RANK: usize = 8;
        let narrow =
            |len: usize| (0..(len * RANK) as u32).map(|i| normal(3, i)).collect::<Vec<_>>();
        let thin = Thin::new(&narrow(part.cols), &narrow(part.rows), RANK);
        let (x, y) = (&x[..LANES * part.cols], &mut y[..LANES * part.rows]);
        let mut spare = Vec::new();
        let thin = quickest(|| thin.add(x, y, part.rows, 0, &mut spare)) / (turned * RANK as f64);
        Self {
            dense: multiply,
            // Its entries must be read, which is half of copying them.
            own: (few / entries - LANES as f64 * multiply).max(make / 2.0),
            make,
            zero: (wide - LANES as f64 * zero_row).max(multiply),
            zero_row,
            turn,
            thin,
        }
    }

    /// The product with the base's matrix, as its share of one over many rows.
    fn shared(&self, size: Size) -> f64 {
        size.rows as f64 * size.entries() * self.dense
    }

    /// What putting the base's product right costs.
    fn correction(&self, size: Size) -> f64 {
        let (rows, zeros) = (size.rows as f64, size.zeros as f64);
        let turned = (size.inputs + size.outputs) as f64;
        size.rows.div_ceil(LANES) as f64 * zeros * self.zero
            + rows * zeros * self.zero_row
            + rows * turned * self.turn
    }

    /// What the products with factors cost beside the base's.
    fn low_rank(&self, rows: usize, factors: usize) -> f64 {
        (rows * factors) as f64 * self.thin
    }

    /// What a matrix of its own costs more than the base's; `ready` says whether it stands already.
    fn own(&self, size: Size, ready: bool) -> f64 {
        size.entries() * (self.own + if ready { 0.0 } else { self.make })
    }

    /// Whether a matrix of its own is the cheaper way.
    fn materialises(&self, size: Size, ready: bool) -> bool {
        self.own(size, ready) < self.correction(size)
    }

    /// The share of zeros, at most 1, from which on a matrix `[outputs, inputs]` of its own that
    /// stands ready is cheaper for `rows` rows at a time.
    pub fn break_even(&self, rows: usize, outputs: usize, inputs: usize) -> f64 {
        let size = Size { rows, outputs, inputs, zeros: 0 };
        let all = Size { zeros: outputs * inputs, ..size };
        let (least, most) = (self.correction(size), self.correction(all));
        ((self.own(size, true) - least) / (most - least)).clamp(0.0, 1.0)
    }
}

/// What a bank does with one task. Key and value matrices of a layer count as one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskPlan {
    /// The task.
    pub task: Arc<Task>,
    /// The first tensor that it changes, where its rows part from those of other tasks; `None` for
    /// a head alone.
    pub forks_at: Option<String>,
    /// Layers below that, which it shares with every other task asked of the text.
    pub shared_layers: usize,
    /// Matrices whose product with the base's is put right.
    pub corrected: usize,
    /// Matrices of its own, kept ready within the budget.
    pub materialised: usize,
    /// Their bytes.
    pub materialised_bytes: usize,
    /// Replaced matrices and vectors.
    pub replaced: usize,
    /// The share of the base's multiply-adds that it needs: 1 but of a slim task.
    pub compute: f64,
    /// Time that the changes take, as a share of that of the base's matrices, 0 for a head alone and
    /// below it for a slim task.
    pub cost: f64,
}

/// The quickest of fifteen runs in nanoseconds: what else the machine does only adds.
fn quickest(mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e9
    };
    (0..15).map(time).fold(f64::INFINITY, f64::min)
}

/// Decides for every product, and keeps the tasks' own matrices within the budget.
pub(super) struct Planner {
    costs: Costs,
    dtype: Dtype,
    /// Most bytes of matrices kept ready.
    budget: usize,
    ready: Mutex<Ready>,
}

/// The matrices kept ready. They belong to their tasks and go with them.
#[derive(Default)]
struct Ready {
    /// By the change's address, which its weak reference keeps from being used again.
    kept: HashMap<usize, Kept>,
    clock: u64,
}

struct Kept {
    change: Weak<Change>,
    bytes: usize,
    /// When it was last used.
    used: u64,
}

impl Planner {
    pub(super) fn new(costs: Costs, dtype: Dtype, budget: usize) -> Self {
        Self { costs, dtype, budget, ready: Mutex::default() }
    }

    pub(super) fn costs(&self) -> &Costs {
        &self.costs
    }

    /// The task's own matrix for a product over `rows` rows, where that is cheaper than the base's
    /// and a correction, and the budget holds it.
    pub(super) fn matrix(
        &self,
        change: &Arc<Change>,
        part: &Part,
        make: impl Fn(&ZeroPattern) -> Matrix,
        rows: usize,
    ) -> Option<Arc<Matrix>> {
        let Change::Zeros(zeros) = &**change else { return None };
        let bytes = Matrix::bytes_of(part, self.dtype);
        let size = Size::of(part, rows, zeros.pattern.len());
        let ready = zeros.ready();
        if bytes > self.budget || !self.costs.materialises(size, ready.is_some()) {
            return None;
        }
        let matrix = ready.unwrap_or_else(|| Arc::new(make(&zeros.pattern)));
        self.keep(change, zeros, bytes, &matrix);
        Some(matrix)
    }

    /// Keeps `matrix` ready, and no longer those used longest ago beyond the budget.
    fn keep(&self, change: &Arc<Change>, zeros: &Zeros, bytes: usize, matrix: &Arc<Matrix>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let Ready { kept, clock } = &mut *ready;
        *clock += 1;
        let (address, used) = (Arc::as_ptr(change) as usize, *clock);
        if let Some(known) = kept.get_mut(&address) {
            known.used = used;
            return;
        }
        kept.retain(|_, other| other.change.strong_count() > 0);
        let mut room = self.budget - kept.values().map(|other| other.bytes).sum::<usize>();
        while room < bytes {
            let oldest = kept.iter().min_by_key(|(_, other)| other.used).map(|(&at, _)| at);
            let Some(oldest) = oldest.and_then(|at| kept.remove(&at)) else { break };
            room += oldest.bytes;
            if let Some(Change::Zeros(zeros)) = oldest.change.upgrade().as_deref() {
                zeros.set_ready(None);
            }
        }
        kept.insert(address, Kept { change: Arc::downgrade(change), bytes, used });
        zeros.set_ready(Some(Arc::clone(matrix)));
    }

    /// What becomes of `task` on texts of `tokens` tokens alone.
    pub(super) fn plan(&self, views: &Views, task: Arc<Task>, tokens: usize) -> TaskPlan {
        let view = Arc::clone(task.view());
        let (encoder, layout) = (view.encoder(), view.encoder().layout());
        // What the matrices take that every text of the task goes through.
        let dense = |view: &View| -> f64 {
            let layout = view.encoder().layout();
            let of_layers = layout.parts().iter().enumerate().filter(|(number, part)| {
                let in_layer =
                    matches!(layout.tensors()[part.tensors.start].place, Place::Layer(_));
                in_layer && view.role(*number).is_matrix()
            });
            of_layers.map(|(_, part)| self.costs.shared(Size::of(part, tokens, 0))).sum()
        };
        let (whole, mine) = (dense(views.whole()), dense(&view));
        let first = task.changes().next();
        let tensor = first.map(|(number, _)| layout.parts()[number].tensors.start);
        let mut plan = TaskPlan {
            forks_at: tensor.map(|tensor| layout.tensors()[tensor].name.clone()),
            shared_layers: (view.whole_layers() * view.base_layers() as f64).round() as usize,
            compute: view.compute(),
            corrected: 0,
            materialised: 0,
            materialised_bytes: 0,
            replaced: 0,
            cost: 0.0,
            task,
        };
        let mut more = 0.0;
        for (number, change) in plan.task.changes() {
            plan.shared_layers = plan.shared_layers.min(encoder.layers_below(number));
            let (part, is_matrix) = (view.part(number), view.role(number).is_matrix());
            let size = Size::of(part, tokens, change.zeros());
            match &**change {
                Change::Whole(_) | Change::Quantized(_) => {
                    plan.replaced += 1;
                    // Rows of embeddings and vectors cost the same wherever they come from.
                    if is_matrix {
                        more += self.costs.own(size, true);
                    }
                }
                Change::Zeros(_) | Change::Few(_) if !is_matrix => {
                    plan.corrected += 1;
                }
                Change::Few(few) => {
                    plan.corrected += 1;
                    let zeros = few.positions.len();
                    more += self.costs.correction(Size { zeros, ..size });
                }
                Change::LowRank(_) => {
                    plan.corrected += 1;
                    more += self.costs.low_rank(tokens, change.bytes() / 4);
                }
                Change::Zeros(_)
                    if Matrix::bytes_of(part, self.dtype) <= self.budget
                        && self.costs.materialises(size, false) =>
                {
                    plan.materialised += 1;
                    plan.materialised_bytes += Matrix::bytes_of(part, self.dtype);
                    more += self.costs.own(size, true);
                }
                Change::Zeros(_) => {
                    plan.corrected += 1;
                    more += self.costs.correction(size);
                }
            }
        }
        plan.cost = (mine - whole + more) / whole;
        plan
    }

    /// Bytes of the matrices kept ready.
    pub(super) fn ready_bytes(&self) -> usize {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = ready.kept.values().filter(|kept| kept.change.strong_count() > 0);
        alive.map(|kept| kept.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs {
        dense: 0.03,
        own: 0.2,
        make: 0.1,
        zero: 2.0,
        zero_row: 0.03,
        turn: 0.2,
        thin: 0.05,
    };

    #[test]
    fn the_way_changes_at_the_break_even() {
        let (outputs, inputs) = (384, 384);
        let entries = (outputs * inputs) as f64;
        for rows in [1, 16, 64, 65, 400] {
            let at = COSTS.break_even(rows, outputs, inputs);
            let way = |density: f64| {
                let zeros = (density * entries) as usize;
                COSTS.materialises(Size { rows, outputs, inputs, zeros }, true)
            };
            if at > 0.001 {
                assert!(at < 1.0 && !way(at - 0.001), "{rows} rows: {at}");
            }
            assert!(way(at + 0.001), "{rows} rows: {at}");
        }
        // By hand: (0.2·147456 − 16·768·0.2) / (147456·(2 + 16·0.03)).
        assert!((COSTS.break_even(16, 384, 384) - 0.073_924).abs() < 1e-5);
        // More rows at a time pay for a matrix of their own sooner.
        assert!(COSTS.break_even(64, 384, 384) < COSTS.break_even(16, 384, 384));
        // A matrix that must be made first costs more.
        let size = Size { rows: 16, outputs, inputs, zeros: (0.08 * entries) as usize };
        assert!(COSTS.materialises(size, true) && !COSTS.materialises(size, false));
    }
}
