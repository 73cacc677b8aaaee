//! Where a peer of OSCI-Transport 1.2 listens, and which peers may be spoken to at all (section 1 of the transport
//! binding; `ContentReceiver/@URI` of forwardDelivery and mediateDelivery).
//!
//! The URI of a passive recipient comes from a client. The post office dials it only where the operator has listed it,
//! so that nobody can make it speak to its own neighbours. Left out: proxies; whoever needs one lists its address.

use std::fmt;

use hyper::Uri;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{0:?} is not a URL of the form http://host:port/path or https://host:port/path")]
    Malformed(String),
}

/// An absolute `http` or `https` URL without user, query's secrets or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub secure: bool,
    /// As it stands in the URL, lower case; an IPv6 address in brackets.
    host: String,
    pub port: u16,
    /// Path and query, beginning with `/`.
    path: String,
}

impl Address {
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Malformed(text.chars().take(200).collect());
        if text.contains(['#', '\\']) || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong());
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        // The port as it stands, because an overlong one counts as none in the parser.
        let port = match authority.as_str().strip_prefix(authority.host()).ok_or_else(wrong)? {
            "" if secure => 443,
            "" => 80,
            rest => {
                let digits = rest.strip_prefix(':').ok_or_else(wrong)?;
                digits.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { secure, host: authority.host().to_ascii_lowercase(), port, path })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as a resolver wants it.
    pub fn host_bare(&self) -> &str {
        self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.host)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port, for the Host field and for people.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether this address lies at or below `listed`: same scheme, host and port; the listed path or one below it.
    fn is_within(&self, listed: &Self) -> bool {
        let same_server = (self.secure, &self.host, self.port) == (listed.secure, &listed.host, listed.port);
        let below = self.path.strip_prefix(listed.path.as_str()).is_some_and(|rest| {
            rest.is_empty() || listed.path.ends_with('/') || rest.starts_with(['/', '?'])
        });
        // A server may resolve such steps and lead out of the listed folder; some cut parameters off first.
        let plain = !decoded(&self.path).split(['/', '\\', '?', ';']).any(|step| matches!(step, "." | ".."));
        same_server && below && plain
    }
}

/// A path with its dots and whatever may part its steps spelled out, however often they were escaped.
fn decoded(path: &str) -> String {
    const ESCAPED: [(&str, &str); 6] =
        [("%25", "%"), ("%2e", "."), ("%2f", "/"), ("%5c", "\\"), ("%3b", ";"), ("%3f", "?")];
    let mut path = path.to_ascii_lowercase();
    loop {
        let plainer = ESCAPED.iter().fold(path.clone(), |path, (from, to)| path.replace(from, to));
        // Each round is shorter than the one before.
        if plainer == path {
            return path;
        }
        path = plainer;
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(out, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The peers that may be dialled for one participant. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receivers(Vec<Address>);

impl Receivers {
    pub fn new(listed: Vec<Address>) -> Self {
        Self(listed)
    }

    /// The address behind a URI that a client named, if the operator has listed it.
    pub fn admit(&self, uri: &str) -> Option<Address> {
        let address = Address::parse(uri).ok()?;
        self.0.iter().any(|listed| address.is_within(listed)).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_whole() {
        for (text, expected) in [
            ("http://a.example/x?y", Some("http://a.example:80/x?y")),
            ("https://A.Example", Some("https://a.example:443/")),
            ("http://[::1]:8080/p", Some("http://[::1]:8080/p")),
            ("http://a:0/", None),
            ("http://a:/", None),
            ("http://a:99999/", None),
            ("http://user@a/", None),
            ("http://a/#x", None),
            ("http://a\\@b/", None),
            ("ftp://a/", None),
            ("/only/a/path", None),
            ("http://", None),
            ("http://a/ b", None),
            ("http://a/\r\nHost: b", None),
            ("", None),
        ] {
            let found = Address::parse(text).ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn only_listed_receivers_are_admitted() {
        let listed = ["http://one.example:8080/osci", "https://two.example/"];
        let receivers = Receivers::new(listed.iter().map(|text| text.parse().expect("a URL")).collect());
        for (uri, admitted) in [
            ("http://one.example:8080/osci", true),
            ("http://ONE.example:8080/osci/externalentry", true),
            ("http://one.example:8080/osci?a=b", true),
            ("https://two.example:443/any/where", true),
            ("http://one.example:8080/oscillate", false),
            ("http://one.example:8080/", false),
            ("http://one.example:8080/osci/../admin", false),
            ("http://one.example:8080/osci/%2E%2e/admin", false),
            ("http://one.example:8080/osci/..%2fadmin", false),
            ("http://one.example:8080/osci/..%5Cadmin", false),
            ("http://one.example:8080/osci/..;/admin", false),
            ("http://one.example:8080/osci/..%3b/admin", false),
            ("http://one.example:8080/osci/x%2F..%2f..", false),
            ("http://one.example:8080/osci/%25252e%252e%2fadmin", false),
            ("http://one.example:8080/osci/a..b;c=d%2f...", true),
            ("http://one.example/osci", false),
            ("https://one.example:8080/osci", false),
            ("http://one.example:8080@evil.example/osci", false),
            ("http://evil.example/http://one.example:8080/osci", false),
            ("http://two.example.evil.example/", false),
            ("http://127.0.0.1:9464/", false),
        ] {
            assert_eq!(receivers.admit(uri).is_some(), admitted, "{uri}");
        }
        assert!(Receivers::default().admit("https://two.example/").is_none(), "nothing is listed");
    }
}
