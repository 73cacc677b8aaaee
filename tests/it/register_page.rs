//! The page for private enquiries, over a socket: who is unknown, ambiguous, locked or in a copy too old cannot be told
//! apart by what the browser gets, how much of it, or when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::app::register::cashier::Cashier;
use amtsbote::clock::{Clock, SystemClock};
use amtsbote::config::register::{EXAMPLE, RegisterConfig};
use amtsbote::enquiry::users::{Secret, User};
use amtsbote::enquiry::{Door, Settings};
use amtsbote::net::{Bounds, Listener, Permits};
use amtsbote::register::copies::{Copies, LoadReceipt, LogKey};
use amtsbote::register::desk::Desk;
use amtsbote::register::payment::Rules;
use amtsbote::register::person::{Ags, Lock, Person, Sex};
use amtsbote::register::rights::Asker;
use amtsbote::register::synth;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// So many that no case is always before another by chance (1 in 80,000).
const ROUNDS: usize = 20;
/// Wide enough that the work is done before it ends, on a busy machine, too.
const BUCKET_MILLIS: u64 = 400;
const PASSWORD: &str = "ein langes Kennwort";

fn home() -> Ags {
    Ags::parse("10041100").expect("a key")
}

fn named(mark: &str, family: &str, lock: Option<u8>) -> Person {
    Person {
        mark: mark.to_owned(),
        family_names: vec![family.to_owned()],
        given_names: vec!["Willi".to_owned()],
        birth_dates: vec!["17031998".parse().expect("a date")],
        sex: Some(Sex::M),
        locks: lock.and_then(|code| Lock::try_from(code).ok()).into_iter().collect(),
        ..synth::person(3, home(), 1)
    }
}

fn load(copies: &Copies, ags: Ags, at: Timestamp, persons: &[Person]) {
    let mut receipt = LoadReceipt::default();
    copies.begin_load(ags, 1, 0, at).expect("begun");
    let records: Vec<Vec<u8>> = persons.iter().map(Person::to_bytes).collect();
    copies.load(ags, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
    copies.finish_load(ags, persons.len() as u64, &receipt).expect("finished");
}

/// One answer of the page.
struct Answered {
    status: u16,
    /// Names with their values.
    headers: BTreeMap<String, String>,
    body: String,
}

/// A browser with one cookie.
struct Browser {
    address: SocketAddr,
    cookie: String,
}

impl Browser {
    fn send(&mut self, method: &str, path: &str, form: &[(&str, &str)]) -> Answered {
        let body: Vec<String> = form.iter().map(|(name, text)| format!("{name}={}", encoded(text))).collect();
        let body = body.join("&");
        let mut socket = TcpStream::connect(self.address).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncookie: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            self.cookie,
            body.len()
        )
        .expect("sent");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("answered");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if let Some((cookie, _)) = headers.get("set-cookie").and_then(|value| value.split_once(';')) {
            self.cookie = cookie.to_owned();
        }
        Answered { status: status.expect("a status"), headers, body: body.to_owned() }
    }

    /// The value of a hidden field.
    fn hidden(page: &str, name: &str) -> String {
        let (_, rest) = page.split_once(&format!("name=\"{name}\"")).expect(name);
        let (_, rest) = rest.split_once("value=\"").expect(name);
        rest.split_once('"').expect(name).0.to_owned()
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn neutral_answers_of_the_page_cannot_be_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let text =
        EXAMPLE.replace("# bucket_milliseconds = 2000", &format!("bucket_milliseconds = {BUCKET_MILLIS}"));
    let config = RegisterConfig::parse(&text, &folder.path().join("register.toml")).expect("a configuration");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let key = LogKey::new(&[7; 32]);
    let copies = Copies::open(config.copies().expect("settings"), key).expect("copies");
    let mut persons: Vec<Person> = (10..1000).map(|number| synth::person(3, home(), number)).collect();
    persons.extend([named("a", "Doppel", None), named("b", "Doppel", None)]);
    persons.extend([named("c", "Sperre", Some(3)), named("e", "Adler", None)]);
    let old = Ags::parse("10041511").expect("a key");
    load(&copies, home(), clock.now(), &persons);
    load(&copies, old, clock.now().checked_sub(72.hours()).expect("in range"), &[named("d", "Einzig", None)]);
    let desk = Arc::new(Desk::new(copies, config.desk().expect("settings"), clock.clone()));
    let cashier = Arc::new(Cashier::new(desk.clone(), None, Rules::default(), clock.clone()));
    let secret = Secret::parse(&Secret::of(PASSWORD).expect("long enough")).expect("a secret");
    let settings = Settings {
        users: vec![User { name: "muster".to_owned(), kind: Asker::Citizen, secret }],
        places: vec![(home(), "Saarbrücken".to_owned()), (old, "Bous".to_owned())],
        list_lines_max: 10,
        url: "https://localhost".to_owned(),
        zone: TimeZone::UTC,
    };
    let door = Door::new(desk.clone(), cashier, clock, settings).expect("a door");
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::plain(any, Bounds::default(), Permits::new(16)).await.expect("a listener");
    let address = listener.address().expect("an address");
    let serving = listener.serve(Arc::new(door));
    let asked = tokio::task::spawn_blocking(move || ask_all(address, old)).await.expect("asked");
    serving.drain().await;
    let (looks, all) = (desk.copies.verify_looks().expect("whole"), 4 * ROUNDS as u64 + 1);
    assert_eq!((looks, asked), (all, all), "each enquiry is one look");
}

fn ask_all(address: SocketAddr, old: Ags) -> u64 {
    let mut browser = Browser { address, cookie: String::new() };
    let page = browser.send("GET", "/", &[]).body;
    let token = Browser::hidden(&page, "token");
    let form = [("token", token.as_str()), ("user", "muster"), ("password", PASSWORD)];
    assert_eq!(browser.send("POST", "/sign-in", &form).status, 303);
    let home = home().to_string();
    let old = old.to_string();
    let mut enquire = |ags: &str, family: &str| -> (Answered, Answered, Duration) {
        let page = browser.send("GET", "/enquiry?lang=en", &[]).body;
        let (token, attempt) = (Browser::hidden(&page, "token"), Browser::hidden(&page, "attempt"));
        let form = [
            ("token", token.as_str()),
            ("attempt", &attempt),
            ("municipality", ags),
            ("familyName", family),
            ("givenNames", "Willi"),
            ("birthDate", "17.03.1998"),
            ("birthPlace", ""),
            ("sex", "m"),
            ("purpose", "private"),
            ("noTrade", "on"),
            ("consent", "on"),
        ];
        let began = Instant::now();
        let sent = browser.send("POST", "/enquiry?lang=en", &form);
        assert_eq!(sent.status, 303, "{}", sent.body);
        let answer = browser.send("GET", &format!("/answer/{attempt}?lang=en"), &[]);
        let taken = began.elapsed();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let blank = |one: Answered| Answered {
            headers: one
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.replace(&attempt, "_")))
                .collect(),
            body: one.body.replace(&attempt, "_"),
            ..one
        };
        (blank(sent), blank(answer), taken)
    };
    let cases = [
        ("unknown", &home, "Niemand"),
        ("ambiguous", &home, "Doppel"),
        ("locked", &home, "Sperre"),
        ("stale", &old, "Einzig"),
    ];
    let mut shapes = BTreeSet::new();
    let mut sizes: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..ROUNDS {
        // Each in turn is the first.
        for place in 0..cases.len() {
            let (case, ags, family) = cases[(round + place) % cases.len()];
            let (sent, answer, taken) = enquire(ags, family);
            assert!(answer.body.contains("id=\"neutral\""), "{case}: {}", answer.body);
            sizes.entry(case).or_default().insert(answer.body.len());
            for mut one in [sent, answer] {
                one.headers.remove("date");
                let headers: Vec<(String, String)> = one.headers.into_iter().collect();
                shapes.insert((one.status, headers, one.body));
            }
            times.entry(case).or_default().push(taken);
        }
    }
    assert_eq!(shapes.len(), 2, "one answer to the form, and one page: {shapes:#?}");
    let all: BTreeSet<usize> = sizes.values().flatten().copied().collect();
    assert_eq!(all.len(), 1, "one size: {sizes:?}");
    // A case that is answered later than another, by however little, is so in every round.
    for (place, (one, ..)) in cases.iter().enumerate() {
        for (other, ..) in &cases[place + 1..] {
            let earlier = times[one].iter().zip(&times[other]).filter(|(one, other)| one < other).count();
            println!("{one} came before {other} in {earlier} of {ROUNDS} rounds");
            assert!((1..ROUNDS).contains(&earlier), "{one} and {other} are told apart by time: {times:?}");
        }
    }
    for (case, mut times) in times {
        times.sort_unstable();
        let least = times.first().copied().unwrap_or_default();
        assert!(
            least >= Duration::from_millis(BUCKET_MILLIS),
            "{case} came before its bucket ended: {least:?}"
        );
        println!(
            "{case}: {ROUNDS} pages, {} bytes each, p50 {:.1?}, least {least:.1?}, most {:.1?}; bucket {BUCKET_MILLIS} ms",
            all.first().expect("one"),
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
    // The page does tell, where it may.
    let (_, answer, taken) = enquire(&home, "Adler");
    assert!(answer.body.contains("id=\"person\"") && answer.body.contains("Adler"), "{}", answer.body);
    assert!(taken >= Duration::from_millis(BUCKET_MILLIS));
    4 * ROUNDS as u64 + 1
}
