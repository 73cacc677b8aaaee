//! What the portal door refuses, each with its type, and that nothing is stored by it.

use amtsbote::domain::account::Account;
use amtsbote::pki::jose::jwe::Zip;
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::jose::jws::SigningKey;
use amtsbote::portal::server::OtherKeys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::portal_office::*;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_ours_open_nothing() {
    let office = Office::open().await;
    let good = office.token("portal").await;
    office.get("/v2/submissions", &office.token("town").await).await.is(200);
    let now = crate::xta_office::start().as_second();
    let claims = |change: fn(&mut Value)| {
        let mut claims = json!({
            "iss": BASE, "aud": BASE, "sub": "town", "scope": "subscribe",
            "iat": now, "exp": now + 300, "jti": "x",
        });
        change(&mut claims);
        claims
    };
    let sign = |typ: &str, claims: &Value| service_key().sign(typ, claims).expect("signed");
    office.get("/v2/submissions", &sign("at+jwt", &claims(|_| ()))).await.is(200);
    let cut = |token: &str, part: usize, with: &str| {
        let mut parts: Vec<&str> = token.split('.').collect();
        parts[part] = with;
        parts.join(".")
    };
    let none = amtsbote::pki::jose::encode(r#"{"alg":"none","typ":"at+jwt","kid":"x"}"#);
    let foreign = authority_key().named(service_key().kid()).sign("at+jwt", &claims(|_| ())).expect("signed");
    for (what, token) in [
        ("no token", String::new()),
        ("nonsense", "nonsense".to_owned()),
        ("expired", sign("at+jwt", &claims(|c| c["exp"] = c["iat"].clone()))),
        ("of the future", sign("at+jwt", &claims(|c| c["iat"] = 9_000_000_000_i64.into()))),
        ("foreign audience", sign("at+jwt", &claims(|c| c["aud"] = "https://other.example".into()))),
        ("foreign issuer", sign("at+jwt", &claims(|c| c["iss"] = "https://other.example".into()))),
        ("removed client", sign("at+jwt", &claims(|c| c["sub"] = "gone".into()))),
        ("an event as a token", sign("secevent+jwt", &claims(|_| ()))),
        ("another key under our kid", foreign),
        ("alg none", cut(&good, 0, &none)),
        ("alg none without a signature", cut(&cut(&good, 0, &none), 2, "")),
        ("another payload", cut(&good, 1, &amtsbote::pki::jose::encode(claims(|_| ()).to_string()))),
    ] {
        println!("{what}");
        office.get("/v2/submissions", &token).await.refuses(401, "token-invalid");
    }
    let town = office.token("town").await;
    for shown in [
        &[&*format!("Bearer {town}"), "Bearer nonsense"][..],
        &["Bearer nonsense", &format!("Bearer {town}")],
        &[&format!("Bearer {town}"), &format!("Bearer {town}")],
        &[&format!("Basic {town}")],
        &[&town],
        &["Bearer"],
    ] {
        println!("{shown:?}");
        let mut request = hyper::Request::get("/v2/submissions");
        for value in shown {
            request = request.header("authorization", *value);
        }
        let request = request.body(http_body_util::Full::default()).expect("a request");
        office.ask(request).await.refuses(401, "token-invalid");
    }
    let secret = SECRET.replace(' ', "%20").replace('\'', "%27");
    let shown = format!("Basic {}", STANDARD.encode(format!("town:{secret}")));
    for (times, status) in [(1, 200), (2, 400)] {
        let mut request =
            hyper::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        for _ in 0..times {
            request = request.header("authorization", &shown);
        }
        let form = http_body_util::Full::from("grant_type=client_credentials");
        let answer = office.ask(request.body(form).expect("a request")).await.is(status).json();
        assert_eq!(answer["error"] == "invalid_request", times > 1, "{answer}");
    }
    // Each may do only what it is for.
    office.get("/v2/submissions", &good).await.refuses(403, "not-allowed");
    office.call("POST", "/v2/submissions", &town, "application/json", "{}").await.refuses(403, "not-allowed");
    let narrowed = sign("at+jwt", &claims(|c| c["scope"] = "send".into()));
    office.get("/v2/submissions", &narrowed).await.refuses(403, "not-allowed");
    // A blocked account stops at once.
    office.xta.change_account("reader", |account| account.blocked = true).await;
    office.get("/v2/submissions", &town).await.refuses(401, "token-invalid");
    let secret = SECRET.replace(' ', "+").replace('\'', "%27");
    let form = format!("grant_type=client_credentials&client_id=town&client_secret={secret}");
    assert_eq!(office.token_answer(&form).await.is(401).json()["error"], "invalid_client");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_key_of_the_office_is_published_and_believed() {
    let mut office = Office::open().await;
    let now = crate::xta_office::start().as_second();
    let claims = json!({
        "iss": BASE, "aud": BASE, "sub": "town", "scope": "subscribe", "iat": now, "exp": now + 300, "jti": "x",
    });
    let former = authority_key();
    let token = former.sign("at+jwt", &claims).expect("signed");
    office.get("/v2/submissions", &token).await.refuses(401, "token-invalid");
    let key = PublicKey::parse(&serde_json::to_string(former.jwk()).expect("JSON")).expect("a key");
    let published = async |office: &Office| {
        let told = office.get("/.well-known/jwks.json", "").await.is(200).json();
        let kids = told["keys"].as_array().expect("keys").iter();
        kids.map(|key| key["kid"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(published(&office).await, [service_key().kid()]);
    // A former one is there for whoever kept what it signed, and opens nothing.
    office.restart_door_beside(OtherKeys { believed: Vec::new(), former: vec![key.clone()] }).await;
    office.get("/v2/submissions", &token).await.refuses(401, "token-invalid");
    assert_eq!(published(&office).await, [service_key().kid(), former.kid()], "our own comes first");
    office.restart_door_beside(OtherKeys { believed: vec![key], former: Vec::new() }).await;
    office.get("/v2/submissions", &token).await.is(200);
    let own = service_key().sign("at+jwt", &claims).expect("signed");
    office.get("/v2/submissions", &own).await.is(200);
    let under = |key: SigningKey, kid: &str| key.named(kid).sign("at+jwt", &claims).expect("signed");
    for forged in [under(service_key(), former.kid()), under(authority_key(), service_key().kid())] {
        office.get("/v2/submissions", &forged).await.refuses(401, "token-invalid");
    }
    assert_eq!(published(&office).await, [service_key().kid(), former.kid()]);
    office.xta.close().await;
}

/// What a key signed can be verified when nothing more is taken from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_signature_key_stays_published_and_signs_nothing_new() {
    let office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let mut sent = Vec::new();
    for _ in 0..2 {
        let one = office.submitted(&portal).await;
        office.get(&format!("/v2/submissions/{}", one.submission), &town).await.is(200);
        sent.push(one);
    }
    office.say(&town, &sent[0], &signed(&sent[0].accept())).await.is(204);
    let retire = |account: &mut Account, former: bool| {
        let keys = &mut account.portal.destinations[0].keys;
        keys.iter_mut().find(|key| key.jwk.contains("authority-signature-2026")).expect("a key").former =
            former;
    };
    office.xta.change_account("reader", |account| retire(account, true)).await;
    office.say(&town, &sent[1], &signed(&sent[1].accept())).await.refuses(422, "event-invalid");
    let keys = office.get(&format!("/v2/destinations/{DESTINATION}/keys"), "").await.is(200).json();
    assert!(
        keys["keys"].as_array().expect("keys").iter().any(|key| key["kid"] == "authority-signature-2026")
    );
    office.get(&format!("/v2/destinations/{DESTINATION}/keys/authority-signature-2026"), "").await.is(200);
    office.xta.change_account("reader", |account| retire(account, false)).await;
    office.say(&town, &sent[1], &signed(&sent[1].accept())).await.is(204);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoint_speaks_oauth() {
    let office = Office::open().await;
    for (form, status, error) in [
        ("grant_type=password&client_id=town", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials", 400, "invalid_request"),
        ("grant_type=client_credentials&grant_type=x", 400, "invalid_request"),
        ("grant_type=client_credentials&client_id=town", 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=town&client_secret=wrong", 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=nobody&client_secret=wrong", 401, "invalid_client"),
    ] {
        let answer = office.token_answer(form).await.is(status).json();
        assert_eq!(answer["error"], error, "{form}");
    }
    let secret = SECRET.replace(' ', "+").replace('\'', "%27");
    let scoped = |client: &str, scope: &str| {
        format!("grant_type=client_credentials&client_id={client}&client_secret={secret}&scope={scope}")
    };
    let answer = office.token_answer(&scoped("portal", "subscribe")).await.is(400).json();
    assert_eq!(answer["error"], "invalid_scope");
    let answer = office.token_answer(&scoped("both", "subscribe")).await.is(200).json();
    assert_eq!((&answer["scope"], &answer["expires_in"]), (&json!("subscribe"), &json!(300)));
    office.call("POST", "/token", "", "application/json", "{}").await.refuses(415, "content-type");
    // Guessing is slowed down, also for the right secret.
    let mut limited = 0;
    for _ in 0..25 {
        let wrong = office.token_answer("grant_type=client_credentials&client_id=town&client_secret=x").await;
        limited += usize::from(wrong.status == 429);
    }
    assert!(limited >= 5, "{limited}");
    let answer = office.token_answer(&scoped("town", "")).await;
    assert!(answer.headers.contains_key("ratelimit-reset") && answer.headers.contains_key("retry-after"));
    answer.refuses(429, "rate-limited");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_limited_by_account() {
    let office = Office::open_with(|settings| settings.requests_per_minute_max = 3).await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    for _ in 0..3 {
        office.get("/v2/submissions", &town).await.is(200);
    }
    let answer = office.get("/v2/submissions", &town).await;
    assert_eq!(answer.headers["ratelimit-limit"], "3");
    assert_eq!(answer.headers["ratelimit-remaining"], "0");
    answer.refuses(429, "rate-limited");
    office.announce(&portal, &[]).await;
    office.xta.clock.advance(std::time::Duration::from_secs(60));
    office.get("/v2/submissions", &town).await.is(200);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_that_lead_nowhere_are_refused() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let body = |destination: &str, service: &str, attachments: Value| {
        json!({
            "destinationId": destination, "announcedAttachments": attachments,
            "serviceType": { "identifier": service, "name": "<script>alert(1)</script>" },
        })
        .to_string()
    };
    let none = json!([]);
    let two = json!([ATTACHMENT, ATTACHMENT]);
    let twice = format!("{{\"destinationId\":\"{OTHER_DESTINATION}\",");
    let deep = (0..200).fold(json!([]), |inner, _| json!([inner]));
    let flood: Value = (0..300).map(|_| json!(uuid::Uuid::new_v4().to_string())).collect();
    for (body, status, code) in [
        ("{".to_owned(), 400, "body-invalid"),
        ("[]".to_owned(), 400, "body-invalid"),
        (json!({ "destinationId": DESTINATION }).to_string(), 400, "body-invalid"),
        (body("nobody", SERVICE, none.clone()), 404, "destination-not-found"),
        (body("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8aff", SERVICE, none.clone()), 404, "destination-not-found"),
        (body(DESTINATION, "99107023017000", none.clone()), 422, "service-not-offered"),
        (body(DESTINATION, "urn:other:1", none.clone()), 422, "service-not-offered"),
        (body(DESTINATION, SERVICE, two), 400, "body-invalid"),
        (body(DESTINATION, SERVICE, json!(["../../etc/passwd"])), 400, "body-invalid"),
        (body(DESTINATION, SERVICE, flood), 422, "body-invalid"),
        (body(DESTINATION, SERVICE, none.clone()).replacen('{', &twice, 1), 400, "body-invalid"),
        (body(DESTINATION, SERVICE, json!(deep)), 400, "body-invalid"),
    ] {
        println!("{body:.80}");
        office.call("POST", "/v2/submissions", &portal, "application/json", body).await.refuses(status, code);
    }
    let good = body(DESTINATION, SERVICE, none);
    office
        .call("POST", "/v1/submissions", &portal, "text/plain", good.clone())
        .await
        .refuses(415, "content-type");
    office.call("POST", "/v1/submissions", &portal, "application/json", good.clone()).await.is(201);
    let large = format!("{good}{}", " ".repeat(300 * 1024));
    office
        .call("POST", "/v1/submissions", &portal, "application/json", large)
        .await
        .refuses(413, "body-too-large");
    office
        .xta
        .change_account("reader", |account| {
            account.portal.destinations[0].status =
                amtsbote::domain::destination::DestinationStatus::Inactive;
        })
        .await;
    office
        .call("POST", "/v1/submissions", &portal, "application/json", good)
        .await
        .refuses(422, "destination-state-invalid");
    assert_eq!(office.xta.stored().await, 0);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_sealed_for_the_destination_is_refused() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let (submission, _) = office.announce(&portal, &[ATTACHMENT]).await;
    let good = seal(b"content");
    let tail = good.split_once('.').expect("parts").1;
    let with = |header: &str| format!("{}.{tail}", amtsbote::pki::jose::encode(header));
    let header = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"authority-encryption-2026"}"#;
    let wrong = [
        "clear text".to_owned(),
        String::new(),
        with(&header.replace("RSA-OAEP-256", "RSA1_5")),
        with(&header.replace("RSA-OAEP-256", "dir")),
        with(&header.replace("RSA-OAEP-256", "RSA-OAEP")),
        with(&header.replace("RSA-OAEP-256", "ECDH-ES")),
        with(&header.replace("RSA-OAEP-256", "none")),
        with(&header.replace("A256GCM", "A256CBC-HS512")),
        with(&header.replace("A256GCM", "A128GCM")),
        with(&header.replace("\"kid\"", "\"zip\":\"DEF\",\"kid\"")),
        with(&header.replace("\"kid\"", "\"crit\":[\"x\"],\"x\":1,\"kid\"")),
        with(&header.replace("authority-encryption-2026", "another")),
        with(&header.replace("authority-encryption-2026", "authority-signature-2026")),
        with(&header.replace("authority-encryption-2026", "../../key")),
        format!("{good}.more"),
    ];
    for sealed in &wrong {
        println!("{sealed:.100}");
        office.upload(&portal, &submission, ATTACHMENT, sealed).await.refuses(422, "encryption-invalid");
    }
    let path = format!("/v2/submissions/{submission}/attachments/{ATTACHMENT}");
    office.call("PUT", &path, &portal, "application/json", good.clone()).await.refuses(415, "content-type");
    let never = path.replace(ATTACHMENT, "aaaaaaaa-0000-4000-8000-000000000099");
    office
        .call("PUT", &never, &portal, "application/jose", good.clone())
        .await
        .refuses(404, "attachment-not-announced");
    let large = format!("{}{}", &good[..good.len() - 23], "A".repeat(5 * 1024 * 1024));
    office.upload(&portal, &submission, ATTACHMENT, &large).await.refuses(413, "body-too-large");
    // Submitted before its attachments are there.
    office.submit(&portal, &submission, &good, &good).await.refuses(422, "attachment-incomplete");
    office.upload(&portal, &submission, ATTACHMENT, &good).await.is(204);
    for sealed in &wrong {
        office.submit(&portal, &submission, sealed, &good).await.refuses(422, "encryption-invalid");
        office.submit(&portal, &submission, &good, sealed).await.refuses(422, "encryption-invalid");
    }
    assert_eq!(office.xta.stored().await, 0, "nothing was stored");
    // The key's thumbprint (RFC 7638) is a name of it as well, and clients know no other.
    let thumbprint = |jwk: &str| {
        let jwk: Value = serde_json::from_str(jwk).expect("JSON");
        let [e, n] = ["e", "n"].map(|name| jwk[name].as_str().expect("a number"));
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        amtsbote::pki::jose::encode(amtsbote::domain::content::Digest::of(members.as_bytes()).0)
    };
    let [own, signs] = [
        thumbprint(include_str!("../data/portal/encryption.jwk")),
        thumbprint(include_str!("../data/portal/signature.jwk")),
    ];
    let by_signature = with(&header.replace("authority-encryption-2026", &signs));
    office.submit(&portal, &submission, &by_signature, &good).await.refuses(422, "encryption-invalid");
    assert_eq!(office.xta.stored().await, 0, "nothing was stored");
    let by_thumbprint = with(&header.replace("authority-encryption-2026", &own));
    office.submit(&portal, &submission, &by_thumbprint, &good).await.is(200);
    let keys = format!("/v2/destinations/{DESTINATION}/keys");
    let named = office.get(&format!("{keys}/authority-encryption-2026"), "").await.is(200).json();
    assert_eq!(office.get(&format!("{keys}/{own}"), "").await.is(200).json(), named);
    office.get(&format!("{keys}/{}", &own[1..]), "").await.refuses(404, "not-found");
    office.xta.close().await;

    // Old clients compress; that passes where it is allowed, and is not looked into.
    let office = Office::open_with(|settings| settings.zip = Zip::Passes).await;
    let portal = office.token("portal").await;
    let (submission, _) = office.announce(&portal, &[]).await;
    for zip in ["\"GZIP\"", "\"def\"", "\"\"", "[\"DEF\"]", "true"] {
        let packed = with(&header.replace("\"kid\"", &format!("\"zip\":{zip},\"kid\"")));
        office.submit(&portal, &submission, &packed, &good).await.refuses(422, "encryption-invalid");
        office.submit(&portal, &submission, &good, &packed).await.refuses(422, "encryption-invalid");
    }
    let twice = json!({ "encryptedMetadata": good, "encryptedData": good }).to_string();
    let twice = twice.replacen('{', &format!("{{\"encryptedData\":\"{good}\","), 1);
    let path = format!("/v2/submissions/{submission}");
    office.call("PUT", &path, &portal, "application/json", twice).await.refuses(400, "body-invalid");
    assert_eq!(office.xta.stored().await, 0, "nothing was stored");
    let zipped = with(&header.replace("\"kid\"", "\"zip\":\"DEF\",\"kid\""));
    office.submit(&portal, &submission, &zipped, &zipped).await.is(200);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_nothing_of_a_submission() {
    let office = Office::open().await;
    let (portal, town, both) =
        (office.token("portal").await, office.token("town").await, office.token("both").await);
    let sent = office.submitted(&portal).await;
    let (draft, _) = office.announce(&portal, &[ATTACHMENT]).await;
    let path = format!("/v2/submissions/{}", sent.submission);
    let unknown = "/v2/submissions/11111111-1111-4111-8111-111111111111";
    // `both` may fetch, at another destination; `town` may not see what is only announced.
    for (path, token) in [
        (path.as_str(), &both),
        (&format!("{path}/attachments/{ATTACHMENT}"), &both),
        (&format!("/v2/submissions/{draft}"), &town),
        (&format!("/v2/submissions/{draft}/events"), &town),
        (unknown, &town),
        (&format!("{unknown}/events"), &portal),
        ("/v2/submissions/1", &town),
        ("/v1/cases/%2e%2e/events", &town),
    ] {
        office.get(path, token).await.refuses(404, "submission-not-found");
    }
    let accept = signed(&sent.accept());
    office.say(&both, &sent, &accept).await.refuses(404, "submission-not-found");
    office.say(&portal, &sent, &accept).await.refuses(403, "not-allowed");
    office.get("/v2/nothing", &town).await.refuses(404, "not-found");
    office.get("/v2/submissions?destinationId=null", &town).await.refuses(400, "body-invalid");
    for (method, path, allowed) in [
        ("DELETE", path.as_str(), "GET, PUT"),
        ("OPTIONS", "/token", "POST"),
        ("PUT", "/v1/submissions", "GET, POST"),
        ("POST", "/v2/routes", "GET, HEAD"),
        ("TRACE", "/.well-known/jwks.json", "GET, HEAD"),
        ("POST", &format!("{path}/attachments/{ATTACHMENT}"), "GET, HEAD, PATCH, PUT"),
        ("PATCH", &format!("{path}/events"), "GET, POST"),
    ] {
        let answer = office.call(method, path, &town, "", "").await;
        assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
        answer.refuses(405, "method-not-allowed");
    }
    office.xta.close().await;
}

/// Another account that sends as well, over whatever path it asks.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_portal_began_does_not_exist() {
    let office = Office::open().await;
    office
        .xta
        .change_account("reader", |account| {
            account.portal.clients.push(amtsbote::domain::destination::PortalClient {
                id: "other".to_owned(),
                secret_sha256: Some(amtsbote::domain::content::Digest::of(SECRET.as_bytes())),
                sends: true,
                subscribes: false,
            });
        })
        .await;
    let (portal, other) = (office.token("portal").await, office.token("other").await);
    let sent = office.submitted(&portal).await;
    let (draft, case) = office.announce(&portal, &[ATTACHMENT]).await;
    let (sealed, submitted) = (seal(b"x"), json!({ "encryptedMetadata": seal(b"{}") }).to_string());
    let same = json!({ "encryptedMetadata": sent.metadata, "encryptedData": sent.data }).to_string();
    let unknown = "11111111-1111-4111-8111-111111111111";
    for id in [draft.as_str(), &sent.submission, unknown] {
        let path = format!("/v2/submissions/{id}");
        let attachment = format!("{path}/attachments/{ATTACHMENT}");
        for (method, path, kind, body) in [
            ("PUT", path.clone(), "application/json", &submitted),
            ("PUT", path.clone(), "application/json", &same),
            ("PUT", attachment.clone(), "application/jose", &sealed),
            ("PATCH", attachment.clone(), "application/partial-upload", &sealed),
            ("GET", format!("{path}/events"), "", &String::new()),
        ] {
            println!("{method} {path}");
            let refused = office.call(method, &path, &other, kind, body.clone()).await;
            let mut told = refused.json();
            refused.refuses(404, "submission-not-found");
            told.as_object_mut().expect("an object").remove("instance");
            let mut as_unknown =
                office.call(method, &path.replace(id, unknown), &other, kind, body.clone()).await.json();
            as_unknown.as_object_mut().expect("an object").remove("instance");
            assert_eq!(told, as_unknown, "they tell one from the other");
        }
        office.call("HEAD", &attachment, &other, "", "").await.is(404);
    }
    for case in [&case, &sent.case] {
        office.get(&format!("/v2/cases/{case}/events"), &other).await.refuses(404, "submission-not-found");
        office.announce_in(DESTINATION, &other, &[], Some(case)).await.refuses(404, "case-not-found");
    }
    assert_eq!(office.xta.stored().await, 1, "nothing was stored");
    let path = format!("/v2/submissions/{draft}/attachments/{ATTACHMENT}");
    let own = office.call("HEAD", &path, &portal, "", "").await.is(204);
    assert_eq!(own.headers["upload-offset"], "0", "nothing of it was kept");
    office.submitted_as(&portal, (draft, case)).await;
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_another_type_or_packed_is_not_read() {
    let office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let sent = office.submitted(&portal).await;
    let (id, _) = office.announce(&portal, &[ATTACHMENT]).await;
    let path = format!("/v2/submissions/{id}");
    let attachment = format!("{path}/attachments/{ATTACHMENT}");
    let (json, jose, partial) = ("application/json", "application/jose", "application/partial-upload");
    let form = "application/x-www-form-urlencoded";
    let grant =
        format!("grant_type=client_credentials&client_id=town&client_secret={}", SECRET.replace(' ', "+"));
    let submitted = json!({ "encryptedMetadata": seal(b"{}"), "encryptedData": seal(b"{}") }).to_string();
    let announcement =
        json!({ "destinationId": DESTINATION, "publicService": { "identifier": SERVICE } }).to_string();
    for (method, path, token, kind, body) in [
        ("POST", "/token", "", form, grant),
        ("POST", "/v2/submissions", &*portal, json, announcement),
        ("PUT", &attachment, &portal, jose, seal(b"x")),
        ("PATCH", &attachment, &portal, partial, seal(b"x")),
        ("PUT", &path, &portal, json, submitted),
        ("POST", &sent.events(), &town, jose, signed(&sent.accept())),
    ] {
        let ask = async |kind: Option<&str>, encoding: Option<&str>| {
            let mut request = hyper::Request::builder().method(method).uri(path).header("upload-offset", "0");
            if !token.is_empty() {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let more = [("content-type", kind), ("content-encoding", encoding)];
            for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                request = request.header(name, value);
            }
            let body = http_body_util::Full::new(body.clone().into());
            office.ask(request.body(body).expect("a request")).await
        };
        for wrong in [None, Some("text/html"), Some("multipart/form-data; boundary=x"), Some("text/json")] {
            println!("{method} {path} as {wrong:?}");
            ask(wrong, None).await.refuses(415, "content-type");
        }
        for packed in ["gzip", "deflate", "gzip, identity"] {
            println!("{method} {path} packed by {packed}");
            ask(Some(kind), Some(packed)).await.refuses(415, "content-type");
        }
    }
    assert_eq!(office.xta.stored().await, 1, "nothing was stored");
    assert_eq!(office.event_names(&sent.events(), &portal).await.len(), 3, "nothing was told");
    let own = office.call("HEAD", &attachment, &portal, "", "").await.is(204);
    assert_eq!(own.headers["upload-offset"], "0", "nothing was kept");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_prove_nothing_are_refused() {
    let office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let sent = office.submitted(&portal).await;
    let other = office.submitted(&portal).await;
    let none = amtsbote::pki::jose::encode(
        r#"{"alg":"none","typ":"secevent+jwt","kid":"authority-signature-2026"}"#,
    );
    let unsigned = format!("{none}.{}.", amtsbote::pki::jose::encode(sent.accept().to_string()));
    let tampered = |part: &str, tag: &str| {
        let mut claims = sent.accept();
        let uri = "https://schema.fitko.de/fit-connect/events/accept-submission";
        let tags = &mut claims["events"][uri]["authenticationTags"];
        match part {
            "metadata" | "data" => tags[part] = tag.into(),
            attachment => tags["attachments"][attachment] = tag.into(),
        }
        signed(&claims)
    };
    for said in [
        "nonsense".to_owned(),
        unsigned,
        service_key().sign("secevent+jwt", &sent.accept()).expect("signed"),
        service_key().named("authority-signature-2026").sign("secevent+jwt", &sent.accept()).expect("signed"),
        authority_key()
            .named("authority-encryption-2026")
            .sign("secevent+jwt", &sent.accept())
            .expect("signed"),
        authority_key().sign("JWT", &sent.accept()).expect("signed"),
        signed(&other.accept()),
        tampered(ATTACHMENT, tag(&other.attachment)),
        tampered("metadata", tag(&other.metadata)),
        tampered("data", tag(&other.data)),
        tampered("aaaaaaaa-0000-4000-8000-000000000099", tag(&sent.attachment)),
        signed(&sent.claims("accept-submission", json!({}))),
        signed(&sent.claims("reject-submission", json!({ "problems": [] }))),
        signed(&sent.claims("delete-submission", json!({}))),
        signed(&sent.claims("submit-submission", json!({}))),
    ] {
        office.say(&town, &sent, &said).await.refuses(422, "event-invalid");
    }
    let path = sent.events();
    office
        .call("POST", &path, &town, "application/json", signed(&sent.accept()))
        .await
        .refuses(415, "content-type");
    assert_eq!(office.event_names(&path, &portal).await.len(), 3, "nothing was kept");
    office.say(&town, &sent, &signed(&sent.reject())).await.is(204);
    assert_eq!(office.event_names(&path, &portal).await[3], "reject-submission");
    office.say(&town, &sent, &signed(&sent.accept())).await.refuses(409, "event-out-of-order");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_places_have_one_answer_or_a_type() {
    let office = Office::open().await;
    for (query, status, code) in [
        (format!("leikaKey={SERVICE}"), 400, "area-invalid"),
        (format!("leikaKey={SERVICE}&ags=10041100&ars=100410100100"), 400, "area-invalid"),
        (format!("leikaKey={SERVICE}&ags=1004110"), 400, "area-invalid"),
        (format!("leikaKey={SERVICE}&ars=10041"), 400, "area-invalid"),
        ("leikaKey=1&ags=10041100".to_owned(), 400, "area-invalid"),
        (format!("leikaKey={SERVICE}&ags=10042113"), 404, "no-destination"),
        ("leikaKey=99107023017000&ags=10041100".to_owned(), 404, "no-destination"),
    ] {
        office.get(&format!("/v1/routes?{query}"), "").await.refuses(status, code);
    }
    office.xta.change_account("author", |account| account.portal.destinations[0].serves.clear()).await;
    let answer = office.get(&format!("/v1/routes?leikaKey={SERVICE}&ags=10041100"), "").await.is(200).json();
    let token = answer["routes"][0]["destinationSignature"].as_str().expect("a token").to_owned();
    let read = amtsbote::pki::jose::jws::Unverified::parse(&token, "JWT").expect("a token");
    let claims: Value =
        serde_json::from_slice(&service_key().verify(&read).expect("verifies")).expect("JSON");
    assert_eq!(claims["destinationId"], DESTINATION);
    assert_eq!(claims["submissionHost"], "portal.example");
    let areas = office.get("/v2/areas?areaSearchexpression=Saarb*", "").await.is(200).json();
    assert_eq!(areas["areas"][0]["name"], "Saarbrücken");
    office.get("/v2/areas", "").await.refuses(400, "area-invalid");
    office.get("/v2/areas?areaSearchexpression=x&limit=501", "").await.refuses(400, "body-invalid");
    // For people: nothing of what others wrote gets into a page.
    let page = office.get("/", "").await.is(200);
    assert!(page.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(
        policy.starts_with("default-src 'none';") && policy.ends_with("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("takes submissions") && page.contains("href=\"/problems\""), "{page}");
    let problems = String::from_utf8_lossy(&office.get("/problems", "").await.is(200).body).into_owned();
    for one in amtsbote::portal::problems::ALL {
        assert!(problems.contains(&format!("href=\"/problems/{}\"", one.code)), "{}", one.code);
    }
    let style = office.get("/style.css", "").await.is(200);
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
    let types = office.get("/problems/ambiguous-route", "").await.is(200);
    assert!(String::from_utf8_lossy(&types.body).contains("Two destinations"));
    office.get("/problems/%3Cscript%3E", "").await.refuses(404, "not-found");
    let keys = office.get("/.well-known/jwks.json", "").await.is(200).json();
    assert_eq!(keys["keys"][0]["kid"], service_key().kid());
    let api = office.get("/openapi.json", "").await.is(200).json();
    assert_eq!((&api["openapi"], &api["servers"][0]["url"]), (&json!("3.1.0"), &json!(BASE)));
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_rule_is_no_answer() {
    let office = Office::open().await;
    office
        .get(&format!("/v1/routes?leikaKey={SERVICE}&ags=10041100"), "")
        .await
        .refuses(409, "ambiguous-route");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_to_a_destination_is_its_owners_alone() {
    const SECOND: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a03";
    let office = Office::open().await;
    let (portal, town) = (office.token("portal").await, office.token("town").await);
    let sent = office.submitted(&portal).await;
    let path = format!("/v2/submissions/{}", sent.submission);
    // Another one of the same owner, over the same mailbox.
    office
        .xta
        .change_account("reader", |account| {
            let id = amtsbote::domain::destination::DestinationId::parse(SECOND).expect("a UUID");
            let second = account.portal.destinations[0].clone();
            account
                .portal
                .destinations
                .insert(0, amtsbote::domain::destination::Destination { id, ..second });
        })
        .await;
    for (destination, count) in [(DESTINATION, 1), (SECOND, 0)] {
        let query = format!("/v2/submissions?destinationId={destination}");
        assert_eq!(office.get(&query, &town).await.is(200).json()["totalCount"], count, "{destination}");
    }
    let fetched = office.get(&path, &town).await.is(200).json();
    assert_eq!(fetched["destinationId"], DESTINATION);
    let mut claims = sent.accept();
    claims["iss"] = SECOND.into();
    office.say(&town, &sent, &signed(&claims)).await.refuses(422, "event-invalid");

    // It moves to another owner: what lies in the former one's mailbox does not move with it.
    let mut moved = None;
    office.xta.change_account("reader", |account| moved = account.portal.destinations.pop()).await;
    let moved = moved.expect("a destination");
    assert_eq!(moved.id.as_str(), DESTINATION);
    office
        .xta
        .change_account("author", |account| {
            let identifier = account.portal.destinations[0].identifier.clone();
            account
                .portal
                .destinations
                .push(amtsbote::domain::destination::Destination { identifier, ..moved });
            account.portal.clients.push(amtsbote::domain::destination::PortalClient {
                id: "reads".to_owned(),
                secret_sha256: Some(amtsbote::domain::content::Digest::of(SECRET.as_bytes())),
                sends: false,
                subscribes: true,
            });
        })
        .await;
    let reads = office.token("reads").await;
    for token in [&town, &reads] {
        assert_eq!(office.get("/v2/submissions", token).await.is(200).json()["totalCount"], 0);
        office.get(&path, token).await.refuses(404, "submission-not-found");
        office.get(&format!("{path}/events"), token).await.refuses(404, "submission-not-found");
        office.say(token, &sent, &signed(&sent.accept())).await.refuses(404, "submission-not-found");
    }
    assert_eq!(office.event_names(&sent.events(), &portal).await.len(), 3, "its sender sees it as before");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_keys_cannot_be_confused() {
    let office = Office::open().await;
    let sent = office.submitted(&office.token("portal").await).await;
    let town = office.token("town").await;
    let now = crate::xta_office::start().as_second();
    let claims = json!({
        "iss": BASE, "aud": BASE, "sub": "town", "scope": "subscribe", "iat": now, "exp": now + 300, "jti": "x",
    });
    let encode = |text: &str| amtsbote::pki::jose::encode(text);
    // The public key as the secret of an HMAC, and keys of the token's own choice.
    let hmac = |typ: &str, kid: &str, modulus: &str, claims: &Value| {
        let head = encode(&format!(r#"{{"alg":"HS512","typ":"{typ}","kid":"{kid}"}}"#));
        let signed = format!("{head}.{}", encode(&claims.to_string()));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, modulus.as_bytes());
        format!("{signed}.{}", amtsbote::pki::jose::encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
    };
    let access = service_key().sign("at+jwt", &claims).expect("signed");
    let event = signed(&sent.accept());
    let ours = service_key();
    let mut tokens = vec![hmac("at+jwt", ours.kid(), &ours.jwk().n, &claims)];
    let mut events =
        vec![hmac("secevent+jwt", "authority-signature-2026", &authority_key().jwk().n, &sent.accept())];
    for more in [
        r#""kid":"../../dev/null""#,
        r#""kid":"' OR '1'='1""#,
        r#""kid":"https://evil.example/jwks.json""#,
        r#""kid":"x\u0000y""#,
        r#""kid":["a"]"#,
        r#""jku":"https://evil.example/jwks.json","kid":"KID""#,
        r#""x5u":"https://evil.example/","kid":"KID""#,
        r#""jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"},"kid":"KID""#,
        r#""crit":["exp"],"kid":"KID""#,
        r#""zip":"DEF","kid":"KID""#,
        r#""kid":"KID","kid":"KID""#,
    ] {
        let of =
            |typ: &str, kid: &str| format!(r#"{{"alg":"PS512","typ":"{typ}",{}}}"#, more.replace("KID", kid));
        tokens.push(signed_under(SERVICE_PEM, &of("at+jwt", ours.kid()), &claims));
        let head = of("secevent+jwt", "authority-signature-2026");
        events.push(signed_under(AUTHORITY_PEM, &head, &sent.accept()));
    }
    // Well signed, and said to be signed by something else.
    for alg in ["RS512", "PS256", "PS384", "ES512", "ps512", "None", ""] {
        let of = |typ: &str, kid: &str| format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"}}"#);
        tokens.push(signed_under(SERVICE_PEM, &of("at+jwt", ours.kid()), &claims));
        let head = of("secevent+jwt", "authority-signature-2026");
        events.push(signed_under(AUTHORITY_PEM, &head, &sent.accept()));
    }
    for token in tokens {
        println!("{token:.120}");
        office.get("/v2/submissions", &token).await.refuses(401, "token-invalid");
    }
    for said in events {
        println!("{said:.120}");
        office.say(&town, &sent, &said).await.refuses(422, "event-invalid");
    }
    office.get("/v2/submissions", &access).await.is(200);
    office.say(&town, &sent, &event).await.is(204);
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_script_in_them_stay_data() {
    let office = Office::open().await;
    let portal = office.token("portal").await;
    let name = "</script><script>alert(1)</script>\u{202e}<img src=x onerror=alert(1)>";
    let body = json!({
        "destinationId": DESTINATION, "publicService": { "identifier": SERVICE, "name": name },
    });
    let ids = office.call("POST", "/v2/submissions", &portal, "application/json", body.to_string()).await;
    let id = ids.is(201).json()["submissionId"].as_str().expect("an id").to_owned();
    office.submit(&portal, &id, &seal(b"m"), &seal(b"d")).await.is(200);
    let town = office.token("town").await;
    for (path, token) in [
        (format!("/v2/submissions/{id}"), town.as_str()),
        (format!("/v2/destinations/{DESTINATION}"), ""),
        ("/v2/destinations/%3Cscript%3E".to_owned(), ""),
        ("/v2/areas?areaSearchexpression=%3Cscript%3E".to_owned(), ""),
        ("/%3Cscript%3Ealert(1)%3C/script%3E".to_owned(), ""),
        ("/v2/submissions?destinationId=%3Cscript%3E".to_owned(), town.as_str()),
    ] {
        let answer = office.get(&path, token).await;
        let kind = answer.headers["content-type"].to_str().expect("text");
        assert!(["application/json", "application/problem+json"].contains(&kind), "{path}: {kind}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        // No browser takes it for a page, and nothing that was asked is said back as it came but as JSON.
        serde_json::from_slice::<Value>(&answer.body).expect("JSON");
    }
    let fetched = office.get(&format!("/v2/submissions/{id}"), &town).await.json();
    assert_eq!(fetched["publicService"]["name"], name);
    // Pages for people hold nothing of it.
    for path in ["/", "/problems/no-destination", "/problems/%3Cscript%3Ealert(1)%3C%2Fscript%3E"] {
        let page = office.get(path, "").await;
        assert!(!String::from_utf8_lossy(&page.body).contains("<script"), "{path}");
    }
    office.xta.close().await;
}
