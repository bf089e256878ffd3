//! Modules import only what lies below them.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the top down; a module may use those of later rows, and of its own row as long as no two
/// use each other.
const ROWS: [&[&str]; 6] = [
    &["export", "study"],
    &["closeness", "tune", "bank", "pack", "store"],
    &["cut", "hub", "model"],
    &["checkpoint", "data"],
    &["kernels", "output"],
    &["error", "nearest"],
];

fn row(module: &str) -> usize {
    ROWS.iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("{module} stands in no row; add it where it belongs"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// (using module, used path) of everything written `crate::module::…` in code.
fn uses() -> BTreeSet<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut uses = BTreeSet::new();
    for file in files {
        let first = file.strip_prefix(&root).unwrap().components().next().unwrap();
        let module = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string();
        if module == "lib" {
            continue;
        }
        let code = fs::read_to_string(&file).unwrap();
        let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
        for used in code.join("\n").split("crate::").skip(1) {
            let path: String = used
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
                .collect();
            // Several names in braces count one by one.
            let (prefix, names) = match path.strip_suffix("::") {
                Some(prefix) => (prefix, used[path.len()..].trim_start_matches('{')),
                None => (path.as_str(), ""),
            };
            let used_module = prefix.split("::").next().unwrap().to_string();
            if used_module == module || used_module.starts_with(char::is_uppercase) {
                continue;
            }
            if names.is_empty() {
                uses.insert((module.clone(), prefix.to_string()));
                continue;
            }
            let names = names.split('}').next().unwrap().split(',').map(str::trim);
            for name in names.filter(|name| !name.is_empty()) {
                uses.insert((module.clone(), format!("{prefix}::{name}")));
            }
        }
    }
    uses
}

#[test]
fn imports_point_down() {
    let uses = uses();
    assert!(uses.contains(&("model".into(), "checkpoint::Checkpoint".into())), "{uses:#?}");
    let used_module = |path: &str| path.split("::").next().unwrap().to_string();
    let pairs: BTreeSet<(String, String)> =
        uses.iter().map(|(from, to)| (from.clone(), used_module(to))).collect();
    for (from, to) in &uses {
        // `use crate::{Error, Result}`
        if to.starts_with('{') || to.is_empty() {
            continue;
        }
        let module = used_module(to);
        let up = row(&module) < row(from);
        assert!(!up, "{from} uses crate::{to}, which lies above it");
        let back = pairs.contains(&(module.clone(), from.clone()));
        let beside = row(&module) == row(from);
        assert!(!beside || !back, "{from} and {module} use each other");
    }
}
