//! Which certificates end soon, whose they are, and what to do about it: once at 60, 30, 14, 7 and 1 days ahead, and
//! when it is too late. A pure function; metrics, log and command line show what it says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::certificate::{Certificate, CertificateFingerprint};
use super::trust::ListState;
use crate::report::Loudness;

/// Days ahead at which a warning is given, latest first.
const STAGES: [(i64, Stage); 5] =
    [(1, Stage::Days1), (7, Stage::Days7), (14, Stage::Days14), (30, Stage::Days30), (60, Stage::Days60)];
const SECONDS_PER_DAY: i64 = 86_400;

/// Whose certificate, which decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The post office's own.
    Own,
    /// An authority that we believe.
    Authority,
    Participant,
}

/// What a certificate is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Tls,
    OsciEncryption,
    OsciSignature,
    /// What portals encrypt for, or what an authority signs its events with.
    Destination,
    ProcessCards,
    /// An authority below which certificates are believed.
    Anchor,
    /// An authority whose time stamps are believed.
    TimeStamps,
    /// What messages travel under to another OSCI intermediary.
    Intermediary,
}

impl Role {
    pub const ALL: [Self; 8] = [
        Self::Tls,
        Self::OsciEncryption,
        Self::OsciSignature,
        Self::Destination,
        Self::ProcessCards,
        Self::Anchor,
        Self::TimeStamps,
        Self::Intermediary,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::OsciEncryption => "osci-encryption",
            Self::OsciSignature => "osci-signature",
            Self::Destination => "destination",
            Self::ProcessCards => "process-cards",
            Self::Anchor => "anchor",
            Self::TimeStamps => "time-stamps",
            Self::Intermediary => "intermediary",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::OsciEncryption => "OSCI encryption",
            Self::OsciSignature => "OSCI signatures",
            Self::Destination => "a destination's key",
            Self::ProcessCards => "process cards",
            Self::Anchor => "certificates",
            Self::TimeStamps => "time stamps",
            Self::Intermediary => "another intermediary",
        }
    }
}

/// A certificate to watch. `owner` names an account or an authority.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    pub holder: Holder,
    pub role: Role,
    pub owner: &'a str,
    pub certificate: &'a Certificate,
}

/// A certificate that the post office depends on.
#[derive(Debug, Clone)]
pub struct Dependence {
    pub holder: Holder,
    pub role: Role,
    pub owner: String,
    /// Which of the owner's places in this role it fills, such as one mailbox: only one that lasts longer in the same
    /// place stands in for it.
    pub place: String,
    pub certificate: Certificate,
}

impl Dependence {
    pub fn watched(&self) -> Watched<'_> {
        Watched { holder: self.holder, role: self.role, owner: &self.owner, certificate: &self.certificate }
    }
}

/// For each, in order, when the last certificate of its place ends: one of which that is later has a successor.
pub fn place_ends(all: &[Dependence]) -> Vec<Timestamp> {
    let key = |one: &Dependence| (one.holder, one.role, one.owner.clone(), one.place.clone());
    let mut last: BTreeMap<_, Timestamp> = BTreeMap::new();
    for one in all {
        let end = one.certificate.not_after();
        last.entry(key(one)).and_modify(|last| *last = (*last).max(end)).or_insert(end);
    }
    all.iter().map(|one| last.get(&key(one)).copied().unwrap_or(Timestamp::MIN)).collect()
}

/// How near the end is. Ordered: the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Days60,
    Days30,
    Days14,
    Days7,
    Days1,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub holder: Holder,
    pub role: Role,
    pub owner: String,
    pub subject: String,
    pub fingerprint: CertificateFingerprint,
    pub not_after: Timestamp,
    /// Whole days that are left; negative once it has expired.
    pub days_left: i64,
    /// What has been announced at this stage need not be announced again before the next.
    pub stage: Stage,
    #[serde(skip)]
    pub loudness: Loudness,
    /// Whose, and when.
    pub sentence: String,
    /// What to do.
    pub next_step: String,
}

/// Worst first; nothing for certificates with more than 60 days left.
pub fn warnings<'a>(watched: impl IntoIterator<Item = Watched<'a>>, now: Timestamp) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = watched.into_iter().filter_map(|one| warning(&one, now)).collect();
    warnings.sort_by(|a, b| (a.not_after, a.holder, &a.owner).cmp(&(b.not_after, b.holder, &b.owner)));
    warnings
}

fn warning(watched: &Watched<'_>, now: Timestamp) -> Option<Warning> {
    let not_after = watched.certificate.not_after();
    let days_left = days_between(now, not_after);
    let stage = stage(days_left)?;
    let whose = match (watched.holder, watched.role) {
        (Holder::Own, Role::Intermediary) => format!("our own certificate for {}", watched.owner),
        (Holder::Own, role) => format!("our own certificate for {}", role.words()),
        (Holder::Participant, Role::Intermediary) => format!("a certificate of {}", watched.owner),
        (Holder::Authority, Role::TimeStamps) => {
            format!("the time stamp authority's certificate {}", watched.owner)
        }
        (Holder::Authority, _) => format!("the authority's certificate {}", watched.owner),
        (Holder::Participant, Role::Tls) => format!("the certificate of {}", watched.owner),
        (Holder::Participant, role) => format!("the certificate for {} of {}", role.words(), watched.owner),
    };
    let sentence = match (stage, days_left) {
        (Stage::Expired, _) => format!("{whose} expired at {not_after}"),
        (_, 0) => format!("{whose} expires in less than a day, at {not_after}"),
        (_, 1) => format!("{whose} expires in 1 day, at {not_after}"),
        (_, days) => format!("{whose} expires in {days} days, at {not_after}"),
    };
    Some(Warning {
        holder: watched.holder,
        role: watched.role,
        owner: watched.owner.to_owned(),
        subject: watched.certificate.subject().to_owned(),
        fingerprint: watched.certificate.fingerprint(),
        not_after,
        days_left,
        stage,
        loudness: loudness(stage, watched.holder),
        sentence,
        next_step: next_step(watched.holder, watched.role, stage),
    })
}

/// Rounded down, so that half a day before the end counts as none and half a day after as minus one.
fn days_between(now: Timestamp, then: Timestamp) -> i64 {
    then.as_second().saturating_sub(now.as_second()).div_euclid(SECONDS_PER_DAY)
}

fn stage(days_left: i64) -> Option<Stage> {
    if days_left < 0 {
        return Some(Stage::Expired);
    }
    STAGES.into_iter().find(|(days, _)| days_left <= *days).map(|(_, stage)| stage)
}

/// A participant's expired certificate stops that participant alone, so it never is an error of ours.
fn loudness(stage: Stage, holder: Holder) -> Loudness {
    let near = stage >= Stage::Days7;
    match (near, holder) {
        (true, Holder::Own | Holder::Authority) => Loudness::Error,
        (true, Holder::Participant) | (false, Holder::Own | Holder::Authority) => Loudness::Warn,
        (false, Holder::Participant) => Loudness::Info,
    }
}

fn next_step(holder: Holder, role: Role, stage: Stage) -> String {
    let expired = stage == Stage::Expired;
    let command = match role {
        Role::OsciEncryption => "amtsbote cert import osci-encryption",
        Role::OsciSignature => "amtsbote cert import osci-signature",
        Role::ProcessCards => "amtsbote cert import process-cards",
        _ => "amtsbote cert import server",
    };
    match (holder, role) {
        (Holder::Own, Role::Intermediary) => {
            "give its operator the new certificate, name it under [[intermediary]] and restart".to_owned()
        }
        (_, Role::Intermediary) => {
            "ask its operator for the new certificate, name it under [[intermediary]] and restart".to_owned()
        }
        (Holder::Own, Role::ProcessCards) if expired => {
            format!("proofs made from here on are not believed: put the new certificate in place ({command})")
        }
        (Holder::Own, Role::Tls) if expired => {
            format!("nobody can connect until it is replaced: put the new certificate in place ({command})")
        }
        (Holder::Own, _) if expired => {
            format!("clients refuse it until it is replaced: put the new certificate in place ({command})")
        }
        (Holder::Own, Role::Tls) => {
            "request a new one (amtsbote cert request) and roll over before that day (amtsbote cert roll-over server)"
                .to_owned()
        }
        (Holder::Own, _) => {
            format!("request a new one (amtsbote cert request) and put it in place before that day ({command})")
        }
        (Holder::Authority, Role::TimeStamps) if expired => {
            "new time stamps below it are refused: add the authority's successor to evidence.time_stamp_anchors, then \
             reload"
                .to_owned()
        }
        (Holder::Authority, Role::TimeStamps) => {
            "add the authority's successor to evidence.time_stamp_anchors beside it before that day, then reload"
                .to_owned()
        }
        (Holder::Authority, _) if expired => {
            "every certificate below it is refused: add the authority's successor to the anchors, then reload".to_owned()
        }
        (Holder::Authority, _) => {
            "add the authority's successor to the anchors beside it before that day, then reload".to_owned()
        }
        (Holder::Participant, Role::Destination) => {
            "ask the participant for the next key and add it (amtsbote destination key add); then let portals encrypt for it \
             (key use), or retire the former one of two for signatures (key retire)"
                .to_owned()
        }
        (Holder::Participant, Role::OsciEncryption | Role::OsciSignature) => format!(
            "{}ask the participant for the new certificate and register it (amtsbote cert import participant --role {})",
            if expired { "it is refused: " } else { "" },
            role.name()
        ),
        (Holder::Participant, _) if expired => {
            "it is refused: ask the participant for the new certificate and register it (amtsbote cert import participant)"
                .to_owned()
        }
        (Holder::Participant, _) => {
            "ask the participant for the new certificate and register it beside the old one (amtsbote cert roll-over participant)"
                .to_owned()
        }
    }
}

/// Revocation lists that are overdue or run out within a day, or within the last quarter of their time if that is
/// shorter. A stale one makes every verdict below it indeterminate.
pub fn list_warnings(lists: impl IntoIterator<Item = ListState>, now: Timestamp) -> Vec<String> {
    lists
        .into_iter()
        .filter_map(|list| {
            let due = list.next_update?;
            let life = due.duration_since(list.this_update).max(SignedDuration::ZERO);
            let ahead = (life / 4).min(SignedDuration::from_hours(24));
            let (kind, issuer, purpose) =
                (if list.delta { "delta revocation list" } else { "revocation list" }, list.issuer, list.purpose.name());
            if due <= now {
                Some(format!(
                    "the {kind} of {issuer} ({purpose}) was due for renewal at {due}; fetch the new one, then reload"
                ))
            } else if due.duration_since(now) <= ahead {
                Some(format!("the {kind} of {issuer} ({purpose}) runs out at {due}, and no newer one is at hand"))
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::development::{self, Authority, KeyChoice, Leaf, Validity};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_warning_comes_at_each_stage() {
        let until = at("2026-06-30T12:00:00Z");
        let validity = Validity { from: at("2026-01-01T00:00:00Z"), until };
        let authority = Authority::root("Root", KeyChoice::P256, validity).expect("a root");
        let leaf = Leaf {
            common_name: "leaf",
            role: development::Role::Participant,
            key: KeyChoice::P256,
            validity,
            names: &[],
        };
        let certificate = authority.issue(&leaf).expect("a leaf").certificate().clone();
        let check = |holder: Holder, now: &str, expected: Option<(i64, Stage, Loudness)>| {
            let watched =
                Watched { holder, role: Role::Tls, owner: "registry-office", certificate: &certificate };
            let seen = warnings([watched], at(now));
            assert_eq!(seen.first().map(|one| (one.days_left, one.stage, one.loudness)), expected, "{now}");
            if let Some(one) = seen.first() {
                let named = holder == Holder::Own || one.sentence.contains("registry-office");
                assert!(named, "{}", one.sentence);
                assert!(one.sentence.contains("2026-06-30T12:00:00Z"), "{}", one.sentence);
            }
        };
        use Holder::{Authority as Ca, Own, Participant};
        use Loudness::{Error, Info, Warn};
        check(Own, "2026-04-30T11:59:59Z", None);
        check(Own, "2026-04-30T12:00:00Z", None);
        check(Own, "2026-04-30T12:00:01Z", Some((60, Stage::Days60, Warn)));
        check(Participant, "2026-05-01T12:00:00Z", Some((60, Stage::Days60, Info)));
        check(Participant, "2026-05-31T12:00:00Z", Some((30, Stage::Days30, Info)));
        check(Participant, "2026-06-16T12:00:00Z", Some((14, Stage::Days14, Info)));
        check(Participant, "2026-06-23T12:00:00Z", Some((7, Stage::Days7, Warn)));
        check(Ca, "2026-06-23T12:00:00Z", Some((7, Stage::Days7, Error)));
        check(Own, "2026-06-29T12:00:00Z", Some((1, Stage::Days1, Error)));
        check(Own, "2026-06-30T12:00:00Z", Some((0, Stage::Days1, Error)));
        check(Own, "2026-06-30T12:00:01Z", Some((-1, Stage::Expired, Error)));
        check(Participant, "2027-06-30T12:00:00Z", Some((-365, Stage::Expired, Warn)));
    }

    #[test]
    fn a_list_is_reported_from_a_day_before_it_is_due() {
        let list = |next_update: Option<&str>| ListState {
            purpose: crate::pki::inspection::Purpose::ParticipantTls,
            issuer: "CN=Root".into(),
            delta: false,
            this_update: at("2026-01-01T00:00:00Z"),
            next_update: next_update.map(at),
        };
        let due = "2026-06-30T12:00:00Z";
        for (next_update, now, count) in [
            (Some(due), "2026-06-29T11:59:59Z", 0),
            (Some(due), "2026-06-29T12:00:00Z", 1),
            (Some(due), "2026-06-30T12:00:00Z", 1),
            (None, "2026-06-30T12:00:00Z", 0),
        ] {
            let said = list_warnings([list(next_update)], at(now));
            assert_eq!(said.len(), count, "{now}: {said:?}");
            assert!(said.iter().all(|one| one.contains("CN=Root") && one.contains(due)), "{said:?}");
        }
    }

    #[test]
    fn the_nearest_end_comes_first() {
        let from = at("2026-01-01T00:00:00Z");
        let root = |name: &str, until: &str| {
            let validity = Validity { from, until: at(until) };
            Authority::root(name, KeyChoice::P256, validity).expect("a root").certificate().clone()
        };
        let (late, soon) = (root("late", "2026-03-01T00:00:00Z"), root("soon", "2026-02-01T00:00:00Z"));
        let watched = [&late, &soon].map(|certificate| Watched {
            holder: Holder::Authority,
            role: Role::Anchor,
            owner: certificate.common_name().expect("a name"),
            certificate,
        });
        let owners: Vec<String> =
            warnings(watched, at("2026-02-10T00:00:00Z")).into_iter().map(|one| one.owner).collect();
        assert_eq!(owners, ["soon", "late"]);
    }

    #[test]
    fn every_role_says_whose_it_is_and_what_to_do() {
        let validity = Validity { from: at("2026-01-01T00:00:00Z"), until: at("2026-06-30T12:00:00Z") };
        let root = Authority::root("Root", KeyChoice::P256, validity).expect("a root");
        for (now, phase) in [("2026-06-01T00:00:00Z", "soon"), ("2026-07-01T00:00:00Z", "over")] {
            let mut said = std::collections::BTreeSet::new();
            let [own, authority, participant] = [Holder::Own, Holder::Authority, Holder::Participant];
            let kinds = [
                (own, Role::Tls, "for TLS", "server"),
                (own, Role::OsciEncryption, "for OSCI encryption", "import osci-encryption"),
                (own, Role::OsciSignature, "for OSCI signatures", "import osci-signature"),
                (own, Role::ProcessCards, "for process cards", "import process-cards"),
                (authority, Role::Anchor, "authority's certificate office", "to the anchors"),
                (authority, Role::TimeStamps, "time stamp authority's", "evidence.time_stamp_anchors"),
                (participant, Role::Tls, "certificate of office", "participant"),
                (
                    participant,
                    Role::OsciEncryption,
                    "for OSCI encryption of office",
                    "--role osci-encryption",
                ),
                (participant, Role::OsciSignature, "for OSCI signatures of office", "--role osci-signature"),
            ];
            for (holder, role, whose, todo) in kinds {
                let watched = Watched { holder, role, owner: "office", certificate: root.certificate() };
                let warning = warnings([watched], at(now)).pop().expect("a warning");
                assert!(warning.sentence.contains(whose), "{phase}: {}", warning.sentence);
                assert!(warning.next_step.contains(todo), "{phase}: {}", warning.next_step);
                assert!(said.insert(warning.sentence), "{phase}: told apart");
            }
        }
    }

    #[test]
    fn only_a_later_one_in_the_same_place_stands_in() {
        let one = |role: Role, place: &str, until: &str| {
            let validity = Validity { from: at("2026-01-01T00:00:00Z"), until: at(until) };
            let root = Authority::root("Root", KeyChoice::P256, validity).expect("a root");
            let certificate = root.certificate().clone();
            let (owner, place) = ("office".to_owned(), place.to_owned());
            Dependence { holder: Holder::Participant, role, owner, place, certificate }
        };
        let (soon, late) = ("2026-02-01T00:00:00Z", "2027-02-01T00:00:00Z");
        let all = [
            one(Role::Tls, "", soon),
            one(Role::Tls, "", late),
            one(Role::OsciEncryption, "ags:1", soon),
            one(Role::OsciEncryption, "ags:2", late),
            one(Role::OsciSignature, "", soon),
        ];
        let ends = place_ends(&all);
        let replaced: Vec<bool> =
            all.iter().zip(ends).map(|(one, end)| end > one.certificate.not_after()).collect();
        assert_eq!(replaced, [true, false, false, false, false]);
    }
}
