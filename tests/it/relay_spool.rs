//! Messages that are pushed into a spool directory.

use std::path::Path;

use amtsbote::domain::content::Digest;
use amtsbote::relay::{Outlet, PushVerdict};
use amtsbote::spool::Spool;
use amtsbote::store::embedded::{EmbeddedStore, Settings};
use amtsbote::store::{Entry, Store};

use super::store_fixture::{draft, id};

async fn world(folder: &Path) -> (EmbeddedStore, Entry) {
    let mut settings = Settings::new(folder.join("store"));
    settings.disk_reserve_bytes = 0;
    let store = EmbeddedStore::open(settings).expect("the folder is ours");
    draft("../../etc/passwd").send(&store).await.expect("there is room");
    let entry = store.find(&id("../../etc/passwd")).await.expect("it was stored");
    (store, entry)
}

async fn push(spool: &Spool, store: &EmbeddedStore, entry: &Entry) -> PushVerdict {
    let payload = store.open_payload(&entry.envelope.id, 0, entry.manifest.length()).await;
    spool.push(entry, payload.expect("the payload is there")).await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_message_appears_whole_under_a_name_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, entry) = world(folder.path()).await;
    let spool = Spool::open(&folder.path().join("spool")).expect("the folder is ours");
    assert_eq!(push(&spool, &store, &entry).await, PushVerdict::Received);
    assert_eq!(push(&spool, &store, &entry).await, PushVerdict::Received, "a second time is harmless");
    let new = folder.path().join("spool/new");
    let [name] = &names(&new)[..] else { panic!("one message: {:?}", names(&new)) };
    assert!(name.starts_with(&format!("{:020}-", entry.sequence)), "{name}");
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
    assert!(names(&folder.path().join("spool/tmp")).is_empty());
    for (index, part) in entry.manifest.parts.iter().enumerate() {
        let bytes =
            std::fs::read(new.join(name).join(format!("part-{}", index + 1))).expect("a file per part");
        assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (part.length, part.digest), "byte for byte");
    }
    let description = std::fs::read(new.join(name).join("message.json")).expect("it is described");
    let description: serde_json::Value = serde_json::from_slice(&description).expect("it is JSON");
    assert_eq!(description["envelope"]["id"], entry.envelope.id.as_str());
    assert_eq!(description["parts"][0]["file"], "part-1");
}

#[tokio::test]
async fn an_unfinished_or_damaged_message_never_appears() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, mut entry) = world(folder.path()).await;
    let place = folder.path().join("spool");
    std::fs::create_dir_all(place.join("tmp/left-over")).expect("a folder");
    let spool = Spool::open(&place).expect("the folder is ours");
    assert!(names(&place.join("tmp")).is_empty(), "left-overs are removed");
    let whole = entry.clone();
    for part in &mut entry.manifest.parts {
        part.digest = Digest::of(b"something else");
    }
    let verdict = push(&spool, &store, &entry).await;
    assert!(matches!(&verdict, PushVerdict::TryLater { reason } if reason.contains("part 1")), "{verdict:?}");
    assert!(names(&place.join("new")).is_empty());
    assert_eq!(
        push(&spool, &store, &whole).await,
        PushVerdict::Received,
        "what was left behind does not disturb"
    );
    assert_eq!(names(&place.join("new")).len(), 1);
}

/// The payload may begin with a part that the manifest names later.
#[tokio::test]
async fn parts_may_lie_in_another_order_than_they_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, mut entry) = world(folder.path()).await;
    let spool = Spool::open(&folder.path().join("spool")).expect("the folder is ours");
    let bytes = draft("../../etc/passwd").content;
    let whole = entry.manifest.parts.remove(0);
    for span in [100..300, 0..60, 60..100] {
        let mut part = whole.clone();
        (part.offset, part.length) = (span.start as u64, (span.end - span.start) as u64);
        part.digest = Digest::of(&bytes[span]);
        entry.manifest.parts.push(part);
    }
    assert_eq!(push(&spool, &store, &entry).await, PushVerdict::Received);
    let new = folder.path().join("spool/new");
    let [name] = &names(&new)[..] else { panic!("one message: {:?}", names(&new)) };
    for (file, span) in [("part-1", 100..300), ("part-2", 0..60), ("part-3", 60..100)] {
        assert_eq!(std::fs::read(new.join(name).join(file)).expect("a part"), bytes[span], "{file}");
    }
}
