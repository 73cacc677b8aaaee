//! Who asks: access tokens by client credentials (RFC 6749, 4.4), or a participant's TLS certificate (RFC 8705).
//!
//! A token is signed by the post office, lasts some minutes, and names a client of an account; what the account may do is
//! looked up anew with each request, so that a blocked account or a removed client stops at once. Guesses at secrets are
//! slowed down by address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Door, json};
use crate::domain::account::Account;
use crate::domain::content::Digest;
use crate::net::{Body, Peer};
use crate::pki::inspection::Purpose;
use crate::pki::jose::jws::Unverified;
use crate::pki::tls;
use crate::relay::Relay;
use crate::relay::rate::{Rate, UsedUp};
use crate::report::Loudness;

const TYPE: &str = "at+jwt";
const SEND: &str = "send";
const SUBSCRIBE: &str = "subscribe";
/// Wrong secrets from one address in a minute.
const GUESSES_MAX: u64 = 20;
/// A token may come from a node whose clock runs ahead by so much.
const SKEW_SECONDS: i64 = 30;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    scope: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// A client whose account has been found.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub account: Account,
    /// Which of its clients; absent where a certificate was shown.
    pub client: Option<String>,
    pub sends: bool,
    pub subscribes: bool,
}

impl Caller {
    pub fn must_send(&self) -> Result<(), Problem> {
        self.must(self.sends, "this client may not send applications")
    }

    pub fn must_subscribe(&self) -> Result<(), Problem> {
        self.must(self.subscribes, "this client may not fetch applications")
    }

    fn must(&self, may: bool, words: &str) -> Result<(), Problem> {
        match may {
            true => Ok(()),
            false => Err(Problem::new(StatusCode::FORBIDDEN, "not-allowed", words).with_operator(
                Loudness::Info,
                format!("account {}", self.account.name),
                "see sends and subscribes of its client in the participants' file, and the token's scope",
            )),
        }
    }
}

/// Who has asked how often in this minute: accounts, addresses, and addresses that guess, each by themselves, so that no
/// crowd of one kind uses up what another may ask. The nodes of a store count accounts together, and addresses each for
/// itself: behind a balancer all clients have the same one, and a stranger who uses it up is not to do so at every node.
#[derive(Debug)]
pub(super) struct Rates {
    pub accounts: Buckets,
    pub addresses: Buckets,
    pub guesses: Buckets,
}

impl Rates {
    pub fn of(relay: &Relay) -> Self {
        let alone = |kind| Buckets(Arc::new(Rate::alone(kind, MINUTE)));
        Self {
            accounts: Buckets(relay.rate("portal account", MINUTE)),
            addresses: alone("portal address"),
            guesses: alone("portal guess"),
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Buckets(Arc<Rate>);

impl Buckets {
    /// Counts one more, or refuses.
    pub fn take(&self, key: &impl ToString, max: u64, now: Timestamp) -> Result<(), Problem> {
        self.0.take(&key.to_string(), max, now).map_err(|used_up| limited(max, used_up))
    }

    /// Refuses without counting.
    fn look(&self, key: &impl ToString, max: u64, now: Timestamp) -> Result<(), Problem> {
        self.0.look(&key.to_string(), max, now).map_err(|used_up| limited(max, used_up))
    }
}

/// What an address is counted as: of IPv6 the network of one subscriber (RFC 6177), who has all the addresses in it.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(own) => Ipv6Addr::from_bits(own.to_bits() & (u128::MAX << 64)).into(),
        own => own,
    }
}

fn limited(max: u64, used_up: UsedUp) -> Problem {
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate-limited",
        format!("more than {max} requests in this minute"),
    );
    problem.rate = Some((max, 0, used_up.resets_in));
    problem
}

fn oauth(status: StatusCode, code: &'static str, error: &'static str, words: &str) -> Problem {
    let mut problem = Problem::new(status, code, words);
    problem.oauth = Some(error);
    problem
}

impl Door {
    /// `POST /token`.
    pub(super) async fn issue_token(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        peer: &Peer,
    ) -> Result<Response<Body>, Problem> {
        let now = self.relay.now();
        let malformed =
            |words: &str| oauth(StatusCode::BAD_REQUEST, "invalid-request", "invalid_request", words);
        let form = form(body).ok_or_else(|| malformed("the body is no form"))?;
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if field("grant_type") != Some("client_credentials") {
            return Err(oauth(
                StatusCode::BAD_REQUEST,
                "invalid-request",
                "unsupported_grant_type",
                "only grant_type=client_credentials is served",
            ));
        }
        // What stands before the door may have believed the other one.
        if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
            return Err(malformed("Authorization stands twice"));
        }
        let basic = basic(headers);
        let (id, secret) = match (&basic, field("client_id")) {
            (Some((id, secret)), _) => (id.as_str(), Some(secret.as_str())),
            (None, Some(id)) => (id, field("client_secret")),
            (None, None) => return Err(malformed("client_id is missing")),
        };
        let guesses = network(peer.address.ip());
        self.rates.guesses.look(&guesses, GUESSES_MAX, now)?;
        let directory = self.relay.directory();
        let found = directory.portal_client(id);
        let mut why = "the secret is another one, or there is none".to_owned();
        let proven = match secret {
            Some(secret) => {
                let shown = Digest::of(secret.as_bytes()).0;
                let known = found.and_then(|(_, client)| client.secret_sha256).map(|digest| digest.0);
                // The same work whether the client exists or not.
                let equal = verify_slices_are_equal(&shown, &known.unwrap_or([0; 32])).is_ok();
                equal && known.is_some()
            }
            None => match (found, self.by_certificate(peer)) {
                (Some((account, _)), Ok(shown)) if shown.name == account.name => true,
                (_, shown) => {
                    why = match shown {
                        Ok(shown) => format!("without a secret, its certificate is that of {}", shown.name),
                        Err(what) => format!("without a secret, {what}"),
                    };
                    false
                }
            },
        };
        let (account, client) = match found.filter(|(account, _)| proven && !account.blocked) {
            Some(found) => found,
            None => {
                let _ = self.rates.guesses.take(&guesses, GUESSES_MAX, now);
                return Err(oauth(
                    StatusCode::UNAUTHORIZED,
                    "invalid-client",
                    "invalid_client",
                    "the client is not known, or did not prove who it is",
                )
                .with_operator(
                    Loudness::Info,
                    format!(
                        "client {:?}: {}",
                        id.chars().filter(|c| !c.is_control()).take(128).collect::<String>(),
                        match found {
                            None => "no account has it",
                            Some((account, _)) if account.blocked => "its account is blocked",
                            Some(_) => why.as_str(),
                        }
                    ),
                    "see [[account.portal.client]] and [[account.keys]] in the participants' file",
                ));
            }
        };
        let scope =
            scope(client.sends, client.subscribes && !account.portal.destinations.is_empty(), field("scope"))
                .ok_or_else(|| {
                    oauth(
                        StatusCode::BAD_REQUEST,
                        "invalid-scope",
                        "invalid_scope",
                        "the client may not do what the scope asks for; who subscribes has a destination",
                    )
                })?;
        let lifetime = self.settings.token_seconds;
        let claims = Claims {
            iss: self.settings.base.clone(),
            aud: self.settings.base.clone(),
            sub: client.id.clone(),
            scope: scope.clone(),
            iat: now.as_second(),
            exp: now.as_second().saturating_add(i64::try_from(lifetime).unwrap_or(300)),
            jti: uuid::Uuid::new_v4().to_string(),
        };
        let token = self.sign(TYPE, claims).await?;
        let mut response = json(
            StatusCode::OK,
            &serde_json::json!({
                "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": scope,
            }),
        );
        response
            .headers_mut()
            .insert(hyper::header::CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// The account behind a request, and what it may do.
    pub(super) fn caller(&self, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Problem> {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let caller = match (shown.next(), shown.next()) {
            (Some(value), None) => self.by_token(value.as_bytes())?,
            // What stands before the door may have believed the other one.
            (Some(_), Some(_)) => return Err(invalid("Authorization stands twice")),
            (None, _) => {
                let account = self.by_certificate(peer).map_err(|what| {
                    invalid("no access token").with_operator(
                        Loudness::Info,
                        format!("without a token, {what}"),
                        "clients that show a certificate need no token: see the keys of their account",
                    )
                })?;
                let clients = &account.portal.clients;
                let sends = clients.iter().any(|client| client.sends);
                let subscribes = clients.iter().any(|client| client.subscribes);
                Caller { account, client: None, sends, subscribes }
            }
        };
        self.rates.accounts.take(
            &caller.account.name,
            self.settings.requests_per_minute_max,
            self.relay.now(),
        )?;
        Ok(caller)
    }

    fn by_token(&self, header: &[u8]) -> Result<Caller, Problem> {
        let text = std::str::from_utf8(header).map_err(|_| invalid("the header is no text"))?;
        let token = text
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer "))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| invalid("Authorization is not Bearer"))?;
        let read = Unverified::parse(token, TYPE).map_err(|error| invalid(&error.to_string()))?;
        let other = self.others.believed.iter().find(|key| key.kid() == read.kid);
        let payload = match other {
            Some(key) => read.verify(key).map(<[u8]>::to_vec),
            None => self.key.verify(&read),
        };
        let payload = payload.map_err(|error| invalid(&error.to_string()))?;
        let claims: Claims =
            serde_json::from_slice(&payload).map_err(|_| invalid("its claims cannot be read"))?;
        let now = self.relay.now().as_second();
        if claims.iss != self.settings.base || claims.aud != self.settings.base {
            return Err(invalid("it is for another audience"));
        }
        if claims.exp <= now || claims.iat > now.saturating_add(SKEW_SECONDS) {
            return Err(invalid("it has expired"));
        }
        let directory = self.relay.directory();
        let (account, client) = directory
            .portal_client(&claims.sub)
            .filter(|(account, _)| !account.blocked)
            .ok_or_else(|| invalid("its client is no longer known"))?;
        let has = |scope: &str| claims.scope.split(' ').any(|one| one == scope);
        Ok(Caller {
            account: account.clone(),
            client: Some(client.id.clone()),
            sends: client.sends && has(SEND),
            subscribes: client.subscribes && has(SUBSCRIBE),
        })
    }

    /// The account whose good certificate the connection shows; else what is wrong, for the operator.
    fn by_certificate(&self, peer: &Peer) -> Result<Account, String> {
        let shown = peer.remember(|ders| tls::presented(Some(ders)));
        let chain = shown.as_ref().as_ref().map_err(|error| format!("its certificate: {error}"))?;
        let inspection = (self.trust)()
            .inspect_chain(Purpose::ParticipantTls, chain, self.relay.now())
            .ok_or("no certificate was shown")?;
        if inspection.refusal().is_some() {
            let reasons = inspection.sentences.join("; ");
            // Whoever made the certificate chose these names.
            let words = format!("its certificate {}: {reasons}", inspection.subject);
            return Err(words.chars().filter(|c| !c.is_control()).take(500).collect());
        }
        let directory = self.relay.directory();
        let account = directory.account_by_key(&inspection.key).filter(|account| !account.blocked);
        account
            .cloned()
            .ok_or_else(|| format!("no account has the key {} of its certificate", inspection.key))
    }
}

fn invalid(why: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "token-invalid", format!("the access token is not taken: {why}"))
}

/// What of the wanted may be done; nothing if some of it may not.
fn scope(sends: bool, subscribes: bool, wanted: Option<&str>) -> Option<String> {
    let may: Vec<&str> = [(sends, SEND), (subscribes, SUBSCRIBE)]
        .into_iter()
        .filter(|(may, _)| *may)
        .map(|(_, scope)| scope)
        .collect();
    let wanted: Vec<&str> = wanted.unwrap_or_default().split_whitespace().collect();
    if may.is_empty() || wanted.iter().any(|one| !may.contains(one)) {
        return None;
    }
    Some(if wanted.is_empty() { may.join(" ") } else { wanted.join(" ") })
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case("basic ") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((percent(id)?, percent(secret)?))
}

/// `application/x-www-form-urlencoded`; a field that stands twice is no field.
fn form(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut fields: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (percent(key)?, percent(value)?);
        if fields.iter().any(|(known, _)| *known == key) {
            return None;
        }
        fields.push((key, value));
    }
    Some(fields)
}

/// Percent-decoding, `+` as a space.
pub(super) fn percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_scopes() {
        let fields = form(b"a=1%202+3&b=%C3%A4&c").expect("a form");
        assert_eq!(
            fields,
            [("a".into(), "1 2 3".into()), ("b".into(), "ä".into()), ("c".into(), String::new())]
        );
        for wrong in [&b"a=1&a=2"[..], b"a=%2", b"a=%zz", b"a=%ff", b"\xff"] {
            assert_eq!(form(wrong), None, "{wrong:?}");
        }
        assert_eq!(scope(true, true, None).as_deref(), Some("send subscribe"));
        assert_eq!(scope(true, true, Some("subscribe")).as_deref(), Some("subscribe"));
        assert_eq!(scope(true, false, Some("send subscribe")), None);
        assert_eq!(scope(true, false, Some("admin")), None);
        assert_eq!(scope(false, false, None), None);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_whatever_address_he_takes() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2:ffff::1"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
    }
}
