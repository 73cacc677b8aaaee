//! Callbacks before real receivers: told at least once, proven, given up in the end; nobody inside the house is dialled, and
//! whoever answers slowly delays nobody else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use amtsbote::clock::Clock;
use amtsbote::domain::card::ProcessCard;
use amtsbote::domain::destination::{Callback, DestinationId};
use amtsbote::net::{self, Body, Bounds, Handler, Listener, Peer, Permits, Serving, TlsSource};
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::development::{Authority, KeyChoice, Leaf, Role, Validity};
use amtsbote::pki::inspection::{Purpose, UnknownRevocation};
use amtsbote::pki::tls::{ClientCertificate, client_config, server_config};
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::portal::callback::network::Network;
use amtsbote::portal::callback::{Callbacks, LOOKED_AT_MAX, Receivers, Settings, Told};
use amtsbote::store::Store;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use serde_json::{Value, json};

use crate::cli_fixture;
use crate::portal_office::*;

pub const KEY: &str = "0123456789abcdef0123456789abcdef";
const SECOND_DESTINATION: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a03";

/// What a receiver does with a call.
#[derive(Debug, Clone)]
pub enum How {
    Answer(u16),
    /// Yes, after a while.
    Late(Duration),
    Redirect(String),
    Never,
    /// Yes, and then a body without an end.
    Endless,
}

#[derive(Debug, Clone)]
pub struct Call {
    path: String,
    timestamp: String,
    authentication: String,
    body: Bytes,
}

pub struct Receiver {
    port: u16,
    certificate: Certificate,
    calls: Arc<Mutex<Vec<Call>>>,
    how: Arc<Mutex<How>>,
    _serving: Serving,
}

struct Door {
    calls: Arc<Mutex<Vec<Call>>>,
    how: Arc<Mutex<How>>,
}

#[async_trait]
impl Handler for Door {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        let text = |name: &str| head.headers[name].to_str().expect("text").to_owned();
        assert_eq!(head.method, "POST");
        assert_eq!(text("content-type"), "application/json");
        let call = Call {
            path: head.uri.to_string(),
            timestamp: text("callback-timestamp"),
            authentication: text("callback-authentication"),
            body: body.collect().await.expect("a body").to_bytes(),
        };
        self.calls.lock().expect("calls").push(call);
        let how = self.how.lock().expect("how").clone();
        let mut response = Response::new(net::empty());
        match how {
            How::Answer(status) => *response.status_mut() = status.try_into().expect("a status"),
            How::Redirect(to) => {
                *response.status_mut() = hyper::StatusCode::TEMPORARY_REDIRECT;
                response.headers_mut().insert("location", to.parse().expect("a header"));
            }
            How::Late(time) => tokio::time::sleep(time).await,
            How::Never => tokio::time::sleep(Duration::from_secs(600)).await,
            How::Endless => {
                let pieces = futures_util::stream::repeat_with(|| {
                    Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b'x'; 4096])))
                });
                response = Response::new(StreamBody::new(pieces).boxed_unsync());
            }
        }
        response
    }
}

impl Receiver {
    pub async fn open(authority: &Authority, clock: Arc<dyn Clock>, how: How) -> Self {
        let names = &["localhost", "127.0.0.1"];
        let validity = validity();
        let leaf =
            Leaf { common_name: "receiver", role: Role::Server, key: KeyChoice::P256, validity, names };
        let issued = authority.issue(&leaf).expect("a certificate");
        let identity = issued.identity().expect("an identity");
        let tls = server_config(&identity, ClientCertificate::None, clock).expect("TLS");
        let bounds = Bounds { drain: Duration::from_secs(1), ..Bounds::default() };
        let source = TlsSource::new(Arc::new(tls));
        let listener = Listener::tls(([127, 0, 0, 1], 0).into(), source, bounds, Permits::new(16)).await;
        let listener = listener.expect("a listener");
        let port = listener.address().expect("an address").port();
        let (calls, how) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::new(Mutex::new(how)));
        let door = Door { calls: calls.clone(), how: how.clone() };
        let certificate = issued.certificate().clone();
        Self { port, certificate, calls, how, _serving: listener.serve(Arc::new(door)) }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/new?for=town", self.port)
    }

    pub fn will(&self, how: How) {
        *self.how.lock().expect("how") = how;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("calls").clone()
    }
}

impl Call {
    /// As a receiver would: over the raw bytes, before anything of them is read.
    pub fn proven(&self) -> Value {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, KEY.as_bytes());
        let signed = [self.timestamp.as_bytes(), b".", &self.body].concat();
        let tag: String =
            aws_lc_rs::hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.authentication, tag);
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

pub fn validity() -> Validity {
    Validity {
        from: "2026-01-01T00:00:00Z".parse().expect("an instant"),
        until: "2120-01-01T00:00:00Z".parse().expect("an instant"),
    }
}

/// An office whose destination has a receiver.
struct Scene {
    office: Office,
    receiver: Receiver,
    authority: Authority,
}

impl Scene {
    async fn set(how: How) -> Self {
        let authority = Authority::root("receivers", KeyChoice::P256, validity()).expect("an authority");
        let office = Office::open().await;
        let receiver = Receiver::open(&authority, Arc::new(office.xta.clock.clone()), how).await;
        let scene = Self { office, receiver, authority };
        scene.call_at(&scene.receiver.url()).await;
        scene
    }

    async fn call_at(&self, url: &str) {
        let callback = Callback { url: url.to_owned(), secret: KEY.to_owned() };
        let change = |account: &mut amtsbote::domain::account::Account| {
            account.portal.destinations[0].callback = Some(callback);
        };
        self.office.xta.change_account("reader", change).await;
    }

    fn settings(&self, networks: &[&str]) -> Settings {
        settings(self.believing(&self.authority, None, UnknownRevocation::Warn), networks)
    }

    /// Whoever has a certificate of this authority, but for those that its list names.
    fn believing(&self, authority: &Authority, list: Option<&str>, unknown: UnknownRevocation) -> Receivers {
        let clock = Arc::new(self.office.xta.clock.clone());
        believing_but(authority, clock, list, unknown)
    }

    /// As after a start: nothing is known but what the store says.
    fn callbacks(&self) -> Callbacks {
        Callbacks::new(self.office.xta.relay.clone(), self.settings(&["127.0.0.0/8", "::1"]))
    }

    async fn card(&self, sent: &Sent) -> ProcessCard {
        let id = format!("urn:de:xta:messageid:testpost:{}", sent.submission);
        let id = amtsbote::domain::message_id::MessageId::parse(&id).expect("an id");
        Store::find(&*self.office.xta.store, &id).await.expect("known").card
    }
}

pub fn settings(tls: Receivers, networks: &[&str]) -> Settings {
    Settings {
        tls,
        networks: networks.iter().map(|text| Network::parse(text).expect("a network")).collect(),
        time_max: Duration::from_secs(30),
        give_up_after: Duration::from_secs(72 * 3600),
        looked_at_max: LOOKED_AT_MAX,
    }
}

/// Whoever has a certificate of this authority.
pub fn believing(authority: &Authority, clock: Arc<dyn Clock>) -> Receivers {
    believing_but(authority, clock, None, UnknownRevocation::Warn)
}

fn believing_but(
    authority: &Authority,
    clock: Arc<dyn Clock>,
    list: Option<&str>,
    unknown: UnknownRevocation,
) -> Receivers {
    let pem = authority.certificate().pem();
    let mut anchors = TrustAnchors::builder()
        .anchors(Purpose::ServerTls, pem.as_bytes())
        .expect("an anchor")
        .unknown_revocation(Purpose::ServerTls, unknown);
    if let Some(list) = list {
        anchors = anchors.revocation_lists(Purpose::ServerTls, list.as_bytes()).expect("a list");
    }
    let tls = Arc::new(client_config(Arc::new(anchors.build()), None, clock).expect("TLS"));
    Arc::new(move || Some(tls.clone()))
}

fn told(submissions: usize) -> Told {
    Told { submissions, ..Told::default() }
}

fn failed() -> Told {
    Told { failed: true, ..Told::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_and_can_tell_by_whom() {
    let scene = Scene::set(How::Answer(200)).await;
    let portal = scene.office.token("portal").await;
    let callbacks = scene.callbacks();
    assert_eq!(callbacks.round().await, told(0));
    let (one, other) = (scene.office.submitted(&portal).await, scene.office.submitted(&portal).await);
    assert_eq!(callbacks.round().await, told(2));
    let calls = scene.receiver.calls();
    assert_eq!(calls.len(), 1, "one call tells of both");
    assert_eq!(calls[0].path, "/new?for=town");
    assert_eq!(calls[0].timestamp, scene.office.xta.clock.now().as_second().to_string());
    let item = |sent: &Sent| json!({ "destinationId": DESTINATION, "submissionId": sent.submission, "caseId": sent.case });
    let expected = json!({
        "type": "https://schema.fitko.de/fit-connect/submission-api/callbacks/new-submissions",
        "submissions": [item(&one), item(&other)],
        "submissionIds": [one.submission, other.submission],
    });
    assert_eq!(calls[0].proven(), expected, "ids and nothing else");
    let step = scene.card(&one).await.steps.last().cloned().expect("a step");
    assert_eq!(
        (step.by.as_deref(), step.reason.as_deref()),
        (Some("callback"), Some("its receiver was told"))
    );

    // Neither again by the same process nor by another; a third one is told alone.
    assert_eq!(callbacks.round().await, told(0));
    let third = scene.office.submitted(&portal).await;
    assert_eq!(scene.callbacks().round().await, told(1));
    let calls = scene.receiver.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].proven()["submissions"], json!([item(&third)]));

    // The reminder of the third day is another matter.
    scene.office.xta.clock.advance(Duration::from_secs(3 * 86_400 + 60));
    scene.office.xta.relay.tick().await.expect("ticks");
    assert_eq!(scene.card(&one).await.findings.len(), 1, "not-fetched");
    // Whoever fetched needs no call.
    let (portal, town) = (scene.office.token("portal").await, scene.office.token("town").await);
    let fetched = scene.office.submitted(&portal).await;
    scene.office.get(&format!("/v2/submissions/{}", fetched.submission), &town).await.is(200);
    assert_eq!(callbacks.round().await, told(0));
    // A blocked account is not called.
    scene.office.submitted(&portal).await;
    scene.office.xta.change_account("reader", |account| account.blocked = true).await;
    assert_eq!(callbacks.round().await, told(0));
    assert_eq!(scene.receiver.calls().len(), 2);
    scene.office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_wait_unfetched_the_next_one_is_told() {
    let scene = Scene::set(How::Answer(200)).await;
    let portal = scene.office.token("portal").await;
    let few = || Settings { looked_at_max: 2, ..scene.settings(&["127.0.0.0/8", "::1"]) };
    let callbacks = Callbacks::new(scene.office.xta.relay.clone(), few());
    for _ in 0..3 {
        scene.office.submitted(&portal).await;
    }
    for expected in [2, 1, 0, 0] {
        assert_eq!(callbacks.round().await, told(expected));
    }
    scene.office.submitted(&portal).await;
    assert_eq!(callbacks.round().await, told(1));
    // Another process comes to it step by step.
    scene.office.submitted(&portal).await;
    let other = Callbacks::new(scene.office.xta.relay.clone(), few());
    for expected in [0, 0, 1, 0] {
        assert_eq!(other.round().await, told(expected));
    }
    // What was held, and comes back behind others, is told as well.
    let held = scene.office.submitted(&portal).await;
    let id = format!("urn:de:xta:messageid:testpost:{}", held.submission);
    let id = amtsbote::domain::message_id::MessageId::parse(&id).expect("an id");
    let relay = &scene.office.xta.relay;
    relay.hold(&id, "operator", "asked for").await.expect("held");
    scene.office.submitted(&portal).await;
    let mut before = 0;
    for _ in 0..6 {
        before += callbacks.round().await.submissions;
    }
    assert_eq!(before, 1);
    relay.release(&id, "operator", "asked for").await.expect("released");
    let mut again = 0;
    for _ in 0..6 {
        again += callbacks.round().await.submissions;
    }
    assert_eq!(again, 1);
    scene.office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_called_again_and_given_up_in_the_end() {
    let scene = Scene::set(How::Answer(503)).await;
    let portal = scene.office.token("portal").await;
    let sent = scene.office.submitted(&portal).await;
    let callbacks = scene.callbacks();
    assert_eq!(callbacks.failing(), 0);
    assert_eq!(callbacks.round().await, failed());
    assert_eq!(callbacks.failing(), 1);
    assert_eq!(callbacks.round().await, told(0), "not before its pause is over");
    assert_eq!(scene.receiver.calls().len(), 1);
    for pause in [10, 20, 40] {
        scene.office.xta.clock.advance(Duration::from_secs(pause - 1));
        assert_eq!(callbacks.round().await, told(0), "{pause}");
        scene.office.xta.clock.advance(Duration::from_secs(1));
        assert_eq!(callbacks.round().await, failed(), "{pause}");
    }
    // A crash forgets the pause and nothing else.
    let callbacks = scene.callbacks();
    assert_eq!(callbacks.round().await, failed());
    assert_eq!(scene.receiver.calls().len(), 5);
    scene.receiver.will(How::Answer(204));
    scene.office.xta.clock.advance(Duration::from_secs(10));
    assert_eq!(callbacks.round().await, told(1));
    assert_eq!(callbacks.failing(), 0);
    assert_eq!(
        scene.receiver.calls().last().expect("a call").proven()["submissionIds"],
        json!([sent.submission])
    );

    // One that has waited long before its receiver could be called at all is told.
    let portal = scene.office.token("portal").await;
    scene.office.submitted(&portal).await;
    scene.office.xta.clock.advance(Duration::from_secs(73 * 3600));
    assert_eq!(callbacks.round().await, told(1));

    scene.receiver.will(How::Answer(500));
    let portal = scene.office.token("portal").await;
    let dead = scene.office.submitted(&portal).await;
    assert_eq!(callbacks.round().await, failed());
    scene.office.xta.clock.advance(Duration::from_secs(72 * 3600 - 1));
    assert_eq!(callbacks.round().await, failed());
    scene.office.xta.clock.advance(Duration::from_secs(3600));
    let calls = scene.receiver.calls().len();
    assert_eq!(callbacks.round().await, Told { given_up: 1, ..failed() });
    assert_eq!(scene.callbacks().round().await, told(0), "for good");
    assert_eq!(scene.receiver.calls().len(), calls + 1);
    let card = scene.card(&dead).await;
    assert_eq!(card.findings.last().map(|finding| finding.code.as_str()), Some("callback-dead"));
    assert!(card.state.is_offered(), "it waits");
    scene.office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_inside_the_house_is_dialled() {
    let scene = Scene::set(How::Answer(200)).await;
    let portal = scene.office.token("portal").await;
    scene.office.submitted(&portal).await;
    let port = scene.receiver.port;
    for (networks, host) in [
        (&[][..], "localhost"),
        (&[], "127.0.0.1"),
        (&[], "[::1]"),
        (&[], "[::ffff:127.0.0.1]"),
        (&[], "[::ffff:7f00:1]"),
        (&[], "2130706433"),
        (&[], "0x7f.1"),
        (&[], "0.0.0.0"),
        (&["10.0.0.0/8"], "localhost"),
        (&["127.0.0.2"], "127.0.0.1"),
    ] {
        scene.call_at(&format!("https://{host}:{port}/new")).await;
        let callbacks = Callbacks::new(scene.office.xta.relay.clone(), scene.settings(networks));
        assert_eq!(callbacks.round().await, failed(), "{host}");
        assert!(scene.receiver.calls().is_empty(), "{host} was dialled");
    }
    // What the participants' file would refuse is refused here as well.
    for url in [format!("http://localhost:{port}/"), format!("https://user@localhost:{port}/")] {
        scene.call_at(&url).await;
        assert_eq!(scene.callbacks().round().await, failed(), "{url}");
    }
    // A receiver whose certificate nobody believes.
    scene.call_at(&scene.receiver.url()).await;
    let stranger = Authority::root("stranger", KeyChoice::P256, validity()).expect("an authority");
    let nobody: Receivers = Arc::new(|| None);
    for tls in [scene.believing(&stranger, None, UnknownRevocation::Warn), nobody] {
        let settings = Settings { tls, ..scene.settings(&["127.0.0.0/8", "::1"]) };
        assert_eq!(Callbacks::new(scene.office.xta.relay.clone(), settings).round().await, failed());
    }
    assert!(scene.receiver.calls().is_empty());
    assert_eq!(scene.callbacks().round().await, told(1), "allowed by name of its network");
    scene.office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_certificate_was_revoked_is_not_told() {
    let scene = Scene::set(How::Answer(200)).await;
    let portal = scene.office.token("portal").await;
    scene.office.submitted(&portal).await;
    let list =
        |revoked: &[&Certificate]| scene.authority.revocation_list(1, validity(), revoked).expect("a list");
    let (naming, clear) = (list(&[&scene.receiver.certificate]), list(&[]));
    let in_force: Arc<Mutex<Receivers>> =
        Arc::new(Mutex::new(scene.believing(&scene.authority, Some(&naming), UnknownRevocation::Warn)));
    let source = in_force.clone();
    let tls: Receivers = Arc::new(move || (source.lock().expect("receivers"))());
    let settings = Settings { tls, ..scene.settings(&["127.0.0.0/8", "::1"]) };
    let callbacks = Callbacks::new(scene.office.xta.relay.clone(), settings);
    assert_eq!(callbacks.round().await, failed());
    // Without any list, where silence is not good enough.
    *in_force.lock().expect("receivers") = scene.believing(&scene.authority, None, UnknownRevocation::Refuse);
    scene.office.xta.clock.advance(Duration::from_secs(10));
    assert_eq!(callbacks.round().await, failed());
    assert!(scene.receiver.calls().is_empty());
    // What a reload brings is in force at the next call.
    *in_force.lock().expect("receivers") =
        scene.believing(&scene.authority, Some(&clear), UnknownRevocation::Refuse);
    scene.office.xta.clock.advance(Duration::from_secs(20));
    assert_eq!(callbacks.round().await, told(1));
    scene.office.xta.close().await;
}

/// The whole server and the command line before a receiver, its authority's list in force.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_tries_a_receiver_and_is_told_what_came_back() {
    let authority = Authority::root("receivers", KeyChoice::P256, validity()).expect("an authority");
    let clock: Arc<dyn Clock> = Arc::new(amtsbote::clock::SystemClock);
    let receiver = Receiver::open(&authority, clock.clone(), How::Answer(204)).await;
    let revoked = Receiver::open(&authority, clock, How::Answer(204)).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("receivers.crt"), authority.certificate().pem()).expect("written");
    let list = authority.revocation_list(1, validity(), &[&revoked.certificate]).expect("a list");
    std::fs::write(folder.path().join("receivers.crl"), list).expect("written");
    let lost = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a04";
    let open = {
        let urls = [
            (DESTINATION, Some(receiver.url())),
            (SECOND_DESTINATION, Some(revoked.url())),
            (OTHER_DESTINATION, None),
            (lost, Some("https://localhost:1/".to_owned())),
        ];
        move || {
            cli_fixture::Office::open_in(folder, |folder| {
                let config = folder.join("amtsbote.toml");
                let text = std::fs::read_to_string(&config).expect("the configuration");
                let portal = "callback_anchors = [\"receivers.crt\"]\ncallback_crls = [\"receivers.crl\"]\n\
                              callback_networks = [\"127.0.0.0/8\", \"::1\"]\naddress = \"127.0.0.1:0\"\n";
                let text: String =
                    text.lines()
                        .filter(|line| {
                            !["callback_anchors", "callback_crls", "callback_networks"]
                                .iter()
                                .any(|key| line.starts_with(key))
                        })
                        .map(|line| {
                            if line == "[portal]" {
                                format!("[portal]\n{portal}")
                            } else {
                                format!("{line}\n")
                            }
                        })
                        .collect();
                std::fs::write(&config, text).expect("written");
                let file = folder.join("participants.toml");
                let mut text = std::fs::read_to_string(&file).expect("the participants");
                let jwk = include_str!("../data/portal/encryption.jwk").trim_end();
                text.push_str(
                    "\n[[account]]\nname = \"town\"\nidentifiers = [{ value = \"portal:town\" }]\n",
                );
                for (id, url) in &urls {
                    let callback = url
                        .as_ref()
                        .map(|url| format!("callback = {{ url = \"{url}\", secret = \"{KEY}\" }}\n"));
                    text.push_str(&format!(
                        "[[account.portal.destination]]\nid = \"{id}\"\nname = \"Town\"\nkeys = [{{ jwk = '{jwk}' }}]\n\
                         encryption_kid = \"authority-encryption-2026\"\n{}",
                        callback.unwrap_or_default()
                    ));
                }
                std::fs::write(file, text).expect("written");
            })
        }
    };
    let office = tokio::task::spawn_blocking(open).await.expect("opened");
    let office = Arc::new(office);
    let run = async |arguments: &[&str]| {
        let (office, arguments) =
            (office.clone(), arguments.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
        let ran = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = ["destination", "callback", "test"]
                .into_iter()
                .chain(arguments.iter().map(String::as_str))
                .collect();
            office.run(&arguments)
        });
        ran.await.expect("it ran")
    };
    let good = run(&[DESTINATION]).await.ends(0);
    assert!(good.stdout.contains("answered HTTP 204") && good.stderr.contains("can be told"), "{good:?}");
    let calls = receiver.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (&calls[0].proven()["submissions"], &calls[0].proven()["submissionIds"]),
        (&json!([]), &json!([]))
    );
    let now = amtsbote::clock::SystemClock.now().as_second();
    assert!((now - calls[0].timestamp.parse::<i64>().expect("seconds")).abs() < 60);
    for (how, words) in [
        (How::Answer(401), "compare the secret"),
        (How::Answer(404), "compare the callback's URL"),
        (How::Answer(500), "tell whoever keeps the destination"),
        (How::Redirect(revoked.url()), "redirects are not followed"),
    ] {
        receiver.will(how);
        let bad = run(&[DESTINATION]).await.ends(4);
        assert!(
            bad.stdout.is_empty() && bad.stderr.contains("cannot be told") && bad.stderr.contains(words),
            "{bad:?}"
        );
    }
    let told = run(&[DESTINATION, "--json"]).await.ends(4).json();
    assert_eq!((&told["answered"], &told["destination"]), (&json!(false), &json!(DESTINATION)));
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("307")), "{told}");
    let bad = run(&[SECOND_DESTINATION]).await.ends(4);
    assert!(bad.stderr.to_ascii_lowercase().contains("revoked"), "{bad:?}");
    assert!(revoked.calls().is_empty());
    let bad = run(&[lost]).await.ends(4);
    assert!(bad.stderr.contains("cannot be reached"), "{bad:?}");
    assert!(run(&[OTHER_DESTINATION]).await.ends(6).stderr.contains("has no callback"));
    run(&["5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8aff"]).await.ends(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_bounded_whatever_is_answered() {
    let scene = Scene::set(How::Never).await;
    let clock: Arc<dyn Clock> = Arc::new(scene.office.xta.clock.clone());
    let elsewhere = Receiver::open(&scene.authority, clock, How::Answer(200)).await;
    let portal = scene.office.token("portal").await;
    scene.office.submitted(&portal).await;
    let settings =
        Settings { time_max: Duration::from_millis(300), ..scene.settings(&["127.0.0.0/8", "::1"]) };
    let callbacks = Callbacks::new(scene.office.xta.relay.clone(), settings);
    let round = tokio::time::timeout(Duration::from_secs(60), callbacks.round()).await;
    assert_eq!(round.expect("a silent receiver is left"), failed());

    scene.receiver.will(How::Redirect(elsewhere.url()));
    assert_eq!(scene.callbacks().round().await, failed());
    assert!(elsewhere.calls().is_empty(), "a redirect was followed");

    scene.receiver.will(How::Endless);
    let round =
        tokio::time::timeout(Duration::from_secs(60), async { scene.callbacks().round().await }).await;
    assert_eq!(round.expect("an endless body is not read"), told(1));
    scene.office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_delays_nobody_else() {
    let mut scene = Scene::set(How::Never).await;
    let clock: Arc<dyn Clock> = Arc::new(scene.office.xta.clock.clone());
    let quick = Receiver::open(&scene.authority, clock, How::Answer(200)).await;
    let callback = Callback { url: quick.url(), secret: KEY.to_owned() };
    scene
        .office
        .xta
        .change_account("reader", |account| {
            let mut second = account.portal.destinations[0].clone();
            second.id = DestinationId::parse(SECOND_DESTINATION).expect("a UUID");
            second.callback = Some(callback);
            account.portal.destinations.push(second);
        })
        .await;
    let settings = Settings { time_max: Duration::from_secs(600), ..scene.settings(&["127.0.0.0/8", "::1"]) };
    let callbacks = Arc::new(Callbacks::new(scene.office.xta.relay.clone(), settings));
    scene.office.call_with(callbacks.clone()).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(callbacks.run(stopped));
    // Long enough for the first look at everything: from here on only the door's word helps.
    tokio::time::sleep(Duration::from_millis(500)).await;

    let portal = scene.office.token("portal").await;
    scene.office.submitted(&portal).await;
    wait_for(&scene.receiver, 1).await;
    let (submission, _) = scene.office.announce_to(SECOND_DESTINATION, &portal, &[]).await;
    scene.office.submit(&portal, &submission, &seal(b"m"), &seal(b"d")).await.is(200);
    wait_for(&quick, 1).await;
    assert_eq!(scene.receiver.calls().len(), 1, "still the same call");
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), running).await.expect("it stops").expect("in peace");
    scene.office.xta.close().await;
}

async fn wait_for(receiver: &Receiver, calls: usize) {
    for _ in 0..600 {
        if receiver.calls().len() >= calls {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} of {calls} calls came", receiver.calls().len());
}
