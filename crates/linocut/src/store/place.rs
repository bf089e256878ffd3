//! Where a store is: files by name, each read and written whole.

#[cfg(feature = "cloud")]
use super::bucket::Bucket;
use super::folder::Folder;
use crate::{Error, ErrorKind, Result};

/// A folder, or a bucket of a cloud.
pub(super) enum Place {
    Folder(Folder),
    #[cfg(feature = "cloud")]
    Bucket(Bucket),
}

/// A file's bytes, and what says that it is still the same.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    pub(super) tag: Tag,
}

/// By what a file is replaced only if nobody else has done so.
#[derive(Debug, PartialEq)]
pub(super) enum Tag {
    Content(blake3::Hash),
    #[cfg(feature = "cloud")]
    Version(object_store::UpdateVersion),
}

/// A file of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listed {
    /// Its name within the store.
    pub(super) key: String,
    pub(super) bytes: u64,
    /// Another one where it was changed; none where it may have been.
    pub(super) stamp: Option<String>,
}

/// Does `$call` with what a place is.
macro_rules! either {
    ($self:expr, $place:ident => $call:expr) => {
        match $self {
            Place::Folder($place) => $call,
            #[cfg(feature = "cloud")]
            Place::Bucket($place) => $call,
        }
    };
}

impl Place {
    /// A folder's path, or `s3://bucket/path`, `gs://bucket/path`, `az://container/path`.
    ///
    /// # Errors
    /// Another address, or settings in the environment that make no sense.
    pub(super) fn new(at: &str) -> Result<Self> {
        let Some((scheme, _)) = at.split_once("://") else {
            if std::path::Path::new(at).is_file() {
                let message = format!("a store at {at:?}: a file, expected a folder or a bucket");
                return Err(Error::new(ErrorKind::Config, message));
            }
            return Ok(Self::Folder(Folder::new(at)));
        };
        #[cfg(feature = "cloud")]
        if let "s3" | "gs" | "az" = scheme {
            return Bucket::new(at).map(Self::Bucket);
        }
        let message = format!("a store at {at:?}: {scheme}:// is not known here");
        Err(Error::new(ErrorKind::Config, message).with_hint(match cfg!(feature = "cloud") {
            true => "expected a folder, s3://bucket/path, gs://bucket/path or az://container/path",
            false => {
                "expected a folder: this linocut was built without buckets (`--features cloud`)"
            }
        }))
    }

    /// Makes what the folders of a new store need.
    pub(super) fn prepare(&self, folders: &[&str]) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.prepare(folders),
            #[cfg(feature = "cloud")]
            Self::Bucket(_) => Ok(()), // names with a slash need nothing there
        }
    }

    /// The file `key`, where there is one.
    ///
    /// # Errors
    /// If it cannot be read or has more than `most` bytes.
    pub(super) fn read(&self, key: &str, most: usize) -> Result<Option<Found>> {
        either!(self, place => place.read(key, most))
    }

    /// Many files, as [`Self::read`].
    pub(super) fn read_all(&self, keys: &[&str], most: usize) -> Vec<Result<Option<Found>>> {
        match self {
            Self::Folder(folder) => keys.iter().map(|key| folder.read(key, most)).collect(),
            #[cfg(feature = "cloud")]
            Self::Bucket(bucket) => bucket.read_all(keys, most),
        }
    }

    /// Writes a new file; false where there is one of that name.
    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        either!(self, place => place.create(key, bytes))
    }

    /// Writes a file, in the place of another where there is one.
    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        either!(self, place => place.put(key, bytes))
    }

    /// Writes a file in the place of the one that had `tag`; false where that was changed or is gone.
    pub(super) fn replace(&self, key: &str, bytes: &[u8], tag: &Tag) -> Result<bool> {
        either!(self, place => place.replace(key, bytes, tag))
    }

    /// Removes a file; false where there is none.
    pub(super) fn remove(&self, key: &str) -> Result<bool> {
        either!(self, place => place.remove(key))
    }

    /// Whether there is a file `key`.
    pub(super) fn has(&self, key: &str) -> Result<bool> {
        match self {
            Self::Folder(folder) => Ok(folder.has(key)),
            #[cfg(feature = "cloud")]
            Self::Bucket(bucket) => bucket.has(key),
        }
    }

    /// The files of a folder.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        either!(self, place => place.list(folder))
    }
}
