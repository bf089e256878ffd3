//! Keys to sign cuts with.

use crate::output::print;
use clap::Args;
use linocut::store::Signer;
use linocut::{Error, ErrorKind, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Holds the password of a secret key.
const PASSWORD: &str = "LINOCUT_KEY_PASSWORD";

/// Make a pair of keys to sign cuts with: KEY, to be kept secret, and KEY.pub, to be given to servers.
///
/// They are keys of minisign, which makes and reads them, too.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut keygen signing.key
  linocut push billing.cut fleet --sign signing.key
  linocut serve --store fleet --trust signing.key.pub")]
pub(crate) struct KeygenArgs {
    /// File of the secret key
    #[arg(value_name = "KEY")]
    pub key: PathBuf,

    /// No password: whoever can read the file can sign. Else it is asked for, or taken from LINOCUT_KEY_PASSWORD
    #[arg(long)]
    pub no_password: bool,
}

pub(crate) fn keygen(args: KeygenArgs) -> Result<()> {
    let public = public(&args.key);
    Signer::check_free(&args.key, &public)?; // before a password is asked for
    let password = match args.no_password {
        true => None,
        false => {
            let first = password("Password of the new key: ")?;
            if std::env::var_os(PASSWORD).is_none() && first != password("Once more: ")? {
                let message = "the two passwords differ";
                return Err(Error::new(ErrorKind::Config, message));
            }
            Some(first).filter(|password| !password.is_empty())
        }
    };
    Signer::generate(&args.key, &public, password)?;
    print(&format!(
        "{}: secret, for `linocut push --sign`\n{}: public, for `linocut serve --trust`\n",
        args.key.display(),
        public.display()
    ))
}

/// The file beside a secret key for the public one.
fn public(key: &Path) -> PathBuf {
    let mut name = OsString::from(key);
    name.push(".pub");
    name.into()
}

/// The key in a file, whose password is asked for where it has one.
pub(super) fn signer(path: &Path) -> Result<Signer> {
    let signer = Signer::read(path, || password(&format!("Password of {}: ", path.display())));
    signer.map_err(|e| match e.hint() {
        Some(_) => e,
        None => e.with_hint("--sign takes the secret key, not its .pub"),
    })
}

/// A password from the environment or the terminal.
fn password(prompt: &str) -> Result<String> {
    if let Some(password) = std::env::var_os(PASSWORD) {
        return password
            .into_string()
            .map_err(|_| Error::new(ErrorKind::Config, format!("{PASSWORD} is not of UTF-8")));
    }
    rpassword::prompt_password(prompt).map_err(|e| {
        let message = format!("there is no terminal to ask for the key's password: {e}");
        Error::new(ErrorKind::Config, message)
            .with_hint(format!("set {PASSWORD}; a new key may do without, by --no-password"))
            .with_source(e)
    })
}
