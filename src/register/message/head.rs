//! The head of every message (XInneres `nachrichtenkopf.g2g`), its checks, and the heads that we write.
//!
//! What can be checked without the content is checked here: root, release, reader, author, times, the transport's word
//! about the sender. Left out: the DVDV itself; who may write as whom is the post office's to know.

use std::io::BufRead;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fields::Fields;
use super::{Code, Fault, Number, RELEASES, Release, STANDARD};
use crate::xml::read::{Event, StreamReader};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Namespace of rejections (XInneres, rejection 6).
pub const REJECTION: &str = "http://www.osci.de/xinneres/rueckweisung/6";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// `prefix:key`.
    pub kennung: String,
    pub name: String,
}

/// A postal address as heads have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostalAddress {
    pub number: String,
    pub postcode: String,
    pub street: String,
    pub place: String,
}

impl PostalAddress {
    /// Best effort: nothing depends on it.
    pub fn read(element: &Element) -> Self {
        let building = element.child("", "gebaeude");
        let text = |name| {
            building.and_then(|one| one.child("", name)).map(Element::text_trimmed).unwrap_or_default()
        };
        Self {
            number: text("hausnummer"),
            postcode: text("postleitzahl"),
            street: text("strasse"),
            place: text("wohnort"),
        }
    }

    pub fn write(&self, out: &mut Writer, name: &str) {
        out.start(name).start("gebaeude");
        if !self.number.is_empty() {
            out.element("hausnummer", &self.number);
        }
        out.element("postleitzahl", &self.postcode).element("strasse", &self.street);
        out.element("wohnort", &self.place).end().end();
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The release that the message is written in; none for rejections, which have a form of their own.
    pub release: Option<&'static Release>,
    pub number: Number,
    /// Lower case.
    pub uuid: String,
    pub created_at: Timestamp,
    /// As written, for whoever quotes it.
    pub created: String,
    pub leser: Party,
    pub autor: Party,
    pub author_address: Option<PostalAddress>,
    /// Marked as a test: nothing of it may reach production.
    pub test: bool,
}

/// A head that is refused, and the head itself where it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFault {
    pub fault: Fault,
    pub head: Option<Box<Head>>,
}

impl HeadFault {
    pub fn of(fault: Fault, head: &Head) -> Self {
        Self { fault, head: Some(Box::new(head.clone())) }
    }
}

impl From<Fault> for HeadFault {
    fn from(fault: Fault) -> Self {
        Self { fault, head: None }
    }
}

/// The root element's word about the message.
pub(super) struct Root {
    release: Option<&'static Release>,
    number: Number,
    test: bool,
}

impl Root {
    pub(super) fn read<R: BufRead>(reader: &mut StreamReader<R>) -> Result<Self, Fault> {
        loop {
            match reader.next_event()? {
                None => return Err(Fault::new(Code::X000, "there is no root element")),
                Some(Event::Start(tag)) => {
                    let name = tag.name();
                    let attribute = |name| tag.attribute("", name).map(str::trim).unwrap_or_default();
                    let test = tag.attribute("", "test").is_some();
                    let version = attribute("version");
                    if name.ns == REJECTION && version == "6" {
                        let number = Number::of_element(name.local).filter(|one| *one == Number::Rejection);
                        let number = number.ok_or_else(|| Fault::new(Code::X001, "no such message"))?;
                        return Ok(Self { release: None, number, test });
                    }
                    let release = RELEASES
                        .iter()
                        .find(|one| one.namespace == name.ns && one.version == version)
                        .ok_or_else(|| {
                            let ours: Vec<&str> = RELEASES.iter().map(|one| one.version).collect();
                            Fault::new(Code::V000, format!("served are {}", ours.join(" and ")))
                        })?;
                    let number = Number::of_element(name.local)
                        .filter(|number| *number != Number::Rejection && release.serves(*number))
                        .ok_or_else(|| Fault::new(Code::X001, "this release has no such message"))?;
                    for needed in ["produkt", "produkthersteller", "standard"] {
                        if attribute(needed).is_empty() {
                            return Err(Fault::new(Code::X001, format!("the root's {needed} is missing")));
                        }
                    }
                    if attribute("standard") != STANDARD {
                        return Err(Fault::new(Code::X001, format!("the standard's name is {STANDARD}")));
                    }
                    return Ok(Self { release: Some(release), number, test });
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn head(&self, kopf: Option<&Element>) -> Result<Head, HeadFault> {
        let kopf = kopf.filter(|one| one.is("", "nachrichtenkopf.g2g"));
        let kopf = kopf.ok_or_else(|| Fault::new(Code::X001, "nachrichtenkopf.g2g is missing"))?;
        let fields = Fields::of(kopf);
        let id = Fields::of(fields.required("identifikation.nachricht")?);
        let uuid = id.text("nachrichtenUUID")?;
        if !is_uuid(&uuid) {
            return Err(Fault::new(Code::X001, "nachrichtenUUID is no UUID").into());
        }
        let code = id.code_if("nachrichtentyp")?.ok_or_else(|| id.fault("nachrichtentyp", "is missing"))?;
        let created = id.text("erstellungszeitpunkt")?;
        let created_at: Timestamp =
            created.parse().map_err(|_| id.fault("erstellungszeitpunkt", "is no instant with a zone"))?;
        let (leser, _) = party(fields.required("leser")?)?;
        let (autor, reachable) = party(fields.required("autor")?)?;
        let head = Head {
            release: self.release,
            number: self.number,
            uuid: uuid.to_ascii_lowercase(),
            created_at,
            created: created.clone(),
            leser,
            autor,
            author_address: None,
            test: self.test,
        };
        if code != self.number.code() {
            let fault = Fault::new(Code::S011, "nachrichtentyp/code is not the number of the root element");
            return Err(HeadFault::of(fault, &head));
        }
        if !has_milliseconds(&created) {
            let fault = Fault::new(Code::S999, "erstellungszeitpunkt has no milliseconds");
            return Err(HeadFault::of(fault, &head));
        }
        if !reachable {
            let fault = Fault::new(Code::X001, "autor/erreichbarkeit is missing");
            return Err(HeadFault::of(fault, &head));
        }
        Ok(head)
    }
}

fn party(element: &Element) -> Result<(Party, bool), Fault> {
    let fields = Fields::of(element);
    let directory = fields.code_if("verzeichnisdienst")?;
    if directory.as_deref() != Some("DVDV") {
        return Err(fields.code_fault("verzeichnisdienst"));
    }
    let party = Party { kennung: fields.text("kennung")?, name: fields.text("name")? };
    let prefixed = party.kennung.split_once(':').is_some_and(|(prefix, key)| {
        !key.is_empty() && !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_lowercase())
    });
    if !prefixed {
        return Err(fields.fault("kennung", "is not of the form prefix:key"));
    }
    Ok((party, !fields.all("erreichbarkeit").is_empty()))
}

pub fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn has_milliseconds(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    fraction.bytes().take_while(u8::is_ascii_digit).count() >= 3
}

/// What the transport found out about the sender. The XTA way knows `Vouched` alone: the post office lets nobody else
/// in. The others are for transports that hand a message on together with what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// The transport vouches that this identifier sent it.
    Vouched(String),
    CertificateExpired,
    CertificateRevoked,
    CertificateInvalid,
    CertificateMissing,
    SignatureMissing,
    SignatureBroken,
    Undecipherable,
}

impl Sender {
    /// A certificate that is invalid or revoked stops everything.
    pub fn fault(&self) -> Option<Fault> {
        let code = match self {
            Self::Vouched(_) => return None,
            Self::CertificateExpired => Code::T000,
            Self::CertificateRevoked => Code::T001,
            Self::CertificateInvalid => Code::T002,
            Self::CertificateMissing => Code::T003,
            Self::SignatureMissing => Code::T010,
            Self::SignatureBroken => Code::T011,
            Self::Undecipherable => Code::T020,
        };
        Some(Fault::new(code, code.words()))
    }
}

/// The sender may write as this author, and the message is for us.
pub fn check(head: &Head, sender: &Sender, is_ours: impl Fn(&str) -> bool) -> Result<(), Fault> {
    if let Some(fault) = sender.fault() {
        return Err(fault);
    }
    if !matches!(sender, Sender::Vouched(identifier) if *identifier == head.autor.kennung) {
        return Err(Fault::new(Code::T070, "the author of the message is not who sent it"));
    }
    if !is_ours(&head.leser.kennung) {
        return Err(Fault::new(Code::T080, "leser is nobody whose mailbox this is"));
    }
    Ok(())
}

/// Who we are in heads of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub party: Party,
    pub address: PostalAddress,
    /// E-mail of the support.
    pub reachable_at: String,
}

/// Begins a message of ours: root, head and addresses. The caller writes the rest and finishes.
pub fn begin(
    release: &Release,
    number: Number,
    own: &Own,
    reader: &Party,
    uuid: &str,
    at: Timestamp,
    test: bool,
) -> Writer {
    let mut out = Writer::new();
    out.declaration().start(&format!("rx:{}", number.element())).namespace("rx", release.namespace);
    out.attribute("standard", STANDARD).attribute("version", release.version);
    let list = "urn:de:amtsbote:register:nachrichten";
    write_rest(&mut out, (list, release.version), number, own, reader, uuid, at, test);
    out
}

#[expect(clippy::too_many_arguments, reason = "a head has that many parts")]
pub(super) fn write_rest(
    out: &mut Writer,
    (list, list_version): (&str, &str),
    number: Number,
    own: &Own,
    reader: &Party,
    uuid: &str,
    at: Timestamp,
    test: bool,
) {
    out.attribute("produkt", "Amtsbote").attribute("produkthersteller", "Amtsbote");
    out.attribute("produktversion", env!("CARGO_PKG_VERSION")).attribute_if("test", test.then_some("ja"));
    out.start("nachrichtenkopf.g2g").start("identifikation.nachricht").element("nachrichtenUUID", uuid);
    out.start("nachrichtentyp").attribute("listURI", list).attribute("listVersionID", list_version);
    out.element("code", number.code()).end();
    out.element("erstellungszeitpunkt", &instant(at)).end();
    write_party(out, "leser", reader, None);
    write_party(out, "autor", &own.party, Some(&own.reachable_at));
    out.end();
    own.address.write(out, "anschrift.autor");
}

fn write_party(out: &mut Writer, name: &str, party: &Party, reachable_at: Option<&str>) {
    out.start(name).start("verzeichnisdienst").attribute("listVersionID", "3").element("code", "DVDV").end();
    out.element("kennung", &party.kennung).element("name", &party.name);
    if let Some(address) = reachable_at {
        write_reachable(out, address);
    }
    out.end();
}

pub(super) fn write_reachable(out: &mut Writer, address: &str) {
    out.start("erreichbarkeit").start("kanal").attribute("listVersionID", "3").element("code", "01").end();
    out.element("kennung", address).end();
}

/// With milliseconds and zone, always of the same length.
pub fn instant(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}
