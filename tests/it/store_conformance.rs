//! What every engine of the store must do, whatever it is made of.

use std::sync::Arc;

use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::store::{Accepted, Store, StoreError};

use crate::store_fixture::*;

/// Where an engine keeps one test's store.
pub trait Bench {
    /// Opens the store; after `close`, the same store again.
    fn open(&self) -> Arc<dyn Store>;
}

pub fn run_all(bench: impl Fn() -> Box<dyn Bench>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        smoke(&*bench()).await;
    });
}

async fn smoke(bench: &dyn Bench) {
    let store = bench.open();
    for (name, length) in [("a", 300), ("b", 300_000)] {
        let draft = Draft { content: content(7, length), ..draft(name) };
        assert_eq!(draft.send(&*store).await.expect("accepted"), Accepted::New);
        assert_eq!(draft.send(&*store).await.expect("again"), Accepted::Before);
        let other = Draft { content: content(8, length), ..draft.clone() };
        assert!(matches!(other.send(&*store).await, Err(StoreError::IdUsed)));
        assert_eq!(payload_of(&*store, &draft.id, 0, u64::MAX).await.expect("bytes"), draft.content);
        assert_eq!(payload_of(&*store, &draft.id, 100, 50).await.expect("bytes"), draft.content[100..150]);
        let card = store.change(change(name, Event::HandedOut, 5)).await.expect("handed out");
        assert_eq!(card.state, DeliveryState::HandedOut);
    }
    let listing = store.list(&of_mailbox("ags:1"), 0, 1).await.expect("a list");
    assert_eq!((listing.entries.len(), listing.pending), (1, 1));
    assert_eq!(store.evidence_size().await.expect("a size"), 4);
    store.directory().await.expect("a directory");
    store.mailboxes().await.expect("mailboxes");
    store.messages(&Default::default()).await.expect("messages");
    store.due(at(1_000_000), 10).await.expect("due");
    store.close().await.expect("closed");
    drop(store);
    let store = bench.open();
    assert_eq!(store.evidence_of(&id("a")).await.expect("records").len(), 2);
    assert_eq!(store.health().await.expect("health").messages, 2);
}
