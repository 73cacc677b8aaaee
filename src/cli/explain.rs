//! `amtsbote explain CODE`: what a code means and what to do, in English and German.
//!
//! The portal's problem types are the door's own table ([`crate::portal::problems`]). The XTA codes are those of the fault list of XTA 2 web service 2.1.1; the OSCI codes are the door's own table
//! ([`crate::osci::code`]). Both standards use some numbers, and then both meanings are shown. The register's codes of
//! rejections (XInneres), reasons of refused questions and numbers of messages are its own table
//! ([`crate::register::explained`]).

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::{Reading, screen};
use crate::osci::code::{Code, Language};
use crate::portal::problems;
use crate::register::message::{Code as XinneresCode, Number};
use crate::register::question::Reason;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code, such as 9024, 0801, T070 or no-destination, an exception's name, or the number of a message of the register, such as 0301; without one, every code in one line
    code: Option<String>,
    #[command(flatten)]
    reading: Reading,
}

/// One code of one standard.
#[derive(Debug, Clone, Copy, Serialize)]
struct Explanation {
    standard: &'static str,
    code: &'static str,
    /// The number in the register's answers, where it is public.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<&'static str>,
    /// The exception or fault that carries it.
    carrier: &'static str,
    english: &'static str,
    german: &'static str,
    /// For the participant who got it.
    peer: &'static str,
    /// For the operator of this post office.
    operator: &'static str,
}

const fn xta(
    code: &'static str,
    carrier: &'static str,
    english: &'static str,
    german: &'static str,
    peer: &'static str,
    operator: &'static str,
) -> Explanation {
    Explanation { standard: "XTA 2", code, number: None, carrier, english, german, peer, operator }
}

impl From<Code> for Explanation {
    fn from(code: Code) -> Self {
        Self {
            standard: "OSCI 1.2",
            code: code.as_str(),
            number: None,
            carrier: code.kind().carrier(),
            english: code.text(Language::English),
            german: code.text(Language::German),
            peer: code.advice(),
            operator: code.operator_advice(),
        }
    }
}

impl From<&problems::Explanation> for Explanation {
    fn from(one: &problems::Explanation) -> Self {
        Self {
            standard: "Portal",
            code: one.code,
            number: None,
            carrier: "problem details",
            english: one.english,
            german: one.german,
            peer: one.peer,
            operator: one.operator,
        }
    }
}

impl From<XinneresCode> for Explanation {
    fn from(code: XinneresCode) -> Self {
        let one = code.explanation();
        Self {
            standard: "XInneres",
            code: code.as_str(),
            number: None,
            carrier: "rueckweisung.asynchron.0010",
            english: one.english,
            german: one.german,
            peer: one.peer,
            operator: one.operator,
        }
    }
}

impl From<Reason> for Explanation {
    fn from(reason: Reason) -> Self {
        let one = reason.explanation();
        Self {
            standard: "Register",
            code: reason.word(),
            number: reason.number(),
            carrier: "the answer to a question (0601, 1331, 1333)",
            english: one.english,
            german: one.german,
            peer: one.peer,
            operator: one.operator,
        }
    }
}

impl From<Number> for Explanation {
    fn from(number: Number) -> Self {
        let one = number.explanation();
        Self {
            standard: "Register",
            code: number.code(),
            number: None,
            carrier: number.element(),
            english: one.english,
            german: one.german,
            peer: one.peer,
            operator: one.operator,
        }
    }
}

const XTA_CODES: &[Explanation] = &[
    xta(
        "9000",
        "any exception",
        "An error without a code of its own; the name in the answer says what happened.",
        "Ein Fehler ohne eigene Nummer; der Name in der Antwort sagt, was geschah.",
        "Read the name beside the code and act on it.",
        "Find the correlation id in the log.",
    ),
    xta(
        "9010",
        "PermissionDeniedException",
        "The client certificate has expired, or is not valid yet.",
        "Das Client-Zertifikat ist abgelaufen oder noch nicht gültig.",
        "Use a certificate that is valid; check your clock.",
        "`amtsbote cert expiring` names what ends soon; add the new certificate's key to the account before the old one ends.",
    ),
    xta(
        "9011",
        "PermissionDeniedException",
        "The account is blocked.",
        "Das Konto ist gesperrt.",
        "Ask the post office's operator why.",
        "`amtsbote participant show NAME`; unblock it in the participants' file and apply it.",
    ),
    xta(
        "9012",
        "PermissionDeniedException",
        "No account belongs to the client certificate, or its issuer is not trusted.",
        "Zu dem Client-Zertifikat gehört kein Konto, oder sein Aussteller ist nicht vertrauenswürdig.",
        "Show the certificate that you told the operator.",
        "`amtsbote cert show FILE` prints the key's fingerprint; give it to the account, and the issuer to tls.anchors.",
    ),
    xta(
        "9013",
        "PermissionDeniedException",
        "The service is not booked: the account may not use it, or the reader does not take it.",
        "Der Dienst ist nicht gebucht: das Konto darf ihn nicht nutzen, oder der Leser nimmt ihn nicht an.",
        "Check the service URI in the message's qualifier.",
        "Extend the account's rights or the reader's services in the participants' file.",
    ),
    xta(
        "9014",
        "PermissionDeniedException",
        "The certificate does not fit the identifier that was claimed.",
        "Das Zertifikat passt nicht zu der angegebenen Kennung.",
        "Use an identifier of your own account, or `*` for all of them.",
        "If the identifier is the account's own, add it to the participants' file.",
    ),
    xta(
        "9020",
        "ParameterIsNotValidException",
        "A parameter is missing.",
        "Ein Parameter fehlt.",
        "Compare the request with the WSDL (?wsdl).",
        "The log names the missing part under the correlation id.",
    ),
    xta(
        "9021",
        "ParameterIsNotValidException",
        "A parameter is not a valid URI.",
        "Ein Parameter ist keine gültige URI.",
        "Send the service's URI as the directory gives it.",
        "Nothing, as a rule.",
    ),
    xta(
        "9022",
        "ParameterIsNotValidException",
        "The parameters do not go together: one is malformed, or nobody here takes messages for the reader.",
        "Die Parameter passen nicht zusammen: einer ist fehlerhaft, oder niemand hier nimmt Nachrichten für den Leser an.",
        "Read the name beside the code; look the reader up first.",
        "Find the correlation id in the log; if the reader should be known, add its identifier to an account.",
    ),
    xta(
        "9023",
        "ParameterIsNotValidException",
        "The message exceeds a size limit; the answer names it.",
        "Die Nachricht überschreitet eine Größengrenze; die Antwort nennt sie.",
        "Split the content or agree on another way.",
        "Raise limits.content_bytes_max or the profile's content_bytes_max if this is wanted.",
    ),
    xta(
        "9024",
        "ParameterIsNotValidException",
        "The message id was used before, for other content or by somebody else.",
        "Die Nachrichten-ID wurde schon verwendet, für anderen Inhalt oder von jemand anderem.",
        "Get a new id by createMessageId. The same message sent again under its id is no error.",
        "`amtsbote message trace ID` shows what the id stands for.",
    ),
    xta(
        "9030",
        "XTAWSTechnicalProblemException",
        "Something failed inside the post office.",
        "Im Postamt ist ein Fehler aufgetreten.",
        "Send again later, under the same id: nothing is delivered twice.",
        "Someone must look: find the correlation id in the log; `amtsbote check`.",
    ),
    xta(
        "9031",
        "XTAWSTechnicalProblemException",
        "An external directory did not answer.",
        "Ein externes Verzeichnis hat nicht geantwortet.",
        "Ask again later.",
        "See whether the directory service can be reached.",
    ),
    xta(
        "9032",
        "XTAWSTechnicalProblemException",
        "The message cannot be delivered: no mailbox takes it, or no answer came in time.",
        "Die Nachricht ist nicht zustellbar: kein Postfach nimmt sie an, oder keine Antwort kam rechtzeitig.",
        "Check the reader's identifier; look the service up first.",
        "If the reader should be known, add its identifier to an account.",
    ),
    xta(
        "9050",
        "MessageSchemaViolationException",
        "The content or the request does not follow its schema.",
        "Inhalt oder Anfrage entsprechen nicht dem Schema.",
        "Validate against the schemas under ?xsd=….",
        "The log names the place in the message.",
    ),
    xta(
        "9051",
        "MessageSchemaViolationException",
        "The character encoding is wrong.",
        "Die Zeichenkodierung ist falsch.",
        "Send UTF-8 and say so.",
        "Nothing, as a rule.",
    ),
    xta(
        "9052",
        "MessageSchemaViolationException",
        "The message violates its service profile.",
        "Die Nachricht verletzt ihr Serviceprofil.",
        "Compare the message with the profile that it names.",
        "`amtsbote service show NAME` prints the profile.",
    ),
    xta(
        "9060",
        "MessageVirusDetectionException",
        "Malicious code was found.",
        "Schadcode wurde gefunden.",
        "Clean the content and send it under a new id.",
        "This post office does not open content and never gives this code by itself; a foreign server did.",
    ),
    xta(
        "9070",
        "InvalidMessageIDException",
        "The message id is not known for this account.",
        "Die Nachrichten-ID ist für das Konto nicht bekannt.",
        "Use the id from the status list; what was closed long ago is gone.",
        "`amtsbote message show ID` tells whose it is.",
    ),
    xta(
        "9080",
        "SyncAsyncException",
        "The service takes only asynchronous messages.",
        "Der Dienst ist nur asynchron verfügbar.",
        "Use sendMessage.",
        "The profile's `synchronous` decides.",
    ),
    xta(
        "9081",
        "SyncAsyncException",
        "The service takes only synchronous messages.",
        "Der Dienst ist nur synchron verfügbar.",
        "Use sendMessageSync.",
        "The profile's `asynchronous` decides.",
    ),
    xta(
        "9100",
        "CancelDeniedException",
        "Too late to cancel: NotBefore has passed.",
        "Stornierung zu spät: der Zeitpunkt NotBefore ist verstrichen.",
        "Ask the reader to disregard the message.",
        "`amtsbote message cancel ID --reason …` can still withdraw what was not received.",
    ),
    xta(
        "9101",
        "CancelDeniedException",
        "Cannot be cancelled: the message has no NotBefore.",
        "Keine Stornierung möglich: NotBefore war nicht gesetzt.",
        "Set NotBefore on messages that you may want to withdraw.",
        "`amtsbote message cancel ID --reason …` can still withdraw what was not received.",
    ),
];

fn codes() -> impl Iterator<Item = Explanation> {
    let osci = Code::ALL.iter().copied().map(Explanation::from);
    let register = XinneresCode::ALL.iter().copied().map(Explanation::from);
    let register = register.chain(Reason::ALL.into_iter().map(Explanation::from));
    let register = register.chain(Number::ALL.iter().copied().map(Explanation::from));
    XTA_CODES.iter().copied().chain(osci).chain(problems::ALL.iter().map(Explanation::from)).chain(register)
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        let named = |one: &Explanation| self.code.as_deref().is_none_or(|code| one.is_named(code));
        let found: Vec<Explanation> = codes().filter(named).collect();
        if let (true, Some(code)) = (found.is_empty(), &self.code) {
            return Err(Stop::new(Exit::Unknown, format!("no code {code:?} is known"))
                .then("`amtsbote explain` lists every code"));
        }
        if self.reading.json {
            screen::json(&found)?;
        } else if self.code.is_some() {
            screen::data(&found.iter().map(Explanation::in_full).collect::<Vec<_>>().join("\n"))?;
        } else {
            let lines =
                found.iter().map(|one| format!("{:<8}  {}  {}\n", one.standard, one.code, one.english));
            screen::data(&lines.collect::<String>())?;
        }
        Ok(Exit::Done)
    }
}

impl Explanation {
    fn is_named(&self, text: &str) -> bool {
        let carrier = self.carrier.strip_suffix("Exception").unwrap_or(self.carrier);
        self.code == text
            || self.number == Some(text)
            || self.carrier.eq_ignore_ascii_case(text)
            || carrier.eq_ignore_ascii_case(text)
    }

    fn in_full(&self) -> String {
        let number = self.number.map(|number| format!(" ({number})")).unwrap_or_default();
        format!(
            "{} {}{number} in {}\n\n{}\n{}\n\nWhoever got it: {}\nThe operator:   {}\n",
            self.standard, self.code, self.carrier, self.english, self.german, self.peer, self.operator
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_fault_list_is_explained_once() {
        let expected = [
            "9000", "9010", "9011", "9012", "9013", "9014", "9020", "9021", "9022", "9023", "9024", "9030",
            "9031", "9032", "9050", "9051", "9052", "9060", "9070", "9080", "9081", "9100", "9101",
        ];
        let listed: Vec<_> = XTA_CODES.iter().map(|one| one.code).collect();
        assert_eq!(listed, expected);
        for one in codes() {
            for words in [one.english, one.german, one.peer, one.operator] {
                assert!(words.ends_with('.') || words.ends_with('…'), "{}: {words}", one.code);
            }
        }
    }

    #[test]
    fn exceptions_are_found_by_name() {
        let named = |text| codes().filter(|one| one.is_named(text)).count();
        assert_eq!(named("CancelDenied"), 2);
        assert_eq!(named("canceldeniedexception"), 2);
        assert_eq!(named("9"), 0);
    }
}
