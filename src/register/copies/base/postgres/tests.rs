//! Sessions that are cut off at the worst moments, on a server of the tests' own.

use std::time::Instant;

use super::super::{Engine, Session, params};
use super::*;
use crate::register::copies::base::Base as AnyBase;
use crate::register::copies::testing::postgres_cluster::{Cluster, programs};

fn key() -> LogKey {
    LogKey::new(&[7; 32])
}

fn opened(settings: Settings) -> Result<(AnyBase, Session), CopyError> {
    AnyBase::open(&Engine::Postgres(settings), std::path::Path::new("unused"), &key())
}

const DAY: &str = "INSERT INTO night (day, began_at, restricted, deleted) VALUES (?1, 0, 0, 0)";

/// Writes one row; the days that are there afterwards.
fn add(session: &mut Session, day: &str) -> Result<(), CopyError> {
    let work = session.begin()?;
    work.run(DAY, params![day])?;
    work.commit()
}

/// The server answers COMMIT with a rollback where a statement before has failed.
fn fails_with_its_statement(session: &mut Session) {
    let work = session.begin().expect("begun");
    work.run(DAY, params!["lost"]).expect("written");
    work.run("INSERT INTO nowhere VALUES (1)", params![]).expect_err("no such table");
    assert!(work.commit().is_err(), "nothing was committed");
}

fn days(session: &mut Session) -> Vec<String> {
    let work = session.look().expect("a look");
    work.all("SELECT day FROM night ORDER BY day", params![], |row| row.get(0)).expect("days")
}

/// Until `question` is answered with `expected`, as the superuser sees it.
fn wait_until(cluster: &Cluster, question: &str, expected: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while cluster.sql("postgres", question) != expected {
        assert!(Instant::now() < end, "{question}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE application_name = 'amtsbote register' AND state = 'active'";

#[test]
fn a_commit_that_nobody_confirmed_is_asked_about() {
    let Some(programs) = programs() else { return };
    // Not ours: a look behind the lock would see what was there before it waited.
    let cluster = Cluster::start(&programs, &["default_transaction_isolation = 'serializable'"]);
    let connection = cluster.database("register");
    let (_base, mut writer) = opened(Settings::new(connection)).expect("opened");
    add(&mut writer, "1").expect("written");
    let work = writer.begin().expect("begun");
    let isolation = "SELECT current_setting('transaction_isolation')";
    let isolation: String = work.only(isolation, params![], |row| row.get(0)).expect("a setting");
    assert_eq!(isolation, "read committed");
    drop(work);

    // An idle session that was cut off is replaced.
    cluster.sql("postgres", &TERMINATE.replace("'active'", "'idle'"));
    std::thread::sleep(IDLE_TRUSTED);
    add(&mut writer, "2").expect("written by the next one");

    // Cut off within its commit, before it is one: the trigger sleeps there.
    cluster.sql(
        "register",
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON amtsbote_register.night DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (new.day = '3') EXECUTE FUNCTION slow()",
    );
    let undone = std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&mut writer, "3"));
        wait_until(&cluster, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1");
        cluster.sql("postgres", TERMINATE);
        writing.join().expect("joined")
    });
    assert!(matches!(undone, Err(CopyError::Server(_))), "{undone:?}");
    assert_eq!(days(&mut writer), ["1", "2"], "nothing of it is there");

    // Cut off behind its commit: on the disk, and waiting for a standby that never answers.
    cluster.reconfigure(&["synchronous_standby_names = 'nobody'"]);
    wait_until(&cluster, "SHOW synchronous_standby_names", "nobody");
    let done = std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&mut writer, "4"));
        wait_until(&cluster, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", "1");
        cluster.sql("postgres", TERMINATE);
        cluster.reconfigure(&["synchronous_standby_names = ''"]);
        writing.join().expect("joined")
    });
    assert!(done.is_ok(), "{done:?}");
    fails_with_its_statement(&mut writer);
    assert_eq!(days(&mut writer), ["1", "2", "4"]);
}

#[test]
fn a_server_that_breaks_what_was_asked_for_is_refused() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("register");
    let refused = |settings| match opened(settings) {
        Err(CopyError::Settings(words)) => words,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    };
    let required = Settings { standby: Standby::Required, ..Settings::new(connection.clone()) };
    assert!(refused(required).contains("synchronous_standby_names is empty"));
    drop(opened(Settings::new(connection.clone())).expect("opened"));
    let stranger = AnyBase::open(
        &Engine::Postgres(Settings::new(connection.clone())),
        std::path::Path::new("unused"),
        &LogKey::new(&[8; 32]),
    );
    assert!(matches!(stranger, Err(CopyError::Settings(words)) if words.contains("another register's")));
    // One of the first version is brought up to date.
    let first = "DROP TABLE amtsbote_register.plausibility, amtsbote_register.log_hold;
        UPDATE amtsbote_register.base SET version = 1";
    cluster.sql("register", first);
    let (_, mut writer) = opened(Settings::new(connection.clone())).expect("opened");
    let work = writer.begin().expect("begun");
    for table in ["plausibility", "log_hold"] {
        assert_eq!(work.run(&format!("DELETE FROM {table}"), params![]).expect("there"), 0);
    }
    drop(work);
    drop(writer);
    cluster.sql("register", "UPDATE amtsbote_register.base SET version = 1000");
    assert!(matches!(opened(Settings::new(connection.clone())), Err(CopyError::Newer { found: 1000, .. })));
    cluster.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 OWNER amtsbote");
    assert!(refused(Settings::new(cluster.connection("latin"))).contains("encoding UTF8"));
    cluster.demand_passwords_for("register");
    let end = Instant::now() + Duration::from_secs(20);
    let words = loop {
        match opened(Settings { password: Some("wrong".to_owned()), ..Settings::new(connection.clone()) }) {
            Err(CopyError::Settings(words)) if words.contains("password") => break words,
            other => assert!(Instant::now() < end, "{:?}", other.err()),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(words.contains("password_file") && !words.contains("wrong"), "{words}");
    cluster.kill();
    let away = opened(Settings::new(connection)).err();
    assert!(
        matches!(&away, Some(CopyError::Server(words)) if words.contains("cannot be reached")),
        "{away:?}"
    );
}

/// Patience is over before the commit is, and the look for it waits behind the session that is still at work.
#[test]
fn a_commit_that_is_still_under_way_is_waited_for() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &["default_transaction_isolation = 'serializable'"]);
    let connection = cluster.database("register");
    let settings = Settings { patience: Duration::from_secs(5), ..Settings::new(connection) };
    let (_base, mut writer) = opened(settings).expect("opened");
    cluster.reconfigure(&["synchronous_standby_names = 'nobody'"]);
    wait_until(&cluster, "SHOW synchronous_standby_names", "nobody");
    let done = std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&mut writer, "1"));
        let behind = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        wait_until(&cluster, behind, "1");
        cluster.reconfigure(&["synchronous_standby_names = ''"]);
        writing.join().expect("joined")
    });
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(days(&mut writer), ["1"]);
}

/// The number of a transaction that a crash has swept away is given to the next one.
#[test]
fn a_commit_that_was_swept_away_is_not_taken_for_another() {
    const NUMBER: &str = "SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)";
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("register");
    let (_base, mut writer) = opened(Settings::new(connection)).expect("opened");
    let mut given_again = 0;
    for day in ["1", "2", "3"] {
        cluster.sql("postgres", "CHECKPOINT");
        let work = writer.begin().expect("begun");
        work.run(DAY, params![day]).expect("written");
        let number: i64 = work.only(NUMBER, params![], |row| row.get(0)).expect("a number");
        cluster.kill();
        cluster.begin();
        loop {
            let next: i64 = cluster.sql("postgres", NUMBER).parse().expect("a number");
            given_again += u32::from(next == number);
            if next >= number {
                break;
            }
        }
        let undone = work.commit();
        assert!(matches!(undone, Err(CopyError::Server(_))), "{undone:?}");
    }
    assert!(given_again > 0, "no number was given again, and nothing was tried");
    assert!(days(&mut writer).is_empty(), "nothing of it is there");
}

#[test]
fn tokens_go_after_a_day() {
    const TOKENS: &str = "SELECT count(*) FROM amtsbote_register.done";
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("register");
    let (_base, mut writer) = opened(Settings::new(connection)).expect("opened");
    add(&mut writer, "1").expect("written");
    assert!(!writer.shrink_step().expect("a step"));
    assert_eq!(cluster.sql("register", TOKENS), "1", "it is young");
    cluster.sql(
        "register",
        "UPDATE amtsbote_register.done SET at = at - 86500000000; \
         INSERT INTO amtsbote_register.done SELECT sha256(CAST(CAST(n AS text) AS bytea)), 0 FROM generate_series(1, 1500) n",
    );
    assert!(writer.shrink_step().expect("a step"), "there is more");
    assert!(!writer.shrink_step().expect("a step"));
    assert_eq!(cluster.sql("register", TOKENS), "2", "those of the two steps");
}

#[test]
fn nothing_is_vacuumed_as_long_as_somebody_is_in_the_way() {
    let Some(programs) = programs() else { return };
    // Nobody else vacuums meanwhile.
    let cluster = Cluster::start(&programs, &["autovacuum = off"]);
    let connection = cluster.database("register");
    let (base, mut writer) = opened(Settings::new(connection)).expect("opened");
    let dead = || {
        cluster.sql("register", "CREATE EXTENSION IF NOT EXISTS pgstattuple");
        cluster.sql("register", "SELECT dead_tuple_count FROM pgstattuple('amtsbote_register.lock_set')")
    };
    let change = |session: &mut Session, sql: &str| {
        let work = session.begin()?;
        work.run(sql, params![])?;
        work.commit()
    };
    change(&mut writer, "INSERT INTO lock_set VALUES ('1', 'm', 1, 1)").expect("written");
    let mut reader = base.reader().expect("a reader");
    let look = reader.look().expect("a look");
    look.only("SELECT count(*) FROM lock_set", params![], |row| row.get::<i64>(0)).expect("a state");
    assert!(base.forget().expect("vacuumed"), "what is read is the present state");
    change(&mut writer, "DELETE FROM lock_set").expect("written");
    assert!(!base.forget().expect("tried"), "somebody still reads what was there");
    assert_eq!(dead(), "1");
    drop(look);
    drop(reader);

    let holding = writer.begin().expect("begun");
    holding.run("LOCK TABLE lock_set IN SHARE ROW EXCLUSIVE MODE", params![]).expect("held");
    assert!(!base.forget().expect("tried"), "somebody holds a table");
    assert_eq!(dead(), "1");
    drop(holding);
    let end = Instant::now() + Duration::from_secs(60);
    while !base.forget().expect("tried") {
        assert!(Instant::now() < end, "whoever was in the way is gone");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(dead(), "0");
}

/// As long as a standby is named, the server waits for it. Whoever takes the names away lets go of what waits.
#[test]
fn nothing_is_written_without_a_required_standby() {
    const NAMES: &str = "SHOW synchronous_standby_names";
    const WAITS: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let Some(programs) = programs() else { return };
    let primary = Cluster::start(&programs, &["wal_level = replica", "max_wal_senders = 5"]);
    let connection = primary.database("register");
    let standby = primary.standby("second");
    let named = || {
        primary.reconfigure(&["synchronous_standby_names = 'second'"]);
        wait_until(&primary, NAMES, "second");
        primary.wait_for_standby();
    };
    let unnamed = || {
        primary.reconfigure(&["synchronous_standby_names = ''"]);
        wait_until(&primary, NAMES, "");
    };
    let is_unsure = |written: &Result<(), CopyError>| matches!(written, Err(CopyError::Unsure(words)) if words.contains("was taken away"));
    named();
    let settings = Settings {
        standby: Standby::Required,
        patience: Duration::from_secs(30),
        ..Settings::new(connection)
    };
    let (_base, mut writer) = opened(settings).expect("opened");
    add(&mut writer, "1").expect("written");

    // Taken away between begin and commit.
    let work = writer.begin().expect("begun");
    work.run(DAY, params!["2"]).expect("written");
    unnamed();
    let written = work.commit();
    assert!(is_unsure(&written), "{written:?}");
    let refused = add(&mut writer, "3").expect_err("refused").to_string();
    assert!(refused.contains("synchronous_standby_names is empty"), "{refused}");
    named();
    add(&mut writer, "3").expect("written");

    // Taken away while the commit waits.
    standby.signal_receiver(rustix::process::Signal::STOP);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&mut writer, "4"));
        wait_until(&primary, WAITS, "1");
        unnamed();
        writing.join().expect("joined")
    });
    assert!(is_unsure(&written), "{written:?}");
    standby.signal_receiver(rustix::process::Signal::CONT);
    named();

    // The same, and the answer is lost.
    standby.signal_receiver(rustix::process::Signal::STOP);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&mut writer, "5"));
        wait_until(&primary, WAITS, "1");
        primary.sql("postgres", TERMINATE);
        unnamed();
        writing.join().expect("joined")
    });
    assert!(is_unsure(&written), "{written:?}");
    standby.signal_receiver(rustix::process::Signal::CONT);
    named();
    add(&mut writer, "6").expect("written");

    // Taken away and put back while the commit waits: another commit, which waits for the standby, tells.
    let session = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    standby.signal_receiver(rustix::process::Signal::STOP);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&mut writer, "7"));
        wait_until(&primary, WAITS, "1");
        let pid = primary.sql("postgres", &format!("SELECT pid {session}"));
        let signal = |signal| {
            let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a process");
            rustix::process::kill_process(pid, signal).expect("signalled");
        };
        signal(rustix::process::Signal::STOP);
        unnamed();
        // Whoever has learnt of it lets go: a commit without a standby is answered then.
        primary.sql("postgres", "CREATE TABLE witness (); DROP TABLE witness");
        primary.reconfigure(&["synchronous_standby_names = 'second'"]);
        wait_until(&primary, NAMES, "second");
        signal(rustix::process::Signal::CONT);
        let end = Instant::now() + Duration::from_secs(60);
        let others = format!("SELECT count(*) {session} AND pid <> {pid}");
        while !writing.is_finished() && primary.sql("postgres", &others) == "0" {
            assert!(Instant::now() < end, "{others}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!writing.is_finished(), "the standby lacks it");
        standby.signal_receiver(rustix::process::Signal::CONT);
        writing.join().expect("joined")
    });
    assert!(written.is_ok(), "{written:?}");
    fails_with_its_statement(&mut writer);
    assert_eq!(days(&mut writer), ["1", "2", "3", "4", "5", "6", "7"], "what is unsure is there, this time");
}

#[test]
fn what_a_process_has_left_is_vacuumed_by_the_next_that_serves() {
    use crate::register::copies::{Arrived, Copies, Reply, Settings as CopySettings};
    let Some(programs) = programs() else { return };
    // Nobody else vacuums meanwhile.
    let cluster = Cluster::start(&programs, &["autovacuum = off"]);
    let engine = Engine::Postgres(Settings::new(cluster.database("register")));
    cluster.sql("register", "CREATE EXTENSION pgstattuple");
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let settings = CopySettings { engine: engine.clone(), ..CopySettings::new(folder.path()) };
        Copies::open(settings, key()).expect("opened")
    };
    let dead =
        || cluster.sql("register", "SELECT dead_tuple_count FROM pgstattuple('amtsbote_register.outgoing')");
    let at = jiff::Timestamp::UNIX_EPOCH;
    let arrived = Arrived {
        author: "a",
        name: "",
        uuid: "u",
        number: "1330",
        digest: [1; 32],
        transport_id: "t",
        at,
        expires_at: at,
        original: None,
        event: None,
    };
    let reply = Reply {
        number: "1331",
        reader: "a".to_owned(),
        namespace: "n".to_owned(),
        bytes: b"an answer".to_vec(),
        leaves_at: at,
    };
    let copies = open();
    copies.take(&arrived, &[reply]).expect("taken");
    assert_eq!(copies.expire_answers(at).expect("destroyed"), 1);
    // Ends without having emptied anything.
    drop(copies);
    let copies = open();
    assert!(copies.forget_in_journal().expect("nothing to do"), "a command does nothing of it");
    assert_eq!(dead(), "1");
    copies.doubt_journal();
    let end = Instant::now() + Duration::from_secs(60);
    while !copies.forget_in_journal().expect("tried") {
        assert!(Instant::now() < end, "nobody is in the way");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(dead(), "0");
}
