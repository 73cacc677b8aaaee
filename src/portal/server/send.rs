//! The sender's side: announce, submit; [`super::attachments`] has what comes in between.
//!
//! An announced id is the relay's, so that it is used once; what was announced and uploaded waits on disk, or in the store
//! that nodes share, until it is submitted. Submitting makes one payload of all of it, which may take over the largest file of
//! attachments instead of copying it, and one message, in the relay's one transaction.
//! Everything may be said again: an attachment with the same bytes, a submission with the same content, also after its
//! draft is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::Context;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use super::draft::{Announced, Contents, Draft, Kept, Uploaded};
use super::drafts::{Place, on_disk};
use super::problem::Problem;
use super::public::keys;
use super::shared::{AnyDraft, Busy, SharedAttachment, damaged};
use super::token::Caller;
use super::upload::{Reading, read_through};
use super::{DOOR, Door, attachment_id, hyphenated, json};
use crate::domain::content::{Digest, Manifest, Part, PartRole};
use crate::domain::date_time::german_day;
use crate::domain::destination::{
    DESTINATION_PROPERTY, Destination, DestinationId, DestinationStatus, ServiceKey,
};
use crate::domain::envelope::{Code, Envelope, Party, Property, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::profile::ServiceProfile;
use crate::net::Body;
use crate::pki::jose::HEADER_CHARS_MAX;
use crate::pki::jose::jwe::{self, Scanner, Zip};
use crate::pki::jose::jwk::Purpose;
use crate::portal::event::{AuthenticationTags, counterpart};
use crate::relay::{Refusal, Submission};
use crate::report::Loudness;
use crate::store::{Entry, PayloadWriter, StoreError};

/// What the envelope says of a submission besides, by the key of its property.
pub(super) const DESTINATION: &str = DESTINATION_PROPERTY;
pub(super) const TAGS: &str = "fit-connect:authenticationTags";
pub(super) const ANNOUNCED_AT: &str = "fit-connect:announcedAt";
pub(super) const SERVICE_NAME: &str = "fit-connect:serviceName";
/// Of a submission that continues a case.
const CASE: &str = "fit-connect:caseId";
/// Submissions of one case.
pub(super) const CASE_MAX: u32 = 500;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announcement {
    destination_id: String,
    /// A case that is continued; without one a new one begins.
    case_id: Option<String>,
    #[serde(default)]
    announced_attachments: Vec<String>,
    /// Version 1.
    service_type: Option<Service>,
    /// Version 2.
    public_service: Option<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    identifier: String,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    encrypted_metadata: String,
    encrypted_data: Option<String>,
}

/// The submission's id inside an id of the relay's.
pub(super) fn uuid_of(id: &MessageId) -> Option<Uuid> {
    id.as_str().rsplit(':').next().and_then(|text| Uuid::try_parse(text).ok())
}

pub(super) fn property<'a>(entry: &'a Entry, key: &str) -> Option<&'a str> {
    entry.envelope.properties.iter().find(|one| one.key.code == key).map(|one| one.value.as_str())
}

/// The case that a submission belongs to: the one that began with it, or the one that it continues.
pub(super) fn case_of(entry: &Entry) -> Option<Uuid> {
    match property(entry, CASE) {
        Some(text) => Uuid::try_parse(text).ok(),
        None => uuid_of(&entry.envelope.id).map(counterpart),
    }
}

impl Announced {
    pub(super) fn case_id(&self, submission: Uuid) -> Uuid {
        self.case.unwrap_or_else(|| counterpart(submission))
    }
}

pub(super) fn disk(error: std::io::Error) -> Problem {
    Problem::disk(&error)
}

fn sealed(error: &crate::pki::jose::Error, what: &str) -> Problem {
    Problem::unprocessable("encryption-invalid", format!("{what}: {error}"))
}

/// What was submitted, wherever its parts lie in the payload: that depends on whose file was taken over.
fn request_digest(manifest: &Manifest) -> Digest {
    let placeless = manifest.parts.iter().map(|part| Part { offset: 0, ..part.clone() });
    let written = serde_json::to_vec(&placeless.collect::<Vec<_>>()).unwrap_or_default();
    Digest::of(&[&b"amtsbote portal request, version 1\n"[..], &written].concat())
}

impl Door {
    pub(super) fn message_id(&self, submission: Uuid) -> Result<MessageId, Problem> {
        let system = &self.relay.settings().system;
        MessageId::xta(system, submission.as_u128())
            .ok()
            .filter(|id| uuid_of(id) == Some(submission))
            .ok_or_else(Problem::no_submission)
    }

    pub(super) async fn announce(&self, caller: &Caller, body: &[u8]) -> Result<Response<Body>, Problem> {
        let wanted: Announcement = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request("body-invalid", format!("the announcement: {error}")))?;
        let service = wanted.public_service.as_ref().or(wanted.service_type.as_ref()).ok_or_else(|| {
            Problem::bad_request(
                "body-invalid",
                "publicService (version 2) or serviceType (version 1) is missing",
            )
        })?;
        let key = ServiceKey::from_urn(&service.identifier)
            .map_err(|error| Problem::unprocessable("service-not-offered", error.to_string()))?;
        let name =
            service.name.clone().map(|name| name.chars().filter(|c| !c.is_control()).take(200).collect());
        let attachments = announced(&wanted.announced_attachments, self.settings.limits.parts_max)?;
        let id = DestinationId::parse(&wanted.destination_id.to_ascii_lowercase())
            .map_err(|_| Problem::no_destination())?;
        self.with_open(&id, &key, |_| Ok(()))?;
        if !caller.account.may_use(&key.urn()) {
            return Err(Problem::unprocessable("service-not-offered", "this client may not use the service"));
        }
        let case = match &wanted.case_id {
            Some(text) => Some(self.own_case(caller, text, &id).await?),
            None => None,
        };
        let directory = Some(self.relay.directory().revision());
        let now = self.relay.now();
        let hours = std::time::Duration::from_secs(u64::from(self.settings.announced_hours) * 3600);
        let begun = |message: MessageId| Announced {
            version: 1,
            at: now,
            until: now.checked_add(hours).unwrap_or(jiff::Timestamp::MAX),
            message,
            destination: id.clone(),
            service: key.clone(),
            service_name: name.clone(),
            attachments: attachments.clone(),
            case,
            client: caller.client.clone(),
            directory,
        };
        let (submission, place) = match self.relay.staging() {
            Some(staging) => {
                let message = self.relay.announce(&caller.account).await?;
                let submission = uuid_of(&message).ok_or_else(Problem::no_submission)?;
                let begun = begun(message);
                (submission, self.begin_shared(staging, &caller.account.name, submission, begun).await?)
            }
            None => {
                if !self.drafts.has_room(0).map_err(disk)? {
                    return Err(self.full());
                }
                let begin = |message: MessageId| async {
                    let submission = uuid_of(&message).ok_or_else(Problem::no_submission)?;
                    let draft = self.drafts.draft(&caller.account.name, submission);
                    let place = self.begin_here(draft.clone(), begun(message)).await?;
                    Ok::<_, Problem>((submission, draft, place))
                };
                // Nobody hears of what was begun for an id that is not issued, and it would count like any other.
                let undo = |begun: Result<(Uuid, Draft, Place), Problem>| async move {
                    if let Ok((_, draft, Place::Free | Place::Made(_))) = begun {
                        self.forget(&AnyDraft::Here(draft)).await;
                    }
                };
                let (_, begun) = self.relay.announce_while(&caller.account, begin, undo).await?;
                let (submission, _, place) = begun?;
                (submission, place)
            }
        };
        let case = case.unwrap_or_else(|| counterpart(submission));
        let whose = || match &caller.client {
            Some(client) => format!("account {}, client {client}", caller.account.name),
            None => format!("account {}, by certificate", caller.account.name),
        };
        match place {
            Place::Free => {}
            Place::Made(count) => {
                tracing::info!(count, "announced and nothing uploaded: gave way to {}", whose());
            }
            Place::None(max) => return Err(too_many(max, &whose())),
        }
        tracing::info!(%submission, account = %caller.account.name, "submission announced");
        let mut response =
            json(StatusCode::CREATED, &serde_json::json!({ "submissionId": submission, "caseId": case }));
        if let Ok(place) =
            HeaderValue::from_str(&format!("{}/v2/submissions/{submission}", self.settings.base))
        {
            response.headers_mut().insert(LOCATION, place);
        }
        Ok(response)
    }

    /// In files of this node, unless there are too many. Says whether others gave way.
    async fn begin_here(&self, draft: Draft, begun: Announced) -> Result<Place, Problem> {
        let drafts = self.drafts.clone();
        let begins = on_disk(move || {
            let place = drafts.place(&draft, begun.client.as_deref(), begun.at)?;
            match place {
                Place::None(_) => {}
                Place::Free | Place::Made(_) => drafts.begin(&draft, &begun)?,
            }
            Ok(place)
        });
        begins.await.map_err(disk)
    }

    /// A case that the caller began, at this very destination. Nobody else's exists.
    async fn own_case(
        &self,
        caller: &Caller,
        text: &str,
        destination: &DestinationId,
    ) -> Result<Uuid, Problem> {
        let case = hyphenated(text).ok_or_else(Problem::no_case)?;
        let first = counterpart(case);
        let id = self.message_id(first).map_err(|_| Problem::no_case())?;
        let is_it = |entry: &Entry| {
            entry.card.door == DOOR
                && entry.card.posted_by == caller.account.name
                && case_of(entry) == Some(case)
                && property(entry, DESTINATION) == Some(destination.as_str())
        };
        let known = match self.relay.card(&caller.account, None, &id).await {
            Ok(entry) => is_it(&entry),
            Err(Refusal::UnknownMessage) => {
                let begun = self.found(caller, first).await?;
                begun.is_some_and(|(_, begun)| begun.case.is_none() && begun.destination == *destination)
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let others = self.relay.continued(Some(&caller.account.name), &id, CASE_MAX).await?;
        if others.len() >= CASE_MAX as usize {
            return Err(Problem::unprocessable(
                "body-invalid",
                format!("the case has {CASE_MAX} submissions, and takes no more"),
            ));
        }
        // Its first submission may be gone, or may never have been made.
        match known || others.iter().any(is_it) {
            true => Ok(case),
            false => Err(Problem::no_case()),
        }
    }

    pub(super) fn full(&self) -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store-full",
            "the post office is full for the time being",
        )
        .with_operator(
            Loudness::Error,
            "portal uploads",
            "free space on the disk of portal.folder; limits.disk_reserve_bytes of it stay free",
        )
    }

    /// The destination, if it is open for the service today.
    fn with_open<T>(
        &self,
        id: &DestinationId,
        service: &ServiceKey,
        use_it: impl FnOnce(&Destination) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let directory = self.relay.directory();
        let (account, destination) = directory.destination(id).ok_or_else(Problem::no_destination)?;
        if account.blocked || destination.status == DestinationStatus::Inactive {
            return Err(Problem::unprocessable(
                "destination-state-invalid",
                "the destination takes nothing at present",
            ));
        }
        let takes = destination.takes(service, german_day(self.relay.now())) && account.takes(&service.urn());
        if !takes {
            return Err(Problem::unprocessable(
                "service-not-offered",
                format!("the destination does not take the service {service}"),
            ));
        }
        use_it(destination)
    }

    /// Whether content is encrypted for a key that the destination has.
    pub(super) fn must_be_for(
        &self,
        destination: &DestinationId,
        kid: &str,
        what: &str,
    ) -> Result<(), Problem> {
        let directory = self.relay.directory();
        let (_, destination) = directory.destination(destination).ok_or_else(Problem::no_destination)?;
        let known =
            keys(destination).iter().any(|key| key.purpose == Purpose::Encryption && key.is_called(kid));
        match known {
            true => Ok(()),
            false => Err(Problem::unprocessable(
                "encryption-invalid",
                format!("{what}: its kid is no encryption key of the destination"),
            )),
        }
    }

    /// The same for attachments: the destination may have let go of a key since they were uploaded. What nobody can read goes,
    /// so that the portal can upload it anew under the same announcement.
    async fn must_all_be_for(
        &self,
        draft: &AnyDraft,
        begun: &Announced,
        wholes: &[Whole],
    ) -> Result<(), Problem> {
        // It is one node's; at another, uploads may have been judged by a directory older than the announcement's.
        let is_here = matches!(draft, AnyDraft::Here(_));
        if is_here && begun.directory == Some(self.relay.directory().revision()) {
            return Ok(());
        }
        let mut gone = Vec::new();
        for whole in wholes {
            let kid = match &whole.source {
                Source::File { path, offset } => kid_in(path, *offset, &whole.uploaded).await?,
                Source::Shared(shared) => self.kid_of(shared).await?,
            };
            match self.must_be_for(&begun.destination, &kid, "the attachment") {
                Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => gone.push(whole),
                judged => judged?,
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        for Whole { id, source, .. } in &gone {
            let went = match (draft, source) {
                (AnyDraft::Here(draft), _) => self.let_go(draft, begun, *id).await,
                (AnyDraft::Shared(draft), Source::Shared(judged)) => self.let_go_shared(draft, judged).await,
                // Its attachments are in the store.
                (AnyDraft::Shared(_), Source::File { .. }) => Ok(()),
            };
            if let Err(Problem { failure, .. }) = went {
                left.push(format!("{id}: {} {}", failure.sentence, failure.detail));
            }
        }
        let ids: Vec<String> = gone.iter().map(|whole| whole.id.to_string()).collect();
        let problem = Problem::unprocessable(
            "encryption-invalid",
            format!(
                "attachments whose kid is no encryption key of the destination must be uploaded anew: {}",
                ids.join(", ")
            ),
        );
        Err(match left.is_empty() {
            true => problem,
            false => problem.with_operator(
                Loudness::Warn,
                format!("attachments that nobody can read are still there: {}", left.join("; ")),
                "they go when the portal submits again; see the disk or the database if they stay",
            ),
        })
    }

    /// A draft of the caller's.
    pub(super) async fn begun(
        &self,
        caller: &Caller,
        submission: Uuid,
    ) -> Result<(AnyDraft, Announced), Problem> {
        self.found(caller, submission).await?.ok_or_else(Problem::no_submission)
    }

    /// The same, if there is one.
    pub(super) async fn found(
        &self,
        caller: &Caller,
        submission: Uuid,
    ) -> Result<Option<(AnyDraft, Announced)>, Problem> {
        if let Some(draft) = self.shared_draft(&caller.account.name, submission).await? {
            let begun = draft.begun().clone();
            return Ok(Some((AnyDraft::Shared(Box::new(draft)), begun)));
        }
        let found = self.found_here(caller, submission, |_, _| Ok(())).await.map_err(disk)?;
        Ok(found.map(|(draft, begun, ())| (AnyDraft::Here(draft), begun)))
    }

    /// The same among the files of this node, with what is seen there by a thread that may wait.
    pub(super) async fn found_here<T: Send + 'static>(
        &self,
        caller: &Caller,
        submission: Uuid,
        look: impl FnOnce(&Draft, &Announced) -> io::Result<T> + Send + 'static,
    ) -> io::Result<Option<(Draft, Announced, T)>> {
        let (draft, now) = (self.drafts.draft(&caller.account.name, submission), self.relay.now());
        let looks = move || {
            let Some(begun) = draft.announced()?.filter(|begun| begun.until > now) else { return Ok(None) };
            let seen = look(&draft, &begun)?;
            Ok(Some((draft, begun, seen)))
        };
        on_disk(looks).await
    }

    /// `PUT /submissions/{id}`.
    pub(super) async fn submit(
        &self,
        caller: &Caller,
        submission: Uuid,
        body: &[u8],
    ) -> Result<Response<Body>, Problem> {
        let submitted: Submitted = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request("body-invalid", format!("the submission: {error}")))?;
        let message = self.message_id(submission)?;
        let busy = self.hold_draft(&caller.account.name, submission).await?;
        let mut left = None;
        let case = match self.made(caller, &message).await? {
            Some(entry) => self.made_before(caller, submission, &entry, &submitted).await?,
            None => match self.make(caller, submission, &submitted).await {
                Ok((case, draft)) => {
                    left = Some(draft);
                    case
                }
                // What the store is not sure of may be read there already, and be lost with it.
                Err(problem) if problem.status.is_server_error() => return Err(problem),
                // Another node may have made it at this moment.
                Err(problem) => match self.made(caller, &message).await {
                    Ok(Some(entry)) => self.made_before(caller, submission, &entry, &submitted).await?,
                    Ok(None) | Err(_) => return Err(problem),
                },
            },
        };
        match left {
            Some(AnyDraft::Here(draft)) => self.forget_behind(draft, busy),
            Some(draft) => self.forget(&draft).await,
            None => {}
        }
        Ok(json(StatusCode::OK, &serde_json::json!({ "submissionId": submission, "caseId": case })))
    }

    /// What the caller made of it.
    async fn made(&self, caller: &Caller, message: &MessageId) -> Result<Option<Entry>, Problem> {
        match self.relay.card(&caller.account, None, message).await {
            Ok(entry) => Ok(Some(entry).filter(|entry| entry.card.posted_by == caller.account.name)),
            Err(Refusal::UnknownMessage) => Ok(None),
            // Whether it was made is not known, and must not be denied.
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The case of a submission that was made, if this is the same once more.
    async fn made_before(
        &self,
        caller: &Caller,
        submission: Uuid,
        entry: &Entry,
        submitted: &Submitted,
    ) -> Result<Uuid, Problem> {
        if !is_same(entry, submitted) {
            return Err(Problem::conflict(
                "submission-exists",
                "the submission was made before with other content",
            ));
        }
        match self.relay.payload_writer().await {
            // What a full store says is so.
            Ok(_) | Err(Refusal::StoreFull { .. }) => {}
            // While it is in trouble, what it says may still be lost.
            Err(refusal) => return Err(refusal.into()),
        }
        // It can be read before the standby has it, and this node may know nothing of the trouble of the one that accepted it.
        self.relay.confirm().await?;
        // Whoever left, or fell, right behind the acceptance has left the draft.
        if let Ok(Some((draft, _))) = self.found(caller, submission).await {
            self.forget(&draft).await;
        }
        Ok(case_of(entry).unwrap_or_else(|| counterpart(submission)))
    }

    /// Makes one message of it; its case, and the draft, which is over.
    async fn make(
        &self,
        caller: &Caller,
        submission: Uuid,
        submitted: &Submitted,
    ) -> Result<(Uuid, AnyDraft), Problem> {
        let (draft, begun, contents) = match self.shared_draft(&caller.account.name, submission).await? {
            Some(draft) => {
                let begun = draft.begun().clone();
                (AnyDraft::Shared(Box::new(draft)), begun, Contents::default())
            }
            None => {
                let found = self.found_here(caller, submission, |draft, _| draft.contents()).await;
                let (draft, begun, contents) = found.map_err(disk)?.ok_or_else(Problem::no_submission)?;
                (AnyDraft::Here(draft), begun, contents)
            }
        };
        let zip = self.settings.zip;
        let metadata = jwe::inspect(&submitted.encrypted_metadata, zip)
            .map_err(|error| sealed(&error, "encryptedMetadata"))?;
        self.must_be_for(&begun.destination, &metadata.kid, "encryptedMetadata")?;
        let mut tags = AuthenticationTags { metadata: Some(metadata.tag), ..AuthenticationTags::default() };
        if let Some(data) = &submitted.encrypted_data {
            let data = jwe::inspect(data, zip).map_err(|error| sealed(&error, "encryptedData"))?;
            self.must_be_for(&begun.destination, &data.kid, "encryptedData")?;
            tags.data = Some(data.tag);
        }
        let wholes = self.wholes(&draft, &begun, contents).await?;
        self.must_all_be_for(&draft, &begun, &wholes).await?;
        for whole in &wholes {
            tags.attachments.insert(whole.id.to_string(), whole.uploaded.tag.clone());
        }
        let mut writer = self.relay.payload_writer().await?;
        let taken = self.take_over(&wholes, &mut *writer).await?;
        let mut parts = Vec::new();
        let texts =
            [("metadata", Some(&submitted.encrypted_metadata)), ("data", submitted.encrypted_data.as_ref())];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            let role = if name == "metadata" { PartRole::Message } else { PartRole::Attachment };
            let digest = Digest::of(text.as_bytes());
            parts.push(part(role, name, writer.length(), text.len() as u64, digest));
            writer.write(text.as_bytes()).await.map_err(told)?;
        }
        for Whole { id, uploaded, source } in &wholes {
            let offset = match source {
                Source::File { path, offset } if taken.as_ref() == Some(path) => *offset,
                _ => writer.length(),
            };
            let name = id.to_string();
            parts.push(part(PartRole::Attachment, &name, offset, uploaded.length, uploaded.digest));
            match source {
                Source::File { path, .. } if taken.as_ref() == Some(path) => {}
                Source::File { path, offset } => copy(path, *offset, uploaded, &mut *writer).await?,
                Source::Shared(shared) => self.pour(shared, uploaded, &mut *writer).await?,
            }
        }
        let manifest = Manifest { parts };
        let payload = writer.seal().await.map_err(told)?;
        let (envelope, profile) = self.envelope(caller, &begun, &tags)?;
        let request_digest = request_digest(&manifest);
        let made =
            Submission { envelope, manifest, payload, request_digest, door: DOOR, certificates: Vec::new() };
        self.relay.accept_under(&caller.account, made, &profile).await?;
        if let Some(callbacks) = &self.callbacks {
            callbacks.wake(&begun.destination);
        }
        Ok((begun.case_id(submission), draft))
    }

    /// All that was announced, each whole.
    async fn wholes(
        &self,
        draft: &AnyDraft,
        begun: &Announced,
        contents: Contents,
    ) -> Result<Vec<Whole>, Problem> {
        let mut sources = BTreeMap::new();
        match draft {
            AnyDraft::Here(_) => {
                for (id, Kept { uploaded, file, offset }) in contents.whole {
                    sources.insert(id, (uploaded, Source::File { path: file, offset }));
                }
            }
            AnyDraft::Shared(_) if begun.attachments.is_empty() => {}
            AnyDraft::Shared(draft) => {
                for (id, shared) in self.shared_attachments(draft).await? {
                    if let Some(uploaded) = shared.uploaded().cloned() {
                        sources.insert(id, (uploaded, Source::Shared(shared)));
                    }
                }
            }
        }
        let whole = |id: &Uuid| match sources.remove(id) {
            Some((uploaded, source)) => Ok(Whole { id: *id, uploaded, source }),
            None => Err(Problem::unprocessable(
                "attachment-incomplete",
                format!("the attachment {id} was announced and not uploaded"),
            )),
        };
        begun.attachments.iter().map(whole).collect()
    }

    /// Makes the largest file of attachments the beginning of the payload, where the store can; which one.
    async fn take_over(
        &self,
        wholes: &[Whole],
        writer: &mut dyn PayloadWriter,
    ) -> Result<Option<PathBuf>, Problem> {
        let mut files: BTreeMap<&PathBuf, Vec<(u64, u64, Digest)>> = BTreeMap::new();
        for Whole { uploaded, source, .. } in wholes {
            let Source::File { path, offset } = source else { return Ok(None) };
            files.entry(path).or_default().push((*offset, uploaded.length, uploaded.digest));
        }
        let length = |parts: &[(u64, u64, Digest)]| parts.iter().map(|(_, length, _)| *length).sum::<u64>();
        let Some((path, mut parts)) = files.into_iter().max_by_key(|(_, parts)| length(parts)) else {
            return Ok(None);
        };
        let length = length(&parts);
        parts.sort_unstable_by_key(|(offset, ..)| *offset);
        let mut end = 0;
        for (offset, length, _) in &parts {
            // Between parts there is nothing that nobody sent.
            if *offset != end {
                return Ok(None);
            }
            end = end.saturating_add(*length);
        }
        let seen = match self.drafts.seen(path, length) {
            Some(seen) => seen,
            None => self.must_be_whole(path, length, &parts).await?,
        };
        let taken = writer.take_file(path, length, seen).await.map_err(told)?;
        Ok(taken.then(|| path.clone()))
    }

    /// What was submitted is kept elsewhere, and nobody waits until its files are gone. The next request for it does.
    fn forget_behind(&self, draft: Draft, busy: Busy) {
        let drafts = self.drafts.clone();
        drafts.count_no_more(draft.place());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = drafts.forget(draft.place()) {
                left(&error);
            }
            drop(busy);
        });
    }

    /// What was submitted is kept elsewhere. The draft's lock is its caller's.
    async fn forget(&self, draft: &AnyDraft) {
        let forgotten = match draft {
            AnyDraft::Here(draft) => {
                let (drafts, done) = (self.drafts.clone(), draft.clone());
                on_disk(move || drafts.forget(done.place())).await.map_err(|error| error.to_string())
            }
            AnyDraft::Shared(draft) => self.forget_shared(draft).await.map_err(|error| error.to_string()),
        };
        if let Err(error) = forgotten {
            left(&error);
        }
    }

    /// A file that is taken over must be what was uploaded. Whoever digested it while it came need not read it again; after a
    /// restart it is.
    async fn must_be_whole(
        &self,
        path: &Path,
        length: u64,
        parts: &[(u64, u64, Digest)],
    ) -> Result<Context, Problem> {
        let opens = path.to_owned();
        let parts: Vec<_> = parts.iter().map(|(_, length, digest)| (*length, *digest)).collect();
        match on_disk(move || read_through(&File::open(opens)?, &parts)).await {
            Ok(Some(seen)) => {
                self.drafts.remember(path, length, seen.clone());
                Ok(seen)
            }
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(disk(error)),
            _ => Err(damaged(&path.display().to_string())),
        }
    }

    /// Whose deadlines hold for what is submitted there.
    pub(super) fn profile_of(&self, destination: &Destination) -> ServiceProfile {
        let directory = self.relay.directory();
        let own = destination.profile.as_ref().and_then(|name| directory.profile(name));
        own.unwrap_or(&self.settings.profile).clone()
    }

    fn envelope(
        &self,
        caller: &Caller,
        begun: &Announced,
        tags: &AuthenticationTags,
    ) -> Result<(Envelope, ServiceProfile), Problem> {
        let directory = self.relay.directory();
        let (account, destination) =
            directory.destination(&begun.destination).ok_or_else(Problem::no_destination)?;
        let reader = account.mailbox_of(destination).ok_or_else(Problem::no_destination)?.clone();
        let own = caller.account.identifiers.iter().find(|own| !own.is_wildcard());
        let author = own.cloned().ok_or_else(|| {
            Problem::new(StatusCode::FORBIDDEN, "not-allowed", "the client's account has no identifier")
        })?;
        let property = |key: &str, value: String| Property {
            key: Code { code: key.to_owned(), ..Code::default() },
            value,
        };
        let mut properties = vec![
            property(DESTINATION, begun.destination.to_string()),
            property(ANNOUNCED_AT, begun.at.to_string()),
            property(TAGS, serde_json::to_string(tags).unwrap_or_default()),
        ];
        properties.extend(begun.service_name.clone().map(|name| property(SERVICE_NAME, name)));
        properties.extend(begun.case.map(|case| property(CASE, case.to_string())));
        // Readers by XTA see what a submission belongs to as well.
        let first = begun.case.map(|case| self.message_id(counterpart(case))).transpose()?;
        let party = |identifier| Party { identifier, security_tokens: Vec::new() };
        let profile = self.profile_of(destination);
        let envelope = Envelope {
            id: begun.message.clone(),
            test: false,
            author: party(author),
            sender: None,
            reply_to: None,
            reader: party(reader),
            other_readers: Vec::new(),
            cc_readers: Vec::new(),
            in_reply_to: first.into_iter().collect(),
            process_ref: None,
            qualifier: Qualifier {
                service: begun.service.urn(),
                message_type: Some(Code { code: "submission".to_owned(), ..Code::default() }),
                ..Qualifier::default()
            },
            properties,
            origin: None,
            not_before: None,
            obsolete_after: None,
            service_quality: Some(profile.name.to_string()),
            receipt_requests: None,
            token_container: None,
            stated_size: None,
        };
        Ok((envelope, profile))
    }
}

/// An attachment of which nothing is missing.
struct Whole {
    id: Uuid,
    uploaded: Uploaded,
    source: Source,
}

enum Source {
    File { path: PathBuf, offset: u64 },
    Shared(SharedAttachment),
}

fn left(error: &dyn std::fmt::Display) {
    tracing::warn!(
        code = "draft-left",
        %error,
        next_step = "it is swept when its time is over",
        "a draft was not removed"
    );
}

fn told(error: StoreError) -> Problem {
    Problem::from(Refusal::from(error))
}

/// The key that an attachment was encrypted for; its header was judged when it came.
async fn kid_in(path: &Path, offset: u64, uploaded: &Uploaded) -> Result<String, Problem> {
    let (opens, length) = (path.to_owned(), uploaded.length.min(HEADER_CHARS_MAX as u64 + 1));
    let beginning = match on_disk(move || Reading::new(File::open(opens)?, offset, length).next()).await {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(disk(error)),
        read => read.ok().flatten().unwrap_or_default(),
    };
    let mut scanner = Scanner::new(Zip::Passes);
    let kid = scanner.feed(&beginning).ok().and_then(|()| scanner.kid().map(str::to_owned));
    kid.ok_or_else(|| damaged(&path.display().to_string()))
}

/// Writes an attachment into the payload, and compares it on the way with what was uploaded.
async fn copy(
    path: &Path,
    offset: u64,
    uploaded: &Uploaded,
    writer: &mut dyn PayloadWriter,
) -> Result<(), Problem> {
    let (opens, length) = (path.to_owned(), uploaded.length);
    let mut reading =
        on_disk(move || Ok(Reading::new(File::open(opens)?, offset, length))).await.map_err(disk)?;
    loop {
        let read = on_disk(move || reading.next().map(|piece| (reading, piece))).await;
        let piece = match read {
            Ok((on, piece)) => {
                reading = on;
                piece
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(disk(error)),
        };
        match piece {
            Some(piece) => writer.write(&piece).await.map_err(told)?,
            None if reading.digest() == uploaded.digest => return Ok(()),
            None => break,
        }
    }
    Err(damaged(&path.display().to_string()))
}

fn too_many(max: usize, whose: &str) -> Problem {
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-announced",
        format!("{max} submissions are announced and not made; no more are kept"),
    )
    .with_operator(
        Loudness::Warn,
        whose,
        "ask whoever runs it why it announces and does not submit; portal.announced_hours decides how long that is kept",
    );
    problem.rate = Some((max as u64, 0, 60));
    problem
}

fn announced(ids: &[String], parts_max: usize) -> Result<Vec<Uuid>, Problem> {
    // Metadata and data are parts as well.
    let max = parts_max.saturating_sub(2);
    if ids.len() > max {
        return Err(Problem::unprocessable(
            "body-invalid",
            format!("{} attachments are announced, at most {max} are taken", ids.len()),
        ));
    }
    let mut attachments = Vec::with_capacity(ids.len());
    for id in ids {
        let id = attachment_id(id)
            .map_err(|_| Problem::bad_request("body-invalid", "announcedAttachments are UUIDs"))?;
        if attachments.contains(&id) {
            return Err(Problem::bad_request("body-invalid", "an attachment is announced twice"));
        }
        attachments.push(id);
    }
    Ok(attachments)
}

fn part(role: PartRole, name: &str, offset: u64, length: u64, digest: Digest) -> Part {
    Part {
        role,
        offset,
        length,
        digest,
        content_type: "application/jose".to_owned(),
        description: None,
        encoding: None,
        filename: None,
        id: Some(name.to_owned()),
        lang: None,
        size: None,
    }
}

/// Metadata and data; attachments cannot have changed once a submission was made.
fn is_same(entry: &Entry, submitted: &Submitted) -> bool {
    let digest = |name: &str| {
        let parts = &entry.manifest.parts;
        parts.iter().find(|part| part.id.as_deref() == Some(name)).map(|part| part.digest)
    };
    digest("metadata") == Some(Digest::of(submitted.encrypted_metadata.as_bytes()))
        && digest("data") == submitted.encrypted_data.as_ref().map(|data| Digest::of(data.as_bytes()))
}
