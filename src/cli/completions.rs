//! `amtsbote completions`: from the same definition as help and manual pages.

use super::exit::{Exit, Stop};
use super::{definition, screen};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), "amtsbote", &mut script);
        screen::data(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
