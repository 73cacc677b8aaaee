//! partialStoreDelivery, one chunk of a large storeDelivery, and its answer (OSCI12, section 5.2).

use super::Error;
use super::chunk_information::ChunkInformation;
use super::feedback::Feedback;
use super::markup::{self, Fields};
use super::message_id::MessageId;
use super::names::NS_OSCI2017;
use super::process_card::{ProcessCardBundle, take_subject};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

/// The id of the container that holds a chunk.
pub const CHUNK_CONTAINER_ID: &str = "ChunkContentContainer";
/// The id of its content.
pub const CHUNK_CONTENT_ID: &str = "ChunkContent";
/// The id of the attachment that is the chunk.
pub const CHUNK_ATTACHMENT_ID: &str = "ChunkBlobStoreDelivery";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// The client asks what was received and what the limits are.
    InfoOnly,
    Information(ChunkInformation),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialStoreDelivery {
    /// The id of the whole message with its mark ([`MessageId::partial`]).
    pub message_id: MessageId,
    pub subject: Option<String>,
    pub chunk: Chunk,
}

impl PartialStoreDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let message_id = MessageId::take_required(&mut fields)?;
        let subject = take_subject(&mut fields)?;
        let info_only = fields.optional(NS_OSCI2017, "InfoOnly")?;
        let information = ChunkInformation::take(&mut fields)?;
        fields.finish()?;
        let chunk = match (info_only, information) {
            (Some(info), None) => markup::empty(info).map(|()| Chunk::InfoOnly)?,
            (None, Some(information)) => Chunk::Information(information),
            _ => {
                let why = "it has not exactly one of InfoOnly and ChunkInformation";
                return Err(Error::Invalid { what: "partialStoreDelivery", why });
            }
        };
        Ok(Self { message_id, subject, chunk })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.message_id.write(writer);
        writer.element_if("osci:Subject", self.subject.as_deref());
        match &self.chunk {
            Chunk::InfoOnly => {
                writer.start("osci2017:InfoOnly").end();
            }
            Chunk::Information(information) => information.write(writer),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToPartialStoreDelivery {
    /// What became of the message inside the chunks, once all were received.
    pub inside: Option<Feedback>,
    pub feedback: Feedback,
    pub card: Option<ProcessCardBundle>,
    pub chunk: ChunkInformation,
}

impl ResponseToPartialStoreDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let inside = fields.optional(NS_OSCI2017, "InsideFeedback")?.map(Feedback::read).transpose()?;
        let feedback = Feedback::take(&mut fields)?;
        let card = ProcessCardBundle::take(&mut fields, "ProcessCardBundle")?;
        let chunk = ChunkInformation::take_required(&mut fields)?;
        fields.finish()?;
        Ok(Self { inside, feedback, card, chunk })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(inside) = &self.inside {
            inside.write_as("osci2017:InsideFeedback", writer);
        }
        self.feedback.write(writer);
        if let Some(card) = &self.card {
            card.write(writer);
        }
        self.chunk.write(writer);
    }
}
