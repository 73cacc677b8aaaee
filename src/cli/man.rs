//! `amtsbote man`: manual pages, one for each verb, or one page on stdout.

use std::path::PathBuf;

use super::exit::{Exit, Stop};
use super::{definition, screen};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write every page into this folder instead of the main page to stdout
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        let unwritable =
            |error: std::io::Error| Stop::failed(format!("the pages cannot be written: {error}"));
        match &self.into {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(unwritable)?;
                clap_mangen::generate_to(definition(), folder).map_err(unwritable)?;
                screen::sentence(&format!("Manual pages are in {}.", folder.display()));
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(definition()).render(&mut page).map_err(unwritable)?;
                screen::data(&String::from_utf8_lossy(&page))?;
            }
        }
        Ok(Exit::Done)
    }
}
