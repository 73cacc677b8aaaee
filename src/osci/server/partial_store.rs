//! partialStoreDelivery: a large delivery that comes in chunks (sections 5.2 and 9.2 of our notes).
//!
//! A chunk is durable before it is said to be received, so that an upload goes on after a restart, in any dialog of
//! the same account. With the last missing chunk the message inside is judged as a storeDelivery in a dialog of its own
//! and accepted as one; its feedback and card come with the answer. A client that did not hear that answer sends that very
//! chunk again and is answered as before, or asks with InfoOnly: what was accepted is said again (3950), what is still at
//! work is called so (3952), and what a crash interrupted is done then. Any other chunk of a message that is whole is
//! refused (9900): it may be another message's. If the message inside is refused its chunks are forgotten, unless we are to
//! blame. Whether its id may be used is judged with the message inside; until then the bounds per account hold what its
//! owner may put on our disk. Who shows nothing but the id must show one that was issued to him, with the first chunk
//! already: anybody can encrypt for us in another's name.

use std::io::{self, Read};

use aws_lc_rs::digest;

use super::incoming::{self, Request};
use super::parts::{self, Acceptance, LastChunk, Room, Standing, Upload, UploadBegun, on_disk};
use super::request::{Client, Context, Executed, Findings, failed};
use super::spool::{Frozen, Spool};
use super::{Door, Refused, answer, card};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::osci::chunk::{Cut, KILOBYTE, Wrong};
use crate::osci::code::{Code, Language};
use crate::osci::dialog::{self, Manner, Opening};
use crate::osci::envelope::read::Incoming;
use crate::osci::envelope::source::Source;
use crate::osci::message::chunk_information::ChunkInformation;
use crate::osci::message::feedback::{CodeNumber, Entry, Feedback};
use crate::osci::message::kind::Operation;
use crate::osci::message::partial_store_delivery::{
    CHUNK_ATTACHMENT_ID, Chunk, PartialStoreDelivery, ResponseToPartialStoreDelivery,
};
use crate::osci::message::payload::Payload;
use crate::osci::message::process_card::ProcessCardBundle;
use crate::report::Loudness;

/// What became of the message inside.
struct Inside {
    feedback: Feedback,
    card: Option<ProcessCardBundle>,
}

impl Door {
    pub(super) async fn partial_store_delivery(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let Payload::PartialStoreDelivery(asked) = &context.request.received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a partialStoreDelivery"));
        };
        let id = whole_id(asked)?;
        if client.by_id_alone {
            self.proves_itself(&client, &id, context.request).await?;
        }
        let upload = self.parts.upload(&client.account.name, id.as_str());
        // A chunk must be judged and kept; a question need not wait for what another request is at work on.
        let _busy = match asked.chunk {
            Chunk::Information(_) => self.hold(upload.place(), None).await?,
            Chunk::InfoOnly => {
                let busy = self.hold(upload.place(), Some(self.settings.inside_wait)).await?;
                if busy.is_none() {
                    let standing = self.promised_standing(&upload).await?;
                    if standing.is_whole() {
                        context.findings.push((Code::InsideWorking, None));
                    }
                    return Ok(answered(None, standing.into_information(None)));
                }
                busy
            }
        };
        let mut taken = None;
        if let Chunk::Information(information) = &asked.chunk {
            let standing = self.standing(&upload).await?;
            taken = Some(self.take_chunk(context.request, information, &upload, &standing).await?);
        }
        let number = taken.as_ref().map(|(number, _)| *number);
        let standing = self.promised_standing(&upload).await?;
        let inside = match (&standing.accepted, standing.is_whole()) {
            (Some(accepted), _) => {
                // The last chunk is answered as it was the first time.
                if number.is_none() {
                    context.findings.push((Code::InsideFeedback, None));
                }
                let card = self.card_of(&client, &id).await.map(Some);
                Some(Inside { feedback: said(accepted)?, card: card? })
            }
            (None, true) => {
                let last = match taken {
                    Some((number, octets)) => Some(LastChunk { number, sha256: sha256(octets).await? }),
                    None => None,
                };
                Some(self.inside(&client, &id, &upload, &standing, last, context).await?)
            }
            (None, false) => None,
        };
        Ok(answered(inside, standing.into_information(number)))
    }

    /// Whether the id was issued to this client so that nobody else could read it.
    async fn proves_itself(&self, client: &Client, id: &MessageId, request: &Request) -> Result<(), Refused> {
        if self.relay.bond(id).await.map_err(failed)?.is_none() {
            let sentence = "the message id was not issued to this client; ask for one, or sign";
            return Err(Refused::told(Code::MessageIdUnknown, sentence));
        }
        self.may_use(client, id, request).await
    }

    async fn card_of(&self, client: &Client, id: &MessageId) -> Result<ProcessCardBundle, Refused> {
        let entry = self.relay.card(&client.account, None, id).await.map_err(failed)?;
        self.relay.confirm().await.map_err(failed)?;
        card::bundle(&entry.card, &entry.envelope)
            .map_err(|error| Refused::new(Code::Failed, error.to_string()))
    }

    /// Judges a chunk, and keeps it; its number and bytes. The chunk that made an accepted message whole is taken again.
    async fn take_chunk(
        &self,
        request: &Request,
        information: &ChunkInformation,
        upload: &Upload,
        standing: &Standing,
    ) -> Result<(u64, Frozen), Refused> {
        let bytes_max = self.settings.request_bytes_max();
        let (cut, number) = Cut::stated(information, bytes_max).map_err(refused)?;
        if let Some(begun) = &standing.begun {
            begun.cut.agrees(&cut).map_err(refused)?;
        }
        if standing.received.contains(&number) {
            // Under the same id another message may be cut the same way: only the same bytes are the same chunk.
            let last = standing.accepted.as_ref().and_then(|accepted| accepted.last.as_ref());
            if let Some(last) = last.filter(|last| last.number == number) {
                let octets = self.chunk(request, &cut, number).await?;
                if sha256(octets.clone()).await? == last.sha256 {
                    return Ok((number, octets));
                }
            }
            self.promised_standing(upload).await?;
            return Err(Refused::new(Code::ChunkExists, format!("chunk {number} was received before")));
        }
        let octets = self.chunk(request, &cut, number).await?;
        if standing.begun.is_none() {
            self.begin_upload(upload, UploadBegun { version: 1, at: self.relay.now(), cut }).await?;
        }
        self.keep_chunk(upload, number, octets.clone()).await?;
        Ok((number, octets))
    }

    /// The bytes of a chunk, as many as its cut says.
    async fn chunk(&self, request: &Request, cut: &Cut, number: u64) -> Result<Frozen, Refused> {
        let [attachment] = request.received.attachments.as_slice() else {
            return Err(Refused::told(Code::ChunkInconsistent, "a chunk is exactly one attachment"));
        };
        if !attachment.content_id.is_named_by(&format!("cid:{CHUNK_ATTACHMENT_ID}")) {
            return Err(Refused::told(
                Code::ChunkInconsistent,
                format!("the chunk's attachment is {CHUNK_ATTACHMENT_ID}"),
            ));
        }
        let (source, encoding) = (request.bytes.stretch(attachment.span.clone()), attachment.encoding);
        let spool = self.spool(cut.kilobytes.saturating_mul(KILOBYTE));
        let octets =
            on_disk(move || octets(&source, encoding, spool)).await.map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => Refused::new(Code::ChunkTooBig, "it is larger than it said"),
                io::ErrorKind::InvalidData => Refused::told(Code::ChunkInconsistent, error.to_string()),
                _ => on_our_disk(error),
            })?;
        cut.holds(number, octets.length()).map_err(refused)?;
        Ok(octets)
    }

    /// For what comes in: it leaves the disk its reserve.
    pub(super) fn spool(&self, bytes_max: u64) -> Spool {
        Spool::new(&self.settings.spool_folder, bytes_max).sparing(self.settings.limits.disk_reserve_bytes)
    }

    /// All chunks are there: the message inside is judged, and accepted or refused. `last` is the chunk that this answers.
    async fn inside(
        &self,
        outer: &Client,
        id: &MessageId,
        upload: &Upload,
        standing: &Standing,
        last: Option<LastChunk>,
        context: &Context<'_>,
    ) -> Result<Inside, Refused> {
        let total = standing.begun.as_ref().map_or(0, |begun| begun.cut.total);
        let spool = self.spool(self.settings.request_bytes_max());
        let bytes = match self.pour(upload, total, spool).await? {
            Ok(whole) => whole,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.drop_upload(upload).await?;
                return Err(Refused::new(Code::MessageTooBig, "the chunks together are too large"));
            }
            Err(error) => return Err(on_our_disk(error)),
        };
        let (whole, limits) = (bytes.clone(), incoming::limits(&self.settings));
        let parsed = on_disk(move || Ok(incoming::parse(&whole, &limits))).await.map_err(on_our_disk)?;
        let outer_message = &context.request.received.message;
        let language = |message: &crate::osci::message::Message| {
            let languages = message.languages.as_ref().map(|languages| languages.list());
            Language::first_of(&languages.unwrap_or_default())
        };
        let mut findings = Findings::new();
        let (language, outcome) = match parsed {
            Ok(Incoming::Message(received)) => {
                let request = Request { received: *received, bytes, seal: context.request.seal.clone() };
                let mut inner = Context {
                    request: &request,
                    in_force: context.in_force,
                    findings: Findings::new(),
                    step: None,
                    fault: None,
                    bond: None,
                    room: None,
                };
                let outcome = self.store_inside(outer, id, &mut inner).await;
                findings = inner.findings;
                (language(&request.received.message), outcome)
            }
            Ok(_) => (language(outer_message), Err(Refused::new(Code::Malformed, "no request is inside"))),
            Err(error) => (language(outer_message), Err(Refused::new(Code::Malformed, error.to_string()))),
        };
        match outcome {
            Ok(card) => {
                findings.push((Code::DoneClosed, None));
                let feedback = answer::feedback(language, &findings);
                // The message is ours by now, whatever becomes of this note.
                if let Err(refused) =
                    self.note_acceptance(upload, standing, acceptance(&feedback, last)).await
                {
                    tracing::warn!(message_id = %id, detail = %refused.detail, "the end of an upload was not noted");
                }
                Ok(Inside { feedback, card: Some(card) })
            }
            Err(refused) => {
                tracing::info!(message_id = %id, code = refused.code.as_str(), detail = %refused.detail, "the message inside an upload is refused");
                if refused.loudness != Loudness::Error {
                    self.drop_upload(upload).await?;
                }
                let mut all = vec![(refused.code, refused.sentence)];
                all.extend(findings.into_iter().filter(|(code, _)| *code != refused.code));
                Ok(Inside { feedback: answer::feedback(language, &all), card: None })
            }
        }
    }

    /// The message inside, as a dialog of its own.
    async fn store_inside(
        &self,
        outer: &Client,
        id: &MessageId,
        context: &mut Context<'_>,
    ) -> Result<ProcessCardBundle, Refused> {
        let received = &context.request.received;
        let Payload::StoreDelivery(delivery) = &received.message.payload else {
            return Err(Refused::new(Code::Malformed, "the message inside is not a storeDelivery"));
        };
        if delivery.message_id.as_ref().is_some_and(|inner| inner.as_str() != id.as_str()) {
            return Err(Refused::told(
                Code::ChunkInconsistent,
                "the message inside has another MessageId than its chunks",
            ));
        }
        match dialog::open(Manner::Either, super::request::control(received)) {
            Ok(Opening::Implicit { .. }) => {}
            Ok(_) => return Err(Refused::new(Code::DialogMismatch, "the message inside names a dialog")),
            Err(refusal) => return Err(Refused::new(Code::DialogMismatch, refusal.to_string())),
        }
        let (cipher, warnings) = self.originator(received, context.in_force)?;
        context.findings.extend(warnings);
        let signer = super::request::signer(received);
        // Whoever sent the chunks has shown who he is, and the message inside must be his.
        let mut client = self.client(&cipher, signer, None, true, Operation::StoreDelivery, context)?;
        client.by_id_alone &= outer.by_id_alone;
        if client.account.name != outer.account.name {
            return Err(Refused::told(
                Code::ChunkInconsistent,
                "the message inside has another originator than its chunks",
            ));
        }
        self.store(&client, super::store::Again::IsTheSame, context).await
    }
}

impl Standing {
    fn into_information(self, number: Option<u64>) -> ChunkInformation {
        ChunkInformation {
            number,
            received: (!self.received.is_empty()).then(|| self.received.into_iter().collect()),
            total: self.begun.map(|begun| begun.cut.total),
            ..ChunkInformation::default()
        }
    }
}

fn answered(inside: Option<Inside>, chunk: ChunkInformation) -> Executed {
    Executed::Payload(Box::new(move |feedback| {
        let (inside, card) = match inside {
            Some(Inside { feedback, card }) => (Some(feedback), card),
            None => (None, None),
        };
        let answer = ResponseToPartialStoreDelivery { inside, feedback, card, chunk };
        Payload::ResponseToPartialStoreDelivery(Box::new(answer))
    }))
}

fn whole_id(asked: &PartialStoreDelivery) -> Result<MessageId, Refused> {
    let whole = asked.message_id.whole().ok_or_else(|| {
        Refused::told(
            Code::MessageIdUnknown,
            "the MessageId of a chunk is the message's with _Partial behind it",
        )
    })?;
    MessageId::parse(whole.as_str()).map_err(|error| Refused::new(Code::MessageIdUnknown, error.to_string()))
}

/// A chunk without its transfer encoding.
pub(super) fn octets(
    source: &dyn Source,
    encoding: TransferEncoding,
    mut spool: Spool,
) -> io::Result<Frozen> {
    use std::io::Write as _;
    let mut reader = source.open()?;
    let invalid = |error: crate::mime::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    match encoding {
        TransferEncoding::Identity => {
            io::copy(&mut reader, &mut spool)?;
        }
        TransferEncoding::Base64 => {
            let (mut decoder, mut piece) = (Base64Decoder::new(), vec![0; 64 * 1024]);
            loop {
                let read = reader.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                let mut decoded = Vec::new();
                decoder.decode(piece.get(..read).unwrap_or_default(), &mut decoded).map_err(invalid)?;
                spool.write_all(&decoded)?;
            }
            decoder.finish().map_err(invalid)?;
        }
    }
    Ok(spool.freeze())
}

async fn sha256(octets: Frozen) -> Result<Digest, Refused> {
    let hashed = on_disk(move || {
        let whole = octets.stretch(0..octets.length());
        let (mut reader, mut piece) = (whole.open()?, vec![0; 64 * 1024]);
        let mut context = digest::Context::new(&digest::SHA256);
        loop {
            match reader.read(&mut piece)? {
                0 => break,
                read => context.update(piece.get(..read).unwrap_or_default()),
            }
        }
        let mut sha256 = Digest([0; 32]);
        sha256.0.copy_from_slice(context.finish().as_ref());
        Ok(sha256)
    });
    hashed.await.map_err(on_our_disk)
}

pub(super) fn refused(wrong: Wrong) -> Refused {
    Refused::told(wrong.code, wrong.why)
}

pub(super) fn on_our_disk(error: io::Error) -> Refused {
    Refused {
        loudness: Loudness::Error,
        ..Refused::new(Code::Failed, format!("the chunks' folder: {error}"))
    }
}

pub(super) fn enough(room: Room) -> Result<(), Refused> {
    match room {
        Room::Enough => Ok(()),
        Room::TooMany => Err(Refused::told(
            Code::Failed,
            format!("{} large messages are on their way already; finish one first", parts::PER_ACCOUNT_MAX),
        )),
        Room::TooMuch { bytes, max } => {
            let sentence = format!(
                "with the large messages that are on their way already it keeps {bytes} bytes of the disk, and a participant \
                 may keep {max}; finish one first"
            );
            let detail = format!("{sentence} (limits.upload_bytes_max)");
            let told = Refused::new(Code::Failed, detail);
            Err(Refused { sentence: Some(sentence), loudness: Loudness::Warn, ..told })
        }
        Room::AllTooMuch { max } => {
            let sentence = "too many large messages are being fetched; ask again in a while";
            let detail = format!(
                "{sentence} (they may keep {max} bytes of the disk, {} times limits.upload_bytes_max)",
                super::ACCOUNTS_KEPT
            );
            let told = Refused::new(Code::Failed, detail);
            Err(Refused { sentence: Some(sentence.to_owned()), loudness: Loudness::Warn, ..told })
        }
        Room::DiskFull => Err(Refused {
            sentence: None,
            loudness: Loudness::Error,
            ..Refused::new(
                Code::Failed,
                "the disk has no room for a large message; see limits.disk_reserve_bytes",
            )
        }),
    }
}

fn acceptance(feedback: &Feedback, last: Option<LastChunk>) -> Acceptance {
    let entries = feedback.entries().iter();
    let feedback =
        entries.map(|entry| (entry.language.clone(), entry.code.number(), entry.text.clone())).collect();
    Acceptance { version: 1, feedback, last }
}

fn said(accepted: &Acceptance) -> Result<Feedback, Refused> {
    let mut entries = accepted.feedback.iter().filter_map(|(language, code, text)| {
        let code = CodeNumber::new(*code)?;
        Some(Entry { language: language.clone(), code, text: text.clone() })
    });
    let first = entries.next().ok_or_else(|| on_our_disk(io::ErrorKind::InvalidData.into()))?;
    let mut feedback = Feedback::new(first);
    entries.for_each(|entry| feedback.push(entry));
    Ok(feedback)
}
