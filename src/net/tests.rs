//! Rude peers on real loopback sockets: each is cut, and a polite one beside it is served.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::*;

/// Answers with the number of bytes that came, or with the error that ended them.
struct Counting {
    thinks: Duration,
}

#[async_trait]
impl Handler for Counting {
    async fn handle(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        if request.uri().path() == "/panic" {
            panic!("on purpose");
        }
        let chain = peer.certificates.len();
        let big = request.uri().path() == "/big";
        match request.into_body().collect().await {
            Ok(_) if big => Response::new(full(vec![b'x'; 64 * 1024 * 1024])),
            Ok(body) => {
                tokio::time::sleep(self.thinks).await;
                Response::new(full(format!("{} bytes, {chain} certificates", body.to_bytes().len())))
            }
            Err(error) => {
                let mut response = Response::new(full(error.to_string()));
                *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
                response
            }
        }
    }
}

#[async_trait]
impl LocalHandler for Counting {
    fn admits(&self, _: LocalPeer) -> bool {
        self.thinks.is_zero()
    }

    async fn handle(&self, _: Request<Body>, peer: LocalPeer) -> Response<Body> {
        Response::new(full(format!("uid {}", peer.uid)))
    }
}

fn strict() -> Bounds {
    Bounds {
        handshake: Duration::from_millis(300),
        header: Duration::from_millis(300),
        idle: Duration::from_millis(400),
        keep_alive: Duration::from_millis(900),
        bytes_per_second_min: 1000,
        pace_grace: Duration::from_millis(600),
        header_bytes_max: 8 * 1024,
        drain: Duration::from_millis(500),
    }
}

async fn plain(thinks: Duration, permits: usize) -> (SocketAddr, Serving) {
    plain_within(strict(), thinks, permits).await
}

async fn plain_within(bounds: Bounds, thinks: Duration, permits: usize) -> (SocketAddr, Serving) {
    let listener = Listener::plain((Ipv4Addr::LOCALHOST, 0).into(), bounds, Permits::new(permits))
        .await
        .expect("a free loopback port");
    let address = listener.address().expect("bound");
    (address, listener.serve(Arc::new(Counting { thinks })))
}

/// Everything the server says until it closes.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    match timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await {
        Err(_) => panic!("still open after 5 s: {}", String::from_utf8_lossy(&said)),
        Ok(Err(error)) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        Ok(_) => String::from_utf8_lossy(&said).into_owned(),
    }
}

async fn polite(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    stream.write_all(request).await.expect("writes");
    let said = until_closed(&mut stream).await;
    assert!(said.contains("5 bytes, 0 certificates"), "{said}");
}

#[tokio::test]
async fn a_dripping_header_is_cut() {
    let (address, serving) = plain(Duration::ZERO, 8).await;
    let mut slow = TcpStream::connect(address).await.expect("connects");
    let begun = Instant::now();
    let mut cut = false;
    for byte in b"GET / HTTP/1.1\r\nx-header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter() {
        if slow.write_all(&[*byte]).await.is_err() {
            cut = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    polite(address).await;
    let said = until_closed(&mut slow).await;
    assert!(!said.contains("200 OK"), "{said}");
    assert!(cut || begun.elapsed() < Duration::from_secs(4));
    serving.drain().await;
}

#[tokio::test]
async fn a_silent_connection_is_cut_but_a_quiet_one_may_ask_again() {
    let (address, serving) = plain(Duration::ZERO, 8).await;
    let mut silent = TcpStream::connect(address).await.expect("connects");
    assert_eq!(until_closed(&mut silent).await, "");

    let mut quiet = TcpStream::connect(address).await.expect("connects");
    for _ in 0..2 {
        quiet.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
        let mut answer = [0; 512];
        let length = quiet.read(&mut answer).await.expect("answers");
        assert!(String::from_utf8_lossy(&answer[..length]).contains("0 bytes"));
        // Longer than a header may take, shorter than the pause between requests.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let since = Instant::now();
    until_closed(&mut quiet).await;
    assert!(since.elapsed() < Duration::from_secs(2), "the pause between requests has an end");
    serving.drain().await;
}

#[tokio::test]
async fn slow_and_silent_bodies_end_with_a_reason() {
    let (address, serving) = plain(Duration::ZERO, 8).await;
    let mut silent = TcpStream::connect(address).await.expect("connects");
    silent.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel").await.expect("writes");
    let mut dripping = TcpStream::connect(address).await.expect("connects");
    dripping.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n").await.expect("writes");
    let drip = async {
        for _ in 0..40 {
            if dripping.write_all(b"x").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        until_closed(&mut dripping).await
    };
    let (said, dripped, ()) = tokio::join!(until_closed(&mut silent), drip, polite(address));
    assert!(said.contains("408") && said.contains("no byte for 0.4 s"), "{said}");
    assert!(dripped.is_empty() || dripped.contains("slower than 1000 bytes per second"), "{dripped}");
    serving.drain().await;
}

#[tokio::test]
async fn oversized_headers_and_half_closed_bodies_are_refused() {
    let (address, serving) = plain(Duration::ZERO, 8).await;
    let mut large = TcpStream::connect(address).await.expect("connects");
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "a".repeat(9000));
    large.write_all(header.as_bytes()).await.expect("writes");
    assert!(until_closed(&mut large).await.starts_with("HTTP/1.1 431"));

    let mut half = TcpStream::connect(address).await.expect("connects");
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel").await.expect("writes");
    half.shutdown().await.expect("half-closes");
    assert!(!until_closed(&mut half).await.contains("200 OK"));
    polite(address).await;
    serving.drain().await;
}

#[tokio::test]
async fn conflicting_lengths_are_not_smuggled() {
    let (address, serving) = plain(Duration::ZERO, 8).await;
    for header in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "transfer-encoding: chunked, identity",
    ] {
        let mut peer = TcpStream::connect(address).await.expect("connects");
        let request = format!("POST / HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\nhello!");
        peer.write_all(request.as_bytes()).await.expect("writes");
        let said = until_closed(&mut peer).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{header}: {said}");
    }
    serving.drain().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut() {
    let patient = Bounds { keep_alive: Duration::from_secs(30), ..strict() };
    let (address, serving) = plain_within(patient, Duration::ZERO, 1).await;
    let mut deaf = TcpStream::connect(address).await.expect("connects");
    deaf.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
    // The only permit is taken until the server gives up on the deaf peer.
    timeout(Duration::from_secs(4), polite(address)).await.expect("served after the cut");
    serving.drain().await;
}

#[tokio::test]
async fn an_answer_that_is_read_steadily_may_take_longer_than_a_pause() {
    let (address, serving) = plain(Duration::ZERO, 1).await;
    let mut steady = TcpStream::connect(address).await.expect("connects");
    steady.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
    let (mut piece, mut seen) = (vec![0; 2 * 1024 * 1024], 0);
    let begun = Instant::now();
    while seen < 64 * 1024 * 1024 {
        let count = steady.read(&mut piece).await.expect("reads");
        assert!(count > 0, "cut after {seen} bytes and {:?}", begun.elapsed());
        seen += count;
        let due = Duration::from_millis(1500).mul_f64(seen as f64 / (64.0 * 1024.0 * 1024.0));
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
    assert!(begun.elapsed() > strict().keep_alive, "too fast to tell");
    // Behind the answer the pause has its own end.
    let quiet = Instant::now();
    until_closed(&mut steady).await;
    assert!(quiet.elapsed() < Duration::from_secs(2));
    serving.drain().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_panics_stay_alone() {
    let (address, serving) = plain(Duration::ZERO, 1).await;
    let mut first = TcpStream::connect(address).await.expect("connects");
    first.write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
    assert_eq!(until_closed(&mut first).await, "");
    let holder = TcpStream::connect(address).await.expect("connects");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waiting = tokio::spawn(polite(address));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "a second connection was served beside the only permitted one");
    drop(holder);
    waiting.await.expect("served when the first was gone");
    serving.drain().await;
}

#[tokio::test]
async fn a_drain_finishes_what_has_begun_and_cuts_what_lasts() {
    for (thinks, finishes) in [(200, true), (3000, false)] {
        let (address, serving) = plain(Duration::from_millis(thinks), 8).await;
        let mut idle = TcpStream::connect(address).await.expect("connects");
        let mut busy = TcpStream::connect(address).await.expect("connects");
        busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = Instant::now();
        serving.drain().await;
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        assert_eq!(until_closed(&mut busy).await.contains("0 bytes"), finishes);
        assert_eq!(until_closed(&mut idle).await, "");
        assert!(TcpStream::connect(address).await.is_err(), "takes connections after the drain");
    }
}

#[tokio::test]
async fn the_local_socket_knows_who_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let bind = || LocalListener::bind(&path, 0o600, strict(), Permits::new(4));
    let listener = bind().await.expect("binds");
    let serving = listener.serve(Arc::new(Counting { thinks: Duration::ZERO }));
    assert_eq!(bind().await.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));

    let mut stream = UnixStream::connect(&path).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("writes");
    let mut said = String::new();
    stream.read_to_string(&mut said).await.expect("answers");
    assert!(said.contains(&format!("uid {}", rustix::process::getuid().as_raw())), "{said}");
    serving.drain().await;
    assert!(!path.exists(), "the socket file outlived its server");

    std::fs::write(&path, "not a socket").expect("writes");
    assert_eq!(bind().await.err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(std::fs::read_to_string(&path).expect("untouched"), "not a socket");
}

#[tokio::test]
async fn strangers_at_the_local_socket_are_few_and_keep_nobody_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let say = async |path: &std::path::Path| {
        let mut stream = UnixStream::connect(path).await.expect("connects");
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(request).await;
        let mut said = String::new();
        let _ =
            timeout(Duration::from_secs(5), stream.read_to_string(&mut said)).await.expect("not left alone");
        said
    };
    // The handler admits whoever asks one that does not think.
    for (thinks, served) in [(Duration::from_millis(1), false), (Duration::ZERO, true)] {
        let path = folder.path().join(format!("{served}.sock"));
        let bounds = Bounds { header: Duration::from_secs(60), ..strict() };
        let listener = LocalListener::bind(&path, 0o600, bounds, Permits::new(32)).await.expect("binds");
        let serving = listener.serve(Arc::new(Counting { thinks }));
        assert!(say(&path).await.contains("uid "), "a single stranger is told");
        let mut silent = Vec::new();
        for _ in 0..16 {
            silent.push(UnixStream::connect(&path).await.expect("connects"));
        }
        assert_eq!(say(&path).await.contains("uid "), served, "thinks {thinks:?}");
        drop(silent);
        serving.drain().await;
    }
}

#[test]
fn what_certificates_hold_is_read_once_for_each_connection() {
    let peer = |der: &'static [u8]| Peer::new((Ipv4Addr::LOCALHOST, 1).into(), Arc::from([der.into()]));
    let reads = std::cell::Cell::new(0);
    let length = |ders: &[rustls_pki_types::CertificateDer<'static>]| {
        reads.set(reads.get() + 1);
        ders[0].len()
    };
    let (one, other) = (peer(b"one"), peer(b"other"));
    assert_eq!([&one, &one, &other, &one].map(|peer| *peer.remember(length)), [3, 3, 5, 3]);
    assert_eq!(reads.get(), 2);
    // Somebody who wants to know something else is not given the wrong thing.
    assert!(*one.remember(|ders| ders.is_empty().to_string()) == "false");
}

/// Tells by a notice that its answer has gone out.
struct Telling(Arc<std::sync::atomic::AtomicUsize>);

#[async_trait]
impl Handler for Telling {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        let answer = match request.uri().path() {
            "/big" => full(vec![b'x'; 64 * 1024 * 1024]),
            "/broken" => {
                let frames = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("on purpose"))];
                let frames = frames.map(|frame| frame.map(hyper::body::Frame::data));
                http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
            }
            "/streamed" => {
                let frames =
                    [b"one", b"two"].map(|piece| Ok(hyper::body::Frame::data(Bytes::from_static(piece))));
                http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
            }
            _ => full("small"),
        };
        let mut response = Response::new(answer);
        let told = self.0.clone();
        let written = WhenWritten::new(move || {
            told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        response.extensions_mut().insert(written);
        response
    }
}

#[tokio::test]
async fn an_answer_is_written_when_all_of_it_is_out() {
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = || told.load(std::sync::atomic::Ordering::SeqCst);
    let listener = Listener::plain((Ipv4Addr::LOCALHOST, 0).into(), strict(), Permits::new(8)).await;
    let listener = listener.expect("a free loopback port");
    let address = listener.address().expect("bound");
    let serving = listener.serve(Arc::new(Telling(told.clone())));
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        stream
    };
    for (path, whole) in [("/small", true), ("/streamed", true), ("/broken", false), ("/big", true)] {
        let before = seen();
        let mut said = Vec::new();
        let _ = ask(path).await.read_to_end(&mut said).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(seen() - before, usize::from(whole), "{path}");
    }
    // The peer takes the beginning and goes.
    let before = seen();
    let mut stream = ask("/big").await;
    stream.read_exact(&mut [0; 1000]).await.expect("a beginning");
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(seen(), before, "what the peer did not take was not written");
    serving.drain().await;
}

#[tokio::test]
async fn every_one_of_pipelined_answers_is_told() {
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let listener = Listener::plain((Ipv4Addr::LOCALHOST, 0).into(), strict(), Permits::new(8)).await;
    let listener = listener.expect("a free loopback port");
    let address = listener.address().expect("bound");
    let serving = listener.serve(Arc::new(Telling(told.clone())));
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let more = "GET /small HTTP/1.1\r\nhost: x\r\n\r\n".repeat(7);
    let last = "GET /streamed HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all((more + last).as_bytes()).await.expect("writes");
    let said = until_closed(&mut stream).await;
    assert_eq!(said.matches("200 OK").count(), 8, "{said}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 8);
    serving.drain().await;
}

/// Asks and keeps the connection.
async fn ask_and_stay(address: SocketAddr) -> (TcpStream, bool) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 512];
    let length = timeout(Duration::from_secs(5), stream.read(&mut answer)).await.expect("not left alone");
    let served = length.is_ok_and(|length| String::from_utf8_lossy(&answer[..length]).contains("0 bytes"));
    (stream, served)
}

#[tokio::test]
async fn one_peer_fills_neither_a_door_nor_the_door_beside_it() {
    let shares = Shares { connections_max: 12, per_peer_max: 3, newcomers_max: 12 };
    let bounds = Bounds { header: Duration::from_secs(60), keep_alive: Duration::from_secs(60), ..strict() };
    let mut doors = Vec::new();
    for door in ["one", "other"] {
        let permits = Permits::of_door(door, shares);
        let listener = Listener::plain((Ipv4Addr::LOCALHOST, 0).into(), bounds, permits.clone()).await;
        let listener = listener.expect("a free loopback port");
        let address = listener.address().expect("bound");
        doors.push((address, permits, listener.serve(Arc::new(Counting { thinks: Duration::ZERO }))));
    }
    let (address, permits) = (doors[0].0, doors[0].1.clone());
    let mut held = Vec::new();
    for number in 0..6 {
        let (stream, served) = ask_and_stay(address).await;
        assert_eq!(served, number < 3, "connection {number}");
        held.push(stream);
    }
    assert!(permits.free() >= 8, "a stranger holds his share; the next place is kept ready");
    assert!(ask_and_stay(doors[1].0).await.1, "the other door is as it was");
    held.truncate(1);
    let again = async {
        while !ask_and_stay(address).await.1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), again).await.expect("what was given back can be taken again");
    drop(held);
    for (_, _, serving) in doors {
        serving.drain().await;
    }
}

#[tokio::test]
async fn silent_newcomers_leave_room_for_whoever_asks() {
    let shares = Shares { connections_max: 12, per_peer_max: 12, newcomers_max: 2 };
    let permits = Permits::of_door("test", shares);
    let listener = Listener::plain((Ipv4Addr::LOCALHOST, 0).into(), strict(), permits.clone()).await;
    let listener = listener.expect("a free loopback port");
    let address = listener.address().expect("bound");
    let serving = listener.serve(Arc::new(Counting { thinks: Duration::ZERO }));
    let (regular, served) = ask_and_stay(address).await;
    assert!(served);
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    assert!(!ask_and_stay(address).await.1, "the newcomers' share is used up");
    assert!(permits.free() >= 8, "{} are free", permits.free());
    // They are cut after the time for a header, and their places are free again.
    for stream in &mut silent {
        assert_eq!(until_closed(stream).await, "");
    }
    polite(address).await;
    drop(regular);
    serving.drain().await;
}

fn server_config(name: &str) -> (Arc<rustls::ServerConfig>, rustls_pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("fits");
    (Arc::new(config), made.cert.der().clone())
}

async fn tls_connect(
    address: SocketAddr,
    trusted: &rustls_pki_types::CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from("amtsbote.test").expect("a name");
    let stream = TcpStream::connect(address).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_cuts_no_old_one() {
    let (old, old_certificate) = server_config("amtsbote.test");
    let (new, new_certificate) = server_config("amtsbote.test");
    let source = TlsSource::new(old);
    let listener = Listener::tls((Ipv4Addr::LOCALHOST, 0).into(), source.clone(), strict(), Permits::new(8))
        .await
        .expect("binds");
    let address = listener.address().expect("bound");
    let serving = listener.serve(Arc::new(Counting { thinks: Duration::ZERO }));

    let mut before = tls_connect(address, &old_certificate).await.expect("the old certificate");
    source.replace(new);
    assert!(tls_connect(address, &old_certificate).await.is_err());
    tls_connect(address, &new_certificate).await.expect("the new certificate");
    before.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("lives on");
    let mut answer = [0; 512];
    let length = before.read(&mut answer).await.expect("answers");
    assert!(String::from_utf8_lossy(&answer[..length]).contains("0 bytes"));

    let mut mute = TcpStream::connect(address).await.expect("connects");
    assert_eq!(until_closed(&mut mute).await, "", "no handshake, no connection");
    serving.drain().await;
}
