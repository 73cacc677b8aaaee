//! ControlBlock: which dialog a message belongs to and where it stands in it (OSCI12, section 3).
//!
//! Left out: whether the values are the right ones; the dialog knows that.

use super::Error;
use super::kind::{Kind, Operation};
use super::markup::{self, Fields};
use super::names::NS_OSCI;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

const CHALLENGE_BYTES_MAX: usize = 1024;
const CONVERSATION_ID_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlBlock {
    pub conversation_id: Option<ConversationId>,
    pub sequence_number: Option<u64>,
    /// The peer's last challenge, to the letter.
    pub response: Option<Challenge>,
    pub challenge: Option<Challenge>,
}

/// What the peer must repeat; compared as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Challenge(String);

impl Challenge {
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        markup::bounded("Challenge", CHALLENGE_BYTES_MAX, text.into()).map(Self)
    }

    pub fn from_random(random: [u8; 10]) -> Self {
        use base64::Engine as _;
        Self(base64::engine::general_purpose::STANDARD.encode(random))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number of a dialog. Digits by the schema; others are read, because clients bear them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(String);

impl ConversationId {
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = markup::bounded("ConversationId", CONVERSATION_ID_BYTES_MAX, text.into())?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Invalid { what: "ConversationId", why: "it is not a token" });
        }
        Ok(Self(text))
    }

    /// Up to 29 digits, as long as those in the field.
    pub fn from_random(random: u128) -> Self {
        Self((random % 10_u128.pow(29)).to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ConversationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ControlBlock {
    pub fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let mut challenge = |local| -> Result<Option<Challenge>, Error> {
            let found = fields.optional(NS_OSCI, local)?;
            found.map(|element| Challenge::new(markup::text(element)?)).transpose()
        };
        let (response, challenge) = (challenge("Response")?, challenge("Challenge")?);
        fields.finish()?;
        let conversation_id = element.attribute("", "ConversationId");
        let sequence_number = element.attribute("", "SequenceNumber").map(number).transpose()?;
        Ok(Self {
            conversation_id: conversation_id.map(|id| ConversationId::new(id.trim())).transpose()?,
            sequence_number,
            response,
            challenge,
        })
    }

    /// Attributes stand in alphabetical order with those of the block.
    pub fn write_attributes(&self, writer: &mut Writer, id: &str) {
        writer.attribute_if("ConversationId", self.conversation_id.as_ref().map(ConversationId::as_str));
        writer.attribute("Id", id);
        writer.attribute_if("SequenceNumber", self.sequence_number.map(|n| n.to_string()).as_deref());
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.element_if("osci:Response", self.response.as_ref().map(Challenge::as_str));
        writer.element_if("osci:Challenge", self.challenge.as_ref().map(Challenge::as_str));
    }

    /// The first field that a message of this kind must have and has not, or must not have and has.
    pub fn fault(&self, kind: Kind) -> Option<PresenceFault> {
        let presence = Presence::of(kind);
        let fields = [
            ("Response", presence.response, self.response.is_some()),
            ("Challenge", presence.challenge, self.challenge.is_some()),
            ("ConversationId", presence.conversation_id, self.conversation_id.is_some()),
            ("SequenceNumber", presence.sequence_number, self.sequence_number.is_some()),
        ];
        fields.into_iter().find_map(|(field, rule, present)| match (rule, present) {
            (Rule::Must, false) => Some(PresenceFault { field, rule }),
            (Rule::MustNot, true) => Some(PresenceFault { field, rule }),
            _ => None,
        })
    }
}

fn number(text: &str) -> Result<u64, Error> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or(Error::Invalid { what: "SequenceNumber", why: "it is not a number" })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Must,
    MustNot,
    May,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceFault {
    pub field: &'static str,
    pub rule: Rule,
}

/// Which fields a kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    pub response: Rule,
    pub challenge: Rule,
    pub conversation_id: Rule,
    pub sequence_number: Rule,
}

impl Presence {
    pub fn of(kind: Kind) -> Self {
        use Operation as O;
        use Rule::{May, Must, MustNot};
        let (response, challenge, conversation_id, sequence_number) = match kind {
            Kind::Request(O::InitDialog) => (MustNot, Must, MustNot, MustNot),
            Kind::Response(O::InitDialog) => (Must, Must, Must, MustNot),
            Kind::Request(O::ExitDialog) => (Must, Must, Must, Must),
            Kind::Response(O::ExitDialog) => (Must, MustNot, Must, Must),
            Kind::Request(
                O::GetMessageId | O::StoreDelivery | O::ForwardDelivery | O::PartialStoreDelivery,
            ) => (May, Must, May, Must),
            Kind::Response(O::GetMessageId | O::StoreDelivery | O::PartialStoreDelivery) => {
                (Must, May, Must, Must)
            }
            Kind::Response(O::ForwardDelivery) => (Must, May, May, Must),
            Kind::Request(O::AcceptDelivery | O::ProcessDelivery) => (MustNot, Must, MustNot, MustNot),
            Kind::Response(O::AcceptDelivery | O::ProcessDelivery) => (Must, MustNot, MustNot, MustNot),
            Kind::Request(
                O::FetchDelivery | O::FetchProcessCard | O::MediateDelivery | O::PartialFetchDelivery,
            )
            | Kind::Response(
                O::FetchDelivery | O::FetchProcessCard | O::MediateDelivery | O::PartialFetchDelivery,
            ) => (Must, Must, Must, Must),
        };
        Self { response, challenge, conversation_id, sequence_number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osci::message::markup::testing::element;

    #[test]
    fn fields_are_read() {
        for (xml, expected) in [
            (
                "<osci:ControlBlock ConversationId='12' SequenceNumber='7'><osci:Response> a</osci:Response><osci:Challenge>b</osci:Challenge></osci:ControlBlock>",
                Some((Some("12"), Some(7), Some(" a"), Some("b"))),
            ),
            (
                "<osci:ControlBlock> <osci:Challenge>b</osci:Challenge><osci:Response>a</osci:Response>\n</osci:ControlBlock>",
                Some((None, None, Some("a"), Some("b"))),
            ),
            ("<osci:ControlBlock/>", Some((None, None, None, None))),
            ("<osci:ControlBlock SequenceNumber='-1'/>", None),
            ("<osci:ControlBlock SequenceNumber='+1'/>", None),
            ("<osci:ControlBlock SequenceNumber='99999999999999999999'/>", None),
            ("<osci:ControlBlock ConversationId=''/>", None),
            ("<osci:ControlBlock>x</osci:ControlBlock>", None),
            ("<osci:ControlBlock><osci:Other/></osci:ControlBlock>", None),
            ("<osci:ControlBlock><osci:Response/><osci:Response/></osci:ControlBlock>", None),
            ("<osci:ControlBlock><osci:Response><x/></osci:Response></osci:ControlBlock>", None),
        ] {
            let read = ControlBlock::read(&element(xml)).ok();
            let found = read.as_ref().map(|block| {
                (
                    block.conversation_id.as_ref().map(ConversationId::as_str),
                    block.sequence_number,
                    block.response.as_ref().map(Challenge::as_str),
                    block.challenge.as_ref().map(Challenge::as_str),
                )
            });
            assert_eq!(found, expected, "{xml}");
        }
    }

    #[test]
    fn presence_is_judged_by_kind() {
        let challenge = Some(Challenge::from_random([0; 10]));
        let block = ControlBlock { challenge: challenge.clone(), ..ControlBlock::default() };
        let fault = |block: &ControlBlock, kind| block.fault(kind).map(|fault| (fault.field, fault.rule));
        assert_eq!(fault(&block, Kind::Request(Operation::InitDialog)), None);
        assert_eq!(fault(&block, Kind::Request(Operation::ExitDialog)), Some(("Response", Rule::Must)));
        assert_eq!(
            fault(&block, Kind::Request(Operation::StoreDelivery)),
            Some(("SequenceNumber", Rule::Must))
        );
        let block = ControlBlock { response: challenge, ..block };
        assert_eq!(fault(&block, Kind::Request(Operation::InitDialog)), Some(("Response", Rule::MustNot)));
        assert_eq!(
            fault(&block, Kind::Response(Operation::AcceptDelivery)),
            Some(("Challenge", Rule::MustNot))
        );
    }
}
