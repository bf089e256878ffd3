//! How fine fine-tuning was: distances between a base and models tuned from it, tensor by tensor,
//! beside what two random initialisations would give.
//!
//! Works on checkpoints of any architecture and on cuts, by streaming: one pass over mapped files.

mod baseline;
mod distance;
mod magnitudes;
mod overlap;
mod pairing;
mod place;
mod report;
mod scan;
mod source;

pub use distance::{Distance, Figures, angle};
pub use magnitudes::Magnitudes;
pub use overlap::{Overlap, OverlapByPlace, overlap, overlap_by_place};
pub use place::{Part, place};
pub use report::{Cell, FAR, Group, ModelReport, Named, PairReport, Report, TensorReport};
pub use scan::{Options, measure};
pub use source::Model;
