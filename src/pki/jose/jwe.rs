//! Encryption (RFC 7516, compact form): RSA-OAEP-256 with A256GCM and nothing else.
//!
//! [`Scanner`] looks at a message as it streams by, without a key: its form, its header, and its authentication tag,
//! which a reader's acceptance must name. [`seal`] and [`open`] are for those who have keys. `zip` is refused unless a
//! caller allows it to pass by; only [`open`] inflates, within the bound that its caller sets.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

use super::jwk::{ALG_ENCRYPTION, PublicKey, Purpose};
use super::jws::SigningKey;
use super::{Error, HEADER_CHARS_MAX, Header, decode, encode, must_be};

const CONTENT: &str = "A256GCM";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Wrapped by a key of 8192 bits.
const WRAPPED_CHARS_MAX: usize = 1366;
const IV_CHARS: usize = 16;
const TAG_CHARS: usize = 22;

/// What the relay may know of an encrypted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kid: String,
    /// Media type of what is inside, as its author says.
    pub content_type: Option<String>,
    pub zipped: bool,
    /// The last part, in base64url: it stands for this ciphertext and no other.
    pub tag: String,
}

/// Whether a header may say that the content was compressed before it was encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zip {
    #[default]
    Refused,
    /// DEF passes by; whoever decrypts it bounds what comes out.
    Passes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    Key,
    Iv,
    Ciphertext,
    Tag,
}

/// Reads a compact message in pieces of any size; memory does not grow with it.
#[derive(Debug)]
pub struct Scanner {
    part: Part,
    zip: Zip,
    /// Of the part at hand, where it is one that is kept.
    kept: String,
    length: u64,
    header: Option<Header>,
}

impl Scanner {
    pub fn new(zip: Zip) -> Self {
        Self { part: Part::Header, zip, kept: String::new(), length: 0, header: None }
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr(b'.', rest);
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.take(piece)?;
            rest = match end {
                Some(_) => {
                    self.end_part()?;
                    after.get(1..).unwrap_or_default()
                }
                None => after,
            };
        }
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Error> {
        // All of it without a way out on the way, which compilers make one comparison of many bytes of.
        let foreign = piece.iter().fold(false, |foreign, byte| {
            foreign | !(byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_'))
        });
        if foreign {
            return Err(Error::Malformed("an encrypted message is five parts of base64url"));
        }
        self.length = self.length.saturating_add(piece.len() as u64);
        let (max, keep) = match self.part {
            Part::Header => (HEADER_CHARS_MAX, true),
            Part::Key => (WRAPPED_CHARS_MAX, false),
            Part::Iv => (IV_CHARS, false),
            Part::Ciphertext => (usize::MAX, false),
            Part::Tag => (TAG_CHARS, true),
        };
        if self.length > max as u64 {
            return Err(Error::Malformed("a part of the encrypted message is too long"));
        }
        if keep {
            self.kept.extend(piece.iter().map(|byte| char::from(*byte)));
        }
        Ok(())
    }

    fn end_part(&mut self) -> Result<(), Error> {
        let short = Error::Malformed("a part of the encrypted message has the wrong length");
        self.part = match self.part {
            Part::Header => {
                self.header = Some(judged(&self.kept, self.zip)?);
                Part::Key
            }
            // No key is wrapped in less than 2048 bits.
            Part::Key if self.length < 342 => return Err(short),
            Part::Key => Part::Iv,
            Part::Iv if self.length != IV_CHARS as u64 => return Err(short),
            Part::Iv => Part::Ciphertext,
            // Four characters hold three bytes; no number of bytes ends one character into that.
            Part::Ciphertext if self.length % 4 == 1 => return Err(short),
            Part::Ciphertext => Part::Tag,
            Part::Tag => return Err(Error::Malformed("an encrypted message has five parts")),
        };
        self.kept.clear();
        self.length = 0;
        Ok(())
    }

    /// The key's name, once the header has passed by.
    pub fn kid(&self) -> Option<&str> {
        self.header.as_ref()?.kid().ok()
    }

    pub fn finish(self) -> Result<Facts, Error> {
        if self.part != Part::Tag {
            return Err(Error::Malformed("an encrypted message has five parts"));
        }
        if decode(&self.kept)?.len() != TAG_BYTES {
            return Err(Error::Malformed("the authentication tag has 16 bytes"));
        }
        let header = self.header.ok_or(Error::Malformed("an encrypted message has a header"))?;
        Ok(Facts {
            kid: header.kid()?.to_owned(),
            content_type: header.cty.clone(),
            zipped: header.zip.is_some(),
            tag: self.kept,
        })
    }
}

fn judged(encoded: &str, zip: Zip) -> Result<Header, Error> {
    let header = Header::read(encoded)?;
    must_be("alg", header.alg.as_deref(), ALG_ENCRYPTION)?;
    must_be("enc", header.enc.as_deref(), CONTENT)?;
    match (zip, header.zip.as_deref()) {
        (_, None) | (Zip::Passes, Some("DEF")) => {}
        _ => return Err(Error::Parameter("zip")),
    }
    header.kid()?;
    Ok(header)
}

/// The same for a message that is at hand as a whole.
pub fn inspect(message: &str, zip: Zip) -> Result<Facts, Error> {
    let mut scanner = Scanner::new(zip);
    scanner.feed(message.as_bytes())?;
    scanner.finish()
}

/// Encrypts for the holder of `key`.
pub fn seal(key: &PublicKey, content_type: &str, content: &[u8]) -> Result<String, Error> {
    sealed(key, content_type, content, false)
}

/// The same for content that is compressed (DEFLATE).
#[cfg(test)]
pub fn seal_zipped(key: &PublicKey, content_type: &str, deflated: &[u8]) -> Result<String, Error> {
    sealed(key, content_type, deflated, true)
}

fn sealed(key: &PublicKey, content_type: &str, content: &[u8], zipped: bool) -> Result<String, Error> {
    let unfit = || Error::Key("it does not encrypt".to_owned());
    if key.purpose != Purpose::Encryption {
        return Err(Error::Key("it is not for encryption".to_owned()));
    }
    let mut header = serde_json::json!({
        "alg": ALG_ENCRYPTION, "enc": CONTENT, "kid": key.kid(), "cty": content_type,
    });
    if zipped {
        header["zip"] = "DEF".into();
    }
    let header = encode(header.to_string());
    let (mut content_key, mut iv) = ([0; KEY_BYTES], [0; NONCE_LEN]);
    let random = SystemRandom::new();
    random.fill(&mut content_key).and_then(|()| random.fill(&mut iv)).map_err(|_| unfit())?;
    let public: PublicEncryptingKey = key.components().try_into().map_err(|_| unfit())?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| unfit())?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped =
        public.encrypt(&OAEP_SHA256_MGF1SHA256, &content_key, &mut wrapped, None).map_err(|_| unfit())?;
    let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key).map_err(|_| unfit())?);
    let mut bytes = content.to_vec();
    let tag = sealing
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(iv),
            Aad::from(header.as_bytes()),
            &mut bytes,
        )
        .map_err(|_| unfit())?;
    Ok(format!("{header}.{}.{}.{}.{}", encode(wrapped), encode(iv), encode(bytes), encode(tag)))
}

/// A recipient's private key.
pub struct OpeningKey {
    kid: String,
    /// Its thumbprint (RFC 7638), under which clients know a key that they have met without a name.
    thumbprint: String,
    key: OaepPrivateDecryptingKey,
}

impl OpeningKey {
    /// `kid` is the name of the public part.
    pub fn from_pkcs8(kid: &str, der: &[u8]) -> Result<Self, Error> {
        let key = PrivateDecryptingKey::from_pkcs8(der)
            .ok()
            .and_then(|key| OaepPrivateDecryptingKey::new(key).ok())
            .ok_or_else(|| Error::Key("an RSA key (PKCS #8) is needed".to_owned()))?;
        let thumbprint = SigningKey::from_pkcs8(der)?.kid().to_owned();
        Ok(Self { kid: kid.to_owned(), thumbprint, key })
    }

    /// Whether a message that names this key is for it.
    pub fn is_called(&self, kid: &str) -> bool {
        self.kid == kid || self.thumbprint == kid
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// Decrypts. Whatever is wrong behind the header is one answer. What was compressed (RFC 7516, section 4.1.3) is inflated to
/// at most `bytes_max`, once it is proven to be whole.
pub fn open(message: &str, key: &OpeningKey, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let facts = inspect(message, Zip::Passes)?;
    if !key.is_called(&facts.kid) {
        return Err(Error::KeyUnknown);
    }
    let mut parts = message.split('.');
    let mut part = || parts.next().ok_or(Error::Sealed);
    let (header, wrapped, iv, ciphertext, tag) = (part()?, part()?, part()?, part()?, part()?);
    let mut room = vec![0; key.key.min_output_size()];
    let content_key = key
        .key
        .decrypt(&OAEP_SHA256_MGF1SHA256, &decode(wrapped)?, &mut room, None)
        .map_err(|_| Error::Sealed)?;
    let opening = UnboundKey::new(&AES_256_GCM, content_key).map_err(|_| Error::Sealed)?;
    let nonce = Nonce::try_assume_unique_for_key(&decode(iv)?).map_err(|_| Error::Sealed)?;
    let mut bytes = decode(ciphertext)?;
    bytes.extend(decode(tag)?);
    let length = LessSafeKey::new(opening)
        .open_in_place(nonce, Aad::from(header.as_bytes()), &mut bytes)
        .map_err(|_| Error::Sealed)?
        .len();
    bytes.truncate(length);
    if !facts.zipped {
        return Ok(bytes);
    }
    decompress_to_vec_with_limit(&bytes, bytes_max).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => Error::TooLarge(bytes_max),
        _ => Error::Sealed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::jose::tests::{ENCRYPTION_JWK, opening_key};

    fn sealed() -> String {
        let key = PublicKey::parse(ENCRYPTION_JWK).expect("a key");
        seal(&key, "application/json", br#"{"a":1}"#).expect("sealed")
    }

    #[test]
    fn what_is_sealed_opens_for_its_reader() {
        let message = sealed();
        assert_eq!(open(&message, &opening_key(), 100).expect("opens"), br#"{"a":1}"#);
        let mut scanner = Scanner::new(Zip::Refused);
        for byte in message.as_bytes() {
            scanner.feed(&[*byte]).expect("well-formed");
        }
        let facts = scanner.finish().expect("whole");
        assert_eq!(facts, inspect(&message, Zip::Refused).expect("well-formed"));
        assert_eq!(facts.content_type.as_deref(), Some("application/json"));
        assert_eq!(Some(facts.tag.as_str()), message.rsplit('.').next());
        for at in 1..5 {
            let mut parts: Vec<String> = message.split('.').map(str::to_owned).collect();
            let first = if parts[at].starts_with('A') { "B" } else { "A" };
            parts[at].replace_range(0..1, first);
            assert_eq!(open(&parts.join("."), &opening_key(), 100).err(), Some(Error::Sealed), "part {at}");
        }
    }

    #[test]
    fn other_algorithms_and_shapes_are_refused() {
        let message = sealed();
        let tail = message.split_once('.').expect("parts").1.to_owned();
        let with = |header: &str| inspect(&format!("{}.{tail}", encode(header)), Zip::Refused);
        let good = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"k"}"#;
        assert!(with(good).is_ok());
        for (from, to, words) in [
            ("RSA-OAEP-256", "RSA-OAEP", "only RSA-OAEP-256"),
            ("RSA-OAEP-256", "RSA1_5", "only RSA-OAEP-256"),
            ("RSA-OAEP-256", "dir", "only RSA-OAEP-256"),
            ("RSA-OAEP-256", "PBES2-HS512+A256KW", "only RSA-OAEP-256"),
            ("A256GCM", "A128GCM", "only A256GCM"),
            ("A256GCM", "A256CBC-HS512", "only A256GCM"),
            ("\"kid\"", "\"crit\":[\"kid\"],\"kid\"", "crit"),
            ("\"kid\"", "\"zip\":\"DEF\",\"kid\"", "zip"),
            ("\"kid\"", "\"jwk\":{},\"kid\"", "jwk"),
            ("\"kid\"", "\"kit\"", "names no key"),
        ] {
            let error = with(&good.replacen(from, to, 1)).expect_err(to).to_string();
            assert!(error.contains(words), "{to}: {error}");
        }
        let zipped = good.replacen("\"kid\"", "\"zip\":\"DEF\",\"kid\"", 1);
        let passed = inspect(&format!("{}.{tail}", encode(&zipped)), Zip::Passes).expect("passes");
        assert!(passed.zipped);
        let other = zipped.replacen("DEF", "GZ", 1);
        assert!(inspect(&format!("{}.{tail}", encode(&other)), Zip::Passes).is_err());
        let cut: Vec<&str> = message.split('.').collect();
        for wrong in [
            cut[..4].join("."),
            format!("{message}.AAAA"),
            format!("{message}AA"),
            message[..message.len() - 1].to_owned(),
            format!("{message}\n"),
            [cut[0], "", cut[2], cut[3], cut[4]].join("."),
            [cut[0], cut[1], "AAAA", cut[3], cut[4]].join("."),
            String::new(),
        ] {
            assert!(inspect(&wrong, Zip::Refused).is_err(), "{}", wrong.len());
        }
    }
}
