//! A post office with an OSCI door on a real socket, and clients that write their requests with the door's own writer.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use amtsbote::app::metadata::XtaMetadata;
use amtsbote::clock::HandClock;
use amtsbote::domain::account::{
    Account, AccountName, CipherCertificate, OsciParticipant, Rights, SignatureCertificate,
};
use amtsbote::domain::content::Digest;
use amtsbote::domain::limits::Limits;
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::mime::content_id::ContentId;
use amtsbote::mime::transfer::TransferEncoding;
use amtsbote::mime::write::Boundary;
use amtsbote::net::{Bounds, Handler, Listener, Peer, Permits, Serving};
use amtsbote::osci::envelope::encrypted::{self, Algorithms, OwnKey, PreparedSealed};
use amtsbote::osci::envelope::fault::Fault;
use amtsbote::osci::envelope::read::{self, Incoming, Received};
use amtsbote::osci::envelope::scope::Scope;
use amtsbote::osci::envelope::write::{Outgoing, OutgoingAttachment, Prepared, Signing};
use amtsbote::osci::message::Message;
use amtsbote::osci::message::certificates::{Certificate as Shown, NonIntermediaryCertificates, Role};
use amtsbote::osci::message::control_block::{Challenge, ControlBlock, ConversationId};
use amtsbote::osci::message::feature_description::{Feature, FeatureDescription};
use amtsbote::osci::message::kind::{Kind, Operation};
use amtsbote::osci::message::languages::DesiredLanguages;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::store_delivery::StoreDelivery;
use amtsbote::osci::message::timestamp_quality::TimestampQualities;
use amtsbote::osci::server::{CipherIdentity, Door, InForce, Settings, SignatureIdentity};
use amtsbote::pki::certificate::{Certificate, KeyKind};
use amtsbote::pki::development::{Authority, KeyChoice, Leaf, Role as KeyRole, Validity};
use amtsbote::pki::inspection::{Purpose, UnknownRevocation};
use amtsbote::pki::key::PrivateKey;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::relay::{self, Relay};
use amtsbote::store::embedded::{EmbeddedStore, Settings as StoreSettings, Synchronous};
use amtsbote::store::{AdminAct, Entry, Store};
use amtsbote::xml::dsig::sign::SigningKey;
use amtsbote::xml::dsig::{DigestMethod, SignatureMethod};
use amtsbote::xml::enc::{ContentMethod, IvLength, KeyTransport, Policy, RecipientKey};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const AUTHOR: &str = "ags:10041100";
pub const READER: &str = "ags:10041200";
pub const IDLE: Duration = Duration::from_secs(900);
pub const PACKAGE: &str = "<osci:ContentPackage><osci:ContentContainer Id=\"container0\"><osci:Content>\
    <osci:Base64Content Id=\"content0\">R3LDvMOf\nZQ==</osci:Base64Content></osci:Content><osci:Content \
    Id=\"content1\" href=\"cid:a.txt\"></osci:Content></osci:ContentContainer></osci:ContentPackage>";
pub const ATTACHED: &[u8] = b"attached \r\n--MIME\0";

pub struct Keys {
    pub certificate: Certificate,
    pub pkcs8: Vec<u8>,
}

impl Keys {
    pub fn der(&self) -> Vec<u8> {
        self.certificate.der().as_ref().to_vec()
    }

    pub fn digest(&self) -> Digest {
        Digest(self.certificate.fingerprint().0)
    }
}

/// Made once: RSA keys take their time.
pub struct Cast {
    people: BTreeMap<&'static str, Keys>,
    anchor: Vec<u8>,
    revoked: Vec<u8>,
    revoked_later: Vec<u8>,
}

pub fn keys(name: &str) -> &'static Keys {
    &cast().people[name]
}

/// The authority of everybody but the untrusted, and its revocation list; both PEM.
#[allow(dead_code, reason = "used by the bench alone")]
pub fn authority() -> (&'static [u8], &'static [u8]) {
    (&cast().anchor, &cast().revoked)
}

/// Set before the first key is asked for, signatures are made with keys that take no time.
pub static QUICK: AtomicBool = AtomicBool::new(false);

fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(|| {
        let instant = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let validity =
            |until: &str| Validity { from: instant("2026-01-01T00:00:00Z"), until: instant(until) };
        // Also for a server that goes by the real time.
        let far = "2049-01-01T00:00:00Z";
        let authority =
            Authority::root("root", KeyChoice::P256, validity("2049-06-01T00:00:00Z")).expect("a root");
        let other =
            Authority::root("other", KeyChoice::P256, validity("2049-06-01T00:00:00Z")).expect("a root");
        let mut people = BTreeMap::new();
        let mut revoked = Vec::new();
        for (name, by, role, until) in [
            ("intermediary-cipher", &authority, KeyRole::Encryption, far),
            ("intermediary-signature", &authority, KeyRole::Signature, far),
            ("author-cipher", &authority, KeyRole::Encryption, far),
            ("author-signature", &authority, KeyRole::Signature, far),
            ("reader-cipher", &authority, KeyRole::Encryption, far),
            ("reader-signature", &authority, KeyRole::Signature, far),
            ("stranger-cipher", &authority, KeyRole::Encryption, far),
            ("stranger-signature", &authority, KeyRole::Signature, far),
            ("untrusted-cipher", &other, KeyRole::Encryption, far),
            ("untrusted-signature", &other, KeyRole::Signature, far),
            ("expired-cipher", &authority, KeyRole::Encryption, "2026-11-01T00:00:00Z"),
            ("expired-signature", &authority, KeyRole::Signature, "2026-11-01T00:00:00Z"),
            ("revoked-cipher", &authority, KeyRole::Encryption, far),
            ("revoked-signature", &authority, KeyRole::Signature, far),
            ("elliptic-cipher", &authority, KeyRole::Encryption, far),
            ("elliptic-signature", &authority, KeyRole::Signature, far),
        ] {
            let quick =
                role == KeyRole::Signature && (QUICK.load(Ordering::Relaxed) || name.starts_with("elliptic"));
            let key = if quick { KeyChoice::P256 } else { KeyChoice::Rsa2048 };
            let leaf = Leaf { common_name: name, role, key, validity: validity(until), names: &[] };
            let issued = by.issue(&leaf).expect("a certificate");
            if name.starts_with("revoked") {
                revoked.push(issued.certificate().clone());
            }
            let private = PrivateKey::from_pem(issued.key_pem().as_bytes()).expect("a key");
            let pkcs8 = private.pkcs8_der().expect("PKCS #8").to_vec();
            people.insert(name, Keys { certificate: issued.certificate().clone(), pkcs8 });
        }
        let mut revoked: Vec<_> = revoked.iter().collect();
        let list = authority.revocation_list(1, validity(far), &revoked).expect("a list");
        revoked.push(&people["reader-cipher"].certificate);
        let later = authority.revocation_list(2, validity(far), &revoked).expect("a list");
        Cast {
            anchor: authority.certificate().pem().into_bytes(),
            revoked: list.into_bytes(),
            revoked_later: later.into_bytes(),
            people,
        }
    })
}

pub struct Office {
    pub clock: HandClock,
    pub relay: Arc<Relay>,
    pub store: Arc<EmbeddedStore>,
    pub port: u16,
    pub door: Arc<Door>,
    forced: Arc<Mutex<Arc<InForce>>>,
    serving: Serving,
    settings: Settings,
    synchronous: Synchronous,
    folder: Arc<tempfile::TempDir>,
}

/// What the office knows of revocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    OfToday,
    /// The reader's cipher certificate was revoked meanwhile.
    OfLater,
    /// None, and what that means.
    Missing(UnknownRevocation),
    /// None for signatures, which are refused then.
    MissingForSignatures,
}

fn in_force(lists: Lists) -> Arc<InForce> {
    let cast = cast();
    let mut builder = TrustAnchors::builder();
    for purpose in [Purpose::OsciSignature, Purpose::OsciEncryption] {
        builder = builder.anchors(purpose, &cast.anchor).expect("an anchor");
        builder = match lists {
            Lists::OfToday => builder.revocation_lists(purpose, &cast.revoked).expect("a list"),
            Lists::OfLater => builder.revocation_lists(purpose, &cast.revoked_later).expect("a list"),
            Lists::Missing(policy) => builder.unknown_revocation(purpose, policy),
            Lists::MissingForSignatures if purpose == Purpose::OsciSignature => {
                builder.unknown_revocation(purpose, UnknownRevocation::Refuse)
            }
            Lists::MissingForSignatures => builder.revocation_lists(purpose, &cast.revoked).expect("a list"),
        };
    }
    let (cipher, signature) = (keys("intermediary-cipher"), keys("intermediary-signature"));
    Arc::new(InForce {
        anchors: Arc::new(builder.build()),
        cipher: Arc::from([CipherIdentity {
            certificate: cipher.certificate.clone(),
            key: RecipientKey::from_pkcs8(&cipher.pkcs8).expect("a key"),
        }]),
        signature: Arc::new(SignatureIdentity {
            certificate: signature.certificate.clone(),
            key: SigningKey::from_pkcs8(&signature.pkcs8).expect("a key"),
        }),
        recipients: None,
    })
}

pub fn account(name: &'static str, identifier: &str) -> Account {
    let keys_of = |purpose: &str| keys(&format!("{name}-{purpose}"));
    Account {
        name: AccountName::parse(name).expect("a name"),
        title: String::new(),
        blocked: name == "blocked",
        keys: Vec::new(),
        identifiers: vec![PartyIdentifier::new(identifier).expect("an identifier")],
        accepts: None,
        rights: Rights { foreign_message_ids: true, ..Rights::default() },
        profile: None,
        portal: Default::default(),
        osci: OsciParticipant {
            cipher: vec![CipherCertificate {
                fingerprint: keys_of("cipher").digest(),
                identifier: None,
                certificate: None,
                remark: None,
            }],
            signature: vec![SignatureCertificate {
                fingerprint: keys_of("signature").digest(),
                certificate: None,
                remark: None,
            }],
            ..OsciParticipant::default()
        },
    }
}

impl Office {
    pub async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    pub async fn open_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::open_in(tempfile::tempdir().expect("a folder"), Synchronous::Full, change).await
    }

    /// In memory, where there is room for that: for many short lives.
    pub async fn open_quickly() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
        Self::open_in(folder.expect("a folder"), Synchronous::Normal, |_| ()).await
    }

    async fn open_in(
        folder: tempfile::TempDir,
        synchronous: Synchronous,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let folder = Arc::new(folder);
        let mut settings = Settings {
            path: "/".to_owned(),
            spool_folder: folder.path().join("incoming"),
            chunk_folder: folder.path().join("chunks"),
            limits: Limits::default(),
            inside_wait: Duration::from_secs(20),
            dialog_idle: IDLE,
            unproven_senders: false,
            unproven: Default::default(),
            policy: encrypted::policy(),
            push: Default::default(),
        };
        change(&mut settings);
        let clock = HandClock::at("2026-11-23T10:00:00Z".parse().expect("an instant"));
        let office = Self::start(folder, clock, settings, synchronous).await;
        let accounts = [
            ("author", AUTHOR),
            ("reader", READER),
            ("expired", "ags:3"),
            ("revoked", "ags:4"),
            ("untrusted", "ags:5"),
        ];
        office.apply(accounts.iter().map(|(name, identifier)| account(name, identifier)).collect()).await;
        office
    }

    async fn start(
        folder: Arc<tempfile::TempDir>,
        clock: HandClock,
        settings: Settings,
        synchronous: Synchronous,
    ) -> Self {
        let place = folder.path().join("store");
        let stored = StoreSettings { disk_reserve_bytes: 0, synchronous, ..StoreSettings::new(place) };
        let store = Arc::new(EmbeddedStore::open(stored).expect("a store"));
        let relay_settings = relay::Settings {
            limits: settings.limits,
            ..relay::Settings::new("post", "https://post.example/")
        };
        let relay = Relay::new(store.clone(), Arc::new(clock.clone()), relay_settings);
        relay.reload_directory().await.expect("a directory");
        let forced = Arc::new(Mutex::new(in_force(Lists::OfToday)));
        let source = forced.clone();
        let door = Arc::new(Door::new(
            relay.clone(),
            Arc::new(move || source.lock().expect("not poisoned").clone()),
            Arc::new(XtaMetadata),
            settings.clone(),
        ));
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::plain(any, Bounds::default(), Permits::new(64)).await.expect("a listener");
        let port = listener.address().expect("an address").port();
        let serving = listener.serve(door.clone());
        Self { clock, relay, store, port, door, forced, serving, settings, synchronous, folder }
    }

    /// As a reload does.
    pub fn know(&self, lists: Lists) {
        *self.forced.lock().expect("not poisoned") = in_force(lists);
    }

    pub async fn apply(&self, accounts: Vec<Account>) {
        let act = AdminAct {
            at: "2026-11-23T10:00:00Z".parse().expect("an instant"),
            by: "test".to_owned(),
            act: "participant apply".to_owned(),
            object: "all".to_owned(),
            reason: "test".to_owned(),
        };
        let revision = self.store.directory().await.expect("a directory").revision();
        self.store.apply_directory(revision, accounts, Vec::new(), act).await.expect("applied");
        self.relay.reload_directory().await.expect("read");
    }

    /// Another process, as far as anybody can tell.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| ()).await
    }

    /// The same, with other settings.
    pub async fn restart_with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let Self { clock, store, serving, mut settings, synchronous, folder, relay, door, .. } = self;
        change(&mut settings);
        serving.drain().await;
        store.close().await.expect("closed");
        drop((store, relay, door));
        Self::start(folder, clock, settings, synchronous).await
    }

    /// Hands a request to the door without a socket.
    pub async fn hand_in(&self, body: Vec<u8>) -> Vec<u8> {
        let request = hyper::Request::post("/any/path").body(amtsbote::net::full(body)).expect("a request");
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), Arc::from([]));
        let answer = self.door.handle(request, &peer).await;
        http_body_util::BodyExt::collect(answer.into_body()).await.expect("an answer").to_bytes().to_vec()
    }

    pub async fn close(self) {
        self.serving.drain().await;
        self.store.close().await.expect("closed");
    }

    /// Where messages in chunks are kept.
    pub fn chunks(&self) -> &std::path::Path {
        &self.settings.chunk_folder
    }

    /// Where everything of this office lies.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Files that were left behind where messages wait.
    pub fn spooled(&self) -> usize {
        std::fs::read_dir(&self.settings.spool_folder).map_or(0, |files| files.count())
    }

    pub async fn entries(&self) -> Vec<Entry> {
        let query = amtsbote::store::MessageQuery { limit: 100, ..Default::default() };
        self.store.messages(&query).await.expect("messages")
    }

    pub async fn post(&self, body: &[u8]) -> Vec<u8> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        let head = format!(
            "POST /any/path HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // A refusal may come before everything was read.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..60.min(answer.len())])
        );
        let at = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a header");
        answer.split_off(at + 4)
    }
}

/// What came back.
pub enum Got {
    Fault(String),
    Answer(Box<Reply>),
}

pub struct Reply {
    pub received: Received,
    /// In the clear.
    pub bytes: Vec<u8>,
}

impl Got {
    /// Codes of the feedback, or `fault CODE`.
    pub fn codes(&self) -> Vec<String> {
        match self {
            Self::Fault(code) => vec![format!("fault {code}")],
            Self::Answer(reply) => reply.codes(),
        }
    }

    #[track_caller]
    pub fn answer(self) -> Reply {
        match self {
            Self::Fault(code) => panic!("fault {code}"),
            Self::Answer(reply) => *reply,
        }
    }
}

impl Reply {
    pub fn codes(&self) -> Vec<String> {
        let feedback = self.received.message.payload.feedback().expect("feedback");
        feedback.codes().map(|code| code.to_string()).collect()
    }

    /// The bytes of the content package.
    pub fn package(&self) -> &[u8] {
        let span = self.received.package_span().expect("a package");
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub fn attachment(&self, at: usize) -> &[u8] {
        let span = &self.received.attachments[at].span;
        &self.bytes[span.start as usize..span.end as usize]
    }
}

/// One client with its keys, in at most one dialog.
pub struct Client {
    pub name: &'static str,
    /// Whose signature certificate and key it uses.
    pub signs_as: &'static str,
    pub encrypted: bool,
    pub signed: bool,
    /// By what it encrypts.
    pub algorithms: Algorithms,
    /// Writes ciphertexts as base64, as clients before binary parts do.
    pub in_base64: bool,
    /// How the last answer's ciphertext was written.
    pub answered_in_base64: AtomicBool,
    /// By what it signs, unless as most do.
    pub signs_by: Option<(SignatureMethod, DigestMethod)>,
    /// ConversationId, the server's last challenge, the next sequence number.
    pub dialog: Option<(String, String, u64)>,
}

/// A request before it is written.
pub struct Draft {
    pub message: Message,
    pub content: Option<Vec<u8>>,
    pub attachments: Vec<OutgoingAttachment>,
    pub scope: Scope,
}

impl Client {
    pub fn new(name: &'static str, encrypted: bool, signed: bool) -> Self {
        Self {
            name,
            signs_as: name,
            encrypted,
            signed,
            algorithms: TODAY,
            in_base64: false,
            answered_in_base64: AtomicBool::new(false),
            signs_by: None,
            dialog: None,
        }
    }

    pub fn keys(&self, purpose: &str) -> &'static Keys {
        let name = if purpose == "signature" { self.signs_as } else { self.name };
        keys(&format!("{name}-{purpose}"))
    }

    /// A request as a client would write it at this place of its dialog.
    pub fn draft(&self, payload: Payload) -> Draft {
        let begins = payload.kind() == Kind::Request(Operation::InitDialog);
        let challenge = Some(Challenge::from_random(random()));
        let control = match (&self.dialog, begins) {
            (_, true) => ControlBlock { challenge, ..ControlBlock::default() },
            (None, false) => ControlBlock { challenge, sequence_number: Some(0), ..ControlBlock::default() },
            (Some((id, last, sequence)), false) => ControlBlock {
                conversation_id: Some(ConversationId::new(id.clone()).expect("an id")),
                sequence_number: Some(*sequence),
                response: Some(Challenge::new(last.clone()).expect("a challenge")),
                challenge,
            },
        };
        let mut certificates = Vec::new();
        let stores = matches!(
            payload,
            Payload::StoreDelivery(_) | Payload::ForwardDelivery(_) | Payload::MediateDelivery(_)
        );
        if self.dialog.is_none() || begins || stores {
            certificates.push(Shown::new(Role::CipherOriginator, self.keys("cipher").der()));
        }
        if self.signed {
            certificates.push(Shown::new(Role::SignatureOriginator, self.keys("signature").der()));
        }
        if stores {
            certificates.push(Shown::new(Role::CipherAddressee, keys("reader-cipher").der()));
        }
        let mut draft = Draft {
            content: stores.then(|| PACKAGE.as_bytes().to_vec()),
            attachments: Vec::new(),
            scope: Scope::standard(),
            message: Message::new(control, payload),
        };
        if stores {
            let id = ContentId::from_header("<a.txt>").expect("an id");
            let mut attachment = OutgoingAttachment::new(id, "text/plain", Arc::new(ATTACHED.to_vec()));
            attachment.extra.push(("X-Note".to_owned(), "kept".to_owned()));
            draft.attachments.push(attachment);
            draft.message.timestamp_qualities = TimestampQualities::PLAIN;
        }
        draft.message.languages = Some(DesiredLanguages::new(["de"]));
        draft.message.features = Some(FeatureDescription::of(Feature::ALL));
        draft.message.certificates = (!certificates.is_empty())
            .then(|| NonIntermediaryCertificates::new(certificates).expect("certificates"));
        draft
    }

    /// As it goes over the wire.
    pub fn write(&self, draft: Draft) -> Vec<u8> {
        self.write_for(draft, keys("intermediary-cipher"))
    }

    /// The same, encrypted for somebody.
    pub fn write_for(&self, draft: Draft, recipient: &Keys) -> Vec<u8> {
        let Draft { message, content, attachments, scope } = draft;
        let signature = self.keys("signature");
        let signer = SigningKey::from_pkcs8(&signature.pkcs8).expect("a key");
        let certificate_id = Shown::new(Role::SignatureOriginator, signature.der()).id;
        let mut outgoing = Outgoing::new(&message, &scope, boundary());
        outgoing.content = content.map(|bytes| Arc::new(bytes) as _);
        outgoing.attachments = attachments;
        if self.signed {
            let (method, digest) = self.signs_by.unwrap_or(match signature.certificate.key_kind() {
                KeyKind::P256 => (SignatureMethod::EcdsaSha256, DigestMethod::Sha256),
                _ => (SignatureMethod::RsaSha256, DigestMethod::Sha256),
            });
            let certificate_id = &certificate_id;
            outgoing.signing = Some(Signing { signer: &signer, certificate_id, method, digest });
        }
        let prepared = outgoing.prepare().expect("a message");
        if !self.encrypted {
            return prepared.to_vec().expect("written");
        }
        seal_by(prepared, self.algorithms, &recipient.certificate, self.in_base64)
    }

    /// Reads an answer, which must be as its request was: encrypted or not, and signed by the intermediary.
    pub fn open(&self, bytes: Vec<u8>) -> Got {
        check_form(&bytes);
        let limits = amtsbote::osci::envelope::Limits::default();
        let parse = |bytes: &[u8]| read::read(&mut &bytes[..], &limits).expect("a message");
        let (received, bytes, encrypted) = match parse(&bytes) {
            Incoming::Fault(fault) => {
                return Got::Fault(Fault::read(&fault).code.expect("a code").to_string());
            }
            Incoming::Message(received) => (*received, bytes, false),
            Incoming::Encrypted(sealed) => {
                let own = self.keys("cipher");
                let (der, key) = (own.der(), RecipientKey::from_pkcs8(&own.pkcs8).expect("a key"));
                let span = sealed.ciphertext.span.clone();
                let mut ciphertext = &bytes[span.start as usize..span.end as usize];
                let own = [OwnKey { certificate_der: &der, key: &key }];
                let in_base64 = sealed.ciphertext.encoding == TransferEncoding::Base64;
                self.answered_in_base64.store(in_base64, Ordering::Relaxed);
                let spool = Cursor::new(Vec::new());
                // A client of old reads nothing but what it writes.
                let Algorithms { method, transport, .. } = self.algorithms;
                let policy = Policy {
                    cbc: method.is_cbc(),
                    rsa_1_5: transport == KeyTransport::Rsa15,
                    ..encrypted::policy()
                };
                let (decrypted, found) = sealed.open(&mut ciphertext, &own, &policy, spool).expect("for us");
                assert_eq!((found.method, found.transport), (method, transport));
                let plain = decrypted.into_spool().into_inner();
                check_form(&plain);
                match parse(&plain) {
                    Incoming::Message(received) => (*received, plain, true),
                    _ => panic!("not a message inside"),
                }
            }
        };
        assert_eq!(encrypted, self.encrypted, "an answer is as its request");
        let signature =
            received.signature.as_ref().expect("a signature that holds").as_ref().expect("signed");
        assert_eq!(signature.certificate().der, keys("intermediary-signature").der());
        Got::Answer(Box::new(Reply { received, bytes }))
    }

    /// Reads an answer, and follows the dialog.
    pub fn read(&mut self, bytes: Vec<u8>) -> Got {
        let reply = match self.open(bytes) {
            Got::Answer(reply) => reply,
            fault => return fault,
        };
        let received = &reply.received;
        let control = &received.message.control;
        let id = control.conversation_id.as_ref().expect("a ConversationId").as_str().to_owned();
        let begun = received.message.kind() == Kind::Response(Operation::InitDialog);
        match (&mut self.dialog, &control.challenge) {
            (Some((known, last, sequence)), Some(challenge)) if *known == id => {
                assert_eq!(control.sequence_number, Some(*sequence));
                *last = challenge.as_str().to_owned();
                *sequence += 1;
            }
            (Some((known, ..)), None) if *known == id => self.dialog = None,
            (_, Some(challenge))
                if begun && received.message.payload.feedback().is_some_and(|f| f.is_positive()) =>
            {
                assert_eq!(control.sequence_number, None);
                self.dialog = Some((id, challenge.as_str().to_owned(), 0));
            }
            _ => {}
        }
        Got::Answer(reply)
    }

    pub async fn send(&mut self, office: &Office, payload: Payload) -> Got {
        self.send_changed(office, payload, |_| ()).await
    }

    pub async fn send_changed(
        &mut self,
        office: &Office,
        payload: Payload,
        change: impl FnOnce(&mut Draft),
    ) -> Got {
        let mut draft = self.draft(payload);
        change(&mut draft);
        let answer = office.post(&self.write(draft)).await;
        self.read(answer)
    }

    pub async fn begin(&mut self, office: &Office) -> Reply {
        let reply = self.send(office, Payload::InitDialog).await.answer();
        assert_eq!(reply.codes(), ["0801"]);
        reply
    }

    pub async fn message_id(&mut self, office: &Office) -> MessageId {
        let reply = self.send(office, Payload::GetMessageId).await.answer();
        match reply.received.message.payload {
            Payload::ResponseToGetMessageId(answer) => answer.message_id.expect("an id"),
            other => panic!("{:?}", other.kind()),
        }
    }

    pub async fn exit(&mut self, office: &Office) {
        let codes = self.send(office, Payload::ExitDialog).await.codes();
        assert_eq!(codes, ["0800"]);
        assert!(self.dialog.is_none());
    }
}

#[track_caller]
fn check_form(answer: &[u8]) {
    let trouble = crate::osci_form::trouble(answer);
    assert!(
        trouble.is_empty(),
        "clients would refuse this: {trouble:?}\n{}",
        String::from_utf8_lossy(answer)
    );
}

const TODAY: Algorithms = Algorithms {
    method: ContentMethod::Aes256Gcm,
    iv: IvLength::Twelve,
    transport: KeyTransport::OAEP_SHA256,
};

/// Encrypts a message as clients of today do.
pub fn seal(prepared: Prepared, recipient: &Certificate) -> Vec<u8> {
    seal_by(prepared, TODAY, recipient, false)
}

fn seal_by(prepared: Prepared, algorithms: Algorithms, recipient: &Certificate, in_base64: bool) -> Vec<u8> {
    let der = recipient.der().as_ref();
    let sealed = PreparedSealed::new(prepared, algorithms, der, recipient.spki(), boundary(), in_base64);
    sealed.expect("sealed").to_vec().expect("written")
}

pub fn delivery(id: &MessageId) -> Payload {
    Payload::StoreDelivery(StoreDelivery {
        message_id: Some(id.clone()),
        subject: Some("Rückmeldung <&>".to_owned()),
    })
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("random numbers");
    bytes
}

pub fn boundary() -> Boundary {
    Boundary::from_random(random())
}
