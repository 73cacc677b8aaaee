//! The sender's side: announce, upload attachments, submit.
//!
//! An announced id is the relay's, so that it is used once; what was announced and uploaded waits on disk until it is
//! submitted. Submitting streams all of it into one payload and makes one message of it, in the relay's one transaction.
//! Everything may be said again: an attachment with the same bytes, a submission with the same content, also after its
//! draft is gone.

use std::fs::{File, OpenOptions};

use aws_lc_rs::digest::{Context, SHA256};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::drafts::{AHEAD_BYTES, Announced, Draft, Place, Uploaded, on_disk};
use super::problem::Problem;
use super::public::keys;
use super::token::Caller;
use super::upload::{Poured, Upload};
use super::{DOOR, Door, attachment_id, hyphenated, json, must_be, next, no_content};
use crate::domain::content::{Digest, Manifest, Part, PartRole};
use crate::domain::date_time::german_day;
use crate::domain::destination::{
    DESTINATION_PROPERTY, Destination, DestinationId, DestinationStatus, ServiceKey,
};
use crate::domain::envelope::{Code, Envelope, Party, Property, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::profile::ServiceProfile;
use crate::net::Body;
use crate::pki::jose::jwe::{self, Facts};
use crate::pki::jose::jwk::Purpose;
use crate::portal::event::{AuthenticationTags, counterpart};
use crate::relay::{Refusal, Submission};
use crate::report::Loudness;
use crate::store::{Entry, PayloadWriter};

const JOSE: &[&str] = &["application/jose"];

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

fn disk(error: std::io::Error) -> Problem {
    Problem::disk(&error)
}

/// A draft that gave way, or was swept, while a request was on its way is no trouble of the disk's.
fn of_draft(error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::no_submission(),
        _ => disk(error),
    }
}

fn sealed(error: &crate::pki::jose::Error, what: &str) -> Problem {
    Problem::unprocessable("encryption-invalid", format!("{what}: {error}"))
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
        let message = self.relay.announce(&caller.account).await?;
        let submission = uuid_of(&message).ok_or_else(Problem::no_submission)?;
        let now = self.relay.now();
        let hours = std::time::Duration::from_secs(u64::from(self.settings.announced_hours) * 3600);
        let begun = Announced {
            version: 1,
            at: now,
            until: now.checked_add(hours).unwrap_or(jiff::Timestamp::MAX),
            message,
            destination: id,
            service: key,
            service_name: name,
            attachments,
            case,
            client: caller.client.clone(),
        };
        let case = begun.case_id(submission);
        let draft = self.drafts.draft(&caller.account.name, submission);
        if !self.drafts.has_room(0).map_err(disk)? {
            return Err(self.full());
        }
        let (drafts, of_client, wanted) = (self.drafts.clone(), caller.client.clone(), draft.clone());
        let place = on_disk(move || drafts.place(&wanted, of_client.as_deref(), now)).await.map_err(disk)?;
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
        let begins = draft.clone();
        on_disk(move || begins.begin(&begun)).await.map_err(disk)?;
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
                let begun = self.begun(caller, first).await.ok();
                begun.is_some_and(|(_, begun)| begun.case.is_none() && begun.destination == *destination)
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let others = self.relay.continued(&caller.account.name, &id, CASE_MAX).await?;
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

    fn full(&self) -> Problem {
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
    fn must_be_for(&self, destination: &DestinationId, facts: &Facts, what: &str) -> Result<(), Problem> {
        let directory = self.relay.directory();
        let (_, destination) = directory.destination(destination).ok_or_else(Problem::no_destination)?;
        let known = keys(destination)
            .iter()
            .any(|key| key.purpose == Purpose::Encryption && key.is_called(&facts.kid));
        match known {
            true => Ok(()),
            false => Err(Problem::unprocessable(
                "encryption-invalid",
                format!("{what}: its kid is no encryption key of the destination"),
            )),
        }
    }

    /// A draft of the caller's, and that it is this draft's attachment.
    async fn begun(&self, caller: &Caller, submission: Uuid) -> Result<(Draft, Announced), Problem> {
        let draft = self.drafts.draft(&caller.account.name, submission);
        let reads = draft.clone();
        let begun = on_disk(move || reads.announced()).await.map_err(disk)?;
        let begun =
            begun.filter(|begun| begun.until > self.relay.now()).ok_or_else(Problem::no_submission)?;
        Ok((draft, begun))
    }

    async fn begun_with(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
    ) -> Result<(Draft, Announced), Problem> {
        caller.must_send()?;
        let (draft, begun) = self.begun(caller, submission).await?;
        if !begun.attachments.contains(&attachment) {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "attachment-not-announced",
                "the attachment was not announced with the submission",
            ));
        }
        Ok((draft, begun))
    }

    /// `HEAD`: how far an upload has come.
    pub(super) async fn upload_state(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
    ) -> Result<Response<Body>, Problem> {
        let (draft, _) = self.begun_with(caller, submission, attachment).await?;
        let (offset, complete) = match draft.uploaded(attachment).map_err(disk)? {
            Some(uploaded) => (uploaded.length, true),
            None => (length_of(&draft, attachment).await, false),
        };
        Ok(at_offset(no_content(), offset, complete))
    }

    /// `PUT`: the whole attachment.
    pub(super) async fn upload(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        must_be(headers, JOSE)?;
        let (draft, begun) = self.begun_with(caller, submission, attachment).await?;
        let busy = self.alone(&draft, attachment)?;
        if let Some(before) = draft.uploaded(attachment).map_err(disk)? {
            return self.compare(&before, body).await;
        }
        let part = draft.part(attachment);
        let file = on_disk(move || File::create(part)).await.map_err(of_draft)?;
        let upload = Upload::new(file, self.settings.zip, busy);
        self.receive(upload, &draft, &begun, attachment, (headers, true), body).await
    }

    /// `PATCH`: more of an attachment whose upload broke off.
    pub(super) async fn upload_more(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        must_be(headers, &["application/partial-upload", "application/jose"])?;
        let (draft, begun) = self.begun_with(caller, submission, attachment).await?;
        let busy = self.alone(&draft, attachment)?;
        let stated = headers.get("upload-offset").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let completes = headers.get("upload-complete").is_none_or(|value| value != "?0");
        let has = match draft.uploaded(attachment).map_err(disk)? {
            Some(uploaded) => uploaded.length,
            None => length_of(&draft, attachment).await,
        };
        if stated != Some(has) || draft.uploaded(attachment).map_err(disk)?.is_some() {
            let problem = Problem::conflict("offset-conflict", format!("the upload stands at {has}"));
            return Err(problem);
        }
        let part = draft.part(attachment);
        let file = on_disk(move || OpenOptions::new().read(true).append(true).create(true).open(part));
        let mut upload = Upload::new(file.await.map_err(of_draft)?, self.settings.zip, busy);
        upload.read_again().await?;
        self.receive(upload, &draft, &begun, attachment, (headers, completes), body).await
    }

    fn alone(&self, draft: &Draft, attachment: Uuid) -> Result<OwnedMutexGuard<()>, Problem> {
        self.drafts.try_hold(&draft.part(attachment)).ok_or_else(|| {
            Problem::conflict("offset-conflict", "another request is uploading this attachment")
        })
    }

    /// The same attachment once more, without keeping it.
    async fn compare(&self, before: &Uploaded, body: &mut Body) -> Result<Response<Body>, Problem> {
        let (mut digest, mut length) = (Context::new(&SHA256), 0u64);
        while let Some(data) = next(body).await? {
            length = length.saturating_add(data.len() as u64);
            if length > before.length {
                break;
            }
            digest.update(&data);
        }
        if length == before.length && digest.finish().as_ref() == before.digest.0 {
            return Ok(at_offset(no_content(), before.length, true));
        }
        Err(Problem::conflict("attachment-exists", "the attachment was uploaded before with other bytes"))
    }

    async fn receive(
        &self,
        mut upload: Upload,
        draft: &Draft,
        begun: &Announced,
        attachment: Uuid,
        (headers, completes): (&HeaderMap, bool),
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        let others = draft.other_bytes(attachment).map_err(disk)?;
        let max = self.settings.limits.content_bytes_max.saturating_sub(others);
        let stated = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                format!("all parts together have more than {} bytes", self.settings.limits.content_bytes_max),
            )
        };
        if stated.is_some_and(|stated| upload.length().saturating_add(stated) > max) {
            return Err(too_large());
        }
        let began_at = upload.length();
        if let Err(problem) = self.keep(&mut upload, stated.unwrap_or(AHEAD_BYTES)) {
            upload.end_at(began_at, draft.part(attachment)).await;
            return Err(problem);
        }
        let is_whole = loop {
            match next(body).await {
                Ok(Some(data)) => {
                    let more = upload.length().saturating_add(data.len() as u64);
                    if more > upload.kept()
                        && let Err(problem) = self.keep(&mut upload, AHEAD_BYTES.max(data.len() as u64))
                    {
                        upload.end_at(began_at, draft.part(attachment)).await;
                        return Err(problem);
                    }
                    if more > max {
                        drop(upload);
                        let _ = tokio::fs::remove_file(draft.part(attachment)).await;
                        return Err(too_large());
                    }
                    if let Err(problem) = upload.take(&data).await {
                        // What is no encrypted message does not become one by more bytes.
                        drop(upload);
                        let _ = tokio::fs::remove_file(draft.part(attachment)).await;
                        return Err(problem);
                    }
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if let Err(problem) = upload.sync().await {
            drop(upload);
            let _ = tokio::fs::remove_file(draft.part(attachment)).await;
            return Err(problem);
        }
        if upload.kept() > upload.length() {
            upload.give_back().await?;
        }
        let length = upload.length();
        if !is_whole {
            return Err(Problem::bad_request(
                "upload-broken",
                format!("the upload ended early; {length} bytes are kept"),
            ));
        }
        if !completes {
            return Ok(at_offset(no_content(), length, false));
        }
        let judged = upload.finish().and_then(|(facts, digest, busy)| {
            self.must_be_for(&begun.destination, &facts, "the attachment")?;
            Ok((Uploaded { length, digest, tag: facts.tag }, busy))
        });
        let (uploaded, _busy) = match judged {
            Ok(judged) => judged,
            Err(problem) => {
                let _ = tokio::fs::remove_file(draft.part(attachment)).await;
                return Err(problem);
            }
        };
        let keeps = draft.clone();
        on_disk(move || keeps.complete(attachment, &uploaded)).await.map_err(disk)?;
        Ok(at_offset(no_content(), length, true))
    }

    /// Keeps room for so many bytes more, and leaves the disk its reserve.
    fn keep(&self, upload: &mut Upload, bytes: u64) -> Result<(), Problem> {
        match self.drafts.keep(upload.file(), upload.length(), bytes) {
            Ok(()) => {
                upload.is_kept(bytes);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Err(self.full()),
            Err(error) => Err(disk(error)),
        }
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
        let answer = |case: Uuid| {
            json(StatusCode::OK, &serde_json::json!({ "submissionId": submission, "caseId": case }))
        };
        let draft = self.drafts.draft(&caller.account.name, submission);
        let _busy = self.drafts.hold(draft.place()).await;
        let made = match self.relay.card(&caller.account, None, &message).await {
            Ok(entry) => Some(entry),
            Err(Refusal::UnknownMessage) => None,
            // Whether it was made is not known, and must not be denied.
            Err(refusal) => return Err(refusal.into()),
        };
        if let Some(entry) = made.filter(|entry| entry.card.posted_by == caller.account.name) {
            return match is_same(&entry, &submitted) {
                true => Ok(answer(case_of(&entry).unwrap_or_else(|| counterpart(submission)))),
                false => Err(Problem::conflict(
                    "submission-exists",
                    "the submission was made before with other content",
                )),
            };
        }
        let (draft, begun) = self.begun(caller, submission).await?;
        let zip = self.settings.zip;
        let metadata = jwe::inspect(&submitted.encrypted_metadata, zip)
            .map_err(|error| sealed(&error, "encryptedMetadata"))?;
        self.must_be_for(&begun.destination, &metadata, "encryptedMetadata")?;
        let mut tags = AuthenticationTags { metadata: Some(metadata.tag), ..AuthenticationTags::default() };
        if let Some(data) = &submitted.encrypted_data {
            let data = jwe::inspect(data, zip).map_err(|error| sealed(&error, "encryptedData"))?;
            self.must_be_for(&begun.destination, &data, "encryptedData")?;
            tags.data = Some(data.tag);
        }
        let mut uploads = Vec::new();
        for attachment in &begun.attachments {
            let uploaded = draft.uploaded(*attachment).map_err(disk)?.ok_or_else(|| {
                Problem::unprocessable(
                    "attachment-incomplete",
                    format!("the attachment {attachment} was announced and not uploaded"),
                )
            })?;
            tags.attachments.insert(attachment.to_string(), uploaded.tag.clone());
            uploads.push((*attachment, uploaded));
        }
        let mut writer = self.relay.payload_writer().await?;
        let mut parts = Vec::new();
        let texts =
            [("metadata", Some(&submitted.encrypted_metadata)), ("data", submitted.encrypted_data.as_ref())];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            let role = if name == "metadata" { PartRole::Message } else { PartRole::Attachment };
            let digest = Digest::of(text.as_bytes());
            parts.push(part(role, name, writer.length(), text.len() as u64, digest));
            writer.write(text.as_bytes()).await.map_err(|error| Problem::from(Refusal::from(error)))?;
        }
        for (attachment, uploaded) in &uploads {
            let name = attachment.to_string();
            parts.push(part(PartRole::Attachment, &name, writer.length(), uploaded.length, uploaded.digest));
            pour(&draft, *attachment, uploaded, &mut writer).await?;
        }
        let manifest = Manifest { parts };
        let payload = writer.seal().await.map_err(|error| Problem::from(Refusal::from(error)))?;
        let (envelope, profile) = self.envelope(caller, &begun, &tags)?;
        let request_digest = payload.digest;
        let made =
            Submission { envelope, manifest, payload, request_digest, door: DOOR, certificates: Vec::new() };
        self.relay.accept_under(&caller.account, made, &profile).await?;
        if let Some(callbacks) = &self.callbacks {
            callbacks.wake(&begun.destination);
        }
        let done = draft.clone();
        if let Err(error) = on_disk(move || done.forget()).await {
            tracing::warn!(code = "draft-left", %error, next_step = "it is swept when its time is over", "a draft was not removed");
        }
        Ok(answer(begun.case_id(submission)))
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

/// From the draft's file into the payload; what is read must be what was uploaded.
async fn pour(
    draft: &Draft,
    attachment: Uuid,
    uploaded: &Uploaded,
    writer: &mut Box<dyn PayloadWriter>,
) -> Result<(), Problem> {
    let whole = draft.whole(attachment);
    let file = on_disk(move || File::open(whole)).await.map_err(disk)?;
    let (mut reading, mut spare) = (Poured::new(file).read(Vec::new()), Vec::new());
    let digest = loop {
        let (poured, piece) = Poured::next(reading).await?;
        if piece.is_empty() {
            break poured.digest();
        }
        reading = poured.read(spare);
        writer.write(&piece).await.map_err(|error| Problem::from(Refusal::from(error)))?;
        spare = piece;
    };
    if digest == uploaded.digest {
        return Ok(());
    }
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an attachment was damaged")
        .with_operator(
            Loudness::Error,
            format!("{} is not what was uploaded", draft.whole(attachment).display()),
            "check the disk; the portal must upload it again after the draft is removed",
        ))
}

async fn length_of(draft: &Draft, attachment: Uuid) -> u64 {
    tokio::fs::metadata(draft.part(attachment)).await.map_or(0, |file| file.len())
}

fn at_offset(mut response: Response<Body>, offset: u64, complete: bool) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("upload-offset"), HeaderValue::from(offset));
    let complete = HeaderValue::from_static(if complete { "?1" } else { "?0" });
    headers.insert(HeaderName::from_static("upload-complete"), complete);
    response
}
