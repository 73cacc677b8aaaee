//! acceptDelivery, by which the intermediary pushes a delivery to a passive recipient, and its answer (OSCI12,
//! section 10.1).

use super::Error;
use super::feedback::Feedback;
use super::markup::Fields;
use super::names::NS_OSCI;
use super::process_card::ProcessCardBundle;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptDelivery {
    pub card: ProcessCardBundle,
}

impl AcceptDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let card = ProcessCardBundle::read(fields.required(NS_OSCI, "ProcessCardBundle")?)?;
        fields.finish()?;
        Ok(Self { card })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.card.write(writer);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToAcceptDelivery {
    pub feedback: Feedback,
}

impl ResponseToAcceptDelivery {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { feedback })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
    }
}
