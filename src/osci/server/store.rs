//! storeDelivery: from a request to a promise (sections 8.2 to 8.4 and 10 of our notes).
//!
//! The content package and the attachments are kept byte for byte, with the frame that their reader by OSCI needs. What
//! of the package is in the clear is kept a second time, decoded, for readers by other protocols. The envelope is the
//! message metadata of XTA where the sender wrote them, otherwise what certificates and directory say. Authors' signatures
//! are verified where their content is in the clear; what is found stands on the card and stops nothing, because it is
//! the reader's to judge.

use aws_lc_rs::digest::{Context as Hasher, SHA256};

use super::frame::{FRAME_BYTES_MAX, Frame, FramedAttachment};
use super::incoming::{self, Request};
use super::inspect::{self, Inspected};
use super::request::{Client, Context, Executed, failed, may_use_bound};
use super::spool::{Frozen, Stretch};
use super::{DOOR, Door, METADATA, NS_METADATA, Refused, card};
use crate::domain::account::{Account, Rights};
use crate::domain::card::CertificateFinding;
use crate::domain::content::{Digest, Manifest, Part, PartRole};
use crate::domain::envelope::{Envelope, Party, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::osci::code::Code;
use crate::osci::envelope::attachment::Attachment;
use crate::osci::envelope::authors::Outcome;
use crate::osci::envelope::content::Content;
use crate::osci::envelope::source::Source;
use crate::osci::message::certificates::Role;
use crate::osci::message::message_id::MessageId as WireId;
use crate::osci::message::payload::Payload;
use crate::osci::message::process_card::ProcessCardBundle;
use crate::osci::message::store_delivery::ResponseToStoreDelivery;
use crate::pki::inspection::Verdict;
use crate::relay::{Refusal, Submission};
use crate::store::{Accepted, PayloadWriter};
use crate::xml::dsig::DigestMethod;

/// Header fields that every part has.
const OWN_FIELDS: [&str; 4] = ["content-type", "content-transfer-encoding", "content-id", "content-length"];
const PIECE_BYTES: usize = 256 * 1024;

/// What it means that the very same delivery was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Its id is used.
    IsRefused,
    /// We did not live to say so: its chunks are still there.
    IsTheSame,
}

impl Door {
    pub(super) async fn store_delivery(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let bundle = self.store(&client, Again::IsRefused, context).await?;
        Ok(Executed::Payload(Box::new(move |feedback| {
            let card = Some(bundle);
            Payload::ResponseToStoreDelivery(Box::new(ResponseToStoreDelivery { feedback, card }))
        })))
    }

    /// Judges and accepts a storeDelivery, wherever it came out of.
    pub(super) async fn store(
        &self,
        client: &Client,
        again: Again,
        context: &mut Context<'_>,
    ) -> Result<ProcessCardBundle, Refused> {
        let Payload::StoreDelivery(asked) = &context.request.received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a storeDelivery"));
        };
        let (addressee, findings) = self.judge_certificates(context)?;
        let id = named(asked.message_id.as_ref())?;
        match context.bond.take() {
            Some((asked, bond)) if asked == id => may_use_bound(client, bond, context.request)?,
            _ => self.may_use(client, &id, context.request).await?,
        }
        let envelope = self.envelope(client, &id, asked.subject.as_deref(), &addressee, context.request)?;
        let submission = self
            .submission(self.relay.payload_writer().await, envelope.clone(), findings, context.request)
            .await?;
        let account = issued_only(&client.account);
        let accepted = match context.step.take() {
            Some(step) => {
                let accepted = self.relay.accept_in_dialog(&account, submission, &step).await;
                context.behind_step(accepted)?.map_err(failed)?
            }
            None => self.relay.accept_with_card(&account, submission).await.map_err(failed)?,
        };
        let bundle = match accepted {
            (Accepted::New, accepted) => card::bundle(&accepted, &envelope),
            (Accepted::Before, _) if again == Again::IsTheSame => {
                let entry = self.relay.card(&client.account, None, &id).await.map_err(failed)?;
                card::bundle(&entry.card, &entry.envelope)
            }
            (Accepted::Before, _) => return Err(used()),
        };
        bundle.map_err(|error| Refused::new(Code::Failed, error.to_string()))
    }

    /// What was found about the certificates of a delivery, and the cipher certificate (DER) that addresses it. One
    /// that is revoked or not trusted stops it.
    pub(super) fn judge_certificates(
        &self,
        context: &mut Context<'_>,
    ) -> Result<(Vec<u8>, Vec<CertificateFinding>), Refused> {
        let certificates = context.request.received.message.certificates.as_ref();
        let addressee = certificates
            .and_then(|certificates| certificates.first(Role::CipherAddressee))
            .ok_or_else(|| Refused::told(Code::Failed, "the CipherCertificateAddressee is missing"))?;
        let mut inspected = Inspected::default();
        let now = self.relay.now();
        for shown in certificates.into_iter().flat_map(|certificates| certificates.all()) {
            inspect::one(&context.in_force.anchors, shown, now, &mut inspected);
        }
        if let Some(code) = inspected.first_error() {
            return Err(Refused::new(code, "a certificate of the delivery"));
        }
        for code in inspected.codes {
            if !context.findings.iter().any(|(known, _)| *known == code) {
                context.findings.push((code, None));
            }
        }
        Ok((addressee.der.clone(), inspected.findings))
    }

    /// A delivery at the counter: its parts in the store's hands, nothing promised. `writer` says how much of the disk
    /// it may use.
    pub(super) async fn submission(
        &self,
        writer: Result<Box<dyn PayloadWriter>, Refusal>,
        envelope: Envelope,
        mut certificates: Vec<CertificateFinding>,
        request: &Request,
    ) -> Result<Submission, Refused> {
        let writer = writer.map_err(failed)?;
        certificates.extend(self.authors(request, self.relay.now()));
        let mut intake = Intake::new(writer, self.settings.limits.content_bytes_max);
        intake.take(request).await?;
        let (manifest, payload) = intake.seal().await?;
        let request_digest = request_digest(&envelope, &manifest)?;
        Ok(Submission { envelope, manifest, payload, request_digest, door: DOOR, certificates })
    }

    pub(super) fn envelope(
        &self,
        client: &Client,
        id: &MessageId,
        subject: Option<&str>,
        addressee: &[u8],
        request: &Request,
    ) -> Result<Envelope, Refused> {
        let directory = self.relay.directory();
        let (_, reader) = directory.account_by_cipher(&Digest::of(addressee)).ok_or_else(|| {
            Refused::told(Code::Failed, "no mailbox here belongs to the cipher certificate of the addressee")
        })?;
        let mut envelope = match self.metadata(request) {
            None => plain_envelope(id, &client.owner, reader),
            Some(read) => {
                let read = read.map_err(|error| {
                    Refused::told(Code::Failed, format!("the message metadata cannot be read: {error}"))
                })?;
                if !read.reader.identifier.matches(reader) {
                    return Err(Refused::told(
                        Code::Failed,
                        "the message metadata name another reader than the addressee's cipher certificate",
                    ));
                }
                Envelope { id: id.clone(), ..read }
            }
        };
        if let Some(subject) = subject {
            envelope.qualifier.subject.get_or_insert_with(|| subject.to_owned());
        }
        Ok(envelope)
    }

    /// What the message metadata of XTA say, where a delivery brings them.
    pub(super) fn metadata(&self, request: &Request) -> Option<Result<Envelope, String>> {
        let mut custom = request.received.message.custom.iter();
        let header = custom.find(|custom| custom.local == METADATA && custom.namespace == NS_METADATA)?;
        let element = with_declarations(&header.xml, &request.received.scope.envelope);
        Some(self.metadata.read(&element))
    }

    /// What was found about authors' signatures over content in the clear.
    fn authors(&self, request: &Request, now: jiff::Timestamp) -> Vec<CertificateFinding> {
        let limits = incoming::limits(&self.settings);
        let Some(authors) = request.received.authors(&limits) else { return Vec::new() };
        let soap = request.bytes.stretch(request.received.soap_span.clone());
        let reports = soap.open().ok().and_then(|mut soap| authors.verify(&mut soap).ok());
        let finding = |(verdict, words): (Verdict, String), certificate: Option<&[u8]>| {
            let parsed = certificate.and_then(|der| crate::pki::certificate::Certificate::from_der(der).ok());
            CertificateFinding {
                role: card::CONTENT_SIGNATURE.to_owned(),
                subject: parsed.as_ref().map(|one| one.subject().to_owned()).unwrap_or_default(),
                issuer: parsed.as_ref().map(|one| one.issuer().to_owned()).unwrap_or_default(),
                serial: parsed.as_ref().map(|one| one.serial().to_owned()).unwrap_or_default(),
                at: now,
                verdict: verdict.name().to_owned(),
                checks: vec![words],
                results: None,
            }
        };
        let Some(reports) = reports else {
            let words = "content signature: not checked, the package cannot be read twice".to_owned();
            return vec![finding((Verdict::Indeterminate, words), None)];
        };
        let judged = reports.iter().map(|report| {
            let verdict = match &report.outcome {
                Outcome::Verified(_) if report.uncovered.is_empty() => {
                    (Verdict::Valid, "content signature: good".to_owned())
                }
                Outcome::Verified(_) => {
                    let count = report.uncovered.len();
                    (Verdict::Valid, format!("content signature: good, {count} contents are not covered"))
                }
                Outcome::Indeterminate => {
                    let words = "content signature: not checked, it covers encrypted content";
                    (Verdict::Indeterminate, words.to_owned())
                }
                Outcome::Refused(why) => (Verdict::Invalid, format!("content signature: bad, {why}")),
            };
            finding(verdict, report.certificate.as_ref().map(|certificate| certificate.der.as_slice()))
        });
        judged.collect()
    }
}

/// Header fields of an attachment that go on with it.
pub(super) fn extra_fields(attachment: &Attachment) -> Vec<(String, String)> {
    let is_own = |name: &str| OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str());
    attachment.headers.iter().filter(|(name, _)| !is_own(name)).cloned().collect()
}

/// What certificates and directory say of a delivery without metadata.
pub(super) fn plain_envelope(id: &MessageId, author: &PartyIdentifier, reader: &PartyIdentifier) -> Envelope {
    let party =
        |identifier: &PartyIdentifier| Party { identifier: identifier.clone(), security_tokens: Vec::new() };
    Envelope {
        id: id.clone(),
        test: false,
        author: party(author),
        sender: None,
        reply_to: None,
        reader: party(reader),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: Vec::new(),
        process_ref: None,
        qualifier: Qualifier::default(),
        properties: Vec::new(),
        origin: None,
        not_before: None,
        obsolete_after: None,
        service_quality: None,
        receipt_requests: None,
        token_container: None,
        stated_size: None,
    }
}

/// The id that a delivery must bear.
pub(super) fn named(id: Option<&WireId>) -> Result<MessageId, Refused> {
    let id = id.ok_or_else(|| Refused::new(Code::MessageIdMissing, "no MessageId"))?;
    MessageId::parse(id.as_str()).map_err(|error| Refused::new(Code::MessageIdUnknown, error.to_string()))
}

pub(super) fn used() -> Refused {
    Refused::new(Code::MessageIdUnknown, "the id was used before")
}

/// Only ids that were issued here to this client, whatever other doors allow it.
pub(super) fn issued_only(account: &Account) -> Account {
    let rights = Rights { foreign_message_ids: false, ..account.rights.clone() };
    Account { rights, ..account.clone() }
}

/// A fragment that stands alone: what the envelope declares is declared on it, unless it does so itself.
fn with_declarations(xml: &str, declarations: &[(String, String)]) -> String {
    let end = xml.find(['>', '/', ' ', '\t', '\r', '\n']).unwrap_or(xml.len());
    let tag_end = xml.find('>').unwrap_or(xml.len());
    let tag = xml.get(..tag_end).unwrap_or_default();
    let mut made = xml.get(..end).unwrap_or_default().to_owned();
    for (prefix, uri) in declarations {
        let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
        let declared = tag.split_ascii_whitespace().any(|word| {
            word.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.trim_start().starts_with('=') || rest.is_empty())
        });
        if !declared {
            made.push_str(&format!(" {name}=\""));
            crate::xml::escape::attribute(uri, &mut |piece| made.push_str(piece));
            made.push('"');
        }
    }
    made.push_str(xml.get(end..).unwrap_or_default());
    made
}

fn request_digest(envelope: &Envelope, manifest: &Manifest) -> Result<Digest, Refused> {
    let bytes = serde_json::to_vec(&("amtsbote osci request, version 1", envelope, manifest))
        .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
    Ok(Digest::of(&bytes))
}

/// Writes the parts of a delivery one behind the other.
struct Intake {
    writer: Box<dyn PayloadWriter>,
    /// Of attachments and content package.
    bytes_max: u64,
    /// Bytes that stand in the package a second time.
    copied: u64,
    parts: Vec<Part>,
}

/// How bytes go into the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    AsTheyAre,
    Decoded,
}

impl Intake {
    fn new(writer: Box<dyn PayloadWriter>, bytes_max: u64) -> Self {
        Self { writer, bytes_max, copied: 0, parts: Vec::new() }
    }

    async fn take(&mut self, request: &Request) -> Result<(), Refused> {
        let received = &request.received;
        let package = received
            .package
            .as_ref()
            .ok_or_else(|| Refused::new(Code::Malformed, "the body has no ContentPackage"))?;
        let mut frame = Frame::of(received);
        // Content in the clear first, its first piece as the message that other protocols show.
        for content in &package.contents {
            let role = if self.parts.is_empty() { PartRole::Message } else { PartRole::Attachment };
            match content {
                Content::Inline { id, span, .. } => {
                    let element = request
                        .bytes
                        .stretch(received.soap_span.start + span.start..received.soap_span.start + span.end);
                    let text = inner(&element)?;
                    let mut part = self.begin(role, "application/octet-stream");
                    part.id.clone_from(id);
                    self.write(part, &text, Written::Decoded).await?;
                    self.copied += self.parts.last().map_or(0, |part| part.length);
                }
                Content::Attachment { content_id, .. } => {
                    let named = |attachment: &&crate::osci::envelope::attachment::Attachment| {
                        attachment.content_id.is_named_by(content_id)
                    };
                    let at = received.attachments.iter().position(|attachment| named(&attachment));
                    let at = at.ok_or_else(|| {
                        Refused::told(Code::Failed, "a content refers to an attachment that is not there")
                    })?;
                    self.attachment(request, at, role, &mut frame).await?;
                }
            }
        }
        for at in 0..received.attachments.len() {
            self.attachment(request, at, PartRole::OsciAttachment, &mut frame).await?;
        }
        let span = received.package_span().unwrap_or_default();
        let part = self.begin(PartRole::OsciPackage, "text/xml");
        self.write(part, &request.bytes.stretch(span), Written::AsTheyAre).await?;
        // Ours, and not the sender's to count.
        self.bytes_max = u64::MAX;
        let part = self.begin(PartRole::OsciFrame, "application/json");
        let bytes = frame.to_bytes();
        let length = bytes.len() as u64;
        if length > FRAME_BYTES_MAX {
            let sentence = "certificates, custom headers and header fields of attachments are too large";
            return Err(Refused::told(Code::Failed, sentence));
        }
        self.write(part, &Frozen::Memory(bytes.into()).stretch(0..length), Written::AsTheyAre).await
    }

    /// Writes an attachment, unless it has been written before.
    async fn attachment(
        &mut self,
        request: &Request,
        at: usize,
        role: PartRole,
        frame: &mut Frame,
    ) -> Result<(), Refused> {
        let Some(attachment) = request.received.attachments.get(at) else { return Ok(()) };
        let content_id = attachment.content_id.as_str();
        if frame.attachments.iter().any(|known| known.content_id == content_id) {
            return Ok(());
        }
        frame.attachments.push(FramedAttachment {
            part: self.parts.len(),
            content_id: content_id.to_owned(),
            content_type: attachment.content_type().to_owned(),
            extra: extra_fields(attachment),
        });
        let mut part = self.begin(role, attachment.content_type());
        part.filename = Some(content_id.to_owned());
        let written = match attachment.encoding {
            TransferEncoding::Identity => Written::AsTheyAre,
            TransferEncoding::Base64 => Written::Decoded,
        };
        // Digested when it was read, by the method of parts.
        let known =
            attachment.digest(DigestMethod::Sha256).and_then(|octets| octets.try_into().ok()).map(Digest);
        let source = request.bytes.stretch(attachment.span.clone());
        if let (Written::AsTheyAre, Some(known), Some((file, span))) = (written, known, source.file())
            && let Some(running) = &attachment.running
        {
            self.may_hold(source.bytes())?;
            part.length = source.bytes();
            part.digest = known;
            let seen = Some(running.context());
            self.writer.write_file(file, span, seen).await.map_err(|error| failed(error.into()))?;
            self.parts.push(part);
            return Ok(());
        }
        self.write_digested(part, &source, written, known).await
    }

    fn begin(&self, role: PartRole, content_type: &str) -> Part {
        Part {
            role,
            offset: self.writer.length(),
            length: 0,
            digest: Digest([0; 32]),
            content_type: content_type.to_owned(),
            description: None,
            encoding: None,
            filename: None,
            id: None,
            lang: None,
            size: None,
        }
    }

    /// Refuses so many bytes more where they are too many.
    fn may_hold(&self, bytes: u64) -> Result<(), Refused> {
        let written = self.writer.length().saturating_sub(self.copied);
        let seen = written.saturating_add(bytes);
        if seen > self.bytes_max {
            return Err(failed(Refusal::TooLarge { max: self.bytes_max, seen }));
        }
        Ok(())
    }

    async fn write(&mut self, part: Part, source: &Stretch, written: Written) -> Result<(), Refused> {
        self.write_digested(part, source, written, None).await
    }

    /// `known` is the digest of the octets, where there is one already.
    async fn write_digested(
        &mut self,
        mut part: Part,
        source: &Stretch,
        written: Written,
        known: Option<Digest>,
    ) -> Result<(), Refused> {
        let failed_io = |error: std::io::Error| Refused::new(Code::Failed, format!("the spool: {error}"));
        let wrong = |error: crate::mime::Error| Refused::told(Code::Failed, format!("content: {error}"));
        let mut hasher = Hasher::new(&SHA256);
        let mut decoder = (written == Written::Decoded).then(Base64Decoder::new);
        let mut at = 0;
        let piece_bytes = usize::try_from(source.bytes()).map_or(PIECE_BYTES, |all| all.min(PIECE_BYTES));
        let (mut piece, mut decoded) = (vec![0; piece_bytes], Vec::new());
        loop {
            let read = source.read_at(at, &mut piece).map_err(failed_io)?;
            if read == 0 {
                break;
            }
            at += read as u64;
            let piece = piece.get(..read).unwrap_or_default();
            let octets = match &mut decoder {
                None => piece,
                Some(decoder) => {
                    decoded.clear();
                    decoder.decode(piece, &mut decoded).map_err(wrong)?;
                    decoded.as_slice()
                }
            };
            self.may_hold(octets.len() as u64)?;
            if known.is_none() {
                hasher.update(octets);
            }
            part.length += octets.len() as u64;
            self.writer.write(octets).await.map_err(|error| failed(error.into()))?;
        }
        decoder.map_or(Ok(()), Base64Decoder::finish).map_err(wrong)?;
        match known {
            Some(known) => part.digest = known,
            None => part.digest.0.copy_from_slice(hasher.finish().as_ref()),
        }
        self.parts.push(part);
        Ok(())
    }

    async fn seal(self) -> Result<(Manifest, crate::store::StagedPayload), Refused> {
        let payload = self.writer.seal().await.map_err(|error| failed(error.into()))?;
        Ok((Manifest { parts: self.parts }, payload))
    }
}

/// What stands between the tags of an element without children.
fn inner(element: &Stretch) -> Result<Stretch, Refused> {
    const TAG_BYTES_MAX: usize = 4096;
    let failed_io = |error: std::io::Error| Refused::new(Code::Failed, format!("the spool: {error}"));
    let length = element.bytes();
    let mut head = vec![0; TAG_BYTES_MAX];
    let read = element.read_at(0, &mut head).map_err(failed_io)?;
    head.truncate(read);
    let mut tail = vec![0; TAG_BYTES_MAX];
    let tail_start = length.saturating_sub(TAG_BYTES_MAX as u64);
    let read = element.read_at(tail_start, &mut tail).map_err(failed_io)?;
    tail.truncate(read);
    let wrong = || Refused::told(Code::Failed, "a Base64Content cannot be read");
    let start = head.iter().position(|byte| *byte == b'>').ok_or_else(wrong)? as u64 + 1;
    if start >= length {
        return Ok(element.part(0..0));
    }
    let end = tail_start + tail.iter().rposition(|byte| *byte == b'<').ok_or_else(wrong)? as u64;
    if end < start { Err(wrong()) } else { Ok(element.part(start..end)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_element_is_found() {
        for (xml, expected) in [
            ("<osci:Base64Content Id=\"a\">YWJj\nZA==</osci:Base64Content>", Some("YWJj\nZA==")),
            ("<a/>", Some("")),
            ("<a></a>", Some("")),
            ("<a", None),
        ] {
            let whole = Frozen::Memory(xml.as_bytes().into()).stretch(0..xml.len() as u64);
            let found = inner(&whole).ok().map(|text| {
                let mut bytes = vec![0; text.bytes() as usize];
                let read = text.read_at(0, &mut bytes).expect("read");
                assert_eq!(read, bytes.len());
                String::from_utf8(bytes).expect("text")
            });
            assert_eq!(found.as_deref(), expected, "{xml}");
        }
    }

    #[test]
    fn fragments_stand_alone() {
        let declarations = [("m".to_owned(), "urn:m".to_owned()), ("x".to_owned(), "urn:<x>&\"".to_owned())];
        for (xml, expected) in [
            (
                "<m:A Id='a'><m:B/></m:A>",
                "<m:A xmlns:m=\"urn:m\" xmlns:x=\"urn:&lt;x>&amp;&quot;\" Id='a'><m:B/></m:A>",
            ),
            ("<m:A xmlns:m='urn:n'/>", "<m:A xmlns:x=\"urn:&lt;x>&amp;&quot;\" xmlns:m='urn:n'/>"),
            ("<m:A/>", "<m:A xmlns:m=\"urn:m\" xmlns:x=\"urn:&lt;x>&amp;&quot;\"/>"),
        ] {
            assert_eq!(with_declarations(xml, &declarations), expected);
        }
    }
}
