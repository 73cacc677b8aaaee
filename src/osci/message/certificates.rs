//! The certificates of a message: those of clients and recipients, and those of the intermediary (OSCI12, section 4.3).
//!
//! Ids are opaque and kept, because encrypted keys and content signatures point to them. Left out: what is inside a
//! certificate; `pki` reads that, and a damaged one must be reported and not hidden by a refusal here.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Error;
use super::markup::{self, Fields};
use super::names::{NS_DSIG, NS_OSCI};
use crate::domain::hex;
use crate::mime::transfer::Base64Decoder;
use crate::xml::chars::is_ncname;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Certificates of one block.
pub const CERTIFICATES_MAX: usize = 256;
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
const ID_BYTES_MAX: usize = 256;
/// Characters in a line of base64, as clients write it.
pub const LINE_CHARS: usize = 76;

/// Whose certificate it is and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    CipherOriginator,
    CipherOtherAuthor,
    CipherAddressee,
    CipherOtherReader,
    SignatureOriginator,
    SignatureOtherAuthor,
    SignatureAddressee,
    CipherIntermediary,
    SignatureIntermediary,
}

impl Role {
    /// In the order of the schema, those of the intermediary last.
    pub const ALL: [Self; 9] = [
        Self::CipherOriginator,
        Self::CipherOtherAuthor,
        Self::CipherAddressee,
        Self::CipherOtherReader,
        Self::SignatureOriginator,
        Self::SignatureOtherAuthor,
        Self::SignatureAddressee,
        Self::CipherIntermediary,
        Self::SignatureIntermediary,
    ];

    pub fn element(self) -> &'static str {
        match self {
            Self::CipherOriginator => "CipherCertificateOriginator",
            Self::CipherOtherAuthor => "CipherCertificateOtherAuthor",
            Self::CipherAddressee => "CipherCertificateAddressee",
            Self::CipherOtherReader => "CipherCertificateOtherReader",
            Self::SignatureOriginator => "SignatureCertificateOriginator",
            Self::SignatureOtherAuthor => "SignatureCertificateOtherAuthor",
            Self::SignatureAddressee => "SignatureCertificateAddressee",
            Self::CipherIntermediary => "CipherCertificateIntermediary",
            Self::SignatureIntermediary => "SignatureCertificateIntermediary",
        }
    }

    pub fn is_signature(self) -> bool {
        matches!(
            self,
            Self::SignatureOriginator
                | Self::SignatureOtherAuthor
                | Self::SignatureAddressee
                | Self::SignatureIntermediary
        )
    }

    fn is_of_intermediary(self) -> bool {
        matches!(self, Self::CipherIntermediary | Self::SignatureIntermediary)
    }

    fn may_repeat(self) -> bool {
        matches!(self, Self::CipherOtherAuthor | Self::CipherOtherReader | Self::SignatureOtherAuthor)
    }

    /// The id that clients give a certificate in this role; `number` counts authors and readers.
    fn id(self, number: usize, der: &[u8]) -> String {
        let role = match self {
            Self::CipherOriginator | Self::SignatureOriginator => "originator".to_owned(),
            Self::CipherAddressee | Self::SignatureAddressee => "addressee".to_owned(),
            Self::CipherIntermediary | Self::SignatureIntermediary => "intermed".to_owned(),
            Self::CipherOtherAuthor | Self::SignatureOtherAuthor => format!("author{number}"),
            Self::CipherOtherReader => format!("reader{number}"),
        };
        let purpose = if self.is_signature() { "signature" } else { "cipher" };
        let hash = digest::digest(&digest::SHA256, der);
        let hex = hex::lower(hash.as_ref());
        format!("{role}_{purpose}_{hex}")
    }
}

/// One certificate in one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub role: Role,
    pub id: String,
    pub der: Vec<u8>,
}

impl Certificate {
    /// With the id that clients would give it.
    pub fn new(role: Role, der: impl Into<Vec<u8>>) -> Self {
        Self::numbered(role, 0, der)
    }

    /// For the second and further authors and readers.
    pub fn numbered(role: Role, number: usize, der: impl Into<Vec<u8>>) -> Self {
        let der = der.into();
        Self { role, id: role.id(number, &der), der }
    }

    fn read(role: Role, element: &Element) -> Result<Self, Error> {
        let id = markup::bounded("Id", ID_BYTES_MAX, markup::attribute(element, "Id")?.to_owned())?;
        // Ids end in attributes that we sign, and in references.
        if !is_ncname(&id) {
            return Err(Error::Invalid { what: "Id of a certificate", why: "it is not a name" });
        }
        let mut fields = Fields::of(element)?;
        let mut data = Fields::of(fields.required(NS_DSIG, "X509Data")?)?;
        fields.finish()?;
        let der = read_der(data.required(NS_DSIG, "X509Certificate")?)?;
        data.finish()?;
        Ok(Self { role, id, der })
    }

    fn write(&self, writer: &mut Writer) {
        writer.start(&format!("osci:{}", self.role.element())).attribute("Id", &self.id);
        writer.start("ds:X509Data").start("ds:X509Certificate").raw(&wrapped_base64(&self.der)).end().end();
        writer.end();
    }
}

/// The certificate in a `ds:X509Certificate`.
pub fn read_der(element: &Element) -> Result<Vec<u8>, Error> {
    let text = markup::bounded("X509Certificate", 2 * CERTIFICATE_BYTES_MAX, markup::text(element)?)?;
    let (mut decoder, mut der) = (Base64Decoder::new(), Vec::new());
    let decoded = decoder.decode(text.as_bytes(), &mut der).and_then(|()| decoder.finish());
    decoded.map_err(|_| Error::Invalid { what: "X509Certificate", why: "it is not base64" })?;
    if der.is_empty() {
        return Err(Error::Invalid { what: "X509Certificate", why: "it is empty" });
    }
    Ok(der)
}

/// Lines of 76 characters with LF between them, as clients write them.
pub fn wrapped_base64(octets: &[u8]) -> String {
    let text = STANDARD.encode(octets);
    let mut wrapped = String::with_capacity(text.len() + text.len() / LINE_CHARS);
    let mut rest = text.as_str();
    while let Some((line, more)) = rest.split_at_checked(LINE_CHARS).filter(|(_, more)| !more.is_empty()) {
        wrapped.push_str(line);
        wrapped.push('\n');
        rest = more;
    }
    wrapped.push_str(rest);
    wrapped
}

fn read(element: &Element, of_intermediary: bool) -> Result<Vec<Certificate>, Error> {
    // The order of the elements is kept: it tells the authors and readers apart that share a role.
    let mut found: Vec<Certificate> = Vec::new();
    Fields::of(element)?;
    for child in element.children() {
        let role = Role::ALL
            .into_iter()
            .find(|role| role.is_of_intermediary() == of_intermediary && child.is(NS_OSCI, role.element()));
        let parent = || element.local().to_owned();
        let role = role.ok_or_else(|| Error::Unexpected {
            parent: parent(),
            element: child.local().chars().take(80).collect(),
        })?;
        if !role.may_repeat() && found.iter().any(|known| known.role == role) {
            return Err(Error::Twice { parent: parent(), element: role.element().to_owned() });
        }
        found.push(Certificate::read(role, child)?);
        if found.len() > CERTIFICATES_MAX {
            return Err(Error::TooLong { what: "certificates", max: CERTIFICATES_MAX, seen: found.len() });
        }
    }
    Ok(found)
}

/// The certificates of clients, authors, readers and recipients, in the order of their block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NonIntermediaryCertificates(Vec<Certificate>);

impl NonIntermediaryCertificates {
    /// Brings the certificates into the order of the schema. A role of the intermediary, or a second certificate in
    /// a role that has one, is refused.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, Error> {
        let parent = || "NonIntermediaryCertificates".to_owned();
        for (at, certificate) in certificates.iter().enumerate() {
            let element = || certificate.role.element().to_owned();
            if certificate.role.is_of_intermediary() {
                return Err(Error::Unexpected { parent: parent(), element: element() });
            }
            let before = certificates.get(..at).unwrap_or_default();
            if !certificate.role.may_repeat() && before.iter().any(|known| known.role == certificate.role) {
                return Err(Error::Twice { parent: parent(), element: element() });
            }
        }
        let mut certificates = certificates;
        certificates.sort_by_key(|certificate| certificate.role);
        Ok(Self(certificates))
    }

    pub fn read(element: &Element) -> Result<Self, Error> {
        read(element, false).map(Self)
    }

    pub fn all(&self) -> &[Certificate] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first in this role.
    pub fn first(&self, role: Role) -> Option<&Certificate> {
        self.0.iter().find(|certificate| certificate.role == role)
    }

    pub fn by_id(&self, id: &str) -> Option<&Certificate> {
        self.0.iter().find(|certificate| certificate.id == id)
    }

    /// Without one role, for handing a delivery on (OSCI12, section 8.2).
    #[must_use]
    pub fn without(&self, role: Role) -> Self {
        Self(self.0.iter().filter(|certificate| certificate.role != role).cloned().collect())
    }

    pub fn write(&self, writer: &mut Writer) {
        self.0.iter().for_each(|certificate| certificate.write(writer));
    }
}

/// The intermediary's own certificates. To clients it shows that for signatures only; recipients get both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntermediaryCertificates {
    pub cipher: Option<Certificate>,
    pub signature: Option<Certificate>,
}

impl IntermediaryCertificates {
    /// With the ids that intermediaries give them.
    pub fn new(cipher_der: Option<&[u8]>, signature_der: Option<&[u8]>) -> Self {
        Self {
            cipher: cipher_der.map(|der| Certificate::new(Role::CipherIntermediary, der)),
            signature: signature_der.map(|der| Certificate::new(Role::SignatureIntermediary, der)),
        }
    }

    pub fn read(element: &Element) -> Result<Self, Error> {
        let mut found = Self::default();
        for certificate in read(element, true)? {
            match certificate.role {
                Role::CipherIntermediary => found.cipher = Some(certificate),
                _ => found.signature = Some(certificate),
            }
        }
        Ok(found)
    }

    pub fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.cipher.iter().chain(&self.signature)
    }

    pub fn write(&self, writer: &mut Writer) {
        self.all().for_each(|certificate| certificate.write(writer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osci::message::markup::testing::element;

    fn block(name: &str, inside: &[(&str, &str, &str)]) -> String {
        let inside: String = inside
            .iter()
            .map(|(role, id, text)| {
                format!(
                    "<osci:{role} Id='{id}'><ds:X509Data><ds:X509Certificate>{text}</ds:X509Certificate>\
                     </ds:X509Data></osci:{role}>"
                )
            })
            .collect();
        format!("<osci:{name} xmlns:osci='{NS_OSCI}' xmlns:ds='{NS_DSIG}'>{inside}</osci:{name}>")
    }

    #[test]
    fn roles_occur_as_often_as_the_schema_says() {
        let name = "NonIntermediaryCertificates";
        for (inside, expected) in [
            (&[("CipherCertificateOriginator", "a", "YQ==")][..], Some(1)),
            (
                &[
                    ("CipherCertificateOtherReader", "a", "YQ=="),
                    ("CipherCertificateOtherReader", "b", "Yg=="),
                ],
                Some(2),
            ),
            // The library's order and the schema's.
            (
                &[
                    ("SignatureCertificateAddressee", "a", "YQ=="),
                    ("SignatureCertificateOtherAuthor", "b", "Yg=="),
                ],
                Some(2),
            ),
            (
                &[
                    ("SignatureCertificateOtherAuthor", "a", "YQ=="),
                    ("SignatureCertificateAddressee", "b", "Y\r\ng=="),
                ],
                Some(2),
            ),
            (
                &[("CipherCertificateAddressee", "a", "YQ=="), ("CipherCertificateAddressee", "b", "Yg==")],
                None,
            ),
            (&[("CipherCertificateIntermediary", "a", "YQ==")], None),
            (&[("CipherCertificateOriginator", "a", "")], None),
            (&[("CipherCertificateOriginator", "a", "Y")], None),
            (&[("Other", "a", "YQ==")], None),
        ] {
            let read = NonIntermediaryCertificates::read(&element(&block(name, inside))).ok();
            assert_eq!(read.map(|found| found.all().len()), expected, "{inside:?}");
        }
        let many: Vec<_> =
            (0..=CERTIFICATES_MAX).map(|_| ("CipherCertificateOtherReader", "a", "YQ==")).collect();
        assert!(NonIntermediaryCertificates::read(&element(&block(name, &many))).is_err());
        let both = [
            ("SignatureCertificateIntermediary", "a", "YQ=="),
            ("CipherCertificateIntermediary", "b", "Yg=="),
        ];
        let read = IntermediaryCertificates::read(&element(&block("IntermediaryCertificates", &both)));
        assert_eq!(read.expect("read").all().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn ids_are_those_of_the_field() {
        let hash = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        for (certificate, id) in [
            (Certificate::new(Role::CipherOriginator, *b"a"), "originator_cipher_"),
            (Certificate::numbered(Role::SignatureOtherAuthor, 2, *b"a"), "author2_signature_"),
            (Certificate::new(Role::CipherOtherReader, *b"a"), "reader0_cipher_"),
            (Certificate::new(Role::SignatureIntermediary, *b"a"), "intermed_signature_"),
        ] {
            assert_eq!(certificate.id, format!("{id}{hash}"));
        }
    }

    #[test]
    fn made_blocks_are_in_order() {
        let certificate = |role| Certificate::new(role, *b"a");
        let made = NonIntermediaryCertificates::new(vec![
            certificate(Role::SignatureOriginator),
            certificate(Role::CipherOriginator),
        ]);
        let roles: Vec<_> = made.expect("made").all().iter().map(|c| c.role).collect();
        assert_eq!(roles, [Role::CipherOriginator, Role::SignatureOriginator]);
        for bad in [vec![Role::CipherIntermediary], vec![Role::CipherAddressee, Role::CipherAddressee]] {
            assert!(NonIntermediaryCertificates::new(bad.into_iter().map(certificate).collect()).is_err());
        }
        assert_eq!(wrapped_base64(&[0; 57]).len(), 76);
        assert_eq!(wrapped_base64(&[0; 58]).lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
    }
}
