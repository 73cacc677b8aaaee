//! What the portal's fuzz targets look for, over the seeds that lie beside them: each as it is, and cut off.

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

fn over(target: &str, names: &[&str], look: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut found = Vec::new();
    for seed in std::fs::read_dir(folder).expect("seeds") {
        let seed = seed.expect("a seed");
        let (name, bytes) = (seed.file_name().into_string().expect("text"), std::fs::read(seed.path()));
        let bytes = bytes.expect("read");
        for cut in 0..=CUTS {
            println!("{target}/{name}, {cut} of {CUTS}");
            look(&bytes[..bytes.len() * cut / CUTS]);
        }
        found.push(name);
    }
    for name in names {
        assert!(found.iter().any(|one| one == name), "no {target}/{name}");
    }
}

#[test]
fn tokens_and_messages_of_strangers() {
    over("jose_header", &["alg-none", "crit-header", "kid-is-a-path", "zip-bomb"], jose_header::look);
}

#[test]
fn claims_of_whoever_has_the_key() {
    over("portal_event", &["accept", "of-another-submission", "html-in-problems"], portal_event::look);
}

#[test]
fn requests_of_a_portal() {
    over("portal_door", &["announce-html-in-name", "submit-zip-bomb", "token-alg-none"], portal_door::look);
}

#[test]
fn routing_tables() {
    let look = |bytes: &[u8]| routing_csv::look(&String::from_utf8_lossy(bytes));
    over("routing_csv", &["quotes", "quote-not-closed", "toml-nested-deeply"], look);
}
