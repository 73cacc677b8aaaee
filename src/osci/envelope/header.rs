//! The header blocks of an envelope, sorted (OSCI12, sections 2 and 2.1).

use std::collections::HashSet;
use std::ops::Range;

use super::Error;
use crate::osci::message::certificates::{IntermediaryCertificates, NonIntermediaryCertificates};
use crate::osci::message::control_block::ControlBlock;
use crate::osci::message::custom_header::CustomHeader;
use crate::osci::message::feature_description::FeatureDescription;
use crate::osci::message::kind::{Kind, Place};
use crate::osci::message::languages::DesiredLanguages;
use crate::osci::message::names::{NS_DSIG, NS_OSCI, NS_OSCI128, NS_OSCI2017, NS_SOAP, NS_XENC};
use crate::osci::message::payload::Payload;
use crate::osci::message::timestamp_quality::TimestampQualities;
use crate::osci::message::{self, Message};
use crate::xml::tree::Element;

/// A header block or the body: what a signature refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub id: String,
    pub span: Range<u64>,
}

/// The header of a message, read; the payload is absent if it stands in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) control: ControlBlock,
    pub(super) languages: Option<DesiredLanguages>,
    pub(super) timestamp_qualities: TimestampQualities,
    pub(super) payload: Option<Payload>,
    pub(super) intermediary: Option<IntermediaryCertificates>,
    pub(super) certificates: Option<NonIntermediaryCertificates>,
    pub(super) features: Option<FeatureDescription>,
    pub(super) custom: Vec<CustomHeader>,
    /// All blocks but the signature.
    pub(super) blocks: Vec<Block>,
    pub(super) signature: Option<Element>,
}

/// The namespaces whose blocks are ours to know.
const KNOWN: [&str; 6] = [NS_OSCI, NS_OSCI2017, NS_OSCI128, NS_SOAP, NS_DSIG, NS_XENC];

impl Header {
    /// `document` holds the envelope up to its body.
    pub(super) fn read(kind: Kind, elements: &[Element], document: &[u8]) -> Result<Self, Error> {
        let mut names = HashSet::new();
        let mut control = None;
        let mut header = Self {
            control: ControlBlock::default(),
            languages: None,
            timestamp_qualities: TimestampQualities::default(),
            payload: None,
            intermediary: None,
            certificates: None,
            features: None,
            custom: Vec::new(),
            blocks: Vec::new(),
            signature: None,
        };
        let signature = if kind.is_request() { "ClientSignature" } else { "SupplierSignature" };
        for element in elements {
            let (ns, local) = (element.ns(), element.local());
            let id = id_of(element)?;
            // The two wishes for time stamps are told apart by their service.
            if (ns, local) != (NS_OSCI, "QualityOfTimestamp") && !names.insert((ns, local)) {
                return Err(refused(element, |parent, element| message::Error::Twice { parent, element }));
            }
            if (ns, local) == (NS_OSCI, signature) {
                header.signature = Some(element.clone());
                continue;
            }
            header.blocks.push(Block { id: id.to_owned(), span: element.span() });
            match (ns, local) {
                (NS_OSCI, "ControlBlock") => control = Some(ControlBlock::read(element)?),
                (NS_OSCI, "DesiredLanguages") if kind.is_request() => {
                    header.languages = Some(DesiredLanguages::read(element)?);
                }
                (NS_OSCI, "QualityOfTimestamp") => header.timestamp_qualities.add(element)?,
                (NS_OSCI, "IntermediaryCertificates") => {
                    header.intermediary = Some(IntermediaryCertificates::read(element)?);
                }
                (NS_OSCI, "NonIntermediaryCertificates") => {
                    header.certificates = Some(NonIntermediaryCertificates::read(element)?);
                }
                (NS_OSCI2017, "FeatureDescription") => {
                    header.features = Some(FeatureDescription::read(element)?);
                }
                _ if ns == kind.namespace() && local == kind.element() && kind.place() != Place::Body => {
                    header.payload = Some(Payload::read(kind, element)?);
                }
                _ if KNOWN.contains(&ns) => {
                    return Err(refused(element, |parent, element| message::Error::Unexpected {
                        parent,
                        element,
                    }));
                }
                _ => header.custom.push(custom(element, id, document)?),
            }
        }
        let missing = |element: &str| message::Error::Missing {
            parent: "Header".to_owned(),
            element: element.to_owned(),
        };
        header.control = control.ok_or_else(|| missing("ControlBlock"))?;
        if kind.place() != Place::Body && header.payload.is_none() {
            return Err(missing(&kind.element()).into());
        }
        Ok(header)
    }

    pub(super) fn into_message(self, payload: Payload) -> Message {
        Message {
            control: self.control,
            languages: self.languages,
            timestamp_qualities: self.timestamp_qualities,
            payload,
            intermediary: self.intermediary,
            certificates: self.certificates,
            features: self.features,
            custom: self.custom,
        }
    }
}

fn refused(element: &Element, error: impl Fn(String, String) -> message::Error) -> Error {
    error("Header".to_owned(), element.local().chars().take(80).collect()).into()
}

fn id_of(element: &Element) -> Result<&str, Error> {
    let id = element.attribute("", "Id").filter(|id| !id.is_empty());
    id.ok_or_else(|| Error::invalid("header block or Body", "it has no Id"))
}

fn custom(element: &Element, id: &str, document: &[u8]) -> Result<CustomHeader, Error> {
    let range = usize::try_from(element.span().start).ok().zip(usize::try_from(element.span().end).ok());
    let bytes = range.and_then(|(start, end)| document.get(start..end));
    let xml = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let xml = xml.ok_or(Error::invalid("custom header", "its bytes are not at hand"))?;
    Ok(CustomHeader {
        namespace: element.ns().to_owned(),
        local: element.local().to_owned(),
        id: id.to_owned(),
        xml: xml.to_owned(),
    })
}
