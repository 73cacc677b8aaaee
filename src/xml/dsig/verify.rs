//! Verification: digests everything a signature refers to, then checks digests and value; as a second pass
//! over the document, or in one pass with the search ([`read_once`]).
//!
//! Against wrapping: all ID attributes of the document must differ, and the proof names what was covered by its
//! bytes and its place, to be compared with what will be processed ([`SignatureVerified::covers_exactly`]).
//! Against reading one SignedInfo and verifying another: what was read in the first pass must equal what the
//! canonical, verified bytes of SignedInfo say.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::ops::Range;

use aws_lc_rs::digest::Context as Digest;

use super::signature::{Candidate, Canonicalization, Collector, Form, Reference, Signature, SignedInfo};
use super::{DigestMethod, Error, Limits, NS_DSIG, SignatureMethod, Target, key};
use crate::mime::transfer::Base64Decoder;
use crate::pki::signature::PublicKey;
use crate::xml;
use crate::xml::c14n::{Algorithm, Canonicalizer};
use crate::xml::namespaces::Context;
use crate::xml::read::{Event, Octets, Permit, StartElement, StreamReader};
use crate::xml::tree::{self, Element};

/// A reference whose target is being read.
struct Running {
    reference: usize,
    /// Depth of the target; 0 for the document.
    depth: usize,
    enveloped: bool,
    met_signature: bool,
    form: RunningForm,
    digest: Gathered,
}

/// A digest that takes small pieces together: calling the provider for each would cost more than the digest itself.
struct Gathered {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Gathered {
    const MAX: usize = 4096;

    fn new(digest: Digest) -> Self {
        Self { digest, bytes: Vec::with_capacity(Self::MAX) }
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > Self::MAX {
            self.digest.update(&self.bytes);
            self.bytes.clear();
            if bytes.len() > Self::MAX {
                self.digest.update(bytes);
                return;
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn finish(mut self) -> Vec<u8> {
        self.digest.update(&self.bytes);
        self.digest.finish().as_ref().to_vec()
    }
}

enum RunningForm {
    Canonical(Canonicalizer),
    Base64(Base64Decoder),
}

/// What was digested of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digested {
    pub octets: Vec<u8>,
    pub span: Range<u64>,
    pub path: Vec<(String, String)>,
}

/// Digests targets while the document passes.
pub(super) struct Digests {
    references: Vec<(Target, Form, DigestMethod)>,
    by_id: HashMap<String, usize>,
    limits: Limits,
    signature_start: Option<u64>,
    skip_depth: Option<usize>,
    ids: HashSet<String>,
    running: Vec<Running>,
    done: Vec<Option<Digested>>,
    end: u64,
}

impl Digests {
    pub(super) fn new(
        references: Vec<(Target, Form, DigestMethod)>,
        signature_start: Option<u64>,
        limits: Limits,
    ) -> Self {
        let by_id = references.iter().enumerate().filter_map(|(at, (target, ..))| match target {
            Target::Element(id) => Some((id.clone(), at)),
            Target::Document | Target::Attachment(_) => None,
        });
        let by_id = by_id.collect();
        let mut digests = Self {
            done: vec![None; references.len()],
            by_id,
            references,
            limits,
            signature_start,
            skip_depth: None,
            ids: HashSet::new(),
            running: Vec::new(),
            end: 0,
        };
        if let Some(at) = digests.references.iter().position(|(target, ..)| *target == Target::Document) {
            digests.begin(at, 0, 0, Vec::new());
        }
        digests
    }

    pub(super) fn push(&mut self, event: &Event<'_>) -> Result<(), Error> {
        if let Event::Start(start) = event {
            self.start(start)?;
        }
        let skipping = self.skip_depth.is_some();
        for running in &mut self.running {
            if skipping && running.enveloped {
                running.met_signature = true;
                continue;
            }
            let digest = &mut running.digest;
            match &mut running.form {
                RunningForm::Canonical(canonicalizer) => {
                    canonicalizer.push(event, &mut |bytes| digest.update(bytes));
                }
                RunningForm::Base64(decoder) => {
                    if let Event::Text(piece) = event {
                        let mut octets = Vec::new();
                        let decoded = decoder.decode(piece.as_bytes(), &mut octets);
                        decoded.map_err(|_| Error::Base64(name_of(&self.references, running.reference)))?;
                        digest.update(&octets);
                    }
                }
            }
        }
        if let Event::End(end) = event {
            self.end = end.span().end;
            if self.skip_depth == Some(end.depth()) {
                self.skip_depth = None;
            }
            while let Some(at) = self.running.iter().position(|running| running.depth == end.depth()) {
                let running = self.running.swap_remove(at);
                self.complete(running)?;
            }
        }
        Ok(())
    }

    /// Whether a run can be taken whole: nothing of it is left out or decoded.
    fn takes_runs(&self) -> bool {
        let canonical = |running: &Running| matches!(running.form, RunningForm::Canonical(_));
        self.skip_depth.is_none() && self.running.iter().all(canonical)
    }

    fn permit(&self, prefix: &str, uri: &str) -> Permit {
        let permits = self.running.iter().map(|running| match &running.form {
            RunningForm::Canonical(canonicalizer) => canonicalizer.permit(prefix, uri),
            RunningForm::Base64(_) => Permit::Refused,
        });
        permits.fold(Permit::Unread, Permit::and)
    }

    /// What was digested, in the order of the references; attachments are left open.
    pub(super) fn finish(mut self) -> Result<Vec<Option<Digested>>, Error> {
        while let Some(running) = self.running.pop() {
            self.complete(running)?;
        }
        for (at, (target, ..)) in self.references.iter().enumerate() {
            let open = self.done.get(at).is_none_or(Option::is_none);
            if open && !matches!(target, Target::Attachment(_)) {
                return Err(Error::TargetMissing(target.to_string()));
            }
        }
        Ok(self.done)
    }

    fn start(&mut self, start: &StartElement<'_>) -> Result<(), Error> {
        let depth = start.context().depth();
        if self.signature_start == Some(start.span().start) {
            self.skip_depth = Some(depth);
        }
        for attribute in start.attributes() {
            if !super::is_id(&attribute.name) {
                continue;
            }
            if !self.ids.insert(attribute.value.to_owned()) {
                return Err(Error::IdTwice(super::shortened(attribute.value)));
            }
            if self.ids.len() > self.limits.ids_max {
                return Err(Error::LimitExceeded { limit: "ID attributes", value: self.limits.ids_max });
            }
            if let Some(&at) = self.by_id.get(attribute.value) {
                self.begin(at, depth, start.span().start, start.context().path());
                if self.running.len() > self.limits.references_nested_max {
                    let value = self.limits.references_nested_max;
                    return Err(Error::LimitExceeded { limit: "references inside each other", value });
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, reference: usize, depth: usize, start: u64, path: Vec<(String, String)>) {
        let Some((_, form, method)) = self.references.get(reference) else { return };
        let (form, enveloped) = match form {
            Form::Canonical { canonicalization: Canonicalization { algorithm, prefix_list }, enveloped } => {
                // A same-document reference has lost its comments before any transform.
                let algorithm = algorithm.without_comments();
                (RunningForm::Canonical(Canonicalizer::new(algorithm, prefix_list)), *enveloped)
            }
            Form::Base64 => (RunningForm::Base64(Base64Decoder::new()), false),
            Form::Octets => return,
        };
        let digested = Digested { octets: Vec::new(), span: start..start, path };
        if let Some(slot) = self.done.get_mut(reference) {
            *slot = Some(digested);
        }
        let digest = Gathered::new(method.begin());
        self.running.push(Running { reference, depth, enveloped, met_signature: false, form, digest });
    }

    fn complete(&mut self, running: Running) -> Result<(), Error> {
        let name = || name_of(&self.references, running.reference);
        if running.enveloped && !running.met_signature && self.signature_start.is_some() {
            return Err(Error::NotEnveloped(name()));
        }
        if let RunningForm::Base64(decoder) = running.form {
            decoder.finish().map_err(|_| Error::Base64(name()))?;
        }
        if let Some(Some(digested)) = self.done.get_mut(running.reference) {
            digested.octets = running.digest.finish();
            digested.span.end = self.end;
        }
        Ok(())
    }
}

/// True for prefixes that are bound, and to another namespace than that of signatures.
fn holds_no_signature(context: &Context, prefix: &str) -> bool {
    context.resolve(prefix).is_some_and(|uri| uri != NS_DSIG)
}

/// For runs that nobody digests.
fn passes_unread(context: &Context, prefix: &str) -> Permit {
    if holds_no_signature(context, prefix) { Permit::Unread } else { Permit::Refused }
}

fn name_of(references: &[(Target, Form, DigestMethod)], at: usize) -> String {
    references.get(at).map(|(target, ..)| target.to_string()).unwrap_or_default()
}

/// Both passes in one: what follows the signature is read once, and so is what stands before its end, unless the
/// signature covers something there or canonicalises SignedInfo in a rarer form (`Before`).
///
/// `open` gives the document from its start; `is_wanted` is asked for each signature until it says yes. What comes
/// back has seen the whole document and awaits attachments and key, beside all signatures that were found. For whole
/// documents; the doors, whose signatures may stand behind what they cover and whose octets pass once, feed
/// [`Verification`] themselves.
pub fn read_once<R: BufRead>(
    mut open: impl FnMut() -> std::io::Result<R>,
    reading: &xml::Limits,
    limits: &Limits,
    mut is_wanted: impl FnMut(&Candidate) -> bool,
) -> Result<(Option<Verification>, Vec<Candidate>), Error> {
    let mut open = || match open() {
        Ok(stream) => Ok(StreamReader::new(stream, reading.clone())),
        Err(error) => Err(xml::ErrorKind::Input(error.kind()).at(0)),
    };
    let mut collector = Collector::new(limits.clone(), tree::Limits::default());
    let mut before = Before::new(limits.clone());
    let mut verification: Option<Verification> = None;
    let mut known = 0;
    let mut reader = open()?;
    loop {
        // Between signatures, what is plain goes to the digests as it stands.
        if !collector.is_reading() {
            match &mut verification {
                Some(verification) => verification.push_runs(&mut reader)?,
                None => while reader.plain_run(passes_unread)?.is_some() {},
            }
        }
        let Some(event) = reader.next_event()? else { break };
        if let Some(verification) = &mut verification {
            collector.push(&event)?;
            verification.push(&event)?;
            continue;
        }
        before.push(&event, collector.is_reading());
        collector.push(&event)?;
        if collector.found() > known {
            known = collector.found();
            if let Some(candidate) = collector.last()
                && let Ok(signature) = &candidate.signature
                && is_wanted(candidate)
            {
                let mut begun = Verification::new(signature.clone());
                if !begun.resume(&mut before) {
                    begun.catch_up(&mut open()?)?;
                }
                verification = Some(begun);
            }
        }
    }
    Ok((verification, collector.finish()))
}

/// What the search keeps of the document before the end of a signature, so that it need not be read again: the IDs, and
/// SignedInfo in the canonical forms that nearly all signatures name.
struct Before {
    /// Of nothing; it gathers the IDs.
    digests: Digests,
    /// Two equal IDs, or more than may be: who reads again will say so.
    failed: bool,
    /// Where the SignedInfo of the last signature begins.
    start: Option<u64>,
    forms: Vec<SignedInfoForm>,
    bytes_max: usize,
}

struct SignedInfoForm {
    algorithm: Algorithm,
    canonicalizer: Canonicalizer,
    octets: Vec<u8>,
    ended: bool,
}

impl SignedInfoForm {
    const ALGORITHMS: [Algorithm; 2] = [Algorithm::Exclusive, Algorithm::Inclusive];

    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, canonicalizer: Canonicalizer::new(algorithm, ""), octets: Vec::new(), ended: false }
    }
}

impl Before {
    fn new(limits: Limits) -> Self {
        let bytes_max = limits.signed_info_bytes_max;
        let digests = Digests::new(Vec::new(), None, limits);
        Self { digests, failed: false, start: None, forms: Vec::new(), bytes_max }
    }

    /// `in_signature` is true from behind a signature's start tag to its end.
    fn push(&mut self, event: &Event<'_>, in_signature: bool) {
        self.failed = self.failed || self.digests.push(event).is_err();
        if let Event::Start(start) = event {
            if !in_signature {
                self.start = None;
                self.forms.clear();
            } else if self.start.is_none() && start.is(NS_DSIG, "SignedInfo") {
                self.start = Some(start.span().start);
                self.forms = SignedInfoForm::ALGORITHMS.map(SignedInfoForm::new).into();
            } else if start.is(NS_DSIG, "CanonicalizationMethod") {
                // What it does not name is not needed.
                let named = start.attribute("", "Algorithm").unwrap_or_default();
                self.forms.retain(|form| form.ended || form.algorithm.uri() == named);
            }
        }
        let max = self.bytes_max;
        for form in self.forms.iter_mut().filter(|form| !form.ended) {
            let octets = &mut form.octets;
            form.ended = form.canonicalizer.push(event, &mut |bytes| octets.extend_from_slice(bytes));
        }
        self.forms.retain(|form| form.octets.len() <= max);
    }

    /// The canonical SignedInfo of a signature that has just ended.
    fn signed_info(&mut self, signature: &Signature) -> Option<Vec<u8>> {
        let Canonicalization { algorithm, prefix_list } = &signature.signed_info.canonicalization;
        if self.start != Some(signature.signed_info_span.start) || !prefix_list.is_empty() {
            return None;
        }
        let form = self.forms.iter_mut().find(|form| form.ended && form.algorithm == *algorithm);
        form.map(|form| std::mem::take(&mut form.octets))
    }
}

/// Verifies one signature while the document passes: for the second time, or from the signature's end on ([`read_once`]).
pub struct Verification {
    signature: Signature,
    digests: Digests,
    attachments: HashMap<String, Vec<u8>>,
    signed_info: Vec<u8>,
    canonicalizer: Option<Canonicalizer>,
    signature_seen: bool,
}

impl Verification {
    pub fn new(signature: Signature) -> Self {
        let references = signature.references().iter();
        let references = references.map(|r| (r.target.clone(), r.form.clone(), r.digest_method)).collect();
        let digests = Digests::new(references, Some(signature.span.start), signature.limits.clone());
        Self {
            digests,
            signature,
            attachments: HashMap::new(),
            signed_info: Vec::new(),
            canonicalizer: None,
            signature_seen: false,
        }
    }

    /// Goes on behind the end of the signature with what the search has kept; true if that is all it takes.
    fn resume(&mut self, before: &mut Before) -> bool {
        let is_there = |reference: &Reference| match &reference.target {
            Target::Document => true,
            Target::Element(id) => before.digests.ids.contains(id),
            Target::Attachment(_) => false,
        };
        if before.failed || self.signature.references().iter().any(is_there) {
            return false;
        }
        let Some(signed_info) = before.signed_info(&self.signature) else { return false };
        self.signed_info = signed_info;
        self.signature_seen = true;
        self.digests.ids = std::mem::take(&mut before.digests.ids);
        true
    }

    /// Reads up to the end of the signature.
    fn catch_up<R: BufRead>(&mut self, reader: &mut StreamReader<R>) -> Result<(), Error> {
        let end = self.signature.span.end;
        loop {
            self.push_runs(reader)?;
            let Some(event) = reader.next_event()? else { break };
            self.push(&event)?;
            if matches!(&event, Event::End(tag) if tag.span().end == end) {
                return Ok(());
            }
        }
        Err(Error::SignatureMissing)
    }

    /// Takes what comes next as it stands, where nothing of it can be a part of the signature.
    fn push_runs<R: BufRead>(&mut self, reader: &mut StreamReader<R>) -> Result<(), Error> {
        while self.takes_runs() {
            let Some(run) = reader.plain_run(|context, prefix| self.permit(context, prefix))? else { break };
            self.push_run(run);
        }
        Ok(())
    }

    /// Whether the next run of the document may be handed in whole ([`Self::push_run`]) in place of its events.
    pub fn takes_runs(&self) -> bool {
        self.canonicalizer.is_none() && self.digests.takes_runs()
    }

    /// Whether elements with this prefix may be in that run, and how they are digested.
    pub fn permit(&self, context: &Context, prefix: &str) -> Permit {
        if !holds_no_signature(context, prefix) {
            return Permit::Refused;
        }
        self.digests.permit(prefix, context.resolve(prefix).unwrap_or_default())
    }

    /// Takes a run that was permitted.
    pub fn push_run(&mut self, run: Octets<'_>) {
        let running = &mut self.digests.running;
        run.for_each(|octets| running.iter_mut().for_each(|one| one.digest.update(octets)));
    }

    /// Takes the next event of the very document the signature was found in.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Error> {
        self.digests.push(event)?;
        if let Event::Start(start) = event {
            self.signature_seen |= start.span().start == self.signature.span.start;
            if start.span().start == self.signature.signed_info_span.start {
                let Canonicalization { algorithm, prefix_list } =
                    &self.signature.signed_info.canonicalization;
                self.canonicalizer = Some(Canonicalizer::new(*algorithm, prefix_list));
            }
        }
        let Some(canonicalizer) = &mut self.canonicalizer else { return Ok(()) };
        let (out, max) = (&mut self.signed_info, self.signature.limits.signed_info_bytes_max);
        let mut overflow = false;
        let ended = canonicalizer.push(event, &mut |bytes| {
            overflow |= out.len() + bytes.len() > max;
            if !overflow {
                out.extend_from_slice(bytes);
            }
        });
        if overflow {
            return Err(Error::LimitExceeded { limit: "bytes of SignedInfo", value: max });
        }
        if ended {
            self.canonicalizer = None;
        }
        Ok(())
    }

    /// Hands in the digest of an attachment, by the id in its reference ([`Signature::attachments`]).
    pub fn attachment(&mut self, id: &str, digest: &[u8]) {
        self.attachments.insert(id.to_owned(), digest.to_vec());
    }

    /// Checks everything against the key the caller trusts for this signer (SubjectPublicKeyInfo, DER).
    pub fn finish(self, spki_der: &[u8]) -> Result<SignatureVerified, Error> {
        self.finish_with(&PublicKey::from_spki(spki_der).map_err(|_| Error::Key)?)
    }

    /// The same with a key that was read once and is kept by whoever verifies often.
    pub fn finish_with(self, key: &PublicKey) -> Result<SignatureVerified, Error> {
        let Self { signature, digests, attachments, signed_info, .. } = self;
        if !self.signature_seen || self.canonicalizer.is_some() || signed_info.is_empty() {
            return Err(Error::SignatureMissing);
        }
        let limits = &signature.limits;
        let read = Element::parse(&signed_info, &xml::Limits::default(), &tree::Limits::default())?;
        if SignedInfo::from_element(&read, limits)? != signature.signed_info {
            return Err(Error::SignedInfoDiffers);
        }
        key::verify(signature.method(), key, &signed_info, &signature.value)?;
        let digested = digests.finish()?;
        let mut covered = Vec::new();
        for (reference, digested) in signature.references().iter().zip(digested) {
            covered.push(check_reference(reference, digested, &attachments)?);
        }
        Ok(SignatureVerified { method: signature.method(), covered, signature_span: signature.span })
    }
}

fn check_reference(
    reference: &Reference,
    digested: Option<Digested>,
    attachments: &HashMap<String, Vec<u8>>,
) -> Result<Covered, Error> {
    let Reference { target, digest_method, digest, .. } = reference;
    let (octets, place) = match (target, digested) {
        (Target::Attachment(id), _) => {
            let octets = attachments.get(id).ok_or_else(|| Error::AttachmentMissing(target.to_string()))?;
            (octets.clone(), None)
        }
        (_, Some(Digested { octets, span, path })) => (octets, Some((span, path))),
        (_, None) => return Err(Error::TargetMissing(target.to_string())),
    };
    if octets != *digest {
        return Err(Error::DigestDiffers(target.to_string()));
    }
    let (span, path) = place.map_or((None, Vec::new()), |(span, path)| (Some(span), path));
    Ok(Covered { target: target.clone(), digest_method: *digest_method, span, path })
}

/// One thing a verified signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    pub target: Target,
    pub digest_method: DigestMethod,
    /// The bytes of the element in the document; none for an attachment.
    pub span: Option<Range<u64>>,
    /// The expanded names from the root down to the element, itself included; empty for document and attachment.
    pub path: Vec<(String, String)>,
}

/// What a signature has to cover, no more and no less.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expected {
    /// An element, by its bytes in the document.
    Element(Range<u64>),
    /// An attachment, by the id in its `cid:` URI.
    Attachment(String),
    Document,
}

/// Proof that a signature is valid under a key. Only the verifier makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureVerified {
    method: SignatureMethod,
    covered: Vec<Covered>,
    signature_span: Range<u64>,
}

impl SignatureVerified {
    pub fn method(&self) -> SignatureMethod {
        self.method
    }

    pub fn covered(&self) -> &[Covered] {
        &self.covered
    }

    pub fn signature_span(&self) -> Range<u64> {
        self.signature_span.clone()
    }

    /// Compares what is covered with what is expected, as sets.
    pub fn covers_exactly(&self, expected: &[Expected]) -> Result<(), Error> {
        let found: HashSet<Expected> = self.covered.iter().map(Covered::as_expected).collect();
        let expected: HashSet<Expected> = expected.iter().cloned().collect();
        let list = |from: &HashSet<Expected>, without: &HashSet<Expected>| {
            let mut names: Vec<String> = from.difference(without).map(|e| format!("{e:?}")).collect();
            names.sort();
            names
        };
        let (missing, unexpected) = (list(&expected, &found), list(&found, &expected));
        if missing.is_empty() && unexpected.is_empty() {
            return Ok(());
        }
        Err(Error::Coverage { missing, unexpected })
    }
}

impl Covered {
    fn as_expected(&self) -> Expected {
        match (&self.target, &self.span) {
            (Target::Attachment(id), _) => Expected::Attachment(id.clone()),
            (Target::Element(_), Some(span)) => Expected::Element(span.clone()),
            _ => Expected::Document,
        }
    }
}
