//! Verifying XML signatures beside libxmlsec1 and the JDK in the same run: documents of 10 kB, 1 MB and 100 MB, and
//! 100 MB that are one text node. The peers are small programs in this folder, compiled or run by the bench, that hold
//! the key and the bytes and loop in their own process. `cargo bench --bench xmlsec`.
//!
//! Everything is counted in processor time of one core, so that a busy machine changes little. `floor` is SHA-256
//! alone over the same bytes and the RSA operation alone, which every verification contains. Peak memory of ours is
//! that of a process that reads the file as a stream; the peers need the whole in memory. At the end: an
//! envelope of 2 GiB encrypted and decrypted as a stream.

use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use amtsbote::pki::signature::PublicKey;
use amtsbote::xml::c14n::Algorithm;
use amtsbote::xml::dsig::sign::{Plan, Planned, SigningKey};
use amtsbote::xml::dsig::signature::Canonicalization;
use amtsbote::xml::dsig::verify::read_once;
use amtsbote::xml::dsig::{DigestMethod, SignatureMethod, Target};
use amtsbote::xml::{Limits, enc};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::signature::{self as lc, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SECONDS: f64 = 2.0;
const MIB: f64 = 1024.0 * 1024.0;
/// Each document with its size and whether it is one text node.
const DOCUMENTS: [(&str, usize, bool); 4] = [
    ("10 kB", 10_000, false),
    ("1 MB", 1_000_000, false),
    ("100 MB", 100_000_000, false),
    ("100 MB text", 100_000_000, true),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("stream") => stream(&arguments[2], &arguments[3]),
        Some("envelope") => envelope(),
        _ => compare(),
    }
}

/// What one contestant did.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    peak_mib: f64,
}

fn compare() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = lc::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let public: Vec<u8> =
        AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).expect("a public key").as_ref().to_vec();
    let private =
        SigningKey::from_pkcs8(key.as_der().expect("a private key").as_ref()).expect("a private key");
    let pem = folder.path().join("key.pem");
    let lines =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&public));
    std::fs::write(&pem, lines).expect("a file");
    let libxmlsec = compile_driver(folder.path());
    let java = Command::new("java").arg("-version").output().is_ok_and(|output| output.status.success());
    for (peer, missing) in [("libxmlsec1 (cc, pkg-config xmlsec1)", libxmlsec.is_none()), ("java", !java)] {
        if missing {
            println!("{peer} is not installed and is left out");
        }
    }
    println!(
        "document      ours/s     MB/s  peak MiB |  libxmlsec/s  ratio  peak |     jdk/s  ratio  peak | floor/s"
    );
    // A name as argument runs that document alone.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    for (name, bytes, text) in DOCUMENTS {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let file = folder.path().join("document.xml");
        let document = document(bytes, text, &private);
        std::fs::write(&file, &document).expect("a file");
        let ours = ours(&document, &public, &file, &pem);
        let seconds = if bytes > 10_000_000 { 0.1 } else { SECONDS };
        let xmlsec = libxmlsec
            .as_ref()
            .and_then(|driver| peer(Command::new(driver).arg(&pem).arg(&file).arg(seconds.to_string())));
        let warm_up = if bytes > 10_000_000 { 0.0 } else { 6.0 };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/xmlsec/Verify.java");
        let jdk = java
            .then(|| {
                let mut command = Command::new("java");
                command.arg(source).arg(&pem).arg(&file).args([seconds.to_string(), warm_up.to_string()]);
                peer(&mut command)
            })
            .flatten();
        let floor = floor(&document, &key, &public);
        let column = |measured: Option<Measured>| match measured {
            Some(Measured { per_second, peak_mib }) => {
                format!("{per_second:9.2}  {:5.2}  {peak_mib:4.0}", ours.per_second / per_second)
            }
            None => format!("{:>9}  {:>5}  {:>4}", "-", "-", "-"),
        };
        let rate = ours.per_second * document.len() as f64 / 1e6;
        println!(
            "{name:11} {:8.2} {rate:8.1}  {:8.1} | {:>12} | {} | {floor:8.2}",
            ours.per_second,
            ours.peak_mib,
            column(xmlsec),
            column(jdk)
        );
    }
    if only.is_none() {
        print!("{}", own_child(&["envelope"]));
    }
}

/// An envelope with its signature in the header and records, or one text, in the body.
fn document(bytes: usize, text: bool, key: &SigningKey) -> String {
    let mut body = String::with_capacity(bytes + 4096);
    let mut number = 0_u32;
    while body.len() < bytes {
        number += 1;
        let value = number.wrapping_mul(2_654_435_761);
        if text {
            body.push_str(&STANDARD.encode(value.to_le_bytes()).replace('=', "A"));
        } else {
            body.push_str(&format!(
                "<p:record nr=\"{number}\" kind=\"move\"><p:name>M\u{fc}ller {value:x}</p:name><p:street>Hauptstra\u{df}e \
                 {}</p:street><p:place code=\"{value}\">Kiel &amp; Umland</p:place><p:empty></p:empty></p:record>\n",
                value % 200
            ));
        }
    }
    let document = format!(
        "<s:Envelope xmlns:s=\"urn:bench\" xmlns:p=\"urn:person\"><s:Header><s:Signed></s:Signed></s:Header>\
         <s:Body Id=\"body\">{body}</s:Body></s:Envelope>"
    );
    let exclusive = || Canonicalization { algorithm: Algorithm::Exclusive, prefix_list: String::new() };
    let target = Target::Element("body".to_owned());
    let plan = Plan {
        method: SignatureMethod::RsaSha256,
        canonicalization: exclusive(),
        covered: vec![Planned::canonical(target, exclusive(), DigestMethod::Sha256)],
        key_info: String::new(),
    };
    plan.sign(&document, document.find("</s:Signed>").expect("it is there"), key).expect("signed")
}

fn verify<R: std::io::BufRead>(open: impl FnMut() -> std::io::Result<R>, public: &PublicKey) {
    let (verification, _) =
        read_once(open, &Limits::default(), &Default::default(), |_| true).expect("readable");
    verification.expect("a signature").finish_with(public).expect("verifies");
}

fn ours(document: &str, public: &[u8], file: &Path, pem: &Path) -> Measured {
    let public = &PublicKey::from_spki(public).expect("a public key");
    verify(|| Ok(document.as_bytes()), public);
    let start = processor_seconds();
    let mut verified = 0.0;
    while processor_seconds() - start < SECONDS {
        verify(|| Ok(document.as_bytes()), public);
        verified += 1.0;
    }
    let per_second = verified / (processor_seconds() - start);
    let said = own_child(&["stream", &file.display().to_string(), &pem.display().to_string()]);
    Measured { per_second, peak_mib: said.trim().parse().expect("a number") }
}

/// Verifies a file as a stream and prints the process' peak memory.
fn stream(file: &str, pem: &str) {
    let lines = std::fs::read_to_string(pem).expect("the key");
    let public: String = lines.lines().filter(|line| !line.starts_with('-')).collect();
    let public = PublicKey::from_spki(&STANDARD.decode(public).expect("base64")).expect("a public key");
    verify(|| Ok(BufReader::with_capacity(64 * 1024, std::fs::File::open(file)?)), &public);
    println!("{:.1}", peak_mib());
}

/// SHA-256 over the same bytes, and the RSA operation; how often a second.
fn floor(document: &str, key: &lc::RsaKeyPair, public: &[u8]) -> f64 {
    let message = [7; 500];
    let mut value = vec![0; key.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    key.sign(&lc::RSA_PKCS1_SHA256, &random, &message, &mut value).expect("signed");
    let parsed = lc::ParsedPublicKey::new(&lc::RSA_PKCS1_2048_8192_SHA256, public).expect("a key");
    let start = processor_seconds();
    let mut done = 0.0;
    while processor_seconds() - start < SECONDS / 2.0 {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
        std::hint::black_box(digest);
        parsed.verify_sig(&message, &value).expect("verifies");
        done += 1.0;
    }
    done / (processor_seconds() - start)
}

/// A spool that keeps nothing: for the memory and time of the cipher alone.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Nowhere {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl Seek for Nowhere {
    fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
        Ok(0)
    }
}

/// What the sealing side writes goes at once to the opening side.
struct Through {
    opening: enc::Opening<Nowhere>,
}

impl Write for Through {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.opening.push(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn envelope() {
    let key =
        aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let spki: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a public key");
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("a private key");
    let private = enc::RecipientKey::from_pkcs8(pkcs8.as_ref()).expect("a private key");
    let plan = enc::Plan {
        method: enc::ContentMethod::Aes256Gcm,
        iv: enc::IvLength::Sixteen,
        transport: enc::KeyTransport::OAEP_SHA256,
        recipients: vec![enc::Recipient::by_certificate(b"certificate", spki.as_ref().to_vec())],
    };
    let bytes = 2_u64 << 30;
    let file = tempfile::tempfile().expect("a temporary file");
    let start = processor_seconds();
    let (xml, mut sealing) =
        plan.seal_attachment("osci_enc", "Multipart/Related", std::io::BufWriter::new(file)).expect("begun");
    let piece = vec![7; 1 << 20];
    for _ in 0..bytes >> 20 {
        sealing.push(&piece).expect("sealed");
    }
    let mut file = sealing.finish().expect("sealed").into_inner().expect("written");
    let sealed = processor_seconds() - start;
    let element =
        amtsbote::xml::tree::Element::parse(xml.as_bytes(), &Limits::default(), &Default::default())
            .expect("well-formed");
    let policy = enc::Policy { iv: enc::IvLength::Sixteen, ..Default::default() };
    let data = enc::EncryptedData::from_element(&element, &policy).expect("understood");
    let open = || data.open(&data.keys()[0], &private, enc::Written::Octets, Nowhere).expect("begun");
    file.rewind().expect("rewound");
    let start = processor_seconds();
    let mut through = Through { opening: open() };
    std::io::copy(&mut BufReader::with_capacity(1 << 16, file), &mut through).expect("read");
    assert_eq!(through.opening.finish().expect("decrypted").size(), bytes);
    let opened = processor_seconds() - start;
    let rate = |seconds: f64| bytes as f64 / MIB / seconds;
    println!(
        "envelope of 2 GiB: encrypted {:.0} MiB/s, decrypted {:.0} MiB/s, peak {:.1} MiB",
        rate(sealed),
        rate(opened),
        peak_mib()
    );
}

fn compile_driver(folder: &Path) -> Option<PathBuf> {
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "xmlsec1-openssl"]).output().ok()?;
    let flags = flags.status.success().then(|| String::from_utf8_lossy(&flags.stdout).into_owned())?;
    let driver = folder.join("driver");
    let mut command = Command::new("cc");
    command.args(["-O2", "-o"]).arg(&driver);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/xmlsec/driver.c"));
    let status = command.args(flags.split_whitespace()).status().ok()?;
    status.success().then_some(driver)
}

fn peer(command: &mut Command) -> Option<Measured> {
    let output = command.output().ok()?;
    if !output.status.success() {
        println!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = said.split_whitespace().map(|word| word.parse::<f64>().expect("a number"));
    let (verified, seconds, peak) = (words.next()?, words.next()?, words.next()?);
    Some(Measured { per_second: verified / seconds, peak_mib: peak / 1024.0 })
}

fn own_child(arguments: &[&str]) -> String {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args(arguments).output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Seconds this thread was on a processor.
fn processor_seconds() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds: f64 = times.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    nanoseconds / 1e9
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}
