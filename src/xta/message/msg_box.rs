//! The message box: lists, fetches, their continuation and their confirmation (OSCI 2.02, MsgBox requests).
//!
//! `MsgAtrributes` is the schema's own spelling of a list form.

use jiff::Timestamp;

use super::Error;
use super::element::Element;
use super::instant::{date_time, spell};
use super::markup::Markup;
use super::metadata::{self, Shown, boolean, message_id};
use super::names::{OSCI, OSCIMETA, WSA};
use crate::domain::message_id::MessageId;
use crate::store::Entry;

/// Why nothing is in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NoMatch,
    SearchArgsInvalid,
    RequestIdInvalid,
}

impl Reason {
    pub fn uri(self) -> &'static str {
        match self {
            Self::NoMatch => "http://www.osci.eu/ws/2008/05/transport/MsgBox/reasons/NoMatch",
            Self::SearchArgsInvalid => {
                "http://www.osci.eu/ws/2008/05/transport/MsgBox/reasons/SearchArgsInvalid"
            }
            Self::RequestIdInvalid => {
                "http://www.osci.eu/ws/2008/05/transport/MsgBox/reasons/RequestIdInvalid"
            }
        }
    }
}

/// Which messages a request means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MsgSelector {
    pub new_entry: bool,
    pub ids: Vec<MessageId>,
    pub relates_to: Vec<MessageId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListForm {
    #[default]
    MessageMetaData,
    MsgAttributes,
}

/// Ids that one selector or confirmation may name.
const IDS_MAX: usize = 1000;

fn selector(parent: &Element) -> Result<MsgSelector, Error> {
    let Some(element) = parent.optional(OSCI, "MsgSelector")? else { return Ok(MsgSelector::default()) };
    let ids = |local: &'static str| -> Result<Vec<MessageId>, Error> {
        bounded(element.all(WSA, local).filter(|id| !id.trimmed().is_empty()).map(message_id))
    };
    let instant = |local| -> Result<_, Error> {
        let found = element.optional(OSCI, local)?.filter(|time| !time.trimmed().is_empty());
        Ok(found.map(|time| date_time(local, &time.text())).transpose()?.map(|instant| instant.at))
    };
    Ok(MsgSelector {
        new_entry: element.attribute("newEntry").map_or(Ok(false), |value| boolean("newEntry", value))?,
        ids: ids("MessageID")?,
        relates_to: ids("RelatesTo")?,
        from: instant("MsgBoxEntryTimeFrom")?,
        to: instant("MsgBoxEntryTimeTo")?,
    })
}

/// Writes MsgSelector; nothing where it selects everything.
pub fn write_selector(out: &mut Markup, selector: &MsgSelector) {
    if *selector == MsgSelector::default() {
        return;
    }
    let new_entry = selector.new_entry.then_some("true");
    out.element_with("osci:MsgSelector", &[("newEntry", new_entry)], |out| {
        for id in &selector.ids {
            out.leaf("wsa:MessageID", id.as_str());
        }
        for id in &selector.relates_to {
            out.leaf("wsa:RelatesTo", id.as_str());
        }
        out.leaf_if("osci:MsgBoxEntryTimeFrom", selector.from.map(spell).as_deref());
        out.leaf_if("osci:MsgBoxEntryTimeTo", selector.to.map(spell).as_deref());
    });
}

fn bounded(ids: impl Iterator<Item = Result<MessageId, Error>>) -> Result<Vec<MessageId>, Error> {
    let ids: Vec<_> = ids.take(IDS_MAX + 1).collect::<Result<_, _>>()?;
    if ids.len() > IDS_MAX {
        return Err(Error::invalid("the list of message ids", format!("at most {IDS_MAX} are allowed")));
    }
    Ok(ids)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusListRequest {
    pub items_max: Option<u32>,
    pub form: ListForm,
    pub selector: MsgSelector,
}

impl StatusListRequest {
    pub fn parse(body: &Element) -> Result<Self, Error> {
        expect(body, "MsgBoxStatusListRequest")?;
        let items_max = match body.attribute("maxListItems").map(str::trim) {
            None | Some("") => None,
            // More than fits a number is more than any limit.
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(text.parse().unwrap_or(u32::MAX)).filter(|count| *count > 0)
            }
            Some(_) => return Err(Error::invalid("maxListItems", "it is not a positive number")),
        };
        let form = match body.attribute("ListForm").map(str::trim) {
            None | Some("" | "MessageMetaData") => ListForm::MessageMetaData,
            Some("MsgAtrributes" | "MsgAttributes") => ListForm::MsgAttributes,
            Some(_) => {
                return Err(Error::invalid("ListForm", "it is neither MsgAtrributes nor MessageMetaData"));
            }
        };
        Ok(Self { items_max, form, selector: selector(body)? })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MsgPart {
    #[default]
    Envelope,
    Header,
    Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    pub part: MsgPart,
    pub selector: MsgSelector,
}

impl FetchRequest {
    pub fn parse(body: &Element) -> Result<Self, Error> {
        expect(body, "MsgBoxFetchRequest")?;
        let part = match body.attribute("MsgPart").map(str::trim) {
            None | Some("" | "Envelope") => MsgPart::Envelope,
            Some("Header") => MsgPart::Header,
            Some("Body") => MsgPart::Body,
            Some(_) => return Err(Error::invalid("MsgPart", "it is none of Envelope, Header and Body")),
        };
        Ok(Self { part, selector: selector(body)? })
    }
}

/// MsgBoxGetNextRequest and MsgBoxCloseRequest, which differ in name and meaning only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The iterator; clients in the field send the constant `1`.
    pub request_id: String,
    pub received: Vec<MessageId>,
}

impl Continuation {
    pub fn parse(body: &Element, name: &str) -> Result<Self, Error> {
        expect(body, name)?;
        Ok(Self {
            request_id: body.attribute("MsgBoxRequestID").unwrap_or_default().trim().to_owned(),
            received: bounded(
                body.all(OSCI, "LastMsgReceived").filter(|id| !id.trimmed().is_empty()).map(message_id),
            )?,
        })
    }
}

fn expect(body: &Element, name: &str) -> Result<(), Error> {
    if body.is(OSCI, name) { Ok(()) } else { Err(Error::missing("Body", name)) }
}

/// The header MsgBoxResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsgBoxResponse {
    pub request_id: String,
    pub state: Result<u64, Reason>,
}

impl MsgBoxResponse {
    pub fn write(&self, out: &mut Markup) {
        out.element_with("osci:MsgBoxResponse", &[("MsgBoxRequestID", Some(&self.request_id))], |out| {
            match self.state {
                Ok(pending) => out.leaf("osci:ItemsPending", &pending.to_string()),
                Err(reason) => {
                    out.element_with("osci:NoMessageAvailable", &[("reason", Some(reason.uri()))], |_| {})
                }
            };
        });
    }
}

impl MsgBoxResponse {
    pub fn parse(header: &Element) -> Result<Self, Error> {
        let request_id = header.attribute("MsgBoxRequestID").unwrap_or_default().trim().to_owned();
        if let Some(nothing) = header.optional(OSCI, "NoMessageAvailable")? {
            let reason = nothing.attribute("reason").unwrap_or_default();
            let known = [Reason::NoMatch, Reason::SearchArgsInvalid, Reason::RequestIdInvalid];
            // The list of reasons is open; whatever it says, there is no message.
            let reason = known.into_iter().find(|known| known.uri() == reason).unwrap_or(Reason::NoMatch);
            return Ok(Self { request_id, state: Err(reason) });
        }
        let pending = header.required(OSCI, "ItemsPending")?.trimmed();
        let pending = pending.parse().map_err(|_| Error::invalid("ItemsPending", "it is not a number"))?;
        Ok(Self { request_id, state: Ok(pending) })
    }
}

/// The messages in a body MsgStatusList.
pub fn parse_status_list(body: &Element) -> Result<Vec<Shown>, Error> {
    expect(body, "MsgStatusList")?;
    body.all(OSCIMETA, "MessageMetaData").map(metadata::parse_shown).collect()
}

/// The body MsgStatusList.
pub fn write_status_list(out: &mut Markup, entries: &[Entry], form: ListForm) {
    out.element("osci:MsgStatusList", |out| {
        for entry in entries {
            match form {
                ListForm::MessageMetaData => metadata::write(out, &entry.envelope, Some(&entry.card)),
                ListForm::MsgAttributes => write_attributes(out, entry),
            }
        }
    });
}

fn write_attributes(out: &mut Markup, entry: &Entry) {
    let (envelope, card) = (&entry.envelope, &entry.card);
    out.element("osci:MsgAttributes", |out| {
        out.leaf("wsa:MessageID", envelope.id.as_str());
        for id in &envelope.in_reply_to {
            out.leaf("wsa:RelatesTo", id.as_str());
        }
        out.leaf("osci:TypeOfBusinessScenario", &envelope.qualifier.service);
        // The schema holds it in 32 bits.
        out.leaf("osci:MsgSize", &card.payload_bytes.min(i32::MAX as u64).to_string());
        // The author's spelling may carry a time, the schema's date may not.
        let day =
            envelope.obsolete_after.as_ref().map(|instant| instant.text.split('T').next().unwrap_or(""));
        out.leaf_if("osci:ObsoleteAfterDate", day);
        out.leaf("osci:DeliveryTime", &spell(card.delivered_at.unwrap_or(card.accepted_at)));
        out.leaf_if("osci:InitialFetchedTime", card.first_handed_out_at.map(spell).as_deref());
    });
}
