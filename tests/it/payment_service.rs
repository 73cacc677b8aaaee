//! A payment service for tests: XBezahldienste over TLS, in memory. It keeps one transaction a request id, and it can be
//! told to lose an answer after it has done the work, to fall silent, or to say something else.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use amtsbote::clock::SystemClock;
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::{ClientCertificate, server_config};
use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};

pub const ORIGINATOR: &str = "meldeportal";
pub const ENDPOINT: &str = "10";
pub const TOKEN: &str = "geheim-7";

/// One twist, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Well,
    /// Does what is asked, and closes the connection instead of answering.
    LosesAnswers,
    /// Answers 503.
    Away,
    /// Sends a redirect to itself.
    Redirects,
    /// Answers without an end.
    Babbles,
    /// Takes the request and never answers.
    Hangs,
    /// Says what it should, as a web page.
    Web,
}

#[derive(Debug, Clone)]
pub struct Kept {
    pub id: String,
    pub request: Value,
    pub status: &'static str,
    /// What is said to have been paid, instead of what was asked for.
    pub amount: Option<f64>,
}

#[derive(Default)]
pub struct State {
    pub mood: Mood,
    pub kept: BTreeMap<String, Kept>,
    /// Method and path of every request, in order.
    pub asked: Vec<String>,
    /// The certificate that was shown with each.
    pub shown: Vec<Option<Vec<u8>>>,
    /// Transactions are found by their own id alone, not by the request's.
    pub own_ids_only: bool,
}

pub struct PaymentService {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl PaymentService {
    /// With the certificate and key of `server.crt` and `server.key` in `tls`.
    pub fn start(tls: &Path) -> Self {
        let identity = Identity::load(&tls.join("server.crt"), &tls.join("server.key")).expect("an identity");
        let tls = server_config(&identity, ClientCertificate::Optional, Arc::new(SystemClock));
        let tls = Arc::new(tls.expect("a configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (shared, stopping) = (state.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, state, stopping) = (tls.clone(), shared.clone(), stopping.clone());
                std::thread::spawn(move || {
                    let stream: TcpStream = stream.expect("a connection");
                    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
                    let connection = ServerConnection::new(tls).expect("a configuration");
                    serve(StreamOwned::new(connection, stream), &state, &stopping);
                });
            }
        });
        Self { address, state, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/xb", self.address.port())
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds it")
    }

    pub fn feels(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// What the asker, or the service itself, makes of every transaction.
    pub fn becomes(&self, status: &'static str) {
        self.state().kept.values_mut().for_each(|one| one.status = status);
    }
}

impl Drop for PaymentService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, state: &Mutex<State>, stop: &AtomicBool) {
    let Some((line, headers, body)) = read(&mut stream) else { return };
    let (mood, answer) = {
        let mut state = state.lock().expect("no panic holds it");
        state.asked.push(line.clone());
        let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
        state.shown.push(shown.map(|one| one.to_vec()));
        (state.mood, answered(&mut state, &line, &headers, &body))
    };
    let (status, kind, text) = match mood {
        Mood::Well => answer,
        Mood::LosesAnswers => return,
        Mood::Away => ("503 Service Unavailable", "application/problem+json", "{}".to_owned()),
        Mood::Redirects => ("302 Found\r\nLocation: https://localhost/other", "text/plain", String::new()),
        Mood::Babbles => ("200 OK", "application/json", "[".repeat(1 << 20)),
        Mood::Web => (answer.0, "text/html", answer.2),
        Mood::Hangs => {
            for _ in 0..100 {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            return;
        }
    };
    // The other side may have gone away, which is its right.
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", text.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes()));
    let _ = stream.flush();
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn read(stream: &mut impl Read) -> Option<(String, Vec<String>, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let first = lines.remove(0);
    Some((first.trim_end_matches(" HTTP/1.1").to_owned(), lines, body))
}

fn answered(
    state: &mut State,
    line: &str,
    headers: &[String],
    body: &[u8],
) -> (&'static str, &'static str, String) {
    let problem = |status, word: &str| {
        (status, "application/problem+json", json!({ "type": word, "title": "no" }).to_string())
    };
    if !headers.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {TOKEN}"))) {
        return problem("403 Forbidden", "FORBIDDEN");
    }
    let base = format!("/xb/paymenttransaction/{ORIGINATOR}/{ENDPOINT}");
    let (method, path) = line.split_once(' ').expect("a request line");
    let Some(rest) = path.strip_prefix(&base) else {
        return problem("400 Bad Request", "NO_VALID_ORIGINATOR_OR_ENDPOINT");
    };
    let found = match method {
        "POST" => {
            let request: Value = serde_json::from_slice(body).expect("JSON");
            let id = request["requestId"].as_str().expect("an id").to_owned();
            if state.kept.contains_key(&id) {
                return problem("409 Conflict", "PAYMENT_EXISTS");
            }
            let total: f64 = request["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|item| item["totalNetAmount"].as_f64().expect("a number"))
                .sum();
            if (total - request["grosAmount"].as_f64().expect("a number")).abs() > 0.001 {
                return problem("400 Bad Request", "CALCULATION_ERROR");
            }
            let own = format!("t-{}", state.kept.len() + 1);
            let kept = Kept { id: own, request, status: "INITIAL", amount: None };
            state.kept.insert(id, kept.clone());
            Some(kept)
        }
        _ => {
            let id = rest.trim_start_matches('/');
            let mut all = state.kept.iter();
            let by_request = !state.own_ids_only;
            all.find(|(request, kept)| kept.id == id || (by_request && *request == id))
                .map(|(_, kept)| kept.clone())
        }
    };
    let Some(kept) = found else { return ("404 Not Found", "text/plain", String::new()) };
    let mut request = kept.request.clone();
    if let Some(amount) = kept.amount {
        request["grosAmount"] = json!(amount);
    }
    let mut information = json!({
        "transactionUrl": "https://elsewhere.invalid/", "transactionId": kept.id, "status": kept.status,
    });
    if kept.status == "INITIAL" {
        information["transactionRedirectUrl"] = json!(format!("https://pay.invalid/p/{}", kept.id));
    } else {
        information["transactionReference"] = json!("K-7");
    }
    (
        "200 OK",
        "application/json",
        json!({ "paymentInformation": information, "paymentRequest": request }).to_string(),
    )
}
