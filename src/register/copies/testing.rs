//! Runs the register's tests on a PostgreSQL server as well: what they call [`Settings::new`](super::Settings::new) for
//! leads to a database there, one for each folder.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

#[path = "../../../tests/it/ports.rs"]
mod ports;
#[allow(dead_code, reason = "the integration tests need more of it")]
#[path = "../../../tests/it/postgres_cluster.rs"]
pub mod postgres_cluster;

use postgres_cluster::{Cluster, programs};

use super::{Engine, PostgresSettings};

struct Server {
    cluster: Cluster,
    databases: Vec<(PathBuf, String)>,
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// The embedded one, except within [`on_postgres`].
pub fn engine(folder: &Path) -> Engine {
    SERVER.with_borrow_mut(|server| {
        let Some(Server { cluster, databases }) = server else { return Engine::Embedded };
        let known = databases.iter().find(|(of, _)| of == folder).map(|(_, connection)| connection.clone());
        let connection = known.unwrap_or_else(|| {
            let connection = cluster.database(&format!("register_{}", databases.len()));
            databases.push((folder.to_owned(), connection.clone()));
            connection
        });
        Engine::Postgres(PostgresSettings::new(connection))
    })
}

/// Runs each of them on a server that is made for it, or says why not.
pub fn on_postgres(scenarios: &[(&str, fn())]) {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    SERVER.set(Some(Server { cluster, databases: Vec::new() }));
    for (name, scenario) in scenarios {
        println!("on PostgreSQL: {name}");
        scenario();
    }
    let made = SERVER.take().map_or(0, |server| server.databases.len());
    assert!(made >= scenarios.len(), "{made} databases for {} scenarios", scenarios.len());
}

/// Names and functions.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}
pub(in crate::register) use scenarios;
