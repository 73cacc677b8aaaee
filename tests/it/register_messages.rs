//! The published exchange form: what we write is what `schemas/register` says, judged by a foreign validator.

use std::process::Command;

use amtsbote::register::message::head::{Own, Party, PostalAddress, begin};
use amtsbote::register::message::{Number, RELEASES, feed, person};
use amtsbote::register::person::{Ags, Person};
use amtsbote::register::reconcile;
use amtsbote::register::synth;

use crate::tools;

#[test]
fn loads_and_comparisons_are_valid_by_their_schema() {
    if !tools::is_here("xmllint", &["--version"], "loads are not validated by their schema") {
        return;
    }
    let home = Ags::parse("10041100").expect("a key");
    let persons: Vec<Person> = (0..500).map(|number| synth::person(9, home, number)).collect();
    let party = |kennung: &str| Party { kennung: kennung.to_owned(), name: "Amt".to_owned() };
    let address = PostalAddress {
        number: "1".to_owned(),
        postcode: "00001".to_owned(),
        street: "Krumme Straße".to_owned(),
        place: "Ort".to_owned(),
    };
    let own = Own { party: party("ags:10041100"), address, reachable_at: "post@amt.invalid".to_owned() };
    let at = "2026-11-22T09:00:00.123Z".parse().expect("an instant");
    let uuid = "11111111-2222-4333-8444-555555555555";
    let folder = tempfile::tempdir().expect("a folder");
    let judge = |version: &str, text: String| {
        let file = folder.path().join("message.xml");
        std::fs::write(&file, text).expect("writes");
        let schema = format!("schemas/register/{}/register.xsd", version.replace('.', ""));
        let judged = Command::new("xmllint")
            .args(["--noout", "--schema", &schema])
            .arg(&file)
            .output()
            .expect("xmllint runs");
        let words = String::from_utf8_lossy(&judged.stderr);
        assert!(judged.status.success(), "{version}: {words:.2000}");
    };
    for release in &RELEASES {
        let mut out = begin(release, Number::Load, &own, &party("zmb:10"), uuid, at, false);
        feed::Stand { ags: home, generation: 1, sequence: 0, at, announced: Some(500) }.write(&mut out);
        persons.iter().for_each(|one| person::write(&mut out, one));
        judge(release.version, out.finish());
    }
    // Hashes of the original, and what came of them.
    let newest = &RELEASES[1];
    let entries: std::collections::BTreeMap<_, _> =
        persons.iter().map(|one| (one.mark.clone(), reconcile::hash(&one.to_bytes()))).collect();
    let buckets = reconcile::buckets(&entries);
    let mut out = begin(newest, Number::Standing, &own, &party("zmb:10"), uuid, at, false);
    feed::Stand { ags: home, generation: 1, sequence: 0, at, announced: None }.write(&mut out);
    feed::Hashes { buckets, entries: entries.clone() }.write(&mut out);
    judge(newest.version, out.finish());
    let mut out = begin(newest, Number::Receipt, &own, &party("zmb:10"), uuid, at, false);
    let difference = reconcile::Difference::between(&entries, &Default::default());
    let compared = Some(((0..=255).collect(), difference));
    feed::write_receipt(&mut out, uuid, &feed::Receipt { compared, ..feed::Receipt::default() });
    judge(newest.version, out.finish());
}
