//! partialFetchDelivery: a large delivery that goes in chunks (section 5.2 of our notes).
//!
//! With the first chunk the answer to a fetchDelivery is written once, kept and sliced: signature, challenge and
//! boundary do not change between chunks, nor over a restart. A reader that begins in another dialog gets an answer of its
//! own and disturbs nobody; without a beginning a dialog goes on with the answer that it has slices of, or with the only
//! one that there ever was. It is handed out in the dialog, and so received with its
//! next request, only with the chunk that makes it whole at the reader's: which chunks he holds he says himself, and one
//! who never does is believed to hold those that he was given in this dialog. What is left behind half-fetched is offered
//! again.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::answer::{self, Answer};
use super::fetch::Content;
use super::partial_store::refused;
use super::parts::{Edition, Fetch, FetchBegun, Fetches};
use super::request::{Client, Context, Delivered, Executed, failed, fresh};
use super::{Door, Refused, card};
use crate::domain::dialog::ConversationId;
use crate::mime::content_id::ContentId;
use crate::osci::chunk::Slices;
use crate::osci::code::{Code, Language};
use crate::osci::dialog::AnswerControl;
use crate::osci::envelope::encrypted::answers_in_base64;
use crate::osci::envelope::scope::Scope;
use crate::osci::envelope::source::Shared;
use crate::osci::envelope::write::{Coding, OutgoingAttachment};
use crate::osci::message::chunk_information::ChunkInformation;
use crate::osci::message::fetch_delivery::{FetchDelivery, ResponseToFetchDelivery};
use crate::osci::message::message_id::MessageId as WireId;
use crate::osci::message::partial_fetch_delivery::{PartialFetchDelivery, ResponseToPartialFetchDelivery};
use crate::osci::message::partial_store_delivery::{
    CHUNK_ATTACHMENT_ID, CHUNK_CONTAINER_ID, CHUNK_CONTENT_ID,
};
use crate::osci::message::payload::Payload;
use crate::osci::message::selection::DeliverySelection;
use crate::store::Entry;
use crate::xml::write::Writer;

impl Door {
    pub(super) async fn partial_fetch_delivery(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let received = &context.request.received;
        let Payload::PartialFetchDelivery(asked) = &received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a partialFetchDelivery"));
        };
        let asked = asked.clone();
        let in_base64 = answers_in_base64(received.message.features.as_ref(), context.request.has_base64());
        let number = Slices::number(&asked.chunk).map_err(refused)?;
        let wanted = selection(&asked);
        let (entry, more) = self.choose(&client, &wanted).await?;
        let id = entry.envelope.id.clone();
        let (conversation, sequence) =
            client.dialog.clone().ok_or_else(|| Refused::new(Code::DialogRequired, "no dialog"))?;
        let fetches = self.parts.fetches(&client.account.name, client.owner.value(), id.as_str());
        let _busy = self.hold(fetches.place(), None).await?;
        let (fetch, mut begun) = self.begun(&asked, number, &fetches, &client, &entry, more, context).await?;
        let before = begun.clone();
        let span = begun.slices.span(number).map_err(refused)?;
        context.room =
            self.room(span.end.saturating_sub(span.start), context.request.base64_layers(in_base64)).await?;
        let slices = begun.slices;
        let mut held: BTreeSet<u64> = asked.chunk.received.iter().flatten().copied().collect();
        if held.is_empty() {
            held.extend(begun.served_in(&conversation).into_iter().flatten());
        }
        held.insert(number);
        begun.serve(&conversation, number);
        let slice = self.slice(&fetch, span).await?;
        self.note_fetch(&fetch, &begun).await?;
        // Last of all: nothing that fails behind it may leave the reader without what he is said to have.
        if entry.card.state.is_offered() && slices.is_whole(&held) {
            let place = (&conversation, sequence);
            let handed_out = self.relay.hand_out_in_dialog(&client.account, &client.owner, place, &id).await;
            if let Err(refusal) = handed_out {
                if let Err(Refused { detail, .. }) = self.note_fetch(&fetch, &before).await {
                    tracing::warn!(message_id = %id, detail, "a chunk that was not given is noted as given");
                }
                return context.behind_hand_out(Err(refusal));
            }
        }
        if more {
            context.findings.push((Code::MoreDeliveries, None));
        }
        let message_id =
            WireId::new(id.as_str()).map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
        let chunk = ChunkInformation {
            number: Some(number),
            total: Some(slices.total()),
            message_kilobytes: Some(slices.message_kilobytes()),
            ..ChunkInformation::default()
        };
        let coding = if in_base64 { Coding::Base64 } else { Coding::Binary };
        Ok(Executed::Delivery(Box::new(Delivered {
            payload: Box::new(move |feedback| {
                Payload::ResponseToPartialFetchDelivery(Box::new(ResponseToPartialFetchDelivery {
                    feedback,
                    request: wanted,
                    chunk: Some(chunk),
                    message_id: Some(message_id),
                }))
            }),
            answer: content(Arc::new(slice), coding)?,
            carried: None,
        })))
    }

    /// The answer that is sliced: the one that this dialog has slices of, or, with the first chunk, a new one.
    #[allow(clippy::too_many_arguments)]
    async fn begun(
        &self,
        asked: &PartialFetchDelivery,
        number: u64,
        fetches: &Fetches,
        client: &Client,
        entry: &Entry,
        more: bool,
        context: &Context<'_>,
    ) -> Result<(Fetch, FetchBegun), Refused> {
        let (conversation, _) =
            client.dialog.as_ref().ok_or_else(|| Refused::new(Code::DialogRequired, "no dialog"))?;
        let begins = number == 1 && asked.chunk.received.iter().flatten().next().is_none();
        if !begins {
            let editions = self.editions(fetches).await?;
            let known = continued(editions, &fetches.begun_in(conversation), conversation)?;
            return match asked.chunk.kilobytes {
                Some(kilobytes) if kilobytes != known.1.slices.kilobytes => Err(Refused::told(
                    Code::ChunkInconsistent,
                    "an earlier chunk of this message was asked for with another ChunkSize",
                )),
                _ => Ok(known),
            };
        }
        let kilobytes = Slices::wanted(&asked.chunk).map_err(refused)?;
        let fetch = fetches.begun_in(conversation);
        let bytes = self.write_answer(asked, &fetch, client, entry, more, context).await?;
        let slices = Slices { bytes, kilobytes };
        slices.span(1).map_err(refused)?;
        let at = self.relay.now();
        Ok((fetch, FetchBegun { version: 1, at, slices, dialogs: Vec::new() }))
    }

    /// Writes the answer as fetchDelivery would have got it, in the clear, and says how long it is.
    async fn write_answer(
        &self,
        asked: &PartialFetchDelivery,
        fetch: &Fetch,
        client: &Client,
        entry: &Entry,
        more: bool,
        context: &Context<'_>,
    ) -> Result<u64, Refused> {
        let message = &context.request.received.message;
        let writing = self.fetch_room(fetch, entry.card.payload_bytes.saturating_mul(2)).await?;
        let in_base64 = answers_in_base64(message.features.as_ref(), context.request.has_base64());
        let content = self.content(entry, in_base64).await?;
        let mut card = entry.card.clone();
        // The message to the reader is being built: that is what Forwarding means, and it is not reception.
        if card.state.is_offered() {
            let forwarded =
                self.relay.hand_out(&client.account, Some(&client.owner), &entry.envelope.id).await;
            card = forwarded.map_err(failed)?.card;
        }
        let bundle = card::bundle(&card, &entry.envelope)
            .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
        let languages = message.languages.as_ref().map(|languages| languages.list()).unwrap_or_default();
        let mut findings = Vec::new();
        if more {
            findings.push((Code::MoreDeliveries, None));
        }
        findings.push((Code::DoneOpen, None));
        let payload = Payload::ResponseToFetchDelivery(Box::new(ResponseToFetchDelivery {
            feedback: answer::feedback(Language::first_of(&languages), &findings),
            request: selection(asked),
            card: Some(bundle),
        }));
        let control = inner_control(client, context)?;
        let mut answer = Answer::plain(control, payload, message.features.clone(), Vec::new());
        answer.carry(content);
        answer.carried = Some(self.carried(&entry.envelope.id));
        let (in_force, offered) = (context.in_force.clone(), self.offered());
        let prepare =
            move || answer.sign(&in_force, offered).map_err(|refused| io::Error::other(refused.detail));
        self.keep_answer(fetch, writing, prepare).await
    }
}

/// The answer that a dialog goes on with: the one that it began, or else the one that it has slices of. One that has none
/// yet is believed to have them from another dialog, as long as there was only one answer that they can be of.
fn continued(
    editions: Vec<Edition>,
    own: &Fetch,
    conversation: &ConversationId,
) -> Result<(Fetch, FetchBegun), Refused> {
    let begun = editions.iter().position(|edition| edition.fetch.place() == own.place());
    let served = || editions.iter().position(|edition| edition.begun.served_in(conversation).is_some());
    let at = begun.or_else(served).or((editions.len() == 1).then_some(0));
    let edition = at.and_then(|at| editions.into_iter().nth(at)).filter(|edition| edition.is_kept);
    edition.map(|edition| (edition.fetch, edition.begun)).ok_or_else(|| {
        Refused::told(
            Code::ChunkInconsistent,
            "no answer is kept that these chunks are surely of; begin with chunk 1 and no ReceivedChunks",
        )
    })
}

/// Chunks may be asked for under the mark of their message, too.
fn selection(asked: &PartialFetchDelivery) -> FetchDelivery {
    let selection = match &asked.selection {
        Some(DeliverySelection::MessageId(id)) => {
            Some(DeliverySelection::MessageId(id.whole().unwrap_or_else(|| id.clone())))
        }
        other => other.clone(),
    };
    FetchDelivery { selection }
}

/// The message inside stands where its first chunk was asked for.
fn inner_control(client: &Client, context: &Context<'_>) -> Result<AnswerControl, Refused> {
    let (conversation, _) =
        client.dialog.as_ref().ok_or_else(|| Refused::new(Code::DialogRequired, "no dialog"))?;
    let control = &context.request.received.message.control;
    let challenge = control.challenge.as_ref().map(|challenge| challenge.as_str().to_owned());
    Ok(AnswerControl {
        conversation: conversation.clone(),
        sequence: control.sequence_number,
        response: challenge.unwrap_or_default(),
        challenge: Some(fresh()?.challenge),
    })
}

fn content(chunk: Shared, coding: Coding) -> Result<Content, Refused> {
    let mut writer = Writer::new();
    writer.start("osci:ContentPackage").start("osci:ContentContainer").attribute("Id", CHUNK_CONTAINER_ID);
    writer.start("osci:Content").attribute("Id", CHUNK_CONTENT_ID);
    writer.attribute("href", &format!("cid:{CHUNK_ATTACHMENT_ID}")).text("").end();
    let id = ContentId::from_header(CHUNK_ATTACHMENT_ID)
        .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
    let mut attachment = OutgoingAttachment::new(id, "application/octet-stream", chunk);
    attachment.coding = coding;
    Ok(Content {
        certificates: None,
        custom: Vec::new(),
        scope: Scope::standard(),
        package: Arc::new(writer.finish().into_bytes()),
        attachments: vec![attachment],
    })
}
