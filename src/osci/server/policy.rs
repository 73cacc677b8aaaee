//! What a participant demands of its own requests beyond what the post office demands of everybody (sections 6, 7 and 9.2
//! of our notes): signed, encrypted, by which algorithms, with how long keys.
//!
//! Demands narrow: what the configuration does not take of anybody was refused before anybody knew whose it is. OSCI has
//! codes for a signature that is missing (9600) or not taken (9601); it has none for encryption and keys, which are
//! refused with 9811 and a sentence.

use super::Refused;
use super::incoming::Request;
use crate::domain::account::OsciParticipant;
use crate::domain::algorithm as named;
use crate::osci::code::Code;
use crate::osci::envelope::encrypted::Algorithms;
use crate::osci::message::certificates::Certificate;
use crate::pki::certificate::{Certificate as Parsed, KeyKind};
use crate::xml::dsig::{DigestMethod, SignatureMethod};
use crate::xml::enc::{ContentMethod, KeyTransport, OaepHash};

/// `cipher` is the originator's certificate (DER), `signer` the one that the request's signature was verified with.
pub fn judge(
    demands: &OsciParticipant,
    request: &Request,
    cipher: &[u8],
    signer: Option<&Certificate>,
) -> Result<(), Refused> {
    if demands.signature_required && signer.is_none() {
        return Err(Refused::new(Code::SignatureMissing, "the account demands signatures"));
    }
    if demands.encryption_required && request.seal.is_none() {
        return Err(Refused::told(Code::Failed, "requests of this participant must be encrypted"));
    }
    if let Ok(Some(signature)) = &request.received.signature {
        signed(demands, signature.method(), &signature.digest_methods())?;
    }
    if let Some(seal) = &request.seal {
        encrypted(demands, seal.algorithms)?;
    }
    for der in std::iter::once(cipher).chain(signer.map(|signer| signer.der.as_slice())) {
        if let Ok(parsed) = Parsed::from_der(der) {
            long_enough(demands, parsed.key_kind())?;
        }
    }
    Ok(())
}

fn signed(
    demands: &OsciParticipant,
    method: SignatureMethod,
    digests: &[DigestMethod],
) -> Result<(), Refused> {
    let refused = |uri: &str| {
        Err(Refused::told(
            Code::SignatureInvalid,
            format!("this participant's signatures must not use {uri}"),
        ))
    };
    if demands.signature_methods.as_ref().is_some_and(|list| !list.contains(&signature_name(method))) {
        return refused(method.uri());
    }
    let taken = |digest: &DigestMethod| {
        demands.digest_methods.as_ref().is_none_or(|list| list.contains(&digest_name(*digest)))
    };
    match digests.iter().find(|digest| !taken(digest)) {
        Some(digest) => refused(digest.uri()),
        None => Ok(()),
    }
}

fn encrypted(demands: &OsciParticipant, used: Algorithms) -> Result<(), Refused> {
    let refused = |what: &str| {
        Err(Refused::told(Code::Failed, format!("this participant's requests must not use {what}")))
    };
    let content = content_name(used.method);
    if demands.content_methods.as_ref().is_some_and(|list| !list.contains(&content)) {
        return refused(content.name());
    }
    if let Some(list) = &demands.key_transports {
        return match transport_name(used.transport) {
            Some(transport) if list.contains(&transport) => Ok(()),
            Some(transport) => refused(transport.name()),
            None => refused("RSA-OAEP with SHA-1"),
        };
    }
    Ok(())
}

fn long_enough(demands: &OsciParticipant, key: &KeyKind) -> Result<(), Refused> {
    let (what, bits, least) = match key {
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } => ("RSA", *bits, demands.rsa_bits_min),
        KeyKind::P256 | KeyKind::BrainpoolP256r1 | KeyKind::Ed25519 => ("EC", 256, demands.ec_bits_min),
        KeyKind::P384 | KeyKind::BrainpoolP384r1 => ("EC", 384, demands.ec_bits_min),
        KeyKind::BrainpoolP512r1 => ("EC", 512, demands.ec_bits_min),
        KeyKind::P521 => ("EC", 521, demands.ec_bits_min),
        KeyKind::Other(_) => return Ok(()),
    };
    match least {
        Some(least) if bits < least as usize => {
            let sentence = format!("{what} keys of this participant have at least {least} bits");
            Err(Refused::told(Code::Failed, sentence))
        }
        _ => Ok(()),
    }
}

fn signature_name(method: SignatureMethod) -> named::SignatureMethod {
    use SignatureMethod as M;
    use named::SignatureMethod as N;
    match method {
        M::RsaSha256 => N::RsaSha256,
        M::RsaSha384 => N::RsaSha384,
        M::RsaSha512 => N::RsaSha512,
        M::RsaPssSha256 => N::RsaPssSha256,
        M::RsaPssSha384 => N::RsaPssSha384,
        M::RsaPssSha512 => N::RsaPssSha512,
        M::RsaPssSha3_256 => N::RsaPssSha3_256,
        M::RsaPssSha3_384 => N::RsaPssSha3_384,
        M::RsaPssSha3_512 => N::RsaPssSha3_512,
        M::EcdsaSha256 => N::EcdsaSha256,
        M::EcdsaSha384 => N::EcdsaSha384,
        M::EcdsaSha512 => N::EcdsaSha512,
    }
}

fn digest_name(method: DigestMethod) -> named::DigestMethod {
    use DigestMethod as M;
    use named::DigestMethod as N;
    match method {
        M::Sha256 => N::Sha256,
        M::Sha384 => N::Sha384,
        M::Sha512 => N::Sha512,
        M::Sha3_256 => N::Sha3_256,
        M::Sha3_384 => N::Sha3_384,
        M::Sha3_512 => N::Sha3_512,
    }
}

fn content_name(method: ContentMethod) -> named::ContentMethod {
    use ContentMethod as M;
    use named::ContentMethod as N;
    match method {
        M::Aes128Gcm => N::Aes128Gcm,
        M::Aes192Gcm => N::Aes192Gcm,
        M::Aes256Gcm => N::Aes256Gcm,
        M::Aes128Cbc => N::Aes128Cbc,
        M::Aes192Cbc => N::Aes192Cbc,
        M::Aes256Cbc => N::Aes256Cbc,
    }
}

/// None for OAEP with SHA-1, which no list can name.
fn transport_name(transport: KeyTransport) -> Option<named::KeyTransport> {
    use OaepHash as H;
    use named::KeyTransport as N;
    match transport {
        KeyTransport::Rsa15 => Some(N::Rsa15),
        KeyTransport::Oaep { mask: H::Sha1, .. } | KeyTransport::Oaep { digest: H::Sha1, .. } => None,
        KeyTransport::Oaep { digest, .. } => Some(match digest {
            H::Sha256 => N::RsaOaepSha256,
            H::Sha384 => N::RsaOaepSha384,
            H::Sha512 => N::RsaOaepSha512,
            H::Sha3_256 => N::RsaOaepSha3_256,
            H::Sha3_384 => N::RsaOaepSha3_384,
            H::Sha3_512 => N::RsaOaepSha3_512,
            H::Sha1 => return None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(judged: Result<(), Refused>) -> &'static str {
        judged.map_or_else(|refused| refused.code.as_str(), |()| "taken")
    }

    #[test]
    fn signatures_by_other_algorithms_are_not_taken() {
        let demands = OsciParticipant {
            signature_methods: Some(vec![named::SignatureMethod::RsaPssSha256]),
            digest_methods: Some(vec![named::DigestMethod::Sha512]),
            ..OsciParticipant::default()
        };
        use DigestMethod as D;
        use SignatureMethod as S;
        for (method, digests, expected) in [
            (S::RsaPssSha256, &[D::Sha512][..], "taken"),
            (S::RsaSha256, &[D::Sha512], "9601"),
            (S::RsaPssSha512, &[D::Sha512], "9601"),
            (S::RsaPssSha256, &[D::Sha256], "9601"),
            // One weak reference among good ones is enough.
            (S::RsaPssSha256, &[D::Sha512, D::Sha256], "9601"),
        ] {
            assert_eq!(code(signed(&demands, method, digests)), expected, "{method:?} {digests:?}");
            assert_eq!(code(signed(&OsciParticipant::default(), method, digests)), "taken");
        }
    }

    #[test]
    fn encryption_by_other_algorithms_is_not_taken() {
        use crate::xml::enc::IvLength;
        let demands = OsciParticipant {
            content_methods: Some(vec![named::ContentMethod::Aes256Gcm]),
            key_transports: Some(vec![named::KeyTransport::RsaOaepSha256]),
            ..OsciParticipant::default()
        };
        let sha1_mask = KeyTransport::Oaep { digest: OaepHash::Sha256, mask: OaepHash::Sha1 };
        for (method, transport, expected) in [
            (ContentMethod::Aes256Gcm, KeyTransport::OAEP_SHA256, "taken"),
            (ContentMethod::Aes128Gcm, KeyTransport::OAEP_SHA256, "9811"),
            (ContentMethod::Aes256Cbc, KeyTransport::OAEP_SHA256, "9811"),
            (ContentMethod::Aes256Gcm, KeyTransport::OAEP_SHA512, "9811"),
            (ContentMethod::Aes256Gcm, KeyTransport::Rsa15, "9811"),
            (ContentMethod::Aes256Gcm, sha1_mask, "9811"),
        ] {
            let used = Algorithms { method, iv: IvLength::Twelve, transport };
            assert_eq!(code(encrypted(&demands, used)), expected, "{method:?} {transport:?}");
            assert_eq!(code(encrypted(&OsciParticipant::default(), used)), "taken");
        }
    }

    #[test]
    fn short_keys_are_not_taken() {
        let demands = OsciParticipant {
            rsa_bits_min: Some(3072),
            ec_bits_min: Some(384),
            ..OsciParticipant::default()
        };
        for (key, expected) in [
            (KeyKind::Rsa { bits: 3072 }, "taken"),
            (KeyKind::Rsa { bits: 2048 }, "9811"),
            (KeyKind::RsaPss { bits: 2048 }, "9811"),
            (KeyKind::P384, "taken"),
            (KeyKind::BrainpoolP512r1, "taken"),
            (KeyKind::P256, "9811"),
            (KeyKind::BrainpoolP256r1, "9811"),
        ] {
            assert_eq!(code(long_enough(&demands, &key)), expected, "{key}");
        }
    }
}
