//! A time stamp authority for tests: reads queries and answers with real stamps (RFC 3161 over CMS), made with a DER
//! writer of its own, so that writer and reader under test are not the same code. It can be told to lie.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// One lie, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    None,
    Status(u8),
    OtherImprint,
    Sha1Imprint,
    OtherNonce,
    NoNonce,
    OtherPolicy,
    CriticalExtension,
    Late,
    Inexact,
    ContentTypeAttribute,
    DigestAttribute,
    NoDigestAttribute,
    DigestAttributeTwice,
    NoSigningCertificate,
    OtherSigningCertificate,
    OtherIssuerSerial,
    OtherSerialOfSigner,
    NoCertificates,
    OtherKey,
    TwoSigners,
    Version2,
    ContentIsData,
    Md5Attributes,
    TrailingByte,
    NoUsage,
    UsageNotCritical,
    UsageWithMore,
    LeafIsCa,
}

pub const POLICY: &str = "1.2.276.0.99.1";

pub struct Authority {
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    /// Shown with the stamps, so that a path longer than one is walked.
    middle: Issuer<'static, KeyPair>,
    middle_der: Vec<u8>,
    validity: (i32, i32),
}

pub fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let body = contents.concat();
    let mut out = vec![tag];
    match body.len() {
        short @ 0..=0x7f => out.push(short as u8),
        middle @ 0x80..=0xff => out.extend([0x81, middle as u8]),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(body);
    out
}

/// The values inside a constructed one: tag, content, whole.
fn parts(content: &[u8]) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let (mut rest, mut out) = (content, Vec::new());
    while let [tag, first, ..] = rest {
        let (header, length) = match first {
            short if *short < 0x80 => (2, usize::from(*short)),
            0x81 => (3, usize::from(rest[2])),
            _ => (4, usize::from(rest[2]) << 8 | usize::from(rest[3])),
        };
        out.push((*tag, rest[header..header + length].to_vec(), rest[..header + length].to_vec()));
        rest = &rest[header + length..];
    }
    out
}

fn oid(text: &str) -> Vec<u8> {
    let numbers: Vec<u32> = text.split('.').map(|number| number.parse().expect("a number")).collect();
    let mut bytes = vec![(numbers[0] * 40 + numbers[1]) as u8];
    for number in &numbers[2..] {
        let groups: Vec<u8> = (0..5).rev().map(|group| (number >> (7 * group) & 0x7f) as u8).collect();
        let skip = groups.iter().take_while(|group| **group == 0).count().min(4);
        let last = groups.len() - 1;
        bytes.extend(
            groups.iter().enumerate().skip(skip).map(|(at, g)| if at < last { g | 0x80 } else { *g }),
        );
    }
    tlv(6, &[&bytes])
}

const SHA512_OID: &str = "2.16.840.1.101.3.4.2.3";
const SHA256_OID: &str = "2.16.840.1.101.3.4.2.1";
const SHA1_OID: &str = "1.3.14.3.2.26";

fn algorithm(id: &str) -> Vec<u8> {
    tlv(0x30, &[&oid(id), &[5, 0]])
}

struct Stamping {
    der: Vec<u8>,
    key: EcdsaKeyPair,
}

fn named(name: &str, validity: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(validity.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(validity.1, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

impl Authority {
    pub fn new() -> Self {
        Self::valid(2020, 2045)
    }

    /// From the first day of one year to that of another.
    pub fn valid(from: i32, until: i32) -> Self {
        let authority = |name: &str| {
            let mut params = named(name, (from.min(2020), until.max(2046)));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let (params, root_key) = (authority("Test stamps root"), key());
        let root = params.self_signed(&root_key).expect("a certificate");
        let ca = Issuer::new(params, root_key);
        let (params, middle_key) = (authority("Test stamps CA"), key());
        let middle_der = params.signed_by(&middle_key, &ca).expect("a certificate").der().to_vec();
        let middle = Issuer::new(params, middle_key);
        Self { ca, ca_pem: root.pem(), middle, middle_der, validity: (from, until) }
    }

    /// Lists (PEM) of both CAs, the root's with or without the other one's certificate on it.
    pub fn lists(&self, now: Timestamp, is_middle_revoked: bool) -> [String; 2] {
        let day = |days: i64| {
            let at = now + SignedDuration::from_hours(24 * days);
            let at = at.to_zoned(jiff::tz::TimeZone::UTC).date();
            rcgen::date_time_ymd(at.year().into(), at.month().unsigned_abs(), at.day().unsigned_abs())
        };
        let serial = parts(&parts(&self.middle_der)[0].1)[0].1.clone();
        let serial = parts(&serial).into_iter().find(|(tag, ..)| *tag == 2).expect("a serial number").1;
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: day(-1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = |issuer: &Issuer<'static, KeyPair>, revoked: Vec<RevokedCertParams>| {
            let params = CertificateRevocationListParams {
                this_update: day(-1),
                next_update: day(2),
                crl_number: SerialNumber::from(7),
                issuing_distribution_point: None,
                revoked_certs: revoked,
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(issuer).expect("a list").pem().expect("PEM")
        };
        let of_root = if is_middle_revoked { vec![revoked] } else { Vec::new() };
        [list(&self.ca, of_root), list(&self.middle, Vec::new())]
    }

    pub fn anchor_pem(&self) -> &str {
        &self.ca_pem
    }

    fn stamping(&self, twist: Twist) -> Stamping {
        let mut params = named("Test stamps TSA", self.validity);
        params.is_ca = IsCa::ExplicitNoCa;
        if twist == Twist::LeafIsCa {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let stamping = oid("1.3.6.1.5.5.7.3.8");
        let usages = match twist {
            Twist::UsageWithMore => tlv(0x30, &[&stamping, &oid("1.3.6.1.5.5.7.3.4")]),
            _ => tlv(0x30, &[&stamping]),
        };
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], usages);
        usage.set_criticality(true);
        match twist {
            Twist::NoUsage => {}
            Twist::UsageNotCritical => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping]
            }
            _ => params.custom_extensions = vec![usage],
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let der = params.signed_by(&key, &self.middle).expect("a certificate").der().to_vec();
        let pkcs8 = key.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).expect("its own form");
        Stamping { der, key }
    }

    /// Another leaf of the same CA, which is no TSA's.
    pub fn foreign_certificate(&self) -> Vec<u8> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        named("Somebody", self.validity).signed_by(&key, &self.ca).expect("a certificate").der().to_vec()
    }

    /// The answer (TimeStampResp) to a query (TimeStampReq).
    pub fn answer(&self, query: &[u8], now: Timestamp, twist: Twist) -> Vec<u8> {
        if let Twist::Status(status) = twist {
            let words = tlv(0x30, &[&tlv(0x0c, &["not today\u{1b}[2J".as_bytes()])]);
            let info = tlv(0x30, &[&[2, 1, status], &words, &[3, 2, 0, 0x80]]);
            return tlv(0x30, &[&info]);
        }
        let granted = tlv(0x30, &[&[2, 1, 0]]);
        let mut answer = tlv(0x30, &[&granted, &self.token(query, now, twist)]);
        if twist == Twist::TrailingByte {
            answer.push(0);
        }
        answer
    }

    fn token(&self, query: &[u8], now: Timestamp, twist: Twist) -> Vec<u8> {
        let content = info(query, now, twist);
        let stamping = self.stamping(twist);
        let certificate = parts(&parts(&stamping.der)[0].1);
        // version, serial, algorithm, issuer, …
        let tbs = parts(&certificate[0].1);
        let (serial, issuer) = (tbs[1].2.clone(), tbs[3].2.clone());
        let wrong_serial = tlv(2, &[&[1, 2, 3]]);
        let tst = oid("1.2.840.113549.1.9.16.1.4");
        let data = oid("1.2.840.113549.1.7.1");
        let attribute = |id: &str, value: &[u8]| tlv(0x30, &[&oid(id), &tlv(0x31, &[value])]);
        let content_type = attribute(
            "1.2.840.113549.1.9.3",
            if twist == Twist::ContentTypeAttribute { &data } else { &tst },
        );
        let mut message_digest = digest(&SHA256, &content).as_ref().to_vec();
        if twist == Twist::DigestAttribute {
            message_digest[0] ^= 1;
        }
        let message_digest = attribute("1.2.840.113549.1.9.4", &tlv(4, &[&message_digest]));
        let foreign = self.foreign_certificate();
        let named = if twist == Twist::OtherSigningCertificate { &foreign } else { &stamping.der };
        let named = tlv(4, &[digest(&SHA256, named).as_ref()]);
        let issuer_serial = tlv(
            0x30,
            &[
                &tlv(0x30, &[&tlv(0xa4, &[&issuer])]),
                if twist == Twist::OtherIssuerSerial { &wrong_serial } else { &serial },
            ],
        );
        let signing_certificate = attribute(
            "1.2.840.113549.1.9.16.2.47",
            &tlv(0x30, &[&tlv(0x30, &[&tlv(0x30, &[&named, &issuer_serial])])]),
        );
        let mut attributes = vec![content_type];
        match twist {
            Twist::NoDigestAttribute => {}
            Twist::DigestAttributeTwice => attributes.extend([message_digest.clone(), message_digest]),
            _ => attributes.push(message_digest),
        }
        if twist != Twist::NoSigningCertificate {
            attributes.push(signing_certificate);
        }
        attributes.sort();
        let attributes = attributes.concat();
        let key = if twist == Twist::OtherKey { self.stamping(twist).key } else { stamping.key };
        let signature = key.sign(&SystemRandom::new(), &tlv(0x31, &[&attributes])).expect("signed");
        let sid =
            tlv(0x30, &[&issuer, if twist == Twist::OtherSerialOfSigner { &wrong_serial } else { &serial }]);
        let hash = if twist == Twist::Md5Attributes { "1.2.840.113549.2.5" } else { SHA256_OID };
        let signer = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &sid,
                &algorithm(hash),
                &tlv(0xa0, &[&attributes]),
                &tlv(0x30, &[&oid("1.2.840.10045.4.3.2")]),
                &tlv(4, &[signature.as_ref()]),
            ],
        );
        let signers = if twist == Twist::TwoSigners { [signer.clone(), signer].concat() } else { signer };
        let certificates = tlv(0xa0, &[&stamping.der, &self.middle_der]);
        let content_id = if twist == Twist::ContentIsData { &data } else { &tst };
        let signed = tlv(
            0x30,
            &[
                &[2, 1, 3],
                &tlv(0x31, &[&algorithm(SHA256_OID)]),
                &tlv(0x30, &[content_id, &tlv(0xa0, &[&tlv(4, &[&content])])]),
                if twist == Twist::NoCertificates { &[] } else { &certificates },
                &tlv(0x31, &[&signers]),
            ],
        );
        tlv(0x30, &[&oid("1.2.840.113549.1.7.2"), &tlv(0xa0, &[&signed])])
    }
}

/// TSTInfo for the query.
fn info(query: &[u8], now: Timestamp, twist: Twist) -> Vec<u8> {
    let fields = parts(&parts(query)[0].1);
    assert_eq!(fields[0].1, [1], "version of the query");
    let asked = parts(&fields[1].1);
    let (mut policy, mut nonce, mut wants_certificate) = (oid(POLICY), None, false);
    for (tag, content, whole) in &fields[2..] {
        match tag {
            6 => policy = whole.clone(),
            2 => nonce = Some(whole.clone()),
            1 => wants_certificate = content == &[0xff],
            other => panic!("unexpected tag {other:#x} in a query"),
        }
    }
    assert!(wants_certificate && nonce.is_some(), "a query asks for the certificate and has a nonce");
    assert_eq!(asked[0].2, algorithm(SHA512_OID));
    let imprint = match twist {
        Twist::OtherImprint => {
            tlv(0x30, &[&algorithm(SHA512_OID), &tlv(4, &[digest(&SHA512, b"other").as_ref()])])
        }
        Twist::Sha1Imprint => tlv(0x30, &[&algorithm(SHA1_OID), &tlv(4, &[&[7; 20]])]),
        _ => fields[1].2.clone(),
    };
    let at = match twist {
        Twist::Late => now + SignedDuration::from_hours(2),
        _ => now,
    };
    let time = at.strftime("%Y%m%d%H%M%SZ").to_string();
    let accuracy = match twist {
        Twist::Inexact => tlv(0x30, &[&[2, 2, 0x0e, 0x10]]),
        _ => tlv(0x30, &[&[2, 1, 1], &[0x80, 2, 1, 0xf4]]),
    };
    let extension = tlv(0x30, &[&oid("1.2.3.4"), &[1, 1, 0xff], &tlv(4, &[b"x"])]);
    let nonce = match twist {
        Twist::NoNonce => Vec::new(),
        Twist::OtherNonce => vec![2, 1, 9],
        _ => nonce.unwrap_or_default(),
    };
    tlv(
        0x30,
        &[
            if twist == Twist::Version2 { &[2, 1, 2] } else { &[2, 1, 1] },
            &if twist == Twist::OtherPolicy { oid("1.2.3.9") } else { policy },
            &imprint,
            &[2, 3, 1, 2, 3],
            &tlv(0x18, &[time.as_bytes()]),
            &accuracy,
            &nonce,
            &if twist == Twist::CriticalExtension { tlv(0xa1, &[&extension]) } else { Vec::new() },
        ],
    )
}

/// What the server does with the next questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Answering(Twist),
    /// Takes the question and says nothing.
    Silent,
    HttpStatus(u16),
    OtherType,
    Endless,
}

/// The authority behind HTTP on a loopback port, until dropped.
pub struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    mood: Arc<Mutex<Mood>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    is_tls: bool,
}

/// Bare or within TLS.
trait Stream: Read + Write {
    fn wait_at_most(&self, time: Duration) -> std::io::Result<()>;
}

impl Stream for std::net::TcpStream {
    fn wait_at_most(&self, time: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

impl Stream for StreamOwned<ServerConnection, std::net::TcpStream> {
    fn wait_at_most(&self, time: Duration) -> std::io::Result<()> {
        self.sock.set_read_timeout(Some(time))
    }
}

impl Server {
    pub fn start(authority: Arc<Authority>, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::start_with(authority, None, now)
    }

    /// Behind HTTPS where there is a configuration for it.
    pub fn start_with(
        authority: Arc<Authority>,
        tls: Option<Arc<ServerConfig>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let is_tls = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (asked, mood) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Mood::Answering(Twist::None))));
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, felt, stopping) = (asked.clone(), mood.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("a connection");
                stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
                let mut stream: Box<dyn Stream> = match &tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls.clone()).expect("a configuration");
                        Box::new(StreamOwned::new(connection, stream))
                    }
                };
                let Some(query) = read_query(&mut stream) else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                let mood = *felt.lock().expect("no panic holds it");
                // The other side may have gone away, which is its right.
                let _ = reply(&mut stream, mood, &authority, &query, now());
            }
        });
        Self { address, asked, mood, stop, thread: Some(thread), is_tls }
    }

    pub fn url(&self) -> String {
        match self.is_tls {
            true => format!("https://localhost:{}/tsa", self.address.port()),
            false => format!("http://{}/tsa", self.address),
        }
    }

    pub fn feels(&self, mood: Mood) {
        *self.mood.lock().expect("no panic holds it") = mood;
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(std::net::TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_query(stream: &mut Box<dyn Stream>) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&piece[..read]);
        let Some(head) = seen.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&seen[..head]).to_lowercase();
        assert!(text.starts_with("post /tsa http/1.1"), "{text}");
        assert!(text.contains("content-type: application/timestamp-query"), "{text}");
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))?
            .trim()
            .parse::<usize>()
            .ok()?;
        if seen.len() >= head + 4 + length {
            return Some(seen[head + 4..head + 4 + length].to_vec());
        }
    }
}

fn reply(
    stream: &mut Box<dyn Stream>,
    mood: Mood,
    authority: &Authority,
    query: &[u8],
    now: Timestamp,
) -> std::io::Result<()> {
    let (status, kind, body) = match mood {
        Mood::Answering(twist) => (200, "application/timestamp-reply", authority.answer(query, now, twist)),
        Mood::HttpStatus(status) => (status, "text/plain", b"no".to_vec()),
        Mood::OtherType => (200, "text/html", b"<p>log in</p>".to_vec()),
        Mood::Silent => {
            stream.wait_at_most(Duration::from_millis(1500))?;
            let _ = stream.read(&mut [0; 16]);
            return Ok(());
        }
        Mood::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\n\r\n")?;
            for _ in 0..10_000 {
                stream.write_all(&[0x30; 4096])?;
            }
            return Ok(());
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    stream.flush()
}
