//! Every code of OSCI-Transport 1.2: SOAP faults and feedback, with their words in German and English.
//!
//! A fault says that a message could not be answered as a request; feedback is part of an answer. The first digit tells
//! the severity: 0 done, 3 done with a warning, 9 not done. The advice beside each code is for `amtsbote explain`.
//! Left out: where which code is given, which the rooms that find the reason decide.
//!
//! 3951 is known and never given. It says that the time for the message inside chunks is over; but here that time has no
//! end. Whoever brings the last chunk hears what became of the message in the same answer, whoever asks meanwhile hears
//! 3952, and a crash in between leaves the chunks to whoever asks next. What ends, three days after its first chunk, is an
//! upload that is not whole; then nothing of it is known any more, and the next chunk begins anew.

/// How a code reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A SOAP fault; the client is to blame.
    FaultClient,
    /// A SOAP fault; we are to blame.
    FaultServer,
    /// Feedback: executed.
    Success,
    /// Feedback: executed, with a remark.
    Warning,
    /// Feedback: not executed.
    Error,
}

impl Kind {
    pub fn is_fault(self) -> bool {
        matches!(self, Self::FaultClient | Self::FaultServer)
    }

    /// What carries the code.
    pub fn carrier(self) -> &'static str {
        match self {
            Self::FaultClient => "SOAP fault (Client)",
            Self::FaultServer => "SOAP fault (Server)",
            Self::Success | Self::Warning | Self::Error => "Feedback",
        }
    }
}

/// A language that the words exist in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    #[default]
    German,
    English,
}

impl Language {
    /// The first language of `osci:DesiredLanguages/@LanguagesList` that we have; German where it names none of ours.
    pub fn first_of(list: &str) -> Self {
        let primary = |tag: &str| match tag.split(['-', '_']).next() {
            Some(tag) if tag.eq_ignore_ascii_case("de") => Some(Self::German),
            Some(tag) if tag.eq_ignore_ascii_case("en") => Some(Self::English),
            _ => None,
        };
        list.split_ascii_whitespace().find_map(primary).unwrap_or_default()
    }

    /// As `xml:lang`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::German => "de",
            Self::English => "en",
        }
    }
}

struct Words {
    code: &'static str,
    kind: Kind,
    en: &'static str,
    de: &'static str,
    peer: &'static str,
    operator: &'static str,
}

macro_rules! codes {
    ($($variant:ident = $code:literal $kind:ident {
        en: $en:literal, de: $de:literal, peer: $peer:literal, operator: $operator:literal $(,)?
    }),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $en] $variant),+
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            fn words(self) -> &'static Words {
                match self {
                    $(Self::$variant => &Words {
                        code: $code, kind: Kind::$kind, en: $en, de: $de, peer: $peer, operator: $operator,
                    }),+
                }
            }
        }
    };
}

codes! {
    Internal = "9000" FaultServer {
        en: "Internal error.",
        de: "Interner Fehler.",
        peer: "Try again later; if it stays, tell the post office's operator.",
        operator: "Find the correlation id in the log.",
    },
    Malformed = "9100" FaultClient {
        en: "The message is not a valid OSCI message.",
        de: "Die Nachricht ist keine gültige OSCI-Nachricht.",
        peer: "Look at what your software sends: MIME, XML, schema, identifiers.",
        operator: "The log names the place in the message.",
    },
    KeyUnknown = "9200" FaultClient {
        en: "The message was encrypted for a certificate that is not ours.",
        de: "Die Nachricht wurde für ein Zertifikat verschlüsselt, das nicht unseres ist.",
        peer: "Fetch the current cipher certificate of the intermediary.",
        operator: "After a change of certificates keep the old key until every client has the new one.",
    },
    KeyRevoked = "9201" FaultClient {
        en: "The message was encrypted for a certificate of ours that is revoked.",
        de: "Die Nachricht wurde für ein gesperrtes Zertifikat des Intermediärs verschlüsselt.",
        peer: "Fetch the current cipher certificate of the intermediary.",
        operator: "Tell participants of the new certificate.",
    },
    Undecipherable = "9202" FaultClient {
        en: "The message cannot be decrypted.",
        de: "Die Nachricht kann nicht entschlüsselt werden.",
        peer: "Check algorithms, key and length of the initialisation vector.",
        operator: "The log says nothing more on purpose: details would help an attacker.",
    },
    DecryptedMalformed = "9300" FaultClient {
        en: "The decrypted data are not a valid request.",
        de: "Die entschlüsselten Daten sind kein gültiger Auftrag.",
        peer: "Look at what your software encrypts.",
        operator: "The log names the place in the message.",
    },
    DialogMismatch = "9400" FaultClient {
        en: "ConversationId, SequenceNumber or Response is wrong.",
        de: "ConversationId, SequenceNumber oder Response ist falsch.",
        peer: "Begin a new dialog.",
        operator: "`amtsbote dialog list` shows the dialogs that are open. A dialog ends when nobody speaks for a while.",
    },
    OriginatorMissing = "9500" FaultClient {
        en: "The cipher certificate of the originator is missing.",
        de: "Das Verschlüsselungszertifikat des Absenders fehlt.",
        peer: "Send CipherCertificateOriginator when the dialog begins.",
        operator: "Nothing, as a rule.",
    },
    OriginatorUntrusted = "9501" FaultClient {
        en: "The signature over the originator's cipher certificate is invalid.",
        de: "Die Signatur des Verschlüsselungszertifikats des Absenders ist ungültig.",
        peer: "Use a certificate of an authority that this post office trusts.",
        operator: "Add the authority to the anchors for OSCI encryption if participants of it are welcome.",
    },
    OriginatorRevoked = "9502" FaultClient {
        en: "The originator's cipher certificate is revoked.",
        de: "Das Verschlüsselungszertifikat des Absenders ist gesperrt.",
        peer: "Use another certificate.",
        operator: "Nothing, as a rule.",
    },
    OriginatorUnchecked = "9503" FaultServer {
        en: "The originator's cipher certificate could not be checked.",
        de: "Das Verschlüsselungszertifikat des Absenders konnte nicht geprüft werden.",
        peer: "Try again later.",
        operator: "See `amtsbote check`: revocation lists that are stale, or missing.",
    },
    DoneClosed = "0800" Success {
        en: "The request was executed, the dialog is closed.",
        de: "Der Auftrag wurde ausgeführt, der Dialog ist beendet.",
        peer: "Nothing, as a rule.",
        operator: "Nothing, as a rule.",
    },
    DoneOpen = "0801" Success {
        en: "The request was executed, the dialog stays open.",
        de: "Der Auftrag wurde ausgeführt, der Dialog bleibt geöffnet.",
        peer: "Nothing, as a rule.",
        operator: "Nothing, as a rule.",
    },
    ClientCipherOutdated = "3500" Warning {
        en: "The cipher certificate of the client is out of its validity.",
        de: "Das Verschlüsselungszertifikat des Clients liegt außerhalb seiner Gültigkeit.",
        peer: "Renew the certificate.",
        operator: "`amtsbote cert expiring` names what ends soon.",
    },
    ClientCipherUnchecked = "3501" Warning {
        en: "The cipher certificate of the client could not be checked completely.",
        de: "Das Verschlüsselungszertifikat des Clients konnte nicht vollständig geprüft werden.",
        peer: "Nothing, as a rule.",
        operator: "Configure the revocation lists of its authority.",
    },
    ClientSignatureOutdated = "3700" Warning {
        en: "The signature certificate of the client is out of its validity.",
        de: "Das Signaturzertifikat des Clients liegt außerhalb seiner Gültigkeit.",
        peer: "Renew the certificate.",
        operator: "`amtsbote cert expiring` names what ends soon.",
    },
    AuthorSignatureOutdated = "3701" Warning {
        en: "The signature certificate of an author is out of its validity.",
        de: "Das Signaturzertifikat eines Autors liegt außerhalb seiner Gültigkeit.",
        peer: "Ask the author to renew it.",
        operator: "Nothing, as a rule.",
    },
    AuthorSignatureUntrusted = "3702" Warning {
        en: "The signature over an author's signature certificate is invalid.",
        de: "Die Signatur des Signaturzertifikats eines Autors ist ungültig.",
        peer: "Ask the author whose authority issued it.",
        operator: "Add the authority to the anchors for OSCI signatures if it is to be trusted.",
    },
    AuthorSignatureRevoked = "3703" Warning {
        en: "The signature certificate of an author is revoked.",
        de: "Das Signaturzertifikat eines Autors ist gesperrt.",
        peer: "Ask the author for another signature.",
        operator: "Nothing, as a rule.",
    },
    AuthorCipherOutdated = "3704" Warning {
        en: "The cipher certificate of an author is out of its validity.",
        de: "Das Verschlüsselungszertifikat eines Autors liegt außerhalb seiner Gültigkeit.",
        peer: "Ask the author to renew it.",
        operator: "Nothing, as a rule.",
    },
    AddresseeCipherOutdated = "3705" Warning {
        en: "The cipher certificate of the addressee is out of its validity.",
        de: "Das Verschlüsselungszertifikat des Empfängers liegt außerhalb seiner Gültigkeit.",
        peer: "Look up the addressee's current certificate.",
        operator: "`amtsbote cert expiring` names what ends soon.",
    },
    ReaderCipherOutdated = "3706" Warning {
        en: "The cipher certificate of a reader is out of its validity.",
        de: "Das Verschlüsselungszertifikat eines Lesers liegt außerhalb seiner Gültigkeit.",
        peer: "Look up the reader's current certificate.",
        operator: "Nothing, as a rule.",
    },
    CertificatesUnchecked = "3707" Warning {
        en: "The certificates could not be checked completely.",
        de: "Die Zertifikate konnten nicht vollständig geprüft werden.",
        peer: "The inspections on the process card say which.",
        operator: "Configure the revocation lists of their authorities.",
    },
    AddresseeSignatureOutdated = "3708" Warning {
        en: "The signature certificate of the recipient is out of its validity.",
        de: "Das Signaturzertifikat des Empfängers liegt außerhalb seiner Gültigkeit.",
        peer: "Tell the recipient.",
        operator: "Nothing, as a rule.",
    },
    MoreDeliveries = "3800" Warning {
        en: "More deliveries are waiting.",
        de: "Es liegen weitere Zustellungen vor.",
        peer: "Fetch again.",
        operator: "Nothing, as a rule.",
    },
    MoreCards = "3801" Warning {
        en: "More process cards match.",
        de: "Es liegen weitere Laufzettel vor.",
        peer: "Narrow the selection rule.",
        operator: "limits.list_items_max is the most that one answer holds.",
    },
    AnswerUnsigned = "3802" Warning {
        en: "The recipient's answer was not signed.",
        de: "Die Antwort des Empfängers war nicht signiert.",
        peer: "Tell the recipient.",
        operator: "Nothing, as a rule.",
    },
    AnswerUnencrypted = "3803" Warning {
        en: "The recipient's answer was not encrypted.",
        de: "Die Antwort des Empfängers war nicht verschlüsselt.",
        peer: "Tell the recipient.",
        operator: "Nothing, as a rule.",
    },
    InsideFeedback = "3950" Warning {
        en: "The feedback of the inner message is present.",
        de: "Die Rückmeldung zur inneren Nachricht liegt vor.",
        peer: "Read InsideFeedback.",
        operator: "Nothing, as a rule.",
    },
    InsideTooLate = "3951" Warning {
        en: "The time for the inner message is over.",
        de: "Die Bearbeitungszeit der inneren Nachricht ist überschritten.",
        peer: "Ask for the process card.",
        operator: "This post office does not send it: it sets no limit to that time.",
    },
    InsideWorking = "3952" Warning {
        en: "The inner message is still being processed.",
        de: "Die innere Nachricht wird noch bearbeitet.",
        peer: "Ask again later, with InfoOnly.",
        operator: "Nothing, as a rule: another request of the same client is at work on the message.",
    },
    SignatureMissing = "9600" Error {
        en: "A signature is required and missing.",
        de: "Eine Signatur ist erforderlich und fehlt.",
        peer: "Sign the request.",
        operator: "The account's `osci.signature_required` decides.",
    },
    SignatureInvalid = "9601" Error {
        en: "The signature is invalid.",
        de: "Die Signatur ist ungültig.",
        peer: "Check keys and algorithms; SHA-1 is not taken.",
        operator: "The log says what was found. The account's `osci.signature_methods` and `osci.digest_methods` narrow what is taken.",
    },
    SignatureIncomplete = "9602" Error {
        en: "The signature does not cover everything it must.",
        de: "Die Signatur umfasst nicht alle Bestandteile.",
        peer: "Sign every header block, the body and every attachment.",
        operator: "Nothing, as a rule.",
    },
    SignatureUnchecked = "9603" Error {
        en: "Internal error while the signature was checked.",
        de: "Interner Fehler bei der Prüfung der Signatur.",
        peer: "Try again later.",
        operator: "Find the correlation id in the log.",
    },
    ClientSignatureUntrusted = "9700" Error {
        en: "The signature over the client's signature certificate is invalid.",
        de: "Die Signatur des Signaturzertifikats des Clients ist ungültig.",
        peer: "Use a certificate of an authority that this post office trusts.",
        operator: "Add the authority to the anchors for OSCI signatures if participants of it are welcome.",
    },
    ClientSignatureRevoked = "9701" Error {
        en: "The client's signature certificate is revoked.",
        de: "Das Signaturzertifikat des Clients ist gesperrt.",
        peer: "Use another certificate.",
        operator: "Nothing, as a rule.",
    },
    AuthorCipherUntrusted = "9704" Error {
        en: "The signature over an author's cipher certificate is invalid.",
        de: "Die Signatur des Verschlüsselungszertifikats eines Autors ist ungültig.",
        peer: "Ask the author whose authority issued it.",
        operator: "Add the authority to the anchors for OSCI encryption if it is to be trusted.",
    },
    AuthorCipherRevoked = "9705" Error {
        en: "An author's cipher certificate is revoked.",
        de: "Das Verschlüsselungszertifikat eines Autors ist gesperrt.",
        peer: "Ask the author for another certificate.",
        operator: "Nothing, as a rule.",
    },
    AddresseeCipherUntrusted = "9706" Error {
        en: "The signature over the addressee's cipher certificate is invalid.",
        de: "Die Signatur des Verschlüsselungszertifikats des Empfängers ist ungültig.",
        peer: "Look up the addressee's current certificate.",
        operator: "Add the authority to the anchors for OSCI encryption if it is to be trusted.",
    },
    AddresseeCipherRevoked = "9707" Error {
        en: "The addressee's cipher certificate is revoked.",
        de: "Das Verschlüsselungszertifikat des Empfängers ist gesperrt.",
        peer: "Look up the addressee's current certificate.",
        operator: "Nothing, as a rule.",
    },
    ReaderCipherUntrusted = "9708" Error {
        en: "The signature over a reader's cipher certificate is invalid.",
        de: "Die Signatur des Verschlüsselungszertifikats eines Lesers ist ungültig.",
        peer: "Look up the reader's current certificate.",
        operator: "Add the authority to the anchors for OSCI encryption if it is to be trusted.",
    },
    ReaderCipherRevoked = "9709" Error {
        en: "A reader's cipher certificate is revoked.",
        de: "Das Verschlüsselungszertifikat eines Lesers ist gesperrt.",
        peer: "Look up the reader's current certificate.",
        operator: "Nothing, as a rule.",
    },
    CheckFailed = "9710" Error {
        en: "Internal error while certificates were checked.",
        de: "Interner Fehler bei der Prüfung der Zertifikate.",
        peer: "Try again later.",
        operator: "Find the correlation id in the log.",
    },
    AddresseeSignatureUntrusted = "9711" Error {
        en: "The signature over the recipient's signature certificate is invalid.",
        de: "Die Signatur des Signaturzertifikats des Empfängers ist ungültig.",
        peer: "Tell the recipient.",
        operator: "Add the authority to the anchors for OSCI signatures if it is to be trusted.",
    },
    AddresseeSignatureRevoked = "9712" Error {
        en: "The recipient's signature certificate is revoked.",
        de: "Das Signaturzertifikat des Empfängers ist gesperrt.",
        peer: "Tell the recipient.",
        operator: "Nothing, as a rule.",
    },
    MessageIdMissing = "9800" Error {
        en: "A delivery without a message id is not taken.",
        de: "Eine Zustellung ohne MessageId wird nicht angenommen.",
        peer: "Ask for one with getMessageId.",
        operator: "Nothing, as a rule.",
    },
    MessageIdUnknown = "9801" Error {
        en: "The message id was not issued here for this client, or has been used.",
        de: "Die MessageId wurde nicht von diesem Intermediär für diesen Client vergeben oder ist verbraucht.",
        peer: "After a lost answer ask for the process card of this id; otherwise ask for a new id.",
        operator: "`amtsbote message show ID` tells whether it was used.",
    },
    DialogRequired = "9802" Error {
        en: "The request needs an explicit dialog.",
        de: "Der Auftrag erfordert einen expliziten Dialog.",
        peer: "Begin with initDialog.",
        operator: "Nothing, as a rule.",
    },
    NoDelivery = "9803" Error {
        en: "No delivery matches.",
        de: "Es liegt keine passende Zustellung vor.",
        peer: "Nothing, as a rule.",
        operator: "`amtsbote mailbox list` shows what waits where.",
    },
    NoCard = "9804" Error {
        en: "No process card matches.",
        de: "Es liegt kein passender Laufzettel vor.",
        peer: "Nothing, as a rule.",
        operator: "`amtsbote card show ID` shows a card.",
    },
    NotAccepted = "9805" Error {
        en: "The recipient did not accept the message.",
        de: "Der Empfänger hat die Nachricht nicht angenommen.",
        peer: "Ask the recipient.",
        operator: "The card and the log name the recipient's own code; the message is cancelled.",
    },
    NoContent = "9806" Error {
        en: "The recipient accepted, but the reply holds no content.",
        de: "Der Empfänger hat angenommen, die Antwort enthält jedoch keinen Inhalt.",
        peer: "Ask the recipient.",
        operator: "Nothing, as a rule.",
    },
    AnswerSignatureInvalid = "9807" Error {
        en: "The signature over the recipient's answer is invalid.",
        de: "Die Signatur der Antwort des Empfängers ist ungültig.",
        peer: "Tell the recipient.",
        operator: "The message stays held and its card says why (`amtsbote message show ID`). If the certificate is right, declare it for the participant. Ask the recipient whether he has the message, then `amtsbote message release ID` (into his mailbox) or `message cancel ID`.",
    },
    RecipientFailed = "9808" Error {
        en: "Internal error at the recipient.",
        de: "Interner Fehler beim Empfänger.",
        peer: "Ask the recipient.",
        operator: "The message is cancelled; its card and the log name the recipient's own code.",
    },
    NotReached = "9809" Error {
        en: "Internal error; the message did not reach the recipient.",
        de: "Interner Fehler; die Nachricht hat den Empfänger nicht erreicht.",
        peer: "Send it again, with a new message id.",
        operator: "Nobody listens there, his certificate is not trusted, or too many pushes to him are under way; the log says which. An accepted message is cancelled.",
    },
    Reached = "9810" Error {
        en: "Internal error; the message did reach the recipient.",
        de: "Interner Fehler; die Nachricht hat den Empfänger erreicht.",
        peer: "Do not send it again; ask the recipient. A reply may wait in your mailbox.",
        operator: "Whether he took it is not known: the message stays held, and `amtsbote message list --state held` shows it. Ask the recipient, then `amtsbote message release ID` (into his mailbox) or `message cancel ID`.",
    },
    Failed = "9811" Error {
        en: "The request could not be executed.",
        de: "Der Auftrag konnte nicht ausgeführt werden.",
        peer: "Ask the post office's operator, with the time of the request.",
        operator: "Find the correlation id in the log.",
    },
    ChunkExists = "9900" Error {
        en: "The chunk has been received already.",
        de: "Das Paket liegt bereits vor.",
        peer: "Go on with the next chunk.",
        operator: "Nothing, as a rule.",
    },
    ChunkNumber = "9901" Error {
        en: "The chunk's number is wrong.",
        de: "Die Paketnummer ist falsch.",
        peer: "Count from 1 to the stated total.",
        operator: "Nothing, as a rule.",
    },
    ChunkTooBig = "9902" Error {
        en: "The chunk is too big.",
        de: "Das Paket ist zu groß.",
        peer: "Keep to MaxChunkSize of the feature description.",
        operator: "Nothing can be configured: a chunk holds up to 65,536 KB.",
    },
    ChunkTooSmall = "9903" Error {
        en: "The chunk is too small.",
        de: "Das Paket ist zu klein.",
        peer: "Keep to MinChunkSize and to the stated ChunkSize.",
        operator: "Nothing can be configured: every chunk but the last holds at least 8 KB, and what was stated.",
    },
    MessageTooBig = "9904" Error {
        en: "The message is too big.",
        de: "Die Nachricht ist zu groß.",
        peer: "Send less; the feature description names the limit.",
        operator: "limits.content_bytes_max and the service profile decide.",
    },
    ChunkInconsistent = "9905" Error {
        en: "The information about the chunks contradicts itself.",
        de: "Die Angaben zu den Paketen sind widersprüchlich.",
        peer: "State the same totals in every chunk.",
        operator: "Nothing, as a rule.",
    }
}

impl Code {
    /// Four digits.
    pub fn as_str(self) -> &'static str {
        self.words().code
    }

    pub fn kind(self) -> Kind {
        self.words().kind
    }

    pub fn text(self, language: Language) -> &'static str {
        match language {
            Language::German => self.words().de,
            Language::English => self.words().en,
        }
    }

    /// What whoever got it can do.
    pub fn advice(self) -> &'static str {
        self.words().peer
    }

    /// What the operator of this post office can do.
    pub fn operator_advice(self) -> &'static str {
        self.words().operator
    }

    pub fn parse(digits: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == digits)
    }

    /// Whether the request was executed.
    pub fn is_done(self) -> bool {
        matches!(self.kind(), Kind::Success | Kind::Warning)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digit_tells_the_kind() {
        for code in Code::ALL {
            let digits = code.as_str();
            assert!(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
            let expected = match (&digits[..1], &digits[..2]) {
                ("0", _) => Kind::Success,
                ("3", _) => Kind::Warning,
                (_, "90") => Kind::FaultServer,
                (_, "91" | "92" | "93" | "94") => Kind::FaultClient,
                (_, "95") => [Kind::FaultClient, Kind::FaultServer][usize::from(digits == "9503")],
                _ => Kind::Error,
            };
            assert_eq!(code.kind(), expected, "{digits}");
        }
    }

    #[test]
    fn every_code_is_there_once_and_speaks_both_languages() {
        let digits: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(digits.len(), Code::ALL.len());
        assert_eq!(digits.len(), 64);
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            let (de, en) = (code.text(Language::German), code.text(Language::English));
            assert!(de != en && de.ends_with('.') && en.ends_with('.'), "{code}");
        }
        assert_eq!(Code::parse("800"), None);
    }

    #[test]
    fn the_first_language_we_have_is_taken() {
        for (list, expected) in [
            ("de", Language::German),
            ("fr en de", Language::English),
            ("fr de-AT en", Language::German),
            ("EN", Language::English),
            ("fr", Language::German),
            ("", Language::German),
            ("den english", Language::German),
        ] {
            assert_eq!(Language::first_of(list), expected, "{list:?}");
        }
    }
}
