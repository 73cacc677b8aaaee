//! A portal and a town in the folder of a real server: configuration, participants, and clients of both over TLS.

use std::path::Path;
use std::sync::Arc;

use amtsbote::clock::SystemClock;
use amtsbote::domain::content::Digest;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::tls::client_config;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::portal::client::{Client, Error, Settings};
use amtsbote::portal::event::counterpart;
use hyper::Method;
use rustls::ClientConfig;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli_fixture::Office;
use crate::portal_office::{DESTINATION, SECRET, SERVICE};

/// Clients of the registry office's account, which sends, and of the registration office's, whose destination it is.
pub const PORTAL: &str = "portal";
pub const TOWN: &str = "town";
const JSON: &str = "application/json";
const JOSE: &str = "application/jose";

/// Switches the portal door on and lets both ends in. Submissions go to the town's first mailbox, or to one of their own.
pub fn furnish(folder: &Path, mailbox: Option<&str>) {
    let file = folder.join("amtsbote.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let changes = [
        ("# address = \"0.0.0.0:8445\"", "address = \"127.0.0.1:0\""),
        ("url = \"https://localhost:8445\"", "url = \"https://localhost:0\""),
        ("requests_per_minute_max = 1200", "requests_per_minute_max = 1000000"),
    ];
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    std::fs::write(&file, text).expect("writes");

    let client = |id: &str, does: &str| {
        let digest = Digest::of(SECRET.as_bytes());
        format!("\n[[account.portal.client]]\nid = \"{id}\"\nsecret_sha256 = \"{digest}\"\n{does} = true\n")
    };
    let jwk = |text: &str| format!("{{ jwk = '{}' }}", text.trim_end());
    let keys = [
        jwk(include_str!("../data/portal/encryption.jwk")),
        jwk(include_str!("../data/portal/signature.jwk")),
    ];
    let own = mailbox.map_or(String::new(), |mailbox| format!("identifier = \"{mailbox}\"\n"));
    let more = mailbox.map_or(String::new(), |mailbox| {
        format!("\n[[account.identifiers]]\nvalue = \"{mailbox}\"\ntype = \"xoev\"\n")
    });
    let destination = format!(
        "\n[[account.portal.destination]]\nid = \"{DESTINATION}\"\nname = \"Meldewesen\"\n{own}\
         schemas = [\"urn:example:schema\"]\nmetadata_versions = [\"1.0.0\"]\n\
         encryption_kid = \"authority-encryption-2026\"\nkeys = [{}]\n\
         serves = [{{ services = [\"{SERVICE}\"], regions = [\"10041\"] }}]\n",
        keys.join(", ")
    );
    let file = folder.join("participants.toml");
    let text = std::fs::read_to_string(&file).expect("the participants");
    let out: Vec<String> = text
        .split("[[account]]")
        .map(|account| {
            let is = |name: &str| account.contains(&format!("name = \"{name}\""));
            match () {
                () if is("standesamt") => {
                    let account =
                        account.replace("foreign_message_ids = false", "foreign_message_ids = true");
                    format!("{account}{}\n", client(PORTAL, "sends"))
                }
                () if is("meldebehoerde") => {
                    // Of several identifiers, one is the cipher certificate's.
                    let named = "[[account.osci.cipher]]\nidentifier = \"ags:10041100\"";
                    let account = account.replace("[[account.osci.cipher]]", named);
                    format!("{account}{}{destination}{more}\n", client(TOWN, "subscribes"))
                }
                () => account.to_owned(),
            }
        })
        .collect();
    std::fs::write(&file, out.join("[[account]]")).expect("writes");
}

pub fn tls(folder: &Path) -> Arc<ClientConfig> {
    let pem = std::fs::read(folder.join("tls/ca.crt")).expect("an authority");
    let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, &pem).expect("an anchor").build();
    Arc::new(client_config(Arc::new(anchors), None, Arc::new(SystemClock)).expect("TLS"))
}

/// A client that has an access token.
pub async fn client(office: &Office, tls: &Arc<ClientConfig>, id: &str) -> Client {
    let mut client = Client::new(Settings::new(&office.portal, tls.clone())).expect("a client");
    client.log_in(id, SECRET).await.expect("a token");
    client
}

/// Announces a submission; its id.
pub async fn announce(client: &Client, attachments: &[Uuid]) -> Result<Uuid, Error> {
    let body = json!({
        "destinationId": DESTINATION,
        "announcedAttachments": attachments,
        "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}") },
    });
    let told = client.call(Method::POST, "/v2/submissions", JSON, body.to_string()).await?;
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    Ok(Uuid::try_parse(told["submissionId"].as_str().expect("an id")).expect("a UUID"))
}

pub async fn upload(client: &Client, id: Uuid, attachment: Uuid, sealed: &str) -> Result<(), Error> {
    let path = format!("/v2/submissions/{id}/attachments/{attachment}");
    client.call(Method::PUT, &path, JOSE, sealed.to_owned()).await.map(drop)
}

pub async fn submit(client: &Client, id: Uuid, metadata: &str, data: &str) -> Result<(), Error> {
    let body = json!({ "encryptedMetadata": metadata, "encryptedData": data });
    let told = client.call(Method::PUT, &format!("/v2/submissions/{id}"), JSON, body.to_string()).await?;
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told, json!({ "submissionId": id, "caseId": counterpart(id) }));
    Ok(())
}
