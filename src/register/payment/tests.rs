//! The payment machine by its table, by its promises under any order of events, and its documents on the wire.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CASE: &str = "00000000-0000-4000-8000-000000000001";

fn at(seconds: i64) -> Timestamp {
    after("2026-11-23T09:00:00Z".parse().expect("an instant"), seconds)
}

fn item(quantity: u32, cents_each: u32) -> Item {
    Item { ags: Ags::parse("10041100").expect("a key"), quantity, cents_each }
}

fn bill(items: Vec<Item>) -> Result<Payment, &'static str> {
    Payment::new(CASE, "acc-1", items, "https://portal.invalid/back", &Rules::default(), at(0))
}

fn payment() -> Payment {
    bill(vec![item(2, 525)]).expect("a payment")
}

fn said(status: Status) -> Transaction {
    Transaction {
        id: "t-1".to_owned(),
        status,
        page_url: (status == Status::Initial).then(|| "https://pay.invalid/p/1".to_owned()),
        reference: None,
        request_id: Some(payment().request_id()),
        cents: Some(1050),
        currency: Some("EUR".to_owned()),
    }
}

fn answered(status: Status) -> Event {
    Event::Answered(said(status))
}

fn silent() -> Event {
    Event::Silent("no answer".to_owned())
}

fn forbidden() -> Event {
    Event::Declined(Decline::No { status: 403, word: "FORBIDDEN".to_owned() })
}

/// Each event at its second; the state after each.
fn states(events: &[(i64, Event)]) -> Vec<&'static str> {
    let mut one = payment();
    let mut out = Vec::new();
    for (second, event) in events {
        one = one.after(event, at(*second));
        out.push(one.state.as_str());
    }
    out
}

#[track_caller]
fn check(events: &[(i64, Event)], expected: &str) {
    assert_eq!(states(events).join(" "), expected, "{events:?}");
}

#[test]
fn a_payment_goes_its_way() {
    use Status::{Canceled, Failed, Initial, Payed};
    let delivered =
        [(1, answered(Initial)), (9, answered(Payed)), (9, Event::Executed), (10, Event::Delivered)];
    check(&delivered, "open paid executed delivered");
    check(&[(1, answered(Initial)), (5, answered(Failed)), (6, answered(Payed))], "open failed failed");
    check(
        &[(1, answered(Initial)), (5, answered(Canceled)), (6, Event::Executed)],
        "open cancelled cancelled",
    );
    // Back from the payment page, whatever its URL says.
    check(&[(1, answered(Initial)), (2, Event::Returned), (2, Event::Executed)], "open open open");
    check(&[(0, Event::Returned), (0, Event::Executed), (1, Event::Delivered)], "created created created");
    // Repetitions change nothing.
    check(&[(1, answered(Payed)), (1, answered(Payed)), (2, answered(Initial))], "paid paid paid");
    check(&[(1, answered(Payed)), (2, Event::Executed), (3, Event::Executed)], "paid executed executed");
    // Too late, and too late to notice.
    check(&[(1, answered(Initial)), (1800, answered(Initial))], "open expired");
    check(&[(1, answered(Initial)), (1800, answered(Initial)), (9999, answered(Payed))], "open expired late");
    check(&[(1, answered(Initial)), (9999, answered(Payed))], "open paid");
    check(
        &[(1, answered(Initial)), (1800, silent()), (5399, silent()), (5400, silent())],
        "open open open expired",
    );
    check(&[(1, silent()), (1799, silent()), (1800, silent())], "created created expired");
    let late = [(1, answered(Initial)), (1800, answered(Initial)), (1801, answered(Payed))];
    let settled =
        [&late[..], &[(1802, Event::Settled("given back".to_owned())), (1803, Event::Executed)]].concat();
    check(&settled, "open expired late settled settled");
    check(&[(1, Event::Settled(String::new()))], "created");
    // The first answer was lost.
    let exists = || Event::Declined(Decline::Exists);
    check(&[(1, silent()), (2, exists()), (3, answered(Initial))], "created unclear open");
    check(
        &[(2, exists()), (3, Event::Declined(Decline::Unknown)), (4, forbidden())],
        "unclear created refused",
    );
    check(&[(1, forbidden())], "refused");
    check(&[(1, answered(Initial)), (2, forbidden()), (3, answered(Payed))], "open open paid");
    check(&[(1, answered(Payed)), (2, Event::QuestionRefused("street-unknown".to_owned()))], "paid disputed");
}

#[test]
fn an_answer_about_something_else_is_never_a_payment() {
    let lie = || said(Status::Payed);
    let lies = [
        ("another request", Transaction { request_id: Some("other".to_owned()), ..lie() }),
        ("another amount", Transaction { cents: Some(1), ..lie() }),
        ("not how much", Transaction { cents: None, ..lie() }),
        ("another currency", Transaction { currency: Some("USD".to_owned()), ..lie() }),
        ("another transaction", Transaction { id: "t-2".to_owned(), ..lie() }),
    ];
    for (what, lie) in lies {
        let open = payment().after(&answered(Status::Initial), at(1));
        let after = open.after(&Event::Answered(lie), at(2));
        assert_eq!(after.state, State::Disputed, "{what}");
        assert!(after.reason.contains(what) && after.state.needs_a_person(), "{}", after.reason);
        assert_eq!((after.errand(), after.page_url), (None, None));
    }
}

#[test]
fn the_service_is_asked_neither_too_often_nor_for_ever() {
    let mut one = payment();
    assert_eq!(one.errand(), Some(Errand::Request));
    one = one.after(&answered(Status::Initial), at(1));
    assert_eq!(one.errand(), Some(Errand::LookUp { transaction: "t-1".to_owned() }));
    // A browser that is back is a reason to ask at once, a page that is reloaded is not.
    assert_eq!(one.clone().after(&Event::Returned, at(2)).next_at, Some(at(4)));
    assert_eq!(one.clone().after(&Event::Returned, at(30)).next_at, one.next_at);
    // Of what the service never had, nothing can be asked.
    let never = payment().after(&silent(), at(1800)).after(&Event::Returned, at(1801));
    assert_eq!((never.state, never.next_at), (State::Expired, None));
    let (mut now, mut asked) = (at(1), 0);
    while let Some(next) = one.next_at {
        assert!(next > now && asked < 2000, "{asked} times");
        (now, asked) = (next, asked + 1);
        one = one.after(&if asked % 7 == 0 { silent() } else { answered(Status::Initial) }, now);
    }
    assert_eq!((one.state, one.errand()), (State::Expired, None));
    assert!((150..400).contains(&asked), "{asked}");
    assert_eq!(now, one.watched_until);
}

#[test]
fn what_cannot_be_a_bill_is_none_and_what_costs_nothing_is_paid() {
    assert!(bill(vec![]).is_err());
    assert!(bill(vec![item(1, 100); ITEMS_MAX + 1]).is_err());
    assert!(bill(vec![item(u32::MAX, u32::MAX)]).is_err());
    let free = bill(vec![item(3, 0)]).expect("free");
    assert_eq!((free.state, free.errand()), (State::Paid, Some(Errand::Execute)));
    for url in
        ["http://portal.invalid/", "https://", "https://a@b/", "https://a/\n", "https://a/\"", "javascript:x"]
    {
        assert!(Payment::new(CASE, "a", vec![item(1, 1)], url, &Rules::default(), at(0)).is_err(), "{url}");
    }
    assert!(Payment::new("7", "a", vec![item(1, 1)], "https://a/", &Rules::default(), at(0)).is_err());
}

#[test]
fn requests_are_what_the_interface_wants() {
    let one = bill(vec![item(2, 525), item(1, 10)]).expect("a payment");
    let body: Value = serde_json::from_slice(&wire::request(&one, at(0))).expect("JSON");
    let id = body["requestId"].as_str().expect("an id");
    assert!(wire::is_path_id(id) && id.ends_with("-1"), "{id}");
    assert_eq!((&body["grosAmount"], &body["currency"]), (&json!(10.6), &json!("EUR")));
    assert_eq!(body["items"][0]["totalNetAmount"], json!(10.5));
    assert_eq!(body["items"][1]["singleNetAmount"], json!(0.1));
    let purpose = body["purpose"].as_str().expect("a purpose");
    assert!(
        purpose.len() <= 27 && purpose.chars().all(|one| one.is_ascii_alphanumeric() || " -".contains(one))
    );
    assert_eq!(body["redirectUrl"], "https://portal.invalid/back");
    // Nothing about whoever asks, or whom they ask about.
    let mut keys: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "currency",
        "description",
        "grosAmount",
        "items",
        "purpose",
        "redirectUrl",
        "requestId",
        "requestTimestamp",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn answers_are_read_whole_or_not_at_all() {
    let document = json!({
        "paymentInformation": {
            "transactionUrl": "https://elsewhere.invalid/", "transactionRedirectUrl": "https://pay.invalid/p/1",
            "transactionId": "t-1", "status": "INITIAL", "transactionReference": "K-7", "more": [1],
        },
        "paymentRequest": { "requestId": payment().request_id(), "currency": "EUR", "grosAmount": 10.5 },
    });
    let read = |document: &Value| wire::transaction(document.to_string().as_bytes());
    assert_eq!(
        read(&document),
        Ok(Transaction { reference: Some("K-7".to_owned()), ..said(Status::Initial) })
    );
    for (path, value, expected) in [
        ("/paymentInformation/status", json!("PAID"), None),
        ("/paymentInformation/transactionId", json!("../1"), Some("transactionId")),
        ("/paymentInformation/transactionId", json!("x".repeat(45)), Some("transactionId")),
        ("/paymentInformation/transactionRedirectUrl", json!("javascript:1"), Some("transactionRedirectUrl")),
        (
            "/paymentInformation/transactionRedirectUrl",
            json!("http://pay.invalid/"),
            Some("transactionRedirectUrl"),
        ),
        ("/paymentRequest/grosAmount", json!("10.5"), None),
    ] {
        let mut other = document.clone();
        *other.pointer_mut(path).expect("there") = value;
        match (read(&other), expected) {
            (Err(wire::Malformed::Json(_)), None) => {}
            (Err(wire::Malformed::Field(field)), Some(expected)) => assert_eq!(field, expected),
            other => panic!("{path}: {other:?}"),
        }
    }
    for (amount, expected) in
        [(10.5, 1050), (0.1, 10), (999_999.0, 99_999_900), (10.505, u32::MAX), (-1.0, u32::MAX)]
    {
        let mut other = document.clone();
        *other.pointer_mut("/paymentRequest/grosAmount").expect("there") = json!(amount);
        assert_eq!(read(&other).expect("read").cents, Some(expected), "{amount}");
    }
    for (status, body, expected) in [
        (409, r#"{"type":"PAYMENT_EXISTS"}"#, Decline::Exists),
        (400, r#"{"code":"PAYMENT_EXISTS","status":400}"#, Decline::Exists),
        (404, "", Decline::Unknown),
        (403, "x", Decline::No { status: 403, word: String::new() }),
        (400, r#"{"title":"a\u0007b"}"#, Decline::No { status: 400, word: "ab".to_owned() }),
        (
            404,
            r#"{"x":"NO_VALID_ORIGINATOR_OR_ENDPOINT"}"#,
            Decline::No { status: 404, word: "NO_VALID_ORIGINATOR_OR_ENDPOINT".to_owned() },
        ),
    ] {
        assert_eq!(wire::decline(status, body.as_bytes()), expected, "{body}");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![
        4 => Just(Status::Initial),
        2 => Just(Status::Payed),
        1 => Just(Status::Failed),
        1 => Just(Status::Canceled),
    ];
    prop_oneof![
        4 => status.prop_map(answered),
        1 => Just(Event::Declined(Decline::Exists)),
        1 => Just(Event::Declined(Decline::Unknown)),
        1 => Just(forbidden()),
        2 => Just(silent()),
        2 => Just(Event::Returned),
        2 => Just(Event::Executed),
        1 => Just(Event::QuestionRefused("too-broad".to_owned())),
        1 => Just(Event::Delivered),
        1 => Just(Event::Settled("seen to".to_owned())),
    ]
}

proptest! {
    /// Whatever happens in whatever order: nothing is put that the service did not call paid, nothing twice, and money
    /// that came is in a state that is either served or shown to a person.
    #[test]
    fn no_order_of_events_breaks_a_promise(
        events in proptest::collection::vec((0_i64..4000, any_event()), 1..60)
    ) {
        let (mut one, mut now, mut paid, mut executed) = (payment(), 0, false, 0);
        for (wait, event) in events {
            now += wait;
            let before = one.clone();
            let request = one.request_id();
            // An answer to an earlier request is the transport's mistake, not this test's.
            let event = match event {
                Event::Answered(said) => Event::Answered(Transaction { request_id: Some(request), ..said }),
                event => event,
            };
            if matches!(&event, Event::Answered(said) if said.status == Status::Payed) && before.state.can_be_paid() {
                paid = true;
            }
            one = one.after(&event, at(now));
            executed += u32::from(one.state == State::Executed && before.state != State::Executed);
            prop_assert!(executed <= u32::from(paid), "{before:?} {event:?}");
            let served = matches!(one.state, State::Paid | State::Executed | State::Delivered | State::Settled);
            prop_assert!(!paid || served || one.state.needs_a_person(), "{before:?} {event:?} {one:?}");
            prop_assert!(one.page_url.is_none() || one.state == State::Open, "{one:?}");
            prop_assert!(one.next_at.is_none_or(|next| one.state == State::Paid || next >= at(now) || one == before));
            prop_assert!(one.next_at.is_none() || one.errand().is_some(), "{one:?}");
        }
    }
}
