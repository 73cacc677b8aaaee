//! Message metadata of XTA inside OSCI: where the two doors, which do not know each other, meet.

use crate::domain::card::ProcessCard;
use crate::domain::envelope::Envelope;
use crate::osci::server::Metadata;
use crate::xta::message::element::Element;
use crate::xta::message::markup::Markup;
use crate::xta::message::metadata;
use crate::xta::message::names::{OSCIMETA, WSA};

pub struct XtaMetadata;

impl Metadata for XtaMetadata {
    fn read(&self, element: &str) -> Result<Envelope, String> {
        let element = Element::parse(element.as_bytes()).map_err(|error| error.to_string())?;
        metadata::parse(&element, None).map_err(|error| error.to_string())
    }

    fn write(&self, envelope: &Envelope, card: &ProcessCard, id: &str) -> String {
        let mut out = Markup::new();
        metadata::write(&mut out, envelope, Some(card));
        let declared = format!(
            "<oscimeta:MessageMetaData xmlns:oscimeta=\"{OSCIMETA}\" xmlns:wsa=\"{WSA}\" Id=\"{id}\""
        );
        out.finish().replacen("<oscimeta:MessageMetaData", &declared, 1)
    }
}
