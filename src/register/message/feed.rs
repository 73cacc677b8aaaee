//! The feed of one municipality: full load (1100), changes (1101), "nothing happened" (1104), and their receipts.
//!
//! How XMeld splits the feed over 1100, 1101 and 1104 is not public; the split here is ours. A full load is one message,
//! however long: its records are read one after the other.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::fields::Fields;
use super::head::{Head, instant};
use super::person::{self, of_list};
use super::refused_locks::LOCK_SET;
use super::rejection::Event;
use super::{Code, Fault};
use crate::domain::hex;
use crate::register::copies::LoadReceipt;
use crate::register::person::Ags;
use crate::register::reconcile::{Bucket, Difference, Hash};
use crate::register::stream::{Change, Occasion};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Order marks of each kind that one difference report names.
const MARKS_MAX: usize = 1000;

pub(super) const OCCASIONS: [(&str, Occasion); 11] = [
    ("geburt", Occasion::Birth),
    ("zuzug", Occasion::MoveIn),
    ("wegzug", Occasion::MoveOut),
    ("namensaenderung", Occasion::Name),
    ("anschriftenaenderung", Occasion::Address),
    ("familienstandsaenderung", Occasion::MaritalStatus),
    (LOCK_SET, Occasion::LockSet),
    ("auskunftssperre.beendet", Occasion::LockEnded),
    ("sterbefall", Occasion::Death),
    ("loeschung", Occasion::Deleted),
    ("sonstiges", Occasion::Other),
];

/// Where a feed stands: `bestand`, the first element of each of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    pub ags: Ags,
    pub generation: u64,
    /// Of a load or a standing: the last change it contains.
    pub sequence: u64,
    pub at: Timestamp,
    /// Records announced, in a load.
    pub announced: Option<u64>,
}

impl Stand {
    pub fn read(element: Option<&Element>) -> Result<Self, Fault> {
        let element = element.filter(|one| one.is("", "bestand"));
        let element = element.ok_or_else(|| Fault::new(Code::X001, "bestand is missing behind the head"))?;
        let fields = Fields::of(element);
        let stand = Self {
            ags: fields.ags("gemeindeschluessel")?,
            generation: fields.number("generation")?,
            sequence: fields.number("laufendeNummer")?,
            at: time(&fields, "stand")?,
            announced: fields.optional("anzahl")?.map(|_| fields.number("anzahl")).transpose()?,
        };
        fields.finish()?;
        Ok(stand)
    }

    /// A municipality feeds its own copy and no other.
    pub fn belongs_to(&self, head: &Head) -> Result<(), Fault> {
        if head.autor.kennung == format!("ags:{}", self.ags) {
            return Ok(());
        }
        Err(Fault::new(Code::T070, "the author is not the municipality whose copy this is"))
    }

    pub fn write(&self, out: &mut Writer) {
        out.start("bestand");
        person::code(out, "gemeindeschluessel", Some(&self.ags.to_string()));
        out.element("generation", &self.generation.to_string());
        out.element("laufendeNummer", &self.sequence.to_string());
        out.element("stand", &instant(self.at));
        out.element_if("anzahl", self.announced.map(|count| count.to_string()).as_deref());
        out.end();
    }
}

fn time(fields: &Fields<'_>, name: &'static str) -> Result<Timestamp, Fault> {
    fields.text(name)?.parse().map_err(|_| fields.fault(name, "is no instant with a zone"))
}

/// One case of a collective message: its event, and the change or why it is none.
pub struct Case {
    pub event: Event,
    pub change: Result<Change, Fault>,
    /// What the record brought that a copy does not keep.
    pub left_out: Vec<String>,
}

/// What a municipality tells of its original, for the comparison: each bucket's count and hash, and the entries of
/// those buckets that are known to differ ([`crate::register::reconcile`] says how both are made).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hashes {
    pub buckets: Vec<Bucket>,
    pub entries: BTreeMap<String, Hash>,
}

impl Hashes {
    pub fn read(element: &Element) -> Result<Self, Fault> {
        if !element.is("", "abgleich") {
            return Err(Fault::new(Code::X001, "behind bestand there is abgleich alone"));
        }
        let fields = Fields::of(element);
        let mut out = Self::default();
        for bucket in fields.all("eimer") {
            let one = Fields::of(bucket);
            let number = u8::try_from(one.number("nummer")?);
            let number = number.map_err(|_| one.fault("nummer", "lies between 0 and 255"))?;
            if out.buckets.iter().any(|known| known.number == number) {
                return Err(one.fault("nummer", "occurs twice"));
            }
            out.buckets.push(Bucket { number, count: one.number("anzahl")?, hash: digest(&one)? });
            one.finish()?;
        }
        for entry in fields.all("eintrag") {
            let one = Fields::of(entry);
            if out.entries.insert(one.text("ordnungsmerkmal")?, digest(&one)?).is_some() {
                return Err(one.fault("ordnungsmerkmal", "occurs twice"));
            }
            one.finish()?;
        }
        fields.finish()?;
        Ok(out)
    }

    pub fn write(&self, out: &mut Writer) {
        out.start("abgleich");
        for bucket in &self.buckets {
            out.start("eimer").element("nummer", &bucket.number.to_string());
            out.element("anzahl", &bucket.count.to_string());
            out.element("pruefsumme", &hex::lower(&bucket.hash)).end();
        }
        for (mark, hash) in &self.entries {
            out.start("eintrag").element("ordnungsmerkmal", mark);
            out.element("pruefsumme", &hex::lower(hash)).end();
        }
        out.end();
    }
}

/// SHA-256 in 64 hexadecimal digits.
fn digest(fields: &Fields<'_>) -> Result<Hash, Fault> {
    let text = fields.text("pruefsumme")?;
    let fault = || fields.fault("pruefsumme", "is not 64 hexadecimal digits");
    let mut out = Hash::default();
    if text.len() != 2 * out.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(fault());
    }
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| fault())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| fault())?;
    }
    Ok(out)
}

/// Reads one `vorgang`. Without an identifiable event the whole message is at fault.
pub fn case(element: &Element, stand: &Stand) -> Result<Case, Fault> {
    if !element.is("", "vorgang") {
        return Err(Fault::new(Code::X001, "behind bestand there are elements vorgang alone"));
    }
    let fields = Fields::of(element);
    let id = Fields::of(fields.required("identifikation.ereignis")?);
    let event = event(&id)?;
    let mut left_out = Vec::new();
    let change = change(&fields, &id, stand, &mut left_out);
    Ok(Case { event, change, left_out })
}

/// The parts of `identifikation.ereignis`.
pub(super) fn event(id: &Fields<'_>) -> Result<Event, Fault> {
    Ok(Event { at: id.text("ereignis.zeitpunkt")?, sign: id.text("ereignis.zeichen")? })
}

pub(super) fn write_event(out: &mut Writer, event: &Event) {
    out.start("identifikation.ereignis").element("ereignis.zeitpunkt", &event.at);
    out.element("ereignis.zeichen", &event.sign).end();
}

fn change(
    fields: &Fields<'_>,
    id: &Fields<'_>,
    stand: &Stand,
    left_out: &mut Vec<String>,
) -> Result<Change, Fault> {
    let record = match fields.optional("person")? {
        Some(element) => {
            let (person, more) = person::read(element)?;
            left_out.extend(more);
            Some(person)
        }
        None => None,
    };
    let change = Change {
        ags: stand.ags,
        generation: stand.generation,
        sequence: fields.number("laufendeNummer")?,
        at: time(id, "ereignis.zeitpunkt")?,
        occasion: of_list(fields, "anlass", &OCCASIONS)?
            .ok_or_else(|| fields.fault("anlass", "is missing"))?,
        mark: fields.text("ordnungsmerkmal")?,
        record,
    };
    fields.finish()?;
    Ok(change)
}

pub fn write_case(out: &mut Writer, change: &Change, sign: &str) {
    out.start("vorgang").start("identifikation.ereignis");
    out.element("ereignis.zeitpunkt", &instant(change.at)).element("ereignis.zeichen", sign).end();
    out.element("laufendeNummer", &change.sequence.to_string());
    let word = OCCASIONS.iter().find(|(_, one)| *one == change.occasion).map(|(word, _)| *word);
    person::code(out, "anlass", word);
    out.element("ordnungsmerkmal", &change.mark);
    if let Some(record) = &change.record {
        person::write(out, record);
    }
    out.end();
}

/// What became of the cases of one message (0020).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    pub applied: u64,
    pub repeated: u64,
    pub held: u64,
    pub rejected: u64,
    /// First and last number that is missing: to be sent again.
    pub missing: Option<(u64, u64)>,
    pub left_out: BTreeMap<String, u64>,
    /// What a comparison found, where hashes came.
    pub compared: Option<(Vec<u8>, Difference)>,
}

pub fn write_receipt(out: &mut Writer, question: &str, receipt: &Receipt) {
    relates_to(out, question);
    out.start("quittung");
    for (name, count) in [
        ("uebernommen", receipt.applied),
        ("bereitsBekannt", receipt.repeated),
        ("zurueckgestellt", receipt.held),
        ("zurueckgewiesen", receipt.rejected),
    ] {
        out.element(name, &count.to_string());
    }
    if let Some((first, last)) = receipt.missing {
        out.start("nachforderung").element("von", &first.to_string()).element("bis", &last.to_string()).end();
    }
    not_kept(out, &receipt.left_out);
    if let Some((buckets, difference)) = &receipt.compared {
        out.start("abgleich");
        buckets.iter().for_each(|number| {
            out.element("eimer", &number.to_string());
        });
        for (name, marks) in [
            ("fehlt", &difference.missing),
            ("ueberzaehlig", &difference.surplus),
            ("abweichend", &difference.changed),
        ] {
            marks.iter().take(MARKS_MAX).for_each(|mark| {
                out.element(name, mark);
            });
        }
        out.end();
    }
    out.end();
}

/// The receipt of a full load (0928): counts, and each refused record by its place in the load.
pub fn write_load_receipt(out: &mut Writer, question: &str, stand: &Stand, receipt: &LoadReceipt) {
    relates_to(out, question);
    stand.write(out);
    out.start("quittung").element("uebernommen", &receipt.stored.to_string());
    out.element("zurueckgewiesen", &receipt.refused.to_string());
    for (number, why) in &receipt.refused_records {
        out.start("fehlerhafterDatensatz").element("stelle", &number.to_string()).element("grund", why).end();
    }
    not_kept(out, &receipt.left_out);
    out.end();
}

fn not_kept(out: &mut Writer, left_out: &BTreeMap<String, u64>) {
    for (name, count) in left_out {
        out.start("nichtGespeichert").element("element", name).element("anzahl", &count.to_string()).end();
    }
}

pub(super) fn relates_to(out: &mut Writer, question: &str) {
    out.start("bezug").element("nachrichtenUUID", question).end();
}
