//! What waits at the portal door until it is submitted is bounded: by client, so that nobody shuts others out, and by the
//! disk, which keeps its reserve.

use std::path::{Path, PathBuf};
use std::time::Duration;

use amtsbote::portal::server::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::portal_office::*;
use crate::store_full::SmallDisk;

const PER_CLIENT_MAX: usize = 2048;
const MIB: usize = 1024 * 1024;

/// Folders of drafts of the one account that has any.
fn drafts(office: &Office) -> Vec<PathBuf> {
    let folders = |of: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(of).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let accounts = folders(&office.xta.folder().join("portal"));
    let [account] = accounts.as_slice() else { panic!("not one account: {accounts:?}") };
    folders(account)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_and_never_submits_shuts_nobody_out() {
    let office = Office::open().await;
    let (portal, both) = (office.token("portal").await, office.token("both").await);
    let (first, _) = office.announce(&portal, &[ATTACHMENT]).await;
    office.upload(&portal, &first, ATTACHMENT, &seal(b"content")).await.is(204);
    let (idle, _) = office.announce(&portal, &[ATTACHMENT]).await;
    let place = drafts(&office).into_iter().find(|place| place.ends_with(&idle)).expect("a draft");
    let announced = std::fs::read(place.join("announced.json")).expect("announced");
    for _ in 2..PER_CLIENT_MAX {
        let other = place.with_file_name(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&other).expect("a folder");
        std::fs::write(other.join("announced.json"), &announced).expect("written");
    }
    // All of it may be on its way at this moment.
    let refused = office.announce_in(DESTINATION, &portal, &[], None).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.refuses(429, "too-many-announced");
    office.announce(&both, &[]).await;
    assert_eq!(drafts(&office).len(), PER_CLIENT_MAX + 1);

    // A minute later it is not: what nothing was uploaded for gives way.
    office.xta.clock.advance(Duration::from_secs(61));
    let (late, _) = office.announce(&portal, &[ATTACHMENT]).await;
    assert!(drafts(&office).len() < PER_CLIENT_MAX, "nothing gave way");
    let path = format!("/v2/submissions/{first}/attachments/{ATTACHMENT}");
    let kept = office.call("HEAD", &path, &portal, "", "").await.is(204);
    assert_eq!(kept.headers["upload-complete"], "?1", "what was uploaded stays");
    office.upload(&portal, &late, ATTACHMENT, &seal(b"content")).await.is(204);

    // Of what has uploads nothing gives way, and another client announces all the same.
    let missing = PER_CLIENT_MAX - drafts(&office).len() + 1;
    for _ in 0..missing {
        let other = place.with_file_name(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&other).expect("a folder");
        std::fs::write(other.join("announced.json"), &announced).expect("written");
    }
    for place in drafts(&office) {
        std::fs::write(place.join(format!("{ATTACHMENT}.part")), b"e").expect("written");
    }
    office.xta.clock.advance(Duration::from_secs(61));
    office.announce_in(DESTINATION, &portal, &[], None).await.refuses(429, "too-many-announced");
    office.announce(&both, &[]).await;
    office.xta.close().await;
}

/// In the form of an encrypted message, so long as wanted; nobody here opens it.
fn sealed(bytes: usize) -> String {
    let good = seal(b"content");
    let mut parts: Vec<&str> = good.split('.').collect();
    let content = "A".repeat(bytes / 4 * 4);
    parts[3] = &content;
    parts.join(".")
}

fn free(disk: &SmallDisk) -> u64 {
    let disk = rustix::fs::statvfs(disk.path()).expect("a disk");
    disk.f_bavail * disk.f_frsize
}

/// A request whose body may be in chunks, or may end early; what came back, if anything.
async fn put(office: &Office, path: &str, token: &str, more: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", office.port())).await.expect("connected");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: portal.example\r\nauthorization: Bearer {token}\r\n\
         content-type: application/jose\r\nconnection: close\r\n{more}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    for piece in body.chunks(64 * 1024) {
        let sent = match more.starts_with("transfer") {
            true => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
            false => piece.to_vec(),
        };
        stream.write_all(&sent).await.expect("sent");
    }
    if more.starts_with("transfer") {
        stream.write_all(b"0\r\n\r\n").await.expect("sent");
    } else {
        stream.shutdown().await.expect("ended");
    }
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("in time").ok();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_leaves_the_disk_its_reserve() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let reserve = 6 * MIB as u64;
    let office = Office::open_with(|settings| {
        settings.folder = disk.path().to_owned();
        settings.limits.content_bytes_max = 64 * MIB as u64;
        settings.limits.disk_reserve_bytes = reserve;
    })
    .await;
    let portal = office.token("portal").await;
    let draft = async || {
        let (id, _) = office.announce(&portal, &[ATTACHMENT]).await;
        (id.clone(), format!("/v2/submissions/{id}/attachments/{ATTACHMENT}"))
    };
    let (large, of_large) = draft().await;
    office.upload(&portal, &large, ATTACHMENT, &sealed(6 * MIB)).await.is(204);

    // One that broke off holds what came and no more.
    let before = free(&disk);
    let (_, path) = draft().await;
    let length = format!("content-length: {}", 8 * MIB);
    put(&office, &path, &portal, &length, &sealed(8 * MIB).as_bytes()[..MIB]).await;
    let mut taken = u64::MAX;
    for _ in 0..100 {
        taken = before - free(&disk);
        if taken < 2 * MIB as u64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(taken < 2 * MIB as u64, "{taken} bytes are held for what did not come");
    let came = office.call("HEAD", &path, &portal, "", "").await.is(204);
    assert_eq!(came.headers["upload-offset"], MIB.to_string());

    // What would eat into the reserve is refused, whether its length is known or not, and leaves nothing behind.
    let before = free(&disk);
    let (id, path) = draft().await;
    office.upload(&portal, &id, ATTACHMENT, &sealed(14 * MIB)).await.refuses(503, "store-full");
    let answer =
        put(&office, &path, &portal, "transfer-encoding: chunked", sealed(14 * MIB).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("/problems/store-full"), "{answer:.200}");
    assert!(answer.to_ascii_lowercase().contains("retry-after"), "{answer:.400}");
    let left = office.call("HEAD", &path, &portal, "", "").await.is(204);
    assert_eq!(left.headers["upload-offset"], "0");
    assert!(before - free(&disk) < MIB as u64 && free(&disk) > reserve, "{before}, then {}", free(&disk));
    let kept = office.call("HEAD", &of_large, &portal, "", "").await.is(204);
    assert_eq!(kept.headers["upload-complete"], "?1");

    let page = |answer: Answer| String::from_utf8_lossy(&answer.is(200).body).into_owned();
    assert!(page(office.get("/", "").await).contains("is at work and takes submissions"));
    // With the reserve gone nothing is announced any more.
    std::fs::write(disk.path().join("others"), vec![1; free(&disk) as usize - reserve as usize / 2])
        .expect("written");
    office.announce_in(DESTINATION, &portal, &[], None).await.refuses(503, "store-full");
    office.xta.clock.advance(Duration::from_secs(6));
    assert!(page(office.get("/", "").await).contains("takes no submissions for the time being"));
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_client_uploads_and_does_not_submit_is_bounded() {
    let mut office = Office::open_with(|settings| settings.uploads_bytes_max = MIB as u64).await;
    let (portal, both) = (office.token("portal").await, office.token("both").await);
    let part = sealed(600 * 1024);
    let (first, _) = office.announce(&portal, &[ATTACHMENT]).await;
    office.upload(&portal, &first, ATTACHMENT, &part).await.is(204);
    // Before a byte of it is taken, also after a restart, and where its length is not known before.
    let (second, _) = office.announce(&portal, &[ATTACHMENT]).await;
    for _ in 0..2 {
        let refused = office.upload(&portal, &second, ATTACHMENT, &part).await;
        assert!(refused.headers.contains_key("retry-after"));
        refused.refuses(429, "too-much-uploaded");
        office.restart_door().await;
    }
    let path = format!("/v2/submissions/{second}/attachments/{ATTACHMENT}");
    let answer = put(&office, &path, &portal, "transfer-encoding: chunked", part.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("too-much-uploaded"), "{answer:.200}");
    let left = office.call("HEAD", &path, &portal, "", "").await.is(204);
    assert_eq!(left.headers["upload-offset"], "0");

    let (others, _) = office.announce(&both, &[ATTACHMENT]).await;
    office.upload(&both, &others, ATTACHMENT, &part).await.is(204);
    let small = sealed(300 * 1024);
    office.upload(&portal, &second, ATTACHMENT, &small).await.is(204);
    let (third, _) = office.announce(&portal, &[ATTACHMENT]).await;
    office.upload(&portal, &third, ATTACHMENT, &part).await.refuses(429, "too-much-uploaded");
    // What is submitted is kept no more.
    office.submit(&portal, &first, &seal(b"{}"), &seal(b"{}")).await.is(200);
    office.upload(&portal, &third, ATTACHMENT, &part).await.is(204);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_the_same_time_do_not_pass_the_bound_together() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let names = [ATTACHMENT, OTHER_ATTACHMENT];
    let (id, _) = office.announce(&portal, &names).await;
    let part = sealed(2 * MIB);
    let [one, other] = names.map(|name| office.upload(&portal, &id, name, &part));
    let (one, other) = futures_util::join!(one, other);
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 413], "each fits, and both together do not");
    office.xta.close().await;
}

/// Four MiB are a submission, one of them metadata and data.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_uploaded_can_be_submitted() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &[ATTACHMENT, OTHER_ATTACHMENT]).await;
    office.upload(&portal, &id, ATTACHMENT, &sealed(2 * MIB)).await.is(204);
    office.upload(&portal, &id, OTHER_ATTACHMENT, &sealed(MIB)).await.refuses(413, "body-too-large");
    office.upload(&portal, &id, OTHER_ATTACHMENT, &sealed(MIB - 4096)).await.is(204);
    let data = sealed(MIB - 4096);
    office.submit(&portal, &id, &seal(b"{}"), &data).await.is(200);
    office.xta.close().await;

    // A destination may take less than others; half of that is left.
    let less = |settings: &mut Settings| settings.profile.content_bytes_max = Some(MIB as u64);
    let office = Office::open_with(less).await;
    let portal = office.token("portal").await;
    let (id, _) = office.announce(&portal, &[ATTACHMENT]).await;
    office.upload(&portal, &id, ATTACHMENT, &sealed(MIB / 2)).await.refuses(413, "body-too-large");
    office.upload(&portal, &id, ATTACHMENT, &sealed(MIB / 2 - 4096)).await.is(204);
    office.submit(&portal, &id, &seal(b"{}"), &sealed(MIB / 2 - 4096)).await.is(200);
    office.xta.close().await;
}

/// A mailbox that 20,100 other messages entered before the submission: more than a page of anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_deep_mailbox_hides_no_submission() {
    let office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let sent = office.submitted(&portal).await;
    let file = office.xta.folder().join("store/amtsbote.sqlite");
    let database = rusqlite::Connection::open(file).expect("a database");
    let columns = "id, mailbox, state, offered, shelf, posted_by, delivered_at, payload_bytes, payload_digest, \
        payload_place, expire_at, retain_payload_days, retain_card_days";
    let fill = format!(
        "BEGIN IMMEDIATE;
         UPDATE message SET sequence = 1000000; UPDATE paper SET sequence = 1000000;
         UPDATE payload_file SET sequence = 1000000; UPDATE timer SET sequence = 1000000;
         UPDATE used SET sequence = 1000000 WHERE sequence IS NOT NULL;
         CREATE TEMP TABLE filled AS WITH RECURSIVE n (n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM n WHERE n < 20200)
           SELECT n FROM n;
         INSERT INTO message (sequence, {columns}) SELECT n, {columns} FROM message, temp.filled WHERE sequence = 1000000;
         INSERT INTO paper SELECT n, envelope, manifest, author_digest,
           CAST(replace(CAST(card AS TEXT), '\"door\":\"portal\"', '\"door\":\"xta-2.1.1\"') AS BLOB)
           FROM paper, temp.filled WHERE sequence = 1000000;
         UPDATE mailbox SET waiting = waiting + 20101, total = total + 20101;
         COMMIT;"
    );
    database.execute_batch(&fill).expect("filled");
    drop(database);
    let waiting = office.get("/v2/submissions", &town).await.is(200).json();
    assert_eq!((&waiting["totalCount"], &waiting["count"]), (&1.into(), &1.into()));
    assert_eq!(waiting["submissions"][0]["submissionId"], sent.submission.as_str());
    let path = format!("/v2/submissions/{}", sent.submission);
    office.get(&path, &town).await.is(200);
    office.say(&town, &sent, &signed(&sent.accept())).await.is(204);
    assert_eq!(office.get("/v2/submissions", &town).await.is(200).json()["totalCount"], 0);
    office.xta.close().await;
}
