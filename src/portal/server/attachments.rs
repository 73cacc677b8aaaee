//! Attachments on their way in: whole, or in pieces behind an upload that broke off. Where the draft is in a store that nodes
//! share, [`super::shared_upload`] takes them.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::claim::{Bounds, Claim, Extent};
use super::draft::{Announced, Draft, Uploaded};
use super::drafts::{AHEAD_BYTES, on_disk};
use super::problem::Problem;
use super::send::disk;
use super::shared::AnyDraft;
use super::token::Caller;
use super::upload::{Alone, Behind, Finished, Tail, Target, Upload};
use super::{Door, must_be, next, no_content};
use crate::net::Body;
use crate::report::Loudness;

const JOSE: &[&str] = &["application/jose"];

/// A draft that gave way, or was swept, while a request was on its way is no trouble of the disk's.
fn of_draft(error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::no_submission(),
        _ => disk(error),
    }
}

impl Door {
    async fn begun_with(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
    ) -> Result<(AnyDraft, Announced), Problem> {
        caller.must_send()?;
        let (draft, begun) = self.begun(caller, submission).await?;
        match begun.attachments.contains(&attachment) {
            true => Ok((draft, begun)),
            false => Err(not_announced()),
        }
    }

    /// `HEAD`: how far an upload has come.
    pub(super) async fn upload_state(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
    ) -> Result<Response<Body>, Problem> {
        let draft = match self.begun_with(caller, submission, attachment).await?.0 {
            AnyDraft::Here(draft) => draft,
            AnyDraft::Shared(draft) => return self.shared_upload_state(&draft, attachment).await,
        };
        let contents = on_disk(move || draft.contents()).await.map_err(disk)?;
        let (offset, complete) = match contents.whole.get(&attachment) {
            Some(kept) => (kept.uploaded.length, true),
            None => (contents.parts.get(&attachment).copied().unwrap_or(0), false),
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
        caller.must_send()?;
        if let Some(draft) = self.shared_draft(&caller.account.name, submission).await? {
            return match draft.begun().attachments.contains(&attachment) {
                true => self.upload_shared(&draft, attachment, headers, body).await,
                false => Err(not_announced()),
            };
        }
        let draft = self.drafts.draft(&caller.account.name, submission);
        let busy = self.alone(&draft, attachment)?;
        // It begins anew, with bytes of which nothing is known.
        drop(self.drafts.take_begun(&draft.part(attachment), 0));
        // A small one goes into one file with those before it, unless another one is on its way there.
        let is_small = stated_length(headers).is_some_and(|bytes| bytes < AHEAD_BYTES);
        let held = is_small.then(|| self.drafts.try_hold(&draft.content())).flatten();
        // Whoever leaves before it is open leaves the locks with it.
        let opens = move |draft: &Draft, begun: &Announced| match begun.attachments.contains(&attachment) {
            true => opened(draft, attachment, busy, held).map(Some),
            false => Ok(None),
        };
        let found = self.found_here(caller, submission, opens).await.map_err(of_draft)?;
        let (draft, begun, opened) = found.ok_or_else(Problem::no_submission)?;
        let target = match opened.ok_or_else(not_announced)? {
            Opened::Whole(before, _busy) => return compare(&before, body).await,
            Opened::New(mut target) => {
                if let Some(behind) = &mut target.behind {
                    behind.seen = self.drafts.seen(&target.path, behind.length);
                }
                target
            }
        };
        let upload = Upload::new(target, self.settings.zip);
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
        let stated = headers.get("upload-offset").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let completes = headers.get("upload-complete").is_none_or(|value| value != "?0");
        let draft = match draft {
            AnyDraft::Here(draft) => draft,
            AnyDraft::Shared(draft) => {
                let said = (stated, completes);
                return self.upload_more_shared(&draft, attachment, said, headers, body).await;
            }
        };
        let busy = self.alone(&draft, attachment)?;
        let looks = draft.clone();
        let contents = on_disk(move || looks.contents()).await.map_err(disk)?;
        let whole = contents.whole.get(&attachment);
        let has = whole.map(|kept| kept.uploaded.length).or(contents.parts.get(&attachment).copied());
        let has = has.unwrap_or(0);
        if stated != Some(has) || whole.is_some() {
            let problem = Problem::conflict("offset-conflict", format!("the upload stands at {has}"));
            return Err(problem);
        }
        let path = draft.part(attachment);
        let before = self.drafts.take_begun(&path, has);
        let opened = on_disk(move || {
            let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            Ok(Target { file: Arc::new(file), path, behind: None, busy: Alone::new(busy, None) })
        });
        let mut upload = Upload::new(opened.await.map_err(of_draft)?, self.settings.zip);
        upload.go_on(has, before);
        self.receive(upload, &draft, &begun, attachment, (headers, completes), body).await
    }

    fn alone(&self, draft: &Draft, attachment: Uuid) -> Result<OwnedMutexGuard<()>, Problem> {
        self.drafts.try_hold(&draft.part(attachment)).ok_or_else(|| {
            Problem::conflict("offset-conflict", "another request is uploading this attachment")
        })
    }

    /// Takes the body in behind what earlier requests brought. What is no encrypted message, or is too large, does not become
    /// better by more bytes and goes; where the disk fails, what earlier requests brought stays.
    async fn receive(
        &self,
        mut upload: Upload,
        draft: &Draft,
        begun: &Announced,
        attachment: Uuid,
        (headers, completes): (&HeaderMap, bool),
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        let stated = stated_length(headers);
        let began_at = upload.length();
        let whose = begun.client.as_deref();
        let mut claim = self.drafts.claim(draft, attachment, whose, began_at).await.map_err(of_draft)?;
        let (bytes, ahead) = stated.map_or((0, AHEAD_BYTES), |bytes| (bytes, 0));
        let bounds = self.bounds(begun);
        if let Err(problem) = self.may_come(&mut upload, &mut claim, bounds, bytes, ahead) {
            let busy = upload.busy();
            if let Some(judged) = upload.end_at(began_at).await.filter(|_| began_at > 0) {
                self.drafts.remember_begun(draft.part(attachment), judged);
            }
            drop(busy);
            return Err(problem);
        }
        upload.begin().await?;
        let taken = match self.take_in(&mut upload, &mut claim, bounds, body).await {
            Ok(true) if completes => {
                return self.complete(upload, claim, draft, begun, attachment, began_at).await;
            }
            Ok(is_whole) => match upload.set_aside(draft.part(attachment)).await {
                Ok(judged) => {
                    self.drafts.remember_begun(draft.part(attachment), judged);
                    Ok(is_whole)
                }
                // Which bytes are lost is not said; they may be those of a request that nobody waited for.
                Err(problem) => return Err(given_up(upload, problem, 0).await),
            },
            Err(problem) => Err(problem),
        };
        let is_whole = match taken {
            Ok(is_whole) => is_whole,
            Err(problem) => return Err(given_up(upload, problem, began_at).await),
        };
        let length = upload.length();
        match is_whole {
            true => Ok(at_offset(no_content(), length, false)),
            false => Err(Problem::bad_request(
                "upload-broken",
                format!("the upload ended early; {length} bytes are kept"),
            )),
        }
    }

    /// Whether all of the body came.
    async fn take_in(
        &self,
        upload: &mut Upload,
        claim: &mut Claim,
        bounds: Bounds,
        body: &mut Body,
    ) -> Result<bool, Problem> {
        loop {
            match next(body).await {
                Ok(Some(data)) => {
                    let bytes = data.len() as u64;
                    let whole = upload.length().saturating_add(bytes);
                    if whole > upload.kept() || whole > claim.bytes() {
                        self.may_come(upload, claim, bounds, bytes, AHEAD_BYTES)?;
                    }
                    upload.take(&data).await?;
                }
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    /// All of it has come: it is judged, and becomes the attachment.
    async fn complete(
        &self,
        mut upload: Upload,
        mut claim: Claim,
        draft: &Draft,
        begun: &Announced,
        attachment: Uuid,
        began_at: u64,
    ) -> Result<Response<Body>, Problem> {
        let judged = upload.finish().await.and_then(|finished| {
            self.must_be_for(&begun.destination, &finished.facts.kid, "the attachment")?;
            Ok(finished)
        });
        let finished = match judged {
            Ok(finished) => finished,
            Err(problem) => return Err(given_up(upload, problem, began_at).await),
        };
        let Finished { facts, digest, length, file, behind, seen, busy } = finished;
        let (keeps, uploaded) = (draft.clone(), Uploaded { length, digest, tag: facts.tag });
        let drafts = self.drafts.clone();
        let kept = on_disk(move || {
            let alone = || drafts.hold_blocking(keeps.place());
            busy.completes();
            let kept = match behind {
                Some(offset) => keeps.complete_content(attachment, &uploaded, offset, &file, alone),
                None => keeps.complete(attachment, &uploaded, &file, alone),
            };
            // Whoever leaves before that is done leaves the claim and the locks with it.
            if kept.is_ok() {
                claim.leaves(length);
            }
            drop((claim, busy));
            kept
        });
        let path = kept.await.map_err(of_draft)?;
        if let Some(seen) = seen {
            self.drafts.remember(&path, behind.unwrap_or(0).saturating_add(length), seen);
        }
        Ok(at_offset(no_content(), length, true))
    }

    /// An attachment that is whole and of no use to anybody goes. Its draft is the caller's alone.
    pub(super) async fn let_go(
        &self,
        draft: &Draft,
        begun: &Announced,
        attachment: Uuid,
    ) -> Result<(), Problem> {
        let busy = self.alone(draft, attachment)?;
        let claim = self.drafts.claim(draft, attachment, begun.client.as_deref(), 0).await;
        let claim = claim.map_err(of_draft)?;
        let (drafts, draft) = (self.drafts.clone(), draft.clone());
        let goes = move || {
            let gone = drafts.let_go(&draft, attachment);
            // What is left counts; nothing if it is gone.
            drop((claim, busy));
            gone
        };
        on_disk(goes).await.map_err(of_draft)
    }

    /// What attachments may have, so that whatever was taken can be submitted.
    pub(super) fn bounds(&self, begun: &Announced) -> Bounds {
        let settings = &self.settings;
        let limit = settings.limits.content_bytes_max;
        let directory = self.relay.directory();
        let own = directory.destination(&begun.destination).map(|(_, to)| self.profile_of(to));
        let all = own.and_then(|profile| profile.content_bytes_max).map_or(limit, |max| max.min(limit));
        // Metadata and data come last, and may have half of a bound that is small.
        let texts = settings.submission_bytes_max.min(all / 2);
        Bounds { draft: all.saturating_sub(texts), client: settings.uploads_bytes_max }
    }

    /// Whether `bytes` more may come: they fit into the submission, into what is kept for the client, and on the disk. Where
    /// nobody says how much comes, room is kept up to `ahead`.
    fn may_come(
        &self,
        upload: &mut Upload,
        claim: &mut Claim,
        bounds: Bounds,
        bytes: u64,
        ahead: u64,
    ) -> Result<(), Problem> {
        match claim.extend(upload.length().saturating_add(bytes), ahead, bounds) {
            Extent::Fits => {}
            Extent::OverDraft => return Err(over_draft(bounds)),
            Extent::OverClient(kept) => return Err(too_much(bounds.client, kept, claim.client())),
        }
        let is_kept = upload.length().saturating_add(bytes) <= upload.kept() && bytes > 0;
        if is_kept { Ok(()) } else { self.keep(upload, bytes.max(ahead)) }
    }

    /// Keeps room for so many bytes more, and leaves the disk its reserve.
    fn keep(&self, upload: &mut Upload, bytes: u64) -> Result<(), Problem> {
        match self.drafts.keep(upload.file(), upload.end(), bytes) {
            Ok(()) => {
                upload.is_kept(bytes);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Err(self.full()),
            Err(error) => Err(disk(error)),
        }
    }
}

/// What is no encrypted message, or is too large, does not become one by more bytes: it goes. Of anything else, what earlier
/// requests brought stays.
async fn given_up(upload: Upload, problem: Problem, began_at: u64) -> Problem {
    let is_spoilt =
        [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::PAYLOAD_TOO_LARGE].contains(&problem.status);
    upload.end_at(if is_spoilt { 0 } else { began_at }).await;
    problem
}

/// The same attachment once more, without keeping it.
pub async fn compare(before: &Uploaded, body: &mut Body) -> Result<Response<Body>, Problem> {
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

pub fn over_draft(bounds: Bounds) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        format!("all attachments together have more than {} bytes", bounds.draft),
    )
}

pub fn too_much(max: u64, kept: u64, client: Option<&str>) -> Problem {
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-much-uploaded",
        format!("{kept} bytes are uploaded and not submitted; no more than {max} are kept"),
    )
    .with_operator(
        Loudness::Warn,
        match client {
            Some(client) => format!("client {client}"),
            None => "a client by certificate".to_owned(),
        },
        "ask whoever runs it why it uploads and does not submit; portal.uploads_bytes_max decides how much is kept",
    );
    problem.rate = Some((max, 0, 60));
    problem
}

fn stated_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

fn not_announced() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "attachment-not-announced",
        "the attachment was not announced with the submission",
    )
}

enum Opened {
    /// It was uploaded before.
    Whole(Uploaded, OwnedMutexGuard<()>),
    New(Target),
}

/// `busy`: the attachment is this request's; `held`: nobody else is at the file that attachments lie in together.
fn opened(
    draft: &Draft,
    attachment: Uuid,
    busy: OwnedMutexGuard<()>,
    held: Option<OwnedMutexGuard<()>>,
) -> io::Result<Opened> {
    let contents = draft.contents()?;
    if let Some(kept) = contents.whole.get(&attachment) {
        return Ok(Opened::Whole(kept.uploaded.clone(), busy));
    }
    if let Some(held) = held.filter(|_| !contents.parts.contains_key(&attachment)) {
        let (length, path) = (contents.end, draft.content());
        if let Some(file) = draft.open_content(length)? {
            let file = Arc::new(file);
            let tail = Tail::new(file.clone(), path.clone(), length, held);
            let behind = Some(Behind { length, seen: None });
            return Ok(Opened::New(Target { file, path, behind, busy: Alone::new(busy, Some(tail)) }));
        }
    }
    let path = draft.part(attachment);
    let file = Arc::new(File::create(&path)?);
    Ok(Opened::New(Target { file, path, behind: None, busy: Alone::new(busy, None) }))
}

pub fn at_offset(mut response: Response<Body>, offset: u64, complete: bool) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("upload-offset"), HeaderValue::from(offset));
    let complete = HeaderValue::from_static(if complete { "?1" } else { "?0" });
    headers.insert(HeaderName::from_static("upload-complete"), complete);
    response
}
