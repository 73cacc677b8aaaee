//! Clients that prove themselves by a TLS certificate (RFC 8705, section 2), and every certificate that proves nothing.

use amtsbote::domain::account::KeyFingerprint;
use amtsbote::domain::destination::PortalClient;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;

use crate::portal_office::*;

fn form(client: &str, more: &str) -> Request<Full<Bytes>> {
    let body = format!("grant_type=client_credentials&client_id={client}{more}");
    Request::post("/token")
        .header("host", "portal.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body)))
        .expect("a request")
}

fn list(token: &str) -> Request<Full<Bytes>> {
    let mut request = Request::get("/v2/submissions").header("host", "portal.example");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::default()).expect("a request")
}

/// Clients without a secret: one of each account of the cast.
async fn office() -> Office {
    let office = Office::open().await;
    for (account, client) in [
        ("author", "by-certificate"),
        ("reader", "town-by-certificate"),
        ("expired", "late"),
        ("untrusted", "stranger"),
        ("blocked", "shut-out"),
    ] {
        let client = PortalClient {
            id: client.to_owned(),
            secret_sha256: None,
            sends: account != "reader",
            subscribes: account == "reader",
        };
        office.xta.change_account(account, |account| account.portal.clients.push(client)).await;
    }
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_for_a_secret() {
    let office = office().await;
    let door = office.behind_tls().await;
    let ask = async |who: Option<&str>, request| door.ask(&office, who, request).await;
    for (who, client, scope) in [
        ("author", "by-certificate", "send"),
        // Clients with a secret as well: the certificate is their account's.
        ("author", "both", "send subscribe"),
        ("reader", "town-by-certificate", "subscribe"),
    ] {
        let told = ask(Some(who), form(client, "")).await.is(200).json();
        assert_eq!((&told["scope"], &told["expires_in"]), (&json!(scope), &json!(300)), "{client}");
    }
    let told = ask(Some("reader"), form("town-by-certificate", "&scope=subscribe")).await.is(200).json();
    let token = told["access_token"].as_str().expect("a token");
    // The token alone is enough from here on, over whatever connection.
    office.get("/v2/submissions", token).await.is(200);
    ask(None, list(token)).await.is(200);
    let told = ask(Some("reader"), form("town-by-certificate", "&scope=send")).await.is(400).json();
    assert_eq!(told["error"], "invalid_scope");
    // Without any token the certificate says who asks.
    ask(Some("reader"), list("")).await.is(200);
    let announcement = json!({
        "destinationId": DESTINATION, "publicService": { "identifier": SERVICE, "name": "Anmeldung" },
    });
    let announce = || {
        Request::post("/v2/submissions")
            .header("host", "portal.example")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(announcement.to_string())))
            .expect("a request")
    };
    ask(Some("author"), announce()).await.is(201);
    ask(Some("reader"), announce()).await.refuses(403, "not-allowed");
    // A token is heard before the certificate, also a bad one.
    ask(Some("reader"), list("nonsense")).await.refuses(401, "token-invalid");
    // Another key in its place, and the certificate opens nothing any more.
    let other = KeyFingerprint([7; 32]);
    office.xta.change_account("reader", |account| account.keys[0].key = other).await;
    ask(Some("reader"), form("town-by-certificate", "")).await.is(401);
    ask(Some("reader"), list("")).await.refuses(401, "token-invalid");
    office.xta.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_prove_nothing_are_refused() {
    let office = office().await;
    let door = office.behind_tls().await;
    for (what, who, client, more) in [
        ("no certificate", None, "by-certificate", ""),
        ("expired", Some("expired"), "late", ""),
        ("of a foreign authority", Some("untrusted"), "stranger", ""),
        ("of nobody's", Some("nobody"), "by-certificate", ""),
        ("of a blocked account", Some("blocked"), "shut-out", ""),
        ("of another client", Some("reader"), "by-certificate", ""),
        ("of another client with a secret", Some("reader"), "portal", ""),
        ("for a client that there is not", Some("author"), "gone", ""),
        ("beside a wrong secret", Some("author"), "portal", "&client_secret=wrong"),
        ("beside an empty secret", Some("author"), "portal", "&client_secret="),
        ("beside a secret where there is none", Some("author"), "by-certificate", "&client_secret=x"),
    ] {
        println!("{what}");
        let answer = door.ask(&office, who, form(client, more)).await.is(401);
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert_eq!(answer.json()["error"], "invalid_client", "{what}");
    }
    for who in [None, Some("expired"), Some("untrusted"), Some("nobody"), Some("blocked")] {
        println!("{who:?}");
        door.ask(&office, who, list("")).await.refuses(401, "token-invalid");
    }
    assert_eq!(office.xta.stored().await, 0);
    office.xta.close().await;
}
