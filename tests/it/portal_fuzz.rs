//! What the portal's fuzz targets look for, over the seeds that lie beside them: each as it is, and cut off.

use std::collections::BTreeMap;

#[path = "../../fuzz/entries/jose_header.rs"]
mod jose_header;
#[path = "../../fuzz/entries/portal_door.rs"]
mod portal_door;
#[path = "../../fuzz/entries/portal_event.rs"]
mod portal_event;
#[path = "../../fuzz/entries/routing_csv.rs"]
mod routing_csv;

/// Places at which a seed is cut off.
const CUTS: usize = 8;

/// Seeds that are `good` are taken, others need not be; seeds of attacks are refused.
fn over(target: &str, good: &[&str], attacks: &[&str], look: impl Fn(&[u8]) -> bool) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds = std::fs::read_dir(folder).expect("seeds");
    let mut seeds: Vec<_> = seeds.map(|seed| seed.expect("a seed").path()).collect();
    // Some go on where others ended.
    seeds.sort();
    let mut taken = BTreeMap::new();
    for seed in seeds {
        let bytes = std::fs::read(&seed).expect("read");
        let name = seed.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
        for cut in 0..=CUTS {
            let is_taken = look(&bytes[..bytes.len() * cut / CUTS]);
            println!("{target}/{name}, {cut} of {CUTS}: {is_taken}");
            taken.insert(name.clone(), is_taken);
        }
    }
    for (names, expected) in [(good, true), (attacks, false)] {
        for name in names {
            assert_eq!(taken.get(*name), Some(&expected), "{target}/{name}");
        }
    }
}

#[test]
fn tokens_and_messages_of_strangers() {
    let attacks = ["alg-none", "crit-header", "kid-stands-twice"];
    // What is in a bomb is not looked at until it is opened, with a bound.
    over("jose_header", &["sealed", "zip-bomb"], &attacks, jose_header::look);
}

#[test]
fn claims_of_whoever_has_the_key() {
    let attacks = ["of-another-submission", "of-another-destination", "two-events"];
    over("portal_event", &["accept", "reject"], &attacks, portal_event::look);
}

#[test]
fn requests_of_a_portal() {
    let good = [
        "announce",
        "announce-html-in-name",
        "attachment",
        "sealed",
        "token",
        "upload-begin",
        "upload-whole",
    ];
    let attacks = ["announce-paths", "attachment-crit-header", "submit-zip-bomb", "token-alg-none"];
    over("portal_door", &good, &attacks, portal_door::look);
}

#[test]
fn routing_tables() {
    let look = |bytes: &[u8]| routing_csv::look(&String::from_utf8_lossy(bytes));
    let attacks = ["quote-not-closed", "toml-nested-deeply"];
    over("routing_csv", &["quotes", "table", "toml"], &attacks, look);
}
