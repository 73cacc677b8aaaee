//! What a browser sends: `application/x-www-form-urlencoded` and `multipart/form-data` (RFC 7578), as a whole and
//! within a bound. Fields that come twice are kept in their order; text that is not UTF-8 refuses the form.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use memchr::memmem;
use thiserror::Error;

use crate::net::Body;

/// Fields and files of one form.
const PARTS_MAX: usize = 200;
const PART_HEADER_BYTES_MAX: usize = 4096;

#[derive(Debug, Error)]
pub enum FormError {
    #[error("the form has more than {max} bytes")]
    TooLarge { max: usize },
    #[error("the form cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the form is sent in a way that is not taken")]
    MediaType,
    #[error("the form ended early: {0}")]
    Broken(std::io::Error),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// As the browser says, without any path.
    pub name: String,
    pub media_type: String,
    pub bytes: Bytes,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    texts: Vec<(String, String)>,
    files: Vec<(String, File)>,
}

impl Form {
    /// The first field of that name, without white space around it; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.texts.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.trim())
    }

    /// Of fields that did not come from a browser, such as a line of a table.
    pub fn of(texts: Vec<(String, String)>) -> Self {
        Self { texts, files: Vec::new() }
    }

    /// This form, with the fields of another going before its own.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        Self { texts: more.texts.iter().chain(&self.texts).cloned().collect(), files: Vec::new() }
    }

    /// A file that was chosen; a field left empty is none.
    pub fn file(&self, name: &str) -> Option<&File> {
        let found = self.files.iter().find(|(known, _)| known == name).map(|(_, file)| file);
        found.filter(|file| !file.name.is_empty() || !file.bytes.is_empty())
    }

    /// From a query, or from a body of that media type.
    pub fn decoded(text: &str) -> Result<Self, FormError> {
        let mut form = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if form.texts.len() == PARTS_MAX {
                return Err(FormError::Malformed("it has too many fields"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            form.texts.push((decoded(name)?, decoded(value)?));
        }
        Ok(form)
    }

    fn multipart(body: &Bytes, boundary: &str) -> Result<Self, FormError> {
        let malformed = |what| FormError::Malformed(what);
        let mut form = Self::default();
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(&delimiter);
        let first = delimiter.trim_start();
        let mut at = match body.starts_with(first.as_bytes()) {
            true => first.len(),
            false => finder.find(body).ok_or_else(|| malformed("it has no parts"))? + delimiter.len(),
        };
        loop {
            let rest = &body[at..];
            if rest.starts_with(b"--") {
                return Ok(form);
            }
            if !rest.starts_with(b"\r\n") || form.texts.len() + form.files.len() == PARTS_MAX {
                return Err(malformed("its parts are not divided as they should be, or are too many"));
            }
            let end = finder.find(rest).ok_or_else(|| malformed("its last part does not end"))?;
            let part = &rest[..end];
            let head = part[..part.len().min(PART_HEADER_BYTES_MAX)].to_vec();
            let head_end =
                memmem::find(&head, b"\r\n\r\n").ok_or_else(|| malformed("a part has no header"))?;
            let head = std::str::from_utf8(&head[..head_end])
                .map_err(|_| malformed("a part's header is no UTF-8"))?;
            let content = body.slice(at + head_end + 4..at + end);
            form.take(head, content)?;
            at += end + delimiter.len();
        }
    }

    fn take(&mut self, head: &str, content: Bytes) -> Result<(), FormError> {
        let (mut name, mut file_name, mut media_type) = (None, None, "application/octet-stream".to_owned());
        for line in head.lines() {
            let Some((header, value)) = line.split_once(':') else { continue };
            if header.trim().eq_ignore_ascii_case("content-disposition") {
                name = quoted(value, "name");
                file_name = quoted(value, "filename");
            } else if header.trim().eq_ignore_ascii_case("content-type") {
                media_type = value.trim().to_owned();
            }
        }
        let name = name.ok_or(FormError::Malformed("a part has no name"))?;
        match file_name {
            Some(path) => {
                let bare = path.rsplit(['/', '\\']).next().unwrap_or_default();
                let name_of_file = bare.chars().filter(|c| !c.is_control()).collect();
                self.files.push((name, File { name: name_of_file, media_type, bytes: content }));
            }
            None => {
                let text =
                    std::str::from_utf8(&content).map_err(|_| FormError::Malformed("a field is no UTF-8"))?;
                self.texts.push((name, text.to_owned()));
            }
        }
        Ok(())
    }
}

/// Reads a form; `bytes_max` is what its body may have.
pub async fn read(headers: &HeaderMap, body: &mut Body, bytes_max: usize) -> Result<Form, FormError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(FormError::Broken)?;
        if let Some(data) = frame.data_ref() {
            if all.len() + data.len() > bytes_max {
                drained(body, bytes_max).await;
                return Err(FormError::TooLarge { max: bytes_max });
            }
            all.extend_from_slice(data);
        }
    }
    let (bare, parameters) = kind.split_once(';').unwrap_or((&kind, ""));
    match bare.trim().to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" => {
            let text = std::str::from_utf8(&all).map_err(|_| FormError::Malformed("it is no UTF-8"))?;
            Form::decoded(text)
        }
        "multipart/form-data" => {
            let boundary = parameters
                .split(';')
                .find_map(|one| one.trim().strip_prefix("boundary="))
                .map(|value| value.trim_matches('"'))
                .filter(|value| !value.is_empty() && value.len() <= 70)
                .ok_or(FormError::Malformed("it has no boundary"))?;
            Form::multipart(&all.freeze(), boundary)
        }
        _ => Err(FormError::MediaType),
    }
}

/// A browser shows an answer only when it has sent all: so much again is read and forgotten.
async fn drained(body: &mut Body, bytes_max: usize) {
    let mut left = bytes_max.saturating_mul(4);
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            break;
        }
    }
}

/// A parameter in quotes; browsers write `"`, CR and LF of a name as %22, %0D, %0A (HTML, 4.10.22.8).
fn quoted(value: &str, name: &str) -> Option<String> {
    let mut rest = value;
    loop {
        let at = rest.find(&format!("{name}=\""))?;
        let fits = rest[..at].ends_with([' ', ';']);
        rest = &rest[at + name.len() + 2..];
        if fits {
            let text = &rest[..rest.find('"')?];
            return Some(text.replace("%22", "\"").replace("%0D", " ").replace("%0A", " "));
        }
    }
}

fn decoded(text: &str) -> Result<String, FormError> {
    let malformed = FormError::Malformed("a percent sign is not followed by two hexadecimal digits");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(malformed) };
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| FormError::Malformed("a field is no UTF-8"))
}

/// For a query.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(kind: &str, body: &str, max: usize) -> Result<Form, FormError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
        read(&headers, &mut crate::net::full(body.to_owned()), max).await
    }

    #[tokio::test]
    async fn both_forms_of_a_form_are_read() {
        let form = sent("application/x-www-form-urlencoded", "a=M%C3%BCller+%26+Co&b=&c", 100).await;
        let form = form.expect("a form");
        assert_eq!(
            (form.text("a"), form.text("b"), form.text("c"), form.text("d")),
            ("Müller & Co", "", "", "")
        );
        let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n 1\r\n2 \r\n--x\r\ncontent-disposition: \
                    form-data; filename=\"C:\\p\\q%22.pdf\"; name=\"f\"\r\nContent-Type: \
                    application/pdf\r\n\r\n\r\n--y\r\n--x\r\nContent-Disposition: form-data; name=\"g\"; \
                    filename=\"\"\r\n\r\n\r\n--x--\r\n";
        let form = sent("multipart/form-data; boundary=x", body, 1000).await.expect("a form");
        assert_eq!(form.text("a"), "1\r\n2");
        let file = form.file("f").expect("a file");
        assert_eq!((file.name.as_str(), file.media_type.as_str()), ("q\".pdf", "application/pdf"));
        assert_eq!(&file.bytes[..], b"\r\n--y");
        assert_eq!(form.file("g"), None, "nothing was chosen");
    }

    #[tokio::test]
    async fn bad_forms_are_refused() {
        let many = "a=1&".repeat(PARTS_MAX + 1);
        for (kind, body, words) in [
            ("application/x-www-form-urlencoded", "a=%4", "percent"),
            ("application/x-www-form-urlencoded", "a=%FF", "no UTF-8"),
            ("application/x-www-form-urlencoded", many.as_str(), "too many"),
            ("application/json", "{}", "not taken"),
            ("multipart/form-data", "--x--", "no boundary"),
            ("multipart/form-data; boundary=x", "--y--", "no parts"),
            ("multipart/form-data; boundary=x", "--x\r\nA: b\r\n\r\n1", "does not end"),
            ("multipart/form-data; boundary=x", "--x\r\n1\r\n--x--", "no header"),
            ("multipart/form-data; boundary=x", "--x\r\nA: b\r\n\r\n1\r\n--x--", "no name"),
            ("multipart/form-data; boundary=x", "--xA: b\r\n\r\n1\r\n--x--", "not divided"),
        ] {
            let error = sent(kind, body, 1000).await.expect_err(words).to_string();
            assert!(error.contains(words), "{body:.40}: {error}");
        }
        assert!(matches!(
            sent("multipart/form-data; boundary=x", &"x".repeat(1001), 1000).await,
            Err(FormError::TooLarge { max: 1000 })
        ));
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
    }
}
