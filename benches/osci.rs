//! OSCI-Transport 1.2 over plain HTTP: what a request costs the server beside the private-key operations that it
//! cannot do without, dialogs with many clients, one large attachment in and out.
//!
//! `cargo bench --bench osci`. Keys are RSA-2048, every message is signed and encrypted. How to read the tables stands
//! in README.md beside this file.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::mime::content_id::ContentId;
use amtsbote::osci::envelope::write::OutgoingAttachment;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey};
use aws_lc_rs::rsa::{PrivateDecryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
/// What the tests hold every answer to is not measured along.
mod osci_form {
    pub fn trouble(_: &[u8]) -> Vec<String> {
        Vec::new()
    }
}
#[path = "../tests/it/osci_office.rs"]
#[allow(dead_code)]
mod osci_office;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;

use ground::{PAYLOAD_BYTES, Times};
use osci_office::{AUTHOR, Client, Draft, Got, READER, Reply, delivery, keys};

const CLIENTS: u64 = 32;
/// Messages of each kind in the first table.
const REQUESTS: u64 = 500;
/// Pairs of a decryption and a signature that make one floor.
const KEY_OPERATIONS: u32 = 400;
/// Cipher and digest are repeated for so long.
const FLOOR_TIME: Duration = Duration::from_millis(500);
const MIB: u64 = 1024 * 1024;

fn main() {
    let span = Duration::from_secs(ground::setting("AMTSBOTE_BENCH_SECONDS", 10));
    let requests = ground::setting("AMTSBOTE_BENCH_REQUESTS", REQUESTS).max(1);
    let mib = ground::setting("AMTSBOTE_BENCH_MIB", 100).max(1);
    let certificates = tempfile::tempdir().expect("a folder");
    let office = open(certificates.path(), (mib + 1) * MIB);
    let port = office.osci.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    let door = Door { pid: office.pid(), port: port.expect("a port") };
    requests_alone(&door, requests);
    dialogs(&door, span);
    large(&door, mib);
}

/// A server whose OSCI keys, and those of its clients, are RSA-2048.
fn open(folder: &Path, content_bytes_max: u64) -> cli_fixture::Office {
    let (anchor, list) = osci_office::authority();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("written");
    write("ca.crt", anchor);
    write("ca.crl", list);
    for purpose in ["cipher", "signature"] {
        let own = keys(&format!("intermediary-{purpose}"));
        write(&format!("{purpose}.crt"), own.certificate.pem().as_bytes());
        let body = BASE64.encode(&own.pkcs8);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        write(&format!("{purpose}.key"), pem.as_bytes());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.join(format!("{purpose}.key")), mode).expect("ours");
    }
    let path = |name: &str| format!("{:?}", folder.join(name).display().to_string());
    let changed = [
        ("content_bytes_max", content_bytes_max.to_string()),
        ("cipher_certificates", format!("[{}]", path("cipher.crt"))),
        ("cipher_keys", format!("[{}]", path("cipher.key"))),
        ("signature_certificate", path("signature.crt")),
        ("signature_key", path("signature.key")),
        ("signature_anchors", format!("[{}]", path("ca.crt"))),
        ("cipher_anchors", format!("[{}]", path("ca.crt"))),
    ];
    let office = cli_fixture::Office::open_with_changes(|text| {
        // The sections are there already, so the values are changed where they stand.
        let mut osci = false;
        let lines = text.lines().map(|line| {
            osci = if line.starts_with('[') { line == "[osci]" } else { osci };
            let name = line.split('=').next().unwrap_or_default().trim();
            if osci && name == "crls" {
                return format!("crls = [{}]", path("ca.crl"));
            }
            match changed.iter().find(|(changed, _)| *changed == name) {
                Some((_, value)) => format!("{name} = {value}"),
                None => line.to_owned(),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    let mut participants = String::new();
    for (name, identifier) in [("author", AUTHOR), ("reader", READER)] {
        participants.push_str(&format!("[[account]]\nname = \"{name}\"\n"));
        participants.push_str(&format!("identifiers = [{{ value = \"{identifier}\" }}]\n[account.osci]\n"));
        for purpose in ["cipher", "signature"] {
            let fingerprint = keys(&format!("{name}-{purpose}")).digest();
            participants.push_str(&format!("[[account.osci.{purpose}]]\nfingerprint = \"{fingerprint}\"\n"));
        }
    }
    std::fs::write(office.path("participants.toml"), participants).expect("written");
    office.run(&["participant", "apply", "participants.toml", "--yes", "--reason", "benchmark"]).ends(0);
    office
}

#[derive(Clone, Copy)]
struct Door {
    pid: u32,
    port: u16,
}

/// A client in its dialog, on a keep-alive connection of its own.
struct Caller {
    client: Client,
    wire: TcpStream,
}

impl Caller {
    fn new(door: &Door, name: &'static str) -> Self {
        let wire = TcpStream::connect(("127.0.0.1", door.port)).expect("connected");
        wire.set_nodelay(true).expect("a socket");
        Self { client: Client::new(name, true, true), wire }
    }

    /// What it will say next, as it goes over the wire.
    fn write(&self, payload: Payload, change: impl FnOnce(&mut Draft)) -> Vec<u8> {
        let mut draft = self.client.draft(payload);
        change(&mut draft);
        self.client.write(draft)
    }

    /// Sends what is written, and reads the answer to its end; how long it took.
    fn carry(&mut self, body: &[u8]) -> (Vec<u8>, Duration) {
        let began = Instant::now();
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        self.wire.write_all(head.as_bytes()).and_then(|()| self.wire.write_all(body)).expect("written");
        let (mut answer, mut piece) = (Vec::new(), vec![0; 256 * 1024]);
        let mut whole = usize::MAX;
        let mut start = 0;
        while answer.len() < whole {
            let read = self.wire.read(&mut piece).expect("an answer");
            assert!(read > 0, "the connection ended");
            answer.extend_from_slice(&piece[..read]);
            if whole == usize::MAX
                && let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&answer[..at]).to_ascii_lowercase();
                let length =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                start = at + 4;
                whole = start + length.unwrap_or(0_usize);
                answer.reserve(whole.saturating_sub(answer.len()));
            }
        }
        let took = began.elapsed();
        answer.drain(..start);
        (answer, took)
    }

    fn read(&mut self, answer: Vec<u8>) -> Reply {
        match self.client.read(answer) {
            Got::Answer(reply) => {
                let codes = reply.codes();
                assert!(codes.iter().all(|code| !code.starts_with('9')), "{codes:?}");
                *reply
            }
            Got::Fault(code) => panic!("fault {code}"),
        }
    }

    fn ask(&mut self, payload: Payload) -> (Reply, Duration) {
        self.ask_changed(payload, |_| ())
    }

    fn ask_changed(&mut self, payload: Payload, change: impl FnOnce(&mut Draft)) -> (Reply, Duration) {
        let request = self.write(payload, change);
        let (answer, took) = self.carry(&request);
        (self.read(answer), took)
    }

    fn message_id(&mut self) -> (MessageId, Duration) {
        let (reply, took) = self.ask(Payload::GetMessageId);
        match reply.received.message.payload {
            Payload::ResponseToGetMessageId(answer) => (answer.message_id.expect("an id"), took),
            other => panic!("{:?}", other.kind()),
        }
    }
}

/// 10 kB of noise in the package itself.
fn small(seed: u64) -> impl FnOnce(&mut Draft) {
    move |draft| {
        let text = BASE64.encode(store_fixture::content(seed, PAYLOAD_BYTES));
        draft.attachments = Vec::new();
        draft.content = Some(
            format!(
                "<osci:ContentPackage><osci:ContentContainer Id=\"container0\"><osci:Content><osci:Base64Content \
                 Id=\"content0\">{text}</osci:Base64Content></osci:Content></osci:ContentContainer>\
                 </osci:ContentPackage>"
            )
            .into_bytes(),
        );
    }
}

/// CPU time that this thread has used (`/proc/thread-self/schedstat`, nanoseconds).
fn own_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a living thread");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// One decryption of a wrapped key and one signature, RSA-2048: what no answer can do without.
fn key_operations() -> Duration {
    let cipher = keys("intermediary-cipher");
    let private = PrivateDecryptingKey::from_pkcs8(&cipher.pkcs8).expect("a key");
    let public = PublicEncryptingKey::from_der(cipher.certificate.spki()).expect("a key");
    let public = OaepPublicEncryptingKey::new(public).expect("a key");
    let private = OaepPrivateDecryptingKey::new(private).expect("a key");
    let signer = RsaKeyPair::from_pkcs8(&keys("intermediary-signature").pkcs8).expect("a key");
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut wrapped, None).expect("wrapped");
    let (mut out, mut signature) = (vec![0; 256], vec![0; signer.public_modulus_len()]);
    // The kernel counts by its tick, so only a long stretch means something.
    let began = own_cpu();
    for _ in 0..KEY_OPERATIONS {
        private.decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut out, None).expect("unwrapped");
        signer.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &[1; 400], &mut signature).expect("signed");
    }
    (own_cpu() - began) / KEY_OPERATIONS
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn requests_alone(door: &Door, requests: u64) {
    println!("{requests} requests of each kind in one dialog; 10 kB content; signed, encrypted, RSA-2048");
    println!("request            server CPU us  key ops us  ratio   p50 ms   p99 ms");
    let mut author = Caller::new(door, "author");
    let mut reader = Caller::new(door, "reader");
    author.ask(Payload::InitDialog);
    reader.ask(Payload::InitDialog);
    // Once through, so that no first time is counted.
    let (id, _) = author.message_id();
    author.ask_changed(delivery(&id), small(0));
    reader.ask(Payload::FetchDelivery(FetchDelivery::default()));

    let mut ids = Vec::new();
    row(door, "getMessageId", requests, |_| {
        let (id, took) = author.message_id();
        ids.push(id);
        took
    });
    row(door, "storeDelivery", requests, |n| author.ask_changed(delivery(&ids[n as usize]), small(n)).1);
    row(door, "fetchDelivery", requests, |_| reader.ask(Payload::FetchDelivery(FetchDelivery::default())).1);
}

fn row(door: &Door, name: &str, requests: u64, mut request: impl FnMut(u64) -> Duration) {
    let before = key_operations();
    let cpu = ground::cpu_time(door.pid);
    let times = Times::of((0..requests).map(&mut request).collect());
    let cpu = micros(ground::cpu_time(door.pid) - cpu) / requests as f64;
    // The mean of before and after, because the machine's speed drifts.
    let floor = micros(before + key_operations()) / 2.0;
    println!(
        "{name:17}  {cpu:13.0}  {floor:10.0}  {:5.2}  {:7.2}  {:7.2}",
        cpu / floor,
        times.at(0.5),
        times.at(0.99)
    );
}

/// initDialog, getMessageId, storeDelivery, exitDialog, over and over.
fn dialogs(door: &Door, span: Duration) {
    let (own, floor) = (std::process::id(), key_operations());
    let (cpu, own_cpu, began) = (ground::cpu_time(door.pid), ground::cpu_time(own), Instant::now());
    let one = |number: u64| {
        let mut caller = Caller::new(door, "author");
        let mut done = 0;
        while began.elapsed() < span {
            caller.ask(Payload::InitDialog);
            let (id, _) = caller.message_id();
            caller.ask_changed(delivery(&id), small(number << 32 | done));
            caller.ask(Payload::ExitDialog);
            done += 1;
        }
        done
    };
    let done: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("nobody panicked")).sum()
    });
    let elapsed = began.elapsed().as_secs_f64();
    let each = |time: Duration| micros(time) / 1000.0 / done.max(1) as f64;
    let (cpu, own) = (each(ground::cpu_time(door.pid) - cpu), each(ground::cpu_time(own) - own_cpu));
    let floor = micros(floor + key_operations()) / 2.0 / 1000.0 * 4.0;
    println!();
    println!("dialogs of four requests, {CLIENTS} clients, {} s", span.as_secs());
    println!("dialogs/s  server CPU ms  key ops ms  ratio  client CPU ms");
    println!("{:9.1}  {cpu:13.2}  {floor:10.2}  {:5.2}  {own:13.2}", done as f64 / elapsed, cpu / floor);
}

/// AES-256-GCM and SHA-256 over these bytes, once each, by one thread.
fn cipher_and_digest(bytes: &[u8]) -> Duration {
    const PIECE: usize = 64 * 1024;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).expect("a key"));
    let mut piece = vec![0; PIECE];
    let (began, mut rounds) = (own_cpu(), 0);
    loop {
        let mut hasher = digest::Context::new(&digest::SHA256);
        for bytes in bytes.chunks(PIECE) {
            hasher.update(bytes);
            let piece = &mut piece[..bytes.len()];
            piece.copy_from_slice(bytes);
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let _ = key.seal_in_place_separate_tag(nonce, Aad::empty(), piece).expect("sealed");
        }
        let _ = hasher.finish();
        rounds += 1;
        let taken = own_cpu() - began;
        if taken >= FLOOR_TIME {
            return taken / rounds;
        }
    }
}

fn large(door: &Door, mib: u64) {
    let noise = store_fixture::content(1, MIB as usize);
    // Noise that is cheap to make and not the same from MiB to MiB.
    let bytes: Vec<u8> =
        (0..mib).flat_map(|n| noise.iter().map(move |byte| byte.wrapping_add(n as u8))).collect();
    let bytes = Arc::new(bytes);
    let mut author = Caller::new(door, "author");
    let mut reader = Caller::new(door, "reader");
    author.ask(Payload::InitDialog);
    reader.ask(Payload::InitDialog);
    // What waits from before is not fetched again.
    let (id, _) = author.message_id();
    let source = bytes.clone();
    let request = author.write(delivery(&id), |draft| {
        draft.content = Some(
            b"<osci:ContentPackage><osci:ContentContainer Id=\"container0\"><osci:Content Id=\"content0\" \
              href=\"cid:large\"></osci:Content></osci:ContentContainer></osci:ContentPackage>"
                .to_vec(),
        );
        let content_id = ContentId::from_header("<large>").expect("an id");
        draft.attachments = vec![OutgoingAttachment::new(content_id, "application/octet-stream", source)];
    });
    println!();
    let idle = ground::resident(door.pid);
    println!("one attachment of {mib} MiB; the server idle has {:.1} MiB", idle as f64 / MIB as f64);
    println!("way    MiB/s  per CPU s  floor MiB/s  ratio  of CPU  MiB above idle");
    let floor = cipher_and_digest(&bytes);
    let mut answer = Vec::new();
    let (took, peak, cpu) = ground::watched(door.pid, || (answer, _) = author.carry(&request));
    tell("store", mib, (took, cpu), floor, peak.saturating_sub(idle));
    author.read(answer);
    drop(request);
    let named = amtsbote::osci::message::selection::DeliverySelection::MessageId(id);
    let request = reader.write(Payload::FetchDelivery(FetchDelivery { selection: Some(named) }), |_| ());
    let floor = cipher_and_digest(&bytes);
    let mut answer = Vec::new();
    let (took, peak, cpu) = ground::watched(door.pid, || (answer, _) = reader.carry(&request));
    tell("fetch", mib, (took, cpu), floor, peak.saturating_sub(idle));
    let reply = reader.read(answer);
    assert!(reply.attachment(0) == bytes.as_slice(), "what came out is not what went in");
}

fn tell(way: &str, mib: u64, (took, cpu): (Duration, Duration), floor: Duration, above: u64) {
    let rate = |time: Duration| mib as f64 / time.as_secs_f64();
    let above = above as f64 / MIB as f64;
    println!(
        "{way:5}  {:5.0}  {:9.0}  {:11.0}  {:5.2}  {:6.2}  {above:14.1}",
        rate(took),
        rate(cpu),
        rate(floor),
        rate(took) / rate(floor),
        rate(cpu) / rate(floor)
    );
}
