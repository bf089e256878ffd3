//! From a packed cut back to the model's own tensors.

use std::borrow::Cow;
use std::path::Path;

use safetensors::Dtype;

use crate::Result;
use crate::checkpoint::write_stored;
use crate::cut::{Cut, Source, StoreType};
use crate::model::Weights;

/// A tensor of the model and where its values are.
struct Back<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Data<'a>,
}

enum Data<'a> {
    Values(StoreType, &'a [f32]),
    Bytes(&'a [u8]),
}

/// Writes the tensors of the model that `cut` was packed from without loss, as it named and stored
/// them, to the safetensors file `path`. `weights` are the base's with the cut applied; `source` is
/// the cut's, and `head` the module that the model's family has for its last layer.
///
/// # Errors
/// If two tensors get one name, or writing fails.
pub fn restore(
    path: &Path,
    source: &Source,
    head: &str,
    cut: &Cut,
    weights: &Weights,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (i, spec) in weights.layout().tensors().iter().enumerate() {
        let Some(name) = source.name(&spec.name) else { continue };
        tensors.push(back(name, source.store(&spec.name), &spec.shape, weights.at(i)));
    }
    let module = head;
    let head = cut.head();
    let shape = [head.outputs(), head.hidden];
    let name = |parameter: &str| format!("{module}.{parameter}");
    let weight = back(name("weight"), source.store("head.weight"), &shape, &head.weight);
    let bias = back(name("bias"), source.store("head.bias"), &shape[..1], &head.bias);
    tensors.extend([weight, bias]);
    tensors.extend(cut.others().iter().map(|(name, other)| Back {
        name: name.clone(),
        dtype: other.dtype,
        shape: other.shape.clone(),
        data: Data::Bytes(&other.bytes),
    }));
    // The widest type first, so that all are aligned, as the safetensors library itself does.
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let infos = tensors.iter().map(|t| (t.name.clone(), t.dtype, t.shape.clone()));
    write_stored(path, infos, |i| match tensors[i].data {
        Data::Bytes(bytes) => Cow::Borrowed(bytes),
        Data::Values(store, values) => Cow::Owned(store.to_bytes(values)),
    })
}

fn back<'a>(
    name: impl Into<String>,
    store: StoreType,
    shape: &[usize],
    values: &'a [f32],
) -> Back<'a> {
    let (name, shape) = (name.into(), shape.to_vec());
    Back { name, dtype: store.dtype(), shape, data: Data::Values(store, values) }
}
