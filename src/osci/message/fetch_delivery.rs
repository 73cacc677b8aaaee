//! fetchDelivery, which takes one delivery out of the caller's mailbox, and its answer (OSCI12, section 5).

use super::Error;
use super::feedback::Feedback;
use super::markup::Fields;
use super::names::NS_OSCI;
use super::process_card::ProcessCardBundle;
use super::selection::DeliverySelection;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchDelivery {
    pub selection: Option<DeliverySelection>,
}

impl FetchDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let selection = DeliverySelection::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { selection })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(selection) = &self.selection {
            selection.write(writer);
        }
    }

    /// The request as its answer repeats it.
    pub(super) fn take_echo(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Self::read(fields.required(NS_OSCI, "fetchDelivery")?)
    }

    pub(super) fn write_echo(&self, writer: &mut Writer) {
        writer.start("osci:fetchDelivery");
        self.write(writer);
        writer.end();
    }
}

/// The content package beside it is absent if nothing was delivered, and so is the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToFetchDelivery {
    pub feedback: Feedback,
    pub request: FetchDelivery,
    pub card: Option<ProcessCardBundle>,
}

impl ResponseToFetchDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let request = FetchDelivery::take_echo(&mut fields)?;
        let card = ProcessCardBundle::take(&mut fields, "ProcessCardBundle")?;
        fields.finish()?;
        Ok(Self { feedback, request, card })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        self.request.write_echo(writer);
        if let Some(card) = &self.card {
            card.write(writer);
        }
    }
}
