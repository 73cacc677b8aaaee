use jiff::civil::date;

use super::*;

const SERVICE: &str = "99050012104000";
const OTHER_SERVICE: &str = "99107023017000";

fn destination(number: u8) -> DestinationId {
    DestinationId::parse(&format!("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a{number:02x}")).expect("a UUID")
}

fn service(key: &str) -> ServiceKey {
    ServiceKey::parse(key).expect("a key")
}

fn rule(region: &str, number: u8, from: Option<Date>, until: Option<Date>) -> Rule {
    Rule {
        region: Region::parse(region).expect("a region"),
        service: service(SERVICE),
        destination: destination(number),
        valid_from: from,
        valid_until: until,
    }
}

fn today() -> Date {
    date(2026, 11, 28)
}

#[track_caller]
fn check_found(routing: &Routing, place: Place, expected: Option<u8>) {
    let found = routing.find(&place, &service(SERVICE), today(), Places::known());
    let found = match found {
        Outcome::Found { rule } => Some(rule.destination),
        Outcome::NoDestination => None,
        Outcome::Ambiguous { rules } => panic!("ambiguous: {rules:?}"),
    };
    assert_eq!(found, expected.map(destination), "{place:?}");
}

fn ars(text: &str) -> Place {
    Place::Region(Region::parse(text).expect("a region"))
}

fn ags(text: &str) -> Place {
    Place::Ags(Ags::parse(text).expect("an AGS"))
}

#[test]
fn the_smallest_region_wins() {
    let routing = Routing::from_rules([
        rule("10", 1, None, None),
        rule("10041", 2, None, None),
        rule("100410511511", 3, None, None),
        rule("053340002002", 4, None, None),
        rule("053340002", 5, None, None),
        rule("05", 6, None, None),
    ]);
    check_found(&routing, ars("100410511511"), Some(3));
    check_found(&routing, ars("100410100100"), Some(2));
    check_found(&routing, ars("100420113113"), Some(1));
    check_found(&routing, ars("100000000000"), Some(1));
    check_found(&routing, ars("053340002002"), Some(4));
    check_found(&routing, ars("053340002003"), Some(5));
    check_found(&routing, ars("053340003003"), Some(6));
    check_found(&routing, ars("091620000000"), None);
    // An AGS is completed where the place is known, and compared without the association where it is not.
    check_found(&routing, ags("10041511"), Some(3));
    check_found(&routing, ags("10042113"), Some(1));
    check_found(&routing, ags("05334002"), Some(4));
    check_found(&routing, ags("05334003"), Some(6));
    check_found(&routing, ags("09162000"), None);
    let other = routing.find(&ars("100410511511"), &service(OTHER_SERVICE), today(), Places::known());
    assert_eq!(other, Outcome::NoDestination);
}

#[test]
fn rules_hold_on_their_days_the_last_included() {
    let routing = Routing::from_rules([
        rule("10", 1, None, None),
        rule("10041", 2, Some(date(2026, 11, 28)), Some(date(2026, 11, 28))),
        rule("10042", 3, Some(date(2026, 11, 29)), None),
        rule("10043", 4, None, Some(date(2026, 11, 27))),
    ]);
    check_found(&routing, ars("100410100100"), Some(2));
    check_found(&routing, ars("100420113113"), Some(1));
    check_found(&routing, ars("100430111111"), Some(1));
    let told = routing.explain(&ars("100430111111"), &service(SERVICE), today(), Places::known());
    let verdicts: Vec<_> = told.considered.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::NoLonger, Verdict::Wins]);
    let told = routing.explain(&ars("100420113113"), &service(SERVICE), today(), Places::known());
    let verdicts: Vec<_> = told.considered.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::NotYet, Verdict::Wins]);
    let told = routing.explain(&ars("100410100100"), &service(SERVICE), today(), Places::known());
    let verdicts: Vec<_> = told.considered.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::Wins, Verdict::LessSpecific]);
}

#[test]
fn two_destinations_of_one_rank_are_no_answer() {
    let routing = Routing::from_rules([
        rule("10041", 1, None, None),
        rule("10041", 2, None, None),
        rule("10041", 1, None, None),
        rule("100410100100", 3, None, None),
    ]);
    let at = |place| routing.find(&place, &service(SERVICE), today(), Places::known());
    assert!(matches!(at(ars("100410511511")), Outcome::Ambiguous { rules } if rules.len() == 2));
    check_found(&routing, ars("100410100100"), Some(3));
    let told = routing.explain(&ars("100410511511"), &service(SERVICE), today(), Places::known());
    assert!(told.considered.iter().all(|one| one.verdict == Verdict::Contradicted));
}

#[test]
fn checks_name_gaps_and_overlaps() {
    let found = |rules: Vec<Rule>| check(&Routing::from_rules(rules), today(), Places::known());
    assert_eq!(found(vec![rule("10", 1, None, None)]), []);
    let gaps = found(vec![rule("10041", 1, None, None)]);
    assert!(matches!(gaps.as_slice(), [Finding::Gap { places, .. }] if places.len() == 42), "{gaps:?}");
    let (first, second) = (date(2026, 12, 31), date(2027, 1, 1));
    let successor = vec![rule("10", 1, None, Some(first)), rule("10", 2, Some(second), None)];
    assert_eq!(found(successor), []);
    let overlap = found(vec![rule("10", 1, None, Some(second)), rule("10", 2, Some(second), None)]);
    assert!(matches!(overlap.as_slice(), [Finding::Overlap { .. }]) && overlap[0].is_error(), "{overlap:?}");
    let twice = found(vec![rule("10", 1, None, None), rule("10", 1, None, None)]);
    assert!(matches!(twice.as_slice(), [Finding::Repeated { .. }]), "{twice:?}");
    let never = found(vec![rule("10", 1, None, None), rule("05", 1, Some(second), Some(first))]);
    assert!(matches!(never.as_slice(), [Finding::Never { .. }]), "{never:?}");
    let over = found(vec![rule("10", 1, None, None), rule("05", 1, None, Some(date(2025, 1, 1)))]);
    assert!(matches!(over.as_slice(), [Finding::Over { .. }]), "{over:?}");
}

/// An exhaustive scan over all rules, as the meaning of the index.
#[test]
fn the_index_answers_as_a_scan_does() {
    let mut state = 7u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let regions: Vec<String> = (0..60)
        .map(|_| {
            let full = format!("{:02}{}{:02}{:04}{:03}", 1 + next(3), next(2), next(3), next(3), next(4));
            full[..REGION_DIGITS[1 + next(5) as usize]].to_owned()
        })
        .collect();
    let rules: Vec<Rule> =
        (0..80).map(|_| rule(&regions[next(60) as usize], next(4) as u8, None, None)).collect();
    let routing = Routing::from_rules(rules.clone());
    for _ in 0..500 {
        let text = format!("{:02}{}{:02}{:04}{:03}", 1 + next(3), next(2), next(3), next(3), next(4));
        let region = Region::parse(&text).expect("a region");
        let fitting = |rule: &&Rule| region.as_str().starts_with(rule.region.as_str());
        let longest = rules.iter().filter(fitting).map(|rule| rule.region.as_str().len()).max();
        let expected: BTreeSet<_> = rules
            .iter()
            .filter(fitting)
            .filter(|rule| Some(rule.region.as_str().len()) == longest)
            .map(|rule| rule.destination.clone())
            .collect();
        let found =
            match routing.find(&Place::Region(region.clone()), &service(SERVICE), today(), Places::known()) {
                Outcome::Found { rule } => BTreeSet::from([rule.destination]),
                Outcome::NoDestination => BTreeSet::new(),
                Outcome::Ambiguous { rules } => rules.into_iter().map(|rule| rule.destination).collect(),
            };
        assert_eq!(found, expected, "{text}");
    }
}
