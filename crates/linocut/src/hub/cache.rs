//! A model from the hub, kept in its cache.

use super::{Fetch, variable};
use crate::data::Remark;
use crate::{Error, ErrorKind, Result};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Files that a base may have beside its weights; `export` copies some of them.
const SMALL_FILES: [&str; 10] = [
    "config.json",
    "tokenizer.json",
    POOLING,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    INDEX,
];
/// Any of these makes a tokenizer; what reads none of them says so.
const VOCABULARIES: [&str; 3] = ["tokenizer.json", "vocab.txt", "vocab.json"];
const POOLING: &str = "1_Pooling/config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The cache's folder of the model `name`, downloaded as far as it is not there yet.
pub(super) fn folder(name: &str, fetch: Fetch, remarks: &mut Vec<Remark>) -> Result<PathBuf> {
    let cache = place();
    let mut copy = || {
        let folder = cached(&cache, name)?;
        if fetch.own_pooling && !folder.join(POOLING).exists() && !absent_pooling(&folder).exists()
        {
            remarks.push(Remark::Note(format!(
                "the copy of {name} in the cache has no {POOLING}; if the model has one, its \
                 pooling is another than what is taken now: give it as `pooling`"
            )));
        }
        Ok(folder)
    };
    let stated = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].map(|name| (name, variable(name)));
    if let Some((set, Some(value))) = stated.into_iter().find(|(_, value)| value.is_some())
        && ["1", "on", "yes", "true"].contains(&&*value.to_ascii_lowercase())
    {
        return copy().map_err(|lack: String| {
            failure(format!("`base` {name}: {lack}, and {set} is set"))
                .with_hint("unset it for once to fetch the model, or give a folder that holds it")
        });
    }
    let mut builder = ApiBuilder::from_cache(cache.clone())
        .with_progress(fetch.progress && std::io::stderr().is_terminal())
        .with_user_agent("linocut", env!("CARGO_PKG_VERSION"));
    if let Some(endpoint) = variable("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_string());
    }
    if let Some(token) = variable("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().map_err(|e| request_error(name, "the model", &e))?;
    match download(&api, &cache, name) {
        Err(Failed::NoAnswer(error)) => match copy() {
            Ok(folder) => {
                remarks.push(Remark::Note(format!(
                    "the hub does not answer; using the copy of {name} in the cache"
                )));
                Ok(folder)
            }
            Err(_) => Err(error),
        },
        Err(Failed::Other(error)) => Err(error),
        Ok(folder) => Ok(folder),
    }
}

/// The cache of the hub, which all its tools share.
pub(super) fn place() -> Cache {
    match variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")) {
        Some(path) => Cache::new(path.into()),
        None => match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (None, Some(path)) => Cache::new(Path::new(&path).join("huggingface").join("hub")),
            _ => Cache::from_env(),
        },
    }
}

/// Why a download failed: a cached copy helps against the first only.
enum Failed {
    NoAnswer(Error),
    Other(Error),
}

/// Brings the files of the newest commit into the cache.
fn download(api: &Api, cache: &Cache, name: &str) -> std::result::Result<PathBuf, Failed> {
    let failed = |what: &str, e: ApiError| {
        let error = request_error(name, what, &e);
        if no_answer(&e) { Failed::NoAnswer(error) } else { Failed::Other(error) }
    };
    let other = |message: String| Failed::Other(failure(message));
    let info = api.model(name.to_string()).info().map_err(|e| failed("the model", e))?;
    let listed: BTreeSet<&str> = info.siblings.iter().map(|s| s.rfilename.as_str()).collect();
    if !listed.contains("config.json") {
        return Err(other(format!("`base` {name}: the model has no config.json")));
    }
    if !VOCABULARIES.iter().any(|file| listed.contains(file)) {
        let message = format!("`base` {name}: the model has no {}", VOCABULARIES.join(", no "));
        return Err(Failed::Other(failure(message).with_hint(format!(
            "write a folder of it with tokenizer.json: python -c \"from transformers import AutoModel, \
             AutoTokenizer; [c.from_pretrained('{name}').save_pretrained('base') for c in (AutoModel, \
             AutoTokenizer)]\""
        ))));
    }
    if !listed.contains(WEIGHTS) && !listed.contains(INDEX) {
        return Err(other(format!("`base` {name}: the model has no {WEIGHTS} and no {INDEX}")));
    }
    // All files of one commit, even if another is pushed meanwhile.
    let commit = Repo::with_revision(name.to_string(), RepoType::Model, info.sha.clone());
    let repo = api.repo(commit);
    let main = cache.model(name.to_string());
    let folder = main.pointer_path(&info.sha);
    let get = |file: &str| match folder.join(file).exists() {
        true => Ok(()),
        false => repo.download(file).map(drop).map_err(|e| failed(file, e)),
    };
    let whole = listed.contains("tokenizer.json");
    let needless = |file: &&str| whole && ["vocab.json", "merges.txt"].contains(file);
    for file in SMALL_FILES.into_iter().filter(|file| listed.contains(file) && !needless(file)) {
        get(file)?;
    }
    if listed.contains(WEIGHTS) {
        get(WEIGHTS)?;
    } else {
        for shard in shards(&folder).map_err(Failed::Other)? {
            get(&shard)?;
        }
    }
    // From here on the copy counts as whole: `main` leads to it, and what it lacks is known.
    let mark = || -> std::io::Result<()> {
        if !listed.contains(POOLING) {
            let absent = absent_pooling(&folder);
            fs::create_dir_all(absent.parent().unwrap_or(&folder))?;
            fs::write(absent, "")?;
        }
        main.create_ref(&info.sha)
    };
    mark().map_err(|e| Failed::Other(Error::io(&folder, "write", e)))?;
    Ok(folder)
}

/// The copy in the cache, if all that linocut needs is there, else what is not.
fn cached(cache: &Cache, name: &str) -> std::result::Result<PathBuf, String> {
    let place = cache.path().display();
    let branch =
        cache.path().join(format!("models--{}", name.replace('/', "--"))).join("refs/main");
    let Ok(commit) = fs::read_to_string(branch) else { return Err(format!("not in {place}")) };
    let folder = cache.model(name.to_string()).pointer_path(commit.trim());
    let vocabulary = VOCABULARIES.iter().find(|file| folder.join(file).exists());
    let vocabulary = vocabulary.unwrap_or(&VOCABULARIES[0]);
    let mut needed = vec!["config.json".to_string(), vocabulary.to_string()];
    match folder.join(INDEX).exists() && !folder.join(WEIGHTS).exists() {
        true => needed.extend(shards(&folder).map_err(|e| e.to_string())?),
        false => needed.push(WEIGHTS.to_string()),
    }
    match needed.into_iter().find(|file| !folder.join(file).exists()) {
        None => Ok(folder),
        Some(missing) => Err(format!("its copy in {place} lacks {missing}")),
    }
}

/// Where the cache notes that a commit has no such file: `.no_exist/<commit>/<file>`.
fn absent_pooling(folder: &Path) -> PathBuf {
    let commit = folder.file_name().unwrap_or_default();
    let model = folder.ancestors().nth(2).unwrap_or(folder);
    model.join(".no_exist").join(commit).join(POOLING)
}

/// The files that an index names, none of them outside the folder.
fn shards(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(INDEX);
    let content = fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    let index: serde_json::Value = serde_json::from_slice(&content).unwrap_or_default();
    let names: Option<BTreeSet<&str>> =
        index["weight_map"].as_object().and_then(|map| map.values().map(|v| v.as_str()).collect());
    let plain = |name: &&str| Path::new(name).file_name() == Some(name.as_ref());
    match names {
        Some(names) if !names.is_empty() && names.iter().all(plain) => {
            Ok(names.into_iter().map(str::to_string).collect())
        }
        _ => Err(failure(format!("{}: expected a weight_map of file names", path.display()))),
    }
}

fn failure(message: String) -> Error {
    Error::new(ErrorKind::Base, message).with_hint(
        "give a folder instead: config.json, model.safetensors and tokenizer.json of an encoder",
    )
}

/// Whether the request got no answer at all, as without a network.
fn no_answer(error: &ApiError) -> bool {
    match error {
        ApiError::RequestError(e) => !matches!(**e, ureq::Error::StatusCode(_)),
        ApiError::TooManyRetries(e) => no_answer(e),
        _ => false,
    }
}

fn request_error(name: &str, what: &str, error: &ApiError) -> Error {
    let status = match error {
        ApiError::RequestError(e) => match **e {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    };
    match status {
        // The hub answers 401 for a model that is not there, too.
        Some(status @ (401 | 403 | 404)) => failure(format!(
            "`base` {name}: no such folder here, and the hub does not show {what} (status {status})"
        ))
        .with_hint("check the name; for a private or gated model set HF_TOKEN"),
        Some(status) => {
            failure(format!("`base` {name}: the hub answers {what} with status {status}"))
                .with_hint("try again later, or give a folder")
        }
        None if no_answer(error) => failure(format!(
            "`base` {name}: no such folder here, and the hub does not answer: {error}"
        ))
        .with_hint("without a network give a folder that holds the model"),
        None => failure(format!("`base` {name}: cannot fetch {what} from the hub: {error}")),
    }
}
