//! Tables for the decision behind "accepted".

use super::*;
use crate::domain::content::{Part, PartRole};
use crate::domain::envelope::{Instant, Party, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::profile::ProfileName;
use crate::relay::fixture::{account, at, identifier};

const DAY: i64 = 86_400;

fn named(name: &str) -> ServiceProfile {
    ServiceProfile {
        name: ProfileName::parse(name).expect("a well-formed name"),
        ..ServiceProfile::standard()
    }
}

fn directory() -> Directory {
    let mut reader = account("reader", &["ags:2"]);
    reader.accepts = Some(vec!["urn:meld".to_owned(), "urn:both:*".to_owned(), String::new()]);
    let mut fast = account("fast", &["ags:5"]);
    fast.profile = Some(ProfileName::parse("quick").expect("a well-formed name"));
    let mut quick = named("quick");
    (quick.expiry_days, quick.reminder_days) = (2, 5);
    let mut sync = named("urn:sync");
    (sync.synchronous, sync.asynchronous) = (true, false);
    let mut small = named("small");
    small.content_bytes_max = Some(10);
    let mut huge = named("huge");
    huge.content_bytes_max = Some(u64::MAX);
    let accounts = vec![account("author", &["ags:1"]), reader, fast];
    Directory::new(1, accounts, vec![quick, sync, small, huge]).expect("a consistent directory")
}

fn envelope() -> Envelope {
    let party = |text| Party { identifier: identifier(text), security_tokens: Vec::new() };
    Envelope {
        id: MessageId::parse("m-1").expect("a well-formed id"),
        test: false,
        author: party("ags:1"),
        sender: None,
        reply_to: None,
        reader: party("ags:2"),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: Vec::new(),
        process_ref: None,
        qualifier: Qualifier { service: "urn:meld".to_owned(), ..Qualifier::default() },
        properties: Vec::new(),
        origin: None,
        not_before: None,
        obsolete_after: None,
        service_quality: None,
        receipt_requests: None,
        token_container: None,
        stated_size: None,
    }
}

fn instant(second: i64) -> Option<Instant> {
    Some(Instant { at: at(second), text: String::new() })
}

/// The decision at second 1000 after `adjust` has changed the ordinary message.
fn decided(
    length: u64,
    way: Manner,
    adjust: impl FnOnce(&mut Account, &mut Envelope),
) -> Result<Decision, Refusal> {
    let (mut who, mut envelope) = (account("author", &["ags:1"]), envelope());
    adjust(&mut who, &mut envelope);
    let (directory, limits, standard) = (
        directory(),
        Limits { content_bytes_max: 1000, parts_max: 2, ..Limits::default() },
        ServiceProfile::standard(),
    );
    let situation = Situation {
        directory: &directory,
        profile_default: &standard,
        limits: &limits,
        now: at(1000),
        door: "test",
        manner: way,
    };
    let manifest = Manifest::default();
    decide(
        &who,
        &envelope,
        Content { manifest: &manifest, length, digest: Digest::of(b"x") },
        Vec::new(),
        situation,
    )
}

fn plain(adjust: impl FnOnce(&mut Account, &mut Envelope)) -> Result<Decision, Refusal> {
    decided(5, Manner::Asynchronous, adjust)
}

#[test]
fn an_ordinary_message_waits_under_the_standard_profile() {
    let decision = plain(|_, _| {}).expect("nothing speaks against it");
    assert_eq!(decision.card.state, DeliveryState::Waiting);
    assert_eq!(decision.card.mailbox.as_str(), "ags:2");
    assert_eq!(decision.card.delivered_at, Some(at(1000)));
    assert_eq!(decision.card.steps.len(), 1);
    assert_eq!(decision.card.expires_at, at(1000 + 90 * DAY));
    assert_eq!(decision.deadlines.remind_at, Some(at(1000 + 3 * DAY)));
    assert_eq!(decision.deadlines.release_at, None);
    assert!(!decision.announced_only, "this account brings ids of its own");
    assert!(decision.card.findings.is_empty());
}

#[test]
fn rights_and_addresses() {
    let not_yours = |claimed: &str| Refusal::NotYourIdentifier { claimed: claimed.to_owned() };
    let unknown = |reader: &str| Refusal::ReaderUnknown { reader: reader.to_owned() };
    let not_booked = |service: &str| Refusal::ServiceNotBooked { service: service.to_owned() };
    type Adjust = fn(&mut Account, &mut Envelope);
    let table: [(Adjust, Option<Refusal>); 13] = [
        (|_, e| e.author.identifier = identifier("ags:2"), Some(not_yours("ags:2"))),
        (|_, e| e.author.identifier = identifier("*"), Some(not_yours("*"))),
        (
            |w, e| (w.identifiers, e.author.identifier) = (vec![identifier("*")], identifier("*")),
            Some(not_yours("*")),
        ),
        (|_, e| e.reader.identifier = identifier("ags:3"), Some(unknown("ags:3"))),
        (|_, e| e.reader.identifier = identifier("*"), Some(unknown("*"))),
        (|_, e| e.qualifier.service = "urn:other".into(), Some(not_booked("urn:other"))),
        (|_, e| e.qualifier.service = "urn:both:7".into(), None),
        (|_, e| e.qualifier.service = String::new(), None),
        (|w, _| w.rights.services = Some(vec!["urn:x".into()]), Some(not_booked("urn:meld"))),
        (|w, _| w.rights.services = Some(vec!["urn:me*".into()]), None),
        (
            |w, _| w.rights.readers = Some(vec!["ags:9*".into()]),
            Some(Refusal::ReaderNotAllowed { reader: "ags:2".into() }),
        ),
        (|w, _| w.rights.readers = Some(vec!["ags:2".into()]), None),
        // Somebody without the right learns nothing about who exists.
        (
            |w, e| (w.rights.readers, e.reader.identifier) = (Some(vec![]), identifier("ags:3")),
            Some(Refusal::ReaderNotAllowed { reader: "ags:3".into() }),
        ),
    ];
    for (row, (adjust, expected)) in table.into_iter().enumerate() {
        assert_eq!(plain(adjust).err(), expected, "row {row}");
    }
}

#[test]
fn which_profile_wins() {
    for (reader, quality, expected) in [
        ("ags:2", None, Ok(("standard", false))),
        ("ags:5", None, Ok(("quick", false))),
        ("ags:5", Some("  "), Ok(("quick", false))),
        ("ags:5", Some("small"), Ok(("small", false))),
        ("ags:5", Some("standard"), Ok(("standard", false))),
        ("ags:5", Some("urn:xoev-de:x:standard:y.xta.serviceprofile.z_1"), Ok(("quick", true))),
        ("ags:2", Some("https://example.org/profile"), Ok(("standard", true))),
        ("ags:2", Some("quik"), Err("quik")),
        ("ags:2", Some("urn:"), Err("urn:")),
        ("ags:2", Some("1:2"), Err("1:2")),
    ] {
        let decision = plain(|_, envelope| {
            envelope.reader.identifier = identifier(reader);
            envelope.service_quality = quality.map(str::to_owned);
        });
        let seen = decision.as_ref().map(|decision| {
            let warned = decision.card.findings.iter().any(|finding| finding.code == "profile-unknown");
            (decision.profile.name.as_str(), warned)
        });
        let expected = expected.map_err(|name| Refusal::ProfileUnknown { name: name.to_owned() });
        assert_eq!(seen, expected.as_ref().map(|seen| *seen), "{reader} {quality:?}");
    }
}

#[test]
fn a_profile_says_whether_the_author_may_wait() {
    for (quality, way, expected) in [
        (None, Manner::Asynchronous, None),
        (None, Manner::Synchronous, Some(Refusal::AsynchronousOnly)),
        (None, Manner::Answer, None),
        (Some("urn:sync"), Manner::Asynchronous, Some(Refusal::SynchronousOnly)),
        (Some("urn:sync"), Manner::Synchronous, None),
        (Some("urn:sync"), Manner::Answer, None),
    ] {
        let decision = decided(5, way, |_, envelope| envelope.service_quality = quality.map(str::to_owned));
        assert_eq!(decision.err(), expected, "{quality:?} {way:?}");
    }
}

#[test]
fn the_smaller_limit_holds() {
    for (quality, length, expected) in [
        (None, 1000, None),
        (None, 1001, Some(Refusal::TooLarge { max: 1000, seen: 1001 })),
        (Some("small"), 10, None),
        (Some("small"), 11, Some(Refusal::TooLarge { max: 10, seen: 11 })),
        (Some("huge"), 1001, Some(Refusal::TooLarge { max: 1000, seen: 1001 })),
    ] {
        let decision = decided(length, Manner::Asynchronous, |_, envelope| {
            envelope.service_quality = quality.map(str::to_owned);
        });
        assert_eq!(decision.err(), expected, "{quality:?} {length}");
    }
}

#[test]
fn parts_lie_inside_of_the_payload() {
    let part = |offset, length| Part {
        role: PartRole::Attachment,
        offset,
        length,
        digest: Digest::of(b""),
        content_type: "text/plain".to_owned(),
        description: None,
        encoding: None,
        filename: None,
        id: None,
        lang: None,
        size: None,
    };
    let limits = Limits { parts_max: 2, ..Limits::default() };
    for (parts, expected) in [
        (vec![part(0, 10)], None),
        (vec![part(0, 4), part(4, 6)], None),
        (vec![part(5, 6)], Some("internal")),
        (vec![part(u64::MAX, 2)], Some("internal")),
        (vec![part(0, 1), part(1, 1), part(2, 1)], Some("parameter-invalid")),
    ] {
        let manifest = Manifest { parts };
        let content = Content { manifest: &manifest, length: 10, digest: Digest::of(b"") };
        let refused = size(content, &ServiceProfile::standard(), &limits).err();
        assert_eq!(refused.map(|refusal| refusal.code()), expected, "{manifest:?}");
    }
}

#[test]
fn instants_that_contradict_each_other_are_refused() {
    let over = || Some(Refusal::ParameterInvalid { what: "ObsoleteAfter is over".to_owned() });
    let behind =
        || Some(Refusal::ParameterInvalid { what: "NotBefore lies behind ObsoleteAfter".to_owned() });
    let day = |days: i64| 1000 + days * DAY;
    for (not_before, obsolete_after, refused, release, expire) in [
        (None, None, None, None, day(90)),
        (None, Some(1001), None, None, 1001),
        (None, Some(1000), over(), None, 0),
        (None, Some(999), over(), None, 0),
        (None, Some(day(200)), None, None, day(90)),
        (Some(1000), None, None, None, day(90)),
        (Some(900), Some(2000), None, None, 2000),
        (Some(1001), None, None, Some(1001), 1 + day(90)),
        (Some(day(10)), None, None, Some(day(10)), day(100)),
        (Some(day(10)), Some(day(11)), None, Some(day(10)), day(11)),
        (Some(day(10)), Some(day(10)), behind(), None, 0),
        (Some(day(10)), Some(day(9)), behind(), None, 0),
    ] {
        let decision = plain(|_, envelope| {
            envelope.not_before = not_before.and_then(instant);
            envelope.obsolete_after = obsolete_after.and_then(instant);
        });
        let row = format!("NotBefore {not_before:?}, ObsoleteAfter {obsolete_after:?}");
        match decision {
            Err(refusal) => assert_eq!(Some(refusal), refused, "{row}"),
            Ok(decision) => {
                assert_eq!(None, refused, "{row}");
                assert_eq!(decision.deadlines.release_at, release.map(at), "{row}");
                assert_eq!(decision.deadlines.expire_at, at(expire), "{row}");
                let held = decision.card.state == DeliveryState::Held;
                assert_eq!(held, release.is_some(), "{row}");
                assert_eq!(decision.card.delivered_at.is_none(), held, "{row}");
                let reminded = decision.deadlines.remind_at;
                assert!(reminded.is_none_or(|instant| instant < at(expire)), "{row}: {reminded:?}");
            }
        }
    }
}

#[test]
fn a_reminder_behind_the_expiry_is_none() {
    let decision = plain(|_, envelope| envelope.reader.identifier = identifier("ags:5"));
    assert_eq!(decision.expect("the reader is known").deadlines.remind_at, None);
}

#[test]
fn ids_must_be_announced_unless_the_account_brings_its_own() {
    let decision = plain(|who, _| who.rights.foreign_message_ids = false);
    assert!(decision.expect("the id is the store's to judge").announced_only);
}

#[test]
fn a_requeued_message_has_its_time_anew() {
    let mut message = envelope();
    message.obsolete_after = instant(500);
    let again = deadlines_again(&message, &ServiceProfile::standard(), at(1000));
    assert_eq!(again.expire_at, at(1000 + 90 * DAY), "an ObsoleteAfter that is over no longer counts");
    message.obsolete_after = instant(2000);
    assert_eq!(deadlines_again(&message, &ServiceProfile::standard(), at(1000)).expire_at, at(2000));
}

#[test]
fn what_is_pushed_must_live_until_its_end_is_known() {
    let way = Manner::Pushed { time_max: Duration::from_secs(60) };
    for (obsolete_after, expected) in [(None, true), (Some(1059), false), (Some(1060), true)] {
        let decision =
            decided(5, way, |_, envelope| envelope.obsolete_after = obsolete_after.and_then(instant));
        match decision {
            Ok(decision) => assert_eq!((decision.card.state, expected), (DeliveryState::Held, true)),
            Err(refusal) => {
                assert!(!expected && refusal.to_string().contains("60 seconds"), "{refusal}");
            }
        }
    }
    let early = decided(5, way, |_, envelope| envelope.not_before = instant(1001));
    assert!(early.is_err_and(|refusal| refusal.to_string().contains("NotBefore")));
}
