//! SelectionRule: which deliveries or process cards a client wants (OSCI12, section 5).

use super::Error;
use super::markup::{self, Fields};
use super::message_id::MessageId;
use super::names::NS_OSCI;
use super::process_card::instant;
use crate::domain::envelope::Instant;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Ids that one rule may name.
pub const MESSAGE_IDS_MAX: usize = 1000;

/// Which delivery; none means whichever waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliverySelection {
    MessageId(MessageId),
    /// Received by the intermediary at this time or later.
    ReceptionOfDelivery(Instant),
}

impl DeliverySelection {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Option<Self>, Error> {
        let Some(rule) = fields.optional(NS_OSCI, "SelectionRule")? else { return Ok(None) };
        let mut fields = Fields::of(rule)?;
        let id = MessageId::take(&mut fields)?;
        let since = fields.optional(NS_OSCI, "ReceptionOfDelivery")?;
        fields.finish()?;
        match (id, since) {
            (Some(id), None) => Ok(Some(Self::MessageId(id))),
            (None, Some(since)) => {
                let since = instant("ReceptionOfDelivery", &markup::token(since)?)?;
                Ok(Some(Self::ReceptionOfDelivery(since)))
            }
            _ => Err(one_rule()),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.start("osci:SelectionRule");
        match self {
            Self::MessageId(id) => id.write(writer),
            Self::ReceptionOfDelivery(since) => {
                writer.element("osci:ReceptionOfDelivery", &since.text);
            }
        }
        writer.end();
    }
}

/// As what the caller must stand in a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CardRole {
    Originator,
    Addressee,
}

impl CardRole {
    fn name(self) -> &'static str {
        match self {
            Self::Originator => "Originator",
            Self::Addressee => "Addressee",
        }
    }
}

/// Cards from a time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardsSince {
    pub since: Instant,
    /// As written; `true` wants only cards without a reception.
    pub no_reception: Option<bool>,
    /// None means both roles.
    pub role: Option<CardRole>,
}

/// Which process cards; none means all of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardSelection {
    /// Never empty.
    MessageIds(Vec<MessageId>),
    ReceptionOfDelivery(CardsSince),
    RecentModification(CardsSince),
}

impl CardSelection {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Option<Self>, Error> {
        let Some(rule) = fields.optional(NS_OSCI, "SelectionRule")? else { return Ok(None) };
        let mut fields = Fields::of(rule)?;
        let ids = fields.all(NS_OSCI, "MessageId");
        let reception = fields.optional(NS_OSCI, "ReceptionOfDelivery")?;
        let modification = fields.optional(NS_OSCI, "RecentModification")?;
        fields.finish()?;
        if ids.len() > MESSAGE_IDS_MAX {
            return Err(Error::TooLong { what: "MessageId elements", max: MESSAGE_IDS_MAX, seen: ids.len() });
        }
        let ids = ids.into_iter().map(MessageId::read).collect::<Result<Vec<_>, _>>()?;
        match (ids.is_empty(), reception, modification) {
            (false, None, None) => Ok(Some(Self::MessageIds(ids))),
            (true, Some(since), None) => Ok(Some(Self::ReceptionOfDelivery(CardsSince::read(since)?))),
            (true, None, Some(since)) => Ok(Some(Self::RecentModification(CardsSince::read(since)?))),
            _ => Err(one_rule()),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.start("osci:SelectionRule");
        match self {
            Self::MessageIds(ids) => ids.iter().for_each(|id| id.write(writer)),
            Self::ReceptionOfDelivery(since) => since.write("osci:ReceptionOfDelivery", writer),
            Self::RecentModification(since) => since.write("osci:RecentModification", writer),
        }
        writer.end();
    }
}

impl CardsSince {
    fn read(element: &Element) -> Result<Self, Error> {
        let invalid = |what| Error::Invalid { what, why: "it is not one of the schema" };
        let no_reception = match element.attribute("", "NoReception").map(str::trim) {
            None => None,
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => return Err(invalid("NoReception")),
        };
        let role = match element.attribute("", "Role") {
            None => None,
            Some("Originator") => Some(CardRole::Originator),
            Some("Addressee") => Some(CardRole::Addressee),
            Some(_) => return Err(invalid("Role")),
        };
        let since = instant("date of a SelectionRule", &markup::token(element)?)?;
        Ok(Self { since, no_reception, role })
    }

    fn write(&self, name: &str, writer: &mut Writer) {
        writer.start(name);
        writer.attribute_if("NoReception", self.no_reception.map(|no| if no { "true" } else { "false" }));
        writer.attribute_if("Role", self.role.map(CardRole::name)).text(&self.since.text).end();
    }
}

fn one_rule() -> Error {
    Error::Invalid { what: "SelectionRule", why: "it has not exactly one kind of rule" }
}
