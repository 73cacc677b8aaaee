//! A rolling upgrade: nodes of one version work while the tables are a version newer, and not when they are two.

use amtsbote::store::postgres::{OpenError, PostgresStore, Settings, examine, upgrade};
use amtsbote::store::{Accepted, Store};

use crate::postgres_cluster::{Cluster, programs};
use crate::store_fixture::{draft, of_mailbox};

/// What a later version may do to the tables: add.
const NEXT: &str = "SET search_path = amtsbote; \
    ALTER TABLE message ADD COLUMN colour text, ADD COLUMN weight bigint NOT NULL DEFAULT 7; \
    ALTER TABLE used ADD COLUMN colour text; ALTER TABLE paper ADD COLUMN colour bytea; \
    ALTER TABLE node ADD COLUMN colour text; ALTER TABLE evidence ADD COLUMN colour text; \
    ALTER TABLE mailbox ADD COLUMN heavy bigint NOT NULL DEFAULT 0; ALTER TABLE payload ADD COLUMN colour text; \
    CREATE TABLE colour (name text PRIMARY KEY); CREATE INDEX message_colour ON message (colour); \
    UPDATE store SET version = version + 1";

/// Takes away what the steps to version 5 and 6 add.
pub const BACK_TO_VERSION_4: &str = "SET search_path = amtsbote; DROP TABLE staged_hold, staged_piece, staged; \
         DROP TABLE rate; ALTER TABLE store DROP COLUMN objects_adopted_at; \
         ALTER TABLE node DROP COLUMN token, DROP COLUMN token_at, DROP COLUMN held_since; \
         ALTER TABLE store DROP COLUMN clock_jumped, DROP COLUMN clock_guard_until; \
         DROP FUNCTION file_submission CASCADE; DROP FUNCTION named_destination; \
         ALTER TABLE message DROP COLUMN destination; UPDATE store SET version = 4";

#[tokio::test(flavor = "multi_thread")]
async fn nodes_work_on_tables_one_version_newer_and_refuse_two() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("rolling");
    let settings = |node: &str| Settings::new(&connection, node);
    let running = PostgresStore::open(settings("running")).await.expect("a store");
    assert_eq!(draft("before").send(&running).await.expect("accepted"), Accepted::New);

    // The tables are upgraded under a node at work; one that starts now works as well.
    cluster.sql("rolling", NEXT);
    let started = PostgresStore::open(settings("started")).await.expect("one version newer");
    for (store, name) in [(&running, "one"), (&started, "two"), (&running, "three")] {
        assert_eq!(draft(name).send(store).await.expect("accepted"), Accepted::New);
        let listing = store.list(&of_mailbox("ags:1"), 0, 10).await.expect("a listing");
        assert!(listing.entries.iter().any(|entry| entry.card.id == draft(name).id), "{name}");
        let size = store.evidence_size().await.expect("a size");
        store.tree_root(size).await.expect("a whole tree");
    }
    let known = examine(settings("looking")).await.expect("examined").version;
    // It does not take the tables back.
    assert!(matches!(upgrade(settings("old")).await, Err(OpenError::Newer { .. })));
    started.close().await.expect("closed");

    cluster.sql("rolling", "UPDATE amtsbote.store SET version = version + 1");
    for refused in [
        PostgresStore::open(settings("started")).await.err(),
        examine(settings("looking")).await.err(),
        upgrade(settings("old")).await.err(),
    ] {
        let refused = refused.expect("two versions newer").to_string();
        let newer = format!("version {}", known.expect("tables") + 1);
        assert!(refused.contains(&newer) && refused.contains("use a newer amtsbote"), "{refused}");
    }
    running.close().await.expect("closed");
}

/// Whoever waits for a table keeps everybody waiting who comes after: an upgrade lets go soon, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_in_the_way_of_others_gives_up() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("busy");
    let settings = || Settings::new(&connection, "one");
    PostgresStore::open(settings()).await.expect("a store").close().await.expect("closed");
    let known = examine(settings()).await.expect("examined").version.expect("tables");
    // As it was one version ago.
    cluster.sql("busy", BACK_TO_VERSION_4);
    let held = "BEGIN; LOCK TABLE amtsbote.message IN ACCESS SHARE MODE; SELECT pg_sleep(60); COMMIT";
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let begun = std::time::Instant::now();
    let said = std::thread::scope(|scope| {
        scope.spawn(|| cluster.try_sql("busy", held));
        while cluster.sql("postgres", waiting) == "0" {
            assert!(begun.elapsed().as_secs() < 30, "nobody holds it");
        }
        let runtime = tokio::runtime::Handle::current();
        let said = tokio::task::block_in_place(|| runtime.block_on(upgrade(settings())));
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        cluster.sql("postgres", end);
        said
    });
    let said = said.expect_err("held").to_string();
    assert!(said.contains("waited five seconds") && said.contains("nothing was changed"), "{said}");
    assert!(said.contains("pg_locks") && said.contains("store upgrade"), "{said}");
    assert!(begun.elapsed().as_secs() < 45, "it has let go before the other did");
    assert_eq!(cluster.sql("busy", "SELECT version FROM amtsbote.store"), "4");
    assert_eq!(upgrade(settings()).await.expect("upgraded"), (4, known));
    PostgresStore::open(settings()).await.expect("a store").close().await.expect("closed");
}
