//! Claims of events that the right key signed: whatever a subscriber's JSON says, checking must not panic, and what passes
//! is about this submission.

use std::sync::LazyLock;

use amtsbote::domain::destination::DestinationId;
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::jose::jws::SigningKey;
use amtsbote::pki::key::PrivateKey;
use amtsbote::portal::event::{About, AuthenticationTags, TYPE, check};
use jiff::Timestamp;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let pem = PrivateKey::from_pem(include_bytes!("../../tests/data/portal/signature.key")).expect("a key");
    SigningKey::from_pkcs8(pem.pkcs8_der().expect("PKCS #8"))
        .expect("an RSA key")
        .named("authority-signature-2026")
});
static PUBLIC: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::parse(include_str!("../../tests/data/portal/signature.jwk")).expect("a key"));

/// Whether it was taken.
pub fn look(input: &[u8]) -> bool {
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(input) else { return false };
    let token = KEY.sign(TYPE, &claims).expect("signed");
    let destination = DestinationId::parse("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01").expect("a UUID");
    let about = About {
        destination: &destination,
        submission: "11111111-1111-4111-8111-111111111111",
        case: "22222222-2222-4222-8222-222222222222",
        tags: &AuthenticationTags::default(),
        now: Timestamp::from_second(1_800_000_000).expect("an instant"),
    };
    let is_taken = check(&token, std::slice::from_ref(&*PUBLIC), about).is_ok();
    if is_taken {
        assert_eq!(claims["sub"], "submission:11111111-1111-4111-8111-111111111111");
        assert_eq!(claims["iss"], "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01");
    }
    is_taken
}
