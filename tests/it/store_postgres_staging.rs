//! What goes over several requests, at two nodes of one database: begun at one and gone on with at the other, bounded,
//! over on the database's clock, let go of by a sweep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::store::postgres::{PostgresStore, Settings, Standby};
use amtsbote::store::staging::{Alike, Beginning, Begun, Count, Counted, Place, PlaceName, Staging};
use amtsbote::store::{StagedPayload, Store, StoreError};

use crate::postgres_cluster::{Cluster, programs};
use crate::store_fixture::content;

const DAY: Duration = Duration::from_secs(86_400);

fn place(owner: &str, name: &str) -> PlaceName {
    PlaceName { kind: "uploads".to_owned(), owner: owner.to_owned(), name: name.to_owned() }
}

fn beginning(bytes: u64) -> Beginning<'static> {
    Beginning { note: b"begun", bytes, lasts: DAY, count_max: 3, bytes_max: 1000 }
}

async fn open(connection: &str, node: &str) -> PostgresStore {
    PostgresStore::open(Settings::new(connection, node)).await.expect("a store")
}

async fn staged(store: &PostgresStore, bytes: &[u8]) -> StagedPayload {
    let mut writer = store.payload_writer().await.expect("a writer");
    writer.write(bytes).await.expect("written");
    writer.seal().await.expect("sealed")
}

async fn read(store: &PostgresStore, place: &PlaceName, number: u64, offset: u64, length: u64) -> Vec<u8> {
    let mut reader = store.open_piece(place, number, offset, length).await.expect("a piece");
    let mut bytes = Vec::new();
    while let Some(more) = reader.next().await.expect("read") {
        bytes.extend_from_slice(&more);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_begins_another_goes_on_with() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("staging");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    assert!(one.staging().is_some());
    let upload = place("author", "upload.1");
    assert_eq!(two.place(&upload).await.expect("asked"), None);
    assert!(matches!(two.keep_piece(&upload, 1, staged(&two, b"x").await).await, Err(StoreError::Unknown)));
    assert_eq!(one.begin_place(&upload, beginning(900)).await.expect("begun"), Begun::Yes);
    // Small ones lie in their row, large ones apart.
    let (small, large) = (content(1, 8_000), content(2, 700_000));
    for (store, number, bytes) in [(&two, 7, &large), (&one, 2, &small)] {
        assert!(store.keep_piece(&upload, number, staged(store, bytes).await).await.expect("kept"));
    }
    // Again, at the other node: what was there stays.
    assert!(!one.keep_piece(&upload, 7, staged(&one, b"other").await).await.expect("asked"));
    let found = one.place(&upload).await.expect("asked").expect("there");
    assert!(found.left <= DAY && found.left > DAY / 2, "{:?}", found.left);
    let expected = Place {
        name: upload.name.clone(),
        note: b"begun".to_vec(),
        is_open: true,
        pieces: vec![2, 7],
        left: found.left,
    };
    assert_eq!(found, expected);
    let listed = two.places("uploads", "author", "upload.").await.expect("asked");
    assert_eq!(listed.iter().map(|place| &place.name).collect::<Vec<_>>(), [&expected.name]);
    assert_eq!(two.places("uploads", "author", "other").await.expect("asked"), []);
    for (store, number, whole) in [(&one, 7, &large), (&two, 2, &small)] {
        assert!(read(store, &upload, number, 0, u64::MAX).await == **whole, "{number}");
        assert!(read(store, &upload, number, 7_000, 500).await == whole[7_000..7_500], "{number}");
        let rest = whole.len() as u64 - 10;
        assert!(read(store, &upload, number, rest, 500).await == whole[rest as usize..], "{number}");
    }
    assert!(matches!(one.open_piece(&upload, 3, 0, 1).await, Err(StoreError::Unknown)));
    two.note_place(&upload, b"noted").await.expect("noted");
    assert_eq!(one.place(&upload).await.expect("asked").map(|found| found.note), Some(b"noted".to_vec()));

    // Settled, its pieces are nobody's any more; it is still known.
    one.settle_place(&upload, b"accepted").await.expect("settled");
    let settled = two.place(&upload).await.expect("asked").expect("known");
    assert_eq!((settled.is_open, settled.note.as_slice()), (false, &b"accepted"[..]));
    assert!(matches!(two.open_piece(&upload, 2, 0, 1).await, Err(StoreError::Unknown)));
    let late = two.keep_piece(&upload, 3, staged(&two, b"late").await).await;
    assert!(matches!(late, Err(StoreError::Unknown)));
    one.forget_place(&upload).await.expect("forgotten");
    assert_eq!(two.place(&upload).await.expect("asked"), None);
    assert!(matches!(two.note_place(&upload, b"").await, Err(StoreError::Unknown)));
    // Its name is free, and nothing of the one before is left.
    assert_eq!(two.begin_place(&upload, beginning(1)).await.expect("begun"), Begun::Yes);
    assert_eq!(one.place(&upload).await.expect("asked").map(|found| found.pieces), Some(vec![]));
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_has_only_so_many_and_so_much() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("bounds");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    for (store, owner, name, bytes, expected) in [
        // One alone may have more than all together.
        (&one, "large", "a", 2000, Begun::Yes),
        (&two, "large", "b", 1, Begun::TooMuch { bytes: 2001 }),
        (&two, "large", "a", 5, Begun::Yes),
        (&one, "many", "a", 1, Begun::Yes),
        (&two, "many", "b", 1, Begun::Yes),
        (&one, "many", "c", 998, Begun::Yes),
        (&two, "many", "d", 0, Begun::TooMany),
        (&two, "other", "d", 1, Begun::Yes),
    ] {
        let begun = store.begin_place(&place(owner, name), beginning(bytes)).await.expect("asked");
        assert_eq!(begun, expected, "{owner} {name}");
    }
    // What is settled, or over on the database's clock, counts no longer.
    two.settle_place(&place("many", "a"), b"").await.expect("settled");
    assert_eq!(one.begin_place(&place("many", "d"), beginning(0)).await.expect("asked"), Begun::Yes);
    assert_eq!(two.begin_place(&place("many", "e"), beginning(0)).await.expect("asked"), Begun::TooMany);
    cluster.sql("bounds", "UPDATE amtsbote.staged SET ends_at = clock_timestamp() WHERE name = 'b'");
    assert_eq!(one.place(&place("many", "b")).await.expect("asked"), None);
    assert_eq!(two.begin_place(&place("many", "e"), beginning(0)).await.expect("asked"), Begun::Yes);
    // Nodes that begin at once are counted one after the other. All are under way before the first is let through.
    let begin = async |store: &PostgresStore, name: usize| {
        store.begin_place(&place("crowd", &name.to_string()), beginning(1)).await.expect("asked")
    };
    let wait_for = |count: u32, what: &str| {
        let question = format!("SELECT count(*) >= {count} FROM pg_stat_activity WHERE {what}");
        for _ in 0..1000 {
            if cluster.sql("postgres", &question) == "t" {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("not {count} times: {what}");
    };
    let begun = std::thread::scope(|scope| {
        let held = "BEGIN; LOCK TABLE amtsbote.staged IN SHARE MODE; SELECT pg_sleep(60); COMMIT";
        scope.spawn(|| cluster.try_sql("bounds", held));
        wait_for(1, "wait_event = 'PgSleep'");
        scope.spawn(|| {
            wait_for(12, "usename = 'amtsbote' AND wait_event_type = 'Lock'");
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            cluster.sql("postgres", end);
        });
        let all = (0..12).map(|name| begin(if name % 2 == 0 { &one } else { &two }, name));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(futures_util::future::join_all(all)))
    });
    let taken = begun.into_iter().filter(|begun| *begun == Begun::Yes).count();
    assert_eq!(taken, 3);
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grows_is_counted_at_all_nodes() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("growing");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    for name in ["a.1", "a.2", "b.1"] {
        one.begin_place(&place("owner", name), beginning(0)).await.expect("begun");
    }
    for (store, name, bytes, ahead, expected) in [
        (&one, "a.1", 60, 0, Counted::Yes(60)),
        (&two, "a.2", 60, 0, Counted::TooMuchAmong),
        (&two, "a.2", 30, 50, Counted::Yes(40)),
        (&one, "b.1", 51, 0, Counted::TooMuch { others: 100 }),
        // What was refused changed nothing.
        (&two, "b.1", 50, 9, Counted::Yes(50)),
        // Said again it is not counted twice, and what shrinks makes room.
        (&two, "a.1", 60, 0, Counted::Yes(60)),
        (&two, "a.1", 10, 0, Counted::Yes(10)),
        (&one, "a.2", 50, 50, Counted::Yes(90)),
    ] {
        let among = name.split_at(2).0;
        let count = Count { bytes, ahead, bytes_max: 150, among, among_bytes_max: 100 };
        let counted = store.count_place(&place("owner", name), count).await.expect("counted");
        assert_eq!(counted, expected, "{name} {bytes}");
    }
    let count = Count { bytes: 1, ahead: 0, bytes_max: 150, among: "", among_bytes_max: 150 };
    let unknown = one.count_place(&place("owner", "c.1"), count).await;
    assert!(matches!(unknown, Err(StoreError::Unknown)));
    // Nodes that count at once see each other.
    for name in 0..12 {
        let beginning = Beginning { count_max: 20, ..beginning(0) };
        one.begin_place(&place("crowd", &name.to_string()), beginning).await.expect("begun");
    }
    let count = Count { bytes: 10, ahead: 0, bytes_max: 30, among: "", among_bytes_max: u64::MAX };
    let count_as = async |store: &PostgresStore, name: usize, bytes: u64| {
        let count = Count { bytes, ..count };
        store.count_place(&place("crowd", &name.to_string()), count).await.expect("counted")
    };
    for _ in 0..20 {
        let grown = futures_util::future::join_all(
            (0..12).map(|name| count_as(if name % 2 == 0 { &one } else { &two }, name, 10)),
        );
        let taken = grown.await.into_iter().filter(|counted| *counted == Counted::Yes(10)).count();
        assert_eq!(taken, 3);
        for name in 0..12 {
            assert_eq!(count_as(&one, name, 0).await, Counted::Yes(0));
        }
    }
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_exchanges_the_words_first_has_exchanged_them() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("exchange");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    let upload = place("author", "upload");
    assert!(!one.exchange_note(&upload, b"begun", b"new").await.expect("asked"), "nothing there");
    one.begin_place(&upload, beginning(1)).await.expect("begun");
    let exchange = async |store: &PostgresStore, turn: usize| {
        store.exchange_note(&upload, b"begun", turn.to_string().as_bytes()).await.expect("asked")
    };
    let exchanged = futures_util::future::join_all(
        (0..8).map(|turn| exchange(if turn % 2 == 0 { &one } else { &two }, turn)),
    );
    let exchanged = exchanged.await;
    assert_eq!(exchanged.iter().filter(|first| **first).count(), 1, "{exchanged:?}");
    let first = exchanged.iter().position(|first| *first).expect("one").to_string();
    let note = one.place(&upload).await.expect("asked").map(|place| place.note);
    assert_eq!(note, Some(first.clone().into_bytes()));
    one.settle_place(&upload, first.as_bytes()).await.expect("settled");
    assert!(!two.exchange_note(&upload, first.as_bytes(), b"late").await.expect("asked"), "settled");

    // Of a place that goes on, what is below goes; more of it than one step lets go of.
    let other = place("author", "other");
    one.begin_place(&other, beginning(1)).await.expect("begun");
    for (number, bytes) in [(1, 10), (2, 300_000), (3, 20), (4, 300_001)] {
        let piece = staged(&one, &content(number, bytes)).await;
        assert!(two.keep_piece(&other, number, piece).await.expect("kept"));
    }
    cluster.sql(
        "exchange",
        "INSERT INTO amtsbote.staged_piece (place, number, length, bytes) \
         SELECT id, -number, 1, 'x' FROM amtsbote.staged, generate_series(1, 700) number WHERE name = 'other'",
    );
    assert_eq!(two.lengths(&other, 2..=3).await.expect("asked"), [(2, 300_000), (3, 20)]);
    two.drop_pieces(&other, 3).await.expect("dropped");
    assert_eq!(one.lengths(&other, 0..=u64::MAX).await.expect("asked"), [(3, 20), (4, 300_001)]);
    assert!(read(&one, &other, 4, 0, u64::MAX).await == content(4, 300_001));
    becomes(&cluster, "exchange", "SELECT count(*) FROM amtsbote.staged_piece", "2").await;
    becomes(&cluster, "exchange", "SELECT count(*) FROM amtsbote.payload_large WHERE sequence < 0", "1")
        .await;
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

/// Waits until what happens beside the work is done.
async fn becomes(cluster: &Cluster, database: &str, question: &str, expected: &str) {
    let mut found = String::new();
    for _ in 0..2000 {
        found = cluster.sql(database, question);
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{question}: {found}, not {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_let_go_of() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("over");
    let store = open(&connection, "one").await;
    let places = ["open", "settled", "forgotten", "over"].map(|name| place("author", name));
    for place in &places {
        store.begin_place(place, Beginning { count_max: 9, ..beginning(1) }).await.expect("begun");
        for (number, bytes) in [(1, 300_000), (2, 10)] {
            let piece = staged(&store, &content(number, bytes)).await;
            assert!(store.keep_piece(place, number, piece).await.expect("kept"));
        }
    }
    store.settle_place(&places[1], b"known").await.expect("settled");
    store.forget_place(&places[2]).await.expect("forgotten");
    // More small pieces than one step lets go of.
    cluster.sql(
        "over",
        "INSERT INTO amtsbote.staged_piece (place, number, length, bytes) \
         SELECT id, n, 1, 'x' FROM amtsbote.staged, generate_series(10, 1300) n WHERE name = 'over'; \
         UPDATE amtsbote.staged SET ends_at = clock_timestamp() WHERE name = 'over'",
    );
    assert_eq!(cluster.sql("over", "SELECT count(*) FROM amtsbote.staged_piece"), "1299");
    // Any node sweeps, at its start and every minute.
    let other = open(&connection, "two").await;
    becomes(&cluster, "over", "SELECT count(*) FROM amtsbote.staged_piece", "2").await;
    becomes(
        &cluster,
        "over",
        "SELECT string_agg(name, ' ' ORDER BY name) FROM amtsbote.staged",
        "open settled",
    )
    .await;
    let large = "SELECT count(*) FILTER (WHERE dropped_at IS NULL), count(*) FILTER (WHERE dropped_at IS NOT NULL) \
                 FROM amtsbote.payload_large";
    assert_eq!(cluster.sql("over", large), "1|3");
    assert!(read(&other, &places[0], 1, 0, u64::MAX).await == content(1, 300_000));
    // Neither node's next start takes it for an orphan, however old.
    cluster.sql("over", "UPDATE amtsbote.payload_large SET touched_at = '-infinity'");
    store.close().await.expect("closed");
    let store = open(&connection, "one").await;
    becomes(&cluster, "over", "SELECT count(*) FROM amtsbote.staged", "2").await;
    assert!(read(&store, &places[0], 1, 0, u64::MAX).await == content(1, 300_000));
    store.close().await.expect("closed");
    other.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_held_by_one_and_not_for_ever() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("holding");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    let upload = place("author", "upload");
    let soon = Some(Duration::from_millis(100));
    let patiently = Some(Duration::from_secs(10));
    let held = one.hold(&upload, None).await.expect("asked").expect("nobody is there");
    assert!(two.hold(&upload, soon).await.expect("asked").is_none(), "another node's");
    assert!(one.hold(&upload, soon).await.expect("asked").is_none(), "another request's");
    assert!(two.hold(&place("author", "other"), soon).await.expect("asked").is_some());
    drop(held);
    let held = two.hold(&upload, patiently).await.expect("asked").expect("let go of");
    // As if that node had fallen and renewed it no more.
    cluster.sql("holding", "UPDATE amtsbote.staged_hold SET until = clock_timestamp()");
    let later = one.hold(&upload, soon).await.expect("asked").expect("it is over");
    // The late one takes nothing away.
    drop(held);
    becomes(&cluster, "holding", "SELECT count(*) FROM amtsbote.staged_hold", "1").await;
    assert!(two.hold(&upload, soon).await.expect("asked").is_none());
    drop(later);
    becomes(&cluster, "holding", "SELECT count(*) FROM amtsbote.staged_hold", "0").await;
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

/// Sleeps while a piece's transaction commits.
const SLOW_COMMITS: &str = "CREATE FUNCTION amtsbote.slowly() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
    CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON amtsbote.staged_piece DEFERRABLE INITIALLY DEFERRED \
    FOR EACH ROW EXECUTE FUNCTION amtsbote.slowly()";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_what_is_counted() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("kept");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    let upload = place("author", "upload");
    let counted = || cluster.sql("kept", "SELECT bytes FROM amtsbote.staged WHERE name = 'upload'");
    assert!(matches!(one.count_pieces(&upload).await, Err(StoreError::Unknown)));
    one.begin_place(&upload, beginning(900)).await.expect("begun");
    one.count_pieces(&upload).await.expect("counted");
    assert_eq!(counted(), "0");
    // Whoever knows the words keeps; once they are others nobody does any more.
    let keep = async |store: &PostgresStore, note: &[u8], number: u64| {
        let piece = staged(store, &content(number, 100 * number as usize)).await;
        store.keep_piece_of(&upload, note, number, piece).await.expect("asked")
    };
    assert!(keep(&one, b"begun", 1).await);
    assert!(!keep(&two, b"begun", 1).await, "it is there already");
    assert!(!keep(&two, b"other", 2).await, "the words are others");
    assert!(two.exchange_note(&upload, b"begun", b"anew").await.expect("asked"));
    assert!(!keep(&one, b"begun", 2).await, "the words have changed");
    assert!(keep(&two, b"anew", 3).await);
    one.count_pieces(&upload).await.expect("counted");
    assert_eq!(counted(), "400");
    // Whose commit is under way has kept something that its own node may never hear of.
    cluster.sql("kept", SLOW_COMMITS);
    let is_slow = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let late = async {
        becomes(&cluster, "kept", is_slow, "t").await;
        two.count_pieces(&upload).await.expect("counted");
        counted()
    };
    let (kept, counted) = tokio::join!(keep(&one, b"anew", 5), late);
    assert!(kept);
    assert_eq!(counted, "900");
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

/// Whoever waits for a standby that is connected and does not answer keeps a session of the server, also after he was
/// told that it takes too long. Few do; the others are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn few_wait_for_a_standby_that_hangs() {
    const WAITING: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'amtsbote' AND wait_event = 'SyncRep'";
    const CONNECTIONS: usize = 4;
    let Some(programs) = programs() else { return };
    let (primary, standby) = Cluster::pair(&programs);
    let settings = Settings {
        standby: Standby::Required,
        patience: Duration::from_secs(2),
        connections_max: CONNECTIONS,
        // What is told in time is told by the bound of the commit.
        question_time_max: Duration::from_secs(3600),
        ..Settings::new(primary.database("hanging"), "one")
    };
    let store = Arc::new(PostgresStore::open(settings).await.expect("a store"));
    let upload = place("author", "upload.1");
    assert_eq!(store.begin_place(&upload, beginning(900)).await.expect("begun"), Begun::Yes);
    assert!(store.keep_piece(&upload, 1, staged(&store, b"one").await).await.expect("kept"));
    let unnamed = staged(&store, &content(1, 700_000)).await;

    standby.signal_receiver(rustix::process::Signal::STOP);
    let ask = || {
        let (store, upload) = (Arc::clone(&store), upload.clone());
        tokio::spawn(async move { store.promised_place(&upload).await })
    };
    let refused = |word: &'static str| async move {
        let asked = ask().await.expect("no panic");
        asked.err().is_some_and(|error| error.to_string().contains(word))
    };
    let end = Instant::now() + Duration::from_secs(60);
    let mut crowd = Vec::new();
    loop {
        crowd.extend((0..CONNECTIONS).map(|_| ask()));
        if refused("does not answer; see its log").await {
            break;
        }
        assert!(Instant::now() < end, "nobody is told that the standby hangs");
    }
    for asked in crowd {
        let told = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("he is told");
        assert!(told.expect("no panic").is_err());
    }
    let waiting = || primary.sql("postgres", WAITING).parse::<usize>().expect("a number");
    let few = waiting();
    assert!((1..=2 * CONNECTIONS + 3).contains(&few), "{few} sessions wait");
    // As many again as would use up the server's connections.
    for _ in 0..30 {
        let many: Vec<_> = (0..5).map(|_| ask()).collect();
        for asked in many {
            let told = asked.await.expect("no panic").expect_err("refused").to_string();
            assert!(told.contains("does not answer; see its log"), "{told}");
        }
    }
    assert!(waiting() <= few, "none has joined them");
    // What clears away joins them no more than requests do.
    let dropped = tokio::time::timeout(Duration::from_secs(60), store.drop_pieces(&upload, 2)).await;
    let told = dropped.expect("told").expect_err("refused").to_string();
    assert!(told.contains("does not answer; see its log"), "{told}");
    drop(unnamed);
    for _ in 0..20 {
        assert!(waiting() <= few, "a payload is let go of meanwhile");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let health = store.health().await.expect("health");
    assert!(!health.accepting && health.reason.contains("does not answer"), "{}", health.reason);

    standby.signal_receiver(rustix::process::Signal::CONT);
    let end = Instant::now() + Duration::from_secs(60);
    while !ask().await.expect("no panic").is_ok_and(|place| place.is_some()) {
        assert!(Instant::now() < end, "it never goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(waiting(), 0, "the sessions end with the wait");
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    store.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_are_alike_are_bounded_for_themselves() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let store = open(&cluster.database("alike"), "one").await;
    let begin = async |name: &str, note: &str| {
        let beginning = Beginning { note: note.as_bytes(), count_max: 5, ..beginning(0) };
        let alike = Alike { words: b"of a", count_max: 2 };
        store.begin_place_among(&place("owner", name), beginning, alike).await.expect("asked")
    };
    for n in 0..2 {
        assert_eq!(begin(&format!("other{n}"), "of b").await, Begun::Yes);
        assert_eq!(begin(&format!("own{n}"), "it is of a, too").await, Begun::Yes);
    }
    assert_eq!(begin("own2", "of a").await, Begun::TooMany);
    assert_eq!(begin("own1", "of a").await, Begun::Yes, "it is there");
    store.settle_place(&place("owner", "own0"), b"of a").await.expect("settled");
    assert_eq!(begin("own2", "of a").await, Begun::Yes, "what is settled counts no longer");
    store.forget_place(&place("owner", "own1")).await.expect("forgotten");
    assert_eq!(begin("own3", "of a").await, Begun::Yes);
    store.forget_place(&place("owner", "own3")).await.expect("forgotten");
    for name in ["other2", "other3"] {
        let (place, beginning) = (place("owner", name), Beginning { count_max: 5, ..beginning(0) });
        assert_eq!(store.begin_place(&place, beginning).await.expect("begun"), Begun::Yes);
    }
    assert_eq!(begin("own4", "of a").await, Begun::TooMany, "with the others they are too many");
    store.close().await.expect("closed");
}
