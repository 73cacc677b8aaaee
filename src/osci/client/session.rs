//! A client that speaks to one intermediary: alone, or in a dialog (OSCI12, sections 3 and 5).
//!
//! A delivery counts as received once a further request of its dialog arrives. So whoever fetches writes to disk first
//! and asks again, or ends the dialog, only then; dropping a [`Session`] says nothing to the peer and confirms nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::dialog::{self, Mismatch, Open};
use super::exchange::{self, Error as ExchangeError, Opened, Parcel, Settings, blocking, challenge};
use super::fetched::Fetched;
use super::request::{self, Addressed, Ask};
use super::scratch::{self, Slice};
use crate::mime::content_id::ContentId;
use crate::osci::envelope::scope::Scope;
use crate::osci::envelope::source::Shared;
use crate::osci::envelope::write::OutgoingAttachment;
use crate::osci::message::Message;
use crate::osci::message::chunk_information::ChunkInformation;
use crate::osci::message::control_block::ControlBlock;
use crate::osci::message::feature_description::FeatureDescription;
use crate::osci::message::feedback::{CodeNumber, Feedback};
use crate::osci::message::fetch_process_card::FetchProcessCard;
use crate::osci::message::message_id::MessageId;
use crate::osci::message::partial_store_delivery::{
    CHUNK_ATTACHMENT_ID, CHUNK_CONTAINER_ID, CHUNK_CONTENT_ID, Chunk,
};
use crate::osci::message::payload::Payload;
use crate::osci::message::process_card::ProcessCardBundle;
use crate::osci::message::selection::DeliverySelection;

const NO_MATCH: [u16; 2] = [9803, 9804];
const MORE_DELIVERIES: u16 = 3800;
/// Chunks that a supplier may announce.
const CHUNKS_MAX: u64 = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the answer is not one to our request: {0}")]
    Mismatch(#[from] Mismatch),
    /// The request was understood and not executed.
    #[error("{}", sentence(.0))]
    Refused(Feedback),
    #[error("the answer lacks what was asked for: {0}")]
    Lacking(&'static str),
    /// An earlier answer could not be read; another request would confirm what it held.
    #[error("the dialog is over")]
    Over,
}

fn sentence(feedback: &Feedback) -> String {
    let entries = feedback.entries().iter().filter(|entry| entry.code.is_error());
    entries.map(|entry| format!("{}: {}", entry.code, entry.text)).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// The code that explains the failure, if the peer gave one.
    pub fn code(&self) -> Option<CodeNumber> {
        match self {
            Self::Refused(feedback) => feedback.codes().find(|code| code.is_error()),
            Self::Exchange(ExchangeError::Fault(fault)) => fault.code,
            _ => None,
        }
    }
}

/// What goes into a delivery beside its address.
#[derive(Clone)]
pub struct Content {
    /// The ContentPackage element, as [`super::content::compose`] makes it.
    pub package: Shared,
    pub attachments: Vec<OutgoingAttachment>,
}

/// An accepted delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub card: Option<ProcessCardBundle>,
    /// Warnings included.
    pub feedback: Feedback,
}

/// What mediateDelivery brought back.
pub struct Mediated {
    pub reply: Fetched,
    pub request_card: Option<ProcessCardBundle>,
    pub feedback: Feedback,
}

#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins a dialog.
    pub async fn begin(&self) -> Result<Session, Error> {
        let (control, expect) = dialog::begin(challenge()?);
        let message = self.message(&Ask::Begin, control, true)?;
        let (opened, supplier) = exchange::ask(&self.settings, Parcel::bare(message), None).await?;
        let open = expect.answered(control_of(&opened))?;
        positive(&opened)?;
        let features = opened.received.message.features;
        Ok(Session { client: self.clone(), open: Some(open), supplier, features })
    }

    /// Has a message id issued, without a dialog.
    pub async fn message_id(&self) -> Result<MessageId, Error> {
        let opened = self.alone(&Ask::MessageId, None).await?;
        issued_id(opened)
    }

    /// Stores a delivery, without a dialog.
    pub async fn store(&self, delivery: Addressed, content: Content) -> Result<Stored, Error> {
        stored(self.alone(&Ask::Store(delivery), Some(content)).await?)
    }

    /// Has a delivery pushed to a passive recipient, without a dialog.
    pub async fn forward(&self, delivery: Addressed, uri: &str, content: Content) -> Result<Stored, Error> {
        stored(self.alone(&Ask::Forward(delivery, uri.to_owned()), Some(content)).await?)
    }

    async fn alone(&self, ask: &Ask, content: Option<Content>) -> Result<Opened, Error> {
        let (control, expect) = dialog::alone(challenge()?);
        let parcel = parcel(self.message(ask, control, true)?, content);
        let (opened, _) = exchange::ask(&self.settings, parcel, None).await?;
        // The answer to forwardDelivery need not name a dialog.
        match opened.received.message.control.conversation_id {
            None if matches!(ask, Ask::Forward(..)) => {}
            _ => expect.answered(control_of(&opened))?,
        }
        positive(&opened)?;
        Ok(opened)
    }

    /// The storeDelivery that goes in chunks, as it is cut: a message in the clear, whose chunks are encrypted each.
    pub async fn inside_chunks(
        &self,
        delivery: &Addressed,
        content: Content,
        scope: Scope,
    ) -> Result<Slice, Error> {
        let (control, _) = dialog::alone(challenge()?);
        let message = self.message(&Ask::Store(delivery.clone()), control, true)?;
        let inside = Parcel { scope, ..parcel(message, Some(content)) };
        let settings = self.settings.clone();
        Ok(blocking(move || exchange::write_plain(&settings, &inside)).await?)
    }

    fn message(&self, ask: &Ask, control: ControlBlock, introduces: bool) -> Result<Message, Error> {
        let settings = &self.settings;
        let made = request::message(ask, control, &settings.keys, settings.sign, introduces);
        Ok(made.map_err(ExchangeError::from)?)
    }
}

/// A dialog.
pub struct Session {
    client: Client,
    open: Option<Open>,
    supplier: Option<Vec<u8>>,
    features: Option<FeatureDescription>,
}

/// Where an upload in chunks stands at the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// These chunks are there, of so many.
    Open { received: BTreeSet<u64>, total: Option<u64> },
    /// The message inside was accepted.
    Stored(Box<Stored>),
}

impl Session {
    /// The number of the dialog, while it is open.
    pub fn conversation(&self) -> Option<&str> {
        self.open.as_ref().map(Open::conversation)
    }

    /// What the peer said of itself when the dialog began, its bounds among it.
    pub fn features(&self) -> Option<&FeatureDescription> {
        self.features.as_ref()
    }

    pub async fn message_id(&mut self) -> Result<MessageId, Error> {
        issued_id(self.ask(&Ask::MessageId, None).await?)
    }

    pub async fn store(&mut self, delivery: Addressed, content: Content) -> Result<Stored, Error> {
        stored(self.ask(&Ask::Store(delivery), Some(content)).await?)
    }

    /// Stores somebody else's delivery, inside the declarations that stood around its content.
    pub async fn store_in(
        &mut self,
        delivery: Addressed,
        content: Content,
        scope: Scope,
    ) -> Result<Stored, Error> {
        stored(self.ask_in(&Ask::Store(delivery), Some(content), scope).await?)
    }

    pub async fn forward(
        &mut self,
        delivery: Addressed,
        uri: &str,
        content: Content,
    ) -> Result<Stored, Error> {
        stored(self.ask(&Ask::Forward(delivery, uri.to_owned()), Some(content)).await?)
    }

    pub async fn mediate(
        &mut self,
        delivery: Addressed,
        uri: &str,
        content: Content,
    ) -> Result<Mediated, Error> {
        let opened = self.ask(&Ask::Mediate(delivery, uri.to_owned()), Some(content)).await?;
        let Payload::ResponseToMediateDelivery(answer) = &opened.received.message.payload else {
            return Err(Error::Lacking("responseToMediateDelivery"));
        };
        let (request_card, feedback) = (answer.request_card.clone(), answer.feedback.clone());
        let reply = self.fetched(answer.reply_card.clone(), false, opened);
        Ok(Mediated { reply, request_card, feedback })
    }

    /// Fetches a delivery; none where none matches.
    pub async fn fetch(&mut self, selection: Option<DeliverySelection>) -> Result<Option<Fetched>, Error> {
        match self.ask(&Ask::Fetch(selection), None).await {
            Ok(opened) => self.delivery(opened).map(Some),
            Err(error) if no_match(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The process cards that match.
    pub async fn cards(&mut self, wanted: FetchProcessCard) -> Result<Vec<ProcessCardBundle>, Error> {
        match self.ask(&Ask::Cards(wanted), None).await {
            Ok(opened) => match opened.received.message.payload {
                Payload::ResponseToFetchProcessCard(answer) => Ok(answer.cards),
                _ => Err(Error::Lacking("responseToFetchProcessCard")),
            },
            Err(error) if no_match(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Stores a delivery in chunks of so many KB.
    pub async fn store_in_chunks(
        &mut self,
        delivery: Addressed,
        content: Content,
        kilobytes: u64,
    ) -> Result<Stored, Error> {
        let whole = self.client.inside_chunks(&delivery, content, Scope::standard()).await?;
        self.upload(delivery, &whole, kilobytes, &BTreeSet::new()).await
    }

    /// Asks how far an upload of this delivery has come.
    pub async fn uploaded(&mut self, delivery: Addressed) -> Result<Upload, Error> {
        let package = b"<osci:ContentPackage></osci:ContentPackage>".to_vec();
        let nothing = Content { package: Arc::new(package), attachments: Vec::new() };
        let outer = Addressed { custom: Vec::new(), ..delivery };
        let opened = self.ask(&Ask::StoreChunk(outer, Chunk::InfoOnly), Some(nothing)).await?;
        let (inside, chunk) = inside_of(opened)?;
        Ok(match inside {
            Some(stored) => Upload::Stored(Box::new(stored)),
            None => Upload::Open {
                received: chunk.received.unwrap_or_default().into_iter().collect(),
                total: chunk.total,
            },
        })
    }

    /// Sends the chunks of a delivery that are not there yet; the answer to the last of them says what became of it. `whole`
    /// must be the very bytes that the chunks there were cut from.
    pub async fn upload(
        &mut self,
        delivery: Addressed,
        whole: &Slice,
        kilobytes: u64,
        received: &BTreeSet<u64>,
    ) -> Result<Stored, Error> {
        let kilobytes = kilobytes.max(1);
        let size = kilobytes * 1024;
        let total = whole.length().div_ceil(size).max(1);
        // The custom headers and the readers are the inner message's; its chunks are only addressed.
        let outer = Addressed { custom: Vec::new(), ..delivery };
        for number in (1..=total).filter(|number| !received.contains(number)) {
            let slice = whole.part((number - 1) * size..number * size);
            let chunk = ChunkInformation {
                number: Some(number),
                kilobytes: Some(kilobytes),
                received: None,
                total: Some(total),
                message_kilobytes: Some(whole.length().div_ceil(1024)),
            };
            let ask = Ask::StoreChunk(outer.clone(), Chunk::Information(chunk));
            let opened = self.ask(&ask, Some(chunk_content(slice)?)).await?;
            if let (Some(stored), _) = inside_of(opened)? {
                return Ok(stored);
            }
        }
        Err(Error::Lacking("InsideFeedback"))
    }

    /// Fetches a delivery in chunks of so many KB; none where none matches.
    pub async fn fetch_in_chunks(
        &mut self,
        selection: Option<DeliverySelection>,
        kilobytes: u64,
    ) -> Result<Option<Fetched>, Error> {
        let scratch = scratch::file(&self.client.settings.scratch).map_err(ExchangeError::from)?;
        let mut got = scratch;
        let (mut number, mut selection, mut received) = (1, selection, vec![]);
        loop {
            let chunk = ChunkInformation {
                number: Some(number),
                kilobytes: Some(kilobytes.max(1)),
                received: (number > 1).then(|| received.clone()),
                ..ChunkInformation::default()
            };
            let opened = match self.ask(&Ask::FetchChunk(selection.clone(), chunk), None).await {
                Ok(opened) => opened,
                Err(error) if number == 1 && no_match(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            let Payload::ResponseToPartialFetchDelivery(answer) = &opened.received.message.payload else {
                return self.delivery(opened).map(Some);
            };
            let total = answer.chunk.as_ref().and_then(|chunk| chunk.total);
            let total =
                total.filter(|total| *total <= CHUNKS_MAX).ok_or(Error::Lacking("TotalChunkNumbers"))?;
            let id = answer.message_id.clone().ok_or(Error::Lacking("MessageId"))?;
            selection = Some(DeliverySelection::MessageId(id.whole().unwrap_or(id)));
            got = append_chunk(got, opened).await?;
            if number >= total {
                break;
            }
            received.push(number);
            number += 1;
        }
        let settings = self.client.settings.clone();
        let opened = blocking(move || {
            let plain = Slice::whole(Arc::new(got))?;
            exchange::read_plain(&settings, plain, true)
        });
        self.delivery(opened.await?).map(Some)
    }

    /// Ends the dialog, which confirms what was fetched last.
    pub async fn exit(mut self) -> Result<(), Error> {
        let open = self.open.take().ok_or(Error::Over)?;
        let (control, expect) = open.exit(challenge()?);
        let message = self.client.message(&Ask::Exit, control, false)?;
        let (opened, _) =
            exchange::ask(&self.client.settings, Parcel::bare(message), self.supplier.as_deref()).await?;
        expect.answered(control_of(&opened))?;
        positive(&opened)
    }

    async fn ask(&mut self, ask: &Ask, content: Option<Content>) -> Result<Opened, Error> {
        self.ask_in(ask, content, Scope::standard()).await
    }

    async fn ask_in(&mut self, ask: &Ask, content: Option<Content>, scope: Scope) -> Result<Opened, Error> {
        // Taken out first: without a readable answer there is nothing to go on with.
        let open = self.open.take().ok_or(Error::Over)?;
        let (control, expect) = open.request(challenge()?);
        let parcel = Parcel { scope, ..parcel(self.client.message(ask, control, false)?, content) };
        let (opened, signer) = exchange::ask(&self.client.settings, parcel, self.supplier.as_deref()).await?;
        self.open = Some(expect.answered(control_of(&opened))?);
        self.supplier = self.supplier.take().or(signer);
        positive(&opened)?;
        Ok(opened)
    }

    fn delivery(&self, opened: Opened) -> Result<Fetched, Error> {
        let Payload::ResponseToFetchDelivery(answer) = &opened.received.message.payload else {
            return Err(Error::Lacking("responseToFetchDelivery"));
        };
        if opened.received.package.is_none() {
            return Err(Error::Lacking("ContentPackage"));
        }
        let more = answer.feedback.codes().any(|code| code.number() == MORE_DELIVERIES);
        let card = answer.card.clone();
        Ok(self.fetched(card, more, opened))
    }

    fn fetched(&self, card: Option<ProcessCardBundle>, more: bool, opened: Opened) -> Fetched {
        Fetched { opened, limits: self.client.settings.limits.clone(), card, more }
    }
}

fn control_of(opened: &Opened) -> &ControlBlock {
    &opened.received.message.control
}

fn parcel(message: Message, content: Option<Content>) -> Parcel {
    let mut parcel = Parcel::bare(message);
    if let Some(content) = content {
        parcel.content = Some(content.package);
        parcel.attachments = content.attachments;
    }
    parcel
}

fn positive(opened: &Opened) -> Result<(), Error> {
    match opened.received.message.payload.feedback() {
        None => Err(Error::Lacking("Feedback")),
        Some(feedback) if feedback.is_positive() => Ok(()),
        Some(feedback) => Err(Error::Refused(feedback.clone())),
    }
}

fn no_match(error: &Error) -> bool {
    matches!(error, Error::Refused(feedback) if feedback.codes().any(|code| NO_MATCH.contains(&code.number())))
}

fn issued_id(opened: Opened) -> Result<MessageId, Error> {
    match opened.received.message.payload {
        Payload::ResponseToGetMessageId(answer) => answer.message_id.ok_or(Error::Lacking("MessageId")),
        _ => Err(Error::Lacking("responseToGetMessageId")),
    }
}

fn stored(opened: Opened) -> Result<Stored, Error> {
    match opened.received.message.payload {
        Payload::ResponseToStoreDelivery(answer) => {
            Ok(Stored { card: answer.card, feedback: answer.feedback })
        }
        Payload::ResponseToForwardDelivery(answer) => {
            Ok(Stored { card: answer.card, feedback: answer.feedback })
        }
        _ => Err(Error::Lacking("responseToStoreDelivery")),
    }
}

/// What an answer says of the message inside the chunks; an error where that was refused.
fn inside_of(opened: Opened) -> Result<(Option<Stored>, ChunkInformation), Error> {
    let Payload::ResponseToPartialStoreDelivery(answer) = opened.received.message.payload else {
        return Err(Error::Lacking("responseToPartialStoreDelivery"));
    };
    match answer.inside {
        Some(inside) if !inside.is_positive() => Err(Error::Refused(inside)),
        Some(feedback) => Ok((Some(Stored { card: answer.card, feedback }), answer.chunk)),
        None => Ok((None, answer.chunk)),
    }
}

fn chunk_content(slice: Slice) -> Result<Content, Error> {
    let package = format!(
        "<osci:ContentPackage><osci:ContentContainer Id=\"{CHUNK_CONTAINER_ID}\"><osci:Content \
         Id=\"{CHUNK_CONTENT_ID}\" href=\"cid:{CHUNK_ATTACHMENT_ID}\"></osci:Content></osci:ContentContainer>\
         </osci:ContentPackage>"
    );
    let id =
        ContentId::from_header(CHUNK_ATTACHMENT_ID).map_err(|error| ExchangeError::Write(error.into()))?;
    let attachment = OutgoingAttachment::new(id, "application/octet-stream", Arc::new(slice));
    Ok(Content { package: Arc::new(package.into_bytes()), attachments: vec![attachment] })
}

async fn append_chunk(mut to: std::fs::File, opened: Opened) -> Result<std::fs::File, Error> {
    let appended = blocking(move || {
        let id = |attachment: &&crate::osci::envelope::attachment::Attachment| {
            attachment.content_id.as_str() == CHUNK_ATTACHMENT_ID
        };
        let found = opened.received.attachments.iter().find(id).map(|attachment| attachment.span.clone());
        let span = found.unwrap_or(0..0);
        std::io::copy(&mut opened.plain.part(span).reader(), &mut to)?;
        Ok(to)
    });
    Ok(appended.await?)
}
