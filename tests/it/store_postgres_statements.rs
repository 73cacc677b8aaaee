//! Every statement that the PostgreSQL engine has as a constant is one that the database takes, also those that only a
//! sweep or a rare trouble puts, where a refusal would be no more than a line in a log.

use std::fs;
use std::path::{Path, PathBuf};

use amtsbote::net::postgres::{COMMIT, Connector, Session, commit};
use amtsbote::store::Store;
use amtsbote::store::postgres::{PostgresStore, Settings};

use crate::postgres_cluster::{Cluster, programs};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Names and texts of constants that are plain string literals.
fn texts(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for piece in source.split("const ").skip(1) {
        let Some((name, rest)) = piece.split_once(": &str =") else { continue };
        let Some(literal) = rest.trim_start().strip_prefix('"') else { continue };
        if !name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
            continue;
        }
        let (mut text, mut letters) = (String::new(), literal.chars().peekable());
        while let Some(letter) = letters.next() {
            match (letter, letters.peek()) {
                ('"', _) => break,
                ('\\', Some('\n')) => while letters.next_if(|c| c.is_whitespace()).is_some() {},
                ('\\', _) => text.extend(letters.next()),
                (letter, _) => text.push(letter),
            }
        }
        found.push((name.to_owned(), text));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_takes_every_statement() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("statements");
    let store = PostgresStore::open(Settings::new(&connection, "one")).await.expect("a store");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres");
    let mut statements = Vec::new();
    for path in sources(&folder) {
        let source = fs::read_to_string(&path).expect("a source");
        // Of several statements none can be prepared; what has braces is put together elsewhere.
        let is_one = |text: &str| {
            let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];
            verbs.iter().any(|verb| text.starts_with(verb)) && !text.contains(['{', ';'])
        };
        let own = texts(&source).into_iter().filter(|(_, text)| is_one(text));
        statements.extend(own.map(|(name, text)| (format!("{} {name}", path.display()), text)));
    }
    assert!(statements.len() > 40, "only {} were found", statements.len());
    let mut refused = Vec::new();
    for (name, text) in &statements {
        let sql = format!("SET search_path = amtsbote; PREPARE it AS {text}");
        if let Err(why) = cluster.ask("statements", &sql) {
            refused.push(format!("{name}: {why}"));
        }
    }
    assert!(refused.is_empty(), "{} of {}: {refused:#?}", refused.len(), statements.len());
    store.close().await.expect("closed");
}

/// The server answers the COMMIT of a transaction whose statement failed with a rollback, and without an error.
#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_that_has_failed_counts_as_committed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("aborted");
    let config: tokio_postgres::Config = connection.parse().expect("a connection");
    let mut session = Session::open(&config, Connector(None)).await.expect("a session");
    session.client.batch_execute("CREATE TABLE kept (number int PRIMARY KEY)").await.expect("a table");
    let failing = "INSERT INTO kept VALUES (1)";
    for swallowed in [false, true] {
        cluster.sql("aborted", "TRUNCATE kept; INSERT INTO kept VALUES (7)");
        let values =
            if swallowed { ["INSERT INTO kept VALUES (2)", failing, failing] } else { ["SELECT 1"; 3] };
        session.client.batch_execute("BEGIN; INSERT INTO kept VALUES (3)").await.expect("begun");
        for sql in values {
            let _ = session.client.batch_execute(sql).await;
        }
        let committed = session.client.batch_execute(COMMIT).await;
        assert_eq!(committed.is_ok(), !swallowed, "{committed:?}");
        let _ = session.client.batch_execute("ROLLBACK").await;
        let kept = if swallowed { "1" } else { "2" };
        assert_eq!(cluster.sql("aborted", "SELECT count(*) FROM kept"), kept);

        let work = session.client.transaction().await.expect("begun");
        work.batch_execute("INSERT INTO kept VALUES (4)").await.expect("inserted");
        for sql in values {
            let _ = work.batch_execute(sql).await;
        }
        let committed = commit(work).await;
        assert_eq!(committed.is_ok(), !swallowed, "{committed:?}");
    }
}

/// Nobody commits past that guard.
#[test]
fn every_commit_is_guarded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres");
    let mut found = Vec::new();
    for path in sources(&folder) {
        let source = fs::read_to_string(&path).expect("a source");
        let bare = source.lines().filter(|line| line.contains(".commit()") || line.contains("\"COMMIT"));
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        found.extend(bare.map(|line| format!("{name}: {}", line.trim())));
    }
    // A snapshot changes nothing; `write!` sets something before, which fails as well.
    let known = [
        "holdings.rs: page.commit().await?;",
        "holdings.rs: page.commit().await?;",
        "mod.rs: snapshot.commit().await?;",
        "mod.rs: let committed = tokio::time::timeout($self.pools.settings().patience, work.commit()).await;",
        "verify.rs: snapshot.commit().await?;",
    ];
    assert_eq!(found, known);
}
