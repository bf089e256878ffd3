//! A folder sent to the hub as one commit, by the requests that `create_commit` of `huggingface_hub` makes.

use super::{is_hub_name, variable};
use crate::output::{shortened, shown};
use crate::{Error, ErrorKind, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, SendBody};

const ENDPOINT: &str = "https://huggingface.co";
const LFS: &str = "application/vnd.git-lfs+json";
/// Time for an answer, for its body, and, beside a second for every [`SLOWEST`] bytes, for what is sent.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes a second that a connection has at least.
const SLOWEST: u64 = 20_000;
/// Most bytes read of an answer.
const LARGEST_ANSWER: u64 = 16 << 20;
/// From this size on a file is sent by itself, whatever the hub says: others are held in memory, as base64.
const LARGE: u64 = 10 << 20;
/// Most characters shown of what the hub says.
const MOST_SHOWN: usize = 300;
/// The hub sees this much of a file's beginning when it chooses how it is to be sent.
const SAMPLE: u64 = 512;

/// An account on the Hugging Face hub, with the right to write.
pub struct Account {
    agent: Agent,
    endpoint: String,
    token: String,
    /// Whose it is.
    pub name: String,
}

/// What was pushed.
#[non_exhaustive]
pub struct Pushed {
    /// Where people see the model.
    pub url: String,
    /// The commit, as the hub names it.
    pub commit: String,
    /// Files in it.
    pub files: usize,
    /// Bytes that had to be sent beside the commit itself: of large files, those the hub did not have yet.
    pub sent: u64,
}

/// A file of the folder.
struct SentFile {
    path: PathBuf,
    /// Its name there.
    name: String,
    bytes: u64,
    /// SHA-256 in hexadecimal, of files that are sent by themselves.
    digest: Option<String>,
}

impl Account {
    /// The account that the token in `HF_TOKEN` belongs to, or the token that `hf auth login` left; `HF_ENDPOINT` names
    /// another server.
    ///
    /// # Errors
    /// If there is no token, the hub does not know it, or it may only read.
    pub fn open() -> Result<Self> {
        let kept = || super::cache::place().token();
        let token = variable("HF_TOKEN").or_else(kept).unwrap_or_default().trim().to_string();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let state = if token.is_empty() { "no token" } else { "no usable token" };
            return Err(Error::new(ErrorKind::Config, format!("there is {state} of the hub"))
                .with_hint("set HF_TOKEN to a token that may write, or run `hf auth login`"));
        }
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            let message = format!("HF_ENDPOINT is {endpoint:?}");
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("expected an address such as https://huggingface.co"));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_recv_body(Some(PATIENCE))
            // Nothing is sent where the hub did not say.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("linocut/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let endpoint = endpoint.trim_end_matches('/').to_string();
        let mut account = Self { agent, endpoint, token, name: String::new() };
        let url = format!("{}/api/whoami-v2", account.endpoint);
        let (status, found) =
            account.answer(&url, account.allowed(account.agent.get(&url)).call())?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(Error::new(ErrorKind::Config, "the hub does not know the token")
                .with_hint("set HF_TOKEN to one that is in force, or run `hf auth login`"));
        }
        let found = expect(&url, status, found)?;
        if found["auth"]["accessToken"]["role"] == "read" {
            return Err(Error::new(ErrorKind::Config, "the token may only read from the hub")
                .with_hint("make one that may write, and set HF_TOKEN to it"));
        }
        account.name = text(&url, &found, "name")?;
        Ok(account)
    }

    /// Sends all files of `folder` to the model `name` (owner/name) as one commit: a reader sees all of them or none. The model
    /// is made if there is none, private if so asked; files of other names stay in it. `progress` gets the bytes sent and to
    /// be sent.
    ///
    /// # Errors
    /// If a file cannot be read, the account may not write there, or the hub does not answer. What was sent until then
    /// is not sent again the next time.
    pub fn push(
        &self,
        folder: &Path,
        name: &str,
        private: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Pushed> {
        check_name(name)?;
        let mut files = files_of(folder)?;
        self.create(name, private)?;
        self.choose(name, &mut files)?;
        let sent = self.send_large(name, &files, progress)?;
        let commit = self.commit(name, &files)?;
        let url = format!("{}/{name}", self.endpoint);
        Ok(Pushed { url, commit, files: files.len(), sent })
    }

    /// Makes the model, if there is none.
    fn create(&self, name: &str, private: bool) -> Result<()> {
        let (owner, model) = name.split_once('/').unwrap_or_default();
        let wanted =
            json!({"type": "model", "name": model, "organization": owner, "private": private});
        let url = format!("{}/api/repos/create", self.endpoint);
        match self.post(&url, &wanted)? {
            (StatusCode::CONFLICT, _) if private => self.check_private(name),
            (StatusCode::CONFLICT, _) => Ok(()),
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => Err(Error::new(
                ErrorKind::Config,
                format!("{} may not make the model {name} on the hub", self.name),
            )
            .with_hint("check the owner's name, and what the token may do")),
            (status, found) => expect(&url, status, found).map(drop),
        }
    }

    /// Refuses to publish what was to be private.
    fn check_private(&self, name: &str) -> Result<()> {
        let url = format!("{}/api/models/{name}", self.endpoint);
        let (status, found) = self.answer(&url, self.allowed(self.agent.get(&url)).call())?;
        if expect(&url, status, found)?["private"] == true {
            return Ok(());
        }
        let message = format!("the model {name} is on the hub already, and is not private");
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("make it private there, or push without `private`"))
    }

    /// Asks how each file is to be sent, and takes the digest of those that are sent by themselves. That the model's own rules leave one out
    /// is an error.
    fn choose(&self, name: &str, files: &mut Vec<SentFile>) -> Result<()> {
        let mut wanted = vec![];
        for file in &*files {
            let mut sample = vec![];
            let io = |e| Error::io(&file.path, "read", e);
            File::open(&file.path)
                .map_err(io)?
                .take(SAMPLE)
                .read_to_end(&mut sample)
                .map_err(io)?;
            let sample = STANDARD.encode(sample);
            wanted.push(json!({"path": file.name, "size": file.bytes, "sample": sample}));
        }
        let url = format!("{}/api/models/{name}/preupload/main", self.endpoint);
        let (status, found) = self.post(&url, &json!({ "files": wanted }))?;
        let found = expect(&url, status, found)?;
        let of = |file: &SentFile| {
            let told = found["files"].as_array().into_iter().flatten();
            told.clone().find(|told| told["path"] == *file.name).cloned().unwrap_or_default()
        };
        let (ignored, kept): (Vec<_>, Vec<_>) =
            std::mem::take(files).into_iter().partition(|file| of(file)["shouldIgnore"] == true);
        *files = kept;
        if let Some(file) = ignored.first() {
            let what = format!("the model's own rules leave out {}", file.name);
            return Err(refused(&url, &what).with_hint("mend .gitignore or .gitattributes there"));
        }
        for file in files {
            if file.bytes >= LARGE || of(file)["uploadMode"] == "lfs" {
                let io = |e| Error::io(&file.path, "read", e);
                let mut hasher = Sha256::new();
                std::io::copy(&mut File::open(&file.path).map_err(io)?, &mut hasher).map_err(io)?;
                file.digest = Some(format!("{:x}", hasher.finalize()));
            }
        }
        Ok(())
    }

    /// Sends the files that have a digest and that the hub has not, by Git LFS's batches; returns their bytes.
    fn send_large(
        &self,
        name: &str,
        files: &[SentFile],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64> {
        let large = || files.iter().filter_map(|file| Some((file, file.digest.as_ref()?)));
        let objects: Vec<_> =
            large().map(|(file, digest)| json!({"oid": digest, "size": file.bytes})).collect();
        if objects.is_empty() {
            return Ok(0);
        }
        let url = format!("{}/{name}.git/info/lfs/objects/batch", self.endpoint);
        let wanted = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
            "objects": objects, "ref": {"name": "main"},
        });
        let request = self.agent.post(&url).header("accept", LFS).header("content-type", LFS);
        let (status, found) = self.answer(&url, self.allowed(request).send(wanted.to_string()))?;
        let found = expect(&url, status, found)?;
        let mut missing = vec![];
        for (file, digest) in large() {
            let mut told = found["objects"].as_array().into_iter().flatten();
            let told = told.find(|told| told["oid"] == **digest).ok_or_else(|| {
                refused(&url, &format!("does not say where {} is to be sent", file.name))
            })?;
            if told["error"].is_object() {
                let why = told["error"]["message"].as_str().unwrap_or("without a reason");
                return Err(refused(&url, &format!("does not take {}: {why}", file.name)));
            }
            if told["actions"]["upload"].is_object() {
                missing.push((file, digest, &told["actions"]));
            }
        }
        let total = missing.iter().map(|(file, ..)| file.bytes).sum();
        let mut sent = 0;
        for (file, digest, actions) in missing {
            let upload = &actions["upload"];
            let href = text(&url, upload, "href")?;
            let mut show = |more: u64| {
                sent += more;
                progress(sent, total);
            };
            if upload["header"]["chunk_size"].is_null() {
                self.put(&href, &upload["header"], file, 0, file.bytes, &mut show)?;
            } else {
                self.put_parts(&href, &upload["header"], (file, digest), &mut show)?;
            }
            if let Some(href) = actions["verify"]["href"].as_str() {
                let (status, found) =
                    self.post(href, &json!({"oid": digest, "size": file.bytes}))?;
                expect(href, status, found)?;
            }
        }
        Ok(sent)
    }

    /// Sends a file in parts, each to an address of its own: `header` has them, by numbers from 1, and the parts' size.
    fn put_parts(
        &self,
        href: &str,
        header: &Value,
        (file, digest): (&SentFile, &str),
        show: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let size = match &header["chunk_size"] {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        };
        let size = size.filter(|size| *size > 0).ok_or_else(|| {
            refused(href, &format!("gives {} as the size of parts", header["chunk_size"]))
        })?;
        let mut addresses: Vec<(u64, &str)> = header
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, to)| Some((name.parse().ok()?, to.as_str()?)))
            .collect();
        addresses.sort_unstable();
        let numbers = (1..).zip(&addresses).all(|(number, (named, _))| number == *named);
        if !numbers || addresses.len() as u64 != file.bytes.div_ceil(size) {
            let message = format!("gives {} addresses for parts of {size} bytes", addresses.len());
            return Err(refused(href, &message));
        }
        let mut parts = vec![];
        for (number, to) in addresses {
            let from = (number - 1) * size;
            let bytes = size.min(file.bytes - from);
            let answer = self.put(to, &Value::Null, file, from, bytes, show)?;
            let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
            let tag = tag.ok_or_else(|| refused(to, "gives no etag for a part"))?;
            parts.push(json!({"partNumber": number, "etag": tag}));
        }
        let request = self.agent.post(href).header("accept", LFS).header("content-type", LFS);
        let whole = json!({"oid": digest, "parts": parts}).to_string();
        let (status, found) = self.answer(href, request.send(whole))?;
        expect(href, status, found).map(drop)
    }

    /// Sends `bytes` bytes of a file, from `from` on, to an address that needs no token.
    fn put(
        &self,
        href: &str,
        header: &Value,
        file: &SentFile,
        from: u64,
        bytes: u64,
        show: &mut dyn FnMut(u64),
    ) -> Result<Response<Body>> {
        let io = |e| Error::io(&file.path, "read", e);
        let mut opened = File::open(&file.path).map_err(io)?;
        opened.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut content = Watched { file: opened.take(bytes), show };
        let time = PATIENCE + Duration::from_secs(bytes / SLOWEST);
        let request = self.agent.put(href).config().timeout_send_body(Some(time)).build();
        let mut request = request.header("content-length", bytes.to_string());
        for (name, value) in header.as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        let answer = request.send(SendBody::from_reader(&mut content));
        let mut answer = answer.map_err(|e| silent(href, e))?;
        if !answer.status().is_success() {
            let found = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
            expect(href, answer.status(), found.unwrap_or_default())?;
        }
        Ok(answer)
    }

    /// One commit of all files.
    fn commit(&self, name: &str, files: &[SentFile]) -> Result<String> {
        let header = json!({"summary": "A task of linocut", "description": ""});
        let mut lines = json!({"key": "header", "value": header}).to_string() + "\n";
        for file in files {
            let line = if let Some(digest) = &file.digest {
                let value = json!({
                    "path": file.name, "algo": "sha256", "oid": digest, "size": file.bytes,
                });
                json!({"key": "lfsFile", "value": value})
            } else {
                let content = fs::read(&file.path).map_err(|e| Error::io(&file.path, "read", e))?;
                let content = STANDARD.encode(content);
                let value = json!({"path": file.name, "encoding": "base64", "content": content});
                json!({"key": "file", "value": value})
            };
            lines += &(line.to_string() + "\n");
        }
        let url = format!("{}/api/models/{name}/commit/main", self.endpoint);
        let time = PATIENCE + Duration::from_secs(lines.len() as u64 / SLOWEST);
        let request = self.agent.post(&url).config().timeout_send_body(Some(time)).build();
        let request = request.header("content-type", "application/x-ndjson");
        let (status, found) = self.answer(&url, self.allowed(request).send(lines))?;
        let commit = text(&url, &expect(&url, status, found)?, "commitOid")?;
        Ok(shown(&shortened(&commit, MOST_SHOWN)).into_owned())
    }

    fn post(&self, url: &str, value: &Value) -> Result<(StatusCode, Vec<u8>)> {
        let request = self.agent.post(url).header("content-type", "application/json");
        self.answer(url, self.allowed(request).send(value.to_string()))
    }

    fn allowed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        request.header("authorization", format!("Bearer {}", self.token))
    }

    fn answer(
        &self,
        url: &str,
        answer: std::result::Result<Response<Body>, ureq::Error>,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let mut answer = answer.map_err(|e| silent(url, e))?;
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        Ok((answer.status(), body.map_err(|e| silent(url, e))?))
    }
}

/// Refuses what is no name of a model on the hub.
///
/// # Errors
/// If `name` is not `owner/name`.
pub fn check_name(name: &str) -> Result<()> {
    if is_hub_name(name) {
        return Ok(());
    }
    let message = format!("`push` is {name:?}, expected owner/name, as the hub spells a model");
    Err(Error::new(ErrorKind::Config, message))
}

/// A part of a file that says how much of it was read.
struct Watched<'a> {
    file: std::io::Take<File>,
    show: &'a mut dyn FnMut(u64),
}

impl Read for Watched<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(to)?;
        (self.show)(read as u64);
        Ok(read)
    }
}

/// The files of a folder, by name.
fn files_of(folder: &Path) -> Result<Vec<SentFile>> {
    let io = |e| Error::io(folder, "read", e);
    let mut files = vec![];
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let bytes = path.metadata().map_err(|e| Error::io(&path, "read", e))?.len();
        files.push(SentFile { path, name, bytes, digest: None });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The JSON of an answer that says yes.
fn expect(url: &str, status: StatusCode, body: Vec<u8>) -> Result<Value> {
    let found: Option<Value> = serde_json::from_slice(&body).ok();
    if status.is_success() {
        return Ok(found.unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&body);
    let why = found.as_ref().and_then(|found| found["error"].as_str()).unwrap_or(&text);
    let why = shortened(why.trim(), MOST_SHOWN);
    let why = shown(&why);
    Err(refused(url, &format!("answers with status {}: {why}", status.as_u16())))
}

fn text(url: &str, found: &Value, field: &str) -> Result<String> {
    let text = found[field].as_str().map(str::to_string);
    text.ok_or_else(|| refused(url, &format!("gives no `{field}`")))
}

fn refused(url: &str, what: &str) -> Error {
    Error::new(ErrorKind::Io, format!("{}: the hub {what}", without_query(url)))
}

fn silent(url: &str, error: ureq::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{}: the hub does not answer: {error}", without_query(url)))
        .with_hint("try again: what was sent is not sent a second time")
        .with_source(error)
}

/// An address without what signs it: errors are shown, and end in logs.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}
