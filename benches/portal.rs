//! Citizens' portals: submissions beside TLS with a durable write of the same bytes, who is competent among 200,000 rules,
//! one attachment of 1 GiB in and out.
//!
//! `cargo bench --bench portal`. The floor is a server of its own, a process like ours: it takes the same requests over the
//! same TLS and syncs each body to a file before it answers. How to read the tables stands in README.md beside this file.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amtsbote::clock::SystemClock;
use amtsbote::domain::content::Digest;
use amtsbote::domain::destination::{Ags, DestinationId, Region, ServiceKey};
use amtsbote::net::{self, Body, Bounds, Handler, Listener, Peer, Permits, TlsSource};
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::jose::jwe;
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::{ClientCertificate, client_config, server_config, server_name};
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::portal::places::Places;
use amtsbote::portal::routing::{Outcome, Place, Routing, Rule};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
#[path = "../tests/it/ports.rs"]
mod ports;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;

use ground::{Times, timed, watched};
use store_fixture::content;

const MIB: u64 = 1024 * 1024;
const DATA_BYTES: usize = 20_000;
const ATTACHMENT_BYTES: usize = 1_000_000;
const ATTACHMENTS: [&str; 2] =
    ["aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"];
const REQUESTS: f64 = 4.0;
const RULES: usize = 200_000;
const SECRET: &str = "benchmark benchmark benchmark benchmark";
const DESTINATION: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
const SERVICE: &str = "99050012104000";
const JOSE: &str = "application/jose";
const JSON: &str = "application/json";
/// Names the folder of the process that is the floor.
const FLOOR: &str = "AMTSBOTE_BENCH_FLOOR";

fn main() {
    if let Some(folder) = std::env::var_os(FLOOR) {
        return ground::runtime().block_on(floor(Path::new(&folder)));
    }
    let span = Duration::from_secs(ground::setting("AMTSBOTE_BENCH_SECONDS", 10));
    let repetitions = ground::setting("AMTSBOTE_BENCH_REPETITIONS", 3).max(1);
    let mib = ground::setting("AMTSBOTE_BENCH_MIB", 1024).max(1);
    let (office, port) = open((mib * 3 / 2 + 64) * MIB);
    let runtime = ground::runtime();
    submissions(&office, port, &runtime, span, repetitions);
    look_ups();
    large(&office, port, &runtime, mib);
}

fn encryption_key() -> PublicKey {
    PublicKey::parse(include_str!("../tests/data/portal/encryption.jwk")).expect("a key")
}

/// A server with a portal door, one client and one destination.
fn open(content_bytes_max: u64) -> (cli_fixture::Office, u16) {
    let port = ports::own_port();
    let office = cli_fixture::Office::open_in(tempfile::tempdir().expect("a folder"), |folder| {
        let config = folder.join("amtsbote.toml");
        let text = std::fs::read_to_string(&config).expect("the configuration");
        let mut portal = false;
        let changed = text.lines().map(|line| {
            portal = if line.starts_with('[') { line == "[portal]" } else { portal };
            match line.split(" =").next().unwrap_or_default() {
                "# address" if portal => format!("address = \"127.0.0.1:{port}\"\n"),
                "url" if portal => format!("url = \"https://localhost:{port}\"\n"),
                "requests_per_minute_max" => "requests_per_minute_max = 100000000\n".to_owned(),
                "content_bytes_max" => format!("content_bytes_max = {content_bytes_max}\n"),
                _ => format!("{line}\n"),
            }
        });
        std::fs::write(&config, changed.collect::<String>()).expect("written");
        let file = folder.join("participants.toml");
        let mut text = std::fs::read_to_string(&file).expect("the participants");
        let (digest, jwk) =
            (Digest::of(SECRET.as_bytes()), include_str!("../tests/data/portal/encryption.jwk").trim_end());
        text.push_str(&format!(
            "\n[[account]]\nname = \"bench\"\nidentifiers = [{{ value = \"portal:bench\" }}]\n\
             [[account.portal.client]]\nid = \"bench\"\nsecret_sha256 = \"{digest}\"\nsends = true\nsubscribes = true\n\
             [[account.portal.destination]]\nid = \"{DESTINATION}\"\nname = \"Bench\"\nkeys = [{{ jwk = '{jwk}' }}]\n\
             encryption_kid = \"authority-encryption-2026\"\n"
        ));
        std::fs::write(file, text).expect("written");
    });
    (office, port)
}

type Sent = UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(bytes: impl Into<Bytes>) -> Sent {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A keep-alive connection.
struct Line {
    sender: SendRequest<Sent>,
    token: String,
}

impl Line {
    async fn open(folder: &Path, port: u16) -> Self {
        let pem = std::fs::read(folder.join("tls/ca.crt")).expect("an authority");
        let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, &pem).expect("an anchor").build();
        let tls = client_config(Arc::new(anchors), None, Arc::new(SystemClock)).expect("TLS");
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        let name = server_name("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("TLS");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Self { sender, token: String::new() }
    }

    async fn log_in(&mut self) {
        let form = format!(
            "grant_type=client_credentials&client_id=bench&client_secret={}",
            SECRET.replace(' ', "+")
        );
        let told = self.ask("POST", "/token", "application/x-www-form-urlencoded", whole(form)).await;
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        self.token = told["access_token"].as_str().expect("a token").to_owned();
    }

    async fn begin(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: Sent,
    ) -> Response<hyper::body::Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", kind)
            .header("authorization", format!("Bearer {}", self.token))
            .body(body)
            .expect("a request");
        self.sender.ready().await.expect("an open connection");
        self.sender.send_request(request).await.expect("an answer")
    }

    /// The answer's body; any refusal ends the benchmark.
    async fn ask(&mut self, method: &str, path: &str, kind: &str, body: Sent) -> Bytes {
        let answer = self.begin(method, path, kind, body).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&body));
        body
    }

    async fn announce(&mut self, attachments: &[&str]) -> String {
        let announcement = json!({
            "destinationId": DESTINATION,
            "announcedAttachments": attachments,
            "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}"), "name": "Bench" },
        });
        let told = self.ask("POST", "/v2/submissions", JSON, whole(announcement.to_string())).await;
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        told["submissionId"].as_str().expect("an id").to_owned()
    }
}

/// What is sent again and again; made once, since what clients encrypt is their own work.
struct Parts {
    attachments: Vec<Bytes>,
    body: Bytes,
}

impl Parts {
    fn make() -> Self {
        let key = encryption_key();
        let seal = |kind: &str, bytes: &[u8]| jwe::seal(&key, kind, bytes).expect("sealed");
        let attachments = (0..ATTACHMENTS.len() as u64)
            .map(|seed| seal("application/pdf", &content(seed + 1, ATTACHMENT_BYTES)).into())
            .collect();
        let body = json!({
            "encryptedMetadata": seal(JSON, b"{}"),
            "encryptedData": seal(JSON, &content(9, DATA_BYTES)),
        });
        Self { attachments, body: body.to_string().into() }
    }

    async fn submit(&self, line: &mut Line) {
        let id = line.announce(&ATTACHMENTS).await;
        let path = format!("/v2/submissions/{id}");
        for (name, sealed) in ATTACHMENTS.iter().zip(&self.attachments) {
            line.ask("PUT", &format!("{path}/attachments/{name}"), JOSE, whole(sealed.clone())).await;
        }
        line.ask("PUT", &path, JSON, whole(self.body.clone())).await;
    }
}

struct Load {
    rate: f64,
    cpu_ms: f64,
    times: Times,
}

/// Submissions for so long, from so many clients at once.
async fn load(
    folder: &Path,
    port: u16,
    pid: u32,
    clients: usize,
    span: Duration,
    parts: &Arc<Parts>,
) -> Load {
    let mut lines = Vec::new();
    for _ in 0..clients {
        let mut line = Line::open(folder, port).await;
        line.log_in().await;
        lines.push(line);
    }
    let (began, cpu) = (Instant::now(), ground::cpu_time(pid));
    let work = lines.into_iter().map(|mut line| {
        let parts = parts.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < span || times.is_empty() {
                let one = Instant::now();
                parts.submit(&mut line).await;
                times.push(one.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for done in futures_util::future::join_all(work).await {
        times.extend(done.expect("nobody panicked"));
    }
    let (taken, cpu) = (began.elapsed(), ground::cpu_time(pid) - cpu);
    let count = times.len() as f64;
    Load {
        rate: count / taken.as_secs_f64(),
        cpu_ms: cpu.as_secs_f64() * 1000.0 / count,
        times: Times::of(times),
    }
}

fn submissions(
    office: &cli_fixture::Office,
    port: u16,
    runtime: &tokio::runtime::Runtime,
    span: Duration,
    repetitions: u64,
) {
    let parts = Arc::new(Parts::make());
    let floor = Floor::start(office.folder.path());
    println!("submissions of 20 kB with two attachments of 1 MB, {} bytes on the wire", {
        parts.attachments.iter().map(Bytes::len).sum::<usize>() + parts.body.len()
    });
    println!(
        "clients  subm/s   req/s  floor subm/s  ratio  CPU ms/subm  floor CPU ms  CPU ratio  p50 ms  p99 ms  floor p50"
    );
    for clients in [1, 8] {
        let mut rows: Vec<(Load, Load)> = Vec::new();
        for _ in 0..repetitions {
            let folder = office.folder.path();
            let bare = runtime.block_on(load(folder, floor.port, floor.child.id(), clients, span, &parts));
            let own = runtime.block_on(load(folder, port, office.pid(), clients, span, &parts));
            rows.push((own, bare));
        }
        rows.sort_by(|(one, bare), (other, other_bare)| {
            (one.rate / bare.rate).total_cmp(&(other.rate / other_bare.rate))
        });
        let (own, bare) = &rows[rows.len() / 2];
        println!(
            "{clients:7}  {:6.1}  {:6.1}  {:12.1}  {:5.2}  {:11.1}  {:12.1}  {:9.2}  {:6.1}  {:6.1}  {:9.1}",
            own.rate,
            own.rate * REQUESTS,
            bare.rate,
            own.rate / bare.rate,
            own.cpu_ms,
            bare.cpu_ms,
            bare.cpu_ms / own.cpu_ms,
            own.times.at(0.5),
            own.times.at(0.99),
            bare.times.at(0.5),
        );
    }
}

/// The process that is the floor; it ends with the benchmark.
struct Floor {
    child: Child,
    port: u16,
}

impl Floor {
    fn start(office: &Path) -> Self {
        let program = std::env::current_exe().expect("our own program");
        let mut child = Command::new(program)
            .env(FLOOR, office)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor's process");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        std::io::BufReader::new(out).read_line(&mut line).expect("a line");
        Self { child, port: line.trim().parse().expect("a port") }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes what the portal door takes, judges nothing, and has it on disk before it answers.
struct Durable {
    folder: tempfile::TempDir,
    count: AtomicU64,
}

#[async_trait]
impl Handler for Durable {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        let is_token = request.uri().path() == "/token";
        let is_announcement = request.uri().path() == "/v2/submissions";
        let path = self.folder.path().join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.expect("the body").into_data() {
                file.write_all(&data).expect("written");
            }
        }
        let synced = tokio::task::spawn_blocking(move || {
            file.sync_all().expect("synced");
            std::fs::remove_file(path).expect("removed");
        });
        synced.await.expect("nobody panicked");
        let told = match (is_token, is_announcement) {
            (true, _) => json!({ "access_token": "floor" }).to_string(),
            (_, true) => json!({ "submissionId": uuid::Uuid::new_v4() }).to_string(),
            _ => String::new(),
        };
        Response::new(net::full(told))
    }
}

async fn floor(office: &Path) {
    let tls = office.join("tls");
    let identity = Identity::load(&tls.join("server.crt"), &tls.join("server.key")).expect("an identity");
    let tls = server_config(&identity, ClientCertificate::Optional, Arc::new(SystemClock)).expect("TLS");
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let source = TlsSource::new(Arc::new(tls));
    let listener =
        Listener::tls(address, source, Bounds::default(), Permits::new(64)).await.expect("a listener");
    println!("{}", listener.address().expect("an address").port());
    let folder = tempfile::tempdir_in(office).expect("a folder");
    let _serving = listener.serve(Arc::new(Durable { folder, count: AtomicU64::default() }));
    // Until the benchmark ends this process.
    std::future::pending::<()>().await;
}

/// Regions that look like German ones: associations of up to 20 municipalities in 100 districts.
fn region(n: usize) -> Region {
    let (district, association, place) = (n % 100, n / 100 % 25, n / 2500 % 20);
    let text = format!("10{:03}{:04}{:03}", district + 1, association + 1, place + 1);
    Region::parse(&text).expect("a region")
}

fn service(n: usize) -> ServiceKey {
    ServiceKey::parse(&format!("99{:012}", n + 1)).expect("a service")
}

fn look_ups() {
    let destination = |n: usize| {
        let text = uuid::Uuid::from_u128(0x5b0f_6d0e_4a3e_4f61_9a6e_0f3b_0000_0000 + n as u128).to_string();
        DestinationId::parse(&text).expect("an id")
    };
    // 4,000 services in 50 municipalities each; every tenth for a whole land besides.
    let rules = (0..RULES).map(|n| Rule {
        region: if n % 500 == 0 { Region::parse("10").expect("a land") } else { region(n * 7) },
        service: service(n % 4000),
        destination: destination(n % 5000),
        valid_from: None,
        valid_until: None,
    });
    let mut routing = Routing::default();
    let built = timed(|| routing = Routing::from_rules(rules));
    let day = "2026-11-29".parse().expect("a day");
    println!("\nwho is competent, {RULES} rules, made in {:.0} ms", built.as_secs_f64() * 1000.0);
    println!("asked by        found  p50 us  p99 us");
    for by in ["ARS", "AGS"] {
        let (mut times, mut found) = (Vec::new(), 0_usize);
        for n in 0..20_000_usize {
            let region = region(n * 7);
            let place = match by {
                "ARS" => Place::Region(region),
                _ => Place::Ags(Ags::of(&region).expect("a municipality")),
            };
            let service = service(n % 4000);
            let began = Instant::now();
            let outcome = routing.find(&place, &service, day, Places::known());
            times.push(began.elapsed());
            found += usize::from(!matches!(outcome, Outcome::NoDestination));
        }
        let times = Times::of(times);
        let share = found * 100 / times.len();
        println!("{by:12}  {share:6} %  {:6.2}  {:6.2}", times.at(0.5) * 1000.0, times.at(0.99) * 1000.0);
    }
}

/// An encrypted message of so many MiB of ciphertext, without having it.
fn endless(mib: u64) -> (Sent, u64) {
    let sealed = jwe::seal(&encryption_key(), "application/pdf", b"x").expect("sealed");
    let parts: Vec<&str> = sealed.split('.').collect();
    let head = Bytes::from(format!("{}.{}.{}.", parts[0], parts[1], parts[2]));
    let tail = Bytes::from(format!(".{}", parts[4]));
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let piece: Vec<u8> =
        content(1, MIB as usize).iter().map(|byte| letters[usize::from(*byte) % letters.len()]).collect();
    let piece = Bytes::from(piece);
    let length = head.len() as u64 + mib * MIB + tail.len() as u64;
    let pieces = [head].into_iter().chain((0..mib).map(move |_| piece.clone())).chain([tail]);
    let frames = futures_util::stream::iter(pieces).map(|piece| Ok(Frame::data(piece)));
    (StreamBody::new(frames).boxed_unsync(), length)
}

fn large(office: &cli_fixture::Office, port: u16, runtime: &tokio::runtime::Runtime, mib: u64) {
    let folder = office.folder.path();
    let mut line = runtime.block_on(Line::open(folder, port));
    let idle = ground::resident(office.pid());
    println!("\none attachment of {mib} MiB; the server has {:.1} MiB before it", idle as f64 / MIB as f64);
    println!("step      MiB/s  MiB above  server CPU s");
    let tell = |step: &str, (taken, peak, cpu): (Duration, u64, Duration)| {
        let above = peak.saturating_sub(idle) as f64 / MIB as f64;
        println!(
            "{step:8}  {:5.0}  {above:9.1}  {:12.2}",
            mib as f64 / taken.as_secs_f64(),
            cpu.as_secs_f64()
        );
    };
    let (body, length) = endless(mib);
    let id = runtime.block_on(async {
        line.log_in().await;
        line.announce(&ATTACHMENTS[..1]).await
    });
    let path = format!("/v2/submissions/{id}");
    let attachment = format!("{path}/attachments/{}", ATTACHMENTS[0]);
    let upload = watched(office.pid(), || {
        runtime.block_on(line.ask("PUT", &attachment, JOSE, body));
    });
    tell("upload", upload);
    let sealed = jwe::seal(&encryption_key(), JSON, b"{}").expect("sealed");
    let submission = json!({ "encryptedMetadata": sealed, "encryptedData": sealed }).to_string();
    let submit = watched(office.pid(), || {
        runtime.block_on(async {
            line.log_in().await;
            line.ask("PUT", &path, JSON, whole(submission)).await
        });
    });
    tell("submit", submit);
    let fetch = watched(office.pid(), || {
        let seen = runtime.block_on(async {
            line.log_in().await;
            let answer = line.begin("GET", &attachment, JOSE, whole("")).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let (mut body, mut seen) = (answer.into_body(), 0_u64);
            while let Some(frame) = body.frame().await {
                seen += frame.expect("the answer").data_ref().map_or(0, |data| data.len() as u64);
            }
            seen
        });
        assert_eq!(seen, length, "what came out is not what went in");
    });
    tell("fetch", fetch);
}
