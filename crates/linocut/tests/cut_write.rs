//! Writing cut files: all or nothing, and never over another file unasked.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod cut_samples;

use std::fs;
use std::path::Path;

use cut_samples as samples;
use linocut::ErrorKind;
use linocut::cut::Cut;

/// The names in `folder`, hidden ones too, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_back_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cut");
    let cut = samples::zeros();
    cut.write(&path, false).unwrap();
    assert_eq!(Cut::read(&path).unwrap(), cut);
    assert_eq!(fs::read(&path).unwrap(), cut.to_bytes());
    assert_eq!(names(folder.path()), ["t.cut"]);
}

#[test]
fn an_existing_file_is_kept_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cut");
    fs::write(&path, "mine").unwrap();
    let error = samples::zeros().write(&path, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("t.cut exists already"), "{error}");
    assert!(error.hint().unwrap().contains("`force`"));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    samples::zeros().write(&path, true).unwrap();
    assert_eq!(Cut::read(&path).unwrap(), samples::zeros());
    assert_eq!(names(folder.path()), ["t.cut"]);
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("t.cut"), folder.path().join("other"));
    samples::zeros().write(&path, false).unwrap();
    fs::write(&other, "").unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&other));
}

#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_naming_the_path() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("d.cut")).unwrap();
    for path in ["absent/t.cut", "file/t.cut", "d.cut"] {
        let path = folder.path().join(path);
        let error = samples::zeros().write(&path, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert_eq!(names(folder.path()), ["d.cut", "file"]);
}

#[test]
fn reading_says_which_file_and_keeps_the_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cut");
    let error = Cut::read(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("t.cut"), "{error}");
    fs::write(&path, b"<html>").unwrap();
    let error = Cut::read(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cut);
    let said = error.to_string();
    assert!(said.contains("t.cut: not a whole and unaltered cut"), "{said}");
    assert_eq!(said.matches("hint:").count(), 1, "{said}");
}

/// A write that fails half-way, as on a full disk: this test starts itself again under a limit on the
/// size of files, with the signal ignored that would otherwise end the process.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file_and_no_temporary_one() {
    const FOLDER: &str = "LINOCUT_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let path = Path::new(&folder).join("t.cut");
        let error = samples::zeros().write(&path, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert!(error.to_string().contains("too large"), "{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.cut");
    fs::write(&path, "old").unwrap();
    assert!(samples::zeros().to_bytes().len() > 1024, "the limit below, in blocks of 512 or 1024");
    let done = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg("a_full_disk_leaves_the_old_file_and_no_temporary_one")
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["t.cut"]);
}
