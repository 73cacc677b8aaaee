//! `amtsbote acts`: what operators have changed.

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen::{self, Align, Table};
use super::{Place, Reading};
use crate::admin::protocol::{Answer, Verb};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many, newest first
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
    #[command(flatten)]
    link: Link,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let Answer::Acts { acts } = self.link.ask(place, Verb::Acts { limit: self.limit })? else {
            return Err(unexpected());
        };
        if self.reading.json {
            screen::json(&acts)?;
            return Ok(Exit::Done);
        }
        let heads = ["WHEN", "WHO", "ACT", "OBJECT", "REASON"].map(|head| (head, Align::Left));
        let mut table = Table::new(&heads);
        for act in acts {
            table.row([screen::instant(act.at), act.by, act.act, act.object, act.reason]);
        }
        screen::data(&table.render())?;
        Ok(Exit::Done)
    }
}
