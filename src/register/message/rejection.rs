//! Rejections (`rueckweisung.asynchron.0010`, XInneres rejection 6): what is wrong, and the message as it came.
//!
//! We reject as the clearing office (`rueckweisendeStelle`). S999 always carries a specific reason. A rejection is
//! never rejected.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::head::{self, Head, Own, Party, REJECTION};
use super::{Code, Fault, Number};
use crate::xml::write::Writer;

/// Longer originals are not sent back whole: the rejection names the message by its ids.
pub const ORIGINAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One case of a collective message that could not be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub event: Event,
    pub fault: Fault,
}

/// `identifikation.ereignis`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: String,
    pub sign: String,
}

pub struct Rejected<'a> {
    pub faults: &'a [Fault],
    pub cases: &'a [Case],
    /// Of the message that is rejected, if its head could be read.
    pub head: Option<&'a Head>,
    /// The transport's id of it.
    pub transport_id: &'a str,
    pub original: &'a [u8],
}

pub fn write(rejected: &Rejected<'_>, own: &Own, reader: &Party, uuid: &str, at: Timestamp) -> String {
    let mut out = Writer::new();
    let test = rejected.head.is_some_and(|head| head.test);
    out.declaration().start(&format!("xirts:{}", Number::Rejection.element())).namespace("xirts", REJECTION);
    out.attribute("standard", "XInneres-Rueckweisung").attribute("version", "6");
    let list = ("urn:de:xinneres:codeliste:nachrichtentyp", "4");
    head::write_rest(&mut out, list, Number::Rejection, own, reader, uuid, at, test);
    out.start("rueckweisung").start("rueckweisendeStelle").element("pruefinstanz", &own.party.name);
    own.address.write(&mut out, "anschrift");
    head::write_reachable(&mut out, &own.reachable_at);
    out.end();
    for fault in rejected.faults {
        reason(&mut out, "rueckweisungsgrund", fault);
    }
    out.start("transportinformationen").element("nachrichtenId", rejected.transport_id).end();
    for case in rejected.cases {
        out.start("nichtVerarbeitbarerEinzelfall").start("identifikation.ereignis");
        out.element("ereignis.zeitpunkt", &case.event.at).element("ereignis.zeichen", &case.event.sign).end();
        reason(&mut out, "grund", &case.fault);
        out.end();
    }
    if let Some(head) = rejected.head {
        let (list, version) = match head.release {
            Some(release) => ("urn:de:amtsbote:register:nachrichten", release.version),
            None => list,
        };
        out.start("idNachricht").element("nachrichtenUUID", &head.uuid);
        out.start("nachrichtentyp").attribute("listURI", list).attribute("listVersionID", version);
        out.element("code", head.number.code()).end();
        out.element("erstellungszeitpunkt", &head.created).end();
    }
    let original = if rejected.original.len() > ORIGINAL_BYTES_MAX { &[] } else { rejected.original };
    out.element("nachricht", &BASE64.encode(original));
    out.finish()
}

fn reason(out: &mut Writer, name: &str, fault: &Fault) {
    out.start(name).start("grund").element("code", fault.code.as_str()).end();
    if fault.code == Code::S999 || fault.detail != fault.code.words() {
        out.start("grundSpezifisch").element("fehlerbeschreibung", &fault.detail).end();
    }
    out.end();
}

/// The codes of a rejection, for whoever receives one.
pub fn codes(children: &[crate::xml::tree::Element]) -> Vec<String> {
    let rejections = children.iter().filter(|one| one.is("", "rueckweisung"));
    let grounds = rejections.flat_map(|one| one.children_named("", "rueckweisungsgrund"));
    let codes = grounds.filter_map(|ground| ground.descend(&[("", "grund"), ("", "code")]));
    codes.map(crate::xml::tree::Element::text_trimmed).take(20).collect()
}
