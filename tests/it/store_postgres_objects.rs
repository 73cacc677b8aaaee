//! Large payloads in an object store: there before their message, gone after it, refused where it does not answer.
//!
//! The object store is one of the tests' own (S3 as far as it is used: put, ranged get, list, delete), on loopback, and
//! can be told to refuse. It believes every signature, and no other access key. `tests/peers/objects` brings one of
//! another make.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amtsbote::store::postgres::{
    ObjectSettings, PostgresStore, Settings, adopt_objects, examine, verify_logs,
};
use amtsbote::store::{Accepted, Store, StoreError};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::cli_fixture::amtsbote;
use crate::ports::own_port;
use crate::postgres_cluster::{Cluster, programs};
use crate::store_conformance::{self, Bench};
use crate::store_fixture::{Draft, at, content, draft, id};

const MIB: usize = 1024 * 1024;
const BUCKET: &str = "amtsbote";

const WRITTEN: &str = "2026-11-28T10:00:00.000Z";
/// Objects of one answer to a question for names: few, so that there are several.
const LISTED_MAX: usize = 3;

type Written = Arc<Mutex<BTreeMap<String, &'static str>>>;

/// A bucket on loopback.
struct Bucket {
    endpoint: String,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// When objects were written, where that is not [`WRITTEN`].
    written: Written,
    refuses: Arc<AtomicBool>,
    /// Takes requests and answers none.
    silent: Arc<AtomicBool>,
    meddling: Meddling,
}

type Deed = Box<dyn FnOnce() + Send>;

/// What the bucket does to a sweep.
#[derive(Clone, Default)]
struct Meddling {
    /// Objects that it does not let go of.
    locked: Arc<Mutex<BTreeSet<String>>>,
    /// Once, when all of a store's objects are listed.
    on_list: Arc<Mutex<Option<Deed>>>,
}

impl Bucket {
    /// Served on the runtime that this is called on.
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let bucket = Self {
            endpoint,
            objects: Arc::default(),
            written: Written::default(),
            refuses: Arc::default(),
            silent: Arc::default(),
            meddling: Meddling::default(),
        };
        let (objects, refuses, silent) =
            (bucket.objects.clone(), bucket.refuses.clone(), bucket.silent.clone());
        let (written, meddling) = (bucket.written.clone(), bucket.meddling.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (objects, refuses, silent) = (objects.clone(), refuses.clone(), silent.clone());
                let (written, meddling) = (written.clone(), meddling.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (objects, refuses) = (objects.clone(), refuses.load(Ordering::SeqCst));
                    let (silent, written) = (silent.clone(), written.clone());
                    let meddling = meddling.clone();
                    async move {
                        while silent.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        Ok::<_, Infallible>(answer(&objects, &written, (refuses, &meddling), request).await)
                    }
                });
                tokio::spawn(async move {
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        bucket
    }

    /// Of payloads' objects.
    fn names(&self) -> Vec<String> {
        let all = self.objects.lock().expect("objects");
        all.keys().filter(|name| !name.ends_with("/claim")).cloned().collect()
    }

    fn settings(&self, connection: &str, node: &str) -> Settings {
        let objects = ObjectSettings {
            endpoint: self.endpoint.clone(),
            bucket: BUCKET.to_owned(),
            prefix: "tests".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "relay".to_owned(),
            secret_key: "secret".to_owned(),
            tls: None,
        };
        let patience = Duration::from_secs(3);
        Settings { objects: Some(objects), patience, ..Settings::new(connection, node) }
    }

    async fn open(&self, connection: &str, node: &str) -> PostgresStore {
        PostgresStore::open(self.settings(connection, node)).await.expect("a store")
    }

    /// Waits until nothing is left, for what happens beside the work.
    async fn is_emptied(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.names().is_empty() {
            assert!(Instant::now() < end, "left behind: {:?}", self.names());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn said(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("etag", "\"tag\"".parse().expect("a value"));
    headers.insert("last-modified", "Sat, 28 Nov 2026 10:00:00 GMT".parse().expect("a value"));
    response
}

async fn answer(
    objects: &Mutex<BTreeMap<String, Bytes>>,
    written: &Written,
    (refuses, meddling): (bool, &Meddling),
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !header("authorization").contains("Credential=relay/") {
        return said(StatusCode::FORBIDDEN, "<Error><Code>InvalidAccessKeyId</Code></Error>");
    }
    if refuses {
        return said(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>");
    }
    let mut objects = objects.lock().expect("objects");
    let path = head.uri.path().trim_start_matches('/');
    let name = path.strip_prefix(BUCKET).map(|name| name.trim_start_matches('/').to_owned());
    let Some(name) = name else {
        return said(StatusCode::NOT_FOUND, "<Error><Code>NoSuchBucket</Code></Error>");
    };
    match head.method {
        Method::PUT => {
            objects.insert(name, body);
            said(StatusCode::OK, "")
        }
        Method::DELETE if meddling.locked.lock().expect("names").contains(&name) => {
            said(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>")
        }
        Method::DELETE => {
            objects.remove(&name);
            said(StatusCode::NO_CONTENT, "")
        }
        Method::GET if name.is_empty() => {
            let query = head.uri.query().unwrap_or_default();
            let field = |name: &str| {
                let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                value.map(|value| value.replace("%2F", "/"))
            };
            let prefix = field("prefix").unwrap_or_default();
            if prefix.trim_end_matches('/').split('/').count() == 2
                && let Some(meddle) = meddling.on_list.lock().expect("a deed").take()
            {
                meddle();
            }
            let after = field("continuation-token").or(field("start-after")).unwrap_or_default();
            let below = objects.iter().filter(|(name, _)| name.starts_with(&prefix) && **name > after);
            let below: Vec<(&String, &Bytes)> = below.collect();
            let written = written.lock().expect("times");
            let listed = below.iter().take(LISTED_MAX).map(|(name, bytes)| {
                let written = written.get(*name).unwrap_or(&WRITTEN);
                let length = bytes.len();
                format!(
                    "<Contents><Key>{name}</Key><LastModified>{written}</LastModified>\
                     <ETag>\"tag\"</ETag><Size>{length}</Size></Contents>"
                )
            });
            let listed = listed.collect::<String>();
            let more = match below.get(LISTED_MAX - 1).filter(|_| below.len() > LISTED_MAX) {
                None => "<IsTruncated>false</IsTruncated>".to_owned(),
                Some((last, _)) => {
                    format!(
                        "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"
                    )
                }
            };
            said(StatusCode::OK, format!("<ListBucketResult>{more}{listed}</ListBucketResult>"))
        }
        _ => {
            let Some(bytes) = objects.get(&name) else {
                return said(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>");
            };
            let range = header("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
            let Some((from, to)) = range else { return said(StatusCode::OK, bytes.clone()) };
            let from: usize = from.parse().expect("a number");
            let to = to.parse::<usize>().expect("a number").min(bytes.len() - 1);
            let mut response = said(StatusCode::PARTIAL_CONTENT, bytes.slice(from..=to));
            let range = format!("bytes {from}-{to}/{}", bytes.len());
            response.headers_mut().insert("content-range", range.parse().expect("a value"));
            response
        }
    }
}

async fn read(store: &PostgresStore, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
    let mut reader = store.open_payload(&id(name), offset, length).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn large(name: &str, length: usize) -> Draft {
    Draft { content: content(7, length), ..draft(name) }
}

/// The suite, on a store of which everything large lies in a bucket.
struct Database {
    settings: Settings,
}

impl Bench for Database {
    fn open(&self) -> Arc<dyn Store> {
        let opening = PostgresStore::open(self.settings.clone());
        let runtime = tokio::runtime::Handle::current();
        Arc::new(tokio::task::block_in_place(|| runtime.block_on(opening)).expect("a store"))
    }
}

#[test]
fn conforms() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let bucket = runtime.block_on(Bucket::start());
    let number = AtomicU32::new(0);
    store_conformance::run_all(|| {
        let name = format!("check_{}", number.fetch_add(1, Ordering::Relaxed));
        let connection = cluster.database(&name);
        Box::new(Database { settings: bucket.settings(&connection, "node") })
    });
    assert!(!bucket.names().is_empty(), "nothing went there");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_lie_in_the_bucket_until_their_message_goes() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("objects");
    let bucket = Bucket::start().await;
    let store = bucket.open(&connection, "one").await;
    let sent = large("a", 9 * MIB + 5);
    assert_eq!(sent.send(&store).await.expect("stored"), Accepted::New);
    assert_eq!(sent.send(&store).await.expect("known"), Accepted::Before);
    assert_eq!(draft("small").send(&store).await.expect("stored"), Accepted::New);
    assert_eq!(cluster.sql("objects", "SELECT count(*) FROM amtsbote.payload_chunk"), "0");
    // Four MiB each, and what the second attempt brought is let go of.
    let end = Instant::now() + Duration::from_secs(20);
    while bucket.names().len() != 3 {
        assert!(Instant::now() < end, "{:?}", bucket.names());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let whole = sent.content.len() as u64;
    for (offset, length) in [(0, whole), (4 * MIB as u64 - 1, 2), (9 * MIB as u64, 99), (whole, 1), (3, 0)] {
        let expected = &sent.content[offset as usize..(offset + length).min(whole) as usize];
        let found = read(&store, "a", offset, length).await.expect("readable");
        assert!(found == expected, "{offset}+{length}: {} bytes", found.len());
    }
    // A node that was not told of the bucket says so, and leaves what lies there alone.
    let other = PostgresStore::open(Settings::new(&connection, "two")).await.expect("a store");
    let error = read(&other, "a", 0, 1).await.expect_err("it has no bucket").to_string();
    assert!(error.contains("configure [objects] here"), "{error}");
    other.close().await.expect("closed");
    // Nor is a payload damaged that nobody reached.
    let looked = async |settings: Settings| verify_logs(settings, &[], &[]).await;
    let report = looked(bucket.settings(&connection, "looking")).await.expect("read");
    assert!(report.is_sound() && report.messages == Some(2), "{report:?}");
    let error = looked(Settings::new(&connection, "looking")).await.expect_err("no bucket").to_string();
    assert!(error.contains("configure [objects] here"), "{error}");
    // By the command line, whose configuration names the bucket.
    let folder = tempfile::tempdir().expect("a folder");
    let configured = |connection: &str, name: &str| {
        let config = format!(
            "[store]\nengine = \"postgres\"\nconnection = \"{connection}\"\nnode = \"looking\"\n\
             [objects]\nendpoint = \"{}\"\nbucket = \"{name}\"\nprefix = \"tests\"\naccess_key = \"relay\"\n\
             secret_key_file = \"objects.secret\"\n",
            bucket.endpoint
        );
        std::fs::write(folder.path().join("amtsbote.toml"), config).expect("written");
    };
    let secret = folder.path().join("objects.secret");
    std::fs::write(&secret, "secret").expect("written");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    configured(&connection, BUCKET);
    let told = amtsbote(folder.path(), &["evidence", "verify", "--database", "--json"]).ends(0).json();
    assert_eq!(told["messages"], 2, "{told}");
    // Also where the database does not answer, as one that only follows.
    let nowhere = format!("host=127.0.0.1 port={} user=amtsbote dbname=objects", own_port());
    for (database, name, said) in [
        (&connection, BUCKET, "the object store shows its bucket"),
        (&nowhere, BUCKET, "the object store shows its bucket"),
        (
            &nowhere,
            "another",
            "404 Not Found (NoSuchBucket); check endpoint, bucket and keys under [objects]",
        ),
    ] {
        configured(database, name);
        let told = amtsbote(folder.path(), &["check", "--json"]).json();
        let found = told.as_array().expect("findings").iter().find(|one| one["what"] == "objects");
        let words = found.and_then(|found| found["words"].as_str()).unwrap_or_default();
        assert!(words.contains(said) && !words.contains("cannot be written"), "{told}");
    }
    // What is gone or cut short is no payload.
    let name = bucket.names().remove(1);
    let kept = bucket.objects.lock().expect("objects").insert(name.clone(), Bytes::from_static(b"cut"));
    assert!(matches!(read(&store, "a", 0, whole).await, Err(StoreError::Corrupt(_))));
    let report = looked(bucket.settings(&connection, "looking")).await.expect("read");
    assert_eq!(report.problems.first().and_then(|one| one.message.clone()), Some(id("a").to_string()));
    bucket.objects.lock().expect("objects").remove(&name);
    assert!(matches!(read(&store, "a", 0, whole).await, Err(StoreError::Corrupt(_))));
    bucket.objects.lock().expect("objects").extend(kept.map(|kept| (name, kept)));
    // Purged, it goes once nobody can be reading it any more.
    cluster.sql(
        "objects",
        "UPDATE amtsbote.payload_large SET sequence = NULL, dropped_at = clock_timestamp() - interval '9 minutes' \
         WHERE sequence IS NOT NULL",
    );
    store.close().await.expect("closed");
    let store = bucket.open(&connection, "one").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bucket.names().len(), 3, "somebody may be reading");
    store.close().await.expect("closed");
    cluster
        .sql("objects", "UPDATE amtsbote.payload_large SET dropped_at = dropped_at - interval '2 minutes'");
    let store = bucket.open(&connection, "one").await;
    bucket.is_emptied().await;
    assert_eq!(cluster.sql("objects", "SELECT count(*) FROM amtsbote.payload_large"), "0");
    store.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_refuses_stores_nothing_and_stops_nothing_else() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("refused");
    let bucket = Bucket::start().await;
    let store = bucket.open(&connection, "one").await;
    let mut writer = store.payload_writer().await.expect("a writer");
    writer.write(&content(1, 5 * MIB)).await.expect("the first object is taken");
    assert_eq!(bucket.names().len(), 1);
    bucket.refuses.store(true, Ordering::SeqCst);
    let error = writer.write(&content(1, 5 * MIB)).await.expect_err("refused").to_string();
    assert!(error.contains("the object store http://127.0.0.1"), "{error}");
    drop(writer);
    assert!(matches!(large("a", MIB).send(&store).await, Err(StoreError::Unavailable(_))));
    assert_eq!(draft("small").send(&store).await.expect("stored"), Accepted::New);
    let examined = examine(bucket.settings(&connection, "one")).await.expect("examined");
    assert!(examined.objects.is_some_and(|look| look.is_err()));
    store.close().await.expect("closed");
    // What could not be let go of is tried again ten minutes later.
    bucket.refuses.store(false, Ordering::SeqCst);
    cluster
        .sql("refused", "UPDATE amtsbote.payload_large SET dropped_at = dropped_at - interval '11 minutes'");
    let store = bucket.open(&connection, "one").await;
    bucket.is_emptied().await;
    assert_eq!(large("a", MIB).send(&store).await.expect("stored"), Accepted::New);
    let examined = examine(bucket.settings(&connection, "one")).await.expect("examined");
    assert_eq!(examined.objects, Some(Ok(())));
    store.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_died_in_the_middle_leaves_nothing_behind() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("died");
    let bucket = Bucket::start().await;
    let store = bucket.open(&connection, "one").await;
    assert_eq!(large("kept", MIB).send(&store).await.expect("stored"), Accepted::New);
    let mut writer = store.payload_writer().await.expect("a writer");
    writer.write(&content(1, 9 * MIB)).await.expect("taken");
    assert_eq!(bucket.names().len(), 3);
    // As if the process had ended there: nothing of it is let go of.
    std::mem::forget(writer);
    store.close().await.expect("closed");
    let store = bucket.open(&connection, "one").await;
    let end = Instant::now() + Duration::from_secs(20);
    while bucket.names().len() != 1 {
        assert!(Instant::now() < end, "{:?}", bucket.names());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(read(&store, "kept", 0, 99).await.expect("readable").len(), 99);
    store.close().await.expect("closed");
}

/// A database that was restored beside the original has its objects' names; it deletes none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_leaves_the_originals_objects_alone() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let original = cluster.database("original");
    let bucket = Bucket::start().await;
    let store = bucket.open(&original, "one").await;
    assert_eq!(large("a", MIB).send(&store).await.expect("stored"), Accepted::New);
    store.close().await.expect("closed");
    let end = Instant::now() + Duration::from_secs(30);
    while cluster.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'original'") != "0" {
        assert!(Instant::now() < end, "somebody stays connected");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.sql("postgres", "CREATE DATABASE copied TEMPLATE original OWNER amtsbote");
    // In the copy the message is over.
    cluster.sql(
        "copied",
        "UPDATE amtsbote.payload_large SET sequence = NULL, dropped_at = clock_timestamp() - interval '1 hour'",
    );
    let copied = cluster.connection("copied");
    // The original is at work.
    let store = bucket.open(&original, "one").await;
    let refused =
        PostgresStore::open(bucket.settings(&copied, "one")).await.err().expect("refused").to_string();
    assert!(refused.contains("another copy of this database"), "{refused}");
    assert!(refused.contains("store adopt-objects") && refused.contains("[objects] prefix"), "{refused}");
    // A look says it as well, and of the original that all is well.
    let look = async |connection: &str| {
        examine(bucket.settings(connection, "one")).await.expect("looked at").objects.expect("a look")
    };
    assert!(look(&copied).await.expect_err("refused").contains("another copy of this database"));
    assert_eq!(look(&original).await, Ok(()));
    // Not even where the bucket answered too late to be asked at the start.
    bucket.refuses.store(true, Ordering::SeqCst);
    let late = bucket.open(&copied, "one").await;
    bucket.refuses.store(false, Ordering::SeqCst);
    let writer = late.payload_writer().await.expect("a writer");
    drop(writer);
    assert_eq!(large("b", MIB).send(&late).await.expect("stored"), Accepted::New);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(read(&store, "a", 0, 99).await.expect("readable").len(), 99);
    late.close().await.expect("closed");
    assert_eq!(read(&store, "a", 0, 99).await.expect("readable").len(), 99);
    store.close().await.expect("closed");

    // The original is lost, and the copy takes its place.
    let act = amtsbote::store::AdminAct {
        at: at(1),
        by: "root".to_owned(),
        act: "store adopt-objects".to_owned(),
        object: BUCKET.to_owned(),
        reason: "restored".to_owned(),
    };
    adopt_objects(bucket.settings(&copied, "one"), act.clone()).await.expect("adopted");
    assert_eq!(cluster.sql("copied", "SELECT objects_adopted_at IS NOT NULL FROM amtsbote.store"), "t");
    let restored = bucket.open(&copied, "one").await;
    assert_eq!(restored.acts(1).await.expect("acts"), [act]);
    restored.close().await.expect("closed");
    let refused =
        PostgresStore::open(bucket.settings(&original, "one")).await.err().expect("refused").to_string();
    assert!(refused.contains("another copy of this database"), "{refused}");
}

/// What no row knows goes once it is old, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn old_objects_without_a_row_are_deleted() {
    let Some(programs) = programs() else { return };
    let cluster = Arc::new(Cluster::start(&programs, &[]));
    let connection = cluster.database("strays");
    let bucket = Bucket::start().await;
    let store = bucket.open(&connection, "one").await;
    let sent = large("kept", 9 * MIB);
    assert_eq!(sent.send(&store).await.expect("stored"), Accepted::New);
    store.close().await.expect("closed");
    let id = cluster.sql("strays", "SELECT id FROM amtsbote.store");
    let named = |letter: &str| format!("tests/{id}/{}/00000000", letter.repeat(32));
    // By the object store's clock, which the claim shows, a little more and a little less than a week.
    let (old, young) = ("2026-11-21T09:59:59.000Z", "2026-11-21T10:00:01.000Z");
    let stays = [
        (named("b"), young),
        // Not called as payloads are, or not this store's.
        (format!("tests/{id}/notes.txt"), old),
        (format!("tests/{id}/{}", "c".repeat(32)), old),
        (format!("tests/{id}/{}/readme.txt", "d".repeat(32)), old),
        (format!("tests/{id}0/{}/00000000", "a".repeat(32)), old),
        (format!("tests/{}/00000000", "a".repeat(32)), old),
    ];
    let goes = [
        (named("0"), old),
        (named("a"), old),
        (named("a").replace("00000000", "00000001"), old),
        (format!("tests/{id}/probe-{}/00000000", "e".repeat(32)), old),
        (named("f"), old),
    ];
    let of_message = bucket.names();
    assert_eq!(of_message.len(), 3);
    let put = || {
        let mut written = bucket.written.lock().expect("times");
        let mut objects = bucket.objects.lock().expect("objects");
        for (name, at) in stays.iter().chain(&goes) {
            objects.insert(name.clone(), Bytes::from_static(b"stray"));
            written.insert(name.clone(), at);
        }
        written.extend(of_message.iter().map(|name| (name.clone(), "2026-01-01T00:00:00.000Z")));
        // Comes after them in the same round.
        let orphan = named("9");
        objects.insert(orphan.clone(), Bytes::from_static(b"orphan"));
        written.insert(orphan, WRITTEN);
        cluster.sql(
            "strays",
            &format!(
                "INSERT INTO amtsbote.payload_large (name, node, incarnation, sealed, dropped_at, object_bytes) \
                 VALUES ('{}', 'one', 0, true, clock_timestamp() - interval '1 hour', 4194304)",
                "9".repeat(32)
            ),
        );
    };
    let is_swept = async || {
        let end = Instant::now() + Duration::from_secs(20);
        let row = "SELECT count(*) FROM amtsbote.payload_large WHERE dropped_at IS NOT NULL";
        while bucket.names().contains(&named("9")) || cluster.sql("strays", row) != "0" {
            assert!(Instant::now() < end, "nothing is swept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let left = |also: &[(String, &str)]| {
        let strays = stays.iter().chain(also).map(|(name, _)| name.clone());
        let mut expected: Vec<String> = strays.chain(of_message.clone()).collect();
        expected.sort();
        assert_eq!(bucket.names(), expected);
    };
    // A database that was put in another's place lately may be exchanged for it once more.
    put();
    cluster.sql(
        "strays",
        "UPDATE amtsbote.store SET objects_adopted_at = clock_timestamp() - interval '29 days'",
    );
    let store = bucket.open(&connection, "one").await;
    is_swept().await;
    left(&goes);
    store.close().await.expect("closed");
    put();
    cluster.sql(
        "strays",
        "UPDATE amtsbote.store SET objects_adopted_at = clock_timestamp() - interval '31 days'",
    );
    // Nor one that goes back behind what it has counted to, while the objects are listed.
    let deed = Arc::clone(&cluster);
    *bucket.meddling.on_list.lock().expect("a deed") = Some(Box::new(move || {
        deed.sql("strays", "UPDATE amtsbote.store SET objects_claim = objects_claim - 1");
    }));
    let store = bucket.open(&connection, "one").await;
    is_swept().await;
    assert!(bucket.meddling.on_list.lock().expect("a deed").is_none(), "nothing was listed");
    left(&goes);
    store.close().await.expect("closed");
    cluster.sql("strays", "UPDATE amtsbote.store SET objects_claim = objects_claim + 1");
    // One that stays holds up no other.
    put();
    bucket.meddling.locked.lock().expect("names").insert(goes[0].0.clone());
    let store = bucket.open(&connection, "one").await;
    is_swept().await;
    left(&goes[..1]);
    store.close().await.expect("closed");
    put();
    bucket.meddling.locked.lock().expect("names").clear();
    let store = bucket.open(&connection, "one").await;
    is_swept().await;
    left(&[]);
    let whole = sent.content.len() as u64;
    assert!(read(&store, "kept", 0, whole).await.expect("readable") == sent.content);
    store.close().await.expect("closed");
}

/// Objects that an object store does not let go of keep nobody from looking at the database's promises.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_silent_delays_no_look_at_the_promises() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("silent");
    let bucket = Bucket::start().await;
    bucket.open(&connection, "one").await.close().await.expect("closed");
    cluster.sql(
        "silent",
        "INSERT INTO amtsbote.payload_large (name, node, incarnation, sealed, dropped_at, object_bytes)          SELECT 'gone' || n, 'one', 0, true, clock_timestamp() - interval '1 hour', 4194304 FROM generate_series(1, 60) n",
    );
    let store = bucket.open(&connection, "one").await;
    bucket.silent.store(true, Ordering::SeqCst);
    cluster.reconfigure(&["fsync = off"]);
    let end = Instant::now() + Duration::from_secs(20);
    while store.health().await.expect("health").accepting {
        assert!(Instant::now() < end, "nobody has looked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.close().await.expect("closed");
}

/// `AMTSBOTE_S3` names the endpoint of an object store of another make that has the bucket; without it, this is skipped.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_make_takes_gives_and_forgets() {
    let Ok(endpoint) = std::env::var("AMTSBOTE_S3") else {
        println!("skipped: AMTSBOTE_S3 names no object store; tests/peers/objects brings one");
        return;
    };
    let programs = programs().expect("PostgreSQL, where an object store is named");
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("another_make");
    let bucket = Bucket {
        endpoint,
        objects: Arc::default(),
        written: Written::default(),
        refuses: Arc::default(),
        silent: Arc::default(),
        meddling: Meddling::default(),
    };
    let examined = examine(bucket.settings(&connection, "one")).await.expect("examined");
    assert_eq!(examined.objects, Some(Ok(())));
    let store = bucket.open(&connection, "one").await;
    let sent = large("a", 9 * MIB + 5);
    assert_eq!(sent.send(&store).await.expect("stored"), Accepted::New);
    assert_eq!(cluster.sql("another_make", "SELECT count(*) FROM amtsbote.payload_chunk"), "0");
    let whole = sent.content.len() as u64;
    assert!(read(&store, "a", 0, whole).await.expect("readable") == sent.content);
    let across = read(&store, "a", 4 * MIB as u64 - 1, 2).await.expect("readable");
    assert_eq!(across, sent.content[4 * MIB - 1..4 * MIB + 1]);
    store.close().await.expect("closed");
    cluster.sql(
        "another_make",
        "UPDATE amtsbote.payload_large SET sequence = NULL, dropped_at = clock_timestamp() - interval '1 hour'",
    );
    let store = bucket.open(&connection, "one").await;
    let end = Instant::now() + Duration::from_secs(20);
    // Its row goes after its objects, and only if these could be deleted.
    while cluster.sql("another_make", "SELECT count(*) FROM amtsbote.payload_large") != "0" {
        assert!(Instant::now() < end, "nothing is let go of");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.close().await.expect("closed");
    let mut wrong = bucket.settings(&connection, "one");
    wrong.objects.as_mut().expect("an object store").bucket = "no-such-bucket".to_owned();
    let examined = examine(wrong).await.expect("examined");
    assert!(examined.objects.is_some_and(|look| look.is_err()));
}
