//! A model as a file, one tensor in memory at a time.

use super::graph::Constant;
use super::proto::{
    EXTERNAL, Entry, GRAPH_TAG, GraphProto, INITIALIZER_TAG, Model, RAW_DATA_TAG, Tensor,
};
use crate::Result;
use crate::checkpoint::write_atomically;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::path::Path;

/// Most bytes of a message of Protocol Buffers.
pub(super) const MOST: usize = i32::MAX as usize;

/// Beside a file whose tensors would make it too long: those of more than this many bytes are there.
const SMALL: usize = 1024;

/// Writes `model`, whose graph `graph` has no tensors yet, into the file `name` of a folder. The tensors are in it, too,
/// or the larger ones in the file `beside` where it would have more than `most` bytes.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write(
    (folder, name, beside): (&Path, &str, &str),
    (model, graph): (&Model, &GraphProto),
    (tensors, weights): (&[Constant], &[f32]),
    most: usize,
) -> Result<()> {
    let path = &folder.join(name);
    let inside: Vec<Tensor> = tensors.iter().map(header).collect();
    let len = len(model, graph, tensors.iter().zip(&inside));
    if len <= most {
        return write_messages(path, (model, graph), tensors.iter().zip(&inside), weights);
    }
    let (large, small): (Vec<_>, Vec<_>) = tensors.iter().partition(|t| t.len() > SMALL);
    let mut graph = graph.clone();
    let mut offset = 0;
    for tensor in &large {
        graph.initializer.push(Tensor {
            data_location: Some(EXTERNAL),
            external_data: vec![
                Entry::new("location", beside),
                Entry::new("offset", offset.to_string()),
                Entry::new("length", tensor.len().to_string()),
            ],
            ..header(tensor)
        });
        offset += tensor.len();
    }
    write_atomically(&folder.join(beside), |out| {
        large.iter().try_for_each(|tensor| out.write_all(&tensor.bytes(weights)))
    })?;
    let inside: Vec<Tensor> = small.iter().map(|tensor| header(tensor)).collect();
    write_messages(path, (model, &graph), small.into_iter().zip(&inside), weights)
}

/// A tensor without its bytes.
fn header(tensor: &Constant) -> Tensor {
    Tensor {
        dims: tensor.dims.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(tensor.data_type()),
        name: Some(tensor.name.clone()),
        ..Tensor::default()
    }
}

/// Bytes of a field that is a message or a run of bytes of this length.
fn field_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

fn tensor_len(tensor: &Constant, header: &Tensor) -> usize {
    header.encoded_len() + field_len(RAW_DATA_TAG, tensor.len())
}

fn graph_len<'a>(
    graph: &GraphProto,
    tensors: impl Iterator<Item = (&'a Constant, &'a Tensor)>,
) -> usize {
    let of = |(tensor, header)| field_len(INITIALIZER_TAG, tensor_len(tensor, header));
    graph.encoded_len() + tensors.map(of).sum::<usize>()
}

/// Bytes of the file.
fn len<'a>(
    model: &Model,
    graph: &GraphProto,
    tensors: impl Iterator<Item = (&'a Constant, &'a Tensor)>,
) -> usize {
    model.encoded_len() + field_len(GRAPH_TAG, graph_len(graph, tensors))
}

fn begin(tag: u32, len: usize, into: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, into);
    encode_varint(len as u64, into);
}

fn write_messages<'a>(
    path: &Path,
    (model, graph): (&Model, &GraphProto),
    tensors: impl Iterator<Item = (&'a Constant, &'a Tensor)> + Clone,
    weights: &[f32],
) -> Result<()> {
    let mut first = model.encode_to_vec();
    begin(GRAPH_TAG, graph_len(graph, tensors.clone()), &mut first);
    first.extend(graph.encode_to_vec());
    write_atomically(path, |out| {
        out.write_all(&first)?;
        for (tensor, header) in tensors {
            let mut first = vec![];
            begin(INITIALIZER_TAG, tensor_len(tensor, header), &mut first);
            first.extend(header.encode_to_vec());
            begin(RAW_DATA_TAG, tensor.len(), &mut first);
            out.write_all(&first)?;
            out.write_all(&tensor.bytes(weights))?;
        }
        Ok(())
    })
}
