//! Bounds of the OSCI door on real sockets: what the operator configured holds there, too, the disk keeps its reserve, and
//! what is announced is taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use amtsbote::config::Config;
use amtsbote::domain::limits::Limits;
use amtsbote::osci::code::Code;
use amtsbote::osci::message::custom_header::CustomHeader;
use amtsbote::osci::message::payload::Payload;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::osci_office::{Client, Draft, Office, delivery};

fn with_header(draft: &mut Draft, inside: &str) {
    draft.message.custom.push(CustomHeader {
        namespace: "urn:x".to_owned(),
        local: "N".to_owned(),
        id: "n".to_owned(),
        xml: format!("<x:N xmlns:x=\"urn:x\" Id=\"n\">{inside}</x:N>"),
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_limits_hold_at_this_door_too() {
    type Case = (fn(&mut Limits), fn(&mut Draft), &'static str);
    let cases: [Case; 4] = [
        (
            |limits| limits.envelope_bytes_max = 24_000,
            |draft| with_header(draft, &"x".repeat(30_000)),
            "limits.envelope_bytes_max",
        ),
        (
            |limits| limits.part_header_bytes_max = 1024,
            |draft| draft.attachments[0].extra.push(("X-Long".to_owned(), "x".repeat(2000))),
            "limits.part_header_bytes_max",
        ),
        (
            |limits| limits.xml_depth_max = 10,
            |draft| with_header(draft, &format!("{}{}", "<x:a>".repeat(10), "</x:a>".repeat(10))),
            "limits.xml_depth_max",
        ),
        (
            |limits| limits.xml_attributes_max = 16,
            |draft| {
                let attributes: String = (0..20).map(|at| format!(" a{at}=\"\"")).collect();
                with_header(draft, &format!("<x:a{attributes}></x:a>"));
            },
            "limits.xml_attributes_max",
        ),
    ];
    for (limit, exceed, name) in cases {
        let office = Office::open_with(|settings| limit(&mut settings.limits)).await;
        let mut client = Client::new("author", false, true);
        let id = client.message_id(&office).await;
        let got = client.send_changed(&office, delivery(&id), exceed).await;
        assert_eq!(got.codes(), ["fault 9100"], "{name}");
        assert_eq!(client.send(&office, delivery(&id)).await.codes(), ["0800"], "{name}: what is usual");
        assert_eq!(office.entries().await.len(), 1, "{name}");
        office.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_leave_the_disk_its_reserve() {
    let office = Office::open_with(|settings| settings.limits.disk_reserve_bytes = u64::MAX / 4).await;
    for encrypted in [true, false] {
        let mut client = Client::new("author", encrypted, true);
        let id = client.message_id(&office).await;
        let got = client.send_changed(&office, delivery(&id), |draft| {
            draft.attachments[0].source = Arc::new(vec![7; 700_000]);
        });
        assert_eq!(got.await.codes(), ["fault 9000"], "encrypted: {encrypted}");
        assert_eq!(office.spooled(), 0);
    }
    assert_eq!(office.entries().await.len(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_announced_size_is_taken() {
    let bytes_max = 640 * 1024;
    let office = Office::open_with(|settings| settings.limits.content_bytes_max = bytes_max).await;
    let mut client = Client::new("author", false, true);
    let reply = client.begin(&office).await;
    let announced = reply.received.message.features.as_ref().and_then(|all| all.message_kilobytes_max);
    assert_eq!(announced, Some(640));
    // All of it in the envelope, as base64.
    let inline = STANDARD.encode(vec![7; 460_000]);
    let content = format!(
        "<osci:ContentPackage><osci:ContentContainer Id=\"c\"><osci:Content><osci:Base64Content Id=\"d\">{inline}\
         </osci:Base64Content></osci:Content></osci:ContentContainer></osci:ContentPackage>"
    );
    let id = client.message_id(&office).await;
    let mut draft = client.draft(delivery(&id));
    draft.attachments.clear();
    draft.content = Some(content.clone().into_bytes());
    let bytes = client.write(draft);
    assert!(bytes.len() as u64 <= bytes_max && bytes.len() as u64 > bytes_max * 9 / 10, "{}", bytes.len());
    let answer = office.post(&bytes).await;
    assert_eq!(client.read(answer).codes(), ["0801"]);
    // One that holds more is refused, wherever it lies.
    let id = client.message_id(&office).await;
    let got = client.send_changed(&office, delivery(&id), |draft| {
        draft.content = Some(content.into_bytes());
        draft.attachments[0].source = Arc::new(vec![7; 100_000]);
    });
    assert_eq!(got.await.codes(), ["9904"]);
    assert_eq!(office.entries().await.len(), 1);
    assert_eq!(client.send(&office, Payload::ExitDialog).await.codes(), ["0800"]);
    office.close().await;
}

#[test]
fn advice_names_keys_that_exist() {
    let (mut section, mut keys) = (String::new(), BTreeSet::new());
    let documented = Config::default().to_documented_toml();
    for line in documented.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            keys.insert(format!("{section}.{key}"));
        }
    }
    assert!(keys.contains("osci.cipher_certificates"));
    let is_section = |name: &str| keys.iter().any(|key| key.split('.').next() == Some(name));
    for code in Code::ALL {
        let advice = code.operator_advice();
        // Keys of an account stand in the participants' file.
        if advice.contains("account's") {
            continue;
        }
        for word in advice.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_') {
            let word = word.trim_matches('.');
            if word.split_once('.').is_some_and(|(section, _)| is_section(section)) {
                assert!(keys.contains(word), "{}: {advice}", code.as_str());
            }
        }
    }
}
