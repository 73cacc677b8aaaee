//! The kinds of messages and the value of `xsi:schemaLocation` that tells them apart (OSCI12, section 2).

use super::names::{NS_DSIG, NS_OSCI, NS_OSCI2017, NS_SOAP, NS_XENC};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    InitDialog,
    ExitDialog,
    GetMessageId,
    StoreDelivery,
    FetchDelivery,
    FetchProcessCard,
    ForwardDelivery,
    MediateDelivery,
    AcceptDelivery,
    ProcessDelivery,
    PartialStoreDelivery,
    PartialFetchDelivery,
}

impl Operation {
    pub const ALL: [Self; 12] = [
        Self::InitDialog,
        Self::ExitDialog,
        Self::GetMessageId,
        Self::StoreDelivery,
        Self::FetchDelivery,
        Self::FetchProcessCard,
        Self::ForwardDelivery,
        Self::MediateDelivery,
        Self::AcceptDelivery,
        Self::ProcessDelivery,
        Self::PartialStoreDelivery,
        Self::PartialFetchDelivery,
    ];

    /// As it stands in the name of the schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::InitDialog => "InitDialog",
            Self::ExitDialog => "ExitDialog",
            Self::GetMessageId => "GetMessageId",
            Self::StoreDelivery => "StoreDelivery",
            Self::FetchDelivery => "FetchDelivery",
            Self::FetchProcessCard => "FetchProcessCard",
            Self::ForwardDelivery => "ForwardDelivery",
            Self::MediateDelivery => "MediateDelivery",
            Self::AcceptDelivery => "AcceptDelivery",
            Self::ProcessDelivery => "ProcessDelivery",
            Self::PartialStoreDelivery => "PartialStoreDelivery",
            Self::PartialFetchDelivery => "PartialFetchDelivery",
        }
    }

    /// True for the requests that an intermediary sends to a passive recipient.
    pub fn is_to_recipient(self) -> bool {
        matches!(self, Self::AcceptDelivery | Self::ProcessDelivery)
    }

    fn is_partial(self) -> bool {
        matches!(self, Self::PartialStoreDelivery | Self::PartialFetchDelivery)
    }
}

/// A request or the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Request(Operation),
    Response(Operation),
}

/// Where the payload of a kind stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An element of the body.
    Body,
    /// A header block, and the body is empty.
    Header,
    /// A header block, and the body holds a content package.
    HeaderWithContent,
    /// A header block, and the body holds a content package if anything is delivered.
    HeaderWithOptionalContent,
}

impl Kind {
    pub fn all() -> impl Iterator<Item = Self> {
        Operation::ALL.into_iter().flat_map(|operation| [Self::Request(operation), Self::Response(operation)])
    }

    pub fn operation(self) -> Operation {
        match self {
            Self::Request(operation) | Self::Response(operation) => operation,
        }
    }

    pub fn is_request(self) -> bool {
        matches!(self, Self::Request(_))
    }

    /// The local name of the element that carries the payload.
    pub fn element(self) -> String {
        match self {
            Self::Response(operation) => format!("responseTo{}", operation.name()),
            Self::Request(operation) => {
                let (first, rest) = operation.name().split_at(1);
                format!("{}{rest}", first.to_ascii_lowercase())
            }
        }
    }

    pub fn namespace(self) -> &'static str {
        if self.operation().is_partial() { NS_OSCI2017 } else { NS_OSCI }
    }

    /// The prefix by which clients know [`Self::namespace`].
    pub fn prefix(self) -> &'static str {
        if self.operation().is_partial() { "osci2017" } else { "osci" }
    }

    pub fn place(self) -> Place {
        use Operation as O;
        match (self, self.operation()) {
            (_, O::InitDialog | O::ExitDialog | O::GetMessageId | O::FetchProcessCard) => Place::Body,
            (
                Self::Request(_),
                O::StoreDelivery
                | O::ForwardDelivery
                | O::MediateDelivery
                | O::AcceptDelivery
                | O::ProcessDelivery
                | O::PartialStoreDelivery,
            ) => Place::HeaderWithContent,
            (
                Self::Response(_),
                O::FetchDelivery | O::MediateDelivery | O::ProcessDelivery | O::PartialFetchDelivery,
            ) => Place::HeaderWithOptionalContent,
            _ => Place::Header,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lead = if self.is_request() { "" } else { "ResponseTo" };
        write!(f, "{lead}{}", self.operation().name())
    }
}

/// What an envelope says that it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    Message(Kind),
    Encrypted,
}

impl Schema {
    pub fn location(self) -> String {
        let name = match self {
            Self::Message(kind) => kind.to_string(),
            Self::Encrypted => "MessageEncrypted".to_owned(),
        };
        format!("{NS_SOAP} soap{name}.xsd {NS_DSIG} oscisig.xsd {NS_XENC} oscienc.xsd")
    }

    /// Reads the attribute; white space between its words is free, everything else is fixed.
    pub fn from_location(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split_ascii_whitespace().take(7).collect();
        let [NS_SOAP, soap, NS_DSIG, "oscisig.xsd", NS_XENC, "oscienc.xsd"] = words.as_slice() else {
            return None;
        };
        let name = soap.strip_prefix("soap")?.strip_suffix(".xsd")?;
        if name == "MessageEncrypted" {
            return Some(Self::Encrypted);
        }
        Kind::all().find(|kind| kind.to_string() == name).map(Self::Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_location_is_read_back() {
        for schema in Kind::all().map(Schema::Message).chain([Schema::Encrypted]) {
            let location = schema.location();
            assert_eq!(Schema::from_location(&location), Some(schema));
            let wrapped = format!("\n   {}  ", location.replace(' ', "\n\t "));
            assert_eq!(Schema::from_location(&wrapped), Some(schema));
            for damaged in [
                location.replace("soap", "Soap"),
                location.replace("oscisig", "osci"),
                format!("{location} more"),
                location.split_once(' ').expect("words").1.to_owned(),
            ] {
                assert_eq!(Schema::from_location(&damaged), None, "{damaged}");
            }
        }
        assert_eq!(Schema::from_location(""), None);
    }

    #[test]
    fn elements_are_named_after_their_kind() {
        for (kind, name, prefix) in [
            (Kind::Request(Operation::InitDialog), "initDialog", "osci"),
            (Kind::Response(Operation::GetMessageId), "responseToGetMessageId", "osci"),
            (Kind::Request(Operation::PartialStoreDelivery), "partialStoreDelivery", "osci2017"),
        ] {
            assert_eq!((kind.element().as_str(), kind.prefix()), (name, prefix));
        }
    }
}
