//! A cut as bytes: a safetensors file whose last tensor is a digest of all before it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::card::{Card, EditKind, FORMAT, TensorNote};
use super::codec;
use super::content::{Cut, Probe};
use super::delta::Delta;
use super::edit::{Edit, Head, StoreType, TensorEdit, Zeros, entries};
use super::large::LargeZeros;
use super::lowrank::LowRank;
use super::sign::Sign;
use super::source::Other;
use super::sparse::Sparse;
use crate::{Error, ErrorKind, Result};

/// The header up to the card, which follows as a JSON string.
const HEADER_START: &str = r#"{"__metadata__":{"linocut":"#;
/// The digest's name and size; of every version of the format it is the last 32 bytes.
const DIGEST: &str = "digest";
const DIGEST_SIZE: usize = 32;
/// Longest header read, in bytes: cards of ten thousand labels fit; JSON that would take many times
/// its size in memory does not get far.
const MAX_HEADER: u64 = 4 << 20;

/// A tensor of the file.
pub(super) struct Stored<'a> {
    /// Its name in the file.
    pub(super) name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    values: Values<'a>,
}

enum Values<'a> {
    Bytes(Cow<'a, [u8]>),
    Ids(Vec<u32>),
    Floats(StoreType, Cow<'a, [f32]>),
}

impl<'a> Stored<'a> {
    fn bytes(name: String, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        Self { name, dtype: Dtype::U8, shape: vec![bytes.len()], values: Values::Bytes(bytes) }
    }

    fn ids(name: &str, ids: Vec<u32>) -> Self {
        let shape = vec![ids.len()];
        Self { name: name.into(), dtype: Dtype::I32, shape, values: Values::Ids(ids) }
    }

    fn floats(
        name: String,
        shape: Vec<usize>,
        store: StoreType,
        values: impl Into<Cow<'a, [f32]>>,
    ) -> Self {
        Self { name, dtype: store.dtype(), shape, values: Values::Floats(store, values.into()) }
    }

    /// Bytes of its data.
    pub(super) fn size(&self) -> usize {
        match &self.values {
            Values::Bytes(bytes) => bytes.len(),
            Values::Ids(ids) => ids.len() * 4,
            Values::Floats(store, values) => values.len() * store.size(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match &self.values {
            Values::Bytes(bytes) => out.extend_from_slice(bytes),
            Values::Ids(ids) => ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes())),
            Values::Floats(store, values) => store.put(out, values),
        }
    }
}

/// The order of tensors in the file: by alignment, the widest first, then by name; the digest last.
fn order(name: &str, dtype: Dtype) -> (bool, std::cmp::Reverse<Dtype>, &str) {
    (name == DIGEST, std::cmp::Reverse(dtype), name)
}

/// The header from the end of the card's JSON string on. Names need no escapes.
fn header_end<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], usize)>) -> String {
    let mut out = String::from("}");
    let mut start = 0;
    for (name, dtype, shape, size) in tensors {
        let end = start + size;
        let shape: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
        let shape = shape.join(",");
        write!(
            out,
            r#","{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
        )
        .expect("writing to a string does not fail");
        start = end;
    }
    out.push('}');
    out
}

impl Cut {
    /// The file's tensors in its order, without the digest.
    pub(super) fn stored(&self) -> Vec<Stored<'_>> {
        let head = self.head();
        let outputs = head.outputs();
        let mut out = vec![
            Stored::floats(
                "head.weight".into(),
                vec![outputs, head.hidden],
                head.store,
                &head.weight,
            ),
            Stored::floats("head.bias".into(), vec![outputs], head.store, &head.bias),
        ];
        for (name, edit) in self.edits() {
            let kind = self.card().tensors[name].edit;
            let stored = format!("{}/{name}", kind.name());
            out.push(match &edit.edit {
                Edit::Zeros(zeros) => {
                    Stored::bytes(stored, codec::encode(zeros.len(), zeros.positions()))
                }
                Edit::LargeZeros(zeros) => Stored::bytes(stored, zeros.stream()),
                Edit::Replace { store, values } => {
                    Stored::floats(stored, edit.shape.clone(), *store, values)
                }
                Edit::Delta(delta) => Stored::bytes(stored, delta.frame()),
                Edit::Sparse(sparse) => Stored::bytes(stored, sparse.stream()),
                Edit::Sign(sign) => Stored::bytes(stored, sign.stream()),
                Edit::LowRank(low_rank) => Stored::floats(
                    stored,
                    vec![edit.shape.iter().sum(), low_rank.rank()],
                    low_rank.store(),
                    low_rank.factors(),
                ),
            });
        }
        for (name, Other { dtype, shape, bytes }) in self.others() {
            let (name, values) = (format!("other/{name}"), Values::Bytes(bytes.into()));
            out.push(Stored { name, dtype: *dtype, shape: shape.clone(), values });
        }
        let probes = self.probes();
        if !probes.is_empty() {
            let ids = |of: fn(&Probe) -> &Vec<u32>| probes.iter().flat_map(of).copied().collect();
            let lengths = probes.iter().map(|p| p.input_ids.len() as u32).collect();
            let logits: Vec<f32> = probes.iter().flat_map(|p| &p.logits).copied().collect();
            out.push(Stored::ids("probe.lengths", lengths));
            out.push(Stored::ids("probe.input_ids", ids(|p| &p.input_ids)));
            out.push(Stored::ids("probe.token_type_ids", ids(|p| &p.token_type_ids)));
            out.push(Stored::floats(
                "probe.logits".into(),
                vec![probes.len(), outputs],
                StoreType::F32,
                logits,
            ));
        }
        out.sort_by(|a, b| order(&a.name, a.dtype).cmp(&order(&b.name, b.dtype)));
        out
    }

    /// The card as it stands in the file.
    pub(super) fn card_json(&self) -> String {
        serde_json::to_string(self.card()).expect("a card has only string keys and finite numbers")
    }

    /// The header of a file of these tensors and the digest.
    pub(super) fn header(&self, stored: &[Stored<'_>]) -> String {
        let card = serde_json::Value::String(self.card_json()).to_string();
        let digest = [DIGEST_SIZE];
        let end = header_end(
            stored.iter().map(|t| (&t.name[..], t.dtype, &t.shape[..], t.size())).chain([(
                DIGEST,
                Dtype::U8,
                &digest[..],
                DIGEST_SIZE,
            )]),
        );
        let mut header = format!("{HEADER_START}{card}{end}");
        header.push_str(padding(header.len()));
        header
    }

    /// The bytes of the cut's file: the same for equal cuts.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = self.stored();
        let header = self.header(&stored);
        let mut out = Vec::with_capacity(file_size(&header, &stored));
        out.extend_from_slice(&(header.len() as u64).to_le_bytes());
        out.extend_from_slice(header.as_bytes());
        for tensor in &stored {
            tensor.put(&mut out);
        }
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// The cut that `bytes`, a whole file, hold.
    ///
    /// # Errors
    /// If the bytes are truncated, altered, no cut, of a newer format, or hold what [`Cut::new`] refuses.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        check_digest(bytes)?;
        let mut file = Parsed::new(bytes)?;
        let card = file.card()?;
        let head = file.head()?;
        let mut edits = BTreeMap::new();
        for (name, note) in &card.tensors {
            edits.insert(name.clone(), file.edit(name, note)?);
        }
        let probes = file.probes(head.outputs())?;
        let others = file.others();
        if let Some(name) = file.tensors.keys().next() {
            return Err(malformed(format!("the tensor {name:?}, which the card does not mention")));
        }
        let (format, notes) = (card.format, card.tensors.clone());
        let cut = Self::new(card, head, edits, probes)?.with_others(others)?;
        if cut.card().format != format {
            return Err(malformed(format!(
                "it says that it is of format {format}, what it holds is of {}",
                cut.card().format
            )));
        }
        for (name, note) in &notes {
            if cut.card().tensors[name] != *note {
                return Err(malformed(format!(
                    "{name} is {:?}, the card says {note:?}",
                    cut.card().tensors[name]
                )));
            }
        }
        Ok(cut)
    }
}

/// Bytes of a file with this header and these tensors.
pub(super) fn file_size(header: &str, stored: &[Stored<'_>]) -> usize {
    8 + header.len() + stored.iter().map(Stored::size).sum::<usize>() + DIGEST_SIZE
}

/// Spaces that make the length of a header a multiple of 8, so that the data after it is aligned.
fn padding(len: usize) -> &'static str {
    &"        "[..len.next_multiple_of(8) - len]
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Cut, format!("malformed cut: {what}"))
}

fn check_digest(bytes: &[u8]) -> Result<()> {
    let digest = bytes.split_last_chunk::<DIGEST_SIZE>();
    match digest {
        Some((before, digest)) if blake3::hash(before) == *digest => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Cut,
            format!(
                "not a whole and unaltered cut: the last {DIGEST_SIZE} of its {} bytes are not the digest of those before",
                bytes.len()
            ),
        )
        .with_hint("the file was cut short, changed, or is something else; copy it again from where it was made")),
    }
}

/// The parts of a file that are not yet taken.
struct Parsed<'a> {
    card: String,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, &'a [u8])>,
}

impl<'a> Parsed<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let header_size = bytes.first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
        if header_size > MAX_HEADER {
            return Err(malformed(format!(
                "a header of {header_size} bytes, at most {MAX_HEADER} are read"
            )));
        }
        // Checks that shapes, types and offsets agree, without overflow, and that the tensors fill
        // the data without gap or overlap.
        let (header_size, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|e| malformed(format!("no valid safetensors file: {e}")).with_source(e))?;
        let (header, data) = bytes[8..].split_at(header_size);

        let Some(card) = metadata.metadata().as_ref().and_then(|m| m.get("linocut")) else {
            return Err(malformed("its metadata has no card `linocut`"));
        };
        check_version(card)?;

        // That crate lets keys occur twice, and other readers may then see another file. So the rest
        // of the header must be what a writer of this format gives, byte for byte.
        let names = metadata.offset_keys();
        let infos: Vec<_> =
            names.iter().filter_map(|n| Some((&n[..], metadata.info(n)?))).collect();
        let end = header_end(infos.iter().map(|&(name, info)| {
            (name, info.dtype, &info.shape[..], info.data_offsets.1 - info.data_offsets.0)
        }));
        let middle = header
            .strip_prefix(HEADER_START.as_bytes())
            .and_then(|rest| strip_padding(rest).strip_suffix(end.as_bytes()));
        if middle.and_then(|json| serde_json::from_slice::<String>(json).ok()).as_ref()
            != Some(card)
            || !header.len().is_multiple_of(8)
        {
            return Err(malformed("its header is not laid out as this format says"));
        }
        if !infos.is_sorted_by(|a, b| order(a.0, a.1.dtype) < order(b.0, b.1.dtype)) {
            return Err(malformed("its tensors are not in the order of this format"));
        }

        let tensors = infos
            .iter()
            .map(|&(name, info)| {
                let (start, end) = info.data_offsets;
                (name.to_string(), (info.dtype, info.shape.clone(), &data[start..end]))
            })
            .collect();
        let mut file = Self { card: card.clone(), tensors };
        file.take(DIGEST, Dtype::U8, &[DIGEST_SIZE])?;
        Ok(file)
    }

    fn card(&self) -> Result<Card> {
        serde_json::from_str(&self.card)
            .map_err(|e| malformed(format!("its card: {e}")).with_source(e))
    }

    /// Takes the tensor `name` of any type and shape.
    fn take_any(&mut self, name: &str) -> Result<(Dtype, Vec<usize>, &'a [u8])> {
        self.tensors.remove(name).ok_or_else(|| malformed(format!("no tensor {name:?}")))
    }

    /// Takes the bytes of the tensor `name`, which must be of this type and shape.
    fn take(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let (found, found_shape, bytes) = self.take_any(name)?;
        if found != dtype || found_shape != shape {
            return Err(malformed(format!(
                "{name} is {found} {found_shape:?}, expected {dtype} {shape:?}"
            )));
        }
        Ok(bytes)
    }

    fn head(&mut self) -> Result<Head> {
        let (dtype, shape, weight) = self.take_any("head.weight")?;
        let store = StoreType::of(dtype).ok_or_else(|| {
            malformed(format!("head.weight is {dtype}, expected F32, BF16 or F16"))
        })?;
        let &[outputs, hidden] = &shape[..] else {
            return Err(malformed(format!(
                "head.weight has the shape {shape:?}, expected two dimensions"
            )));
        };
        let bias = self.take("head.bias", dtype, &[outputs])?;
        Ok(Head { store, hidden, weight: store.take(weight), bias: store.take(bias) })
    }

    fn edit(&mut self, name: &str, note: &TensorNote) -> Result<TensorEdit> {
        let shape = note.shape.clone();
        let len = entries(&shape)
            .ok_or_else(|| malformed(format!("{name}: impossible shape {shape:?}")))?;
        let store =
            || note.store.ok_or_else(|| malformed(format!("the card: no store type for {name}")));
        let stored = format!("{}/{name}", note.edit.name());
        if note.edit == EditKind::Replace {
            let store = store()?;
            let bytes = self.take(&stored, store.dtype(), &shape)?;
            let edit = Edit::Replace { store, values: store.take(bytes) };
            return Ok(TensorEdit { shape, edit });
        }
        if note.edit == EditKind::LowRank {
            let edit = self.low_rank(&stored, &shape, store()?)?;
            return Ok(TensorEdit { shape, edit });
        }
        let (found, found_shape, stream) = self.take_any(&stored)?;
        if found != Dtype::U8 || found_shape.len() != 1 {
            return Err(malformed(format!(
                "{stored} is {found} {found_shape:?}, expected U8 of one dimension"
            )));
        }
        let columns = shape.last().copied().unwrap_or(0);
        let edit = match note.edit {
            EditKind::Delta => Delta::from_frame(store()?, len, columns, stream).map(Edit::Delta),
            EditKind::Sparse => Sparse::from_stream(len, store()?, stream).map(Edit::Sparse),
            EditKind::Sign => Sign::from_stream(len, columns, stream).map(Edit::Sign),
            EditKind::LargeZeros => LargeZeros::from_stream(len, stream).map(Edit::LargeZeros),
            EditKind::Zeros | EditKind::Replace | EditKind::LowRank => {
                codec::decode(len, stream).and_then(|p| Zeros::new(len, p)).map(Edit::Zeros)
            }
        };
        let edit = edit.map_err(|e| malformed(format!("{stored}: {e}")).with_source(e))?;
        Ok(TensorEdit { shape, edit })
    }

    /// Takes the factors `stored` of a matrix of `shape`.
    fn low_rank(&mut self, stored: &str, shape: &[usize], store: StoreType) -> Result<Edit> {
        let (found, found_shape, bytes) = self.take_any(stored)?;
        let (&[rows, columns], &[sides, _]) = (shape, &found_shape[..]) else {
            return Err(malformed(format!(
                "{stored} is {found_shape:?} for a tensor of {shape:?}"
            )));
        };
        if found != store.dtype() || Some(sides) != rows.checked_add(columns) {
            return Err(malformed(format!(
                "{stored} is {found} {found_shape:?}, expected {} [{rows} + {columns}, rank]",
                store.dtype()
            )));
        }
        let edit = LowRank::new((rows, columns), store, store.take(bytes));
        edit.map(Edit::LowRank).map_err(|e| malformed(format!("{stored}: {e}")).with_source(e))
    }

    /// Takes the tensors that the packed model had beside encoder and head.
    fn others(&mut self) -> BTreeMap<String, Other> {
        let mut others = BTreeMap::new();
        self.tensors.retain(|name, (dtype, shape, bytes)| {
            let Some(name) = name.strip_prefix("other/") else { return true };
            let (dtype, shape, bytes) = (*dtype, shape.clone(), bytes.to_vec());
            others.insert(name.to_string(), Other { dtype, shape, bytes });
            false
        });
        others
    }

    fn probes(&mut self, outputs: usize) -> Result<Vec<Probe>> {
        if !self.tensors.contains_key("probe.lengths") {
            return Ok(Vec::new()); // any other `probe.` tensor is then one too many
        }
        let mut ids = |name: &str, len: Option<usize>| -> Result<Vec<u32>> {
            let (dtype, shape, bytes) = self.take_any(name)?;
            if dtype != Dtype::I32 || shape.len() != 1 || len.is_some_and(|n| n != shape[0]) {
                return Err(malformed(format!(
                    "{name} is {dtype} {shape:?}, expected I32 [{}]",
                    len.map_or("probes".into(), |n| n.to_string())
                )));
            }
            Ok(bytes.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four)).collect())
        };
        let lengths = ids("probe.lengths", None)?;
        // No overflow: as many lengths as there are words in the file, each below 2^32.
        let tokens = lengths.iter().map(|&n| n as usize).sum();
        let input_ids = ids("probe.input_ids", Some(tokens))?;
        let token_type_ids = ids("probe.token_type_ids", Some(tokens))?;
        let logits = self.take("probe.logits", Dtype::F32, &[lengths.len(), outputs])?;
        let logits = StoreType::F32.take(logits);

        let mut at = 0;
        let mut probes = Vec::with_capacity(lengths.len());
        for (i, &length) in lengths.iter().enumerate() {
            let tokens = at..at + length as usize;
            at = tokens.end;
            probes.push(Probe {
                input_ids: input_ids[tokens.clone()].to_vec(),
                token_type_ids: token_type_ids[tokens].to_vec(),
                logits: logits[i * outputs..(i + 1) * outputs].to_vec(),
            });
        }
        Ok(probes)
    }
}

/// Without the spaces at the end.
fn strip_padding(header: &[u8]) -> &[u8] {
    let spaces = header.iter().rev().take(7).take_while(|&&b| b == b' ').count();
    &header[..header.len() - spaces]
}

/// Refuses the card of a newer format before anything else of it is read.
fn check_version(card: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_str(card)
        .map_err(|e| malformed(format!("its card has no format version: {e}")).with_source(e))?;
    if format > FORMAT {
        return Err(Error::new(
            ErrorKind::Cut,
            format!("a cut of format {format}, written by a newer linocut; this one reads up to {FORMAT}"),
        )
        .with_hint("upgrade linocut"));
    }
    if format == 0 {
        return Err(malformed("format 0"));
    }
    Ok(())
}
