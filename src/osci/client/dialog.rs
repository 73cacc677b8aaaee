//! A client's side of a dialog, without hands (OSCI-Transport 1.2, ControlBlock; sections 3 and 10 of our notes).
//!
//! ```text
//! begin -> ExpectBegun -(answer)-> Open -(request)-> ExpectAnswer -(answer)-> Open ... -(exit)-> ExpectEnd -> over
//! alone -> ExpectAlone -> over
//! ```
//! A state is used up by what happens to it. Whoever could not read an answer has no state left to ask again with, as
//! the rules demand: any further request would confirm what the lost answer handed out. Random challenges are handed in.

use thiserror::Error;

/// `osci:ControlBlock` of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestControl {
    pub conversation: Option<String>,
    pub sequence: Option<u64>,
    pub response: Option<String>,
    pub challenge: Option<String>,
}

/// `osci:ControlBlock` of an answer as it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    pub conversation: Option<&'a str>,
    pub sequence: Option<&'a str>,
    pub response: Option<&'a str>,
    pub challenge: Option<&'a str>,
}

/// The answer is not one to our request; nothing may be sent in this dialog any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Mismatch {
    #[error("the answer does not return our challenge")]
    Response,
    #[error("the answer is of another dialog, or of none")]
    Conversation,
    #[error("the answer has another sequence number than the request")]
    Sequence,
    #[error("the answer has no challenge, or has one where the dialog is over")]
    Challenge,
}

/// initDialog is under way.
#[derive(Debug)]
pub struct ExpectBegun {
    challenge: String,
}

/// A dialog in which the client speaks next.
#[derive(Debug)]
pub struct Open {
    conversation: String,
    sequence: u64,
    /// What the server sent last.
    response: String,
}

/// A request is under way.
#[derive(Debug)]
pub struct ExpectAnswer {
    conversation: String,
    sequence: u64,
    challenge: String,
}

/// exitDialog is under way.
#[derive(Debug)]
pub struct ExpectEnd(ExpectAnswer);

/// A request without a dialog is under way.
#[derive(Debug)]
pub struct ExpectAlone {
    challenge: String,
}

/// A request to a passive recipient is under way: the answer returns the challenge and names no dialog.
#[derive(Debug)]
pub struct ExpectReply {
    challenge: String,
}

/// initDialog.
pub fn begin(challenge: String) -> (RequestControl, ExpectBegun) {
    let control = RequestControl { challenge: Some(challenge.clone()), ..RequestControl::default() };
    (control, ExpectBegun { challenge })
}

/// A single request outside any dialog.
pub fn alone(challenge: String) -> (RequestControl, ExpectAlone) {
    let control =
        RequestControl { sequence: Some(0), challenge: Some(challenge.clone()), ..RequestControl::default() };
    (control, ExpectAlone { challenge })
}

/// acceptDelivery or processDelivery.
pub fn push(challenge: String) -> (RequestControl, ExpectReply) {
    let control = RequestControl { challenge: Some(challenge.clone()), ..RequestControl::default() };
    (control, ExpectReply { challenge })
}

impl ExpectBegun {
    pub fn answered(self, seen: Seen<'_>) -> Result<Open, Mismatch> {
        returned(&self.challenge, seen)?;
        let conversation = conversation(seen)?.to_owned();
        // The standard has none here; a server that counts from its answer on must at least say 0.
        if seen.sequence.is_some_and(|sequence| sequence != "0") {
            return Err(Mismatch::Sequence);
        }
        Ok(Open { conversation, sequence: 0, response: challenge(seen)? })
    }
}

impl Open {
    pub fn request(self, challenge: String) -> (RequestControl, ExpectAnswer) {
        let Self { conversation, sequence, response } = self;
        let control = RequestControl {
            conversation: Some(conversation.clone()),
            sequence: Some(sequence),
            response: Some(response),
            challenge: Some(challenge.clone()),
        };
        (control, ExpectAnswer { conversation, sequence, challenge })
    }

    pub fn exit(self, challenge: String) -> (RequestControl, ExpectEnd) {
        let (control, expect) = self.request(challenge);
        (control, ExpectEnd(expect))
    }
}

impl ExpectAnswer {
    pub fn answered(self, seen: Seen<'_>) -> Result<Open, Mismatch> {
        self.check(seen)?;
        Ok(Open {
            response: challenge(seen)?,
            sequence: self.sequence.saturating_add(1),
            conversation: self.conversation,
        })
    }

    fn check(&self, seen: Seen<'_>) -> Result<(), Mismatch> {
        returned(&self.challenge, seen)?;
        if conversation(seen)? != self.conversation {
            return Err(Mismatch::Conversation);
        }
        if number(seen) != Some(self.sequence) {
            return Err(Mismatch::Sequence);
        }
        Ok(())
    }
}

impl ExpectEnd {
    pub fn answered(self, seen: Seen<'_>) -> Result<(), Mismatch> {
        self.0.check(seen)?;
        if seen.challenge.is_some() { Err(Mismatch::Challenge) } else { Ok(()) }
    }
}

impl ExpectAlone {
    pub fn answered(self, seen: Seen<'_>) -> Result<(), Mismatch> {
        returned(&self.challenge, seen)?;
        conversation(seen)?;
        if number(seen) == Some(0) { Ok(()) } else { Err(Mismatch::Sequence) }
    }
}

impl ExpectReply {
    pub fn answered(self, seen: Seen<'_>) -> Result<(), Mismatch> {
        returned(&self.challenge, seen)
    }
}

fn returned(challenge: &str, seen: Seen<'_>) -> Result<(), Mismatch> {
    if seen.response == Some(challenge) { Ok(()) } else { Err(Mismatch::Response) }
}

fn conversation(seen: Seen<'_>) -> Result<&str, Mismatch> {
    seen.conversation.filter(|id| !id.is_empty()).ok_or(Mismatch::Conversation)
}

fn challenge(seen: Seen<'_>) -> Result<String, Mismatch> {
    seen.challenge.filter(|text| !text.is_empty()).map(str::to_owned).ok_or(Mismatch::Challenge)
}

fn number(seen: Seen<'_>) -> Option<u64> {
    seen.sequence?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(conversation: &'a str, sequence: &'a str, response: &'a str, challenge: &'a str) -> Seen<'a> {
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        Seen {
            conversation: some(conversation),
            sequence: some(sequence),
            response: some(response),
            challenge: some(challenge),
        }
    }

    fn open() -> Open {
        let (control, expect) = begin("a".to_owned());
        assert_eq!(control, RequestControl { challenge: Some("a".to_owned()), ..RequestControl::default() });
        expect.answered(seen("7", "", "a", "b")).expect("begun")
    }

    #[test]
    fn requests_count_and_return_the_last_challenge() {
        let mut dialog = open();
        for (number, response) in [(0, "b"), (1, "s0"), (2, "s1")] {
            let (control, expect) = dialog.request(format!("c{number}"));
            assert_eq!(control.conversation.as_deref(), Some("7"));
            assert_eq!(control.sequence, Some(number));
            assert_eq!(control.response.as_deref(), Some(response));
            assert_eq!(control.challenge, Some(format!("c{number}")));
            let (sequence, returned) = (number.to_string(), format!("c{number}"));
            let next = format!("s{number}");
            dialog = expect.answered(seen("7", &sequence, &returned, &next)).expect("an answer");
        }
        let (control, expect) = dialog.exit("z".to_owned());
        assert_eq!((control.sequence, control.response.as_deref()), (Some(3), Some("s2")));
        assert_eq!(expect.answered(seen("7", "3", "z", "")), Ok(()));
    }

    #[test]
    fn a_foreign_answer_ends_the_dialog() {
        for (conversation, sequence, response, challenge, expected) in [
            ("7", "0", "c", "d", None),
            ("7", "0", "x", "d", Some(Mismatch::Response)),
            ("7", "0", "", "d", Some(Mismatch::Response)),
            ("8", "0", "c", "d", Some(Mismatch::Conversation)),
            ("", "0", "c", "d", Some(Mismatch::Conversation)),
            ("7", "1", "c", "d", Some(Mismatch::Sequence)),
            ("7", "", "c", "d", Some(Mismatch::Sequence)),
            ("7", "0", "c", "", Some(Mismatch::Challenge)),
        ] {
            let (_, expect) = open().request("c".to_owned());
            let outcome = expect.answered(seen(conversation, sequence, response, challenge));
            assert_eq!(outcome.err(), expected, "{conversation} {sequence} {response} {challenge}");
        }
        let ended = |challenge| open().exit("c".to_owned()).1.answered(seen("7", "0", "c", challenge));
        assert_eq!((ended(""), ended("d")), (Ok(()), Err(Mismatch::Challenge)));
        for (conversation, sequence, response, expected) in [
            ("9", "0", "c", Ok(())),
            ("9", "0", "x", Err(Mismatch::Response)),
            ("", "0", "c", Err(Mismatch::Conversation)),
            ("9", "1", "c", Err(Mismatch::Sequence)),
        ] {
            let (control, expect) = alone("c".to_owned());
            assert_eq!((control.sequence, control.conversation), (Some(0), None));
            assert_eq!(expect.answered(seen(conversation, sequence, response, "d")), expected);
        }
        let begun =
            |response, challenge| begin("a".to_owned()).1.answered(seen("7", "", response, challenge)).err();
        assert_eq!((begun("a", "b"), begun("b", "b")), (None, Some(Mismatch::Response)));
        assert_eq!(begun("a", ""), Some(Mismatch::Challenge));
        let replied = |response| push("c".to_owned()).1.answered(seen("", "", response, ""));
        assert_eq!((replied("c"), replied("d")), (Ok(()), Err(Mismatch::Response)));
    }
}
