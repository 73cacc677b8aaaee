//! XTA's exceptions and error numbers (code list Fehlernummer 1.0), and their way into a SOAP 1.2 fault.
//!
//! The WSDL allows each operation a few exceptions only. A number whose exception the operation does not declare is
//! answered as 9000 in XTAWSTechnicalProblemException, which every operation has, so that typed clients can read it.
//! The sentence carries the correlation id under which the operator's log tells more.

use crate::relay::Refusal;
use crate::report::{CorrelationId, Failure, Loudness};
use crate::xta::action::Operation;
use crate::xta::message;
use crate::xta::message::envelope::EnvelopeError;
use crate::xta::message::markup::Markup;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exception {
    PermissionDenied,
    ParameterIsNotValid,
    TechnicalProblem,
    MessageSchemaViolation,
    MessageVirusDetection,
    InvalidMessageId,
    SyncAsync,
    CancelDenied,
}

impl Exception {
    pub fn element(self) -> &'static str {
        match self {
            Self::PermissionDenied => "PermissionDeniedException",
            Self::ParameterIsNotValid => "ParameterIsNotValidException",
            Self::TechnicalProblem => "XTAWSTechnicalProblemException",
            Self::MessageSchemaViolation => "MessageSchemaViolationException",
            Self::MessageVirusDetection => "MessageVirusDetectionException",
            Self::InvalidMessageId => "InvalidMessageIDException",
            Self::SyncAsync => "SyncAsyncException",
            Self::CancelDenied => "CancelDeniedException",
        }
    }

    /// What the WSDL declares.
    pub fn is_declared_by(self, operation: Operation) -> bool {
        use Operation as O;
        match self {
            Self::PermissionDenied | Self::TechnicalProblem => true,
            Self::ParameterIsNotValid => {
                matches!(operation, O::LookupService | O::CancelMessage | O::SendMessage | O::SendMessageSync)
            }
            Self::InvalidMessageId => {
                matches!(operation, O::GetTransportReport | O::GetMessage | O::GetNextMessage | O::Close)
            }
            Self::CancelDenied => operation == O::CancelMessage,
            Self::MessageSchemaViolation | Self::MessageVirusDetection | Self::SyncAsync => {
                operation.carries_content()
            }
        }
    }
}

/// An error number of the code list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorNumber {
    Unspecified = 9000,
    CertificateExpired = 9010,
    AccountBlocked = 9011,
    AccountUnknown = 9012,
    ServiceNotBooked = 9013,
    NotYourIdentifier = 9014,
    NoParameters = 9020,
    UriInvalid = 9021,
    ParametersInvalid = 9022,
    TooLarge = 9023,
    MessageIdUsed = 9024,
    Internal = 9030,
    Directory = 9031,
    Delivery = 9032,
    PayloadInvalid = 9050,
    EncodingInvalid = 9051,
    ProfileViolated = 9052,
    MaliciousCode = 9060,
    MessageIdUnknown = 9070,
    AsynchronousOnly = 9080,
    SynchronousOnly = 9081,
    NotBeforePassed = 9100,
    NotBeforeNotSet = 9101,
}

impl ErrorNumber {
    pub const ALL: [Self; 23] = [
        Self::Unspecified,
        Self::CertificateExpired,
        Self::AccountBlocked,
        Self::AccountUnknown,
        Self::ServiceNotBooked,
        Self::NotYourIdentifier,
        Self::NoParameters,
        Self::UriInvalid,
        Self::ParametersInvalid,
        Self::TooLarge,
        Self::MessageIdUsed,
        Self::Internal,
        Self::Directory,
        Self::Delivery,
        Self::PayloadInvalid,
        Self::EncodingInvalid,
        Self::ProfileViolated,
        Self::MaliciousCode,
        Self::MessageIdUnknown,
        Self::AsynchronousOnly,
        Self::SynchronousOnly,
        Self::NotBeforePassed,
        Self::NotBeforeNotSet,
    ];

    pub fn number(self) -> u16 {
        self as u16
    }

    pub fn exception(self) -> Exception {
        match self.number() {
            9010..=9019 => Exception::PermissionDenied,
            9020..=9029 => Exception::ParameterIsNotValid,
            9050..=9059 => Exception::MessageSchemaViolation,
            9060..=9069 => Exception::MessageVirusDetection,
            9070..=9079 => Exception::InvalidMessageId,
            9080..=9089 => Exception::SyncAsync,
            9100..=9109 => Exception::CancelDenied,
            _ => Exception::TechnicalProblem,
        }
    }

    /// Whether the caller can do something about it.
    pub fn is_callers_mistake(self) -> bool {
        !matches!(self, Self::Internal | Self::Directory | Self::Delivery)
    }
}

/// What a request is answered with when it is not answered.
#[derive(Debug, Clone)]
pub struct Fault {
    pub number: ErrorNumber,
    pub failure: Failure,
}

impl Fault {
    /// A mistake of the client; there is nothing for the operator to do.
    pub fn of_client(number: ErrorNumber, code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            number,
            failure: Failure {
                code,
                sentence: sentence.into(),
                detail: String::new(),
                next_step: String::new(),
                loudness: Loudness::Info,
            },
        }
    }

    pub fn with_operator(mut self, loudness: Loudness, detail: String, next_step: &str) -> Self {
        self.failure.loudness = loudness;
        self.failure.detail = detail;
        self.failure.next_step = next_step.to_owned();
        self
    }

    /// The exception and number that the operation's clients can read.
    pub fn on_the_wire(&self, operation: Option<Operation>) -> (Exception, ErrorNumber) {
        let exception = self.number.exception();
        match operation {
            Some(operation) if !exception.is_declared_by(operation) => {
                // An unknown id in cancelMessage is a parameter that is not valid, and that it may say.
                if exception == Exception::InvalidMessageId
                    && Exception::ParameterIsNotValid.is_declared_by(operation)
                {
                    return (Exception::ParameterIsNotValid, self.number);
                }
                (Exception::TechnicalProblem, ErrorNumber::Unspecified)
            }
            _ => (exception, self.number),
        }
    }

    /// The element Fault of a SOAP body.
    pub fn write(&self, out: &mut Markup, operation: Option<Operation>, correlation: CorrelationId) {
        let (exception, number) = self.on_the_wire(operation);
        let sentence = format!("{} [{correlation}]", self.failure.sentence.trim());
        let side = if self.number.is_callers_mistake() { "soap:Sender" } else { "soap:Receiver" };
        let list = [
            ("listURI", Some("urn:de:xta:webservice:codeliste:fehlernummer")),
            ("listVersionID", Some("1.0")),
        ];
        out.element("soap:Fault", |out| {
            out.element("soap:Code", |out| {
                out.leaf("soap:Value", side);
            });
            out.element("soap:Reason", |out| {
                out.element_with("soap:Text", &[("xml:lang", Some("en"))], |out| {
                    out.text(&sentence);
                });
            });
            out.element("soap:Detail", |out| {
                out.element(&format!("xta:{}", exception.element()), |out| {
                    out.element_with("xta:errorCode", &list, |out| {
                        out.leaf("code", &number.number().to_string());
                        // A normalizedString: no line breaks, no tabs.
                        out.leaf("name", &sentence.replace(['\t', '\r', '\n'], " "));
                    });
                });
            });
        });
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        use ErrorNumber as N;
        let number = match &refusal {
            Refusal::ReaderUnknown { .. } | Refusal::ReaderNotAllowed { .. } => N::ParametersInvalid,
            Refusal::NotYourIdentifier { .. } => N::NotYourIdentifier,
            Refusal::ServiceNotBooked { .. } => N::ServiceNotBooked,
            Refusal::IdUsed => N::MessageIdUsed,
            Refusal::IdNotIssued => N::ParametersInvalid,
            Refusal::TooLarge { .. } => N::TooLarge,
            Refusal::UnknownMessage => N::MessageIdUnknown,
            Refusal::NotBeforePassed => N::NotBeforePassed,
            Refusal::NotBeforeNotSet => N::NotBeforeNotSet,
            Refusal::AsynchronousOnly => N::AsynchronousOnly,
            Refusal::SynchronousOnly => N::SynchronousOnly,
            Refusal::ProfileUnknown { .. } | Refusal::ProfileViolated { .. } => N::ProfileViolated,
            Refusal::NoAnswerInTime { .. } => N::Delivery,
            Refusal::ParameterInvalid { .. } | Refusal::StateForbids { .. } => N::ParametersInvalid,
            Refusal::StoreFull { .. } | Refusal::Unavailable { .. } | Refusal::Internal { .. } => N::Internal,
        };
        Self { number, failure: refusal.into() }
    }
}

impl From<message::Error> for Fault {
    fn from(error: message::Error) -> Self {
        let number = match &error {
            message::Error::Missing { .. } => ErrorNumber::NoParameters,
            message::Error::NotAUri { .. } => ErrorNumber::UriInvalid,
            message::Error::Twice { .. }
            | message::Error::Invalid { .. }
            | message::Error::Unexpected { .. } => ErrorNumber::ParametersInvalid,
        };
        Self::of_client(number, "message-invalid", error.to_string())
    }
}

impl From<EnvelopeError> for Fault {
    fn from(error: EnvelopeError) -> Self {
        let sentence = error.to_string();
        match error {
            EnvelopeError::Message(error) => error.into(),
            EnvelopeError::TooLarge { .. }
            | EnvelopeError::ContentTooLarge { .. }
            | EnvelopeError::TooMany { .. } => {
                Self::of_client(ErrorNumber::TooLarge, "envelope-too-large", sentence)
            }
            EnvelopeError::Xml(_) => Self::of_client(
                ErrorNumber::ParametersInvalid,
                "envelope-not-well-formed",
                format!("the SOAP envelope is refused: {sentence}"),
            ),
            EnvelopeError::NotSoap(_) | EnvelopeError::NotUnderstood(_) => {
                Self::of_client(ErrorNumber::ParametersInvalid, "envelope-not-soap", sentence)
            }
            EnvelopeError::Base64 { .. } => {
                Self::of_client(ErrorNumber::ParametersInvalid, "content-not-base64", sentence)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation as O;

    #[test]
    fn every_number_reaches_the_operations_that_declare_it() {
        use ErrorNumber as N;
        use Exception as E;
        for (number, operation, expected) in [
            (N::CertificateExpired, O::Close, (E::PermissionDenied, 9010)),
            (N::MessageIdUsed, O::SendMessage, (E::ParameterIsNotValid, 9024)),
            (N::ParametersInvalid, O::Close, (E::TechnicalProblem, 9000)),
            (N::UriInvalid, O::LookupService, (E::ParameterIsNotValid, 9021)),
            (N::MessageIdUnknown, O::GetMessage, (E::InvalidMessageId, 9070)),
            (N::MessageIdUnknown, O::CancelMessage, (E::ParameterIsNotValid, 9070)),
            (N::MessageIdUnknown, O::CheckAccountActive, (E::TechnicalProblem, 9000)),
            (N::NotBeforePassed, O::CancelMessage, (E::CancelDenied, 9100)),
            (N::AsynchronousOnly, O::SendMessageSync, (E::SyncAsync, 9080)),
            (N::ProfileViolated, O::SendMessage, (E::MessageSchemaViolation, 9052)),
            (N::MaliciousCode, O::SendMessage, (E::MessageVirusDetection, 9060)),
            (N::Internal, O::GetStatusList, (E::TechnicalProblem, 9030)),
        ] {
            let fault = Fault::of_client(number, "test", "test");
            let (exception, on_the_wire) = fault.on_the_wire(Some(operation));
            assert_eq!((exception, on_the_wire.number()), expected, "{number:?} {operation:?}");
        }
        for number in N::ALL {
            for operation in O::ALL {
                let (exception, on_the_wire) =
                    Fault::of_client(number, "t", "t").on_the_wire(Some(operation));
                assert!(exception.is_declared_by(operation), "{number:?} {operation:?}");
                assert!(on_the_wire == number || on_the_wire == N::Unspecified);
            }
        }
    }

    #[test]
    fn faults_have_the_shape_that_typed_clients_read() {
        let mut out = Markup::new();
        let fault = Fault::of_client(ErrorNumber::MessageIdUnknown, "test", "no <such>\nmessage");
        fault.write(&mut out, Some(O::GetMessage), CorrelationId(0xabc << 64));
        assert_eq!(
            out.finish(),
            "<soap:Fault><soap:Code><soap:Value>soap:Sender</soap:Value></soap:Code><soap:Reason>\
             <soap:Text xml:lang=\"en\">no &lt;such&gt;\nmessage [0000000000000abc]</soap:Text></soap:Reason>\
             <soap:Detail><xta:InvalidMessageIDException>\
             <xta:errorCode listURI=\"urn:de:xta:webservice:codeliste:fehlernummer\" listVersionID=\"1.0\">\
             <code>9070</code><name>no &lt;such&gt; message [0000000000000abc]</name></xta:errorCode>\
             </xta:InvalidMessageIDException></soap:Detail></soap:Fault>"
        );
    }
}
