//! A register is moved from its file into a database: all of it, with what opens it, and the file stays as it was.

use std::time::Duration;

use super::*;
use crate::register::copies::base::Source;
use crate::register::copies::testing::postgres_cluster::{Cluster, programs};
use crate::register::payment::Rules;

const SCHEMA: &str = "amtsbote_register";

/// Something in every table.
fn filled() -> Rig {
    let rig = priced();
    rig.copies.ask(&asked(Asker::PublicBody, Profile::FreeSearch, "Adl*"), at(1)).expect("answered");
    let persons: Vec<Person> = (0..400).map(|number| person(SEED, home(), number)).collect();
    rig.load(home(), 2, &persons);
    let of = |sequence| Change {
        generation: 2,
        ..change(sequence, Occasion::LockSet, locked(named("1", "Adler", "Willi"), 3))
    };
    rig.copies.change(&of(1)).expect("applied");
    rig.copies.change(&of(3)).expect("held");
    for family in ["Adler", "Niemand"] {
        rig.copies.ask(&asked(Asker::Citizen, Profile::PrivateEnquiry, family), at(1)).expect("answered");
    }
    let arrived = Arrived {
        author: "dbs:1",
        name: "",
        uuid: "u-1",
        number: "1330",
        digest: [1; 32],
        transport_id: "urn:1",
        at: at(1),
        expires_at: at(200),
        original: None,
        event: None,
    };
    let reply = Reply {
        number: "1331",
        reader: "dbs:1".to_owned(),
        namespace: "n".to_owned(),
        bytes: b"an answer".to_vec(),
        leaves_at: at(1),
    };
    rig.copies.take(&arrived, &[reply]).expect("taken");
    rig.copies.order(&order("a", 1), &Rules::default(), at(1)).expect("ordered");
    rig.copies.wish(&Subject::Report { ags: home(), mark: "1" }, Operator(1), at(1)).expect("a wish");
    rig.copies.reconcile(home(), &[], &BTreeMap::new(), at(1), at(1)).expect("compared");
    rig.copies.plausibility(home(), at(1)).expect("a report");
    rig.copies.hold_log(Operator(1), "audit 1/26", at(1)).expect("held");
    rig.copies.work_at_night("2026-03-03".parse().expect("a day"), || at(2), || true).expect("worked");
    rig.batch(
        "INSERT INTO look_tags (number, seal) VALUES (1, CAST('x' AS BLOB)); \
         INSERT INTO move_case (uuid, sign, new_office, old_office) VALUES ('m', 's', '10041100', '10041511')",
    );
    // What the log does not need: its entries have their tags.
    rig.copies.note_head().expect("noted");
    rig
}

/// The hash of every file of the register. What the engine keeps beside its file is there while it is open, and empty.
fn files(folder: &std::path::Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry"));
    entries
        .filter(|entry| entry.path().is_file() && !entry.file_name().to_string_lossy().ends_with("-shm"))
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file"))
        })
        .filter(|(name, bytes)| !(name.ends_with("-wal") && bytes.is_empty()))
        .map(|(name, bytes)| (name, crate::domain::hex::lower(&hash(&bytes))))
        .collect()
}

fn key() -> LogKey {
    LogKey::new(&[7; 32])
}

#[test]
fn every_table_and_column_is_copied() {
    let rig = rig();
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let tables =
        rig.copies.read(|work| work.all(sql, params![], |row| row.get::<String>(0))).expect("tables");
    let mut known: Vec<(&str, Vec<&str>)> = super::super::moving::columns();
    known.sort_unstable();
    assert_eq!(tables, known.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (table, mut columns) in known {
        let sql = format!("SELECT name FROM pragma_table_info('{table}') ORDER BY name");
        let all = rig.copies.read(|work| work.all(&sql, params![], |row| row.get::<String>(0)));
        columns.sort_unstable();
        assert_eq!(all.expect("columns"), columns, "{table}");
    }
}

#[test]
fn a_register_is_moved_into_a_database() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let settings = PostgresSettings::new(cluster.database("register"));
    let rig = filled();
    for table in super::super::moving::columns() {
        assert!(rig.count(&format!("SELECT count(*) FROM {}", table.0)) > 0, "{} is empty", table.0);
    }
    let heads = rig.copies.read_heads(&rig.copies.heads_file()).expect("heads");
    let entries = rig.copies.entries(home()).expect("entries");
    let folder = &*rig.folder.path().to_owned();
    let go = |told: &dyn Fn(&str)| move_to_postgres(folder, &settings, &key(), &heads, "there", at(3), told);
    // Somebody works on it.
    let refused = go(&|_| {}).expect_err("refused");
    assert!(matches!(&refused, CopyError::Settings(why) if why.contains("somebody works")), "{refused}");
    let Rig { copies, folder: kept } = rig;
    drop(copies);
    let before = files(folder);

    // Broken off in the middle: nobody works on half a register, and the copy goes on.
    let fail = format!(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''full''; END'; \
         CREATE TRIGGER fail BEFORE INSERT ON {SCHEMA}.look FOR EACH ROW EXECUTE FUNCTION fail()"
    );
    let broken = go(&|what| {
        if what == "copying look" {
            cluster.sql("register", &fail);
        }
    });
    assert!(broken.is_err());
    assert_ne!(cluster.sql("register", &format!("SELECT count(*) FROM {SCHEMA}.term")), "0");
    let here =
        Settings { engine: Engine::Postgres(settings.clone()), ..Settings::new(kept.path().join("new")) };
    let unfinished = Copies::open(here.clone(), key()).err();
    assert!(
        matches!(&unfinished, Some(CopyError::Settings(why)) if why.contains("register copy")),
        "{unfinished:?}"
    );
    cluster.sql("register", &format!("DROP TRIGGER fail ON {SCHEMA}.look; DROP FUNCTION fail()"));

    // Somebody changes a row of the copy meanwhile.
    let differs = |sql: &str| {
        let spoil = |what: &str| {
            if what == "comparing copy" {
                cluster.sql("register", sql);
            }
        };
        match go(&spoil) {
            Err(CopyError::Differs(what)) => what,
            other => panic!("{sql}: {other:?}"),
        }
    };
    let what = differs("UPDATE amtsbote_register.lock_set SET at = at + 1");
    assert!(what.contains("lock_set"), "{what}");
    cluster.sql("register", "UPDATE amtsbote_register.lock_set SET at = at - 1");
    let what = differs("INSERT INTO amtsbote_register.term VALUES (999, 1, 'X', 1)");
    assert!(what.contains("term"), "{what}");
    cluster.sql("register", "DELETE FROM amtsbote_register.term WHERE copy = 999");

    // A copy into another database was begun as well, and broken off.
    let second = PostgresSettings::new(cluster.database("second"));
    let other =
        |told: &dyn Fn(&str)| move_to_postgres(folder, &second, &key(), &heads, "elsewhere", at(3), told);
    let broken = other(&|what| {
        if what == "copying look" {
            cluster.sql("second", &fail);
        }
    });
    assert!(broken.is_err());
    cluster.sql("second", &format!("DROP TRIGGER fail ON {SCHEMA}.look; DROP FUNCTION fail()"));

    // Broken off behind the mark, before the last step: that copy goes on.
    base::mark_moved(folder, "there").expect("marked");
    let moved = go(&|_| {}).expect("moved");
    assert!(moved.resumed && moved.log.heads == 1, "{moved:?}");
    let mut after = files(folder);
    assert!(after.remove("register.moved").is_some(), "{after:?}");
    assert_eq!(before, after, "the file is what it was");
    let again = go(&|_| {}).expect_err("refused");
    assert!(
        matches!(&again, CopyError::Settings(why) if why.contains("holds a register already")),
        "{again}"
    );
    // Nor is there ever a second register of it: what was begun in another database does not go on, and in a third one
    // nothing is begun.
    let third = PostgresSettings::new(cluster.database("third"));
    let another = move_to_postgres(folder, &third, &key(), &heads, "elsewhere", at(3), &|_| {});
    for twice in [other(&|_| {}).err(), another.err()] {
        assert!(
            matches!(&twice, Some(CopyError::Settings(why)) if why.contains("copied to there")),
            "{twice:?}"
        );
    }
    let begun = "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'amtsbote_register'";
    assert_eq!(cluster.sql("third", begun), "0");

    // No register works on the file any more; in its folder, one works on the database.
    let old = Copies::open(Settings::new(folder), key()).err();
    assert!(matches!(&old, Some(CopyError::Settings(why)) if why.contains("copied to there")), "{old:?}");
    let copies = Copies::open(Settings { folder: folder.to_owned(), ..here }, key()).expect("opened");
    let new = Rig { copies, folder: kept };
    assert_eq!(new.copies.entries(home()).expect("entries"), entries);
    assert_eq!(new.copies.verify_log(&heads, at(3)).expect("whole").entries, moved.log.entries);
    let due = new.copies.due(at(3)).expect("a look");
    assert!(due.iter().any(|one| one.bytes == b"an answer"), "the same key opens it");
    new.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(4)).expect("answered");
    // Numbers go on.
    new.load(home(), 3, &[named("1", "Adler", "Willi")]);
    new.copies.verify_looks().expect("whole");
    new.copies.note_head().expect("noted");
}

#[test]
fn only_a_whole_log_is_moved_and_only_into_an_empty_database() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let settings = PostgresSettings::new(cluster.database("register"));
    let rig = filled();
    rig.set("UPDATE look SET at = at + 1 WHERE number = 2", params![]);
    let Rig { copies, folder } = rig;
    drop(copies);
    let go = |settings: &PostgresSettings| {
        move_to_postgres(folder.path(), settings, &key(), &[], "there", at(3), &|_| {})
    };
    assert!(matches!(go(&settings), Err(CopyError::Log(2))));
    let raw = rusqlite::Connection::open(folder.path().join(base::DATABASE_FILE)).expect("the database");
    raw.execute_batch("UPDATE look SET at = at - 1 WHERE number = 2").expect("mended");
    drop(raw);
    cluster.sql("register", "CREATE TABLE of_somebody (one integer)");
    let refused = go(&settings).expect_err("refused");
    assert!(matches!(&refused, CopyError::Settings(why) if why.contains("somebody else")), "{refused}");
    assert!(!folder.path().join("register.moved").exists());
    let elsewhere =
        move_to_postgres(&folder.path().join("no"), &settings, &key(), &[], "there", at(3), &|_| {});
    assert!(matches!(elsewhere, Err(CopyError::Settings(why)) if why.contains("there is no register")));
}

/// Whoever waits for the file while it is copied finds afterwards that the register is elsewhere.
#[test]
fn nobody_who_waited_for_the_copy_works_on_the_original() {
    let rig = rig();
    let Rig { copies, folder } = rig;
    drop(copies);
    let mut source = Source::open(folder.path()).expect("nobody else is there");
    drop(source.look().expect("a look"));
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Copies::open(Settings::new(folder.path()), key()).err());
        // Long enough that it is behind its first look at the folder; where it is not, nothing is tried.
        std::thread::sleep(Duration::from_secs(1));
        assert!(!waiting.is_finished(), "it waits for the file");
        base::mark_moved(folder.path(), "there").expect("marked");
        drop(source);
        waiting.join().expect("joined")
    });
    assert!(
        matches!(&waiting, Some(CopyError::Settings(why)) if why.contains("copied to there")),
        "{waiting:?}"
    );
}

/// A case that is handed over carries its original: a page of such is written within the time of one question.
#[test]
fn pages_are_bounded_in_bytes() {
    let rig = rig();
    rig.batch(
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 305)
         INSERT INTO outgoing (id, author, uuid, number, reader, namespace, in_reply_to, sealed, leaves_at, expires_at)
         SELECT id, 'a', 'u', '1', 'r', 'n', 't', zeroblob(CASE WHEN id > 300 THEN 3 << 20 ELSE 10 END), 0, 0 FROM n",
    );
    let pages = rig.copies.read(|work| Ok(super::super::moving::pages(work, "outgoing"))).expect("pages");
    // So many small rows, then the other ones with three of 3 MiB, then the two that are left.
    assert_eq!(pages, [256, 47, 2]);
}
