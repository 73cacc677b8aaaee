//! `amtsbote register copy`: from the register's file into a database, while nobody works on either.

use std::collections::BTreeSet;
use std::io::{IsTerminal, stderr};
use std::path::Path;

use super::super::Reading;
use super::super::copy::Side;
use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::stop;
use crate::app::register::log_key;
use crate::clock::{Clock, SystemClock};
use crate::config::register::RegisterConfig;
use crate::register::copies::{
    CopyError, Engine, LogHead, LogKey, Moved, Settings, move_to_postgres, read_heads,
};

pub fn copy(from: &Side, to: &Side, reading: Reading) -> Result<Exit, Stop> {
    let (Side::Sqlite(folder), Side::Postgres(configuration)) = (from, to) else {
        return Err(Stop::usage("a register is copied from sqlite:FOLDER to postgres:CONFIGURATION only"));
    };
    let config = RegisterConfig::load(configuration)
        .map_err(|error| super::process::unloaded(error, "its [store] then names the empty database"))?;
    let settings = config.copies()?;
    let Engine::Postgres(database) = &settings.engine else {
        return Err(Stop::usage(format!(
            "{}: [store] engine is not \"postgres\"; write a configuration of the register as it will be",
            configuration.display()
        )));
    };
    let key = log_key(folder).map_err(|error| Stop::usage(error.to_string()))?;
    goes_along(folder, &config.register.folder)?;
    let heads = heads(&Settings::new(folder).heads_file(), &settings.heads_file(), &key)?;
    let told = |what: &str| {
        if stderr().is_terminal() {
            screen::sentence(&format!("{what} …"));
        }
    };
    let to = std::path::absolute(configuration).unwrap_or_else(|_| configuration.clone());
    let to = to.display().to_string();
    let moved = move_to_postgres(folder, database, &key, &heads, &to, SystemClock.now(), &told);
    let moved = moved.map_err(|error| match error {
        error @ (CopyError::Log(_) | CopyError::LogCut { .. } | CopyError::LogEmptied(_)) => {
            Stop::new(Exit::Problems, error.to_string())
                .then("Nothing is copied before `amtsbote register log` finds the log whole")
        }
        error => stop(error),
    })?;
    tell(&moved, reading)?;
    screen::sentence(&format!(
        "The register is copied, and both sides are alike. Go on with {}; {} stays as it is, and no register works on it any \
         more.",
        configuration.display(),
        folder.join("register.sqlite").display()
    ));
    Ok(Exit::Done)
}

/// The log's key belongs to the data, wherever these go.
fn goes_along(folder: &Path, new: &Path) -> Result<(), Stop> {
    let bytes = |folder: &Path| std::fs::read(folder.join("log.key")).ok();
    if super::is_same(folder, new) || bytes(folder).is_some_and(|key| bytes(new) == Some(key)) {
        return Ok(());
    }
    Err(Stop::usage(format!(
        "{} has another log.key, or none; the log's key goes along with the data",
        new.display()
    ))
    .then(format!(
        "`install -d {new}; cp -p {old}/log.key {old}/log.heads {new}/`, or name {old} as register.folder",
        old = folder.display(),
        new = new.display()
    )))
}

/// Those of the new file, which must have those that lie beside the original: without them nobody would notice that the log
/// was cut to what it was between two of them.
fn heads(old: &Path, new: &Path, key: &LogKey) -> Result<Vec<LogHead>, Stop> {
    let heads = read_heads(new, key).map_err(stop)?;
    if super::is_same(old, new) {
        return Ok(heads);
    }
    let known: BTreeSet<String> = heads.iter().map(LogHead::to_string).collect();
    let lacking = read_heads(old, key).map_err(stop)?;
    let lacking = lacking.iter().filter(|head| !known.contains(&head.to_string())).count();
    if lacking == 0 {
        return Ok(heads);
    }
    Err(Stop::usage(format!(
        "{} lacks {lacking} heads of the log that are in {}; they go along with the data",
        new.display(),
        old.display()
    ))
    .then(format!("`cat {} >> {}`", old.display(), new.display())))
}

fn tell(moved: &Moved, reading: Reading) -> Result<(), Stop> {
    if reading.json {
        return screen::json(moved);
    }
    let mut table =
        Table::new(&[("table", Align::Left), ("rows", Align::Right), ("SHA-256 of both", Align::Left)]);
    for one in &moved.tables {
        table.row([one.name.to_owned(), one.rows.to_string(), one.digest.clone()]);
    }
    screen::data(&table.render())?;
    screen::data(&screen::fields(&[
        ("entries of the log", moved.log.entries.to_string()),
        ("heads", moved.log.heads.to_string()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::copies::Copies;

    #[test]
    fn heads_go_along_and_are_counted_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let key = || LogKey::new(&[7; 32]);
        let copies = Copies::open(Settings::new(&old), key()).expect("a register");
        copies.note_head().expect("noted");
        std::fs::create_dir(&new).expect("a folder");
        let (there, file) = (copies.heads_file(), Settings::new(&new).heads_file());
        let lacking = heads(&there, &file, &key()).err();
        assert!(lacking.is_some(), "what is not there is missed");
        std::fs::copy(&there, &file).expect("brought along");
        for new in [&file, &there] {
            assert_eq!(heads(&there, new, &key()).ok().map(|heads| heads.len()), Some(1));
        }
        // Kept elsewhere before.
        assert_eq!(heads(&old.join("none"), &file, &key()).ok().map(|heads| heads.len()), Some(1));
    }
}
