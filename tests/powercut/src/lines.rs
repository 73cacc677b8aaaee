//! The rig's own test: a writer too simple to be wrong, which appends lines to a file, with or without fsync.
//!
//! With fsync nothing acknowledged may be lost; without it something must be, or the disk forgets nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::child::{die_with_parent, say};
use crate::ledger::{Act, Claim, Ledger};

const FILE: &str = "lines";

pub fn write(folder: &Path, synced: bool) -> Result<(), String> {
    die_with_parent();
    let explain = |error: std::io::Error| error.to_string();
    let path = folder.join(FILE);
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(explain)?;
    if synced {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(explain)?;
    }
    say("ready");
    let mut number = file.metadata().map_err(explain)?.len() / line(0).len() as u64;
    loop {
        say(&format!("will accept {number}"));
        file.write_all(line(number).as_bytes()).map_err(explain)?;
        if synced {
            file.sync_data().map_err(explain)?;
        } else {
            // As slow as the other, so that both do about the same.
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        say(&format!("did accept {number}"));
        number += 1;
    }
}

fn line(number: u64) -> String {
    format!("{number:0>63}\n")
}

pub fn check(folder: &Path) -> Result<(), String> {
    die_with_parent();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
    let mut ledger = Ledger::default();
    text.lines().for_each(|line| ledger.hear(line, true));
    let content = match std::fs::read(folder.join(FILE)) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.to_string()),
    };
    for id in ledger.ids().filter(|id| ledger.claim(id, Act::Accept) == Claim::Acknowledged) {
        let expected = line(id.parse().map_err(|_| format!("{id} is no number"))?);
        let number: usize = id.parse().map_err(|_| format!("{id} is no number"))?;
        let start = number * expected.len();
        if content.get(start..start + expected.len()) != Some(expected.as_bytes()) {
            say(&format!("lost accept {id}"));
        }
    }
    say(&format!("checked {} bytes, {} acknowledgements", content.len(), ledger.acknowledged));
    Ok(())
}
