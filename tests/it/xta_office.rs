//! A post office with an XTA door on a real socket, for the tests of the door.

use std::sync::Arc;
use std::time::Duration;

use amtsbote::clock::{Clock, HandClock};
use amtsbote::domain::account::{Account, AccountKey, AccountName, Rights};
use amtsbote::domain::envelope::{Envelope, Party, Qualifier};
use amtsbote::domain::limits::Limits;
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::domain::profile::{ProfileName, ServiceProfile};
use amtsbote::net::{Bounds, Listener, Permits, Serving, TlsSource};
use amtsbote::pki::development::{Authority, Issued, KeyChoice, Leaf, Role, Validity};
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::tls::{ClientCertificate, client_config, server_config};
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::relay::{self, Relay};
use amtsbote::store::embedded::{EmbeddedStore, Settings as StoreSettings};
use amtsbote::store::{AdminAct, MessageQuery, Store};
use amtsbote::xta::client::{Client, Settings as ClientSettings};
use amtsbote::xta::server::{Door, Settings as DoorSettings};
use jiff::Timestamp;
use rustls::ClientConfig;

pub const SERVICE: &str = "http://www.osci.de/xmeld2511/xmeld2511Rueckmeldung.wsdl";
pub const AUTHOR: &str = "ags:10041100";
pub const READER: &str = "ags:10041200";
/// Takes part in synchronous services only.
pub const SYNCHRONOUS_READER: &str = "ags:10041300";

pub fn start() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().expect("an instant")
}

pub fn identifier(value: &str) -> PartyIdentifier {
    PartyIdentifier::with_labels(value, Some("xoev"), None, Some("Meldebehörde")).expect("an identifier")
}

pub struct Office {
    pub clock: HandClock,
    pub relay: Arc<Relay>,
    pub store: Arc<EmbeddedStore>,
    pub port: u16,
    limits: Limits,
    serving: Option<Serving>,
    people: std::collections::BTreeMap<&'static str, Issued>,
    anchors: Arc<TrustAnchors>,
    listener: TlsSource,
    folder: tempfile::TempDir,
}

/// Certificates of the cast: two who post and read, one for each way to be refused.
fn cast(authority: &Authority, stranger: &Authority) -> std::collections::BTreeMap<&'static str, Issued> {
    let issue = |by: &Authority, common_name: &'static str, until: &str| {
        let validity = Validity {
            from: "2026-01-01T00:00:00Z".parse().expect("an instant"),
            until: until.parse().expect("an instant"),
        };
        let leaf = Leaf { common_name, role: Role::Participant, key: KeyChoice::P256, validity, names: &[] };
        by.issue(&leaf).expect("a certificate")
    };
    let far = "2028-01-01T00:00:00Z";
    [
        ("author", issue(authority, "author", far)),
        ("reader", issue(authority, "reader", far)),
        ("synchronous", issue(authority, "synchronous", far)),
        ("blocked", issue(authority, "blocked", far)),
        ("expired", issue(authority, "expired", "2026-11-01T00:00:00Z")),
        ("nobody", issue(authority, "nobody", far)),
        ("untrusted", issue(stranger, "untrusted", far)),
    ]
    .into()
}

fn accounts(people: &std::collections::BTreeMap<&'static str, Issued>) -> Vec<Account> {
    let account = |name: &'static str, identifiers: &[&str]| Account {
        name: AccountName::parse(name).expect("a name"),
        title: name.to_owned(),
        blocked: name == "blocked",
        keys: vec![AccountKey {
            key: people[name].certificate().key_fingerprint(),
            certificate: None,
            remark: None,
        }],
        identifiers: identifiers.iter().map(|value| identifier(value)).collect(),
        accepts: None,
        rights: Rights::default(),
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    };
    let mut author = account("author", &[AUTHOR, "ags:10041101"]);
    author.rights.services = Some(vec!["http://www.osci.de/*".to_owned(), String::new()]);
    let mut synchronous = account("synchronous", &[SYNCHRONOUS_READER]);
    synchronous.profile = Some(ProfileName::parse("synchronous").expect("a name"));
    vec![
        author,
        account("reader", &[READER]),
        synchronous,
        account("blocked", &["ags:1"]),
        account("expired", &["ags:2"]),
        account("untrusted", &["ags:3"]),
    ]
}

fn open_store(folder: &std::path::Path) -> EmbeddedStore {
    let mut settings = StoreSettings::new(folder.join("store"));
    settings.disk_reserve_bytes = 0;
    EmbeddedStore::open(settings).expect("a store")
}

/// A relay over the store and an XTA door on a port of its own.
async fn open_door(
    store: &Arc<EmbeddedStore>,
    clock: &HandClock,
    anchors: &Arc<TrustAnchors>,
    source: &TlsSource,
    limits: Limits,
) -> (Arc<Relay>, u16, Serving) {
    let mut settings = relay::Settings::new("testpost", "https://post.example/xta");
    settings.limits = limits;
    settings.profile_portals = Some(crate::portal_office::profile());
    settings.answer_poll_interval = Duration::from_millis(50);
    let relay = Relay::new(store.clone(), Arc::new(clock.clone()), settings);
    relay.reload_directory().await.expect("a directory");
    let trust = anchors.clone();
    let settings = DoorSettings { path: "/xta".to_owned(), limits };
    let door = Door::new(relay.clone(), Arc::new(move || trust.clone()), settings);
    let bounds = Bounds { drain: Duration::from_secs(2), ..Bounds::default() };
    let listener = Listener::tls(([127, 0, 0, 1], 0).into(), source.clone(), bounds, Permits::new(64)).await;
    let listener = listener.expect("a listener");
    let port = listener.address().expect("an address").port();
    (relay, port, listener.serve(Arc::new(door)))
}

impl Office {
    pub async fn open() -> Self {
        Self::open_with(Limits::default()).await
    }

    pub async fn open_with(limits: Limits) -> Self {
        let clock = HandClock::at(start());
        let ca = |name| {
            let validity = Validity {
                from: "2026-01-01T00:00:00Z".parse().expect("an instant"),
                until: "2030-01-01T00:00:00Z".parse().expect("an instant"),
            };
            Authority::root(name, KeyChoice::P256, validity).expect("an authority")
        };
        let (authority, stranger) = (ca("root"), ca("stranger"));
        let people = cast(&authority, &stranger);
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(open_store(folder.path()));
        let synchronous = ServiceProfile {
            name: ProfileName::parse("synchronous").expect("a name"),
            synchronous: true,
            asynchronous: false,
            synchronous_wait_seconds: 1,
            ..ServiceProfile::standard()
        };
        let act = AdminAct {
            at: start(),
            by: "test".to_owned(),
            act: "participant apply".to_owned(),
            object: "all".to_owned(),
            reason: "test".to_owned(),
        };
        let revision = store.directory().await.expect("a directory").revision();
        store.apply_directory(revision, accounts(&people), vec![synchronous], act).await.expect("applied");

        let pem = authority.certificate().pem();
        let anchors = Arc::new(
            TrustAnchors::builder()
                .anchors(Purpose::ParticipantTls, pem.as_bytes())
                .and_then(|builder| builder.anchors(Purpose::ServerTls, pem.as_bytes()))
                .expect("anchors")
                .build(),
        );
        let server = authority
            .issue(&Leaf {
                common_name: "post",
                role: Role::Server,
                key: KeyChoice::P256,
                validity: Validity {
                    from: "2026-01-01T00:00:00Z".parse().expect("an instant"),
                    until: "2028-01-01T00:00:00Z".parse().expect("an instant"),
                },
                names: &["localhost", "127.0.0.1"],
            })
            .expect("a certificate");
        let clock_for_tls: Arc<dyn Clock> = Arc::new(clock.clone());
        let identity = server.identity().expect("an identity");
        let tls = server_config(&identity, ClientCertificate::Optional, clock_for_tls).expect("TLS");
        let listener = TlsSource::new(Arc::new(tls));
        let (relay, port, serving) = open_door(&store, &clock, &anchors, &listener, limits).await;
        let serving = Some(serving);
        Self { clock, relay, store, port, limits, serving, people, anchors, listener, folder }
    }

    /// Everything anew but clock, disk and certificates.
    pub async fn restart(&mut self) {
        self.serving.take().expect("it serves").drain().await;
        self.store.close().await.expect("closed");
        self.store = Arc::new(open_store(self.folder.path()));
        let (relay, port, serving) =
            open_door(&self.store, &self.clock, &self.anchors, &self.listener, self.limits).await;
        (self.relay, self.port, self.serving) = (relay, port, Some(serving));
    }

    pub fn tls(&self, who: Option<&str>) -> Arc<ClientConfig> {
        let identity = who.map(|who| self.people[who].identity().expect("an identity"));
        let config = client_config(self.anchors.clone(), identity.as_ref(), Arc::new(self.clock.clone()))
            .expect("TLS");
        Arc::new(config)
    }

    /// For another door of the same office: its certificate, and whom it believes.
    pub fn door_tls(&self) -> (TlsSource, Arc<TrustAnchors>) {
        (self.listener.clone(), self.anchors.clone())
    }

    pub fn client(&self, who: &str, as_party: Option<&str>) -> Client {
        let mut settings =
            ClientSettings::new(&format!("https://localhost:{}/xta", self.port), self.tls(Some(who)));
        settings.identifier = as_party.map(|value| match value {
            "*" => PartyIdentifier::new("*").expect("an identifier"),
            value => identifier(value),
        });
        Client::new(settings).expect("a client")
    }

    /// Changes one account while the office is open.
    pub async fn change_account(&self, name: &str, change: impl FnOnce(&mut Account)) {
        let directory = self.store.directory().await.expect("a directory");
        let mut accounts: Vec<Account> = directory.accounts().cloned().collect();
        let account = accounts.iter_mut().find(|account| account.name.as_str() == name).expect("an account");
        change(account);
        let profiles = directory.profiles().cloned().collect();
        let (by, act) = ("test".to_owned(), "participant apply".to_owned());
        let act = AdminAct { at: start(), by, act, object: name.to_owned(), reason: "test".to_owned() };
        self.store.apply_directory(directory.revision(), accounts, profiles, act).await.expect("applied");
        self.relay.reload_directory().await.expect("a directory");
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Payload files, named by a message or not.
    pub fn payload_files(&self) -> usize {
        let shelves = std::fs::read_dir(self.folder.path().join("store/payloads")).expect("shelves");
        shelves.flatten().map(|shelf| std::fs::read_dir(shelf.path()).map_or(0, Iterator::count)).sum()
    }

    /// Everything that the store holds, whatever its state.
    pub async fn stored(&self) -> usize {
        let query = MessageQuery { limit: 1000, ..MessageQuery::default() };
        self.store.messages(&query).await.expect("messages").len()
    }

    pub async fn close(self) {
        self.serving.expect("it serves").drain().await;
        self.store.close().await.expect("closed");
    }
}

pub fn party(value: &str) -> Party {
    Party { identifier: identifier(value), security_tokens: Vec::new() }
}

/// A message from `AUTHOR` to `reader`.
pub fn envelope(id: MessageId, reader: &str) -> Envelope {
    Envelope {
        id,
        test: false,
        author: party(AUTHOR),
        sender: None,
        reply_to: None,
        reader: party(reader),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: Vec::new(),
        process_ref: None,
        qualifier: Qualifier { service: SERVICE.to_owned(), ..Qualifier::default() },
        properties: Vec::new(),
        origin: None,
        not_before: None,
        obsolete_after: None,
        service_quality: None,
        receipt_requests: None,
        token_container: None,
        stated_size: None,
    }
}
