//! A submission from announcement to deletion, from both ends, and everything said twice.

use std::time::Duration;

use amtsbote::domain::content::PartRole;
use amtsbote::domain::state::DeliveryState;
use amtsbote::xta::client::content::{MemorySink, Outgoing};
use serde_json::json;

use crate::portal_office::*;
use crate::xta_office;

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_goes_from_portal_to_authority_and_back() {
    let office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    // Who is competent, and with which key.
    office.xta.change_account("author", |account| account.portal.destinations[0].serves.clear()).await;
    let routes = office.get(&format!("/v2/routes?ags=10041100&leikaKey={SERVICE}"), "").await.is(200).json();
    assert_eq!(routes["routes"][0]["destinationId"], DESTINATION);
    let destination = office.get(&format!("/v2/destinations/{DESTINATION}"), "").await.is(200).json();
    let kid = destination["encryptionKid"].as_str().expect("a kid");
    let key = office.get(&format!("/v1/destinations/{DESTINATION}/keys/{kid}"), "").await.is(200).json();
    assert_eq!(key["key_ops"], json!(["wrapKey"]));
    // Some clients take the first of all and look no further.
    let keys = office.get(&format!("/v2/destinations/{DESTINATION}/keys"), "").await.is(200).json();
    assert_eq!(keys["keys"][0]["kid"], kid);

    let (submission, _) = office.announce(&portal, &[ATTACHMENT]).await;
    let events = format!("/v2/submissions/{submission}/events");
    assert_eq!(office.event_names(&events, &portal).await, ["create-submission"]);
    let waiting = office.get("/v2/submissions", &town).await.is(200).json();
    assert_eq!(waiting["totalCount"], 0, "announced is not submitted");

    let sent = office.submitted(&portal).await;
    let log = ["create-submission", "submit-submission", "notify-submission"];
    assert_eq!(office.event_names(&sent.events(), &portal).await, log);
    assert_eq!(office.event_names(&format!("/v1/cases/{}/events", sent.case), &town).await, log);
    let waiting = office.get("/v1/submissions", &town).await.is(200).json();
    assert_eq!(waiting["totalCount"], 1);
    assert_eq!(waiting["submissions"][0]["submissionId"], sent.submission.as_str());
    assert_eq!(waiting["submissions"][0]["caseId"], sent.case.as_str());

    for _ in 0..2 {
        let path = format!("/v2/submissions/{}", sent.submission);
        let fetched = office.get(&path, &town).await.is(200).json();
        assert_eq!(fetched["encryptedMetadata"], sent.metadata.as_str());
        assert_eq!(
            open(fetched["encryptedData"].as_str().expect("data")),
            "{\"name\":\"Müller\"}".as_bytes()
        );
        assert_eq!(fetched["attachments"], json!([ATTACHMENT]));
        assert_eq!(fetched["publicService"]["identifier"], format!("urn:de:fim:leika:leistung:{SERVICE}"));
        let attachment = office.get(&format!("{path}/attachments/{ATTACHMENT}"), &town).await.is(200);
        assert_eq!(attachment.headers["content-type"], "application/jose");
        assert_eq!(attachment.body, sent.attachment.as_bytes(), "byte for byte");
    }
    let accept = signed(&sent.accept());
    office.say(&town, &sent, &signed(&sent.claims("forward-submission", json!({})))).await.is(204);
    office.say(&town, &sent, &accept).await.is(204);
    office.say(&town, &sent, &accept).await.is(204);
    let log = office.event_names(&sent.events(), &portal).await;
    assert_eq!(log[3..], ["forward-submission", "accept-submission"]);
    let tokens = office.get(&sent.events(), &portal).await.json();
    assert_eq!(tokens["eventLog"][4], accept.as_str(), "word for word");
    office.say(&town, &sent, &signed(&sent.reject())).await.refuses(409, "event-out-of-order");
    assert_eq!(office.get("/v2/submissions", &town).await.json()["totalCount"], 0);

    // Seven days later it is deleted; its log stays.
    office.xta.clock.advance(Duration::from_secs(8 * 86_400));
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    office.xta.relay.tick().await.expect("ticks");
    let log = office.event_names(&sent.events(), &portal).await;
    assert_eq!(log.last().map(String::as_str), Some("delete-submission"));
    office
        .get(&format!("/v2/submissions/{}", sent.submission), &town)
        .await
        .refuses(404, "submission-not-found");
    // Two years later nothing is left of it.
    office.xta.clock.advance(Duration::from_secs(731 * 86_400));
    office.xta.relay.tick().await.expect("ticks");
    let portal = office.token("portal").await;
    office.get(&sent.events(), &portal).await.refuses(404, "submission-not-found");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_be_said_again_also_after_a_restart() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let (submission, case) = office.announce(&portal, &[ATTACHMENT]).await;
    let (metadata, data, attachment) = (seal(b"m"), seal(b"d"), seal(&[1; 100_000]));
    for _ in 0..2 {
        office.upload(&portal, &submission, ATTACHMENT, &attachment).await.is(204);
        office.restart_door().await;
    }
    let other = seal(&[1; 100_000]);
    office.upload(&portal, &submission, ATTACHMENT, &other).await.refuses(409, "attachment-exists");
    for _ in 0..3 {
        let answer = office.submit(&portal, &submission, &metadata, &data).await.is(200).json();
        assert_eq!(answer, json!({ "submissionId": submission, "caseId": case }));
        assert_eq!(office.xta.stored().await, 1);
        office.restart_door().await;
    }
    office.submit(&portal, &submission, &seal(b"m"), &data).await.refuses(409, "submission-exists");
    office.submit(&portal, &submission, &metadata, &seal(b"d")).await.refuses(409, "submission-exists");
    assert_eq!(office.xta.stored().await, 1);
    // Many at once make one.
    let (submission, _) = office.announce(&portal, &[]).await;
    let body = json!({ "encryptedMetadata": metadata, "encryptedData": data }).to_string();
    let path = format!("/v2/submissions/{submission}");
    let asked = (0..8).map(|_| office.call("PUT", &path, &portal, "application/json", body.clone()));
    for answer in futures_util::future::join_all(asked).await {
        answer.is(200);
    }
    assert_eq!(office.xta.stored().await, 2);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_broke_off_goes_on_where_it_was() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let (submission, _) = office.announce(&portal, &[ATTACHMENT]).await;
    let attachment = seal(&[5; 400_000]);
    let path = format!("/v2/submissions/{submission}/attachments/{ATTACHMENT}");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {portal}\r\ncontent-type: application/jose\r\n\
         content-length: {}\r\n\r\n",
        attachment.len()
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", office.port())).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&attachment.as_bytes()[..200_000]).await.expect("written");
    stream.shutdown().await.expect("cut");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    office.submit(&portal, &submission, &seal(b"m"), &seal(b"d")).await.refuses(422, "attachment-incomplete");
    office.restart_door().await;
    let at = |answer: &Answer| {
        let offset =
            answer.headers["upload-offset"].to_str().expect("text").parse::<usize>().expect("a number");
        (offset, answer.headers["upload-complete"].clone())
    };
    let (offset, complete) = at(&office.call("HEAD", &path, &portal, "", "").await.is(204));
    assert!(complete == "?0" && offset > 0 && offset <= 200_000, "{offset}");
    let more = |offset: usize, end: usize, complete: &'static str| {
        let request = hyper::Request::builder()
            .method("PATCH")
            .uri(&path)
            .header("authorization", format!("Bearer {portal}"))
            .header("content-type", "application/partial-upload")
            .header("upload-offset", offset)
            .header("upload-complete", complete);
        let bytes = bytes::Bytes::copy_from_slice(&attachment.as_bytes()[offset.min(end)..end]);
        office.ask(request.body(http_body_util::Full::new(bytes)).expect("a request"))
    };
    more(offset + 1, 300_000, "?0").await.refuses(409, "offset-conflict");
    more(offset, 300_000, "?0").await.is(204);
    let (offset, _) = at(&more(300_000, attachment.len(), "?1").await.is(204));
    assert_eq!(offset, attachment.len());
    office.submit(&portal, &submission, &seal(b"m"), &seal(b"d")).await.is(200);
    let town = office.token("town").await;
    let fetched =
        office.get(&format!("/v2/submissions/{submission}/attachments/{ATTACHMENT}"), &town).await.is(200);
    assert_eq!(fetched.body, attachment.as_bytes());
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_decides_is_reminded_of_and_rejected() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let sent = office.submitted(&portal).await;
    let (abandoned, _) = office.announce(&portal, &[]).await;
    let day = Duration::from_secs(86_400);
    office.xta.clock.advance(day + Duration::from_secs(60));
    assert_eq!(office.sweep().await, 1, "what was only announced lasts a day");
    let portal = office.token("portal").await;
    office
        .get(&format!("/v2/submissions/{abandoned}/events"), &portal)
        .await
        .refuses(404, "submission-not-found");
    office.submit(&portal, &abandoned, &seal(b"m"), &seal(b"d")).await.refuses(404, "submission-not-found");

    let card = |state: DeliveryState, findings: usize| {
        let office = &office;
        let sent = &sent;
        async move {
            let id = format!("urn:de:xta:messageid:testpost:{}", sent.submission);
            let id = amtsbote::domain::message_id::MessageId::parse(&id).expect("an id");
            let card = amtsbote::store::Store::find(&*office.xta.store, &id).await.expect("known").card;
            assert_eq!((card.state, card.findings.len()), (state, findings), "{:?}", card.findings);
        }
    };
    office.xta.clock.advance(day);
    office.xta.relay.tick().await.expect("ticks");
    card(DeliveryState::Waiting, 0).await;
    office.xta.clock.advance(day);
    office.xta.relay.tick().await.expect("ticks");
    card(DeliveryState::Waiting, 1).await;
    office.xta.clock.advance(day * 11);
    office.xta.relay.tick().await.expect("ticks");
    card(DeliveryState::Expired, 2).await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let log = office.log(&sent.events(), &portal).await;
    let reject = &log[3]["events"]["https://schema.fitko.de/fit-connect/events/reject-submission"];
    assert_eq!(log[3]["iss"], BASE);
    assert!(
        reject["problems"][0]["type"].as_str().is_some_and(|kind| kind.ends_with("/timeout")),
        "{reject}"
    );
    office.say(&town, &sent, &signed(&sent.accept())).await.refuses(409, "event-out-of-order");
    let id = format!("urn:de:xta:messageid:testpost:{}", sent.submission);
    let id = amtsbote::domain::message_id::MessageId::parse(&id).expect("an id");
    let refused = office.xta.relay.requeue(&id, "operator", "the town was closed").await;
    let refused = refused.expect_err("two verdicts").to_string();
    assert!(refused.contains("its portal was told"), "{refused}");
    card(DeliveryState::Expired, 2).await;
    office.xta.clock.advance(day * 8);
    office.xta.relay.tick().await.expect("ticks");
    let portal = office.token("portal").await;
    let log = office.event_names(&sent.events(), &portal).await;
    assert_eq!(log[3..], ["reject-submission", "delete-submission"]);
    office.xta.close().await;
}

/// A gateway delivers what it has opened, and is gone when its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_in_the_clear_is_accepted_without_the_gateway() {
    let office = Office::open().await;
    let day = Duration::from_secs(86_400);
    office.xta.change_account("synchronous", |account| account.rights.foreign_message_ids = true).await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let gateway = office.xta.client("synchronous", None);
    let reader = office.xta.client("reader", None);
    let mut sent = Vec::new();
    for _ in 0..2 {
        let one = office.submitted(&portal).await;
        office.get(&format!("/v2/submissions/{}", one.submission), &town).await.is(200);
        let submission = uuid::Uuid::try_parse(&one.submission).expect("a UUID");
        let id = amtsbote::domain::message_id::MessageId::opened(submission).expect("an id");
        let mut envelope = xta_office::envelope(id.clone(), xta_office::READER);
        envelope.author = xta_office::party(xta_office::SYNCHRONOUS_READER);
        let content = Outgoing::from_bytes(PartRole::Message, "text/plain", "clear");
        gateway.send(&envelope, &[content]).await.expect("posted");
        sent.push((one, id));
    }
    let close = async |id: &amtsbote::domain::message_id::MessageId| {
        let fetched = reader.fetch(id, &mut MemorySink::default()).await.expect("fetched");
        let request = fetched.request_id.unwrap_or_default();
        reader.close(&request, std::slice::from_ref(id)).await.expect("closed");
    };
    office.xta.clock.advance(day * 2);
    close(&sent[0].1).await;
    office.xta.relay.tick().await.expect("ticks");
    let portal = office.token("portal").await;
    assert_eq!(office.event_names(&sent[0].0.events(), &portal).await.len(), 3, "the gateway may still come");
    // The other one is closed when it is too late.
    office.xta.clock.advance(day * 12);
    close(&sent[1].1).await;
    office.xta.relay.tick().await.expect("ticks");
    let portal = office.token("portal").await;
    let log = office.log(&sent[0].0.events(), &portal).await;
    let accept = &log[3]["events"]["https://schema.fitko.de/fit-connect/events/accept-submission"];
    assert_eq!(accept["authenticationTags"]["data"], tag(&sent[0].0.data), "{log:?}");
    assert_eq!(office.event_names(&sent[1].0.events(), &portal).await[3..], ["reject-submission"]);
    // The gateway comes too late to say either, and hears that it is decided.
    let town = office.token("town").await;
    for (one, _) in &sent {
        office.say(&town, one, &signed(&one.accept())).await.refuses(409, "event-out-of-order");
    }
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_may_fetch_by_xta_what_a_portal_sent() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let sent = office.submitted(&portal).await;
    let reader = office.xta.client("reader", None);
    let id = format!("urn:de:xta:messageid:testpost:{}", sent.submission);
    let id = amtsbote::domain::message_id::MessageId::parse(&id).expect("an id");
    let mut sink = MemorySink::default();
    let fetched = reader.fetch(&id, &mut sink).await.expect("fetched");
    let bodies: Vec<Vec<u8>> = sink.parts.into_values().collect();
    let expected = [&sent.metadata, &sent.data, &sent.attachment].map(|text| text.clone().into_bytes());
    assert_eq!(bodies, expected, "ciphertext, byte for byte");
    assert_eq!(office.event_names(&sent.events(), &portal).await.len(), 3, "fetched is not accepted");
    reader.close(fetched.request_id.as_deref().unwrap_or_default(), &[id]).await.expect("closed");
    let log = office.log(&sent.events(), &portal).await;
    let accept = &log[3]["events"]["https://schema.fitko.de/fit-connect/events/accept-submission"];
    assert_eq!(accept["authenticationTags"]["data"], tag(&sent.data));
    assert_eq!(log[3]["iss"], BASE, "in the post office's name");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_goes_on_with_further_submissions() {
    let mut office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let first = office.submitted(&portal).await;
    let of_case = format!("/v1/cases/{}/events", first.case);
    let more = async |office: &Office, destination: &str, token: &str, case: &str| {
        office.announce_in(destination, token, &[ATTACHMENT], Some(case)).await
    };
    let ids = more(&office, DESTINATION, &portal, &first.case).await.is(201).json();
    let text = |name: &str| ids[name].as_str().expect("an id").to_owned();
    let ids = (text("submissionId"), text("caseId"));
    assert_eq!(ids.1, first.case);
    assert_ne!(ids.0, first.submission);
    office.restart_door().await;
    let announced = format!("/v2/submissions/{}/events", ids.0);
    assert_eq!(office.log(&announced, &portal).await[0]["txn"], format!("case:{}", first.case));
    let second = office.submitted_as(&portal, ids).await;
    let again =
        office.submit(&portal, &second.submission, &second.metadata, &second.data).await.is(200).json();
    assert_eq!(again["caseId"], first.case.as_str());

    // One log for the case, and one for each submission.
    let own = ["create-submission", "submit-submission", "notify-submission"];
    for (path, count) in [(&of_case, 6), (&first.events(), 3), (&second.events(), 3)] {
        for token in [&portal, &town] {
            let log = office.log(path, token).await;
            assert_eq!(log.len(), count, "{path}");
            assert!(log.iter().all(|claims| claims["txn"] == format!("case:{}", first.case)), "{path}");
        }
    }
    assert_eq!(office.event_names(&second.events(), &town).await, own);
    let listed = office.get("/v2/submissions", &town).await.is(200).json();
    let cases: Vec<_> =
        listed["submissions"].as_array().expect("a list").iter().map(|one| &one["caseId"]).collect();
    assert_eq!(cases, [first.case.as_str(), first.case.as_str()]);
    // A reader by XTA sees what it belongs to.
    let id = |sent: &Sent| {
        let text = format!("urn:de:xta:messageid:testpost:{}", sent.submission);
        amtsbote::domain::message_id::MessageId::parse(&text).expect("an id")
    };
    let kept = amtsbote::store::Store::find(&*office.xta.store, &id(&second)).await.expect("kept");
    assert_eq!(kept.envelope.in_reply_to, [id(&first)]);

    // Told at the case, a token goes to the submission that it names; whose case is another one's is not believed.
    let say = async |office: &Office, claims: &serde_json::Value| {
        office.call("POST", &of_case, &town, "application/jose", signed(claims)).await
    };
    let mut wrong = second.accept();
    wrong["txn"] = format!("case:{}", second.submission).into();
    say(&office, &wrong).await.refuses(422, "event-invalid");
    say(&office, &second.accept()).await.is(204);
    assert_eq!(office.event_names(&second.events(), &portal).await[3], "accept-submission");
    assert_eq!(office.event_names(&first.events(), &portal).await.len(), 3, "the first one waits");
    say(&office, &first.reject()).await.is(204);
    let log = office.event_names(&of_case, &portal).await;
    assert_eq!(log.len(), 8);
    let other = office.submitted(&portal).await;
    say(&office, &other.accept()).await.refuses(422, "event-invalid");
    assert_eq!(office.event_names(&other.events(), &portal).await.len(), 3);

    // A case of nobody's, of somebody else's, at another destination, or what is the id of no case.
    let both = office.token("both").await;
    let foreign = office.announce_to(OTHER_DESTINATION, &both, &[]).await;
    for (destination, case) in [
        (DESTINATION, "11111111-1111-4111-8111-111111111111"),
        (DESTINATION, "../../1"),
        (DESTINATION, ""),
        (DESTINATION, first.submission.as_str()),
        (DESTINATION, foreign.1.as_str()),
        (OTHER_DESTINATION, first.case.as_str()),
    ] {
        more(&office, destination, &portal, case).await.refuses(404, "case-not-found");
    }
    // What continues a case has none of its own.
    let own_of_second =
        amtsbote::portal::event::counterpart(second.submission.parse().expect("a UUID")).to_string();
    more(&office, DESTINATION, &portal, &own_of_second).await.refuses(404, "case-not-found");
    office
        .get(&format!("/v1/cases/{own_of_second}/events"), &portal)
        .await
        .refuses(404, "submission-not-found");
    office
        .xta
        .change_account("reader", |account| {
            account.portal.clients.push(amtsbote::domain::destination::PortalClient {
                id: "town-sends".to_owned(),
                secret_sha256: Some(amtsbote::domain::content::Digest::of(SECRET.as_bytes())),
                sends: true,
                subscribes: false,
            });
        })
        .await;
    let stranger = office.token("town-sends").await;
    more(&office, DESTINATION, &stranger, &first.case).await.refuses(404, "case-not-found");

    // It may also go on before its first submission is made, and after that was forgotten.
    let (_, begun) = office.announce(&portal, &[]).await;
    let ids = more(&office, DESTINATION, &portal, &begun).await.is(201).json();
    let ids = (ids["submissionId"].as_str().expect("an id").to_owned(), begun.clone());
    office.submitted_as(&portal, ids).await;
    office.xta.clock.advance(Duration::from_secs(2 * 86_400));
    office.sweep().await;
    let portal = office.token("portal").await;
    // Who began it and who reads it see it.
    let of_begun = format!("/v1/cases/{begun}/events");
    assert_eq!(office.event_names(&of_begun, &portal).await.len(), 3);
    let (town, both) = (office.token("town").await, office.token("both").await);
    assert_eq!(office.event_names(&of_begun, &town).await.len(), 3);
    office
        .get(&format!("/v1/cases/{own_of_second}/events"), &town)
        .await
        .refuses(404, "submission-not-found");
    assert_eq!(office.event_names(&of_begun, &both).await.len(), 3, "the sender's account");
    more(&office, DESTINATION, &portal, &begun).await.is(201);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_counts_before_it_is_swept() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let (submission, case) = office.announce(&portal, &[ATTACHMENT]).await;
    office.upload(&portal, &submission, ATTACHMENT, &seal(b"a")).await.is(204);
    office.xta.clock.advance(Duration::from_secs(86_400 - 60));
    assert_eq!(office.sweep().await, 0, "a day is a day");
    let token = office.token("portal").await;
    assert_eq!(office.event_names(&format!("/v2/submissions/{submission}/events"), &token).await.len(), 1);
    office.xta.clock.advance(Duration::from_secs(60));
    // Nobody has swept yet.
    let portal = office.token("portal").await;
    office.upload(&portal, &submission, ATTACHMENT, &seal(b"a")).await.refuses(404, "submission-not-found");
    office.submit(&portal, &submission, &seal(b"m"), &seal(b"d")).await.refuses(404, "submission-not-found");
    let path = format!("/v2/submissions/{submission}");
    office.get(&format!("{path}/events"), &portal).await.refuses(404, "submission-not-found");
    let head = office.call("HEAD", &format!("{path}/attachments/{ATTACHMENT}"), &portal, "", "").await;
    assert_eq!(head.status, 404);
    let continued = office.announce_in(DESTINATION, &portal, &[], Some(&case)).await;
    continued.refuses(404, "case-not-found");
    assert_eq!((office.sweep().await, office.xta.stored().await), (1, 0));
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_handed_out_whatever_is_taken_today() {
    let mut office = Office::open().await;
    let portal = office.token("portal").await;
    let sent = office.submitted(&portal).await;
    office.restart_door_with(|settings| settings.submission_bytes_max = 100).await;
    office.submit(&portal, &sent.submission, &sent.metadata, &sent.data).await.refuses(413, "body-too-large");
    let town = office.token("town").await;
    let fetched = office.get(&format!("/v2/submissions/{}", sent.submission), &town).await.is(200).json();
    assert_eq!(
        (&fetched["encryptedMetadata"], &fetched["encryptedData"]),
        (&json!(sent.metadata), &json!(sent.data))
    );
    office.xta.close().await;
}

/// Neither the post office's deadlines nor its reader's count, but the portal's.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_submission_that_is_put_back_has_its_portals_deadlines() {
    use amtsbote::domain::message_id::MessageId;
    use amtsbote::domain::state::Event;
    use amtsbote::store::{Change, Store};
    let office = Office::open().await;
    assert_ne!(amtsbote::domain::profile::ServiceProfile::standard().expiry_days, profile().expiry_days);
    let portal = office.token("portal").await;
    let sent = office.submitted(&portal).await;
    let id = format!("urn:de:xta:messageid:testpost:{}", sent.submission);
    let id = MessageId::parse(&id).expect("an id");
    let change = Change {
        id: id.clone(),
        event: Event::Undeliverable,
        at: office.xta.relay.now(),
        by: None,
        reason: None,
        finding: None,
        only_in: None,
        only_posted_by: None,
        only_if_due: None,
        deadlines: None,
    };
    office.xta.store.change(change).await.expect("dead");
    office.xta.relay.requeue(&id, "operator", "the town is open again").await.expect("waits");
    let day = std::time::Duration::from_secs(86_400);
    for (days, state) in [(13, DeliveryState::Waiting), (2, DeliveryState::Expired)] {
        office.xta.clock.advance(day * days);
        office.xta.relay.tick().await.expect("ticks");
        assert_eq!(office.xta.store.find(&id).await.expect("known").card.state, state);
    }
    office.xta.close().await;
}

/// The largest one's file becomes the payload's, the others are copied; each comes out as it went in.
#[tokio::test(flavor = "multi_thread")]
async fn attachments_of_all_sizes_come_out_as_they_went_in() {
    let mut office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let parts = [(ATTACHMENT, seal(&[1; 200_000])), (OTHER_ATTACHMENT, seal(&[2; 500_000]))];
    for restarts in [false, true] {
        let (id, _) = office.announce(&portal, &[ATTACHMENT, OTHER_ATTACHMENT]).await;
        for (name, part) in &parts {
            office.upload(&portal, &id, name, part).await.is(204);
        }
        if restarts {
            office.restart_door().await;
        }
        let (metadata, data) = (seal(b"{}"), seal(&[3; 100_000]));
        office.submit(&portal, &id, &metadata, &data).await.is(200);
        office.submit(&portal, &id, &metadata, &data).await.is(200);
        let path = format!("/v2/submissions/{id}");
        let fetched = office.get(&path, &town).await.is(200).json();
        assert_eq!(fetched["encryptedData"], data.as_str());
        assert_eq!(
            fetched["attachments"],
            json!([ATTACHMENT, OTHER_ATTACHMENT]),
            "in the order of its sender"
        );
        for (name, part) in &parts {
            let attachment = office.get(&format!("{path}/attachments/{name}"), &town).await.is(200);
            assert!(attachment.body == part.as_bytes(), "{name}");
        }
    }
    office.xta.close().await;
}
