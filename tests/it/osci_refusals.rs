//! What the OSCI door refuses or remarks, by which code, and that nothing is stored then: a request for the rows of the
//! result codes that an intermediary without pushes can give. Not here: 9000 (`osci_bounds`), those of a recipient's answer
//! (`osci_forward`), 9811 where we are to blame, 9201 and 9603, which it never gives.

use amtsbote::osci::envelope::fault::{Fault, Side};
use amtsbote::osci::message::certificates::{Certificate as Shown, NonIntermediaryCertificates, Role};
use amtsbote::osci::message::control_block::{Challenge, ConversationId};
use amtsbote::osci::message::feedback::CodeNumber;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::fetch_process_card::FetchProcessCard;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::store_delivery::StoreDelivery;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::osci_office::{Client, Draft, Lists, Office, account, boundary, delivery, keys, seal};

fn fetch() -> Payload {
    Payload::FetchDelivery(FetchDelivery::default())
}

fn cards() -> Payload {
    Payload::FetchProcessCard(FetchProcessCard::default())
}

/// Puts another certificate into the message, or one more.
fn show(draft: &mut Draft, role: Role, name: &str) {
    let mut all =
        draft.message.certificates.take().map(|block| block.without(role)).unwrap_or_default().all().to_vec();
    all.push(Shown::new(role, keys(name).der()));
    draft.message.certificates = Some(NonIntermediaryCertificates::new(all).expect("certificates"));
}

fn replaced(bytes: Vec<u8>, old: &str, new: &str) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).expect("it is there");
    [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_a_fault() {
    let office = Office::open().await;
    let plain = Client::new("author", false, true);
    let sealed = Client::new("author", true, true);
    let request = |client: &Client| client.draft(Payload::InitDialog);
    let whole = plain.write(request(&plain));
    let doctype = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    let mut flipped = sealed.write(request(&sealed));
    let at = flipped.len() - 100;
    flipped[at] ^= 1;
    let fault = Fault { side: Side::Client, code: CodeNumber::new(9100), text: "inside".to_owned() };
    let inside = fault.prepare(&boundary()).expect("a fault");
    for (body, expected) in [
        (Vec::new(), "9100"),
        (b"garbage".to_vec(), "9100"),
        (whole[..whole.len() - 10].to_vec(), "9100"),
        (replaced(whole.clone(), doctype, &format!("{doctype}<!DOCTYPE a>")), "9100"),
        (replaced(whole.clone(), "soapInitDialog.xsd", "soapResponseToInitDialog.xsd"), "9100"),
        (replaced(whole.clone(), "soapInitDialog.xsd", "soapAnything.xsd"), "9100"),
        (replaced(whole.clone(), "Id=\"body\"", "Id=\"controlblock\""), "9100"),
        (sealed.write_for(request(&sealed), keys("reader-cipher")), "9200"),
        (flipped, "9202"),
        (seal(inside, &keys("intermediary-cipher").certificate), "9300"),
    ] {
        let answer = office.post(&body).await;
        let got = Client::new("author", false, false).read(answer);
        assert_eq!(got.codes(), [format!("fault {expected}")], "{}", String::from_utf8_lossy(&body));
    }
    assert_eq!(office.spooled(), 0);
    office.close().await;
}

/// A large message is decrypted while it arrives, and nothing of it counts before its tag was found right.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_tag_undoes_what_was_decrypted_before_it() {
    let office = Office::open().await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    let id = client.message_id(&office).await;
    let mut draft = client.draft(delivery(&id));
    draft.attachments[0].source = std::sync::Arc::new(vec![7; 900_000]);
    let whole = client.write(draft);
    assert!(whole.len() > 900_000);
    // In the first piece that was released to the spool, in a later one, and in the tag itself.
    let tag = with_blocks_behind(&whole, |ciphertext| *ciphertext.last_mut().expect("a tag") ^= 1);
    let mut bent = vec![tag];
    for at in [whole.len() / 10, whole.len() / 2] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        bent.push(flipped);
    }
    for body in bent {
        let answer = office.post(&body).await;
        assert_eq!(Client::new("author", false, false).read(answer).codes(), ["fault 9202"]);
        assert_eq!((office.entries().await.len(), office.spooled()), (0, 0));
    }
    let answer = office.post(&whole).await;
    assert_eq!(client.read(answer).codes(), ["0801"]);
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

/// Bytes put behind the ciphertext of an encrypted message, as a client writes it.
fn with_blocks_behind(message: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let last =
        |needle: &[u8]| message.windows(needle.len()).rposition(|found| found == needle).expect("is there");
    let (start, end) = (last(b"\r\n\r\n") + 4, last(b"\r\n--"));
    let is_base64 = message[start..end].is_ascii();
    let mut ciphertext = match is_base64 {
        true => {
            let text: Vec<u8> =
                message[start..end].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            STANDARD.decode(text).expect("base64")
        }
        false => message[start..end].to_vec(),
    };
    change(&mut ciphertext);
    let coded = if is_base64 { STANDARD.encode(&ciphertext).into_bytes() } else { ciphertext };
    [&message[..start], &coded[..], &message[end..]].concat()
}

/// Whoever captured a request must not learn from answers what a block of it decrypts to (AES-CBC, where it is allowed):
/// behind it he puts a block of his choice and the one that he is after, and only one value in sixteen fits as padding.
#[tokio::test(flavor = "multi_thread")]
async fn padding_of_foreign_blocks_does_not_show() {
    let office = Office::open_with(|settings| settings.policy.cbc = true).await;
    let mut client = Client::new("author", true, true);
    client.algorithms.method = amtsbote::xml::enc::ContentMethod::Aes256Cbc;
    let mut draft = client.draft(Payload::GetMessageId);
    draft.message.features = None;
    let captured = client.write(draft);
    let whole = office.post(&captured).await;
    assert!(!client.read(whole).codes().is_empty(), "it is a message");
    for last in 0..=255_u8 {
        let body = with_blocks_behind(&captured, |ciphertext| {
            let target = ciphertext[16..32].to_vec();
            ciphertext.extend([[9; 15].as_slice(), &[last]].concat());
            ciphertext.extend(target);
        });
        let answer = office.post(&body).await;
        let got = Client::new("author", false, false).read(answer);
        assert_eq!(got.codes(), ["fault 9202"], "{last}");
    }
    // The tag of AES-GCM and the length of AES-CBC say the same.
    for change in
        [|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 16), |bytes: &mut Vec<u8>| bytes.truncate(40)]
    {
        let answer = office.post(&with_blocks_behind(&captured, change)).await;
        assert_eq!(Client::new("author", false, false).read(answer).codes(), ["fault 9202"]);
    }
    assert_eq!(office.spooled(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_is_kept_to() {
    let office = Office::open().await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    type Bend = fn(&mut Draft);
    let bends: [(&str, Bend); 7] = [
        ("unknown dialog", |draft| {
            draft.message.control.conversation_id = Some(ConversationId::new("4711").expect("an id"));
        }),
        ("no digits", |draft| {
            draft.message.control.conversation_id = Some(ConversationId::new("abc").expect("an id"));
        }),
        ("sequence ahead", |draft| draft.message.control.sequence_number = Some(1)),
        ("no sequence", |draft| draft.message.control.sequence_number = None),
        ("no response", |draft| draft.message.control.response = None),
        ("stale response", |draft| {
            draft.message.control.response = Some(Challenge::from_random([7; 10]));
        }),
        ("another client's certificate", |draft| show(draft, Role::CipherOriginator, "reader-cipher")),
    ];
    for (what, bend) in bends {
        let got = client.send_changed(&office, Payload::GetMessageId, bend).await;
        assert_eq!(got.codes(), ["fault 9400"], "{what}");
    }
    client.encrypted = false;
    assert_eq!(
        client.send(&office, Payload::GetMessageId).await.codes(),
        ["fault 9400"],
        "encryption dropped"
    );
    client.encrypted = true;
    // None of it moved the dialog.
    let id = client.message_id(&office).await;
    // What is refused by feedback does.
    let foreign = client.send_changed(&office, delivery(&id), |draft| {
        show(draft, Role::CipherAddressee, "stranger-cipher");
    });
    assert_eq!(foreign.await.codes(), ["9811"]);
    assert_eq!(client.send(&office, delivery(&id)).await.codes(), ["0801"]);
    client.exit(&office).await;
    assert_eq!(office.entries().await.len(), 1);
    // A dialog that is over cannot be used again.
    client.dialog = Some(("4711".to_owned(), "x".to_owned(), 0));
    assert_eq!(client.send(&office, Payload::GetMessageId).await.codes(), ["fault 9400"]);
    // Nothing but Challenge may stand in the first request.
    let got = client.send_changed(&office, Payload::InitDialog, |draft| {
        draft.message.control.sequence_number = Some(0);
    });
    assert_eq!(got.await.codes(), ["fault 9400"]);
    office.close().await;
}

/// A participant may own several certificates, and a dialog goes on with those that it began with.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_do_not_change_in_a_dialog() {
    let office = Office::open().await;
    let mut author = account("author", crate::osci_office::AUTHOR);
    let other = account("stranger", "x").osci;
    author.osci.cipher.extend(other.cipher);
    author.osci.signature.extend(other.signature);
    office.apply(vec![author, account("reader", crate::osci_office::READER)]).await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    client.message_id(&office).await;
    client.signs_as = "stranger";
    assert_eq!(client.send(&office, Payload::GetMessageId).await.codes(), ["fault 9400"]);
    client.signs_as = "author";
    let got = client.send_changed(&office, Payload::GetMessageId, |draft| {
        show(draft, Role::CipherOriginator, "stranger-cipher");
    });
    assert_eq!(got.await.codes(), ["fault 9400"]);
    client.message_id(&office).await;
    client.exit(&office).await;
    // A dialog that began unsigned goes on with the first signature that it saw.
    let mut client = Client::new("author", true, false);
    client.begin(&office).await;
    client.signed = true;
    client.message_id(&office).await;
    client.signs_as = "stranger";
    assert_eq!(client.send(&office, Payload::GetMessageId).await.codes(), ["fault 9400"]);
    // Another participant's signature is nobody's here: it proves nothing, and the dialog does not keep it.
    let mut client = Client::new("author", false, false);
    client.begin(&office).await;
    (client.signed, client.signs_as) = (true, "reader");
    assert_eq!(client.send(&office, Payload::GetMessageId).await.codes(), ["9601"]);
    client.signs_as = "author";
    client.message_id(&office).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_need_a_dialog_say_so() {
    let office = Office::open().await;
    for payload in [fetch(), cards()] {
        let mut client = Client::new("author", true, true);
        assert_eq!(client.send(&office, payload).await.codes(), ["9802"]);
    }
    let mut client = Client::new("author", true, false);
    client.begin(&office).await;
    assert_eq!(client.send(&office, fetch()).await.codes(), ["9803"]);
    assert_eq!(client.send(&office, cards()).await.codes(), ["9804"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn originators_are_judged_first() {
    let office = Office::open().await;
    for (name, signed, expected) in [
        ("author", true, &["0801"][..]),
        ("untrusted", false, &["fault 9501"]),
        ("revoked", false, &["fault 9502"]),
        ("expired", false, &["3500", "0801"]),
        ("expired", true, &["3500", "3700", "0801"]),
        ("stranger", true, &["9811"]),
    ] {
        let mut client = Client::new(name, true, signed);
        assert_eq!(client.send(&office, Payload::InitDialog).await.codes(), expected, "{name}");
    }
    let mut client = Client::new("author", true, false);
    let got = client.send_changed(&office, Payload::InitDialog, |draft| draft.message.certificates = None);
    assert_eq!(got.await.codes(), ["fault 9500"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_judged() {
    let office = Office::open().await;
    let mut strict = account("author", "ags:1");
    strict.osci.signature_required = true;
    let mut sealed = account("reader", "ags:2");
    sealed.osci.encryption_required = true;
    let mut long = account("expired", "ags:3");
    long.osci.rsa_bits_min = Some(3072);
    // Signatures of others that this account may use, good or not.
    let mut signers = account("stranger", "ags:4");
    signers.osci.signature = Vec::new();
    for name in ["untrusted", "revoked"] {
        signers.osci.signature.extend(account(name, "x").osci.signature);
    }
    let mut blocked = account("untrusted", "ags:5");
    blocked.osci.signature = Vec::new();
    blocked.blocked = true;
    office.apply(vec![strict, sealed, long, signers, blocked]).await;
    for (name, signs_as, encrypted, signed, expected) in [
        ("author", "author", true, true, &["0801"][..]),
        ("author", "author", true, false, &["9600"]),
        ("author", "reader", true, true, &["9601"]),
        ("reader", "reader", true, false, &["0801"]),
        ("reader", "reader", false, true, &["9811"]),
        ("expired", "expired", true, false, &["9811", "3500"]),
        ("stranger", "untrusted", true, true, &["9700"]),
        ("stranger", "revoked", true, true, &["9701"]),
        ("stranger", "stranger", true, true, &["9601"]),
    ] {
        let mut client = Client { signs_as, ..Client::new(name, encrypted, signed) };
        let got = client.send(&office, Payload::InitDialog).await;
        assert_eq!(got.codes(), expected, "{name} {signs_as} {encrypted} {signed}");
    }
    let client = Client::new("author", false, true);
    let whole = client.write(client.draft(Payload::InitDialog));
    let header = "<x:Note xmlns:x=\"urn:x\" Id=\"Note\"></x:Note></soap:Header>";
    for (body, expected) in [
        (replaced(whole.clone(), "LanguagesList=\"de\"", "LanguagesList=\"en\""), "9601"),
        (replaced(whole, "</soap:Header>", header), "9602"),
    ] {
        let answer = office.post(&body).await;
        assert_eq!(Client::new("author", false, true).read(answer).codes(), [expected]);
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_participant_demands_of_itself_is_kept() {
    use amtsbote::domain::algorithm::{ContentMethod, DigestMethod, KeyTransport, SignatureMethod};
    let office = Office::open().await;
    type Demand = fn(&mut amtsbote::domain::account::OsciParticipant);
    // What the client writes is signed by RSA with SHA-256, and encrypted by AES-256-GCM and RSA-OAEP with SHA-256.
    let demands: [(Demand, &str); 9] = [
        (|osci| osci.signature_methods = Some(vec![SignatureMethod::RsaSha256]), "0801"),
        (|osci| osci.signature_methods = Some(vec![SignatureMethod::RsaPssSha256]), "9601"),
        (|osci| osci.digest_methods = Some(vec![DigestMethod::Sha512]), "9601"),
        (|osci| osci.content_methods = Some(vec![ContentMethod::Aes256Gcm]), "0801"),
        (|osci| osci.content_methods = Some(vec![ContentMethod::Aes128Gcm]), "9811"),
        (|osci| osci.key_transports = Some(vec![KeyTransport::RsaOaepSha512]), "9811"),
        (|osci| osci.rsa_bits_min = Some(3072), "9811"),
        (|osci| osci.rsa_bits_min = Some(2048), "0801"),
        (|osci| osci.ec_bits_min = Some(384), "0801"),
    ];
    for (at, (demand, expected)) in demands.into_iter().enumerate() {
        let mut demanding = account("author", "ags:1");
        demand(&mut demanding.osci);
        office.apply(vec![demanding, account("reader", "ags:2")]).await;
        let mut client = Client::new("author", true, true);
        assert_eq!(client.send(&office, Payload::InitDialog).await.codes(), [expected], "demand {at}");
        // Others are free of it.
        let mut other = Client::new("reader", true, true);
        assert_eq!(other.send(&office, Payload::InitDialog).await.codes(), ["0801"], "demand {at}");
    }
    // What is signed in the clear is enough for others only.
    let mut demanding = account("author", "ags:1");
    demanding.osci.encryption_required = true;
    office.apply(vec![demanding, account("reader", "ags:2")]).await;
    for (name, encrypted, expected) in
        [("author", false, "9811"), ("author", true, "0801"), ("reader", false, "0801")]
    {
        let mut client = Client::new(name, encrypted, true);
        let codes = client.send(&office, Payload::InitDialog).await.codes();
        assert_eq!(codes, [expected], "{name}, encrypted: {encrypted}");
    }
    // In a dialog that began before the demand, the next request is judged by it.
    office.apply(vec![account("author", "ags:1"), account("reader", "ags:2")]).await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    let id = client.message_id(&office).await;
    let mut demanding = account("author", "ags:1");
    demanding.osci.digest_methods = Some(vec![DigestMethod::Sha3_256]);
    office.apply(vec![demanding, account("reader", "ags:2")]).await;
    assert_eq!(client.send(&office, delivery(&id)).await.codes(), ["9601"]);
    assert_eq!(office.entries().await.len(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_ids_are_good_where_they_were_issued_to() {
    let office = Office::open().await;
    // Two cipher certificates of one account, each with a mailbox of its own.
    let mut both = account("author", "ags:1");
    let mut second = account("stranger", "ags:2");
    both.identifiers.extend(second.identifiers);
    both.osci.cipher[0].identifier = Some("ags:1".to_owned());
    second.osci.cipher[0].identifier = Some("ags:2".to_owned());
    both.osci.cipher.extend(second.osci.cipher);
    both.osci.signature.extend(second.osci.signature);
    office.apply(vec![both, account("reader", "ags:3")]).await;
    let stored = async |client: &mut Client, id: &MessageId| client.send(&office, delivery(id)).await.codes();

    let (mut one, mut other) = (Client::new("author", true, true), Client::new("stranger", true, true));
    let id = one.message_id(&office).await;
    assert_eq!(stored(&mut other, &id).await, ["9801"], "another certificate of the same account");
    assert_eq!(stored(&mut one, &id).await, ["0800"]);
    let id = one.message_id(&office).await;
    let (mut ours, mut theirs) = (Client::new("author", true, true), Client::new("stranger", true, true));
    theirs.begin(&office).await;
    assert_eq!(stored(&mut theirs, &id).await, ["9801"], "in a dialog as well");
    ours.begin(&office).await;
    assert_eq!(stored(&mut ours, &id).await, ["0801"]);

    // Signed, but in the clear: whoever listened knows the id and can encrypt for us.
    let (mut open, mut forger) = (Client::new("author", false, true), Client::new("author", true, false));
    let id = open.message_id(&office).await;
    assert_eq!(stored(&mut forger, &id).await, ["9801"], "nothing proves who asks");
    let mut signed = Client::new("author", true, true);
    assert_eq!(stored(&mut signed, &id).await, ["0800"], "a signature does");
    let id = open.message_id(&office).await;
    let mut dialog = Client::new("author", true, false);
    dialog.begin(&office).await;
    assert_eq!(stored(&mut dialog, &id).await, ["0801"], "so does a challenge that left encrypted");
    // An id that only its owner could read is proof enough.
    let id = forger.message_id(&office).await;
    assert_eq!(stored(&mut forger, &id).await, ["0800"]);
    assert_eq!(office.entries().await.len(), 5);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_nothing_gets_nothing() {
    let office = Office::open().await;
    let mut client = Client::new("author", false, false);
    client.begin(&office).await;
    for payload in [fetch(), cards(), Payload::GetMessageId] {
        assert_eq!(client.send(&office, payload).await.codes(), ["9600"]);
    }
    // Encrypting for us is what anybody can do: the challenge before it left readably.
    client.encrypted = true;
    assert_eq!(client.send(&office, fetch()).await.codes(), ["9600"]);
    assert_eq!(client.send(&office, fetch()).await.codes(), ["9803"], "this one left encrypted");
    office.close().await;

    let office = Office::open_with(|settings| settings.unproven_senders = true).await;
    let mut client = Client::new("author", false, false);
    let id = client.message_id(&office).await;
    assert_eq!(client.send(&office, delivery(&id)).await.codes(), ["0800"]);
    client.begin(&office).await;
    assert_eq!(client.send(&office, fetch()).await.codes(), ["9600"], "mailboxes stay closed");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_ids_are_used_once_by_whom_they_were_issued_to() {
    let office = Office::open().await;
    let (mut author, mut reader) = (Client::new("author", true, true), Client::new("reader", true, true));
    author.begin(&office).await;
    reader.begin(&office).await;
    let id = author.message_id(&office).await;
    let missing = Payload::StoreDelivery(StoreDelivery { message_id: None, subject: None });
    assert_eq!(author.send(&office, missing).await.codes(), ["9800"]);
    let invented = MessageId::new("urn:de:xta:messageid:post:invented").expect("an id");
    assert_eq!(author.send(&office, delivery(&invented)).await.codes(), ["9801"]);
    assert_eq!(author.send(&office, delivery(&MessageId::new("ä").expect("an id"))).await.codes(), ["9801"]);
    assert_eq!(reader.send(&office, delivery(&id)).await.codes(), ["9801"]);
    assert_eq!(office.entries().await.len(), 0);
    assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["0801"]);
    assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["9801"]);
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_delivery_are_judged() {
    let office = Office::open().await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    for (role, name, expected) in [
        (Role::CipherAddressee, "untrusted-cipher", "9706"),
        (Role::CipherAddressee, "revoked-cipher", "9707"),
        (Role::CipherOtherReader, "untrusted-cipher", "9708"),
        (Role::CipherOtherReader, "revoked-cipher", "9709"),
        (Role::CipherOtherAuthor, "untrusted-cipher", "9704"),
        (Role::CipherOtherAuthor, "revoked-cipher", "9705"),
        (Role::CipherAddressee, "stranger-cipher", "9811"),
        (Role::CipherAddressee, "expired-cipher", "3705"),
        (Role::CipherOtherReader, "expired-cipher", "3706"),
        (Role::CipherOtherAuthor, "expired-cipher", "3704"),
        (Role::SignatureOtherAuthor, "expired-signature", "3701"),
        (Role::SignatureOtherAuthor, "untrusted-signature", "3702"),
        (Role::SignatureOtherAuthor, "revoked-signature", "3703"),
    ] {
        let before = office.entries().await.len();
        let id = client.message_id(&office).await;
        let got = client.send_changed(&office, delivery(&id), |draft| show(draft, role, name)).await;
        let refused = expected.starts_with('9');
        let codes = if refused { vec![expected] } else { vec![expected, "0801"] };
        assert_eq!(got.codes(), codes, "{role:?} {name}");
        assert_eq!(office.entries().await.len(), before + usize::from(!refused), "{role:?} {name}");
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_and_leaves_nothing() {
    let small = |settings: &mut amtsbote::osci::server::Settings| settings.limits.content_bytes_max = 600_000;
    let office = Office::open_with(small).await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    let id = client.message_id(&office).await;
    let large = vec![7; 700_000];
    let got = client.send_changed(&office, delivery(&id), |draft| {
        draft.attachments[0].source = std::sync::Arc::new(large);
    });
    assert_eq!(got.await.codes(), ["9904"]);
    assert_eq!((office.entries().await.len(), office.spooled()), (0, 0));
    // The id was not used by what was refused; 500,000 bytes go through files, both ways.
    let fits: Vec<u8> = (0..500_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = fits.clone();
    let got = client.send_changed(&office, delivery(&id), |draft| {
        draft.attachments[0].source = std::sync::Arc::new(sent);
    });
    assert_eq!(got.await.codes(), ["0801"]);
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    let reply = reader.send(&office, fetch()).await.answer();
    assert!(reply.attachment(0) == fits, "byte for byte");
    // More than any delivery may have is not even read to its end.
    let body = vec![b'a'; 20 * 1024 * 1024];
    let answer = office.post(&body).await;
    assert_eq!(client.read(answer).codes(), ["fault 9100"]);
    assert_eq!(office.spooled(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_revoked_in_a_dialog_opens_nothing() {
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    let id = author.message_id(&office).await;
    assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["0800"]);
    let mut reader = Client::new("reader", true, false);
    reader.begin(&office).await;
    assert_eq!(reader.send(&office, fetch()).await.codes(), ["0801"]);
    office.know(Lists::OfLater);
    for payload in [fetch(), Payload::GetMessageId, Payload::ExitDialog] {
        assert_eq!(reader.send(&office, payload).await.codes(), ["fault 9502"]);
    }
    let state = office.entries().await[0].card.state;
    assert_eq!(state, amtsbote::domain::state::DeliveryState::HandedOut, "nothing is confirmed");
    // Others are not concerned.
    author.message_id(&office).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_ends_after_a_day_however_busy() {
    let hour = 3600;
    let idle = |settings: &mut amtsbote::osci::server::Settings| {
        settings.dialog_idle = std::time::Duration::from_secs(10 * hour);
    };
    let office = Office::open_with(idle).await;
    let mut client = Client::new("author", true, true);
    client.begin(&office).await;
    for hours in [9, 9, 5] {
        office.clock.advance(std::time::Duration::from_secs(hours * hour));
        client.message_id(&office).await;
    }
    office.clock.advance(std::time::Duration::from_secs(hour));
    assert_eq!(client.send(&office, Payload::GetMessageId).await.codes(), ["fault 9400"]);
    client.begin(&office).await;
    client.exit(&office).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_have_written_is_bounded_and_locks_nobody_out() {
    let office = Office::open_with(|settings| {
        (settings.unproven.ids_per_day, settings.unproven.dialogs_max) = (2, 2);
    })
    .await;
    let mut stranger = Client::new("author", true, false);
    for expected in ["0800", "0800", "9811"] {
        assert_eq!(stranger.send(&office, Payload::GetMessageId).await.codes(), [expected]);
    }
    for expected in ["0801", "0801", "9811"] {
        let mut stranger = Client::new("author", true, false);
        assert_eq!(stranger.send(&office, Payload::InitDialog).await.codes(), [expected]);
    }
    // Who signs is not counted, nor who proves himself in a dialog, nor anybody else.
    let mut owner = Client::new("author", true, true);
    owner.message_id(&office).await;
    owner.begin(&office).await;
    owner.signed = false;
    owner.message_id(&office).await;
    let mut other = Client::new("reader", true, false);
    other.message_id(&office).await;
    other.begin(&office).await;
    office.clock.advance(crate::osci_office::IDLE);
    Client::new("author", true, false).begin(&office).await;
    office.clock.advance(std::time::Duration::from_secs(86_400));
    stranger.message_id(&office).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_that_nobody_knows_is_remarked_or_refused() {
    use amtsbote::pki::inspection::UnknownRevocation::{Refuse, Warn};
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let (one, two) = (author.message_id(&office).await, author.message_id(&office).await);
    office.know(Lists::Missing(Warn));
    let mut codes = author.send(&office, delivery(&one)).await.codes();
    codes.sort();
    assert_eq!(codes, ["0801", "3501", "3707"], "done, and remarked");
    let begun = Client::new("author", true, false).send(&office, Payload::InitDialog).await;
    assert_eq!(begun.codes(), ["3501", "0801"]);
    office.know(Lists::Missing(Refuse));
    assert_eq!(author.send(&office, delivery(&two)).await.codes(), ["fault 9503"]);
    let begun = Client::new("author", true, false).send(&office, Payload::InitDialog).await;
    assert_eq!(begun.codes(), ["fault 9503"]);
    office.know(Lists::MissingForSignatures);
    assert_eq!(author.send(&office, delivery(&two)).await.codes(), ["9710"]);
    let begun = Client::new("author", true, true).send(&office, Payload::InitDialog).await;
    assert_eq!(begun.codes(), ["9710"]);
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_that_is_taken_goes_through_the_door() {
    use amtsbote::xml::dsig::DigestMethod as D;
    use amtsbote::xml::dsig::SignatureMethod as S;
    use amtsbote::xml::enc::{IvLength, KeyTransport};
    let office = Office::open().await;
    office
        .apply(vec![account("author", "ags:1"), account("reader", "ags:2"), account("elliptic", "ags:3")])
        .await;
    for (name, method, digest) in [
        ("author", S::RsaSha256, D::Sha512),
        ("author", S::RsaSha512, D::Sha512),
        ("author", S::RsaPssSha256, D::Sha256),
        ("author", S::RsaPssSha512, D::Sha3_512),
        ("elliptic", S::EcdsaSha256, D::Sha256),
    ] {
        for encrypted in [true, false] {
            let mut client = Client::new(name, encrypted, true);
            client.signs_by = Some((method, digest));
            client.begin(&office).await;
            let id = client.message_id(&office).await;
            assert_eq!(client.send(&office, delivery(&id)).await.codes(), ["0801"], "{method:?} {digest:?}");
            // A signature is no better than what it covers.
            let whole = client.draft(Payload::GetMessageId);
            if !encrypted {
                let body = replaced(client.write(whole), "LanguagesList=\"de\"", "LanguagesList=\"en\"");
                let answer = office.post(&body).await;
                assert_eq!(client.read(answer).codes(), ["9601"], "{method:?} {digest:?}");
            }
            client.exit(&office).await;
        }
    }
    // IV of 16 octets, as clients wrote it until 2021, with the key transport of today.
    let mut client = Client::new("author", true, true);
    client.algorithms.iv = IvLength::Sixteen;
    assert_eq!(client.algorithms.transport, KeyTransport::OAEP_SHA256);
    client.begin(&office).await;
    let id = client.message_id(&office).await;
    assert_eq!(client.send(&office, delivery(&id)).await.codes(), ["0801"]);
    client.exit(&office).await;
    office.close().await;
}

/// Which cards a selection rule brings, and that there are more is said (3801).
#[tokio::test(flavor = "multi_thread")]
async fn cards_are_selected_over_the_wire() {
    use amtsbote::domain::envelope::Instant;
    use amtsbote::osci::message::selection::{CardRole, CardSelection, CardsSince};
    let office = Office::open().await;
    let (mut author, mut reader) = (Client::new("author", true, true), Client::new("reader", true, true));
    author.begin(&office).await;
    reader.begin(&office).await;
    let minute = std::time::Duration::from_secs(60);
    // Minutes 0, 1 and 2; the first is received in minute 5.
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = author.message_id(&office).await;
        assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["0801"]);
        ids.push(id);
        office.clock.advance(minute);
    }
    assert_eq!(reader.send(&office, fetch()).await.codes(), ["3800", "0801"]);
    office.clock.advance(2 * minute);
    reader.message_id(&office).await;
    let since = |minute: u32, no_reception, role| {
        let text = format!("2026-11-23T10:{minute:02}:00Z");
        CardsSince { since: Instant { at: text.parse().expect("an instant"), text }, no_reception, role }
    };
    let (reception, modification) = (CardSelection::ReceptionOfDelivery, CardSelection::RecentModification);
    let (originator, addressee) = (Some(CardRole::Originator), Some(CardRole::Addressee));
    type Row<'a> = (Option<CardSelection>, Option<u64>, &'a [usize], &'a [usize], bool);
    // What the author gets, what the reader gets, and whether there is more.
    let table: [Row<'_>; 12] = [
        (None, None, &[2, 1, 0], &[2, 1, 0], false),
        (None, Some(2), &[2, 1], &[2, 1], true),
        (None, Some(3), &[2, 1, 0], &[2, 1, 0], false),
        (Some(reception(since(1, None, None))), None, &[2, 1], &[2, 1], false),
        (Some(reception(since(0, Some(true), None))), None, &[2, 1], &[2, 1], false),
        (Some(reception(since(0, Some(false), None))), Some(1), &[2], &[2], true),
        (Some(reception(since(0, None, originator))), None, &[2, 1, 0], &[], false),
        (Some(reception(since(0, None, addressee))), None, &[], &[2, 1, 0], false),
        (Some(modification(since(5, None, None))), None, &[0], &[0], false),
        (Some(modification(since(5, Some(true), None))), None, &[], &[], false),
        (Some(modification(since(6, None, None))), None, &[], &[], false),
        (Some(CardSelection::MessageIds(vec![ids[1].clone()])), None, &[1], &[1], false),
    ];
    for (selection, quantity_max, of_author, of_reader, more) in table {
        for (client, expected) in [(&mut author, of_author), (&mut reader, of_reader)] {
            let asked = FetchProcessCard { selection: selection.clone(), quantity_max };
            let reply = client.send(&office, Payload::FetchProcessCard(asked.clone())).await.answer();
            let what = format!("{asked:?} {}", client.name);
            let codes: &[&str] = match (expected.is_empty(), more) {
                (true, _) => &["9804"],
                (false, true) => &["3801", "0801"],
                (false, false) => &["0801"],
            };
            assert_eq!(reply.codes(), codes, "{what}");
            let Payload::ResponseToFetchProcessCard(answer) = reply.received.message.payload else {
                panic!("{what}")
            };
            let found: Vec<_> = answer.cards.iter().map(|card| card.message_id.clone()).collect();
            let expected: Vec<_> = expected.iter().map(|at| ids[*at].clone()).collect();
            assert_eq!((found, answer.request), (expected, asked), "{what}");
        }
    }
    office.close().await;
}
