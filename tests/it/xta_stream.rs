//! 50 MB in and out with the memory of a small message.
//!
//! Measured in a process of its own, so that no other test's memory is counted.

use std::io::Write;

use amtsbote::domain::content::PartRole;
use amtsbote::domain::limits::Limits;
use amtsbote::xta::client::content::{FolderSink, Outgoing};
use tokio::io::AsyncWriteExt;

use crate::xta_office::{AUTHOR, Office, READER, SERVICE, envelope};
use crate::xta_raw;

const CONTENT_BYTES: usize = 50 * 1024 * 1024;
/// Server and client together, in both directions.
const GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

#[test]
fn fifty_megabytes_in_bounded_memory() {
    let test = std::env::current_exe().expect("this binary");
    let done = std::process::Command::new(test)
        .args(["--exact", "xta_stream::fifty_megabytes", "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .expect("started");
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by fifty_megabytes_in_bounded_memory in a process of its own"]
async fn fifty_megabytes() {
    let limits = Limits { content_bytes_max: 64 * 1024 * 1024, ..Limits::default() };
    let office = Office::open_with(limits).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.bin");
    write_noise(&path);
    let (author, reader) = (office.client("author", Some(AUTHOR)), office.client("reader", Some(READER)));
    let small = author.create_message_id().await.expect("an id");
    let content = [Outgoing::from_bytes(PartRole::Message, "text/xml", "<a/>")];
    author.send(&envelope(small.clone(), READER), &content).await.expect("sent");
    reader.close("1", &[small]).await.expect("closed");
    let before = resident_peak();

    let id = author.create_message_id().await.expect("an id");
    let content = [
        Outgoing::from_bytes(PartRole::Message, "text/xml", "<a/>"),
        Outgoing::from_file(PartRole::Attachment, "application/octet-stream", &path).await.expect("a file"),
    ];
    author.send(&envelope(id.clone(), READER), &content).await.expect("sent");
    let inline = send_inline(&office, &path).await;
    for (id, at) in [(id, 1), (inline, 0)] {
        let into = tempfile::tempdir().expect("a folder");
        let mut sink = FolderSink::new(into.path());
        reader.fetch(&id, &mut sink).await.expect("fetched");
        assert!(same(&path, &sink.files[&at]), "the content of {id} differs");
    }
    let growth = resident_peak() - before;
    println!("grew by {growth} bytes");
    assert!(
        growth <= GROWTH_BYTES_MAX,
        "memory grew by {growth} bytes, at most {GROWTH_BYTES_MAX} are allowed"
    );
    office.close().await;
}

/// The same content as base64 inside the envelope, written as it is read.
async fn send_inline(office: &Office, path: &std::path::Path) -> amtsbote::domain::message_id::MessageId {
    use base64::Engine as _;
    use std::io::Read;
    let id = office.client("author", None).create_message_id().await.expect("an id");
    let headers = xta_raw::metadata(id.as_str(), AUTHOR, READER, SERVICE, "");
    let body = xta_raw::container("<x:Message contentType=\"a/b\">@</x:Message>");
    let whole = xta_raw::envelope(&headers, &body);
    let (open, close) = whole.split_once('@').expect("a place for the content");
    let mut stream = xta_raw::connect(office, Some("author")).await;
    let length = open.len() + close.len() + CONTENT_BYTES.div_ceil(3) * 4;
    let head = format!(
        "POST /xta HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/soap+xml; \
         action=\"http://www.xta.de/XTA/SendMessage\"\r\nContent-Length: {length}\r\n\r\n{open}"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut file = std::fs::File::open(path).expect("a file");
    let mut buffer = vec![0; 48 * 1024];
    let mut left = CONTENT_BYTES;
    while left > 0 {
        let piece = left.min(buffer.len());
        file.read_exact(&mut buffer[..piece]).expect("read");
        let text = base64::engine::general_purpose::STANDARD.encode(&buffer[..piece]);
        stream.write_all(text.as_bytes()).await.expect("written");
        left -= piece;
    }
    stream.write_all(close.as_bytes()).await.expect("written");
    stream.flush().await.expect("written");
    let answer = xta_raw::answer(&mut stream).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    id
}

fn write_noise(path: &std::path::Path) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..CONTENT_BYTES / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).expect("written");
    }
    file.flush().expect("written");
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    use std::io::BufRead;
    let open =
        |path| std::io::BufReader::with_capacity(64 * 1024, std::fs::File::open(path).expect("a file"));
    let (mut one, mut other) = (open(one), open(other));
    loop {
        let (a, b) = (one.fill_buf().expect("read"), other.fill_buf().expect("read"));
        let common = a.len().min(b.len());
        if common == 0 {
            return a.is_empty() && b.is_empty();
        }
        if a[..common] != b[..common] {
            return false;
        }
        one.consume(common);
        other.consume(common);
    }
}

/// The most memory that this process ever held.
fn resident_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}
