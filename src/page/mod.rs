//! Pages for people: what every page that this house shows has in common, and nothing about any one of them.
//!
//! Plain HTML that works without script, in German and English, held to WCAG 2.2 AA: a way past the header, one main
//! part, one heading of the first order, a style sheet that follows the reader's size, contrast and motion. Nothing is
//! loaded from elsewhere, and the content security policy admits neither style nor script inside a page. [`form`] reads
//! what a browser sends, [`fields`] asks and answers at the field, [`guard`] keeps a session's forms apart from a
//! stranger's. Who may ask what, and what is done with it, is the business of whoever shows the page.

pub mod fields;
pub mod form;
pub mod guard;

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::net::{self, Body};

/// Where [`STYLE`] must be served.
pub const STYLE_PATH: &str = "/style.css";
pub const STYLE: &str = include_str!("style.css");

/// Everything is our own, nothing is inside the page, nobody may frame it, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    German,
    English,
}

/// A sentence in German and English.
pub type Words = [&'static str; 2];

impl Language {
    /// By the page's own `lang`, else by the browser's first wish of the two (Accept-Language, RFC 9110, 12.5.4).
    pub fn pick(asked: Option<&str>, headers: &HeaderMap) -> Self {
        match asked {
            Some("de") => return Self::German,
            Some("en") => return Self::English,
            _ => {}
        }
        let wishes = headers.get("accept-language").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = |wish: &str| match wish.trim().get(..2)?.to_ascii_lowercase().as_str() {
            "de" => Some(Self::German),
            "en" => Some(Self::English),
            _ => None,
        };
        wishes.split(',').take(20).find_map(known).unwrap_or(Self::German)
    }

    pub fn code(self) -> &'static str {
        self.of(["de", "en"])
    }

    pub fn of(self, [german, english]: Words) -> &'static str {
        match self {
            Self::German => german,
            Self::English => english,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::German => Self::English,
            Self::English => Self::German,
        }
    }
}

/// A whole page.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    pub language: Language,
    /// What the house calls itself; stands above every page.
    pub site: &'a str,
    pub title: &'a str,
    /// The same page without its language, as a path; none where it exists in one language.
    pub here: Option<&'a str>,
    /// Path of a script of our own.
    pub script: Option<&'a str>,
    /// HTML behind the heading.
    pub body: &'a str,
    /// HTML beside the language, such as a way to sign out.
    pub beside: &'a str,
}

impl Document<'_> {
    pub fn render(&self) -> String {
        let Self { language, body, beside, .. } = *self;
        let (site, title) = (escaped(self.site), escaped(self.title));
        let skip = language.of(["Zum Inhalt", "Skip to content"]);
        let script = self.script.map(|path| format!("<script src=\"{}\" defer></script>\n", escaped(path)));
        let switch = self.here.map(|here| {
            let other = language.other();
            let join = if here.contains('?') { '&' } else { '?' };
            format!(
                "<nav aria-label=\"{}\"><a href=\"{}{}lang={code}\" lang=\"{code}\" hreflang=\"{code}\">{}</a></nav>\n",
                language.of(["Sprache", "Language"]),
                escaped(here),
                escaped(&join.to_string()),
                other.of(["Deutsch", "English"]),
                code = other.code(),
            )
        });
        format!(
            "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title} - {site}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"stylesheet\" href=\"{STYLE_PATH}\">\n\
             {script}</head>\n<body>\n<a class=\"skip\" href=\"#content\">{skip}</a>\n<header>\n<p>{site}</p>\n\
             <div>\n{beside}{switch}</div>\n</header>\n<main id=\"content\" tabindex=\"-1\">\n<h1>{title}</h1>\n{body}</main>\n\
             </body>\n</html>\n",
            lang = language.code(),
            script = script.unwrap_or_default(),
            switch = switch.unwrap_or_default(),
        )
    }
}

/// For text and for quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// An answer with the headers that every answer of a page has.
pub fn answer(status: StatusCode, media_type: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(net::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

pub fn html(status: StatusCode, page: String) -> Response<Body> {
    answer(status, "text/html; charset=utf-8", page)
}

/// The style sheet; the same for every reader, hence it may be kept for a while.
pub fn style() -> Response<Body> {
    let mut response = answer(StatusCode::OK, "text/css; charset=utf-8", STYLE);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

/// Behind a form that did something: the browser asks for another page, and asking again does nothing twice.
pub fn see_other(path: &str) -> Response<Body> {
    let mut response = answer(StatusCode::SEE_OTHER, "text/html; charset=utf-8", "");
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_pages_then_the_browsers() {
        for (asked, header, expected) in [
            (Some("en"), "de", Language::English),
            (Some("fr"), "en-GB,de;q=0.5", Language::English),
            (None, "fr,en;q=0.8,de;q=0.5", Language::English),
            (None, "fr", Language::German),
            (None, "ä", Language::German),
            (None, "", Language::German),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("accept-language", HeaderValue::from_bytes(header.as_bytes()).expect("a value"));
            assert_eq!(Language::pick(asked, &headers), expected, "{asked:?} {header}");
        }
    }

    #[test]
    fn nothing_of_a_title_is_markup() {
        let page = Document {
            language: Language::English,
            site: "a & b",
            title: "<b>'\"",
            here: Some("/?a=1"),
            script: None,
            body: "<p>x</p>",
            beside: "",
        };
        let page = page.render();
        assert!(page.contains("<h1>&lt;b&gt;&#39;&quot;</h1>"), "{page}");
        assert!(page.contains("href=\"/?a=1&amp;lang=de\""), "{page}");
    }
}
