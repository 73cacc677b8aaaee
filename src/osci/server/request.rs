//! One request from its control block to its answer, in the order of section 10: originator, dialog, signature,
//! certificates, message id, execution. What comes before the dialog is answered by a fault, the rest by feedback.

use std::sync::Arc;

use aws_lc_rs::rand;

use super::answer::{self, Answer};
use super::incoming::Request;
use super::inspect::{self, Inspected};
use super::outbox::Room;
use super::policy;
use super::unproven::Written;
use super::unwritable::Carried;
use super::{Door, InForce, Refused};
use crate::domain::account::Account;
use crate::domain::content::Digest;
use crate::domain::dialog::{ConversationId, Dialog, DialogStep, Originator};
use crate::domain::message_id::{Bond, MessageId as DomainId};
use crate::domain::party::PartyIdentifier;
use crate::osci::code::{Code, Language};
use crate::osci::dialog::{
    self, AnswerControl, Continuation, Control, ExpectRequest, Fresh, Manner, Opening, Shown,
};
use crate::osci::envelope::read::Received;
use crate::osci::message::certificates::{Certificate, Role};
use crate::osci::message::chunk_information::ChunkInformation;
use crate::osci::message::exit_dialog::ResponseToExitDialog;
use crate::osci::message::feature_description::FeatureDescription;
use crate::osci::message::feedback::Feedback;
use crate::osci::message::fetch_delivery::{FetchDelivery, ResponseToFetchDelivery};
use crate::osci::message::fetch_process_card::ResponseToFetchProcessCard;
use crate::osci::message::forward_delivery::ResponseToForwardDelivery;
use crate::osci::message::init_dialog::ResponseToInitDialog;
use crate::osci::message::kind::{Kind, Operation};
use crate::osci::message::mediate_delivery::ResponseToMediateDelivery;
use crate::osci::message::message_id::{MessageId, ResponseToGetMessageId};
use crate::osci::message::partial_fetch_delivery::ResponseToPartialFetchDelivery;
use crate::osci::message::partial_store_delivery::ResponseToPartialStoreDelivery;
use crate::osci::message::payload::Payload;
use crate::osci::message::store_delivery::ResponseToStoreDelivery;
use crate::relay::Refusal;
use crate::report::{CorrelationId, Loudness};

/// Codes beside the one that says that the request was done, each with what is added to its words.
pub(super) type Findings = Vec<(Code, Option<String>)>;

/// A known client in a dialog of either kind.
pub(super) struct Client {
    pub account: Account,
    /// The identifier whose mailbox its cipher certificate names.
    pub owner: PartyIdentifier,
    /// The explicit dialog, and where it stands.
    pub dialog: Option<(ConversationId, u64)>,
    /// SHA-256 of its cipher certificate.
    pub cipher: Digest,
    /// Neither a signature nor a dialog's challenge proves who asks: only that he knows a message id that nobody else
    /// could read does.
    pub by_id_alone: bool,
}

/// Everything about the request that its execution needs.
pub(super) struct Context<'a> {
    pub request: &'a Request,
    pub in_force: &'a Arc<InForce>,
    pub findings: Findings,
    /// The dialog's step, while it is not made: whoever writes on it writes both in one transaction.
    pub step: Option<DialogStep>,
    /// The dialog did not move on, so that there is nothing to answer in.
    pub fault: Option<Refused>,
    /// To whom the id of a storeDelivery was issued, where that was asked for with the dialog.
    pub bond: Option<(DomainId, Option<Bond>)>,
    /// Disk space that was kept for a large answer, before what it carries was noted as handed out.
    pub room: Option<Room>,
}

impl Context<'_> {
    /// What was done in one transaction with the dialog's step; where that was not made there is no answer but a fault.
    pub(super) fn behind_step<T>(&mut self, outcome: Result<T, Refusal>) -> Result<T, Refused> {
        outcome.map_err(|refusal| {
            let refused = not_moved(refusal);
            let told = Refused::new(refused.code, refused.detail.clone());
            self.fault = Some(refused);
            told
        })
    }

    /// The same for a hand-out in the dialog. Where the store failed it may have happened all the same, and the next request
    /// of the dialog would say that the reader has what he never got: there is none after a fault.
    pub(super) fn behind_hand_out<T>(&mut self, outcome: Result<T, Refusal>) -> Result<T, Refused> {
        match outcome {
            Err(refusal) if !refusal.is_ours() => Err(failed(refusal)),
            outcome => self.behind_step(outcome),
        }
    }
}

/// Requests up to this size are kept in one transaction with the dialog's step; they pass through memory alone.
const STORED_AT_ONCE_BYTES_MAX: u64 = 64 * 1024;

/// Where the request stands and what its answer bears, whatever becomes of it.
struct Standing {
    control: AnswerControl,
    cipher: Vec<u8>,
    dialog: Option<(ConversationId, u64)>,
    /// Still to be made.
    step: Option<DialogStep>,
    proven: bool,
    done: Code,
    warnings: Findings,
}

impl Door {
    pub(super) async fn perform(
        &self,
        request: Request,
        in_force: &Arc<InForce>,
        correlation: CorrelationId,
    ) -> Result<Answer, Refused> {
        let message = &request.received.message;
        let operation = match message.kind() {
            Kind::Request(operation) if !operation.is_to_recipient() => operation,
            kind => return Err(Refused::new(Code::Malformed, format!("{kind} is not for an intermediary"))),
        };
        let languages = message.languages.as_ref().map(|languages| languages.list()).unwrap_or_default();
        let language = Language::first_of(&languages);
        let features = message.features.clone();
        // Verified when it was read; whose it is, is judged below.
        let signer = signer(&request.received);
        let opening = dialog::open(manner(operation), control(&request.received));
        let opening = match opening {
            Ok(opening) => opening,
            Err(refusal) => {
                // Requests of an explicit dialog need not name their originator again.
                if message.control.conversation_id.is_none() {
                    self.originator(&request.received, in_force)?;
                }
                return Err(Refused::new(Code::DialogMismatch, refusal.to_string()));
            }
        };
        let begins = matches!(opening, Opening::Begins { .. });
        let needs_dialog = matches!(opening, Opening::NeedsDialog { .. });
        let signed_by =
            signer.as_ref().ok().and_then(|signer| signer.as_ref()).map(|signer| signer.der.clone());
        let mut bond = None;
        let standing = match &opening {
            Opening::Continues(continuation) => {
                let conversation = &continuation.conversation;
                // Each question to the store is a turn of another thread, and costs about as much as its answer.
                let found = match delivered(&message.payload) {
                    Some(id) => {
                        let both = self.relay.dialog_and_bond(conversation, &id).await;
                        let (found, known) = both.map_err(unavailable)?;
                        bond = Some((id, known));
                        found
                    }
                    None => self.relay.dialog(conversation).await.map_err(unavailable)?,
                };
                let signed_by = signed_by.as_deref().filter(|der| self.belongs(found.as_ref(), der));
                self.go_on(found, continuation.clone(), &request, signed_by, in_force)?
            }
            Opening::Begins { challenge } | Opening::Implicit { challenge } => {
                let (cipher, warnings) = self.originator(&request.received, in_force)?;
                // An answer to an encrypted request of one exchange is readable by its originator only, and so is the
                // message id that he must show with the next.
                let proven = signed_by.is_some() || (request.seal.is_some() && !begins);
                let control = dialog::answer_alone(challenge.clone(), 0, fresh()?);
                let done = Code::DoneClosed;
                Standing { control, cipher, dialog: None, step: None, proven, done, warnings }
            }
            Opening::NeedsDialog { challenge, sequence } => {
                let (cipher, warnings) = self.originator(&request.received, in_force)?;
                let control = dialog::answer_alone(challenge.clone(), *sequence, fresh()?);
                let done = Code::DoneClosed;
                Standing { control, cipher, dialog: None, step: None, proven: false, done, warnings }
            }
        };
        let Standing { mut control, cipher, dialog, step, proven, done, warnings } = standing;
        let mut context =
            Context { request: &request, in_force, findings: warnings, step, fault: None, bond, room: None };
        let client = self.client(&cipher, signer, dialog, proven, operation, &mut context);
        let executed = match client {
            _ if needs_dialog => Err(Refused::new(Code::DialogRequired, "no ConversationId")),
            Err(refused) => Err(refused),
            Ok(client) if begins => {
                self.begin(&client, &opening, &cipher, signed_by, &mut context).await.map(|opened| {
                    control = opened;
                    Executed::Payload(Box::new(|feedback| {
                        Payload::ResponseToInitDialog(ResponseToInitDialog { feedback })
                    }))
                })
            }
            Ok(client) => {
                // The step goes into one transaction with an id, and with a message unless that takes its time: what
                // the dialog confirms is received when the request has arrived.
                let at_once = match operation {
                    Operation::GetMessageId => true,
                    Operation::StoreDelivery => request.bytes.length() <= STORED_AT_ONCE_BYTES_MAX,
                    _ => false,
                };
                if !at_once {
                    self.move_on(&mut context).await?;
                }
                self.execute(operation, client, &mut context).await
            }
        };
        if let Some(fault) = context.fault.take() {
            return Err(fault);
        }
        // Whatever becomes of the request, the dialog has moved on before its answer says so.
        self.move_on(&mut context).await?;
        let done = if begins { Code::DoneOpen } else { done };
        // The answer to initDialog bears no sequence number, whatever it says.
        if begins {
            control.sequence = None;
        }
        match executed {
            Err(refused) => {
                refused.log(correlation);
                let mut findings = vec![(refused.code, refused.sentence)];
                findings.extend(context.findings.into_iter().filter(|(code, _)| *code != refused.code));
                let feedback = answer::feedback(language, &findings);
                let payload = refusal(operation, &message.payload, feedback);
                Ok(Answer::plain(control, payload, features, cipher))
            }
            Ok(executed) => {
                let mut findings = context.findings;
                findings.push((done, None));
                let feedback = answer::feedback(language, &findings);
                let room = context.room.take();
                Ok(Answer { room, ..executed.answer(control, feedback, features, cipher) })
            }
        }
    }

    /// The cipher certificate of the originator and what is to be said of it; trouble with it is a fault, because
    /// nothing could be answered to nobody.
    pub(super) fn originator(
        &self,
        received: &Received,
        in_force: &InForce,
    ) -> Result<(Vec<u8>, Findings), Refused> {
        let certificates = received.message.certificates.as_ref();
        let cipher = certificates
            .and_then(|certificates| certificates.first(Role::CipherOriginator))
            .ok_or_else(|| Refused::new(Code::OriginatorMissing, "no CipherCertificateOriginator"))?;
        let warnings = self.inspect_originator(cipher, in_force)?;
        Ok((cipher.der.clone(), warnings))
    }

    fn inspect_originator(&self, cipher: &Certificate, in_force: &InForce) -> Result<Findings, Refused> {
        let mut inspected = Inspected::default();
        inspect::one(&in_force.anchors, cipher, self.relay.now(), &mut inspected);
        if let Some(code) = inspected.first_error() {
            let why = inspected.findings.iter().flat_map(|finding| finding.checks.clone());
            let why: Vec<String> = why.filter(|line| !line.ends_with(": good")).collect();
            return Err(Refused::new(code, why.join("; ")));
        }
        Ok(inspected.codes.into_iter().map(|code| (code, None)).collect())
    }

    /// Whether the dialog's account owns the signer's certificate; another's signature proves nothing here.
    fn belongs(&self, dialog: Option<&Dialog>, signed_by: &[u8]) -> bool {
        let directory = self.relay.directory();
        let owner = directory.account_by_signature(&Digest::of(signed_by));
        dialog.is_some_and(|dialog| owner.is_some_and(|owner| owner.name == dialog.account))
    }

    /// A further request of an explicit dialog, and the step that is to be made before or with whatever else is written: it
    /// moves the dialog on, and what it confirms is received.
    fn go_on(
        &self,
        found: Option<Dialog>,
        continuation: Continuation,
        request: &Request,
        signed_by: Option<&[u8]>,
        in_force: &InForce,
    ) -> Result<Standing, Refused> {
        let mismatch = |refusal: dialog::Refusal| Refused::new(Code::DialogMismatch, refusal.to_string());
        let now = self.relay.now();
        let state = ExpectRequest::resume(found, now).map_err(mismatch)?;
        let certificates = request.received.message.certificates.as_ref();
        let cipher = certificates.and_then(|certificates| certificates.first(Role::CipherOriginator));
        let shown = Shown {
            cipher: cipher.map(|cipher| cipher.der.as_slice()),
            signature: signed_by,
            encrypted: request.seal.is_some(),
        };
        let ends = continuation.ends;
        let challenge = fresh()?.challenge;
        let (step, expect_answer) =
            state.take(continuation, shown, challenge, now, self.settings.dialog_idle).map_err(mismatch)?;
        let dialog = expect_answer.dialog();
        let (cipher, place) = (dialog.originator.cipher.clone(), (dialog.id.clone(), dialog.sequence));
        let proven = expect_answer.is_proven();
        let (control, _) = expect_answer.answer();
        // It may have been revoked since the dialog began; then the step is not made and confirms nothing.
        let warnings =
            self.inspect_originator(&Certificate::new(Role::CipherOriginator, cipher.clone()), in_force)?;
        Ok(Standing {
            control,
            cipher,
            dialog: Some(place),
            step: Some(step),
            proven,
            done: if ends { Code::DoneClosed } else { Code::DoneOpen },
            warnings,
        })
    }

    /// Makes the step that is still to be made.
    async fn move_on(&self, context: &mut Context<'_>) -> Result<(), Refused> {
        match context.step.take() {
            Some(step) => self.relay.step_dialog(&step).await.map_err(not_moved),
            None => Ok(()),
        }
    }

    /// Who asks, if the rules that are meant for him are kept.
    pub(super) fn client(
        &self,
        cipher: &[u8],
        signer: Result<Option<Certificate>, Refused>,
        dialog: Option<(ConversationId, u64)>,
        proven: bool,
        operation: Operation,
        context: &mut Context<'_>,
    ) -> Result<Client, Refused> {
        let signer = signer?;
        let directory = self.relay.directory();
        let (account, owner) = directory.account_by_cipher(&Digest::of(cipher)).ok_or_else(|| {
            Refused::told(Code::Failed, "no participant of this post office owns the cipher certificate")
        })?;
        if account.blocked {
            return Err(Refused::told(Code::Failed, "the participant is blocked"));
        }
        if let Some(signer) = &signer {
            let owns = directory
                .account_by_signature(&Digest::of(&signer.der))
                .is_some_and(|owner| owner.name == account.name);
            if !owns {
                let sentence = "the signature certificate is not one of the participant's";
                return Err(Refused::told(Code::SignatureInvalid, sentence));
            }
            let mut inspected = Inspected::default();
            inspect::one(&context.in_force.anchors, signer, self.relay.now(), &mut inspected);
            if let Some(code) = inspected.first_error() {
                return Err(Refused::new(code, "the client's signature certificate"));
            }
            context.findings.extend(inspected.codes.into_iter().map(|code| (code, None)));
        }
        policy::judge(&account.osci, context.request, cipher, signer.as_ref())?;
        let opens_mailbox = matches!(
            operation,
            Operation::FetchDelivery
                | Operation::FetchProcessCard
                | Operation::PartialFetchDelivery
                // A reply is for the mailbox's owner, too.
                | Operation::MediateDelivery
        );
        let needs_no_proof = matches!(operation, Operation::InitDialog | Operation::ExitDialog)
            || self.settings.unproven_senders;
        if !proven && (opens_mailbox || !needs_no_proof) {
            return Err(Refused::told(
                Code::SignatureMissing,
                "a request that is neither encrypted in an encrypted dialog nor signed proves nobody's identity",
            ));
        }
        Ok(Client {
            account: account.clone(),
            owner: owner.clone(),
            by_id_alone: dialog.is_none() && signer.is_none(),
            dialog,
            cipher: Digest::of(cipher),
        })
    }

    /// Whether this client may use a message id for a request of its own, issued as it was. An id is good for the cipher
    /// certificate that it was issued to. One that left in the clear is known to whoever listened, and so proves nothing
    /// where nothing else proves who asks. Ids from other doors were issued to the account as a whole.
    pub(super) async fn may_use(
        &self,
        client: &Client,
        id: &crate::domain::message_id::MessageId,
        request: &Request,
    ) -> Result<(), Refused> {
        may_use_bound(client, self.relay.bond(id).await.map_err(failed)?, request)
    }

    /// initDialog: the dialog is in the store before the answer names it.
    async fn begin(
        &self,
        client: &Client,
        opening: &Opening,
        cipher: &[u8],
        signature: Option<Vec<u8>>,
        context: &mut Context<'_>,
    ) -> Result<AnswerControl, Refused> {
        let Opening::Begins { challenge } = opening else {
            return Err(Refused::new(Code::Failed, "not the beginning of a dialog"));
        };
        if signature.is_none() {
            self.admit(client, Written::Dialog)?;
        }
        let originator = Originator { cipher: cipher.to_vec(), signature };
        let begun = dialog::begin(
            challenge.clone(),
            client.account.name.clone(),
            originator,
            context.request.seal.is_some(),
            fresh()?,
            self.relay.now(),
            self.settings.dialog_idle,
        );
        self.relay.open_dialog(begun.dialog()).await.map_err(failed)?;
        tracing::info!(account = %client.account.name, encrypted = context.request.seal.is_some(), "a dialog begins");
        Ok(begun.answer().0)
    }

    /// Counts what is written for a client who has proven nothing yet.
    fn admit(&self, client: &Client, what: Written) -> Result<(), Refused> {
        let name = &client.account.name;
        let Err((max, window)) = self.unproven.admit(name, what, &self.relay) else { return Ok(()) };
        let asked = match what {
            Written::Id => "message ids without a dialog",
            Written::Dialog => "dialogs",
        };
        let sentence =
            format!("too many unsigned requests for {asked} in this participant's name; sign the request");
        let detail = format!("account {name}: {sentence} (bound: {max} within {} s)", window.as_secs());
        Err(Refused {
            sentence: Some(sentence),
            loudness: Loudness::Warn,
            ..Refused::new(Code::Failed, detail)
        })
    }

    async fn execute(
        &self,
        operation: Operation,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let plainly = |make: fn(Feedback) -> Payload| Ok(Executed::Payload(Box::new(make)));
        match operation {
            Operation::ExitDialog => {
                plainly(|feedback| Payload::ResponseToExitDialog(ResponseToExitDialog { feedback }))
            }
            Operation::GetMessageId => {
                if client.by_id_alone {
                    self.admit(&client, Written::Id)?;
                }
                let bond = Bond { party: client.cipher, sealed: context.request.seal.is_some() };
                let issued = match context.step.take() {
                    Some(step) => {
                        let issued = self.relay.announce_in_dialog(&client.account, Some(&bond), &step).await;
                        context.behind_step(issued)?
                    }
                    None => self.relay.announce_bound(&client.account, Some(&bond)).await,
                };
                let id = issued.map_err(failed)?;
                let id = MessageId::new(id.as_str())
                    .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
                Ok(Executed::Payload(Box::new(move |feedback| {
                    let message_id = Some(id);
                    Payload::ResponseToGetMessageId(ResponseToGetMessageId { feedback, message_id })
                })))
            }
            Operation::StoreDelivery => self.store_delivery(client, context).await,
            Operation::FetchDelivery => self.fetch_delivery(client, context).await,
            Operation::FetchProcessCard => self.fetch_process_card(client, context).await,
            Operation::PartialStoreDelivery => self.partial_store_delivery(client, context).await,
            Operation::PartialFetchDelivery => self.partial_fetch_delivery(client, context).await,
            Operation::ForwardDelivery => self.forward_delivery(client, context).await,
            Operation::MediateDelivery => self.mediate_delivery(client, context).await,
            Operation::InitDialog | Operation::AcceptDelivery | Operation::ProcessDelivery => {
                Err(Refused::told(Code::Failed, format!("{} is not offered here", operation.name())))
            }
        }
    }
}

/// The judgement of [`Door::may_use`] by what the store remembers with the id.
pub(super) fn may_use_bound(client: &Client, bond: Option<Bond>, request: &Request) -> Result<(), Refused> {
    let Some(bond) = bond else { return Ok(()) };
    if bond.party != client.cipher {
        let sentence = "the message id was issued to another cipher certificate";
        return Err(Refused::told(Code::MessageIdUnknown, sentence));
    }
    if client.by_id_alone && request.seal.is_some() && !bond.sealed {
        let sentence = "the message id was issued in the clear; sign, or ask for one in an encrypted request";
        return Err(Refused::told(Code::MessageIdUnknown, sentence));
    }
    Ok(())
}

/// The id of a storeDelivery, if it is one.
fn delivered(payload: &Payload) -> Option<DomainId> {
    match payload {
        Payload::StoreDelivery(asked) => DomainId::parse(asked.message_id.as_ref()?.as_str()).ok(),
        _ => None,
    }
}

/// What an execution brought, to be completed by the feedback.
pub(super) enum Executed {
    Payload(Box<dyn FnOnce(Feedback) -> Payload + Send>),
    Delivery(Box<Delivered>),
}

/// A delivery on its way to its reader.
pub(super) struct Delivered {
    pub payload: Box<dyn FnOnce(Feedback) -> Payload + Send>,
    /// Everything but payload, control block and recipient.
    pub answer: super::fetch::Content,
    /// Which message that is; not of a slice, which was written before.
    pub carried: Option<Carried>,
}

impl Executed {
    fn answer(
        self,
        control: AnswerControl,
        feedback: Feedback,
        features: Option<FeatureDescription>,
        recipient: Vec<u8>,
    ) -> Answer {
        match self {
            Self::Payload(make) => Answer::plain(control, make(feedback), features, recipient),
            Self::Delivery(delivered) => {
                let Delivered { payload, answer, carried } = *delivered;
                let mut plain = Answer::plain(control, payload(feedback), features, recipient);
                plain.carry(answer);
                plain.carried = carried;
                plain
            }
        }
    }
}

fn manner(operation: Operation) -> Manner {
    match operation {
        Operation::InitDialog => Manner::Begins,
        Operation::ExitDialog => Manner::Ends,
        Operation::GetMessageId
        | Operation::StoreDelivery
        | Operation::ForwardDelivery
        | Operation::PartialStoreDelivery
        | Operation::AcceptDelivery
        | Operation::ProcessDelivery => Manner::Either,
        Operation::FetchDelivery
        | Operation::FetchProcessCard
        | Operation::MediateDelivery
        | Operation::PartialFetchDelivery => Manner::Explicit,
    }
}

/// The certificate that a request is signed by, if its signature holds.
pub(super) fn signer(received: &Received) -> Result<Option<Certificate>, Refused> {
    match &received.signature {
        Ok(Some(signature)) => Ok(Some(signature.certificate().clone())),
        Ok(None) => Ok(None),
        Err(refused) => Err(match refused.feedback() {
            9602 => Refused::new(Code::SignatureIncomplete, refused.to_string()),
            _ => Refused::new(Code::SignatureInvalid, refused.to_string()),
        }),
    }
}

pub(super) fn control(received: &Received) -> Control<'_> {
    let control = &received.message.control;
    Control {
        conversation: control.conversation_id.as_ref().map(|id| id.as_str()),
        sequence: control.sequence_number,
        response: control.response.as_ref().map(|response| response.as_str()),
        challenge: control.challenge.as_ref().map(|challenge| challenge.as_str()),
    }
}

pub(super) fn fresh() -> Result<Fresh, Refused> {
    use base64::Engine as _;
    let (mut conversation, mut challenge) = ([0; 16], [0; 15]);
    rand::fill(&mut conversation)
        .and_then(|()| rand::fill(&mut challenge))
        .map_err(|_| Refused::new(Code::Internal, "no random numbers"))?;
    Ok(Fresh {
        conversation: u128::from_be_bytes(conversation),
        challenge: base64::engine::general_purpose::STANDARD.encode(challenge),
    })
}

/// Why a dialog did not move on: another request was faster, or the relay cannot work.
fn not_moved(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::UnknownMessage => {
            Refused::new(Code::DialogMismatch, dialog::Refusal::UnknownDialog.to_string())
        }
        refusal => unavailable(refusal),
    }
}

/// The relay cannot work: before the dialog is known to stand, that is a fault.
fn unavailable(refusal: Refusal) -> Refused {
    Refused::new(Code::Internal, refusal.to_string())
}

/// The relay's refusal in OSCI's terms.
pub(super) fn failed(refusal: Refusal) -> Refused {
    let code = match &refusal {
        Refusal::IdUsed | Refusal::IdNotIssued => Code::MessageIdUnknown,
        Refusal::TooLarge { .. } => Code::MessageTooBig,
        Refusal::UnknownMessage => Code::NoDelivery,
        _ => Code::Failed,
    };
    let detail = match &refusal {
        Refusal::Unavailable { detail } | Refusal::Internal { detail } => detail.clone(),
        other => other.to_string(),
    };
    let loudness = if refusal.is_ours() { Loudness::Error } else { Loudness::Info };
    Refused { code, sentence: Some(refusal.to_string()), detail, loudness }
}

/// The answer that says no.
fn refusal(operation: Operation, request: &Payload, feedback: Feedback) -> Payload {
    let selection = match request {
        Payload::FetchDelivery(fetch) => fetch.clone(),
        Payload::PartialFetchDelivery(partial) => FetchDelivery { selection: partial.selection.clone() },
        _ => FetchDelivery::default(),
    };
    match operation {
        Operation::InitDialog | Operation::AcceptDelivery | Operation::ProcessDelivery => {
            Payload::ResponseToInitDialog(ResponseToInitDialog { feedback })
        }
        Operation::ExitDialog => Payload::ResponseToExitDialog(ResponseToExitDialog { feedback }),
        Operation::GetMessageId => {
            Payload::ResponseToGetMessageId(ResponseToGetMessageId { feedback, message_id: None })
        }
        Operation::StoreDelivery => {
            Payload::ResponseToStoreDelivery(Box::new(ResponseToStoreDelivery { feedback, card: None }))
        }
        Operation::FetchDelivery => Payload::ResponseToFetchDelivery(Box::new(ResponseToFetchDelivery {
            feedback,
            request: selection,
            card: None,
        })),
        Operation::FetchProcessCard => {
            let request = match request {
                Payload::FetchProcessCard(fetch) => fetch.clone(),
                _ => Default::default(),
            };
            let cards = Vec::new();
            Payload::ResponseToFetchProcessCard(Box::new(ResponseToFetchProcessCard {
                feedback,
                request,
                cards,
            }))
        }
        Operation::ForwardDelivery => {
            Payload::ResponseToForwardDelivery(Box::new(ResponseToForwardDelivery { feedback, card: None }))
        }
        Operation::MediateDelivery => {
            Payload::ResponseToMediateDelivery(Box::new(ResponseToMediateDelivery {
                feedback,
                request_card: None,
                reply_card: None,
            }))
        }
        Operation::PartialStoreDelivery => {
            Payload::ResponseToPartialStoreDelivery(Box::new(ResponseToPartialStoreDelivery {
                inside: None,
                feedback,
                card: None,
                chunk: ChunkInformation::default(),
            }))
        }
        Operation::PartialFetchDelivery => {
            Payload::ResponseToPartialFetchDelivery(Box::new(ResponseToPartialFetchDelivery {
                feedback,
                request: selection,
                chunk: None,
                message_id: None,
            }))
        }
    }
}
