//! What was held and follows on: what is receipted about it, what is missing behind it, and whom it holds up.

use super::*;

fn of(sequence: u64) -> Change {
    change(sequence, Occasion::Name, named("1", &format!("Adler{sequence}"), "Willi"))
}

fn lock(sequence: u64) -> Change {
    change(sequence, Occasion::LockSet, locked(named("1", "Adler", "Willi"), 3))
}

/// A group that fails takes back what it had said of changes that were durable before it.
#[test]
fn what_a_failed_group_had_caught_up_with_is_counted_once() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    rig.copies.changes_at(home(), &(2..=40).map(of).collect::<Vec<_>>(), at(2)).expect("held");
    let told = std::cell::RefCell::new(Vec::new());
    let first = |taken: &[Result<Taken, CopyError>], _: Option<(u64, u64)>| {
        told.borrow_mut().push(format!("{taken:?}"));
        Ok((arrived("a"), Vec::new()))
    };
    // It has the first one's row, and the group of both fails.
    let second = |_: &[Result<Taken, CopyError>], _: Option<(u64, u64)>| Ok((arrived("a"), Vec::new()));
    let (one, other) = ([of(1)], [of(41)]);
    let fed = rig.copies.feed(
        &[
            Feeding { ags: home(), changes: &one, catches_up: true, finish: Some(&first) },
            Feeding { ags: home(), changes: &other, catches_up: true, finish: Some(&second) },
        ],
        at(2),
    );
    let expected = "[Ok(Applied { after_it: 39 })]";
    assert!(fed[1].is_err() && format!("{:?}", fed[0]) == format!("Ok({expected})"), "{fed:?}");
    assert!(!told.borrow().is_empty() && told.borrow().iter().all(|told| told == expected), "{told:?}");
}

/// Several locks of one message, behind others that only wait to be caught up with: none is receipted as held.
#[test]
fn every_lock_whose_turn_comes_within_its_message_is_applied() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    rig.copies.changes_at(home(), &(3..30).map(of).collect::<Vec<_>>(), at(2)).expect("held");
    rig.set("UPDATE copy SET sequence = 2", params![]);
    let taken = rig.copies.changes_at(home(), &[lock(30), lock(31), of(32), lock(33)], at(2)).expect("taken");
    assert!(taken.iter().all(|one| matches!(one, Ok(Taken::Applied { after_it: 0 }))), "{taken:?}");
    let state = &rig.copies.states(at(2)).expect("states")[0];
    assert_eq!((state.sequence, state.held), (33, 0));
}

#[test]
fn what_cannot_be_read_of_one_municipality_holds_up_no_other() {
    let rig = rig();
    let other = ags("10041511");
    for town in [home(), other] {
        rig.load(town, 1, &[named("1", "Adler", "Willi")]);
        let later: Vec<Change> = (2..40).map(|sequence| Change { ags: town, ..of(sequence) }).collect();
        rig.copies.changes_at(town, &later, at(2)).expect("held");
    }
    rig.set("UPDATE copy SET sequence = 1", params![]);
    let broken = "UPDATE held SET bytes = ?1 WHERE sequence = 7 AND copy = (SELECT min(id) FROM copy)";
    rig.set(broken, params![[0_u8; 1]]);
    let said = loop {
        match rig.copies.tidy_step(at(3)) {
            Ok(true) => {}
            Ok(false) => panic!("nothing is said"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(said.contains("change 7 of 10041100") && said.contains("new generation"), "{said}");
    let states = rig.copies.states(at(2)).expect("states");
    let came_to: Vec<(Ags, u64, u64)> = states.iter().map(|one| (one.ags, one.sequence, one.held)).collect();
    assert_eq!(came_to, [(home(), 6, 33), (other, 39, 0)]);
    assert_eq!((states[0].unreadable_change, states[1].unreadable_change), (Some(7), None));
    // Nor does it hold up what its own municipality sends, locks least of all.
    let taken = rig.copies.changes_at(home(), &[of(40), lock(41)], at(2)).expect("taken");
    assert!(taken.iter().all(|one| matches!(one, Ok(Taken::Held { .. }))), "{taken:?}");
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler6");
    assert_eq!(rig.copies.ask(&question, at(2)).expect("answered").answer, Answer::Neutral);
    // A new generation has none of it.
    rig.load(home(), 2, &[named("1", "Adler", "Willi")]);
    assert!(!rig.copies.catch_up_step(None, at(3)).expect("a step"));
}

#[test]
fn the_first_gap_is_found_wherever_it_is() {
    let rig = rig();
    rig.load(home(), 1, &[]);
    let dice = &mut Dice::new(SEED);
    for round in 0..60 {
        let here: std::collections::BTreeSet<u64> = match round {
            0 => Default::default(),
            1 => (1..=50).collect(),
            _ => (1..=1 + dice.below(60)).filter(|_| !dice.one_in(2 + round / 2)).collect(),
        };
        rig.batch("DELETE FROM held");
        for sequence in &here {
            let insert =
                "INSERT INTO held (copy, sequence, digest, bytes) VALUES ((SELECT id FROM copy), ?1, ?2, ?2)";
            rig.set(insert, params![*sequence as i64 + 5, [0_u8; 1]]);
        }
        rig.set("UPDATE copy SET sequence = 5", params![]);
        let first = (1..=61).find(|one| !here.contains(one)).expect("one is missing");
        let next = here.range(first..).next();
        let expected = next.map(|next| (first + 5, next - 1 + 5));
        assert_eq!(rig.copies.gap(home()).expect("a look"), expected, "{here:?}");
    }
}

/// Locks of what is refused, as [`Copies::hide`] keeps them, are no longer unread once nothing depends on them.
#[test]
fn an_unread_lock_is_shown_until_it_came_or_the_copy_is_known_to_be_right() {
    use crate::register::message::refused_locks::RefusedLock;
    use crate::register::reconcile::buckets;
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let unread = || rig.copies.states(at(2)).expect("states")[0].lock_unread_at;
    let hidden = || {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
        rig.copies.ask(&question, at(2)).expect("answered").answer == Answer::Neutral
    };
    let which = RefusedLock { mark: Some("1".to_owned()), ..RefusedLock::unreadable() };
    assert!(unread().is_none() && !hidden());
    rig.copies.hide(home(), &[which.clone(), which.clone()], at(1)).expect("kept");
    assert_eq!((unread(), hidden()), (Some(at(1)), true), "which lock it is, is asked later");
    let hashes = buckets(&rig.copies.entries(home()).expect("entries"));
    rig.copies.reconcile(home(), &hashes, &BTreeMap::new(), at(2), at(2)).expect("compared");
    assert_eq!((unread(), hidden()), (Some(at(1)), true), "as long as it hides, it is shown");
    rig.copies.change(&lock(1)).expect("taken");
    assert_eq!((unread(), hidden()), (None, true));
    let end = change(2, Occasion::LockEnded, named("1", "Adler", "Willi"));
    rig.copies.change(&end).expect("taken");
    assert!(!hidden(), "and nothing of it is left behind");
    // Whom it would hide, nobody knows.
    rig.copies.hide(home(), &[RefusedLock::unreadable()], at(1)).expect("kept");
    assert_eq!((unread(), hidden()), (Some(at(1)), false));
    let none = BTreeMap::new();
    rig.copies.reconcile(home(), &[], &none, at(2), at(2)).expect("compared");
    assert_eq!(unread(), Some(at(1)), "they differ");
    let equal = buckets(&rig.copies.entries(home()).expect("entries"));
    rig.copies.reconcile(home(), &equal, &none, at(1), at(2)).expect("compared");
    assert_eq!(unread(), Some(at(1)), "it is no older than what was compared");
    rig.copies.reconcile(home(), &equal, &none, at(2), at(2)).expect("compared");
    assert_eq!(unread(), None);
    // A picture that is younger has it; one that is older keeps whoever it hides hidden.
    rig.copies.hide(home(), &[RefusedLock::unreadable(), which], at(1)).expect("kept");
    rig.load(home(), 2, &[named("1", "Adler", "Willi")]);
    assert_eq!((unread(), hidden()), (Some(at(1)), true));
    rig.copies.begin_load(home(), 3, 0, at(2)).expect("begun");
    let mut receipt = LoadReceipt::default();
    rig.copies.load(home(), [&named("1", "Adler", "Willi").to_bytes()[..]], &mut receipt).expect("loaded");
    rig.copies.finish_load(home(), 1, &receipt).expect("finished");
    assert_eq!(unread(), None);
}

#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        what_a_failed_group_had_caught_up_with_is_counted_once,
        every_lock_whose_turn_comes_within_its_message_is_applied,
        what_cannot_be_read_of_one_municipality_holds_up_no_other,
        the_first_gap_is_found_wherever_it_is,
        an_unread_lock_is_shown_until_it_came_or_the_copy_is_known_to_be_right,
    ]);
}
