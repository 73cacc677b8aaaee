//! Answers (0301, 0601, 1331, 1333): what may be told, or that nothing can be given, or why the question is refused.
//!
//! The neutral answer is one empty element. Its message has the same length whatever lies behind it: ids and instants
//! are of fixed length, and all else comes from the question.

use serde_json::Value;

use super::feed::{relates_to, write_event};
use super::person::code;
use super::rejection::Event;
use crate::register::answer::{Answer, Hit};
use crate::register::question::Reason;
use crate::register::rights::{DataGroup, Disclosure};
use crate::xml::write::Writer;

/// `case` is that of a message with many questions.
pub fn write(out: &mut Writer, question: &str, case: Option<&Event>, answer: &Answer) {
    relates_to(out, question);
    case.into_iter().for_each(|event| write_event(out, event));
    out.start("auskunft");
    match answer {
        Answer::Person { data } => write_person(out, data),
        Answer::List { hits, more, stale } => {
            out.start("trefferliste");
            for Hit { feature, data } in hits {
                out.start("treffer").element("identifikationsmerkmal", feature);
                write_person(out, data);
                out.end();
            }
            if *more {
                out.element("weitereTreffer", "true");
            }
            for ags in stale {
                code(out, "bestandVeraltet", Some(&ags.to_string()));
            }
            out.end();
        }
        Answer::Neutral => {
            out.start("keineAuskunft").end();
        }
    }
    out.end();
}

/// A question that was not put to the copies.
pub fn write_refusal(out: &mut Writer, question: &str, case: Option<&Event>, reason: Reason) {
    relates_to(out, question);
    case.into_iter().for_each(|event| write_event(out, event));
    out.start("auskunft").start("abgelehnt");
    out.element_if("grund", reason.number()).element("schluesselwort", reason.word());
    out.element("hinweis", &reason.to_string()).end().end();
}

pub fn write_expired(out: &mut Writer, question: &str) {
    relates_to(out, question);
    out.start("abgelaufen").end();
}

fn write_person(out: &mut Writer, data: &Disclosure) {
    out.start("person");
    for group in DataGroup::ALL {
        if let Some(value) = data.get(group.as_str()) {
            write_value(out, element_of(*group), value);
        }
    }
    out.end();
}

fn element_of(group: DataGroup) -> &'static str {
    match group {
        DataGroup::FamilyName => "familienname",
        DataGroup::FormerNames => "fruehererName",
        DataGroup::GivenNames => "vornamen",
        DataGroup::Doctorate => "doktorgrad",
        DataGroup::ArtistNames => "ordensOderKuenstlername",
        DataGroup::Birth => "geburt",
        DataGroup::Sex => "geschlecht",
        DataGroup::Nationalities => "staatsangehoerigkeit",
        DataGroup::MainAddress => "hauptwohnung",
        DataGroup::PresentAddresses => "gegenwaertigeAnschrift",
        DataGroup::AllAddresses => "anschrift",
        DataGroup::MoveDates => "einzug",
        DataGroup::MaritalStatus => "familienstand",
        DataGroup::Representatives => "gesetzlicherVertreter",
        DataGroup::Death => "sterbefall",
        DataGroup::FactOfDeath => "verstorben",
        DataGroup::MovedNote => "verbleib",
    }
}

/// Keys of the disclosure's parts, and their names in the message.
const PARTS: [(&str, &str); 15] = [
    ("names", "name"),
    ("used", "gebraeuchlicherVorname"),
    ("date", "datum"),
    ("place", "ort"),
    ("state", "staat"),
    ("ags", "gemeindeschluessel"),
    ("postcode", "postleitzahl"),
    ("street", "strasse"),
    ("number", "hausnummer"),
    ("letter", "hausnummerBuchstabeZusatzziffer"),
    ("part", "teilnummerDerHausnummer"),
    ("flat", "stockwerkswohnungsnummer"),
    ("dwelling", "wohnungsstatus"),
    ("moved_in", "einzugsdatum"),
    ("moved_out", "auszugsdatum"),
];

fn write_value(out: &mut Writer, element: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(list) => list.iter().for_each(|one| write_value(out, element, one)),
        Value::Object(parts) => {
            out.start(element);
            for (key, name) in PARTS {
                if let Some(part) = parts.get(key).filter(|part| **part != Value::String(String::new())) {
                    write_value(out, name, part);
                }
            }
            out.end();
        }
        Value::String(text) => {
            out.element(element, text);
        }
        Value::Bool(_) | Value::Number(_) => {
            out.element(element, &value.to_string());
        }
    }
}
