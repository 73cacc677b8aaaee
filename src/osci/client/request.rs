//! What a client says: the messages of its requests, without their content (OSCI-Transport 1.2; OSCI12, sections 4, 5).

use super::keys::Keys;
use crate::osci::message::certificates::{Certificate, NonIntermediaryCertificates, Role};
use crate::osci::message::chunk_information::ChunkInformation;
use crate::osci::message::control_block::ControlBlock;
use crate::osci::message::custom_header::CustomHeader;
use crate::osci::message::feature_description::{Feature, FeatureDescription};
use crate::osci::message::fetch_delivery::FetchDelivery;
use crate::osci::message::fetch_process_card::FetchProcessCard;
use crate::osci::message::forward_delivery::ForwardDelivery;
use crate::osci::message::languages::DesiredLanguages;
use crate::osci::message::mediate_delivery::MediateDelivery;
use crate::osci::message::message_id::MessageId;
use crate::osci::message::partial_fetch_delivery::PartialFetchDelivery;
use crate::osci::message::partial_store_delivery::{Chunk, PartialStoreDelivery};
use crate::osci::message::payload::Payload;
use crate::osci::message::selection::DeliverySelection;
use crate::osci::message::store_delivery::StoreDelivery;
use crate::osci::message::timestamp_quality::TimestampQualities;
use crate::osci::message::{Error, Message};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Begin,
    Exit,
    MessageId,
    Store(Addressed),
    /// With the URI of a passive recipient.
    Forward(Addressed, String),
    Mediate(Addressed, String),
    Fetch(Option<DeliverySelection>),
    Cards(FetchProcessCard),
    StoreChunk(Addressed, Chunk),
    FetchChunk(Option<DeliverySelection>, ChunkInformation),
}

/// A delivery without its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressed {
    pub id: Option<MessageId>,
    pub subject: Option<String>,
    /// Everybody besides us: addressee, readers, authors.
    pub certificates: Vec<Certificate>,
    pub custom: Vec<CustomHeader>,
}

impl Addressed {
    /// A delivery to the owner of a cipher certificate (DER).
    pub fn to(addressee_der: &[u8], id: MessageId) -> Self {
        let addressee = Certificate::new(Role::CipherAddressee, addressee_der);
        Self { id: Some(id), certificates: vec![addressee], ..Self::default() }
    }
}

/// The message of a request. `introduces` says that the peer does not know our cipher certificate yet.
pub fn message(
    ask: &Ask,
    control: ControlBlock,
    keys: &Keys,
    signed: bool,
    introduces: bool,
) -> Result<Message, Error> {
    let payload = match ask.clone() {
        Ask::Begin => Payload::InitDialog,
        Ask::Exit => Payload::ExitDialog,
        Ask::MessageId => Payload::GetMessageId,
        Ask::Store(Addressed { id: message_id, subject, .. }) => {
            Payload::StoreDelivery(StoreDelivery { message_id, subject })
        }
        Ask::Forward(Addressed { id: message_id, subject, .. }, receiver_uri) => {
            Payload::ForwardDelivery(ForwardDelivery { receiver_uri, message_id, subject })
        }
        Ask::Mediate(Addressed { id: message_id, subject, .. }, receiver_uri) => {
            Payload::MediateDelivery(MediateDelivery { receiver_uri, message_id, subject })
        }
        Ask::Fetch(selection) => Payload::FetchDelivery(FetchDelivery { selection }),
        Ask::Cards(cards) => Payload::FetchProcessCard(cards),
        Ask::StoreChunk(Addressed { id, subject, .. }, chunk) => {
            let missing =
                || Error::Missing { parent: "partialStoreDelivery".into(), element: "MessageId".into() };
            let message_id = id.ok_or_else(missing)?.partial();
            Payload::PartialStoreDelivery(PartialStoreDelivery { message_id, subject, chunk })
        }
        Ask::FetchChunk(selection, chunk) => {
            Payload::PartialFetchDelivery(PartialFetchDelivery { selection, chunk })
        }
    };
    let mut message = Message::new(control, payload);
    message.languages = Some(DesiredLanguages::new(["de"]));
    message.features = Some(FeatureDescription::of(Feature::ALL));
    let mut certificates = keys.originator(introduces || delivery(ask).is_some(), signed);
    if let Some(Addressed { certificates: others, custom, id, .. }) = delivery(ask) {
        certificates.extend(others.iter().cloned());
        message.custom = custom.clone();
        message.timestamp_qualities = match ask {
            Ask::StoreChunk(..) => TimestampQualities { reception: None, ..TimestampQualities::PLAIN },
            Ask::Mediate(..) if id.is_none() => TimestampQualities::default(),
            _ => TimestampQualities::PLAIN,
        };
    }
    if !certificates.is_empty() {
        message.certificates = Some(NonIntermediaryCertificates::new(certificates)?);
    }
    Ok(message)
}

fn delivery(ask: &Ask) -> Option<&Addressed> {
    match ask {
        Ask::Store(delivery)
        | Ask::Forward(delivery, _)
        | Ask::Mediate(delivery, _)
        | Ask::StoreChunk(delivery, _) => Some(delivery),
        _ => None,
    }
}
