//! A store that fails for a while: the relay says so once, waits longer each time, and goes on by itself.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amtsbote::clock::HandClock;
use amtsbote::domain::account::{Account, AccountName, Directory};
use amtsbote::domain::card::{CertificateFinding, ProcessCard};
use amtsbote::domain::dialog::{ConversationId, Dialog, DialogStep};
use amtsbote::domain::message_id::{Bond, MessageId};
use amtsbote::domain::party::MailboxName;
use amtsbote::domain::profile::ServiceProfile;
use amtsbote::domain::state::DeliveryState;
use amtsbote::evidence::checkpoint::SigningKey;
use amtsbote::pki::timestamp::Authorities;
use amtsbote::relay::{Refusal, Relay, Settings};
use amtsbote::store::embedded::{self, EmbeddedStore};
use amtsbote::store::{
    Acceptance, Accepted, AdminAct, CardQuery, Change, Due, DueKind, Entry, FinishedPush, Iterator, Listing,
    LoggedRecord, MailboxSummary, MessageQuery, Notice, PayloadReader, PayloadWriter, PushLease, PushOutcome,
    Selection, Statement, Stepped, Store, StoreError, StoreHealth, SubmissionQuery, Submissions, TimeStamp,
};
use async_trait::async_trait;
use jiff::Timestamp;

use super::store_fixture::draft;

/// Passes everything on, except that what is due can fail or name a message that does not exist, and that the evidence
/// log can lie; and that acts are not listed.
struct Troubled {
    inner: EmbeddedStore,
    failing: AtomicBool,
    phantom: AtomicBool,
    /// The evidence log lost its last record, or has other records than it had.
    shortened: AtomicBool,
    rewritten: AtomicBool,
    asked: AtomicU32,
    /// Operators' acts are not written down.
    silent: AtomicBool,
    /// The directory cannot be read; what is over cannot be swept.
    unlisted: AtomicBool,
    untidy: AtomicBool,
    sweeps: AtomicU32,
    looks: AtomicU32,
    told: Mutex<Vec<Notice>>,
}

macro_rules! pass_on {
    ($($(#[$_meta:meta])* fn $name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Troubled {
            async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>, StoreError> {
                self.asked.fetch_add(1, Ordering::SeqCst);
                if self.failing.load(Ordering::SeqCst) {
                    return Err(StoreError::Unavailable("the disk is gone".to_owned()));
                }
                if self.phantom.load(Ordering::SeqCst) {
                    let id = MessageId::parse("phantom").expect("a well-formed id");
                    return Ok(vec![Due { id, kind: DueKind::Expire, at: now }]);
                }
                self.inner.due(now, limit).await
            }
            async fn evidence_size(&self) -> Result<u64, StoreError> {
                let size = self.inner.evidence_size().await?;
                Ok(size - u64::from(self.shortened.load(Ordering::SeqCst)))
            }
            async fn tree_root(&self, size: u64) -> Result<[u8; 32], StoreError> {
                if self.rewritten.load(Ordering::SeqCst) { Ok([1; 32]) } else { self.inner.tree_root(size).await }
            }
            async fn record_act(&self, act: AdminAct) -> Result<(), StoreError> {
                match self.silent.load(Ordering::SeqCst) {
                    true => Err(StoreError::Unavailable("the disk is gone".to_owned())),
                    false => self.inner.record_act(act).await,
                }
            }
            async fn directory(&self) -> Result<Directory, StoreError> {
                match self.unlisted.load(Ordering::SeqCst) {
                    true => Err(StoreError::Unavailable("the disk is gone".to_owned())),
                    false => self.inner.directory().await,
                }
            }
            async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
                self.sweeps.fetch_add(1, Ordering::SeqCst);
                match self.untidy.load(Ordering::SeqCst) {
                    true => Err(StoreError::Unavailable("the disk is gone".to_owned())),
                    false => self.inner.sweep(now).await,
                }
            }
            async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
                self.looks.fetch_add(1, Ordering::SeqCst);
                self.inner.next_due_at().await
            }
            fn tell(&self, notice: Notice) {
                self.told.lock().expect("nobody panicked").push(notice);
            }
            $(async fn $name(&self, $($arg: $kind),*) -> Result<$answer, StoreError> {
                self.inner.$name($($arg),*).await
            })*
        }
    };
}

pass_on! {
    fn announce_bound(id: &MessageId, account: &AccountName, bond: Option<&Bond>, now: Timestamp, expires_at: Timestamp) -> ();
    fn bond(id: &MessageId) -> Option<Bond>;
    fn payload_writer() -> Box<dyn PayloadWriter>;
    fn reply_writer() -> Box<dyn PayloadWriter>;
    fn accept(acceptance: Acceptance) -> Accepted;
    fn list(selection: &Selection, after: u64, limit: u32) -> Listing;
    fn submissions(query: &SubmissionQuery) -> Submissions;
    fn find(id: &MessageId) -> Entry;
    fn open_payload(id: &MessageId, offset: u64, length: u64) -> Box<dyn PayloadReader>;
    fn messages(query: &MessageQuery) -> Vec<Entry>;
    fn related(id: &MessageId, posted_by: Option<&AccountName>, limit: u32) -> Vec<Entry>;
    fn mailboxes() -> Vec<MailboxSummary>;
    fn cards(query: &CardQuery) -> (Vec<Entry>, bool);
    fn change(change: Change) -> ProcessCard;
    fn declare(change: Change, statement: Statement) -> ProcessCard;
    fn statements(id: &MessageId) -> Vec<Statement>;
    fn inspect(id: &MessageId, findings: Vec<CertificateFinding>) -> ProcessCard;
    fn purge_payload(id: &MessageId, now: Timestamp) -> ();
    fn purge_card(id: &MessageId, now: Timestamp) -> ();
    fn save_iterator(iterator: &Iterator) -> ();
    fn load_iterator(id: &str, account: &AccountName, now: Timestamp) -> Option<Iterator>;
    fn drop_iterator(id: &str, account: &AccountName) -> ();
    fn open_dialog(dialog: &Dialog) -> ();
    fn dialog(id: &ConversationId, now: Timestamp) -> Option<Dialog>;
    fn step_dialog(step: &DialogStep) -> Vec<ProcessCard>;
    fn step_and_accept(step: &DialogStep, acceptance: Acceptance) -> Stepped<Accepted>;
    fn step_and_announce(step: &DialogStep, id: &MessageId, account: &AccountName, bond: Option<&Bond>, expires_at: Timestamp) -> Stepped<()>;
    fn hand_out_in_dialog(id: &ConversationId, sequence: u64, change: Change) -> ProcessCard;
    fn dialogs(now: Timestamp, limit: u32) -> Vec<Dialog>;
    fn lease_push(mailboxes: &[MailboxName], ordered: bool, now: Timestamp, until: Timestamp, limit: u32) -> Vec<PushLease>;
    fn record_attempt(lease: &PushLease, outcome: PushOutcome, now: Timestamp) -> ProcessCard;
    fn note_push(id: &MessageId, note: Option<&str>) -> ();
    fn push_note(id: &MessageId) -> Option<String>;
    fn finish_push(push: FinishedPush) -> ProcessCard;
    fn apply_directory(based_on: u64, accounts: Vec<Account>, profiles: Vec<ServiceProfile>, act: AdminAct) -> Directory;
    fn acts(limit: u32) -> Vec<AdminAct>;
    fn evidence_records(from: u64, limit: u32) -> Vec<LoggedRecord>;
    fn evidence_of(id: &MessageId) -> Vec<LoggedRecord>;
    fn inclusion_proof(index: u64, size: u64) -> Vec<[u8; 32]>;
    fn consistency_proof(old_size: u64, size: u64) -> Vec<[u8; 32]>;
    fn save_checkpoint(size: u64, note: &str) -> ();
    fn checkpoint(size: Option<u64>) -> Option<String>;
    fn save_time_stamp(size: u64, number: u32, stamp: &TimeStamp) -> ();
    fn time_stamps(size: u64) -> Vec<TimeStamp>;
    fn time_stamped(size: Option<u64>) -> Option<u64>;
    fn time_stamp_ending(before: Timestamp) -> Option<u64>;
    fn health() -> StoreHealth;
    fn backup(into: &Path) -> ();
    fn close() -> ();
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn errors(&self) -> usize {
        let bytes = self.0.lock().expect("nobody panicked").clone();
        String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains("ERROR")).count()
    }
}

fn troubled(folder: &Path) -> Arc<Troubled> {
    let mut settings = embedded::Settings::new(folder);
    settings.disk_reserve_bytes = 0;
    let inner = EmbeddedStore::open(settings).expect("the folder is ours");
    let no = || AtomicBool::new(false);
    let (failing, phantom, shortened, rewritten) = (no(), no(), no(), no());
    let (asked, silent, told) = (AtomicU32::new(0), no(), Mutex::default());
    let (unlisted, untidy, sweeps, looks) = (no(), no(), AtomicU32::new(0), AtomicU32::new(0));
    Arc::new(Troubled {
        inner,
        failing,
        phantom,
        shortened,
        rewritten,
        asked,
        silent,
        unlisted,
        untidy,
        sweeps,
        looks,
        told,
    })
}

#[tokio::test]
async fn a_failing_store_is_reported_once_and_asked_ever_less() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let folder = tempfile::tempdir().expect("a folder");
    let store = troubled(folder.path());
    let clock = HandClock::at("2026-11-23T08:00:00Z".parse().expect("an instant"));
    let relay = Relay::new(store.clone(), Arc::new(clock), Settings::new("amt", "https://post.example.org"));
    store.failing.store(true, Ordering::SeqCst);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let work = tokio::spawn(relay.run(stopped));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let asked = store.asked.load(Ordering::SeqCst);
    assert!(
        (1..=3).contains(&asked),
        "asked {asked} times in two and a half seconds, with pauses of 1 and 2 s"
    );
    assert_eq!(log.errors(), 1, "one series of failures is one line");
    store.failing.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(store.asked.load(Ordering::SeqCst) > asked, "it goes on by itself");
    store.phantom.store(true, Ordering::SeqCst);
    stop.send(true).expect("it listens");
    work.await.expect("nobody panicked");
    assert_eq!(log.errors(), 1);
}

/// What is amiss in one part of the housekeeping stops no other, nor the timers, and is said once.
#[tokio::test]
async fn each_part_of_the_housekeeping_fails_by_itself() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    for (series, (failing, unlisted, untidy)) in
        [(false, true, false), (false, false, true), (true, false, false)].into_iter().enumerate()
    {
        let folder = tempfile::tempdir().expect("a folder");
        let store = troubled(folder.path());
        let clock = HandClock::at("2026-11-23T08:00:00Z".parse().expect("an instant"));
        let relay =
            Relay::new(store.clone(), Arc::new(clock), Settings::new("amt", "https://post.example.org"));
        store.failing.store(failing, Ordering::SeqCst);
        store.unlisted.store(unlisted, Ordering::SeqCst);
        store.untidy.store(untidy, Ordering::SeqCst);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let work = tokio::spawn(relay.run(stopped));
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        // What failed is tried again, too.
        let [sweeps, looks] = if failing { [1, 0] } else { [2, 2] };
        while store.sweeps.load(Ordering::SeqCst) < sweeps
            || store.looks.load(Ordering::SeqCst) < looks
            || log.errors() == series
        {
            assert!(tokio::time::Instant::now() < end, "{series}: something is not asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send(true).expect("it listens");
        work.await.expect("nobody panicked");
        assert_eq!(log.errors(), series + 1, "one series of failures is one line");
    }
}

#[tokio::test]
async fn a_deadline_that_cannot_be_performed_does_not_keep_the_timers_busy() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = troubled(folder.path());
    let clock = HandClock::at("2026-11-23T08:00:00Z".parse().expect("an instant"));
    let relay = Relay::new(store.clone(), Arc::new(clock), Settings::new("amt", "https://post.example.org"));
    store.phantom.store(true, Ordering::SeqCst);
    let refused = relay.tick().await;
    assert!(
        matches!(&refused, Err(Refusal::Internal { detail }) if detail.contains("phantom")),
        "{refused:?}"
    );
    assert_eq!(store.asked.load(Ordering::SeqCst), 2, "once is a race, twice is a fault");
}

#[tokio::test]
async fn a_damaged_message_holds_up_nothing_that_is_due_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = troubled(folder.path());
    let clock = HandClock::at("2026-11-24T11:00:00Z".parse().expect("an instant"));
    let relay = Relay::new(store.clone(), Arc::new(clock), Settings::new("amt", "https://post.example.org"));
    let [damaged, sound] = ["one", "two"].map(draft);
    for message in [&damaged, &sound] {
        message.send(&store.inner).await.expect("there is room");
    }
    let database = rusqlite::Connection::open(folder.path().join("amtsbote.sqlite")).expect("the database");
    let first = "UPDATE paper SET card = x'00' WHERE sequence = (SELECT min(sequence) FROM paper)";
    assert_eq!(database.execute(first, []).expect("damaged"), 1);
    let refused = relay.tick().await;
    assert!(
        matches!(&refused, Err(Refusal::Internal { detail }) if detail.contains(damaged.id.as_str())),
        "{refused:?}"
    );
    let card = store.find(&sound.id).await.expect("it is there").card;
    assert_eq!(card.state, DeliveryState::Expired);

    // At work it is told of once, and what becomes due later comes in time.
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let work = tokio::spawn(relay.run(stopped));
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    for name in ["three", "four"] {
        let later = draft(name);
        later.send(&store.inner).await.expect("there is room");
        while store.find(&later.id).await.expect("it is there").card.state != DeliveryState::Expired {
            assert!(tokio::time::Instant::now() < end, "{name} does not expire");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(log.errors(), 1, "once, however often it is looked at");
    stop.send(true).expect("it listens");
    work.await.expect("nobody panicked");
}

#[tokio::test]
async fn an_act_that_is_not_listed_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = troubled(folder.path());
    let clock = HandClock::at("2026-11-23T10:00:00Z".parse().expect("an instant"));
    let relay = Relay::new(store.clone(), Arc::new(clock), Settings::new("amt", "https://post.example.org"));
    let message = draft("one");
    message.send(&store.inner).await.expect("there is room");
    relay.hold(&message.id, "root", "its author asked").await.expect("it waits");
    store.told.lock().expect("nobody panicked").clear();
    store.silent.store(true, Ordering::SeqCst);
    let released = relay.release(&message.id, "root", "its author asked").await;
    assert!(released.is_err(), "{released:?}");
    let card = store.find(&message.id).await.expect("it is there").card;
    assert_eq!(card.state, DeliveryState::Waiting, "the message is released all the same");
    let told = store.told.lock().expect("nobody panicked").clone();
    assert_eq!(told, [Notice::Deadline, Notice::Waiting(message.mailbox)]);
}

#[tokio::test]
async fn a_log_that_contradicts_its_checkpoint_is_not_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = troubled(folder.path());
    let clock = HandClock::at("2026-11-23T08:00:00Z".parse().expect("an instant"));
    let relay = Relay::new(store.clone(), Arc::new(clock), Settings::new("amt", "https://post.example.org"));
    let key = SigningKey::from_seed("post.example.org/evidence", &[5; 32]).expect("any 32 bytes are a seed");
    relay.sign_checkpoints_with(Arc::new(key));
    for name in ["one", "two"] {
        draft(name).send(&store.inner).await.expect("there is room");
    }
    let signed = relay.sign_checkpoint().await.expect("the log is whole");
    assert_eq!(signed.map(|checkpoint| checkpoint.size), Some(2));
    let before = store.checkpoint(None).await.expect("the store answers");
    store.shortened.store(true, Ordering::SeqCst);
    let refused = relay.sign_checkpoint().await;
    assert!(
        matches!(&refused, Err(Refusal::Internal { detail }) if detail.contains("contradicts")),
        "{refused:?}"
    );
    store.shortened.store(false, Ordering::SeqCst);
    draft("three").send(&store.inner).await.expect("there is room");
    store.rewritten.store(true, Ordering::SeqCst);
    let refused = relay.sign_checkpoint().await;
    assert!(
        matches!(&refused, Err(Refusal::Internal { detail }) if detail.contains("contradicts")),
        "{refused:?}"
    );
    assert_eq!(
        store.checkpoint(None).await.expect("the store answers"),
        before,
        "nothing was signed over it"
    );
    store.rewritten.store(false, Ordering::SeqCst);
    let signed = relay.sign_checkpoint().await.expect("the log is whole");
    assert_eq!(signed.map(|checkpoint| checkpoint.size), Some(3));
}

#[tokio::test]
async fn a_change_of_the_signing_key_does_not_hide_a_rewritten_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = troubled(folder.path());
    let key = |seed| SigningKey::from_seed("post.example.org/evidence", &[seed; 32]).expect("a seed");
    let relay = |seed, former: &[u8]| {
        let clock = HandClock::at("2026-11-23T08:00:00Z".parse().expect("an instant"));
        let mut settings = Settings::new("amt", "https://post.example.org");
        settings.former_evidence_keys = former.iter().map(|seed| key(*seed).verifier().clone()).collect();
        let relay = Relay::new(store.clone(), Arc::new(clock), settings);
        relay.sign_checkpoints_with(Arc::new(key(seed)));
        relay
    };
    draft("one").send(&store.inner).await.expect("there is room");
    relay(5, &[]).sign_checkpoint().await.expect("the log is whole").expect("signed");
    draft("two").send(&store.inner).await.expect("there is room");
    store.rewritten.store(true, Ordering::SeqCst);
    for (former, word) in
        [(&[][..], "evidence.former_keys"), (&[4], "evidence.former_keys"), (&[4, 5], "contradicts")]
    {
        let refused = relay(6, former).sign_checkpoint().await;
        assert!(
            matches!(&refused, Err(Refusal::Internal { detail }) if detail.contains(word)),
            "{former:?}: {refused:?}"
        );
    }
    store.rewritten.store(false, Ordering::SeqCst);
    let signed = relay(6, &[4, 5]).sign_checkpoint().await.expect("the log is whole");
    assert_eq!(signed.map(|checkpoint| checkpoint.size), Some(2));
    // A key that follows at once still gets a checkpoint of its own, so that proofs can be written under it.
    let signed = relay(7, &[5, 6]).sign_checkpoint().await.expect("the log is whole");
    assert_eq!(signed.map(|checkpoint| checkpoint.size), Some(2));

    store.inner.close().await.expect("closed");
    let verify = |seeds: &[u8]| {
        let keys: Vec<_> = seeds.iter().map(|seed| key(*seed).verifier().clone()).collect();
        embedded::verify_signed(folder.path(), &keys, &Authorities::default()).expect("readable").problems
    };
    assert_eq!(verify(&[5, 7]), Vec::<String>::new());
    let unknown = verify(&[7]);
    assert!(matches!(unknown.as_slice(), [one] if one.starts_with("checkpoint of size 1: ")), "{unknown:?}");
}
