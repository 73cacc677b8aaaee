//! Good submissions pass; each way to spoil one has its problem type and the part that it is about.

use miniz_oxide::deflate::compress_to_vec;
use serde_json::{Value, json};

use super::*;
use crate::gateway::metadata::VERSION;
use crate::pki::jose::jws::SigningKey;
use crate::pki::jose::tests::{ENCRYPTION_JWK, SIGNATURE_JWK, opening_key, signing_key};

const SUBMISSION_ID: Uuid = Uuid::from_u128(0x1111_4111_8111);
const CASE: Uuid = Uuid::from_u128(0x2222);
const ATTACHMENT: Uuid = Uuid::from_u128(0xaaaa_0000_4000_8000_0000_0000_0000_0001);
const DESTINATION: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
/// What a part may have when it is inflated.
const BYTES: usize = 100_000;
const SERVICE: &str = "urn:de:fim:leika:leistung:99050012104000";

#[track_caller]
fn rejects<T: std::fmt::Debug>(result: Result<T, Trouble>, expected: &str, instance: &str) {
    match result {
        Err(Trouble::Rejected(reason)) => {
            assert_eq!((code(&reason), reason.instance.as_str()), (expected, instance), "{}", reason.detail);
            assert!(!reason.title.is_empty() && !reason.detail.is_empty());
        }
        other => panic!("{other:?} is not {expected}"),
    }
}

fn sealed(content: &[u8]) -> String {
    let key = PublicKey::parse(ENCRYPTION_JWK).expect("a key");
    jwe::seal(&key, "application/json", content).expect("sealed")
}

fn tag(message: &str) -> Option<&str> {
    message.rsplit('.').next()
}

#[test]
fn what_was_submitted_opens_and_nothing_else() {
    let keys = [opening_key()];
    let message = sealed(b"content");
    assert_eq!(open(&message, tag(&message), &keys, BYTES, DATA), Ok(b"content".to_vec()));
    // By its thumbprint (RFC 7638), for a client that knows no other name.
    let mut jwk: Value = serde_json::from_str(ENCRYPTION_JWK).expect("JSON");
    let shape = json!({ "e": jwk["e"], "kty": jwk["kty"], "n": jwk["n"] }).to_string();
    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, shape.as_bytes());
    jwk["kid"] = crate::pki::jose::encode(thumbprint).into();
    let named = PublicKey::parse(&jwk.to_string()).expect("a key");
    let named = jwe::seal(&named, "application/json", b"content").expect("sealed");
    assert_ne!(jwe::inspect(&named, Zip::Refused).expect("well-formed").kid, keys[0].kid());
    assert_eq!(open(&named, tag(&named), &keys, BYTES, DATA), Ok(b"content".to_vec()));
    let other = sealed(b"content");
    rejects(open(&message, tag(&other), &keys, BYTES, METADATA), "incorrect-authentication-tag", METADATA);
    rejects(open(&message, None, &keys, BYTES, METADATA), "incorrect-authentication-tag", METADATA);
    // Changed and with the tag that belongs to it: encrypted for somebody else, or damaged.
    let mut parts: Vec<String> = message.split('.').map(str::to_owned).collect();
    let first = if parts[3].starts_with('A') { "B" } else { "A" };
    parts[3].replace_range(0..1, first);
    let damaged = parts.join(".");
    let place = instance_of(ATTACHMENT);
    rejects(open(&damaged, tag(&damaged), &keys, BYTES, &place), "encryption-issue", &place);
    rejects(open("a.b", Some("b"), &keys, BYTES, DATA), "encryption-issue", DATA);
    let missing = open(&message, tag(&message), &[], BYTES, DATA);
    let kid = "authority-encryption-2026".to_owned();
    assert_eq!(missing, Err(Trouble::KeyMissing { kid, instance: DATA.to_owned() }));
}

#[test]
fn what_was_compressed_is_inflated_within_its_bound() {
    let keys = [opening_key()];
    let key = PublicKey::parse(ENCRYPTION_JWK).expect("a key");
    let zipped = |content: &[u8]| jwe::seal_zipped(&key, "application/json", content).expect("sealed");
    let opened = |message: &str| open(message, tag(message), &keys, BYTES, DATA);
    let content = vec![b'a'; BYTES];
    assert_eq!(opened(&zipped(&compress_to_vec(&content, 6))), Ok(content));
    let bomb = zipped(&compress_to_vec(&vec![0; BYTES + 1], 9));
    assert_eq!(opened(&bomb), Err(Trouble::TooLarge));
    rejects(opened(&zipped(b"\xff\xff not deflated")), "encryption-issue", DATA);
}

fn hashed(bytes: &[u8]) -> Value {
    json!({ "type": "sha512", "content": hex::lower(digest(&SHA512, bytes).as_ref()) })
}

fn document(data: &[u8], form: &str, attachment: &[u8]) -> Value {
    json!({
        "publicServiceType": { "identifier": SERVICE },
        "contentStructure": {
            "data": {
                "hash": hashed(data),
                "submissionSchema": { "schemaUri": "urn:example:schema", "mimeType": form },
            },
            "attachments": [{
                "attachmentId": ATTACHMENT, "hash": hashed(attachment), "purpose": "attachment", "mimeType": "text/plain",
            }],
        },
    })
}

fn judged(
    document: &Value,
    has_data: bool,
    attachments: &[Uuid],
    schemas: &[&str],
) -> Result<Metadata, Trouble> {
    let schemas: Vec<String> = schemas.iter().map(|&one| one.to_owned()).collect();
    let versions = [VERSION.to_owned()];
    let takes = Takes { schemas: &schemas, metadata_versions: &versions, service: SERVICE };
    metadata(document.to_string().as_bytes(), takes, has_data, attachments)
}

#[test]
fn metadata_must_be_those_of_the_submission() {
    let good = document(b"{}", "application/json", b"a");
    let one = [ATTACHMENT];
    assert!(judged(&good, true, &one, &["urn:example:schema"]).is_ok());
    assert!(judged(&good, true, &one, &[]).is_ok());
    rejects(judged(&good, true, &one, &["urn:example:other"]), "unsupported-data-schema", METADATA);
    rejects(judged(&good, false, &one, &[]), "missing-data", DATA);
    rejects(judged(&good, true, &[], &[]), "attachments-mismatch", METADATA);
    rejects(judged(&good, true, &[ATTACHMENT, CASE], &[]), "attachments-mismatch", METADATA);
    rejects(judged(&json!([]), true, &one, &[]), "syntax-violation", METADATA);
    rejects(judged(&json!({}), true, &one, &[]), "schema-violation", METADATA);
    let mut twice = good.clone();
    let item = twice["contentStructure"]["attachments"][0].clone();
    twice["contentStructure"]["attachments"].as_array_mut().expect("a list").push(item);
    rejects(judged(&twice, true, &one, &[]), "attachments-mismatch", METADATA);
    let mut other = good.clone();
    other["publicServiceType"]["identifier"] = "urn:de:fim:leika:leistung:99107023017000".into();
    rejects(judged(&other, true, &one, &[]), "service-mismatch", METADATA);
    let mut bare = good.clone();
    bare["contentStructure"].as_object_mut().expect("an object").remove("data");
    rejects(judged(&bare, true, &one, &[]), "missing-schema", METADATA);
    let mut newer = good.clone();
    newer["$schema"] = "https://schema.fitko.de/fit-connect/metadata/9.0.0/metadata.schema.json".into();
    rejects(judged(&newer, true, &one, &[]), "unsupported-metadata-schema", METADATA);
}

#[test]
fn hashes_and_forms_are_those_declared() {
    let of =
        |bytes: &[u8], form| judged(&document(bytes, form, b"text"), true, &[ATTACHMENT], &[]).expect("good");
    let json = of(b"{\"a\":1}", "application/json");
    assert_eq!(data(b"{\"a\":1}", &json), Ok(()));
    rejects(data(b"{\"a\":2}", &json), "hash-mismatch", DATA);
    rejects(data(b"{\"a\":", &of(b"{\"a\":", "application/json")), "syntax-violation", DATA);
    rejects(data(b"<a/>", &of(b"<a/>", "application/json")), "syntax-violation", DATA);
    assert_eq!(data(b"<a><b/></a>", &of(b"<a><b/></a>", "application/xml")), Ok(()));
    for wrong in ["<a><b></a>", "{}", "<a/><b/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", ""] {
        rejects(data(wrong.as_bytes(), &of(wrong.as_bytes(), "application/xml")), "syntax-violation", DATA);
    }
    assert_eq!(attachment(b"text", &json.attachments[0]), Ok(()));
    rejects(attachment(b"texT", &json.attachments[0]), "hash-mismatch", &instance_of(ATTACHMENT));
}

fn key_of(signer: &SigningKey) -> PublicKey {
    PublicKey::parse(&serde_json::to_string(signer.jwk()).expect("JSON")).expect("a key")
}

fn token(event: &str, details: Value) -> String {
    signed(&claims(event, details))
}

fn signed(claims: &Value) -> String {
    signing_key().sign(event::TYPE, claims).expect("signed")
}

fn claims(event: &str, details: Value) -> Value {
    json!({
        "jti": Uuid::from_u128(7), "iss": "https://post.example", "iat": 1_800_000_000,
        "sub": format!("submission:{SUBMISSION_ID}"), "txn": format!("case:{CASE}"),
        "events": { format!("{}{event}", event::SCHEMA): details },
    })
}

#[test]
fn the_log_is_signed_and_about_this_submission() {
    let keys = [key_of(&signing_key())];
    let known = Known {
        submission: SUBMISSION_ID,
        case: CASE,
        destination: DESTINATION,
        service_keys: &keys,
        destination_keys: &[PublicKey::parse(SIGNATURE_JWK).expect("a key")],
    };
    let tags = json!({ "metadata": "m", "data": "d", "attachments": { ATTACHMENT.to_string(): "a" } });
    let submit = || token("submit-submission", json!({ "authenticationTags": tags }));
    let open = standing(&[token("create-submission", json!({})), submit()], known).expect("good");
    let Standing::Open(read) = open else { panic!("nobody decided") };
    assert_eq!((read.data.as_deref(), read.attachments.len()), (Some("d"), 1));
    assert_eq!(parts(&read, true, &[ATTACHMENT]), Ok(()));
    rejects(parts(&read, false, &[ATTACHMENT]), "missing-authentication-tags", SUBMISSION);
    rejects(parts(&read, true, &[]), "missing-authentication-tags", SUBMISSION);
    rejects(parts(&AuthenticationTags::default(), false, &[]), "missing-authentication-tags", SUBMISSION);
    for event in ["accept-submission", "reject-submission", "delete-submission"] {
        assert_eq!(standing(&[submit(), token(event, json!({}))], known), Ok(Standing::Decided));
    }
    let log = "invalid-event-log";
    rejects(standing(&[], known), log, SUBMISSION);
    rejects(standing(&[submit(), submit()], known), log, SUBMISSION);
    let bare = token("submit-submission", json!({}));
    rejects(standing(&[bare], known), "missing-authentication-tags", SUBMISSION);
    for (name, value) in [("sub", "submission:other"), ("txn", "case:other")] {
        let mut twisted = claims("submit-submission", json!({ "authenticationTags": tags }));
        twisted[name] = value.into();
        rejects(standing(&[signed(&twisted)], known), log, SUBMISSION);
    }
    let mut two = claims("submit-submission", json!({ "authenticationTags": tags }));
    two["events"][format!("{}notify-submission", event::SCHEMA)] = json!({});
    rejects(standing(&[signed(&two)], known), log, SUBMISSION);
    let forged = submit();
    let (head, _) = forged.rsplit_once('.').expect("parts");
    rejects(standing(&[format!("{head}.{}", "A".repeat(683))], known), log, SUBMISSION);
    // A key that is published no more is not the sender's fault; the post office's are not the destination's.
    let mut foreign = claims("submit-submission", json!({ "authenticationTags": tags }));
    foreign["iss"] = DESTINATION.into();
    assert!(matches!(standing(&[signed(&foreign)], known), Err(Trouble::SignerGone { .. })));
    let gone = standing(&[submit()], Known { service_keys: &[], ..known });
    assert!(matches!(gone, Err(Trouble::SignerGone { .. })), "{gone:?}");
}
