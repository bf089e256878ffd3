//! Which entries of the base are large, looked up for every task that counts its zeros among them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;
use crate::cut::{Candidates, Edit, TensorEdit, Zeros};

/// Kinds of candidates that are kept of a tensor: cuts may name any least magnitude, training names few.
const KINDS: usize = 4;

/// Kinds of candidates by tensor, those asked for last at the end.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<usize, Vec<Kind>>>);

#[derive(Debug)]
struct Kind {
    /// The bits of their least magnitude.
    least: u32,
    all: Arc<Candidates>,
}

impl Known {
    /// The zeros of an edit of the tensor with this number, whose entries in the base are `base`; none of
    /// an edit that does something else.
    ///
    /// # Errors
    /// If the edit was made for another base.
    pub(super) fn zeros<'e>(
        &self,
        edit: &'e TensorEdit,
        tensor: usize,
        base: &[f32],
    ) -> Result<Option<Cow<'e, Zeros>>> {
        let Edit::LargeZeros(large) = &edit.edit else { return edit.zeros(base) };
        let all = self.candidates(tensor, large.least(), base);
        Ok(Some(Cow::Owned(large.zeros_among(&all)?)))
    }

    fn candidates(&self, tensor: usize, least: f32, base: &[f32]) -> Arc<Candidates> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kind: &&Kind| kind.least == least.to_bits();
        let found = |kinds: &Vec<Kind>| kinds.iter().find(of).map(|kind| Arc::clone(&kind.all));
        // Made without the lock: tasks come while others are prepared.
        let known = lock().get(&tensor).and_then(found);
        let all = known.unwrap_or_else(|| Arc::new(Candidates::of(base, least)));
        let mut known = lock();
        let kinds = known.entry(tensor).or_default();
        kinds.retain(|kind| !of(&kind));
        kinds.push(Kind { least: least.to_bits(), all: Arc::clone(&all) });
        if kinds.len() > KINDS {
            kinds.remove(0);
        }
        all
    }
}
