//! Whether a message is taken, into which mailbox, under which deadlines: the decision behind "accepted".
//!
//! Rights first, then the address, then what the message says about itself, so that a stranger learns nothing about
//! readers. The result carries the process card and the deadlines as data; making them durable is the store's work.
//! Whether the certificate is good is the door's judgement and lies in the findings handed in. Content is not looked
//! at: the relay holds no content key.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::account::{Account, Directory};
use crate::domain::card::{CertificateFinding, Finding, ProcessCard, Severity, Step};
use crate::domain::content::{Digest, Manifest, PartRole};
use crate::domain::envelope::Envelope;
use crate::domain::limits::Limits;
use crate::domain::profile::ServiceProfile;
use crate::domain::state::{DeliveryState, Event};
use crate::store::Deadlines;

use super::refusal::Refusal;
use super::route;

/// Why a pushed message is held, for its card. A process that ended in the middle of a push leaves no other word.
const PUSHED: &str = "held while it is pushed to its recipient";

/// How the author wants the message to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// He does not wait for an answer (XTA: sendMessage).
    Asynchronous,
    /// He waits (XTA: sendMessageSync).
    Synchronous,
    /// An answer to a message that was addressed to him; without it nobody could answer in a service whose profile
    /// is synchronous only.
    Answer,
    /// A door pushes it to its recipient at once (OSCI: forwardDelivery, mediateDelivery). It is held meanwhile, under
    /// no deadline but its expiry, so that nothing but the outcome of the push or an operator lets it go. Whether the
    /// author waits is between him and the recipient, who has had himself listed for pushes.
    Pushed {
        /// How long it may take until the outcome is written down; it must not expire before.
        time_max: Duration,
    },
}

/// What is known about the message besides its envelope.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    pub manifest: &'a Manifest,
    pub length: u64,
    pub digest: Digest,
}

/// Everything the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub directory: &'a Directory,
    pub profile_default: &'a ServiceProfile,
    pub limits: &'a Limits,
    pub now: Timestamp,
    pub door: &'static str,
    pub manner: Manner,
}

/// The promise, decided and not yet kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub card: ProcessCard,
    pub deadlines: Deadlines,
    pub announced_only: bool,
    pub profile: ServiceProfile,
}

pub fn decide(
    who: &Account,
    envelope: &Envelope,
    content: Content<'_>,
    certificates: Vec<CertificateFinding>,
    situation: Situation<'_>,
) -> Result<Decision, Refusal> {
    let author = &envelope.author.identifier;
    route::own(who, author)?;
    let service = envelope.qualifier.service.as_str();
    let not_booked = || Refusal::ServiceNotBooked { service: service.to_owned() };
    if !who.may_use(service) {
        return Err(not_booked());
    }
    let reader = &envelope.reader.identifier;
    if !who.may_write_to(reader) {
        return Err(Refusal::ReaderNotAllowed { reader: reader.value().to_owned() });
    }
    let (addressee, mailbox) = route::destination(situation.directory, reader)?;
    if !addressee.takes(service) {
        return Err(not_booked());
    }
    let (profile, finding) = profile(envelope, addressee, situation)?;
    manner(profile, situation.manner)?;
    size(content, profile, situation.limits)?;
    let (mut state, deadlines) = deadlines(envelope, profile, situation.now)?;
    let pushed = matches!(situation.manner, Manner::Pushed { .. });
    if let Manner::Pushed { time_max } = situation.manner {
        if deadlines.release_at.is_some() {
            let what = "NotBefore lies ahead, and a push is done at once".to_owned();
            return Err(Refusal::ParameterInvalid { what });
        }
        if situation.now.checked_add(time_max).map_or(true, |end| deadlines.expire_at < end) {
            let seconds = time_max.as_secs();
            let what = format!("it is obsolete within the {seconds} seconds that a push may take");
            return Err(Refusal::ParameterInvalid { what });
        }
        state = DeliveryState::Held;
    }

    let mut card = ProcessCard {
        version: 1,
        id: envelope.id.clone(),
        state,
        mailbox,
        author: author.clone(),
        reader: reader.clone(),
        posted_by: who.name.clone(),
        door: situation.door.to_owned(),
        service: service.to_owned(),
        test: envelope.test,
        payload_digest: content.digest,
        payload_bytes: content.length,
        accepted_at: situation.now,
        not_before: envelope.not_before.as_ref().map(|instant| instant.at),
        delivered_at: None,
        first_handed_out_at: None,
        received_at: None,
        expires_at: deadlines.expire_at,
        steps: Vec::new(),
        findings: finding.into_iter().collect(),
        certificates,
    };
    let by = Some(who.name.to_string());
    let reason = pushed.then(|| PUSHED.to_owned());
    card.record(Step { at: situation.now, event: Event::Accepted, state, by, reason });
    let announced_only = !who.rights.foreign_message_ids;
    Ok(Decision { card, deadlines, announced_only, profile: profile.clone() })
}

/// The profile that the message names, else its reader's, else the post office's own.
///
/// A URI that no profile is configured for stands for the profile of some standard, which every product of that
/// standard writes into every message; refusing it would shut those authors out until an administrator has copied
/// each version of each standard's profile. It is taken under the reader's deadlines, and the card says so in a
/// warning that author and operator see. A name without a scheme can only mean a profile of this post office, so an
/// unknown one is a mistake and is refused.
pub fn profile<'a>(
    envelope: &Envelope,
    addressee: &Account,
    situation: Situation<'a>,
) -> Result<(&'a ServiceProfile, Option<Finding>), Refusal> {
    let default = || default_profile(addressee, situation.directory, situation.profile_default);
    let Some(name) = envelope.service_quality.as_deref().map(str::trim).filter(|name| !name.is_empty())
    else {
        return Ok((default(), None));
    };
    if let Some(found) = situation.directory.profile(name) {
        return Ok((found, None));
    }
    if name == situation.profile_default.name.as_str() {
        return Ok((situation.profile_default, None));
    }
    if !is_uri(name) {
        return Err(Refusal::ProfileUnknown { name: name.to_owned() });
    }
    let used = default();
    let finding = Finding {
        at: situation.now,
        severity: Severity::Warning,
        code: "profile-unknown".to_owned(),
        reason: format!("the service profile {name} is not configured here; {} applies", used.name.as_str()),
    };
    Ok((used, Some(finding)))
}

/// What holds in a reader's mailbox where a message names no profile.
pub fn default_profile<'a>(
    addressee: &Account,
    directory: &'a Directory,
    profile_default: &'a ServiceProfile,
) -> &'a ServiceProfile {
    addressee.profile.as_ref().and_then(|name| directory.profile(name.as_str())).unwrap_or(profile_default)
}

/// A scheme of RFC 3986 with something behind it.
fn is_uri(name: &str) -> bool {
    name.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

fn manner(profile: &ServiceProfile, manner: Manner) -> Result<(), Refusal> {
    match manner {
        Manner::Synchronous if !profile.synchronous => Err(Refusal::AsynchronousOnly),
        Manner::Asynchronous if !profile.asynchronous => Err(Refusal::SynchronousOnly),
        _ => Ok(()),
    }
}

/// Bytes of the message as its sender counts them: what is kept in two forms counts in the larger one, and what was added
/// here does not.
fn stated_length(content: Content<'_>) -> u64 {
    let of_role = |role| {
        let parts = content.manifest.parts.iter().filter(move |part| part.role == role);
        parts.map(|part| part.length).fold(0, u64::saturating_add)
    };
    let package = of_role(PartRole::OsciPackage);
    let others = content.length.saturating_sub(package).saturating_sub(of_role(PartRole::OsciFrame));
    others.max(package)
}

fn size(content: Content<'_>, profile: &ServiceProfile, limits: &Limits) -> Result<(), Refusal> {
    let max =
        profile.content_bytes_max.map_or(limits.content_bytes_max, |max| max.min(limits.content_bytes_max));
    let seen = stated_length(content);
    if seen > max {
        return Err(Refusal::TooLarge { max, seen });
    }
    let parts = &content.manifest.parts;
    if parts.len() > limits.parts_max {
        let what = format!("{} parts, at most {} are allowed", parts.len(), limits.parts_max);
        return Err(Refusal::ParameterInvalid { what });
    }
    let inside = |part: &crate::domain::content::Part| {
        part.offset.checked_add(part.length).is_some_and(|end| end <= content.length)
    };
    if !parts.iter().all(inside) {
        let detail =
            format!("a part of the manifest lies outside of the {} bytes of payload", content.length);
        return Err(Refusal::Internal { detail });
    }
    Ok(())
}

/// The first state and everything that will be due. A reader's time runs from the moment he can see the message.
fn deadlines(
    envelope: &Envelope,
    profile: &ServiceProfile,
    now: Timestamp,
) -> Result<(DeliveryState, Deadlines), Refusal> {
    let not_before = envelope.not_before.as_ref().map(|instant| instant.at);
    let over = envelope.obsolete_after.as_ref().map(|instant| instant.at);
    let release_at = not_before.filter(|instant| *instant > now);
    let offered_at = release_at.unwrap_or(now);
    if let Some(over) = over
        && over <= offered_at
    {
        let what = match release_at {
            Some(_) => "NotBefore lies behind ObsoleteAfter",
            None => "ObsoleteAfter is over",
        };
        return Err(Refusal::ParameterInvalid { what: what.to_owned() });
    }
    let expire_at = ServiceProfile::after_days(offered_at, profile.expiry_days);
    let expire_at = over.map_or(expire_at, |over| over.min(expire_at));
    let remind_at = Some(ServiceProfile::after_days(offered_at, profile.reminder_days))
        .filter(|instant| profile.reminder_days > 0 && *instant < expire_at);
    let deadlines = Deadlines {
        release_at,
        expire_at,
        remind_at,
        retain_payload_days: profile.retain_payload_days,
        retain_card_days: profile.retain_card_days,
    };
    let state = if release_at.is_some() { DeliveryState::Held } else { DeliveryState::Waiting };
    Ok((state, deadlines))
}

/// Deadlines of a message that an operator puts back: as if it had been accepted at `now`, and ObsoleteAfter only
/// where it is still ahead, for otherwise it would expire again at once.
pub fn deadlines_again(envelope: &Envelope, profile: &ServiceProfile, now: Timestamp) -> Deadlines {
    let over = envelope.obsolete_after.as_ref().map(|instant| instant.at).filter(|over| *over > now);
    let expire_at = ServiceProfile::after_days(now, profile.expiry_days);
    let expire_at = over.map_or(expire_at, |over| over.min(expire_at));
    let remind_at = Some(ServiceProfile::after_days(now, profile.reminder_days))
        .filter(|instant| profile.reminder_days > 0 && *instant < expire_at);
    Deadlines {
        release_at: None,
        expire_at,
        remind_at,
        retain_payload_days: profile.retain_payload_days,
        retain_card_days: profile.retain_card_days,
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
