//! What each code of a rejection, each reason of a refused question and each number of a message means and what to do: for
//! `amtsbote explain`.
//!
//! Codes are those of XInneres' list of errors (S, T, V, X). Of the reasons, numbers are public for three alone
//! ([`Reason::number`]); the others go by our own words.

use super::message::{Code, Number};
use super::question::Reason;

/// One code or reason, in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    pub english: &'static str,
    pub german: &'static str,
    /// For whoever got it.
    pub peer: &'static str,
    /// For the operator of the register.
    pub operator: &'static str,
}

const fn of(
    english: &'static str,
    german: &'static str,
    peer: &'static str,
    operator: &'static str,
) -> Explanation {
    Explanation { english, german, peer, operator }
}

impl Code {
    pub fn explanation(self) -> Explanation {
        match self {
            Self::S001 => of(
                "The message is not UTF-8.",
                "Die Nachricht ist nicht in UTF-8 kodiert.",
                "Write the message in UTF-8 and say so in its first line.",
                "Nothing, as a rule.",
            ),
            Self::S010 => of(
                "A code list is not known.",
                "Eine Codeliste ist nicht bekannt.",
                "Use the lists of the release that the message names.",
                "If the list is new, a newer release of the exchange form is needed.",
            ),
            Self::S011 => of(
                "A code is not in its list, or the number in the head is not the root element's.",
                "Ein Code steht nicht in seiner Liste, oder die Nummer im Kopf ist nicht die des Wurzelelements.",
                "Compare the element that the rejection names with the schema.",
                "Nothing, as a rule.",
            ),
            Self::S020 => of(
                "Some of the message's cases cannot be processed; each is named with its own reason.",
                "Einzelne Vorgänge der Nachricht können nicht verarbeitet werden; jeder ist mit seinem Grund genannt.",
                "Correct the named cases and send them in a message of their own; the others were taken.",
                "Nothing, as a rule.",
            ),
            Self::S030 => of(
                "An element that must be filled is empty.",
                "Ein Pflichtelement ist leer.",
                "Fill the element that the rejection names.",
                "Nothing, as a rule.",
            ),
            Self::S100 => of(
                "The record was processed before, or the answer's time is over.",
                "Der Datensatz wurde bereits verarbeitet, oder die Abruffrist der Antwort ist abgelaufen.",
                "Nothing where it was a repetition; a question is asked again under a new UUID.",
                "Nothing, as a rule.",
            ),
            Self::S999 => of(
                "Not as specified, for the reason that stands beside the code.",
                "Nicht wie spezifiziert; der Grund steht neben dem Code.",
                "Read the reason. A correction needs a UUID and a number of its own.",
                "The log has the same reason under the message's id; of a feed, see `amtsbote register status`.",
            ),
            Self::T000 => of(
                "The sender's certificate has expired.",
                "Das Zertifikat des Absenders ist abgelaufen.",
                "Sign with a certificate that is valid.",
                "Enter the sender's new certificate with the register's [[signer]].",
            ),
            Self::T001 => of(
                "The sender's certificate is revoked.",
                "Das Zertifikat des Absenders ist gesperrt.",
                "Get another certificate, and find out why this one was revoked.",
                "Ask the sender on another way what happened before a new certificate is entered.",
            ),
            Self::T002 => of(
                "The sender's certificate is not valid, or not the one that is known for this author.",
                "Das Zertifikat des Absenders ist ungültig oder nicht das für diesen Autor bekannte.",
                "Sign with the certificate that the register knows for you.",
                "Compare the sender's certificate with the register's [[signer]].",
            ),
            Self::T003 => of(
                "The sender's certificate is missing.",
                "Das Zertifikat des Absenders fehlt.",
                "Put the certificate into the signature.",
                "Nothing, as a rule.",
            ),
            Self::T010 => of(
                "The author's signature is missing or too weak.",
                "Die Signatur des Autors fehlt oder ist zu schwach.",
                "Sign the message, with SHA-256 or better and RSA of 2048 bits or more, or with an elliptic curve.",
                "The register's [[signer]] says who must sign.",
            ),
            Self::T011 => of(
                "The author's signature does not hold.",
                "Die Signatur des Autors ist ungültig.",
                "Sign the bytes that are sent, last of all, and change nothing afterwards.",
                "If it happens again, something between sender and register changes messages.",
            ),
            Self::T020 => of(
                "The content cannot be decrypted.",
                "Der Inhalt kann nicht entschlüsselt werden.",
                "Send the content to the register as the operator agreed with you; it has no key for encrypted parts.",
                "The register has no key for encrypted content.",
            ),
            Self::T070 => of(
                "The sender may not send this message for this author.",
                "Der Absender ist für diesen Autor und diese Nachricht nicht berechtigt.",
                "The author in the head must be who posts the message; a municipality feeds its own copy.",
                "Asking bodies stand in the register's configuration under [[asker]].",
            ),
            Self::T080 => of(
                "The message's reader is not the mailbox's owner.",
                "Der Leser der Nachricht ist nicht der Inhaber des Postfachs.",
                "Name the register as the reader.",
                "register.identifiers names whose messages are taken.",
            ),
            Self::T099 => of(
                "Another problem of transport.",
                "Ein anderes Problem des Transports.",
                "Send again; the message was not taken.",
                "Find the message's id in the log.",
            ),
            Self::V000 => of(
                "This version is not served.",
                "Diese Version wird nicht unterstützt.",
                "Use a release that is alive: 26.05 or 26.11.",
                "The releases are part of the program; a newer one brings newer releases.",
            ),
            Self::X000 => of(
                "The message is not well-formed XML, or exceeds a limit of form.",
                "Die Nachricht ist kein wohlgeformtes XML oder überschreitet eine Grenze der Form.",
                "The rejection names the place; a DOCTYPE is never taken.",
                "Nothing, as a rule.",
            ),
            Self::X001 => of(
                "The message does not follow its version's schema.",
                "Die Nachricht entspricht nicht dem Schema ihrer Version.",
                "Validate against `schemas/register`.",
                "Nothing, as a rule.",
            ),
        }
    }
}

impl Reason {
    pub fn explanation(self) -> Explanation {
        match self {
            Self::StreetUnknown => of(
                "No street of that name is known in the area that is searched.",
                "Im Suchgebiet ist keine Straße dieses Namens bekannt.",
                "Check the street's name, or ask without it.",
                "Nothing.",
            ),
            Self::ReaderDiffers => of(
                "The message's reader is not the municipality that is searched.",
                "Der Leser der Nachricht ist nicht die Gemeinde, in der gesucht wird.",
                "Address the question to the municipality that it names, or to the register.",
                "Nothing.",
            ),
            Self::PlaceholderMisused => of(
                "A placeholder stands first or alone, or together with the search by sound.",
                "Ein Platzhalter steht am Anfang, allein oder zusammen mit der phonetischen Suche.",
                "Put letters before `*` and `?`, or search by sound without them.",
                "Nothing.",
            ),
            Self::PlaceholderForbidden => of(
                "Placeholders belong to names and streets of the free search alone.",
                "Platzhalter sind nur bei Namen und Straßen der freien Suche zulässig.",
                "Ask by the free search, or write the datum in full.",
                "Nothing.",
            ),
            Self::MunicipalityCount => of(
                "Exactly one municipality must be named; the whole state in the free search alone.",
                "Genau eine Gemeinde muss genannt sein; das ganze Land nur in der freien Suche.",
                "Ask each municipality by a question of its own.",
                "Nothing.",
            ),
            Self::MunicipalityUnknown => of(
                "No copy of this municipality is kept here.",
                "Von dieser Gemeinde wird hier kein Bestand geführt.",
                "Ask the municipality itself.",
                "If there should be one, ask the municipality for a full load.",
            ),
            Self::NameMissing => of(
                "A family or former name with a given name, or an order or stage name, must be given.",
                "Familien- oder früherer Name mit Vornamen, oder Ordens- oder Künstlername, muss angegeben sein.",
                "Add the name; digits and signs are no name.",
                "Nothing.",
            ),
            Self::FurtherDatumMissing => of(
                "Beside the name an address, or further data that the profile names, must be given.",
                "Neben dem Namen fehlt eine Anschrift oder ein weiteres Datum des Profils.",
                "Add the address, of a private enquiry with street and number, or date of birth or another datum of the profile.",
                "Nothing.",
            ),
            Self::PairTooWeak => of(
                "Sex and marital status alone do not make a pair of further data.",
                "Geschlecht und Familienstand allein sind kein ausreichendes Paar weiterer Daten.",
                "Add one more datum.",
                "Nothing.",
            ),
            Self::NothingAsked => of(
                "No datum to search by was given.",
                "Es wurde kein Auswahldatum angegeben.",
                "Give at least one datum.",
                "Nothing.",
            ),
            Self::TooBroad => of(
                "Too many persons would have to be looked at.",
                "Zu viele Personen müssten betrachtet werden.",
                "Give more data of the person.",
                "Nothing.",
            ),
            Self::DatumTooLong => of(
                "A datum is longer than 500 characters, or one about the requester than 120.",
                "Ein Datum ist länger als 500 Zeichen, oder eine Angabe zum Anfragenden länger als 120.",
                "Shorten it.",
                "Nothing.",
            ),
            Self::DateMalformed => of(
                "A date is not one.",
                "Ein Datum ist keines.",
                "Write dates as the schema says; parts that are not known are left out.",
                "Nothing.",
            ),
            Self::RangeMisused => of(
                "A period or a range of numbers ends before it begins, or belongs to the free search alone.",
                "Ein Zeitraum oder Nummernbereich endet vor seinem Beginn oder ist nur in der freien Suche zulässig.",
                "Turn it round, or ask by the free search.",
                "Nothing.",
            ),
            Self::DatumForbidden => of(
                "A datum is not part of this profile.",
                "Ein Datum gehört nicht zu diesem Profil.",
                "Leave it out: what is given must count, so nothing is passed over.",
                "Nothing.",
            ),
            Self::DeclarationMissing => of(
                "The declaration that the data serve neither advertising nor address trade is missing.",
                "Die Erklärung, die Daten nicht für Werbung oder Adresshandel zu verwenden, fehlt.",
                "Declare it (section 44(3) BMG).",
                "Nothing.",
            ),
            Self::RequesterIncomplete => of(
                "File number, occasion, user or body is missing.",
                "Aktenzeichen, Anlass, Nutzer oder Stelle fehlt.",
                "Fill in what the law wants logged of each retrieval (section 40 BMG).",
                "Nothing.",
            ),
            Self::NotEntitled => of(
                "The asking body has no right to this search, for this purpose, in this area.",
                "Die abrufende Stelle ist zu dieser Suche, für diesen Zweck, in diesem Gebiet nicht berechtigt.",
                "Ask for what the law gives your body.",
                "`amtsbote register explain KIND PROFILE` says why; the body's kind stands under [[asker]].",
            ),
            Self::TestMessage => of(
                "The message is marked as a test, and tests do not reach these data.",
                "Die Nachricht ist als Test gekennzeichnet; Tests erreichen diese Daten nicht.",
                "Send tests to a test register.",
                "Nothing.",
            ),
        }
    }
}

impl Number {
    /// What the message is for; the peer is whoever gets one.
    pub fn explanation(self) -> Explanation {
        const UPDATE: (&str, &str) = (
            "The case of the move is updated; the register gets a copy where its deadline is to be watched.",
            "`amtsbote register cases` lists the case.",
        );
        match self {
            Self::Rejection => of(
                "A message, or single cases of it, cannot be processed; codes say why.",
                "Rückweisung: eine Nachricht oder einzelne Vorgänge können nicht verarbeitet werden; Codes nennen den Grund.",
                "Look up the codes; correct, and send under a new UUID. It is never answered.",
                "Where one of ours is rejected, the log has it with its codes.",
            ),
            Self::Receipt => of(
                "The receipt of a message: how many of its cases were taken, known, held back, rejected.",
                "Quittung: wie viele Vorgänge übernommen, bekannt, zurückgestellt oder zurückgewiesen sind.",
                "Send the changes again that it says are missing.",
                "Nothing.",
            ),
            Self::Reminder => of(
                "The receipt of a message did not come: it is sent again, with the same bytes.",
                "Erinnerung an eine ausstehende Quittung; sie wird unverändert erneut gesandt.",
                "Send the receipt of the message that it names again; if that never came, reject it (S999).",
                "If there are many, look at the post office: receipts are posted and not fetched.",
            ),
            Self::Forward => of(
                "Another author's message, passed on; the case stays with whoever passes it on.",
                "Weiterleitung der Nachricht einer anderen Stelle; der Vorgang bleibt bei der weiterleitenden Stelle.",
                "Process the message in it and answer its author; receipt the forward.",
                "The author must be entered as a signer ([[signer]]); T010 says that it is not.",
            ),
            Self::HandOver => of(
                "Another author's message, passed on together with the case.",
                "Abgabe der Nachricht einer anderen Stelle samt Vorgang an die zuständige Stelle.",
                "Process the message in it and answer its author; receipt the hand-over.",
                "The author must be entered as a signer ([[signer]]); T010 says that it is not.",
            ),
            Self::NotCompetent => of(
                "The message is for somebody else; nothing of it was processed.",
                "Nichtzuständigkeit: die Nachricht betrifft eine andere Stelle und wurde nicht verarbeitet.",
                "Send it to the competent office. It is never answered.",
                "Where it came for one of ours, look up who is competent now.",
            ),
            Self::PartnerUpdate => of(
                "Update between offices: partner.",
                "Fortschreibung zwischen Meldebehörden: Ehegatte oder Lebenspartner.",
                UPDATE.0,
                UPDATE.1,
            ),
            Self::MainToSecondary => of(
                "Update between offices: the main dwelling has become a secondary one.",
                "Fortschreibung zwischen Meldebehörden: Hauptwohnung wird Nebenwohnung.",
                UPDATE.0,
                UPDATE.1,
            ),
            Self::SecondaryToMain => of(
                "Update between offices: the secondary dwelling has become the main one.",
                "Fortschreibung zwischen Meldebehörden: Nebenwohnung wird Hauptwohnung.",
                UPDATE.0,
                UPDATE.1,
            ),
            Self::LockPresentDwelling => of(
                "Update between offices: a lock, at the present dwelling.",
                "Fortschreibung zwischen Meldebehörden: Auskunftssperre, gegenwärtige Wohnung.",
                "Enter the lock at once, before all else that waits.",
                "The lock itself is fed by 1101, to the mailbox for locks.",
            ),
            Self::LockFormerDwelling => of(
                "Update between offices: a lock, at the former dwelling.",
                "Fortschreibung zwischen Meldebehörden: Auskunftssperre, frühere Wohnung.",
                "Enter the lock at once, before all else that waits.",
                "The lock itself is fed by 1101, to the mailbox for locks.",
            ),
            Self::PartnerSecondary => of(
                "Update between offices: the partner's secondary dwelling.",
                "Fortschreibung zwischen Meldebehörden: Nebenwohnung des Ehegatten oder Lebenspartners.",
                UPDATE.0,
                UPDATE.1,
            ),
            Self::MoveNotice => of(
                "The new office tells the old one that somebody has moved in.",
                "Rückmeldung: die Zuzugsgemeinde unterrichtet die Wegzugsgemeinde.",
                "Answer by 0203 within three working days.",
                "`amtsbote register cases` shows how long the answer has.",
            ),
            Self::MoveAnswer => of(
                "The old office answers a move notice.",
                "Auswertung der Rückmeldung durch die Wegzugsgemeinde.",
                "Compare it with what the person told.",
                "`amtsbote register cases --all` shows when it came.",
            ),
            Self::FormAsked => of(
                "The new office asks for the data of somebody who moves in, for the pre-filled form.",
                "Anforderung der Daten für den vorausgefüllten Meldeschein durch die Zuzugsgemeinde.",
                "Answer by 0301, by 0032 where no copy of the municipality is kept.",
                "Each is an entry in the log of looks. Locked and ambiguous persons get the neutral answer.",
            ),
            Self::FormAnswered => of(
                "The data for the pre-filled form, or that none can be given.",
                "Daten für den vorausgefüllten Meldeschein, oder keine Auskunft.",
                "Where there are none, ask the person, and the old office by hand. Relatives are not part of it.",
                "Nothing.",
            ),
            Self::EnquiryAsked => of(
                "One private enquiry about one person.",
                "Anforderung einer einfachen Melderegisterauskunft.",
                "Answer by 0601.",
                "Who may ask stands under [[asker]].",
            ),
            Self::EnquiryAnswered => of(
                "The answer to a private enquiry; to one of several, with its event.",
                "Einfache Melderegisterauskunft; bei Sammelanforderungen mit dem Ereignis.",
                "It can be fetched again for eight days (A001).",
                "Nothing.",
            ),
            Self::EnquiriesAsked => of(
                "Up to 500 private enquiries about persons of one municipality; each is a case and a fee of its own.",
                "Bis zu 500 einfache Melderegisterauskünfte einer Gemeinde; jede ist ein eigener Vorgang mit eigener Gebühr.",
                "Answer each by 0601 with its event; reject the cases that cannot be read, alone (S020).",
                "What XMeld's 0604 is for is not public: this use of the number is ours.",
            ),
            Self::LoadReceipt => of(
                "The receipt of a full load, with each refused record.",
                "Quittung einer Bestandsdatenlieferung mit den zurückgewiesenen Datensätzen.",
                "Correct the records that it names, and send them as changes.",
                "Nothing.",
            ),
            Self::Load => of(
                "Full load of a municipality, into a new generation.",
                "Lieferung des ganzen Bestands einer Gemeinde in eine neue Generation.",
                "It is receipted by 0928.",
                "`amtsbote register status` shows the generation.",
            ),
            Self::Changes => of(
                "Changes of a municipality, in order.",
                "Fortschreibungen einer Gemeinde in ihrer Reihenfolge.",
                "They are receipted by 0020, with what is missing.",
                "`amtsbote register status` shows what is held back.",
            ),
            Self::Standing => of(
                "Nothing happened up to now, with or without hashes of the original.",
                "Stand ohne Änderung, mit oder ohne Prüfsummen des Originals.",
                "It is receipted by 0020, with what differs.",
                "`amtsbote register status` shows the last comparison.",
            ),
            Self::PersonSearchAsked => of(
                "Personensuche of an authority in one municipality.",
                "Suchanfrage Personensuche einer Behörde in genau einer Gemeinde.",
                "Answer by 1331.",
                "Who may ask stands under [[asker]].",
            ),
            Self::PersonSearchAnswered => of(
                "The answer to a Personensuche: a person, a list, or that nothing can be given.",
                "Auskunft auf eine Personensuche: Person, Trefferliste oder keine Auskunft.",
                "It can be fetched again for eight days (A001).",
                "Nothing.",
            ),
            Self::FreeSearchAsked => of(
                "Freie Suche of an authority, with placeholders.",
                "Suchanfrage freie Suche einer Behörde, mit Platzhaltern.",
                "Answer by 1333.",
                "Who may ask stands under [[asker]].",
            ),
            Self::FreeSearchAnswered => of(
                "The answer to a freie Suche.",
                "Auskunft auf eine freie Suche.",
                "It can be fetched again for eight days (A001).",
                "Nothing.",
            ),
            Self::AnswerWanted => of(
                "An answer is wanted once more; a number of ours.",
                "Erneuter Abruf einer Antwort; eigene Nummer.",
                "Send the same bytes, or A002.",
                "Nothing.",
            ),
            Self::AnswerExpired => of(
                "The answer's time is over; a number of ours.",
                "Die Abruffrist der Antwort ist abgelaufen; eigene Nummer.",
                "Ask again, under a new UUID.",
                "Nothing.",
            ),
        }
    }
}
