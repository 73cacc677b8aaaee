//! Move notices between registration offices (0201, 0203) and what follows them, as a watcher of deadlines sees them.
//!
//! The offices write to one another; who wants the deadline watched posts the same bytes to the register as well. Of
//! such a copy only the head, the event and the relation are read. The person's data in it are not kept, and not even
//! looked at.

use jiff::civil;

use super::fields::Fields;
use super::head::Head;
use super::question::read_relation;
use super::{Code, Fault, Number, feed};
use crate::register::person::{Ags, Person};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub number: Number,
    pub uuid: String,
    /// The event's sign: the offices' own reference to the case.
    pub sign: String,
    pub from: Ags,
    pub to: Ags,
    /// UUID of the 0201 that this belongs to; its own in a 0201.
    pub case: String,
    /// The day on which the new dwelling was registered, in a 0201.
    pub registered_on: Option<civil::Date>,
}

pub fn read(head: &Head, children: &[Element]) -> Result<Move, Fault> {
    let office = |kennung: &str| {
        let key = kennung.strip_prefix("ags:").and_then(|key| Ags::parse(key).ok());
        key.ok_or_else(|| {
            Fault::new(Code::T070, "move notices go from registration office to registration office")
        })
    };
    let (from, to) = (office(&head.autor.kennung)?, office(&head.leser.kennung)?);
    if from == to {
        return Err(Fault::new(Code::T080, "a move notice goes to another office"));
    }
    let named = |name: &str| children.iter().find(|child| child.is("", name));
    let case = match (head.number, named("bezug")) {
        (Number::MoveNotice, None) => head.uuid.clone(),
        (Number::MoveNotice, Some(_)) => return Err(Fault::new(Code::X001, "a 0201 has no bezug")),
        (_, Some(relation)) => read_relation(relation)?,
        (_, None) => return Err(Fault::new(Code::X001, "bezug is missing: which 0201 does this belong to?")),
    };
    let event = named("identifikation.ereignis");
    let event = event.ok_or_else(|| Fault::new(Code::X001, "identifikation.ereignis is missing"))?;
    let sign = Fields::of(event).text("ereignis.zeichen")?;
    if sign.chars().count() > 100 {
        return Err(Fault::new(Code::X001, "ereignis.zeichen has more than 100 characters"));
    }
    let registered_on = match (head.number, named("anmeldedatum")) {
        (Number::MoveNotice, Some(day)) => {
            let day = day.text_trimmed().parse();
            Some(day.map_err(|_| Fault::new(Code::X001, "anmeldedatum is no day"))?)
        }
        (Number::MoveNotice, None) => return Err(Fault::new(Code::X001, "anmeldedatum is missing")),
        _ => None,
    };
    Ok(Move { number: head.number, uuid: head.uuid.clone(), sign, from, to, case, registered_on })
}

/// Writes a move message behind its head, as a registration office would.
pub fn write(
    out: &mut Writer,
    case: Option<&str>,
    event: &super::rejection::Event,
    registered_on: Option<civil::Date>,
    person: Option<&Person>,
) {
    if let Some(case) = case {
        feed::relates_to(out, case);
    }
    feed::write_event(out, event);
    out.element_if("anmeldedatum", registered_on.map(|day| day.to_string()).as_deref());
    if let Some(person) = person {
        super::person::write(out, person);
    }
}
