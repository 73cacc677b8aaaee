//! Certificates from arbitrary bytes: as a leaf, as an intermediate and as an anchor.
//!
//! Reading must not panic and keeps within its bounds; what is read comes back from its own text as the same
//! certificate. Whatever the bytes, nobody is believed whose key the authority did not sign. Input: one byte that says
//! whether DER or text follows.
#![no_main]

use std::sync::LazyLock;

use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::summary::Summary;
use amtsbote::pki::trust::TrustAnchors;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const AUTHORITY: &[u8] = include_bytes!("../../certs-dev/ca.crt");
const PURPOSES: [Purpose; 2] = [Purpose::ParticipantTls, Purpose::ServerTls];

static AUTHOR: LazyLock<Certificate> = LazyLock::new(|| read(include_bytes!("../../certs-dev/author.crt")));
/// Everything that the authority signed and that lies among the seeds.
static SIGNED: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
    vec![
        AUTHOR.clone(),
        read(include_bytes!("../../certs-dev/server.crt")),
        read(include_bytes!("../../certs-dev/server-rsa.crt")),
    ]
});

fn read(pem: &[u8]) -> Certificate {
    Certificate::from_pem(pem).expect("a certificate")
}

fn anchored(pem: &[u8], purpose: Purpose) -> Option<TrustAnchors> {
    TrustAnchors::builder().anchors(purpose, pem).ok().map(|builder| builder.build())
}

fn look(certificate: &Certificate, now: Timestamp) {
    let again = Certificate::from_pem(certificate.pem().as_bytes()).expect("its own text");
    assert_eq!(again.der(), certificate.der());
    let _ = format!("{certificate:?} {:?}", Summary::from(certificate));
    for purpose in PURPOSES {
        let anchors = anchored(AUTHORITY, purpose).expect("an anchor");
        if anchors.inspect(purpose, certificate, &[], now).is_acceptable() {
            let known = SIGNED.iter().any(|one| one.key_fingerprint() == certificate.key_fingerprint());
            assert!(known, "{} is believed", certificate.subject());
        }
        // An intermediate in the way takes nothing from the direct path, and as the only anchor it vouches for none.
        anchors.inspect(purpose, &AUTHOR, std::slice::from_ref(certificate), now);
        if let Some(anchors) = anchored(certificate.pem().as_bytes(), purpose) {
            anchors.inspect(purpose, &AUTHOR, &[], now);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let now = Timestamp::from_second(1_800_000_000).expect("an instant");
    if mode & 1 == 0 {
        if let Ok(certificate) = Certificate::from_der(bytes) {
            assert_eq!(certificate.der().as_ref(), bytes);
            look(&certificate, now);
        }
        return;
    }
    if let Ok(chain) = Certificate::chain_from_pem(bytes) {
        assert!(!chain.is_empty());
        look(&chain[0], now);
    }
    let _ = Certificate::bundle_from_pem(bytes);
});
