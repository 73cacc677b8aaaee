//! `send`, `fetch` and `card show` with `--osci` against a server of the same binary, and a mailbox shared with XTA 2.
//!
//! What the command line cannot be asked for, such as another sender's namespaces or content encrypted for a reader,
//! is sent by the client that it is made of.

use std::path::Path;
use std::sync::Arc;

use amtsbote::app::metadata::XtaMetadata;
use amtsbote::clock::SystemClock;
use amtsbote::domain::content::PartRole;
use amtsbote::domain::envelope::Code;
use amtsbote::domain::message_id::MessageId as DomainId;
use amtsbote::mime::content_id::ContentId;
use amtsbote::osci::client::content::{self, Content as Piece};
use amtsbote::osci::client::dialog::alone;
use amtsbote::osci::client::exchange::{self, Parcel, Settings, challenge};
use amtsbote::osci::client::fetched::Fetched;
use amtsbote::osci::client::keys::Keys;
use amtsbote::osci::client::request::{self, Addressed, Ask};
use amtsbote::osci::client::session::{Client, Content};
use amtsbote::osci::envelope::scope::Scope;
use amtsbote::osci::envelope::write::OutgoingAttachment;
use amtsbote::osci::message::certificates::{Certificate as Shown, Role};
use amtsbote::osci::message::custom_header::CustomHeader;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::selection::DeliverySelection;
use amtsbote::osci::server::Metadata;
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::inspection::{Purpose, UnknownRevocation};
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::client_config;
use amtsbote::pki::trust::{PurposeSettings, TrustAnchors};
use amtsbote::xml::c14n;
use amtsbote::xml::dsig::sign::{Plan, Planned};
use amtsbote::xml::dsig::signature::{Canonicalization, Form};
use amtsbote::xml::dsig::{DigestMethod, Target};
use amtsbote::xml::enc::{self, ContentMethod, IvLength, KeyTransport, Recipient};
use amtsbote::xta::client::content::{MemorySink, Outgoing};
use amtsbote::xta::client::{Client as XtaClient, Settings as XtaSettings};
use amtsbote::xta::message::markup::Markup;
use amtsbote::xta::message::metadata;
use amtsbote::xta::message::msg_box::MsgSelector;
use amtsbote::xta::message::names::{OSCIMETA, WSA};
use base64::Engine as _;
use serde_json::Value;

use crate::cli_fixture::{Office, Ran, amtsbote};
use crate::xta_office::party;

const REGISTRY: &str = "standesamt";
const REGISTRATION: &str = "meldebehoerde";
const NOTICE: &str = "<notice>Grüße</notice>";
const AUTHOR: &str = "psw:100411000000";
const READER: &str = "ags:10041100";

/// Bytes that no line end, boundary or text encoding survives by chance.
fn binary(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes: Vec<u8> = (0..length).map(next).collect();
    let end = b"\r\n--MIME_boundary--\r\n";
    bytes.splice(length / 2.., end.iter().copied().chain(*b"\n\r\0"));
    bytes
}

fn tls(office: &Office, file: &str) -> String {
    office.path("tls").join(file).display().to_string()
}

fn send(office: &Office, files: &[&str], more: &[&str]) -> Ran {
    let reader = tls(office, "meldebehoerde-cipher.crt");
    let arguments: Vec<&str> = [&["send"], files, &["--to-cert", &reader], more].concat();
    office.run_osci_as(REGISTRY, &arguments)
}

fn state(office: &Office, id: &str) -> String {
    let card = office.run(&["card", "show", id, "--json"]).ends(0).json();
    card["state"].as_str().expect("a state").to_owned()
}

#[track_caller]
fn check_files(office: &Office, message: &Value, expected: &[&[u8]]) {
    let files = message["files"].as_array().expect("files");
    let read = |file: &Value| std::fs::read(office.path(file.as_str().expect("a path"))).expect("is there");
    let found: Vec<Vec<u8>> = files.iter().map(read).collect();
    assert!(found == expected, "{files:?}: {:?}", found.iter().map(Vec::len).collect::<Vec<_>>());
}

#[track_caller]
fn check_signature(message: &Value) {
    let signatures = message["signatures"].as_array().expect("signatures");
    let [only] = signatures.as_slice() else { panic!("{message:#}") };
    assert_eq!(only["outcome"], "holds", "{message:#}");
    assert!(only["by"].as_str().expect("a name").contains("standesamt signature"), "{message:#}");
}

#[test]
fn a_delivery_is_sent_listed_looked_at_fetched_and_proven() {
    let office = Office::open();
    let (photo, film) = (binary(70_000), binary(20 << 20));
    for (name, bytes) in [("notice.xml", NOTICE.as_bytes()), ("photo.bin", &photo), ("film.bin", &film)] {
        std::fs::write(office.path(name), bytes).expect("writes");
    }
    let sent =
        send(&office, &["notice.xml", "photo.bin"], &["--subject", "Geburt <&>", "--json"]).ends(0).json();
    assert_eq!(sent["parts"], 2);
    let id = sent["id"].as_str().expect("an id").to_owned();
    assert_eq!(state(&office, &id), "waiting");

    let fetch = |more: &[&str]| office.run_osci_as(REGISTRATION, &[&["fetch", "--json"], more].concat());
    let listed = fetch(&["--list"]).ends(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&listed[0]["id"], &listed[0]["subject"]), (&sent["id"], &"Geburt <&>".into()));

    let expected = [NOTICE.as_bytes(), &photo];
    for (into, which) in [("kept", &[][..]), ("named", &[id.as_str()])] {
        let got = fetch(&[which, &["--keep", "--into", into]].concat()).ends(0).json();
        assert_eq!(got[0]["confirmed"], false);
        check_files(&office, &got[0], &expected);
        check_signature(&got[0]);
        assert_eq!(state(&office, &id), "handed-out", "kept is not received");
    }
    let card = |name: &str| office.run_osci_as(name, &["card", "show", &id, "--json"]).ends(0).json();
    assert_eq!(card(REGISTRY)["reception"], "-");

    let got = fetch(&["--into", "in"]).ends(0).json();
    assert_eq!((got.as_array().map(Vec::len), &got[0]["confirmed"]), (Some(1), &true.into()), "{got}");
    check_files(&office, &got[0], &expected);
    check_signature(&got[0]);
    assert_eq!(state(&office, &id), "received");
    assert_eq!(fetch(&["--into", "again"]).ends(0).json(), serde_json::json!([]));
    let (mine, theirs) = (card(REGISTRY), card(REGISTRATION));
    assert_eq!(mine, theirs, "both sides see one card");
    assert!(mine["reception"] != "-" && mine["forwarding"] != "-", "{mine}");

    send(&office, &["notice.xml", "film.bin"], &[]).ends(0);
    let got = fetch(&["--into", "large"]).ends(0).json();
    check_files(&office, &got[0], &[NOTICE.as_bytes(), &film]);
    check_signature(&got[0]);

    let trace = office.run(&["message", "trace", &id]).ends(0).stdout;
    assert!(trace.contains("by meldebehoerde"), "{trace}");
    office.run(&["evidence", "export", &id, "--output", "proof"]).ends(0);
    let key = office.run(&["evidence", "key"]).ends(0).stdout;
    office.run(&["evidence", "verify", "proof", "--key", key.trim()]).ends(0);
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn a_large_delivery_is_sent_in_chunks() {
    let office = Office::open();
    let film = binary(5_000_000);
    std::fs::write(office.path("notice.xml"), NOTICE).expect("writes");
    std::fs::write(office.path("film.bin"), &film).expect("writes");
    let chunked = |kilobytes: &str| {
        let more = ["--chunk", kilobytes, "--subject", "Film", "--json"];
        send(&office, &["notice.xml", "film.bin"], &more)
    };
    // What the office does not take is refused by its code, and nothing stays.
    for (kilobytes, code) in [("7", "9903"), ("65537", "9902")] {
        let ran = chunked(kilobytes).ends(1);
        assert!(ran.stderr.contains(&format!("amtsbote explain {code}")), "{ran:#?}");
        assert_eq!((ran.stdout.as_str(), uploads(&office).len()), ("", 0));
    }
    let sent = chunked("512").ends(0).json();
    assert_eq!(sent["parts"], 2, "{sent}");
    let id = sent["id"].as_str().expect("an id").to_owned();
    assert_eq!(state(&office, &id), "waiting");
    // Five chunks came, and made one message that took them with it.
    let [upload] = uploads(&office).try_into().expect("one upload");
    let begun = std::fs::read(upload.join("begun.json")).expect("it began");
    let begun: Value = serde_json::from_slice(&begun).expect("read");
    assert_eq!((&begun["cut"]["kilobytes"], &begun["cut"]["total"]), (&512.into(), &5.into()));
    assert!(upload.join("accepted.json").exists() && !upload.join("1").exists());

    let fetch = |into: &str| office.run_osci_as(REGISTRATION, &["fetch", "--json", "--into", into]);
    let got = fetch("in").ends(0).json();
    assert_eq!((&got[0]["id"], &got[0]["confirmed"]), (&sent["id"], &true.into()), "{got}");
    check_files(&office, &got[0], &[NOTICE.as_bytes(), &film]);
    check_signature(&got[0]);
    assert_eq!(state(&office, &id), "received");
    assert_eq!(fetch("again").ends(0).json(), serde_json::json!([]), "once");
}

/// Folders of what came in chunks.
fn uploads(office: &Office) -> Vec<std::path::PathBuf> {
    let listed = |folder: std::path::PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    listed(office.path("store/osci-chunks/uploads")).into_iter().flat_map(listed).collect()
}

/// What goes wrong is said in a sentence that names it, and nothing reaches a mailbox.
#[test]
fn wrong_inputs_are_answered_with_what_is_wrong() {
    let office = Office::open();
    std::fs::write(office.path("notice.xml"), NOTICE).expect("writes");
    std::fs::write(office.path("broken.crt"), "nothing").expect("writes");
    let replaced = |option: &str, value: &str| {
        let mut client = office.osci_client(REGISTRY);
        let at = client.iter().position(|argument| argument == option).expect("an option") + 1;
        client[at] = value.to_owned();
        client
    };
    let reader = tls(&office, "meldebehoerde-cipher.crt");
    let send = |file: &str, reader: &str, client: Vec<String>| {
        let mut arguments: Vec<&str> = vec!["send", file, "--to-cert", reader];
        arguments.extend(client.iter().map(String::as_str));
        office.run(&arguments)
    };
    for (file, to, client, code, words) in [
        ("absent.xml", &reader, office.osci_client(REGISTRY), 2, "absent.xml cannot be read"),
        ("notice.xml", &"broken.crt".to_owned(), office.osci_client(REGISTRY), 2, "broken.crt"),
        ("notice.xml", &tls(&office, "ca.crt"), office.osci_client(REGISTRY), 1, "amtsbote explain 9706"),
        (
            "notice.xml",
            &tls(&office, "standesamt-signature.crt"),
            office.osci_client(REGISTRY),
            1,
            "amtsbote explain 97",
        ),
        ("notice.xml", &reader, replaced("--url", "ftp://localhost/"), 2, "is not a URL"),
        ("notice.xml", &reader, replaced("--url", "http://127.0.0.1:1/"), 3, "cannot be reached"),
        ("notice.xml", &reader, replaced("--cert", "broken.crt"), 2, "certificate"),
        // Encrypted for somebody else, the intermediary cannot read it.
        ("notice.xml", &reader, replaced("--intermediary", &reader), 1, "amtsbote explain 9200"),
        // Somebody else's key: the answer is encrypted for the certificate and cannot be read.
        (
            "notice.xml",
            &reader,
            replaced("--key", &tls(&office, "meldebehoerde-cipher.key")),
            1,
            "the answer cannot be read",
        ),
        (
            "notice.xml",
            &reader,
            replaced("--intermediary-signature", &tls(&office, "osci-cipher.crt")),
            1,
            "the answer is not believed",
        ),
        // The signature does not fit the certificate that it names.
        (
            "notice.xml",
            &reader,
            replaced("--sign-key", &tls(&office, "meldebehoerde-signature.key")),
            1,
            "amtsbote explain 9601",
        ),
    ] {
        let ran = send(file, to, client);
        assert!(ran.code == code && ran.stderr.contains(words), "{words}: {ran:#?}");
        assert_eq!(ran.stdout, "", "{words}");
    }
    let unknown = "urn:de:osci:messageid:nobody";
    for arguments in [&["fetch", unknown][..], &["card", "show", unknown]] {
        let ran = office.run_osci_as(REGISTRATION, arguments).ends(6);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    let mailboxes = office.run(&["mailbox", "list", "--json"]).ends(0).json();
    for mailbox in mailboxes.as_array().expect("a list") {
        assert_eq!(mailbox["waiting"], 0, "{mailboxes:#}");
    }
    // Without a signature and its key, without an intermediary: the arguments themselves are refused.
    for missing in ["--intermediary", "--sign-key"] {
        let mut client = office.osci_client(REGISTRY);
        let at = client.iter().position(|argument| argument == missing).expect("an option");
        client.drain(at..at + 2);
        let ran = send("notice.xml", &reader, client).ends(2);
        assert!(ran.stderr.contains(missing), "{missing}: {ran:#?}");
    }
}

#[test]
fn the_two_doors_share_their_mailboxes() {
    let office = Office::open();
    let photo = binary(70_000);
    std::fs::write(office.path("notice.xml"), NOTICE).expect("writes");
    std::fs::write(office.path("photo.bin"), &photo).expect("writes");
    let expected = [NOTICE.as_bytes(), &photo];
    let fetch_by_xta =
        |into: &str| office.run_as(REGISTRATION, &["fetch", "--into", into, "--json"]).ends(0).json();

    // By OSCI, without metadata: what certificates and directory say stands in for them.
    let plain = send(&office, &["notice.xml", "photo.bin"], &["--subject", "Geburt"]).ends(0).stdout;
    let got = fetch_by_xta("by-xta");
    assert_eq!((&got[0]["author"], &got[0]["reader"]), (&AUTHOR.into(), &READER.into()));
    assert_eq!(got[0]["id"], plain.trim());
    check_files(&office, &got[0], &expected);
    check_card(&office, plain.trim(), "osci-1.2");

    // By OSCI, with the metadata that an XTA server of the sender wrote.
    let rich = runtime().block_on(send_with_metadata(&office));
    let got = fetch_by_xta("with-metadata");
    for (key, value) in
        [("author", AUTHOR), ("service", "urn:example:service"), ("message_type", "geburt"), ("id", &rich)]
    {
        assert_eq!(got[0][key], value, "{got:#}");
    }
    check_files(&office, &got[0], &[NOTICE.as_bytes()]);
    check_card(&office, &rich, "osci-1.2");

    // By XTA, fetched by OSCI.
    let route = ["--from", AUTHOR, "--to", READER, "--service", "urn:example:service"];
    let typed = ["--message-type", "geburt", "--subject", "Grüße & mehr"];
    let arguments = [&["send", "notice.xml", "photo.bin"], &route[..], &typed].concat();
    let id = office.run_as(REGISTRY, &arguments).ends(0).stdout.trim().to_owned();
    let looked = runtime().block_on(look(&office, &id));
    let [metadata] = looked.custom() else { panic!("{:?}", looked.custom()) };
    assert_eq!(metadata.local, "MessageMetaData");
    let read = XtaMetadata.read(&metadata.xml).expect("metadata");
    assert_eq!(read.id.as_str(), id);
    assert_eq!(read.author.identifier.value(), AUTHOR);
    assert_eq!(read.qualifier.service, "urn:example:service");
    assert_eq!(read.qualifier.subject.as_deref(), Some("Grüße & mehr"));
    let card = looked.card.as_ref().expect("a card");
    assert_eq!(card.subject.as_deref(), Some("Grüße & mehr"));
    let got = office.run_osci_as(REGISTRATION, &["fetch", "--into", "by-osci", "--json"]).ends(0).json();
    assert_eq!((&got[0]["id"], &got[0]["confirmed"]), (&id.as_str().into(), &true.into()), "{got:#}");
    check_files(&office, &got[0], &expected);
    check_card(&office, &id, "xta-2.1.1");
}

/// Received, on one card that both doors show, with evidence that holds.
fn check_card(office: &Office, id: &str, door: &str) {
    let card = office.run(&["card", "show", id, "--json"]).ends(0).json();
    assert_eq!((&card["state"], &card["door"]), (&"received".into(), &door.into()), "{card:#}");
    for name in [REGISTRY, REGISTRATION] {
        let shown = office.run_osci_as(name, &["card", "show", id, "--json"]).ends(0).json();
        assert_eq!(shown["id"], id);
        assert!(shown["forwarding"] != "-" && shown["reception"] != "-", "{shown:#}");
    }
    let file = format!("proof-{door}-{}", id.len());
    office.run(&["evidence", "export", id, "--output", &file]).ends(0);
    let key = office.run(&["evidence", "key"]).ends(0).stdout;
    office.run(&["evidence", "verify", &file, "--key", key.trim()]).ends(0);
}

#[test]
fn a_signature_in_another_senders_namespaces_still_holds() {
    let office = Office::open();
    let id = runtime().block_on(send_in_other_namespaces(&office));
    let got = office.run_osci_as(REGISTRATION, &["fetch", &id, "--into", "in", "--json"]).ends(0).json();
    check_files(&office, &got[0], &[NOTICE.as_bytes(), b"attached"]);
    check_signature(&got[0]);
}

#[test]
fn content_that_is_encrypted_for_a_reader_stays_with_its_protocol() {
    let office = Office::open();
    let (by_osci, by_xta) =
        runtime().block_on(async { (send_sealed_by_osci(&office).await, send_sealed_by_xta(&office).await) });
    let refused = office.run_as(REGISTRATION, &["fetch", &by_osci, "--into", "x"]).ends(1);
    assert!(refused.stderr.contains("can be fetched by OSCI only"), "{refused:#?}");
    let refused = office.run_osci_as(REGISTRATION, &["fetch", &by_xta, "--into", "o"]).ends(1);
    assert!(refused.stderr.contains("can be fetched by XTA only"), "{refused:#?}");
    for id in [&by_osci, &by_xta] {
        assert_eq!(state(&office, id), "waiting", "a refusal hands nothing out");
    }
    // Each goes out by its own door, and is not in the way of the other.
    let first = runtime().block_on(async {
        let client = xta_client(&office, REGISTRATION, READER);
        client.fetch_first(&MsgSelector::default(), &mut MemorySink::default()).await.expect("an answer")
    });
    let first = first.expect("a message").message.envelope.id;
    assert_eq!(first.as_str(), by_xta, "the older one, which XTA cannot carry, bars the way");
    let got = office.run_osci_as(REGISTRATION, &["fetch", "--into", "o", "--json"]).ends(0).json();
    assert_eq!((&got[0]["id"], &got[0]["encrypted"]), (&by_osci.as_str().into(), &1.into()), "{got:#}");
    let got = office.run_as(REGISTRATION, &["fetch", "--into", "x", "--json"]).ends(0).json();
    assert_eq!(got[0]["id"], by_xta.as_str(), "{got:#}");
}

/// A passive recipient that takes a request and never answers; tells when it has one.
fn silent_recipient() -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}/osci", listener.local_addr().expect("an address"));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::Read as _;
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 16]);
            open.push(stream);
            if tell.send(()).is_err() {
                return;
            }
        }
    });
    (url, told)
}

/// Lists a URL for the registration office, by what an administrator has.
fn list_receiver(office: &Office, url: &str, code: i32) -> Ran {
    let file = office.path("participants.toml");
    let text = office.run(&["participant", "export"]).ends(0).stdout;
    let (before, after) = text.split_once("name = \"meldebehoerde\"").expect("the account");
    let after = after.replacen("[account.osci]", &format!("[account.osci]\nreceivers = [{url:?}]"), 1);
    let after = match after.contains("receivers") {
        true => after,
        false => after.replacen(
            "[[account.osci.cipher]]",
            &format!("[account.osci]\nreceivers = [{url:?}]\n\n[[account.osci.cipher]]"),
            1,
        ),
    };
    std::fs::write(&file, format!("{before}name = \"meldebehoerde\"{after}")).expect("writes");
    let apply = ["participant", "apply", "participants.toml", "--yes", "--reason", "a passive recipient"];
    office.run(&apply).ends(code)
}

#[test]
fn a_push_that_was_cut_off_is_the_operators() {
    let mut office = Office::open();
    let (url, told) = silent_recipient();
    let wrong = list_receiver(&office, "ewo.example", 2);
    assert!(wrong.stderr.contains("osci.receivers"), "{wrong:#?}");
    list_receiver(&office, &url, 0);
    let shown = office.run(&["participant", "show", REGISTRATION]).ends(0).stdout;
    assert!(shown.contains(&url), "{shown}");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let client = Client::new(settings(&office, REGISTRY));
        let runtime = runtime();
        let id = runtime.block_on(client.message_id()).expect("an id");
        let inline = content::compose(&[Piece::Inline(NOTICE.into())], None).expect("composed");
        let (addressed, uri) = (to_reader(&office, &id), url.clone());
        let push =
            runtime.spawn(async move { client.forward(addressed, &uri, content_of(inline, vec![])).await });
        told.recv_timeout(std::time::Duration::from_secs(20)).expect("the recipient is dialled");
        office.kill_and_restart();
        runtime.block_on(push).expect("a task").expect_err("no answer");
        ids.push(id.as_str().to_owned());
    }
    let held = office.run(&["message", "list", "--state", "held", "--json"]).ends(0).json();
    assert_eq!(held.as_array().map(Vec::len), Some(2), "{held:#}");
    for id in &ids {
        assert_eq!(state(&office, id), "held");
        let trace = office.run(&["message", "trace", id]).ends(0).stdout;
        assert!(trace.contains("held while it is pushed to its recipient"), "{trace}");
        let card = office.run_osci_as(REGISTRY, &["card", "show", id, "--json"]).ends(0).json();
        assert_eq!(card["reception"], "-", "nothing is claimed: {card:#}");
    }
    let into =
        |into: &str| office.run_osci_as(REGISTRATION, &["fetch", "--into", into, "--json"]).ends(0).json();
    assert_eq!(into("nothing"), serde_json::json!([]));
    office.run(&["message", "release", &ids[0], "--yes", "--reason", "he does not have it"]).ends(0);
    office.run(&["message", "cancel", &ids[1], "--yes", "--reason", "he has it"]).ends(0);
    let got = into("released");
    assert_eq!((got.as_array().map(Vec::len), &got[0]["id"]), (Some(1), &ids[0].as_str().into()), "{got:#}");
    check_files(&office, &got[0], &[NOTICE.as_bytes()]);
    assert_eq!((state(&office, &ids[0]), state(&office, &ids[1])), ("received".into(), "cancelled".into()));
    office.restart_after(|folder| {
        amtsbote(folder, &["store", "verify"]).ends(0);
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn certificate(path: &Path) -> Certificate {
    let chain = Certificate::chain_from_pem(&std::fs::read(path).expect("is there")).expect("PEM");
    chain.into_iter().next().expect("a certificate")
}

fn settings(office: &Office, name: &str) -> Settings {
    let file = |end: String| office.path("tls").join(end);
    let part = |what: &str| (file(format!("{name}-{what}.crt")), file(format!("{name}-{what}.key")));
    let (cipher, signature) = (part("cipher"), part("signature"));
    let keys = Keys::load((&cipher.0, &cipher.1), Some((&signature.0, &signature.1))).expect("keys");
    let peer = certificate(&file("osci-cipher.crt".to_owned()));
    Settings::new(office.osci.parse().expect("a URL"), keys, peer)
}

fn to_reader(office: &Office, id: &MessageId) -> Addressed {
    Addressed::to(certificate(&office.path("tls/meldebehoerde-cipher.crt")).der(), id.clone())
}

fn content_of(package: String, attachments: Vec<OutgoingAttachment>) -> Content {
    Content { package: Arc::new(package.into_bytes()), attachments }
}

async fn send_with_metadata(office: &Office) -> String {
    let client = Client::new(settings(office, REGISTRY));
    let id = client.message_id().await.expect("an id");
    let code = |list: &str, code: &str| Code {
        code: code.to_owned(),
        name: None,
        list_uri: Some(list.to_owned()),
        list_version: Some("1".to_owned()),
    };
    let mut envelope = crate::xta_office::envelope(DomainId::parse(id.as_str()).expect("an id"), READER);
    envelope.author = party(AUTHOR);
    envelope.qualifier.service = "urn:example:service".to_owned();
    envelope.qualifier.message_type = Some(code("urn:example:types", "geburt"));
    let mut markup = Markup::new();
    metadata::write(&mut markup, &envelope, None);
    let declared =
        format!("<oscimeta:MessageMetaData xmlns:oscimeta='{OSCIMETA}' xmlns:wsa='{WSA}' Id='MetaData'");
    let header = CustomHeader {
        namespace: OSCIMETA.to_owned(),
        local: "MessageMetaData".to_owned(),
        id: "MetaData".to_owned(),
        xml: markup.finish().replacen("<oscimeta:MessageMetaData", &declared, 1),
    };
    let package = content::compose(&[Piece::Inline(NOTICE.as_bytes().to_vec())], None).expect("composed");
    let addressed = Addressed { custom: vec![header], ..to_reader(office, &id) };
    client.store(addressed, content_of(package, Vec::new())).await.expect("stored");
    id.as_str().to_owned()
}

/// A sender whose envelope names OSCI `o`, SOAP `s` and declares a prefix that nobody needs: an author's signature in
/// inclusive canonical form covers them all.
async fn send_in_other_namespaces(office: &Office) -> String {
    let settings = Arc::new(settings(office, REGISTRY));
    let id = Client::new(self::settings(office, REGISTRY)).message_id().await.expect("an id");
    let declarations: Vec<(String, String)> = [
        ("ds", "http://www.w3.org/2000/09/xmldsig#"),
        ("fv", "urn:example:fachverfahren"),
        ("o", "http://www.osci.de/2002/04/osci"),
        ("s", "http://schemas.xmlsoap.org/soap/envelope/"),
        // By this name clients look for the schema, so it is the only one that senders keep.
        ("xsi", "http://www.w3.org/2001/XMLSchema-instance"),
    ]
    .map(|(prefix, uri)| (prefix.to_owned(), uri.to_owned()))
    .into();
    let own = settings.keys.signature.as_ref().expect("a signature certificate");
    let named = Shown::new(Role::SignatureOriginator, own.certificate.der().to_vec());
    let octets = b"attached".to_vec();
    let mut digest = DigestMethod::Sha256.begin();
    digest.update(&octets);
    let inclusive = || Canonicalization { algorithm: c14n::Algorithm::Inclusive, prefix_list: String::new() };
    let element = |id: &str, form| Planned {
        target: Target::Element(id.to_owned()),
        form,
        digest_method: DigestMethod::Sha256,
        attachment_digest: None,
    };
    let plan = Plan {
        method: own.method(),
        canonicalization: inclusive(),
        covered: vec![
            element("c0", Form::Base64),
            Planned::canonical(Target::Element("c1".to_owned()), inclusive(), DigestMethod::Sha256),
            Planned::attachment("note.txt", DigestMethod::Sha256, digest.finish().as_ref().to_vec()),
        ],
        key_info: format!("<ds:RetrievalMethod URI=\"#{}\"/>", named.id),
    };
    let declared: String =
        declarations.iter().map(|(prefix, uri)| format!(" xmlns:{prefix}=\"{uri}\"")).collect();
    let (before, start) =
        (format!("<s:Envelope{declared}><s:Body>"), "<o:ContentPackage><o:ContentContainer Id='all'>");
    let notice = base64::engine::general_purpose::STANDARD.encode(NOTICE);
    let document = format!(
        "{before}{start}<o:Content><o:Base64Content Id=\"c0\">{notice}</o:Base64Content></o:Content><o:Content \
         href='cid:note.txt'  Id='c1'></o:Content></o:ContentContainer></o:ContentPackage></s:Body></s:Envelope>"
    );
    let signed = plan.sign(&document, before.len() + start.len(), &own.key).expect("signed");
    let package =
        signed[before.len()..].strip_suffix("</s:Body></s:Envelope>").expect("a package").to_owned();
    let content_id = ContentId::from_header("note.txt").expect("an id");
    let attachment = OutgoingAttachment::new(content_id, "text/plain", Arc::new(octets));
    let (control, _) = alone(challenge().expect("random"));
    let ask = Ask::Store(to_reader(office, &id));
    let message = request::message(&ask, control, &settings.keys, true, true).expect("a message");
    let parcel = Parcel {
        scope: Scope { envelope: declarations, header: Vec::new(), body: Vec::new() },
        content: Some(Arc::new(package.into_bytes())),
        attachments: vec![attachment],
        ..Parcel::bare(message)
    };
    let log = || std::fs::read_to_string(office.path("server.log")).expect("a log");
    let answered = exchange::ask(&settings, parcel, None).await;
    let (opened, _) = answered.unwrap_or_else(|error| panic!("{error}: {}", log()));
    let Payload::ResponseToStoreDelivery(answer) = opened.received.message.payload else { panic!("another") };
    assert!(answer.feedback.is_positive(), "{:?}", answer.feedback);
    id.as_str().to_owned()
}

/// For the reader's eyes only.
fn sealed(office: &Office) -> String {
    let reader = certificate(&office.path("tls/meldebehoerde-cipher.crt"));
    let plan = enc::Plan {
        method: ContentMethod::Aes256Gcm,
        iv: IvLength::Twelve,
        transport: KeyTransport::OAEP_SHA256,
        recipients: vec![Recipient::by_certificate(reader.der(), reader.spki().to_vec())],
    };
    enc::encrypt(NOTICE.as_bytes(), &plan).expect("encrypted")
}

async fn send_sealed_by_osci(office: &Office) -> String {
    let client = Client::new(settings(office, REGISTRY));
    let id = client.message_id().await.expect("an id");
    let package = format!("<osci:ContentPackage>{}</osci:ContentPackage>", sealed(office));
    client.store(to_reader(office, &id), content_of(package, Vec::new())).await.expect("stored");
    id.as_str().to_owned()
}

fn xta_client(office: &Office, name: &str, identifier: &str) -> XtaClient {
    let tls = office.path("tls");
    let believed = PurposeSettings {
        anchors: vec![tls.join("ca.crt")],
        unknown_revocation: UnknownRevocation::Warn,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into()).expect("anchors");
    let identity = Identity::load(&tls.join(format!("{name}.crt")), &tls.join(format!("{name}.key")));
    let identity = identity.expect("keys");
    let config = client_config(Arc::new(anchors), Some(&identity), Arc::new(SystemClock)).expect("TLS");
    let mut settings = XtaSettings::new(&office.xta, Arc::new(config));
    settings.identifier = Some(party(identifier).identifier);
    XtaClient::new(settings).expect("a client")
}

async fn send_sealed_by_xta(office: &Office) -> String {
    let client = xta_client(office, REGISTRY, AUTHOR);
    let id = client.create_message_id().await.expect("an id");
    let mut envelope = crate::xta_office::envelope(id.clone(), READER);
    envelope.author = party(AUTHOR);
    let content = Outgoing::from_bytes(PartRole::EncryptedData, "text/xml", sealed(office));
    client.send(&envelope, &[content]).await.expect("stored");
    id.to_string()
}

/// Fetches and confirms nothing.
async fn look(office: &Office, id: &str) -> Fetched {
    let mut session = Client::new(settings(office, REGISTRATION)).begin().await.expect("a dialog");
    let id = DeliverySelection::MessageId(MessageId::new(id).expect("an id"));
    session.fetch(Some(id)).await.expect("fetched").expect("a delivery")
}
