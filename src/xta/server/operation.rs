//! The twelve operations: each a translation between XTA's words and one or two calls of the relay.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use crate::domain::content::{Digest, Manifest};
use crate::domain::envelope::Envelope as MessageEnvelope;
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::domain::profile::ServiceProfile;
use crate::net::WhenWritten;
use crate::relay::{Refusal, Relay, Reply, Service, Submission};
use crate::store::{Entry, Iterator, Selection};
use crate::xta::action::Operation;
use crate::xta::fault::{ErrorNumber, Fault};
use crate::xta::message;
use crate::xta::message::element::Element;
use crate::xta::message::lookup::{self, Availability};
use crate::xta::message::markup::Markup;
use crate::xta::message::metadata;
use crate::xta::message::msg_box::{
    self, Continuation, FetchRequest, MsgBoxResponse, MsgSelector, Reason, StatusListRequest,
};
use crate::xta::message::names::{OSCI, OSCIMETA, WSA};
use crate::xta::message::transport_report;

use super::DOOR;
use super::answer::{self, Answer, Content};
use super::identity::Caller;
use super::request::Read;
use super::request_id::{self, Begun};

/// Days that an unfinished list can be continued.
const ITERATOR_DAYS: u32 = 1;
/// Items of a list whose client named no number.
const LIST_ITEMS_DEFAULT: u32 = 100;

pub(super) async fn perform(
    relay: &Arc<Relay>,
    caller: &Caller,
    operation: Operation,
    read: Read,
) -> Result<Answer, Fault> {
    if !operation.carries_content() && read.content.is_some() {
        return Err(Fault::of_client(
            ErrorNumber::ParametersInvalid,
            "content-unexpected",
            format!("{} takes no content", operation.name()),
        ));
    }
    let asked = Asked {
        relay,
        caller,
        claimed: caller.claimed(read.envelope.header(OSCIMETA, "Author").map_err(Fault::from)?)?,
    };
    let body = read.envelope.body.as_ref();
    match operation {
        Operation::CheckAccountActive => Ok(Answer::empty()),
        Operation::LookupService => asked.look_up(required(body, "LookupServiceRequest")?).await,
        Operation::CreateMessageId => asked.create_message_id().await,
        Operation::GetTransportReport => asked.transport_report(&message_id(body)?).await,
        Operation::CancelMessage => {
            relay.cancel(&caller.account, &message_id(body)?).await?;
            Ok(Answer::empty())
        }
        Operation::SendMessage => {
            let submission = submission(caller, read).await?;
            relay.accept(&caller.account, submission).await?;
            Ok(Answer::empty())
        }
        Operation::SendMessageSync => {
            let submission = submission(caller, read).await?;
            let reply = relay.accept_and_wait(&caller.account, submission).await?;
            asked.reply(reply).await
        }
        Operation::GetStatusList => {
            asked.list(StatusListRequest::parse(required(body, "MsgBoxStatusListRequest")?)?).await
        }
        Operation::GetNextStatusList => asked.next_list(continuation(body, "MsgBoxGetNextRequest")?).await,
        Operation::GetMessage => {
            asked.fetch(FetchRequest::parse(required(body, "MsgBoxFetchRequest")?)?).await
        }
        Operation::GetNextMessage => asked.next_message(continuation(body, "MsgBoxGetNextRequest")?).await,
        Operation::Close => asked.close(continuation(body, "MsgBoxCloseRequest")?).await,
    }
}

fn required<'e>(body: Option<&'e Element>, name: &str) -> Result<&'e Element, Fault> {
    body.ok_or_else(|| message::Error::missing("Body", name).into())
}

fn continuation(body: Option<&Element>, name: &str) -> Result<Continuation, Fault> {
    Ok(Continuation::parse(required(body, name)?, name)?)
}

/// The body wsa:MessageID. What is no id at all is none that the account knows.
fn message_id(body: Option<&Element>) -> Result<MessageId, Fault> {
    let element = required(body, "wsa:MessageID")?;
    if !element.is(WSA, "MessageID") {
        return Err(message::Error::missing("Body", "wsa:MessageID").into());
    }
    metadata::message_id(element).map_err(|error| {
        Fault::of_client(ErrorNumber::MessageIdUnknown, "message-id-invalid", error.to_string())
    })
}

/// A message at the counter, from the headers of sendMessage and its staged content.
async fn submission(caller: &Caller, read: Read) -> Result<Submission, Fault> {
    let header = read
        .envelope
        .header(OSCIMETA, "MessageMetaData")?
        .ok_or_else(|| message::Error::missing("Header", "MessageMetaData"))?;
    let tokens = read.envelope.header(OSCI, "X509TokenContainer")?;
    let envelope = metadata::parse(header, tokens)?;
    let content =
        read.content.ok_or_else(|| message::Error::missing("GenericContentContainer", "Message"))?;
    let payload = content.writer.seal().await.map_err(|error| Fault::from(Refusal::from(error)))?;
    let request_digest = request_digest(&envelope, &content.manifest)?;
    Ok(Submission {
        envelope,
        manifest: content.manifest,
        payload,
        request_digest,
        door: DOOR,
        certificates: vec![caller.finding.clone()],
    })
}

/// What the author sent, in a form that does not depend on boundaries, content ids, prefixes or the order of parts,
/// so that a retry is known for what it is. Each piece goes in with its length before it.
fn request_digest(envelope: &MessageEnvelope, manifest: &Manifest) -> Result<Digest, Fault> {
    let unwritable = |error: serde_json::Error| Fault::from(Refusal::Internal { detail: error.to_string() });
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: Vec<u8>| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(&bytes);
    };
    add(b"amtsbote xta request, version 1".to_vec());
    add(serde_json::to_vec(envelope).map_err(unwritable)?);
    for part in &manifest.parts {
        let placeless = crate::domain::content::Part { offset: 0, ..part.clone() };
        add(serde_json::to_vec(&placeless).map_err(unwritable)?);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(Digest(digest))
}

/// A question of a known caller.
struct Asked<'a> {
    relay: &'a Arc<Relay>,
    caller: &'a Caller,
    claimed: Option<PartyIdentifier>,
}

impl Asked<'_> {
    async fn create_message_id(&self) -> Result<Answer, Fault> {
        let id = self.relay.announce(&self.caller.account).await?;
        let mut body = Markup::new();
        body.leaf("wsa:MessageID", id.as_str());
        Ok(Answer::body(body))
    }

    async fn look_up(&self, body: &Element) -> Result<Answer, Fault> {
        let mut answers = Vec::new();
        for question in lookup::parse(body)? {
            let reader = &question.reader.identifier;
            let found = self.relay.look_up(&self.caller.account, reader, &question.service).await?;
            let availability = match found {
                Service::Offered => Availability::Offered,
                Service::NotOffered => Availability::NotOffered,
            };
            answers.push((question, availability));
        }
        let mut body = Markup::new();
        lookup::write(&mut body, &answers);
        Ok(Answer::body(body))
    }

    async fn transport_report(&self, id: &MessageId) -> Result<Answer, Fault> {
        let entry = self.relay.card(&self.caller.account, self.claimed.as_ref(), id).await?;
        self.relay.confirm().await?;
        let mut body = Markup::new();
        transport_report::write(&mut body, &entry, &self.relay.settings().server_identity);
        Ok(Answer::body(body))
    }

    async fn list(&self, request: StatusListRequest) -> Result<Answer, Fault> {
        let limit = self.page(request.items_max);
        let iterator = self.iterator(selection(request.selector), limit);
        self.list_on(iterator, request.form, false).await
    }

    async fn next_list(&self, request: Continuation) -> Result<Answer, Fault> {
        match self.resume(&request).await? {
            None => Ok(nothing(&request.request_id, Reason::RequestIdInvalid, true)),
            Some(iterator) => self.list_on(iterator, msg_box::ListForm::MessageMetaData, true).await,
        }
    }

    /// One page, and the iterator kept where there are more.
    async fn list_on(
        &self,
        mut iterator: Iterator,
        form: msg_box::ListForm,
        known: bool,
    ) -> Result<Answer, Fault> {
        let (who, reader) = (&self.caller.account, self.claimed.as_ref());
        let listing = self
            .relay
            .list(who, reader, iterator.selection.clone(), iterator.position, iterator.page_size)
            .await?;
        let Some(last) = listing.entries.last() else {
            return Ok(nothing(&iterator.id, Reason::NoMatch, true));
        };
        iterator.position = last.sequence;
        let begun = (!known).then(|| request_id::of_list(&iterator)).flatten();
        match begun {
            // The id says it all: most lists are never continued, and none of those costs a write.
            Some(id) => iterator.id = id,
            None if known || listing.pending > 0 => {
                self.relay.save_iterator(&iterator).await?;
            }
            None => {}
        }
        let (mut headers, mut body) = (Markup::new(), Markup::new());
        MsgBoxResponse { request_id: iterator.id, state: Ok(listing.pending) }.write(&mut headers);
        msg_box::write_status_list(&mut body, &listing.entries, form);
        Ok(Answer::Plain { headers, body })
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Answer, Fault> {
        let selection = selection(request.selector);
        if let [id] = selection.ids.as_slice() {
            let (who, reader) = (&self.caller.account, self.claimed.as_ref());
            let entry = self.relay.hand_out_if(who, reader, id, answer::can_carry).await?;
            return self.content(entry, Some((request_id::of_fetch(id), 0))).await;
        }
        let iterator = self.iterator(selection, 1);
        self.fetch_on(iterator).await
    }

    async fn next_message(&self, request: Continuation) -> Result<Answer, Fault> {
        match self.resume(&request).await? {
            None => Ok(nothing(&request.request_id, Reason::RequestIdInvalid, false)),
            Some(iterator) => self.fetch_on(Iterator { page_size: 1, ..iterator }).await,
        }
    }

    /// The next message of a selection that XTA can carry; what it cannot must not bar the way.
    async fn fetch_on(&self, mut iterator: Iterator) -> Result<Answer, Fault> {
        let (who, reader) = (&self.caller.account, self.claimed.as_ref());
        let mut limit = 1;
        let (next, pending) = loop {
            let selection = iterator.selection.clone();
            let mut listing = self.relay.list(who, reader, selection, iterator.position, limit).await?;
            let Some(last) = listing.entries.last() else {
                return Ok(nothing(&iterator.id, Reason::NoMatch, false));
            };
            iterator.position = last.sequence;
            if let Some(at) = listing.entries.iter().position(|entry| answer::can_carry(entry).is_ok()) {
                let behind = listing.entries.len().saturating_sub(at + 1) as u64;
                break (listing.entries.swap_remove(at), listing.pending + behind);
            }
            limit = LIST_ITEMS_DEFAULT;
        };
        iterator.position = next.sequence;
        iterator.handed_out = vec![next.envelope.id.clone()];
        let (entry, saved) = tokio::join!(
            self.relay.hand_out_if(who, reader, &next.envelope.id, answer::can_carry),
            self.relay.save_iterator(&iterator)
        );
        let entry = entry?;
        saved?;
        self.content(entry, Some((iterator.id, pending))).await
    }

    /// Confirmations, then the iterator is freed. What was confirmed before is confirmed.
    async fn close(&self, request: Continuation) -> Result<Answer, Fault> {
        let ours = self.load(&request.request_id).await?;
        let confirmed = match (&ours, request.received.is_empty()) {
            (Some(iterator), true) => iterator.handed_out.clone(),
            _ => request.received,
        };
        self.confirm(&confirmed).await?;
        if let Some(iterator) = ours {
            self.relay.drop_iterator(&self.caller.account, &iterator.id).await?;
        }
        Ok(Answer::empty())
    }

    /// The iterator that a request continues; what it says was received is confirmed.
    async fn resume(&self, request: &Continuation) -> Result<Option<Iterator>, Fault> {
        let iterator = self.load(&request.request_id).await?;
        if iterator.is_some() {
            self.confirm(&request.received).await?;
        }
        Ok(iterator)
    }

    /// Only ids of our own making are looked for; clients send constants.
    async fn load(&self, id: &str) -> Result<Option<Iterator>, Fault> {
        if let Some(message) = request_id::fetched(id) {
            let selection = Selection { ids: vec![message.clone()], ..Selection::default() };
            let iterator = self.iterator(selection, 1);
            return Ok(Some(Iterator { id: id.to_owned(), handed_out: vec![message], ..iterator }));
        }
        if let Some(begun) = request_id::begun_list(id, &self.caller.account.name) {
            // Continued before, it is further on than its id says.
            let stored = self.relay.load_iterator(&self.caller.account, id).await?;
            let Begun { selection, position, page_size, .. } = begun;
            let iterator = self.iterator(selection, page_size);
            return Ok(Some(stored.unwrap_or(Iterator { id: id.to_owned(), position, ..iterator })));
        }
        if !id.starts_with("urn:uuid:") {
            return Ok(None);
        }
        Ok(self.relay.load_iterator(&self.caller.account, id).await?)
    }

    async fn confirm(&self, ids: &[MessageId]) -> Result<(), Fault> {
        for id in ids {
            self.relay.receive(&self.caller.account, self.claimed.as_ref(), id).await?;
        }
        Ok(())
    }

    /// A message with its content; `response` is MsgBoxResponse's id and count, where the answer has one.
    async fn content(&self, entry: Entry, response: Option<(String, u64)>) -> Result<Answer, Fault> {
        let mut headers = Markup::new();
        metadata::write(&mut headers, &entry.envelope, Some(&entry.card));
        match response {
            Some((request_id, pending)) => {
                MsgBoxResponse { request_id, state: Ok(pending) }.write(&mut headers);
            }
            None => {
                if let Some(tokens) = &entry.envelope.token_container {
                    headers.fragment(tokens);
                }
            }
        }
        let content = Box::new(Content::open(self.relay, entry).await?);
        Ok(Answer::Content { headers, content, written: None })
    }

    /// The reader's answer, which is received when all of it has gone out.
    async fn reply(&self, reply: Reply) -> Result<Answer, Fault> {
        let answer = self.content(reply.entry.clone(), None).await?;
        let Answer::Content { headers, content, .. } = answer else { return Ok(answer) };
        let (relay, account) = (self.relay.clone(), self.caller.account.clone());
        let written = WhenWritten::new(move || {
            tokio::spawn(async move {
                if let Err(refusal) = relay.receive_answer(&account, &reply).await {
                    // It stays in the author's mailbox, and a repeat of the question brings it again.
                    tracing::warn!(
                        message_id = %reply.entry.envelope.id,
                        code = refusal.code(),
                        next_step = "nothing is lost: it lies in the author's mailbox until he confirms it",
                        "an answer went out and could not be marked as received"
                    );
                }
            });
        });
        Ok(Answer::Content { headers, content, written: Some(written) })
    }

    fn iterator(&self, selection: Selection, page_size: u32) -> Iterator {
        Iterator {
            id: format!("urn:uuid:{}", uuid::Uuid::new_v4()),
            account: self.caller.account.name.clone(),
            selection,
            position: 0,
            handed_out: Vec::new(),
            page_size,
            expires_at: ServiceProfile::after_days(self.relay.now(), ITERATOR_DAYS),
        }
    }

    fn page(&self, items_max: Option<u32>) -> u32 {
        items_max.unwrap_or(LIST_ITEMS_DEFAULT).clamp(1, self.relay.settings().limits.list_items_max.max(1))
    }
}

/// An answer without messages. Its list is empty; where content was asked for, so is the body.
fn nothing(request_id: &str, reason: Reason, list: bool) -> Answer {
    let (mut headers, mut body) = (Markup::new(), Markup::new());
    MsgBoxResponse { request_id: request_id.to_owned(), state: Err(reason) }.write(&mut headers);
    if list {
        msg_box::write_status_list(&mut body, &[], msg_box::ListForm::default());
    }
    Answer::Plain { headers, body }
}

fn selection(selector: MsgSelector) -> Selection {
    Selection {
        mailboxes: Vec::new(),
        ids: selector.ids,
        relates_to: selector.relates_to,
        delivered_from: selector.from,
        delivered_to: selector.to,
        new_only: selector.new_entry,
        posted_by: None,
    }
}
