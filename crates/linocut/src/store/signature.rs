//! Signatures of cuts in minisign's format (Ed25519 over BLAKE2b-512), so that people can check them with
//! minisign itself. The name of the task stands in the trusted comment, which is signed, too: who may only write to
//! a store cannot put one task in the place of another.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};

use crate::checkpoint::write_file;
use crate::output::TemporaryFile;
use crate::{Error, ErrorKind, Result};

/// What a trusted comment begins with; the task's name follows.
const COMMENT: &str = "linocut task: ";
/// Most bytes of a file of keys.
const FILE_BYTES: u64 = 1 << 20;

/// A secret key that cuts are signed with.
pub struct Signer(SecretKey);

/// Public keys; a cut that one of them signed is trusted.
pub struct Trusted(Vec<PublicKey>);

impl Signer {
    /// Reads a secret key as minisign keeps it. `password` is asked for where the key has one.
    ///
    /// # Errors
    /// A file that is none, or another password.
    pub fn read(path: &Path, password: impl FnOnce() -> Result<String>) -> Result<Self> {
        let wrong = |e: minisign::PError| {
            let message = format!("{}: no secret key of minisign's: {e}", path.display());
            Error::new(ErrorKind::Config, message).with_source(e)
        };
        let text = read(path)?;
        let key = SecretKeyBox::from_string(&text).map_err(wrong)?;
        match key.into_unencrypted_secret_key() {
            Ok(key) => return Ok(Self(key)),
            Err(e) if e.to_string().contains("might be encrypted") => {}
            Err(e) => return Err(wrong(e)),
        }
        let key = SecretKeyBox::from_string(&text).map_err(wrong)?;
        let password = password()?;
        let key = key.into_secret_key(Some(password)).map_err(|e| {
            let message = format!("{}: the password does not open this key", path.display());
            Error::new(ErrorKind::Config, message).with_source(e)
        })?;
        Ok(Self(key))
    }

    /// Sees that no file would be replaced by a new pair of keys.
    ///
    /// # Errors
    /// If there is one.
    pub fn check_free(secret: &Path, public: &Path) -> Result<()> {
        for path in [secret, public] {
            if path.symlink_metadata().is_ok() {
                let message = format!("{} exists already", path.display());
                return Err(Error::new(ErrorKind::Io, message)
                    .with_hint("choose another name: a lost key cannot be had again"));
            }
        }
        Ok(())
    }

    /// Makes a new pair of keys: the secret one at `secret`, for its owner alone to read and with a password
    /// where one is given, and the public one at `public`.
    ///
    /// # Errors
    /// If there is such a file already, or it cannot be written.
    pub fn generate(secret: &Path, public: &Path, password: Option<String>) -> Result<()> {
        Self::check_free(secret, public)?;
        let failed = |e: minisign::PError| {
            Error::new(ErrorKind::Io, format!("cannot make keys: {e}")).with_source(e)
        };
        let pair = match password {
            Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
            None => KeyPair::generate_unencrypted_keypair(),
        };
        let pair = pair.map_err(failed)?;
        let secret_text = pair.sk.to_box(None).map_err(failed)?.into_string();
        let public_text = pair.pk.to_box().map_err(failed)?.into_string();
        let unwritten = |e| Error::io(secret, "write", e);
        let file = TemporaryFile::new(crate::output::folder_of(secret)).map_err(unwritten)?;
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            file.file().set_permissions(mode).map_err(unwritten)?;
        }
        file.file().write_all(secret_text.as_bytes()).map_err(unwritten)?;
        file.file().sync_all().map_err(unwritten)?;
        file.persist(secret, false).map_err(unwritten)?;
        write_file(public, false, |out| out.write_all(public_text.as_bytes()))
    }

    /// Whether this key made a signature, by what the signature says.
    pub(super) fn made(&self, signature: &str) -> bool {
        let signature = SignatureBox::from_string(signature);
        signature.is_ok_and(|signature| signature.keynum() == self.0.keynum())
    }

    /// The signature of a task's cut.
    pub(super) fn sign(&self, task: &str, cut: &[u8]) -> Result<String> {
        let comment = format!("{COMMENT}{task}");
        let signature = minisign::sign(None, &self.0, Cursor::new(cut), Some(&comment), None);
        let signature = signature.map_err(|e| {
            Error::new(ErrorKind::Config, format!("cannot sign: {e}")).with_source(e)
        })?;
        Ok(signature.into_string())
    }
}

impl Trusted {
    /// Reads a file of public keys, as minisign writes them, one after the other.
    ///
    /// # Errors
    /// A file that cannot be read, or has something else in it, or nothing.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            let message = format!("{}: {what}", path.display());
            Error::new(ErrorKind::Config, message)
                .with_hint("expected public keys, as `linocut keygen` and `minisign -G` write them")
        };
        let text = read(path)?;
        let lines = text.lines().map(str::trim).enumerate();
        let keys = lines.filter(|(_, line)| {
            !line.is_empty() && !line.starts_with("untrusted comment:") && !line.starts_with('#')
        });
        let key = |(i, line): (usize, &str)| {
            PublicKey::from_base64(line)
                .map_err(|e| wrong(format!("line {} is no public key: {e}", i + 1)))
        };
        let keys: Vec<PublicKey> = keys.map(key).collect::<Result<_>>()?;
        match keys.is_empty() {
            true => Err(wrong("no key in it".into())),
            false => Ok(Self(keys)),
        }
    }

    /// Checks that one of the keys signed these bytes as the cut of `task`.
    ///
    /// # Errors
    /// If none did.
    pub fn check(&self, task: &str, cut: &[u8], signature: Option<&str>) -> Result<()> {
        let refused = |why: String| {
            Error::new(ErrorKind::Cut, format!("the task {task:?} is not trusted: {why}"))
                .with_hint("push it with `sign` and a key whose public half is trusted")
        };
        let Some(signature) = signature else { return Err(refused("it is not signed".into())) };
        let signature = SignatureBox::from_string(signature)
            .map_err(|_| refused("its signature is no signature".into()))?;
        let key = self.0.iter().find(|key| key.keynum() == signature.keynum());
        let key =
            key.ok_or_else(|| refused("it is signed with a key that is not trusted".into()))?;
        minisign::verify(key, &signature, Cursor::new(cut), true, false, false)
            .map_err(|_| refused("its signature is of other bytes: it was altered".into()))?;
        let comment = signature.trusted_comment().unwrap_or_default();
        match comment.strip_prefix(COMMENT) {
            Some(signed) if signed == task => Ok(()),
            Some(signed) => Err(refused(format!("it is signed as the task {signed:?}"))),
            None => Err(refused("its signature does not say of which task it is".into())),
        }
    }
}

/// A file of keys.
fn read(path: &Path) -> Result<String> {
    let unread = |e| Error::io(path, "read", e);
    let found = fs::metadata(path).map_err(unread)?;
    if !found.is_file() || found.len() > FILE_BYTES {
        let message = format!("{} is no file of keys", path.display());
        return Err(Error::new(ErrorKind::Config, message));
    }
    let bytes = fs::read(path).map_err(unread)?;
    String::from_utf8(bytes).map_err(|_| {
        Error::new(ErrorKind::Config, format!("{} is no file of keys", path.display()))
    })
}
