//! Pushes to a passive recipient, who listens on a real socket and answers as he is told to: a case for each code.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::mime::content_id::ContentId;
use amtsbote::osci::client::address::Address;
use amtsbote::osci::client::exchange::Settings;
use amtsbote::osci::client::keys::{Keys as Own, Signature};
use amtsbote::osci::client::push::{self, Answered, Delivery, Failure, Purpose};
use amtsbote::osci::envelope::Limits;
use amtsbote::osci::envelope::encrypted::{self, OwnKey};
use amtsbote::osci::envelope::fault::{Fault, Side};
use amtsbote::osci::envelope::read::{self, Incoming, Received};
use amtsbote::osci::envelope::scope::Scope;
use amtsbote::osci::envelope::write::{Outgoing, OutgoingAttachment, Signing};
use amtsbote::osci::message::Message;
use amtsbote::osci::message::accept_delivery::{AcceptDelivery, ResponseToAcceptDelivery};
use amtsbote::osci::message::certificates::{Certificate, NonIntermediaryCertificates, Role};
use amtsbote::osci::message::control_block::{Challenge, ControlBlock};
use amtsbote::osci::message::custom_header::CustomHeader;
use amtsbote::osci::message::feedback::{CodeNumber, Entry, Feedback};
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::process_card::{ProcessCardBundle, Timestamp};
use amtsbote::osci::message::process_delivery::{ProcessDelivery, ResponseToProcessDelivery};
use amtsbote::osci::server::card;
use amtsbote::xml::dsig::sign::SigningKey;
use amtsbote::xml::dsig::{DigestMethod, SignatureMethod};
use amtsbote::xml::enc::RecipientKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::osci_office::{ATTACHED, PACKAGE, boundary, keys, seal};

pub const REPLY: &str = "<osci:ContentPackage><osci:ContentContainer Id=\"r\"><osci:Content><osci:Base64Content \
    Id=\"r0\">YW50\nd29ydA==</osci:Base64Content></osci:Content></osci:ContentContainer></osci:ContentPackage>";

/// How the recipient behaves.
#[derive(Clone)]
pub enum Says {
    /// An answer of OSCI.
    Answer(Answer),
    Fault(Side),
    /// Bytes of HTTP; nothing more, not even an end, where there are none.
    Http(&'static str),
}

impl Says {
    /// What goes over the wire; nothing where he is silent.
    pub fn bytes(&self, request: &Received) -> Option<Vec<u8>> {
        match self {
            Self::Http("") => None,
            Self::Http(bytes) => Some(bytes.as_bytes().to_vec()),
            Self::Fault(side) => {
                let code = CodeNumber::new(9000);
                let fault = Fault { side: *side, code, text: "nein".to_owned() };
                Some(http(fault.prepare(&boundary()).expect("a fault").to_vec().expect("written")))
            }
            Self::Answer(answer) => Some(http(written(answer, request))),
        }
    }
}

#[derive(Clone)]
pub struct Answer {
    pub code: &'static str,
    pub signed: bool,
    /// Whose key signs.
    pub signer: &'static str,
    pub encrypted: bool,
    /// Whether it returns the challenge that it was sent.
    pub ours: bool,
    /// Changed after it was signed.
    pub damage: Option<(&'static str, &'static str)>,
    pub content: bool,
}

pub const YES: Answer = Answer {
    code: "0800",
    signed: true,
    signer: "reader-signature",
    encrypted: true,
    ours: true,
    damage: None,
    content: true,
};

/// What the recipient was sent: the message, and its bytes in the clear.
pub type Seen = (Received, Vec<u8>);

struct Recipient {
    address: Address,
    task: JoinHandle<Option<Seen>>,
}

impl Recipient {
    async fn listen(says: Says) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let request = body(&mut stream).await;
            let seen = open(request);
            let Some(answer) = says.bytes(&seen.0) else {
                tokio::time::sleep(Duration::from_secs(20)).await;
                return None;
            };
            stream.write_all(&answer).await.expect("answered");
            Some(seen)
        });
        Self { address: format!("http://127.0.0.1:{port}/osci").parse().expect("a URL"), task }
    }
}

pub async fn body(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.expect("a request");
        let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if bytes.len() >= at + 4 + length.parse::<usize>().expect("a number") {
            return bytes.split_off(at + 4);
        }
    }
}

pub fn http(body: Vec<u8>) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

/// Opens a message with the reader's key.
pub fn open(bytes: Vec<u8>) -> Seen {
    let parse = |bytes: &[u8]| read::read(&mut &bytes[..], &Limits::default()).expect("a message");
    match parse(&bytes) {
        Incoming::Message(received) => (*received, bytes),
        Incoming::Fault(_) => panic!("a fault"),
        Incoming::Encrypted(sealed) => {
            let own = keys("reader-cipher");
            let (der, key) = (own.der(), RecipientKey::from_pkcs8(&own.pkcs8).expect("a key"));
            let span = sealed.ciphertext.span.clone();
            let mut ciphertext = &bytes[span.start as usize..span.end as usize];
            let own = [OwnKey { certificate_der: &der, key: &key }];
            let opened = sealed.open(&mut ciphertext, &own, &encrypted::policy(), Cursor::new(Vec::new()));
            let plain = opened.expect("for the reader").0.into_spool().into_inner();
            match parse(&plain) {
                Incoming::Message(received) => (*received, plain),
                _ => panic!("not a message inside"),
            }
        }
    }
}

pub fn written(answer: &Answer, request: &Received) -> Vec<u8> {
    let challenge = request.message.control.challenge.clone().expect("a challenge");
    let response = if answer.ours { challenge } else { Challenge::new("another").expect("a challenge") };
    let control = ControlBlock { response: Some(response), ..ControlBlock::default() };
    let code = CodeNumber::parse(answer.code).expect("a code");
    let feedback = Feedback::new(Entry { language: Some("de".to_owned()), code, text: "so".to_owned() });
    let processes = matches!(request.message.payload, Payload::ProcessDelivery(_));
    let payload = if processes {
        let answer = ResponseToProcessDelivery { feedback, message_id: None, subject: None };
        Payload::ResponseToProcessDelivery(answer)
    } else {
        Payload::ResponseToAcceptDelivery(ResponseToAcceptDelivery { feedback })
    };
    let own = keys(answer.signer);
    let shown = Certificate::new(Role::SignatureAddressee, own.der());
    let signer = SigningKey::from_pkcs8(&own.pkcs8).expect("a key");
    let mut message = Message::new(control, payload);
    if answer.signed {
        let certificates = NonIntermediaryCertificates::new(vec![shown.clone()]).expect("certificates");
        message.certificates = Some(certificates);
    }
    let scope = Scope::standard();
    let mut outgoing = Outgoing::new(&message, &scope, boundary());
    if processes && answer.content {
        outgoing.content = Some(Arc::new(REPLY.as_bytes().to_vec()));
    }
    if answer.signed {
        outgoing.signing = Some(Signing {
            signer: &signer,
            certificate_id: &shown.id,
            method: SignatureMethod::RsaSha256,
            digest: DigestMethod::Sha256,
        });
    }
    let prepared = outgoing.prepare().expect("a message");
    if answer.encrypted {
        return seal(prepared, &keys("intermediary-cipher").certificate);
    }
    let bytes = prepared.to_vec().expect("written");
    match answer.damage {
        None => bytes,
        Some((from, to)) => {
            let text = String::from_utf8(bytes).expect("text");
            assert!(text.contains(from), "nothing to damage");
            text.replace(from, to).into_bytes()
        }
    }
}

fn settings(address: Address) -> Settings {
    let (cipher, signature) = (keys("intermediary-cipher"), keys("intermediary-signature"));
    let own = Own {
        cipher: cipher.certificate.clone(),
        cipher_key: RecipientKey::from_pkcs8(&cipher.pkcs8).expect("a key"),
        signature: Some(Signature {
            certificate: signature.certificate.clone(),
            key: SigningKey::from_pkcs8(&signature.pkcs8).expect("a key"),
        }),
    };
    let mut settings = Settings::new(address, own, keys("reader-cipher").certificate.clone());
    settings.transport.exchange_time_max = Duration::from_secs(3);
    settings
}

fn bundle() -> ProcessCardBundle {
    let at = card::instant("2026-11-23T10:00:00Z".parse().expect("an instant"));
    ProcessCardBundle {
        message_id: MessageId::new("id-1").expect("an id"),
        recent_modification: at.clone(),
        creation: Timestamp::Plain(at.clone()),
        forwarding: Some(Timestamp::Plain(at)),
        reception: None,
        subject: Some("Rückmeldung <&>".to_owned()),
        inspections: Vec::new(),
    }
}

pub fn note() -> CustomHeader {
    CustomHeader {
        namespace: "urn:x".to_owned(),
        local: "Note".to_owned(),
        id: "Note".to_owned(),
        xml: "<x:Note xmlns:x=\"urn:x\" Id='Note'> <!-- kept --> &lt;ä</x:Note>".to_owned(),
    }
}

fn delivery(processes: bool) -> Delivery {
    let id = ContentId::from_header("<a.txt>").expect("an id");
    let mut attachment = OutgoingAttachment::new(id, "text/plain", Arc::new(ATTACHED.to_vec()));
    attachment.extra.push(("X-Note".to_owned(), "kept".to_owned()));
    let certificates = vec![
        Certificate::new(Role::CipherOriginator, keys("author-cipher").der()),
        Certificate::new(Role::CipherAddressee, keys("reader-cipher").der()),
    ];
    Delivery {
        purpose: match processes {
            false => Purpose::Accept(AcceptDelivery { card: bundle() }),
            true => Purpose::Process(ProcessDelivery {
                reply_id: Some(MessageId::new("id-2").expect("an id")),
                card: Some(bundle()),
            }),
        },
        languages: None,
        certificates: Some(NonIntermediaryCertificates::new(certificates).expect("certificates")),
        custom: vec![note()],
        scope: Scope::standard(),
        content: Arc::new(PACKAGE.as_bytes().to_vec()),
        attachments: vec![attachment],
    }
}

async fn pushed(says: Says, processes: bool) -> (Result<Answered, Failure>, JoinHandle<Option<Seen>>) {
    let recipient = Recipient::listen(says).await;
    let settings = Arc::new(settings(recipient.address));
    (push::push(&settings, delivery(processes)).await, recipient.task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passive_recipient_gets_what_was_sent_and_our_certificates() {
    for processes in [false, true] {
        let (outcome, task) = pushed(Says::Answer(YES), processes).await;
        let answered = outcome.expect("a yes");
        assert_eq!(answered.warnings, []);
        assert_eq!(answered.signer, Some(keys("reader-signature").der()));
        let reply = answered.opened.received.package_span();
        assert_eq!(reply.is_some(), processes, "only processDelivery brings content");

        let (seen, bytes) = task.await.expect("served").expect("a request");
        let part = |span: std::ops::Range<u64>| &bytes[span.start as usize..span.end as usize];
        assert_eq!(part(seen.package_span().expect("a package")), PACKAGE.as_bytes(), "byte for byte");
        assert_eq!(part(seen.attachments[0].span.clone()), ATTACHED);
        let headers = &seen.attachments[0].headers;
        assert!(headers.iter().any(|(name, value)| name == "X-Note" && value == "kept"), "{headers:?}");
        assert_eq!(seen.message.custom, [note()]);
        let ours = seen.message.intermediary.as_ref().expect("our certificates");
        assert_eq!(ours.cipher.as_ref().map(|own| &own.der), Some(&keys("intermediary-cipher").der()));
        let signed = seen.signature.as_ref().expect("a signature that holds").as_ref().expect("signed");
        assert_eq!(signed.certificate().der, keys("intermediary-signature").der());
        let control = &seen.message.control;
        assert!(control.challenge.is_some() && control.response.is_none());
        assert_eq!((&control.conversation_id, control.sequence_number), (&None, None));
        match &seen.message.payload {
            Payload::AcceptDelivery(accept) => assert_eq!(accept.card, bundle()),
            Payload::ProcessDelivery(process) => {
                assert_eq!(process.card, Some(bundle()));
                assert_eq!(process.reply_id.as_ref().map(MessageId::as_str), Some("id-2"));
            }
            other => panic!("{:?}", other.kind()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_outcome_has_its_code() {
    let answer = |change: fn(&mut Answer)| {
        let mut answer = YES;
        change(&mut answer);
        Says::Answer(answer)
    };
    for (what, says, processes, expected) in [
        ("a warning is a yes", answer(|a| a.code = "3705"), false, ""),
        ("unsigned", answer(|a| a.signed = false), false, "3802"),
        ("unencrypted", answer(|a| a.encrypted = false), true, "3803"),
        ("neither", answer(|a| (a.signed, a.encrypted) = (false, false)), false, "3802 3803"),
        ("a no", answer(|a| a.code = "9801"), false, "9805"),
        ("a no to a question", answer(|a| a.code = "9801"), true, "9805"),
        ("a fault that blames us", Says::Fault(Side::Client), false, "9805"),
        ("no content", answer(|a| a.content = false), true, "9806"),
        (
            "a damaged answer",
            answer(|a| (a.encrypted, a.damage) = (false, Some((">so<", ">ja<")))),
            false,
            "9807",
        ),
        (
            "a no that became a yes on its way",
            answer(|a| (a.code, a.encrypted, a.damage) = ("9805", false, Some((">9805<", ">0800<")))),
            false,
            "9807",
        ),
        ("his own trouble", answer(|a| a.code = "9811"), false, "9808"),
        ("a fault that blames him", Says::Fault(Side::Server), true, "9808"),
        ("an answer to another question", answer(|a| a.ours = false), false, "9810"),
        ("HTTP 500", Says::Http("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), false, "9810"),
        (
            "a redirect",
            Says::Http("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n"),
            false,
            "9810",
        ),
        ("no OSCI", Says::Http("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), false, "9810"),
        ("cut off", Says::Http("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nMIME"), false, "9810"),
        ("silence", Says::Http(""), false, "9810"),
    ] {
        let (outcome, task) = pushed(says, processes).await;
        let found = match outcome {
            Ok(answered) => {
                let codes: Vec<_> = answered.warnings.iter().map(|code| code.as_str()).collect();
                match answered.lacks_content {
                    true => "9806".to_owned(),
                    false => codes.join(" "),
                }
            }
            Err(failure) => failure.code.as_str().to_owned(),
        };
        assert_eq!(found, expected, "{what}");
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_saw_nothing_was_not_reached() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let nobody: Address = format!("http://127.0.0.1:{port}/").parse().expect("a URL");
    let failure = push::push(&Arc::new(settings(nobody.clone())), delivery(false)).await.err();
    assert_eq!(failure.map(|failure| failure.code.as_str()), Some("9809"), "nobody listens");

    // What cannot even be written down has not left us.
    let mut nowhere = settings(nobody);
    nowhere.scratch = "/nowhere/at/all".into();
    let failure = push::push(&Arc::new(nowhere), delivery(false)).await.err().expect("no room");
    assert_eq!(failure.code.as_str(), "9809", "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_must_not_lead_inside() {
    let recipient = Recipient::listen(Says::Answer(YES)).await;
    let named: Address = format!("http://localhost:{}/osci", recipient.address.port).parse().expect("a URL");
    let guarded = |address: Address| {
        let mut settings = settings(address);
        settings.transport.names_stay_outside = true;
        Arc::new(settings)
    };
    let failure = push::push(&guarded(named), delivery(false)).await.err().expect("refused");
    assert_eq!(failure.code.as_str(), "9809");
    assert!(failure.detail.contains("leads to"), "{failure}");
    // Whoever means this machine lists its address.
    push::push(&guarded(recipient.address), delivery(false)).await.expect("a yes");
}
