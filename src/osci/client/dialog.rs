//! A client's side of a dialog, without hands (OSCI-Transport 1.2, ControlBlock; sections 3 and 10 of our notes).
//!
//! ```text
//! begin -> ExpectBegun -(answer)-> Open -(request)-> ExpectAnswer -(answer)-> Open ... -(exit)-> ExpectEnd -> over
//! alone -> ExpectAlone -> over
//! ```
//! A state is used up by what happens to it. Whoever could not read an answer has no state left to ask again with, as
//! the rules demand: any further request would confirm what the lost answer handed out. Random challenges are handed in.

use thiserror::Error;

use crate::osci::message::control_block::{Challenge, ControlBlock, ConversationId};

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
    challenge: Challenge,
}

/// A dialog in which the client speaks next.
#[derive(Debug)]
pub struct Open {
    conversation: ConversationId,
    sequence: u64,
    /// What the server sent last.
    response: Challenge,
}

/// A request is under way.
#[derive(Debug)]
pub struct ExpectAnswer {
    conversation: ConversationId,
    sequence: u64,
    challenge: Challenge,
}

/// exitDialog is under way.
#[derive(Debug)]
pub struct ExpectEnd(ExpectAnswer);

/// A request without a dialog is under way.
#[derive(Debug)]
pub struct ExpectAlone {
    challenge: Challenge,
}

/// A request to a passive recipient is under way: the answer returns the challenge and names no dialog.
#[derive(Debug)]
pub struct ExpectReply {
    challenge: Challenge,
}

/// initDialog.
pub fn begin(challenge: Challenge) -> (ControlBlock, ExpectBegun) {
    let control = ControlBlock { challenge: Some(challenge.clone()), ..ControlBlock::default() };
    (control, ExpectBegun { challenge })
}

/// A single request outside any dialog.
pub fn alone(challenge: Challenge) -> (ControlBlock, ExpectAlone) {
    let control = ControlBlock {
        sequence_number: Some(0),
        challenge: Some(challenge.clone()),
        ..ControlBlock::default()
    };
    (control, ExpectAlone { challenge })
}

/// acceptDelivery or processDelivery.
pub fn push(challenge: Challenge) -> (ControlBlock, ExpectReply) {
    let control = ControlBlock { challenge: Some(challenge.clone()), ..ControlBlock::default() };
    (control, ExpectReply { challenge })
}

impl ExpectBegun {
    pub fn answered(self, seen: &ControlBlock) -> Result<Open, Mismatch> {
        returned(&self.challenge, seen)?;
        let conversation = conversation(seen)?.clone();
        // The standard has none here; a server that counts from its answer on must at least say 0.
        if seen.sequence_number.is_some_and(|sequence| sequence != 0) {
            return Err(Mismatch::Sequence);
        }
        Ok(Open { conversation, sequence: 0, response: challenge(seen)? })
    }
}

impl Open {
    pub fn conversation(&self) -> &str {
        self.conversation.as_str()
    }

    pub fn request(self, challenge: Challenge) -> (ControlBlock, ExpectAnswer) {
        let Self { conversation, sequence, response } = self;
        let control = ControlBlock {
            conversation_id: Some(conversation.clone()),
            sequence_number: Some(sequence),
            response: Some(response),
            challenge: Some(challenge.clone()),
        };
        (control, ExpectAnswer { conversation, sequence, challenge })
    }

    pub fn exit(self, challenge: Challenge) -> (ControlBlock, ExpectEnd) {
        let (control, expect) = self.request(challenge);
        (control, ExpectEnd(expect))
    }
}

impl ExpectAnswer {
    pub fn answered(self, seen: &ControlBlock) -> Result<Open, Mismatch> {
        self.check(seen)?;
        Ok(Open {
            response: challenge(seen)?,
            sequence: self.sequence.saturating_add(1),
            conversation: self.conversation,
        })
    }

    fn check(&self, seen: &ControlBlock) -> Result<(), Mismatch> {
        returned(&self.challenge, seen)?;
        if conversation(seen)? != &self.conversation {
            return Err(Mismatch::Conversation);
        }
        if seen.sequence_number != Some(self.sequence) {
            return Err(Mismatch::Sequence);
        }
        Ok(())
    }
}

impl ExpectEnd {
    pub fn answered(self, seen: &ControlBlock) -> Result<(), Mismatch> {
        self.0.check(seen)?;
        if seen.challenge.is_some() { Err(Mismatch::Challenge) } else { Ok(()) }
    }
}

impl ExpectAlone {
    pub fn answered(self, seen: &ControlBlock) -> Result<(), Mismatch> {
        returned(&self.challenge, seen)?;
        conversation(seen)?;
        if seen.sequence_number == Some(0) { Ok(()) } else { Err(Mismatch::Sequence) }
    }
}

impl ExpectReply {
    pub fn answered(self, seen: &ControlBlock) -> Result<(), Mismatch> {
        returned(&self.challenge, seen)
    }
}

fn returned(challenge: &Challenge, seen: &ControlBlock) -> Result<(), Mismatch> {
    if seen.response.as_ref() == Some(challenge) { Ok(()) } else { Err(Mismatch::Response) }
}

fn conversation(seen: &ControlBlock) -> Result<&ConversationId, Mismatch> {
    seen.conversation_id.as_ref().ok_or(Mismatch::Conversation)
}

fn challenge(seen: &ControlBlock) -> Result<Challenge, Mismatch> {
    let challenge = seen.challenge.clone().filter(|challenge| !challenge.as_str().is_empty());
    challenge.ok_or(Mismatch::Challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Option<Challenge> {
        (!text.is_empty()).then(|| Challenge::new(text).expect("a challenge"))
    }

    fn fresh(text: &str) -> Challenge {
        word(text).expect("not empty")
    }

    fn seen(conversation: &str, sequence: &str, response: &str, challenge: &str) -> ControlBlock {
        ControlBlock {
            conversation_id: ConversationId::new(conversation).ok(),
            sequence_number: sequence.parse().ok(),
            response: word(response),
            challenge: word(challenge),
        }
    }

    fn open() -> Open {
        let (control, expect) = begin(fresh("a"));
        assert_eq!(control, ControlBlock { challenge: word("a"), ..ControlBlock::default() });
        expect.answered(&seen("7", "", "a", "b")).expect("begun")
    }

    #[test]
    fn requests_count_and_return_the_last_challenge() {
        let mut dialog = open();
        for (number, response) in [(0, "b"), (1, "s0"), (2, "s1")] {
            let (control, expect) = dialog.request(fresh(&format!("c{number}")));
            assert_eq!(control.conversation_id.as_ref().map(ConversationId::as_str), Some("7"));
            assert_eq!(control.sequence_number, Some(number));
            assert_eq!(control.response, word(response));
            assert_eq!(control.challenge, word(&format!("c{number}")));
            let (sequence, returned) = (number.to_string(), format!("c{number}"));
            let next = format!("s{number}");
            dialog = expect.answered(&seen("7", &sequence, &returned, &next)).expect("an answer");
        }
        let (control, expect) = dialog.exit(fresh("z"));
        assert_eq!((control.sequence_number, control.response), (Some(3), word("s2")));
        assert_eq!(expect.answered(&seen("7", "3", "z", "")), Ok(()));
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
            let (_, expect) = open().request(fresh("c"));
            let outcome = expect.answered(&seen(conversation, sequence, response, challenge));
            assert_eq!(outcome.err(), expected, "{conversation} {sequence} {response} {challenge}");
        }
        let ended = |challenge| open().exit(fresh("c")).1.answered(&seen("7", "0", "c", challenge));
        assert_eq!((ended(""), ended("d")), (Ok(()), Err(Mismatch::Challenge)));
        for (conversation, sequence, response, expected) in [
            ("9", "0", "c", Ok(())),
            ("9", "0", "x", Err(Mismatch::Response)),
            ("", "0", "c", Err(Mismatch::Conversation)),
            ("9", "1", "c", Err(Mismatch::Sequence)),
        ] {
            let (control, expect) = alone(fresh("c"));
            assert_eq!((control.sequence_number, control.conversation_id), (Some(0), None));
            assert_eq!(expect.answered(&seen(conversation, sequence, response, "d")), expected);
        }
        let begun =
            |response, challenge| begin(fresh("a")).1.answered(&seen("7", "", response, challenge)).err();
        assert_eq!((begun("a", "b"), begun("b", "b")), (None, Some(Mismatch::Response)));
        assert_eq!(begun("a", ""), Some(Mismatch::Challenge));
        let replied = |response| push(fresh("c")).1.answered(&seen("", "", response, ""));
        assert_eq!((replied("c"), replied("d")), (Ok(()), Err(Mismatch::Response)));
    }
}
