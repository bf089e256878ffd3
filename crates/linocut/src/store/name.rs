//! Names of tasks.

use crate::{Error, ErrorKind, Result};

/// Longest name of a task, in bytes.
const NAME_BYTES: usize = 100;
/// What a name may hold beside letters and digits: nothing that a path, an address or a shell's
/// pattern reads otherwise.
const NAME_SIGNS: &str = " ._-+,()@=~";

/// Checks a task's name: it becomes a file's, and stands in addresses and logs.
///
/// # Errors
/// If it is not 1 to 100 bytes of letters, digits, spaces and `. _ - + , ( ) @ = ~`, the first a
/// letter or digit and the last no space.
pub fn check_name(name: &str) -> Result<()> {
    let sane = |c: char| c.is_alphanumeric() || NAME_SIGNS.contains(c);
    let first = name.chars().next().is_some_and(char::is_alphanumeric);
    if first && name.len() <= NAME_BYTES && name.chars().all(sane) && !name.ends_with(' ') {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    let message = format!(
        "{shown:?} is no name of a task: expected 1 to {NAME_BYTES} bytes of letters, digits, \
         spaces and . _ - + , ( ) @ = ~, the first a letter or digit and the last no space"
    );
    Err(Error::new(ErrorKind::Config, message))
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_that_a_task_may_have() {
        for good in ["a", "Intent-2.v1_b", "0", "my task", "Größe (2)", "任务", &"x".repeat(100)]
        {
            check_name(good).unwrap();
        }
        let long = "x".repeat(101);
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "_a",
            "a/b",
            "../a",
            " a",
            "a ",
            "a\u{202e}b",
            "a%b",
            "a\\b",
            "a\0",
            "a\n",
            &long,
        ] {
            let error = check_name(bad).unwrap_err();
            assert!(error.to_string().contains("is no name of a task"), "{error}");
        }
    }
}
