//! Signatures of authors: whoever is entered with a certificate must sign what it sends, and nothing unsigned, altered
//! or signed by somebody else is read.
//!
//! XMeld over the internet wants OSCI-Transport with an advanced signature of the author; by XTA the transport knows the
//! sender's connection alone, so the signature travels with the message: an enveloped XML signature over the whole
//! document, the last element below the root, with its certificate in KeyInfo. The certificate must be one that is
//! entered for the sender, and is judged like a signature's at any door: path, validity, revocation. A signature of one
//! who is not entered is not looked at, since nobody can say whose it is.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::message::{Code, Fault, MESSAGE_BYTES_MAX};
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{Purpose, Reason};
use crate::pki::trust::TrustAnchors;
use crate::xml;
use crate::xml::dsig::signature::Candidate;
use crate::xml::dsig::verify::{Expected, read_once};
use crate::xml::dsig::{self, NS_DSIG};

/// Base64 of the largest certificate that is read.
const CERTIFICATE_CHARS_MAX: usize = 24 * 1024;

/// Who must sign, and by which certificates.
#[derive(Default)]
pub struct Signers {
    known: BTreeMap<String, Vec<Certificate>>,
    /// Judges the certificates ([`Purpose::OsciSignature`]).
    anchors: Option<Arc<TrustAnchors>>,
}

impl Signers {
    pub fn new(known: BTreeMap<String, Vec<Certificate>>, anchors: Arc<TrustAnchors>) -> Self {
        Self { known, anchors: Some(anchors) }
    }

    /// Whether `author` is entered, hence believed by its signature alone.
    pub fn knows(&self, author: &str) -> bool {
        self.anchors.is_some() && self.known.contains_key(author)
    }

    /// Whether `sender` may be believed to have written the message that `open` gives from its start.
    pub fn check<R: BufRead>(
        &self,
        sender: &str,
        open: impl FnMut() -> std::io::Result<R>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let (Some(certificates), Some(anchors)) = (self.known.get(sender), &self.anchors) else {
            return Ok(());
        };
        let reading = xml::Limits { document_bytes_max: MESSAGE_BYTES_MAX, ..xml::Limits::default() };
        // Of the author is what stands directly below the root; there is one, or none at all is believed.
        let is_authors = |candidate: &Candidate| candidate.path().len() == 1;
        let (verification, candidates) =
            read_once(open, &reading, &dsig::Limits::default(), is_authors).map_err(broken)?;
        let mut authors = candidates.iter().filter(|one| is_authors(one));
        let (Some(one), None) = (authors.next(), authors.next()) else {
            let why = "the message must have one signature, the last element below the root";
            return Err(Fault::new(Code::T010, why));
        };
        let signature = one.signature.as_ref().map_err(|error| broken(error.clone()))?;
        let certificate = signature.key_info().and_then(|info| {
            let text = info.descend(&[(NS_DSIG, "X509Data"), (NS_DSIG, "X509Certificate")])?.text();
            (text.len() <= CERTIFICATE_CHARS_MAX).then_some(text)
        });
        let Some(certificate) = certificate else {
            return Err(Fault::new(Code::T003, "the signature's KeyInfo has no X509Certificate"));
        };
        let certificate: String = certificate.split_whitespace().collect();
        let certificate = STANDARD.decode(certificate).ok().and_then(|der| Certificate::from_der(&der).ok());
        let certificate =
            certificate.ok_or_else(|| Fault::new(Code::T002, "the certificate cannot be read"))?;
        if !certificates.iter().any(|known| known.der() == certificate.der()) {
            return Err(Fault::new(Code::T002, "the certificate is none that is entered for this sender"));
        }
        let inspection = anchors.inspect(Purpose::OsciSignature, &certificate, &[], now);
        if let Some(reason) = inspection.refusal() {
            let code = match reason {
                Reason::Expired => Code::T000,
                Reason::Revoked => Code::T001,
                Reason::WeakKey => Code::T010,
                _ => Code::T002,
            };
            return Err(Fault::new(code, format!("{} ({})", code.words(), reason.name())));
        }
        let missing = || Fault::new(Code::T010, Code::T010.words());
        let verified = verification.ok_or_else(missing)?.finish(certificate.spki()).map_err(broken)?;
        verified.covers_exactly(&[Expected::Document]).map_err(broken)
    }
}

/// What is no XML is rejected as such, what nobody should use any more as too weak, the rest as broken.
fn broken(error: dsig::Error) -> Fault {
    match error {
        dsig::Error::Xml(error) => error.into(),
        dsig::Error::Algorithm(_) => Fault::new(Code::T010, "the signature's algorithm is not accepted"),
        dsig::Error::Coverage { .. } => {
            Fault::new(Code::T011, "the signature must cover the document, and nothing else")
        }
        // The others name what stands in the message.
        _ => Fault::new(Code::T011, Code::T011.words()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pki::inspection::UnknownRevocation;
    use crate::pki::key::PrivateKey;
    use crate::xml::c14n::Algorithm;
    use crate::xml::dsig::sign::{Plan, Planned, SigningKey};
    use crate::xml::dsig::signature::Canonicalization;
    use crate::xml::dsig::{DigestMethod, SignatureMethod, Target};

    const TOWN: &str = "ags:10041100";

    macro_rules! certs_dev {
        ($name:literal) => {
            (
                &include_bytes!(concat!("../../certs-dev/", $name, ".crt"))[..],
                &include_bytes!(concat!("../../certs-dev/", $name, ".key"))[..],
            )
        };
    }

    type Pair = (&'static [u8], &'static [u8]);

    fn certificate((pem, _): Pair) -> Certificate {
        Certificate::from_pem(pem).expect("a certificate")
    }

    fn signed_over(text: &str, target: Target, shown: Pair, (_, key): Pair) -> String {
        let form = Canonicalization { algorithm: Algorithm::Exclusive, prefix_list: String::new() };
        let der = STANDARD.encode(certificate(shown).der());
        let plan = Plan {
            method: SignatureMethod::EcdsaSha256,
            canonicalization: form.clone(),
            covered: vec![Planned::canonical(target, form, DigestMethod::Sha256)],
            key_info: format!("<ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data>"),
        };
        let key = PrivateKey::from_pem(key).expect("a key");
        let key = SigningKey::from_pkcs8(key.pkcs8_der().expect("PKCS#8")).expect("a key");
        plan.sign(text, text.rfind("</").expect("an end"), &key).expect("signed")
    }

    fn signed(text: &str, shown: Pair, key: Pair) -> String {
        signed_over(text, Target::Document, shown, key)
    }

    pub(in crate::register) fn signed_by_the_town(text: &str) -> String {
        signed(text, certs_dev!("author"), certs_dev!("author"))
    }

    /// The town must sign, by the certificate of [`signed_by_the_town`].
    pub(in crate::register) fn the_town_signs() -> Signers {
        entered([certs_dev!("author")])
    }

    fn entered<const N: usize>(pairs: [Pair; N]) -> Signers {
        let anchors = TrustAnchors::builder()
            .anchors(Purpose::OsciSignature, include_bytes!("../../certs-dev/ca.crt"))
            .and_then(|one| {
                one.revocation_lists(Purpose::OsciSignature, include_bytes!("../../certs-dev/ca.crl"))
            })
            .expect("anchors")
            .unknown_revocation(Purpose::OsciSignature, UnknownRevocation::Refuse)
            .build();
        Signers::new([(TOWN.to_owned(), pairs.map(certificate).to_vec())].into(), Arc::new(anchors))
    }

    #[test]
    fn whoever_must_sign_is_believed_only_by_a_good_signature() {
        let author = certs_dev!("author");
        let [reader, expired, revoked, stranger] =
            [certs_dev!("reader"), certs_dev!("expired"), certs_dev!("revoked"), certs_dev!("stranger")];
        let signers = entered([author, expired, revoked, stranger]);
        let now = "2026-11-23T09:00:00Z".parse().expect("an instant");
        let plain = "<m><name Id=\"n\">Adler</name></m>";
        let good = signed(plain, author, author);
        let key_info = good.find("<ds:KeyInfo>").expect("KeyInfo")
            ..good.find("</ds:KeyInfo>").expect("its end") + "</ds:KeyInfo>".len();
        let mut without_key = good.clone();
        without_key.replace_range(key_info, "");
        let sha1 = good.replace(
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        );
        assert_ne!(sha1, good);
        for (case, sender, text, expected) in [
            ("signed", TOWN, good.clone(), None),
            ("nobody's concern", "ags:10041511", plain.to_owned(), None),
            ("not signed", TOWN, plain.to_owned(), Some(Code::T010)),
            ("signed deeper down", TOWN, format!("<o>{good}</o>"), Some(Code::T010)),
            ("signed twice", TOWN, signed(&good, author, author), Some(Code::T010)),
            ("altered", TOWN, good.replace("Adler", "Adlar"), Some(Code::T011)),
            ("another's key", TOWN, signed(plain, author, reader), Some(Code::T011)),
            (
                "of a part alone",
                TOWN,
                signed_over(plain, Target::Element("n".to_owned()), author, author),
                Some(Code::T011),
            ),
            ("SHA-1", TOWN, sha1, Some(Code::T010)),
            ("no certificate", TOWN, without_key, Some(Code::T003)),
            ("somebody else's certificate", TOWN, signed(plain, reader, reader), Some(Code::T002)),
            ("a foreign authority's", TOWN, signed(plain, stranger, stranger), Some(Code::T002)),
            ("revoked", TOWN, signed(plain, revoked, revoked), Some(Code::T001)),
            ("expired", TOWN, signed(plain, expired, expired), Some(Code::T000)),
            ("no XML", TOWN, "what?".to_owned(), Some(Code::X000)),
        ] {
            let found = signers.check(sender, || Ok(text.as_bytes()), now);
            assert_eq!(found.as_ref().err().map(|fault| fault.code), expected, "{case}: {found:?}");
        }
    }
}
