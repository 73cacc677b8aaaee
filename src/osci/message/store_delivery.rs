//! storeDelivery, which puts a delivery into the addressee's mailbox, and its answer (OSCI12, section 5).

use super::Error;
use super::feedback::Feedback;
use super::markup::Fields;
use super::message_id::MessageId;
use super::process_card::{ProcessCardBundle, take_subject};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDelivery {
    /// Absent is not of the schema, but has a code of its own (9800).
    pub message_id: Option<MessageId>,
    pub subject: Option<String>,
}

impl StoreDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let message_id = MessageId::take(&mut fields)?;
        let subject = take_subject(&mut fields)?;
        fields.finish()?;
        Ok(Self { message_id, subject })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(id) = &self.message_id {
            id.write(writer);
        }
        writer.element_if("osci:Subject", self.subject.as_deref());
    }
}

/// The card is there exactly if the delivery was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToStoreDelivery {
    pub feedback: Feedback,
    pub card: Option<ProcessCardBundle>,
}

impl ResponseToStoreDelivery {
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
