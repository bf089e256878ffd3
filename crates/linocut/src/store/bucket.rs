//! A store in a bucket: S3 and what speaks its language, Google Cloud Storage, Azure.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error as Failure, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    UpdateVersion,
};
use tokio::runtime::{Builder, Runtime};

use super::place::{Found, Listed, Tag};
use crate::{Error, ErrorKind, Result};

/// Requests at one time.
const REQUESTS: usize = 32;
/// Time after which a request that fails is not tried again, and that one may take.
const PATIENCE: Duration = Duration::from_secs(15);
const REQUEST: Duration = Duration::from_secs(60);

/// A path in a bucket.
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The address, for messages.
    at: String,
    /// Only absent while this is dropped.
    runtime: Option<Runtime>,
}

impl Bucket {
    /// `s3://bucket/path`, `gs://…` or `az://…`; keys, regions and endpoints are taken from the
    /// environment by the names that the clouds' own tools use (`AWS_ACCESS_KEY_ID`, …).
    pub(super) fn new(at: &str) -> Result<Self> {
        let (scheme, rest) = at.split_once("://").unwrap_or_default();
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let wrong = |e: Failure| {
            Error::new(ErrorKind::Config, format!("a store at {at}: {e}")).with_source(e)
        };
        if bucket.is_empty() {
            let message = format!("a store at {at:?}: no bucket, expected {scheme}://bucket/path");
            return Err(Error::new(ErrorKind::Config, message));
        }
        // A process may have chosen how it encrypts already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry = RetryConfig { max_retries: 5, retry_timeout: PATIENCE, ..Default::default() };
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| value == "true");
        let client = ClientOptions::new()
            .with_timeout(REQUEST)
            .with_connect_timeout(PATIENCE)
            .with_allow_http(set("AWS_ALLOW_HTTP") || set("AZURE_ALLOW_HTTP"));
        let store: Arc<dyn ObjectStore> = match scheme {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                Arc::new(
                    builder.with_retry(retry).with_client_options(client).build().map_err(wrong)?,
                )
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                Arc::new(
                    builder.with_retry(retry).with_client_options(client).build().map_err(wrong)?,
                )
            }
            _ => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                Arc::new(
                    builder.with_retry(retry).with_client_options(client).build().map_err(wrong)?,
                )
            }
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")).with_source(e)
        })?;
        let prefix = Path::from(path);
        Ok(Self { store, prefix, at: at.trim_end_matches('/').into(), runtime: Some(runtime) })
    }

    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("there until it is dropped").block_on(work)
    }

    fn failed(&self, doing: &str, key: &str, e: Failure) -> Error {
        let message = format!("cannot {doing} {}/{key}: {}", self.at, causes(&e));
        let error = Error::new(ErrorKind::Io, message);
        let error = match &e {
            Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => {
                error.with_hint("check the keys in the environment and what they may do")
            }
            _ => error,
        };
        error.with_source(e)
    }

    async fn get(&self, key: &str, most: usize) -> Result<Option<Found>> {
        let found = match self.store.get(&self.path(key)).await {
            Err(Failure::NotFound { .. }) => return Ok(None),
            found => found.map_err(|e| self.failed("read", key, e))?,
        };
        if found.meta.size > most as u64 {
            let size = found.meta.size;
            let message = format!("{}/{key} has {size} bytes, expected at most {most}", self.at);
            return Err(Error::new(ErrorKind::Cut, message));
        }
        let tag =
            UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let bytes = found.bytes().await.map_err(|e| self.failed("read", key, e))?;
        Ok(Some(Found { bytes: bytes.to_vec(), tag: Tag::Version(tag) }))
    }

    pub(super) fn read(&self, key: &str, most: usize) -> Result<Option<Found>> {
        self.wait(self.get(key, most))
    }

    pub(super) fn read_all(&self, keys: &[&str], most: usize) -> Vec<Result<Option<Found>>> {
        let reads = futures_util::stream::iter(keys).map(|key| self.get(key, most));
        self.wait(reads.buffered(REQUESTS).collect())
    }

    fn write(&self, key: &str, bytes: &[u8], mode: PutMode) -> Result<bool> {
        let options = PutOptions::from(mode);
        let path = self.path(key);
        match self.wait(self.store.put_opts(&path, bytes.to_vec().into(), options)) {
            Ok(_) => Ok(true),
            Err(Failure::AlreadyExists { .. } | Failure::Precondition { .. }) => Ok(false),
            Err(e) => Err(self.failed("write", key, e)),
        }
    }

    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        self.write(key, bytes, PutMode::Create)
    }

    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.write(key, bytes, PutMode::Overwrite).map(drop)
    }

    pub(super) fn replace(&self, key: &str, bytes: &[u8], tag: &Tag) -> Result<bool> {
        let Tag::Version(tag) = tag else { return Ok(false) };
        match self.write(key, bytes, PutMode::Update(tag.clone())) {
            // Gone: S3 calls that not found.
            Err(e) if is_missing(&e) => Ok(false),
            written => written,
        }
    }

    pub(super) fn remove(&self, key: &str) -> Result<bool> {
        let there = self.has(key)?; // S3 removes what is not there, too
        match self.wait(self.store.delete(&self.path(key))) {
            Err(Failure::NotFound { .. }) => Ok(false),
            removed => removed.map(|()| there).map_err(|e| self.failed("remove", key, e)),
        }
    }

    pub(super) fn has(&self, key: &str) -> Result<bool> {
        match self.wait(self.store.head(&self.path(key))) {
            Err(Failure::NotFound { .. }) => Ok(false),
            found => found.map(|_| true).map_err(|e| self.failed("find", key, e)),
        }
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let path = self.path(folder);
        let all = self.wait(self.store.list(Some(&path)).try_collect::<Vec<_>>());
        let all = all.map_err(|e| self.failed("list", folder, e))?;
        let listed = all.into_iter().filter_map(|meta| {
            let parts: Vec<_> = meta.location.prefix_match(&path)?.collect();
            let [name] = &parts[..] else { return None };
            let name = percent_encoding::percent_decode_str(name.as_ref()).decode_utf8().ok()?;
            let key = format!("{folder}/{name}");
            Some(Listed { key, bytes: meta.size, stamp: meta.e_tag })
        });
        Ok(listed.collect())
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // Waits for nothing: it may be dropped where one must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<Failure>());
    matches!(source, Some(Failure::NotFound { .. }))
}

/// An error and those it comes from, in one line.
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = e.source();
    }
    text.replace('\n', " ")
}
