//! The client against a server on loopback that says what it is told to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rcgen::CustomExtension;

use super::super::list::tests::{Ca, Draft, NOW, at, good, named_point, point};
use super::super::ocsp::Status;
use super::super::ocsp::tests::{APPOINTED, Appointed, responder};
use super::*;
use crate::pki::development::{KeyChoice, Leaf, Role, Validity, leaf_params};

/// Answers each connection with the bytes at hand; an empty answer means silence.
struct Host {
    name: String,
    says: Arc<Mutex<Vec<u8>>>,
}

impl Host {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let name = listener.local_addr().expect("an address").to_string();
        let says = Arc::new(Mutex::new(Vec::new()));
        let answers = says.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(64) {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 16 * 1024]);
                let answer = answers.lock().expect("not poisoned").clone();
                if answer.is_empty() {
                    std::thread::sleep(Duration::from_millis(1500));
                }
                let _ = stream.write_all(&answer);
            }
        });
        Self { name, says }
    }

    fn say(&self, status: &str, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLocation: http://elsewhere/\r\n\r\n",
            body.len()
        );
        *self.says.lock().expect("not poisoned") = [head.as_bytes(), body].concat();
    }

    fn url(&self) -> String {
        format!("http://{}/x", self.name)
    }
}

fn client(hosts: &[&str], folder: &Path) -> Client {
    Client::new(Settings {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        folder: folder.to_owned(),
        nonce_required: false,
        time_max: Duration::from_secs(1),
    })
}

#[tokio::test]
async fn lists_take_the_place_of_earlier_ones_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, ca) = (Host::start(), Ca::new("Ours"));
    let client = client(&[&host.name], folder.path());
    let authorities = [ca.certificate().clone()];
    let url = host.url();
    let fetch = async |draft: Draft, by: &Ca| {
        host.say("200 OK", &draft.signed(by));
        client.fetch_list(&url, &authorities).await
    };
    assert_eq!(fetch(Draft::full(2), &ca).await.expect("fetched"), Fetched::Newer);
    let first = std::fs::read(list_path(folder.path(), &url)).expect("kept");
    host.say("200 OK", &first);
    assert_eq!(client.fetch_list(&url, &authorities).await.expect("fetched"), Fetched::Same);
    assert!(matches!(fetch(Draft::full(1), &ca).await, Err(Error::EarlierList { .. })), "replayed");
    assert!(matches!(fetch(Draft::full(3), &Ca::new("Ours")).await, Err(Error::ForeignList { .. })));
    assert!(matches!(fetch(Draft::full(3), &Ca::new("Other")).await, Err(Error::ForeignList { .. })));
    // A stranger's list is not unpacked: what is wrong inside it does not matter.
    let unreadable = Draft::full(3).with((&[0x55, 0x1d, 0x7f], true, vec![5, 0]));
    assert!(matches!(fetch(unreadable.clone(), &Ca::new("Ours")).await, Err(Error::ForeignList { .. })));
    assert!(matches!(fetch(unreadable, &ca).await, Err(Error::List { .. })));
    host.say("200 OK", b"<html>");
    assert!(matches!(client.fetch_list(&url, &authorities).await, Err(Error::List { .. })));
    assert_eq!(std::fs::read(list_path(folder.path(), &url)).expect("kept"), first, "nothing was replaced");
    assert_eq!(fetch(Draft::full(3), &ca).await.expect("fetched"), Fetched::Newer);
    std::fs::write(list_path(folder.path(), &url), b"damaged").expect("written");
    assert_eq!(fetch(Draft::full(1), &ca).await.expect("fetched"), Fetched::Newer, "mends itself");
}

#[tokio::test]
async fn nobody_else_is_asked_and_nothing_is_endless() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Host::start();
    let (known, strange) = (client(&[&host.name], folder.path()), client(&["ca.example"], folder.path()));
    let url = host.url();
    host.say("200 OK", &[]);
    assert!(matches!(strange.fetch_list(&url, &[]).await, Err(Error::Host(_))));
    for wrong in [
        "https://ca.example/",
        "ldap://ca.example/",
        "/x",
        "http:///",
        "http://ca.example@127.0.0.1/",
        "file:///etc/passwd",
    ] {
        assert!(
            matches!(strange.fetch_list(wrong, &[]).await, Err(Error::Url(_) | Error::Host(_))),
            "{wrong}"
        );
    }
    assert!(strange.allowed_host("http://CA.example:80/a").is_ok());
    assert!(strange.allowed_host("http://ca.example:8080/a").is_err());
    assert!(strange.allowed_host("http://xca.example/a").is_err());
    for status in ["302 Found", "301 Moved Permanently", "404 Not Found", "500 Internal Server Error"] {
        host.say(status, b"");
        assert!(matches!(known.fetch_list(&url, &[]).await, Err(Error::Status { .. })), "{status}");
    }
    host.say("200 OK", &vec![b'x'; 1000]);
    assert!(matches!(known.exchange(&url, None, 999).await, Err(Error::TooLarge { max: 999, .. })));
    assert_eq!(known.exchange(&url, None, 1000).await.expect("fits").len(), 1000);
    host.says.lock().expect("not poisoned").clear();
    assert!(matches!(known.fetch_list(&url, &[]).await, Err(Error::Time { seconds: 1, .. })));
}

/// A leaf whose certificate names the responder.
fn pointing_to(ca: &Ca, url: &str) -> Certificate {
    let (role, key) = (Role::Participant, KeyChoice::P256);
    let leaf = Leaf { common_name: "office", role, key, validity: good(), names: &[] };
    let mut params = leaf_params(&leaf).expect("parameters");
    let short =
        |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).expect("short")], content].concat();
    let method = short(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1]);
    let access = short(0x30, &short(0x30, &[method, short(0x86, url.as_bytes())].concat()));
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access));
    let issued = ca.authority.issue_from(params, rcgen::KeyPair::generate().expect("a key"));
    issued.expect("a leaf").certificate().clone()
}

#[tokio::test]
async fn answers_are_kept_and_judged_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, ca) = (Host::start(), Ca::new("Ours"));
    let certificate = pointing_to(&ca, &host.url());
    assert_eq!(certificate.ocsp_urls(), [host.url()]);
    let question = Question { certificate: certificate.clone(), issuer: ca.certificate().clone() };
    let answers = Answers::default();
    assert_eq!(answers.find(&certificate, ca.certificate(), at(NOW)), None);
    assert_eq!(answers.take_questions(at(NOW)), std::slice::from_ref(&question), "what is missed is wanted");

    let draft = ocsp::tests::Draft::about(&certificate, ca.certificate());
    host.say("200 OK", &draft.signed(ca.certificate(), &ca.key, &[]));
    let allowed = client(&[&host.name], folder.path());
    let answer = allowed.ask(&answers, &question, at(NOW)).await.expect("an answer");
    assert_eq!(answer.status, Status::Good);
    assert!(matches!(
        client(&[], folder.path()).ask(&answers, &question, at(NOW)).await,
        Err(Error::Host(_))
    ));

    let again = Answers::default();
    assert_eq!(allowed.read_kept_answers(&again, at(NOW), Rest::Leave), 1);
    assert_eq!(again.find(&certificate, ca.certificate(), at(NOW)), Some(answer));
    let path = std::fs::read_dir(folder.path()).expect("listed").next().expect("one").expect("a file").path();
    let text = std::fs::read_to_string(&path).expect("text");
    let mut forged = draft.clone();
    forged.this_update = "20261123115900Z";
    let forged = forged.signed(ca.certificate(), &Ca::new("Ours").key, &[]);
    use base64::Engine as _;
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    value["response"] = base64::engine::general_purpose::STANDARD.encode(forged).into();
    std::fs::write(&path, value.to_string()).expect("written");
    let fooled = Answers::default();
    assert_eq!(allowed.read_kept_answers(&fooled, at(NOW), Rest::Leave), 0);
    assert!(path.exists());
    assert_eq!(
        allowed.read_kept_answers(&fooled, at(NOW), Rest::Remove),
        0,
        "a changed file is not believed"
    );
    assert!(!path.exists());
    assert_eq!(allowed.read_kept_answers(&fooled, at(NOW), Rest::Remove), 0);
}

#[tokio::test]
async fn a_revocation_outlives_replay_disk_and_responder() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, ca) = (Host::start(), Ca::new("Ours"));
    let certificate = pointing_to(&ca, &host.url());
    let question = Question { certificate: certificate.clone(), issuer: ca.certificate().clone() };
    let status = |answers: &Answers, now: &str| {
        answers.find(&certificate, ca.certificate(), at(now)).map(|answer| answer.status)
    };
    let revoked = Some(Status::Revoked { at: at("2026-11-01T00:00:00Z") });
    let brief = || Validity { from: at("2020-01-01T00:00:00Z"), until: at("2026-11-23T13:00:00Z") };
    let (responder, key) = responder(&ca.authority, Appointed { validity: brief, ..APPOINTED });
    let draft = ocsp::tests::Draft::about(&certificate, ca.certificate());
    let naming = draft.clone().revoked().signed(&responder, &key, &[&responder]);

    let full = folder.path().join("no folder");
    std::fs::write(&full, b"").expect("written");
    let (answers, unlucky) = (Answers::default(), client(&[&host.name], &full));
    host.say("200 OK", &naming);
    unlucky.ask(&answers, &question, at(NOW)).await.expect("what cannot be written was still said");
    assert_eq!(status(&answers, NOW), revoked);

    let (answers, client) = (Answers::default(), client(&[&host.name], &folder.path().join("kept")));
    client.ask(&answers, &question, at(NOW)).await.expect("an answer");
    let mut earlier = draft.clone();
    earlier.this_update = "20261123105900Z";
    for replayed in [earlier, draft] {
        host.say("200 OK", &replayed.signed(ca.certificate(), &ca.key, &[]));
        client.ask(&answers, &question, at(NOW)).await.expect("an answer");
        assert_eq!(status(&answers, NOW), revoked, "replayed");
    }
    for (what, now) in [("at once", NOW), ("after its responder ended", "2026-11-23T14:00:00Z")] {
        let restarted = Answers::default();
        assert_eq!(client.read_kept_answers(&restarted, at(now), Rest::Remove), 1, "{what}");
        assert_eq!(status(&restarted, now), revoked, "{what}");
    }
    let path = std::fs::read_dir(folder.path().join("kept")).expect("listed").next().expect("one");
    let path = path.expect("a file").path();
    let text = std::fs::read_to_string(&path).expect("text");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    value.as_object_mut().expect("an object").remove("received").expect("noted");
    std::fs::write(&path, value.to_string()).expect("written");
    let restarted = Answers::default();
    assert_eq!(client.read_kept_answers(&restarted, at(NOW), Rest::Leave), 1, "one that notes no instant");
    assert_eq!(client.read_kept_answers(&restarted, at("2026-11-23T14:00:00Z"), Rest::Leave), 0);
}

#[tokio::test]
async fn only_lists_that_can_be_used_take_a_place_of_their_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, ca, second) = (Host::start(), Ca::new("Ours"), Ca::new("Second"));
    let client = client(&[&host.name], folder.path());
    let authorities = [ca.certificate().clone(), second.certificate().clone()];
    let url = host.url();
    let path = list_path(folder.path(), &url);
    let fetch = async |draft: Draft, by: &Ca| {
        host.say("200 OK", &draft.signed(by));
        client.fetch_list(&url, &authorities).await
    };
    let part = |draft: Draft| draft.with(point(&named_point(&url)));
    std::fs::write(&path, Draft::full(9).signed(&Ca::new("Ours"))).expect("written");
    assert_eq!(fetch(Draft::full(2), &ca).await.expect("fetched"), Fetched::Newer, "a stranger's file");
    let first = std::fs::read(&path).expect("kept");
    let endless = Draft { next_update: None, ..Draft::full(3) };
    assert!(matches!(fetch(endless, &ca).await, Err(Error::UnusableList { .. })));
    assert!(matches!(fetch(Draft::full(3), &second).await, Err(Error::OtherList { .. })), "another issuer");
    assert!(matches!(fetch(part(Draft::full(3)), &ca).await, Err(Error::OtherList { .. })), "another scope");
    assert!(matches!(fetch(Draft::delta(3, 2), &ca).await, Err(Error::OtherList { .. })), "a delta list");
    assert_eq!(std::fs::read(&path).expect("kept"), first, "nothing was replaced");
}

/// Two authorities may bear one name, and one may have changed its key: numbers of the one say nothing of the other's.
#[tokio::test]
async fn lists_of_authorities_of_one_name_do_not_block_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (host, one, other) = (Host::start(), Ca::new("Ours"), Ca::new("Ours"));
    let client = client(&[&host.name], folder.path());
    let authorities = [one.certificate().clone(), other.certificate().clone()];
    let url = host.url();
    let fetch = async |number, this_update, by: &Ca| {
        host.say("200 OK", &Draft { this_update, ..Draft::full(number) }.signed(by));
        client.fetch_list(&url, &authorities).await
    };
    assert_eq!(fetch(9, "20261101000000Z", &one).await.expect("fetched"), Fetched::Newer);
    let later = fetch(2, "20261102000000Z", &other).await;
    assert_eq!(later.expect("fetched"), Fetched::Newer, "a lower number by another key");
    let replayed = fetch(9, "20261101000000Z", &one).await;
    assert!(matches!(replayed, Err(Error::OtherList { .. })), "an earlier day by another key");
    let lower = fetch(1, "20261103000000Z", &other).await;
    assert!(matches!(lower, Err(Error::EarlierList { .. })), "a lower number by its own key");
    assert_eq!(fetch(10, "20261104000000Z", &one).await.expect("fetched"), Fetched::Newer);
}
