//! The register's desk: takes one message after the other, does what it asks for, and writes down what is to be sent.
//!
//! When [`Desk::handle`] returns, effect, answer and the fact that the message came are durable, in one transaction; then
//! the mailbox may be told to forget it. The same message again is answered as before: no second search, fee, notice or
//! line in the log. It knows no transport: messages come as bytes with the transport's word about who sent them.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use thiserror::Error;

use super::answer::leaves_at;
use super::copies::{
    Again, Arrived, ByFeature, CLOCKS_APART_MAX, Copies, CopyError, Deadlines, Known, LoadReceipt, Reply,
};
use super::message::feed::{self, Hashes, Stand};
use super::message::head::{self, Head, HeadFault, Own, Party, REJECTION, Sender};
use super::message::question::{self, Entitled, Wanted};
use super::message::rejection::{self, ORIGINAL_BYTES_MAX, Rejected};
use super::message::{Code, Fault, Message, Number, Release, answer, moves, person};
use super::person::Ags;
use super::question::Reason;
use super::reconcile::Hash;
use super::refetch;
use super::rights::Asker;
use super::signers::Signers;
use crate::clock::Clock;

mod changes;
mod locks;
mod passing;

/// Records of one transaction of a load; a lock that arrives meanwhile waits for one of these.
const CHUNK: usize = 500;
/// Longest question that is kept whole for whoever it may be handed over to.
const QUESTION_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Error)]
pub enum DeskError {
    /// Nothing was written down: the message is offered again.
    #[error("{0}")]
    Copies(#[from] CopyError),
    /// Nor here: it waits for its turn among the others.
    #[error("this is no message for the mailbox for locks; it is taken with the others")]
    NotUrgent,
    #[error("the message cannot be read where it was put: {0}")]
    Content(#[from] std::io::Error),
}

impl DeskError {
    /// The database is away, or may be: the next message would meet the same.
    pub fn is_everybodys(&self) -> bool {
        matches!(self, Self::Copies(CopyError::Server(_) | CopyError::Unsure(_)))
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub own: Own,
    /// Mailboxes that are ours; the first is the author of what we write.
    pub identifiers: Vec<String>,
    pub askers: BTreeMap<String, Entitled>,
    /// Answers leave at the end of such a time, whatever was found in it.
    pub bucket: Duration,
    pub refetch: refetch::Rule,
    pub deadlines: Deadlines,
}

/// One delivery, as the transport hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub transport_id: &'a str,
    pub sender: &'a Sender,
    /// To whom it is answered where the message itself cannot be read.
    pub from: &'a str,
    /// The transport's own mark of a test.
    pub test: bool,
}

/// What came of a delivery: ids and codes for the operator's log, nothing about anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handled {
    pub number: &'static str,
    pub uuid: String,
    pub outcome: &'static str,
    pub codes: Vec<&'static str>,
    pub detail: String,
    /// Locks in it that were refused with their case, and are effective all the same.
    pub locks_kept: usize,
    /// Locks that could not be read, and messages that could not in which one may have been: somebody has to ask.
    pub locks_unread: usize,
}

/// Opens the content from its beginning.
pub type Content<'a> = &'a dyn Fn() -> std::io::Result<Box<dyn BufRead>>;

mod clerk;

use self::locks::Locks;

pub struct Desk {
    pub copies: Copies,
    settings: Settings,
    signers: RwLock<Arc<Signers>>,
    clock: Arc<dyn Clock>,
}

type Opened = Message<Box<dyn BufRead>>;

/// What is left to do about a delivery.
enum Admitted {
    Done(Handled),
    Message(Box<Head>, Box<Opened>),
}

/// A delivery on its way over the desk.
#[derive(Clone, Copy)]
struct Case<'a> {
    delivery: &'a Delivery<'a>,
    content: Content<'a>,
    digest: Hash,
    at: Timestamp,
    expires_at: Timestamp,
    /// From the mailbox for locks.
    urgent: bool,
}

impl Case<'_> {
    fn arrived<'c>(&'c self, uuid: &'c str, number: &'c str) -> Arrived<'c> {
        Arrived {
            author: self.delivery.from,
            name: "",
            uuid,
            number,
            digest: self.digest,
            transport_id: self.delivery.transport_id,
            at: self.at,
            expires_at: self.expires_at,
            original: None,
            event: None,
        }
    }
}

impl Desk {
    pub fn new(copies: Copies, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { copies, settings, signers: RwLock::default(), clock }
    }

    /// The same where these must sign what they send.
    pub fn with_signers(self, signers: Signers) -> Self {
        self.renew_signers(signers);
        self
    }

    /// For messages from here on.
    pub fn renew_signers(&self, signers: Signers) {
        *self.signers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signers);
    }

    fn signers(&self) -> Arc<Signers> {
        self.signers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn own(&self) -> &Own {
        &self.settings.own
    }

    /// When what is answered to a question of this instant must be gone.
    pub fn answers_expire(&self, asked_at: Timestamp) -> Timestamp {
        self.settings.refetch.expiry(asked_at)
    }

    /// Answers leave at the end of such a time.
    pub fn bucket(&self) -> Duration {
        self.settings.bucket
    }

    /// For the mailbox for locks, where nothing else may hold up the next: a message of changes is handled, any other left
    /// to the other mailboxes' turn.
    pub fn handle_urgent(&self, delivery: &Delivery<'_>, content: Content<'_>) -> Result<Handled, DeskError> {
        let is_changes = |message: &Message<_>| message.head.number == Number::Changes;
        if Message::open(content()?).is_ok_and(|message| !is_changes(&message)) {
            return Err(DeskError::NotUrgent);
        }
        self.handle_case(&Case { urgent: true, ..self.case(delivery, content)? }, None)
    }

    pub fn handle(&self, delivery: &Delivery<'_>, content: Content<'_>) -> Result<Handled, DeskError> {
        self.handle_from(delivery, content, None)
    }

    /// With the office that passed the message on, which may be its `leser`.
    fn handle_from(
        &self,
        delivery: &Delivery<'_>,
        content: Content<'_>,
        passed_by: Option<&str>,
    ) -> Result<Handled, DeskError> {
        self.handle_case(&self.case(delivery, content)?, passed_by)
    }

    fn handle_case(&self, case: &Case<'_>, passed_by: Option<&str>) -> Result<Handled, DeskError> {
        match self.admit(case, passed_by)? {
            Admitted::Done(handled) => Ok(handled),
            Admitted::Message(head, message) => self.act_on(case, &head, message),
        }
    }

    fn case<'c>(&self, delivery: &'c Delivery<'c>, content: Content<'c>) -> Result<Case<'c>, DeskError> {
        let now = self.clock.now();
        let expires_at = self.settings.refetch.expiry(now);
        Ok(Case { delivery, content, digest: digest_of(content()?)?, at: now, expires_at, urgent: false })
    }

    /// A message that is new, and for us, and from whom it says; all others are dealt with here.
    fn admit(&self, case: &Case<'_>, passed_by: Option<&str>) -> Result<Admitted, DeskError> {
        let Case { delivery, content, at: now, .. } = *case;
        let opened = match delivery.sender.fault() {
            // An invalid certificate stops everything: the content is not even looked at.
            Some(fault) => Err(HeadFault::from(fault)),
            // Nor is what its author should have signed, and has not.
            None => match self.signers().check(delivery.from, content, now) {
                // Its head is read all the same, so that a rejection is never rejected.
                Err(fault) => Err(match Message::open(content()?) {
                    Ok(message) => HeadFault::of(fault, &message.head),
                    Err(_) => HeadFault::from(fault),
                }),
                Ok(()) => Message::open(content()?),
            },
        };
        let message = match opened {
            Ok(message) => message,
            Err(HeadFault { fault, head }) => {
                return self.reject(case, head.as_deref(), fault, false).map(Admitted::Done);
            }
        };
        let mut head = message.head.clone();
        head.test |= delivery.test;
        let is_ours = |leser: &str| passed_by == Some(leser) || self.is_ours(&head, leser);
        if let Err(fault) = head::check(&head, delivery.sender, is_ours) {
            return self.reject(case, Some(&head), fault, false).map(Admitted::Done);
        }
        let arrived = case.arrived(&head.uuid, head.number.code());
        let done = match self.copies.known(&arrived)? {
            Known::New if head.test => {
                let why = "a message marked as a test does not reach this register";
                self.reject(case, Some(&head), Fault::new(Code::S999, why), true)
            }
            Known::New => return Ok(Admitted::Message(Box::new(head), Box::new(message))),
            Known::SameDelivery => {
                self.copies.settle()?;
                Ok(handled(&head, "taken before"))
            }
            Known::SentAgain => self.again(case, &head, &head.uuid),
            Known::OtherBytes => {
                let why = "this UUID came before with other bytes; a correction needs a UUID of its own";
                self.reject(case, Some(&head), Fault::new(Code::S999, why), false)
            }
        };
        done.map(Admitted::Done)
    }

    fn act_on(&self, case: &Case<'_>, head: &Head, mut message: Box<Opened>) -> Result<Handled, DeskError> {
        let message = &mut *message;
        let done = match head.number {
            number if number.ends_a_conversation() => self.note(case, head, message),
            Number::Load => self.load(case, head, message),
            Number::Changes => self.changes(case, head, message),
            Number::Standing => self.standing(case, head, message),
            Number::AnswerWanted => self.answer_wanted(case, head, message),
            Number::Reminder => self.reminder(case, head, message),
            Number::EnquiriesAsked => self.enquiries(case, head, message),
            number if number.is_passing() => self.passed_on(case, head, message),
            number if number.is_question() => self.question(case, head, message),
            number if number.is_of_move() => self.watch_move(case, head, message),
            number => {
                let why = format!("the register takes no {} from this author", number.code());
                Err(Stop::Fault(Fault::new(Code::T070, why)))
            }
        };
        self.or_reject(case, head, done)
    }

    fn or_reject(&self, case: &Case<'_>, head: &Head, done: Done) -> Result<Handled, DeskError> {
        match done {
            Ok(handled) => Ok(handled),
            Err(Stop::Fault(fault)) => self.reject(case, Some(head), fault, true),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// Keeps what a page needs of an order besides its questions, sealed for the asker and for as long as answers. The same
    /// once more changes nothing; false where the UUID stands for something else.
    pub fn keep_on_page(&self, asker: &str, uuid: &str, bytes: Vec<u8>) -> Result<bool, DeskError> {
        let now = self.clock.now();
        let digest = digest_of(Box::new(std::io::Cursor::new(bytes.clone())))?;
        let expires_at = self.settings.refetch.expiry(now);
        let number = "page-list";
        let arrived = Arrived {
            author: asker,
            name: "",
            uuid,
            number,
            digest,
            transport_id: uuid,
            at: now,
            expires_at,
            original: None,
            event: None,
        };
        let reader = asker.to_owned();
        let reply = Reply { number, reader, namespace: String::new(), bytes, leaves_at: now };
        let known = match self.copies.known(&arrived)? {
            Known::New => match self.copies.keep(&arrived, &[reply]) {
                Ok(()) => return Ok(true),
                // The same form at the same time: one of the two was first.
                Err(error) => match self.copies.known(&arrived)? {
                    Known::New => return Err(error.into()),
                    known => known,
                },
            },
            known => known,
        };
        // Read only, so far: what the standby lacks is not yet kept.
        self.copies.settle()?;
        Ok(known != Known::OtherBytes)
    }

    /// Questions may name the municipality whose copy is asked; the register is part of each of them.
    fn is_ours(&self, head: &Head, leser: &str) -> bool {
        self.settings.identifiers.iter().any(|own| own == leser)
            // Of a move notice the register gets a copy, and its reader is the other office.
            || ((head.number.is_question() || head.number.is_of_move())
                && leser.strip_prefix("ags:").is_some_and(|key| Ags::parse(key).is_ok()))
    }

    /// Receipts and rejections of what we sent: written down, never answered.
    fn note(&self, case: &Case<'_>, head: &Head, message: &mut Message<Box<dyn BufRead>>) -> Done {
        let children = message.rest().unwrap_or_default();
        self.copies.take(&case.arrived(&head.uuid, head.number.code()), &[])?;
        let codes = rejection::codes(&children);
        let codes =
            Code::ALL.iter().map(|code| code.as_str()).filter(|code| codes.iter().any(|one| one == code));
        let outcome = match head.number {
            Number::Rejection => "our message was rejected",
            Number::NotCompetent => "the reader is not competent for our message",
            _ => "noted",
        };
        Ok(Handled { codes: codes.collect(), ..handled(head, outcome) })
    }

    fn load(&self, case: &Case<'_>, head: &Head, message: &mut Message<Box<dyn BufRead>>) -> Done {
        let stand = Stand::read(message.next_child()?.as_ref())?;
        stand.belongs_to(head)?;
        let announced =
            stand.announced.ok_or_else(|| Fault::new(Code::X001, "bestand/anzahl is missing in a load"))?;
        let as_of = known_time(&stand, case.at)?;
        let begun = self.copies.begin_load(stand.ags, stand.generation, stand.sequence, as_of);
        refusal(begun)?;
        let done = self.take_load(case, head, message, &stand, announced);
        // Of any other failure the message comes again, and begins anew.
        if let Err(Stop::Fault(_)) = &done {
            self.copies.abandon_load(stand.ags, stand.generation)?;
        }
        done
    }

    fn take_load(
        &self,
        case: &Case<'_>,
        head: &Head,
        message: &mut Message<Box<dyn BufRead>>,
        stand: &Stand,
        announced: u64,
    ) -> Done {
        let mut receipt = LoadReceipt::default();
        let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
        let mut chunk: Vec<Vec<u8>> = Vec::with_capacity(CHUNK);
        while let Some(element) = message.next_child()? {
            let read = if element.is("", "person") {
                person::read(&element)
            } else {
                Err(Fault::new(Code::X001, "behind bestand there are elements person alone"))
            };
            match read {
                Ok((person, more)) => {
                    chunk.push(person.to_bytes());
                    more.into_iter().for_each(|name| *left_out.entry(name).or_default() += 1);
                }
                Err(fault) => {
                    self.load_chunk(stand.ags, &mut chunk, &mut receipt)?;
                    receipt.refuse(fault.to_string());
                }
            }
            if chunk.len() == CHUNK {
                self.load_chunk(stand.ags, &mut chunk, &mut receipt)?;
            }
        }
        self.load_chunk(stand.ags, &mut chunk, &mut receipt)?;
        for (name, count) in left_out {
            *receipt.left_out.entry(name).or_default() += count;
        }
        let reply = self.reply(head, Number::LoadReceipt, case.at, |out| {
            feed::write_load_receipt(out, &head.uuid, stand, &receipt);
        });
        let arrived = case.arrived(&head.uuid, head.number.code());
        refusal(self.copies.finish_load_taking(stand.ags, announced, &receipt, (&arrived, &[reply])))?;
        let detail = format!("{} stored, {} refused", receipt.stored, receipt.refused);
        Ok(Handled { detail, ..handled(head, "loaded") })
    }

    fn load_chunk(
        &self,
        ags: Ags,
        chunk: &mut Vec<Vec<u8>>,
        receipt: &mut LoadReceipt,
    ) -> Result<(), DeskError> {
        self.copies.load(ags, chunk.iter().map(Vec::as_slice), receipt)?;
        chunk.clear();
        Ok(())
    }

    fn standing(&self, case: &Case<'_>, head: &Head, message: &mut Message<Box<dyn BufRead>>) -> Done {
        let stand = Stand::read(message.next_child()?.as_ref())?;
        stand.belongs_to(head)?;
        let hashes = message.next_child()?.map(|element| Hashes::read(&element)).transpose()?;
        if hashes.is_some() && !head.release.is_some_and(|release| release.follow_ups) {
            return Err(Fault::new(Code::X001, "in this release there is nothing behind bestand").into());
        }
        if message.next_child()?.is_some() {
            return Err(Fault::new(Code::X001, "behind bestand there is abgleich alone").into());
        }
        let as_of = known_time(&stand, case.at)?;
        // What a lock has let go on, and nobody has caught up with. What cannot be read is missing, and told of elsewhere.
        loop {
            match self.copies.catch_up_step(Some(stand.ags), case.at) {
                Ok(true) => {}
                Ok(false) | Err(CopyError::Corrupt(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let fresh = self.copies.still_current(stand.ags, stand.generation, stand.sequence, as_of)?;
        // Two states of different times differ, and that says nothing.
        let compared = hashes
            .filter(|_| fresh)
            .map(|one| self.copies.reconcile(stand.ags, &one.buckets, &one.entries, as_of, case.at))
            .transpose()?;
        let differs = compared.as_ref().is_some_and(|(buckets, _)| !buckets.is_empty());
        let receipt = feed::Receipt {
            applied: u64::from(fresh),
            held: u64::from(!fresh),
            missing: self.copies.missing_before(stand.ags, stand.generation, stand.sequence)?,
            compared,
            ..feed::Receipt::default()
        };
        let reply = self.reply(head, Number::Receipt, case.at, |out| {
            feed::write_receipt(out, &head.uuid, &receipt);
        });
        self.copies.take(&case.arrived(&head.uuid, head.number.code()), &[reply])?;
        Ok(handled(
            head,
            match (fresh, differs) {
                (true, false) => "copy is current",
                (true, true) => "copy differs from its original",
                (false, _) => "changes are missing",
            },
        ))
    }

    fn question(&self, case: &Case<'_>, head: &Head, message: &mut Message<Box<dyn BufRead>>) -> Done {
        let entitled = self.entitled(head)?;
        let children = message.rest()?;
        let wanted = question::read(head, &children, entitled)?;
        let number = head.number.answer().ok_or_else(|| Fault::new(Code::X001, "this is no question"))?;
        let mut original = Vec::new();
        (case.content)()
            .map_err(DeskError::from)?
            .take(QUESTION_BYTES_MAX + 1)
            .read_to_end(&mut original)
            .map_err(DeskError::from)?;
        // By a feature of our own nobody else knows a person.
        let passes_on =
            original.len() as u64 <= QUESTION_BYTES_MAX && !matches!(wanted, Wanted::Feature { .. });
        let original = Some(&original[..]).filter(|_| passes_on);
        let name = &head.autor.name;
        let arrived = Arrived { original, name, ..case.arrived(&head.uuid, head.number.code()) };
        let write = |found: &super::answer::Answer| {
            let leaves = leaves_at(case.at, self.clock.now(), self.settings.bucket);
            vec![self.reply(head, number, leaves, |out| answer::write(out, &head.uuid, None, found))]
        };
        if let (Number::FormAsked, Wanted::Search(asked)) = (head.number, &wanted)
            && asked.selection.municipalities.iter().any(|ags| head.autor.kennung == format!("ags:{ags}"))
        {
            let why = "a form is asked of another office";
            return Err(Fault::new(Code::T080, why).into());
        }
        let asked = match &wanted {
            Wanted::Search(asked) => self.copies.ask_taking(asked, case.at, &arrived, &write),
            Wanted::Feature { requester, profile, feature, reader } => {
                let asked = ByFeature { requester, profile: *profile, feature, reader: *reader };
                self.copies.ask_feature_taking(&asked, case.at, &arrived, &write)
            }
        };
        match asked {
            Ok(_) => Ok(handled(head, "answered")),
            Err(CopyError::Question(reason @ Reason::MunicipalityUnknown))
                if head.number == Number::FormAsked =>
            {
                self.not_competent(case, head, &reason.to_string())
            }
            Err(CopyError::Question(reason)) => self.refuse_question(case, head, number, reason),
            Err(error) => Err(DeskError::from(error).into()),
        }
    }

    /// What the author may ask for. Every municipality is a registration office; all others are entered.
    fn entitled(&self, head: &Head) -> Result<Entitled, Fault> {
        let author = head.autor.kennung.as_str();
        if head.number == Number::FormAsked {
            let office = author.strip_prefix("ags:").is_some_and(|key| Ags::parse(key).is_ok());
            let why = "the form of somebody who moves in is asked for by registration offices";
            let entitled = Entitled { asker: Asker::RegistrationOffice, empowered: false };
            return if office { Ok(entitled) } else { Err(Fault::new(Code::T070, why)) };
        }
        let entitled = self.settings.askers.get(author).copied();
        entitled.ok_or_else(|| Fault::new(Code::T070, "this author is not entered as an asking body"))
    }

    fn watch_move(&self, case: &Case<'_>, head: &Head, message: &mut Message<Box<dyn BufRead>>) -> Done {
        let one = moves::read(head, &message.rest()?)?;
        self.copies.take_move(
            &case.arrived(&head.uuid, head.number.code()),
            &one,
            &self.settings.deadlines,
        )?;
        Ok(handled(head, "move noted"))
    }

    fn refuse_question(&self, case: &Case<'_>, head: &Head, number: Number, reason: Reason) -> Done {
        let reply = self.reply(head, number, case.at, |out| {
            answer::write_refusal(out, &head.uuid, None, reason);
        });
        self.copies.take(&case.arrived(&head.uuid, head.number.code()), &[reply])?;
        Ok(Handled { detail: reason.word().to_owned(), ..handled(head, "question refused") })
    }

    fn answer_wanted(&self, case: &Case<'_>, head: &Head, message: &mut Message<Box<dyn BufRead>>) -> Done {
        let uuid = question::read_wanted_answer(&message.rest()?)?;
        Ok(self.again(case, head, &uuid)?)
    }

    /// The answer to question `uuid` once more, or what is said when its time is over.
    fn again(&self, case: &Case<'_>, head: &Head, uuid: &str) -> Result<Handled, DeskError> {
        let own = case.arrived(&head.uuid, head.number.code());
        // A repetition has no row of its own: its UUID is the question's.
        let transport = transport_key(case.delivery.transport_id);
        let arrived = if uuid == head.uuid { case.arrived(&transport, head.number.code()) } else { own };
        if self.copies.known(&arrived)? != Known::New {
            self.copies.settle()?;
            return Ok(handled(head, "taken before"));
        }
        match self.copies.again(case.delivery.from, uuid, case.at)? {
            Again::Leaves(count) => {
                self.copies.take(&arrived, &[])?;
                Ok(Handled { detail: format!("{count} messages"), ..handled(head, "answered as before") })
            }
            Again::Unknown if uuid == head.uuid => {
                self.copies.take(&arrived, &[])?;
                Ok(handled(head, "taken before; there was nothing to answer"))
            }
            Again::Unknown => {
                let fault = Fault::new(Code::S999, "no question of this author with that UUID is known");
                self.reject(case, Some(head), fault, true)
            }
            Again::Expired => {
                let follow_ups = head.release.is_some_and(|release| release.follow_ups);
                let reply = if follow_ups {
                    self.reply(head, Number::AnswerExpired, case.at, |out| answer::write_expired(out, uuid))
                } else {
                    let fault = Fault::new(Code::S100, "the answer's time is over; ask under a new UUID");
                    self.rejection(case, Some(head), &[fault], &[])?
                };
                self.copies.take(&arrived, &[reply])?;
                Ok(handled(head, "answer has expired"))
            }
        }
    }

    /// Rejects a message, unless it is itself one. With `own_uuid` the rejection counts for the message's UUID; without,
    /// for this delivery alone, because the UUID is not the sender's to use, or not readable.
    fn reject(
        &self,
        case: &Case<'_>,
        head: Option<&Head>,
        fault: Fault,
        own_uuid: bool,
    ) -> Result<Handled, DeskError> {
        let transport = transport_key(case.delivery.transport_id);
        let number = head.map_or("", |head| head.number.code());
        let uuid = head.filter(|_| own_uuid).map_or(transport.as_str(), |head| head.uuid.as_str());
        let arrived = case.arrived(uuid, number);
        let mut locks = Locks::default();
        let outcome = match self.copies.known(&arrived)? {
            Known::New => {
                // Before it counts as taken: broken off here, it comes again.
                locks = self.locks_of_refused(case, head)?;
                let ends = head.is_some_and(|head| head.number.ends_a_conversation());
                let replies = match ends {
                    true => Vec::new(),
                    false => vec![self.rejection(case, head, std::slice::from_ref(&fault), &[])?],
                };
                self.copies.take(&arrived, &replies)?;
                if ends { "could not be read; rejections and receipts are not answered" } else { "rejected" }
            }
            _ => {
                self.copies.settle()?;
                "rejected before"
            }
        };
        let handled = head.map_or_else(Handled::default, |head| handled(head, outcome));
        let (locks_kept, locks_unread) = (locks.kept, locks.unread);
        let codes = vec![fault.code.as_str()];
        Ok(Handled { outcome, codes, detail: fault.detail, locks_kept, locks_unread, ..handled })
    }

    fn rejection(
        &self,
        case: &Case<'_>,
        head: Option<&Head>,
        faults: &[Fault],
        cases: &[rejection::Case],
    ) -> Result<Reply, DeskError> {
        let mut original = Vec::new();
        (case.content)()?.take(ORIGINAL_BYTES_MAX as u64 + 1).read_to_end(&mut original)?;
        let rejected =
            Rejected { faults, cases, head, transport_id: case.delivery.transport_id, original: &original };
        // To whom the transport vouches for, whatever the message says of its author.
        let known = head.filter(|head| head.autor.kennung == case.delivery.from);
        let reader = known.map(|head| head.autor.clone()).unwrap_or_else(|| Party {
            kennung: case.delivery.from.to_owned(),
            name: case.delivery.from.to_owned(),
        });
        let uuid = uuid::Uuid::new_v4().to_string();
        let text = rejection::write(&rejected, &self.settings.own, &reader, &uuid, case.at);
        Ok(Reply {
            number: Number::Rejection.code(),
            reader: case.delivery.from.to_owned(),
            namespace: REJECTION.to_owned(),
            bytes: text.into_bytes(),
            leaves_at: case.at,
        })
    }

    fn reply(
        &self,
        head: &Head,
        number: Number,
        leaves_at: Timestamp,
        write: impl FnOnce(&mut crate::xml::write::Writer),
    ) -> Reply {
        let release = head.release.unwrap_or_else(|| Release::newest());
        let uuid = uuid::Uuid::new_v4().to_string();
        let mut out =
            head::begin(release, number, &self.settings.own, &head.autor, &uuid, leaves_at, head.test);
        write(&mut out);
        Reply {
            number: number.code(),
            reader: head.autor.kennung.clone(),
            namespace: release.namespace.to_owned(),
            bytes: out.finish().into_bytes(),
            leaves_at,
        }
    }
}

/// Why work on a message stopped: a rejection, or a failure of ours.
enum Stop {
    Fault(Fault),
    Error(DeskError),
}

type Done = Result<Handled, Stop>;

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<DeskError> for Stop {
    fn from(error: DeskError) -> Self {
        Self::Error(error)
    }
}

/// What the copies refuse is the sender's fault; all else is ours.
impl From<CopyError> for Stop {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Refused(why) => Self::Fault(Fault::new(Code::S999, why)),
            CopyError::Record(error) => Self::Fault(Fault::new(Code::S999, error.to_string())),
            error @ (CopyError::Incomplete { .. }
            | CopyError::NothingTaken { .. }
            | CopyError::NothingCame { .. }
            | CopyError::Shrinks { .. }) => Self::Fault(Fault::new(Code::S999, error.to_string())),
            error => Self::Error(error.into()),
        }
    }
}

/// Tomorrow's date would keep a copy fresh that nobody feeds; a clock that is a little ahead is forgiven.
fn known_time(stand: &Stand, now: Timestamp) -> Result<Timestamp, Fault> {
    if now.checked_add(CLOCKS_APART_MAX).is_ok_and(|latest| stand.at > latest) {
        return Err(Fault::new(Code::S999, "bestand/stand lies in the future"));
    }
    Ok(stand.at.min(now))
}

fn refusal<T>(done: Result<T, CopyError>) -> Result<T, Stop> {
    done.map_err(Stop::from)
}

fn handled(head: &Head, outcome: &'static str) -> Handled {
    Handled { number: head.number.code(), uuid: head.uuid.clone(), outcome, ..Handled::default() }
}

/// No UUID has a colon, so that a delivery's row never takes a message's place.
fn transport_key(transport_id: &str) -> String {
    format!("transport:{transport_id}")
}

fn digest_of(mut content: Box<dyn BufRead>) -> std::io::Result<Hash> {
    let mut context = Context::new(&SHA256);
    loop {
        let bytes = content.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        context.update(bytes);
        let taken = bytes.len();
        content.consume(taken);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(out)
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
