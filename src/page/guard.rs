//! Sessions and the tokens of their forms, so that no other site can send a form in a reader's name.
//!
//! A session is a cookie that names nothing but itself and, where somebody signed in, who: signed with a key that lives
//! as long as the process, so that nothing is kept here but which sessions were ended before their time. A form's token is made from its session's id. After a restart
//! both are void: forms are shown once more, and who had signed in signs in again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{COOKIE, HeaderMap, HeaderValue};
use jiff::Timestamp;

const ID_BYTES: usize = 16;
const TOKEN: &[u8] = b"form token";
const COOKIES_BYTES_MAX: usize = 8192;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    id: String,
    /// Who signed in; empty where nobody did.
    pub user: String,
    until: Timestamp,
}

pub struct Guard {
    key: hmac::Key,
    /// Sessions that were ended, by id, until they would have been over.
    ended: Mutex<HashMap<String, Timestamp>>,
    name: &'static str,
    secure: bool,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Guard({})", self.name)
    }
}

impl Guard {
    /// `secure` where the page is reached by TLS: then the cookie goes nowhere else.
    pub fn new(secure: bool) -> std::io::Result<Self> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| std::io::Error::other("the machine has no random numbers to give"))?;
        let name = if secure { "__Host-session" } else { "session" };
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret), ended: Mutex::default(), name, secure })
    }

    pub fn begin(&self, user: &str, until: Timestamp) -> std::io::Result<Session> {
        let mut id = [0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|_| std::io::Error::other("the machine has no random numbers to give"))?;
        Ok(Session { id: URL_SAFE_NO_PAD.encode(id), user: user.to_owned(), until })
    }

    /// The session that a request belongs to, if it is ours and not over.
    pub fn session(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        cookies.filter(|line| line.len() <= COOKIES_BYTES_MAX).flat_map(|line| line.split(';')).find_map(
            |one| {
                let value = one.trim().strip_prefix(self.name)?.strip_prefix('=')?;
                self.opened(value).filter(|session| session.until > now && !self.has_ended(session))
            },
        )
    }

    /// Its cookie is worth nothing from here on, whoever has a copy.
    pub fn end(&self, session: &Session, now: Timestamp) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, until| *until > now);
        ended.insert(session.id.clone(), session.until);
    }

    fn has_ended(&self, session: &Session) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&session.id)
    }

    fn opened(&self, value: &str) -> Option<Session> {
        let (text, tag) = value.rsplit_once('.')?;
        hmac::verify(&self.key, text.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let mut parts = text.split('.');
        let (id, until, user) = (parts.next()?, parts.next()?, parts.next()?);
        let user = String::from_utf8(URL_SAFE_NO_PAD.decode(user).ok()?).ok()?;
        let until = Timestamp::from_second(until.parse().ok()?).ok()?;
        Some(Session { id: id.to_owned(), user, until })
    }

    pub fn cookie(&self, session: &Session) -> Option<HeaderValue> {
        let user = URL_SAFE_NO_PAD.encode(&session.user);
        let text = format!("{}.{}.{user}", session.id, session.until.as_second());
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, text.as_bytes()));
        self.header(&format!("{text}.{tag}"), "")
    }

    /// Takes the cookie back.
    pub fn no_cookie(&self) -> Option<HeaderValue> {
        self.header("", "; Max-Age=0")
    }

    // Lax: whoever comes back from a payment service is still signed in, and forms have tokens.
    fn header(&self, value: &str, more: &str) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        HeaderValue::from_str(&format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}", self.name))
            .ok()
    }

    /// What a form of this session carries.
    pub fn token(&self, session: &Session) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, &[TOKEN, session.id.as_bytes()].concat()))
    }

    pub fn admits(&self, session: &Session, token: &str) -> bool {
        let Ok(token) = URL_SAFE_NO_PAD.decode(token) else { return false };
        hmac::verify(&self.key, &[TOKEN, session.id.as_bytes()].concat(), &token).is_ok()
    }
}

/// The browser says that another site makes it send this (Fetch Metadata, `Sec-Fetch-Site`). No form of ours is sent so;
/// older browsers do not say it, and for them the tokens stand.
pub fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

impl Session {
    /// Two sessions never have the same.
    pub fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(cookie: &HeaderValue) -> HeaderMap {
        let text = cookie.to_str().expect("text");
        let pair = text.split(';').next().unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("other=1; {pair}").parse().expect("a value"));
        headers
    }

    #[test]
    fn no_other_site_sends_our_forms() {
        for (site, expected) in [
            (None, false),
            (Some("same-origin"), false),
            (Some("none"), false),
            (Some("same-site"), true),
            (Some("cross-site"), true),
        ] {
            let mut headers = HeaderMap::new();
            site.map(|site| headers.insert("sec-fetch-site", HeaderValue::from_static(site)));
            assert_eq!(is_from_elsewhere(&headers), expected, "{site:?}");
        }
    }

    #[test]
    fn a_session_is_believed_only_from_its_guard_and_in_its_time() {
        let now: Timestamp = "2026-11-29T03:00:00Z".parse().expect("an instant");
        let guard = Guard::new(true).expect("a guard");
        let session =
            guard.begin("a.b@c", "2026-11-29T04:00:00Z".parse().expect("an instant")).expect("begun");
        let cookie = guard.cookie(&session).expect("a cookie");
        assert!(cookie.to_str().expect("text").contains("; Secure"), "{cookie:?}");
        let headers = carried(&cookie);
        assert_eq!(guard.session(&headers, now).as_ref(), Some(&session));
        assert_eq!(guard.session(&headers, "2026-11-29T04:00:00Z".parse().expect("an instant")), None);
        assert_eq!(Guard::new(true).expect("a guard").session(&headers, now), None, "of another process");
        let forged = cookie.to_str().expect("text").replace(&URL_SAFE_NO_PAD.encode("a.b@c"), "YWRtaW4");
        assert_eq!(guard.session(&carried(&forged.parse().expect("a value")), now), None, "of another user");
        let other = guard.begin("a.b@c", now).expect("begun");
        assert!(guard.admits(&session, &guard.token(&session)));
        assert!(!guard.admits(&session, &guard.token(&other)) && !guard.admits(&session, ""));
        assert_eq!(guard.session(&carried(&guard.no_cookie().expect("a cookie")), now), None);
        guard.end(&session, now);
        assert_eq!(guard.session(&headers, now), None, "a copy of the cookie");
    }
}
