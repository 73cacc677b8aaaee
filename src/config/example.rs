//! The configuration file with every key explained: the values from a configuration, the words from one table.

use super::Config;

/// Section or `section.key`, and what it means. A test holds this table against the real keys.
const WORDS: &[(&str, &str)] = &[
    ("server", "The post office as a whole."),
    (
        "server.system",
        "Name of this post office inside the message ids it issues (urn:de:xta:messageid:NAME:…), for good.",
    ),
    ("server.identity", "URL that transport reports name as the server's identity."),
    (
        "server.operator_address",
        "Plain HTTP for the operator: /livez, /readyz, /metrics. Keep it on a loopback address or a network of your own.",
    ),
    (
        "server.admin_socket",
        "Unix socket that `amtsbote message`, `mailbox`, `participant` and others talk to.",
    ),
    ("server.admin_uids", "User ids that may administrate, besides root and the server's own."),
    ("tls", "Transport security of the listener that participants reach."),
    ("tls.certificate", "The server's certificate chain (PEM), its own certificate first."),
    ("tls.key", "The server's private key (PEM, PKCS #8); readable by the server's user only."),
    ("tls.anchors", "Certificate authorities (PEM) whose certificates participants may show."),
    ("tls.intermediates", "Intermediate certificates (PEM) for participants that do not send theirs."),
    ("tls.crls", "Revocation lists (PEM or DER) of these authorities."),
    (
        "tls.unknown_revocation",
        "Where revocation cannot be told: \"warn\" (go on, the process card says indeterminate) or \"refuse\".",
    ),
    (
        "revocation",
        "Where news of revoked certificates come from, besides tls.crls. Nobody is asked unless named here.",
    ),
    (
        "revocation.hosts",
        "Hosts (\"ca.example\" or \"ca.example:8080\") that may be asked for lists and by OCSP, by plain HTTP; redirects are not followed.",
    ),
    (
        "revocation.lists",
        "URLs of revocation lists (full or delta) to fetch in the background, well before they run out.",
    ),
    (
        "revocation.ocsp",
        "Whether responders that certificates name are asked, if their host is listed. Clients never wait for that: until the answer is there, tls.unknown_revocation decides.",
    ),
    (
        "revocation.ocsp_nonce_required",
        "Refuse answers without a nonce. Many responders sign in advance and send none.",
    ),
    ("revocation.folder", "Folder where fetched lists and answers are kept; it can be deleted at any time."),
    ("revocation.refresh_minutes", "Longest pause between two looks for newer lists."),
    ("revocation.fetch_seconds", "Time for one answer."),
    ("store", "Where messages are kept."),
    (
        "store.folder",
        "Folder of the database and of large payloads; one server only, on a local disk. With PostgreSQL: of what one server has under way.",
    ),
    (
        "store.engine",
        "\"embedded\" (SQLite in the folder, one server) or \"postgres\" (a PostgreSQL database, 15 or later, any number of servers).",
    ),
    (
        "store.connection",
        "How the database is reached, in libpq's words; several hosts, of which the primary is found. Across a network, tls_anchors is needed.",
    ),
    ("store.password_file", "File that holds the database user's password and nothing else."),
    (
        "store.tls_anchors",
        "Certificate authorities (PEM) of the database's hosts; with them, TLS is demanded.",
    ),
    (
        "store.node",
        "Name of this server among those that share the database; no other may have it, and it stays.",
    ),
    (
        "store.standby",
        "A synchronous standby of the database: \"unasked\", \"wanted\" (a warning without) or \"required\" (nothing is accepted without).",
    ),
    (
        "store.connections_max",
        "Connections to the database, besides one that writes and one that hears of the other servers.",
    ),
    (
        "store.patience_seconds",
        "How long a request waits for a database that does not answer, or for a new primary, before it is refused.",
    ),
    ("store.question_seconds", "How long the database may take over one question."),
    (
        "objects",
        "An object store (S3) that takes the database's large payloads. Change it on all servers at once, when all know this section.",
    ),
    (
        "objects.endpoint",
        "https://host[:port], or http on this machine alone; left out, large payloads lie in the database.",
    ),
    ("objects.bucket", "The bucket; it exists, and is this store's or shared by prefix."),
    ("objects.prefix", "Put before every name, with a slash between."),
    ("objects.region", "The region that requests are signed for."),
    ("objects.access_key", "Id of the key that requests are signed with."),
    ("objects.secret_key_file", "File that holds the secret key and nothing else."),
    ("objects.tls_anchors", "Certificate authorities (PEM) of the endpoint."),
    ("xta", "The XTA 2 web service."),
    ("xta.address", "Where it listens (TLS with client certificates)."),
    (
        "xta.path",
        "Requests at this path and below are taken, \"/\" takes every path; ?wsdl and ?xsd=… describe the service.",
    ),
    ("osci", "OSCI-Transport 1.2."),
    ("osci.address", "Where the intermediary listens; left out, there is no OSCI."),
    ("osci.path", "Requests at this path and below are taken, \"/\" takes every path."),
    (
        "osci.tls",
        "Whether the listener speaks TLS with the certificate of [tls]. Without, a proxy may do so; messages protect themselves.",
    ),
    (
        "osci.cipher_certificates",
        "Certificates (PEM, RSA) that clients encrypt for; the first is the current one, former ones are still accepted.",
    ),
    ("osci.cipher_keys", "Their private keys (PEM, PKCS #8), in the same order."),
    ("osci.signature_certificate", "The certificate (PEM, RSA or ECDSA) of our own signatures."),
    ("osci.signature_key", "Its private key (PEM, PKCS #8)."),
    ("osci.signature_anchors", "Certificate authorities (PEM) whose certificates may sign."),
    ("osci.cipher_anchors", "Certificate authorities (PEM) whose certificates may be encrypted for."),
    ("osci.intermediates", "Intermediate certificates (PEM); OSCI messages carry none."),
    ("osci.crls", "Revocation lists (PEM or DER) of these authorities."),
    (
        "osci.unknown_revocation",
        "Where revocation cannot be told: \"warn\" (go on, with feedback 3501 or 3707) or \"refuse\".",
    ),
    (
        "osci.dialog_idle_seconds",
        "Seconds of silence after which a dialog is over; what it had fetched is offered again.",
    ),
    (
        "osci.unproven_senders",
        "Whether messages are taken of clients that neither sign nor encrypt. Nothing proves who they are.",
    ),
    (
        "osci.aes_cbc",
        "Whether messages encrypted with AES-CBC are taken. They can be forged and, by asking often, perhaps read.",
    ),
    ("osci.rsa_1_5", "Whether keys wrapped by RSA 1.5 are taken."),
    (
        "osci.receiver_anchors",
        "Certificate authorities (PEM) of passive recipients' https servers; without any, only http is dialled.",
    ),
    (
        "osci.push_seconds",
        "Seconds for one push to a passive recipient (forwardDelivery, mediateDelivery), his answer included.",
    ),
    (
        "osci.pushes_per_recipient_max",
        "Pushes to one participant at a time; further ones are refused (9809) after two seconds.",
    ),
    ("portal", "Citizens' portals: a submission API in the shape of FIT-Connect."),
    ("portal.address", "Where it listens (TLS with the certificate of [tls]); left out, there is none."),
    (
        "portal.url",
        "URL that portals know it by, without a slash at the end: issuer and audience of tokens, issuer of events. Port 0 \
         stands for the one it listens at.",
    ),
    (
        "portal.key",
        "Private key (PEM, PKCS #8, RSA) that signs tokens, events and routing answers; made at the first start.",
    ),
    (
        "portal.further_keys",
        "Files (JSON: a public key or a set of them, as `amtsbote cert portal-key` prints) of keys that are published and \
         believed beside portal.key, for as long as a change takes: the next one, or the one before.",
    ),
    (
        "portal.former_keys",
        "Files of the same kind of keys that are only published, so that what they signed can be verified; no access token of \
         theirs is taken.",
    ),
    (
        "portal.folder",
        "Folder where uploads wait until they are submitted; on a local disk, with the store's reserve. With PostgreSQL \
         they wait in the database.",
    ),
    (
        "portal.submission_bytes_max",
        "Metadata and data of one submission together, in bytes; attachments count to limits.content_bytes_max.",
    ),
    ("portal.token_seconds", "Seconds that an access token lasts; 1 to 86400."),
    (
        "portal.requests_per_minute_max",
        "Requests of one participant, and public questions from one address, in a minute.",
    ),
    (
        "portal.announced_hours",
        "Hours after which what was announced and not submitted is forgotten; 1 to 8784.",
    ),
    (
        "portal.uploads_bytes_max",
        "What one client may have uploaded and not submitted, in bytes. Never less than limits.content_bytes_max.",
    ),
    ("portal.remind_days", "Days after which a submission that nobody decided is reported to the operator."),
    ("portal.reject_days", "Days after which a submission that nobody decided is rejected."),
    (
        "portal.retain_payload_days",
        "Days that a decided or rejected submission is kept before it is deleted.",
    ),
    ("portal.retain_card_days", "Days that its event log is kept."),
    (
        "portal.zip",
        "Whether content may have been compressed (zip DEF) before it was encrypted, as clients of version 1 do; readers must \
         bound what they inflate.",
    ),
    (
        "portal.callback_anchors",
        "Files (PEM) of the authorities that receivers of callbacks have their certificates from; without one nobody is called.",
    ),
    (
        "portal.callback_crls",
        "Revocation lists (PEM or DER) of those authorities; revocation.lists and revocation.ocsp count as well.",
    ),
    (
        "portal.callback_unknown_revocation",
        "\"warn\" calls a receiver of whose certificate nobody knows whether it is revoked, \"refuse\" does not.",
    ),
    (
        "portal.callback_networks",
        "Networks that callbacks may dial beside public addresses, such as [\"10.1.0.0/16\"]; all others inside the house, loopback \
         and metadata services are refused.",
    ),
    (
        "portal.callback_seconds",
        "Time for one call, from looking up the name to the head of the answer; 1 to 60.",
    ),
    (
        "portal.callback_hours",
        "Hours after which a submission that its receiver could not be told of is given up, with a warning; it still waits.",
    ),
    ("evidence", "The log that proves what happened."),
    ("evidence.origin", "Name of this log in its signed checkpoints, for good."),
    ("evidence.key", "Private key (PEM, Ed25519) that signs the checkpoints; made at the first start."),
    (
        "evidence.former_keys",
        "Public keys (as `amtsbote evidence key` printed them) that signed the checkpoints before the present one. After \
         a change of the key nothing is signed until the former one stands here.",
    ),
    (
        "evidence.card_key",
        "Private key (PEM, PKCS #8; RSA or ECDSA) that signs process cards in exported proofs; made at the first start.",
    ),
    (
        "evidence.card_certificate",
        "Its certificate chain (PEM), its own first; a self-signed one is made with the key. Better one of a CA that \
         readers of proofs know.",
    ),
    (
        "evidence.time_stamp_url",
        "Time stamp authority (RFC 3161, http:// or https://) whose stamps the signed checkpoints get; without it there \
         are none.",
    ),
    ("evidence.time_stamp_anchors", "Certificate authorities (PEM) whose time stamps are believed."),
    (
        "evidence.time_stamp_crls",
        "Revocation lists (PEM or DER) of these authorities, beside those of revocation.lists.",
    ),
    (
        "evidence.time_stamp_unknown_revocation",
        "\"warn\" or \"refuse\" a stamp whose authority may have been revoked without our knowing it.",
    ),
    (
        "evidence.time_stamp_server_anchors",
        "Certificate authorities (PEM) that the authority's server is believed by, for an https:// URL.",
    ),
    (
        "evidence.time_stamp_policy",
        "Policy (object identifier) to ask the authority for; without it, its own.",
    ),
    (
        "evidence.time_stamp_interval_seconds",
        "Shortest time between two stamps; each covers the whole log before it.",
    ),
    (
        "evidence.time_stamp_renew_days",
        "Days before its certificate or algorithm ends that a stamp is renewed.",
    ),
    ("evidence.time_stamp_wait_seconds", "Time for one question to the authority. No message waits for it."),
    ("log", "What the server says on its standard error."),
    ("log.format", "\"text\" for people, \"json\" for collectors."),
    (
        "log.filter",
        "What is worth a line: error, warn, info, debug; per part as in \"info,amtsbote::xta=debug\".",
    ),
    (
        "limits",
        "What a stranger may make the server hold. A refusal names the limit, its value and what was seen.",
    ),
    ("limits.content_bytes_max", "All parts of one message together, in bytes."),
    ("limits.envelope_bytes_max", "The SOAP envelope without its attachments, in bytes."),
    ("limits.parts_max", "Parts of one message, the envelope included."),
    ("limits.part_header_bytes_max", "Header lines of one MIME part, in bytes."),
    ("limits.http_header_bytes_max", "HTTP request line and header, in bytes."),
    ("limits.xml_depth_max", "Elements inside one another."),
    ("limits.xml_attributes_max", "Attributes of one element."),
    ("limits.xml_attribute_bytes_max", "One attribute's value, in bytes."),
    ("limits.xml_name_bytes_max", "One name, in bytes."),
    (
        "limits.connections_max",
        "Participants' connections of one door (XTA, OSCI) at a time; further ones wait.",
    ),
    (
        "limits.connections_per_peer_max",
        "Connections of one door from one address (IPv6: one network of 64 bits); further ones are closed. Where all \
         participants come through one proxy, set it to connections_max.",
    ),
    (
        "limits.newcomers_max",
        "Connections of one door that have not yet sent a complete request; further ones are closed. One address has the \
         same part of these as of all connections.",
    ),
    ("limits.handshake_seconds", "Time for the TLS handshake."),
    ("limits.header_seconds", "Time for the complete HTTP header."),
    ("limits.idle_seconds", "Time without a byte while a body is read or an answer written."),
    ("limits.keep_alive_seconds", "Time that a finished connection is kept for the next request."),
    (
        "limits.body_bytes_per_second_min",
        "Slowest body, averaged, judged after the first 30 seconds of waiting.",
    ),
    ("limits.list_items_max", "Entries in one status list."),
    ("limits.drain_seconds", "Time for requests to finish after SIGTERM before they are cut."),
    (
        "limits.outlet_seconds",
        "Time for one attempt to hand a message to a spool folder or another intermediary, beside that of its bytes.",
    ),
    (
        "limits.outlet_bytes_per_second_min",
        "Slowest line there: an attempt may last one second more for each such number of bytes.",
    ),
    ("limits.announced_days", "Days after which issued ids that nobody used are forgotten."),
    ("limits.disk_reserve_bytes", "Free disk space below which nothing is accepted, in bytes."),
    (
        "limits.upload_bytes_max",
        "Disk space that large messages of one participant may keep while they come in chunks, in bytes: twice what each \
         states, from its first chunk on. Never less than four times content_bytes_max; one of them is taken whatever it keeps. \
         Copies that are fetched in chunks may keep as much again, and those of all participants eight times as much (embedded store).",
    ),
    ("profile", "The service profile of messages where neither they nor their reader name one."),
    ("profile.name", "Its name (URI, URN or a short name)."),
    (
        "profile.expiry_days",
        "Days after which a message that nobody fetched expires, unless it says an earlier day.",
    ),
    ("profile.reminder_days", "Days after which an unfetched message is reported to the operator."),
    ("profile.retain_payload_days", "Days that content is kept after reception or another final state."),
    ("profile.retain_card_days", "Days that the process card is kept after the final state."),
    ("profile.ordered", "Whether a mailbox's messages are handed out strictly in order of entry."),
    ("profile.asynchronous", "Whether sendMessage is allowed."),
    ("profile.synchronous", "Whether sendMessageSync is allowed."),
    ("profile.synchronous_wait_seconds", "Seconds that sendMessageSync waits for the reader's answer."),
    ("profile.content_bytes_max", "Largest content in bytes, where it is below limits.content_bytes_max."),
    ("profile.push_attempts_max", "Attempts of a push before the message is a dead letter."),
    (
        "profile.push_backoff_first_seconds",
        "Pause after the first failed push; it doubles with each further one.",
    ),
    ("profile.push_backoff_max_seconds", "Longest pause between pushes."),
];

/// Keys that may be absent, with a value that shows their shape.
const ABSENT: &[(&str, &str)] = &[
    ("osci.address", "\"0.0.0.0:8444\""),
    ("portal.address", "\"0.0.0.0:8445\""),
    ("store.connection", "\"host=db1,db2 dbname=amtsbote user=amtsbote\""),
    ("store.password_file", "\"database.password\""),
    ("store.node", "\"relay-1\""),
    ("objects.endpoint", "\"https://s3.example.org\""),
    ("objects.secret_key_file", "\"objects.secret\""),
    ("evidence.time_stamp_url", "\"http://tsa.example.org/\""),
    ("evidence.time_stamp_policy", "\"1.2.276.0.99.1\""),
    ("profile.content_bytes_max", "10485760"),
];

/// Tables that may come any number of times, none at first.
const REPEATED: &str = "
# A folder for a procedure that reads files: messages of these mailboxes are pushed into it, each as a folder of
# its own below new/. May be repeated.
# [[spool]]
# mailboxes = [\"ags:10041100\"]
# folder = \"spool\"
";

/// The same for other intermediaries.
const REPEATED_FOREIGN: &str = "
# Another OSCI intermediary: messages of these mailboxes are stored there, for the reader whom the certificate names.
# The mailbox belongs to a participant here that stands for him; own_… is who we are there, as its operator knows us.
# Without signature_certificate its answers count because only it could read our question; tls_anchors is for https.
# No other URL is dialled. What is larger than chunk_kilobytes (8 to 65536 KB; left out: than the other one's MaxChunkSize)
# goes in chunks. May be repeated; a change takes a restart.
# [[intermediary]]
# url = \"http://other.example:8444/osci\"
# cipher_certificate = \"other/osci-cipher.crt\"
# signature_certificate = \"other/osci-signature.crt\"
# tls_anchors = []
# own_cipher_certificate = \"tls/there-cipher.crt\"
# own_cipher_key = \"tls/there-cipher.key\"
# own_signature_certificate = \"tls/there-signature.crt\"
# own_signature_key = \"tls/there-signature.key\"
# chunk_kilobytes = 16384
# readers = [{ mailbox = \"ags:10042200\", certificate = \"other/reader-cipher.crt\" }]
";

const WIDTH: usize = 110;

pub(super) fn render(config: &Config) -> String {
    let mut out = String::from(
        "# Configuration of amtsbote. Every key is shown; those left out have the value of a fresh `amtsbote init`.\n\
         # Unknown keys are errors. Paths are relative to this file's folder. `amtsbote check` tells what is wrong.\n",
    );
    let mut table = toml::Table::try_from(config).expect("a configuration is a table");
    let repeated = [("spool", REPEATED), ("intermediary", REPEATED_FOREIGN)];
    let repeated = repeated.map(|(name, shown)| (name, table.remove(name), shown));
    for (name, words) in WORDS {
        match name.split_once('.') {
            None => {
                out.push('\n');
                comment(&mut out, words);
                out.push_str(&format!("[{name}]\n"));
            }
            Some((section, key)) => {
                comment(&mut out, words);
                match table.get(section).and_then(|section| section.get(key)) {
                    Some(value) => out.push_str(&format!("{key} = {value}\n")),
                    None => {
                        let shown = ABSENT.iter().find(|(absent, _)| absent == name).map_or("", |(_, v)| v);
                        out.push_str(&format!("# {key} = {shown}\n"));
                    }
                }
            }
        }
    }
    for (name, present, shown) in repeated {
        match present {
            None => out.push_str(shown),
            Some(tables) => {
                let tables = toml::Table::from_iter([(name.to_owned(), tables)]);
                out.push_str(&format!("\n{tables}"));
            }
        }
    }
    out
}

fn comment(out: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `section.key` of everything that a configuration with nothing absent holds.
    fn real_keys() -> BTreeSet<String> {
        let mut config = Config::default();
        config.profile.content_bytes_max = Some(1);
        config.osci.address = Some(config.xta.address);
        config.portal.address = Some(config.xta.address);
        config.store.connection = Some("host=127.0.0.1".to_owned());
        config.store.password_file = Some("password".into());
        config.store.node = Some("relay-1".to_owned());
        config.objects.endpoint = Some("https://s3.example.org".to_owned());
        config.objects.secret_key_file = Some("objects.secret".into());
        config.evidence.time_stamp_url = Some("http://tsa.example.org/".to_owned());
        config.evidence.time_stamp_policy = Some("1.2.3".to_owned());
        let table = toml::Table::try_from(config).expect("a table");
        table
            .iter()
            .flat_map(|(section, keys)| {
                let keys = keys.as_table().expect("sections hold keys");
                keys.keys().map(move |key| format!("{section}.{key}"))
            })
            .collect()
    }

    #[test]
    fn every_key_is_explained_once() {
        let explained: Vec<_> =
            WORDS.iter().map(|(name, _)| *name).filter(|name| name.contains('.')).collect();
        let set: BTreeSet<_> = explained.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(explained.len(), set.len(), "a key is explained twice");
        assert_eq!(set, real_keys());
    }

    #[test]
    fn absent_keys_are_shown_as_comments_that_would_parse() {
        let text = render(&Config::default());
        let uncommented: String = ABSENT.iter().fold(text, |text, (name, value)| {
            let key = name.split_once('.').map_or(*name, |(_, key)| key);
            let commented = format!("# {key} = {value}\n");
            assert!(text.contains(&commented), "{name}");
            text.replace(&commented, &commented[2..])
        });
        let (before, spool) = uncommented.split_once("# [[spool]]").expect("the repeated table is shown");
        let (spool, foreign) = spool.split_once("# [[intermediary]]").expect("so is the other");
        let (spool, words) = spool.split_once("\n\n").expect("an empty line between them");
        let [spool, foreign] = [spool, foreign].map(|table| table.replace("\n# ", "\n"));
        let uncommented = format!("{before}[[spool]]{spool}\n\n{words}[[intermediary]]{foreign}");
        let parsed: Config = toml::from_str(&uncommented).expect("parses");
        assert_eq!(parsed.profile.content_bytes_max, Some(10_485_760));
        assert_eq!((parsed.spool.len(), parsed.intermediary.len()), (1, 1));
        let rendered: Config = toml::from_str(&render(&parsed)).expect("what is rendered parses");
        assert_eq!(rendered, parsed);
    }
}
