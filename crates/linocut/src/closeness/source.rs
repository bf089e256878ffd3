//! What is measured: a checkpoint of any architecture, or a cut.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use crate::checkpoint::{StoredTensor, StoredTensors};
use crate::cut::{Cut, Edit, TensorEdit};
use crate::kernels::difference::Entries;
use crate::model::family;
use crate::{Error, ErrorKind, Result};

/// A model to compare with a base.
pub struct Model {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

pub(super) enum Content {
    Checkpoint(StoredTensors),
    Cut(Box<Cut>),
}

impl Model {
    /// Opens a model folder, a safetensors file, or, where the name ends in `.cut`, a cut.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn open(path: &Path) -> Result<Self> {
        let content = match path.extension().is_some_and(|e| e == "cut") && !path.is_dir() {
            true => Content::Cut(Box::new(Cut::read(path)?)),
            false => Content::Checkpoint(StoredTensors::open(path)?),
        };
        let absolute = std::path::absolute(path).ok();
        let last = absolute.as_deref().and_then(Path::file_name).unwrap_or(path.as_os_str());
        let name = last.to_string_lossy().into_owned();
        Ok(Self { name, path: path.to_path_buf(), content })
    }

    /// Its name for people: the last part of its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a cut.
    pub fn is_cut(&self) -> bool {
        self.cut().is_some()
    }

    /// The cut that it is, if it is one.
    pub(super) fn cut(&self) -> Option<&Cut> {
        match &self.content {
            Content::Cut(cut) => Some(cut),
            Content::Checkpoint(_) => None,
        }
    }

    /// A slim cut as one of the whole base in this folder, which it is measured as: what it leaves out is
    /// not counted. None of any other model.
    ///
    /// # Errors
    /// A base that cannot be read, or for which the cut was not made.
    pub(super) fn on_whole_base(&self, base: &Path) -> Result<Option<Self>> {
        self.check_base(base)?;
        let Some(cut) = self.cut().filter(|cut| cut.card().slim.is_some()) else {
            return Ok(None);
        };
        let content = Content::Cut(Box::new(cut.on_whole_base(&family::open(base)?)?));
        Ok(Some(Self { name: self.name.clone(), path: self.path.clone(), content }))
    }

    /// Checks that a cut was made for the base in this folder.
    pub(super) fn check_base(&self, base: &Path) -> Result<()> {
        let Some(cut) = self.cut() else { return Ok(()) };
        let base = family::open(base)?;
        cut.check_base(&base.name(), &base.fingerprint().to_string())
    }
}

/// A tensor of floats in a file.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    files: &'a StoredTensors,
    pub(super) tensor: &'a StoredTensor,
}

impl<'a> Stored<'a> {
    /// Of any tensor that holds weights; none for whole numbers and truth values.
    ///
    /// # Errors
    /// Any other element type than F32, F16 and BF16.
    pub(super) fn of(
        path: &Path,
        files: &'a StoredTensors,
        tensor: &'a StoredTensor,
    ) -> Result<Option<Self>> {
        match tensor.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(Some(Self { files, tensor })),
            Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 => Ok(None),
            Dtype::U32 | Dtype::I32 | Dtype::U64 | Dtype::I64 => Ok(None),
            other => Err(Error::new(
                ErrorKind::Base,
                format!(
                    "{}: tensor {} is of type {other}, expected F32, F16 or BF16",
                    path.display(),
                    tensor.name
                ),
            )
            .with_hint("convert the model to one of these first")),
        }
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.tensor.size() / self.width()
    }

    /// Reads the entries in `range`; `buffer` holds them.
    ///
    /// # Errors
    /// If the file cannot be read, or became shorter.
    pub(super) fn read<'s>(
        &self,
        range: Range<usize>,
        buffer: &'s mut Vec<u8>,
    ) -> Result<Entries<'s>> {
        let width = self.width();
        self.files.read(self.tensor, range.start * width..range.end * width, buffer)?;
        Ok(match self.tensor.dtype {
            Dtype::F32 => Entries::F32(buffer.as_chunks().0),
            Dtype::F16 => Entries::F16(buffer.as_chunks().0),
            _ => Entries::Bf16(buffer.as_chunks().0),
        })
    }

    fn width(&self) -> usize {
        self.tensor.dtype.bitsize() / 8
    }
}

/// One tensor of a tuned model, as it differs from the base's.
pub(super) enum Tuned<'a> {
    /// Entries of its own.
    Stored(Stored<'a>),
    /// The base's.
    Same,
    /// The base's, but for +0.0 at these positions, which increase.
    Zeroed(&'a [u32]),
    /// 32-bit floats.
    Replaced(Cow<'a, [f32]>),
}

impl<'a> Tuned<'a> {
    /// What `edit` makes of the base's tensor.
    ///
    /// # Errors
    /// If it does not give finite values on that, or that cannot be read.
    pub(super) fn of_edit(edit: Option<&'a TensorEdit>, base: Stored<'_>) -> Result<Self> {
        let Some(edit) = edit else { return Ok(Tuned::Same) };
        match &edit.edit {
            Edit::Zeros(zeros) => Ok(Tuned::Zeroed(zeros.positions())),
            Edit::Replace { values, .. } => Ok(Tuned::Replaced(values.into())),
            Edit::LargeZeros(_)
            | Edit::Delta(_)
            | Edit::Sparse(_)
            | Edit::Sign(_)
            | Edit::LowRank(_) => {
                let (mut buffer, mut bytes) = (Vec::new(), Vec::new());
                base.read(0..base.len(), &mut buffer)?.widen(&mut bytes);
                let mut values: Vec<f32> = bytes.into_iter().map(f32::from_le_bytes).collect();
                let (positions, changed) = edit.change(&values)?;
                match positions {
                    Some(positions) => {
                        positions.iter().zip(changed).for_each(|(&p, v)| values[p as usize] = v);
                    }
                    None => values = changed,
                }
                Ok(Tuned::Replaced(values.into()))
            }
        }
    }

    /// The entries in `range`; `base` are the base's there, and `scratch` holds what has to be
    /// read or made.
    ///
    /// # Errors
    /// If the file cannot be read, or became shorter.
    pub(super) fn entries<'s>(
        &'s self,
        range: Range<usize>,
        base: Entries<'s>,
        scratch: &'s mut Scratch,
    ) -> Result<Entries<'s>> {
        let made = &mut scratch.made;
        made.clear();
        match self {
            Tuned::Stored(tensor) => return tensor.read(range, &mut scratch.read),
            Tuned::Same => return Ok(base),
            Tuned::Zeroed(positions) => {
                let place = |at: usize| positions.partition_point(|&p| (p as usize) < at);
                let here = &positions[place(range.start)..place(range.end)];
                if here.is_empty() {
                    return Ok(base);
                }
                base.widen(made);
                here.iter().for_each(|&p| made[p as usize - range.start] = [0; 4]);
            }
            Tuned::Replaced(values) => made.extend(values[range].iter().map(|v| v.to_le_bytes())),
        }
        Ok(Entries::F32(made))
    }
}

/// What the entries of one chunk are read into, or made in.
#[derive(Default)]
pub(super) struct Scratch {
    read: Vec<u8>,
    made: Vec<[u8; 4]>,
}
