//! Orders of a page, and what months cost.

use super::*;

#[test]
fn an_account_has_so_many_orders_and_no_more() {
    use crate::register::payment::{Event, Rules};
    let rig = priced();
    let put = |account: &str, number, hours| {
        rig.copies.order(&order(account, number), &Rules::default(), at(hours)).map(drop)
    };
    (1..=20).for_each(|number| put("a", number, 1).expect("taken"));
    assert!(matches!(put("a", 21, 1), Err(CopyError::OrdersOpen { open: 20 })));
    put("a", 20, 1).expect("the same again is no other");
    put("b", 22, 1).expect("another account");
    // One ran out: there is room for one.
    let event = Event::Silent("nobody there".to_owned());
    rig.copies.on_payment(&order("a", 1).case, &event, at(3)).expect("ended").expect("a payment");
    put("a", 21, 3).expect("taken");
    assert!(matches!(put("a", 23, 3), Err(CopyError::OrdersOpen { open: 20 })));
    rig.set("UPDATE payment SET next_at = NULL", params![]);
    for number in 100..579 {
        put("a", number, 4).expect("taken");
        rig.set("UPDATE payment SET next_at = NULL WHERE next_at IS NOT NULL", params![]);
    }
    assert!(matches!(put("a", 600, 4), Err(CopyError::OrdersToday { orders: 500 })));
    put("a", 600, 29).expect("a day later");
}

#[test]
fn what_a_page_keeps_of_a_list_lasts_as_long_as_its_answers() {
    use crate::register::payment::Rules;
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let one = order("a", 1);
    rig.copies.order(&one, &Rules::default(), at(1)).expect("taken");
    let arrived = Arrived {
        author: "a",
        name: "",
        uuid: &one.case,
        number: "page-list",
        digest: [1; 32],
        transport_id: &one.case,
        at: at(1),
        expires_at: at(10),
        original: None,
        event: None,
    };
    let reply = Reply {
        number: "page-list",
        reader: "a".to_owned(),
        namespace: String::new(),
        bytes: b"lines".to_vec(),
        leaves_at: at(1),
    };
    rig.copies.keep(&arrived, &[reply]).expect("kept");
    let write = |_: &Answer| b"answer".to_vec();
    rig.copies
        .execute_payment(&one.case, at(20), std::time::Duration::from_secs(1), &|| at(2), &write)
        .expect("executed");
    let held = |uuid: &str| rig.copies.held_answer("a", uuid, at(15)).expect("a look");
    assert!(matches!(held(&Copies::line_uuid(&one.case, 1)), Held::Ready { .. }));
    assert!(matches!(held(&one.case), Held::Ready { .. }), "the list itself");
}

#[test]
fn months_are_counted_and_charged_to_the_cent() {
    use crate::register::fees::{Channel, Rate, Tariff};
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::new(folder.path());
    let day = |text: &str| text.parse().expect("a day");
    settings.tariff = Tariff(vec![
        Rate { ags: None, channel: None, from: day("2026-01-01"), cents: 1003 },
        Rate { ags: Some(home()), channel: Some(Channel::Message), from: day("2026-01-01"), cents: 1 },
    ]);
    let copies = Copies::open(settings, LogKey::new(&[7; 32])).expect("copies");
    let rig = Rig { copies, folder };
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), locked(named("2", "Sperre", "Willi"), 3)]);
    for family in ["Adler", "Sperre", "Niemand"] {
        rig.copies.ask(&asked(Asker::Citizen, Profile::PrivateEnquiry, family), at(1)).expect("answered");
    }
    rig.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(1)).expect("answered");
    let refused = asked(Asker::Firm, Profile::FreeSearch, "Adler");
    assert!(rig.copies.ask(&refused, at(1)).is_err());
    let march = Month::parse("2026-03").expect("a month");
    let accounts = rig.copies.accounts(march).expect("accounts");
    let sums: Vec<_> = accounts
        .iter()
        .map(|one| (one.questions, one.cents, one.municipality_cents, one.operator_cents))
        .collect();
    assert_eq!(sums, [(3, 3009, 2409, 600)], "a neutral answer costs as much as a hit");
    let lines = rig.copies.statistics(march).expect("statistics");
    let counts: Vec<_> =
        lines.iter().map(|one| (one.profile, one.asker.as_str(), one.questions, one.with_hits)).collect();
    assert_eq!(counts, [("person-search", "public-body", 1, 1), ("private-enquiry", "citizen", 3, 1)]);
    let april = Month::parse("2026-04").expect("a month");
    assert!(rig.copies.statistics(april).expect("statistics").is_empty());
    assert!(rig.copies.accounts(april).expect("accounts").is_empty());
    for bad in ["2026-13", "2026", "26-03", "2026-3"] {
        assert_eq!(Month::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_question_that_fails_waits_and_holds_up_no_other() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let question = asked(Asker::Citizen, Profile::PrivateEnquiry, "Adler");
    let order = Order { questions: vec![question.clone(), question], ..order("a", 1) };
    rig.copies.order(&order, &crate::register::payment::Rules::default(), at(1)).expect("ordered");
    let broken =
        "UPDATE payment_question SET sealed = ?1 WHERE number = (SELECT min(number) FROM payment_question)";
    rig.set(broken, params![&b"x"[..]]);
    let put = rig.copies.execute_payment(
        &order.case,
        at(100),
        std::time::Duration::from_secs(1),
        &|| at(1),
        &|_| vec![],
    );
    put.expect_err("a question that nobody can open");
    let lines = rig.copies.order_lines(&order.case).expect("lines");
    assert_eq!(lines.iter().map(|line| line.put).collect::<Vec<_>>(), [false, true]);
    assert!(rig.copies.payments_due(at(1)).expect("due").is_empty(), "not at once again");
    assert_eq!(rig.copies.payments_due(at(2)).expect("due"), [order.case]);
}

#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        an_account_has_so_many_orders_and_no_more,
        a_question_that_fails_waits_and_holds_up_no_other,
        what_a_page_keeps_of_a_list_lasts_as_long_as_its_answers,
        months_are_counted_and_charged_to_the_cent,
    ]);
}
