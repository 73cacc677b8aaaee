//! partialFetchDelivery, which asks for one chunk of a large delivery, and its answer (OSCI12, section 5.2).

use super::Error;
use super::chunk_information::ChunkInformation;
use super::feedback::Feedback;
use super::fetch_delivery::FetchDelivery;
use super::markup::Fields;
use super::message_id::MessageId;
use super::selection::DeliverySelection;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialFetchDelivery {
    pub selection: Option<DeliverySelection>,
    pub chunk: ChunkInformation,
}

impl PartialFetchDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let selection = DeliverySelection::take(&mut fields)?;
        let chunk = ChunkInformation::take_required(&mut fields)?;
        fields.finish()?;
        Ok(Self { selection, chunk })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(selection) = &self.selection {
            selection.write(writer);
        }
        self.chunk.write(writer);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToPartialFetchDelivery {
    pub feedback: Feedback,
    pub request: FetchDelivery,
    /// Absent, as the id is, if nothing was delivered.
    pub chunk: Option<ChunkInformation>,
    pub message_id: Option<MessageId>,
}

impl ResponseToPartialFetchDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let request = FetchDelivery::take_echo(&mut fields)?;
        let chunk = ChunkInformation::take(&mut fields)?;
        let message_id = MessageId::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { feedback, request, chunk, message_id })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        self.request.write_echo(writer);
        if let Some(chunk) = &self.chunk {
            chunk.write(writer);
        }
        if let Some(id) = &self.message_id {
            id.write(writer);
        }
    }
}
