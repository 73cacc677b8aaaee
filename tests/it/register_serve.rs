//! The register's process at a real post office: a municipality feeds, an authority and a citizen ask, all by XTA; the
//! process is killed in between and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use amtsbote::register::answer::Answer;
use amtsbote::register::copies::{Asked, Copies, LoadReceipt, LogKey, Order, Requester, Settings};
use amtsbote::register::message::head::{Own, Party, PostalAddress, begin};
use amtsbote::register::message::rejection::Event;
use amtsbote::register::message::{Number, RELEASES, feed, passing, person, question};
use amtsbote::register::payment::State;
use amtsbote::register::person::{Ags, Lock, Person, Sex};
use amtsbote::register::question::{Profile, Selection};
use amtsbote::register::reconcile::{Hash, hash};
use amtsbote::register::rights::{Asker, Purpose};
use amtsbote::register::stream::{Change, Occasion};
use amtsbote::register::synth;
use amtsbote::register::synth::plan::{Plan, Sent, Step};
use amtsbote::store::postgres::{PostgresStore, Settings as StoreSettings};
use amtsbote::xml::write::Writer;

use crate::cli_cert::shown_at;
use crate::cli_fixture::{BINARY, Office};
use crate::cli_life::ask_at;
use crate::payment_service::{ENDPOINT, ORIGINATOR, PaymentService, TOKEN};
use crate::postgres_cluster::{Cluster, programs};

const TOWN: &str = "ags:10041100";
const STORE: &str = "zmb:100000000000";
const URGENT: &str = "zmb:100000000001";
/// Another municipality, which feeds no copy.
const OFFICE: &str = "ags:10041511";
const BODY: &str = "dbs:100010010000";
const PORTAL: &str = "lap:100000000000";

fn message(number: Number, author: &str, uuid: &str, content: impl FnOnce(&mut Writer)) -> String {
    let party = |kennung: &str| Party { kennung: kennung.to_owned(), name: "Amt".to_owned() };
    let address = PostalAddress {
        number: "1".to_owned(),
        postcode: "00001".to_owned(),
        street: "Krumme Straße".to_owned(),
        place: "Ort".to_owned(),
    };
    let own = Own { party: party(author), address, reachable_at: "post@amt.invalid".to_owned() };
    let at = "2026-11-22T09:00:00.000Z".parse().expect("an instant");
    let mut out = begin(&RELEASES[1], number, &own, &party(STORE), uuid, at, false);
    content(&mut out);
    out.finish()
}

fn uuid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn home() -> Ags {
    Ags::parse("10041100").expect("a key")
}

fn adler(locked: bool) -> Person {
    Person {
        mark: if locked { "L1" } else { "A1" }.to_owned(),
        family_names: vec![if locked { "Sperre" } else { "Adler" }.to_owned()],
        given_names: vec!["Willi".to_owned()],
        birth_dates: vec!["17031998".parse().expect("a date")],
        sex: Some(Sex::M),
        locks: Lock::try_from(3).into_iter().filter(|_| locked).collect(),
        ..synth::person(1, home(), 1)
    }
}

fn load(number: u32) -> String {
    let mut persons: Vec<Person> = (10..1200).map(|number| synth::person(1, home(), number)).collect();
    persons.extend([adler(false), adler(true)]);
    message(Number::Load, TOWN, &uuid(number), |out| {
        let at = jiff::Timestamp::now();
        let announced = Some(persons.len() as u64);
        feed::Stand { ags: home(), generation: 1, sequence: 0, at, announced }.write(out);
        persons.iter().for_each(|one| person::write(out, one));
    })
}

fn asked(profile: Profile, family: &str) -> Asked {
    let private = profile == Profile::PrivateEnquiry;
    Asked {
        requester: Requester {
            asker: Asker::PublicBody,
            purpose: if private { Purpose::Private } else { Purpose::Task },
            body: "Amt A".to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "Anhörung".to_owned(),
            user: "u1".to_owned(),
            empowered: false,
            waives_hand_over: false,
            declares_no_trade: true,
        },
        profile,
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

fn asks(number: u32, profile: Profile, family: &str) -> String {
    let (private, asked) = (profile == Profile::PrivateEnquiry, asked(profile, family));
    let (kind, author) =
        if private { (Number::EnquiryAsked, PORTAL) } else { (Number::PersonSearchAsked, BODY) };
    message(kind, author, &uuid(number), |out| question::write(out, &asked))
}

/// One account for everybody who writes to the register, and one for the register.
fn with_identifiers(folder: &Path) {
    let file = folder.join("participants.toml");
    let text = std::fs::read_to_string(&file).expect("the participants");
    let more = |value: &str| format!("[[account.identifiers]]\nvalue = \"{value}\"\ntype = \"xoev\"\n\n");
    // Of several identifiers, one is the cipher certificate's.
    let own = |value: &str| format!("identifier = \"{value}\"");
    let text = text
        .replacen("[account.rights]", &format!("{}{}[account.rights]", more(STORE), more(URGENT)), 1)
        .replacen(
            "[[account.osci.cipher]]",
            &format!("[[account.osci.cipher ]]\n{}", own("psw:100411000000")),
            1,
        )
        .replacen("[[account.osci.cipher]]", &format!("[[account.osci.cipher ]]\n{}", own(TOWN)), 1)
        .replace("Meldebehörde\"\n", &format!("Meldebehörde\"\n\n{}{}", more(BODY), more(PORTAL)));
    let text = text.replacen(&more(BODY), &format!("{}{}", more(BODY), more(OFFICE)), 1);
    std::fs::write(&file, text).expect("writes");
}

struct Register(Child);

impl Drop for Register {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(office: &Office) -> Register {
    serve_on(office, "")
}

/// With more in its configuration.
fn serve_on(office: &Office, more: &str) -> Register {
    serve_changed(office, |text| format!("{text}\n{more}"))
}

fn serve_changed(office: &Office, change: impl FnOnce(String) -> String) -> Register {
    let folder = office.folder.path();
    let settings = include_str!("../../src/config/register_example.toml")
        .replace("https://localhost:8443/", &office.xta)
        .replace("tls/register.", "tls/standesamt.")
        .replace("# poll_milliseconds = 1000", "poll_milliseconds = 100")
        .replace("# urgent_identifier", "urgent_identifier")
        .replace("# operator_address = \"127.0.0.1:9465\"", "operator_address = \"127.0.0.1:0\"")
        .replace("# bucket_milliseconds = 2000", "bucket_milliseconds = 300");
    std::fs::write(folder.join("register.toml"), change(settings)).expect("writes");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("register.log"));
    let child = Command::new(BINARY)
        .args(["register", "serve"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("a log"))
        .spawn();
    Register(child.expect("the binary runs"))
}

fn send(office: &Office, from: &str, number: Number, text: &str) {
    send_to(office, STORE, from, number, text);
}

fn send_to(office: &Office, mailbox: &str, from: &str, number: Number, text: &str) {
    std::fs::write(office.path("out.xml"), text).expect("writes");
    let arguments = ["send", "out.xml", "--from", from, "--to", mailbox, "--message-type", number.code()];
    office.run_as("meldebehoerde", &arguments).ends(0);
}

/// The next message that waits for `reader`.
fn receive(office: &Office, reader: &str) -> String {
    receive_within(office, reader, Duration::from_secs(60))
}

fn receive_within(office: &Office, reader: &str, patience: Duration) -> String {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let into = format!("in-{}", uuid::Uuid::new_v4());
        let ran = office
            .run_as("meldebehoerde", &["fetch", "--as", reader, "--limit", "1", "--into", &into])
            .ends(0);
        if let Some(file) = ran.stdout.lines().next() {
            return std::fs::read_to_string(office.path(file)).expect("the message");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::fs::read_to_string(office.path("register.log")).unwrap_or_default();
    panic!("nothing came for {reader}: {log}");
}

#[test]
fn feed_questions_and_answers_travel_through_the_post_office() {
    let folder = tempfile::tempdir().expect("a folder");
    let office = Office::open_in(folder, with_identifiers);
    let mut register = serve(&office);
    // A load that is called changes, in the mailbox for locks: its turn comes with the others.
    send_to(&office, URGENT, TOWN, Number::Changes, &load(1));
    let receipt = receive(&office, TOWN);
    assert!(
        receipt.contains("0928") && receipt.contains("<uebernommen>1192</uebernommen>"),
        "{receipt:.900}"
    );

    send(&office, BODY, Number::PersonSearchAsked, &asks(2, Profile::PersonSearch, "Adler"));
    let answer = receive(&office, BODY);
    assert!(answer.contains("auskunft.1331") && answer.contains("<familienname>Adler<"), "{answer}");
    assert!(!answer.contains("A1"), "order marks stay");

    // Killed; what is asked meanwhile waits, and what was asked before is answered as before.
    register.0.kill().expect("killed");
    register.0.wait().expect("ended");
    send(&office, BODY, Number::PersonSearchAsked, &asks(2, Profile::PersonSearch, "Adler"));
    register = serve(&office);
    assert_eq!(receive(&office, BODY), answer);

    let neutral: Vec<String> = [(3, "Sperre"), (4, "Niemand")]
        .into_iter()
        .map(|(number, family)| {
            send(&office, PORTAL, Number::EnquiryAsked, &asks(number, Profile::PrivateEnquiry, family));
            receive(&office, PORTAL)
        })
        .collect();
    assert!(neutral[0].contains("<keineAuskunft></keineAuskunft>"), "{}", neutral[0]);
    assert_eq!(neutral[0].len(), neutral[1].len());

    // A clerk answers what the copy could not.
    send(&office, BODY, Number::PersonSearchAsked, &asks(5, Profile::PersonSearch, "Niemand"));
    assert!(receive(&office, BODY).contains("<keineAuskunft></keineAuskunft>"));
    let cases = office.run(&["register", "cases", "--json"]).ends(0).json();
    let case = cases["duties"].as_array().and_then(|all| all.last()).expect("a case")["number"].to_string();
    let case = ["register", "case", "answer", &case, "--person", "A1", "--reason", "found in the original"];
    office.run(&case).ends(0);
    let late = receive(&office, BODY);
    assert!(late.contains("<familienname>Adler<") && late.contains(&uuid(5)), "{late}");

    // And hands on what is the municipality's.
    send(&office, BODY, Number::PersonSearchAsked, &asks(6, Profile::PersonSearch, "Keiner"));
    assert!(receive(&office, BODY).contains("<keineAuskunft></keineAuskunft>"));
    let cases = office.run(&["register", "cases", "--json"]).ends(0).json();
    let case = cases["duties"].as_array().and_then(|all| all.last()).expect("a case")["number"].to_string();
    office.run(&["register", "case", "hand-over", &case, "--reason", "yours"]).ends(0);
    assert!(receive(&office, TOWN).contains("weiterleitung.abgabe.0031"));

    send(&office, TOWN, Number::Changes, "no XML");
    let rejection = receive(&office, TOWN);
    assert!(rejection.contains("rueckweisung.asynchron.0010") && rejection.contains("X000"), "{rejection}");
    // Whoever the post office knows under another name may not feed.
    send(&office, BODY, Number::Load, &load(9));
    assert!(receive(&office, BODY).contains("T070"));

    assert!(watched(&office, "/livez").starts_with("HTTP/1.1 200"));
    assert!(watched(&office, "/readyz").starts_with("HTTP/1.1 200"));
    let figures = watched(&office, "/metrics");
    for expected in [
        "amtsbote_register_database_up 1\n",
        "amtsbote_register_copies{state=\"living\"} 1\n",
        "amtsbote_register_copies_stale 0\n",
        "amtsbote_register_gaps 0\n",
        "amtsbote_register_locks_unread 1\n",
        "amtsbote_register_locks_reached 1\n",
        "amtsbote_register_feed_refused_total{number=\"1100\"} 1\n",
    ] {
        assert!(figures.contains(expected), "{expected}: {figures}");
    }
    // No other figure, before it is known that a question about a locked person does not move it otherwise.
    let names = figures.lines().filter_map(|line| line.strip_prefix("# TYPE amtsbote_register_"));
    let names: BTreeSet<&str> = names.filter_map(|rest| rest.split(' ').next()).collect();
    let expected = [
        "answers_waiting",
        "changes_held",
        "copies",
        "copies_stale",
        "copy_oldest_seconds",
        "database_up",
        "feed_refused_total",
        "gaps",
        "locks_reached",
        "locks_unread",
        "office_reached",
    ];
    assert_eq!(names, BTreeSet::from(expected));

    let pid = rustix::process::Pid::from_raw(i32::try_from(register.0.id()).expect("an id"));
    rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::TERM).expect("still there");
    assert!(register.0.wait().expect("ended").success());
    assert!(
        office.run(&["register", "log"]).ends(0).stdout.contains("8 entries, whole"),
        "one line each question, and one of whether an answer takes two"
    );
    let head = office.run(&["register", "log", "--head"]).ends(0).stdout;
    let heads = std::fs::read_to_string(office.path("register/log.heads")).expect("the file of heads");
    assert!(heads.ends_with(&head) && head.starts_with("amtsbote-register-log 8 "), "{heads}{head}");
    let cases = office.run(&["register", "cases", "--json"]).ends(0).stdout;
    assert_eq!(cases.matches("notice-to-person").count(), 1, "{cases}");
    let status = office.run(&["register", "status"]).ends(4).stdout;
    assert!(status.contains("a lock could not be read"), "in what was no XML, perhaps: {status}");
    let log = std::fs::read_to_string(office.path("register.log")).expect("the log");
    assert!(!log.contains("Adler") && !log.contains("Sperre"), "no personal data in the log: {log}");
    assert_eq!(log.matches("register-lock-unread").count(), 1, "{log}");
}

/// Reminders, forms, many enquiries at once, and what is passed on.
#[test]
fn what_offices_say_about_messages_travels_through_the_post_office() {
    let folder = tempfile::tempdir().expect("a folder");
    let office = Office::open_in(folder, with_identifiers);
    let _register = serve(&office);
    send(&office, TOWN, Number::Load, &load(1));
    let receipt = receive(&office, TOWN);
    let reminder = message(Number::Reminder, TOWN, &uuid(2), |out| passing::write_reminder(out, &uuid(1)));
    send(&office, TOWN, Number::Reminder, &reminder);
    assert_eq!(receive(&office, TOWN), receipt, "the same bytes");

    let form = |number, municipality: &str| {
        let mut asked = asked(Profile::PrefilledForm, "Adler");
        asked.selection.sex = None;
        asked.selection.municipalities = vec![Ags::parse(municipality).expect("a key")];
        message(Number::FormAsked, OFFICE, &uuid(number), |out| question::write(out, &asked))
    };
    send(&office, OFFICE, Number::FormAsked, &form(3, "10041100"));
    let answer = receive(&office, OFFICE);
    assert!(answer.contains("daten.0301") && answer.contains("<familienname>Adler<"), "{answer}");
    send(&office, OFFICE, Number::FormAsked, &form(4, "10042113"));
    let answer = receive(&office, OFFICE);
    assert!(answer.contains("nichtzustaendigkeit.0032"), "{answer}");

    let cases: Vec<(Event, Asked)> = [("E-1", "Adler"), ("E-2", "Sperre")]
        .map(|(sign, family)| {
            let event = Event { at: "2026-11-22T08:00:00.000Z".to_owned(), sign: sign.to_owned() };
            (event, asked(Profile::PrivateEnquiry, family))
        })
        .into();
    let text = message(Number::EnquiriesAsked, PORTAL, &uuid(5), |out| {
        question::write_enquiries(out, &cases);
    });
    send(&office, PORTAL, Number::EnquiriesAsked, &text);
    let answers = [receive(&office, PORTAL), receive(&office, PORTAL)];
    let of = |sign: &str| answers.iter().find(|one| one.contains(&format!("zeichen>{sign}<"))).expect(sign);
    assert!(of("E-1").contains("<familienname>Adler<") && of("E-2").contains("<keineAuskunft>"));

    let passed = message(Number::HandOver, BODY, &uuid(6), |out| {
        let own = asks(7, Profile::PersonSearch, "Adler");
        passing::write(out, Number::HandOver, own.as_bytes());
    });
    send(&office, BODY, Number::HandOver, &passed);
    let answers = [receive(&office, BODY), receive(&office, BODY)];
    assert!(answers.iter().any(|one| one.contains("auskunft.1331") && one.contains("<familienname>Adler<")));
    assert!(answers.iter().any(|one| one.contains("quittung.0020") && one.contains("<uebernommen>1<")));
}

/// What the operator's listener of the last process says.
fn watched(office: &Office, path: &str) -> String {
    logged(office, "operator=", 1);
    let log = std::fs::read_to_string(office.path("register.log")).expect("the log");
    let address = log.rsplit("operator=").next().and_then(|rest| rest.split_whitespace().next());
    ask_at(address.expect("an address"), path)
}

/// Waits until the register's log has said something so many times.
fn logged(office: &Office, words: &str, times: usize) {
    let begun = Instant::now();
    loop {
        let log = std::fs::read_to_string(office.path("register.log")).unwrap_or_default();
        if log.matches(words).count() >= times {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{words} {times} times: {log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What has run out, is revoked or is broken comes in files, and goes by them, while the process works.
#[test]
fn lists_and_certificates_are_read_anew_while_the_process_works() {
    use amtsbote::pki::development::{Authority, KeyChoice, Leaf, Role, Validity};
    let from = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
    let hours = |hours| Validity { from, until: from + jiff::SignedDuration::from_hours(hours) };
    let authority = Authority::root("of the office", KeyChoice::P256, hours(100)).expect("an authority");
    let server = Leaf {
        common_name: "localhost",
        role: Role::Server,
        key: KeyChoice::P256,
        validity: hours(100),
        names: &["localhost", "127.0.0.1"],
    };
    let server = authority.issue(&server).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    // An authority of the post office's own, beside that of its participants.
    let office = Office::open_in(folder, |folder| {
        with_identifiers(folder);
        let tls = folder.join("tls");
        std::fs::copy(tls.join("ca.crt"), tls.join("participants.crt")).expect("copied");
        let config = folder.join("amtsbote.toml");
        let text = std::fs::read_to_string(&config).expect("the configuration");
        std::fs::write(&config, text.replace("tls/ca.crt", "tls/participants.crt")).expect("writes");
        std::fs::write(tls.join("ca.crt"), authority.certificate().pem()).expect("writes");
        std::fs::write(tls.join("server.crt"), server.chain_pem()).expect("writes");
        std::fs::write(tls.join("server.key"), server.key_pem()).expect("writes");
    });
    let list = |validity, revoked: &[_]| authority.revocation_list(1, validity, revoked).expect("a list");
    let put = |list: &str| std::fs::write(office.path("tls/office.crl"), list).expect("writes");
    put(&list(hours(24), &[]));
    let mut register = serve_changed(&office, |text| text.replace("\"tls/ca.crl\"", "\"tls/office.crl\""));
    let pid = i32::try_from(register.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
    let reload = || rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("still there");
    let (away, back) = ("register-office-unreachable", "the post office is reached again");
    logged(&office, away, 1);
    let ready = watched(&office, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("post office"), "{ready}");
    put(&list(hours(100), &[]));
    reload();
    logged(&office, back, 1);
    logged(&office, "the mailbox for locks is reached again", 1);
    assert!(watched(&office, "/readyz").starts_with("HTTP/1.1 200"));
    // What is wrong changes nothing.
    put("no list");
    reload();
    logged(&office, "reload-failed", 1);
    send(&office, TOWN, Number::Changes, "no XML");
    assert!(receive(&office, TOWN).contains("X000"));
    // The connection that is open is not kept beyond what it was believed for.
    put(&list(hours(100), &[server.certificate()]));
    reload();
    logged(&office, away, 2);
    put(&list(hours(100), &[]));
    reload();
    logged(&office, back, 2);
    assert!(register.0.try_wait().expect("a look").is_none(), "it is the same process");
}

/// What the page shows to browsers, and the process to the payment service.
#[test]
fn certificates_of_page_and_payments_are_read_anew_while_the_process_works() {
    use amtsbote::app::register::open_copies;
    use amtsbote::config::register::RegisterConfig;
    use amtsbote::pki::development::{Authority, KeyChoice, Leaf, Role, Validity};
    let from = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
    let validity = Validity { from, until: from + jiff::SignedDuration::from_hours(100) };
    let authority = Authority::root("of the page", KeyChoice::P256, validity).expect("an authority");
    let office = Office::open_in(tempfile::tempdir().expect("a folder"), with_identifiers);
    let put = |name: &str, role| {
        let names: &[&str] = &["localhost", "127.0.0.1"];
        let leaf = Leaf { common_name: "localhost", role, key: KeyChoice::P256, validity, names };
        let issued = authority.issue(&leaf).expect("a certificate");
        std::fs::write(office.path(&format!("paid/{name}.crt")), issued.chain_pem()).expect("writes");
        std::fs::write(office.path(&format!("paid/{name}.key")), issued.key_pem()).expect("writes");
        issued.certificate().der().to_vec()
    };
    let put_both = || [put("page", Role::Server), put("payer", Role::Participant)];
    std::fs::create_dir(office.path("paid")).expect("made");
    std::fs::write(office.path("paid/ca.crt"), authority.certificate().pem()).expect("writes");
    std::fs::write(office.path("paid/token"), TOKEN).expect("writes");
    put("server", Role::Server);
    let service = PaymentService::start(&office.path("paid"));
    let first = put_both();
    let mut register = serve_on(
        &office,
        &format!(
            "[page]\naddress = \"127.0.0.1:0\"\nurl = \"https://localhost:8447\"\n\
             certificate = \"paid/page.crt\"\nkey = \"paid/page.key\"\n\
             [payment]\nurl = \"{}\"\noriginator = \"{ORIGINATOR}\"\nendpoint = \"{ENDPOINT}\"\n\
             anchors = [\"paid/ca.crt\"]\ntoken_file = \"paid/token\"\n\
             certificate = \"paid/payer.crt\"\nkey = \"paid/payer.key\"\n\
             [[rate]]\nfrom = \"2020-01-01\"\ncents = 1050\n",
            service.url()
        ),
    );
    logged(&office, "operator=", 1);
    let config = RegisterConfig::load(&office.path("register.toml")).expect("the configuration");
    let copies = open_copies(config.copies().expect("settings"), false).expect("opened").expect("a register");
    let mut receipt = LoadReceipt::default();
    copies.begin_load(home(), 1, 0, jiff::Timestamp::now()).expect("begun");
    copies.load(home(), [&adler(false).to_bytes()[..]], &mut receipt).expect("loaded");
    copies.finish_load(home(), 1, &receipt).expect("finished");
    let log = std::fs::read_to_string(office.path("register.log")).expect("the log");
    let address = log.split("the page is served address=").nth(1).and_then(|rest| rest.split(' ').next());
    let address = address.expect("an address");
    // The page's to whoever connects, and ours with the request for a payment.
    let shown = |number: u32| {
        let mut question = asked(Profile::PrivateEnquiry, "Adler");
        question.requester.asker = Asker::Citizen;
        let order = Order {
            case: uuid(number),
            account: "acc-1".to_owned(),
            questions: vec![question],
            return_url: "https://localhost:8447/back".to_owned(),
        };
        let rules = config.payment.as_ref().expect("payments").rules();
        copies.order(&order, &rules, jiff::Timestamp::now()).expect("ordered");
        let begun = Instant::now();
        while copies.payment(&order.case).expect("a look").expect("the case").state != State::Open {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", copies.payment(&order.case));
            std::thread::sleep(Duration::from_millis(50));
        }
        let page = shown_at(address, &authority).expect("a certificate").der().to_vec();
        let state = service.state();
        let mut requests = state.asked.iter().zip(&state.shown).filter(|(line, _)| line.starts_with("POST"));
        let payer = requests.next_back().and_then(|(_, shown)| shown.clone());
        [page, payer.expect("a certificate")]
    };
    assert!(shown(1) == first, "what it began with");
    let second = put_both();
    let pid = i32::try_from(register.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("still there");
    logged(&office, "were read anew", 1);
    let [page, payer] = shown(2);
    assert!(page == second[0], "the page's new certificate");
    assert!(payer == second[1], "the new certificate for payments");
    assert!(register.0.try_wait().expect("a look").is_none(), "it is the same process");
}

#[test]
fn it_is_not_ready_while_locks_wait() {
    let office = Office::open_in(tempfile::tempdir().expect("a folder"), with_identifiers);
    let _register = serve_changed(&office, |text| text.replace(URGENT, "zmb:100000000009"));
    logged(&office, "register-locks-unreachable", 1);
    send(&office, TOWN, Number::Changes, "no XML");
    assert!(receive(&office, TOWN).contains("X000"), "the other mailboxes are looked into");
    let ready = watched(&office, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("the mailbox for locks"), "{ready}");
    let figures = watched(&office, "/metrics");
    assert!(figures.contains("amtsbote_register_locks_reached 0\n"), "{figures}");
    assert!(figures.contains("amtsbote_register_office_reached 1\n"), "{figures}");
}

/// Whoever renews certificates while it waits for its database.
#[test]
fn a_reload_does_not_end_it_while_it_starts() {
    let office = Office::open_in(tempfile::tempdir().expect("a folder"), with_identifiers);
    let database = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let port = database.local_addr().expect("an address").port();
    let store = format!(
        "[store]\nengine = \"postgres\"\nconnection = \"host=127.0.0.1 port={port} dbname=register user=register\""
    );
    let mut register = serve_on(&office, &store);
    let (asked, _) = database.accept().expect("the register asks");
    let pid = i32::try_from(register.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("still there");
    drop((asked, database));
    let ended = register.0.wait().expect("ended");
    assert!(ended.code().is_some(), "by what it found, not by the signal: {ended}");
}

#[test]
fn the_night_reminds_of_what_does_not_come_and_of_what_is_due() {
    let office = Office::open_in(tempfile::tempdir().expect("a folder"), with_identifiers);
    let records = office.run(&["register", "synth", "--persons", "3"]).ends(0).stdout;
    std::fs::write(office.path("records.jsonl"), records).expect("writes");
    let load = ["register", "load", "records.jsonl", "--ags", "10041100", "--generation", "1"];
    office.run(&load).ends(0);
    let third = Change {
        ags: home(),
        generation: 1,
        sequence: 3,
        at: jiff::Timestamp::now(),
        occasion: Occasion::Name,
        mark: "A1".to_owned(),
        record: Some(adler(false)),
    };
    let line = serde_json::to_string(&third).expect("JSON");
    std::fs::write(office.path("feed.jsonl"), line).expect("writes");
    office.run(&["register", "feed", "feed.jsonl"]).ends(4);
    let _register = serve_changed(&office, |text| text.replace("# hour = 3", "hour = 0"));
    logged(&office, "register-changes-missing\" municipality=\"10041100\" first=1 last=2 ", 1);
    logged(&office, "register-plausibility-due\" municipalities=\"10041100\" ", 1);
}

/// Messages of the feed that wait when the lock comes, and changes of each.
const WAITING: u64 = 25;
const CHANGES: u64 = 400;

fn changes(number: u32, sequences: std::ops::Range<u64>, make: impl Fn(u64) -> (Occasion, Person)) -> String {
    message(Number::Changes, TOWN, &uuid(number), |out| {
        let at = jiff::Timestamp::now();
        feed::Stand { ags: home(), generation: 1, sequence: sequences.start, at, announced: None }.write(out);
        for sequence in sequences {
            let (occasion, record) = make(sequence);
            let mark = record.mark.clone();
            let record = Some(record);
            let change = Change { ags: home(), generation: 1, sequence, at, occasion, mark, record };
            feed::write_case(out, &change, &format!("V-{sequence}"));
        }
    })
}

/// The law gives five seconds. What is asserted is the order: the lock is effective while most of the feed still waits.
#[test]
fn a_lock_passes_the_feed_that_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let office = Office::open_in(folder, with_identifiers);
    let register = serve(&office);
    send(&office, TOWN, Number::Load, &load(1));
    assert!(receive(&office, TOWN).contains("0928"));
    drop(register);
    // Persons move, in a queue that is not short.
    for block in 0..WAITING {
        let first = 1 + block * CHANGES;
        let text = changes(100 + block as u32, first..first + CHANGES, |sequence| {
            let mut one = synth::person(1, home(), 10 + sequence % 1000);
            one.addresses[0].number = (1 + sequence % 90).to_string();
            (Occasion::Address, one)
        });
        send(&office, TOWN, Number::Changes, &text);
    }
    let _register = serve(&office);
    let secret = std::fs::read(office.path("register/log.key")).expect("the log's key");
    let key = LogKey::new(&secret.try_into().expect("32 bytes"));
    let copies = Copies::open(Settings::new(office.path("register")), key).expect("the same copies");
    let sequence = || copies.states(jiff::Timestamp::now()).expect("states")[0].sequence;
    let begun = Instant::now();
    while sequence() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the feed does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = || {
        let question = asked(Profile::PersonSearch, "Adler");
        copies.ask(&question, jiff::Timestamp::now()).expect("answered").answer
    };
    assert!(matches!(answer(), Answer::Person { .. }), "not locked yet");
    let all = WAITING * CHANGES;
    let lock = changes(900, all + 1..all + 2, |_| {
        (Occasion::LockSet, Person { locks: Lock::try_from(3).into_iter().collect(), ..adler(false) })
    });
    send_to(&office, URGENT, TOWN, Number::Changes, &lock);
    let begun = Instant::now();
    while !matches!(answer(), Answer::Neutral) {
        assert!(begun.elapsed() < Duration::from_secs(120), "the lock is not effective");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (waited, done) = (begun.elapsed(), sequence());
    println!("a lock was effective {waited:.1?} after it was posted, when {done} of {all} changes were done");
    assert!(done < all / 2, "{done} of {all} changes were done before the lock");
    // Nor does a question wait for it.
    send(&office, BODY, Number::PersonSearchAsked, &asks(901, Profile::PersonSearch, "Adler"));
    assert!(receive(&office, BODY).contains("1331"));
    let done = sequence();
    assert!(done < all, "a question waited for the whole feed");
}

fn told(sent: &Sent) -> String {
    let text = message(Number::Changes, TOWN, &uuid(1000 + sent.message), |out| {
        let first = &sent.changes[0];
        let (generation, sequence, at) = (sent.generation, first.sequence, first.at);
        feed::Stand { ags: sent.ags, generation, sequence, at, announced: None }.write(out);
        sent.changes.iter().for_each(|one| feed::write_case(out, one, &format!("V-{}", one.sequence)));
    });
    if sent.test { text.replacen(" produkt=", " test=\"ja\" produkt=", 1) } else { text }
}

/// All that waits for `reader`, as texts.
fn receive_all(office: &Office, reader: &str) -> Vec<String> {
    let into = format!("in-{}", uuid::Uuid::new_v4());
    let ran = office.run_as("meldebehoerde", &["fetch", "--as", reader, "--into", &into]).ends(0);
    let read = |file: &str| std::fs::read_to_string(office.path(file)).expect("the message");
    ran.stdout.lines().map(read).collect()
}

/// The UUID of the message that a receipt or rejection is about.
fn about(text: &str) -> Option<&str> {
    let place = text.find("<bezug>").or_else(|| text.find("<idNachricht>"))?;
    let (_, rest) = text[place..].split_once("<nachrichtenUUID>")?;
    rest.split_once('<').map(|(uuid, _)| uuid)
}

/// Every fault of the plan, and the role killed again and again: what is true in the end is what the plan says.
#[test]
fn a_stream_full_of_faults_ends_as_its_oracle_says() {
    let plan = Plan::new(26, home(), 60, 80);
    let folder = tempfile::tempdir().expect("a folder");
    let office = Office::open_in(folder, with_identifiers);
    let load = message(Number::Load, TOWN, &uuid(1), |out| {
        let announced = Some(plan.records.len() as u64);
        feed::Stand { ags: home(), generation: 1, sequence: 0, at: plan.at, announced }.write(out);
        plan.records.iter().for_each(|one| person::write(out, one));
    });
    send(&office, TOWN, Number::Load, &load);
    let mut register = serve(&office);
    assert!(receive(&office, TOWN).contains("0928"));
    for step in &plan.steps {
        match step {
            Step::Send(sent) => send(&office, TOWN, Number::Changes, &told(sent)),
            Step::Restart => {
                register.0.kill().expect("killed");
                register.0.wait().expect("ended");
                register = serve(&office);
            }
        }
    }
    // A receipt for all that was taken, a rejection for all that was not, each once: a register that is killed may say
    // the same twice, and nothing else.
    let mut owed: BTreeSet<(String, bool)> = BTreeSet::new();
    for sent in plan.messages() {
        let about = uuid(1000 + sent.message);
        let bad = sent.expected.cases.len();
        if sent.expected.rejected.is_some() || bad > 0 {
            owed.insert((about.clone(), false));
        }
        if sent.expected.rejected.is_none() && sent.changes.len() > bad {
            owed.insert((about, true));
        }
    }
    let mut said: BTreeMap<(String, bool), BTreeSet<String>> = BTreeMap::new();
    let begun = Instant::now();
    while said.len() < owed.len() {
        let log = || std::fs::read_to_string(office.path("register.log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(120), "{} of {}: {}", said.len(), owed.len(), log());
        for text in receive_all(&office, TOWN) {
            let about = about(&text).expect("what it is about").to_owned();
            said.entry((about, text.contains("quittung.0020"))).or_default().insert(text);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(said.keys().cloned().collect::<BTreeSet<_>>(), owed);
    for sent in plan.messages() {
        let of = |receipt| said.get(&(uuid(1000 + sent.message), receipt));
        let whole = sent.expected.rejected.map(str::to_owned);
        let cases = sent.expected.cases.iter().map(|(sequence, code)| {
            format!(">V-{sequence}</ereignis.zeichen></identifikation.ereignis><grund><grund><code>{code}<")
        });
        for expected in whole.into_iter().chain(cases) {
            let texts = of(false).expect("a rejection");
            assert!(
                texts.len() == 1 && texts.iter().all(|text| text.contains(&expected)),
                "{expected}: {texts:?}"
            );
        }
        let Some(receipts) = of(true) else { continue };
        assert_eq!(receipts.len(), 1, "the same bytes: {receipts:?}");
    }
    drop(register);
    let secret = std::fs::read(office.path("register/log.key")).expect("the log's key");
    let key = LogKey::new(&secret.try_into().expect("32 bytes"));
    let copies = Copies::open(Settings::new(office.path("register")), key).expect("the same copies");
    let expected: BTreeMap<String, Hash> =
        plan.expected.iter().map(|(mark, one)| (mark.clone(), hash(&one.to_bytes()))).collect();
    assert_eq!(copies.entries(home()).expect("entries"), expected);
    let states = copies.states(jiff::Timestamp::now()).expect("states");
    assert_eq!((states.len(), states[0].sequence, states[0].held), (1, plan.sequence, 0));
}

/// The data in a database that is killed and comes back, and that cuts the register's sessions off.
#[test]
fn a_register_on_postgresql_outlives_its_database() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let store =
        format!("[store]\nengine = \"postgres\"\nconnection = \"{}\"\n", cluster.database("register"));
    let folder = tempfile::tempdir().expect("a folder");
    let office = Office::open_in(folder, with_identifiers);
    let mut register = serve_on(&office, &store);
    send(&office, TOWN, Number::Load, &load(1));
    assert!(receive(&office, TOWN).contains("<uebernommen>1192</uebernommen>"));
    let ask = |number| {
        send(&office, BODY, Number::PersonSearchAsked, &asks(number, Profile::PersonSearch, "Adler"));
    };
    let long = Duration::from_secs(180);
    for number in 2..6 {
        ask(number);
        cluster.try_sql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'register'",
        );
        let answer = receive_within(&office, BODY, long);
        assert!(answer.contains("<familienname>Adler<") && answer.contains(&uuid(number)), "{answer}");
    }
    // The primary is lost with everything that it had in memory, while a question waits and while the role dies.
    cluster.kill();
    ask(6);
    std::thread::sleep(Duration::from_secs(1));
    register.0.kill().expect("killed");
    register.0.wait().expect("ended");
    cluster.begin();
    register = serve_on(&office, &store);
    let answer = receive_within(&office, BODY, long);
    assert!(answer.contains("<familienname>Adler<") && answer.contains(&uuid(6)), "{answer}");
    // Lost again, under a register that goes on.
    cluster.kill();
    ask(7);
    std::thread::sleep(Duration::from_secs(1));
    cluster.begin();
    assert!(receive_within(&office, BODY, long).contains(&uuid(7)));
    // Asked again: answered as before.
    ask(7);
    assert!(receive_within(&office, BODY, long).contains(&uuid(7)));

    let pid = rustix::process::Pid::from_raw(i32::try_from(register.0.id()).expect("an id"));
    rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::TERM).expect("still there");
    assert!(register.0.wait().expect("ended").success());
    let log = office.run(&["register", "log"]).ends(0);
    assert!(log.stdout.contains("6 entries, whole"), "one line each question: {}", log.stdout);
    assert!(
        office
            .run(&["register", "status"])
            .ends(0)
            .stderr
            .contains("PostgreSQL database register at 127.0.0.1")
    );
    assert!(!office.path("register/register.sqlite").exists());

    // Without its configuration nothing new is begun beside the data; with a wrong one, the fault is named.
    let elsewhere = office.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::rename(office.path("register.toml"), elsewhere.join("register.toml")).expect("moved");
    let lost = office.run(&["register", "status", "--folder", "register"]).ends(2);
    assert!(lost.stderr.contains("lie in a PostgreSQL database"), "{}", lost.stderr);
    let wrong = |from: &str, to: &str, words: &str| {
        let text = std::fs::read_to_string(elsewhere.join("register.toml")).expect("the configuration");
        assert!(text.contains(from), "{from}");
        std::fs::write(office.path("register.toml"), text.replace(from, to)).expect("written");
        let ran = office.run(&["register", "status"]).ends(2);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    };
    wrong("dbname=register", "dbname=nothing", "there is no database of that name");
    cluster.sql("postgres", "CREATE ROLE stranger LOGIN");
    wrong("user=amtsbote", "user=stranger", "this user lacks rights");
    let relays = cluster.database("relay");
    cluster.sql("relay", "CREATE SCHEMA amtsbote CREATE TABLE store (single boolean)");
    assert!(relays.contains("dbname=relay"));
    wrong("dbname=register", "dbname=relay", "a relay keeps its messages");
    let relay = PostgresStore::open(StoreSettings::new(cluster.connection("register"), "relay-1"));
    let relay = tokio::runtime::Runtime::new().expect("a runtime").block_on(relay).err();
    let words = relay.expect("no relay works in a register's database").to_string();
    assert!(words.contains("a register keeps its copies"), "{words}");
    std::fs::rename(office.path("register/log.key"), office.path("log.key")).expect("moved");
    std::fs::write(office.path("register/log.key"), [7; 32]).expect("another key");
    let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(office.path("register/log.key"), owner).expect("the owner's alone");
    wrong("dbname=register", "dbname=register", "another register's");
}
