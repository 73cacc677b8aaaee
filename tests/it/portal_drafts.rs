//! How uploads lie on disk until they are submitted: behind one another in one file, in files of their own, as older
//! programs left them, cut off at any place.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use amtsbote::domain::content::Digest;
use amtsbote::domain::destination::DestinationKey;
use amtsbote::pki::jose::jwe;
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::store::{Store, embedded};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::portal_office::*;

const THIRD: &str = "aaaaaaaa-0000-4000-8000-000000000003";
const ALL: [&str; 3] = [ATTACHMENT, OTHER_ATTACHMENT, THIRD];

fn folder(office: &Office, submission: &str) -> PathBuf {
    let accounts = fs::read_dir(office.xta.folder().join("portal")).expect("accounts");
    accounts.last().expect("one").expect("an entry").path().join(submission)
}

fn names(office: &Office, submission: &str) -> Vec<String> {
    let entries = fs::read_dir(folder(office, submission)).expect("a draft");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
    let mut names: Vec<String> = entries.map(|entry| name(entry).expect("text")).collect();
    names.sort();
    names
}

/// The key that portals encrypt for next: the post office's own by another purpose.
fn next_key() -> String {
    let own = serde_json::to_string(service_key().jwk()).expect("JSON");
    let own = own.replace(service_key().kid(), "authority-encryption-2027");
    own.replace("PS512", "RSA-OAEP-256").replace("verify", "wrapKey")
}

/// How far an upload has come, and whether that is all.
async fn at(office: &Office, token: &str, submission: &str, attachment: &str) -> (usize, bool) {
    let path = format!("/v2/submissions/{submission}/attachments/{attachment}");
    let told = office.call("HEAD", &path, token, "", "").await.is(204);
    let offset = told.headers["upload-offset"].to_str().expect("text").parse().expect("a number");
    (offset, told.headers["upload-complete"] == "?1")
}

async fn go_on(
    office: &Office,
    token: &str,
    submission: &str,
    attachment: &str,
    offset: usize,
    rest: &str,
) -> Answer {
    step(office, token, (submission, attachment), offset, rest, "?1").await
}

async fn step(
    office: &Office,
    token: &str,
    (submission, attachment): (&str, &str),
    offset: usize,
    bytes: &str,
    completes: &str,
) -> Answer {
    let request = hyper::Request::builder()
        .method("PATCH")
        .uri(format!("/v2/submissions/{submission}/attachments/{attachment}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/partial-upload")
        .header("upload-offset", offset)
        .header("upload-complete", completes);
    office.ask(request.body(http_body_util::Full::new(bytes.to_owned().into())).expect("a request")).await
}

/// So many bytes of an attachment, and then no more.
async fn break_off(office: &Office, token: &str, submission: &str, attachment: &str, all: &str, came: usize) {
    let head = format!(
        "PUT /v2/submissions/{submission}/attachments/{attachment} HTTP/1.1\r\nhost: a\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/jose\r\ncontent-length: {}\r\n\r\n",
        all.len()
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", office.port())).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&all.as_bytes()[..came]).await.expect("written");
    stream.shutdown().await.expect("cut");
    let mut told = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut told)).await;
    read.expect("an answer").expect("read");
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.starts_with("HTTP/1.1 400") && told.contains(&format!("{came} bytes are kept")), "{told}");
}

/// Submits, and fetches what was uploaded.
async fn arrives(office: &Office, portal: &str, submission: &str, sent: &[(&str, &str)]) {
    office.submit(portal, submission, &seal(b"{}"), &seal(&[9; 20_000])).await.is(200);
    let town = office.token("town").await;
    for (name, part) in sent {
        let path = format!("/v2/submissions/{submission}/attachments/{name}");
        let fetched = office.get(&path, &town).await.is(200);
        assert!(fetched.body == part.as_bytes(), "{name} is not what was sent");
    }
    assert!(!folder(office, submission).exists(), "the draft is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_attachments_lie_in_one_file_and_go_with_it() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let parts = [seal(&[1; 150_000]), seal(&[2; 100_000]), seal(&[3; 120_000])];
    // The door knows what it has seen come, or has to read it.
    for restarts in [&[][..], &[1], &[3]] {
        let (id, _) = office.announce(&portal, &ALL).await;
        for (n, (name, part)) in ALL.iter().zip(&parts).enumerate() {
            if restarts.contains(&n) {
                office.restart_door().await;
            }
            office.upload(&portal, &id, name, part).await.is(204);
            assert_eq!(at(&office, &portal, &id, name).await, (part.len(), true));
            office.upload(&portal, &id, name, part).await.is(204);
            office.upload(&portal, &id, name, &parts[(n + 1) % 3]).await.refuses(409, "attachment-exists");
        }
        let content = folder(&office, &id).join("content");
        let together = parts.concat();
        assert!(fs::read(&content).expect("there") == together.as_bytes());
        let inode = fs::metadata(&content).expect("there").ino();
        if restarts.contains(&3) {
            office.restart_door().await;
        }
        let sent: Vec<_> = ALL.into_iter().zip(parts.iter().map(String::as_str)).collect();
        arrives(&office, &portal, &id, &sent).await;
        let payloads = walk(office.xta.folder().join("store/payloads"));
        assert!(payloads.contains(&inode), "the file was copied");
    }
    office.xta.close().await;
}

fn walk(payloads: PathBuf) -> Vec<u64> {
    let below = |of: PathBuf| fs::read_dir(of).expect("a folder").map(|entry| entry.expect("an entry"));
    let files = below(payloads).flat_map(|shelf| below(shelf.path()));
    files.map(|file| file.metadata().expect("there").ino()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_behind_others_goes_on_in_a_file_of_its_own() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let parts = [seal(&[1; 300_000]), seal(&[2; 400_000]), seal(&[3; 120_000])];
    for (broken, restarts) in [(0, false), (1, true), (1, false), (2, true)] {
        let (id, _) = office.announce(&portal, &ALL).await;
        let came = parts[broken].len() - 30_000;
        for n in 0..broken {
            office.upload(&portal, &id, ALL[n], &parts[n]).await.is(204);
        }
        break_off(&office, &portal, &id, ALL[broken], &parts[broken], came).await;
        for n in broken + 1..3 {
            office.upload(&portal, &id, ALL[n], &parts[n]).await.is(204);
        }
        if restarts {
            office.restart_door().await;
        }
        assert_eq!(at(&office, &portal, &id, ALL[broken]).await, (came, false));
        office.submit(&portal, &id, &seal(b"{}"), &seal(b"{}")).await.refuses(422, "attachment-incomplete");
        let rest = &parts[broken][came..];
        go_on(&office, &portal, &id, ALL[broken], came - 1, rest).await.refuses(409, "offset-conflict");
        go_on(&office, &portal, &id, ALL[broken], came, rest).await.is(204);
        assert_eq!(at(&office, &portal, &id, ALL[broken]).await, (parts[broken].len(), true));
        let sent: Vec<_> = ALL.into_iter().zip(parts.iter().map(String::as_str)).collect();
        arrives(&office, &portal, &id, &sent).await;
    }
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_encrypted_message_leaves_the_others_alone() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &ALL[..2]).await;
    let (first, second) = (seal(&[1; 300_000]), seal(&[2; 200_000]));
    for name in ALL.iter().take(2) {
        let spoilt = format!("{}.", "A".repeat(400_000));
        office.upload(&portal, &id, name, &spoilt).await.refuses(422, "encryption-invalid");
        assert_eq!(at(&office, &portal, &id, name).await, (0, false));
        assert!(!names(&office, &id).iter().any(|name| name.ends_with(".part")), "nothing of it stays");
        if *name == ATTACHMENT {
            assert_eq!(names(&office, &id), ["announced.json"], "such a draft gives way to others");
            office.upload(&portal, &id, ATTACHMENT, &first).await.is(204);
        }
    }
    let content = fs::read(folder(&office, &id).join("content")).expect("there");
    assert!(content == first.as_bytes());
    office.upload(&portal, &id, OTHER_ATTACHMENT, &second).await.is(204);
    arrives(&office, &portal, &id, &[(ATTACHMENT, &first), (OTHER_ATTACHMENT, &second)]).await;
    office.xta.close().await;
}

/// Between two steps what lies there becomes what is no encrypted message: whoever reads it refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_read_again_with_each_step() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &ALL[..2]).await;
    let part = seal(&[1; 300_000]);
    let place = folder(&office, &id);
    let spoil = |name: &str, came: usize| {
        let file = File::options().write(true).open(place.join(format!("{name}.part"))).expect("it");
        file.write_all_at(&vec![b'!'; came], 0).expect("written");
    };
    let mut came = 0;
    for bytes in part.as_bytes().chunks(70_000) {
        if came > 0 {
            spoil(ATTACHMENT, came);
        }
        let bytes = std::str::from_utf8(bytes).expect("text");
        let is_last = came + bytes.len() == part.len();
        let completes = if is_last { "?1" } else { "?0" };
        step(&office, &portal, (&id, ATTACHMENT), came, bytes, completes).await.is(204);
        came += bytes.len();
        assert_eq!(at(&office, &portal, &id, ATTACHMENT).await, (came, is_last));
    }
    // Whoever does not know what came reads it.
    let (first, rest) = part.split_at(70_000);
    step(&office, &portal, (&id, OTHER_ATTACHMENT), 0, first, "?0").await.is(204);
    spoil(OTHER_ATTACHMENT, first.len());
    office.restart_door().await;
    let refused = go_on(&office, &portal, &id, OTHER_ATTACHMENT, first.len(), rest).await;
    refused.refuses(422, "encryption-invalid");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_that_come_at_the_same_time_are_each_whole() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let parts = [seal(&[1; 700_000]), seal(&[2; 600_000]), seal(&[3; 500_000])];
    for _ in 0..5 {
        let (id, _) = office.announce(&portal, &ALL).await;
        let sent: Vec<_> = ALL.into_iter().zip(parts.iter().map(String::as_str)).collect();
        let uploads = sent.iter().map(|(name, part)| office.upload(&portal, &id, name, part));
        for answer in futures_util::future::join_all(uploads).await {
            answer.is(204);
        }
        arrives(&office, &portal, &id, &sent).await;
    }
    office.xta.close().await;
}

/// A server that fell while an attachment came, or while a payload was made, left bytes that no name tells of.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_behind_the_last_attachment_is_nobodys() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let (first, second) = (seal(&[1; 200_000]), seal(&[2; 100_000]));
    for (uploads, restarts) in [(1, false), (1, true), (2, false), (2, true)] {
        let (id, _) = office.announce(&portal, &ALL[..uploads]).await;
        let sent = [(ATTACHMENT, &*first), (OTHER_ATTACHMENT, &*second)];
        for (name, part) in &sent[..uploads] {
            let content = folder(&office, &id).join("content");
            let file = File::options().append(true).create(true).open(content).expect("it");
            file.write_all_at(&[b'x'; 333_333], file.metadata().expect("it").len()).expect("written");
            if restarts {
                office.restart_door().await;
            }
            office.upload(&portal, &id, name, part).await.is(204);
        }
        let content = File::options().append(true).open(folder(&office, &id).join("content")).expect("it");
        content.write_all_at(&[b'x'; 99_999], 0).expect("written behind");
        arrives(&office, &portal, &id, &sent[..uploads]).await;
    }
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_an_older_program_began_goes_on() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let parts = [seal(&[1; 200_000]), seal(&[2; 300_000]), seal(&[3; 100_000])];
    for whole in [&[0][..], &[0, 1], &[0, 1, 2]] {
        let (id, _) = office.announce(&portal, &ALL).await;
        let place = folder(&office, &id);
        for n in whole {
            let (name, part) = (ALL[*n], &parts[*n]);
            fs::write(place.join(name), part).expect("written");
            let note =
                json!({ "length": part.len(), "digest": Digest::of(part.as_bytes()), "tag": tag(part) });
            fs::write(place.join(format!("{name}.json")), note.to_string()).expect("written");
        }
        if whole.len() == 2 {
            // Broken off, and one whose note was not yet there.
            fs::write(place.join(format!("{THIRD}.part")), &parts[2][..50_000]).expect("written");
        }
        if whole.len() == 1 {
            fs::write(place.join(OTHER_ATTACHMENT), &parts[1]).expect("written");
            fs::write(place.join(format!("{OTHER_ATTACHMENT}.json.new")), "{\"len").expect("written");
        }
        office.restart_door().await;
        for (n, name) in ALL.iter().enumerate() {
            let told = at(&office, &portal, &id, name).await;
            match whole.contains(&n) {
                true => {
                    assert_eq!(told, (parts[n].len(), true));
                    office.upload(&portal, &id, name, &seal(b"x")).await.refuses(409, "attachment-exists");
                }
                false if whole.len() == 2 => {
                    assert_eq!(told, (50_000, false));
                    go_on(&office, &portal, &id, name, 50_000, &parts[n][50_000..]).await.is(204);
                }
                false => assert_eq!(told, (0, false)),
            }
            office.upload(&portal, &id, name, &parts[n]).await.is(204);
        }
        let sent: Vec<_> = ALL.into_iter().zip(parts.iter().map(String::as_str)).collect();
        arrives(&office, &portal, &id, &sent).await;
    }
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_that_the_disk_has_changed_is_not_submitted() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &ALL).await;
    let parts = [seal(&[1; 200_000]), seal(&[2; 150_000]), seal(&[3; 120_000])];
    office.upload(&portal, &id, ALL[0], &parts[0]).await.is(204);
    office.upload(&portal, &id, ALL[1], &parts[1]).await.is(204);
    go_on(&office, &portal, &id, ALL[2], 0, &parts[2]).await.is(204);
    let own = names(&office, &id).into_iter().find(|name| name.starts_with(THIRD)).expect("its own file");
    // The third is copied, and compared with that; who has seen the others come may take them over unread.
    let places = [(&*own, 100_000, false), (&*own, 100_000, true), ("content", 100_000, true)];
    for (name, at, restarts) in places.into_iter().chain([("content", 300_000, true)]) {
        let path = folder(&office, &id).join(name);
        let file = File::options().read(true).write(true).open(path).expect("it");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at).expect("written");
        if restarts {
            office.restart_door().await;
        }
        office.submit(&portal, &id, &seal(b"{}"), &seal(b"{}")).await.refuses(500, "internal");
        file.write_all_at(&byte, at).expect("mended");
    }
    assert_eq!(office.xta.stored().await, 0);
    let sent: Vec<_> = ALL.into_iter().zip(parts.iter().map(String::as_str)).collect();
    arrives(&office, &portal, &id, &sent).await;
    office.xta.close().await;
}

/// Nobody could read it, and the portal can still mend that.
#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_for_a_key_that_is_gone_is_uploaded_anew() {
    let text = next_key();
    let next = PublicKey::parse(&text).expect("a key");
    let seal_next = |content: &[u8]| jwe::seal(&next, "application/octet-stream", content).expect("sealed");
    let parts = [seal_next(&[1; 200_000]), seal(&[2; 150_000]), seal(&[3; 120_000])];
    let anew = [seal_next(&[4; 150_000]), seal_next(&[5; 120_000])];
    assert_eq!(anew.each_ref().map(String::len), [parts[1].len(), parts[2].len()]);
    let all: usize = parts.iter().map(String::len).sum();
    let mut office = Office::open_with(|settings| settings.uploads_bytes_max = all as u64).await;
    let portal = office.token("portal").await;
    for restarts in [false, true] {
        office
            .xta
            .change_account("reader", |account| {
                let to = &mut account.portal.destinations[0];
                *to = destination(DESTINATION);
                to.keys.push(DestinationKey { jwk: text.clone(), remark: None, former: false });
            })
            .await;
        let (id, _) = office.announce(&portal, &ALL).await;
        office.upload(&portal, &id, ALL[0], &parts[0]).await.is(204);
        // Behind the first, and in a file of its own.
        office.upload(&portal, &id, ALL[1], &parts[1]).await.is(204);
        go_on(&office, &portal, &id, ALL[2], 0, &parts[2]).await.is(204);
        office
            .xta
            .change_account("reader", |account| {
                let to = &mut account.portal.destinations[0];
                to.keys.retain(|key| !key.jwk.contains("authority-encryption-2026"));
                to.encryption_kid = "authority-encryption-2027".to_owned();
            })
            .await;
        if restarts {
            office.restart_door().await;
        }
        let (metadata, data) = (seal_next(b"{}"), seal_next(b"<data/>"));
        let refused = office.submit(&portal, &id, &metadata, &data).await;
        let told = refused.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(told.ends_with(&format!("uploaded anew: {}, {}", ALL[1], ALL[2])), "{told}");
        refused.refuses(422, "encryption-invalid");
        let expected = [(parts[0].len(), true), (0, false), (0, false)];
        for (name, expected) in ALL.iter().zip(expected) {
            assert_eq!(at(&office, &portal, &id, name).await, expected, "{name}");
        }
        office.submit(&portal, &id, &metadata, &data).await.refuses(422, "attachment-incomplete");
        assert_eq!(office.xta.stored().await, 2 * usize::from(restarts), "nothing was stored");
        // What went is counted no more.
        let (other, _) = office.announce(&portal, &[ATTACHMENT]).await;
        office.upload(&portal, &other, ATTACHMENT, &anew[0]).await.is(204);
        office.submit(&portal, &other, &metadata, &data).await.is(200);
        office.upload(&portal, &id, ALL[1], &parts[1]).await.refuses(422, "encryption-invalid");
        // Of the same length and at the same place as what went.
        office.upload(&portal, &id, ALL[1], &anew[0]).await.is(204);
        go_on(&office, &portal, &id, ALL[2], 0, &anew[1]).await.is(204);
        office.submit(&portal, &id, &metadata, &data).await.is(200);
        let town = office.token("town").await;
        for (name, part) in ALL.iter().zip([&parts[0], &anew[0], &anew[1]]) {
            let path = format!("/v2/submissions/{id}/attachments/{name}");
            assert!(office.get(&path, &town).await.is(200).body == part.as_bytes(), "{name}");
        }
    }
    let report = embedded::verify(&office.xta.folder().join("store")).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
    office.xta.close().await;
}

/// All of an attachment, behind which the client is gone without an answer.
async fn leave(office: &Office, token: &str, submission: &str, all: &str, patience: Duration) {
    let head = format!(
        "PUT /v2/submissions/{submission}/attachments/{ATTACHMENT} HTTP/1.1\r\nhost: a\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/jose\r\ncontent-length: {}\r\n\r\n",
        all.len()
    );
    let (most, last) = all.as_bytes().split_at(all.len() - 100);
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", office.port())).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(most).await.expect("written");
    for _ in 0..1000 {
        if folder(office, submission).join("content").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream.write_all(last).await.expect("written");
    tokio::time::sleep(patience).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waited_for_is_counted_or_gone() {
    const BOUND: usize = 4_000_000;
    let office = Office::open_with(|settings| settings.uploads_bytes_max = BOUND as u64).await;
    let portal = office.token("portal").await;
    let part = seal(&[1; 300_000]);
    let mut kept = 0;
    for round in 0..60 {
        let (id, _) = office.announce(&portal, &[ATTACHMENT]).await;
        if kept + part.len() > BOUND {
            office.upload(&portal, &id, ATTACHMENT, &part).await.refuses(429, "too-much-uploaded");
            break;
        }
        leave(&office, &portal, &id, &part, Duration::from_micros(round * 100)).await;
        // Until nobody is at work with it any more.
        let mut told = String::new();
        for _ in 0..1000 {
            let answer = go_on(&office, &portal, &id, ATTACHMENT, 999_999_999, "").await.is(409);
            told = String::from_utf8_lossy(&answer.body).into_owned();
            if told.contains("the upload stands at") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (came, is_whole) = at(&office, &portal, &id, ATTACHMENT).await;
        assert!(told.contains(&format!("stands at {came}")), "{told}");
        let lies = fs::metadata(folder(&office, &id).join("content")).map_or(0, |content| content.len());
        assert_eq!((lies, is_whole), (came as u64, came > 0), "round {round}");
        if came == 0 {
            assert_eq!(names(&office, &id), ["announced.json"], "such a draft gives way to others");
        }
        kept += came;
    }
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_did_not_announce_is_no_draft() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &[]).await;
    office.xta.store.close().await.expect("closed");
    for _ in 0..3 {
        let refused = office.announce_in(DESTINATION, &portal, &[], None).await;
        assert!(refused.status.is_server_error(), "{}", refused.status);
    }
    let drafts = fs::read_dir(folder(&office, &id).parent().expect("an account's")).expect("a folder");
    let drafts: Vec<_> = drafts.map(|draft| draft.expect("an entry").file_name()).collect();
    assert_eq!(drafts, [&*id]);
}

/// A newer program, an older one, which does not know what that completed, and the newer one again.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_program_took_once_more_is_what_holds() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &ALL).await;
    let parts = [seal(&[1; 200_000]), seal(&[2; 100_000]), seal(&[3; 120_000])];
    let later = seal(&[4; 150_000]);
    for n in 0..2 {
        office.upload(&portal, &id, ALL[n], &parts[n]).await.is(204);
    }
    let place = folder(&office, &id);
    fs::write(place.join(ATTACHMENT), &later).expect("written");
    let note = json!({ "length": later.len(), "digest": Digest::of(later.as_bytes()), "tag": tag(&later) });
    fs::write(place.join(format!("{ATTACHMENT}.json")), note.to_string()).expect("written");
    office.restart_door().await;
    assert_eq!(at(&office, &portal, &id, ATTACHMENT).await, (later.len(), true));
    office.upload(&portal, &id, ATTACHMENT, &parts[0]).await.refuses(409, "attachment-exists");
    office.upload(&portal, &id, ATTACHMENT, &later).await.is(204);
    office.upload(&portal, &id, THIRD, &parts[2]).await.is(204);
    let sent = [(ATTACHMENT, &*later), (OTHER_ATTACHMENT, &*parts[1]), (THIRD, &*parts[2])];
    arrives(&office, &portal, &id, &sent).await;
    office.xta.close().await;
}
