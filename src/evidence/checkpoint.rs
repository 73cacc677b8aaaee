//! Signed checkpoints of the evidence log: origin, size and root in a signed note (C2SP tlog-checkpoint over C2SP
//! signed-note, Ed25519), and the keys for them.
//!
//! ```text
//! amtsbote.example.org/evidence
//! 20852163
//! <base64 of the root>
//!
//! — amtsbote.example.org/evidence <base64 of key id and signature>
//! ```
//! The key's name is the log's origin. Notes with extension lines or cosignatures are refused: this post office writes
//! neither, and a note is read back only in exactly the spelling that is written. RFC 3161 time stamps are over
//! whole notes and lie beside them.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::tree::Hash;
use crate::domain::content::Digest;

/// Signed-note's number for Ed25519.
const ED25519_TYPE: u8 = 1;
const NAME_BYTES_MAX: usize = 200;
const NOTE_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoteError {
    #[error("a log's name has 1 to {NAME_BYTES_MAX} printable ASCII characters without spaces and '+'")]
    Name,
    #[error("not a verifier key (name+id+key): {what}")]
    Key { what: &'static str },
    #[error("the signing key does not fit Ed25519")]
    SigningKey,
    #[error("not a checkpoint: {what}")]
    Form { what: &'static str },
    #[error("the checkpoint is signed by {found}, not by {expected}")]
    OtherSigner { found: String, expected: String },
    #[error("the checkpoint's signature does not fit its text")]
    Signature,
}

/// Everything that anybody needs to check a log's signatures; printed and parsed as `name+id+key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let wrong = |what| NoteError::Key { what };
        let (name, rest) = text.split_once('+').ok_or(wrong("there is no '+'"))?;
        let (_, key) = rest.split_once('+').ok_or(wrong("there is only one '+'"))?;
        let bytes = STANDARD.decode(key).map_err(|_| wrong("the key is not base64"))?;
        let public = match bytes.split_first() {
            Some((&ED25519_TYPE, public)) => {
                public.try_into().map_err(|_| wrong("an Ed25519 key has 32 bytes"))?
            }
            _ => return Err(wrong("the key is not of type Ed25519")),
        };
        let key = Self { name: log_name(name)?, public };
        if key.to_string() == text { Ok(key) } else { Err(wrong("the id is not that of the key")) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// SubjectPublicKeyInfo (RFC 8410), DER.
    pub fn spki(&self) -> Vec<u8> {
        const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        [&ED25519_SPKI[..], &self.public].concat()
    }

    /// The first four bytes of SHA-256 over name, line feed, type and key.
    fn id(&self) -> [u8; 4] {
        let bytes = [self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.public].concat();
        let [a, b, c, d, ..] = Digest::of(&bytes).0;
        [a, b, c, d]
    }

    fn has_signed(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), signature).is_ok()
    }
}

impl TryFrom<String> for VerifierKey {
    type Error = NoteError;

    fn try_from(text: String) -> Result<Self, NoteError> {
        Self::parse(&text)
    }
}

impl From<VerifierKey> for String {
    fn from(key: VerifierKey) -> Self {
        key.to_string()
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = [&[ED25519_TYPE][..], &self.public].concat();
        write!(out, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(key))
    }
}

/// The log's private key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SigningKey({})", self.verifier)
    }
}

impl SigningKey {
    /// A new key from the system's random source.
    pub fn generate(name: &str) -> Result<Self, NoteError> {
        Self::of(name, Ed25519KeyPair::generate().map_err(|_| NoteError::SigningKey)?)
    }

    pub fn from_pkcs8(name: &str, der: &[u8]) -> Result<Self, NoteError> {
        Self::of(name, Ed25519KeyPair::from_pkcs8(der).map_err(|_| NoteError::SigningKey)?)
    }

    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        Self::of(name, Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::SigningKey)?)
    }

    /// For the file that keeps it.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, NoteError> {
        self.pair.to_pkcs8().map(|der| der.as_ref().to_vec()).map_err(|_| NoteError::SigningKey)
    }

    fn of(name: &str, pair: Ed25519KeyPair) -> Result<Self, NoteError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::SigningKey)?;
        Ok(Self { verifier: VerifierKey { name: log_name(name)?, public }, pair })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note for the first `size` leaves.
    pub fn sign(&self, size: u64, root: &Hash) -> String {
        let text = text(&self.verifier.name, size, root);
        let signature = self.pair.sign(text.as_bytes());
        let bytes = [&self.verifier.id()[..], signature.as_ref()].concat();
        format!("{text}\n— {} {}\n", self.verifier.name, STANDARD.encode(bytes))
    }
}

/// What a checkpoint states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Reads a note that one of `keys` has signed, and says which.
    pub fn open_with<'k>(
        note: &str,
        keys: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<(Self, &'k VerifierKey), NoteError> {
        let mut refused = NoteError::Key { what: "no key was given" };
        for key in keys {
            match Self::open(note, key) {
                Ok(checkpoint) => return Ok((checkpoint, key)),
                Err(error @ NoteError::OtherSigner { .. }) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Reads a note that `key` has signed.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let form = |what| NoteError::Form { what };
        if note.len() > NOTE_BYTES_MAX {
            return Err(form("it is too long"));
        }
        let (signed, rest) = note.split_once("\n\n").ok_or(form("there is no empty line"))?;
        let signed = format!("{signed}\n");
        let (name, bytes) = signature_line(rest)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(form("the signature is too short"))?;
        if name != key.name || *id != key.id() {
            let found = format!("{name}+{:08x}", u32::from_be_bytes(*id));
            return Err(NoteError::OtherSigner { found, expected: key.to_string() });
        }
        if !key.has_signed(&signed, signature) {
            return Err(NoteError::Signature);
        }
        let checkpoint = Self::from_text(&signed)?;
        if checkpoint.origin != key.name {
            return Err(form("its origin is not its signer"));
        }
        Ok(checkpoint)
    }

    /// What a note states, whoever signed it: nothing to believe, but something to compare.
    pub fn stated(note: &str) -> Result<Self, NoteError> {
        let (signed, _) =
            note.split_once("\n\n").ok_or(NoteError::Form { what: "there is no empty line" })?;
        Self::from_text(&format!("{signed}\n"))
    }

    /// The text that is signed and the signature over it, for tools that know Ed25519 and no notes.
    pub fn parts(note: &str) -> Result<(String, Vec<u8>), NoteError> {
        let form = |what| NoteError::Form { what };
        let (signed, rest) = note.split_once("\n\n").ok_or(form("there is no empty line"))?;
        let (_, bytes) = signature_line(rest)?;
        let (_, signature) = bytes.split_first_chunk::<4>().ok_or(form("the signature is too short"))?;
        Ok((format!("{signed}\n"), signature.to_vec()))
    }

    fn from_text(signed: &str) -> Result<Self, NoteError> {
        let form = |what| NoteError::Form { what };
        let mut lines = signed.lines();
        let origin = log_name(lines.next().unwrap_or_default())?;
        let size = lines.next().and_then(|line| line.parse().ok()).ok_or(form("the size is not a number"))?;
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).unwrap_or_default();
        let root = root.try_into().map_err(|_| form("the root is not 32 bytes in base64"))?;
        let checkpoint = Self { origin, size, root };
        // Leading zeros, signs, further lines: there is one spelling only.
        if text(&checkpoint.origin, size, &root) == signed {
            Ok(checkpoint)
        } else {
            Err(form("it is not written as a checkpoint is"))
        }
    }
}

fn text(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", STANDARD.encode(root))
}

fn signature_line(rest: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let form = |what| NoteError::Form { what };
    let line = rest.strip_suffix('\n').ok_or(form("the last line does not end"))?;
    if line.contains('\n') {
        return Err(form("there is more than one signature"));
    }
    let line = line.strip_prefix("— ").ok_or(form("the signature line does not begin with a dash"))?;
    let (name, encoded) = line.split_once(' ').ok_or(form("the signature line has no name"))?;
    let bytes = STANDARD.decode(encoded).map_err(|_| form("the signature is not base64"))?;
    Ok((name, bytes))
}

fn log_name(text: &str) -> Result<String, NoteError> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+');
    if fits { Ok(text.to_owned()) } else { Err(NoteError::Name) }
}

/// Size and root that a checkpoint states, whoever signed it (C2SP tlog-checkpoint: origin, size, root, one to a line).
pub fn statement(note: &str) -> Option<(u64, Hash)> {
    let mut lines = note.lines().skip(1);
    let size = lines.next()?.parse().ok()?;
    let root = STANDARD.decode(lines.next()?).ok()?;
    Some((size, root.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "post.example.org/evidence";

    fn key() -> SigningKey {
        SigningKey::from_seed(NAME, &[7; 32]).expect("any 32 bytes are a seed")
    }

    #[track_caller]
    fn check(note: &str, expected: Result<u64, NoteError>) {
        assert_eq!(Checkpoint::open(note, key().verifier()).map(|checkpoint| checkpoint.size), expected);
    }

    #[test]
    fn a_note_of_the_go_implementation_verifies() {
        // The example that golang.org/x/mod/sumdb/note has carried since its first release.
        let key = VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let key = key.expect("a published key");
        let text = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n";
        let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let (name, bytes) = signature_line(line).expect("a published signature");
        assert_eq!((name, &bytes[..4]), (key.name(), &key.id()[..]));
        assert!(key.has_signed(text, &bytes[4..]));
        assert!(!key.has_signed(&text.replace("answer", "Answer"), &bytes[4..]));
    }

    #[test]
    fn only_the_written_spelling_signed_by_the_log_is_read() {
        let note = key().sign(42, &[9; 32]);
        let form = |what| Err(NoteError::Form { what });
        check(&note, Ok(42));
        check(&key().sign(0, &[9; 32]), Ok(0));
        check(&note.replace("\n42\n", "\n43\n"), Err(NoteError::Signature));
        check(note.trim_end(), form("the last line does not end"));
        check(&note.replace("\n\n", "\n"), form("there is no empty line"));
        check(&note.replace('—', "-"), form("the signature line does not begin with a dash"));
        check(&format!("{note}— other AAAA\n"), form("there is more than one signature"));
        check(&format!("{note}{}", " ".repeat(NOTE_BYTES_MAX)), form("it is too long"));
        let other = SigningKey::from_seed(NAME, &[8; 32]).expect("any 32 bytes are a seed");
        assert!(matches!(
            Checkpoint::open(&other.sign(42, &[9; 32]), key().verifier()),
            Err(NoteError::OtherSigner { .. })
        ));
    }

    #[test]
    fn a_signed_text_that_is_no_checkpoint_is_refused() {
        let root = STANDARD.encode([9; 32]);
        for text in [
            format!("{NAME}\n042\n{root}\n"),
            format!("{NAME}\n+42\n{root}\n"),
            format!("{NAME}\n42\n{root}\nextension\n"),
            format!("{NAME}\n42\n{}\n", STANDARD.encode([9; 31])),
            format!("{NAME}\n42\n"),
            format!("other.example.org\n42\n{root}\n"),
        ] {
            let signature = key().pair.sign(text.as_bytes());
            let bytes = [&key().verifier.id()[..], signature.as_ref()].concat();
            let note = format!("{text}\n— {NAME} {}\n", STANDARD.encode(bytes));
            let opened = Checkpoint::open(&note, key().verifier());
            assert!(matches!(opened, Err(NoteError::Form { .. })), "{text}: {opened:?}");
        }
    }

    #[test]
    fn keys_come_back_and_a_changed_one_is_refused() {
        let text = key().verifier().to_string();
        assert_eq!(VerifierKey::parse(&text).as_ref(), Ok(key().verifier()));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).expect("flipping the lowest bit keeps it ASCII");
            assert!(VerifierKey::parse(&changed).is_err(), "{changed}");
        }
        let der = key().to_pkcs8().expect("the key is in memory");
        let again = SigningKey::from_pkcs8(NAME, &der).expect("its own form");
        assert_eq!(again.verifier(), key().verifier());
        assert!(matches!(SigningKey::from_seed("a b", &[1; 32]), Err(NoteError::Name)));
        assert!(!format!("{:?}", key()).contains("070707"), "the seed is not printed");
    }
}
