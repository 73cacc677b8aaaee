//! The database goes away in the middle: a commit whose answer is lost, a primary that is lost. What was acknowledged is
//! there once, what was not can be sent again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amtsbote::store::postgres::{PostgresStore, Settings, Standby};
use amtsbote::store::staging::{Beginning, Begun, Place, PlaceName};
use amtsbote::store::{Accepted, Staging, Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::postgres_cluster::{Cluster, OWNER, programs};
use crate::store_fixture::{Draft, at, content, draft, mailbox, of_mailbox};
use crate::store_oracle::assert_evidence;

/// What the proxy does to the next commit that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    None = 0,
    /// The commit never reaches the database.
    Before = 1,
    /// The database commits, its answer is lost.
    After = 2,
    /// Nothing comes back, and the connection stays open.
    Silence = 3,
    /// The commit never reaches the database, and the connection stays open: the node stands still in the middle.
    Withheld = 4,
}

/// Stands between a node and its database, and cuts once when told to.
struct Proxy {
    port: u16,
    cut: Arc<AtomicU8>,
    cuts: Arc<AtomicU32>,
    /// So many sessions are cut off just behind taking the node's row.
    takes: Arc<AtomicU32>,
}

impl Proxy {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cut, cuts) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU32::new(0)));
        let takes = Arc::<AtomicU32>::default();
        let (armed, counted, taken) = (Arc::clone(&cut), Arc::clone(&cuts), Arc::clone(&takes));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                tokio::spawn(pass(
                    client,
                    server,
                    Arc::clone(&armed),
                    Arc::clone(&counted),
                    Arc::clone(&taken),
                ));
            }
        });
        Self { port, cut, cuts, takes }
    }

    fn arm(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    armed: Arc<AtomicU8>,
    cuts: Arc<AtomicU32>,
    takes: Arc<AtomicU32>,
) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_taking = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &from_client[..length];
                let commits = bytes.windows(7).any(|window| window == b"COMMIT\0");
                let cut = if commits { armed.swap(Cut::None as u8, Ordering::SeqCst) } else { 0 };
                if is_taking {
                    // The statement was prepared before; here it is run, and its answer is lost.
                    let _ = server.write_all(bytes).await;
                    let _ = server.read(&mut from_server).await;
                    return;
                }
                let one_less = |left: u32| left.checked_sub(1);
                is_taking = bytes.windows(15).any(|window| window == b"SET incarnation")
                    && takes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
                if cut != 0 {
                    cuts.fetch_add(1, Ordering::SeqCst);
                }
                if cut == Cut::Before as u8 {
                    return;
                }
                if cut == Cut::Withheld as u8 {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    return;
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
                if cut != 0 {
                    // The database's answer tells that it has committed; nobody else hears it.
                    let _ = server.read(&mut from_server).await;
                    if cut == Cut::Silence as u8 {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_asked_about() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    cluster.database("unknown");
    let proxy = Proxy::start(cluster.port).await;
    let connection = format!("host=127.0.0.1 port={} user={OWNER} dbname=unknown", proxy.port);
    let settings = Settings { patience: Duration::from_secs(4), ..Settings::new(connection, "one") };
    let store = PostgresStore::open(settings).await.expect("a store");
    for (place, cut) in
        [Cut::Before, Cut::After, Cut::Silence, Cut::After, Cut::Before].into_iter().enumerate()
    {
        for length in [500, 100_000] {
            let draft = Draft { content: content(7, length), ..draft(&format!("m{place}-{length}")) };
            let payload = draft.stage(&store).await.expect("staged");
            proxy.arm(cut);
            let before = proxy.cuts.load(Ordering::SeqCst);
            // Whatever was cut: the answer says what is so, and it is so once.
            let answer = store.accept(draft.acceptance(payload)).await;
            assert!(matches!(answer, Ok(Accepted::New)), "{cut:?}: {answer:?}");
            assert_eq!(proxy.cuts.load(Ordering::SeqCst), before + 1, "{cut:?}");
            assert_eq!(draft.send(&store).await.expect("a retry"), Accepted::Before, "{cut:?}");
        }
    }
    assert_eq!(store.evidence_size().await.expect("a size"), 10);
    assert_evidence(&store).await;
    store.close().await.expect("closed");
}

/// The session that asks about the commit takes the node's row and falls; so does the next. Nobody else worked meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_ones_own_that_fell_are_no_other_process() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    cluster.database("alone");
    let proxy = Proxy::start(cluster.port).await;
    let connection = format!("host=127.0.0.1 port={} user={OWNER} dbname=alone", proxy.port);
    let settings = Settings { patience: Duration::from_secs(8), ..Settings::new(connection, "one") };
    let store = PostgresStore::open(settings).await.expect("a store");
    for (name, cut) in [("a", Cut::After), ("b", Cut::Before)] {
        let payload = draft(name).stage(&store).await.expect("staged");
        proxy.takes.store(2, Ordering::SeqCst);
        proxy.arm(cut);
        let answer = store.accept(draft(name).acceptance(payload)).await;
        assert!(matches!(answer, Ok(Accepted::New)), "{cut:?}: {answer:?}");
        assert_eq!(proxy.takes.load(Ordering::SeqCst), 0, "{cut:?}");
    }
    assert_eq!(store.evidence_size().await.expect("a size"), 2);
    store.close().await.expect("closed");
}

/// What a node that starts later learns of a jump of the database's clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_behind_a_jump_ends_no_lease() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("jumped");
    let open =
        async |node: &str| PostgresStore::open(Settings::new(&connection, node)).await.expect("a store");
    let one = open("one").await;
    draft("m").send(&one).await.expect("accepted");
    let mailboxes = [mailbox("ags:1")];
    let lease = async |store: &PostgresStore, from: u64| {
        store.lease_push(&mailboxes, false, at(from), at(from + 60), 1).await.expect("asked").len()
    };
    assert_eq!(lease(&one, 2).await, 1);
    // The clock has jumped ahead by an hour: what was leased before looks over.
    cluster.sql("jumped", "UPDATE amtsbote.message SET push_at = push_at - 3600000000");
    let told = |until: &str| {
        let note = format!(
            "UPDATE amtsbote.store SET clock_jumped = 3600000000, clock_guard_until = clock_timestamp() {until}"
        );
        cluster.sql("jumped", &note);
    };
    told("+ interval '10 minutes'");
    let two = open("two").await;
    assert_eq!(lease(&two, 3).await, 0, "it lasts so much longer");
    one.close().await.expect("closed");
    two.close().await.expect("closed");
    // That was long ago. On a busy machine a node may take a pause of its own for one more jump, and say so.
    let mut leased = 0;
    for _ in 0..10 {
        told("- interval '1 second'");
        let three = open("three").await;
        leased = lease(&three, 3).await;
        three.close().await.expect("closed");
        if leased > 0 {
            break;
        }
    }
    assert_eq!(leased, 1);
}

/// Gives a database a clock that can be set, ahead by `public.jump`.
pub const SETTABLE_CLOCK: &str = "SET allow_system_table_mods = on; CREATE TABLE public.jump (by interval NOT NULL); \
    INSERT INTO public.jump VALUES ('0'); GRANT SELECT ON public.jump TO PUBLIC; \
    ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO clock_timestamp_unset; \
    CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
    'SELECT pg_catalog.clock_timestamp_unset() + (SELECT by FROM public.jump)'";

/// The node that sees a jump tells it to those that start later.
#[tokio::test(flavor = "multi_thread")]
async fn a_jump_that_one_node_saw_is_known_to_the_next() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("told");
    cluster.sql("told", SETTABLE_CLOCK);
    let open =
        async |node: &str| PostgresStore::open(Settings::new(&connection, node)).await.expect("a store");
    let one = open("one").await;
    draft("m").send(&one).await.expect("accepted");
    let mailboxes = [mailbox("ags:1")];
    let lease = async |store: &PostgresStore, from: u64| {
        store.lease_push(&mailboxes, false, at(from), at(from + 60), 1).await.expect("asked").len()
    };
    assert_eq!(lease(&one, 2).await, 1);
    cluster.sql("told", "UPDATE public.jump SET by = '1 hour'");
    let end = Instant::now() + Duration::from_secs(60);
    while cluster.sql("told", "SELECT clock_jumped BETWEEN 3595000000 AND 3605000000 FROM amtsbote.store")
        != "t"
    {
        assert!(Instant::now() < end, "the jump is told to nobody");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let two = open("two").await;
    assert_eq!(lease(&two, 3).await, 0, "it lasts so much longer");
    for store in [one, two] {
        store.close().await.expect("closed");
    }
}

/// What it holds is let go of before the other node's patience is over, though its own is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_in_the_middle_holds_nobody_up() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let direct = cluster.database("still");
    let proxy = Proxy::start(cluster.port).await;
    let through = format!("host=127.0.0.1 port={} user={OWNER} dbname=still", proxy.port);
    let patience = Duration::from_secs;
    let one = PostgresStore::open(Settings { patience: patience(8), ..Settings::new(through, "one") });
    let one = Arc::new(one.await.expect("a store"));
    let two = PostgresStore::open(Settings { patience: patience(5), ..Settings::new(direct, "two") });
    let two = two.await.expect("a store");
    proxy.arm(Cut::Withheld);
    let still = Arc::clone(&one);
    let sent = tokio::spawn(async move { draft("a").send(&*still).await });
    while proxy.cuts.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(draft("b").send(&two).await.expect("it goes on"), Accepted::New);
    // The first one finds out that nothing of its own was stored, and says so; soon it stores it.
    let refused = sent.await.expect("no panic").expect_err("refused").to_string();
    assert!(!refused.contains("not known"), "{refused}");
    let end = Instant::now() + Duration::from_secs(20);
    let stored = loop {
        match draft("a").send(&*one).await {
            Ok(stored) => break stored,
            Err(refusal) => assert!(Instant::now() < end, "{refusal}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(stored, Accepted::New);
    assert_eq!(draft("a").send(&two).await.expect("a retry"), Accepted::Before);
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

/// Another process works as this node while it stands still, and uses the number that its own transaction would have had.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_process_used_proves_nothing() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let direct = cluster.database("replaced");
    let proxy = Proxy::start(cluster.port).await;
    let through = format!("host=127.0.0.1 port={} user={OWNER} dbname=replaced", proxy.port);
    let settings = |connection: String| Settings {
        patience: Duration::from_secs(12),
        ..Settings::new(connection, "one")
    };
    let still = PostgresStore::open(settings(through)).await.expect("a store");
    let still = Arc::new(still);
    proxy.arm(Cut::Withheld);
    let sending = Arc::clone(&still);
    let sent = tokio::spawn(async move { draft("a").send(&*sending).await });
    while proxy.cuts.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The database lets go of it after three seconds; opening waits for the name.
    let other = PostgresStore::open(settings(direct)).await.expect("the name is free");
    assert_eq!(draft("b").send(&other).await.expect("stored"), Accepted::New);
    other.close().await.expect("closed");
    let told = sent.await.expect("no panic").expect_err("nobody knows").to_string();
    assert!(told.contains("is not known"), "{told}");
    let end = Instant::now() + Duration::from_secs(20);
    let again = loop {
        match draft("a").send(&*still).await {
            Ok(answer) => break answer,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(again, Accepted::New, "it was never stored");
    assert_eq!(draft("b").send(&*still).await.expect("asked again"), Accepted::Before);
    still.close().await.expect("closed");
}

/// The database takes what is written and waits for a standby that is away: a start says so and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_ever_for_a_standby() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("waiting");
    let settings =
        |node: &str| Settings { patience: Duration::from_secs(2), ..Settings::new(&connection, node) };
    PostgresStore::open(settings("one")).await.expect("a store").close().await.expect("closed");
    cluster.reconfigure(&["synchronous_standby_names = 'away'"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in ["one", "two"] {
        let begun = Instant::now();
        let error = PostgresStore::open(settings(node)).await.err().expect("refused").to_string();
        assert!(begun.elapsed() < Duration::from_secs(30), "{node}");
        assert!(error.contains("standby"), "{node}: {error}");
    }
}

/// The primary is lost, and what takes its place is a copy from before: the node does not go on as if nothing were missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_has_forgotten_is_not_worked_on() {
    let Some(programs) = programs() else { return };
    let primary = Cluster::start(&programs, &["wal_level = replica", "max_wal_senders = 5"]);
    let copy = primary.standby("second");
    primary.database("forgets");
    let settings = |connection: String, node: &str| Settings {
        patience: Duration::from_secs(3),
        ..Settings::new(connection, node)
    };
    let both = primary.connection_with(&[&copy], "forgets");
    let store = PostgresStore::open(settings(both.clone(), "one")).await.expect("a store");
    assert_eq!(draft("a").send(&store).await.expect("accepted"), Accepted::New);
    let there = "SELECT batch FROM amtsbote.node";
    let answered: u64 = primary.sql("forgets", there).parse().expect("a number");
    let end = Instant::now() + Duration::from_secs(30);
    while copy.ask("forgets", there) != Ok(answered.to_string()) {
        assert!(Instant::now() < end, "the copy does not follow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    copy.kill();
    for name in ["b", "c"] {
        assert_eq!(draft(name).send(&store).await.expect("accepted"), Accepted::New);
    }
    primary.kill();
    copy.begin();
    // Nobody takes writes at first.
    let none = PostgresStore::open(settings(both.clone(), "two")).await.err().expect("refused").to_string();
    assert!(
        none.contains("none of the hosts is a primary; promote a standby, or name the primary"),
        "{none}"
    );
    copy.promote();
    let refused = draft("d").send(&store).await.expect_err("refused").to_string();
    assert!(
        refused.contains("the database lacks 2 transactions that this node has answered for"),
        "{refused}"
    );
    assert!(
        refused.contains("bring the newer one back, or restart the relay under a new [store] node"),
        "{refused}"
    );
    assert_eq!(copy.sql("forgets", "SELECT count(*) FROM amtsbote.message"), "1", "nothing was written");
    store.close().await.expect("closed");
    // Once the loss is written down, what is missing is sent again.
    let other = PostgresStore::open(settings(both, "two")).await.expect("a store");
    for (name, expected) in [("a", Accepted::Before), ("b", Accepted::New)] {
        assert_eq!(draft(name).send(&other).await.expect("accepted"), expected, "{name}");
    }
    other.close().await.expect("closed");
}

/// Sends until it is taken.
async fn send_until_taken(name: &str, store: &PostgresStore) -> Accepted {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match draft(name).send(store).await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for what the primary answers; the server tells its sessions of a reload before new ones know of it.
fn wait_until(primary: &Cluster, question: &str, answer: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while primary.sql("postgres", question) != answer {
        assert!(Instant::now() < end, "{question} is never {answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same, unless `is_over` before.
fn wait_until_or(primary: &Cluster, question: &str, is_over: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_over() && primary.sql("postgres", question) != "t" {
        assert!(Instant::now() < end, "{question}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// With a commit that waits for a standby which takes nothing in: takes the names away and puts them back, before the commit's
/// session gets round to anything. Nobody waits any more then.
fn come_and_go(primary: &Cluster) {
    const WAITING: &str = "FROM pg_stat_activity WHERE usename = 'amtsbote' AND wait_event = 'SyncRep'";
    wait_until(primary, &format!("SELECT count(*) > 0 {WAITING}"), "t");
    let pids = primary.sql("postgres", &format!("SELECT string_agg(pid::text, ' ') {WAITING}"));
    let signal = |signal| {
        for pid in pids.split(' ') {
            let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a process");
            rustix::process::kill_process(pid, signal).expect("signalled");
        }
    };
    signal(rustix::process::Signal::STOP);
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    wait_until(primary, "SHOW synchronous_standby_names", "");
    // Whoever has learnt of it lets go: a commit without a standby is answered then.
    primary.sql("postgres", "CREATE TABLE IF NOT EXISTS witness (); DROP TABLE witness");
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    wait_until(primary, "SHOW synchronous_standby_names", "second");
    signal(rustix::process::Signal::CONT);
}

/// A piece of an upload is promised as a message is.
#[tokio::test(flavor = "multi_thread")]
async fn no_piece_is_acknowledged_without_a_required_standby() {
    const NAMES: &str = "SHOW synchronous_standby_names";
    let Some(programs) = programs() else { return };
    let (primary, standby) = Cluster::pair(&programs);
    let connection = primary.database("pieces");
    let settings = Settings {
        standby: Standby::Required,
        patience: Duration::from_secs(6),
        ..Settings::new(&connection, "one")
    };
    let store = Arc::new(PostgresStore::open(settings).await.expect("a store"));
    let upload = PlaceName { kind: "uploads".to_owned(), owner: "author".to_owned(), name: "one".to_owned() };
    let (lasts, count_max, bytes_max) = (Duration::from_secs(3_600), 9, 1 << 30);
    let beginning = Beginning { note: b"", bytes: 1, lasts, count_max, bytes_max };
    assert_eq!(store.begin_place(&upload, beginning).await.expect("begun"), Begun::Yes);
    let keep = async |number: u64| {
        let mut writer = store.payload_writer().await?;
        writer.write(&content(number, 100)).await?;
        let piece = writer.seal().await?;
        let (store, upload) = (Arc::clone(&store), upload.clone());
        Ok::<_, StoreError>(tokio::spawn(async move { store.keep_piece(&upload, number, piece).await }))
    };
    let kept = async |number: u64| keep(number).await?.await.expect("no panic");
    assert!(kept(1).await.expect("kept"));

    // Without a standby: refused, and nothing is there.
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    wait_until(&primary, NAMES, "");
    let refused = kept(2).await.expect_err("refused").to_string();
    assert!(refused.contains("synchronous_standby_names is empty"), "{refused}");
    assert_eq!(primary.sql("pieces", "SELECT count(*) FROM amtsbote.staged_piece"), "1");
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    primary.wait_for_standby();
    let kept_until = async |number: u64| {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match kept(number).await {
                Ok(is_new) => return is_new,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(kept_until(2).await);

    // The names are taken away while the commit waits, or come and go, or the wait is cut short by hand.
    let waiting =
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'amtsbote' AND wait_event = 'SyncRep'";
    for number in [3, 4, 5] {
        standby.signal_receiver(rustix::process::Signal::STOP);
        let keeping = keep(number).await.expect("a piece");
        match number {
            3 => {
                wait_until(&primary, waiting, "t");
                primary.reconfigure(&["synchronous_standby_names = ''"]);
            }
            4 => come_and_go(&primary),
            _ => {
                wait_until(&primary, waiting, "t");
                let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                              WHERE usename = 'amtsbote' AND wait_event = 'SyncRep'";
                assert_eq!(primary.sql("postgres", cancel), "1");
            }
        }
        let pieces = |place: Option<Place>| place.expect("a place").pieces;
        if number == 3 {
            let told =
                keeping.await.expect("no panic").expect_err("nobody has it but the primary").to_string();
            assert!(told.contains("was taken away"), "{told}");
            // It can be seen, and is not told of before the standby has it.
            assert_eq!(pieces(store.place(&upload).await.expect("asked")), [1, 2, 3]);
            let told = store.promised_place(&upload).await.expect_err("refused").to_string();
            assert!(told.contains("synchronous_standby_names is empty"), "{told}");
            primary.reconfigure(&["synchronous_standby_names = 'second'"]);
            wait_until(&primary, NAMES, "second");
            let (asking, asked) = (Arc::clone(&store), upload.clone());
            let asked = tokio::spawn(async move { asking.promised_place(&asked).await });
            wait_until_or(&primary, waiting, || asked.is_finished());
            assert!(!asked.is_finished(), "the standby lacks it");
            standby.signal_receiver(rustix::process::Signal::CONT);
            assert_eq!(pieces(asked.await.expect("no panic").expect("told")), [1, 2, 3]);
        } else {
            // Where it is not known, another commit tells.
            wait_until_or(&primary, waiting, || keeping.is_finished());
            assert!(!keeping.is_finished(), "{number}: the standby lacks it");
            standby.signal_receiver(rustix::process::Signal::CONT);
            assert!(keeping.await.expect("no panic").expect("kept"), "{number}");
        }
        primary.wait_for_standby();
        assert!(!kept_until(number).await, "{number} was there already");
    }
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    store.close().await.expect("closed");
}

/// A required standby is asked after with every transaction, before and behind its commit, and not now and then.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_without_a_required_standby() {
    const NAMES: &str = "SHOW synchronous_standby_names";
    let Some(programs) = programs() else { return };
    let (primary, standby) = Cluster::pair(&programs);
    let connection = primary.database("required");
    let settings = Settings {
        standby: Standby::Required,
        patience: Duration::from_secs(6),
        ..Settings::new(&connection, "one")
    };
    let store = Arc::new(PostgresStore::open(settings).await.expect("a store"));
    assert_eq!(draft("a").send(&*store).await.expect("accepted"), Accepted::New);

    // The names are taken away: the very next transaction is refused, and is known not to be stored.
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    wait_until(&primary, NAMES, "");
    let refused = draft("b").send(&*store).await.expect_err("refused").to_string();
    assert!(refused.contains("synchronous_standby_names is empty"), "{refused}");
    assert!(!refused.contains("not known"), "{refused}");
    assert_eq!(primary.sql("required", "SELECT count(*) FROM amtsbote.message"), "1");
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    primary.wait_for_standby();
    assert_eq!(send_until_taken("b", &store).await, Accepted::New);

    // They are taken away while a commit waits: the server lets go of it and says yes, which is not passed on.
    standby.signal_receiver(rustix::process::Signal::STOP);
    let sending = Arc::clone(&store);
    let sent = tokio::spawn(async move { draft("c").send(&*sending).await });
    wait_until(
        &primary,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'amtsbote' AND wait_event = 'SyncRep'",
        "t",
    );
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    let told = sent.await.expect("no panic").expect_err("nobody has it but the primary").to_string();
    assert!(told.contains("is not known"), "{told}");
    assert!(!store.health().await.expect("health").accepting);
    standby.signal_receiver(rustix::process::Signal::CONT);
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    primary.wait_for_standby();
    assert_eq!(send_until_taken("c", &store).await, Accepted::Before);

    // They come and go while a commit waits: nothing is missing when it is answered, and the standby lacks it.
    standby.signal_receiver(rustix::process::Signal::STOP);
    let sending = Arc::clone(&store);
    let sent = tokio::spawn(async move { draft("come-and-gone").send(&*sending).await });
    come_and_go(&primary);
    let told = sent.await.expect("no panic").expect_err("nobody has it but the primary").to_string();
    assert!(told.contains("is not known"), "{told}");
    standby.signal_receiver(rustix::process::Signal::CONT);
    primary.wait_for_standby();
    assert_eq!(send_until_taken("come-and-gone", &store).await, Accepted::Before);
    // They are away when the database is asked for the outcome, and back when it is looked whether there is a standby: the
    // clock is read in between.
    primary.sql("required", SETTABLE_CLOCK);
    standby.signal_receiver(rustix::process::Signal::STOP);
    std::thread::scope(|scope| {
        const SLEEPS: &str = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        const TAKEN: &str = "SELECT max(incarnation) FROM amtsbote.node";
        let taken = || primary.sql("required", TAKEN).parse::<i64>().expect("a number");
        let before = taken();
        let sending = Arc::clone(&store);
        let sent = tokio::spawn(async move { draft("away").send(&*sending).await });
        wait_until(
            &primary,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'amtsbote' AND wait_event = 'SyncRep'",
            "t",
        );
        let held = "BEGIN; LOCK TABLE public.jump IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
        scope.spawn(|| primary.try_sql("required", held));
        wait_until(&primary, &format!("SELECT count(pid) {SLEEPS}"), "1");
        primary.reconfigure(&["synchronous_standby_names = ''"]);
        let end = Instant::now() + Duration::from_secs(30);
        while taken() == before {
            assert!(Instant::now() < end, "the node's row is never taken");
        }
        // Whoever has not noticed goes on to the clock, and is let through when they are back.
        let stopped = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid \
                       WHERE l.locktype = 'advisory' AND a.wait_event_type = 'Lock'";
        for _ in 0..50 {
            if primary.sql("postgres", stopped) != "0" {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        primary.reconfigure(&["synchronous_standby_names = 'second'"]);
        wait_until(&primary, NAMES, "second");
        primary.sql("postgres", &format!("SELECT pg_terminate_backend(pid) {SLEEPS}"));
        let sent = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(sent));
        let told = sent.expect("no panic").expect_err("nobody has it but the primary").to_string();
        assert!(told.contains("is not known"), "{told}");
    });
    standby.signal_receiver(rustix::process::Signal::CONT);
    primary.wait_for_standby();
    assert_eq!(send_until_taken("away", &store).await, Accepted::Before);
    // What was read anew for another reason is no trouble: the database is asked, and says yes.
    for round in 0..3 {
        primary.reconfigure(&[&format!("log_min_duration_statement = {}", 10_000 + round)]);
        assert_eq!(draft(&format!("reloaded-{round}")).send(&*store).await.expect("accepted"), Accepted::New);
    }

    // It goes away: refused within patience, and known not to be stored.
    standby.kill();
    wait_until(&primary, "SELECT count(*) FROM pg_stat_replication", "0");
    let begun = Instant::now();
    let refused = draft("d").send(&*store).await.expect_err("refused").to_string();
    assert!(refused.contains("no synchronous standby is connected"), "{refused}");
    assert!(!refused.contains("not known"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    // Where nobody waits any more, the database does not either: its last sessions end with it.
    primary.reconfigure(&["synchronous_standby_names = ''"]);
    store.close().await.expect("closed");
}

/// What clients were told.
#[derive(Default)]
struct Told {
    accepted: BTreeSet<String>,
    unanswered: BTreeSet<String>,
}

fn draft_of(name: &str) -> Draft {
    let seed = name.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let length = if seed % 5 == 0 { 90_000 } else { 1 + (seed % 3_000) as usize };
    Draft { content: content(seed, length), ..draft(name) }
}

/// Rounds of this many in `cargo test`; `AMTSBOTE_FAILOVER_ROUNDS` sets another number.
fn rounds() -> u32 {
    std::env::var("AMTSBOTE_FAILOVER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Two nodes under load, the primary lost, its synchronous standby promoted: nothing that was acknowledged is missing or
/// doubled, nobody waits for ever, and what was not acknowledged can be sent again.
#[test]
fn the_loss_of_the_primary_loses_nothing() {
    let Some(programs) = programs() else { return };
    for round in 0..rounds() {
        let recovered = lose_the_primary(&programs, round);
        println!("round {round}: accepted again {} ms after the loss", recovered.as_millis());
        assert!(recovered < Duration::from_secs(60), "{recovered:?}");
    }
}

fn lose_the_primary(programs: &std::path::Path, round: u32) -> Duration {
    const CLIENTS: usize = 6;
    let (primary, standby) = Cluster::pair(programs);
    primary.database("office");
    let connection = primary.connection_with(&[&standby], "office");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let open = |node: &str| {
        let settings =
            Settings { standby: Standby::Wanted, ..Settings::new(connection.clone(), node.to_owned()) };
        Arc::new(runtime.block_on(PostgresStore::open(settings)).expect("a store"))
    };
    let nodes = [open("one"), open("two")];
    let told = Arc::new(Mutex::new(Told::default()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, told, stop) = (Arc::clone(&nodes[client % 2]), Arc::clone(&told), Arc::clone(&stop));
            runtime.spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let name = format!("r{round}-c{client}-{n}");
                    let answer =
                        tokio::time::timeout(Duration::from_secs(60), draft_of(&name).send(&*store)).await;
                    let answer = answer.expect("nobody waits for ever");
                    let mut told = told.lock().expect("a lock");
                    match answer {
                        Ok(_) => told.accepted.insert(name),
                        Err(_) => told.unanswered.insert(name),
                    };
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1500 + u64::from(round) * 137 % 900));
    let before = told.lock().expect("a lock").accepted.len();
    assert!(before > 0, "no load");
    let lost = Instant::now();
    primary.kill();
    // The standby lives on without the one it followed, and waits for no other.
    standby.promote();
    standby.reconfigure(&["synchronous_standby_names = ''"]);
    while told.lock().expect("a lock").accepted.len() < before + 2 * CLIENTS {
        assert!(lost.elapsed() < Duration::from_secs(90), "nothing is accepted again");
        std::thread::sleep(Duration::from_millis(20));
    }
    let recovered = lost.elapsed();
    stop.store(true, Ordering::SeqCst);
    runtime.block_on(async {
        for client in clients {
            client.await.expect("no panic");
        }
        let told = std::mem::take(&mut *told.lock().expect("a lock"));
        let listing = nodes[1].list(&of_mailbox("ags:1"), 0, 100_000).await.expect("a listing");
        let mut found = BTreeSet::new();
        for entry in &listing.entries {
            let name = entry.card.id.as_str().rsplit(':').next().expect("a name").to_owned();
            assert!(
                told.accepted.contains(&name) || told.unanswered.contains(&name),
                "{name} was never sent"
            );
            assert!(found.insert(name), "doubled");
        }
        let missing: Vec<_> = told.accepted.difference(&found).collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        for name in told.accepted.iter().chain(&told.unanswered) {
            let draft = draft_of(name);
            let again = draft.send(&*nodes[0]).await.expect("sent again");
            let known = found.contains(name);
            assert_eq!(again, if known { Accepted::Before } else { Accepted::New }, "{name}");
            let bytes =
                crate::store_fixture::payload_of(&*nodes[1], &draft.id, 0, u64::MAX).await.expect("bytes");
            assert!(bytes == draft.content, "{name} is not what was sent");
        }
        let mut records = 0;
        for node in &nodes {
            let size = node.evidence_size().await.expect("a size");
            let logged = node.evidence_records(0, u32::MAX).await.expect("records");
            assert_eq!(logged.len() as u64, size);
            node.tree_root(size).await.expect("a whole tree");
            records += size;
        }
        assert_eq!(
            records,
            (told.accepted.len() + told.unanswered.len()) as u64,
            "a record of each, no other"
        );
        println!("round {round}: {} acknowledged, {} not", told.accepted.len(), told.unanswered.len());
        for node in &nodes {
            node.close().await.expect("closed");
        }
    });
    recovered
}
