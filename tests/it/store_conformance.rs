//! What every engine of the store must do, whatever it is made of.
//!
//! An engine's own test file hands [`run_all`] a factory of empty stores. Each check gets a fresh one. Checks close
//! and reopen where a promise must outlive the process. After every check the evidence log must account for every
//! card: [`assert_evidence`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::domain::account::{Account, Rights};
use amtsbote::domain::card::{CertificateFinding, DOOR_OF_PORTALS, Finding, ProcessCard, Severity};
use amtsbote::domain::content::Digest;
use amtsbote::domain::message_id::{Bond, MessageId};
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::domain::profile::ServiceProfile;
use amtsbote::domain::state::{DeliveryState, Event, TransitionDenied, transition};
use amtsbote::evidence::record::{Record, RecordEvent};
use amtsbote::evidence::tree;
use amtsbote::pki::timestamp::{Request, token_of};
use amtsbote::store::{
    Acceptance, Accepted, AdminAct, Change, Deadlines, DueKind, FinishedPush, Iterator, Listing,
    MessageQuery, PushOutcome, STATEMENTS_MAX, Selection, Statement, Store, StoreError, TimeStamp,
};
use base64::Engine;
use jiff::Timestamp;

use crate::store_dialogs::{
    cards_are_found_beyond_what_one_question_looks_at, cards_are_found_for_author_and_reader,
    cards_are_found_however_deep_they_lie, dialogs_confirm_by_a_further_request_only,
    dialogs_hand_out_where_they_stand, dialogs_move_on_exactly_once, dialogs_move_on_with_what_comes_behind,
    dialogs_outlive_the_process,
};
use crate::store_fixture::*;
use crate::store_oracle::assert_evidence;
use crate::store_submissions::submissions_are_listed_by_destination;
use crate::tsa::{Authority, Twist};

/// Where an engine keeps one test's store.
pub trait Bench: Send + Sync {
    /// Opens the store; after `close`, the same store again.
    fn open(&self) -> Arc<dyn Store>;
}

type Check = for<'a> fn(&'a dyn Bench) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), (|bench| Box::pin($name(bench))) as Check)),*] };
}

pub fn run_all(bench: impl Fn() -> Box<dyn Bench>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let checks = checks![
        a_message_is_accepted_exactly_once,
        ids_compare_by_key,
        announced_ids_belong_to_one_account,
        contradictions_are_refused,
        concurrent_accepts_of_one_id_store_one,
        payloads_come_back_byte_for_byte,
        readers_see_their_mailboxes_only,
        every_transition_is_the_state_machines,
        changes_are_bound_to_the_askers_view,
        what_already_happened_is_not_recorded_twice,
        selections_filter,
        pages_follow_each_other,
        submissions_are_listed_by_destination,
        administrators_see_every_state,
        mailboxes_are_counted,
        timers_follow_the_state,
        payloads_and_cards_are_purged,
        iterators_outlive_the_process,
        sweeping_forgets_what_is_over,
        dialogs_move_on_exactly_once,
        dialogs_move_on_with_what_comes_behind,
        dialogs_confirm_by_a_further_request_only,
        dialogs_outlive_the_process,
        dialogs_hand_out_where_they_stand,
        cards_are_found_for_author_and_reader,
        cards_are_found_however_deep_they_lie,
        cards_are_found_beyond_what_one_question_looks_at,
        bonds_and_push_notes_are_kept,
        statements_are_kept_with_what_they_change,
        what_another_post_office_took_is_handed_out_and_received,
        a_yes_that_comes_too_late_is_written_down,
        pushes_are_leased,
        a_finished_push_is_one_change,
        pushes_keep_the_order,
        the_directory_has_revisions,
        acts_are_recorded,
        findings_are_added,
        proofs_hold_for_every_size,
        checkpoints_are_kept,
        time_stamps_are_kept,
        everything_outlives_the_process,
    ];
    for (name, check) in checks {
        println!("conformance: {name}");
        let bench = bench();
        runtime.block_on(check(&*bench));
        runtime.block_on(async {
            let store = bench.open();
            assert_evidence(&*store).await;
            store.close().await.expect("closed");
        });
    }
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| short(&entry.card.id)).collect()
}

fn short(id: &MessageId) -> &str {
    id.as_str().rsplit(':').next().unwrap_or_default()
}

async fn send(store: &dyn Store, draft: &Draft) {
    assert_eq!(draft.send(store).await.expect("accepted"), Accepted::New, "{}", draft.id);
}

async fn list_all(store: &dyn Store, mailbox: &str) -> Vec<String> {
    let listing = store.list(&of_mailbox(mailbox), 0, 100).await.expect("a listing");
    names(&listing).into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unknown)), "{answer:?}");
}

#[track_caller]
fn assert_denied<T: std::fmt::Debug>(answer: Result<T, StoreError>, state: DeliveryState, event: Event) {
    match answer {
        Err(StoreError::Denied(denied)) => assert_eq!(denied, TransitionDenied { state, event }),
        other => panic!("{other:?}"),
    }
}

async fn a_message_is_accepted_exactly_once(bench: &dyn Bench) {
    let store = bench.open();
    for (name, length) in [("small", 300), ("empty", 0), ("large", 300_000)] {
        let draft = Draft { content: content(7, length), ..draft(name) };
        send(&*store, &draft).await;
        assert_eq!(draft.send(&*store).await.expect("a retry"), Accepted::Before);
        let other = Draft { content: content(8, length + 1), ..draft.clone() };
        assert!(matches!(other.send(&*store).await, Err(StoreError::IdUsed)), "{name}");
        let stranger = Draft { posted_by: account("stranger"), ..draft.clone() };
        assert!(matches!(stranger.send(&*store).await, Err(StoreError::IdUsed)), "{name}");
        let entry = store.find(&draft.id).await.expect("found");
        assert_eq!((entry.envelope, entry.manifest), (draft.envelope(), draft.manifest()));
        assert_eq!((entry.card, entry.has_payload), (draft.card(), true));
        assert_eq!(payload_of(&*store, &draft.id, 0, u64::MAX).await.expect("bytes"), draft.content);
    }
    assert_eq!(store.evidence_size().await.expect("a size"), 3);
    store.close().await.expect("closed");
    let store = bench.open();
    assert_eq!(
        Draft { content: content(7, 300), ..draft("small") }.send(&*store).await.expect("a retry"),
        Accepted::Before
    );
    store.close().await.expect("closed");
}

async fn ids_compare_by_key(bench: &dyn Bench) {
    let store = bench.open();
    let small = draft("abcdef");
    send(&*store, &small).await;
    let loud = Draft { id: id("ABCDEF"), ..small.clone() };
    assert_eq!(loud.send(&*store).await.expect("a retry"), Accepted::Before);
    assert_eq!(store.find(&loud.id).await.expect("found").card.id, small.id);
    assert_eq!(store.evidence_of(&loud.id).await.expect("records").len(), 1);
    let opaque = |text| Draft { id: MessageId::parse(text).expect("an id"), ..draft("x") };
    send(&*store, &opaque("OSCI1")).await;
    send(&*store, &opaque("osci1")).await;
    assert_unknown(store.find(&id("other")).await);
    store.close().await.expect("closed");
}

async fn announced_ids_belong_to_one_account(bench: &dyn Bench) {
    let store = bench.open();
    let of = |name: &str, who: &str| Draft { announced_only: true, posted_by: account(who), ..draft(name) };
    assert!(matches!(of("a", "author").send(&*store).await, Err(StoreError::NotAnnounced)));
    for name in ["a", "b", "late"] {
        store.announce(&id(name), &account("author"), at(0), at(100)).await.expect("announced");
    }
    let again = store.announce(&id("A"), &account("author"), at(1), at(100)).await;
    assert!(matches!(again, Err(StoreError::IdUsed)), "{again:?}");
    assert!(matches!(of("a", "other").send(&*store).await, Err(StoreError::NotAnnounced)));
    let taken = Draft { announced_only: false, ..of("b", "other") };
    assert!(matches!(taken.send(&*store).await, Err(StoreError::NotAnnounced)));
    let late = Draft { accepted_at: at(100), ..of("late", "author") };
    assert!(matches!(late.send(&*store).await, Err(StoreError::NotAnnounced)));
    store.close().await.expect("closed");
    let store = bench.open();
    send(&*store, &of("a", "author")).await;
    assert_eq!(of("a", "author").send(&*store).await.expect("a retry"), Accepted::Before);
    let accepted = store.announce(&id("a"), &account("author"), at(1000), at(2000)).await;
    assert!(matches!(accepted, Err(StoreError::IdUsed)), "{accepted:?}");
    store.close().await.expect("closed");
}

async fn contradictions_are_refused(bench: &dyn Bench) {
    let store = bench.open();
    let good = draft("a");
    for spoil in [
        |acceptance: &mut Acceptance| acceptance.card.payload_bytes += 1,
        |acceptance: &mut Acceptance| acceptance.card.payload_digest = Digest([0; 32]),
        |acceptance: &mut Acceptance| acceptance.card.state = DeliveryState::Received,
        |acceptance: &mut Acceptance| acceptance.card.id = id("b"),
        |acceptance: &mut Acceptance| acceptance.manifest.parts.clear(),
    ] {
        let mut acceptance = good.acceptance(good.stage(&*store).await.expect("staged"));
        spoil(&mut acceptance);
        let answer = store.accept(acceptance).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    assert_unknown(store.find(&good.id).await);
    assert_eq!(store.evidence_size().await.expect("a size"), 0);
    send(&*store, &good).await;
    store.close().await.expect("closed");
}

async fn concurrent_accepts_of_one_id_store_one(bench: &dyn Bench) {
    let store = bench.open();
    for (round, length) in [100, 100_000].into_iter().enumerate() {
        let tasks: Vec<_> = (0..24)
            .map(|n| {
                let store = Arc::clone(&store);
                // Two thirds send the same bytes, the rest others.
                let draft =
                    Draft { content: content(u64::from(n % 3 == 2), length), ..draft(&format!("r{round}")) };
                tokio::spawn(async move { (draft.content.clone(), draft.send(&*store).await) })
            })
            .collect();
        let (mut new, mut stored) = (0, Vec::new());
        let mut answers = Vec::new();
        for task in tasks {
            let (bytes, answer) = task.await.expect("no panic");
            if matches!(answer, Ok(Accepted::New)) {
                new += 1;
                stored = bytes.clone();
            }
            answers.push((bytes, answer));
        }
        assert_eq!(new, 1);
        for (bytes, answer) in answers {
            match answer {
                Ok(_) => assert_eq!(bytes, stored),
                Err(StoreError::IdUsed) => assert_ne!(bytes, stored),
                Err(other) => panic!("{other}"),
            }
        }
        let id = id(&format!("r{round}"));
        assert_eq!(payload_of(&*store, &id, 0, u64::MAX).await.expect("bytes"), stored);
    }
    assert_eq!(store.evidence_size().await.expect("a size"), 2);
    store.close().await.expect("closed");
}

async fn payloads_come_back_byte_for_byte(bench: &dyn Bench) {
    let store = bench.open();
    let lengths = [0, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 1_500_000];
    for (n, length) in lengths.into_iter().enumerate() {
        let draft = Draft { content: content(n as u64, length), ..draft(&format!("m{n}")) };
        send(&*store, &draft).await;
    }
    store.close().await.expect("closed");
    let store = bench.open();
    for (n, length) in lengths.into_iter().enumerate() {
        let (id, whole) = (id(&format!("m{n}")), content(n as u64, length));
        assert_eq!(payload_of(&*store, &id, 0, u64::MAX).await.expect("bytes"), whole, "{length}");
        for (offset, part) in
            [(0, 10), (1, 1), (65_530, 100), (length, 10), (length / 2, length), (usize::MAX, 1)]
        {
            let (from, to) = (offset.min(length), offset.saturating_add(part).min(length));
            let bytes = payload_of(&*store, &id, offset as u64, part as u64).await.expect("bytes");
            assert_eq!(bytes, whole[from..to], "{offset}+{part} of {length}");
        }
    }
    assert_unknown(payload_of(&*store, &id("none"), 0, 1).await);
    store.close().await.expect("closed");
}

async fn readers_see_their_mailboxes_only(bench: &dyn Bench) {
    let store = bench.open();
    for (name, mailbox_name) in [("a1", "ags:1"), ("b1", "ags:2"), ("a2", "ags:1")] {
        send(&*store, &Draft { mailbox: mailbox(mailbox_name), ..draft(name) }).await;
    }
    send(&*store, &Draft { not_before: Some(at(50)), ..draft("held") }).await;
    assert_eq!(list_all(&*store, "ags:1").await, ["a1", "a2"]);
    assert_eq!(list_all(&*store, "ags:2").await, ["b1"]);
    assert_eq!(list_all(&*store, "ags").await, [""; 0]);
    let both = Selection {
        mailboxes: vec![mailbox("ags:2"), mailbox("ags:1"), mailbox("ags:2")],
        ..Selection::default()
    };
    assert_eq!(names(&store.list(&both, 0, 10).await.expect("a listing")), ["a1", "b1", "a2"]);
    let nobody = store.list(&Selection::default(), 0, 10).await.expect("a listing");
    assert_eq!(names(&nobody), [""; 0]);
    let foreign = Selection { ids: vec![id("b1")], ..of_mailbox("ags:1") };
    assert_eq!(names(&store.list(&foreign, 0, 10).await.expect("a listing")), [""; 0]);
    let held = Selection { ids: vec![id("held")], ..of_mailbox("ags:1") };
    assert_eq!(names(&store.list(&held, 0, 10).await.expect("a listing")), [""; 0]);
    store.close().await.expect("closed");
}

/// Ways into every state.
const WAYS: [(DeliveryState, &[Event]); 7] = [
    (DeliveryState::Held, &[Event::HeldByOperator]),
    (DeliveryState::Waiting, &[]),
    (DeliveryState::HandedOut, &[Event::HandedOut]),
    (DeliveryState::Received, &[Event::HandedOut, Event::Received]),
    (DeliveryState::Cancelled, &[Event::CancelledByOperator]),
    (DeliveryState::Expired, &[Event::Expired]),
    (DeliveryState::Dead, &[Event::Undeliverable]),
];

const EVENTS: [Event; 14] = [
    Event::Accepted,
    Event::Released,
    Event::HandedOut,
    Event::Received,
    Event::CancelledByAuthor,
    Event::CancelledByOperator,
    Event::Declined,
    Event::HeldByOperator,
    Event::Expired,
    Event::Reminded,
    Event::PushFailed,
    Event::Undeliverable,
    Event::Requeued,
    Event::PayloadPurged,
];

async fn every_transition_is_the_state_machines(bench: &dyn Bench) {
    let store = bench.open();
    for (state, way) in WAYS {
        for (n, event) in EVENTS.into_iter().enumerate() {
            let name = format!("{state}-{n}");
            send(&*store, &draft(&name)).await;
            for step in way {
                store.change(change(&name, *step, 1)).await.expect("on the way");
            }
            let before = store.find(&id(&name)).await.expect("found");
            assert_eq!(before.card.state, state);
            let size = store.evidence_size().await.expect("a size");
            let answer = store.change(change(&name, event, 2)).await;
            let after = store.find(&id(&name)).await.expect("found");
            match transition(state, event) {
                Ok(next) => {
                    let card = answer.expect("allowed");
                    assert_eq!((card.state, &card), (next, &after.card), "{state} {event:?}");
                    assert_eq!(after.has_payload, event != Event::PayloadPurged);
                    let offered = list_all(&*store, "ags:1").await.contains(&name);
                    assert_eq!(offered, next.is_offered(), "{state} {event:?}");
                }
                Err(_) => {
                    assert_denied(answer, state, event);
                    assert_eq!(before, after);
                    assert_eq!(store.evidence_size().await.expect("a size"), size);
                }
            }
            store.change(change(&name, Event::CancelledByOperator, 3)).await.ok();
        }
    }
    store.close().await.expect("closed");
}

async fn changes_are_bound_to_the_askers_view(bench: &dyn Bench) {
    let store = bench.open();
    send(&*store, &Draft { not_before: Some(at(50)), ..draft("a") }).await;
    let foreign = Change { only_in: Some(vec![mailbox("ags:2")]), ..change("a", Event::Released, 1) };
    assert_unknown(store.change(foreign).await);
    let nowhere = Change { only_in: Some(Vec::new()), ..change("a", Event::Released, 1) };
    assert_unknown(store.change(nowhere).await);
    let other = Change { only_posted_by: Some(account("other")), ..change("a", Event::CancelledByAuthor, 1) };
    assert_unknown(store.change(other).await);
    assert_unknown(store.change(change("none", Event::HandedOut, 1)).await);
    assert_eq!(store.evidence_size().await.expect("a size"), 1);
    let finding =
        Finding { at: at(3), severity: Severity::Warning, code: "late".into(), reason: "Late.".into() };
    let full = Change {
        by: Some("operator".into()),
        reason: Some("asked for".into()),
        finding: Some(finding.clone()),
        only_in: Some(vec![mailbox("ags:2"), mailbox("ags:1")]),
        only_posted_by: Some(account("author")),
        ..change("a", Event::Released, 3)
    };
    let card = store.change(full).await.expect("released");
    let step = card.steps.last().expect("a step");
    assert_eq!((step.event, step.at, step.state), (Event::Released, at(3), DeliveryState::Waiting));
    assert_eq!((step.by.as_deref(), step.reason.as_deref()), (Some("operator"), Some("asked for")));
    assert_eq!((card.delivered_at, card.findings), (Some(at(3)), vec![finding]));
    store.close().await.expect("closed");
}

async fn what_already_happened_is_not_recorded_twice(bench: &dyn Bench) {
    let store = bench.open();
    send(&*store, &draft("a")).await;
    store.change(change("a", Event::HandedOut, 1)).await.expect("handed out");
    let first = store.change(change("a", Event::Received, 2)).await.expect("received");
    let again = store.change(change("a", Event::Received, 9)).await.expect("received before");
    assert_eq!(first, again);
    assert_eq!(again.received_at, Some(at(2)));
    assert_eq!(store.evidence_of(&id("a")).await.expect("records").len(), 3);
    store.purge_payload(&id("a"), at(10)).await.expect("purged");
    store.purge_payload(&id("a"), at(11)).await.expect("purged before");
    assert_eq!(store.evidence_of(&id("a")).await.expect("records").len(), 4);
    store.close().await.expect("closed");
}

async fn bonds_and_push_notes_are_kept(bench: &dyn Bench) {
    let store = bench.open();
    let bond = Bond { party: Digest([7; 32]), sealed: true };
    let open = Bond { sealed: false, ..bond };
    for (name, bond) in [("a", Some(bond)), ("b", Some(open)), ("c", None)] {
        let announced =
            store.announce_bound(&id(name), &account("author"), bond.as_ref(), at(0), at(100)).await;
        announced.expect("announced");
    }
    send(&*store, &Draft { accepted_at: at(1), ..draft("a") }).await;
    let unknown = store.note_push(&id("b"), Some("early")).await;
    assert!(matches!(unknown, Err(StoreError::Unknown)), "{unknown:?}: it is not a message yet");
    assert_eq!(store.push_note(&id("a")).await.expect("known"), None);
    store.note_push(&id("a"), Some("theirs")).await.expect("noted");
    store.close().await.expect("closed");
    let store = bench.open();
    for (name, expected) in [("a", Some(bond)), ("b", Some(open)), ("c", None), ("d", None)] {
        assert_eq!(store.bond(&id(name)).await.expect("an answer"), expected, "{name}");
    }
    // Whatever becomes of the message, the note stays until it is taken back.
    let lease = &store.lease_push(&[mailbox("ags:1")], false, at(2), at(3), 1).await.expect("leased")[0];
    let dead = PushOutcome::Dead { reason: "no".to_owned() };
    store.record_attempt(lease, dead, at(2)).await.expect("recorded");
    store.change(change("a", Event::Requeued, 5)).await.expect("requeued");
    assert_eq!(store.push_note(&id("a")).await.expect("known").as_deref(), Some("theirs"));
    store.note_push(&id("a"), None).await.expect("taken back");
    assert_eq!(store.push_note(&id("a")).await.expect("known"), None);
    store.close().await.expect("closed");
}

fn statement(id: &str, text: &str, seconds: u64) -> Statement {
    Statement { id: id.to_owned(), at: at(seconds), by: account("reader"), text: text.to_owned() }
}

async fn statements_are_kept_with_what_they_change(bench: &dyn Bench) {
    let store = bench.open();
    send(&*store, &draft("a")).await;
    assert_unknown(store.declare(change("b", Event::HandedOut, 1), statement("x", "said", 1)).await);
    let foreign = Change { only_in: Some(vec![mailbox("ags:9")]), ..change("a", Event::HandedOut, 1) };
    assert_unknown(store.declare(foreign, statement("x", "said", 1)).await);
    assert_eq!(store.statements(&id("a")).await.expect("an answer"), []);

    let forwarded = statement("forward", "passed on", 1);
    let card = store.declare(change("a", Event::HandedOut, 1), forwarded.clone()).await.expect("declared");
    assert_eq!(card.state, DeliveryState::HandedOut);
    let accepted = statement("accept", "taken", 2);
    let finding = Finding {
        at: at(2),
        severity: Severity::Info,
        code: "accept-submission".to_owned(),
        reason: "digest".to_owned(),
    };
    let taken = Change { finding: Some(finding), ..change("a", Event::Received, 2) };
    let card = store.declare(taken.clone(), accepted.clone()).await.expect("declared");
    assert_eq!((card.state, card.findings.len()), (DeliveryState::Received, 1));
    let records = store.evidence_of(&id("a")).await.expect("records").len();

    store.close().await.expect("closed");
    let store = bench.open();
    // Said again, also with a card that has gone on: as before.
    for (event, said) in [(Event::HandedOut, &forwarded), (Event::Received, &accepted)] {
        let again = store.declare(change("a", event, 9), said.clone()).await.expect("as before");
        assert_eq!(again, card);
    }
    // Other words under a used id, and a second verdict.
    let used = store.declare(change("a", Event::Received, 9), statement("accept", "not taken", 9)).await;
    assert!(matches!(used, Err(StoreError::IdUsed)), "{used:?}");
    let late = store.declare(change("a", Event::Received, 9), statement("reject", "not taken", 9)).await;
    assert_denied(late, DeliveryState::Received, Event::Received);
    let late = store.declare(change("a", Event::HandedOut, 9), statement("again", "passed on", 9)).await;
    assert_denied(late, DeliveryState::Received, Event::HandedOut);
    assert_eq!(store.statements(&id("a")).await.expect("an answer"), [forwarded, accepted]);
    assert_eq!(store.evidence_of(&id("a")).await.expect("records").len(), records);

    // An id is unique beside one message only, and no message has them without end.
    send(&*store, &draft("b")).await;
    for number in 0..STATEMENTS_MAX {
        let said = statement(&format!("{}accept", "x".repeat(number)), "x", 3);
        store.declare(change("b", Event::HandedOut, 3), said).await.expect("declared");
    }
    let beyond = store.declare(change("b", Event::HandedOut, 3), statement("beyond", "x", 3)).await;
    assert_denied(beyond, DeliveryState::HandedOut, Event::HandedOut);
    assert_eq!(store.statements(&id("b")).await.expect("an answer").len(), STATEMENTS_MAX);

    store.purge_payload(&id("a"), at(10)).await.expect("purged");
    assert_eq!(store.statements(&id("a")).await.expect("an answer").len(), 2);
    store.purge_card(&id("a"), at(10)).await.expect("purged");
    assert_eq!(store.statements(&id("a")).await.expect("an answer"), []);
    store.close().await.expect("closed");
}

async fn what_another_post_office_took_is_handed_out_and_received(bench: &dyn Bench) {
    let store = bench.open();
    send(&*store, &draft("a")).await;
    let lease = &store.lease_push(&[mailbox("ags:1")], false, at(2), at(3), 1).await.expect("leased")[0];
    let taken = PushOutcome::Taken { remark: "as theirs at noon".to_owned() };
    // Told late, under a lease that is over: it counts all the same, once.
    let card = store.record_attempt(lease, taken.clone(), at(9)).await.expect("recorded");
    assert_eq!((card.first_handed_out_at, card.received_at), (Some(at(9)), Some(at(9))));
    let last = card.steps.last().expect("steps");
    assert_eq!((last.event, last.reason.as_deref()), (Event::Received, Some("as theirs at noon")));
    let again = store.record_attempt(lease, taken, at(10)).await.expect("ignored");
    assert_eq!(again, card);
    store.close().await.expect("closed");
}

async fn a_yes_that_comes_too_late_is_written_down(bench: &dyn Bench) {
    let store = bench.open();
    for (name, event, outcome, words) in [
        ("a", Event::Expired, PushOutcome::Taken { remark: "as theirs".to_owned() }, "as theirs"),
        ("b", Event::CancelledByOperator, PushOutcome::Received, "its recipient took it"),
        ("c", Event::HeldByOperator, PushOutcome::Taken { remark: "as third".to_owned() }, "as third"),
    ] {
        send(&*store, &draft(name)).await;
        let lease = &store.lease_push(&[mailbox("ags:1")], false, at(2), at(30), 1).await.expect("leased")[0];
        let before = store.change(change(name, event, 5)).await.expect("changed");
        let card = store.record_attempt(lease, outcome.clone(), at(9)).await.expect("recorded");
        assert_eq!((card.state, &card.steps), (before.state, &before.steps), "{name}: nothing else changes");
        let said: Vec<_> = card.findings.iter().map(|one| (one.code.as_str(), one.reason.as_str())).collect();
        assert_eq!(said, [("taken-late", words)], "{name}");
        let again = store.record_attempt(lease, outcome, at(10)).await.expect("ignored");
        assert_eq!(again, card, "{name}: said once");
        let late_no = PushOutcome::Dead { reason: "no".to_owned() };
        assert_eq!(store.record_attempt(lease, late_no, at(11)).await.expect("ignored"), card, "{name}");
        assert_eq!(store.find(&id(name)).await.expect("found").card, card, "{name}: it is kept");
    }
    store.close().await.expect("closed");
}

async fn selections_filter(bench: &dyn Bench) {
    let store = bench.open();
    for n in 0..6_u64 {
        let relates_to = if n % 2 == 0 { vec![id("Question")] } else { vec![id("other"), id("q2")] };
        send(&*store, &Draft { accepted_at: at(n * 10), relates_to, ..draft(&format!("m{n}")) }).await;
    }
    store.change(change("m1", Event::HandedOut, 100)).await.expect("handed out");
    store.change(change("m2", Event::HandedOut, 100)).await.expect("handed out");
    store.change(change("m2", Event::CancelledByOperator, 101)).await.expect("cancelled");
    store.change(change("m2", Event::Requeued, 102)).await.expect("requeued");
    store.change(change("m5", Event::Received, 100)).await.expect("received");
    let all = of_mailbox("ags:1");
    let tables: [(&str, Selection, &[&str]); 11] = [
        ("all", all.clone(), &["m0", "m1", "m2", "m3", "m4"]),
        ("new", Selection { new_only: true, ..all.clone() }, &["m0", "m3", "m4"]),
        (
            "ids",
            Selection { ids: vec![id("m3"), id("M0"), id("none"), id("m3")], ..all.clone() },
            &["m0", "m3"],
        ),
        ("related", Selection { relates_to: vec![id("question")], ..all.clone() }, &["m0", "m2", "m4"]),
        ("either", Selection { relates_to: vec![id("q2"), id("other")], ..all.clone() }, &["m1", "m3"]),
        (
            "both",
            Selection { relates_to: vec![id("q2")], ids: vec![id("m3"), id("m4")], ..all.clone() },
            &["m3"],
        ),
        ("from", Selection { delivered_from: Some(at(20)), ..all.clone() }, &["m2", "m3", "m4"]),
        ("to", Selection { delivered_to: Some(at(20)), ..all.clone() }, &["m0", "m1", "m2"]),
        (
            "between, new",
            Selection {
                delivered_from: Some(at(10)),
                delivered_to: Some(at(30)),
                new_only: true,
                ..all.clone()
            },
            &["m3"],
        ),
        (
            "related, between",
            Selection { relates_to: vec![id("question")], delivered_from: Some(at(1)), ..all.clone() },
            &["m2", "m4"],
        ),
        ("related, new", Selection { relates_to: vec![id("other")], new_only: true, ..all.clone() }, &["m3"]),
    ];
    for (name, selection, expected) in tables {
        let listing = store.list(&selection, 0, 100).await.expect("a listing");
        assert_eq!((names(&listing).as_slice(), listing.pending), (expected, 0), "{name}");
        let first = store.list(&selection, 0, 1).await.expect("a listing");
        assert_eq!(first.pending, expected.len() as u64 - 1, "{name}");
    }
    // What is over belongs to it as well; what somebody else posted does not.
    for (name, by, limit, expected) in [
        ("question", Some("author"), 100, &["m0", "m2", "m4"][..]),
        ("Q2", Some("author"), 100, &["m1", "m3", "m5"]),
        ("q2", Some("author"), 2, &["m1", "m3"]),
        ("q2", Some("stranger"), 100, &[]),
        ("m0", Some("author"), 100, &[]),
        ("q2", None, 100, &["m1", "m3", "m5"]),
        ("q2", None, 2, &["m1", "m3"]),
        ("m0", None, 100, &[]),
    ] {
        let by = by.map(account);
        let found = store.related(&id(name), by.as_ref(), limit).await.expect("an answer");
        let found: Vec<&str> = found.iter().map(|entry| short(&entry.card.id)).collect();
        assert_eq!(found, expected, "{name} of {by:?}");
    }
    store.close().await.expect("closed");
}

async fn pages_follow_each_other(bench: &dyn Bench) {
    let store = bench.open();
    for n in 0..23 {
        let mailbox = mailbox(if n % 3 == 0 { "ags:2" } else { "ags:1" });
        send(&*store, &Draft { mailbox, ..draft(&format!("m{n:02}")) }).await;
    }
    let both = Selection { mailboxes: vec![mailbox("ags:1"), mailbox("ags:2")], ..Selection::default() };
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = store.list(&both, after, 5).await.expect("a page");
        assert_eq!(page.pending as usize, 23 - seen.len() - page.entries.len());
        let Some(last) = page.entries.last() else { break };
        assert!(page.entries.is_sorted_by_key(|entry| entry.sequence));
        after = last.sequence;
        seen.extend(page.entries.iter().map(|entry| short(&entry.card.id).to_owned()));
    }
    assert_eq!(seen, (0..23).map(|n| format!("m{n:02}")).collect::<Vec<_>>());
    let none = store.list(&both, 0, 0).await.expect("a page");
    assert_eq!((none.entries.len(), none.pending), (0, 23));
    store.close().await.expect("closed");
}

async fn administrators_see_every_state(bench: &dyn Bench) {
    let store = bench.open();
    for (state, way) in WAYS {
        let name = state.as_str();
        let mailbox = mailbox(if state.is_offered() { "ags:1" } else { "ags:2" });
        let posted_by = account(if state.is_final() { "author" } else { "other" });
        send(&*store, &Draft { mailbox, posted_by, ..draft(name) }).await;
        for step in way {
            store.change(change(name, *step, 1)).await.expect("on the way");
        }
    }
    use DeliveryState as S;
    let all = MessageQuery { limit: 100, ..MessageQuery::default() };
    let of = |states: &[S]| MessageQuery { states: states.to_vec(), ..all.clone() };
    let tables: [(MessageQuery, &[&str]); 9] = [
        (all.clone(), &["held", "waiting", "handed-out", "received", "cancelled", "expired", "dead"]),
        (of(&[S::Dead, S::Held]), &["held", "dead"]),
        (of(&[S::Dead, S::Waiting]), &["waiting", "dead"]),
        (MessageQuery { mailbox: Some(mailbox("ags:1")), ..all.clone() }, &["waiting", "handed-out"]),
        (MessageQuery { mailbox: Some(mailbox("ags:2")), ..of(&[S::Dead, S::Waiting]) }, &["dead"]),
        (
            MessageQuery { posted_by: Some(account("author")), ..all.clone() },
            &["received", "cancelled", "expired"],
        ),
        (MessageQuery { posted_by: Some(account("other")), ..of(&[S::Dead, S::Expired]) }, &["dead"]),
        (MessageQuery { limit: 2, ..all.clone() }, &["held", "waiting"]),
        (MessageQuery { limit: 1, mailbox: Some(mailbox("ags:2")), ..all.clone() }, &["held"]),
    ];
    for (query, expected) in tables {
        let entries = store.messages(&query).await.expect("messages");
        let found: Vec<&str> = entries.iter().map(|entry| short(&entry.card.id)).collect();
        assert_eq!(found, expected, "{query:?}");
        if let [first, rest @ ..] = entries.as_slice()
            && query.limit == 100
        {
            let later = MessageQuery { after: first.sequence, ..query };
            assert_eq!(store.messages(&later).await.expect("messages"), rest);
        }
    }
    store.close().await.expect("closed");
}

async fn mailboxes_are_counted(bench: &dyn Bench) {
    let store = bench.open();
    for (n, (state, way)) in WAYS.into_iter().enumerate() {
        let name = state.as_str();
        let content = content(n as u64, 1 << n);
        send(&*store, &Draft { content, accepted_at: at(10 + n as u64), ..draft(name) }).await;
        for step in way {
            store.change(change(name, *step, 100)).await.expect("on the way");
        }
    }
    send(&*store, &Draft { mailbox: mailbox("ags:0"), not_before: Some(at(5)), ..draft("later") }).await;
    let boxes = store.mailboxes().await.expect("mailboxes");
    let [quiet, busy] = boxes.as_slice() else { panic!("{boxes:?}") };
    assert_eq!(
        (quiet.name.as_str(), quiet.held, quiet.waiting, quiet.oldest_waiting_at),
        ("ags:0", 1, 0, None)
    );
    assert_eq!((busy.held, busy.waiting, busy.handed_out, busy.dead), (1, 1, 1, 1));
    assert_eq!((busy.bytes_waiting, busy.oldest_waiting_at), (2, Some(at(11))));
    // A message that waits again is older than one that waits for the first time.
    store.change(change("expired", Event::Requeued, 200)).await.expect("requeued");
    store.change(change("held", Event::Released, 200)).await.expect("released");
    let boxes = store.mailboxes().await.expect("mailboxes");
    assert_eq!((boxes[1].held, boxes[1].waiting), (0, 3));
    assert_eq!((boxes[1].bytes_waiting, boxes[1].oldest_waiting_at), (1 + 2 + 32, Some(at(10))));
    for (state, _) in WAYS {
        let name = state.as_str();
        store.change(change(name, Event::CancelledByOperator, 300)).await.ok();
        store.purge_card(&id(name), at(400)).await.expect("purged");
    }
    let boxes = store.mailboxes().await.expect("mailboxes");
    assert_eq!(boxes.len(), 1, "{boxes:?}");
    store.close().await.expect("closed");
}

async fn due(store: &dyn Store, seconds: u64) -> Vec<(String, DueKind, u64)> {
    let due = store.due(at(seconds), 100).await.expect("due");
    let seconds = |instant: jiff::Timestamp| (instant.as_second() - at(0).as_second()) as u64;
    due.iter().map(|due| (short(&due.id).to_owned(), due.kind, seconds(due.at))).collect()
}

async fn timers_follow_the_state(bench: &dyn Bench) {
    const DAY: u64 = 86_400;
    let store = bench.open();
    assert_eq!(store.next_due_at().await.expect("nothing"), None);
    let held = Draft { not_before: Some(at(10)), remind_at: Some(at(20)), expire_at: at(30), ..draft("a") };
    send(&*store, &held).await;
    send(&*store, &Draft { expire_at: at(5), ..draft("b") }).await;
    assert_eq!(store.next_due_at().await.expect("b"), Some(at(5)));
    let of = |name: &str, kind, seconds| (name.to_owned(), kind, seconds);
    assert_eq!(due(&*store, 4).await, []);
    let three = [of("b", DueKind::Expire, 5), of("a", DueKind::Release, 10), of("a", DueKind::Expire, 30)];
    assert_eq!(due(&*store, 30).await, three);
    assert_eq!(store.due(at(30), 2).await.expect("due").len(), 2);
    // A timer that read its list before an operator moved the deadline comes too early.
    let timed =
        |seconds| Change { only_if_due: Some(DueKind::Expire), ..change("b", Event::Expired, seconds) };
    let early = store.change(timed(4)).await;
    assert!(matches!(early, Err(StoreError::Denied(_))), "{early:?}");
    store.change(timed(5)).await.expect("expired");
    store.change(change("a", Event::Released, 10)).await.expect("released");
    store.close().await.expect("closed");
    let store = bench.open();
    assert_eq!(due(&*store, 30).await, [of("a", DueKind::Remind, 20), of("a", DueKind::Expire, 30)]);
    store.change(change("a", Event::Reminded, 20)).await.expect("reminded");
    assert_eq!(due(&*store, 30).await, [of("a", DueKind::Expire, 30)]);
    store.change(change("a", Event::HandedOut, 21)).await.expect("handed out");
    store.change(change("a", Event::Received, 25)).await.expect("received");
    let purges = [
        of("b", DueKind::PurgePayload, DAY + 5),
        of("a", DueKind::PurgePayload, DAY + 25),
        of("b", DueKind::PurgeCard, 2 * DAY + 5),
        of("a", DueKind::PurgeCard, 2 * DAY + 25),
    ];
    assert_eq!(due(&*store, 9 * DAY).await, purges);
    store.purge_payload(&id("a"), at(DAY + 25)).await.expect("purged");
    // Requeued with new deadlines, the message starts over.
    let deadlines = Deadlines { remind_at: Some(at(3000)), expire_at: at(4000), ..held.deadlines() };
    let requeued = Change { deadlines: Some(deadlines), ..change("b", Event::Requeued, 2000) };
    assert_eq!(store.change(requeued).await.expect("requeued").expires_at, at(4000));
    let rest = [
        of("b", DueKind::Remind, 3000),
        of("b", DueKind::Expire, 4000),
        of("a", DueKind::PurgeCard, 2 * DAY + 25),
    ];
    assert_eq!(due(&*store, 9 * DAY).await, rest);
    store.purge_card(&id("a"), at(3 * DAY)).await.expect("purged");
    assert_eq!(due(&*store, 9 * DAY).await, rest[..2]);
    store.close().await.expect("closed");
}

async fn payloads_and_cards_are_purged(bench: &dyn Bench) {
    let store = bench.open();
    // A portal reads these ends as a rejection; whoever decides that it shall be delivered after all comes too late.
    for (name, end) in [("late", Event::Expired), ("withdrawn", Event::CancelledByOperator)] {
        let draft = draft(name);
        let payload = draft.stage(&*store).await.expect("staged");
        let mut acceptance = draft.acceptance(payload);
        acceptance.card.door = DOOR_OF_PORTALS.to_owned();
        store.accept(acceptance).await.expect("accepted");
        let card = store.change(change(name, end, 2)).await.expect("ended");
        assert_denied(store.change(change(name, Event::Requeued, 3)).await, card.state, Event::Requeued);
        store.purge_card(&draft.id, at(4)).await.expect("purged");
    }
    for (name, length) in [("small", 100), ("large", 200_000)] {
        let draft = Draft { content: content(1, length), relates_to: vec![id("q")], ..draft(name) };
        send(&*store, &draft).await;
        assert_denied(
            store.purge_payload(&draft.id, at(1)).await,
            DeliveryState::Waiting,
            Event::PayloadPurged,
        );
        assert_denied(store.purge_card(&draft.id, at(1)).await, DeliveryState::Waiting, Event::PayloadPurged);
        store.change(change(name, Event::Expired, 2)).await.expect("expired");
        let mut reader = store.open_payload(&draft.id, 0, u64::MAX).await.expect("a reader");
        store.purge_payload(&draft.id, at(3)).await.expect("purged");
        assert!(reader.next().await.expect("a reader at work reads on").is_some());
        assert_unknown(payload_of(&*store, &draft.id, 0, 1).await);
        let entry = store.find(&draft.id).await.expect("the card stays");
        assert!(!entry.has_payload);
        assert_eq!(entry.card.steps.last().map(|step| step.event), Some(Event::PayloadPurged));
        assert_denied(
            store.change(change(name, Event::Requeued, 4)).await,
            DeliveryState::Expired,
            Event::Requeued,
        );
        store.purge_card(&draft.id, at(5)).await.expect("purged");
        assert_unknown(store.find(&draft.id).await);
        assert_unknown(store.purge_card(&draft.id, at(6)).await);
        assert_unknown(store.change(change(name, Event::Requeued, 6)).await);
        // The id stays used, for the same bytes and for others.
        assert_eq!(draft.send(&*store).await.expect("a late retry"), Accepted::Before);
        let other = Draft { content: content(2, length), ..draft.clone() };
        assert!(matches!(other.send(&*store).await, Err(StoreError::IdUsed)));
        let announced = store.announce(&draft.id, &account("author"), at(7), at(8)).await;
        assert!(matches!(announced, Err(StoreError::IdUsed)));
        assert_eq!(store.sweep(at(1_000_000)).await.expect("swept"), 0);
        let records = store.evidence_of(&draft.id).await.expect("the evidence stays");
        let events: Vec<&str> = records
            .iter()
            .map(|record| Record::from_bytes(&record.bytes).expect("canonical").event.as_str())
            .collect();
        assert_eq!(events, ["accepted", "expired", "payload-purged", "card-purged"]);
    }
    send(&*store, &draft("at-once")).await;
    store.change(change("at-once", Event::Expired, 2)).await.expect("expired");
    store.purge_card(&id("at-once"), at(3)).await.expect("payload and card together");
    assert_unknown(payload_of(&*store, &id("at-once"), 0, 1).await);
    assert_eq!(store.mailboxes().await.expect("mailboxes"), []);
    store.close().await.expect("closed");
}

async fn iterators_outlive_the_process(bench: &dyn Bench) {
    let store = bench.open();
    let iterator = Iterator {
        id: "unguessable".to_owned(),
        account: account("reader"),
        selection: Selection { relates_to: vec![id("q")], new_only: true, ..of_mailbox("ags:1") },
        position: 17,
        handed_out: vec![id("a"), id("b")],
        page_size: 5,
        expires_at: at(100),
    };
    store.save_iterator(&iterator).await.expect("saved");
    let moved = Iterator { position: 22, handed_out: Vec::new(), ..iterator };
    store.save_iterator(&moved).await.expect("saved again");
    store.close().await.expect("closed");
    let store = bench.open();
    let load = |who: &'static str, seconds| {
        let store = Arc::clone(&store);
        async move { store.load_iterator("unguessable", &account(who), at(seconds)).await.expect("an answer") }
    };
    assert_eq!(load("reader", 99).await, Some(moved));
    assert_eq!(load("stranger", 99).await, None);
    assert_eq!(load("reader", 100).await, None);
    store.drop_iterator("unguessable", &account("stranger")).await.expect("nothing dropped");
    assert!(load("reader", 1).await.is_some());
    store.drop_iterator("unguessable", &account("reader")).await.expect("dropped");
    assert_eq!(load("reader", 1).await, None);
    store.close().await.expect("closed");
}

async fn sweeping_forgets_what_is_over(bench: &dyn Bench) {
    let store = bench.open();
    for (name, end) in [("early", 10), ("late", 20)] {
        store.announce(&id(name), &account("author"), at(0), at(end)).await.expect("announced");
        let iterator = Iterator {
            id: name.to_owned(),
            account: account("reader"),
            selection: Selection::default(),
            position: 0,
            handed_out: Vec::new(),
            page_size: 1,
            expires_at: at(end),
        };
        store.save_iterator(&iterator).await.expect("saved");
    }
    assert_eq!(store.sweep(at(9)).await.expect("swept"), 0);
    assert_eq!(store.sweep(at(10)).await.expect("swept"), 2);
    assert_eq!(store.sweep(at(10)).await.expect("swept"), 0);
    store.announce(&id("early"), &account("author"), at(11), at(20)).await.expect("forgotten, hence new");
    let late = store.announce(&id("late"), &account("author"), at(11), at(20)).await;
    assert!(matches!(late, Err(StoreError::IdUsed)));
    store.close().await.expect("closed");
}

async fn pushes_are_leased(bench: &dyn Bench) {
    let store = bench.open();
    for name in ["a", "b", "c"] {
        send(&*store, &draft(name)).await;
    }
    send(&*store, &Draft { mailbox: mailbox("ags:2"), ..draft("foreign") }).await;
    let lease = |now, until, limit| {
        let store = Arc::clone(&store);
        async move {
            store.lease_push(&[mailbox("ags:1")], false, at(now), at(until), limit).await.expect("leases")
        }
    };
    let of = |leases: &[amtsbote::store::PushLease]| -> Vec<(String, u32)> {
        leases.iter().map(|lease| (short(&lease.entry.card.id).to_owned(), lease.attempt)).collect()
    };
    let first = lease(0, 10, 2).await;
    assert_eq!(of(&first), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(of(&lease(9, 19, 10).await), [("c".to_owned(), 1)]);
    let second = lease(10, 20, 10).await;
    assert_eq!(of(&second), [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    // The first leases are over and given anew: a late no counts no more, a late yes does.
    let late = PushOutcome::Dead { reason: "late".to_owned() };
    let ignored = store.record_attempt(&first[0], late, at(11)).await.expect("ignored");
    assert_eq!(ignored.state, DeliveryState::Waiting);
    let card = store.record_attempt(&first[0], PushOutcome::Received, at(12)).await.expect("received");
    assert_eq!((card.state, card.received_at), (DeliveryState::Received, Some(at(12))));
    let again = store.record_attempt(&second[0], PushOutcome::Received, at(13)).await.expect("ignored");
    assert_eq!(again.received_at, Some(at(12)));
    let failed = PushOutcome::Failed { reason: "refused".to_owned(), next_at: at(50) };
    let card = store.record_attempt(&second[1], failed.clone(), at(13)).await.expect("failed");
    let step = card.steps.last().expect("a step");
    assert_eq!((step.event, step.reason.as_deref()), (Event::PushFailed, Some("refused")));
    // A report is taken once.
    let steps = card.steps.len();
    let again = store.record_attempt(&second[1], failed, at(14)).await.expect("ignored");
    assert_eq!(again.steps.len(), steps);
    let third = lease(49, 60, 10).await;
    assert_eq!(of(&third), [("c".to_owned(), 2)]);
    let fourth = lease(50, 70, 10).await;
    assert_eq!(of(&fourth), [("b".to_owned(), 3)]);
    let dead = PushOutcome::Dead { reason: "given up".to_owned() };
    let card = store.record_attempt(&fourth[0], dead, at(51)).await.expect("dead");
    assert_eq!(card.state, DeliveryState::Dead);
    assert_eq!(of(&lease(1000, 1001, 10).await), [("c".to_owned(), 3)]);
    // An operator's requeue starts the count again; a stale report does not touch what was received elsewhere.
    store.change(change("b", Event::Requeued, 2000)).await.expect("requeued");
    assert_eq!(of(&lease(2000, 2010, 10).await), [("b".to_owned(), 1), ("c".to_owned(), 4)]);
    store.close().await.expect("closed");
}

async fn a_finished_push_is_one_change(bench: &dyn Bench) {
    use Event as E;
    let store = bench.open();
    let reply = |name: &str| Draft {
        mailbox: mailbox("ags:2"),
        posted_by: account("reader"),
        relates_to: vec![id("question")],
        content: content(7, 90_000),
        ..draft(name)
    };
    async fn finish(
        store: &dyn Store,
        name: &str,
        reply: Option<&Draft>,
    ) -> Result<amtsbote::domain::card::ProcessCard, StoreError> {
        let reply = match reply {
            None => None,
            Some(reply) => Some(reply.acceptance(reply.stage(store).await?)),
        };
        let (id, by) = (id(name), account("reader"));
        store.finish_push(FinishedPush { id, forwarded_at: at(5), received_at: at(7), by, reply }).await
    }
    for name in ["question", "second", "released", "cancelled"] {
        send(&*store, &draft(name)).await;
        store.change(change(name, E::HeldByOperator, 1)).await.expect("held");
    }
    let size = store.evidence_size().await.expect("a size");
    let card = finish(&*store, "question", Some(&reply("answer"))).await.expect("finished");
    let steps: Vec<_> = card.steps[2..].iter().map(|step| (step.event, step.at, step.by.is_some())).collect();
    let expected = [
        (E::Released, at(5), false),
        (E::HandedOut, at(5), false),
        (E::Received, at(7), true),
        (E::PayloadPurged, at(7), false),
    ];
    assert_eq!(steps, expected);
    let found = store.find(&id("question")).await.expect("found");
    assert_eq!((&found.card, found.has_payload), (&card, false));
    assert_eq!((card.first_handed_out_at, card.received_at), (Some(at(5)), Some(at(7))));
    let got = payload_of(&*store, &id("answer"), 0, u64::MAX).await.expect("the reply");
    assert!(got == reply("answer").content, "byte for byte");
    assert_eq!(list_all(&*store, "ags:2").await, ["answer"]);
    // Four changes, and the reply.
    assert_eq!(store.evidence_size().await.expect("a size"), size + 5);
    // Said twice, it changes nothing.
    finish(&*store, "question", None).await.expect("received before");
    assert_eq!(store.evidence_size().await.expect("a size"), size + 5);

    // A reply that cannot be accepted takes everything back.
    let before = store.find(&id("second")).await.expect("found");
    let used = finish(&*store, "second", Some(&reply("answer"))).await;
    assert!(matches!(used, Err(StoreError::IdUsed)), "{used:?}");
    assert_eq!(store.find(&id("second")).await.expect("found"), before);
    // An operator was faster: what he released is received all the same, what he cancelled stays so, but nothing that
    // the recipient said is lost.
    store.change(change("released", E::Released, 2)).await.expect("released");
    let card = finish(&*store, "released", None).await.expect("finished");
    assert_eq!(card.state, DeliveryState::Received);
    store.change(change("cancelled", E::CancelledByOperator, 2)).await.expect("cancelled");
    for again in [false, true] {
        let card = finish(&*store, "cancelled", Some(&reply("late"))).await.expect("noted");
        assert_eq!((card.state, card.received_at), (DeliveryState::Cancelled, None), "again: {again}");
        let codes: Vec<_> = card.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, ["push-taken-late"], "again: {again}");
        assert_eq!(store.find(&id("cancelled")).await.expect("found").card, card);
    }
    let got = payload_of(&*store, &id("late"), 0, u64::MAX).await.expect("the reply");
    assert!(got == reply("late").content, "byte for byte");
    // What only a held message suffers.
    let no = change("again", E::Declined, 3);
    send(&*store, &draft("again")).await;
    assert!(matches!(store.change(no.clone()).await, Err(StoreError::Denied(_))));
    store.change(change("again", E::HeldByOperator, 3)).await.expect("held");
    store.change(no).await.expect("cancelled");
    let unknown = finish(&*store, "unknown", None).await;
    assert!(matches!(unknown, Err(StoreError::Unknown)));
    store.close().await.expect("closed");
}

async fn pushes_keep_the_order(bench: &dyn Bench) {
    let store = bench.open();
    for (name, mailbox_name) in [("a1", "ags:1"), ("a2", "ags:1"), ("b1", "ags:2")] {
        send(&*store, &Draft { mailbox: mailbox(mailbox_name), ..draft(name) }).await;
    }
    let both = [mailbox("ags:1"), mailbox("ags:2")];
    let first = store.lease_push(&both, true, at(0), at(10), 10).await.expect("leases");
    let of: Vec<&str> = first.iter().map(|lease| short(&lease.entry.card.id)).collect();
    assert_eq!(of, ["a1", "b1"]);
    assert!(store.lease_push(&both, true, at(5), at(15), 10).await.expect("none").is_empty());
    let failed = PushOutcome::Failed { reason: "busy".to_owned(), next_at: at(30) };
    store.record_attempt(&first[0], failed, at(6)).await.expect("failed");
    store.record_attempt(&first[1], PushOutcome::Received, at(6)).await.expect("received");
    // a2 waits behind a1, however long that takes.
    assert!(store.lease_push(&both, true, at(29), at(40), 10).await.expect("none").is_empty());
    let retry = store.lease_push(&both, true, at(30), at(40), 10).await.expect("leases");
    store.record_attempt(&retry[0], PushOutcome::Received, at(31)).await.expect("received");
    let next = store.lease_push(&both, true, at(32), at(40), 10).await.expect("leases");
    assert_eq!(next.iter().map(|lease| short(&lease.entry.card.id)).collect::<Vec<_>>(), ["a2"]);
    store.close().await.expect("closed");
}

fn act(name: &str) -> AdminAct {
    AdminAct {
        at: at(1),
        by: "root".to_owned(),
        act: name.to_owned(),
        object: "amt".to_owned(),
        reason: "test".to_owned(),
    }
}

async fn the_directory_has_revisions(bench: &dyn Bench) {
    let store = bench.open();
    assert_eq!(store.directory().await.expect("empty").revision(), 0);
    let amt = |name: &str, identifier: &str| Account {
        name: account(name),
        title: "Amt".to_owned(),
        blocked: false,
        keys: Vec::new(),
        identifiers: vec![PartyIdentifier::new(identifier).expect("an identifier")],
        accepts: None,
        rights: Rights::default(),
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    };
    let profiles = vec![ServiceProfile::standard()];
    let first = store.apply_directory(0, vec![amt("one", "ags:1")], profiles.clone(), act("first")).await;
    assert_eq!(first.expect("applied").revision(), 1);
    let stale = store.apply_directory(0, vec![amt("two", "ags:2")], profiles.clone(), act("stale")).await;
    assert!(matches!(stale, Err(StoreError::Outdated { found: 1 })), "{stale:?}");
    let clash = vec![amt("one", "ags:1"), amt("two", "ags:1")];
    let clash = store.apply_directory(1, clash, profiles.clone(), act("clash")).await;
    assert!(matches!(clash, Err(StoreError::Unavailable(_))), "{clash:?}");
    store.close().await.expect("closed");
    let store = bench.open();
    let directory = store.directory().await.expect("a directory");
    assert_eq!((directory.revision(), directory.accounts().count(), directory.profiles().count()), (1, 1, 1));
    assert_eq!(directory.account(&account("one")), Some(&amt("one", "ags:1")));
    store.apply_directory(1, Vec::new(), Vec::new(), act("second")).await.expect("applied");
    assert_eq!(store.directory().await.expect("a directory").accounts().count(), 0);
    let acts = store.acts(10).await.expect("acts");
    assert_eq!(acts.iter().map(|act| act.act.as_str()).collect::<Vec<_>>(), ["second", "first"]);
    store.close().await.expect("closed");
}

async fn acts_are_recorded(bench: &dyn Bench) {
    let store = bench.open();
    for n in 0..5 {
        store.record_act(act(&format!("act {n}"))).await.expect("recorded");
    }
    store.close().await.expect("closed");
    let store = bench.open();
    let acts = store.acts(2).await.expect("acts");
    assert_eq!(acts, [act("act 4"), act("act 3")]);
    store.close().await.expect("closed");
}

async fn findings_are_added(bench: &dyn Bench) {
    let store = bench.open();
    send(&*store, &draft("a")).await;
    let finding = |seconds, role: &str| CertificateFinding {
        role: role.to_owned(),
        subject: "CN=amt".to_owned(),
        issuer: "CN=ca".to_owned(),
        serial: "0a".to_owned(),
        at: at(seconds),
        verdict: "valid".to_owned(),
        checks: vec!["path: good".to_owned()],
        results: None,
    };
    let two = vec![finding(5, "author-tls"), finding(4, "reader-encryption")];
    let card = store.inspect(&id("a"), two.clone()).await.expect("inspected");
    assert_eq!(card.certificates, two);
    let same = store.inspect(&id("a"), Vec::new()).await.expect("nothing to add");
    assert_eq!(same, card);
    assert_eq!(store.find(&id("a")).await.expect("found").card, card);
    let records = store.evidence_of(&id("a")).await.expect("records");
    let last = Record::from_bytes(&records[1].bytes).expect("canonical");
    assert_eq!((records.len(), last.event, last.time), (2, RecordEvent::Inspected, at(5)));
    assert_unknown(store.inspect(&id("none"), two).await);
    store.close().await.expect("closed");
}

async fn proofs_hold_for_every_size(bench: &dyn Bench) {
    let store = bench.open();
    // More than one stored subtree of any plausible engine.
    const MESSAGES: u64 = 600;
    for n in 0..MESSAGES {
        send(&*store, &draft(&format!("m{n}"))).await;
        if n == 300 {
            assert_evidence(&*store).await;
        }
    }
    store.close().await.expect("closed");
    let store = bench.open();
    send(&*store, &draft("after reopening".split(' ').next().unwrap_or_default())).await;
    let records = store.evidence_records(0, u32::MAX).await.expect("records");
    let size = records.len() as u64;
    assert_eq!(size, MESSAGES + 1);
    let root = store.tree_root(size).await.expect("a root");
    for (index, of) in [(0, size), (255, 256), (255, 257), (256, 600), (511, size), (size - 1, size), (0, 1)]
    {
        let path = store.inclusion_proof(index, of).await.expect("a path");
        let leaf = tree::leaf_hash(&records[index as usize].bytes);
        let root = store.tree_root(of).await.expect("a root");
        assert!(tree::verify_inclusion(&leaf, index, of, &path, &root), "{index} of {of}");
    }
    for old in [0, 1, 255, 256, 257, 511, 512, 513, 600, size] {
        let path = store.consistency_proof(old, size).await.expect("a path");
        let before = store.tree_root(old).await.expect("a root");
        assert!(tree::verify_consistency(old, &before, size, &root, &path), "{old}");
    }
    assert_unknown(store.inclusion_proof(0, size + 1).await);
    assert_unknown(store.inclusion_proof(size, size).await);
    assert_unknown(store.consistency_proof(size + 1, size).await);
    assert_unknown(store.tree_root(size + 1).await);
    assert_eq!(store.evidence_records(599, 1).await.expect("records"), records[599..600]);
    assert_eq!(store.evidence_records(size, 5).await.expect("records"), []);
    store.close().await.expect("closed");
}

/// The body of a checkpoint with something in a signature's place.
pub async fn note_of(store: &dyn Store, size: u64) -> String {
    let root = store.tree_root(size).await.expect("a root");
    let root = base64::engine::general_purpose::STANDARD.encode(root);
    format!("amtsbote.test/log\n{size}\n{root}\n\n\u{2014} amtsbote.test/log c2lnbmF0dXJl\n")
}

async fn checkpoints_are_kept(bench: &dyn Bench) {
    let store = bench.open();
    assert_eq!(store.checkpoint(None).await.expect("none"), None);
    let mut notes = Vec::new();
    for size in 1..=3 {
        send(&*store, &draft(&format!("m{size}"))).await;
        notes.push(note_of(&*store, size).await);
    }
    store.save_checkpoint(1, &notes[0]).await.expect("saved");
    store.save_checkpoint(3, &notes[2]).await.expect("saved");
    store.save_checkpoint(3, &notes[2]).await.expect("saved again");
    let wrong = store.save_checkpoint(2, &notes[2]).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))), "{wrong:?}");
    let wrong = store.save_checkpoint(2, &notes[1].replace("\n2\n", "\n3\n")).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))), "{wrong:?}");
    assert_unknown(store.save_checkpoint(4, &notes[2]).await);
    store.close().await.expect("closed");
    let store = bench.open();
    for (size, expected) in
        [(None, Some(2)), (Some(0), Some(0)), (Some(1), Some(0)), (Some(2), Some(2)), (Some(4), None)]
    {
        let found = store.checkpoint(size).await.expect("an answer");
        assert_eq!(found.as_ref(), expected.map(|n: usize| &notes[n]), "{size:?}");
    }
    store.close().await.expect("closed");
}

/// A stamp of the test authority over these bytes.
pub fn stamp_over(authority: &Authority, bytes: &[u8], time: Timestamp, good_until: Timestamp) -> TimeStamp {
    let answer = authority.answer(Request::new(bytes, [7; 16], None).der(), time, Twist::None);
    let token = token_of(&answer).expect("granted").to_vec();
    TimeStamp { token, time, good_until }
}

async fn time_stamps_are_kept(bench: &dyn Bench) {
    let (store, authority) = (bench.open(), Authority::new());
    let mut notes = Vec::new();
    for size in 1..=3 {
        send(&*store, &draft(&format!("m{size}"))).await;
        notes.push(note_of(&*store, size).await);
        store.save_checkpoint(size, &notes[notes.len() - 1]).await.expect("saved");
    }
    assert_eq!(store.time_stamped(None).await.expect("an answer"), None);
    assert_eq!(store.time_stamp_ending(Timestamp::MAX).await.expect("an answer"), None);
    let (one, two) = (
        stamp_over(&authority, notes[0].as_bytes(), at(100), at(1000)),
        stamp_over(&authority, notes[2].as_bytes(), at(200), at(900)),
    );
    store.save_time_stamp(1, 0, &one).await.expect("saved");
    store.save_time_stamp(3, 0, &two).await.expect("saved");
    store.save_checkpoint(3, &notes[2]).await.expect("the same again");
    let other = store.save_checkpoint(3, &notes[2].replace("c2lnbmF0dXJl", "b3RoZXI=")).await;
    assert!(matches!(other, Err(StoreError::Outdated { found: 1 })), "from under its stamp: {other:?}");
    assert_eq!(store.checkpoint(Some(3)).await.expect("an answer").as_ref(), Some(&notes[2]));
    store.save_checkpoint(2, &notes[1].replace("c2lnbmF0dXJl", "b3RoZXI=")).await.expect("it has none");
    store.save_checkpoint(2, &notes[1]).await.expect("put back");
    assert_unknown(store.save_time_stamp(4, 0, &one).await);
    let wrong = store.save_time_stamp(2, 0, &one).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))), "over another note: {wrong:?}");
    let wrong = store.save_time_stamp(3, 1, &two).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))), "a renewal is over the stamp before: {wrong:?}");
    let late = TimeStamp { time: at(201), ..two.clone() };
    let wrong = store.save_time_stamp(3, 1, &stamp_over(&authority, &two.token, at(201), at(2000))).await;
    wrong.expect("renewed");
    for number in [0, 1, 3] {
        let wrong = store.save_time_stamp(3, number, &late).await;
        assert!(matches!(wrong, Err(StoreError::Outdated { found: 2 })), "{number}: {wrong:?}");
    }
    store.close().await.expect("closed");
    let store = bench.open();
    assert_eq!(store.time_stamps(1).await.expect("stamps"), [one]);
    assert_eq!(store.time_stamps(2).await.expect("stamps"), []);
    let renewed = store.time_stamps(3).await.expect("stamps");
    assert_eq!((renewed.len(), &renewed[0]), (2, &two));
    for (size, expected) in [(None, Some(3)), (Some(0), Some(1)), (Some(2), Some(3)), (Some(4), None)] {
        assert_eq!(store.time_stamped(size).await.expect("an answer"), expected, "{size:?}");
    }
    for (before, expected) in [(1000, None), (1001, Some(1)), (5000, Some(1))] {
        assert_eq!(store.time_stamp_ending(at(before)).await.expect("an answer"), expected, "{before}");
    }
    store.close().await.expect("closed");
}

async fn everything_outlives_the_process(bench: &dyn Bench) {
    let store = bench.open();
    let mut cards: Vec<ProcessCard> = Vec::new();
    for (state, way) in WAYS {
        let name = state.as_str();
        send(&*store, &Draft { content: content(3, 70_000), ..draft(name) }).await;
        for step in way {
            store.change(change(name, *step, 1)).await.expect("on the way");
        }
        cards.push(store.find(&id(name)).await.expect("found").card);
    }
    let lease = store.lease_push(&[mailbox("ags:1")], false, at(0), at(10), 1).await.expect("a lease");
    let (list, boxes) = (list_all(&*store, "ags:1").await, store.mailboxes().await.expect("mailboxes"));
    store.close().await.expect("closed");
    let closed = store.announce(&id("x"), &account("author"), at(0), at(1)).await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
    drop(store);
    let store = bench.open();
    for card in cards {
        assert_eq!(store.find(&card.id).await.expect("found").card, card);
        let bytes = payload_of(&*store, &card.id, 0, u64::MAX).await.expect("bytes");
        assert_eq!(bytes, content(3, 70_000));
    }
    assert_eq!(
        (list_all(&*store, "ags:1").await, store.mailboxes().await.expect("mailboxes")),
        (list, boxes)
    );
    // A lease is no process's memory either.
    let others = store.lease_push(&[mailbox("ags:1")], false, at(5), at(10), 10).await.expect("leases");
    assert!(others.iter().all(|other| other.entry.card.id != lease[0].entry.card.id));
    let sequences: BTreeSet<u64> = [store.find(&id("waiting")).await, store.find(&id("dead")).await]
        .into_iter()
        .map(|entry| entry.expect("found").sequence)
        .collect();
    assert_eq!(sequences.len(), 2);
    tokio::time::timeout(Duration::from_secs(30), store.close()).await.expect("in time").expect("closed");
}
