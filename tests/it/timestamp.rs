//! RFC 3161 time stamps: what is accepted, every lie of an authority by its name, and OpenSSL's `ts` as a foreign peer
//! both ways where it is on the machine.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::timestamp::client::{self, Client};
use amtsbote::pki::timestamp::{Authorities, Error, Oid, Request, Token, Tolerance, accept, token_of};
use jiff::{SignedDuration, Timestamp};

use crate::tools;
use crate::tsa::{Authority, Mood, POLICY, Server, Twist};

const BYTES: &[u8] = b"post.example.org/evidence\n42\nroot\n";

fn now() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().expect("an instant")
}

fn request(policy: Option<&str>) -> Request {
    Request::new(BYTES, [0x80; 16], policy.map(|policy| policy.parse().expect("an identifier")))
}

fn anchors(authority: &Authority) -> Authorities {
    let anchor = Certificate::from_pem(authority.anchor_pem().as_bytes()).expect("a certificate");
    Authorities::new([anchor]).expect("a CA")
}

fn outcome(authority: &Authority, policy: Option<&str>, twist: Twist) -> Result<Token, Error> {
    let request = request(policy);
    let answer = authority.answer(request.der(), now(), twist);
    accept(&answer, &request, &anchors(authority), &Tolerance::default(), now()).map(|(token, _)| token)
}

#[test]
fn a_true_stamp_is_accepted_and_says_what_it_says() {
    let authority = Authority::new();
    let request = request(None);
    let answer = authority.answer(request.der(), now(), Twist::None);
    let (token, trusted) =
        accept(&answer, &request, &anchors(&authority), &Tolerance::default(), now()).expect("accepted");
    assert_eq!(token.time(), now());
    assert_eq!(token.policy().to_string(), POLICY);
    assert_eq!(token.accuracy().map(|it| it.duration()), Some(SignedDuration::from_millis(1500)));
    assert_eq!(token.serial(), "010203");
    assert_eq!(token.covers(BYTES), Ok(()));
    assert_eq!(token.covers(b"other"), Err(Error::Imprint));
    assert_eq!(trusted.path.len(), 2, "the CA between, and the root");
    assert_eq!(trusted.good_until.to_string(), "2045-01-01T00:00:00Z");
    assert_eq!(Token::read(token.der()), Ok(token));
    assert!(outcome(&authority, Some("1.2.3.4"), Twist::None).is_ok(), "the policy asked for");
}

#[track_caller]
fn check(twist: Twist, expected: &str) {
    let refused = outcome(&Authority::new(), Some(POLICY), twist).expect_err("a lie");
    assert_eq!(refused.to_string(), expected, "{twist:?}");
}

#[test]
fn every_lie_is_refused_by_its_name() {
    check(Twist::Status(2), "the authority refused: status 2, \"not today\\u{1b}[2J\", badAlg");
    check(Twist::OtherImprint, "the time stamp is over other bytes");
    check(
        Twist::Sha1Imprint,
        "hash algorithm 1.3.14.3.2.26 is not accepted; SHA-256, SHA-384 and SHA-512 are",
    );
    check(Twist::OtherNonce, "the time stamp does not repeat the nonce of the request");
    check(Twist::NoNonce, "the time stamp does not repeat the nonce of the request");
    check(Twist::OtherPolicy, "the time stamp was made under policy 1.2.3.9, asked for was 1.2.276.0.99.1");
    check(Twist::CriticalExtension, "extension 1.2.3.4 of the time stamp is critical and unknown");
    check(Twist::Late, "the time stamp says 2026-11-28T14:00:00Z, the clock here 2026-11-28T12:00:00Z");
    check(Twist::Inexact, "the time stamp is exact to 1h; 1m is the most that is accepted");
    check(Twist::ContentTypeAttribute, "the signed attribute content-type does not name a time stamp");
    check(Twist::ContentIsData, "the signed attribute content-type does not name a time stamp");
    check(Twist::DigestAttribute, "the signed attribute message-digest is not the digest of the content");
    check(Twist::NoDigestAttribute, "the signed attribute message-digest is missing or occurs twice");
    check(Twist::DigestAttributeTwice, "the signed attribute message-digest is missing or occurs twice");
    check(
        Twist::NoSigningCertificate,
        "the signed attribute signing-certificate-v2 is missing or occurs twice",
    );
    const OTHER: &str =
        "the signed attribute signing-certificate-v2 names another certificate than the signer's";
    check(Twist::OtherSigningCertificate, OTHER);
    check(Twist::OtherIssuerSerial, OTHER);
    check(Twist::OtherSerialOfSigner, "the certificate that made the time stamp is not in it");
    check(Twist::NoCertificates, "the certificate that made the time stamp is not in it");
    check(Twist::OtherKey, "the signature of the time stamp does not verify");
    check(Twist::TwoSigners, "the time stamp is malformed: more than one signer");
    check(Twist::Version2, "the time stamp is malformed: version of TSTInfo");
    check(
        Twist::Md5Attributes,
        "hash algorithm 1.2.840.113549.2.5 is not accepted; SHA-256, SHA-384 and SHA-512 are",
    );
    check(Twist::TrailingByte, "the time stamp is malformed: TimeStampResp");
    let purpose = |why: &str| format!("CN=Test stamps TSA is no time stamp certificate: {why}");
    check(Twist::NoUsage, &purpose("it has no extended key usage"));
    check(Twist::UsageNotCritical, &purpose("its extended key usage is not critical"));
    check(Twist::UsageWithMore, &purpose("its extended key usage is not timeStamping alone"));
    check(Twist::LeafIsCa, &purpose("it is a CA"));
}

#[test]
fn the_path_is_judged_at_the_stamps_time() {
    let request = request(None);
    let judge = |authority: &Authority, believed: &Authorities| {
        let answer = authority.answer(request.der(), now(), Twist::None);
        accept(&answer, &request, believed, &Tolerance::default(), now()).map(drop)
    };
    let (ours, other) = (Authority::new(), Authority::new());
    assert_eq!(judge(&ours, &anchors(&ours)), Ok(()));
    for (what, authority, believed) in [
        ("nobody is believed", &ours, Authorities::default()),
        ("another root of the same name", &ours, anchors(&other)),
        ("it has ended", &Authority::valid(2020, 2026), anchors(&ours)),
        ("not yet", &Authority::valid(2027, 2040), anchors(&ours)),
    ] {
        let refused = judge(authority, &believed).expect_err(what);
        assert!(matches!(refused, Error::Untrusted { .. }), "{what}: {refused}");
    }
    for (from, until) in [(2020, 2026), (2027, 2040)] {
        let authority = Authority::valid(from, until);
        let refused = judge(&authority, &anchors(&authority)).expect_err("out of date");
        assert!(refused.to_string().contains("is not trusted: "), "{refused}");
    }
    let leaf = Certificate::from_der(&ours.foreign_certificate()).expect("a certificate");
    assert!(matches!(Authorities::new([leaf]), Err(Error::Anchor { .. })), "a leaf is no anchor");
}

#[test]
fn a_changed_byte_is_refused_or_changes_nothing_that_is_signed() {
    let authority = Authority::new();
    let request = request(None);
    let answer = authority.answer(request.der(), now(), Twist::None);
    let anchors = anchors(&authority);
    let judge = |answer: &[u8]| accept(answer, &request, &anchors, &Tolerance::default(), now());
    let (token, _) = judge(&answer).expect("untouched");
    let mut harmless = 0;
    for at in 0..answer.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = answer.clone();
            changed[at] ^= flip;
            if let Ok((other, _)) = judge(&changed) {
                harmless += 1;
                assert_eq!(
                    (other.time(), other.imprint(), other.serial(), other.signer()),
                    (token.time(), token.imprint(), token.serial(), token.signer())
                );
            }
            assert!(judge(&answer[..at]).is_err(), "cut at {at}");
        }
    }
    // The list of digest algorithms in SignedData is outside every signature, the status may be 0 or 1; no more.
    assert!(harmless < 60, "{harmless} changes went unseen");
}

#[test]
fn identifiers_of_policies_are_read() {
    assert_eq!("1.2.276.0.99.1".parse::<Oid>().expect("one").to_string(), "1.2.276.0.99.1");
    assert!("policy".parse::<Oid>().is_err());
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

#[test]
fn the_client_is_bounded_in_time_and_size() {
    let authority = Arc::new(Authority::new());
    let server = Server::start(authority.clone(), now);
    let client = Client::new(&server.url(), Duration::from_millis(700)).expect("a URL");
    let request = request(None);
    let ask = || block_on(client.ask(request.der()));
    let answer = ask().expect("an answer");
    accept(&answer, &request, &anchors(&authority), &Tolerance::default(), now()).expect("accepted");
    server.feels(Mood::HttpStatus(503));
    assert_eq!(ask(), Err(client::Error::Status(503)));
    server.feels(Mood::HttpStatus(302));
    assert_eq!(ask(), Err(client::Error::Status(302)));
    server.feels(Mood::OtherType);
    assert_eq!(ask(), Err(client::Error::ContentType("text/html".to_owned())));
    server.feels(Mood::Endless);
    assert!(matches!(ask(), Err(client::Error::Body(_))));
    server.feels(Mood::Silent);
    assert_eq!(ask(), Err(client::Error::Slow(Duration::from_millis(700))));
    assert_eq!(server.asked(), 6);
    let url = server.url();
    drop(server);
    let nobody = Client::new(&url, Duration::from_millis(700)).expect("a URL");
    assert!(matches!(block_on(nobody.ask(request.der())), Err(client::Error::Connection(_))));
}

/// A TSA of OpenSSL's, in a folder of its own.
struct Foreign(tempfile::TempDir);

impl Foreign {
    fn run(&self, arguments: &[&str]) -> bool {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .expect("openssl runs");
        if !done.status.success() {
            eprintln!("openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        done.status.success()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).expect(name)
    }

    /// `None` where there is no openssl with `ts`.
    fn new(key: &[&str], digest: &str) -> Option<Self> {
        if !tools::is_here("openssl", &["ts", "-help"], "time stamps of OpenSSL's authority are not judged") {
            return None;
        }
        let foreign = Self(tempfile::tempdir().expect("a folder"));
        let config = format!(
            "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=Foreign stamps\n\
             [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n\
             [leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=critical,timeStamping\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n\
             [tsa]\ndefault_tsa=t\n[t]\nserial=serial\ncrypto_device=builtin\nsigner_digest={digest}\n\
             default_policy=1.2.3.4.1\nother_policies=1.2.3.4.5\ndigests=sha256,sha384,sha512\n\
             accuracy=secs:1,millisecs:500,microsecs:100\nordering=no\ntsa_name=yes\ness_cert_id_chain=yes\n\
             ess_cert_id_alg=sha256\n"
        );
        std::fs::write(foreign.file("c.cnf"), config).expect("written");
        let new_key = |name: &str| {
            let file = format!("{name}.key");
            let mut arguments = vec!["genpkey", "-out", &file];
            arguments.extend(key);
            assert!(foreign.run(&arguments));
        };
        new_key("ca");
        new_key("tsa");
        let made = foreign.run(&[
            "req",
            "-x509",
            "-config",
            "c.cnf",
            "-extensions",
            "ca",
            "-key",
            "ca.key",
            "-out",
            "ca.crt",
            "-days",
            "30",
        ]) && foreign.run(&[
            "req",
            "-new",
            "-config",
            "c.cnf",
            "-subj",
            "/CN=Foreign TSA",
            "-key",
            "tsa.key",
            "-out",
            "tsa.csr",
        ]) && foreign.run(&[
            "x509",
            "-req",
            "-in",
            "tsa.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "c.cnf",
            "-extensions",
            "leaf",
            "-out",
            "tsa.crt",
        ]);
        assert!(made, "openssl makes certificates");
        Some(foreign)
    }

    fn answer(&self, query: &Path) -> Vec<u8> {
        let query = query.to_str().expect("UTF-8");
        assert!(self.run(&[
            "ts",
            "-reply",
            "-config",
            "c.cnf",
            "-section",
            "t",
            "-queryfile",
            query,
            "-signer",
            "tsa.crt",
            "-inkey",
            "tsa.key",
            "-chain",
            "ca.crt",
            "-out",
            "answer.tsr",
        ]));
        self.read("answer.tsr")
    }
}

#[test]
fn openssl_reads_our_requests_and_we_believe_its_answers() {
    const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];
    for (key, digest) in [(P256, "sha256"), (P384, "sha384"), (RSA, "sha256"), (RSA, "sha512")] {
        let Some(foreign) = Foreign::new(key, digest) else { return };
        std::fs::write(foreign.file("data"), BYTES).expect("written");
        let request = Request::new(BYTES, [0x9a; 16], Some("1.2.3.4.5".parse().expect("an identifier")));
        std::fs::write(foreign.file("ours.tsq"), request.der()).expect("written");
        let answer = foreign.answer(&foreign.file("ours.tsq"));
        let anchor = Certificate::from_pem(&foreign.read("ca.crt")).expect("a certificate");
        let anchors = Authorities::new([anchor]).expect("a CA");
        let tolerance = Tolerance::default();
        let (token, trusted) = accept(&answer, &request, &anchors, &tolerance, Timestamp::now())
            .unwrap_or_else(|error| panic!("{key:?} {digest}: {error}"));
        assert_eq!(token.policy().to_string(), "1.2.3.4.5");
        assert_eq!(trusted.path.len(), 1);
        // Its own request, which has no certificate asked for and another hash: the token alone is judged.
        assert!(foreign.run(&["ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "its.tsq"]));
        let its = Token::read(token_of(&foreign.answer(&foreign.file("its.tsq"))).expect("granted"))
            .expect("whole");
        assert_eq!(its.covers(BYTES), Ok(()));
        anchors.trust(&its).expect("trusted");
        // A policy that it does not have is refused in its words.
        let other = Request::new(BYTES, [1; 16], Some("1.2.3.4.9".parse().expect("an identifier")));
        std::fs::write(foreign.file("ours.tsq"), other.der()).expect("written");
        let refusal = accept(
            &foreign.answer(&foreign.file("ours.tsq")),
            &other,
            &anchors,
            &tolerance,
            Timestamp::now(),
        );
        let words = refusal.expect_err("refused").to_string();
        assert!(words.contains("status 2") && words.contains("unacceptedPolicy"), "{words}");
    }
}

#[test]
fn openssl_believes_the_stamps_of_the_test_authority() {
    let Some(foreign) = Foreign::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "sha256")
    else {
        return;
    };
    let authority = Authority::new();
    std::fs::write(foreign.file("data"), BYTES).expect("written");
    std::fs::write(foreign.file("anchor.pem"), authority.anchor_pem()).expect("written");
    let answer = authority.answer(request(None).der(), Timestamp::now(), Twist::None);
    std::fs::write(foreign.file("test.tsr"), answer).expect("written");
    assert!(foreign.run(&["ts", "-verify", "-data", "data", "-in", "test.tsr", "-CAfile", "anchor.pem"]));
}
