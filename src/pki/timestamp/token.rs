//! A time stamp token: CMS SignedData (RFC 5652, section 5) around TSTInfo (RFC 3161, section 2.4.2), read and proven
//! whole in one step.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::{self, Element, Reader};
use super::{Error, Hash, Oid, RESPONSE_BYTES_MAX, oid};
use crate::domain::hex;
use crate::pki::certificate::{CERTIFICATES_MAX, Certificate, ExtendedKeyUsage, KeyUsage};
use crate::pki::path;

/// Extended key usage, as certificates name it.
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

/// How exact the TSA says its time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accuracy(SignedDuration);

impl Accuracy {
    pub fn duration(self) -> SignedDuration {
        self.0
    }
}

/// A stamp whose signature verifies under the certificate that it names, and which says so itself. Who made it is for
/// [`super::Authorities::trust`] to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    der: Vec<u8>,
    info: Info,
    signer: Certificate,
    /// All that came with it.
    certificates: Vec<Certificate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Info {
    policy: Oid,
    hash: Hash,
    imprint: Vec<u8>,
    /// Hexadecimal.
    serial: String,
    time: Timestamp,
    accuracy: Option<Accuracy>,
    nonce: Option<Vec<u8>>,
}

impl Token {
    /// Reads a token (ContentInfo) and verifies its signature.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > RESPONSE_BYTES_MAX {
            return Err(Error::TooLarge { seen: bytes.len(), max: RESPONSE_BYTES_MAX });
        }
        let signed = SignedData::read(bytes)?;
        let info = Info::read(signed.content)?;
        let signer = signed.signer.verify(signed.content, &signed.certificates)?;
        may_stamp(&signer)?;
        Ok(Self { der: bytes.to_vec(), info, signer, certificates: signed.certificates })
    }

    /// Whether this is a stamp over `bytes`.
    pub fn covers(&self, bytes: &[u8]) -> Result<(), Error> {
        if self.info.hash.digest(bytes) == self.info.imprint { Ok(()) } else { Err(Error::Imprint) }
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn time(&self) -> Timestamp {
        self.info.time
    }

    pub fn accuracy(&self) -> Option<Accuracy> {
        self.info.accuracy
    }

    pub fn policy(&self) -> &Oid {
        &self.info.policy
    }

    /// The stamp's own number, hexadecimal.
    pub fn serial(&self) -> &str {
        &self.info.serial
    }

    pub fn hash(&self) -> Hash {
        self.info.hash
    }

    pub fn imprint(&self) -> &[u8] {
        &self.info.imprint
    }

    pub fn nonce(&self) -> Option<&[u8]> {
        self.info.nonce.as_deref()
    }

    /// The TSA's certificate.
    pub fn signer(&self) -> &Certificate {
        &self.signer
    }

    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}

impl Info {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "TSTInfo";
        let mut outer = Reader::new(bytes, WHAT);
        let mut info = outer.enter(der::SEQUENCE, WHAT)?;
        outer.finish()?;
        if der::small(info.expect(der::INTEGER)?, WHAT)? != 1 {
            return Err(Error::Malformed("version of TSTInfo"));
        }
        let policy = Oid::read(info.expect(der::OID)?)?;
        let mut imprint = info.enter(der::SEQUENCE, "MessageImprint")?;
        let hash = Hash::of_algorithm(imprint.enter(der::SEQUENCE, "MessageImprint")?)?;
        let digest = imprint.expect(der::OCTET_STRING)?.content.to_vec();
        imprint.finish()?;
        let serial = der::integer(info.expect(der::INTEGER)?, "serial number")?;
        let time = instant(info.expect(der::GENERALIZED_TIME)?)?;
        let accuracy = info.optional(der::SEQUENCE)?.map(accuracy).transpose()?;
        if info.optional(der::BOOLEAN)?.is_some_and(|ordering| !der::boolean(ordering, WHAT).unwrap_or(false))
        {
            // A default is not written in DER; anything but true here is another spelling.
            return Err(Error::Malformed("ordering"));
        }
        let nonce = match info.optional(der::INTEGER)? {
            Some(nonce) => Some(der::integer(nonce, "nonce")?.to_vec()),
            None => None,
        };
        info.optional(der::constructed(0))?;
        if let Some(extensions) = info.optional(der::constructed(1))? {
            extensions_known(Reader::new(extensions.content, "extensions"))?;
        }
        info.finish()?;
        let serial = hex::lower(serial);
        Ok(Self { policy, hash, imprint: digest, serial, time, accuracy, nonce })
    }
}

/// No extension of a stamp is known here, so a critical one is a refusal.
fn extensions_known(mut extensions: Reader<'_>) -> Result<(), Error> {
    while !extensions.is_empty() {
        let mut extension = extensions.enter(der::SEQUENCE, "extensions")?;
        let id = Oid::read(extension.expect(der::OID)?)?;
        if let Some(critical) = extension.optional(der::BOOLEAN)?
            && der::boolean(critical, "extensions")?
        {
            return Err(Error::Extension(id.to_string()));
        }
        extension.expect(der::OCTET_STRING)?;
        extension.finish()?;
    }
    Ok(())
}

/// `YYYYMMDDhhmmss[.f…]Z`, the fraction without trailing zeros (RFC 3161, section 2.4.2).
fn instant(value: Element<'_>) -> Result<Timestamp, Error> {
    let wrong = || Error::Malformed("genTime");
    let text = std::str::from_utf8(value.content).map_err(|_| wrong())?;
    let text = text.strip_suffix('Z').ok_or_else(wrong)?;
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| -> Result<i16, Error> {
        whole.get(from..to).and_then(|text| text.parse().ok()).ok_or_else(wrong)
    };
    let small = |from| number(from, from + 2).and_then(|value| i8::try_from(value).map_err(|_| wrong()));
    let nanoseconds: i32 = match fraction {
        None => 0,
        Some(text) if text.is_empty() || text.len() > 9 || !digits(text) || text.ends_with('0') => {
            return Err(wrong());
        }
        Some(text) => format!("{text:0<9}").parse().map_err(|_| wrong())?,
    };
    let at =
        DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(8)?, small(10)?, small(12)?, nanoseconds);
    let at = at.map_err(|_| wrong())?.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(at.timestamp())
}

fn accuracy(value: Element<'_>) -> Result<Accuracy, Error> {
    const WHAT: &str = "accuracy";
    let mut parts = Reader::new(value.content, WHAT);
    let seconds = parts.optional(der::INTEGER)?.map_or(Ok(0), |seconds| der::small(seconds, WHAT))?;
    let mut thousandth = |number| -> Result<u32, Error> {
        match parts.optional(der::primitive(number))? {
            None => Ok(0),
            Some(value) => match der::small(value, WHAT)? {
                part @ 1..=999 => Ok(part),
                _ => Err(Error::Malformed(WHAT)),
            },
        }
    };
    let micros = u64::from(thousandth(0)?) * 1000 + u64::from(thousandth(1)?);
    parts.finish()?;
    let micros = i64::from(seconds) * 1_000_000 + i64::try_from(micros).unwrap_or(0);
    Ok(Accuracy(SignedDuration::from_micros(micros)))
}

struct SignedData<'a> {
    /// TSTInfo.
    content: &'a [u8],
    certificates: Vec<Certificate>,
    signer: SignerInfo<'a>,
}

impl<'a> SignedData<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "SignedData";
        let mut outer = Reader::new(bytes, "ContentInfo");
        let mut info = outer.enter(der::SEQUENCE, "ContentInfo")?;
        outer.finish()?;
        if info.expect(der::OID)?.content != oid::SIGNED_DATA {
            return Err(Error::Malformed("it is not signed data"));
        }
        let mut wrapped = info.enter(der::constructed(0), WHAT)?;
        info.finish()?;
        let mut signed = wrapped.enter(der::SEQUENCE, WHAT)?;
        wrapped.finish()?;
        // RFC 5652, section 5.1: version 3, since the content is not id-data.
        if der::small(signed.expect(der::INTEGER)?, WHAT)? != 3 {
            return Err(Error::Malformed("version of SignedData"));
        }
        signed.expect(der::SET)?;
        let mut content = signed.enter(der::SEQUENCE, "EncapsulatedContentInfo")?;
        if content.expect(der::OID)?.content != oid::TST_INFO {
            return Err(Error::ContentType);
        }
        let mut octets = content.enter(der::constructed(0), "eContent")?;
        content.finish()?;
        let content = octets.expect(der::OCTET_STRING)?.content;
        octets.finish()?;
        let mut certificates = Vec::new();
        if let Some(set) = signed.optional(der::constructed(0))? {
            let mut set = Reader::new(set.content, "certificates");
            let mut ders = Vec::new();
            while !set.is_empty() {
                ders.push(set.expect(der::SEQUENCE)?.whole);
                if ders.len() > CERTIFICATES_MAX {
                    return Err(crate::pki::certificate::Error::TooMany { max: CERTIFICATES_MAX }.into());
                }
            }
            certificates = Certificate::chain_from_der(ders)?;
        }
        // Revocation lists may come along; none is consulted.
        signed.optional(der::constructed(1))?;
        let mut signers = signed.enter(der::SET, "signerInfos")?;
        signed.finish()?;
        let signer = SignerInfo::read(signers.enter(der::SEQUENCE, "SignerInfo")?)?;
        if !signers.is_empty() {
            return Err(Error::Malformed("more than one signer"));
        }
        Ok(Self { content, certificates, signer })
    }
}

enum SignerId<'a> {
    /// Issuer's name as a whole value, and the serial number's content.
    IssuerAndSerial(&'a [u8], &'a [u8]),
    SubjectKey(&'a [u8]),
}

struct SignerInfo<'a> {
    id: SignerId<'a>,
    hash: Hash,
    /// The attributes' content, without the tag, which is another one where they are signed.
    attributes: &'a [u8],
    /// Content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> SignerInfo<'a> {
    fn read(mut info: Reader<'a>) -> Result<Self, Error> {
        const WHAT: &str = "SignerInfo";
        let version = der::small(info.expect(der::INTEGER)?, WHAT)?;
        let id = match (version, info.value()?) {
            (1, value) if value.tag == der::SEQUENCE => issuer_and_serial(Reader::new(value.content, WHAT))?,
            (3, value) if value.tag == der::primitive(0) => SignerId::SubjectKey(value.content),
            _ => return Err(Error::Malformed("the signer's identifier")),
        };
        let hash = Hash::of_algorithm(info.enter(der::SEQUENCE, "digestAlgorithm")?)?;
        let attributes = info.expect(der::constructed(0))?.content;
        let algorithm = info.expect(der::SEQUENCE)?.content;
        let signature = info.expect(der::OCTET_STRING)?.content;
        info.optional(der::constructed(1))?;
        info.finish()?;
        Ok(Self { id, hash, attributes, algorithm, signature })
    }

    /// The certificate that made the signature.
    fn verify(&self, content: &[u8], certificates: &[Certificate]) -> Result<Certificate, Error> {
        if self.attribute(oid::CONTENT_TYPE, "content-type")?.expect(der::OID)?.content != oid::TST_INFO {
            return Err(Error::ContentType);
        }
        let digest = self.attribute(oid::MESSAGE_DIGEST, "message-digest")?.expect(der::OCTET_STRING)?;
        if digest.content != self.hash.digest(content) {
            return Err(Error::MessageDigest);
        }
        let signer = certificates.iter().find(|certificate| self.id.names(certificate));
        let signer = signer.ok_or(Error::CertificateMissing)?;
        self.names_certificate(signer)?;
        // Signed as a SET OF, kept as [0] (RFC 5652, section 5.4).
        let signed = der::write_all(der::SET, &[self.attributes]);
        let wanted = self.signature_algorithm()?;
        path::strength(signer)
            .map_err(|why| Error::Untrusted { subject: signer.subject().to_owned(), why })?;
        let key = EndEntityCert::try_from(signer.der()).map_err(|_| Error::Signature)?;
        let verifies = path::SIGNATURE_ALGORITHMS
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == wanted.as_ref())
            .any(|algorithm| key.verify_signature(*algorithm, &signed, self.signature).is_ok());
        if verifies { Ok(signer.clone()) } else { Err(Error::Signature) }
    }

    /// The one value of a signed attribute that occurs once.
    fn attribute(&self, id: &[u8], name: &'static str) -> Result<Reader<'a>, Error> {
        let mut attributes = Reader::new(self.attributes, "signedAttrs");
        let mut found = None;
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(der::SEQUENCE, "signedAttrs")?;
            let is_it = attribute.expect(der::OID)?.content == id;
            let values = attribute.expect(der::SET)?;
            attribute.finish()?;
            if is_it && found.replace(values).is_some() {
                return Err(Error::Attribute(name));
            }
        }
        let found = found.ok_or(Error::Attribute(name))?;
        let mut values = Reader::new(found.content, name);
        let value = values.value()?;
        if !values.is_empty() {
            return Err(Error::Attribute(name));
        }
        Ok(Reader::new(value.whole, name))
    }

    /// RFC 5816: the first ESSCertIDv2 is that of the signer.
    fn names_certificate(&self, signer: &Certificate) -> Result<(), Error> {
        const NAME: &str = "signing-certificate-v2";
        let mut attribute = self.attribute(oid::SIGNING_CERTIFICATE_V2, NAME)?;
        let mut certs = attribute.enter(der::SEQUENCE, NAME)?.enter(der::SEQUENCE, NAME)?;
        let mut first = certs.enter(der::SEQUENCE, NAME)?;
        let hash = match first.optional(der::SEQUENCE)? {
            Some(algorithm) => Hash::of_algorithm(Reader::new(algorithm.content, NAME))?,
            None => Hash::Sha256,
        };
        let named = first.expect(der::OCTET_STRING)?.content;
        if named != hash.digest(signer.der()) {
            return Err(Error::SigningCertificate);
        }
        if let Some(issuer_serial) = first.optional(der::SEQUENCE)? {
            let mut issuer_serial = Reader::new(issuer_serial.content, NAME);
            let mut name = issuer_serial.enter(der::SEQUENCE, NAME)?.enter(der::constructed(4), NAME)?;
            let issuer = name.expect(der::SEQUENCE)?.whole;
            let serial = issuer_serial.expect(der::INTEGER)?.content;
            issuer_serial.finish()?;
            if !SignerId::IssuerAndSerial(issuer, serial).names(signer) {
                return Err(Error::SigningCertificate);
            }
        }
        first.finish()
    }

    /// What webpki calls it. The hash is that of the attributes (RFC 5652, section 5.3), so that there is one to judge.
    fn signature_algorithm(&self) -> Result<AlgorithmIdentifier, Error> {
        let known = [
            (alg_id::RSA_PKCS1_SHA256, Hash::Sha256),
            (alg_id::RSA_PKCS1_SHA384, Hash::Sha384),
            (alg_id::RSA_PKCS1_SHA512, Hash::Sha512),
            (alg_id::RSA_PSS_SHA256, Hash::Sha256),
            (alg_id::RSA_PSS_SHA384, Hash::Sha384),
            (alg_id::RSA_PSS_SHA512, Hash::Sha512),
            (alg_id::ECDSA_SHA256, Hash::Sha256),
            (alg_id::ECDSA_SHA384, Hash::Sha384),
            (alg_id::ECDSA_SHA512, Hash::Sha512),
            (alg_id::ED25519, Hash::Sha512),
        ];
        let mut parts = Reader::new(self.algorithm, "signatureAlgorithm");
        let id = parts.expect(der::OID)?;
        let refuse =
            || Error::SignatureAlgorithm(Oid::read(id).map_or_else(|_| "?".into(), |id| id.to_string()));
        // The key's own identifier stands for PKCS #1 with the hash of the attributes.
        if id.content == oid::RSA_ENCRYPTION {
            let pkcs1 = known.iter().take(3).find(|(_, hash)| *hash == self.hash);
            return pkcs1.map(|(algorithm, _)| *algorithm).ok_or_else(refuse);
        }
        let found =
            known.iter().find(|(algorithm, hash)| algorithm.as_ref() == self.algorithm && *hash == self.hash);
        found.map(|(algorithm, _)| *algorithm).ok_or_else(refuse)
    }
}

fn issuer_and_serial(mut parts: Reader<'_>) -> Result<SignerId<'_>, Error> {
    let issuer = parts.expect(der::SEQUENCE)?.whole;
    let serial = parts.expect(der::INTEGER)?.content;
    parts.finish()?;
    Ok(SignerId::IssuerAndSerial(issuer, serial))
}

impl SignerId<'_> {
    fn names(&self, certificate: &Certificate) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate.der()) else { return false };
        match self {
            Self::IssuerAndSerial(issuer, serial) => {
                *issuer == parsed.issuer().as_raw() && *serial == parsed.raw_serial()
            }
            Self::SubjectKey(id) => parsed.extensions().iter().any(|extension| {
                matches!(
                    extension.parsed_extension(),
                    x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(known) if known.0 == *id
                )
            }),
        }
    }
}

/// RFC 3161, section 2.3: stamping is the key's only purpose, and the certificate insists on it.
fn may_stamp(certificate: &Certificate) -> Result<(), Error> {
    let refuse = |why| Error::Purpose { subject: certificate.subject().to_owned(), why };
    match certificate.extended_key_usages() {
        Some([ExtendedKeyUsage::TimeStamping]) => {}
        Some(_) => return Err(refuse("its extended key usage is not timeStamping alone")),
        None => return Err(refuse("it has no extended key usage")),
    }
    let critical = X509Certificate::from_der(certificate.der()).is_ok_and(|(_, parsed)| {
        let mut extensions = parsed.extensions().iter();
        extensions.any(|one| one.critical && one.oid.to_id_string() == EXTENDED_KEY_USAGE)
    });
    if !critical {
        return Err(refuse("its extended key usage is not critical"));
    }
    let signs = |usage| certificate.key_usages().is_none_or(|usages| usages.has(usage));
    if !signs(KeyUsage::DigitalSignature) && !signs(KeyUsage::NonRepudiation) {
        return Err(refuse("its key usage permits no signatures"));
    }
    if certificate.is_ca() {
        return Err(refuse("it is a CA"));
    }
    Ok(())
}
