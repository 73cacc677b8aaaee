//! forwardDelivery and mediateDelivery through a post office on a real socket, to passive recipients that answer as they
//! are told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use amtsbote::clock::Clock;
use amtsbote::domain::account::Account;
use amtsbote::domain::state::{DeliveryState as S, Event as E};
use amtsbote::mime::content_id::ContentId;
use amtsbote::osci::envelope::Limits;
use amtsbote::osci::envelope::authors::Outcome;
use amtsbote::osci::envelope::compose::{Container, Content, package};
use amtsbote::osci::envelope::fault::Side;
use amtsbote::osci::envelope::write::{OutgoingAttachment, Signing};
use amtsbote::osci::message::certificates::{Certificate as Shown, NonIntermediaryCertificates, Role};
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::fetch_process_card::FetchProcessCard;
use amtsbote::osci::message::forward_delivery::ForwardDelivery;
use amtsbote::osci::message::mediate_delivery::MediateDelivery;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::process_card::ProcessCardBundle;
use amtsbote::osci::message::selection::CardSelection;
use amtsbote::store::{Entry, Store};
use amtsbote::xml::dsig::sign::SigningKey;
use amtsbote::xml::dsig::{DigestMethod, SignatureMethod};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::osci_office::{ATTACHED, Client, Draft, Got, Office, READER, account, delivery, keys};
use crate::osci_push::{Answer, REPLY, Says, Seen, YES, body, note, open};

const SUBJECT: &str = "Rückmeldung <&>";

/// A passive recipient that takes every connection.
struct Recipient {
    url: String,
    /// Connections so far.
    dialled: Arc<AtomicUsize>,
    seen: UnboundedReceiver<(Seen, bool)>,
    task: JoinHandle<()>,
}

impl Recipient {
    async fn listen(says: Says) -> Self {
        Self::listen_after(says, Duration::ZERO).await
    }

    /// Thinks for a while before it answers.
    async fn listen_after(says: Says, pause: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://127.0.0.1:{}/osci", listener.local_addr().expect("an address").port());
        let (tell, seen) = unbounded_channel();
        let dialled = Arc::new(AtomicUsize::new(0));
        let count = dialled.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (says, tell) = (says.clone(), tell.clone());
                tokio::spawn(async move {
                    let request = body(&mut stream).await;
                    let encrypted = !request.windows(17).any(|window| window == b"acceptDelivery.xs")
                        && String::from_utf8_lossy(&request).contains("MessageEncrypted");
                    let seen = open(request);
                    tokio::time::sleep(pause).await;
                    match says.bytes(&seen.0) {
                        Some(answer) => {
                            let _ = stream.write_all(&answer).await;
                        }
                        None => tokio::time::sleep(Duration::from_secs(20)).await,
                    }
                    let _ = tell.send((seen, encrypted));
                });
            }
        });
        Self { url, dialled, seen, task }
    }

    fn dialled(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }
}

impl Drop for Recipient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reader_at(receivers: &[&str]) -> Account {
    let mut reader = account("reader", READER);
    reader.osci.receivers = receivers.iter().map(|url| (*url).to_owned()).collect();
    reader
}

/// An office whose participant `reader` may be dialled at these URLs.
async fn office(receivers: &[&str]) -> Office {
    office_with(receivers, |_| ()).await
}

async fn office_with(
    receivers: &[&str],
    change: impl FnOnce(&mut amtsbote::osci::server::Settings),
) -> Office {
    let office = Office::open_with(|settings| {
        settings.push.time_max = Duration::from_secs(2);
        change(settings);
    })
    .await;
    office.apply(vec![account("author", crate::osci_office::AUTHOR), reader_at(receivers)]).await;
    office
}

fn forward(id: &MessageId, url: &str) -> Payload {
    let subject = Some(SUBJECT.to_owned());
    Payload::ForwardDelivery(ForwardDelivery {
        receiver_uri: url.to_owned(),
        message_id: Some(id.clone()),
        subject,
    })
}

fn mediate(id: Option<&MessageId>, url: &str) -> Payload {
    Payload::MediateDelivery(MediateDelivery {
        receiver_uri: url.to_owned(),
        message_id: id.cloned(),
        subject: id.map(|_| SUBJECT.to_owned()),
    })
}

/// Content that its author has signed, with an attachment and a foreign header.
fn signed_by_author(draft: &mut Draft) {
    let own = keys("author-signature");
    let shown = Shown::new(Role::SignatureOriginator, own.der());
    let content_id = ContentId::from_header("<a.txt>").expect("an id");
    let mut attachment =
        OutgoingAttachment::new(content_id.clone(), "text/plain", Arc::new(ATTACHED.to_vec()));
    attachment.extra.push(("X-Note".to_owned(), "kept".to_owned()));
    let container = Container {
        id: "c".to_owned(),
        contents: vec![
            Content::Inline { id: "c1".to_owned(), octets: "Grüße".as_bytes().to_vec() },
            Content::Attachment { id: "c2".to_owned(), content_id },
        ],
    };
    let key = SigningKey::from_pkcs8(&own.pkcs8).expect("a key");
    let signing = Signing {
        signer: &key,
        certificate_id: &shown.id,
        method: SignatureMethod::RsaSha256,
        digest: DigestMethod::Sha256,
    };
    let signed = container.to_signed_xml(std::slice::from_ref(&attachment), &signing).expect("signed");
    draft.content = Some(package(&[signed]).into_bytes());
    draft.attachments = vec![attachment];
    draft.message.custom.push(note());
    let certificates = draft.message.certificates.take().expect("certificates");
    let mut all = certificates.all().to_vec();
    if !all.iter().any(|one| one.role == Role::SignatureOriginator) {
        all.push(shown);
    }
    draft.message.certificates = Some(NonIntermediaryCertificates::new(all).expect("certificates"));
}

/// Sends with the author's signature; what the content was, and the answer.
async fn send(office: &Office, client: &mut Client, payload: Payload) -> (Vec<u8>, Got) {
    let mut sent = Vec::new();
    let got = client
        .send_changed(office, payload, |draft| {
            signed_by_author(draft);
            sent = draft.content.clone().expect("content");
        })
        .await;
    (sent, got)
}

fn check_seen(seen: &Seen, sent: &[u8], signed: bool) {
    let (received, bytes) = seen;
    let part = |span: std::ops::Range<u64>| &bytes[span.start as usize..span.end as usize];
    assert_eq!(part(received.package_span().expect("a package")), sent, "byte for byte");
    assert_eq!(part(received.attachments[0].span.clone()), ATTACHED);
    let headers = &received.attachments[0].headers;
    assert!(headers.iter().any(|(name, value)| name == "X-Note" && value == "kept"), "{headers:?}");
    assert_eq!(received.message.custom, [note()]);
    let authors = received.authors(&Limits::default()).expect("an author's signature");
    let reports = authors.verify(&mut part(received.soap_span.clone())).expect("verified");
    let [report] = reports.as_slice() else { panic!("{reports:?}") };
    assert!(matches!(report.outcome, Outcome::Verified(_)), "{report:?}");
    let ours = received.signature.as_ref().expect("a signature that holds").as_ref().expect("signed");
    assert_eq!(
        ours.certificate().der,
        keys("intermediary-signature").der(),
        "our own, whoever sent: {signed}"
    );
    let certificates = received.message.certificates.as_ref().expect("the sender's");
    assert!(certificates.all().iter().any(|one| one.der == keys("author-cipher").der()));
    assert_eq!(received.message.languages.as_ref().map(|languages| languages.list()), Some("de".into()));
}

fn steps(entry: &Entry) -> Vec<(E, S)> {
    entry.card.steps.iter().map(|step| (step.event, step.state)).collect()
}

const TAKEN: [(E, S); 5] = [
    (E::Accepted, S::Held),
    (E::Released, S::Waiting),
    (E::HandedOut, S::HandedOut),
    (E::Received, S::Received),
    (E::PayloadPurged, S::Received),
];

async fn only(office: &Office) -> Entry {
    let mut entries = office.entries().await;
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

async fn card(office: &Office, client: &mut Client, id: &MessageId) -> ProcessCardBundle {
    let selection = Some(CardSelection::MessageIds(vec![id.clone()]));
    let asked = FetchProcessCard { selection, quantity_max: None };
    match client.send(office, Payload::FetchProcessCard(asked)).await.answer().received.message.payload {
        Payload::ResponseToFetchProcessCard(answer) => answer.cards.into_iter().next().expect("a card"),
        other => panic!("{:?}", other.kind()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_delivery_arrives_as_it_was_sent() {
    for (encrypted, signed, explicit) in [
        (true, true, true),
        (true, false, true),
        (false, true, true),
        (true, true, false),
        (false, true, false),
    ] {
        let what = format!("encrypted {encrypted}, signed {signed}, explicit {explicit}");
        let mut recipient = Recipient::listen(Says::Answer(Answer { encrypted, ..YES })).await;
        let office = office(&[&recipient.url]).await;
        let mut author = Client::new("author", encrypted, signed);
        if explicit {
            author.begin(&office).await;
        }
        let id = author.message_id(&office).await;
        office.clock.advance(Duration::from_secs(3));
        let (sent, got) = send(&office, &mut author, forward(&id, &recipient.url)).await;
        assert_eq!(got.codes(), [if explicit { "0801" } else { "0800" }], "{what}");
        let Payload::ResponseToForwardDelivery(answer) = got.answer().received.message.payload else {
            panic!("{what}")
        };
        let bundle = answer.card.expect("a card");
        assert_eq!((&bundle.message_id, bundle.subject.as_deref()), (&id, Some(SUBJECT)));
        assert!(bundle.forwarding.is_some() && bundle.reception.is_some(), "{what}");
        assert!(bundle.inspections.len() >= 2, "{what}");

        let (seen, was_encrypted) = recipient.seen.recv().await.expect("a request");
        assert_eq!(was_encrypted, encrypted, "{what}");
        check_seen(&seen, &sent, signed);
        let Payload::AcceptDelivery(accept) = &seen.0.message.payload else { panic!("{what}") };
        let shown = &accept.card;
        assert_eq!((&shown.message_id, shown.subject.as_deref()), (&id, Some(SUBJECT)));
        assert!(shown.forwarding.is_some() && shown.reception.is_none() && !shown.inspections.is_empty());

        let entry = only(&office).await;
        assert_eq!((steps(&entry).as_slice(), entry.has_payload), (&TAKEN[..], false), "{what}");
        assert_eq!(entry.card.steps[3].by.as_deref(), Some("reader"));
        // The id is used; the recipient is not asked again.
        let (_, again) = send(&office, &mut author, forward(&id, &recipient.url)).await;
        assert_eq!(again.codes()[0], "9801", "{what}");
        assert_eq!((recipient.dialled(), office.entries().await.len()), (1, 1), "{what}");
        // Nothing is left to be fetched.
        let mut reader = Client::new("reader", true, true);
        reader.begin(&office).await;
        let fetch = Payload::FetchDelivery(FetchDelivery::default());
        assert_eq!(reader.send(&office, fetch).await.codes(), ["9803"], "{what}");
        office.close().await;
    }
}

/// A recipient's answer is signed with a certificate that is the recipient's, and that is no longer good, or never was.
#[tokio::test(flavor = "multi_thread")]
async fn the_recipients_signature_certificate_is_judged() {
    let open = &[(E::Accepted, S::Held), (E::PushFailed, S::Held)][..];
    for (signer, codes, expected) in [
        ("expired", &["3708", "0801"][..], &TAKEN[..]),
        ("untrusted", &["9711"], open),
        ("revoked", &["9712"], open),
    ] {
        for pushed in [forward as fn(&MessageId, &str) -> Payload, |id, url| mediate(Some(id), url)] {
            let signed_by = match signer {
                "expired" => "expired-signature",
                "untrusted" => "untrusted-signature",
                _ => "revoked-signature",
            };
            let recipient = Recipient::listen(Says::Answer(Answer { signer: signed_by, ..YES })).await;
            let office = office(&[&recipient.url]).await;
            let mut reader = reader_at(&[&recipient.url]);
            reader.osci.signature.extend(account(signer, "x").osci.signature);
            office.apply(vec![account("author", crate::osci_office::AUTHOR), reader]).await;
            let mut author = Client::new("author", true, true);
            author.begin(&office).await;
            let id = author.message_id(&office).await;
            let payload = pushed(&id, &recipient.url);
            let what = format!("{signer} {:?}", payload.kind());
            let (_, got) = send(&office, &mut author, payload).await;
            assert_eq!(got.codes(), codes, "{what}");
            let entries = office.entries().await;
            let asked = entries.iter().find(|entry| entry.card.id.as_str() == id.as_str());
            let asked = asked.expect("it is kept");
            assert_eq!(steps(asked), expected, "{what}");
            // What could not be believed brings no reply either.
            let replies = entries.iter().filter(|entry| !entry.envelope.in_reply_to.is_empty()).count();
            let processed = matches!(pushed(&id, ""), Payload::MediateDelivery(_));
            assert_eq!(replies, usize::from(processed && expected != open), "{what}");
            office.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_yes_is_reception() {
    let answer = |change: fn(&mut Answer)| {
        let mut answer = YES;
        change(&mut answer);
        Says::Answer(answer)
    };
    let taken = &TAKEN[..];
    let cancelled = &[(E::Accepted, S::Held), (E::Declined, S::Cancelled)][..];
    let open = &[(E::Accepted, S::Held), (E::PushFailed, S::Held)][..];
    for (what, says, codes, expected) in [
        ("a warning", answer(|a| a.code = "3705"), &["0801"][..], taken),
        ("unsigned", answer(|a| a.signed = false), &["3802", "0801"], taken),
        ("unencrypted", answer(|a| a.encrypted = false), &["3803", "0801"], taken),
        ("a no", answer(|a| a.code = "9801"), &["9805"], cancelled),
        ("his own trouble", answer(|a| a.code = "9811"), &["9808"], cancelled),
        ("a fault", Says::Fault(Side::Client), &["9805"], cancelled),
        ("another challenge", answer(|a| a.ours = false), &["9810"], open),
        ("damaged", answer(|a| (a.encrypted, a.damage) = (false, Some((">so<", ">ja<")))), &["9807"], open),
        ("another signs", answer(|a| a.signer = "stranger-signature"), &["9807"], open),
        ("cut off", Says::Http("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nMIME"), &["9810"], open),
        ("silence", Says::Http(""), &["9810"], open),
    ] {
        let recipient = Recipient::listen(says).await;
        let office = office(&[&recipient.url]).await;
        let mut author = Client::new("author", true, true);
        author.begin(&office).await;
        let id = author.message_id(&office).await;
        let (_, got) = send(&office, &mut author, forward(&id, &recipient.url)).await;
        assert_eq!(got.codes(), codes, "{what}");
        let entry = only(&office).await;
        assert_eq!(steps(&entry), expected, "{what}");
        let is_taken = expected == taken;
        assert_eq!(entry.card.received_at.is_some(), is_taken, "{what}");
        assert_eq!(entry.has_payload, !is_taken, "{what}");
        if !is_taken {
            let finding = &entry.card.findings[0];
            let word = if expected == open { "push-open" } else { "push-declined" };
            assert_eq!(finding.code, word, "{what}");
            assert!(finding.reason.starts_with(codes[0]), "{what}: {}", finding.reason);
        }
        // The sender sees on the card how far it came, and the dialog goes on.
        let bundle = card(&office, &mut author, &id).await;
        assert_eq!(bundle.reception.is_some(), is_taken, "{what}");
        assert_eq!(bundle.forwarding.is_some(), expected != cancelled, "{what}");
        office.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_listed_is_not_dialled() {
    let recipient = Recipient::listen(Says::Answer(YES)).await;
    let (outside, inside) = (recipient.url.replace("/osci", "/admin"), recipient.url.clone());
    let name = inside.replace("127.0.0.1", "localhost");
    // A name is listed, and leads to this machine all the same.
    let office = office(&[&inside, &name]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    for url in [outside.as_str(), "http://169.254.169.254/osci", "ftp://x/", "", "http://127.0.0.1:1/osci"] {
        for payload in [forward(&id, url), mediate(Some(&id), url), mediate(None, url)] {
            let (_, got) = send(&office, &mut author, payload).await;
            assert_eq!(got.codes(), ["9811"], "{url}");
        }
    }
    assert_eq!((recipient.dialled(), office.entries().await.len()), (0, 0));
    let (_, got) = send(&office, &mut author, forward(&id, &name)).await;
    assert_eq!(got.codes(), ["9809"], "resolved to the inside");
    assert_eq!(recipient.dialled(), 0);
    assert_eq!(only(&office).await.card.state, S::Cancelled);
    // Other participants' receivers are theirs alone.
    office.apply(vec![account("author", crate::osci_office::AUTHOR), reader_at(&[])]).await;
    let id = author.message_id(&office).await;
    let (_, got) = send(&office, &mut author, forward(&id, &inside)).await;
    assert_eq!(got.codes(), ["9811"]);
    assert_eq!((recipient.dialled(), office.entries().await.len()), (0, 1));
    // What was refused before it was accepted has not used the id.
    office.apply(vec![account("author", crate::osci_office::AUTHOR), reader_at(&[&inside])]).await;
    let (_, got) = send(&office, &mut author, forward(&id, &inside)).await;
    assert_eq!(got.codes(), ["0801"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_not_reached() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/osci", listener.local_addr().expect("an address"));
    drop(listener);
    let office = office(&[&url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    for payload in [forward as fn(&MessageId, &str) -> Payload, |id, url| mediate(Some(id), url)] {
        let id = author.message_id(&office).await;
        let (_, got) = send(&office, &mut author, payload(&id, &url)).await;
        assert_eq!(got.codes(), ["9809"]);
    }
    let (_, got) = send(&office, &mut author, mediate(None, &url)).await;
    assert_eq!(got.codes(), ["9809"]);
    let states: Vec<_> = office.entries().await.iter().map(|entry| entry.card.state).collect();
    assert_eq!(states, [S::Cancelled, S::Cancelled]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_what_is_open() {
    let recipient = Recipient::listen(Says::Http("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).await;
    let office = office(&[&recipient.url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let (mut ids, mut contents) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let id = author.message_id(&office).await;
        let (sent, got) = send(&office, &mut author, forward(&id, &recipient.url)).await;
        assert_eq!(got.codes(), ["9810"]);
        ids.push(amtsbote::domain::message_id::MessageId::parse(id.as_str()).expect("an id"));
        contents.push(sent);
    }
    // Nothing but an operator or its expiry lets it go, and the recipient does not see it.
    office.clock.advance(Duration::from_secs(86_400));
    let due = office.store.due(office.clock.now(), 10).await.expect("due");
    assert_eq!(due, [], "no timer releases it");
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    let fetch = || Payload::FetchDelivery(FetchDelivery::default());
    assert_eq!(reader.send(&office, fetch()).await.codes(), ["9803"]);
    let released = office.relay.release(&ids[0], "root", "the recipient knows nothing of it").await;
    assert_eq!(released.expect("released").state, S::Waiting);
    let cancelled = office.relay.cancel_as_operator(&ids[1], "root", "the recipient has it").await;
    assert_eq!(cancelled.expect("cancelled").state, S::Cancelled);
    let reply = reader.send(&office, fetch()).await.answer();
    assert_eq!(reply.codes(), ["0801"]);
    assert!(reply.package() == contents[0], "byte for byte");
    reader.exit(&office).await;
    let states: Vec<_> = office.entries().await.iter().map(|entry| entry.card.state).collect();
    assert_eq!(states, [S::Received, S::Cancelled]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_recipient_holds_up_nobody_else() {
    let (hanging, quick) =
        (Recipient::listen(Says::Http("")).await, Recipient::listen(Says::Answer(YES)).await);
    let office = office_with(&[&hanging.url], |settings| {
        settings.push.time_max = Duration::from_secs(8);
        settings.push.per_recipient_max = 2;
    })
    .await;
    let mut other = account("stranger", "ags:9");
    other.osci.receivers = vec![quick.url.clone()];
    office
        .apply(vec![account("author", crate::osci_office::AUTHOR), reader_at(&[&hanging.url]), other])
        .await;
    let office = Arc::new(office);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (office, url) = (office.clone(), hanging.url.clone());
            tokio::spawn(async move {
                let mut author = Client::new("author", true, true);
                author.begin(&office).await;
                let id = author.message_id(&office).await;
                send(&office, &mut author, forward(&id, &url)).await.1.codes()
            })
        })
        .collect();
    for _ in 0..400 {
        if hanging.dialled() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(hanging.dialled(), 2);
    let mut author = Client::new("author", false, true);
    author.begin(&office).await;
    // A third to the same recipient has no turn, and is not stored.
    let id = author.message_id(&office).await;
    let (_, got) = send(&office, &mut author, forward(&id, &hanging.url)).await;
    assert_eq!((got.codes(), hanging.dialled()), (vec!["9809".to_owned()], 2));
    assert_eq!(office.entries().await.len(), 2);
    // Another recipient is reached, and deliveries are taken, with the same id.
    let got = author
        .send_changed(&office, forward(&id, &quick.url), |draft| {
            let block = draft.message.certificates.take().expect("certificates");
            let mut all = block.without(Role::CipherAddressee).all().to_vec();
            all.push(Shown::new(Role::CipherAddressee, keys("stranger-cipher").der()));
            draft.message.certificates = Some(NonIntermediaryCertificates::new(all).expect("certificates"));
        })
        .await;
    // Its answer is signed by the reader, who is not the one that was asked.
    assert_eq!((got.codes(), quick.dialled()), (vec!["9807".to_owned()], 1));
    let id = author.message_id(&office).await;
    assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["0801"]);
    for task in waiting {
        assert_eq!(task.await.expect("answered"), ["9810"]);
    }
    Arc::into_inner(office).expect("the last").close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_ends_though_its_sender_has_left() {
    let mut recipient = Recipient::listen_after(Says::Answer(YES), Duration::from_millis(300)).await;
    let office = office(&[&recipient.url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    let mut draft = author.draft(forward(&id, &recipient.url));
    signed_by_author(&mut draft);
    let request = author.write(draft);
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", office.port)).await.expect("connected");
    let head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", request.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&request).await.expect("sent");
    for _ in 0..400 {
        if recipient.dialled() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    // Whoever stops the server can wait for it.
    let ended = tokio::time::timeout(Duration::from_secs(20), office.door.pushes_ended());
    ended.await.expect("in time");
    recipient.seen.recv().await.expect("a request");
    assert_eq!(steps(&only(&office).await), TAKEN);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_particular_may_send_and_gets_no_reply() {
    let recipient = Recipient::listen(Says::Answer(Answer { encrypted: false, ..YES })).await;
    let office = office_with(&[&recipient.url], |settings| settings.unproven_senders = true).await;
    let mut author = Client::new("author", false, false);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    for asked in [Some(&id), None] {
        let (_, got) = send(&office, &mut author, mediate(asked, &recipient.url)).await;
        assert_eq!(got.codes(), ["9600"]);
    }
    assert_eq!((recipient.dialled(), office.entries().await.len()), (0, 0));
    let (_, got) = send(&office, &mut author, forward(&id, &recipient.url)).await;
    assert_eq!(got.codes(), ["0801"]);
    assert_eq!(steps(&only(&office).await), TAKEN);
    office.close().await;
}

fn reply_of(got: Got) -> (Option<ProcessCardBundle>, Option<ProcessCardBundle>) {
    let reply = got.answer();
    assert_eq!(reply.package(), REPLY.as_bytes(), "byte for byte");
    match reply.received.message.payload {
        Payload::ResponseToMediateDelivery(answer) => (answer.request_card, answer.reply_card),
        other => panic!("{:?}", other.kind()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_comes_back_in_the_dialog() {
    for (encrypted, signed) in [(true, true), (true, false), (false, true)] {
        let what = format!("encrypted {encrypted}, signed {signed}");
        let mut recipient = Recipient::listen(Says::Answer(Answer { encrypted, ..YES })).await;
        let office = office(&[&recipient.url]).await;
        let mut author = Client::new("author", encrypted, signed);
        assert_eq!(send(&office, &mut author, mediate(None, &recipient.url)).await.1.codes(), ["9802"]);
        author.begin(&office).await;
        let id = author.message_id(&office).await;
        let (sent, got) = send(&office, &mut author, mediate(Some(&id), &recipient.url)).await;
        assert_eq!(got.codes(), ["0801"], "{what}");
        let (request_card, reply_card) = reply_of(got);
        let (request_card, reply_card) = (request_card.expect("a card"), reply_card.expect("a card"));
        assert_eq!(request_card.message_id, id);
        assert!(request_card.forwarding.is_some() && request_card.reception.is_some(), "{what}");
        assert!(reply_card.forwarding.is_some() && reply_card.reception.is_none(), "{what}");

        let (seen, was_encrypted) = recipient.seen.recv().await.expect("a request");
        assert_eq!(was_encrypted, encrypted, "{what}");
        check_seen(&seen, &sent, signed);
        let Payload::ProcessDelivery(process) = &seen.0.message.payload else { panic!("{what}") };
        assert_eq!(process.reply_id.as_ref(), Some(&reply_card.message_id), "{what}");
        assert!(process.card.as_ref().is_some_and(|card| card.reception.is_none() && card.message_id == id));

        let entries = office.entries().await;
        let [question, reply] = entries.as_slice() else { panic!("{what}: two messages") };
        // Both are in one transaction; the reply may come before the question's last change in the log, not in order.
        let (question, reply) =
            if question.card.posted_by.as_str() == "author" { (question, reply) } else { (reply, question) };
        assert_eq!(steps(question), TAKEN, "{what}");
        assert_eq!(reply.card.state, S::HandedOut, "{what}: handed out is not received");
        assert_eq!(reply.card.posted_by.as_str(), "reader");
        assert_eq!(reply.envelope.in_reply_to, std::slice::from_ref(&question.envelope.id));
        // The next request of the dialog confirms.
        let card = card(&office, &mut author, &reply_card.message_id).await;
        assert!(card.reception.is_some(), "{what}");
        author.exit(&office).await;
        office.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_whose_answer_was_lost_is_fetched() {
    let recipient = Recipient::listen(Says::Answer(YES)).await;
    let office = office(&[&recipient.url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    let mut draft = author.draft(mediate(Some(&id), &recipient.url));
    signed_by_author(&mut draft);
    // The answer never arrives, and the dialog is not gone on with.
    drop(office.post(&author.write(draft)).await);
    let office = office.restart().await;
    let mut again = Client::new("author", true, true);
    again.begin(&office).await;
    let reply = again.send(&office, Payload::FetchDelivery(FetchDelivery::default())).await.answer();
    assert_eq!(reply.codes(), ["0801"]);
    assert_eq!(reply.package(), REPLY.as_bytes());
    again.exit(&office).await;
    let states: Vec<_> = office.entries().await.iter().map(|entry| entry.card.state).collect();
    assert_eq!(states, [S::Received, S::Received]);
    assert_eq!(recipient.dialled(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_question_may_come_to() {
    let answer = |change: fn(&mut Answer)| {
        let mut answer = YES;
        change(&mut answer);
        Says::Answer(answer)
    };
    for (what, says, code, state) in [
        ("no content", answer(|a| a.content = false), "9806", S::Received),
        ("a no", answer(|a| a.code = "9802"), "9805", S::Cancelled),
        ("another challenge", answer(|a| a.ours = false), "9810", S::Held),
        ("silence", Says::Http(""), "9810", S::Held),
    ] {
        let recipient = Recipient::listen(says).await;
        let office = office(&[&recipient.url]).await;
        let mut author = Client::new("author", true, true);
        author.begin(&office).await;
        let id = author.message_id(&office).await;
        let (_, got) = send(&office, &mut author, mediate(Some(&id), &recipient.url)).await;
        assert_eq!(got.codes(), [code], "{what}");
        assert_eq!(only(&office).await.card.state, state, "{what}");
        let (_, got) = send(&office, &mut author, mediate(None, &recipient.url)).await;
        assert_eq!(got.codes(), [code], "{what}");
        assert_eq!(office.entries().await.len(), 1, "{what}: nothing of a question without an id is kept");
        office.close().await;
    }
    // Without an id the reply comes without cards.
    let recipient = Recipient::listen(Says::Answer(YES)).await;
    let office = office(&[&recipient.url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let (_, got) = send(&office, &mut author, mediate(None, &recipient.url)).await;
    assert_eq!(got.codes(), ["0801"]);
    assert_eq!(reply_of(got), (None, None));
    assert_eq!(office.entries().await.len(), 0);
    // Rights are the same for what is not kept, and a reply that may not be sent is not delivered.
    let mut mute = account("author", crate::osci_office::AUTHOR);
    mute.rights.readers = Some(Vec::new());
    office.apply(vec![mute, reader_at(&[&recipient.url])]).await;
    let (_, got) = send(&office, &mut author, mediate(None, &recipient.url)).await;
    assert_eq!(got.codes(), ["9811"]);
    let mut mute = reader_at(&[&recipient.url]);
    mute.rights.readers = Some(Vec::new());
    office.apply(vec![account("author", crate::osci_office::AUTHOR), mute]).await;
    assert_eq!(recipient.dialled(), 1);
    // Known beforehand, it stops the question as well.
    let id = author.message_id(&office).await;
    let (_, got) = send(&office, &mut author, mediate(Some(&id), &recipient.url)).await;
    assert_eq!((got.codes(), recipient.dialled()), (vec!["9811".to_owned()], 1));
    assert_eq!(office.entries().await.len(), 0);
    // A forward has no reply.
    let (_, got) = send(&office, &mut author, forward(&id, &recipient.url)).await;
    assert_eq!((got.codes(), recipient.dialled()), (vec!["0801".to_owned()], 2));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_no_longer_wanted_takes_nothing_back() {
    let recipient = Recipient::listen_after(Says::Answer(YES), Duration::from_millis(800)).await;
    let office = office(&[&recipient.url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    let asked = send(&office, &mut author, mediate(Some(&id), &recipient.url));
    let silenced = async {
        for _ in 0..1000 {
            if recipient.dialled() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut deaf = account("author", crate::osci_office::AUTHOR);
        deaf.accepts = Some(Vec::new());
        office.apply(vec![deaf, reader_at(&[&recipient.url])]).await;
    };
    let ((_, got), ()) = tokio::join!(asked, silenced);
    assert_eq!(got.codes(), ["9810"]);
    assert_eq!(steps(&only(&office).await), TAKEN, "the recipient has it all the same");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_cannot_reply_in_the_recipients_name() {
    let mut recipient =
        Recipient::listen(Says::Answer(Answer { ours: false, encrypted: false, ..YES })).await;
    let office = office(&[&recipient.url]).await;
    // In the clear, signed: so is the push.
    let mut author = Client::new("author", false, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    let (_, got) = send(&office, &mut author, mediate(Some(&id), &recipient.url)).await;
    assert_eq!(got.codes(), ["9810"]);
    let (seen, was_encrypted) = recipient.seen.recv().await.expect("a request");
    assert!(!was_encrypted);
    let Payload::ProcessDelivery(process) = &seen.0.message.payload else { panic!("no question") };
    let reply_id = process.reply_id.clone().expect("an id");
    // Anybody can encrypt, and show a certificate that is public.
    let mut listener = Client::new("reader", true, false);
    assert_eq!(listener.send(&office, delivery(&reply_id)).await.codes()[0], "9801");
    assert_eq!(office.entries().await.len(), 1);
    // The recipient's own signature proves who he is, in whatever dialog.
    let mut reader = Client::new("reader", true, true);
    assert_eq!(reader.send(&office, delivery(&reply_id)).await.codes(), ["0800"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_signed_where_the_account_demands_it() {
    for (signed, code, expected) in [(true, "0801", S::Received), (false, "9807", S::Held)] {
        let recipient = Recipient::listen(Says::Answer(Answer { signed, ..YES })).await;
        let office = office(&[&recipient.url]).await;
        let mut strict = reader_at(&[&recipient.url]);
        strict.osci.signature_required = true;
        office.apply(vec![account("author", crate::osci_office::AUTHOR), strict]).await;
        let mut author = Client::new("author", true, true);
        author.begin(&office).await;
        let id = author.message_id(&office).await;
        let (_, got) = send(&office, &mut author, forward(&id, &recipient.url)).await;
        assert_eq!((got.codes(), only(&office).await.card.state), (vec![code.to_owned()], expected));
        office.close().await;
    }
}

/// What comes of a push while which an operator does something to the message: the codes, the message and what its
/// recipient wrote.
async fn meddled(says: Says, mediates: bool, releases: bool) -> (Vec<String>, Entry, usize) {
    let recipient = Recipient::listen_after(says, Duration::from_millis(800)).await;
    let office = Arc::new(office(&[&recipient.url]).await);
    let (pushing, url) = (office.clone(), recipient.url.clone());
    let task = tokio::spawn(async move {
        let mut author = Client::new("author", true, true);
        author.begin(&pushing).await;
        let id = author.message_id(&pushing).await;
        let asked = if mediates { mediate(Some(&id), &url) } else { forward(&id, &url) };
        send(&pushing, &mut author, asked).await.1.codes()
    });
    for _ in 0..1000 {
        if recipient.dialled() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = only(&office).await.envelope.id;
    match releases {
        true => office.relay.release(&id, "root", "too early").await.expect("released"),
        false => office.relay.cancel_as_operator(&id, "root", "too early").await.expect("cancelled"),
    };
    let codes = task.await.expect("answered");
    let entries = office.entries().await;
    let replies = entries.len() - 1;
    let entry = office.store.find(&id).await.expect("found");
    Arc::into_inner(office).expect("the last").close().await;
    (codes, entry, replies)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_recipient_says_counts_whatever_an_operator_did_meanwhile() {
    let no = || Says::Answer(Answer { code: "9801", ..YES });
    let yes = || Says::Answer(YES);
    for (what, says, mediates, releases, code, state, finding, replies) in [
        ("cancelled, then a reply", yes(), true, false, "0801", S::Cancelled, Some("push-taken-late"), 1),
        ("cancelled, then a yes", yes(), false, false, "9810", S::Cancelled, Some("push-taken-late"), 0),
        ("released, then a reply", yes(), true, true, "0801", S::Received, None, 1),
        ("released, then a no", no(), false, true, "9805", S::Waiting, Some("push-declined"), 0),
    ] {
        let (codes, entry, kept) = meddled(says, mediates, releases).await;
        assert_eq!((codes, entry.card.state, kept), (vec![code.to_owned()], state, replies), "{what}");
        let found: Vec<_> = entry.card.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(found, finding.into_iter().collect::<Vec<_>>(), "{what}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The reply is kept and cannot be handed out: its author hears of a fault, and all the same it is known that the recipient
/// took the question, and what he replied.
#[tokio::test]
async fn a_reply_that_cannot_be_handed_out_leaves_its_trace() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _listening = tracing::subscriber::set_default(lines);
    let recipient = Recipient::listen(Says::Answer(YES)).await;
    let office = office(&[&recipient.url]).await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    // From here on the store fails to remember what is handed out in a dialog.
    let file = office.folder().join("store").join("amtsbote.sqlite");
    let other = rusqlite::Connection::open(file).expect("a database");
    other.busy_timeout(Duration::from_secs(10)).expect("a setting");
    other
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON dialog_delivery BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )
        .expect("a trigger");
    let (_, got) = send(&office, &mut author, mediate(Some(&id), &recipient.url)).await;
    assert_eq!(got.codes(), ["fault 9000"]);
    other.execute_batch("DROP TRIGGER broken").expect("mended");
    let entries = office.entries().await;
    let reply = entries.iter().find(|entry| entry.card.posted_by.as_str() == "reader").expect("a reply");
    let question =
        entries.iter().find(|entry| entry.card.posted_by.as_str() == "author").expect("a question");
    assert_eq!((question.card.state, reply.card.state), (S::Received, S::Waiting));
    let taken = question.card.steps.iter().find(|step| step.event == E::Received).expect("a step");
    assert_eq!(taken.by.as_deref(), Some("reader"));
    assert_eq!(taken.reason, Some(format!("replied with {}", reply.card.id)));
    let said = String::from_utf8(log.0.lock().expect("a log").clone()).expect("text");
    let told = format!(
        "{}: the recipient took it, and its reply {} waits in the sender's mailbox",
        question.card.id, reply.card.id
    );
    assert!(said.lines().any(|line| line.contains(&told)), "{said}");
    // It is fetched in another dialog.
    let mut again = Client::new("author", true, true);
    again.begin(&office).await;
    let fetched = again.send(&office, Payload::FetchDelivery(FetchDelivery::default())).await.answer();
    assert_eq!(fetched.package(), REPLY.as_bytes());
    office.close().await;
}
