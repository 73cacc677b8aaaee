//! forwardDelivery and mediateDelivery: a delivery that is pushed to a passive recipient while its sender waits (OSCI12,
//! sections 8.2 to 8.4, 10.1 and 10.2).
//!
//! ```text
//! judged -> receiver listed? -> accepted, held -> acceptDelivery or processDelivery
//!     yes           released, handed out, received, payload purged, reply accepted: one change
//!     no, not seen  cancelled
//!     not known     held; an operator releases or cancels it
//! ```
//! The recipient is dialled only where the operator has listed the URI for his account. What goes out are the sender's
//! own bytes, in the scope of namespaces they came in. Once accepted, a push runs to its end whether its sender waits or
//! not. A reply is accepted into the sender's mailbox before he hears of it and handed out in his dialog, so that a lost
//! answer costs nothing: it is offered again by fetchDelivery. A mediateDelivery without MessageId has neither cards nor
//! anything stored, as the standard has it, and its reply is gone with its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fetch::Content;
use super::incoming::{self, Request};
use super::inspect::{self, Inspected};
use super::request::{Client, Context, Delivered, Executed, Findings, failed};
use super::spool::Frozen;
use super::store::{issued_only, named, plain_envelope, used};
use super::{Door, InForce, Refused, card, partial_store, parts};
use crate::domain::account::{Account, AccountName};
use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::envelope::Envelope;
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::PartyIdentifier;
use crate::mime::transfer::TransferEncoding;
use crate::osci::client::address::{Address, Receivers};
use crate::osci::client::exchange;
use crate::osci::client::keys::{Keys, Signature};
use crate::osci::client::push::{self, Answered, Delivery, Failure, Purpose};
use crate::osci::client::transport;
use crate::osci::code::Code;
use crate::osci::envelope::encrypted::answers_in_base64;
use crate::osci::envelope::write::{Coding, OutgoingAttachment};
use crate::osci::message::accept_delivery::AcceptDelivery;
use crate::osci::message::certificates::{Certificate as Shown, NonIntermediaryCertificates, Role};
use crate::osci::message::forward_delivery::ResponseToForwardDelivery;
use crate::osci::message::languages::DesiredLanguages;
use crate::osci::message::mediate_delivery::ResponseToMediateDelivery;
use crate::osci::message::message_id::MessageId as WireId;
use crate::osci::message::payload::Payload;
use crate::osci::message::process_card::{self, ProcessCardBundle};
use crate::osci::message::process_delivery::ProcessDelivery;
use crate::pki::certificate::Certificate;
use crate::relay::{Refusal, Service, Submission};
use crate::report::Loudness;
use crate::store::Accepted;

/// How long a push waits for others to the same recipient before it is refused.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(2);
/// A recipient that does not even take the connection is not waited for longer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// How long it is tried to write down what a recipient said, where the store has trouble.
const WRITE_DOWN_TIME_MAX: Duration = Duration::from_secs(10);
const WRITE_DOWN_PAUSE: Duration = Duration::from_millis(250);
/// Characters of a client's URI in the log.
const URI_SHOWN_MAX: usize = 200;
/// Characters of a reason on a card.
const REASON_SHOWN_MAX: usize = 500;

#[derive(Debug, Clone)]
pub struct Settings {
    /// For one push, from the first byte that leaves to the last of the answer.
    pub time_max: Duration,
    /// Pushes to one participant at a time.
    pub per_recipient_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { time_max: Duration::from_secs(120), per_recipient_max: 8 }
    }
}

/// Who is being pushed to, so that one that hangs holds up few of those that wait.
pub struct Recipients {
    each_max: usize,
    busy: Mutex<BTreeMap<AccountName, Arc<Semaphore>>>,
}

impl Recipients {
    pub fn new(each_max: usize) -> Self {
        Self { each_max, busy: Mutex::default() }
    }

    /// Leave to push, or nothing while too many others are at it.
    async fn enter(&self, recipient: &AccountName) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits or works holds a share.
            busy.retain(|_, turns| Arc::strong_count(turns) > 1);
            let new = || Arc::new(Semaphore::new(self.each_max));
            busy.entry(recipient.clone()).or_insert_with(new).clone()
        };
        tokio::time::timeout(QUEUE_TIME_MAX, turns.acquire_owned()).await.ok()?.ok()
    }
}

/// One push with everything it needs, so that it does not depend on its sender's connection.
struct Errand {
    parties: Parties,
    processes: bool,
    /// Absent where no cards are wanted.
    submission: Option<Submission>,
    languages: Option<DesiredLanguages>,
    content: Content,
    dialling: Arc<exchange::Settings>,
    in_force: Arc<InForce>,
    _turn: OwnedSemaphorePermit,
}

struct Parties {
    /// Bound to ids that were issued to him.
    sender: Account,
    /// Whose mailbox a reply is for.
    reply_to: PartyIdentifier,
    recipient: Account,
    recipient_as: PartyIdentifier,
    /// SHA-256 of the cipher certificate that addressed him.
    recipient_cipher: Digest,
    envelope: Envelope,
}

/// The recipient took it.
struct Taken {
    /// The sender's message after all that.
    card: Option<ProcessCard>,
    findings: Findings,
    reply: Option<Reply>,
}

struct Reply {
    request: Request,
    /// Absent where it was not kept.
    envelope: Option<Envelope>,
}

/// What is known of a push that did not bring a yes.
enum Ending {
    No(Refused),
    Open(Refused),
}

impl Door {
    pub(super) async fn forward_delivery(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let Payload::ForwardDelivery(asked) = &context.request.received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a forwardDelivery"));
        };
        let asked = asked.clone();
        let subject = asked.subject.as_deref();
        let (addressee, findings) = self.judge_certificates(context)?;
        let id = named(asked.message_id.as_ref())?;
        self.may_use(&client, &id, context.request).await?;
        let envelope = self.envelope(&client, &id, subject, &addressee, context.request)?;
        let kept = Some((envelope.clone(), findings));
        let errand = self.errand(&client, &asked.receiver_uri, &addressee, kept, context).await?;
        let Taken { card, findings, .. } = self.run(errand).await?;
        context.findings.extend(findings);
        let card = card.map(|card| bundle(&card, &envelope)).transpose()?;
        Ok(Executed::Payload(Box::new(move |feedback| {
            Payload::ResponseToForwardDelivery(Box::new(ResponseToForwardDelivery { feedback, card }))
        })))
    }

    pub(super) async fn mediate_delivery(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let received = &context.request.received;
        let Payload::MediateDelivery(asked) = &received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a mediateDelivery"));
        };
        let asked = asked.clone();
        let in_base64 = answers_in_base64(received.message.features.as_ref(), context.request.has_base64());
        let subject = asked.subject.as_deref();
        let (addressee, findings) = self.judge_certificates(context)?;
        let kept = match &asked.message_id {
            None => None,
            id => {
                let id = named(id.as_ref())?;
                self.may_use(&client, &id, context.request).await?;
                Some((self.envelope(&client, &id, subject, &addressee, context.request)?, findings))
            }
        };
        let envelope = kept.as_ref().map(|(envelope, _)| envelope.clone());
        let errand = self.errand(&client, &asked.receiver_uri, &addressee, kept, context).await?;
        let Taken { card, findings, reply } = self.run(errand).await?;
        context.findings.extend(findings);
        let reply = reply.ok_or_else(|| Refused::new(Code::NoContent, "the reply has no content"))?;
        // Before the reply counts as handed out: the next request in the dialog would confirm what was never sent.
        let kept_as = reply.envelope.as_ref().map(|envelope| &envelope.id);
        let answer = self.content_of(&reply.request, in_base64).await;
        let answer = answer.map_err(|refused| not_passed_on(kept_as, &refused.detail))?;
        let carried = kept_as.map(|id| self.carried(id));
        let reply_card = match reply.envelope {
            None => None,
            Some(envelope) => {
                let card = match self.hand_out_reply(&client, &envelope.id).await? {
                    Err(refusal) if refusal.is_ours() => {
                        let told = context.behind_hand_out(Err(refusal));
                        if let Some(fault) = &mut context.fault {
                            let asked =
                                card.as_ref().map_or_else(String::new, |card| format!("{}: ", card.id));
                            fault.detail = format!(
                                "{asked}the recipient took it, and its reply {} waits in the sender's mailbox: {}",
                                envelope.id, fault.detail
                            );
                        }
                        told?
                    }
                    handed_out => {
                        let id = &envelope.id;
                        handed_out.map_err(|refusal| not_passed_on(Some(id), &refusal.to_string()))?
                    }
                };
                Some(bundle(&card, &envelope)?)
            }
        };
        let cards = card.zip(envelope);
        let request_card = cards.map(|(card, envelope)| bundle(&card, &envelope)).transpose()?;
        Ok(Executed::Delivery(Box::new(Delivered {
            payload: Box::new(move |feedback| {
                let answer = ResponseToMediateDelivery { feedback, request_card, reply_card };
                Payload::ResponseToMediateDelivery(Box::new(answer))
            }),
            answer,
            carried,
        })))
    }

    async fn hand_out_reply(
        &self,
        client: &Client,
        id: &MessageId,
    ) -> Result<Result<ProcessCard, Refusal>, Refused> {
        let (conversation, sequence) =
            client.dialog.as_ref().ok_or_else(|| Refused::new(Code::DialogRequired, "no dialog"))?;
        let place = (conversation, *sequence);
        Ok(self.relay.hand_out_in_dialog(&client.account, &client.owner, place, id).await)
    }

    /// Everything that can be refused before anything is stored or dialled.
    async fn errand(
        &self,
        client: &Client,
        uri: &str,
        addressee: &[u8],
        kept: Option<(Envelope, Vec<crate::domain::card::CertificateFinding>)>,
        context: &Context<'_>,
    ) -> Result<Errand, Refused> {
        let request = context.request;
        let message = &request.received.message;
        let directory = self.relay.directory();
        let (recipient, recipient_as) =
            directory.account_by_cipher(&Digest::of(addressee)).ok_or_else(|| {
                let words = "no participant here owns the cipher certificate of the addressee";
                Refused::told(Code::Failed, words)
            })?;
        if recipient.blocked {
            return Err(Refused::told(Code::Failed, "the recipient is blocked"));
        }
        let address = receiver(recipient, uri)?;
        let processes = matches!(message.payload, Payload::MediateDelivery(_));
        match &kept {
            None => self.may_ask(client, recipient_as, context).await?,
            Some((envelope, _)) if processes => self.may_reply(client, recipient, envelope).await?,
            Some(_) => {}
        }
        let encrypts = request.seal.is_some() || recipient.osci.encryption_required;
        let dialling = self.dialling(context.in_force, address, addressee, encrypts)?;
        let turn = self.recipients.enter(&recipient.name).await.ok_or_else(|| Refused {
            loudness: Loudness::Warn,
            ..Refused::told(
                Code::NotReached,
                "too many messages are on their way to this recipient; nothing was sent, the MessageId may be used again",
            )
        })?;
        let content = self.content_of(request, request.received.has_base64()).await?;
        let envelope = match &kept {
            Some((envelope, _)) => envelope.clone(),
            None => plain_envelope(&nameless()?, &client.owner, recipient_as),
        };
        let submission = match kept {
            None => None,
            Some((envelope, findings)) => {
                let writer = self.relay.payload_writer().await;
                Some(self.submission(writer, envelope, findings, request).await?)
            }
        };
        let parties = Parties {
            sender: issued_only(&client.account),
            reply_to: client.owner.clone(),
            recipient: recipient.clone(),
            recipient_as: recipient_as.clone(),
            recipient_cipher: Digest::of(addressee),
            envelope,
        };
        Ok(Errand {
            parties,
            processes,
            submission,
            languages: message.languages.clone(),
            content,
            dialling: Arc::new(dialling),
            in_force: context.in_force.clone(),
            _turn: turn,
        })
    }

    /// A reply that is kept is the recipient's message to the sender, and must not fail when the recipient has answered
    /// already.
    async fn may_reply(
        &self,
        client: &Client,
        recipient: &Account,
        question: &Envelope,
    ) -> Result<(), Refused> {
        let service = question.qualifier.service.as_str();
        match self.relay.look_up(recipient, &client.owner, service).await.map_err(failed)? {
            Service::Offered => Ok(()),
            Service::NotOffered => Err(Refused::told(
                Code::Failed,
                "the recipient may not write to this participant in this service, so that no reply could be kept; nothing \
                 was sent",
            )),
        }
    }

    /// A question that is not kept is asked under the same rights as one that is.
    async fn may_ask(
        &self,
        client: &Client,
        recipient: &PartyIdentifier,
        context: &Context<'_>,
    ) -> Result<(), Refused> {
        let stated = match self.metadata(context.request) {
            None => plain_envelope(&nameless()?, &client.owner, recipient),
            Some(read) => read.map_err(|error| {
                Refused::told(Code::Failed, format!("the message metadata cannot be read: {error}"))
            })?,
        };
        let service = stated.qualifier.service.as_str();
        let may = self.relay.look_up(&client.account, recipient, service).await.map_err(failed)?;
        let is_own = client.account.speaks_for(&stated.author.identifier);
        if may == Service::Offered && is_own && stated.reader.identifier.matches(recipient) {
            return Ok(());
        }
        Err(Refused::told(Code::Failed, "this participant may not ask this recipient in this service"))
    }

    fn dialling(
        &self,
        in_force: &InForce,
        address: Address,
        addressee: &[u8],
        encrypts: bool,
    ) -> Result<exchange::Settings, Refused> {
        let internal =
            |error: String| Refused { loudness: Loudness::Error, ..Refused::new(Code::Failed, error) };
        let own =
            in_force.cipher.first().ok_or_else(|| internal("no cipher certificate of ours".to_owned()))?;
        let keys = Keys {
            cipher: own.certificate.clone(),
            cipher_key: own.key.clone(),
            signature: Some(Signature {
                certificate: in_force.signature.certificate.clone(),
                key: in_force.signature.key.clone(),
            }),
        };
        let peer = Certificate::from_der(addressee)
            .map_err(|error| Refused::told(Code::AddresseeCipherUntrusted, error.to_string()))?;
        let scratch = &self.settings.spool_folder;
        std::fs::create_dir_all(scratch)
            .map_err(|error| internal(format!("{}: {error}", scratch.display())))?;
        let time_max = self.settings.push.time_max;
        let mut dialling = exchange::Settings::new(address, keys, peer);
        dialling.transport = transport::Settings {
            tls: in_force.recipients.clone(),
            connect_time_max: CONNECT_TIME_MAX.min(time_max),
            names_stay_outside: true,
            exchange_time_max: time_max,
            answer_bytes_max: self.settings.request_bytes_max(),
        };
        dialling.encrypt = encrypts;
        dialling.policy = self.settings.policy;
        dialling.limits = incoming::limits(&self.settings);
        dialling.scratch.clone_from(scratch);
        // As much as answers may use: what is on its way out makes room.
        dialling.reserve_bytes = self.settings.limits.disk_reserve_bytes / 2;
        Ok(dialling)
    }

    /// What a message carries beside its payload element, to go on as it came.
    async fn content_of(&self, request: &Request, in_base64: bool) -> Result<Content, Refused> {
        let received = &request.received;
        let span = received
            .package_span()
            .ok_or_else(|| Refused::new(Code::Malformed, "the body has no ContentPackage"))?;
        let mut attachments = Vec::new();
        for attachment in &received.attachments {
            let source = request.bytes.stretch(attachment.span.clone());
            let source = match attachment.encoding {
                TransferEncoding::Identity => source,
                TransferEncoding::Base64 => {
                    let spool = self.spool(self.settings.request_bytes_max());
                    let decoded = parts::on_disk(move || {
                        partial_store::octets(&source, TransferEncoding::Base64, spool)
                    });
                    let octets = decoded
                        .await
                        .map_err(|error| Refused::told(Code::Failed, format!("an attachment: {error}")))?;
                    octets.stretch(0..octets.length())
                }
            };
            let id = attachment.content_id.clone();
            let mut outgoing = OutgoingAttachment::new(id, attachment.content_type(), Arc::new(source));
            outgoing.extra = super::store::extra_fields(attachment);
            outgoing.coding = if in_base64 { Coding::Base64 } else { Coding::Binary };
            attachments.push(outgoing);
        }
        let certificates = received.message.certificates.as_ref();
        let certificates = certificates.map(|block| block.without(Role::SignatureAddressee));
        Ok(Content {
            certificates: certificates.filter(|block: &NonIntermediaryCertificates| !block.all().is_empty()),
            custom: received.message.custom.clone(),
            scope: received.scope.clone(),
            package: Arc::new(request.bytes.stretch(span)),
            attachments,
        })
    }

    /// Returns when no push is under way, also none whose sender has left. To be called when no more requests come.
    pub async fn pushes_ended(&self) {
        drop(self.under_way.write().await);
    }

    /// To its end, whatever becomes of the sender's connection.
    async fn run(&self, errand: Errand) -> Result<Taken, Refused> {
        let operation = if errand.processes { "mediateDelivery" } else { "forwardDelivery" };
        let door = self.clone();
        let under_way = self.under_way.clone().read_owned().await;
        let task = tokio::spawn(async move {
            let _under_way = under_way;
            door.carry_out(errand).await
        });
        let outcome = task.await.unwrap_or_else(|error| {
            let detail = format!("the push broke off: {error}");
            Err(Refused { loudness: Loudness::Error, ..Refused::new(Code::Reached, detail) })
        });
        let word = outcome.as_ref().map_or_else(|refused| refused.code.as_str(), |_| "taken");
        metrics::counter!("amtsbote_osci_pushes_total", "operation" => operation, "outcome" => word)
            .increment(1);
        outcome
    }

    async fn carry_out(&self, errand: Errand) -> Result<Taken, Refused> {
        let Errand { parties, processes, submission, languages, content, dialling, in_force, _turn } = errand;
        let reply_id = match processes && submission.is_some() {
            false => None,
            true => {
                // Whoever has read the id on an open wire must not reply with it in the recipient's name.
                let bond = Bond { party: parties.recipient_cipher, sealed: dialling.encrypt };
                Some(self.relay.announce_bound(&parties.recipient, Some(&bond)).await.map_err(failed)?)
            }
        };
        let kept = match submission {
            None => None,
            Some(submission) => {
                // With the reply, and once more without it.
                let time_max = self.settings.push.time_max.saturating_add(2 * WRITE_DOWN_TIME_MAX);
                let accepted = self.relay.accept_to_push(&parties.sender, submission, time_max).await;
                match accepted.map_err(failed)? {
                    (Accepted::New, card) => Some(card),
                    (Accepted::Before, _) => return Err(used()),
                }
            }
        };
        let forwarded_at = self.relay.now();
        let card = kept.as_ref().map(|card| on_its_way(card, &parties.envelope, forwarded_at)).transpose();
        let pushed = match card.and_then(|card| purpose(processes, card, reply_id.as_ref())) {
            Err(refused) => Err(Ending::No(refused)),
            Ok(purpose) => {
                let Content { certificates, custom, scope, package, attachments } = content;
                let content = package;
                let delivery =
                    Delivery { purpose, languages, certificates, custom, scope, content, attachments };
                push::push(&dialling, delivery).await.map_err(ending)
            }
        };
        let judged = pushed.and_then(|answered| {
            let findings =
                self.judge_signer(&parties.recipient, &in_force, &answered).map_err(Ending::Open)?;
            let replies = processes && !answered.lacks_content;
            let reply = replies.then(|| request_of(answered)).transpose().map_err(Ending::Open)?;
            Ok((findings, reply))
        });
        match (judged, kept) {
            (Err(ending), kept) => Err(self.ended(kept.as_ref(), ending).await),
            (Ok((findings, reply)), None) => {
                let reply = reply.map(|request| Reply { request, envelope: None });
                Ok(Taken { card: None, findings, reply })
            }
            (Ok((findings, reply)), Some(card)) => {
                let reply = reply.zip(reply_id);
                let (card, reply) = self.taken(&parties, &card, forwarded_at, reply, &in_force).await?;
                Ok(Taken { card: Some(card), findings, reply })
            }
        }
    }

    /// Whether the recipient's signature is one of the recipient; whoever signs with another key is not believed.
    fn judge_signer(
        &self,
        recipient: &Account,
        in_force: &InForce,
        answered: &Answered,
    ) -> Result<Findings, Refused> {
        let mut findings: Findings = answered.warnings.iter().map(|code| (*code, None)).collect();
        let Some(signer) = &answered.signer else {
            if !recipient.osci.signature_required {
                return Ok(findings);
            }
            // Anybody on an open path could have said yes.
            let detail = format!(
                "the answer of {} is not signed, and the participant's account demands signatures \
                 (osci.signature_required)",
                recipient.name
            );
            let sentence = "the recipient's answer is not signed, which it has to be here".to_owned();
            let told =
                Refused { sentence: Some(sentence), ..Refused::new(Code::AnswerSignatureInvalid, detail) };
            return Err(Refused { loudness: Loudness::Warn, ..told });
        };
        let digest = Digest::of(signer);
        let directory = self.relay.directory();
        if directory.account_by_signature(&digest).is_none_or(|owner| owner.name != recipient.name) {
            let detail = format!(
                "the answer of {} is signed by the certificate {digest}, which is not one of the participant's; if it is \
                 right, add it under account.osci.signature and apply the participants",
                recipient.name
            );
            let sentence = "the certificate is not one of the recipient's".to_owned();
            let told =
                Refused { sentence: Some(sentence), ..Refused::new(Code::AnswerSignatureInvalid, detail) };
            return Err(Refused { loudness: Loudness::Warn, ..told });
        }
        let mut inspected = Inspected::default();
        let shown = Shown::new(Role::SignatureAddressee, signer.as_slice());
        inspect::one(&in_force.anchors, &shown, self.relay.now(), &mut inspected);
        if let Some(code) = inspected.first_error() {
            let detail = format!("the signature certificate in the answer of {}", recipient.name);
            return Err(Refused { loudness: Loudness::Warn, ..Refused::new(code, detail) });
        }
        findings.extend(inspected.codes.into_iter().map(|code| (code, None)));
        Ok(findings)
    }

    /// Writes down that there was no yes.
    async fn ended(&self, kept: Option<&ProcessCard>, ending: Ending) -> Refused {
        let (mut refused, is_open) = match ending {
            Ending::No(refused) => (refused, false),
            Ending::Open(refused) => (refused, true),
        };
        let Some(card) = kept else { return refused };
        let reason: String = format!("{}: {}", refused.code.as_str(), refused.detail);
        let reason: String = reason.chars().take(REASON_SHOWN_MAX).collect();
        let noted = match is_open {
            true => self.relay.leave_push_open(&card.id, &reason).await,
            false => self.relay.decline_push(&card.id, &reason).await,
        };
        if let Err(refusal) = noted {
            // It stays held, and its card says that it was being pushed.
            tracing::error!(message_id = %card.id, %refusal, code = refused.code.as_str(), "the end of a push was not written down");
        }
        refused.detail = format!("{}: {}", card.id, refused.detail);
        refused
    }

    /// Writes down that the recipient took the message, with what he replied.
    async fn taken(
        &self,
        parties: &Parties,
        card: &ProcessCard,
        forwarded_at: Timestamp,
        reply: Option<(Request, MessageId)>,
        in_force: &InForce,
    ) -> Result<(ProcessCard, Option<Reply>), Refused> {
        let recipient = &parties.recipient;
        let mut trouble = None;
        if let Some((request, id)) = reply {
            let finished = persistently(is_ours, || async {
                let submission = self.reply(parties, id.clone(), &request, in_force).await?;
                let envelope = submission.envelope.clone();
                let finished = self.relay.finish_push(&card.id, forwarded_at, recipient, Some(submission));
                finished.await.map(|card| (card, envelope)).map_err(failed)
            });
            match finished.await {
                Ok((card, envelope)) => {
                    return Ok((card, Some(Reply { request, envelope: Some(envelope) })));
                }
                Err(refused) => trouble = Some(refused),
            }
        }
        let finished = persistently(Refusal::is_ours, || {
            self.relay.finish_push(&card.id, forwarded_at, recipient, None)
        });
        let unwritten = |detail: String| Refused {
            loudness: Loudness::Error,
            ..Refused::new(Code::Reached, format!("{}: {detail}", card.id))
        };
        let finished = finished.await.map_err(|refusal| {
            unwritten(format!("the recipient took it, and that could not be written down: {refusal}"))
        })?;
        match trouble {
            None if finished.received_at.is_none() => Err(Refused {
                sentence: Some("the recipient took the message, which was over here meanwhile".to_owned()),
                loudness: Loudness::Warn,
                ..unwritten(format!("the recipient took it, and it was {} meanwhile", finished.state))
            }),
            None => Ok((finished, None)),
            Some(refused) => Err(Refused {
                sentence: Some("the recipient took the message; its reply could not be kept".to_owned()),
                ..unwritten(format!("the recipient's reply could not be kept: {}", refused.detail))
            }),
        }
    }

    /// What the recipient replied, as a message of his to the sender.
    async fn reply(
        &self,
        parties: &Parties,
        id: MessageId,
        request: &Request,
        in_force: &InForce,
    ) -> Result<Submission, Refused> {
        let Parties { reply_to, recipient_as, envelope: question, .. } = parties;
        let Payload::ResponseToProcessDelivery(answer) = &request.received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a responseToProcessDelivery"));
        };
        // Metadata that do not fit are no reason to lose a reply; they go on as they came.
        let stated = self.metadata(request).and_then(Result::ok).filter(|stated| {
            stated.author.identifier.matches(recipient_as) && stated.reader.identifier.matches(reply_to)
        });
        let mut envelope = match stated {
            Some(stated) => Envelope { id, not_before: None, ..stated },
            None => {
                let mut envelope = plain_envelope(&id, recipient_as, reply_to);
                envelope.test = question.test;
                envelope.qualifier.service.clone_from(&question.qualifier.service);
                envelope
            }
        };
        if !envelope.in_reply_to.contains(&question.id) {
            envelope.in_reply_to.push(question.id.clone());
        }
        if let Some(subject) = &answer.subject {
            envelope.qualifier.subject.get_or_insert_with(|| subject.clone());
        }
        let mut inspected = Inspected::default();
        let certificates = request.received.message.certificates.as_ref();
        for shown in certificates.into_iter().flat_map(|certificates| certificates.all()) {
            inspect::one(&in_force.anchors, shown, self.relay.now(), &mut inspected);
        }
        // It is kept while there is any room: its sender has been answered for.
        let writer = self.relay.reply_writer().await;
        self.submission(writer, envelope, inspected.findings, request).await
    }
}

/// Taken by the recipient, whose reply does not reach its sender now.
fn not_passed_on(kept_as: Option<&MessageId>, why: &str) -> Refused {
    let (detail, sentence) = match kept_as {
        Some(id) => (
            format!("the reply {id} waits in the sender's mailbox: {why}"),
            "the recipient's reply waits in your mailbox",
        ),
        None => (
            format!("the reply cannot be passed on: {why}"),
            "the recipient replied; its reply cannot be passed on",
        ),
    };
    let told = Refused { sentence: Some(sentence.to_owned()), ..Refused::new(Code::Reached, detail) };
    Refused { loudness: Loudness::Warn, ..told }
}

/// The address behind the URI, if the operator has listed it for the recipient.
fn receiver(recipient: &Account, uri: &str) -> Result<Address, Refused> {
    let listed = recipient.osci.receivers.iter().filter_map(|listed| Address::parse(listed).ok());
    Receivers::new(listed.collect()).admit(uri).ok_or_else(|| {
        let shown: String = uri.chars().take(URI_SHOWN_MAX).collect();
        let detail = format!(
            "{shown:?} is not listed for the participant {}; if its passive recipient listens there, add the URL to \
             `receivers` under account.osci and apply the participants",
            recipient.name
        );
        let sentence = "this post office does not push to that ContentReceiver for this recipient".to_owned();
        let told = Refused { sentence: Some(sentence), ..Refused::new(Code::Failed, detail) };
        Refused { loudness: Loudness::Warn, ..told }
    })
}

/// Whether it is the post office that cannot, so that it may be able to later.
fn is_ours(refused: &Refused) -> bool {
    refused.loudness == Loudness::Error
}

/// Tries again for some seconds while `passes` says of the error that it may pass.
async fn persistently<T, E, F: Future<Output = Result<T, E>>>(
    passes: impl Fn(&E) -> bool,
    attempt: impl Fn() -> F,
) -> Result<T, E> {
    let until = Instant::now() + WRITE_DOWN_TIME_MAX;
    loop {
        match attempt().await {
            Err(error) if passes(&error) && Instant::now() < until => {
                tokio::time::sleep(WRITE_DOWN_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// What a push without a yes means for the message.
fn ending(failure: Failure) -> Ending {
    let Failure { code, detail } = failure;
    let loudness = if code == Code::NotAccepted { Loudness::Info } else { Loudness::Warn };
    let refused = Refused { loudness, ..Refused::new(code, detail) };
    match code {
        Code::NotAccepted | Code::RecipientFailed | Code::NotReached => Ending::No(refused),
        _ => Ending::Open(refused),
    }
}

fn bundle(card: &ProcessCard, envelope: &Envelope) -> Result<ProcessCardBundle, Refused> {
    card::bundle(card, envelope).map_err(|error| Refused::new(Code::Failed, error.to_string()))
}

/// The card as the recipient sees it: the message has left, and nobody has confirmed it.
fn on_its_way(card: &ProcessCard, envelope: &Envelope, at: Timestamp) -> Result<ProcessCardBundle, Refused> {
    let at = card::instant(at);
    Ok(ProcessCardBundle {
        recent_modification: at.clone(),
        forwarding: Some(process_card::Timestamp::Plain(at)),
        ..bundle(card, envelope)?
    })
}

fn purpose(
    processes: bool,
    card: Option<ProcessCardBundle>,
    reply_id: Option<&MessageId>,
) -> Result<Purpose, Refused> {
    let reply_id = reply_id.map(|id| WireId::new(id.as_str())).transpose();
    let reply_id = reply_id.map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
    match (processes, card) {
        (true, card) => Ok(Purpose::Process(ProcessDelivery { reply_id, card })),
        (false, Some(card)) => Ok(Purpose::Accept(AcceptDelivery { card })),
        (false, None) => Err(Refused::new(Code::MessageIdMissing, "no MessageId")),
    }
}

/// The answer, to be read as a delivery is.
fn request_of(answered: Answered) -> Result<Request, Refused> {
    let plain = answered.opened.plain;
    let file = plain.whole_file().ok_or_else(|| Refused {
        loudness: Loudness::Error,
        ..Refused::new(Code::Reached, "the recipient's answer cannot be read again")
    })?;
    Ok(Request { received: *answered.opened.received, bytes: Frozen::File(file, plain.length()), seal: None })
}

/// An id for a message that is not kept.
fn nameless() -> Result<MessageId, Refused> {
    let id = format!("unkept-{}", uuid::Uuid::new_v4().simple());
    MessageId::parse(&id).map_err(|error| Refused::new(Code::Failed, error.to_string()))
}
