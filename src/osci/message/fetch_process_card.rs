//! fetchProcessCard, which asks for process cards of the caller, and its answer (OSCI12, section 5).

use super::Error;
use super::feedback::Feedback;
use super::markup::{self, Fields};
use super::names::NS_OSCI;
use super::process_card::ProcessCardBundle;
use super::selection::CardSelection;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchProcessCard {
    pub selection: Option<CardSelection>,
    /// How many cards at most; never 0.
    pub quantity_max: Option<u64>,
}

impl FetchProcessCard {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let selection = CardSelection::take(&mut fields)?;
        let quantity = fields.optional(NS_OSCI, "Quantity")?;
        fields.finish()?;
        let quantity_max = quantity
            .map(|quantity| {
                markup::empty(quantity)?;
                let limit = markup::attribute(quantity, "Limit")?.trim().parse().ok();
                limit
                    .filter(|limit| *limit > 0)
                    .ok_or(Error::Invalid { what: "Limit", why: "it is not a positive number" })
            })
            .transpose()?;
        Ok(Self { selection, quantity_max })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        if let Some(selection) = &self.selection {
            selection.write(writer);
        }
        if let Some(limit) = self.quantity_max {
            writer.start("osci:Quantity").attribute("Limit", &limit.to_string()).end();
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToFetchProcessCard {
    pub feedback: Feedback,
    pub request: FetchProcessCard,
    pub cards: Vec<ProcessCardBundle>,
}

impl ResponseToFetchProcessCard {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        let request = FetchProcessCard::read(fields.required(NS_OSCI, "fetchProcessCard")?)?;
        let cards = fields.all(NS_OSCI, "ProcessCardBundle").into_iter();
        let cards = cards.map(ProcessCardBundle::read).collect::<Result<_, _>>()?;
        fields.finish()?;
        Ok(Self { feedback, request, cards })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
        writer.start("osci:fetchProcessCard");
        self.request.write(writer);
        writer.end();
        self.cards.iter().for_each(|card| card.write(writer));
    }
}
