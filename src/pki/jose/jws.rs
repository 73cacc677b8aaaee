//! Signatures (RFC 7515, compact form): PS512 and nothing else.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA512};
use serde::Serialize;

use super::jwk::{self, ALG_SIGNATURE, Jwk, PublicKey, Purpose};
use super::{Error, Header, decode, encode, must_be};

/// A whole token, in characters.
pub const TOKEN_CHARS_MAX: usize = 64 * 1024;

/// Our own key. Clones share it.
#[derive(Clone)]
pub struct SigningKey {
    key: Arc<KeyPair>,
    jwk: Jwk,
    public: Arc<PublicParts>,
}

struct PublicParts {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SigningKey({})", self.jwk.kid)
    }
}

impl SigningKey {
    /// Reads an RSA key (PKCS #8); its kid is its thumbprint (RFC 7638).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let key = KeyPair::from_pkcs8(der)
            .map_err(|_| Error::Key("an RSA key of 2048 bits or more (PKCS #8) is needed".to_owned()))?;
        let public = key.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
        let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
        let kid = jwk::thumbprint(&encode(&modulus), &encode(&exponent));
        let jwk = jwk::published(&kid, &modulus, &exponent);
        Ok(Self { key: Arc::new(key), jwk, public: Arc::new(PublicParts { modulus, exponent }) })
    }

    /// The same key under the name that others know it by.
    #[must_use]
    pub fn named(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.jwk.kid);
        self
    }

    pub fn kid(&self) -> &str {
        &self.jwk.kid
    }

    /// What others verify with.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Signs `claims` (JSON) as a token of this type.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Head<'a> {
            alg: &'a str,
            kid: &'a str,
            typ: &'a str,
        }
        let json = |error: serde_json::Error| Error::Key(error.to_string());
        let head = serde_json::to_vec(&Head { alg: ALG_SIGNATURE, kid: self.kid(), typ }).map_err(json)?;
        let claims = serde_json::to_vec(claims).map_err(json)?;
        let mut token = format!("{}.{}", encode(head), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA512, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| Error::Key("it does not sign".to_owned()))?;
        token.push('.');
        token.push_str(&encode(signature));
        Ok(token)
    }

    /// A token of our own: its payload, if this key made it.
    pub fn verify(&self, token: &Unverified<'_>) -> Result<Vec<u8>, Error> {
        if token.kid != self.kid() {
            return Err(Error::KeyUnknown);
        }
        let key = aws_lc_rs::signature::RsaPublicKeyComponents {
            n: self.public.modulus.as_slice(),
            e: self.public.exponent.as_slice(),
        };
        key.verify(&RSA_PSS_2048_8192_SHA512, token.signed.as_bytes(), &token.signature)
            .map_err(|_| Error::Signature)?;
        Ok(token.payload.clone())
    }
}

/// A token whose header was judged. Its payload is to be believed only from [`SigningKey::verify`] or
/// [`Unverified::verify`].
#[derive(Debug)]
pub struct Unverified<'a> {
    pub kid: String,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// `typ` is the token's type, which keeps one kind of token from passing as another.
    pub fn parse(token: &'a str, typ: &'static str) -> Result<Self, Error> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(Error::Malformed("the token is too long"));
        }
        let (signed, signature) =
            token.rsplit_once('.').ok_or(Error::Malformed("a token has three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(Error::Malformed("a token has three parts"))?;
        if payload.contains('.') {
            return Err(Error::Malformed("a token has three parts"));
        }
        let header = Header::read(header)?;
        must_be("alg", header.alg.as_deref(), ALG_SIGNATURE)?;
        must_be("typ", header.typ.as_deref(), typ)?;
        if header.enc.is_some() || header.zip.is_some() {
            return Err(Error::Malformed("a signed token is not encrypted"));
        }
        let kid = header.kid()?.to_owned();
        Ok(Self { kid, signed, payload: decode(payload)?, signature: decode(signature)? })
    }

    /// What it claims, to find out whose key must have signed it. Nothing else may follow from it.
    pub fn claimed(&self) -> &[u8] {
        &self.payload
    }

    pub fn verify(&self, key: &PublicKey) -> Result<&[u8], Error> {
        if key.kid() != self.kid {
            return Err(Error::KeyUnknown);
        }
        if key.purpose != Purpose::Signature {
            return Err(Error::Key("it is not for signatures".to_owned()));
        }
        key.components()
            .verify(&RSA_PSS_2048_8192_SHA512, self.signed.as_bytes(), &self.signature)
            .map_err(|_| Error::Signature)?;
        Ok(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::jose::tests::{SIGNATURE_JWK, signing_key};

    fn forged(header: &str, payload: &str, signature: &[u8]) -> String {
        format!("{}.{}.{}", encode(header), encode(payload), encode(signature))
    }

    #[test]
    fn what_was_signed_is_believed_and_nothing_else() {
        let key = signing_key();
        let token = key.sign("secevent+jwt", &serde_json::json!({ "sub": "a" })).expect("signed");
        let read = Unverified::parse(&token, "secevent+jwt").expect("well-formed");
        assert_eq!(key.verify(&read).expect("verifies"), br#"{"sub":"a"}"#);
        assert_eq!(
            Unverified::parse(&token, "at+jwt").err(),
            Some(Error::Algorithm { what: "typ", allowed: "at+jwt", seen: "secevent+jwt".to_owned() })
        );
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = encode(r#"{"sub":"b"}"#);
        let changed = parts.join(".");
        let changed = Unverified::parse(&changed, "secevent+jwt").expect("well-formed");
        assert_eq!(key.verify(&changed).err(), Some(Error::Signature));
        let other = PublicKey::parse(SIGNATURE_JWK).expect("a key");
        assert_eq!(read.verify(&other).err(), Some(Error::KeyUnknown));
    }

    #[test]
    fn headers_decide_nothing() {
        let kid = signing_key().kid().to_owned();
        let head = |more: &str| format!(r#"{{"typ":"at+jwt","kid":"{kid}",{more}}}"#);
        for (header, words) in [
            (head(r#""alg":"none""#), "only PS512"),
            (head(r#""alg":"None""#), "only PS512"),
            (head(r#""alg":"HS512""#), "only PS512"),
            (head(r#""alg":"RS512""#), "only PS512"),
            (head(r#""alg":"PS256""#), "only PS512"),
            (head(r#""alg":"ES512""#), "only PS512"),
            (head(r#""alg":"PS512","alg":"none""#), "no JSON object"),
            (head(r#""alg":"PS512","crit":["exp"],"exp":1"#), "\"crit\""),
            (head(r#""alg":"PS512","jwk":{}"#), "\"jwk\""),
            (head(r#""alg":"PS512","jku":"https://a.example/""#), "\"jku\""),
            (head(r#""alg":"PS512","x5u":"https://a.example/""#), "\"x5u\""),
            (head(r#""alg":"PS512","x5c":[]"#), "\"x5c\""),
            (head(r#""alg":"PS512","b64":false"#), "\"b64\""),
            (head(r#""alg":"PS512","zip":"DEF""#), "not encrypted"),
            (r#"{"alg":"PS512","typ":"at+jwt"}"#.to_owned(), "names no key"),
            (r#"{"alg":"PS512","typ":"at+jwt","kid":"' OR 1=1"}"#.to_owned(), "not a key's name"),
            (r#"{"alg":"PS512","typ":"at+jwt","kid":"a\u0000"}"#.to_owned(), "not a key's name"),
            ("[]".to_owned(), "no JSON object"),
        ] {
            let token = forged(&header, "{}", b"");
            let error = Unverified::parse(&token, "at+jwt").expect_err(&header).to_string();
            assert!(error.contains(words), "{header}: {error}");
        }
        for token in ["", ".", "a.b", "a.b.c.d", "e30.e30.e30.e30.e30", "=.=.="] {
            assert!(Unverified::parse(token, "at+jwt").is_err(), "{token}");
        }
    }

    /// The public key as the secret of an HMAC: the oldest confusion.
    #[test]
    fn a_public_key_is_no_shared_secret() {
        let key = signing_key();
        let header = format!(r#"{{"alg":"HS512","typ":"at+jwt","kid":"{}"}}"#, key.kid());
        let signed = format!("{}.{}", encode(&header), encode("{}"));
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, key.jwk().n.as_bytes());
        let token = format!("{signed}.{}", encode(aws_lc_rs::hmac::sign(&hmac, signed.as_bytes())));
        assert!(matches!(Unverified::parse(&token, "at+jwt"), Err(Error::Algorithm { what: "alg", .. })));
        // Under our own header the same bytes are no signature.
        let header = format!(r#"{{"alg":"PS512","typ":"at+jwt","kid":"{}"}}"#, key.kid());
        let token = forged(&header, "{}", aws_lc_rs::hmac::sign(&hmac, signed.as_bytes()).as_ref());
        let read = Unverified::parse(&token, "at+jwt").expect("well-formed");
        assert_eq!(key.verify(&read).err(), Some(Error::Signature));
    }
}
