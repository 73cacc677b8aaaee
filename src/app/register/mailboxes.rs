//! What waits in the register's mailboxes: listed, taken in turns, laid on the desk, and confirmed once it is durable.
//!
//! Full loads, and whatever else takes long, run beside the rest; the feed has a task of its own, so that no question waits
//! for a message of many changes, and a mailbox for locks another, so that a lock waits for no other message. Small messages
//! of the feed are laid on the desk together and become durable in common.

use std::collections::{HashMap, VecDeque};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{RegisterService, TRY_AGAIN, TRY_SOON};
use crate::domain::content::PartRole;
use crate::domain::message_id::MessageId;
use crate::register::desk::{Content, Delivery, DeskError, Handled};
use crate::register::message::Number;
use crate::register::message::head::Sender;
use crate::xta::client::content::FolderSink;
use crate::xta::client::{Client, Error as ClientError};
use crate::xta::message::metadata::Shown;
use crate::xta::message::msg_box::MsgSelector;

/// Messages of one page of a mailbox's list.
const PAGE: u32 = 100;
/// Pages of one look into the mailboxes: so far one author's flood hides nobody else's messages.
const PAGES_MAX: usize = 20;
/// Messages that are taken before the next look.
const TAKEN_MAX: usize = 100;
/// Messages of the feed that are laid on the desk together; beyond so many bytes none is added.
const TOGETHER_MAX: usize = 16;
const TOGETHER_BYTES_MAX: u64 = 256 * 1024;

impl RegisterService {
    /// The mailbox for locks, beside everything else. What is answered leaves with the rest.
    pub(super) async fn take_locks(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some((mailbox, client)) = &self.urgent else {
            self.locks_reached.store(true, Ordering::Relaxed);
            return;
        };
        let mut reachable = true;
        while !*stop.borrow() {
            let looked =
                self.waiting(&client.now(), |shown| !self.is_misplaced(shown) && !is_load(shown)).await;
            self.locks_reached.store(looked.is_ok(), Ordering::Relaxed);
            let more = match looked {
                Ok(waiting) => {
                    if !reachable {
                        tracing::info!("the mailbox for locks is reached again");
                    }
                    reachable = true;
                    for shown in waiting.messages {
                        if *stop.borrow() || self.away.is_so(self.clock.now()) {
                            break;
                        }
                        self.take_as(&shown, true).await;
                        self.written.notify_one();
                    }
                    waiting.more
                }
                Err(error) => {
                    if reachable {
                        tracing::error!(
                            code = "register-locks-unreachable",
                            mailbox = mailbox.value(),
                            %error,
                            next_step = "check office.url, register.urgent_identifier and whether the register's account owns it; it is tried again",
                            "the mailbox for locks cannot be looked into: locks wait"
                        );
                    }
                    reachable = false;
                    false
                }
            };
            if more {
                continue;
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    /// Changes, and that there were none, beside everything else: each municipality in turn. What is answered leaves with
    /// the rest; that the mailboxes cannot be looked into is said there, too.
    pub(super) async fn take_feed(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let mut more = false;
            if let Ok(waiting) = self.waiting(&self.client.now(), |shown| self.is_of_feed(shown)).await {
                let mut messages = VecDeque::from(waiting.messages);
                while !messages.is_empty() && !*stop.borrow() && !self.away.is_so(self.clock.now()) {
                    self.take_together(&mut messages, &stop).await;
                    self.written.notify_one();
                }
                more = waiting.more;
            }
            if more {
                continue;
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    /// What waits and may be taken, each author in turn.
    async fn waiting(
        &self,
        client: &Client,
        wanted: impl Fn(&Shown) -> bool,
    ) -> Result<Waiting, ClientError> {
        let mut page = client.list(&MsgSelector::default(), Some(PAGE)).await?;
        let mut messages = Vec::new();
        for _ in 0..PAGES_MAX {
            let now = self.clock.now();
            messages
                .extend(page.messages.into_iter().filter(|shown| wanted(shown) && !self.waits(shown, now)));
            if page.pending == 0 {
                break;
            }
            page = match client.next_list(&page.request_id).await {
                Ok(page) => page,
                // The list was forgotten meanwhile: the next look begins anew.
                Err(ClientError::Fault { .. }) => break,
                Err(error) => return Err(error),
            };
        }
        let beyond = page.pending > 0 && !messages.is_empty();
        let mut messages = by_turns(messages, |shown| shown.envelope.author.identifier.value().to_owned());
        let more = messages.len() > TAKEN_MAX || beyond;
        messages.truncate(TAKEN_MAX);
        Ok(Waiting { messages, more })
    }

    /// It, or whatever else, could not be taken, and it is not time to try again.
    fn waits(&self, shown: &Shown, now: Timestamp) -> bool {
        if self.away.is_so(now) {
            return true;
        }
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(shown.envelope.id.as_str()).is_some_and(|until| *until > now)
    }

    /// In the mailbox for locks, and at its place there.
    fn is_urgent(&self, shown: &Shown) -> bool {
        let reader = shown.envelope.reader.identifier.value();
        let there = self.urgent.as_ref().is_some_and(|(mailbox, _)| mailbox.value() == reader);
        there && !is_load(shown) && !self.is_misplaced(shown)
    }

    fn is_misplaced(&self, shown: &Shown) -> bool {
        let misplaced = self.misplaced.lock().unwrap_or_else(PoisonError::into_inner);
        misplaced.contains(shown.envelope.id.as_str())
    }

    /// One look into the mailboxes: what is small is taken; the first full load is handed back.
    pub(super) async fn round(&self, busy: bool, stop: &watch::Receiver<bool>) -> Result<Round, ClientError> {
        self.post_due().await;
        let mut load = None;
        // A load that waits for another one takes nobody's turn.
        let ours = |shown: &Shown| {
            !(self.is_urgent(shown) || self.is_of_feed(shown) || busy && self.is_heavy(shown))
        };
        let waiting = self.waiting(&self.client.now(), ours).await?;
        for shown in waiting.messages {
            if *stop.borrow() || self.away.is_so(self.clock.now()) {
                break;
            }
            if self.is_heavy(&shown) {
                load = load.or(Some(shown));
                continue;
            }
            self.take(&shown).await;
            self.post_due().await;
        }
        Ok(Round { load, more: waiting.more })
    }

    fn is_of_feed(&self, shown: &Shown) -> bool {
        let is_feed = is_number(shown, Number::Changes) || is_number(shown, Number::Standing);
        is_feed && !self.is_urgent(shown) && !self.is_heavy(shown)
    }

    /// Takes long: a load, many questions in one message, or what came where it should not.
    fn is_heavy(&self, shown: &Shown) -> bool {
        is_load(shown) || is_collective(shown) || self.is_misplaced(shown)
    }

    /// Fetches one message, lays it on the desk, and confirms it once it is durable.
    pub(super) async fn take(&self, shown: &Shown) {
        self.take_as(shown, false).await;
    }

    async fn take_as(&self, shown: &Shown, urgent: bool) {
        if self.away.is_so(self.clock.now()) {
            return;
        }
        let folder = self.inbox.join(uuid::Uuid::new_v4().to_string());
        let taken = self.fetch_and_handle(shown, &folder, urgent).await;
        let _ = tokio::fs::remove_dir_all(&folder).await;
        self.note_taken(shown, taken);
    }

    /// What became of one message: said, and where it was not taken, when it is tried again.
    fn note_taken(&self, shown: &Shown, taken: Result<Option<Handled>, Left>) {
        let id = &shown.envelope.id;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut misplaced = self.misplaced.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Ok(Some(handled)) => {
                left.remove(id.as_str());
                misplaced.remove(id.as_str());
                say(id, shown.envelope.author.identifier.value(), &handled);
            }
            Ok(None) => {
                misplaced.insert(id.to_string());
                tracing::warn!(
                    code = "register-not-urgent",
                    message_id = %id,
                    author = shown.envelope.author.identifier.value(),
                    "a message in the mailbox for locks is no message of changes; it waits for its turn"
                );
            }
            Err(Left { reason, pause }) => {
                // What comes back soon and fails again though the database is there would be fetched for nothing.
                let now = self.clock.now();
                let again = left.contains_key(id.as_str()) && !self.away.is_so(now);
                let until = now.checked_add(if again { TRY_AGAIN } else { pause }).unwrap_or(Timestamp::MAX);
                left.insert(id.to_string(), until);
                tracing::error!(
                    code = "register-message-left",
                    message_id = %id,
                    reason,
                    next_step = "it is offered again; if it comes back, look at disk and database",
                    "a message was not taken"
                );
            }
        }
    }

    /// None: it does not belong into the mailbox for locks, and nothing was done.
    async fn fetch_and_handle(
        &self,
        shown: &Shown,
        folder: &Path,
        urgent: bool,
    ) -> Result<Option<Handled>, Left> {
        let fetched = self.fetch(shown, folder).await?;
        let (desk, laid) = (self.desk.clone(), fetched.laid);
        let handled = tokio::task::spawn_blocking(move || {
            let open = || laid.open();
            if urgent {
                desk.handle_urgent(&laid.delivery(), &open)
            } else {
                desk.handle(&laid.delivery(), &open)
            }
        });
        let handled = match handled.await.map_err(|error| error.to_string())? {
            Err(DeskError::NotUrgent) => return Ok(None),
            Err(error) => return Err(self.left_because(&error).await),
            Ok(handled) => handled,
        };
        self.confirm(shown, &fetched.request_id).await?;
        Ok(Some(handled))
    }

    /// Fetches the first messages, as many as are small enough, lays them on the desk together, and confirms each once it
    /// is durable. What was fetched waits for no further fetch once one has failed: each may last minutes.
    async fn take_together(&self, messages: &mut VecDeque<Shown>, stop: &watch::Receiver<bool>) {
        let folder = self.inbox.join(uuid::Uuid::new_v4().to_string());
        let (mut shown, mut laid, mut requests, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        while shown.len() < TOGETHER_MAX
            && bytes < TOGETHER_BYTES_MAX
            && !*stop.borrow()
            && !self.away.is_so(self.clock.now())
        {
            let Some(one) = messages.pop_front() else { break };
            match self.fetch(&one, &folder.join(shown.len().to_string())).await {
                Ok(fetched) => {
                    bytes += fetched.laid.bytes();
                    laid.push(fetched.laid);
                    requests.push(fetched.request_id);
                    shown.push(one);
                }
                Err(left) => {
                    self.note_taken(&one, Err(left));
                    break;
                }
            }
        }
        if shown.is_empty() {
            let _ = tokio::fs::remove_dir_all(&folder).await;
            return;
        }
        let desk = self.desk.clone();
        let handled = tokio::task::spawn_blocking(move || {
            let opens: Vec<_> = laid.iter().map(|one| move || one.open()).collect();
            let deliveries: Vec<(Delivery<'_>, Content<'_>)> =
                laid.iter().zip(&opens).map(|(one, open)| (one.delivery(), open as Content<'_>)).collect();
            desk.handle_together(&deliveries)
        });
        let handled = handled.await;
        let _ = tokio::fs::remove_dir_all(&folder).await;
        let handled = match handled {
            Ok(handled) => handled,
            // A program error at one of them: each is tried alone, and it alone is left.
            Err(_) => {
                for one in &shown {
                    if *stop.borrow() {
                        break;
                    }
                    self.take(one).await;
                }
                return;
            }
        };
        for ((one, request), handled) in shown.iter().zip(&requests).zip(handled) {
            let taken = match handled {
                // Not tried; it comes with the next look.
                None => continue,
                Some(Err(error)) => Err(self.left_because(&error).await),
                Some(Ok(handled)) => self.confirm(one, request).await.map(|()| Some(handled)),
            };
            self.note_taken(one, taken);
        }
    }

    async fn fetch(&self, shown: &Shown, folder: &Path) -> Result<Fetched, Left> {
        tokio::fs::create_dir_all(folder).await.map_err(|error| error.to_string())?;
        let id = &shown.envelope.id;
        let mut sink = FolderSink::new(folder);
        let fetched = self.client.now().fetch(id, &mut sink).await.map_err(|error| error.to_string())?;
        let part = fetched.parts.iter().position(|part| part.role == PartRole::Message);
        let file = part.and_then(|index| sink.files.get(&index)).cloned();
        let from = shown.envelope.author.identifier.value().to_owned();
        // Nothing but encrypted parts, and the register has no key for them.
        let sender = if file.is_some() { Sender::Vouched(from.clone()) } else { Sender::Undecipherable };
        let laid = Laid { file, sender, from, test: shown.envelope.test, transport_id: id.to_string() };
        Ok(Fetched { laid, request_id: fetched.request_id.unwrap_or_else(|| "1".to_owned()) })
    }

    async fn confirm(&self, shown: &Shown, request: &str) -> Result<(), Left> {
        let closed = self.client.now().close(request, std::slice::from_ref(&shown.envelope.id)).await;
        Ok(closed.map_err(|error| error.to_string())?)
    }

    /// What went wrong in the database may be this message's trouble or everybody's: that is asked of the database.
    async fn left_because(&self, error: &DeskError) -> Left {
        let reason = error.to_string();
        if !error.is_everybodys() {
            return reason.into();
        }
        let desk = self.desk.clone();
        let asked = tokio::task::spawn_blocking(move || desk.copies.check_writing()).await;
        if !matches!(asked, Ok(Ok(()))) {
            self.away.note(self.clock.now());
        }
        Left { reason, pause: TRY_SOON }
    }
}

/// Until when the database is taken to be away: everybody's trouble, which may soon be over. Whatever is fetched meanwhile
/// would be fetched again.
#[derive(Default)]
pub(super) struct Away(Mutex<Option<Timestamp>>);

impl Away {
    fn note(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now.checked_add(TRY_SOON).ok();
    }

    fn is_so(&self, now: Timestamp) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back makes it no longer.
        until
            .is_some_and(|until| until > now && now.checked_add(TRY_SOON).is_ok_and(|latest| until <= latest))
    }
}

/// A message that was fetched, and under which request it is confirmed.
struct Fetched {
    laid: Laid,
    request_id: String,
}

/// A message as it is laid on the desk.
struct Laid {
    /// None where there is nothing that we could read.
    file: Option<PathBuf>,
    sender: Sender,
    from: String,
    test: bool,
    transport_id: String,
}

impl Laid {
    fn open(&self) -> std::io::Result<Box<dyn std::io::BufRead>> {
        match &self.file {
            Some(file) => Ok(Box::new(BufReader::new(std::fs::File::open(file)?))),
            None => Ok(Box::new(std::io::empty())),
        }
    }

    fn delivery(&self) -> Delivery<'_> {
        let Self { sender, from, test, transport_id, .. } = self;
        Delivery { transport_id, sender, from, test: *test }
    }

    fn bytes(&self) -> u64 {
        self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len())
    }
}

/// Why a message was not taken, and how long it rests.
struct Left {
    reason: String,
    pause: Duration,
}

impl From<String> for Left {
    fn from(reason: String) -> Self {
        Self { reason, pause: TRY_AGAIN }
    }
}

/// Messages of one look that are to be taken, and whether there are more.
struct Waiting {
    messages: Vec<Shown>,
    more: bool,
}

pub(super) struct Round {
    pub(super) load: Option<Shown>,
    pub(super) more: bool,
}

/// One of each author, then the next of each: whoever sends much waits for himself. Each author's stay in order.
fn by_turns<T>(all: Vec<T>, author: impl Fn(&T) -> String) -> Vec<T> {
    let mut queues: Vec<VecDeque<T>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for one in all {
        let place = *places.entry(author(&one)).or_insert(queues.len());
        if place == queues.len() {
            queues.push(VecDeque::new());
        }
        queues[place].push_back(one);
    }
    let mut out = Vec::new();
    while !queues.is_empty() {
        queues.retain_mut(|queue| {
            out.extend(queue.pop_front());
            !queue.is_empty()
        });
    }
    out
}

/// Full loads run beside the rest; the envelope tells them, and a wrong word there costs nothing but time.
fn is_load(shown: &Shown) -> bool {
    is_number(shown, Number::Load)
}

fn is_collective(shown: &Shown) -> bool {
    is_number(shown, Number::EnquiriesAsked)
}

fn is_number(shown: &Shown, number: Number) -> bool {
    let kind = shown.envelope.qualifier.message_type.as_ref();
    kind.is_some_and(|kind| kind.code == number.code() || kind.code == number.element())
}

fn say(id: &MessageId, author: &str, handled: &Handled) {
    tracing::info!(
        message_id = %id,
        number = handled.number,
        uuid = handled.uuid,
        codes = handled.codes.join(" "),
        detail = handled.detail,
        "{}",
        handled.outcome
    );
    let of_feed = [Number::Load, Number::Changes, Number::Standing].map(Number::code);
    if !handled.codes.is_empty() && of_feed.contains(&handled.number) {
        metrics::counter!("amtsbote_register_feed_refused_total", "number" => handled.number).increment(1);
    }
    if handled.locks_kept > 0 {
        tracing::warn!(
            code = "register-lock-refused",
            message_id = %id,
            author,
            locks = handled.locks_kept,
            next_step = "the persons are hidden; the municipality has the rejection and sends the cases again",
            "cases that set a lock were rejected; their locks are effective all the same"
        );
    }
    if handled.locks_unread > 0 {
        tracing::error!(
            code = "register-lock-unread",
            message_id = %id,
            author,
            locks = handled.locks_unread,
            next_step = "call the municipality: where nobody knows whom it locks, they may be found until it came again; register status shows it until that person's locks change, or a younger load or comparison (1104) is right",
            "a lock may have come that could not be read"
        );
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{Away, TRY_SOON, by_turns};

    #[test]
    fn a_database_that_is_away_stops_every_lane_for_a_short_time() {
        let (away, now) = (Away::default(), Timestamp::UNIX_EPOCH);
        assert!(!away.is_so(now));
        away.note(now);
        let soon = now + TRY_SOON;
        assert!(away.is_so(now) && away.is_so(soon - SignedDuration::from_millis(1)));
        assert!(!away.is_so(soon), "it is tried again");
    }

    #[test]
    fn authors_take_turns() {
        let all = "A1 A2 A3 A4 B1 C1 B2";
        let turns = by_turns(all.split(' ').collect(), |one| one[..1].to_owned());
        assert_eq!(turns.join(" "), "A1 B1 C1 A2 B2 A3 A4");
        assert!(by_turns(Vec::<&str>::new(), |one| (*one).to_owned()).is_empty());
    }
}
