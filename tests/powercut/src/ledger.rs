//! What the writer promised: for each message and each thing done to it, whether it was intended or acknowledged.
//!
//! The writer says `will ACT ID` before it asks the store and `did ACT ID` after the store has answered. An
//! acknowledgement counts only if the rig had read it before the cut; one read afterwards may have been given by a
//! machine that no longer had power, and counts as an intention.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Claim {
    #[default]
    Never,
    /// May have happened, entirely or not at all.
    Intended,
    Acknowledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Accept,
    HandOut,
    Receive,
    PurgePayload,
    PurgeCard,
}

impl Act {
    pub const ALL: [Self; 5] =
        [Self::Accept, Self::HandOut, Self::Receive, Self::PurgePayload, Self::PurgeCard];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::HandOut => "hand-out",
            Self::Receive => "receive",
            Self::PurgePayload => "purge-payload",
            Self::PurgeCard => "purge-card",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == word)
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    claims: BTreeMap<String, BTreeMap<Act, Claim>>,
    /// What the store refused, in its words.
    pub refusals: Vec<String>,
    pub acknowledged: u64,
}

impl Ledger {
    /// Takes one line of the writer down.
    pub fn hear(&mut self, line: &str, before_the_cut: bool) {
        let mut words = line.splitn(3, ' ');
        let (verb, act, id) = (words.next(), words.next().and_then(Act::parse), words.next());
        let claim = match verb {
            Some("did") if before_the_cut => Claim::Acknowledged,
            Some("did" | "will") => Claim::Intended,
            Some("refused") => {
                self.refusals.push(line.to_owned());
                return;
            }
            _ => return,
        };
        let (Some(act), Some(id)) = (act, id) else { return };
        let known = self.claims.entry(id.to_owned()).or_default().entry(act).or_default();
        if claim == Claim::Acknowledged && *known != Claim::Acknowledged {
            self.acknowledged += 1;
        }
        *known = claim.max(*known);
    }

    pub fn claim(&self, id: &str, act: Act) -> Claim {
        self.claims.get(id).and_then(|acts| acts.get(&act)).copied().unwrap_or_default()
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.claims.keys().map(String::as_str)
    }

    /// Lines that [`Ledger::hear`] makes the same ledger of.
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        for (id, acts) in &self.claims {
            for (act, claim) in acts {
                let verb = if *claim == Claim::Acknowledged { "did" } else { "will" };
                lines.push_str(&format!("{verb} {} {id}\n", act.as_str()));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_heard_before_the_cut_is_acknowledged() {
        let mut ledger = Ledger::default();
        for (line, before) in [
            ("will accept a", true),
            ("did accept a", true),
            ("will receive a", true),
            ("did receive a", false),
            ("will accept b", false),
            ("did accept a", false),
            ("ready", true),
            ("refused full accept c no room", true),
        ] {
            ledger.hear(line, before);
        }
        let mut copy = Ledger::default();
        ledger.to_lines().lines().for_each(|line| copy.hear(line, true));
        for ledger in [ledger, copy] {
            assert_eq!(ledger.claim("a", Act::Accept), Claim::Acknowledged);
            assert_eq!(ledger.claim("a", Act::Receive), Claim::Intended);
            assert_eq!(ledger.claim("a", Act::PurgeCard), Claim::Never);
            assert_eq!(ledger.claim("b", Act::Accept), Claim::Intended);
            assert_eq!(ledger.claim("c", Act::Accept), Claim::Never);
            assert_eq!(ledger.acknowledged, 1);
        }
    }
}
