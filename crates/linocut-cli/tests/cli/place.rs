//! A folder to run commands in, and what a run showed.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::{fs, thread};
use tempfile::TempDir;

/// A temporary folder with `base/` (3 layers of 36, 99 tokens) and `topics/`, a task of 3 labels.
pub(crate) struct Place {
    folder: TempDir,
}

/// Training that learns `topics` by heart.
pub(crate) const LEARN: &str = "--method full --lr 2e-3 --head-lr 1e-2 --epochs 30 --batch 8";

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
        let base = testdata.join("bert/base");
        place.copy(&base.join("config.json"), "base/config.json");
        place.copy(&base.join("model.safetensors"), "base/model.safetensors");
        place.copy(&testdata.join("tiny/tokenizer.json"), "base/tokenizer.json");
        for name in ["task.json", "train.tsv", "dev.tsv"] {
            place.copy(&testdata.join("tiny/task").join(name), &format!("topics/{name}"));
        }
        place
    }

    /// With `topics.cut`, which is trained once.
    pub(crate) fn trained() -> Self {
        static CUT: OnceLock<Vec<u8>> = OnceLock::new();
        let place = Self::new();
        let cut = CUT.get_or_init(|| {
            place.train(LEARN, "topics.cut");
            place.read("topics.cut")
        });
        place.write("topics.cut", cut);
        place
    }

    /// Trains `topics` with these options, which must work.
    pub(crate) fn train(&self, options: &str, out: &str) -> Shown {
        let shown =
            self.run(&format!("train --base base --task topics {options} --out {out} --quiet"));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
        shown
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn copy(&self, from: &Path, to: &str) {
        self.write(to, fs::read(from).unwrap());
    }

    /// A file with something in it replaced.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name}: {from}");
        self.write(name, text.replace(from, to));
    }

    /// Names of all files and folders here, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `linocut` in this folder, without whatever the caller's environment sets.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linocut"));
        self.prepare(&mut command);
        command
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        command.current_dir(self.folder.path());
        for (name, _) in std::env::vars() {
            let lower = name.to_lowercase();
            if name.starts_with("HF_") || name.starts_with("LINOCUT_") || lower.ends_with("_proxy")
            {
                command.env_remove(name);
            }
        }
    }

    /// Runs a command line, split at spaces, with an empty standard input.
    pub(crate) fn run(&self, line: &str) -> Shown {
        self.run_with(line, &[], b"")
    }

    /// With `more` arguments, which may hold spaces, and `input` on standard input.
    pub(crate) fn run_with(&self, line: &str, more: &[&str], input: &[u8]) -> Shown {
        let mut command = self.command();
        command.args(line.split_whitespace()).args(more);
        self.finish(command, input)
    }

    pub(crate) fn finish(&self, mut command: Command, input: &[u8]) -> Shown {
        let mut child = start(&mut command);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The command may end without reading all of it.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Shown::new(&output)
    }
}

pub(crate) fn start(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What a run left on the screen.
pub(crate) struct Shown {
    code: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Shown {
    pub(crate) fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output.status.code().map_or("signal".into(), |code| code.to_string());
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Numbers as `#`, and spaces as one: columns move with the numbers in them. Labels that were not found are left out:
    /// which these are, rounding decides where little is learned.
    pub(crate) fn rough(mut self) -> Self {
        self.stdout = rough(&self.stdout);
        let found = |line: &&str| !line.starts_with("note: labels of which no row was found");
        let told: String = self.stderr.split_inclusive('\n').filter(found).collect();
        self.stderr = rough(&told);
        self
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self}"))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit {}", self.code)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "--- {name}\n{text}")?;
            }
        }
        Ok(())
    }
}

/// `text` with every number as `#`, every bar as `█` and every run of spaces as one; digits in names
/// stay.
pub(crate) fn rough(text: &str) -> String {
    let mut out = String::new();
    let mut last = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let starts =
            c.is_ascii_digit() || c == '-' && chars.peek().is_some_and(char::is_ascii_digit);
        if starts && !last.is_alphanumeric() && last != '_' {
            let part = |c: &char| c.is_ascii_digit() || matches!(c, '.' | 'e' | '-');
            while chars.next_if(part).is_some() {}
            out.push('#');
            last = '#';
        } else if "█▏▎▍▌▋▊▉".contains(c) {
            if last != '█' {
                out.push('█');
            }
            last = '█';
        } else {
            if !(c == ' ' && last == ' ') {
                out.push(c);
            }
            last = c;
        }
    }
    out
}
