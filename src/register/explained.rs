//! What each code of a rejection, and each reason of a refused question, means and what to do: for `amtsbote explain`.
//!
//! Codes are those of XInneres' list of errors (S, T, V, X). Of the reasons, numbers are public for three alone
//! ([`Reason::number`]); the others go by our own words.

use super::message::Code;
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
                "Add address, date of birth or another datum of the profile.",
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
