//! The last checkpoint that this node has signed, in a file of its own folder.
//!
//! Whoever can change the database can cut off the end of a log together with everything in it that tells of it; what other
//! nodes have written down may be older. This file is not in the database: the relay does not start over a log that does
//! not continue it, and `amtsbote evidence verify --database` holds the logs against it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::pki::key::read_bounded;
use crate::relay::HeadKeeper;

/// The file of `node` in the store's folder.
pub fn path(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("evidence-head-{node}"))
}

/// What is kept in the file; `None` where there is none yet.
pub fn read(path: &Path) -> Result<Option<String>, String> {
    if !path.try_exists().map_err(|error| error.to_string())? {
        return Ok(None);
    }
    let bytes = read_bounded(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(Some).map_err(|_| "it is not UTF-8 text".to_owned())
}

pub struct HeadFile(pub PathBuf);

impl HeadFile {
    fn replace(&self, note: &str) -> std::io::Result<()> {
        // Not in place of what may be the end of a node's name.
        let mut fresh = self.0.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let mut file = File::create(&fresh)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.0)?;
        self.0.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl HeadKeeper for HeadFile {
    fn keep(&self, note: &str) -> Result<(), String> {
        self.replace(note).map_err(|error| error.to_string())
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}
