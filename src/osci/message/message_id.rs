//! MessageId, and the request for one: getMessageId with its answer (OSCI12, section 5).
//!
//! On the wire an id is the base64 of its UTF-8 octets. Chunks travel under the id with `_Partial` behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Error;
use super::feedback::Feedback;
use super::markup::{self, Fields};
use super::names::NS_OSCI;
use crate::mime::transfer::Base64Decoder;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// Longest id that is read, in bytes of its text.
pub const MESSAGE_ID_BYTES_MAX: usize = 1024;
const PARTIAL: &str = "_Partial";

/// The id of a message as its supplier issued it; opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(String);

impl MessageId {
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = markup::bounded("MessageId", MESSAGE_ID_BYTES_MAX, text.into())?;
        let invalid = |why| Error::Invalid { what: "MessageId", why };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid("it has a control character"));
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id under which the chunks of a message travel.
    pub fn partial(&self) -> Self {
        Self(format!("{}{PARTIAL}", self.0))
    }

    /// The message whose chunks travel under this id.
    pub fn whole(&self) -> Option<Self> {
        self.0.strip_suffix(PARTIAL).filter(|rest| !rest.is_empty()).map(|rest| Self(rest.to_owned()))
    }

    /// Reads an element whose text is the base64 of an id.
    pub fn read(element: &Element) -> Result<Self, Error> {
        let invalid = |why| Error::Invalid { what: "MessageId", why };
        let text = markup::bounded("MessageId", 2 * MESSAGE_ID_BYTES_MAX, markup::text(element)?)?;
        let (mut decoder, mut octets) = (Base64Decoder::new(), Vec::new());
        let decoded = decoder.decode(text.as_bytes(), &mut octets).and_then(|()| decoder.finish());
        decoded.map_err(|_| invalid("it is not base64"))?;
        Self::new(String::from_utf8(octets).map_err(|_| invalid("it is not UTF-8"))?)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.write_as("osci:MessageId", writer);
    }

    pub(super) fn write_as(&self, name: &str, writer: &mut Writer) {
        writer.element(name, &STANDARD.encode(&self.0));
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Option<Self>, Error> {
        fields.optional(NS_OSCI, "MessageId")?.map(Self::read).transpose()
    }

    pub(super) fn take_required(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Self::read(fields.required(NS_OSCI, "MessageId")?)
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The answer to getMessageId; the id is absent if none was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToGetMessageId {
    pub feedback: Feedback,
    pub message_id: Option<MessageId>,
}

impl ResponseToGetMessageId {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let message_id = MessageId::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { feedback, message_id })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        if let Some(id) = &self.message_id {
            id.write(writer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_base64_of_their_text() {
        let read = |text: &str| {
            MessageId::read(&markup::testing::element(&format!("<osci:MessageId>{text}</osci:MessageId>")))
        };
        for (text, expected) in [
            ("YQ==", Some("a")),
            (" YQ=\r\n= ", Some("a")),
            ("w6Q=", Some("ä")),
            ("", None),
            ("YQ", None),
            ("/w==", None),
            ("Cg==", None),
            ("<osci:x/>", None),
        ] {
            assert_eq!(read(text).ok().map(|id| id.0).as_deref(), expected, "{text}");
        }
        assert!(read(&"YWFh".repeat(400)).is_err());
        let id = MessageId::new("x").expect("an id");
        assert_eq!(id.partial().as_str(), "x_Partial");
        assert_eq!((id.partial().whole(), id.whole()), (Some(id), None));
        assert_eq!(MessageId::new("_Partial").expect("an id").whole(), None);
    }
}
