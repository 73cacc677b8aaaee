//! ProcessCardBundle: the process card of a message with what was found about its certificates (OSCI12, section 5.1).

use super::Error;
use super::markup::{self, Fields};
use super::message_id::MessageId;
use super::names::NS_OSCI;
use crate::domain::date_time;
use crate::domain::envelope::Instant;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Longest subject that is read, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 16 * 1024;
const NAME_BYTES_MAX: usize = 4096;
const STAMP_BYTES_MAX: usize = 64 * 1024;
const INSPECTIONS_MAX: usize = 1024;

/// When something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timestamp {
    Plain(Instant),
    /// A time stamp token, base64 as written.
    Cryptographic {
        algorithm: Option<String>,
        token: String,
    },
}

impl Timestamp {
    fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let plain = fields.optional(NS_OSCI, "Plain")?;
        let cryptographic = fields.optional(NS_OSCI, "Cryptographic")?;
        fields.finish()?;
        match (plain, cryptographic) {
            (Some(plain), None) => Ok(Self::Plain(instant("Plain", &markup::token(plain)?)?)),
            (None, Some(stamp)) => Ok(Self::Cryptographic {
                algorithm: stamp.attribute("", "Algorithm").map(|uri| uri.chars().take(256).collect()),
                token: markup::bounded("Cryptographic", STAMP_BYTES_MAX, markup::text(stamp)?)?,
            }),
            _ => Err(Error::Invalid { what: "time stamp", why: "it is either Plain or Cryptographic" }),
        }
    }

    fn write(&self, name: &str, writer: &mut Writer) {
        writer.start(name);
        match self {
            Self::Plain(at) => writer.element("osci:Plain", &at.text),
            Self::Cryptographic { algorithm, token } => {
                writer.start("osci:Cryptographic").attribute_if("Algorithm", algorithm.as_deref());
                writer.text(token).end()
            }
        };
        writer.end();
    }
}

/// An `xs:dateTime`, in its author's spelling beside the moment it means.
pub(super) fn instant(what: &'static str, text: &str) -> Result<Instant, Error> {
    let at = date_time::parse(text).ok_or(Error::Invalid { what, why: "it is not a date with time" })?;
    Ok(Instant { at, text: text.to_owned() })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCardBundle {
    pub message_id: MessageId,
    pub recent_modification: Instant,
    pub creation: Timestamp,
    pub forwarding: Option<Timestamp>,
    pub reception: Option<Timestamp>,
    pub subject: Option<String>,
    pub inspections: Vec<Inspection>,
}

impl ProcessCardBundle {
    pub fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let message_id = MessageId::take_required(&mut fields)?;
        let card = fields.required(NS_OSCI, "ProcessCard")?;
        let report = fields.required(NS_OSCI, "InspectionReport")?;
        fields.finish()?;
        let mut times = Fields::of(card)?;
        let creation = Timestamp::read(times.required(NS_OSCI, "Creation")?)?;
        let forwarding = times.optional(NS_OSCI, "Forwarding")?.map(Timestamp::read).transpose()?;
        let reception = times.optional(NS_OSCI, "Reception")?.map(Timestamp::read).transpose()?;
        let subject = take_subject(&mut times)?;
        times.finish()?;
        let mut report = Fields::of(report)?;
        let inspections = report.all(NS_OSCI, "Inspection");
        report.finish()?;
        if inspections.len() > INSPECTIONS_MAX {
            let (what, max) = ("Inspection elements", INSPECTIONS_MAX);
            return Err(Error::TooLong { what, max, seen: inspections.len() });
        }
        let modified = markup::attribute(card, "RecentModification")?.trim();
        Ok(Self {
            message_id,
            recent_modification: instant("RecentModification", modified)?,
            creation,
            forwarding,
            reception,
            subject,
            inspections: inspections.into_iter().map(Inspection::read).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn take(fields: &mut Fields<'_>, local: &str) -> Result<Option<Self>, Error> {
        fields.optional(NS_OSCI, local)?.map(Self::read).transpose()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.write_as("osci:ProcessCardBundle", writer);
    }

    pub(super) fn write_as(&self, name: &str, writer: &mut Writer) {
        writer.start(name);
        self.message_id.write(writer);
        writer.start("osci:ProcessCard").attribute("RecentModification", &self.recent_modification.text);
        self.creation.write("osci:Creation", writer);
        if let Some(forwarding) = &self.forwarding {
            forwarding.write("osci:Forwarding", writer);
        }
        if let Some(reception) = &self.reception {
            reception.write("osci:Reception", writer);
        }
        writer.element_if("osci:Subject", self.subject.as_deref()).end();
        writer.start("osci:InspectionReport");
        self.inspections.iter().for_each(|inspection| inspection.write(writer));
        writer.end().end();
    }
}

/// A message's subject, wherever it stands.
pub(super) fn take_subject(fields: &mut Fields<'_>) -> Result<Option<String>, Error> {
    let subject = fields.optional(NS_OSCI, "Subject")?.map(markup::text).transpose()?;
    subject.map(|subject| markup::bounded("Subject", SUBJECT_BYTES_MAX, subject)).transpose()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateType {
    Advanced,
    Qualified,
    Accredited,
    Unknown,
}

/// Whether the certificate is signed by who claims to have signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MathResult {
    Ok,
    Corrupted,
    Indeterminate,
}

/// Whether it is within its validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OfflineResult {
    Valid,
    Invalid,
    Indeterminate,
}

/// Whether it is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnlineResult {
    Ok,
    Revoked,
}

/// What was found about one certificate. By which service it was asked for is read over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub at: Timestamp,
    /// RFC 2253.
    pub subject_name: String,
    pub issuer_name: String,
    /// Decimal.
    pub serial_number: String,
    pub certificate_type: CertificateType,
    pub math: MathResult,
    pub offline: OfflineResult,
    pub online: Option<OnlineResult>,
}

impl Inspection {
    fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let at = Timestamp::read(fields.required(NS_OSCI, "Timestamp")?)?;
        let mut name = |local| -> Result<String, Error> {
            markup::bounded(
                "name of a certificate",
                NAME_BYTES_MAX,
                markup::text(fields.required(NS_OSCI, local)?)?,
            )
        };
        let (subject_name, issuer_name) = (name("X509SubjectName")?, name("X509IssuerName")?);
        let serial_number = name("X509SerialNumber")?.trim().to_owned();
        let certificate_type = choice(fields.required(NS_OSCI, "CertType")?, "Type", &CERTIFICATE_TYPES)?;
        let math = choice(fields.required(NS_OSCI, "MathResult")?, "Result", &MATH_RESULTS)?;
        let offline = choice(fields.required(NS_OSCI, "OfflineResult")?, "Result", &OFFLINE_RESULTS)?;
        let online = fields.optional(NS_OSCI, "OnlineResult")?;
        fields.finish()?;
        let online = online
            .map(|online| {
                let mut sources = Fields::of(online)?;
                // The schema misspells OCSP.
                for source in ["OCSP", "OSCP", "CRL", "LDAP"] {
                    sources.optional(NS_OSCI, source)?;
                }
                sources.finish()?;
                choice(online, "Result", &ONLINE_RESULTS)
            })
            .transpose()?;
        Ok(Self { at, subject_name, issuer_name, serial_number, certificate_type, math, offline, online })
    }

    fn write(&self, writer: &mut Writer) {
        writer.start("osci:Inspection");
        self.at.write("osci:Timestamp", writer);
        writer.element("osci:X509SubjectName", &self.subject_name);
        writer.element("osci:X509IssuerName", &self.issuer_name);
        writer.element("osci:X509SerialNumber", &self.serial_number);
        let mut result = |name: &str, attribute: &str, value: &str| {
            writer.start(name).attribute(attribute, value).end();
        };
        result("osci:CertType", "Type", named(&CERTIFICATE_TYPES, self.certificate_type));
        result("osci:MathResult", "Result", named(&MATH_RESULTS, self.math));
        result("osci:OfflineResult", "Result", named(&OFFLINE_RESULTS, self.offline));
        if let Some(online) = self.online {
            result("osci:OnlineResult", "Result", named(&ONLINE_RESULTS, online));
        }
        writer.end();
    }
}

type Choices<T, const N: usize> = [(&'static str, T); N];

const CERTIFICATE_TYPES: Choices<CertificateType, 4> = [
    ("advanced", CertificateType::Advanced),
    ("qualified", CertificateType::Qualified),
    ("accredited", CertificateType::Accredited),
    ("unknown", CertificateType::Unknown),
];
const MATH_RESULTS: Choices<MathResult, 3> = [
    ("ok", MathResult::Ok),
    ("corrupted", MathResult::Corrupted),
    ("indeterminate", MathResult::Indeterminate),
];
const OFFLINE_RESULTS: Choices<OfflineResult, 3> = [
    ("valid", OfflineResult::Valid),
    ("invalid", OfflineResult::Invalid),
    ("indeterminate", OfflineResult::Indeterminate),
];
const ONLINE_RESULTS: Choices<OnlineResult, 2> =
    [("ok", OnlineResult::Ok), ("revoked", OnlineResult::Revoked)];

fn choice<T: Copy, const N: usize>(
    element: &Element,
    attribute: &'static str,
    choices: &Choices<T, N>,
) -> Result<T, Error> {
    let value = markup::attribute(element, attribute)?.trim();
    let found = choices.iter().find(|(name, _)| *name == value);
    found
        .map(|(_, found)| *found)
        .ok_or(Error::Invalid { what: attribute, why: "it is not one of the schema" })
}

fn named<T: Copy + PartialEq, const N: usize>(choices: &Choices<T, N>, value: T) -> &'static str {
    choices.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| *name)
}
