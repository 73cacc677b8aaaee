//! Two post offices as processes of their own: what is posted at one for a reader at the other is stored there, once,
//! whatever breaks between them.
//!
//! Between the two stands a middleman who carries each exchange whole, can be away, and can end the other process after it
//! has answered and before the answer is handed on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amtsbote::admin::directory;
use amtsbote::admin::protocol::DirectoryView;
use amtsbote::domain::account::{
    Account, AccountName, CipherCertificate, OsciParticipant, Rights, SignatureCertificate,
};
use amtsbote::domain::content::Digest;
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::pki::certificate::Certificate;
use rustix::process::Signal;

use crate::cli_fixture::Office;
use crate::nodes_office::in_database;
use crate::postgres_cluster::{Cluster, programs};

const AUTHOR: &str = "psw:100411000000";
const READER: &str = "ags:10041100";
const NOTICE: &str = "<notice>Grüße</notice>";
const CHUNK_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    /// Host and port of the other office; nobody is at home without.
    target: Option<String>,
    refused: usize,
    exchanges: usize,
    /// Bytes of the longest request.
    longest: usize,
    /// Requests that carry a full chunk of 64 KB.
    full_chunks: usize,
    /// The exchange of this number is never answered.
    hang: Option<usize>,
    /// The exchange of this number lies here for as long as `held` says; others pass.
    hold: Option<usize>,
    held: bool,
    /// End this process once so many exchanges were answered.
    kill: Option<(usize, u32)>,
}

#[derive(Clone)]
struct Middleman {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Middleman {
    fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let own = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = own.clone();
                std::thread::spawn(move || drop(carry(stream, &state)));
            }
        });
        Self { address, state }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("nobody panicked"));
    }

    fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().expect("nobody panicked"))
    }

    fn leads_to(&self, office: &Office) {
        let target = office.osci.trim_start_matches("http://").split('/').next().expect("a host").to_owned();
        self.set(|state| state.target = Some(target));
    }
}

fn carry(mut from: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    from.set_read_timeout(Some(PATIENCE))?;
    let Some(target) = state.lock().expect("nobody panicked").target.clone() else {
        state.lock().expect("nobody panicked").refused += 1;
        return Ok(());
    };
    let mut request = Vec::new();
    let mut piece = [0; 64 * 1024];
    loop {
        let read = from.read(&mut piece)?;
        request.extend_from_slice(&piece[..read]);
        if read == 0 || is_whole(&request) {
            break;
        }
    }
    let hangs = {
        let mut state = state.lock().expect("nobody panicked");
        let next = state.exchanges + 1;
        state.hang.take_if(|at| *at == next).is_some()
    };
    if hangs {
        // Until the other side gives up.
        return from.read(&mut piece).map(drop);
    }
    let is_held = {
        let mut state = state.lock().expect("nobody panicked");
        let next = state.exchanges + 1;
        let is_held = state.hold.take_if(|at| *at == next).is_some();
        state.held |= is_held;
        is_held
    };
    while is_held && state.lock().expect("nobody panicked").held {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut to = TcpStream::connect(target)?;
    to.set_read_timeout(Some(PATIENCE))?;
    to.write_all(&request)?;
    let mut answer = Vec::new();
    to.read_to_end(&mut answer)?;
    let victim = {
        let mut state = state.lock().expect("nobody panicked");
        state.exchanges += 1;
        state.longest = state.longest.max(request.len());
        state.full_chunks += usize::from(request.len() > CHUNK_BYTES);
        let exchanges = state.exchanges;
        let victim = state.kill.take_if(|(at, _)| *at == exchanges);
        if victim.is_some() {
            state.target = None;
        }
        victim
    };
    if let Some((_, pid)) = victim {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        rustix::process::kill_process(pid, Signal::KILL).expect("our own child");
        return Ok(());
    }
    from.write_all(&answer)
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let header = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = header.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    request.len() >= end + 4 + length.unwrap_or(0_usize)
}

fn certificate(path: &Path) -> Certificate {
    Certificate::from_pem(&std::fs::read(path).expect("a file")).expect("a certificate")
}

/// An account that is nothing but OSCI certificates and an identifier.
fn stand_in(name: &str, identifier: &str, cipher: &Certificate, signature: Option<&Certificate>) -> Account {
    let fingerprint = |certificate: &Certificate| Digest(certificate.fingerprint().0);
    Account {
        name: AccountName::parse(name).expect("a name"),
        title: String::new(),
        blocked: false,
        keys: Vec::new(),
        identifiers: vec![PartyIdentifier::new(identifier).expect("an identifier")],
        accepts: None,
        rights: Rights::default(),
        profile: None,
        portal: Default::default(),
        osci: OsciParticipant {
            cipher: vec![CipherCertificate {
                fingerprint: fingerprint(cipher),
                identifier: None,
                certificate: Some(cipher.pem()),
                remark: None,
            }],
            signature: signature
                .map(|certificate| SignatureCertificate {
                    fingerprint: fingerprint(certificate),
                    certificate: Some(certificate.pem()),
                    remark: None,
                })
                .into_iter()
                .collect(),
            ..OsciParticipant::default()
        },
    }
}

/// One of the two offices of `init` stays, the other is somewhere else and somebody stands in for it.
fn replace_participant(folder: &Path, gone: &str, account: Account) {
    let file = folder.join("participants.toml");
    let text = std::fs::read_to_string(&file).expect("participants");
    let (mut accounts, profiles) = directory::parse(&text).expect("participants");
    accounts.retain(|account| account.name.as_str() != gone);
    accounts.push(account);
    let view = DirectoryView { revision: 0, accounts, profiles };
    std::fs::write(file, directory::export(&view).expect("exports")).expect("writes");
}

/// Believes the other office's authority too, and pushes without long pauses.
fn configure(folder: &Path, other: &Path, more: &str) {
    let tls = |of: &Path, file: &str| of.join("tls").join(file);
    std::fs::copy(tls(other, "ca.crt"), tls(folder, "other-ca.crt")).expect("copied");
    let config = folder.join("amtsbote.toml");
    let mut text = std::fs::read_to_string(&config).expect("the configuration");
    for (old, new) in [
        (
            "signature_anchors = [\"tls/ca.crt\"]",
            "signature_anchors = [\"tls/ca.crt\", \"tls/other-ca.crt\"]",
        ),
        ("cipher_anchors = [\"tls/ca.crt\"]", "cipher_anchors = [\"tls/ca.crt\", \"tls/other-ca.crt\"]"),
        ("push_backoff_first_seconds = 10", "push_backoff_first_seconds = 1"),
    ] {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    let osci = text.find("[osci]").expect("a section");
    let (before, section) = text.split_at(osci);
    // Both authorities bear one name, so a list of the one would be taken for a list of the other.
    let section = section.replacen("crls = [\"tls/ca.crl\"]", "crls = []", 1);
    std::fs::write(config, format!("{before}{section}{more}")).expect("writes");
}

struct World {
    /// Where messages are posted, and where their reader is.
    here: Office,
    there: Office,
    middleman: Middleman,
}

impl World {
    fn open() -> Self {
        Self::open_with(|intermediary| intermediary)
    }

    /// `change` alters the `[[intermediary]]` of the office here.
    fn open_with(change: impl FnOnce(String) -> String) -> Self {
        Self::furnished(change, |_| ())
    }

    /// `finish` sees the folder of the office here before it starts.
    fn furnished(change: impl FnOnce(String) -> String, finish: impl FnOnce(&Path)) -> Self {
        let middleman = Middleman::open();
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (here_folder, there_folder) = (one.path().to_owned(), other.path().to_owned());
        let mut there = None;
        let intermediary = change(format!(
            "\n[[intermediary]]\nurl = \"http://{}/\"\ncipher_certificate = \"{other}/tls/osci-cipher.crt\"\n\
             signature_certificate = \"{other}/tls/osci-signature.crt\"\nown_cipher_certificate = \"tls/osci-cipher.crt\"\n\
             own_cipher_key = \"tls/osci-cipher.key\"\nown_signature_certificate = \"tls/osci-signature.crt\"\n\
             own_signature_key = \"tls/osci-signature.key\"\n\
             readers = [{{ mailbox = \"{READER}\", certificate = \"{other}/tls/meldebehoerde-cipher.crt\" }}]\n",
            middleman.address,
            other = there_folder.display(),
        ));
        let here = Office::open_in(one, |here| {
            there = Some(Office::open_in(other, |there| {
                let tls = here.join("tls");
                let (cipher, signature) =
                    (certificate(&tls.join("osci-cipher.crt")), certificate(&tls.join("osci-signature.crt")));
                // The office here speaks there for whoever posts with it.
                let account = stand_in("office-here", AUTHOR, &cipher, Some(&signature));
                replace_participant(there, "standesamt", account);
                configure(there, &here_folder, "");
            }));
            let reader = certificate(&there_folder.join("tls").join("meldebehoerde-cipher.crt"));
            replace_participant(here, "meldebehoerde", stand_in("reader-there", READER, &reader, None));
            configure(here, &there_folder, &intermediary);
            finish(here);
        });
        let world = Self { here, there: there.expect("opened"), middleman };
        world.middleman.leads_to(&world.there);
        world
    }

    fn state(&self, id: &str) -> String {
        let card = self.here.run(&["card", "show", id, "--json"]).ends(0).json();
        card["state"].as_str().expect("a state").to_owned()
    }

    fn waits_for(&self, what: &str, mut seen: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !seen(self) {
            let log = std::fs::read_to_string(self.here.path("server.log")).expect("a log");
            assert!(begun.elapsed() < PATIENCE, "not {what}: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_received(&self, id: &str) {
        self.waits_for("received", |world| world.state(id) == "received");
    }

    /// What lies there for the reader.
    fn waiting_there(&self) -> u64 {
        let mailboxes = self.there.run(&["mailbox", "list", "--json"]).ends(0).json();
        let mailboxes = mailboxes.as_array().expect("a list");
        let own = mailboxes.iter().find(|mailbox| mailbox["name"] == READER);
        own.map_or(0, |mailbox| mailbox["waiting"].as_u64().expect("a number"))
    }
}

#[test]
fn a_reader_at_another_post_office_gets_it_by_either_protocol() {
    let world = World::open();
    // Posted by XTA here, fetched by XTA there.
    let id = world.here.post(NOTICE);
    world.is_received(&id);
    let got = world.there.run_as("meldebehoerde", &["fetch", "--into", "by-xta", "--json"]).ends(0).json();
    assert_eq!((&got[0]["author"], &got[0]["reader"]), (&AUTHOR.into(), &READER.into()), "{got:#}");
    let file = got[0]["files"][0].as_str().expect("a file");
    assert_eq!(std::fs::read_to_string(world.there.path(file)).expect("is there"), NOTICE);
    let trace = world.here.run(&["message", "trace", &id]).ends(0).stdout;
    let theirs = got[0]["id"].as_str().expect("an id");
    assert!(trace.contains(&format!("took it as {theirs}")) && trace.contains(", created 2"), "{trace}");
    assert!(trace.contains("handed-out") || trace.contains("handed out"), "{trace}");

    // Posted by OSCI here, signed by its author; fetched by OSCI there, where the signature holds.
    let photo: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(world.here.path("photo.bin"), &photo).expect("writes");
    let reader = world.there.path("tls").join("meldebehoerde-cipher.crt").display().to_string();
    let arguments = ["send", "notice.xml", "photo.bin", "--to-cert", &reader, "--subject", "Geburt"];
    let id = world.here.run_osci_as("standesamt", &arguments).ends(0).stdout.trim().to_owned();
    world.is_received(&id);
    let got = world.there.run_osci_as("meldebehoerde", &["fetch", "--into", "by-osci", "--json"]);
    let got = got.ends(0).json();
    assert_eq!((got.as_array().map(Vec::len), &got[0]["subject"]), (Some(1), &"Geburt".into()), "{got:#}");
    let signature = &got[0]["signatures"][0];
    assert_eq!(signature["outcome"], "holds", "{got:#}");
    assert!(signature["by"].as_str().expect("a name").contains("standesamt signature"), "{got:#}");
    let files = got[0]["files"].as_array().expect("files").iter();
    let files: Vec<_> = files
        .map(|file| std::fs::read(world.there.path(file.as_str().expect("a path"))).expect("is there"))
        .collect();
    assert!(files == [NOTICE.as_bytes(), &photo]);
    let log = std::fs::read_to_string(world.here.path("server.log")).expect("a log");
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
    world.here.run(&["check"]).ends(0);
}

/// It stands still while its message is on the way; when it is woken, another relay has long taken the lease and handed it
/// over.
#[test]
fn a_relay_that_stands_still_past_its_lease_doubles_nothing() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("leases");
    let world = World::furnished(
        |intermediary| intermediary,
        |folder| {
            let file = folder.join("amtsbote.toml");
            let text = std::fs::read_to_string(&file).expect("the configuration");
            std::fs::write(file, in_database(&text, &connection, "relay-1")).expect("written");
        },
    );
    // initDialog and getMessageId pass; storeDelivery is on the way for long.
    world.middleman.set(|state| state.hold = Some(3));
    let id = world.here.post(NOTICE);
    world.waits_for("on the way", |world| world.middleman.see(|state| state.held));
    world.here.signal(Signal::STOP);
    let held = world.middleman.see(|state| state.exchanges);

    // The lease is over, by the database's clock.
    cluster.sql("leases", "UPDATE amtsbote.message SET push_at = 0 WHERE push_leased");
    let second = world.here.beside(|text| text.replace("relay-1", "relay-2"));
    let card = || second.run(&["card", "show", &id, "--json"]).ends(0).json();
    world.waits_for("received", |_| card()["state"] == "received");
    assert_eq!(world.waiting_there(), 1);
    assert!(world.middleman.see(|state| state.held && state.exchanges > held));
    let before = card();

    world.middleman.set(|state| state.held = false);
    world.here.signal(Signal::CONT);
    let log = || std::fs::read_to_string(world.here.path("server.log")).expect("a log");
    world.waits_for("told of", |_| ["pushed", "push failed"].iter().any(|words| log().contains(words)));
    assert_eq!(world.waiting_there(), 1, "{}", log());
    assert_eq!(card(), before, "{}", log());
    assert!(!log().contains("ERROR"), "{}", log());
}

#[test]
fn whatever_breaks_between_two_post_offices_doubles_nothing() {
    let mut world = World::open();
    world.middleman.set(|state| state.target = None);
    let first = world.here.post(NOTICE);
    world.waits_for("tried", |world| world.middleman.see(|state| state.refused > 0));
    assert_eq!(world.state(&first), "waiting");
    world.middleman.leads_to(&world.there);
    // initDialog, getMessageId, storeDelivery are answered; that exitDialog is not takes nothing back.
    world.middleman.set(|state| state.hang = Some(state.exchanges + 4));
    world.is_received(&first);
    assert_eq!(world.waiting_there(), 1);
    world.waits_for("exitDialog", |world| world.middleman.see(|state| state.hang.is_none()));

    // initDialog, getMessageId, storeDelivery: after the third answer the other process is no more.
    let pid = world.there.pid();
    world.middleman.set(|state| state.kill = Some((state.exchanges + 3, pid)));
    let second = world.here.post(NOTICE);
    world.waits_for("ended", |world| world.middleman.see(|state| state.kill.is_none()));
    assert_ne!(world.state(&second), "received");
    world.there.start_again();
    assert_eq!(world.waiting_there(), 2, "it had been stored before the process ended");
    // Our own end in the meantime changes nothing: what was noted is on disk.
    world.here.signal(Signal::KILL);
    world.here.start_again();
    world.middleman.leads_to(&world.there);
    world.is_received(&second);
    assert_eq!(world.waiting_there(), 2, "and was not stored again");
}

#[test]
fn what_is_too_large_for_one_piece_goes_in_chunks_and_is_resumed() {
    let mut world = World::open_with(|intermediary| format!("{intermediary}chunk_kilobytes = 64\n"));
    let photo: Vec<u8> = (0..280_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(world.here.path("photo.bin"), &photo).expect("writes");
    std::fs::write(world.here.path("notice.xml"), NOTICE).expect("writes");
    // initDialog, getMessageId, InfoOnly and two chunks: the second was kept there, and its answer is never heard.
    let pid = world.there.pid();
    world.middleman.set(|state| state.kill = Some((state.exchanges + 5, pid)));
    let reader = world.there.path("tls").join("meldebehoerde-cipher.crt").display().to_string();
    let arguments = ["send", "notice.xml", "photo.bin", "--to-cert", &reader];
    let id = world.here.run_osci_as("standesamt", &arguments).ends(0).stdout.trim().to_owned();
    world.waits_for("ended", |world| world.middleman.see(|state| state.kill.is_none()));
    assert_eq!(world.middleman.see(|state| state.full_chunks), 2);
    assert_ne!(world.state(&id), "received");
    // Both ends are interrupted; what is on its way lies on the disks of both.
    world.here.signal(Signal::KILL);
    world.there.start_again();
    assert_eq!(world.waiting_there(), 0);
    world.here.start_again();
    world.middleman.leads_to(&world.there);
    world.is_received(&id);
    assert_eq!(world.waiting_there(), 1);
    // 280 kB and their envelope are five chunks, the last of them not full: none went twice.
    let (full, longest) = world.middleman.see(|state| (state.full_chunks, state.longest));
    assert_eq!(full, 4);
    assert!(longest < 2 * CHUNK_BYTES, "a request of {longest} bytes");
    let outgoing = std::fs::read_dir(world.here.path("store/incoming/outgoing")).map(|files| files.count());
    assert_eq!(outgoing.ok(), Some(0), "nothing is left of it");
    let got = world.there.run_osci_as("meldebehoerde", &["fetch", "--into", "by-osci", "--json"]);
    let got = got.ends(0).json();
    assert_eq!(got[0]["signatures"][0]["outcome"], "holds", "{got:#}");
    let files = got[0]["files"].as_array().expect("files").iter();
    let files: Vec<_> = files
        .map(|file| std::fs::read(world.there.path(file.as_str().expect("a path"))).expect("is there"))
        .collect();
    assert!(files == [NOTICE.as_bytes(), &photo]);
}

/// Posts what goes in five chunks.
fn post_in_chunks(world: &World) -> String {
    let photo: Vec<u8> = (0..280_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(world.here.path("photo.bin"), &photo).expect("writes");
    let reader = world.there.path("tls").join("meldebehoerde-cipher.crt").display().to_string();
    let arguments = ["send", "photo.bin", "--to-cert", &reader];
    world.here.run_osci_as("standesamt", &arguments).ends(0).stdout.trim().to_owned()
}

/// Messages that wait here to go on in chunks.
fn outgoing(world: &World) -> usize {
    let files = std::fs::read_dir(world.here.path("store/incoming/outgoing"));
    files.map_or(0, |files| files.count())
}

#[test]
fn what_the_other_took_unheard_leaves_no_file() {
    let mut world = World::open_with(|intermediary| format!("{intermediary}chunk_kilobytes = 64\n"));
    // initDialog, getMessageId, InfoOnly and all five chunks, of which the answer to the last is never heard.
    let pid = world.there.pid();
    world.middleman.set(|state| state.kill = Some((state.exchanges + 8, pid)));
    let id = post_in_chunks(&world);
    world.waits_for("ended", |world| world.middleman.see(|state| state.kill.is_none()));
    assert_eq!((outgoing(&world), world.middleman.see(|state| state.full_chunks)), (1, 4));
    world.there.start_again();
    assert_eq!(world.waiting_there(), 1, "it had been taken");
    world.middleman.leads_to(&world.there);
    world.is_received(&id);
    assert_eq!((world.waiting_there(), outgoing(&world)), (1, 0));
}

#[test]
fn what_the_other_refuses_when_it_is_asked_leaves_no_file() {
    let mut world = World::open_with(|intermediary| format!("{intermediary}chunk_kilobytes = 64\n"));
    // Every chunk is kept there, and the message inside cannot be: that is the other's own fault, and the chunks stay.
    let (payloads, away) = (world.there.path("store/payloads"), world.there.path("store/payloads-away"));
    std::fs::rename(&payloads, &away).expect("renamed");
    let id = post_in_chunks(&world);
    let asked_again = |world: &World| world.middleman.see(|state| (state.full_chunks, state.exchanges));
    world.waits_for("asked again", |world| matches!(asked_again(world), (4, exchanges) if exchanges >= 11));
    assert_eq!((world.state(&id).as_str(), outgoing(&world)), ("waiting", 1));
    // Then it takes only less, and says so.
    world.there.signal(Signal::KILL);
    std::fs::rename(&away, &payloads).expect("renamed");
    let config = world.there.path("amtsbote.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let smaller = text.lines().map(|line| match line.starts_with("content_bytes_max") {
        true => "content_bytes_max = 100000",
        false => line,
    });
    std::fs::write(&config, smaller.collect::<Vec<_>>().join("\n")).expect("writes");
    world.there.start_again();
    world.middleman.leads_to(&world.there);
    world.waits_for("refused", |world| world.state(&id) == "dead");
    let full = world.middleman.see(|state| state.full_chunks);
    assert_eq!((full, world.waiting_there(), outgoing(&world)), (4, 0, 0));
}

#[test]
fn a_wrong_certificate_of_the_other_stops_everything() {
    for (from, to, words) in [
        ("{other}/tls/osci-cipher.crt", "tls/osci-cipher.crt", "intermediary.cipher_certificate"),
        ("{other}/tls/osci-signature.crt", "tls/osci-signature.crt", "intermediary.signature_certificate"),
    ] {
        let mut other = String::new();
        let world = World::open_with(|text| {
            let key = words.trim_start_matches("intermediary.");
            let line = text.lines().find(|line| line.starts_with(key)).expect("a line").to_owned();
            other.clone_from(&line);
            text.replacen(&line, &format!("{key} = \"{to}\""), 1)
        });
        assert!(other.ends_with(&format!("{}\"", from.trim_start_matches("{other}"))), "{other}");
        let content = format!("<notice>{}</notice>", "x".repeat(100_000));
        let id = world.here.post(&content);
        world.waits_for("said", |world| {
            let log = std::fs::read_to_string(world.here.path("server.log")).expect("a log");
            log.lines().any(|line| line.contains("WARN") && line.contains(words))
        });
        assert_eq!((world.state(&id).as_str(), world.waiting_there()), ("waiting", 0), "{words}");
        assert!(world.middleman.see(|state| state.longest) < 50_000, "no content left the house");
    }
}
