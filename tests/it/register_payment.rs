//! Enquiries that are paid before they are put: a real database, the real client, a payment service behind TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::app::register::cashier::{Cashier, CashierError, client};
use amtsbote::clock::{Clock, HandClock};
use amtsbote::config::register::{EXAMPLE, RegisterConfig};
use amtsbote::register::copies::{Asked, Copies, Held, LoadReceipt, LogKey, Month, Order, Requester, Which};
use amtsbote::register::desk::Desk;
use amtsbote::register::payment::{Payment, State};
use amtsbote::register::person::{Ags, Person, Sex};
use amtsbote::register::question::{Profile, Selection};
use amtsbote::register::rights::{Asker, Purpose};

use crate::cli_fixture::amtsbote;
use crate::payment_service::{Mood, PaymentService, TOKEN};

const ACCOUNT: &str = "acc-1";

struct Rig {
    service: PaymentService,
    cashier: Arc<Cashier>,
    desk: Arc<Desk>,
    clock: HandClock,
    config: RegisterConfig,
    folder: tempfile::TempDir,
}

fn home() -> Ags {
    Ags::parse("10041100").expect("a key")
}

fn rig() -> Rig {
    rig_with(|text| text)
}

fn rig_with(change: impl Fn(String) -> String) -> Rig {
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs-dev");
    let service = PaymentService::start(&tls);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("payment.token"), format!("{TOKEN}\n")).expect("writes");
    let text = format!(
        "{EXAMPLE}\n[payment]\nurl = \"{}\"\noriginator = \"meldeportal\"\nendpoint = \"10\"\nanchors = [\"{}\"]\n\
         token_file = \"payment.token\"\nanswer_seconds = 2\n\n[[rate]]\nfrom = \"2020-01-01\"\ncents = 1050\n",
        service.url(),
        tls.join("ca.crt").display()
    );
    let path = folder.path().join("register.toml");
    let config = RegisterConfig::parse(&change(text), &path).expect("a configuration");
    let clock = HandClock::at("2026-11-23T09:00:00Z".parse().expect("an instant"));
    let (cashier, desk) = open(&config, &clock);
    let adler = Person {
        mark: "A1".to_owned(),
        family_names: vec!["Adler".to_owned()],
        given_names: vec!["Willi".to_owned()],
        birth_dates: vec!["17031998".parse().expect("a date")],
        sex: Some(Sex::M),
        ..Person::default()
    };
    let mut receipt = LoadReceipt::default();
    desk.copies.begin_load(home(), 1, 0, clock.now()).expect("begun");
    desk.copies.load(home(), [adler.to_bytes().as_slice()], &mut receipt).expect("loaded");
    desk.copies.finish_load(home(), 1, &receipt).expect("finished");
    Rig { service, cashier, desk, clock, config, folder }
}

fn open(config: &RegisterConfig, clock: &HandClock) -> (Arc<Cashier>, Arc<Desk>) {
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let key = LogKey::new(&[7; 32]);
    let copies = Copies::open(config.copies().expect("settings"), key).expect("copies");
    let desk = Arc::new(Desk::new(copies, config.desk().expect("settings"), shared.clone()));
    let payment = config.payment.as_ref().expect("payments");
    // Certificates are judged at the true time.
    let service = client(payment, Arc::new(amtsbote::clock::SystemClock)).expect("a client");
    (Arc::new(Cashier::new(desk.clone(), Some(service), payment.rules(), shared)), desk)
}

fn asked(family: &str) -> Asked {
    Asked {
        requester: Requester {
            asker: Asker::Citizen,
            purpose: Purpose::Private,
            body: ACCOUNT.to_owned(),
            file_number: String::new(),
            occasion: String::new(),
            user: String::new(),
            empowered: false,
            waives_hand_over: false,
            declares_no_trade: true,
        },
        profile: Profile::PrivateEnquiry,
        selection: Selection {
            municipalities: vec![home()],
            family_name: Some(family.to_owned()),
            given_names: Some("Willi".to_owned()),
            birth_date: Some("17031998".to_owned()),
            sex: Some(Sex::M),
            ..Selection::default()
        },
        reader: None,
        test: false,
    }
}

fn case(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn order(number: u32, families: &[&str]) -> Order {
    Order {
        case: case(number),
        account: ACCOUNT.to_owned(),
        questions: families.iter().map(|family| asked(family)).collect(),
        return_url: "https://portal.invalid/back".to_owned(),
    }
}

impl Rig {
    async fn orders(&self, number: u32) -> Payment {
        self.cashier.order(order(number, &["Adler"])).await.expect("an order")
    }

    async fn returned(&self, number: u32) -> Payment {
        self.clock.advance(Duration::from_secs(3));
        self.cashier.returned(&case(number)).await.expect("asked").expect("the case")
    }

    async fn answer(&self, number: u32, line: u32) -> Held {
        self.cashier.answer(ACCOUNT, &case(number), line).await.expect("read")
    }

    async fn bytes(&self, number: u32, line: u32) -> Vec<u8> {
        match self.answer(number, line).await {
            Held::Ready { bytes, .. } => bytes,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn looks(&self) -> u64 {
        self.desk.copies.verify_looks().expect("whole")
    }

    fn posts(&self) -> usize {
        self.service.state().asked.iter().filter(|line| line.starts_with("POST")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_is_put_once_and_answered_with_the_same_bytes() {
    let rig = rig();
    let payment = rig.cashier.order(order(1, &["Adler", "Niemand"])).await.expect("an order");
    assert_eq!((payment.state, payment.cents), (State::Open, 2100));
    assert!(payment.page_url.expect("a page").starts_with("https://pay.invalid/"));
    // The same order again is the same payment, and another under its case is none.
    rig.cashier.order(order(1, &["Adler", "Niemand"])).await.expect("as before");
    assert!(rig.cashier.order(order(1, &["Adler"])).await.is_err());
    assert_eq!(rig.posts(), 1);

    // The browser is back, and nobody has paid.
    assert_eq!(rig.returned(1).await.state, State::Open);
    assert_eq!((rig.looks(), rig.answer(1, 1).await), (0, Held::Unknown));

    rig.service.becomes("PAYED");
    let payment = rig.returned(1).await;
    assert_eq!((payment.state, payment.reference.as_deref()), (State::Executed, Some("K-7")));
    assert_eq!(rig.looks(), 2);
    assert!(matches!(rig.answer(1, 1).await, Held::Later(_)), "answers leave at the end of their bucket");
    rig.clock.advance(Duration::from_secs(3));
    let first = rig.bytes(1, 1).await;
    assert!(String::from_utf8_lossy(&first).contains("Adler"));
    assert_eq!(rig.bytes(1, 2).await, br#"{"answer":"neutral"}"#);
    assert_eq!(rig.returned(1).await.state, State::Delivered);
    assert_eq!((rig.bytes(1, 1).await, rig.looks()), (first, 2));
    let stranger = rig.cashier.answer("acc-2", &case(1), 1).await.expect("read");
    assert_eq!(stranger, Held::Unknown);
    // Nothing of it goes to the post office, and each question is charged as it was agreed.
    assert_eq!(rig.desk.copies.due(rig.clock.now()).expect("read"), []);
    let accounts = rig.desk.copies.accounts(Month::parse("2026-11").expect("a month")).expect("accounts");
    assert_eq!((accounts[0].channel.as_str(), accounts[0].questions, accounts[0].cents), ("page", 2, 2100));

    rig.clock.advance(Duration::from_secs(9 * 24 * 3600));
    rig.desk.copies.expire_answers(rig.clock.now()).expect("swept");
    assert_eq!(rig.answer(1, 1).await, Held::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_no_second_payment() {
    for own_ids_only in [false, true] {
        let rig = rig();
        rig.service.state().own_ids_only = own_ids_only;
        rig.service.feels(Mood::LosesAnswers);
        assert_eq!(rig.orders(1).await.state, State::Created);
        // Killed, and begun again.
        let (cashier, desk) = open(&rig.config, &rig.clock);
        let rig = Rig { cashier, desk, ..rig };
        rig.service.feels(Mood::Well);
        rig.clock.advance(Duration::from_secs(120));
        rig.cashier.clone().round().await;
        let payment = rig.cashier.payment(&case(1)).await.expect("read").expect("the case");
        // Where the service cannot be asked for the first, it has a second, whose page alone anybody has seen.
        assert_eq!((payment.state, payment.attempt), (State::Open, if own_ids_only { 2 } else { 1 }));
        rig.service.becomes("PAYED");
        assert_eq!((rig.returned(1).await.state, rig.looks()), (State::Executed, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_trouble_is_asked_again_and_believed_in_nothing() {
    let rig = rig();
    for (number, mood) in (1..).zip([Mood::Away, Mood::Redirects, Mood::Babbles, Mood::Web, Mood::Hangs]) {
        rig.service.feels(Mood::Well);
        assert_eq!(rig.orders(number).await.state, State::Open, "{mood:?}");
        rig.service.becomes("PAYED");
        rig.service.feels(mood);
        let payment = rig.returned(number).await;
        assert_eq!((payment.state, payment.silent), (State::Open, 1), "{mood:?}: {}", payment.reason);
        assert_eq!(rig.looks(), u64::from(number) - 1, "{mood:?}");
        rig.service.feels(Mood::Well);
        assert_eq!(rig.returned(number).await.state, State::Executed, "{mood:?}");
    }
    assert!(
        rig.service.state().asked.iter().all(|line| line.contains("/xb/paymenttransaction/meldeportal/10"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_late_or_wrong_is_shown_to_the_operator() {
    let rig = rig();
    for number in 1..=3 {
        let payment = rig.cashier.order(order(number, &["Sonderling"])).await.expect("an order");
        assert_eq!(payment.state, State::Open);
    }
    // Who is asked about lies sealed, and is destroyed with the order.
    let sealed = || {
        let database = rusqlite::Connection::open(rig.folder.path().join("register/register.sqlite"));
        let sql = "SELECT count(*) FROM payment_question WHERE sealed IS NOT NULL OR secret IS NOT NULL";
        database.and_then(|one| one.query_row(sql, [], |row| row.get::<_, i64>(0))).expect("a count")
    };
    assert_eq!(sealed(), 3);
    let request = rig.cashier.payment(&case(3)).await.expect("read").expect("the case").request_id();
    {
        let mut state = rig.service.state();
        let kept = state.kept.get_mut(&request).expect("kept");
        (kept.status, kept.amount) = ("PAYED", Some(0.01));
    }
    assert_eq!(rig.returned(3).await.state, State::Disputed);
    rig.clock.advance(Duration::from_secs(1800));
    rig.cashier.clone().round().await;
    let expired = rig.cashier.payment(&case(1)).await.expect("read").expect("the case");
    assert_eq!((expired.state, expired.page_url), (State::Expired, None));
    assert_eq!(sealed(), 0);
    for file in ["register.sqlite", "register.sqlite-wal"] {
        let bytes = std::fs::read(rig.folder.path().join("register").join(file)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == b"Sonderling"), "{file}");
    }
    for request in
        [1, 2].map(|number| format!("{}-1", uuid::Uuid::parse_str(&case(number)).expect("a UUID").simple()))
    {
        rig.service.state().kept.get_mut(&request).expect("kept").status = "PAYED";
    }
    rig.clock.advance(Duration::from_secs(3600));
    rig.cashier.clone().round().await;
    assert_eq!(rig.looks(), 0);
    let states: Vec<State> = rig
        .desk
        .copies
        .payments(Which::NeedingAPerson, 10)
        .expect("read")
        .into_iter()
        .map(|one| one.state)
        .collect();
    assert_eq!(states.iter().filter(|state| **state == State::Late).count(), 2, "{states:?}");
    assert!(states.contains(&State::Disputed));

    // From the command line: seen, settled, and seen no more.
    std::fs::write(rig.folder.path().join("register/log.key"), [7; 32]).expect("writes");
    let run = |arguments: &[&str], exit: i32| {
        amtsbote(rig.folder.path(), &[&["register", "payments"], arguments].concat()).ends(exit)
    };
    let listed = run(&[], 4);
    assert!(listed.stdout.contains("late") && listed.stdout.contains("10.50"), "{listed:?}");
    run(&["--settled", &case(1)], 2);
    run(&["--settled", &case(9), "--reason", "x"], 6);
    for number in 1..=3 {
        run(&["--settled", &case(number), "--reason", "given back"], 0);
        run(&["--settled", &case(number), "--reason", "given back"], 1);
    }
    assert_eq!(run(&["--json"], 0).json(), serde_json::json!([]));
    let all = run(&["--all", "--json"], 0).json();
    assert_eq!((&all[0]["state"], all.as_array().map(Vec::len)), (&"settled".into(), Some(3)));
    assert!(all[0]["reason"].as_str().expect("a reason").contains("given back"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_are_refused_before_anything_is_written() {
    let rig = rig();
    let refused = async |order: Order| rig.cashier.order(order).await.expect_err("refused").to_string();
    let mut trade = order(1, &["Adler"]);
    trade.questions[0].requester.declares_no_trade = false;
    assert!(refused(trade).await.contains("declaration"));
    let mut elsewhere = order(1, &["Adler"]);
    elsewhere.questions[0].selection.municipalities = vec![Ags::parse("10041511").expect("a key")];
    assert!(refused(elsewhere).await.contains("no copy"));
    assert!(refused(order(1, &[])).await.contains("1 to 99"));
    let back = Order { return_url: "http://portal.invalid/".to_owned(), ..order(1, &["Adler"]) };
    assert!(refused(back).await.contains("URL"));
    let case = Order { case: "7".to_owned(), ..order(1, &["Adler"]) };
    assert!(refused(case).await.contains("UUID"));
    assert_eq!(rig.desk.copies.payments(Which::All, 10).expect("read"), []);
    assert_eq!(rig.posts(), 0);

    let alone = Cashier::new(rig.desk.clone(), None, Default::default(), Arc::new(rig.clock.clone()));
    let refused = alone.order(order(2, &["Adler"])).await;
    assert!(matches!(refused, Err(CashierError::NoService)), "{refused:?}");

    // Whoever the service does not know gets no page.
    std::fs::write(rig.folder.path().join("payment.token"), "other").expect("writes");
    let (cashier, _) = open(&rig.config, &rig.clock);
    let payment = cashier.order(order(3, &["Adler"])).await.expect("written down");
    assert_eq!(payment.state, State::Refused, "{}", payment.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_nothing_needs_no_service() {
    let rig = rig_with(|text| text.replace("cents = 1050", "cents = 0"));
    let alone = Cashier::new(rig.desk.clone(), None, Default::default(), Arc::new(rig.clock.clone()));
    let payment = alone.order(order(1, &["Adler"])).await.expect("an order");
    assert_eq!((payment.state, rig.looks(), rig.posts()), (State::Executed, 1, 0));
}
