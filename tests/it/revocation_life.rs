//! A certificate is revoked while the server runs: lists and a responder on loopback, the whole server in between.
//!
//! The server's clock is set by hand, so that an hour until the next look at a list takes no hour. The responder's
//! answers are OpenSSL's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amtsbote::app::{App, Running};
use amtsbote::clock::{Clock, HandClock, SystemClock};
use amtsbote::config::Config;
use amtsbote::domain::account::{Account, AccountKey, AccountName};
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::client_config;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::store::AdminAct;
use amtsbote::xta::client::{Client, Settings as ClientSettings};

use crate::tools;

/// The server looks what is to do every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn openssl(folder: &Path, arguments: &str) {
    let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("runs");
    assert!(ran.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// What the world says of revocation, over HTTP.
struct World {
    address: String,
    folder: PathBuf,
    list: Mutex<Vec<u8>>,
    /// Takes questions and never answers.
    dead: AtomicBool,
    asked: AtomicUsize,
}

impl World {
    fn start(folder: &Path) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let world = Arc::new(Self {
            address: listener.local_addr().expect("an address").to_string(),
            folder: folder.to_owned(),
            list: Mutex::default(),
            dead: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        let serving = world.clone();
        // Ends with the process; every request is short, but for those that are left hanging.
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming().take(1000).flatten() {
                match serving.dead.load(Ordering::SeqCst) {
                    true => {
                        serving.asked.fetch_add(1, Ordering::SeqCst);
                        hanging.push(stream);
                    }
                    false => serving.answer(stream),
                }
            }
        });
        world
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).expect("a request");
        let is_question = line.starts_with("POST");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).expect("a header");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
        }
        let body = match is_question {
            false => self.list.lock().expect("a list").clone(),
            true => {
                let mut question = vec![0; length];
                reader.read_exact(&mut question).expect("a question");
                std::fs::write(self.folder.join("question"), question).expect("writes");
                let files = "-index index.txt -CA ca.crt -rsigner ca.crt -rkey ca.key -reqin question";
                openssl(&self.folder, &format!("ocsp {files} -respout response -nmin 12"));
                std::fs::read(self.folder.join("response")).expect("an answer")
            }
        };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    }

    /// `V` or `R` for the two participants; a new list too.
    fn says(&self, listed: char, asked: char) {
        let entry = |state: char, serial: u32| {
            let revoked = if state == 'R' { "261101000000Z" } else { "" };
            format!("{state}\t20991231235959Z\t{revoked}\t{serial}\tunknown\t/CN={serial}\n")
        };
        std::fs::write(self.folder.join("index.txt"), entry(listed, 1001) + &entry(asked, 1002))
            .expect("writes");
        let list = "ca -config x.cnf -name books -gencrl -cert ca.crt -keyfile ca.key -out ca.crl";
        openssl(&self.folder, list);
        openssl(&self.folder, "crl -in ca.crl -outform DER -out ca.der");
        *self.list.lock().expect("a list") = std::fs::read(self.folder.join("ca.der")).expect("readable");
    }

    fn make_certificates(&self) {
        let extensions = format!(
            "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n\
             [server]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\n\
             [listed]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=clientAuth\n\
             [asked]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=clientAuth\nauthorityInfoAccess=OCSP;URI:http://{}/\n\
             [books]\ndatabase=index.txt\ndefault_md=sha256\ncrlnumber=number\ndefault_crl_days=30\n",
            self.address
        );
        std::fs::write(self.folder.join("x.cnf"), extensions).expect("writes");
        std::fs::write(self.folder.join("number"), "02\n").expect("writes");
        for name in ["ca", "server", "listed", "asked"] {
            let folder = &self.folder;
            openssl(
                folder,
                &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"),
            );
            openssl(folder, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
            let signer = match name {
                "ca" => "-signkey ca.key -days 999".to_owned(),
                _ => {
                    let serial = if name == "listed" { "0x1001" } else { "0x1002" };
                    let serial = if name == "server" { "0x1000" } else { serial };
                    format!("-CA ca.crt -CAkey ca.key -set_serial {serial} -days 998")
                }
            };
            openssl(
                folder,
                &format!(
                    "x509 -req -in {name}.csr {signer} -extfile x.cnf -extensions {name} -out {name}.crt"
                ),
            );
        }
    }
}

/// What the server logs, for the thread that runs it.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

struct Office {
    running: Running,
    clock: HandClock,
    world: Arc<World>,
}

impl Office {
    async fn open(folder: &Path, revocation: impl FnOnce(&World) -> String) -> Self {
        let world = World::start(folder);
        world.make_certificates();
        world.says('V', 'V');
        let text = format!(
            "[server]\noperator_address = \"127.0.0.1:0\"\n[xta]\naddress = \"127.0.0.1:0\"\n\
             [tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\nanchors = [\"ca.crt\"]\n\
             [limits]\ndisk_reserve_bytes = 0\n[revocation]\nhosts = [\"{}\"]\nfetch_seconds = 3\n{}",
            world.address,
            revocation(&world)
        );
        let config = Config::parse(&text, &folder.join("amtsbote.toml")).expect("well-formed");
        let clock = HandClock::at(SystemClock.now());
        let running = App::start_at(config, Arc::new(clock.clone())).await.expect("starts");
        let accounts = ["listed", "asked"].map(|name| {
            let pem = std::fs::read(folder.join(format!("{name}.crt"))).expect("readable");
            let key = Certificate::from_pem(&pem).expect("a certificate").key_fingerprint();
            Account {
                name: AccountName::parse(name).expect("a name"),
                title: String::new(),
                blocked: false,
                keys: vec![AccountKey { key, certificate: None, remark: None }],
                identifiers: vec![PartyIdentifier::new(&format!("ags:{name}")).expect("an identifier")],
                accepts: None,
                rights: Default::default(),
                profile: None,
                osci: Default::default(),
                portal: Default::default(),
            }
        });
        let word = || "test".to_owned();
        let act = AdminAct { at: clock.now(), by: word(), act: word(), object: word(), reason: word() };
        let revision = running.store().directory().await.expect("a directory").revision();
        running.store().apply_directory(revision, accounts.into(), vec![], act).await.expect("applied");
        running.reload().await.expect("reloaded");
        Self { running, clock, world }
    }

    /// Whether `name` is let in, and how long that took.
    async fn lets_in(&self, name: &str) -> (Result<(), String>, Duration) {
        let read = |ending: &str| std::fs::read(self.world.folder.join(format!("{name}.{ending}")));
        let identity = Identity::from_pem(&read("crt").expect("readable"), &read("key").expect("readable"));
        let ca = std::fs::read(self.world.folder.join("ca.crt")).expect("readable");
        let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, &ca).expect("anchors").build();
        let identity = identity.expect("an identity");
        let tls = client_config(Arc::new(anchors), Some(&identity), Arc::new(SystemClock)).expect("TLS");
        let url = format!("https://localhost:{}/", self.running.xta_address.port());
        let client = Client::new(ClientSettings::new(&url, Arc::new(tls))).expect("a client");
        let begun = Instant::now();
        let outcome = client.create_message_id().await.map(drop).map_err(|error| error.to_string());
        (outcome, begun.elapsed())
    }

    async fn until_refused(&self, name: &str) -> String {
        let begun = Instant::now();
        loop {
            if let (Err(why), _) = self.lets_in(name).await {
                return why;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is still let in");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn until_asked(&self, more_than: usize) {
        let begun = Instant::now();
        while self.world.asked.load(Ordering::SeqCst) <= more_than {
            assert!(begun.elapsed() < PATIENCE, "nobody was asked");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub fn listening() -> (Said, tracing::subscriber::DefaultGuard) {
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone());
    (said, tracing::subscriber::set_default(subscriber.finish()))
}

fn openssl_is_absent() -> bool {
    !tools::is_here(
        "openssl",
        &["version"],
        "lists and answers that change while the server runs are not asked for",
    )
}

#[tokio::test]
async fn a_certificate_on_a_newer_list_is_refused_without_a_restart() {
    if openssl_is_absent() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (said, _listening) = listening();
    let office =
        Office::open(folder.path(), |world| format!("lists = [\"http://{}/ca.crl\"]\n", world.address)).await;
    office.until_asked(0).await;
    assert_eq!(office.lets_in("listed").await.0, Ok(()));
    office.world.says('R', 'V');
    assert_eq!(office.lets_in("listed").await.0, Ok(()), "the newer list is not due yet");
    office.clock.advance(Duration::from_secs(3601));
    let why = office.until_refused("listed").await;
    assert_eq!(office.lets_in("asked").await.0, Ok(()), "the other one goes on");
    let log = said.text();
    assert!(why.contains("9010") || why.contains("9011") || why.contains("9012"), "{why}");
    assert!(log.contains("certificate-refused") && log.contains("account listed"), "{log}");
    assert!(log.contains(": revoked, account listed") && log.contains("cert roll-over participant"), "{log}");
    assert!(!log.contains("CN=") && !log.contains("from 127.0.0.1"), "no personal data: {log}");
    let lines = |text: &str| text.matches("certificate-refused").count();
    let before = lines(&log);
    for _ in 0..3 {
        assert!(office.lets_in("listed").await.0.is_err());
    }
    assert_eq!(lines(&said.text()), before, "said once in an hour");

    // A list that cannot be fetched is told, and what is known stays.
    *office.world.list.lock().expect("a list") = b"nonsense".to_vec();
    office.clock.advance(Duration::from_secs(3601));
    let begun = Instant::now();
    while !said.text().contains("revocation-list-not-fetched") {
        assert!(begun.elapsed() < PATIENCE, "{}", said.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(office.lets_in("listed").await.0.is_err());
    office.running.stop().await;
}

#[tokio::test]
async fn a_certificate_that_its_responder_revokes_is_refused_and_a_dead_one_holds_nobody_up() {
    if openssl_is_absent() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (said, _listening) = listening();
    let office = Office::open(folder.path(), |_| "ocsp = true\n".to_owned()).await;
    office.world.dead.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let (outcome, took) = office.lets_in("asked").await;
        assert_eq!(outcome, Ok(()));
        assert!(took < Duration::from_millis(2500), "{took:?}");
    }
    office.until_asked(0).await;
    let (outcome, took) = office.lets_in("asked").await;
    assert_eq!(outcome, Ok(()), "while the responder is silent");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    let begun = Instant::now();
    while !said.text().contains("ocsp-no-answer") {
        assert!(begun.elapsed() < PATIENCE, "the operator is not told: {}", said.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    office.world.dead.store(false, Ordering::SeqCst);
    let before = office.world.asked.load(Ordering::SeqCst);
    office.clock.advance(Duration::from_secs(301));
    assert_eq!(office.lets_in("asked").await.0, Ok(()));
    office.until_asked(before).await;
    office.world.says('V', 'R');
    assert_eq!(office.lets_in("asked").await.0, Ok(()), "asked again when half of the answer's time is over");
    office.clock.advance(Duration::from_secs(361));
    let why = office.until_refused("asked").await;
    assert!(why.contains("9010") || why.contains("9011") || why.contains("9012"), "{why}");
    assert_eq!(office.lets_in("listed").await.0, Ok(()), "the other one goes on");
    assert!(said.text().contains("certificate-refused"), "{}", said.text());
    office.running.stop().await;
}
