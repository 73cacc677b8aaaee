//! fetchDelivery and fetchProcessCard (sections 5, 8.2 and 10 of our notes).
//!
//! A delivery that came by OSCI goes on byte for byte in its sender's scope of namespaces. One that came through another
//! door gets a package of its own, with its parts as attachments, described by header fields of MIME (file name,
//! description, language, encoding; an id has no place there), and its envelope as the custom header MessageMetaData;
//! content that is encrypted in XTA's form stays in the mailbox for XTA, because OSCI names keys in a way that it does
//! not. Which delivery: the one that is named, also if it was received and is still kept; otherwise the oldest that was
//! not received, from an instant on where one is given, however many lie before it that OSCI cannot carry.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::frame::{FRAME_BYTES_MAX, Frame};
use super::outbox::Room;
use super::request::{Client, Context, Delivered, Executed, failed};
use super::spool::{Frozen, Spool, Stretch};
use super::unwritable::Carried;
use super::{Door, Metadata, Refused, card};
use crate::domain::content::{Part, PartRole};
use crate::domain::message_id::MessageId;
use crate::domain::party::MailboxName;
use crate::mime::content_id::ContentId;
use crate::mime::media_type::MediaType;
use crate::osci::code::Code;
use crate::osci::envelope::encrypted::answers_in_base64;
use crate::osci::envelope::scope::Scope;
use crate::osci::envelope::source::Shared;
use crate::osci::envelope::write::{Coding, OutgoingAttachment};
use crate::osci::message::certificates::NonIntermediaryCertificates;
use crate::osci::message::custom_header::CustomHeader;
use crate::osci::message::fetch_delivery::{FetchDelivery, ResponseToFetchDelivery};
use crate::osci::message::fetch_process_card::{FetchProcessCard, ResponseToFetchProcessCard};
use crate::osci::message::payload::Payload;
use crate::osci::message::selection::{CardRole, CardSelection, DeliverySelection};
use crate::report::Loudness;
use crate::store::{CardBounds, CardQuery, Entry, PayloadReader, Selection};
use crate::xml;
use crate::xml::dsig::{self, DigestMethod};
use crate::xml::read::{Event, SliceReader};
use crate::xml::write::Writer;

/// Waiting messages that are read at a time while one is sought that OSCI can carry. Usually the first of them is it, and
/// the second tells that there are more.
const PAGES: [u32; 3] = [2, 100, 1000];
/// Waiting messages that one request looks at. Whoever has more before the first that OSCI can carry is told so, and
/// names one or begins at a later instant.
const LOOKED_AT_MAX: u32 = 20_000;
const METADATA_ID: &str = "MetaData";
/// Longer file names are told in the header field alone.
const FILENAME_BYTES_MAX: usize = 200;
/// Longer descriptions stay behind: a reader bounds the header of a part.
const FIELD_BYTES_MAX: usize = 4000;

/// A delivery as it goes on to its reader.
pub(in crate::osci) struct Content {
    pub certificates: Option<NonIntermediaryCertificates>,
    pub custom: Vec<CustomHeader>,
    pub scope: Scope,
    pub package: Shared,
    pub attachments: Vec<OutgoingAttachment>,
}

impl Door {
    pub(super) async fn fetch_delivery(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let received = &context.request.received;
        let Payload::FetchDelivery(asked) = &received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a fetchDelivery"));
        };
        let asked = asked.clone();
        let in_base64 = answers_in_base64(received.message.features.as_ref(), context.request.has_base64());
        let (mut entry, more, content) = loop {
            let (entry, more) = self.choose(&client, &asked).await?;
            context.room =
                self.room(entry.card.payload_bytes, context.request.base64_layers(in_base64)).await?;
            match self.content(&entry, in_base64).await {
                Ok(content) => break (entry, more, content),
                // The next choice passes it over.
                Err(_) if !names_one(&asked) && self.unwritable.has(&entry.envelope.id) => {}
                Err(refused) => return Err(refused),
            }
        };
        let id = entry.envelope.id.clone();
        // What was received before is looked at again; nothing changes.
        if entry.card.state.is_offered() {
            let (conversation, sequence) =
                client.dialog.as_ref().ok_or_else(|| Refused::new(Code::DialogRequired, "no dialog"))?;
            let place = (conversation, *sequence);
            let handed_out = self.relay.hand_out_in_dialog(&client.account, &client.owner, place, &id).await;
            entry.card = context.behind_hand_out(handed_out)?;
        }
        if more {
            context.findings.push((Code::MoreDeliveries, None));
        }
        let bundle = card::bundle(&entry.card, &entry.envelope)
            .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
        Ok(Executed::Delivery(Box::new(Delivered {
            payload: Box::new(move |feedback| {
                let card = Some(bundle);
                Payload::ResponseToFetchDelivery(Box::new(ResponseToFetchDelivery {
                    feedback,
                    request: asked,
                    card,
                }))
            }),
            answer: content,
            carried: Some(self.carried(&id)),
        })))
    }

    /// Whose id is noted if the answer cannot be written.
    pub(super) fn carried(&self, id: &MessageId) -> Carried {
        Carried { id: id.clone(), unwritable: self.unwritable.clone() }
    }

    /// Which delivery, and whether more are waiting.
    pub(super) async fn choose(
        &self,
        client: &Client,
        asked: &FetchDelivery,
    ) -> Result<(Entry, bool), Refused> {
        let none = || Refused::new(Code::NoDelivery, "no delivery matches");
        let mut selection = Selection::default();
        match &asked.selection {
            None => {}
            Some(DeliverySelection::ReceptionOfDelivery(since)) => selection.delivered_from = Some(since.at),
            Some(DeliverySelection::MessageId(id)) => {
                selection.ids = vec![MessageId::parse(id.as_str()).map_err(|_| none())?];
            }
        }
        if let Some(id) = selection.ids.first().cloned() {
            let offered = self.page(client, &selection, 0, 1).await?.into_iter().next();
            let found = match offered {
                Some(entry) => Some(entry),
                None => {
                    self.relay.received_before(&client.account, &client.owner, &id).await.map_err(failed)?
                }
            };
            let entry = found.ok_or_else(none)?;
            if self.unwritable.has(&id) {
                let sentence = "the delivery cannot be written as a message of OSCI";
                return Err(Refused::told(Code::Failed, sentence));
            }
            return match can_carry(&entry) {
                true => Ok((entry, false)),
                false => Err(Refused::told(
                    Code::Failed,
                    "the delivery is encrypted in the form of XTA and can be fetched by XTA only",
                )),
            };
        }
        // Page by page, so that neither memory nor the answer depends on what waits before it.
        let (mut first, mut after, mut looked_at) = (None, 0, 0);
        let [.., largest] = PAGES;
        let mut pages = PAGES.into_iter();
        loop {
            let page = self.page(client, &selection, after, pages.next().unwrap_or(largest)).await?;
            let Some(last) = page.last().map(|entry| entry.sequence) else {
                return first.map(|entry| (entry, false)).ok_or_else(none);
            };
            (after, looked_at) = (last, looked_at + u32::try_from(page.len()).unwrap_or(u32::MAX));
            let goes = |entry: &Entry| can_carry(entry) && !self.unwritable.has(&entry.envelope.id);
            for entry in page.into_iter().filter(goes) {
                match first.take() {
                    None => first = Some(entry),
                    Some(first) => return Ok((first, true)),
                }
            }
            if looked_at >= LOOKED_AT_MAX {
                // Nobody has looked whether there is one more.
                return first.map(|entry| (entry, false)).ok_or_else(|| {
                    Refused::told(
                        Code::Failed,
                        format!(
                            "the first {looked_at} waiting deliveries can be fetched by XTA only; name a MessageId or \
                             a later instant"
                        ),
                    )
                });
            }
        }
    }

    /// Waiting messages behind a place in the mailbox, oldest first.
    async fn page(
        &self,
        client: &Client,
        selection: &Selection,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, Refused> {
        let listing =
            self.relay.list_mailbox(&client.account, &client.owner, selection.clone(), after, limit).await;
        Ok(listing.map_err(failed)?.entries)
    }

    /// Disk space for an answer that carries so many bytes. Without it nothing is handed out.
    pub(super) async fn room(&self, bytes: u64, base64_layers: u32) -> Result<Option<Room>, Refused> {
        self.outbox.room(bytes, base64_layers).await.map_err(|error| Refused {
            loudness: Loudness::Error,
            ..Refused::new(
                Code::Failed,
                format!(
                    "{} has no room for an answer that carries {bytes} bytes ({error}); make room, see \
                     limits.disk_reserve_bytes",
                    self.outbox.folder().display()
                ),
            )
        })
    }

    pub(super) async fn content(&self, entry: &Entry, in_base64: bool) -> Result<Content, Refused> {
        let whole = Part { offset: 0, length: entry.card.payload_bytes, ..any_part(entry)? };
        let payload = self.relay.open_part(entry, &whole).await.map_err(failed)?;
        let spool = readable(payload, &self.settings.spool_folder).await?;
        let coding = if in_base64 { Coding::Base64 } else { Coding::Binary };
        carried(entry, &spool, coding, self.metadata.as_ref())
            .inspect_err(|refused| self.unwritable.note(&entry.envelope.id, &refused.detail))
    }

    pub(super) async fn fetch_process_card(
        &self,
        client: Client,
        context: &mut Context<'_>,
    ) -> Result<Executed, Refused> {
        let Payload::FetchProcessCard(asked) = &context.request.received.message.payload else {
            return Err(Refused::new(Code::Malformed, "not a fetchProcessCard"));
        };
        let asked = asked.clone();
        let query = card_query(&client, &asked, self.settings.limits.list_items_max)?;
        let asked_ids = query.ids.clone();
        let (mut entries, more) =
            self.relay.cards(&client.account, &client.owner, query).await.map_err(failed)?;
        // A delivery whose metadata name another author than its originator's mailbox is the originator's all the same.
        for id in asked_ids {
            let is_known = entries.iter().any(|entry| entry.envelope.id.key() == id.key());
            let is_his = async || {
                let bond = self.relay.bond(&id).await.map_err(failed)?;
                Ok::<_, Refused>(bond.is_some_and(|bond| bond.party == client.cipher))
            };
            if !is_known && !more && is_his().await? {
                entries.extend(self.relay.card(&client.account, None, &id).await.ok());
            }
        }
        self.relay.confirm().await.map_err(failed)?;
        if entries.is_empty() {
            return Err(match more {
                false => Refused::new(Code::NoCard, "no process card matches"),
                true => Refused::told(
                    Code::Failed,
                    "none of the newest process cards matches, and there are too many to look at all; name a MessageId or a \
                     later instant",
                ),
            });
        }
        if more {
            context.findings.push((Code::MoreCards, None));
        }
        let cards = entries.iter().map(|entry| card::bundle(&entry.card, &entry.envelope));
        let cards = cards
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
        Ok(Executed::Payload(Box::new(move |feedback| {
            Payload::ResponseToFetchProcessCard(Box::new(ResponseToFetchProcessCard {
                feedback,
                request: asked,
                cards,
            }))
        })))
    }
}

fn names_one(asked: &FetchDelivery) -> bool {
    matches!(asked.selection, Some(DeliverySelection::MessageId(_)))
}

/// What was found of a part's octets when they came. If they have changed since, our signature does not cover them, and
/// their reader notices.
fn digest(part: &Part) -> (DigestMethod, Vec<u8>) {
    (DigestMethod::Sha256, part.digest.0.to_vec())
}

/// A whole payload, where sources can read it: in the store's own file, or in memory.
pub(in crate::osci) async fn readable(
    mut payload: Box<dyn PayloadReader>,
    folder: &Path,
) -> Result<Frozen, Refused> {
    use std::io::Write as _;
    if let Some((file, span)) = payload.file()
        && span.start == 0
    {
        return Ok(Frozen::File(file, span.end));
    }
    let mut spool = Spool::new(folder, u64::MAX);
    loop {
        let piece = payload.next().await.map_err(|error| failed(error.into()))?;
        let Some(piece) = piece else { return Ok(spool.freeze()) };
        let written = tokio::task::spawn_blocking(move || spool.write_all(&piece).map(|()| spool)).await;
        spool = written
            .map_err(|_| std::io::Error::other("the process is stopping"))
            .and_then(|written| written)
            .map_err(|error| Refused::new(Code::Failed, format!("the spool: {error}")))?;
    }
}

/// What goes on of a message whose payload lies in `spool`.
pub(in crate::osci) fn carried(
    entry: &Entry,
    spool: &Frozen,
    coding: Coding,
    metadata: &dyn Metadata,
) -> Result<Content, Refused> {
    let stretch = |part: &Part| spool.stretch(part.offset..part.offset.saturating_add(part.length));
    let of_role = |role| entry.manifest.parts.iter().find(|part| part.role == role);
    match (of_role(PartRole::OsciPackage), of_role(PartRole::OsciFrame)) {
        (Some(package), Some(frame)) => relayed(entry, stretch(package), &stretch(frame), coding, spool),
        _ => bridged(entry, coding, spool, metadata),
    }
}

/// A message that came through another door.
fn bridged(
    entry: &Entry,
    coding: Coding,
    spool: &Frozen,
    metadata: &dyn Metadata,
) -> Result<Content, Refused> {
    let failed = |error: String| Refused::new(Code::Failed, error);
    let mut writer = Writer::new();
    writer.start("osci:ContentPackage").start("osci:ContentContainer").attribute("Id", "container1");
    let mut attachments = Vec::new();
    let mut content_ids = HashSet::from(["container1".to_owned()]);
    let content = entry.manifest.parts.iter().filter(|part| part.role.is_content());
    let mut named = HashSet::new();
    for (number, part) in content.enumerate() {
        let content_id = attached_as(part, number + 1, &mut named);
        let own_id = format!("content{}", number + 1);
        writer.start("osci:Content").attribute("Id", &own_id);
        content_ids.insert(own_id);
        writer.attribute("href", &format!("cid:{content_id}")).end();
        let source = spool.stretch(part.offset..part.offset.saturating_add(part.length));
        let id = ContentId::from_header(&content_id).map_err(|error| failed(error.to_string()))?;
        let mut attachment = OutgoingAttachment::new(id, &media_type(part), Arc::new(source));
        attachment.extra = described(part);
        attachment.coding = coding;
        attachment.digests.push(digest(part));
        attachments.push(attachment);
    }
    let package: Shared = Arc::new(writer.finish().into_bytes());
    let metadata = with_own_ids(entry, metadata, content_ids);
    let custom = vec![CustomHeader {
        namespace: super::NS_METADATA.to_owned(),
        local: super::METADATA.to_owned(),
        id: METADATA_ID.to_owned(),
        xml: metadata,
    }];
    // The author has no certificate that he showed; the intermediary vouches for him by the card.
    Ok(Content { certificates: None, custom, scope: Scope::standard(), package, attachments })
}

/// What OSCI can say of a part's type; other protocols check none. The encoding of a text is a parameter of it.
fn media_type(part: &Part) -> String {
    let stated = part.content_type.trim();
    let Ok(parsed) = MediaType::parse(stated) else { return "application/octet-stream".to_owned() };
    let is_charset = |text: &&str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:+".contains(c))
    };
    match part.encoding.as_deref().map(str::trim).filter(is_charset) {
        Some(charset) if parsed.parameter("charset").is_none() => format!("{stated}; charset=\"{charset}\""),
        _ => stated.to_owned(),
    }
}

/// The name by which applications know an attachment: its file name, where that can stand in a reference as it is.
fn attached_as(part: &Part, number: usize, named: &mut HashSet<String>) -> String {
    let filename = part.filename.as_deref().filter(|name| is_plain(name)).map(str::to_owned);
    let numbered = (number..).map(|number| format!("part{number}"));
    let name = filename.into_iter().chain(numbered).find(|name| !named.contains(name)).unwrap_or_default();
    named.insert(name.clone());
    name
}

/// Whether a file name needs neither quotes nor escapes.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= FILENAME_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// What the author says of a part, as header fields of MIME: file name (RFC 6266), description (RFC 2045) and language
/// (RFC 3282). In ASCII, because clients are not known to read more there.
fn described(part: &Part) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    if let Some(filename) = part.filename.as_deref().filter(|name| !name.is_empty()) {
        let named = match is_plain(filename) {
            true => format!("filename=\"{filename}\""),
            false => format!("filename*=UTF-8''{}", percent_encoded(filename)),
        };
        add("Content-Disposition", format!("attachment; {named}"));
    }
    if let Some(description) = part.description.as_deref().filter(|text| !text.trim().is_empty()) {
        add("Content-Description", in_ascii(description.trim()));
    }
    let is_tag =
        |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if let Some(lang) = part.lang.as_deref().map(str::trim).filter(is_tag) {
        add("Content-Language", lang.to_owned());
    }
    fields.retain(|(_, value)| value.len() <= FIELD_BYTES_MAX);
    fields
}

/// RFC 8187, section 3.2.1.
fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    let coded = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(coded).collect()
}

/// RFC 2047: text beyond ASCII as encoded words, each of at most 75 characters.
fn in_ascii(text: &str) -> String {
    use base64::Engine as _;
    const WORD_OCTETS: usize = 45;
    if text.chars().all(|c| c.is_ascii() && !c.is_control()) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > WORD_OCTETS) {
            words.push(String::new());
        }
        words.last_mut().into_iter().for_each(|word| word.push(c));
    }
    let encoded =
        |word: String| format!("=?UTF-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(word));
    words.into_iter().map(encoded).collect::<Vec<_>>().join(" ")
}

/// The envelope as message metadata. What its author wrote into it as XML may have Ids of its own; where they are not
/// unique in the message they would be in, that XML stays behind.
fn with_own_ids(entry: &Entry, metadata: &dyn Metadata, taken: HashSet<String>) -> String {
    let whole = metadata.write(&entry.envelope, &entry.card, METADATA_ID);
    if ids_are_unique(&whole, taken) {
        return whole;
    }
    let mut plain = entry.envelope.clone();
    let parties = [Some(&mut plain.author), plain.sender.as_mut(), plain.reply_to.as_mut()];
    for party in parties.into_iter().flatten().chain([&mut plain.reader]) {
        party.security_tokens.clear();
    }
    plain.receipt_requests = None;
    metadata.write(&plain, &entry.card, METADATA_ID)
}

fn ids_are_unique(element: &str, mut taken: HashSet<String>) -> bool {
    let mut reader = SliceReader::new(element.as_bytes(), xml::Limits::of_our_own());
    while let Ok(Some(event)) = reader.next_event() {
        let Event::Start(start) = event else { continue };
        let mut ids = start.attributes().filter(|attribute| dsig::is_id(&attribute.name));
        if !ids.all(|id| taken.insert(id.value.to_owned())) {
            return false;
        }
    }
    true
}

/// Whether OSCI can carry the message.
pub(in crate::osci) fn can_carry(entry: &Entry) -> bool {
    entry.has_payload && entry.manifest.parts.iter().all(|part| part.role != PartRole::EncryptedData)
}

fn any_part(entry: &Entry) -> Result<Part, Refused> {
    let first = entry.manifest.parts.first().cloned();
    first.ok_or_else(|| Refused::told(Code::Failed, "the delivery has no content"))
}

/// A delivery that came by OSCI, as it came.
fn relayed(
    entry: &Entry,
    package: Stretch,
    frame: &Stretch,
    coding: Coding,
    spool: &Frozen,
) -> Result<Content, Refused> {
    use crate::osci::envelope::source::Source;
    let damaged = |why: String| Refused {
        loudness: crate::report::Loudness::Error,
        ..Refused::new(Code::Failed, format!("what is stored of {} cannot be read: {why}", entry.envelope.id))
    };
    if frame.bytes() > FRAME_BYTES_MAX {
        return Err(damaged(format!("its frame has {} bytes", frame.bytes())));
    }
    let mut bytes = vec![0; frame.bytes() as usize];
    frame.read_at(0, &mut bytes).map_err(|error| damaged(error.to_string()))?;
    let frame = Frame::from_bytes(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut attachments = Vec::new();
    for framed in &frame.attachments {
        let part =
            entry.manifest.parts.get(framed.part).ok_or_else(|| damaged("a part is missing".to_owned()))?;
        let id = ContentId::from_header(&framed.content_id).map_err(|error| damaged(error.to_string()))?;
        let source = spool.stretch(part.offset..part.offset.saturating_add(part.length));
        let mut attachment = OutgoingAttachment::new(id, &framed.content_type, Arc::new(source));
        attachment.extra.clone_from(&framed.extra);
        attachment.coding = coding;
        attachment.digests.push(digest(part));
        attachments.push(attachment);
    }
    let certificates = frame.certificates().ok_or_else(|| damaged("its certificates".to_owned()))?;
    Ok(Content {
        certificates: Some(certificates),
        custom: frame.custom(),
        scope: frame.scope(),
        package: Arc::new(package),
        attachments,
    })
}

fn card_query(client: &Client, asked: &FetchProcessCard, cards_max: u32) -> Result<CardQuery, Refused> {
    let mailbox = MailboxName::parse(client.owner.value())
        .map_err(|error| Refused::new(Code::Failed, error.to_string()))?;
    let asked_max = asked.quantity_max.map_or(cards_max, |max| u32::try_from(max).unwrap_or(u32::MAX));
    let mut query = CardQuery {
        account: client.account.name.clone(),
        author: client.owner.value().to_owned(),
        mailbox,
        as_author: true,
        as_reader: true,
        ids: Vec::new(),
        accepted_from: None,
        modified_from: None,
        unreceived_only: false,
        limit: asked_max.min(cards_max),
        bounds: CardBounds::default(),
    };
    let since = match &asked.selection {
        None => return Ok(query),
        Some(CardSelection::MessageIds(ids)) => {
            let none = |_| Refused::new(Code::NoCard, "no such id");
            query.ids =
                ids.iter().map(|id| MessageId::parse(id.as_str())).collect::<Result<_, _>>().map_err(none)?;
            return Ok(query);
        }
        Some(CardSelection::ReceptionOfDelivery(since)) => {
            query.accepted_from = Some(since.since.at);
            since
        }
        Some(CardSelection::RecentModification(since)) => {
            query.modified_from = Some(since.since.at);
            since
        }
    };
    query.unreceived_only = since.no_reception == Some(true);
    query.as_author = since.role != Some(CardRole::Addressee);
    query.as_reader = since.role != Some(CardRole::Originator);
    Ok(query)
}
