//! An attachment on its way into the store that nodes share: in pieces of bounded size, each durable before the next
//! begins, so that another node can go on behind the last of them.
//!
//! Bytes are counted before they are taken, as [`super::claim`] counts those in files, but by the store, for all nodes. A
//! node that falls leaves its count standing until the next request for the attachment or until the draft is over.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Response, StatusCode};
use uuid::Uuid;

use super::attachments::{at_offset, compare, over_draft, too_much};
use super::claim::Bounds;
use super::draft::Uploaded;
use super::drafts::AHEAD_BYTES;
use super::problem::Problem;
use super::shared::{HELD_MAX, SharedAttachment, SharedDraft, in_store};
use super::upload::{digest_of, sealed, stopping};
use super::{Door, next, no_content};
use crate::net::Body;
use crate::pki::jose::jwe::{Facts, Scanner, Zip};
use crate::relay::Relay;
use crate::store::PayloadWriter;
use crate::store::staging::{Count, Counted, Held, PlaceName, Staging};

/// An upload that breaks off loses less than this; what a row or an object of the store costs is spread over so much.
const PIECE_BYTES: u64 = 8 * 1024 * 1024;
/// All that is there is read again with each step, so steps may be smaller than this only so often: whoever goes on byte by
/// byte would have them all asked for with each.
const STEP_BYTES: u64 = 256 * 1024;
const SMALL_STEPS_MAX: u64 = 256;
/// What is judged and digested at once.
const GATHERED_BYTES: usize = 256 * 1024;

fn lost_race() -> Problem {
    Problem::conflict("offset-conflict", "another request is uploading this attachment")
}

/// What an upload is counted with. When it ends, or is dropped on the way, the attachment is counted with what is kept of
/// it, and is free after that.
struct Claim {
    relay: Arc<Relay>,
    place: PlaceName,
    draft: PlaceName,
    held: Option<Held>,
    bytes: u64,
}

/// Counts what is kept, whoever has kept it: a request that was dropped, or not answered, may have kept more than it knows.
/// What came for a draft that was submitted meanwhile goes with it; whether the draft is still there.
async fn settled(staging: &dyn Staging, place: &PlaceName, draft: &PlaceName) -> bool {
    // Where this fails it is counted with too much until its next request.
    let _ = staging.count_pieces(place).await;
    let is_gone = matches!(staging.place(draft).await, Ok(None));
    if is_gone {
        // Otherwise it is over when the draft would have been.
        let _ = staging.forget_place(place).await;
    }
    !is_gone
}

impl Claim {
    async fn settle(mut self, staging: &dyn Staging) -> bool {
        let is_there = settled(staging, &self.place, &self.draft).await;
        self.held = None;
        is_there
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (relay, place, draft) = (self.relay.clone(), self.place.clone(), self.draft.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Some(staging) = relay.staging() {
                    settled(staging, &place, &draft).await;
                }
                drop(held);
            });
        }
    }
}

struct SharedUpload<'a> {
    staging: &'a dyn Staging,
    attachment: SharedAttachment,
    /// Absent after bytes that are no encrypted message.
    hand: Option<(Scanner, Context)>,
    gathered: Vec<u8>,
    /// Of the piece at hand.
    writer: Option<Box<dyn PayloadWriter>>,
    length: u64,
    claim: Claim,
}

impl<'a> SharedUpload<'a> {
    fn new(staging: &'a dyn Staging, attachment: SharedAttachment, zip: Zip, claim: Claim) -> Self {
        let hand = Some((Scanner::new(zip), Context::new(&SHA256)));
        Self { staging, attachment, hand, gathered: Vec::new(), writer: None, length: 0, claim }
    }

    /// Judges and digests what was gathered, where it blocks nobody, and gives it back.
    async fn look(&mut self) -> Result<Vec<u8>, Problem> {
        let (mut scanner, mut digest) = self.hand.take().ok_or_else(stopping)?;
        let bytes = std::mem::take(&mut self.gathered);
        let looked = tokio::task::spawn_blocking(move || {
            scanner.feed(&bytes).map_err(|error| sealed(&error))?;
            digest.update(&bytes);
            Ok::<_, Problem>((scanner, digest, bytes))
        });
        let (scanner, digest, bytes) = looked.await.map_err(|_| stopping())??;
        self.hand = Some((scanner, digest));
        Ok(bytes)
    }

    /// What earlier requests brought, at whichever node.
    async fn read_again(&mut self) -> Result<(), Problem> {
        for piece in 1..=self.attachment.pieces() {
            let number = self.attachment.number(piece);
            let opened = self.staging.open_piece(self.attachment.place(), number, 0, u64::MAX).await;
            let mut reader = opened.map_err(in_store)?;
            while let Some(bytes) = reader.next().await.map_err(in_store)? {
                self.length = self.length.saturating_add(bytes.len() as u64);
                self.gathered.extend_from_slice(&bytes);
                if self.gathered.len() >= GATHERED_BYTES {
                    self.gathered = self.look().await?;
                    self.gathered.clear();
                }
            }
        }
        if !self.gathered.is_empty() {
            self.gathered = self.look().await?;
            self.gathered.clear();
        }
        Ok(())
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = GATHERED_BYTES.saturating_sub(self.gathered.len());
            let (now, later) = rest.split_at(rest.len().min(room));
            self.gathered.extend_from_slice(now);
            if self.gathered.len() >= GATHERED_BYTES {
                self.hand_over().await?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Writes what was gathered, and keeps the piece where it is full.
    async fn hand_over(&mut self) -> Result<(), Problem> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut bytes = self.look().await?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.claim.relay.payload_writer().await?),
        };
        writer.write(&bytes).await.map_err(in_store)?;
        let is_full = writer.length() >= PIECE_BYTES;
        bytes.clear();
        self.gathered = bytes;
        if is_full { self.keep(false).await } else { Ok(()) }
    }

    /// When this returns, all that was handed over is received, whatever happens.
    async fn keep(&mut self, is_last: bool) -> Result<(), Problem> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        // What is kept stays, and goes on in larger steps.
        if !is_last && self.attachment.pieces() >= SMALL_STEPS_MAX + self.length / STEP_BYTES {
            return Err(Problem::bad_request(
                "body-invalid",
                format!(
                    "the attachment comes in too many small steps; go on with {STEP_BYTES} bytes or more"
                ),
            ));
        }
        let piece = writer.seal().await.map_err(in_store)?;
        match self.attachment.keep(self.staging, piece).await? {
            true => Ok(()),
            // Another request, at another node, has gone on behind the same bytes, or begun anew.
            false => Err(lost_race()),
        }
    }

    async fn sync(&mut self) -> Result<(), Problem> {
        self.hand_over().await?;
        self.keep(false).await
    }

    /// What it is, once all of it was taken.
    async fn finish(&mut self) -> Result<(Facts, Uploaded), Problem> {
        self.hand_over().await?;
        let (scanner, digest) = self.hand.take().ok_or_else(stopping)?;
        let facts = scanner.finish().map_err(|error| sealed(&error))?;
        let uploaded = Uploaded { length: self.length, digest: digest_of(&digest), tag: facts.tag.clone() };
        Ok((facts, uploaded))
    }

    /// What is no encrypted message, or is too large, does not become one by more bytes: it goes. Of anything else, what is
    /// kept stays; how much it is the client may ask.
    async fn give_up(mut self, problem: Problem) -> Problem {
        let is_spoilt =
            [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::PAYLOAD_TOO_LARGE].contains(&problem.status);
        if is_spoilt {
            // Where this fails, the next request for it finds the pieces.
            let _ = self.attachment.begin_anew(self.staging).await;
        }
        self.claim.settle(self.staging).await;
        problem
    }
}

impl Door {
    /// The attachment as it is when nobody else is at work at it.
    async fn held(
        &self,
        draft: &SharedDraft,
        attachment: Uuid,
    ) -> Result<(&dyn Staging, SharedAttachment, Held), Problem> {
        let staging = self.relay.staging().ok_or_else(Problem::no_submission)?;
        let place = draft.attachment_place(attachment);
        let held = staging.hold(&place, Some(HELD_MAX)).await.map_err(in_store)?.ok_or_else(lost_race)?;
        Ok((staging, self.begun_attachment(staging, draft, attachment).await?, held))
    }

    /// `HEAD`: how far an upload has come.
    pub(super) async fn shared_upload_state(
        &self,
        draft: &SharedDraft,
        attachment: Uuid,
    ) -> Result<Response<Body>, Problem> {
        let staging = self.relay.staging().ok_or_else(Problem::no_submission)?;
        let (offset, complete) = match self.shared_attachment(staging, draft, attachment).await? {
            Some(found) => (found.length(staging).await?, found.uploaded().is_some()),
            None => (0, false),
        };
        // It can be read before the standby has it, and who is told of it does not send it again.
        staging.confirm().await.map_err(in_store)?;
        Ok(at_offset(no_content(), offset, complete))
    }

    /// `PUT`: the whole attachment.
    pub(super) async fn upload_shared(
        &self,
        draft: &SharedDraft,
        attachment: Uuid,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        let (staging, mut found, held) = self.held(draft, attachment).await?;
        if let Some(before) = found.uploaded() {
            let answer = compare(before, body).await?;
            staging.confirm().await.map_err(in_store)?;
            return Ok(answer);
        }
        let claim = self.claim(draft, &found, held, 0);
        if !found.is_empty() && !found.begin_anew(staging).await? {
            return Err(lost_race());
        }
        let upload = SharedUpload::new(staging, found, self.settings.zip, claim);
        self.receive_shared(upload, draft, (headers, true), body).await
    }

    /// `PATCH`: more of an attachment whose upload broke off, here or elsewhere.
    pub(super) async fn upload_more_shared(
        &self,
        draft: &SharedDraft,
        attachment: Uuid,
        (stated, completes): (Option<u64>, bool),
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        let (staging, mut found, held) = self.held(draft, attachment).await?;
        let has = found.length(staging).await?;
        if stated != Some(has) || found.uploaded().is_some() {
            staging.confirm().await.map_err(in_store)?;
            return Err(Problem::conflict("offset-conflict", format!("the upload stands at {has}")));
        }
        let claim = self.claim(draft, &found, held, has);
        if found.has_others() {
            found.drop_earlier(staging).await?;
        }
        let mut upload = SharedUpload::new(staging, found, self.settings.zip, claim);
        if let Err(problem) = upload.read_again().await {
            return Err(upload.give_up(problem).await);
        }
        self.receive_shared(upload, draft, (headers, completes), body).await
    }

    /// An attachment that is whole and of no use to anybody goes, as it was when that was seen: whoever stood still since then
    /// holds nothing any more, and what was uploaded meanwhile stays.
    pub(super) async fn let_go_shared(
        &self,
        draft: &SharedDraft,
        judged: &SharedAttachment,
    ) -> Result<(), Problem> {
        let staging = self.relay.staging().ok_or_else(Problem::no_submission)?;
        let mut judged = judged.clone();
        let held = staging.hold(judged.place(), Some(HELD_MAX)).await.map_err(in_store)?;
        let claim = self.claim(draft, &judged, held.ok_or_else(lost_race)?, 0);
        let gone = judged.begin_anew(staging).await;
        claim.settle(staging).await;
        gone.map(drop)
    }

    fn claim(&self, draft: &SharedDraft, attachment: &SharedAttachment, held: Held, bytes: u64) -> Claim {
        let (place, draft) = (attachment.place().clone(), draft.place().clone());
        Claim { relay: self.relay.clone(), place, draft, held: Some(held), bytes }
    }

    /// Takes the body in behind what earlier requests brought.
    async fn receive_shared(
        &self,
        mut upload: SharedUpload<'_>,
        draft: &SharedDraft,
        (headers, completes): (&HeaderMap, bool),
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        let stated = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let (bytes, ahead) = stated.map_or((0, AHEAD_BYTES), |bytes| (bytes, 0));
        let bounds = self.bounds(draft.begun());
        if let Err(problem) = may_come(&mut upload, draft, bounds, bytes, ahead).await {
            upload.claim.settle(upload.staging).await;
            return Err(problem);
        }
        let whole = match take_in(&mut upload, draft, bounds, body).await {
            Ok(true) if completes => self.complete_shared(&mut upload, draft).await.map(|()| true),
            Ok(is_whole) => upload.sync().await.map(|()| is_whole),
            Err(problem) => Err(problem),
        };
        let is_whole = match whole {
            Ok(is_whole) => is_whole,
            Err(problem) => return Err(upload.give_up(problem).await),
        };
        let length = upload.length;
        if !upload.claim.settle(upload.staging).await {
            return Err(Problem::no_submission());
        }
        match is_whole {
            true => Ok(at_offset(no_content(), length, completes)),
            false => Err(Problem::bad_request(
                "upload-broken",
                format!("the upload ended early; {length} bytes are kept"),
            )),
        }
    }

    /// All of it has come: it is judged, and becomes the attachment.
    async fn complete_shared(
        &self,
        upload: &mut SharedUpload<'_>,
        draft: &SharedDraft,
    ) -> Result<(), Problem> {
        let (facts, uploaded) = upload.finish().await?;
        self.must_be_for(&draft.begun().destination, &facts.kid, "the attachment")?;
        upload.keep(true).await?;
        match upload.attachment.complete(upload.staging, uploaded).await? {
            true => Ok(()),
            false => Err(lost_race()),
        }
    }
}

/// Whether all of the body came.
async fn take_in(
    upload: &mut SharedUpload<'_>,
    draft: &SharedDraft,
    bounds: Bounds,
    body: &mut Body,
) -> Result<bool, Problem> {
    loop {
        match next(body).await {
            Ok(Some(data)) => {
                let bytes = data.len() as u64;
                if upload.length.saturating_add(bytes) > upload.claim.bytes {
                    may_come(upload, draft, bounds, bytes, AHEAD_BYTES).await?;
                }
                upload.take(&data).await?;
            }
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        }
    }
}

/// Whether `bytes` more may come: they fit into the submission, and into what is kept for the client at all nodes.
async fn may_come(
    upload: &mut SharedUpload<'_>,
    draft: &SharedDraft,
    bounds: Bounds,
    bytes: u64,
    ahead: u64,
) -> Result<(), Problem> {
    let among = draft.names();
    let count = Count {
        bytes: upload.length.saturating_add(bytes),
        ahead,
        bytes_max: bounds.client,
        among: &among,
        among_bytes_max: bounds.draft,
    };
    match upload.staging.count_place(upload.attachment.place(), count).await.map_err(in_store)? {
        Counted::Yes(bytes) => {
            upload.claim.bytes = bytes;
            Ok(())
        }
        Counted::TooMuchAmong => Err(over_draft(bounds)),
        Counted::TooMuch { others } => Err(too_much(bounds.client, others, draft.begun().client.as_deref())),
    }
}
