//! Messages about messages: reminders of receipts (0021), what other offices pass on (0030, 0031), what is somebody
//! else's (0032); and many enquiries in one message (0604).

use std::io::{BufRead, Cursor};
use std::time::Duration;

use super::{Case, Delivery, Desk, DeskError, Done, Handled, Stop, handled};
use crate::register::answer::{Answer, leaves_at};
use crate::register::copies::{Again, Arrived, CopyError, Known, case_key};
use crate::register::message::feed::{self, Receipt};
use crate::register::message::head::{Head, Sender};
use crate::register::message::question::{self, Enquiry};
use crate::register::message::{Code, Fault, Message, Number, answer, passing, rejection};

/// What one of many questions takes, and plenty: what it really takes is not to be told from when its answer leaves.
const LINE_TIME: Duration = Duration::from_millis(50);

impl Desk {
    /// What was answered leaves once more, with the same bytes. Where there is nothing to send again, a receipt says that
    /// the message came.
    pub(super) fn reminder(
        &self,
        case: &Case<'_>,
        head: &Head,
        message: &mut Message<Box<dyn BufRead>>,
    ) -> Done {
        let about = passing::read_reminder(&message.rest()?)?;
        let arrived = case.arrived(&head.uuid, head.number.code());
        let again = self.copies.again(case.delivery.from, &about, case.at).map_err(DeskError::from)?;
        if let Again::Leaves(count) = again {
            self.copies.take(&arrived, &[])?;
            return Ok(Handled {
                detail: format!("{count} messages"),
                ..handled(head, "receipted as before")
            });
        }
        if self.copies.known(&case.arrived(&about, ""))? == Known::New {
            let why = "no message of this author with that UUID came; send it again";
            return Err(Fault::new(Code::S999, why).into());
        }
        let receipt = Receipt { repeated: 1, ..Receipt::default() };
        let reply = self.reply(head, Number::Receipt, case.at, |out| {
            feed::write_receipt(out, &about, &receipt);
        });
        self.copies.take(&arrived, &[reply])?;
        Ok(handled(head, "receipted"))
    }

    /// The message in it is taken as if its author had sent it: it is believed by the author's signature, since nobody
    /// lends an author's rights by passing on, and it is answered to its author. Whoever passes it on gets a receipt.
    ///
    /// Both messages have rows of their own. A crash in between repeats the passing; the message in it is known then.
    pub(super) fn passed_on(
        &self,
        case: &Case<'_>,
        head: &Head,
        message: &mut Message<Box<dyn BufRead>>,
    ) -> Done {
        let original = passing::read(head.number, &message.rest()?)?;
        let inner = match Message::open(&original[..]) {
            Ok(message) => message.head,
            // Another standard's, or a release that is not served: it is for somebody who does.
            Err(one) if one.fault.code == Code::V000 => {
                return self.not_competent(
                    case,
                    head,
                    "the message passed on is of no standard that is served here",
                );
            }
            Err(one) => {
                let why = format!("the message passed on: {}", one.fault.detail);
                return Err(Fault::new(one.fault.code, why).into());
            }
        };
        if inner.number.is_passing() || inner.number.ends_a_conversation() {
            let why = format!("a {} is not passed on", inner.number.code());
            return Err(Fault::new(Code::X001, why).into());
        }
        if !(inner.number.is_feed() || inner.number.is_question() || inner.number.is_of_move()) {
            let why = format!("the register takes no {}", inner.number.code());
            return self.not_competent(case, head, &why);
        }
        let author = inner.autor.kennung;
        if author != case.delivery.from && !self.signers().knows(&author) {
            let why = "who passes on does not vouch for the author: it must have signed, and be entered as a signer";
            return Err(Fault::new(Code::T010, why).into());
        }
        let content = || -> std::io::Result<Box<dyn BufRead>> { Ok(Box::new(Cursor::new(original.clone()))) };
        // Before anything is said to the author: a stranger's forgery is the stranger's to hear of.
        self.signers().check(&author, content, case.at)?;
        let sender = Sender::Vouched(author.clone());
        let delivery = Delivery {
            transport_id: case.delivery.transport_id,
            sender: &sender,
            from: &author,
            test: head.test,
        };
        let done = self.handle_from(&delivery, &content, Some(case.delivery.from))?;
        let known = matches!(done.outcome, "taken before" | "answered as before" | "answer has expired");
        let receipt = Receipt {
            applied: u64::from(done.codes.is_empty() && !known),
            repeated: u64::from(done.codes.is_empty() && known),
            rejected: u64::from(!done.codes.is_empty()),
            ..Receipt::default()
        };
        let reply = self.reply(head, Number::Receipt, case.at, |out| {
            feed::write_receipt(out, &head.uuid, &receipt);
        });
        self.copies.take(&case.arrived(&head.uuid, head.number.code()), &[reply])?;
        let detail = format!("{} {}: {}", done.number, done.uuid, done.outcome);
        let (locks_kept, locks_unread) = (done.locks_kept, done.locks_unread);
        Ok(Handled {
            codes: done.codes,
            detail,
            locks_kept,
            locks_unread,
            ..handled(head, "passed on to us")
        })
    }

    /// The message is for somebody else, and the register does not know for whom.
    pub(super) fn not_competent(&self, case: &Case<'_>, head: &Head, why: &str) -> Done {
        let reply = self.reply(head, Number::NotCompetent, case.at, |out| {
            passing::write_not_competent(out, &head.uuid, why);
        });
        self.copies.take(&case.arrived(&head.uuid, head.number.code()), &[reply])?;
        Ok(Handled { detail: why.to_owned(), ..handled(head, "not competent") })
    }

    /// Each enquiry is a case of its own: look, price, notice and answer, in a row of its own. What cannot be read is
    /// rejected alone, by its event.
    pub(super) fn enquiries(
        &self,
        case: &Case<'_>,
        head: &Head,
        message: &mut Message<Box<dyn BufRead>>,
    ) -> Done {
        let entitled = self.entitled(head)?;
        let enquiries = question::read_enquiries(head, &message.rest_of_many()?, entitled)?;
        let (mut answered, mut refused, mut rejected) = (0_u64, 0_u64, Vec::new());
        // All answers leave together, at an instant that depends on how many questions there are and on nothing found.
        let lines = u32::try_from(enquiries.len()).unwrap_or(u32::MAX);
        let ready = case.at.checked_add(LINE_TIME.saturating_mul(lines)).unwrap_or(case.at);
        for (number, Enquiry { event, asked }) in enquiries.into_iter().enumerate() {
            let asked = match asked {
                Ok(asked) => asked,
                Err(fault) => {
                    rejected.push(rejection::Case { event, fault });
                    continue;
                }
            };
            let key = case_key(&head.uuid, number + 1);
            let (event, name) = (&event, &head.autor.name);
            let arrived = Arrived { event: Some(event), name, ..case.arrived(&key, head.number.code()) };
            // A message that was broken off is offered again, and what was put is not put twice.
            match self.copies.known(&arrived)? {
                Known::New => {}
                Known::OtherBytes => {
                    let why = "this UUID came before with other bytes; a correction needs a UUID of its own";
                    return Ok(self.reject(case, Some(head), Fault::new(Code::S999, why), false)?);
                }
                Known::SameDelivery | Known::SentAgain => {
                    answered += 1;
                    continue;
                }
            }
            let write = |found: &Answer| {
                let leaves = leaves_at(case.at, self.clock.now().max(ready), self.settings.bucket);
                vec![self.reply(head, Number::EnquiryAnswered, leaves, |out| {
                    answer::write(out, &head.uuid, Some(event), found);
                })]
            };
            match self.copies.ask_taking(&asked, case.at, &arrived, &write) {
                Ok(_) => answered += 1,
                Err(CopyError::Question(reason)) => {
                    let reply = self.reply(head, Number::EnquiryAnswered, case.at, |out| {
                        answer::write_refusal(out, &head.uuid, Some(event), reason);
                    });
                    self.copies.take(&arrived, &[reply])?;
                    refused += 1;
                }
                Err(error) => return Err(Stop::Error(error.into())),
            }
        }
        let codes: Vec<&'static str> = rejected.iter().map(|one| one.fault.code.as_str()).collect();
        let mut replies = Vec::new();
        if !rejected.is_empty() {
            let faults = [Fault::new(Code::S020, Code::S020.words())];
            replies.push(self.rejection(case, Some(head), &faults, &rejected)?);
        }
        self.copies.take(&case.arrived(&head.uuid, head.number.code()), &replies)?;
        let detail = format!("{answered} answered, {refused} refused, {} rejected", rejected.len());
        Ok(Handled { codes, detail, ..handled(head, "answered") })
    }
}
