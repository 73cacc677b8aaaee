//! Public RSA keys as JSON (RFC 7517, RFC 7518 6.3.1), in the shape that FIT-Connect asks for: one purpose a key.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use super::{Error, decode, encode, is_kid};
use crate::pki::certificate::Certificate;

/// Smallest modulus, in bits: what FIT-Connect demands of every key.
pub const BITS_MIN: usize = 4096;
const BITS_MAX: usize = 8192;
/// A key's JSON, certificates included.
pub const JWK_BYTES_MAX: usize = 64 * 1024;

pub const ALG_SIGNATURE: &str = "PS512";
pub const ALG_ENCRYPTION: &str = "RSA-OAEP-256";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Content keys are wrapped for it.
    Encryption,
    /// Signatures of its holder are verified with it.
    Signature,
}

/// The public part, in the field's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    pub kty: String,
    pub kid: String,
    pub alg: String,
    #[serde(default)]
    pub key_ops: Vec<String>,
    pub n: String,
    pub e: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x5c: Vec<String>,
}

/// Members that only a private key has, or a symmetric one.
#[derive(Deserialize)]
struct Secret {
    d: Option<serde_json::Value>,
    p: Option<serde_json::Value>,
    q: Option<serde_json::Value>,
    k: Option<serde_json::Value>,
}

/// A key that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub jwk: Jwk,
    pub purpose: Purpose,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl PublicKey {
    /// From the JSON text that an administrator gave.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::Key(what);
        if text.len() > JWK_BYTES_MAX {
            return Err(wrong(format!("it has more than {JWK_BYTES_MAX} bytes")));
        }
        let secret: Secret =
            serde_json::from_str(text).map_err(|error| wrong(format!("no JSON Web Key: {error}")))?;
        if secret.d.is_some() || secret.p.is_some() || secret.q.is_some() || secret.k.is_some() {
            return Err(wrong("it holds a secret part; only a public key belongs here".to_owned()));
        }
        let jwk: Jwk =
            serde_json::from_str(text).map_err(|error| wrong(format!("no JSON Web Key: {error}")))?;
        Self::judge(jwk)
    }

    /// From the JSON of one key or of a set of them.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        match serde_json::from_str::<Set>(text) {
            Ok(Set { keys }) => keys.iter().map(|key| Self::parse(&key.to_string())).collect(),
            Err(_) => Ok(vec![Self::parse(text)?]),
        }
    }

    fn judge(jwk: Jwk) -> Result<Self, Error> {
        let wrong = |what: String| Error::Key(what);
        if jwk.kty != "RSA" {
            return Err(wrong(format!("kty is {:?}; only RSA is taken", jwk.kty)));
        }
        if !is_kid(&jwk.kid) {
            return Err(wrong("its kid is empty, too long or has characters that are not taken".to_owned()));
        }
        let purpose = match (jwk.alg.as_str(), jwk.key_ops.as_slice()) {
            (ALG_ENCRYPTION, [only]) if only == "wrapKey" => Purpose::Encryption,
            (ALG_SIGNATURE, [only]) if only == "verify" => Purpose::Signature,
            _ => {
                return Err(wrong(
                    "it must be for RSA-OAEP-256 with key_ops [\"wrapKey\"], or for PS512 with [\"verify\"]"
                        .to_owned(),
                ));
            }
        };
        let (modulus, exponent) = (decode(&jwk.n)?, decode(&jwk.e)?);
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        if modulus.first() == Some(&0) || !(BITS_MIN..=BITS_MAX).contains(&bits) {
            return Err(wrong(format!("it has {bits} bits; {BITS_MIN} to {BITS_MAX} are taken")));
        }
        if exponent.last().is_none_or(|last| last & 1 == 0) || exponent == [1] || exponent.len() > 8 {
            return Err(wrong("its exponent is not taken".to_owned()));
        }
        Ok(Self { jwk, purpose, modulus, exponent })
    }

    pub fn kid(&self) -> &str {
        &self.jwk.kid
    }

    /// Whether a name means this key: the kid that its owner chose, or the key's own thumbprint, which clients write that
    /// know nothing but the key.
    pub fn is_called(&self, name: &str) -> bool {
        self.kid() == name || thumbprint(&self.jwk.n, &self.jwk.e) == name
    }

    /// The certificate of the key, where its owner gave one (`x5c`, RFC 7517, section 4.7): it must hold this very key.
    pub fn certificate(&self) -> Result<Option<Certificate>, Error> {
        let Some(first) = self.jwk.x5c.first() else { return Ok(None) };
        let wrong = |what: String| Error::Key(format!("its x5c: {what}"));
        let der = STANDARD.decode(first).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_der(&der).map_err(|error| wrong(error.to_string()))?;
        let (_, held) = SubjectPublicKeyInfo::from_der(certificate.spki())
            .map_err(|_| wrong("its certificate's key cannot be read".to_owned()))?;
        let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let same = match held.parsed() {
            Ok(x509_parser::public_key::PublicKey::RSA(held)) => {
                bare(held.modulus) == self.modulus && bare(held.exponent) == bare(&self.exponent)
            }
            _ => false,
        };
        match same {
            true => Ok(Some(certificate)),
            false => Err(wrong(format!("the certificate of {} is for another key", certificate.subject()))),
        }
    }

    pub(super) fn components(&self) -> RsaPublicKeyComponents<&[u8]> {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
    }
}

/// Thumbprint of an RSA key by SHA-256 (RFC 7638, section 3): its required members in the order of their names, without
/// white space. Modulus and exponent in base64url, which needs no escapes in JSON.
pub(super) fn thumbprint(n: &str, e: &str) -> String {
    let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    encode(digest(&SHA256, members.as_bytes()))
}

/// Our own public key, to be published.
pub(super) fn published(kid: &str, modulus: &[u8], exponent: &[u8]) -> Jwk {
    Jwk {
        kty: "RSA".to_owned(),
        kid: kid.to_owned(),
        alg: ALG_SIGNATURE.to_owned(),
        key_ops: vec!["verify".to_owned()],
        n: encode(modulus),
        e: encode(exponent),
        x5c: Vec::new(),
    }
}

/// A JWK Set (RFC 7517, 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::jose::tests::{ENCRYPTION_JWK, SIGNATURE_JWK};

    #[test]
    fn a_key_is_called_by_its_kid_and_its_thumbprint() {
        // The example of RFC 7638, section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
                 hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q\
                 MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
                 JzKnqDKgw";
        assert_eq!(thumbprint(n, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let [encryption, signature] =
            [ENCRYPTION_JWK, SIGNATURE_JWK].map(|text| PublicKey::parse(text).expect("a key"));
        let own = thumbprint(&encryption.jwk.n, &encryption.jwk.e);
        assert!(encryption.is_called(encryption.kid()) && encryption.is_called(&own));
        assert!(!signature.is_called(&own) && !encryption.is_called(&own[1..]) && !encryption.is_called(""));
    }

    #[test]
    fn a_certificate_beside_a_key_is_that_keys_own() {
        let of = |pem: &str| {
            let pair = rcgen::KeyPair::from_pem(pem).expect("a key");
            let params = rcgen::CertificateParams::new(vec!["authority.example".to_owned()]).expect("a name");
            STANDARD.encode(params.self_signed(&pair).expect("signed").der())
        };
        let with = |x5c: &str| {
            let text =
                SIGNATURE_JWK.trim_end().replacen("\"kty\"", &format!("\"x5c\":[\"{x5c}\"],\"kty\""), 1);
            PublicKey::parse(&text).expect("a key").certificate()
        };
        let own = of(include_str!("../../../tests/data/portal/signature.key"));
        let other = of(include_str!("../../../tests/data/portal/encryption.key"));
        let read = with(&own).expect("its own").expect("a certificate");
        assert_eq!(read.alternative_names(), ["authority.example"]);
        for (wrong, words) in [(other.as_str(), "another key"), ("AAAA", "x5c"), ("%", "x5c")] {
            let error = with(wrong).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(PublicKey::parse(SIGNATURE_JWK).expect("a key").certificate(), Ok(None));
    }

    #[test]
    fn a_set_of_keys_is_read_like_one() {
        let set = format!("{{\"keys\":[{},{}]}}", ENCRYPTION_JWK.trim_end(), SIGNATURE_JWK.trim_end());
        let kids = |text: &str| {
            let read = PublicKey::parse_all(text).expect("keys");
            read.iter().map(|key| key.kid().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kids(&set), ["authority-encryption-2026", "authority-signature-2026"]);
        assert_eq!(kids(SIGNATURE_JWK), ["authority-signature-2026"]);
        assert!(PublicKey::parse_all("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}").is_err());
        assert!(PublicKey::parse_all("[]").is_err());
    }

    #[test]
    fn keys_have_one_purpose_and_no_secret() {
        assert_eq!(PublicKey::parse(ENCRYPTION_JWK).expect("a key").purpose, Purpose::Encryption);
        assert_eq!(PublicKey::parse(SIGNATURE_JWK).expect("a key").purpose, Purpose::Signature);
        for (from, to, words) in [
            ("\"RSA\"", "\"EC\"", "only RSA"),
            ("\"wrapKey\"", "\"wrapKey\",\"verify\"", "must be for"),
            ("RSA-OAEP-256", "RSA1_5", "must be for"),
            ("RSA-OAEP-256", "PS512", "must be for"),
            ("\"e\":", "\"d\":\"AQAB\",\"e\":", "secret part"),
            ("\"e\":\"AQAB\"", "\"e\":\"AQ\"", "exponent"),
            ("\"kid\":\"", "\"kid\":\"a b", "kid"),
            ("\"n\":\"", "\"n\":\"AAAA", "bits"),
        ] {
            let text = ENCRYPTION_JWK.replacen(from, to, 1);
            assert_ne!(text, ENCRYPTION_JWK, "{from}");
            let error = PublicKey::parse(&text).expect_err(to).to_string();
            assert!(error.contains(words), "{to}: {error}");
        }
        let short = ENCRYPTION_JWK.split("\"n\":\"").next().expect("a start").to_owned();
        let small = format!("{short}\"n\":\"{}\",\"e\":\"AQAB\"}}", encode([0xc1; 256]));
        assert!(PublicKey::parse(&small).expect_err("small").to_string().contains("2048 bits"));
    }
}
