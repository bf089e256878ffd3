//! What is written: text for people, which a terminal never obeys, and files on a disk beside others, with
//! places tried and taken before the work, locks that name their holder, and temporary files that never stay.
//!
//! Locks and temporary files are hidden files whose names begin with `.linocut-` (a folder's lock is
//! `.linocut.lock`), and both are locked by the system for as long as their process lives. What nobody has
//! locked was left by a process that was killed: it is removed as soon as another one writes in the same
//! folder.

mod lock;
mod place;
mod size;
mod temporary;
mod terminal;

pub use lock::Lock;
pub use place::{Kept, check_folder, check_free, check_room, claim, folder_of, hold, keep};
pub use size::{Budget, counted, in_words};
pub use temporary::{TemporaryFile, TemporaryFolder, remove_all, rename, sweep};
pub use terminal::{aligned, escaped, first_of, obeyed, shortened, shown};
