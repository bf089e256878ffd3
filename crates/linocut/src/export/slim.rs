//! What a slim task keeps, in a shape that Transformers has.

use crate::model::{Base, Chosen, Encoder, GROUP, Slim, Weights};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// Names of the number of layers in a `config.json`, and of the width of their feed-forward blocks.
const LAYERS: [&str; 2] = ["num_hidden_layers", "n_layers"];
const WIDTHS: [&str; 2] = ["intermediate_size", "hidden_dim"];

/// `config.json` of a model in which Transformers computes what `slim` keeps: without the layers that are
/// left out, and narrower feed-forward blocks where all keep as many neurons.
pub(super) fn config(mut config: Value, base: &Encoder, slim: &Slim) -> Value {
    let mut set = |names: [&str; 2], value: usize| {
        let name = names.into_iter().find(|name| !config[*name].is_null()).unwrap_or(names[0]);
        config[name] = json!(value);
    };
    set(LAYERS, slim.depth);
    if let Some(width) = width(base, slim) {
        set(WIDTHS, width);
    }
    if let Some(types) = config["layer_types"].as_array_mut() {
        types.truncate(slim.depth);
    }
    config
}

/// The neurons that every layer keeps, where that is one number above 0.
fn width(base: &Encoder, slim: &Slim) -> Option<usize> {
    let all = base.config().intermediate;
    let mut widths = slim.layers.iter().map(|layer| {
        let kept = layer.groups.iter().enumerate().filter(|(_, kept)| **kept);
        kept.map(|(i, _)| GROUP.min(all - i * GROUP)).sum::<usize>()
    });
    let first = widths.next().filter(|width| *width > 0)?;
    widths.all(|width| width == first).then_some(first)
}

/// What became of what a slim task leaves out, for people.
pub(super) fn in_words(base: &Encoder, slim: &Slim) -> String {
    let neurons = match width(base, slim) {
        Some(_) => "neurons left out",
        None => "left-out neurons zero in place (layers keep different numbers)",
    };
    format!(
        "{} of {} layers, {neurons}, left-out heads zero in place (Transformers cannot leave single heads \
         out)",
        slim.depth,
        base.layers_of_base(),
    )
}

/// The same where nothing of it is there.
pub(super) fn narrowed_in_words(base: &Encoder, slim: &Slim) -> String {
    let (depth, layers) = (slim.depth, base.layers_of_base());
    format!("{depth} of {layers} layers, without the heads and neurons that are left out")
}

/// `base`, which is slim and edited, in the shape of [`config`], which `file` is.
///
/// # Errors
/// A base whose layers share tensors in groups that fewer layers do not have.
pub(super) fn widened(base: &Base, file: &Value) -> Result<Base> {
    let narrow = &base.encoder;
    let encoder = Encoder::new(file, narrow.has_pooler(), narrow.pooling())?;
    let (layout, slim_layout) = (encoder.layout(), narrow.layout());
    let names = |layout: &crate::model::Layout| -> Vec<String> {
        layout.tensors().iter().map(|tensor| tensor.name.clone()).collect()
    };
    if names(layout) != names(slim_layout) {
        let message =
            "Transformers groups the layers of this base by their number, which fewer change";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let mut weights = Weights::new(layout.clone(), vec![0.0; layout.len()]);
    for (number, chosen) in narrow.chosen().iter().enumerate() {
        let (from, to) = (&slim_layout.parts()[number], &layout.parts()[number]);
        let Chosen { rows, cols, .. } = chosen;
        // Where a dimension is as wide as what is kept, that is what it has.
        let row = |i: usize| match rows {
            Some(rows) if to.rows != from.rows => rows[i] as usize,
            _ => i,
        };
        let col = |i: usize| match cols {
            Some(cols) if to.cols != from.cols => cols[i] as usize,
            _ => i,
        };
        let values = &base.weights.data()[from.range.clone()];
        let into = &mut weights.data_mut()[to.range.clone()];
        for (i, values) in values.chunks_exact(from.cols.max(1)).enumerate() {
            for (j, value) in values.iter().enumerate() {
                into[row(i) * to.cols + col(j)] = *value;
            }
        }
    }
    Ok(Base { encoder, weights, ..base.clone() })
}
