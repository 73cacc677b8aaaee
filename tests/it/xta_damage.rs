//! A disk that flips a bit must not make the post office hand out what nobody posted.

use std::path::{Path, PathBuf};

use amtsbote::domain::content::PartRole;
use amtsbote::domain::message_id::MessageId;
use amtsbote::xta::client::content::{FolderSink, Outgoing};

use crate::xta_office::{AUTHOR, Office, READER, envelope};

const CONTENT_BYTES: usize = 700 * 1024;

/// An office with one message, and the file that its content lies in.
async fn posted() -> (Office, MessageId, PathBuf) {
    let office = Office::open().await;
    let author = office.client("author", Some(AUTHOR));
    let id = author.create_message_id().await.expect("an id");
    let content =
        [Outgoing::from_bytes(PartRole::Message, "application/octet-stream", vec![7; CONTENT_BYTES])];
    author.send(&envelope(id.clone(), READER), &content).await.expect("sent");
    let file = the_payload_file(office.folder());
    (office, id, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_is_not_handed_out() {
    let (office, id, file) = posted().await;
    let reader = office.client("reader", Some(READER));
    let mut bytes = std::fs::read(&file).expect("readable");
    for (at, whole) in [(CONTENT_BYTES / 2, false), (CONTENT_BYTES - 1, false), (CONTENT_BYTES - 1, true)] {
        bytes.fill(7);
        if !whole {
            bytes[at] ^= 1;
        }
        std::fs::write(&file, &bytes).expect("writable");
        let into = tempfile::tempdir().expect("a folder");
        let mut sink = FolderSink::new(into.path());
        let fetched = reader.fetch(&id, &mut sink).await;
        assert_eq!(fetched.is_ok(), whole, "bit flipped at {at}: {fetched:?}");
    }
    office.close().await;
}

/// Cut short, a file is known for damaged before the first byte goes out: the reader gets a fault that names the
/// trouble instead of half an answer, and the message when the file is whole again.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_cut_short_is_refused_in_words() {
    let (office, id, file) = posted().await;
    let reader = office.client("reader", Some(READER));
    let whole = std::fs::read(&file).expect("readable");
    for length in [0, 1, CONTENT_BYTES - 1, CONTENT_BYTES + 1, CONTENT_BYTES] {
        let mut bytes = whole.clone();
        bytes.resize(length, 7);
        std::fs::write(&file, &bytes).expect("writable");
        let into = tempfile::tempdir().expect("a folder");
        let fetched = reader.fetch(&id, &mut FolderSink::new(into.path())).await;
        if length == CONTENT_BYTES {
            fetched.expect("the message waited until its file was whole again");
        } else {
            let refused = fetched.expect_err("damaged").to_string();
            assert!(refused.contains("9030"), "{length} bytes: {refused}");
        }
    }
    office.close().await;
}

fn the_payload_file(folder: &Path) -> PathBuf {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let entry = entry.expect("readable");
            let size = entry.metadata().expect("readable").len();
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path if size == CONTENT_BYTES as u64 => return path,
                _ => {}
            }
        }
    }
    panic!("no payload file of {CONTENT_BYTES} bytes");
}
