//! Routing tables as files: reading must not panic, and what is read is written and read again as the same.

use std::collections::BTreeSet;

use amtsbote::portal::routing::Routing;
use amtsbote::portal::rules::{from_csv, from_toml, to_csv, to_toml};

/// Whether it is a table.
pub fn look(text: &str) -> bool {
    let mut is_taken = false;
    for rules in [from_csv(text).ok(), from_toml(text).ok()].into_iter().flatten() {
        is_taken |= !rules.is_empty();
        let before: BTreeSet<_> = rules.iter().cloned().collect();
        let routing = Routing::from_rules(rules);
        let csv: BTreeSet<_> = from_csv(&to_csv(&routing)).expect("what we write").into_iter().collect();
        assert_eq!(csv, before);
        let toml = from_toml(&to_toml(&routing).expect("written")).expect("what we write");
        assert_eq!(toml.into_iter().collect::<BTreeSet<_>>(), before);
    }
    is_taken
}
