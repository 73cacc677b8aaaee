//! processDelivery, by which the intermediary asks a passive recipient for a reply, and its answer (OSCI12,
//! section 10.2).

use super::Error;
use super::feedback::Feedback;
use super::markup::Fields;
use super::message_id::MessageId;
use super::names::NS_OSCI;
use super::process_card::{ProcessCardBundle, take_subject};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessDelivery {
    /// The id that the reply shall bear.
    pub reply_id: Option<MessageId>,
    pub card: Option<ProcessCardBundle>,
}

impl ProcessDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let reply_id = fields.optional(NS_OSCI, "MessageIdResponse")?.map(MessageId::read).transpose()?;
        let card = ProcessCardBundle::take(&mut fields, "ProcessCardBundle")?;
        fields.finish()?;
        Ok(Self { reply_id, card })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(id) = &self.reply_id {
            id.write_as("osci:MessageIdResponse", writer);
        }
        if let Some(card) = &self.card {
            card.write(writer);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToProcessDelivery {
    pub feedback: Feedback,
    pub message_id: Option<MessageId>,
    pub subject: Option<String>,
}

impl ResponseToProcessDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let message_id = MessageId::take(&mut fields)?;
        let subject = take_subject(&mut fields)?;
        fields.finish()?;
        Ok(Self { feedback, message_id, subject })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        if let Some(id) = &self.message_id {
            id.write(writer);
        }
        writer.element_if("osci:Subject", self.subject.as_deref());
    }
}
