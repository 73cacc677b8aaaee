//! Messages of the register: how feed, question, answer, receipt, rejection and move notice are written down. Pure.
//!
//! XMeld's own schemas are not public. What stands here is our exchange form, published under `schemas/register`: names
//! and structure follow DSMeld and the XInneres base, and each message bears the number that XMeld gives its purpose.
//! Numbers that begin with `A` are ours alone. Official releases would be plugged in at [`RELEASES`] and
//! [`Number::of_element`]: whatever reads a message hands on [`head::Head`] and the same few values.
//!
//! Two releases are alive at once; a message is routed by (namespace, version, number), never by the beginning of its
//! namespace, and answered in its own release.

pub mod answer;
pub mod feed;
pub mod fields;
pub mod head;
pub mod moves;
pub mod passing;
pub mod person;
pub mod question;
pub mod refused_locks;
pub mod rejection;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::BufRead;

use self::head::{Head, HeadFault};
use crate::xml::dsig::NS_DSIG;
use crate::xml::read::{Event, StreamReader};
use crate::xml::tree::{self, Builder, Element};
use crate::xml::{self, ErrorKind};

/// Largest message that is read: the full load of the largest city.
pub const MESSAGE_BYTES_MAX: u64 = 1 << 30;
/// Elements directly below the root in all messages but a full load.
const CHILDREN_MAX: usize = 5000;
/// Room for all that stands below the root of a message about one thing, and about many: whoever may post is not asked
/// before what a question takes from the memory. A million nodes take some 300 MB.
const OF_ONE: tree::Limits = tree::Limits { nodes_max: 50_000, bytes_max: 2 << 20 };
const OF_MANY: tree::Limits = tree::Limits { nodes_max: 1_000_000, bytes_max: 64 << 20 };

macro_rules! numbers {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $element:literal;)*) => {
        /// What a message is for, as XMeld numbers it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Number {
            $($(#[$doc])* $variant,)*
        }

        impl Number {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// The root element's local name.
            pub fn element(self) -> &'static str {
                match self {
                    $(Self::$variant => $element,)*
                }
            }
        }
    };
}

numbers! {
    Rejection = "0010", "rueckweisung.asynchron.0010";
    Receipt = "0020", "quittung.0020";
    /// The receipt of a message did not come.
    Reminder = "0021", "quittung.erinnerung.0021";
    /// Another's message, passed on; the case stays with whoever passes it on.
    Forward = "0030", "weiterleitung.0030";
    /// The same; the case goes with it.
    HandOver = "0031", "weiterleitung.abgabe.0031";
    NotCompetent = "0032", "weiterleitung.nichtzustaendigkeit.0032";
    PartnerUpdate = "0085", "fortschreibung.0085";
    MainToSecondary = "0088", "fortschreibung.0088";
    SecondaryToMain = "0089", "fortschreibung.0089";
    LockPresentDwelling = "0093", "fortschreibung.0093";
    LockFormerDwelling = "0094", "fortschreibung.0094";
    PartnerSecondary = "0097", "fortschreibung.0097";
    /// Rückmeldung: the new office tells the old one.
    MoveNotice = "0201", "rueckmeldung.0201";
    /// Auswertung: the old office answers.
    MoveAnswer = "0203", "rueckmeldung.auswertung.0203";
    /// Data for the pre-filled form of somebody who moves in: the new office asks the old one.
    FormAsked = "0300", "meldeschein.anforderung.0300";
    FormAnswered = "0301", "meldeschein.daten.0301";
    EnquiryAsked = "0600", "melderegisterauskunfteinfach.anforderung.0600";
    EnquiryAnswered = "0601", "melderegisterauskunfteinfach.auskunft.0601";
    /// Many enquiries in one message. What XMeld's 0604 is for is not public; this use of the number is ours.
    EnquiriesAsked = "0604", "melderegisterauskunfteinfach.sammelanforderung.0604";
    LoadReceipt = "0928", "quittung.bestandsdatenlieferung.0928";
    Load = "1100", "zentralbestand.bestandslieferung.1100";
    Changes = "1101", "zentralbestand.fortschreibung.1101";
    /// "Nothing happened up to": keeps a copy fresh.
    Standing = "1104", "zentralbestand.stand.1104";
    PersonSearchAsked = "1330", "datenabruf.personensuche.suchanfrage.1330";
    PersonSearchAnswered = "1331", "datenabruf.personensuche.auskunft.1331";
    FreeSearchAsked = "1332", "datenabruf.freieSuche.suchanfrage.1332";
    FreeSearchAnswered = "1333", "datenabruf.freieSuche.auskunft.1333";
    /// Fetch an answer again.
    AnswerWanted = "A001", "auskunft.erneuterAbruf.A001";
    /// The answer's time is over.
    AnswerExpired = "A002", "auskunft.abgelaufen.A002";
}

impl Number {
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.code() == code)
    }

    pub fn of_element(local: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.element() == local)
    }

    /// Moves and what follows them, between registration offices.
    pub fn is_of_move(self) -> bool {
        matches!(self, Self::MoveNotice | Self::MoveAnswer) || self.is_update()
    }

    /// Fortschreibung from office to office.
    pub fn is_update(self) -> bool {
        self.element().starts_with("fortschreibung.")
    }

    pub fn is_question(self) -> bool {
        self.answer().is_some()
    }

    /// Holds another's message.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Forward | Self::HandOver)
    }

    pub fn is_feed(self) -> bool {
        matches!(self, Self::Load | Self::Changes | Self::Standing)
    }

    /// What we say, and what is never rejected nor receipted: two machines would answer one another for ever.
    pub fn ends_a_conversation(self) -> bool {
        matches!(self, Self::Rejection | Self::Receipt | Self::LoadReceipt | Self::NotCompetent)
    }

    /// The number that answers a question.
    pub fn answer(self) -> Option<Self> {
        match self {
            Self::EnquiryAsked | Self::EnquiriesAsked => Some(Self::EnquiryAnswered),
            Self::FormAsked => Some(Self::FormAnswered),
            Self::PersonSearchAsked => Some(Self::PersonSearchAnswered),
            Self::FreeSearchAsked => Some(Self::FreeSearchAnswered),
            _ => None,
        }
    }
}

/// One release of the exchange form.
#[derive(Debug, PartialEq, Eq)]
pub struct Release {
    pub namespace: &'static str,
    pub version: &'static str,
    /// Questions by identification feature, answers that are fetched again, and what else came with 26.11
    /// ([`Self::serves`]).
    pub follow_ups: bool,
}

/// The standard's name in every head of ours.
pub const STANDARD: &str = "Amtsbote-Register";

/// Alive, the older first. May and November bring a new one, and the oldest goes.
pub static RELEASES: [Release; 2] = [
    Release { namespace: "urn:de:amtsbote:register:2605", version: "26.05", follow_ups: false },
    Release { namespace: "urn:de:amtsbote:register:2611", version: "26.11", follow_ups: true },
];

impl Release {
    pub fn newest() -> &'static Self {
        &RELEASES[1]
    }

    pub fn serves(&self, number: Number) -> bool {
        let came_later = matches!(
            number,
            Number::AnswerWanted
                | Number::AnswerExpired
                | Number::Reminder
                | Number::Forward
                | Number::HandOver
                | Number::NotCompetent
                | Number::FormAsked
                | Number::FormAnswered
                | Number::EnquiriesAsked
        );
        self.follow_ups || !came_later
    }
}

macro_rules! codes {
    ($($code:ident = $words:literal;)*) => {
        /// Reasons of a rejection: S not as specified, T transport, V version, X form (XInneres, list of error codes).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($code,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$code),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => stringify!($code),)*
                }
            }

            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$code => $words,)*
                }
            }
        }
    };
}

codes! {
    S001 = "the message is not UTF-8";
    S010 = "a code list that is not known";
    S011 = "a code that its list does not have";
    S020 = "some of the cases cannot be processed";
    S030 = "an element that must not be empty is empty";
    S100 = "the record was processed before";
    S999 = "not as specified, for another reason";
    T000 = "the sender's certificate has expired";
    T001 = "the sender's certificate is revoked";
    T002 = "the sender's certificate is not valid";
    T003 = "the sender's certificate is missing";
    T010 = "the signature is missing or too weak";
    T011 = "the signature does not hold";
    T020 = "the content cannot be decrypted";
    T070 = "the sender may not send this message for this author";
    T080 = "the message's reader is not the mailbox's owner";
    T099 = "another problem of transport";
    V000 = "this version is not served";
    X000 = "the message is not well-formed XML";
    X001 = "the message does not have the form of its version";
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Why a message, or one case of it, is rejected. The detail names places and limits, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Fault {
    pub code: Code,
    pub detail: String,
}

impl Fault {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<xml::Error> for Fault {
    fn from(error: xml::Error) -> Self {
        let (code, what) = match &error.kind {
            ErrorKind::Encoding(_) => (Code::S001, "the encoding must be UTF-8".to_owned()),
            // Names and entities are the sender's words.
            ErrorKind::LimitExceeded { .. } | ErrorKind::Doctype | ErrorKind::Truncated(_) => {
                (Code::X000, error.kind.to_string())
            }
            ErrorKind::NotWellFormed(what) => (Code::X000, (*what).to_owned()),
            _ => (Code::X000, "not well-formed".to_owned()),
        };
        Self::new(code, format!("{what} (at byte {})", error.at))
    }
}

/// A message that is being read: the head is known, and what follows it comes element by element, so that a full load
/// is never held as a whole.
pub struct Message<R> {
    pub head: Head,
    reader: StreamReader<R>,
    ended: bool,
}

impl<R: BufRead> Message<R> {
    /// Reads up to the end of the head. Where that is refused, the fault tells as much of the head as could be read.
    pub fn open(input: R) -> Result<Self, HeadFault> {
        let limits = xml::Limits { document_bytes_max: MESSAGE_BYTES_MAX, ..xml::Limits::default() };
        let mut reader = StreamReader::new(input, limits);
        let root = head::Root::read(&mut reader)?;
        let mut ended = false;
        let kopf = child(&mut reader, &mut ended)?;
        let mut head = root.head(kopf.as_ref())?;
        let mut next = child(&mut reader, &mut ended).map_err(|fault| HeadFault::of(fault, &head))?;
        if next.as_ref().is_some_and(|one| one.is("", "anschrift.leser")) {
            next = child(&mut reader, &mut ended).map_err(|fault| HeadFault::of(fault, &head))?;
        }
        let address = next.filter(|one| one.is("", "anschrift.autor"));
        let Some(address) = address else {
            let fault = Fault::new(Code::X001, "anschrift.autor is missing behind the head");
            return Err(HeadFault::of(fault, &head));
        };
        head.author_address = Some(head::PostalAddress::read(&address));
        Ok(Self { head, reader, ended })
    }

    /// The next element below the root. An author's signature stands last; it was judged before
    /// ([`crate::register::signers`]), and is passed over.
    pub fn next_child(&mut self) -> Result<Option<Element>, Fault> {
        self.next_within(&mut Builder::new(tree::Limits::default()))
    }

    fn next_within(&mut self, room: &mut Builder) -> Result<Option<Element>, Fault> {
        let next = child_within(room, &mut self.reader, &mut self.ended)?;
        if !next.as_ref().is_some_and(|one| one.is(NS_DSIG, "Signature")) {
            return Ok(next);
        }
        match child_within(room, &mut self.reader, &mut self.ended)? {
            None => Ok(None),
            Some(_) => Err(Fault::new(Code::X001, "behind the signature there is nothing more")),
        }
    }

    /// All that is left; for messages that are about one thing.
    pub fn rest(&mut self) -> Result<Vec<Element>, Fault> {
        self.rest_within(OF_ONE)
    }

    /// The same of messages that are about many.
    pub fn rest_of_many(&mut self) -> Result<Vec<Element>, Fault> {
        self.rest_within(OF_MANY)
    }

    fn rest_within(&mut self, limits: tree::Limits) -> Result<Vec<Element>, Fault> {
        let mut room = Builder::new(limits);
        let mut out = Vec::new();
        while let Some(child) = self.next_within(&mut room)? {
            if out.len() >= CHILDREN_MAX {
                let why = format!("more than {CHILDREN_MAX} elements below the root");
                return Err(Fault::new(Code::X001, why));
            }
            out.push(child);
        }
        Ok(out)
    }
}

/// One element below the root, or none when the root has ended and nothing stands behind it.
fn child<R: BufRead>(reader: &mut StreamReader<R>, ended: &mut bool) -> Result<Option<Element>, Fault> {
    child_within(&mut Builder::new(tree::Limits::default()), reader, ended)
}

/// The same; what stands below it counts with what the builder has made before.
fn child_within<R: BufRead>(
    builder: &mut Builder,
    reader: &mut StreamReader<R>,
    ended: &mut bool,
) -> Result<Option<Element>, Fault> {
    while let Some(event) = reader.next_event()? {
        match &event {
            Event::End(_) if !builder.is_open() => *ended = true,
            Event::Text(text) if !builder.is_open() && !text.trim().is_empty() => {
                return Err(Fault::new(Code::X001, "text between the elements"));
            }
            _ => {}
        }
        if let Some(element) = builder.push(&event)? {
            return Ok(Some(element));
        }
    }
    if *ended { Ok(None) } else { Err(Fault::new(Code::X000, "the message ends too early")) }
}
