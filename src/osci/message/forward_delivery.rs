//! forwardDelivery, which is pushed to a passive recipient, and its answer (OSCI12, sections 5 and 10.1).

use super::Error;
use super::feedback::Feedback;
use super::markup::{self, Fields};
use super::message_id::MessageId;
use super::names::NS_OSCI;
use super::process_card::{ProcessCardBundle, take_subject};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

const URI_BYTES_MAX: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardDelivery {
    /// Where the client wants it sent: a wish, to be held against a list of allowed places.
    pub receiver_uri: String,
    /// Absent is not of the schema, but has a code of its own (9800).
    pub message_id: Option<MessageId>,
    pub subject: Option<String>,
}

impl ForwardDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let receiver_uri = take_receiver(&mut fields)?;
        let message_id = MessageId::take(&mut fields)?;
        let subject = take_subject(&mut fields)?;
        fields.finish()?;
        Ok(Self { receiver_uri, message_id, subject })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        write_receiver(&self.receiver_uri, writer);
        if let Some(id) = &self.message_id {
            id.write(writer);
        }
        writer.element_if("osci:Subject", self.subject.as_deref());
    }
}

pub(super) fn take_receiver(fields: &mut Fields<'_>) -> Result<String, Error> {
    let receiver = fields.required(NS_OSCI, "ContentReceiver")?;
    markup::empty(receiver)?;
    markup::bounded("URI", URI_BYTES_MAX, markup::attribute(receiver, "URI")?.to_owned())
}

pub(super) fn write_receiver(uri: &str, writer: &mut Writer) {
    writer.start("osci:ContentReceiver").attribute("URI", uri).end();
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToForwardDelivery {
    pub feedback: Feedback,
    pub card: Option<ProcessCardBundle>,
}

impl ResponseToForwardDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let card = ProcessCardBundle::take(&mut fields, "ProcessCardBundle")?;
        fields.finish()?;
        Ok(Self { feedback, card })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        if let Some(card) = &self.card {
            card.write(writer);
        }
    }
}
