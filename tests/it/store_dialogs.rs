//! Dialogs in the store's conformance suite: moved on once, confirmed by nothing but a further request, kept.

use std::sync::Arc;

use amtsbote::domain::dialog::{ConversationId, Dialog, DialogStep, Originator};
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::store::{Accepted, CardBounds, CardQuery, Change, Store, StoreError};

use crate::store_conformance::Bench;
use crate::store_fixture::{Draft, account, at, change, content, draft, id, payload_of};

pub fn dialog(number: u128) -> Dialog {
    Dialog {
        id: ConversationId::from_random(number),
        account: account("reader"),
        originator: Originator { cipher: b"cipher".to_vec(), signature: None },
        encrypted: true,
        challenge: "s0".to_owned(),
        sequence: 0,
        handed_out: Vec::new(),
        opened_at: at(10),
        used_at: at(10),
        expires_at: at(100),
    }
}

/// The step from `sequence` on, where challenges are `s0`, `s1`, ….
fn step(of: &Dialog, sequence: u64) -> DialogStep {
    DialogStep {
        id: of.id.clone(),
        challenge: format!("s{sequence}"),
        sequence,
        challenge_next: Some(format!("s{}", sequence + 1)),
        encrypted: true,
        confirms: true,
        signature: None,
        at: at(20 + sequence),
        expires_at: at(120),
    }
}

async fn waiting(store: &dyn Store, name: &str) {
    draft(name).send(store).await.expect("accepted");
}

async fn state(store: &dyn Store, name: &str) -> DeliveryState {
    store.find(&id(name)).await.expect("known").card.state
}

fn handing_out(name: &str, seconds: u64) -> Change {
    change(name, Event::HandedOut, seconds)
}

fn is_unknown<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unknown))
}

pub async fn dialogs_move_on_exactly_once(bench: &dyn Bench) {
    let store = bench.open();
    let open = dialog(1);
    store.open_dialog(&open).await.expect("opened");
    assert!(matches!(store.open_dialog(&open).await, Err(StoreError::IdUsed)));
    for bent in [
        DialogStep { id: ConversationId::from_random(2), ..step(&open, 0) },
        DialogStep { challenge: "s1".to_owned(), ..step(&open, 0) },
        DialogStep { sequence: 1, ..step(&open, 0) },
        DialogStep { at: at(100), ..step(&open, 0) },
    ] {
        assert!(is_unknown(&store.step_dialog(&bent).await), "{bent:?}");
    }
    // Of equal requests at the same time, one is taken.
    let same = (0..8).map(|_| {
        let (store, step) = (Arc::clone(&store), step(&open, 0));
        async move { store.step_dialog(&step).await.is_ok() }
    });
    let taken = futures_util::future::join_all(same).await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    let first = DialogStep { signature: Some(b"mine".to_vec()), encrypted: false, ..step(&open, 1) };
    store.step_dialog(&first).await.expect("taken");
    let second = DialogStep { signature: Some(b"other".to_vec()), ..step(&open, 2) };
    store.step_dialog(&second).await.expect("taken");
    let found = store.dialog(&open.id, at(119)).await.expect("an answer").expect("open");
    let expected = Dialog {
        originator: Originator { signature: Some(b"mine".to_vec()), ..open.originator.clone() },
        challenge: "s3".to_owned(),
        sequence: 3,
        used_at: at(22),
        expires_at: at(120),
        ..open.clone()
    };
    assert_eq!(found, expected);
    assert_eq!(store.dialog(&open.id, at(120)).await.expect("an answer"), None);
    let last = DialogStep { challenge_next: None, ..step(&open, 3) };
    store.step_dialog(&last).await.expect("ended");
    assert!(is_unknown(&store.step_dialog(&last).await));
    assert_eq!(store.dialog(&open.id, at(30)).await.expect("an answer"), None);
    store.close().await.expect("closed");
}

pub async fn dialogs_move_on_with_what_comes_behind(bench: &dyn Bench) {
    let store = bench.open();
    let open = dialog(1);
    store.open_dialog(&open).await.expect("opened");
    let sequence = async |store: &dyn Store| {
        store.dialog(&open.id, at(30)).await.expect("an answer").expect("open").sequence
    };
    // Large ones too, whose file must not outlive a refusal.
    let send = async |name: &str, bytes: usize, step: &DialogStep| {
        let draft = Draft { content: content(7, bytes), announced_only: true, ..draft(name) };
        let payload = draft.stage(&*store).await.expect("staged");
        store.step_and_accept(step, draft.acceptance(payload)).await
    };
    // A dialog that stands elsewhere: nothing is announced, nothing accepted.
    let (author, until) = (account("author"), at(1_000));
    let elsewhere = step(&open, 1);
    let announced = store.step_and_announce(&elsewhere, &id("a"), &author, None, until).await;
    assert!(is_unknown(&announced));
    // What is refused leaves the dialog moved on: this id was not announced.
    store.hand_out_in_dialog(&open.id, 0, handing_out("none", 15)).await.expect_err("there is none");
    let refused = send("a", 300_000, &step(&open, 0)).await.expect("moved on");
    assert!(matches!(refused.then, Err(StoreError::NotAnnounced)), "{:?}", refused.then);
    assert_eq!(sequence(&*store).await, 1);
    let announced = store.step_and_announce(&step(&open, 1), &id("a"), &author, None, until).await;
    announced.expect("moved on").then.expect("announced");
    let again = store.step_and_announce(&step(&open, 2), &id("a"), &author, None, until).await;
    assert!(matches!(again.expect("moved on").then, Err(StoreError::IdUsed)));
    assert!(is_unknown(&send("a", 300_000, &step(&open, 2)).await), "the dialog stands elsewhere");
    assert!(is_unknown(&store.find(&id("a")).await), "so nothing was accepted");
    let accepted = send("a", 300_000, &step(&open, 3)).await.expect("moved on");
    assert_eq!(accepted.then.expect("accepted"), Accepted::New);
    // What was handed out before is received by the same step.
    store.hand_out_in_dialog(&open.id, 4, handing_out("a", 25)).await.expect("handed out");
    let before = send("a", 300_000, &step(&open, 4)).await.expect("moved on");
    assert_eq!((before.received.len(), before.then.expect("known")), (1, Accepted::Before));
    let got = payload_of(&*store, &id("a"), 0, u64::MAX).await.expect("its payload");
    assert!(got == content(7, 300_000), "byte for byte");
    assert_eq!(sequence(&*store).await, 5);
    store.close().await.expect("closed");
    // Everything was durable when it was said, and no refused file is left.
    let store = bench.open();
    assert_eq!(sequence(&*store).await, 5);
    assert_eq!(state(&*store, "a").await, DeliveryState::Received);
    store.close().await.expect("closed");
}

pub async fn dialogs_confirm_by_a_further_request_only(bench: &dyn Bench) {
    let store = bench.open();
    for name in ["a", "b", "c", "d"] {
        waiting(&*store, name).await;
    }
    let (mine, abandoned) = (dialog(1), dialog(2));
    for one in [&mine, &abandoned] {
        store.open_dialog(one).await.expect("opened");
    }
    for (of, name) in [(&mine, "a"), (&mine, "b"), (&abandoned, "b"), (&abandoned, "c")] {
        store.hand_out_in_dialog(&of.id, 0, handing_out(name, 15)).await.expect("handed out");
    }
    let known = store.dialog(&mine.id, at(16)).await.expect("an answer").expect("open");
    assert_eq!(known.handed_out, [id("a"), id("b")]);
    let unproven = DialogStep { confirms: false, ..step(&mine, 0) };
    assert_eq!(store.step_dialog(&unproven).await.expect("taken"), []);
    assert_eq!(state(&*store, "a").await, DeliveryState::HandedOut);
    // What an operator took away meanwhile is not confirmed, and does not keep the rest from it.
    store.change(change("a", Event::CancelledByOperator, 18)).await.expect("cancelled");
    let received = store.step_dialog(&step(&mine, 1)).await.expect("taken");
    assert_eq!(received.iter().map(|card| card.id.clone()).collect::<Vec<_>>(), [id("b")]);
    assert_eq!(received[0].received_at, Some(at(21)));
    assert_eq!(received[0].steps.last().and_then(|step| step.by.as_deref()), Some("reader"));
    assert_eq!(state(&*store, "a").await, DeliveryState::Cancelled);
    assert_eq!(store.step_dialog(&step(&mine, 2)).await.expect("taken"), [], "nothing twice");
    // The last request of a dialog confirms as well.
    store.hand_out_in_dialog(&mine.id, 3, handing_out("d", 25)).await.expect("handed out");
    let last = DialogStep { challenge_next: None, ..step(&mine, 3) };
    assert_eq!(store.step_dialog(&last).await.expect("ended").len(), 1);
    // A dialog that is over confirms nothing.
    assert!(is_unknown(&store.step_dialog(&DialogStep { at: at(100), ..step(&abandoned, 0) }).await));
    assert_eq!(store.sweep(at(100)).await.expect("swept"), 1);
    for (name, expected) in
        [("b", DeliveryState::Received), ("c", DeliveryState::HandedOut), ("d", DeliveryState::Received)]
    {
        assert_eq!(state(&*store, name).await, expected, "{name}");
    }
    store.close().await.expect("closed");
}

pub async fn dialogs_outlive_the_process(bench: &dyn Bench) {
    let store = bench.open();
    waiting(&*store, "a").await;
    let open = dialog(1);
    store.open_dialog(&open).await.expect("opened");
    store.hand_out_in_dialog(&open.id, 0, handing_out("a", 15)).await.expect("handed out");
    store.close().await.expect("closed");
    let store = bench.open();
    let listed = store.dialogs(at(50), 10).await.expect("dialogs");
    assert_eq!(listed, [Dialog { handed_out: vec![id("a")], ..open.clone() }]);
    assert_eq!(state(&*store, "a").await, DeliveryState::HandedOut, "a restart confirms nothing");
    assert_eq!(store.step_dialog(&step(&open, 0)).await.expect("taken").len(), 1);
    assert!(is_unknown(&store.step_dialog(&step(&open, 0)).await), "a replay");
    store.close().await.expect("closed");
    let store = bench.open();
    assert!(is_unknown(&store.step_dialog(&step(&open, 0)).await), "a replay after a restart");
    assert_eq!(store.dialogs(at(120), 10).await.expect("dialogs"), []);
    store.close().await.expect("closed");
}

pub async fn dialogs_hand_out_where_they_stand(bench: &dyn Bench) {
    let store = bench.open();
    waiting(&*store, "a").await;
    let open = dialog(1);
    store.open_dialog(&open).await.expect("opened");
    let foreign = Change { only_in: Some(Vec::new()), ..handing_out("a", 15) };
    let unknown = ConversationId::from_random(2);
    assert!(is_unknown(&store.hand_out_in_dialog(&unknown, 0, handing_out("a", 15)).await));
    assert!(is_unknown(&store.hand_out_in_dialog(&open.id, 1, handing_out("a", 15)).await));
    assert!(is_unknown(&store.hand_out_in_dialog(&open.id, 0, handing_out("a", 100)).await));
    assert!(is_unknown(&store.hand_out_in_dialog(&open.id, 0, foreign).await));
    assert_eq!(state(&*store, "a").await, DeliveryState::Waiting);
    let found = store.dialog(&open.id, at(16)).await.expect("an answer").expect("open");
    assert_eq!(found.handed_out, []);
    store.close().await.expect("closed");
}

pub async fn cards_are_found_for_author_and_reader(bench: &dyn Bench) {
    let store = bench.open();
    for name in ["a", "b", "c"] {
        waiting(&*store, name).await;
    }
    store.change(change("b", Event::HandedOut, 30)).await.expect("handed out");
    store.change(change("b", Event::Received, 40)).await.expect("received");
    let card = store.find(&id("a")).await.expect("known").card;
    let all = CardQuery {
        account: card.posted_by.clone(),
        author: card.author.value().to_owned(),
        mailbox: card.mailbox.clone(),
        as_author: true,
        as_reader: true,
        ids: Vec::new(),
        accepted_from: None,
        modified_from: None,
        unreceived_only: false,
        limit: 10,
        bounds: CardBounds::default(),
    };
    let stranger = CardQuery {
        account: account("stranger"),
        mailbox: crate::store_fixture::mailbox("ags:9"),
        ..all.clone()
    };
    let later = card.accepted_at + std::time::Duration::from_secs(1);
    for (query, expected, more) in [
        (all.clone(), &["c", "b", "a"][..], false),
        (CardQuery { limit: 2, ..all.clone() }, &["c", "b"], true),
        (CardQuery { as_reader: false, ..all.clone() }, &["c", "b", "a"], false),
        (CardQuery { as_author: false, ..all.clone() }, &["c", "b", "a"], false),
        (CardQuery { as_author: false, as_reader: false, ..all.clone() }, &[], false),
        (CardQuery { author: "ags:9".to_owned(), as_reader: false, ..all.clone() }, &[], false),
        (CardQuery { unreceived_only: true, ..all.clone() }, &["c", "a"], false),
        (CardQuery { modified_from: Some(at(40)), ..all.clone() }, &["b"], false),
        (CardQuery { accepted_from: Some(later), ..all.clone() }, &[], false),
        (CardQuery { ids: vec![id("a"), id("x")], ..all.clone() }, &["a"], false),
        (stranger.clone(), &[], false),
        (CardQuery { ids: vec![id("a")], ..stranger }, &[], false),
    ] {
        let (found, cut) = store.cards(&query).await.expect("cards");
        let expected: Vec<_> = expected.iter().map(|name| id(name)).collect();
        let found: Vec<_> = found.into_iter().map(|entry| entry.envelope.id).collect();
        assert_eq!((found, cut), (expected, more), "{query:?}");
    }
    store.close().await.expect("closed");
}

pub async fn cards_are_found_however_deep_they_lie(bench: &dyn Bench) {
    let store = bench.open();
    // More than one page of every index; the card that is wanted is the oldest.
    waiting(&*store, "wanted").await;
    for place in 0..700 {
        waiting(&*store, &format!("m{place}")).await;
        if place % 3 == 0 {
            store.change(change(&format!("m{place}"), Event::Received, 40)).await.expect("received");
        }
    }
    store.change(change("wanted", Event::HandedOut, 90)).await.expect("handed out");
    let card = store.find(&id("wanted")).await.expect("known").card;
    let all = CardQuery {
        account: card.posted_by.clone(),
        author: card.author.value().to_owned(),
        mailbox: card.mailbox.clone(),
        as_author: true,
        as_reader: true,
        ids: Vec::new(),
        accepted_from: None,
        modified_from: None,
        unreceived_only: false,
        limit: 1000,
        bounds: CardBounds::default(),
    };
    let found = async |query: &CardQuery| {
        let (found, cut) = store.cards(query).await.expect("cards");
        let ids: Vec<_> = found.into_iter().map(|entry| entry.envelope.id).collect();
        (ids, cut)
    };
    let late = CardQuery { modified_from: Some(at(90)), ..all.clone() };
    for query in [
        late.clone(),
        CardQuery { as_author: false, ..late.clone() },
        CardQuery { as_reader: false, ..late.clone() },
        CardQuery { unreceived_only: true, ..late },
    ] {
        assert_eq!(found(&query).await, (vec![id("wanted")], false), "{query:?}");
    }
    // All of them, each once, the newest first, by whatever index.
    let names = (0..700).rev().map(|place| id(&format!("m{place}"))).chain([id("wanted")]);
    let names: Vec<_> = names.collect();
    for (as_author, as_reader) in [(true, true), (true, false), (false, true)] {
        let query = CardQuery { as_author, as_reader, ..all.clone() };
        let (ids, cut) = found(&query).await;
        assert!(ids == names && !cut, "{as_author} {as_reader}: {} cards", ids.len());
    }
    let (ids, cut) = found(&CardQuery { limit: 300, ..all }).await;
    assert!(ids == names[..300] && cut);
    store.close().await.expect("closed");
}

pub async fn cards_are_found_beyond_what_one_question_looks_at(bench: &dyn Bench) {
    let store = bench.open();
    // The clock was set back behind the first, so that neither of the two that are wanted lies where it should.
    Draft { accepted_at: at(50_000), ..draft("late") }.send(&*store).await.expect("accepted");
    waiting(&*store, "wanted").await;
    let other = crate::store_fixture::mailbox("ags:9");
    let foreign = Draft { mailbox: other, posted_by: account("stranger"), ..draft("foreign") };
    foreign.send(&*store).await.expect("accepted");
    for place in 0..300 {
        waiting(&*store, &format!("m{place}")).await;
    }
    for name in ["wanted", "foreign"] {
        store.change(change(name, Event::HandedOut, 60_000)).await.expect("handed out");
    }
    Draft { accepted_at: at(70_000), ..draft("newest") }.send(&*store).await.expect("accepted");
    let card = store.find(&id("wanted")).await.expect("known").card;
    let bounds = |rows, cards, records| CardBounds { rows, cards, records };
    let all = CardQuery {
        account: card.posted_by.clone(),
        author: card.author.value().to_owned(),
        mailbox: card.mailbox.clone(),
        as_author: true,
        as_reader: true,
        ids: Vec::new(),
        accepted_from: None,
        modified_from: None,
        unreceived_only: false,
        limit: 10,
        bounds: bounds(10_000, 20, 10_000),
    };
    let modified = |from| CardQuery { modified_from: Some(at(from)), ..all.clone() };
    let accepted = |from| CardQuery { accepted_from: Some(at(from)), ..all.clone() };
    for (query, expected, more) in [
        // The way is too long, the log is not.
        (modified(50_000), &["newest", "wanted", "late"][..], false),
        (modified(60_000), &["newest", "wanted"], false),
        (CardQuery { as_author: false, ..modified(60_000) }, &["newest", "wanted"], false),
        (CardQuery { as_reader: false, ..modified(60_000) }, &["newest", "wanted"], false),
        (CardQuery { unreceived_only: true, ..modified(60_000) }, &["newest", "wanted"], false),
        (CardQuery { limit: 1, ..modified(60_000) }, &["newest"], true),
        (CardQuery { bounds: bounds(20, 10_000, 10_000), ..modified(60_000) }, &["newest", "wanted"], false),
        (CardQuery { as_author: false, as_reader: false, ..modified(60_000) }, &[], false),
        (accepted(50_000), &["newest", "late"], false),
        // Both are too long, and nobody says that this is all.
        (CardQuery { bounds: bounds(10_000, 20, 100), ..modified(60_000) }, &["newest"], true),
        (CardQuery { limit: 100, ..all.clone() }, &[], true),
        // What was accepted too early ends the way, before it is too long.
        (CardQuery { bounds: bounds(290, 290, 0), ..accepted(70_000) }, &["newest"], false),
        (CardQuery { bounds: bounds(200, 10_000, 0), ..accepted(70_000) }, &["newest"], true),
    ] {
        let (found, cut) = store.cards(&query).await.expect("cards");
        let mut found: Vec<_> = found.into_iter().map(|entry| entry.envelope.id).collect();
        if query.limit == 100 {
            assert_eq!(found.len(), 20, "{query:?}");
            found.clear();
        }
        let expected: Vec<_> = expected.iter().map(|name| id(name)).collect();
        assert_eq!((found, cut), (expected, more), "{query:?}");
    }
    store.close().await.expect("closed");
}
