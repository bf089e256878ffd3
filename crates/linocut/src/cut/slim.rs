//! The edits of a slim cut in the shapes of the whole base.

use super::content::Cut;
use super::edit::{Edit, StoreType, TensorEdit, Zeros};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::model::Encoder;

impl Cut {
    /// The cut as one of the whole base, a model folder's, which changes there what it changes of what it
    /// keeps. What it leaves out is as in the base.
    ///
    /// # Errors
    /// A base that cannot be read, or for which the cut was not made.
    pub(crate) fn on_whole_base(&self, base: &Checkpoint) -> Result<Self> {
        let Some(slim) = &self.card().slim else { return Ok(self.clone()) };
        let whole = Encoder::open(base, None)?;
        let narrow = whole.slim(slim)?;
        let widened = |(name, edit): (&String, &TensorEdit)| {
            let tensor = edit.place(name, narrow.layout())?;
            let place = narrow.layout().parts().iter().position(|p| p.tensors.contains(&tensor));
            let number = place.expect("every tensor is in a part");
            let chosen = &narrow.chosen()[number];
            let part = &whole.layout().parts()[chosen.part];
            let spec = &whole.layout().tensors()
                [part.tensors.start + tensor - narrow.layout().parts()[number].tensors.start];
            // Its own rows of the part, counted from its first.
            let first = (spec.range.start - part.range.start) / part.cols;
            let own = first..first + spec.shape[0];
            let rows: Vec<usize> = match &chosen.rows {
                Some(rows) => {
                    let rows = rows.iter().map(|&row| row as usize);
                    rows.filter(|row| own.contains(row)).map(|row| row - first).collect()
                }
                None => (0..spec.shape[0]).collect(),
            };
            let cols: Vec<usize> = match &chosen.cols {
                Some(cols) => cols.iter().map(|&col| col as usize).collect(),
                None => (0..part.cols).collect(),
            };
            let position = |at: usize| rows[at / cols.len()] * part.cols + cols[at % cols.len()];
            let mut values = vec![0.0; spec.range.len()];
            base.read_f32(name, &mut values)?;
            let mine: Vec<f32> =
                (0..rows.len() * cols.len()).map(|at| values[position(at)]).collect();
            let edit = match edit.zeros(&mine)? {
                Some(zeros) => {
                    let positions = zeros.positions().iter();
                    let positions = positions.map(|&at| position(at as usize) as u32).collect();
                    Edit::Zeros(Zeros::new(values.len(), positions)?)
                }
                None => {
                    let (places, changed) = edit.change(&mine)?;
                    for (i, value) in changed.into_iter().enumerate() {
                        let at = places.as_ref().map_or(i, |places| places[i] as usize);
                        values[position(at)] = value;
                    }
                    Edit::Replace { store: StoreType::F32, values }
                }
            };
            Ok((name.clone(), TensorEdit { shape: spec.shape.clone(), edit }))
        };
        let edits = self.edits().iter().map(widened).collect::<Result<_>>()?;
        let mut card = self.card().clone();
        card.slim = None;
        Self::new(card, self.head().clone(), edits, self.probes().to_vec())
    }
}
