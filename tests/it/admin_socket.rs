//! The administration's own rules: who may ask, in which words, and that two hands do not overwrite each other.

use std::sync::Arc;

use amtsbote::admin::protocol::{Answer, MessageAct, Question, VERSION, Verb};
use amtsbote::admin::server::{Server, Settings};
use amtsbote::clock::SystemClock;
use amtsbote::domain::message_id::MessageId;
use amtsbote::net::{Body, LocalHandler, LocalPeer, full};
use amtsbote::relay::{self, Relay};
use amtsbote::store::Store;
use amtsbote::store::embedded::{self, EmbeddedStore};
use http_body_util::BodyExt;
use hyper::{Request, StatusCode};

const OWN: u32 = 1000;
const ADMITTED: u32 = 1001;
const STRANGER: u32 = 1002;

struct Office {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = embedded::Settings::new(folder.path().join("store"));
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(settings).expect("opens"));
        let clock = Arc::new(SystemClock);
        let relay = Relay::new(store.clone(), clock.clone(), relay::Settings::new("test", "https://test/"));
        let settings =
            Settings { own_uid: OWN, uids: vec![ADMITTED], server_version: "test".to_owned(), node: None };
        let server = Server::new(store, relay, clock, Arc::new(Vec::new), settings);
        Self { server, _folder: folder }
    }

    async fn send(&self, uid: u32, request: Request<Body>) -> (StatusCode, Answer) {
        let response = self.server.handle(request, LocalPeer { uid, gid: uid, pid: None }).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).expect("an answer"))
    }

    async fn ask(&self, uid: u32, verb: Verb) -> (StatusCode, Answer) {
        let question = serde_json::to_vec(&Question { version: VERSION, verb }).expect("a question");
        self.send(uid, Request::post("/admin").body(full(question)).expect("a request")).await
    }
}

fn refusal(answer: Answer) -> String {
    match answer {
        Answer::Refused(refused) => refused.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn only_admitted_users_are_answered() {
    let office = Office::open();
    for (uid, admitted) in [(0, true), (OWN, true), (ADMITTED, true), (STRANGER, false)] {
        let (status, answer) = office.ask(uid, Verb::Health).await;
        assert_eq!(status == StatusCode::OK, admitted, "uid {uid}");
        if !admitted {
            assert_eq!(status, StatusCode::FORBIDDEN);
            assert_eq!(refusal(answer), "forbidden");
        }
    }
}

#[tokio::test]
async fn other_words_are_refused() {
    let office = Office::open();
    let post = |path: &str, body: Vec<u8>| Request::post(path).body(full(body)).expect("a request");
    let other =
        serde_json::to_vec(&Question { version: VERSION + 1, verb: Verb::Health }).expect("a question");
    for (request, code) in [
        (post("/admin", other), "other-version"),
        (post("/admin", b"{".to_vec()), "unreadable"),
        (post("/admin", br#"{"version":1,"verb":"obey"}"#.to_vec()), "unreadable"),
        (post("/other", b"{}".to_vec()), "unknown-path"),
        (post("/admin", vec![b' '; 33 * 1024 * 1024]), "unreadable"),
    ] {
        assert_eq!(refusal(office.send(OWN, request).await.1), code);
    }
}

#[tokio::test]
async fn of_two_changes_based_on_the_same_picture_one_is_refused() {
    let office = Office::open();
    let apply = |based_on, reason: &str| Verb::DirectoryApply {
        based_on,
        accounts: Vec::new(),
        profiles: Vec::new(),
        reason: reason.to_owned(),
    };
    let (_, answer) = office.ask(OWN, Verb::Directory).await;
    let Answer::Directory(view) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal(office.ask(OWN, apply(view.revision, "  ")).await.1), "no-reason");
    assert_eq!(office.ask(OWN, apply(view.revision, "first")).await.0, StatusCode::OK);
    assert_eq!(refusal(office.ask(ADMITTED, apply(view.revision, "second")).await.1), "outdated");
    let (_, answer) = office.ask(OWN, Verb::Acts { limit: 10 }).await;
    let Answer::Acts { acts } = answer else { panic!("{answer:?}") };
    assert_eq!(acts.iter().map(|act| act.reason.as_str()).collect::<Vec<_>>(), ["first"]);
}

#[tokio::test]
async fn a_copy_needs_an_absolute_folder_and_a_reason() {
    let office = Office::open();
    let target = tempfile::tempdir().expect("a folder");
    let backup =
        |folder: std::path::PathBuf, reason: &str| Verb::Backup { folder, reason: reason.to_owned() };
    assert_eq!(refusal(office.ask(OWN, backup("copy".into(), "x")).await.1), "relative-folder");
    let into = target.path().join("copy");
    assert_eq!(refusal(office.ask(OWN, backup(into.clone(), "")).await.1), "no-reason");
    assert!(!into.exists());
    assert_eq!(office.ask(OWN, backup(into.clone(), "weekly")).await.0, StatusCode::OK);
    assert!(embedded::verify(&into).expect("verifies").is_sound());
}

#[tokio::test]
async fn a_copy_that_fails_is_written_down_as_well() {
    let office = Office::open();
    let target = tempfile::tempdir().expect("a folder");
    std::fs::write(target.path().join("file"), b"in the way").expect("written");
    let backup = Verb::Backup { folder: target.path().to_owned(), reason: "weekly".to_owned() };
    assert_eq!(office.ask(OWN, backup).await.0, StatusCode::CONFLICT);
    let (_, answer) = office.ask(OWN, Verb::Acts { limit: 10 }).await;
    let Answer::Acts { acts } = answer else { panic!("{answer:?}") };
    let acts: Vec<_> = acts.iter().map(|act| (act.act.as_str(), act.reason.as_str())).collect();
    let [(last, why), first] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!((*first, *last), (("store backup", "weekly"), "store backup failed"));
    assert!(why.contains("is not empty"), "{why}");
}

#[tokio::test]
async fn an_operator_hears_of_an_unknown_message_in_his_own_words() {
    let office = Office::open();
    let id = MessageId::parse("urn:x").expect("an id");
    for act in [MessageAct::Hold, MessageAct::Release, MessageAct::Cancel, MessageAct::Requeue] {
        let (_, answer) =
            office.ask(OWN, Verb::MessageAct { id: id.clone(), act, reason: "test".to_owned() }).await;
        let Answer::Refused(refused) = answer else { panic!("{answer:?}") };
        assert_eq!(
            (refused.code.as_str(), refused.sentence.as_str()),
            ("unknown-message", "there is no message urn:x")
        );
    }
}
