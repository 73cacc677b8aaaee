//! What the desk has written leaves: under an id that is durable before, so that a repetition is the same message.

use jiff::Timestamp;

use super::office::identifier;
use super::{RegisterService, TRY_AGAIN, TRY_SOON};
use crate::domain::content::PartRole;
use crate::domain::envelope::{BusinessScenario, Code, Envelope, Party, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::register::copies::{Copies, CopyError, Outgoing};
use crate::register::message::Number;
use crate::xta::client::Error as ClientError;
use crate::xta::client::content::Outgoing as OutgoingPart;

const SERVICE: &str = "urn:de:amtsbote:register";

/// Why an answer was not posted.
struct Trouble {
    reason: String,
    of_this_message: bool,
}

impl RegisterService {
    pub(super) async fn post_due(&self) {
        let now = self.clock.now();
        let due = match self.copies(move |copies| copies.due(now)).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(
                    code = "register-outbox",
                    %error,
                    next_step = "look at disk and database of the register",
                    "what is due cannot be read"
                );
                return;
            }
        };
        for one in due {
            let Err(trouble) = self.post(&one).await else { continue };
            let (now, Trouble { reason, of_this_message }) = (self.clock.now(), trouble);
            let over = one.since.checked_add(self.give_up).is_ok_and(|until| until <= now);
            let id = one.id;
            if over && self.copies(move |copies| copies.note_given_up(id, now)).await.is_ok() {
                tracing::error!(
                    code = "register-answer-given-up",
                    number = one.number,
                    reader = one.reader,
                    reason,
                    next_step = if one.number == Number::HandOver.code() {
                        "let the municipality into the post office; the case is still open (amtsbote register cases)"
                    } else {
                        "let the reader into the post office; it can ask for the answer again"
                    },
                    "an answer could not be posted"
                );
                continue;
            }
            tracing::warn!(
                code = "register-answer-waits",
                number = one.number,
                reader = one.reader,
                reason,
                "an answer is tried again"
            );
            // One reader's trouble is nobody else's; an office that is away is everybody's, and for a short time.
            let pause = if of_this_message { TRY_AGAIN } else { TRY_SOON };
            let later = now.checked_add(pause).unwrap_or(Timestamp::MAX);
            let refused = self.copies(move |copies| copies.note_refused(id, later)).await;
            if refused.is_err() || !of_this_message {
                return;
            }
        }
    }

    /// The database is waited for on a thread that may wait.
    pub(super) async fn copies<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Copies) -> Result<T, CopyError> + Send + 'static,
    ) -> Result<T, String> {
        let desk = self.desk.clone();
        match tokio::task::spawn_blocking(move || work(&desk.copies)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn post(&self, one: &Outgoing) -> Result<(), Trouble> {
        let ours =
            |error: &dyn std::fmt::Display| Trouble { reason: error.to_string(), of_this_message: false };
        let id = match &one.transport_id {
            Some(id) => MessageId::parse(id).map_err(|error| ours(&error))?,
            None => {
                let id = self.client.now().create_message_id().await.map_err(|error| ours(&error))?;
                let (number, noted) = (one.id, id.to_string());
                let noted = self.copies(move |copies| copies.note_transport_id(number, &noted)).await;
                noted.map_err(|error| ours(&error))?;
                id
            }
        };
        let reader = identifier(&one.reader)
            .map_err(|error| Trouble { reason: error.to_string(), of_this_message: true })?;
        let envelope = self.envelope(id, &reader, one);
        let mut part = OutgoingPart::from_bytes(PartRole::Message, "application/xml", one.bytes.clone());
        part.part.filename = Some(format!("{}.xml", one.number));
        part.part.encoding = Some("UTF-8".to_owned());
        self.client.now().send(&envelope, &[part]).await.map_err(|error| Trouble {
            of_this_message: matches!(error, ClientError::Fault { .. }),
            reason: error.to_string(),
        })?;
        let (number, now) = (one.id, self.clock.now());
        self.copies(move |copies| copies.note_sent(number, now)).await.map_err(|error| ours(&error))
    }

    fn envelope(&self, id: MessageId, reader: &PartyIdentifier, one: &Outgoing) -> Envelope {
        let party = |identifier: &PartyIdentifier| Party {
            identifier: identifier.clone(),
            security_tokens: Vec::new(),
        };
        let code = |code: &str, list: &str, version: &str| Code {
            code: code.to_owned(),
            name: None,
            list_uri: Some(list.to_owned()),
            list_version: Some(version.to_owned()),
        };
        Envelope {
            id,
            test: false,
            author: party(&self.own),
            sender: None,
            reply_to: None,
            reader: party(reader),
            other_readers: Vec::new(),
            cc_readers: Vec::new(),
            in_reply_to: MessageId::parse(&one.in_reply_to).into_iter().collect(),
            process_ref: None,
            qualifier: Qualifier {
                subject: None,
                service: SERVICE.to_owned(),
                business_scenario: Some(BusinessScenario::Defined(code(
                    "XMELD_DATA",
                    "urn:de:xta:codeliste:business.scenario",
                    "3.6",
                ))),
                message_type: Some(code(&one.number, "urn:de:payloadSchema:elementName", "1.0")),
                payload_schema: Some(one.namespace.clone()),
            },
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
}
