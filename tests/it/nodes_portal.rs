//! Portals at several relays: whichever node a request comes to, and whichever node falls meanwhile, what was announced and
//! uploaded is there, counted once, and submitted once.

use std::sync::Arc;
use std::time::Duration;

use amtsbote::domain::state::DeliveryState;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use crate::cli_fixture::Office;
use crate::nodes_office::{at_rest, logs_are_sound, no_errors, open_furnished, port, stop};
use crate::portal_folder::{self, PORTAL, TOWN};
use crate::portal_office::{Answer, DESTINATION, SECRET, SERVICE, SERVICE_PEM, asked, seal};
use crate::postgres_cluster::{Cluster, programs};
use crate::store_fixture::content;

const NODES: usize = 3;
const MIB: usize = 1024 * 1024;
const JOSE: &str = "application/jose";
const JSON: &str = "application/json";
const PARTIAL: &str = "application/partial-upload";
/// What a node keeps of an upload before it goes on.
const PIECE: u64 = 8 * 1024 * 1024;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Portals know all nodes by one name, and their key is one.
fn open(connection: &str, change: impl Fn(&str) -> String) -> Vec<Office> {
    let furnish = |folder: &std::path::Path| {
        portal_folder::furnish(folder, None);
        let file = folder.join("portal.key");
        std::fs::write(&file, SERVICE_PEM).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("closed to others");
    };
    open_furnished(connection, NODES, furnish, |_, text| {
        change(&text.replace("url = \"https://localhost:0\"", "url = \"https://portal.example\""))
    })
}

/// A key of the configuration with another value.
fn with(text: &str, key: &str, value: usize) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
    text.replacen(line.unwrap_or_else(|| panic!("no {key}")), &format!("{key} = {value}"), 1)
}

/// A client of a portal or a town, which may ask any node.
struct Person<'a> {
    nodes: &'a [Office],
    tls: Arc<ClientConfig>,
    token: String,
}

impl<'a> Person<'a> {
    async fn log_in(nodes: &'a [Office], who: &str) -> Self {
        let tls = portal_folder::tls(nodes[0].folder.path());
        let mut person = Self { nodes, tls, token: String::new() };
        let secret = SECRET.replace(' ', "+").replace('\'', "%27");
        let form = format!("grant_type=client_credentials&client_id={who}&client_secret={secret}");
        let kind = "application/x-www-form-urlencoded";
        let told = person.ask(0, "POST", "/token", &[("content-type", kind)], form).await.is(200).json();
        person.token = told["access_token"].as_str().expect("a token").to_owned();
        person
    }

    async fn connected(&self, node: usize) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", port(&self.nodes[node].portal))).await;
        let name = amtsbote::pki::tls::server_name("localhost").expect("a name");
        let tls = tokio_rustls::TlsConnector::from(self.tls.clone());
        tls.connect(name, stream.expect("connected")).await.expect("TLS")
    }

    async fn ask(
        &self,
        node: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "portal.example");
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        asked(self.connected(node).await, request).await
    }

    async fn announce(&self, node: usize, attachments: &[Uuid]) -> Uuid {
        let body = json!({
            "destinationId": DESTINATION,
            "announcedAttachments": attachments,
            "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}") },
        });
        let told = self.ask(node, "POST", "/v2/submissions", &[("content-type", JSON)], body.to_string());
        let told = told.await.is(201).json();
        Uuid::try_parse(told["submissionId"].as_str().expect("an id")).expect("a UUID")
    }

    async fn upload(&self, node: usize, (id, attachment): (Uuid, Uuid), sealed: &str) -> Answer {
        let body = sealed.to_owned();
        self.ask(node, "PUT", &place(id, attachment), &[("content-type", JOSE)], body).await
    }

    /// How far an upload has come, and whether it is whole.
    async fn standing(&self, node: usize, (id, attachment): (Uuid, Uuid)) -> (u64, bool) {
        let told = self.ask(node, "HEAD", &place(id, attachment), &[], "").await.is(204);
        let text = |name: &str| told.headers[name].to_str().expect("text").to_owned();
        (text("upload-offset").parse().expect("a number"), text("upload-complete") == "?1")
    }

    /// Goes on with an upload where it stands.
    async fn more(
        &self,
        node: usize,
        (id, attachment): (Uuid, Uuid),
        at: u64,
        bytes: &str,
        all: bool,
    ) -> Answer {
        let (at, all) = (at.to_string(), if all { "?1" } else { "?0" });
        let headers = [("content-type", PARTIAL), ("upload-offset", &*at), ("upload-complete", all)];
        self.ask(node, "PATCH", &place(id, attachment), &headers, bytes.to_owned()).await
    }

    /// Begins to send an attachment, and goes no further.
    async fn some(
        &self,
        node: usize,
        (id, attachment): (Uuid, Uuid),
        sealed: &str,
        bytes: usize,
    ) -> TlsStream<TcpStream> {
        let mut stream = self.connected(node).await;
        let head = format!(
            "PUT {} HTTP/1.1\r\nhost: portal.example\r\nauthorization: Bearer {}\r\n\
             content-type: {JOSE}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            place(id, attachment),
            self.token,
            sealed.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&sealed.as_bytes()[..bytes]).await.expect("sent");
        stream.flush().await.expect("sent");
        stream
    }

    async fn submit(&self, node: usize, id: Uuid, metadata: &str, data: &str) -> Answer {
        let body = json!({ "encryptedMetadata": metadata, "encryptedData": data }).to_string();
        self.ask(node, "PUT", &format!("/v2/submissions/{id}"), &[("content-type", JSON)], body).await
    }

    /// Waits until so much of an upload is kept.
    async fn comes_to(&self, node: usize, which: (Uuid, Uuid), bytes: u64) {
        for _ in 0..3000 {
            if self.standing(node, which).await.0 >= bytes {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the upload stands at {:?}, not at {bytes}", self.standing(node, which).await);
    }
}

fn place(id: Uuid, attachment: Uuid) -> String {
    format!("/v2/submissions/{id}/attachments/{attachment}")
}

/// In the form of an encrypted message, so long as wanted; nobody here opens it.
fn sealed(seed: u64, bytes: usize) -> String {
    let good = seal(&content(seed, 20));
    let mut parts: Vec<&str> = good.split('.').collect();
    let rest = good.len() - parts[3].len();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let drawn: String = content(seed, (bytes - rest) / 4 * 4)
        .iter()
        .map(|byte| char::from(letters[usize::from(byte % 64)]))
        .collect();
    parts[3] = &drawn;
    parts.join(".")
}

/// Rows of drafts and attachments that are not over.
fn staged(cluster: &Cluster, database: &str) -> String {
    let question =
        "SELECT count(*) FROM amtsbote.staged WHERE kind LIKE 'portal-%' AND ends_at > clock_timestamp()";
    cluster.sql(database, question)
}

#[test]
fn every_request_of_a_submission_may_come_to_another_node() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("portal");
    let mut nodes = open(&connection, str::to_owned);
    let runtime = runtime();
    let (one, two, none) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let (large, small) = (sealed(1, 20 * MIB), sealed(2, 90_000));
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    let id = runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[one, two]).await;
        portal.upload(1, (id, none), &small).await.refuses(404, "attachment-not-announced");
        portal.submit(2, id, &metadata, &data).await.refuses(422, "attachment-incomplete");
        // The second node has a whole piece and some when it falls for good, with its disk.
        let half = portal.some(1, (id, one), &large, 12 * MIB).await;
        portal.comes_to(2, (id, one), PIECE).await;
        nodes[1].signal(Signal::KILL);
        drop(half);
        id
    });
    nodes[1].ended();
    let answered = runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let (at, whole) = portal.standing(2, (id, one)).await;
        assert!(at >= PIECE && !whole, "{at}");
        portal.more(0, (id, one), at + 1, "A", false).await.refuses(409, "offset-conflict");
        // The rest in steps, at the two that are left.
        let step = at as usize + 3 * MIB;
        portal.more(2, (id, one), at, &large[at as usize..step], false).await.is(204);
        assert_eq!(portal.standing(0, (id, one)).await, (step as u64, false));
        portal.submit(0, id, &metadata, &data).await.refuses(422, "attachment-incomplete");
        portal.more(0, (id, one), step as u64, &large[step..], true).await.is(204);
        assert_eq!(portal.standing(2, (id, one)).await, (large.len() as u64, true));
        portal.upload(0, (id, two), &small).await.is(204);
        // Again, at another node: the same bytes only.
        portal.upload(2, (id, two), &small).await.is(204);
        portal.upload(2, (id, two), &large[..90_000]).await.refuses(409, "attachment-exists");
        portal.upload(0, (id, one), &large).await.is(204);
        let draft = "CREATE TABLE draft AS SELECT kind, owner, name, note, bytes, ends_at FROM amtsbote.staged \
            WHERE kind LIKE 'portal-%'";
        cluster.sql("portal", draft);
        let answered = portal.submit(2, id, &metadata, &data).await.is(200).json();
        assert_eq!(staged(&cluster, "portal"), "0");
        answered
    });
    // As if the node had fallen between the acceptance and the answer: the draft is still there.
    cluster
        .sql("portal", "INSERT INTO amtsbote.staged (kind, owner, name, note, bytes, ends_at) TABLE draft");
    assert_eq!(staged(&cluster, "portal"), "3");
    nodes[1].start_again();
    runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        portal.submit(0, id, &metadata, &seal(b"<other/>")).await.refuses(409, "submission-exists");
        assert_eq!(staged(&cluster, "portal"), "3");
        for node in [1, 0, 2] {
            let again = portal.submit(node, id, &metadata, &data).await.is(200).json();
            assert_eq!(again, answered, "node {node}");
        }
        assert_eq!(staged(&cluster, "portal"), "0");
        portal.upload(1, (id, two), &small).await.refuses(404, "submission-not-found");
        let town = Person::log_in(&nodes, TOWN).await;
        let path = format!("/v2/submissions/{id}");
        let told = town.ask(1, "GET", &path, &[], "").await.is(200).json();
        assert_eq!((&told["encryptedMetadata"], &told["encryptedData"]), (&json!(metadata), &json!(data)));
        assert_eq!(told["attachments"], json!([one, two]));
        for (attachment, sent) in [(one, &large), (two, &small)] {
            let got = town.ask(0, "GET", &place(id, attachment), &[], "").await.is(200);
            assert!(got.body == sent.as_bytes(), "{attachment} is not what was sent");
        }
    });
    stop(&mut nodes);
    no_errors(&nodes);
    logs_are_sound(&nodes);
    let states = runtime.block_on(at_rest(&connection, NODES));
    let [(name, state)] = states.iter().collect::<Vec<_>>()[..] else { panic!("{states:?}") };
    assert!(name.ends_with(&id.to_string()), "{name}");
    assert_eq!(*state, DeliveryState::HandedOut);
}

#[test]
fn who_uploads_anew_elsewhere_is_not_mixed_with_who_was_at_work() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("anew");
    let mut nodes = open(&connection, str::to_owned);
    let attachment = Uuid::new_v4();
    let (first, second) = (sealed(1, 20 * MIB), sealed(2, 18 * MIB));
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[attachment]).await;
        let mut slow = portal.some(1, (id, attachment), &first, 12 * MIB).await;
        portal.comes_to(2, (id, attachment), PIECE).await;
        // As if its node had been away for longer than it holds the attachment.
        let holds = "DELETE FROM amtsbote.staged_hold WHERE name LIKE 'portal-attachments/%' RETURNING 1";
        assert_eq!(cluster.sql("anew", holds).lines().next(), Some("1"));
        portal.upload(2, (id, attachment), &second).await.is(204);
        // It comes back, and ends what it had begun.
        slow.write_all(&first.as_bytes()[12 * MIB..]).await.expect("sent");
        let mut answer = String::new();
        let read = slow.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("in time").ok();
        assert!(answer.starts_with("HTTP/1.1 409") && answer.contains("offset-conflict"), "{answer}");
        assert_eq!(portal.standing(0, (id, attachment)).await, (second.len() as u64, true));
        portal.submit(0, id, &metadata, &data).await.is(200);
        let town = Person::log_in(&nodes, TOWN).await;
        let got = town.ask(1, "GET", &place(id, attachment), &[], "").await.is(200);
        assert!(got.body == second.as_bytes(), "not what was uploaded last");
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

/// As many nodes at once as there are, each as if the others were away.
#[test]
fn whoever_holds_what_it_ends_once() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("unheld");
    let mut nodes = open(&connection, str::to_owned);
    // Nobody's hold is anybody else's.
    cluster.sql(
        "unheld",
        "CREATE FUNCTION amtsbote.unheld() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN NEW.name = gen_random_uuid()::text; RETURN NEW; END'; \
         CREATE TRIGGER unheld BEFORE INSERT ON amtsbote.staged_hold FOR EACH ROW EXECUTE FUNCTION amtsbote.unheld()",
    );
    let runtime = runtime();
    let sent = runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let town = Person::log_in(&nodes, TOWN).await;
        let mut sent = Vec::new();
        for round in 0..16 {
            let attachment = Uuid::new_v4();
            let id = portal.announce(round % NODES, &[attachment]).await;
            // Small and large ones, and those of three pieces; of the same bytes, and of others at each node.
            let length = [3_000, 200_000, 18 * MIB][if round == 5 { 2 } else { round % 2 }];
            let seed = |node: usize| if round % 4 < 2 { round * NODES } else { round * NODES + node };
            let sent_at: Vec<String> = (0..NODES).map(|node| sealed(seed(node) as u64, length)).collect();
            let puts = (0..NODES).map(|node| portal.upload(node, (id, attachment), &sent_at[node]));
            let mut taken = None;
            for (node, answer) in futures_util::future::join_all(puts).await.into_iter().enumerate() {
                match answer.status.as_u16() {
                    204 if round % 4 < 2 => taken = Some(node),
                    204 => assert_eq!(taken.replace(node), None, "round {round}: two were taken"),
                    status => assert_eq!(status, 409, "{answer:?}"),
                }
            }
            let sealed = &sent_at[taken.unwrap_or(0)];
            portal.upload(0, (id, attachment), sealed).await.is(204);
            let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
            let submits = (0..NODES).map(|node| portal.submit(node, id, &metadata, &data));
            for answer in futures_util::future::join_all(submits).await {
                assert_eq!(answer.is(200).json()["submissionId"], json!(id), "round {round}");
            }
            let got = town.ask(0, "GET", &place(id, attachment), &[], "").await.is(200);
            assert!(got.body == sealed.as_bytes(), "round {round}");
            sent.push(id);
        }
        sent
    });
    stop(&mut nodes);
    no_errors(&nodes);
    let states = runtime.block_on(at_rest(&connection, NODES));
    assert_eq!(states.len(), sent.len(), "{states:?}");
}

#[test]
fn a_piece_that_the_database_has_changed_is_not_submitted() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("changed");
    let mut nodes = open(&connection, str::to_owned);
    let attachment = Uuid::new_v4();
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    let change = "UPDATE amtsbote.staged_piece SET bytes = set_byte(bytes, 1500, get_byte(bytes, 1500) # 1)";
    let runtime = runtime();
    runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[attachment]).await;
        portal.upload(1, (id, attachment), &sealed(1, 4_000)).await.is(204);
        cluster.sql("changed", change);
        portal.submit(2, id, &metadata, &data).await.refuses(500, "internal");
        assert_eq!(cluster.sql("changed", "SELECT count(*) FROM amtsbote.message"), "0");
        cluster.sql("changed", change);
        portal.submit(0, id, &metadata, &data).await.is(200);
    });
    stop(&mut nodes);
    let states = runtime.block_on(at_rest(&connection, NODES));
    assert_eq!(states.len(), 1, "{states:?}");
}

#[test]
fn an_attachment_for_a_key_that_is_gone_is_uploaded_anew_at_any_node() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("gone");
    let mut nodes = open(&connection, |text| with(text, "uploads_bytes_max", MIB));
    let file = nodes[0].folder.path().join("next.jwk");
    let present = include_str!("../data/portal/encryption.jwk");
    let [former, next] = ["authority-encryption-2026", "authority-encryption-2027"];
    std::fs::write(&file, present.replace(former, next)).expect("written");
    let key = |arguments: &[&str]| {
        nodes[0]
            .run(&[&["destination", "key"], arguments, &["--yes", "--reason", "roll-over"]].concat())
            .ends(0);
    };
    key(&["add", DESTINATION, file.to_str().expect("text")]);
    key(&["use", DESTINATION, next]);
    // As a portal that has read the new key seals.
    let under = |kid: &str, sealed: &str| {
        let rest = sealed.split_once('.').expect("parts").1;
        let head = json!({ "alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": kid });
        format!("{}.{rest}", amtsbote::pki::jose::encode(head.to_string()))
    };
    let (stays, goes) = (Uuid::new_v4(), Uuid::new_v4());
    let sized = |kid: &str, seed: u64| under(kid, &sealed(seed, 500_000));
    let (metadata, data) = (under(next, &seal(b"{}")), under(next, &seal(b"<data/>")));
    let runtime = runtime();
    runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[stays, goes]).await;
        portal.upload(0, (id, stays), &sized(next, 1)).await.is(204);
        // The header comes in pieces.
        let part = sized(former, 2);
        portal.more(0, (id, goes), 0, &part[..20], false).await.is(204);
        portal.more(0, (id, goes), 20, &part[20..], true).await.is(204);
        key(&["remove", DESTINATION, former]);
        // As if the announcement had come after that, and the upload to a node that did not know it yet.
        let other = portal.announce(0, &[]).await;
        let directory = "substring(convert_from(note, 'UTF8') from '\"directory\":[0-9]+')";
        let ids = format!("name LIKE '%{id}' OR name LIKE '%{other}'");
        let later = format!(
            "UPDATE amtsbote.staged SET note = convert_to(replace(convert_from(note, 'UTF8'), {directory}, \
             (SELECT {directory} FROM amtsbote.staged WHERE name LIKE '%{other}')), 'UTF8') WHERE {ids}"
        );
        let seen = format!("SELECT count(DISTINCT {directory}) FROM amtsbote.staged WHERE {ids}");
        assert_eq!(cluster.sql("gone", &seen), "2");
        cluster.sql("gone", &later);
        assert_eq!(cluster.sql("gone", &seen), "1");
        // While another request is at work at it, it stays, and the reason is the same.
        let hold = format!(
            "INSERT INTO amtsbote.staged_hold SELECT kind || '/' || owner || '/' || name, 'another', \
             clock_timestamp() + interval '1 hour' FROM amtsbote.staged WHERE name LIKE '%{goes}'"
        );
        cluster.sql("gone", &hold);
        portal.submit(0, id, &metadata, &data).await.refuses(422, "encryption-invalid");
        assert_eq!(portal.standing(1, (id, goes)).await, (part.len() as u64, true));
        cluster.sql("gone", "DELETE FROM amtsbote.staged_hold WHERE holder = 'another'");
        // As if it were uploaded anew, elsewhere, after it was judged: what came last stays.
        let meanwhile = format!(
            "CREATE FUNCTION amtsbote.meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             UPDATE amtsbote.staged_piece SET number = number + (8::bigint << 32) WHERE number < (2::bigint << 32) \
             AND place IN (SELECT id FROM amtsbote.staged WHERE name LIKE '%{goes}'); \
             UPDATE amtsbote.staged SET note = convert_to(replace(convert_from(note, 'UTF8'), '\"edition\":1,', \
             '\"edition\":9,'), 'UTF8') WHERE name LIKE '%{goes}'; RETURN NEW; END $$; \
             CREATE TRIGGER meanwhile BEFORE INSERT ON amtsbote.staged_hold FOR EACH ROW \
             WHEN (NEW.name LIKE '%{goes}') EXECUTE FUNCTION amtsbote.meanwhile()"
        );
        cluster.sql("gone", &meanwhile);
        portal.submit(0, id, &metadata, &data).await.refuses(422, "encryption-invalid");
        cluster.sql("gone", "DROP FUNCTION amtsbote.meanwhile CASCADE");
        let edition = "SELECT count(*) FROM amtsbote.staged WHERE convert_from(note, 'UTF8') LIKE '%\"edition\":9,%'";
        assert_eq!(cluster.sql("gone", edition), "1");
        assert_eq!(portal.standing(1, (id, goes)).await, (part.len() as u64, true));
        portal.submit(0, id, &metadata, &data).await.refuses(422, "encryption-invalid");
        assert_eq!(portal.standing(1, (id, goes)).await, (0, false));
        assert!(portal.standing(1, (id, stays)).await.1);
        portal.submit(0, id, &metadata, &data).await.refuses(422, "attachment-incomplete");
        assert_eq!(cluster.sql("gone", "SELECT count(*) FROM amtsbote.message"), "0");
        let anew = sized(next, 3);
        portal.upload(0, (id, goes), &anew).await.is(204);
        portal.submit(0, id, &metadata, &data).await.is(200);
        let town = Person::log_in(&nodes, TOWN).await;
        let got = town.ask(1, "GET", &place(id, goes), &[], "").await.is(200);
        assert!(got.body == anew.as_bytes(), "not what was uploaded last");
    });
    stop(&mut nodes);
    no_errors(&nodes);
    let states = runtime.block_on(at_rest(&connection, NODES));
    assert_eq!(states.len(), 1, "{states:?}");
}

#[test]
fn what_a_client_keeps_is_counted_at_all_nodes_and_over_at_all() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("counted");
    let change = |text: &str| {
        let text = with(text, "content_bytes_max", 4 * MIB);
        let text = with(&text, "uploads_bytes_max", 4 * MIB);
        with(&text, "submission_bytes_max", MIB)
    };
    let mut nodes = open(&connection, change);
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
    let sized = |kilobytes: usize| sealed(kilobytes as u64, kilobytes * 1024);
    let (metadata, data) = (seal(b"{}"), seal(&vec![7; 780_000]));
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let one = portal.announce(0, &ids[..2]).await;
        let two = portal.announce(1, &ids).await;
        portal.upload(0, (one, ids[0]), &sized(2048)).await.is(204);
        // Attachments of one submission leave room for metadata and data.
        portal.upload(1, (one, ids[1]), &sized(1536)).await.refuses(413, "body-too-large");
        portal.upload(2, (one, ids[1]), &sized(1024)).await.is(204);
        portal.upload(1, (two, ids[0]), &sized(512)).await.is(204);
        let refused = portal.upload(2, (two, ids[1]), &sized(768)).await;
        assert!(refused.headers.contains_key("retry-after"));
        refused.refuses(429, "too-much-uploaded");
        assert_eq!(portal.standing(0, (two, ids[1])).await, (0, false));
        // What breaks off is counted with what is kept of it, not with what it had said it would bring.
        let mut broken = portal.some(0, (two, ids[1]), &sized(256), 1000).await;
        broken.shutdown().await.expect("ended");
        let mut answer = String::new();
        let read = broken.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("in time").ok();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("1000 bytes are kept"), "{answer}");
        assert_eq!(portal.standing(1, (two, ids[1])).await, (1000, false));
        portal.upload(2, (two, ids[2]), &sized(500)).await.is(204);
        portal.upload(1, (two, ids[1]), &sized(12)).await.is(204);
        portal.announce(0, &[]).await;
        let three = portal.announce(0, &ids[..1]).await;
        portal.upload(0, (three, ids[0]), "a").await.refuses(422, "encryption-invalid");
        portal.upload(0, (three, ids[0]), &sized(64)).await.refuses(429, "too-much-uploaded");
        // What was taken can be submitted, with as much metadata and data as may come.
        portal.submit(1, one, &metadata, &data).await.is(200);
        portal.upload(2, (three, ids[0]), &sized(2048)).await.is(204);

        // What is over is over at all nodes, and counts at none.
        let over = "UPDATE amtsbote.staged SET ends_at = clock_timestamp() WHERE name LIKE '%s%'";
        cluster.sql("counted", &over.replace("%s", &two.to_string()));
        for node in 0..NODES {
            let path = place(two, ids[0]);
            portal.ask(node, "HEAD", &path, &[], "").await.is(404);
            portal.upload(node, (two, ids[0]), &sized(512)).await.refuses(404, "submission-not-found");
            portal.submit(node, two, &metadata, &data).await.refuses(404, "submission-not-found");
            let log = format!("/v2/submissions/{two}/events");
            portal.ask(node, "GET", &log, &[], "").await.refuses(404, "submission-not-found");
            let log = format!("/v2/submissions/{three}/events");
            let told: Value = portal.ask(node, "GET", &log, &[], "").await.is(200).json();
            assert_eq!(told["eventLog"].as_array().map(Vec::len), Some(1), "{told}");
        }
        let four = portal.announce(1, &ids[..1]).await;
        portal.upload(2, (four, ids[0]), &sized(2000)).await.is(204);
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

#[test]
fn what_nothing_was_uploaded_for_gives_way_whoever_announced_it() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("crowd");
    let mut nodes = open(&connection, str::to_owned);
    let attachment = Uuid::new_v4();
    let sql = |text: &str| cluster.sql("crowd", text);
    // So many like one that is there.
    let crowd = |like: Uuid, count: usize| {
        sql(&format!(
            "INSERT INTO amtsbote.staged (kind, owner, name, note, bytes, ends_at) \
             SELECT kind, owner, gen_random_uuid()::text, note, 0, ends_at \
             FROM amtsbote.staged, generate_series(1, {count}) WHERE name = '{like}'"
        ))
    };
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let first = portal.announce(0, &[attachment]).await;
        portal.upload(1, (first, attachment), &seal(b"content")).await.is(204);
        let idle = portal.announce(0, &[attachment]).await;
        crowd(idle, 2046);
        let body = json!({
            "destinationId": DESTINATION,
            "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}") },
        });
        let body = body.to_string();
        let announce = || portal.ask(2, "POST", "/v2/submissions", &[("content-type", JSON)], body.clone());
        announce().await.refuses(429, "too-many-announced");
        // A minute later they are old enough.
        sql("UPDATE amtsbote.staged SET ends_at = ends_at - interval '2 minutes'");
        announce().await.is(201);
        let drafts =
            "SELECT count(*) FROM amtsbote.staged WHERE kind = 'portal-drafts' AND ends_at > clock_timestamp()";
        assert_eq!(sql(drafts), (2048 - 64 + 1).to_string());
        // Of those that something was uploaded for none does.
        sql(&format!("DELETE FROM amtsbote.staged WHERE kind = 'portal-drafts' AND name <> '{first}'"));
        crowd(first, 2047);
        announce().await.refuses(429, "too-many-announced");
        assert!(portal.standing(2, (first, attachment)).await.1);
        assert_eq!(sql(drafts), "2048");
        // While another node makes room, whoever is refused is not told that he has too many, and a client that has
        // fewer than it may waits for nobody.
        sql("INSERT INTO amtsbote.staged_hold SELECT 'portal-drafts/' || owner || '/', 'another', \
             clock_timestamp() + interval '1 hour' FROM amtsbote.staged WHERE kind = 'portal-drafts' LIMIT 1");
        announce().await.refuses(503, "unavailable");
        sql("UPDATE amtsbote.staged SET note = convert_to(replace(convert_from(note, 'UTF8'), \
             '\"client\":\"portal\"', '\"client\":\"portal2\"'), 'UTF8') WHERE kind = 'portal-drafts'");
        announce().await.is(201);
        assert_eq!(sql(drafts), "2049");
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

#[test]
fn what_an_older_program_left_in_files_is_finished_at_its_node() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("older");
    let mut nodes = open(&connection, str::to_owned);
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[one, two]).await;
        let read = format!(
            "SELECT convert_from(note, 'UTF8')::json -> 'begun' FROM amtsbote.staged WHERE name = '{id}'"
        );
        let announced = cluster.sql("older", &read);
        cluster.sql("older", &format!("DELETE FROM amtsbote.staged WHERE name = '{id}'"));
        portal.ask(0, "HEAD", &place(id, one), &[], "").await.is(404);
        let account = amtsbote::domain::content::Digest::of(b"standesamt").to_string();
        let folder = nodes[0].path("portal").join(account).join(id.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("announced.json"), announced).expect("written");
        let sealed = sealed(1, 100_000);
        portal.upload(1, (id, one), &sealed).await.refuses(404, "submission-not-found");
        portal.upload(0, (id, one), &sealed).await.is(204);
        portal.more(0, (id, two), 0, &sealed[..50_000], false).await.is(204);
        portal.more(0, (id, two), 50_000, &sealed[50_000..], true).await.is(204);
        portal.submit(2, id, &metadata, &data).await.refuses(404, "submission-not-found");
        let answered = portal.submit(0, id, &metadata, &data).await.is(200).json();
        assert_eq!(portal.submit(2, id, &metadata, &data).await.is(200).json(), answered);
        assert!(!folder.exists());
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

/// What a node is not sure to have accepted can be read in the database, and is lost with it: no node says that it is made.
#[test]
fn what_the_standby_may_lack_is_not_said_to_be_made() {
    let Some(programs) = programs() else { return };
    let (primary, standby) = Cluster::pair(&programs);
    let connection = primary.database("unsure");
    let brief = |text: &str| with(&with(text, "patience_seconds", 3), "question_seconds", 3);
    let mut nodes = open(&connection, brief);
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    let runtime = runtime();
    let id = runtime.block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[]).await;
        standby.signal_receiver(Signal::STOP);
        // Its commit waits; whoever asks for the outcome ends its session, and from then on everybody can read it.
        portal.submit(0, id, &metadata, &data).await.refuses(503, "unavailable");
        let is_read =
            || primary.sql("unsure", "SELECT count(*) FROM amtsbote.message WHERE state IS NOT NULL");
        for _ in 0..1000 {
            if is_read() == "1" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(is_read(), "1");
        // Nor does a look at what has happened.
        let log = format!("/v2/submissions/{id}/events");
        for node in [0, 1] {
            portal.ask(node, "GET", &log, &[], "").await.refuses(503, "unavailable");
        }
        // Twice: neither what the first has done to the draft nor that nothing is left of it makes it surer.
        for node in [0, 1, 2, 1] {
            portal.submit(node, id, &metadata, &data).await.refuses(503, "unavailable");
        }
        primary.sql(
            "unsure",
            "SET synchronous_commit = local; DELETE FROM amtsbote.staged WHERE kind LIKE 'portal-%'",
        );
        portal.submit(2, id, &metadata, &data).await.refuses(503, "unavailable");
        standby.signal_receiver(Signal::CONT);
        primary.wait_for_standby();
        for node in [1, 2, 0] {
            let mut answer = portal.submit(node, id, &metadata, &data).await;
            for _ in 0..100 {
                if answer.status != 503 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                answer = portal.submit(node, id, &metadata, &data).await;
            }
            assert_eq!(answer.is(200).json()["submissionId"], json!(id), "node {node}");
            portal.ask(node, "GET", &log, &[], "").await.is(200);
        }
        id
    });
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    stop(&mut nodes);
    let states = runtime.block_on(at_rest(&connection, NODES));
    let [(name, _)] = states.iter().collect::<Vec<_>>()[..] else { panic!("{states:?}") };
    assert!(name.ends_with(&id.to_string()), "{name}");
}

/// Whoever is told how far an attachment has come does not send that again.
#[test]
fn what_the_standby_may_lack_of_an_attachment_is_not_told() {
    let Some(programs) = programs() else { return };
    let (primary, standby) = Cluster::pair(&programs);
    let connection = primary.database("untold");
    let brief = |text: &str| with(&with(text, "patience_seconds", 3), "question_seconds", 3);
    let mut nodes = open(&connection, brief);
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let (first, second) = (sealed(1, 90_000), sealed(2, 80_000));
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[one, two]).await;
        portal.upload(0, (id, one), &first).await.is(204);
        standby.signal_receiver(Signal::STOP);
        // As if its last commit had been seen and were not there.
        let lacks = "SET synchronous_commit = local; UPDATE amtsbote.staged SET bytes = bytes";
        primary.sql("untold", lacks);
        for node in [1, 2] {
            let state = portal.ask(node, "HEAD", &place(id, one), &[], "").await;
            let elsewhere = portal.more(node, (id, one), 7, "A", false).await;
            let again = portal.upload(node, (id, one), &first).await;
            let told = [state, elsewhere, again].map(|answer| answer.status.as_u16());
            assert_eq!(told, [503; 3], "node {node}");
        }
        standby.signal_receiver(Signal::CONT);
        primary.wait_for_standby();
        for node in [1, 2, 0] {
            let mut told = portal.ask(node, "HEAD", &place(id, one), &[], "").await;
            for _ in 0..100 {
                if told.status != 503 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                told = portal.ask(node, "HEAD", &place(id, one), &[], "").await;
            }
            told.is(204);
            portal.more(node, (id, one), 7, "A", false).await.refuses(409, "offset-conflict");
            portal.upload(node, (id, one), &first).await.is(204);
        }
        portal.upload(1, (id, two), &second).await.is(204);
        portal.submit(2, id, &seal(b"{}"), &seal(b"<data/>")).await.is(200);
    });
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    stop(&mut nodes);
}

/// Bytes that attachments are counted with, and bytes of their pieces.
fn counted(cluster: &Cluster, database: &str) -> String {
    let question = "SELECT sum(bytes) || ' ' || sum((SELECT sum(length) FROM amtsbote.staged_piece WHERE place = staged.id)) \
                    FROM amtsbote.staged WHERE kind = 'portal-attachments' AND ends_at > clock_timestamp()";
    cluster.sql(database, question)
}

#[test]
fn what_others_left_at_an_attachment_is_no_part_of_it() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("remains");
    let mut nodes = open(&connection, str::to_owned);
    let attachment = Uuid::new_v4();
    let sealed = sealed(1, 90_000);
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    let left = |number: &str, bytes: &str| {
        cluster.sql(
            "remains",
            &format!(
                "INSERT INTO amtsbote.staged_piece (place, number, length, bytes) \
                 SELECT id, {number}, length({bytes}), {bytes} FROM amtsbote.staged, generate_series(2, 256) n \
                 WHERE kind = 'portal-attachments' AND ends_at > clock_timestamp() \
                 ON CONFLICT (place, number) DO NOTHING"
            ),
        );
    };
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[attachment]).await;
        let which = (id, attachment);
        portal.more(0, which, 0, &sealed[..1], false).await.is(204);
        assert_eq!(counted(&cluster, "remains"), "1 1");
        // Step by step: what is there is read again with each, so there are not many small ones.
        left("(1::bigint << 32) | n", &format!("convert_to(substr('{}', n, 1), 'UTF8')", &sealed[..256]));
        assert_eq!(portal.standing(1, which).await, (256, false));
        portal.more(1, which, 256, &sealed[256..257], false).await.refuses(400, "body-invalid");
        assert_eq!(portal.standing(2, which).await, (256, false));
        portal.more(2, which, 256, &sealed[256..300], false).await.refuses(400, "body-invalid");
        // An edition before, which a node fell over while it let go of it.
        left("n", "'\\x00'::bytea");
        portal.more(2, which, 256, &sealed[256..], true).await.is(204);
        assert_eq!(counted(&cluster, "remains"), "90000 90000".replace("90000", &sealed.len().to_string()));
        portal.submit(1, id, &metadata, &data).await.is(200);

        let id = portal.announce(0, &[attachment]).await;
        let which = (id, attachment);
        portal.more(0, which, 0, &sealed[..1], false).await.is(204);
        portal.upload(1, which, "no message").await.refuses(422, "encryption-invalid");
        left("n", "'\\x00'::bytea");
        portal.upload(0, which, &sealed).await.is(204);
        assert_eq!(counted(&cluster, "remains"), "90000 90000".replace("90000", &sealed.len().to_string()));
        // Somebody was too late, and kept something behind the last.
        left("(SELECT max(number) + 1 FROM amtsbote.staged_piece)", "'\\x00'::bytea");
        portal.submit(2, id, &metadata, &data).await.is(200);
        let town = Person::log_in(&nodes, TOWN).await;
        let got = town.ask(1, "GET", &place(id, attachment), &[], "").await.is(200);
        assert!(got.body == sealed.as_bytes(), "not what was uploaded");
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

#[test]
fn an_upload_that_comes_late_leaves_nothing_behind_a_submission() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("late");
    let mut nodes = open(&connection, str::to_owned);
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let (small, large) = (sealed(1, 90_000), sealed(2, 10 * MIB));
    let (metadata, data) = (seal(b"{}"), seal(b"<data/>"));
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let id = portal.announce(0, &[one]).await;
        portal.upload(1, (id, one), &small).await.is(204);
        // Its node does not come to it until all is over: somebody else is at work there.
        let holds = "INSERT INTO amtsbote.staged_hold SELECT kind || '/' || owner || '/' || name, 'somebody', \
                     clock_timestamp() + interval '1 hour' FROM amtsbote.staged WHERE kind = 'portal-attachments' \
                     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
                     RETURNING clock_timestamp()";
        let since = cluster.sql("late", holds).lines().next().expect("held").to_owned();
        let waits = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO staged_hold%' AND query_start > '{since}'"
        );
        let ends = async {
            for _ in 0..500 {
                if cluster.sql("late", &waits) == "t" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            portal.submit(2, id, &metadata, &data).await.is(200);
            assert_eq!(staged(&cluster, "late"), "0");
            cluster.sql("late", "DELETE FROM amtsbote.staged_hold WHERE holder = 'somebody'");
        };
        let (late, ()) = tokio::join!(portal.upload(1, (id, one), &small), ends);
        late.refuses(404, "submission-not-found");
        assert_eq!(staged(&cluster, "late"), "0");

        // The draft goes while an upload is under way.
        let id = portal.announce(0, &[two]).await;
        let mut slow = portal.some(1, (id, two), &large, 9 * MIB).await;
        portal.comes_to(2, (id, two), PIECE).await;
        cluster.sql("late", "UPDATE amtsbote.staged SET ends_at = '-infinity' WHERE kind = 'portal-drafts'");
        slow.write_all(&large.as_bytes()[9 * MIB..]).await.expect("sent");
        let mut answer = String::new();
        let read = slow.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("in time").ok();
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("submission-not-found"), "{answer}");
        assert_eq!(staged(&cluster, "late"), "0");
    });
    stop(&mut nodes);
    no_errors(&nodes);
}

#[test]
fn announcements_at_once_keep_to_the_bound_of_a_client() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("bound");
    let mut nodes = open(&connection, str::to_owned);
    let sql = |text: &str| cluster.sql("bound", text);
    // So many like one that is there, of this client or another one's.
    let crowd = |like: Uuid, note: &str, count: usize| {
        sql(&format!(
            "INSERT INTO amtsbote.staged (kind, owner, name, note, bytes, ends_at) \
             SELECT kind, owner, gen_random_uuid()::text, {note}, 0, ends_at \
             FROM amtsbote.staged, generate_series(1, {count}) WHERE name = '{like}'"
        ))
    };
    let body = json!({
        "destinationId": DESTINATION,
        "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}") },
    });
    let body = body.to_string();
    runtime().block_on(async {
        let portal = Person::log_in(&nodes, PORTAL).await;
        let first = portal.announce(0, &[]).await;
        let others = "convert_to(jsonb_set(convert_from(note, 'UTF8')::jsonb, '{begun,client}', '\"other\"')::text, 'UTF8')";
        crowd(first, others, 10);
        crowd(first, "note", 2046);
        let at_once = async |count: usize| {
            let announce = |node: usize| {
                portal.ask(node % NODES, "POST", "/v2/submissions", &[("content-type", JSON)], body.clone())
            };
            let answers = futures_util::future::join_all((0..count).map(announce)).await;
            answers.iter().filter(|answer| answer.status == 201).count()
        };
        // There is room for one.
        assert_eq!(at_once(9).await, 1);
        // A minute later they give way; whoever has waited for too long comes again.
        sql("UPDATE amtsbote.staged SET ends_at = ends_at - interval '2 minutes'");
        let mut begun = 0;
        for _ in 0..20 {
            begun += at_once(9 - begun).await;
        }
        assert_eq!(begun, 9);
    });
    stop(&mut nodes);
    no_errors(&nodes);
}
