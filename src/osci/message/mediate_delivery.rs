//! mediateDelivery, a request that waits for the recipient's reply, and its answer (OSCI12, sections 5 and 10.2).

use super::Error;
use super::feedback::Feedback;
use super::forward_delivery::{take_receiver, write_receiver};
use super::markup::Fields;
use super::message_id::MessageId;
use super::process_card::{ProcessCardBundle, take_subject};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediateDelivery {
    pub receiver_uri: String,
    /// Without an id there are no process cards.
    pub message_id: Option<MessageId>,
    pub subject: Option<String>,
}

impl MediateDelivery {
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToMediateDelivery {
    pub feedback: Feedback,
    pub request_card: Option<ProcessCardBundle>,
    pub reply_card: Option<ProcessCardBundle>,
}

impl ResponseToMediateDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let request_card = ProcessCardBundle::take(&mut fields, "RequestProcessCardBundle")?;
        let reply_card = ProcessCardBundle::take(&mut fields, "ReplyProcessCardBundle")?;
        fields.finish()?;
        Ok(Self { feedback, request_card, reply_card })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        if let Some(card) = &self.request_card {
            card.write_as("osci:RequestProcessCardBundle", writer);
        }
        if let Some(card) = &self.reply_card {
            card.write_as("osci:ReplyProcessCardBundle", writer);
        }
    }
}
