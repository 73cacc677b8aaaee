//! Tables for the state machine of dialogs.

use super::*;

const IDLE: Duration = Duration::from_secs(900);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

fn control<'a>(parts: [Option<&'a str>; 4]) -> Control<'a> {
    let [conversation, sequence, response, challenge] = parts;
    let sequence = sequence.map(|digits| digits.parse().expect("a number"));
    Control { conversation, sequence, response, challenge }
}

#[track_caller]
fn check(manner: Manner, parts: [Option<&str>; 4], expected: Result<&str, Refusal>) {
    let found = open(manner, control(parts)).map(|opening| match opening {
        Opening::Begins { .. } => "begins",
        Opening::Continues(Continuation { ends: true, .. }) => "ends",
        Opening::Continues(_) => "continues",
        Opening::Implicit { .. } => "implicit",
        Opening::NeedsDialog { .. } => "needs a dialog",
    });
    assert_eq!(found, expected, "{manner:?} {parts:?}");
}

#[test]
fn the_request_type_says_what_its_control_block_holds() {
    use Manner as M;
    let (id, seq, resp, chal) = (Some("12"), Some("0"), Some("r"), Some("c"));
    check(M::Begins, [None, None, None, chal], Ok("begins"));
    check(M::Begins, [None, None, None, None], Err(Refusal::Missing("Challenge")));
    check(M::Begins, [id, None, None, chal], Err(Refusal::Surplus("ConversationId")));
    check(M::Begins, [None, seq, None, chal], Err(Refusal::Surplus("SequenceNumber")));
    check(M::Begins, [None, None, resp, chal], Err(Refusal::Surplus("Response")));
    check(M::Ends, [id, seq, resp, chal], Ok("ends"));
    check(M::Ends, [None, seq, resp, chal], Err(Refusal::Missing("ConversationId")));
    check(M::Either, [id, seq, resp, chal], Ok("continues"));
    check(M::Either, [id, seq, None, chal], Err(Refusal::Missing("Response")));
    check(M::Either, [id, None, resp, chal], Err(Refusal::Missing("SequenceNumber")));
    check(M::Either, [None, seq, None, chal], Ok("implicit"));
    check(M::Either, [None, seq, resp, chal], Ok("implicit"));
    check(M::Either, [None, Some("1"), None, chal], Err(Refusal::WrongSequence { expected: 0, found: 1 }));
    check(M::Explicit, [None, seq, None, chal], Ok("needs a dialog"));
    check(M::Explicit, [id, seq, resp, chal], Ok("continues"));
    check(M::Either, [Some("x"), seq, resp, chal], Err(Refusal::Malformed("ConversationId")));
    check(M::Either, [id, seq, resp, Some("")], Err(Refusal::Malformed("Challenge")));
    let long = "c".repeat(CHALLENGE_BYTES_MAX + 1);
    check(M::Either, [id, seq, resp, Some(&long)], Err(Refusal::Malformed("Challenge")));
}

fn begun() -> (AnswerControl, ExpectRequest) {
    let originator = Originator { cipher: b"cipher".to_vec(), signature: None };
    let account = AccountName::parse("amt").expect("a well-formed name");
    let fresh = Fresh { conversation: 7, challenge: "s0".to_owned() };
    let (control, next) = begin("c0".to_owned(), account, originator, true, fresh, at(0), IDLE).answer();
    (control, next.expect("open"))
}

fn request(control: &AnswerControl, sequence: u64, ends: bool) -> Continuation {
    Continuation {
        conversation: control.conversation.clone(),
        sequence,
        response: control.challenge.clone().unwrap_or_default(),
        challenge: format!("c{}", sequence + 1),
        ends,
    }
}

const ENCRYPTED: Shown<'_> = Shown { cipher: None, signature: None, encrypted: true };

#[test]
fn a_dialog_from_its_first_request_to_its_last() {
    let (mut control, mut state) = begun();
    assert_eq!((control.sequence, control.response.as_str()), (None, "c0"));
    for sequence in 0..3 {
        let challenge = format!("s{}", sequence + 1);
        let last = control.challenge.clone().expect("open");
        let (step, answer) = state
            .take(request(&control, sequence, false), ENCRYPTED, challenge.clone(), at(10), IDLE)
            .expect("taken");
        assert_eq!((step.challenge, step.sequence), (last, sequence));
        assert_eq!(step.challenge_next.as_ref(), Some(&challenge));
        assert!(step.confirms);
        let (next, open) = answer.answer();
        assert_eq!(next.sequence, Some(sequence));
        assert_eq!(next.response, format!("c{}", sequence + 1));
        assert_eq!(next.challenge, Some(challenge));
        assert_eq!(next.conversation, control.conversation);
        (control, state) = (next, open.expect("open"));
    }
    let (step, answer) =
        state.take(request(&control, 3, true), ENCRYPTED, "s4".to_owned(), at(20), IDLE).expect("taken");
    assert_eq!(step.challenge_next, None);
    assert!(step.confirms, "exitDialog is a further request");
    let (last, open) = answer.answer();
    assert_eq!((last.challenge, last.sequence, open), (None, Some(3), None));
}

#[test]
fn what_does_not_fit_the_dialog_is_refused() {
    let plain = Shown { encrypted: false, ..ENCRYPTED };
    let (control, _) = begun();
    type Bend = fn(&mut Continuation);
    let table: [(Bend, Shown<'_>, Refusal); 7] = [
        (|request| request.response = "s1".to_owned(), ENCRYPTED, Refusal::WrongResponse),
        (|request| request.response.clear(), ENCRYPTED, Refusal::WrongResponse),
        (|request| request.sequence = 1, ENCRYPTED, Refusal::WrongSequence { expected: 0, found: 1 }),
        (|request| request.conversation = ConversationId::from_random(8), ENCRYPTED, Refusal::UnknownDialog),
        (|_| (), plain, Refusal::EncryptionDropped),
        (|_| (), Shown { cipher: Some(b"another"), ..ENCRYPTED }, Refusal::CertificateChanged("cipher")),
        (
            |request| request.sequence = u64::MAX,
            ENCRYPTED,
            Refusal::WrongSequence { expected: 0, found: u64::MAX },
        ),
    ];
    for (bend, shown, expected) in table {
        let mut bent = request(&control, 0, false);
        bend(&mut bent);
        let (_, state) = begun();
        assert_eq!(state.take(bent, shown, "s1".to_owned(), at(1), IDLE).err(), Some(expected));
    }
}

#[test]
fn the_signature_certificate_is_bound_when_it_is_first_seen() {
    let (control, state) = begun();
    let signed = |certificate| Shown { signature: Some(certificate), ..ENCRYPTED };
    let (step, answer) = state
        .take(request(&control, 0, false), signed(b"mine"), "s1".to_owned(), at(1), IDLE)
        .expect("taken");
    assert_eq!(step.signature.as_deref(), Some(&b"mine"[..]));
    let (control, state) = answer.answer();
    let state = state.expect("open");
    let again = state
        .clone()
        .take(request(&control, 1, false), signed(b"mine"), "s2".to_owned(), at(2), IDLE)
        .expect("taken");
    assert_eq!(again.0.signature, None);
    let other = state.take(request(&control, 1, false), signed(b"other"), "s2".to_owned(), at(2), IDLE);
    assert_eq!(other.err(), Some(Refusal::CertificateChanged("signature")));
}

#[test]
fn only_a_proven_client_confirms() {
    // The request before, this request, its signature.
    for (before, encrypted, signature, proven) in [
        (true, true, None, true),
        (false, false, None, false),
        (false, true, None, false),
        (false, false, Some(&b"mine"[..]), true),
    ] {
        let originator = Originator { cipher: b"cipher".to_vec(), signature: None };
        let account = AccountName::parse("amt").expect("a well-formed name");
        let fresh = Fresh { conversation: 7, challenge: "s0".to_owned() };
        let begun = begin("c0".to_owned(), account, originator, before, fresh, at(0), IDLE);
        assert!(!begun.is_proven());
        let (control, state) = begun.answer();
        let ExpectRequest(mut dialog) = state.expect("open");
        dialog.handed_out = vec![crate::domain::message_id::MessageId::parse("m").expect("an id")];
        let shown = Shown { cipher: None, signature, encrypted };
        let (step, answer) = ExpectRequest(dialog)
            .take(request(&control, 0, false), shown, "s1".to_owned(), at(1), IDLE)
            .expect("taken");
        assert_eq!((step.confirms, answer.is_proven()), (proven, proven), "{before} {shown:?}");
        assert_eq!(answer.dialog().handed_out.is_empty(), proven);
        assert_eq!((step.encrypted, answer.dialog().encrypted), (encrypted, encrypted));
    }
}

#[test]
fn a_silent_dialog_is_over() {
    let (_, state) = begun();
    let dialog = state.dialog().clone();
    assert!(ExpectRequest::resume(Some(dialog.clone()), at(899)).is_ok());
    assert_eq!(ExpectRequest::resume(Some(dialog), at(900)).err(), Some(Refusal::UnknownDialog));
    assert_eq!(ExpectRequest::resume(None, at(0)).err(), Some(Refusal::UnknownDialog));
}

#[test]
fn a_busy_dialog_is_over_after_a_day() {
    let idle = Duration::from_secs(86_400 - 10);
    let (control, state) = begun();
    let taken = state.take(request(&control, 0, false), ENCRYPTED, "s1".to_owned(), at(20), idle);
    let (step, answer) = taken.expect("taken");
    assert_eq!(step.expires_at, at(86_400));
    let dialog = answer.dialog().clone();
    assert!(ExpectRequest::resume(Some(dialog.clone()), at(86_399)).is_ok());
    assert_eq!(ExpectRequest::resume(Some(dialog), at(86_400)).err(), Some(Refusal::UnknownDialog));
}
