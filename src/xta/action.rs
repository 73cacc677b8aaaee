//! Which operation a request means: its SOAP action, from wherever its client wrote it.
//!
//! Bodies do not tell operations apart (an empty one is two operations, a MessageID two others), and paths are
//! configured freely, so the action decides alone. First found: the header wsa:Action, the `action` parameter of
//! Content-Type, `action` inside `start-info` or `type` of a multipart, the HTTP header SOAPAction.

use crate::mime::media_type::MediaType;

/// The twelve operations of WS 2.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    CheckAccountActive,
    LookupService,
    CreateMessageId,
    GetTransportReport,
    CancelMessage,
    SendMessage,
    SendMessageSync,
    GetStatusList,
    GetNextStatusList,
    GetMessage,
    GetNextMessage,
    Close,
}

impl Operation {
    pub const ALL: [Self; 12] = [
        Self::CheckAccountActive,
        Self::LookupService,
        Self::CreateMessageId,
        Self::GetTransportReport,
        Self::CancelMessage,
        Self::SendMessage,
        Self::SendMessageSync,
        Self::GetStatusList,
        Self::GetNextStatusList,
        Self::GetMessage,
        Self::GetNextMessage,
        Self::Close,
    ];

    /// Names of actions follow the WSDL, where they differ from the operations' names.
    pub fn action(self) -> &'static str {
        match self {
            Self::CheckAccountActive => "http://www.xta.de/XTA/CheckAccountActive",
            Self::LookupService => "http://www.xta.de/XTA/IsServiceAvailable",
            Self::CreateMessageId => "http://www.xta.de/XTA/CreateMessageID",
            Self::GetTransportReport => "http://www.xta.de/XTA/GetTransportReport",
            Self::CancelMessage => "http://www.xta.de/XTA/CancelMessage",
            Self::SendMessage => "http://www.xta.de/XTA/SendMessage",
            Self::SendMessageSync => "http://www.xta.de/XTA/SendMessageSync",
            Self::GetStatusList => {
                "http://www.osci.eu/ws/2008/05/transport/urn/messageTypes/MsgBoxStatusListRequest"
            }
            Self::GetNextStatusList => {
                "http://www.osci.eu/ws/2008/05/transport/urn/messageTypes/MsgBoxGetNextListRequest"
            }
            Self::GetMessage => "http://www.osci.eu/ws/2008/05/transport/urn/messageTypes/MsgBoxFetchRequest",
            Self::GetNextMessage => {
                "http://www.osci.eu/ws/2008/05/transport/urn/messageTypes/MsgBoxGetNextMsgRequest"
            }
            Self::Close => "http://www.osci.eu/ws/2008/05/transport/urn/messageTypes/MsgBoxCloseRequest",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::CheckAccountActive => "checkAccountActive",
            Self::LookupService => "lookupService",
            Self::CreateMessageId => "createMessageId",
            Self::GetTransportReport => "getTransportReport",
            Self::CancelMessage => "cancelMessage",
            Self::SendMessage => "sendMessage",
            Self::SendMessageSync => "sendMessageSync",
            Self::GetStatusList => "getStatusList",
            Self::GetNextStatusList => "getNextStatusList",
            Self::GetMessage => "getMessage",
            Self::GetNextMessage => "getNextMessage",
            Self::Close => "close",
        }
    }

    pub fn from_action(action: &str) -> Option<Self> {
        let action = unquoted(action);
        Self::ALL.into_iter().find(|operation| operation.action() == action)
    }

    /// Whether the request brings content.
    pub fn carries_content(self) -> bool {
        matches!(self, Self::SendMessage | Self::SendMessageSync)
    }
}

/// The action as HTTP tells it; the header wsa:Action goes before it.
pub fn from_http(content_type: Option<&MediaType>, soap_action: Option<&str>) -> Option<String> {
    let in_type = content_type.and_then(MediaType::action);
    in_type
        .or_else(|| soap_action.map(str::to_owned))
        .map(|action| unquoted(&action).to_owned())
        .filter(|action| !action.is_empty())
}

/// SOAPAction comes with and without quotes, and clients carry the quotes over into parameters.
fn unquoted(text: &str) -> &str {
    text.trim().trim_matches('"').trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_back() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_action(operation.action()), Some(operation));
            assert_eq!(Operation::from_action(&format!("\"{}\"", operation.action())), Some(operation));
        }
        for unknown in
            ["", "\"\"", "http://www.xta.de/XTA/sendMessage", "http://www.xta.de/XTA/CreateMessageId"]
        {
            assert_eq!(Operation::from_action(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn sources_in_their_order() {
        let check = |content_type: &str, soap_action: Option<&str>, expected: Option<&str>| {
            let content_type = MediaType::parse(content_type).expect("a media type");
            assert_eq!(from_http(Some(&content_type), soap_action).as_deref(), expected, "{content_type:?}");
        };
        check("application/soap+xml; action=\"urn:a\"", Some("urn:b"), Some("urn:a"));
        check("application/soap+xml", Some("\"urn:b\""), Some("urn:b"));
        check("application/soap+xml", Some("\"\""), None);
        check("application/soap+xml", None, None);
        check(
            "multipart/related; boundary=x; action=urn:a; start-info=\"text/xml; action=\\\"urn:b\\\"\"",
            None,
            Some("urn:a"),
        );
        check(
            "multipart/related; boundary=x; start-info=\"application/soap+xml;action=\\\"urn:b\\\"\"",
            Some("urn:c"),
            Some("urn:b"),
        );
        assert_eq!(from_http(None, Some("urn:c")).as_deref(), Some("urn:c"));
    }
}
