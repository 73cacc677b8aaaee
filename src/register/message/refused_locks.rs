//! Locks of changes that are refused, because the message or the case does not have its form.
//!
//! Locks win (sections 51, 34a(5) BMG): that some other datum of the record cannot be read must leave nobody to be found
//! whom the municipality has locked. What is read here is the least that says so: that the case sets a lock, the order
//! mark, and which locks the record has. Where the mark is not certain nobody can be hidden, and it is said that a lock
//! went unread.

use std::io::BufRead;

use jiff::Timestamp;

use super::feed::{self, OCCASIONS, Stand};
use super::fields::Fields;
use super::head::REJECTION;
use super::{Fault, MESSAGE_BYTES_MAX, RELEASES, child};
use crate::register::person::{Ags, Lock, mark_fits};
use crate::register::reconcile::{self, Hash};
use crate::register::stream::Change;
use crate::xml;
use crate::xml::read::{Event, StreamReader};
use crate::xml::tree::Element;

/// `anlass` of a case that sets a lock.
pub(super) const LOCK_SET: &str = "auskunftssperre.gesetzt";
/// Locks of one message that are looked for; no message that is taken has more cases.
const LOCKS_MAX: usize = super::CHILDREN_MAX;

/// A lock that a refused case sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLock {
    /// Whom it hides; none where that is not certain.
    pub mark: Option<String>,
    /// Those that could be read.
    pub locks: Vec<Lock>,
    /// Something about it could not be read: whom it hides, or which lock it is.
    pub unread: bool,
    /// Of the event, where that could be read.
    pub at: Option<Timestamp>,
    /// Generation and number of its case, where both could be read: no earlier change lifts it.
    pub number: Option<(u64, u64)>,
    /// Of its change, where that could be read: nothing is the matter with the case itself.
    pub digest: Option<Hash>,
}

impl RefusedLock {
    /// Something that nobody could read, and that may have been a lock.
    pub fn unreadable() -> Self {
        Self { mark: None, locks: Vec::new(), unread: true, at: None, number: None, digest: None }
    }
}

/// The lock that a refused case sets, if it sets one. `generation`: of the message, where that could be read.
pub fn of_case(case: &Element, generation: Option<u64>) -> Option<RefusedLock> {
    let all = |parent: &Element, name: &str| -> Vec<String> {
        let named = parent.children().filter(|one| one.is("", name));
        named.map(Element::text_trimmed).collect()
    };
    let occasions: Vec<String> =
        case.children().filter(|one| one.is("", "anlass")).flat_map(|one| all(one, "code")).collect();
    let records: Vec<&Element> = case.children().filter(|one| one.is("", "person")).collect();
    // Where nobody knows what happened, a lock of the record may be what it was.
    let is_known = OCCASIONS.iter().any(|(word, _)| occasions.iter().any(|one| one == word));
    let has_lock = || records.iter().any(|one| one.child("", "auskunftssperre").is_some());
    if !(occasions.iter().any(|one| one == LOCK_SET) || !is_known && has_lock()) {
        return None;
    }
    // Of the case and of its record: one person, or nobody knows whom.
    let mut marks = all(case, "ordnungsmerkmal");
    marks.extend(records.iter().flat_map(|one| all(one, "ordnungsmerkmal")));
    marks.dedup();
    let mark = match &marks[..] {
        [one] if !one.is_empty() && mark_fits(one).is_ok() => Some(one.clone()),
        _ => None,
    };
    let codes: Vec<Option<Lock>> = records
        .iter()
        .flat_map(|record| record.children().filter(|one| one.is("", "auskunftssperre")))
        .map(|one| {
            Fields::of(one).text("code").ok()?.parse().ok().and_then(|code: u8| Lock::try_from(code).ok())
        })
        .collect();
    let unread = mark.is_none() || codes.is_empty() || codes.contains(&None);
    let event = case.children().find(|one| one.is("", "identifikation.ereignis"));
    let at = event.and_then(|one| Fields::of(one).text("ereignis.zeitpunkt").ok()?.parse().ok());
    let number = generation.zip(Fields::of(case).number("laufendeNummer").ok());
    Some(RefusedLock { mark, locks: codes.into_iter().flatten().collect(), unread, at, number, digest: None })
}

/// Of a change that has its form: whether it sets a lock, and not for certain which or for whom.
pub fn is_uncertain(change: &Change) -> bool {
    let of_two = change.record.as_ref().is_none_or(|record| record.mark != change.mark);
    change.is_urgent() && (of_two || mark_fits(&change.mark).is_err())
}

/// The locks of a message that is refused as a whole. It is the municipality's own, or none of it counts; where it is not
/// well-formed to its end, nothing in it is certain.
pub fn of_message<R: BufRead>(input: R, ags: Ags) -> Result<Vec<RefusedLock>, Fault> {
    let limits = xml::Limits { document_bytes_max: MESSAGE_BYTES_MAX, ..xml::Limits::default() };
    let mut reader = StreamReader::new(input, limits);
    let known = loop {
        match reader.next_event()? {
            None => return Ok(vec![RefusedLock::unreadable()]),
            Some(Event::Start(tag)) => {
                // A test hides nobody, and a rejection sets no lock.
                if tag.attribute("", "test").is_some() || tag.name().ns == REJECTION {
                    return Ok(Vec::new());
                }
                break RELEASES.iter().any(|one| one.namespace == tag.name().ns);
            }
            Some(_) => {}
        }
    };
    let (mut out, mut stand, mut generation, mut stands) = (Vec::new(), None, None, 0);
    let (mut ended, mut is_own) = (false, known);
    while let Some(element) = child(&mut reader, &mut ended)? {
        if element.is("", "bestand") {
            // It stands before all cases. Of two nobody knows which is meant.
            let read = Fields::of(&element).number("generation").ok();
            generation = if stands == 0 { read } else { None };
            stand = Stand::read(Some(&element)).ok().filter(|_| stands == 0);
            stands += 1;
        }
        if element.is("", "vorgang") {
            match of_case(&element, generation) {
                Some(lock) if out.len() < LOCKS_MAX => {
                    let change =
                        stand.as_ref().and_then(|stand| feed::case(&element, stand).ok()?.change.ok());
                    let digest = change.map(|change| reconcile::hash(&change.to_bytes()));
                    out.push(RefusedLock { digest, ..lock });
                }
                Some(_) => is_own = false,
                None => {}
            }
        }
        // Another release means something else by it, another municipality somebody else.
        is_own &= says_nobody_else(&element, ags);
    }
    if is_own || out.is_empty() && known { Ok(out) } else { Ok(vec![RefusedLock::unreadable()]) }
}

fn says_nobody_else(element: &Element, ags: Ags) -> bool {
    let path: (&[&str], String) = match element.local() {
        "nachrichtenkopf.g2g" => (&["autor", "kennung"], format!("ags:{ags}")),
        "bestand" => (&["gemeindeschluessel", "code"], ags.to_string()),
        _ => return true,
    };
    let mut at = Some(element);
    for step in path.0 {
        at = at.and_then(|one| one.children().find(|child| child.is("", step)));
    }
    at.is_none_or(|one| one.text_trimmed() == path.1)
}
