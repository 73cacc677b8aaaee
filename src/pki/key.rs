//! Private keys and the identities built of them: PEM in PKCS#8, SEC 1 or PKCS#1, bounded, and never shown.
//!
//! Left out: encrypted keys (the operator decrypts them or keeps them in a place that needs no passphrase at start)
//! and keys in hardware.

pub mod switch;

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::certificate::{self, Certificate, PEM_BYTES_MAX};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path} is a link; replace the file that it leads to, or let whatever made the link do it", path = path.display())]
    Link { path: PathBuf },
    #[error("{path} holds more than {max} bytes", path = path.display())]
    TooLarge { path: PathBuf, max: usize },
    #[error(
        "the text holds no private key (expected PEM: `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`)"
    )]
    NoKey,
    #[error("the private key is encrypted; decrypt it first: openssl pkey -in key.pem -out plain.pem")]
    Encrypted,
    #[error("the private key cannot be used: {0}")]
    Unusable(String),
    #[error("the private key does not belong to the certificate {subject}")]
    Mismatch { subject: String },
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
}

/// A private key. It has no `Display`, its `Debug` shows nothing, and it is not `Serialize`.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PrivateKey(..)")
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl PrivateKey {
    /// The first key of the text. The error never quotes the text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(Error::Unusable(format!("more than {PEM_BYTES_MAX} bytes of text")));
        }
        let found = |mark: &str| pem.windows(mark.len()).any(|window| window == mark.as_bytes());
        match PrivateKeyDer::from_pem_slice(pem) {
            Ok(key) => {
                any_supported_type(&key).map_err(|_| Error::Unusable("kind or size not supported".into()))?;
                Ok(Self(key))
            }
            // OpenSSL's old form keeps the plain label, and its header lines are no PEM of today.
            Err(_) if found("BEGIN ENCRYPTED PRIVATE KEY") || found("Proc-Type: 4,ENCRYPTED") => {
                Err(Error::Encrypted)
            }
            Err(_) => Err(Error::NoKey),
        }
    }

    /// The key as PKCS#8, where the text held it in that form; for what does its own cryptography with it.
    pub fn pkcs8_der(&self) -> Option<&[u8]> {
        match &self.0 {
            PrivateKeyDer::Pkcs8(key) => Some(key.secret_pkcs8_der()),
            _ => None,
        }
    }

    pub(super) fn der(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }
}

/// A certificate chain with the key that belongs to its first certificate. Making one proves that they match.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<Certificate>,
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl Identity {
    pub fn new(chain: Vec<Certificate>, key: &PrivateKey) -> Result<Self, Error> {
        let Some(leaf) = chain.first() else { return Err(certificate::Error::NoCertificate.into()) };
        let signer = any_supported_type(key.der()).map_err(|error| Error::Unusable(error.to_string()))?;
        let ders = chain.iter().map(|certificate| certificate.der().clone()).collect();
        let certified = CertifiedKey::new(ders, signer);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(Error::Mismatch { subject: leaf.subject().to_owned() });
            }
            Err(error) => return Err(Error::Unusable(error.to_string())),
        }
        Ok(Self { chain, certified: Arc::new(certified) })
    }

    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        Self::new(Certificate::chain_from_pem(chain)?, &PrivateKey::from_pem(key)?)
    }

    pub fn load(chain: &Path, key: &Path) -> Result<Self, Error> {
        Self::from_pem(&read_bounded(chain)?, &read_bounded(key)?)
    }

    /// Leaf first; never empty.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// For tests that need what no careful client would send.
    #[cfg(test)]
    pub(super) fn with_certified(&self, certified: Arc<CertifiedKey>) -> Self {
        Self { chain: self.chain.clone(), certified }
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

/// Reads a file of certificates, keys or revocation lists without trusting its size.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, Error> {
    read_at_most(path, PEM_BYTES_MAX)
}

pub(super) fn read_at_most(path: &Path, max: usize) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max {
        return Err(Error::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

/// Says in a sentence why a key file is too open, or nothing. `amtsbote check` and the start-up show it.
pub fn exposure(path: &Path) -> Result<Option<String>, Error> {
    let meta = std::fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let mode = meta.mode() & 0o777;
    Ok((mode & 0o037 != 0).then(|| {
        format!(
            "the private key {path} has mode {mode:04o}: others than its owner can reach it; chmod 600 {path}",
            path = path.display()
        )
    }))
}

/// Who may read what [`write_new`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    Everybody,
    Owner,
}

/// Writes a file that must not exist yet: complete or not at all, on disk before this returns.
pub fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), Error> {
    // A link refuses to replace, which a rename would do silently.
    let place = |partial: &Path| {
        std::fs::hard_link(partial, path)?;
        std::fs::remove_file(partial)
    };
    write_partial(path, bytes, readers, None, place)
}

fn write_partial(
    path: &Path,
    bytes: &[u8],
    readers: Readers,
    former: Option<&std::fs::Metadata>,
    place: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let mode = match readers {
        Readers::Everybody => 0o644,
        Readers::Owner => 0o600,
    };
    let name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let mut partial_name = std::ffi::OsString::from(".");
    partial_name.push(name);
    partial_name.push(format!(".{}.part", uuid::Uuid::new_v4().simple()));
    let partial = path.with_file_name(partial_name);
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        if let Some(former) = former {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
                std::os::unix::fs::fchown(&file, Some(former.uid()), Some(former.gid()))?;
            }
            // A server that reads its key as a member of the group goes on doing so.
            let most = if readers == Readers::Owner { 0o640 } else { 0o644 };
            file.set_permissions(std::fs::Permissions::from_mode(former.mode() & most | 0o600))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        place(&partial)?;
        sync_folder_of(path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.map_err(failed)
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// RFC 7468, lines of 64 characters.
pub(super) fn pem_text(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHOR: &[u8] = include_bytes!("../../tests/data/pki/ec.crt");
    const AUTHOR_KEY: &[u8] = include_bytes!("../../tests/data/pki/ec.key");
    const RSA: &[u8] = include_bytes!("../../tests/data/pki/rsa.crt");

    #[test]
    fn keys_come_in_several_forms() {
        for (what, chain, key) in [
            ("PKCS#8", AUTHOR, AUTHOR_KEY),
            ("SEC 1", AUTHOR, include_bytes!("../../tests/data/pki/ec-sec1.key")),
            ("PKCS#8, RSA", RSA, include_bytes!("../../tests/data/pki/rsa.key")),
            ("PKCS#1", RSA, include_bytes!("../../tests/data/pki/rsa-pkcs1.key")),
        ] {
            let identity = Identity::from_pem(chain, key).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(identity.chain().len(), 1, "{what}");
        }
        let swapped = Identity::from_pem(RSA, AUTHOR_KEY);
        assert!(matches!(swapped, Err(Error::Mismatch { .. })), "{swapped:?}");
        let reader = Identity::from_pem(include_bytes!("../../certs-dev/reader.crt"), AUTHOR_KEY);
        assert!(matches!(reader, Err(Error::Mismatch { .. })), "{reader:?}");
    }

    #[test]
    fn what_is_no_plain_key_is_refused_with_advice() {
        let check = |text: &[u8], expected: fn(&Error) -> bool| {
            let error = PrivateKey::from_pem(text).expect_err("refused");
            assert!(expected(&error), "{error:?}");
        };
        check(include_bytes!("../../tests/data/pki/ec-encrypted.key"), |error| {
            matches!(error, Error::Encrypted)
        });
        check(include_bytes!("../../tests/data/pki/ec-encrypted-sec1.key"), |error| {
            matches!(error, Error::Encrypted)
        });
        check(AUTHOR, |error| matches!(error, Error::NoKey));
        check(b"", |error| matches!(error, Error::NoKey));
        check(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", |error| {
            matches!(error, Error::Unusable(_))
        });
        check(&vec![b'\n'; PEM_BYTES_MAX + 1], |error| matches!(error, Error::Unusable(_)));
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = PrivateKey::from_pem(AUTHOR_KEY).expect("a key");
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
        let identity = Identity::from_pem(AUTHOR, AUTHOR_KEY).expect("an identity");
        let shown = format!("{identity:?}");
        assert!(shown.contains("Registry Office") && !shown.to_lowercase().contains("key"), "{shown}");
    }

    #[test]
    fn a_file_is_written_whole_and_never_over_another() {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, readers, mode) in [("open", Readers::Everybody, 0o644), ("secret", Readers::Owner, 0o600)]
        {
            let path = directory.path().join(name);
            write_new(&path, b"one", readers).expect("written");
            let again = write_new(&path, b"other", readers).expect_err("it exists");
            let Error::Write { source, .. } = again else { panic!("{again}") };
            assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
            assert_eq!(read_bounded(&path).expect("readable"), b"one");
            let seen = std::fs::metadata(&path).expect("there").mode() & 0o777;
            // The process's mask may take bits away, never from the owner.
            assert_eq!((seen & !mode, seen & 0o700), (0, mode & 0o700), "{name}: {seen:o}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 2, "no remains");
        let nowhere = directory.path().join("missing").join("file");
        assert!(matches!(write_new(&nowhere, b"", Readers::Owner), Err(Error::Write { .. })));
    }

    #[test]
    fn a_key_file_that_others_reach_is_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        write_new(&path, b"", Readers::Owner).expect("written");
        for (mode, exposed) in
            [(0o600, false), (0o400, false), (0o640, false), (0o660, true), (0o644, true), (0o604, true)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(exposure(&path).expect("there").is_some(), exposed, "{mode:o}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("large");
        std::fs::write(&path, [0; 11]).expect("written");
        assert_eq!(read_at_most(&path, 11).expect("fits").len(), 11);
        assert!(matches!(read_at_most(&path, 10), Err(Error::TooLarge { max: 10, .. })));
    }
}
