//! Locks of changes that are refused: effective all the same where it is certain whom they hide, called out where not.

use super::*;
use crate::register::answer::{Answer, Duty};

fn lock_of(mark: &str, family: &str) -> Change {
    change(1, locked(named(mark, family), 3))
}

impl Rig {
    fn hides(&self, family: &str) -> bool {
        let asked = asked(Profile::PersonSearch, family);
        let answered = self.desk.copies.ask(&asked, self.clock.now()).expect("answered");
        answered.answer == Answer::Neutral
    }

    fn unread(&self) -> bool {
        self.desk.copies.states(self.clock.now()).expect("states")[0].lock_unread_at.is_some()
    }
}

/// A case of a message, broken, beside a good one.
#[test]
fn a_lock_in_a_case_that_is_refused_hides() {
    const DATE: &str = "<geburtsdatum><teilbekanntesDatum><jahrMonatTag>1998-03-17";
    for (what, from, to, code, unread) in [
        ("an empty name", "<name>Adler</name>", "<name></name>", "S030", false),
        ("no status", "<status><code>aktiv</code></status>", "", "X001", false),
        ("a list's code", "<geschlecht><code>m</code>", "<geschlecht><code>q</code>", "S011", false),
        ("a date", DATE, "<geburtsdatum><teilbekanntesDatum><jahrMonatTag>1998-13-17", "S999", false),
        ("an occasion", "<code>auskunftssperre.gesetzt<", "<code>auskunftssperre<", "S011", false),
        ("a sequence", "<laufendeNummer>1</laufendeNummer><anlass>", "<anlass>", "X001", false),
        ("which lock", "<auskunftssperre><code>3</code>", "<auskunftssperre><code>99</code>", "S011", true),
    ] {
        let rig = Rig::filled(&[named("1", "Adler"), named("2", "Bussard")]);
        let text = changes(2, &[lock_of("1", "Adler"), change(2, named("2", "Buchfink"))]);
        assert!(text.contains(from), "{what}: {text}");
        let done = rig.deliver(TOWN, &text.replacen(from, to, 1));
        assert_eq!(done.codes.len(), 1, "{what}: {done:?}");
        assert!(done.codes == [code] || code == "S999", "{what}: {done:?}");
        assert_eq!((done.locks_kept, done.locks_unread), (1, usize::from(unread)), "{what}");
        assert!(rig.hides("Adler") && !rig.hides("Bussard"), "{what}");
        assert_eq!(rig.unread(), unread, "{what}");
        // It comes again, and ends as any other.
        let again = [lock_of("1", "Adler"), change(3, named("1", "Adler"))];
        let again = [again[0].clone(), Change { occasion: Occasion::LockEnded, ..again[1].clone() }];
        rig.deliver(TOWN, &changes(3, &again[..1]));
        assert!(rig.hides("Adler") && !rig.unread(), "{what}");
        rig.deliver(TOWN, &changes(4, &again[1..]));
        assert!(!rig.hides("Adler"), "{what}");
    }
}

/// Nobody can be hidden by these, and somebody hears of it.
#[test]
fn a_lock_of_nobody_knows_whom_is_called_out() {
    let mark = "<ordnungsmerkmal>1</ordnungsmerkmal>";
    let (behind, two) = (format!("</anlass>{mark}"), "</anlass><ordnungsmerkmal>2</ordnungsmerkmal>");
    let long = format!("<ordnungsmerkmal>{}</ordnungsmerkmal>", "1".repeat(2000));
    for (what, changes_in_it) in [
        ("no mark", &[(mark, "")][..]),
        ("two persons", &[(&behind[..], two)]),
        ("a long mark", &[(mark, &long[..])]),
        ("no record", &[("<person>", "<persson>"), ("</person>", "</persson>")]),
    ] {
        let rig = Rig::filled(&[named("1", "Adler"), named("2", "Bussard")]);
        let mut text = changes(2, &[lock_of("1", "Adler")]);
        changes_in_it.iter().for_each(|(from, to)| text = text.replace(from, to));
        let done = rig.deliver(TOWN, &text);
        assert_eq!((done.codes.len(), done.locks_unread), (1, 1), "{what}: {done:?}");
        assert!(rig.unread() && !rig.hides("Bussard"), "{what}");
        // With a mark, and without what would say which lock it is.
        assert_eq!(rig.hides("Adler"), what == "no record", "{what}");
    }
}

/// A lock that was refused, and the end of the one before it: in one message, or the lock first, through its own mailbox.
#[test]
fn the_end_of_an_earlier_lock_lifts_no_lock_that_was_refused() {
    let number = "<laufendeNummer>2</laufendeNummer><anlass>";
    for (what, from, to, unread) in [
        ("an empty name", "<name>Adler</name>", "<name></name>", false),
        ("which lock", "<auskunftssperre><code>3</code>", "<auskunftssperre><code>99</code>", true),
        ("no number", number, "<anlass>", false),
    ] {
        for together in [true, false] {
            let rig = Rig::filled(&[locked(named("1", "Adler"), 3)]);
            let ends = |sequence, at| Change {
                occasion: Occasion::LockEnded,
                at,
                ..change(sequence, named("1", "Adler"))
            };
            let end = ends(1, stand(1, 0, None).at);
            let lock = change(2, locked(named("1", "Adler"), 3));
            // Where it has a number, its time says nothing.
            let at = end.at + jiff::SignedDuration::from_secs(i64::from(what == "no number"));
            let lock = Change { at, ..lock };
            let broken = |text: String| {
                let (head, tail) = text.rsplit_once(from).expect(what);
                format!("{head}{to}{tail}")
            };
            if together {
                rig.deliver(TOWN, &broken(changes(2, &[end, lock.clone()])));
            } else {
                rig.deliver(TOWN, &broken(changes(2, std::slice::from_ref(&lock))));
                rig.deliver(TOWN, &changes(3, &[end]));
            }
            let sequence = || rig.desk.copies.states(rig.clock.now()).expect("states")[0].sequence;
            assert_eq!(sequence(), 1, "{what}, {together}");
            assert_eq!((rig.hides("Adler"), rig.unread()), (true, unread), "{what}, {together}");
            rig.deliver(TOWN, &changes(4, &[lock]));
            assert_eq!((rig.hides("Adler"), rig.unread()), (true, false), "{what}, {together}");
            rig.deliver(TOWN, &changes(5, &[ends(3, at)]));
            assert!(!rig.hides("Adler") && sequence() == 3, "{what}, {together}");
        }
    }
}

/// Which lock it is can be asked later; until then it hides from everybody.
#[test]
fn a_lock_that_nobody_can_read_hides_from_all() {
    let without = Change { record: None, ..lock_of("1", "Adler") };
    let which = ("<auskunftssperre><code>3</code>", "<auskunftssperre><code>99</code>");
    for (what, text) in [
        ("which lock", changes(2, &[lock_of("1", "Adler")]).replacen(which.0, which.1, 1)),
        ("no record", changes(2, &[without])),
    ] {
        let rig = Rig::filled(&[named("1", "Adler")]);
        let done = rig.deliver(TOWN, &text);
        assert_eq!((done.codes.len(), done.locks_kept, done.locks_unread), (1, 1, 1), "{what}: {done:?}");
        let mut asked = asked(Profile::PersonSearch, "Adler");
        (asked.requester.asker, asked.requester.empowered) = (Asker::Police, true);
        let answered = rig.desk.copies.ask(&asked, rig.clock.now()).expect("answered");
        assert_eq!(answered.answer, Answer::Neutral, "{what}");
        let mark = || "1".to_owned();
        for owed in [
            Duty::NoticeToPerson { ags: home(), mark: mark() },
            Duty::NoticeToAuthority { ags: home(), mark: mark() },
        ] {
            assert!(answered.duties.contains(&owed), "{what}: {:?}", answered.duties);
        }
    }
}

/// A comparison says nothing of a lock that came after it.
#[test]
fn an_older_comparison_forgets_no_unread_lock() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let compare = |number, at: Timestamp| {
        let entries = rig.desk.copies.entries(home()).expect("entries");
        let hashes = Hashes { buckets: buckets(&entries), entries: BTreeMap::new() };
        let text = message(Number::Standing, TOWN, number, |out| {
            Stand { at, ..stand(1, 0, None) }.write(out);
            hashes.write(out);
        });
        assert_eq!(rig.deliver(TOWN, &text).outcome, "copy is current");
    };
    rig.deliver(TOWN, "Sperre");
    compare(2, stand(1, 0, None).at);
    assert!(rig.unread());
    compare(3, rig.clock.now() + jiff::SignedDuration::from_secs(1));
    assert!(rig.unread(), "tomorrow's date counts as now");
    rig.clock.advance(Duration::from_secs(60));
    compare(4, rig.clock.now());
    assert!(!rig.unread());
}

/// Messages that are refused as a whole: whom they lock, whether somebody is to ask.
#[test]
fn a_lock_in_a_message_that_is_refused_hides() {
    let good = changes(2, &[lock_of("1", "Adler")]);
    let cut = &good[..good.len() - 20];
    let event = "<ereignis.zeichen>V-1</ereignis.zeichen>";
    let (test, of_other) = (" test=\"ja\" produkt=", "<gemeindeschluessel><code>10041511</code>");
    for (what, text, hides, unread) in [
        ("no event", good.replacen(event, "", 1), true, false),
        ("no generation", good.replacen("<generation>1</generation>", "", 1), true, false),
        ("no address", good.replacen("anschrift.autor", "anschrift.autorr", 2), true, false),
        ("no instant", good.replacen("T08:59:00.000", "T08:59:00", 1), true, false),
        ("an empty product", good.replacen("produkt=\"Amtsbote\"", "produkt=\"\"", 1), true, false),
        (
            "another's copy",
            good.replacen("<gemeindeschluessel><code>10041100</code>", of_other, 1),
            false,
            true,
        ),
        (
            "another author",
            good.replacen(&format!("<kennung>{TOWN}"), "<kennung>ags:10041511", 1),
            false,
            true,
        ),
        ("cut off", cut.to_owned(), false, true),
        ("no XML", "Sperre".to_owned(), false, true),
        ("another release", good.replace("register:2611", "register:2711"), false, true),
        ("a test", good.replacen(" produkt=", test, 1).replacen(event, "", 1), false, false),
        ("no lock", changes(2, &[change(1, named("1", "Adler"))]).replacen(event, "", 1), false, false),
        (
            "no feed",
            enquiry(2, "Adler").replacen(PORTAL, TOWN, 1).replacen("T08:59:00.000", "x", 1),
            false,
            false,
        ),
    ] {
        for together in [false, true] {
            let rig = Rig::filled(&[named("1", "Adler")]);
            let done = match together {
                true => rig.deliver_together(&[(TOWN, text.clone())]).remove(0),
                false => rig.deliver(TOWN, &text),
            };
            assert_eq!((done.outcome, done.codes.len()), ("rejected", 1), "{what}: {done:?}");
            assert_eq!((rig.hides("Adler"), rig.unread()), (hides, unread), "{what}: {done:?}");
            assert_eq!((done.locks_kept, done.locks_unread), (hides.into(), unread.into()), "{what}");
            assert!(rig.one().contains("rueckweisung"), "{what}");
        }
        // Of anybody else it says nothing.
        let rig = Rig::filled(&[named("1", "Adler")]);
        let done = rig.deliver(BODY, &text);
        assert_eq!(
            (rig.hides("Adler"), rig.unread(), done.locks_unread),
            (false, false, 0),
            "{what}: {done:?}"
        );
    }
    // A correction under a used UUID is rejected, too.
    let rig = Rig::filled(&[named("1", "Adler")]);
    rig.deliver(TOWN, &changes(2, &[change(1, named("1", "Adler"))]));
    let done = rig.deliver(TOWN, &good);
    assert!(done.codes == ["S999"] && rig.hides("Adler"), "{done:?}");
    // The same lock is none, and may have ended since.
    let rig = Rig::filled(&[named("1", "Adler")]);
    rig.deliver(TOWN, &good);
    let end = Change { occasion: Occasion::LockEnded, ..change(2, named("1", "Adler")) };
    rig.deliver(TOWN, &changes(3, &[end]));
    let done = rig.deliver(TOWN, &good.replacen("produkt=\"Amtsbote\"", "produkt=\"Bote\"", 1));
    assert!(done.codes == ["S999"] && done.locks_kept == 0 && !rig.hides("Adler"), "{done:?}");
    // Which hides from nobody is kept, and not counted.
    let other = changes(4, &[change(3, locked(named("1", "Adler"), 5))]).replacen("V-3", "", 1);
    let done = rig.deliver(TOWN, &other);
    assert_eq!((done.outcome, done.locks_kept, done.locks_unread), ("rejected", 0, 0), "{done:?}");
}

/// What is not signed by whoever must sign hides nobody, and is called out.
#[test]
fn a_lock_without_its_authors_signature_hides_nobody() {
    let mut rig = Rig::filled(&[named("1", "Adler")]);
    rig.desk = open(rig.folder.path(), &rig.clock).with_signers(signing::the_town_signs());
    let done = rig.deliver(TOWN, &changes(2, &[lock_of("1", "Adler")]));
    assert_eq!((&done.codes[..], done.locks_unread), (&["T010"][..], 1), "{done:?}");
    assert!(!rig.hides("Adler") && rig.unread());
    // Signed, and refused for something else.
    let event = "<ereignis.zeichen>V-1</ereignis.zeichen>";
    let broken = changes(3, &[lock_of("1", "Adler")]).replacen(event, "", 1);
    let done = rig.deliver(TOWN, &signing::signed_by_the_town(&broken));
    assert_eq!((&done.codes[..], done.locks_kept), (&["X001"][..], 1), "{done:?}");
    assert!(rig.hides("Adler"));
}

#[test]
fn the_same_on_postgresql() {
    use crate::register::copies::testing;
    testing::on_postgres(testing::scenarios![
        a_lock_in_a_case_that_is_refused_hides,
        a_lock_of_nobody_knows_whom_is_called_out,
        the_end_of_an_earlier_lock_lifts_no_lock_that_was_refused,
        a_lock_that_nobody_can_read_hides_from_all,
        an_older_comparison_forgets_no_unread_lock,
    ]);
}
