//! What the benchmarks stand on: the machine's own floors, a client that costs little, and the server's figures as the
//! kernel gives them.
//!
//! Floors are measured in the same run on the same disk, because only ratios to them mean anything on a machine that
//! others use too. The client writes prepared bytes over a real TLS connection; what it costs is not the server's.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amtsbote::clock::SystemClock;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::{client_config, server_name};
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::store::Store;
use amtsbote::store::embedded::{EmbeddedStore, Settings};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cli_fixture::Office;
use crate::store_fixture::{content, draft};

pub const PAYLOAD_BYTES: usize = 10_000;

/// Who writes and who reads, as `amtsbote init` sets them up.
pub const AUTHOR: (&str, &str) = ("standesamt", "psw:100411000000");
pub const READER: (&str, &str) = ("meldebehoerde", "ags:10041100");

/// In which `/proc` counts CPU time (USER_HZ); 100 on every architecture that Linux serves today.
const USER_HERTZ: u64 = 100;

/// A number from the environment, or what the documentation promises.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    }
}

/// Durations in order, for quantiles.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds.
    pub fn at(&self, share: f64) -> f64 {
        let place = (self.0.len().saturating_sub(1) as f64 * share) as usize;
        self.0.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

/// A message's worth of bytes appended and synced, one after the other: no store can acknowledge faster.
pub fn fdatasync_times(folder: &Path, span: Duration) -> Times {
    let file = std::fs::File::create(folder.join("floor")).expect("a file");
    let bytes = content(1, PAYLOAD_BYTES + 2_000);
    let (start, mut times, mut at) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < span {
        let began = Instant::now();
        file.write_all_at(&bytes, at).expect("written");
        file.sync_data().expect("synced");
        times.push(began.elapsed());
        at += bytes.len() as u64;
    }
    let _ = std::fs::remove_file(folder.join("floor"));
    Times::of(times)
}

/// The embedded engine's database in a store's folder.
const DATABASE: &str = "amtsbote.sqlite";

/// The least that keeps a message: one row each for id, place in the mailbox, papers, payload, timer and evidence,
/// of the same sizes as an accepted message's, `batch` of them to one durable transaction: transactions a second
/// times `batch`.
pub fn bare_rate(batch: u64, span: Duration) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = Connection::open(folder.path().join("bare.sqlite")).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE used (key TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
             CREATE TABLE message (n INTEGER PRIMARY KEY, mailbox TEXT, state INTEGER);
             CREATE INDEX message_mailbox ON message (mailbox, state, n);
             CREATE TABLE paper (n INTEGER PRIMARY KEY, envelope BLOB, card BLOB);
             CREATE TABLE payload (n INTEGER PRIMARY KEY, bytes BLOB);
             CREATE TABLE timer (at INTEGER, n INTEGER, PRIMARY KEY (at, n)) WITHOUT ROWID;
             CREATE TABLE evidence (n INTEGER PRIMARY KEY, leaf BLOB, bytes BLOB);",
        )
        .expect("tables");
    let sample = draft("bare");
    let envelope = serde_json::to_vec(&(sample.envelope(), sample.manifest())).expect("an envelope");
    let card = sample.card().to_bytes();
    let (start, mut n) = (Instant::now(), 0_i64);
    while start.elapsed() < span {
        database.execute_batch("BEGIN IMMEDIATE").expect("begun");
        for _ in 0..batch {
            n += 1;
            let payload = content(n as u64, PAYLOAD_BYTES);
            let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
                database.prepare_cached(sql).expect("a statement").execute(values).expect("a row");
            };
            run("INSERT INTO used VALUES (?1, ?2)", params![format!("urn:de:xta:messageid:amt:{n}"), n]);
            run("INSERT INTO message VALUES (?1, ?2, 1)", params![n, format!("ags:{}", n % 50)]);
            run("INSERT INTO paper VALUES (?1, ?2, ?3)", params![n, envelope, card]);
            run("INSERT INTO payload VALUES (?1, ?2)", params![n, payload]);
            run("INSERT INTO timer VALUES (?1, ?2)", params![n % 1000, n]);
            run("INSERT INTO evidence VALUES (?1, ?2, ?3)", params![n, [1_u8; 32], [2_u8; 220]]);
        }
        database.execute_batch("COMMIT").expect("committed");
    }
    n as f64 / start.elapsed().as_secs_f64()
}

/// The tables that accepting a message adds to, and the columns that differ from message to message.
const ACCEPTED: [(&str, &[&str]); 6] = [
    ("used", &["key", "sequence"]),
    ("message", &["sequence", "id"]),
    ("paper", &["sequence"]),
    ("payload", &["sequence", "bytes"]),
    ("timer", &["sequence"]),
    ("evidence", &["idx", "message"]),
];

/// A row of a message and the statement that writes its like.
struct Row {
    insert: String,
    columns: Vec<String>,
    values: Vec<Value>,
}

/// The same transactions as the engine's, without the engine: the rows that the last accepted message left in the
/// store of `folder`, written again under other ids into the same tables with the same indexes, the mailbox's counter
/// counted on, `batch` messages to one durable transaction. Messages a second.
pub fn replay_rate(folder: &Path, batch: u64, span: Duration) -> f64 {
    let rows = last_accepted(&folder.join(DATABASE));
    let fresh = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(Settings { disk_reserve_bytes: 0, ..Settings::new(fresh.path()) })
        .expect("a store");
    runtime().block_on(store.close()).expect("closed");
    let database = Connection::open(fresh.path().join(DATABASE)).expect("a database");
    database.set_prepared_statement_cache_capacity(64);
    database.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -32768").expect("settings");
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        database.prepare_cached(sql).expect("a statement").execute(values).expect("a row");
    };
    let mailbox = rows.iter().find_map(|row| row.of("mailbox")).cloned().expect("a mailbox");
    let bytes = rows.iter().find_map(|row| row.of("payload_bytes")).cloned().expect("a length");
    run("INSERT INTO mailbox (name) VALUES (?1)", params![mailbox]);
    let (start, mut n) = (Instant::now(), 0_i64);
    while start.elapsed() < span {
        run("BEGIN IMMEDIATE", params![]);
        run("UPDATE batch SET number = number + 1", params![]);
        for _ in 0..batch {
            n += 1;
            for row in &rows {
                run(
                    &row.insert,
                    &row.renumbered(n).iter().map(|value| value as &dyn rusqlite::ToSql).collect::<Vec<_>>(),
                );
            }
            run(
                "UPDATE mailbox SET total = total + 1, waiting = waiting + 1, bytes_waiting = bytes_waiting + ?2 \
                 WHERE name = ?1",
                params![mailbox, bytes],
            );
        }
        run("COMMIT", params![]);
    }
    n as f64 / start.elapsed().as_secs_f64()
}

/// What the last accepted message of a store left in it.
fn last_accepted(database: &Path) -> Vec<Row> {
    let database = Connection::open(database).expect("the server's database");
    database.busy_timeout(Duration::from_secs(10)).expect("a setting");
    let last: i64 =
        database.query_row("SELECT max(sequence) FROM message", [], |row| row.get(0)).expect("a message");
    let mut found = Vec::new();
    for (table, differing) in ACCEPTED {
        let number = if table == "evidence" { "message" } else { "sequence" };
        let mut select =
            database.prepare(&format!("SELECT * FROM {table} WHERE {number} = ?1")).expect("a known table");
        let columns: Vec<String> = select.column_names().map(str::to_owned).collect();
        assert!(
            differing.iter().all(|name| columns.iter().any(|column| column == name)),
            "columns of {table}"
        );
        let places = (1..=columns.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let mut rows = select.query([last]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            found.push(Row {
                insert: format!("INSERT INTO {table} VALUES ({places})"),
                values: (0..columns.len()).map(|place| row.get(place).expect("a value")).collect(),
                columns: columns.clone(),
            });
        }
    }
    assert!(found.len() >= ACCEPTED.len(), "a message has a row in each of its tables");
    found
}

impl Row {
    fn of(&self, column: &str) -> Option<&Value> {
        self.values.get(self.columns.iter().position(|name| name == column)?)
    }

    fn renumbered(&self, n: i64) -> Vec<Value> {
        let differing = ACCEPTED.iter().flat_map(|(_, columns)| *columns).collect::<Vec<_>>();
        let renumber = |(column, value): (&String, &Value)| match value {
            value if !differing.contains(&&column.as_str()) => value.clone(),
            Value::Integer(_) => Value::Integer(n),
            Value::Text(_) => Value::Text(format!("urn:de:xta:messageid:bench:0-64-{}-{n}", n % 64)),
            Value::Blob(bytes) => Value::Blob(content(n as u64, bytes.len())),
            other => other.clone(),
        };
        self.columns.iter().zip(&self.values).map(renumber).collect()
    }
}

/// CPU time of a process so far, user and system together (`/proc/PID/stat`, fields 14 and 15).
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a living process");
    // The second field may hold spaces; it ends at the last bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / USER_HERTZ)
}

/// Resident memory of a process in bytes (`VmRSS` of `/proc/PID/status`).
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Time, highest resident memory and CPU time of the server while `work` goes on.
pub fn watched(pid: u32, work: impl FnOnce()) -> (Duration, u64, Duration) {
    let (over, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (until, seen) = (over.clone(), peak.clone());
    let watch = std::thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            seen.fetch_max(resident(pid), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let cpu = cpu_time(pid);
    let taken = timed(work);
    let cpu = cpu_time(pid) - cpu;
    over.store(true, Ordering::Relaxed);
    watch.join().expect("nobody panicked");
    (taken, peak.load(Ordering::Relaxed), cpu)
}

pub fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// A counter of the server, as its operator reads it.
pub fn counter(operator: &str, name: &str) -> f64 {
    let address = operator.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).expect("the operator's listener");
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0.0)
}

/// One of the two offices on a keep-alive connection of its own.
pub struct Wire(TlsStream<TcpStream>);

/// Lets both offices make their own message ids, so that posting is one request.
pub fn allow_own_ids(office: &Office) {
    let file = office.path("participants.toml");
    let text = std::fs::read_to_string(&file).expect("the participants");
    std::fs::write(&file, text.replace("foreign_message_ids = false", "foreign_message_ids = true"))
        .expect("written");
    office.run(&["participant", "apply", "participants.toml", "--yes", "--reason", "benchmark"]).ends(0);
}

/// What a client needs to connect.
#[derive(Clone)]
pub struct Door {
    port: u16,
    tls: TlsConnector,
}

impl Door {
    /// `folder` is one that `amtsbote init` filled.
    pub fn of(folder: &Path, url: &str, who: &str) -> Self {
        let tls = folder.join("tls");
        let path = |name: String| tls.join(name);
        let identity = Identity::load(&path(format!("{who}.crt")), &path(format!("{who}.key")));
        let pem = std::fs::read(path("ca.crt".to_owned())).expect("an authority");
        let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, &pem).expect("an anchor").build();
        let config =
            client_config(Arc::new(anchors), Some(&identity.expect("an identity")), Arc::new(SystemClock));
        let port = url.rsplit(':').next().and_then(|rest| rest.trim_end_matches('/').parse().ok());
        Self { port: port.expect("a port"), tls: TlsConnector::from(Arc::new(config.expect("TLS"))) }
    }

    pub async fn connect(&self) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        let name = server_name("localhost").expect("a name");
        Wire(self.tls.connect(name, stream).await.expect("TLS"))
    }
}

impl Wire {
    /// Sends a prepared request, reads its answer to the end and returns it. Anything but 200 ends the benchmark.
    pub async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.write_all(request).await.expect("written");
        self.0.flush().await.expect("written");
        let mut answer = Vec::with_capacity(4096);
        let head = loop {
            assert!(self.0.read_buf(&mut answer).await.expect("an answer") > 0, "the connection ended");
            if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let whole = head + length.unwrap_or(0_usize);
        while answer.len() < whole {
            assert!(self.0.read_buf(&mut answer).await.expect("an answer") > 0, "the connection ended");
        }
        assert!(text.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        answer
    }
}

const NAMESPACES: &str = "xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:m=\"http://www.osci.eu/ws/2014/10/transport\" xmlns:b=\"http://www.osci.eu/ws/2008/05/transport\" \
    xmlns:a=\"http://www.w3.org/2005/08/addressing\" xmlns:x=\"http://xoev.de/transport/xta/211\" \
    xmlns:i=\"http://www.w3.org/2004/08/xop/include\"";
const BOX: &str = "http://www.osci.eu/ws/2008/05/transport/urn/messageTypes";

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn soap(action: &str, body: &str) -> Vec<u8> {
    let envelope =
        format!("<s:Envelope {NAMESPACES}><s:Header/><s:Body>{body}</s:Body></s:Envelope>").into_bytes();
    post(&format!("application/soap+xml; charset=utf-8; action=\"{action}\""), &envelope)
}

/// sendMessage with one MTOM part of [`PAYLOAD_BYTES`].
pub fn send_request(id: &str, reader: &str, seed: u64) -> Vec<u8> {
    let author = AUTHOR.1;
    let envelope = format!(
        "<s:Envelope {NAMESPACES}><s:Header><m:MessageMetaData><m:DeliveryAttributes/><m:Originators><m:Author>\
         <m:Identifier type=\"xoev\">{author}</m:Identifier></m:Author></m:Originators><m:Destinations><m:Reader>\
         <m:Identifier type=\"xoev\">{reader}</m:Identifier></m:Reader></m:Destinations><m:MsgIdentification>\
         <a:MessageID>{id}</a:MessageID></m:MsgIdentification><m:Qualifier><m:Service>urn:service:bench</m:Service>\
         </m:Qualifier></m:MessageMetaData></s:Header><s:Body><x:GenericContentContainer><x:ContentContainer>\
         <x:Message contentType=\"application/xml\" filename=\"notice.xml\"><i:Include href=\"cid:1@bench\"/>\
         </x:Message></x:ContentContainer></x:GenericContentContainer></s:Body></s:Envelope>"
    );
    let head = format!(
        "--b\r\nContent-Type: application/xop+xml; charset=UTF-8; type=\"application/soap+xml\"\r\n\
         Content-ID: <0@bench>\r\n\r\n{envelope}\r\n--b\r\nContent-Type: application/octet-stream\r\n\
         Content-Transfer-Encoding: binary\r\nContent-ID: <1@bench>\r\n\r\n"
    );
    let body = [head.as_bytes(), &content(seed, PAYLOAD_BYTES), b"\r\n--b--\r\n"].concat();
    let action = "http://www.xta.de/XTA/SendMessage";
    post(
        &format!(
            "multipart/related; type=\"application/xop+xml\"; boundary=b; start=\"<0@bench>\"; \
             start-info=\"application/soap+xml\"; action=\"{action}\""
        ),
        &body,
    )
}

pub fn list_request(items: u32) -> Vec<u8> {
    let body = format!("<b:MsgBoxStatusListRequest maxListItems=\"{items}\" ListForm=\"MessageMetaData\"/>");
    soap(&format!("{BOX}/MsgBoxStatusListRequest"), &body)
}

pub fn fetch_request(id: &str) -> Vec<u8> {
    let body = format!(
        "<b:MsgBoxFetchRequest><b:MsgSelector><a:MessageID>{id}</a:MessageID></b:MsgSelector></b:MsgBoxFetchRequest>"
    );
    soap(&format!("{BOX}/MsgBoxFetchRequest"), &body)
}

pub fn close_request(id: &str) -> Vec<u8> {
    let body = format!(
        "<b:MsgBoxCloseRequest MsgBoxRequestID=\"1\"><b:LastMsgReceived>{id}</b:LastMsgReceived></b:MsgBoxCloseRequest>"
    );
    soap(&format!("{BOX}/MsgBoxCloseRequest"), &body)
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
