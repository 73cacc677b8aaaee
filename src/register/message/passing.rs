//! What an office passes on to the competent one: forward (0030), hand-over (0031), "not competent" (0032); and the
//! reminder of a receipt that did not come (0021).
//!
//! What is passed on travels whole, as it came: its `leser` is not rewritten, since the author's signature covers it.
//! A forward leaves the case with whoever forwards, a hand-over gives it away; the register does the same with both.
//! XInneres publishes these messages' numbers and names, their structure is ours.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::fields::Fields;
use super::question::read_relation;
use super::{Code, Fault, Number, feed};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Reason of a "not competent".
const REASON_CHARS_MAX: usize = 500;

/// The one element behind the head.
fn element_of(number: Number) -> &'static str {
    if number == Number::HandOver { "abgabe" } else { "weiterleitung" }
}

/// Reads a 0030 or 0031: the message that is passed on, as it came.
pub fn read(number: Number, children: &[Element]) -> Result<Vec<u8>, Fault> {
    let name = element_of(number);
    let [element] = children else {
        return Err(Fault::new(Code::X001, format!("behind the head there is {name} alone")));
    };
    if !element.is("", name) {
        return Err(Fault::new(Code::X001, format!("behind the head there is {name} alone")));
    }
    let fields = Fields::of(element);
    let text = fields.text("nachricht")?;
    fields.finish()?;
    let text: String = text.split_ascii_whitespace().collect();
    BASE64.decode(text).map_err(|_| fields.fault("nachricht", "is not Base64"))
}

/// Writes a 0030 or 0031 behind its head.
pub fn write(out: &mut Writer, number: Number, original: &[u8]) {
    out.start(element_of(number)).element("nachricht", &BASE64.encode(original)).end();
}

/// Writes a 0032 behind its head: the message that it is about, and why it is somebody else's.
pub fn write_not_competent(out: &mut Writer, about: &str, reason: &str) {
    feed::relates_to(out, about);
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    out.start("nichtzustaendigkeit").element("grund", &reason).end();
}

/// Reads a 0021: the UUID of the message whose receipt did not come.
pub fn read_reminder(children: &[Element]) -> Result<String, Fault> {
    let [relation] = children else {
        return Err(Fault::new(Code::X001, "behind the head there is bezug alone"));
    };
    read_relation(relation)
}

pub fn write_reminder(out: &mut Writer, about: &str) {
    feed::relates_to(out, about);
}
