//! What clients in the field demand of an answer's bytes and our own liberal reader does not (OSCI12, sections 1.1, 1.2,
//! 2, 4.3, 6 and 8.3): each was measured to make a client refuse the answer. Every answer that a test's client opens is
//! held against it.

use std::collections::BTreeSet;

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// Of the envelope, and so in scope at every content container; nothing may be added.
const SCOPE: [(&str, &str); 5] = [
    ("ds", "http://www.w3.org/2000/09/xmldsig#"),
    ("osci", "http://www.osci.de/2002/04/osci"),
    ("soap", SOAP),
    ("xenc", "http://www.w3.org/2001/04/xmlenc#"),
    ("xsi", "http://www.w3.org/2001/XMLSchema-instance"),
];

/// What of an answer a client would stumble over.
pub fn trouble(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    match parts(bytes) {
        Err(what) => found.push(what),
        Ok(parts) => {
            let mut ids = BTreeSet::new();
            for (at, (headers, _)) in parts.iter().enumerate() {
                fields(at, headers, &mut ids, &mut found);
            }
            match parts.first().map(|(_, body)| std::str::from_utf8(body)) {
                Some(Ok(envelope)) => self::envelope(envelope, &mut found),
                _ => found.push("no envelope in UTF-8".to_owned()),
            }
        }
    }
    found
}

type Part<'a> = (&'a str, &'a [u8]);

/// The parts by the layout of section 1.1, which is stricter than MIME.
fn parts(bytes: &[u8]) -> Result<Vec<Part<'_>>, String> {
    let find = |needle: &[u8], from: usize| {
        bytes[from..].windows(needle.len()).position(|window| window == needle).map(|at| from + at)
    };
    let head_end = find(b"\r\n\r\n", 0).ok_or("no end of the MIME header")?;
    let head = std::str::from_utf8(&bytes[..head_end]).map_err(|_| "a header that is no text")?;
    let boundary = head
        .strip_prefix("MIME-Version: 1.0\r\nContent-Type: Multipart/Related; boundary=")
        .and_then(|rest| rest.strip_suffix("; type=text/xml"))
        .ok_or_else(|| format!("another MIME header: {head:?}"))?;
    if boundary.contains([' ', '"', ';', '\r']) {
        return Err(format!("the boundary {boundary:?}"));
    }
    let (delimiter, end) = (format!("\r\n--{boundary}\r\n"), format!("\r\n--{boundary}--\r\n"));
    if !bytes.ends_with(end.as_bytes()) {
        return Err("no closing delimiter with CRLF at the very end".to_owned());
    }
    let last = bytes.len() - end.len();
    let mut at = head_end + 2;
    if !bytes[at..].starts_with(delimiter.as_bytes()) {
        return Err("a preamble".to_owned());
    }
    let mut parts = Vec::new();
    while at < last {
        let start = at + delimiter.len();
        let body = find(b"\r\n\r\n", start).ok_or("a part without the end of its header")?;
        let headers = std::str::from_utf8(&bytes[start..body]).map_err(|_| "a header that is no text")?;
        let next = find(delimiter.as_bytes(), body).filter(|next| *next < last).unwrap_or(last);
        parts.push((headers, &bytes[body + 4..next]));
        at = next;
    }
    Ok(parts)
}

fn fields(at: usize, headers: &str, ids: &mut BTreeSet<String>, found: &mut Vec<String>) {
    if headers.replace("\r\n", "").contains(['\r', '\n', '\t']) {
        found.push(format!("part {at}: bare line ends or tabs in its header"));
    }
    let field = |name: &str| headers.split("\r\n").find_map(|line| line.strip_prefix(name));
    let (kind, coding) = (field("Content-Type: "), field("Content-Transfer-Encoding: "));
    let codings: &[&str] = if at == 0 { &["8bit"] } else { &["8-bit", "base64", "binary"] };
    // Base64 by its type, as clients before binary parts write it.
    let by_type = at > 0 && (kind, coding) == (Some("text/base64"), Some("7bit"));
    if !by_type && coding.is_none_or(|coding| !codings.contains(&coding)) {
        found.push(format!("part {at}: Content-Transfer-Encoding {coding:?}"));
    }
    if kind.is_none_or(|kind| kind.is_empty() || (at == 0 && kind != "text/xml; charset=UTF-8")) {
        found.push(format!("part {at}: Content-Type {kind:?}"));
    }
    match field("Content-ID: ") {
        Some(id) if id.starts_with('<') && id.ends_with('>') => {
            if at == 0 && id != "<osci@message>" {
                found.push(format!("the envelope's Content-ID is {id}"));
            }
            if !ids.insert(id.to_owned()) {
                found.push(format!("Content-ID {id} twice"));
            }
        }
        other => found.push(format!("part {at}: Content-ID {other:?}")),
    }
}

/// A start tag: its name and its attributes as they are written.
struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
    depth: usize,
}

impl Tag<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn local(&self) -> &str {
        self.name.split_once(':').map_or(self.name, |(_, local)| local)
    }

    fn declared(&self) -> BTreeSet<(&str, &str)> {
        let all = self.attributes.iter();
        all.filter_map(|(name, uri)| Some((name.strip_prefix("xmlns:")?, *uri))).collect()
    }
}

/// The start tags of a document that is known to be well-formed.
fn tags(xml: &str) -> Vec<Tag<'_>> {
    let (mut tags, mut depth, mut rest) = (Vec::new(), 0, xml);
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let mut quote = None;
        let end = rest.bytes().position(|byte| {
            match (quote, byte) {
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                (None, b'>') => return true,
                _ => {}
            }
            false
        });
        let end = end.expect("well-formed");
        let (tag, behind) = (&rest[..end], &rest[end + 1..]);
        rest = behind;
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if tag.starts_with('/') {
            depth -= 1;
            continue;
        }
        let inner = tag.trim_end_matches('/');
        let name_end = inner.find(char::is_whitespace).unwrap_or(inner.len());
        let (name, mut text) = inner.split_at(name_end);
        let mut attributes = Vec::new();
        while let Some((key, value)) = text.split_once('=') {
            let value = value.trim_start();
            let (quote, value) = value.split_at(1);
            let (value, behind) = value.split_once(quote).expect("well-formed");
            attributes.push((key.trim(), value));
            text = behind;
        }
        tags.push(Tag { name, attributes, depth });
        depth += usize::from(!tag.ends_with('/'));
    }
    tags
}

/// Blocks in the order of section 2.1; those that are not named are custom headers, behind all others.
fn rank(block: &str) -> usize {
    match block {
        "ControlBlock" => 0,
        "SupplierSignature" => 1,
        name if name.starts_with("responseTo") => 2,
        "IntermediaryCertificates" => 3,
        "NonIntermediaryCertificates" => 4,
        "FeatureDescription" => 5,
        _ => 6,
    }
}

fn envelope(xml: &str, found: &mut Vec<String>) {
    if !xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>") {
        found.push("no XML declaration".to_owned());
    }
    // What is handed on is its sender's, byte for byte.
    let package = xml.find("ContentPackage").map_or(xml.len(), |at| xml[..at].rfind('<').unwrap_or(at));
    let tags = tags(xml);
    let ours = self::tags_before(&tags, "ContentPackage");
    let Some(top) = ours.first() else { return found.push("no element".to_owned()) };
    let location = top.attribute("xsi:schemaLocation");
    let is_fault = ours.iter().any(|tag| tag.local() == "Fault");
    let is_encrypted = location.is_some_and(|location| location.contains("soapMessageEncrypted.xsd"));
    let fits = location.is_some_and(|location| {
        let named = location.strip_prefix(&format!("{SOAP} soap")).and_then(|rest| {
            rest.strip_suffix(
                ".xsd http://www.w3.org/2000/09/xmldsig# oscisig.xsd http://www.w3.org/2001/04/xmlenc# oscienc.xsd",
            )
        });
        named.is_some_and(|kind| kind == "MessageEncrypted" || kind.starts_with("ResponseTo"))
    });
    if fits == is_fault || is_fault != location.is_none() {
        found.push(format!("schemaLocation {location:?}"));
    }
    for tag in ours {
        for (name, value) in &tag.attributes {
            if value.contains('>') {
                found.push(format!("{} has a > in {name}", tag.name));
            }
        }
    }
    if is_fault || is_encrypted {
        let has_header = ours.iter().any(|tag| tag.depth == 1 && tag.local() == "Header");
        if has_header || (is_encrypted && ours.iter().any(|tag| tag.depth == 1 && !tag.attributes.is_empty()))
        {
            found.push("a header or attributes where there must be none".to_owned());
        }
        return;
    }
    blocks(ours, found);
    scope(&tags, found);
    let signature = xml[..package].find("<ds:KeyInfo>").map(|at| &xml[at..]);
    if signature.is_some_and(|info| !info.starts_with("<ds:KeyInfo><ds:RetrievalMethod URI=\"#")) {
        found.push("the signature's KeyInfo is not a RetrievalMethod alone".to_owned());
    }
}

fn tags_before<'t, 'a>(tags: &'t [Tag<'a>], name: &str) -> &'t [Tag<'a>] {
    let at = tags.iter().position(|tag| tag.local() == name).unwrap_or(tags.len());
    &tags[..at]
}

fn blocks(ours: &[Tag<'_>], found: &mut Vec<String>) {
    let body = ours.iter().filter(|tag| tag.depth == 1 && tag.local() == "Body");
    let body: Vec<_> = body.collect();
    let blocks: Vec<_> = ours.iter().filter(|tag| tag.depth == 2 && !is_in_body(ours, tag)).collect();
    if body.len() != 1 {
        found.push(format!("{} bodies", body.len()));
    }
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for tag in blocks.iter().chain(&body) {
        match tag.attribute("Id") {
            None => found.push(format!("{} has no Id", tag.name)),
            Some(id) if !ids.insert(id.to_owned()) => found.push(format!("Id {id} twice")),
            Some(_) => {}
        }
        if !names.insert(tag.name) && tag.local() != "QualityOfTimestamp" {
            found.push(format!("{} twice", tag.name));
        }
    }
    let order: Vec<_> = blocks.iter().map(|tag| rank(tag.local())).collect();
    if !order.is_sorted() || order.first() != Some(&0) {
        let names: Vec<_> = blocks.iter().map(|tag| tag.name).collect();
        found.push(format!("blocks in another order: {names:?}"));
    }
    for tag in blocks.iter().filter(|tag| rank(tag.local()) < 6) {
        let none = tag.local().ends_with("IntermediaryCertificates");
        let actor = if none {
            "http://www.w3.org/2001/12/soap-envelope/actor/none"
        } else {
            "http://schemas.xmlsoap.org/soap/actor/next"
        };
        let attribute = |name| tag.attribute(&format!("soap:{name}"));
        if attribute("actor").is_some_and(|found| found != actor) || attribute("mustUnderstand") == Some("0")
        {
            found.push(format!("{}: actor {:?}", tag.name, attribute("actor")));
        }
        if tag.local() == "FeatureDescription" && tag.attribute("ChunkMessageTimeOut").is_some() {
            found.push("the schema's spelling of ChunkMessageTimeout".to_owned());
        }
    }
    if ours
        .iter()
        .any(|tag| matches!(tag.local(), "CipherCertificateIntermediary" | "SignatureCertificateAddressee"))
    {
        found.push("a certificate that has no place in an answer".to_owned());
    }
}

fn is_in_body(ours: &[Tag<'_>], tag: &Tag<'_>) -> bool {
    let at = ours.iter().position(|known| std::ptr::eq(known, tag)).unwrap_or_default();
    ours[..at].iter().any(|known| known.depth == 1 && known.local() == "Body")
}

/// One more declaration in scope at a content container, and every author's signature breaks.
fn scope(tags: &[Tag<'_>], found: &mut Vec<String>) {
    let Some(at) = tags.iter().position(|tag| tag.local() == "ContentPackage") else { return };
    let ancestors =
        tags[..at].iter().filter(|tag| tag.depth == 0 || (tag.depth == 1 && tag.local() == "Body"));
    let in_scope: BTreeSet<_> = ancestors.flat_map(|tag| tag.declared()).collect();
    // A sender with other prefixes gets these through; what is ours alone never is in scope.
    let usual: BTreeSet<_> = SCOPE.into_iter().collect();
    for (prefix, uri) in in_scope {
        let local = uri.starts_with("http://xoev.de/transport/osci12/") || uri.ends_with("/xmlenc11#");
        if local || usual.iter().any(|(known, other)| *known == prefix && *other != uri) {
            found.push(format!("xmlns:{prefix}={uri} is in scope at the content"));
        }
    }
}

/// The checker itself: what it must find.
#[test]
fn what_clients_refuse_is_found() {
    let good = concat!(
        "MIME-Version: 1.0\r\nContent-Type: Multipart/Related; boundary=b; type=text/xml\r\n\r\n--b\r\n",
        "Content-Type: text/xml; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\nContent-ID: <osci@message>\r\n\r\n",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\r\n",
        "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" ",
        "xsi:schemaLocation=\"http://schemas.xmlsoap.org/soap/envelope/ soapResponseToFetchDelivery.xsd ",
        "http://www.w3.org/2000/09/xmldsig# oscisig.xsd http://www.w3.org/2001/04/xmlenc# oscienc.xsd\">",
        "<soap:Header><osci:ControlBlock Id=\"a\"></osci:ControlBlock><osci:SupplierSignature Id=\"s\"><ds:KeyInfo>",
        "<ds:RetrievalMethod URI=\"#x\"></ds:RetrievalMethod></ds:KeyInfo></osci:SupplierSignature>",
        "<x:Note Id=\"n\" y=\"z\"></x:Note></soap:Header><soap:Body Id=\"body\"><osci:ContentPackage>",
        "<osci:ContentContainer a=\">\"/></osci:ContentPackage></soap:Body></soap:Envelope>\r\n--b\r\n",
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: 8-bit\r\nContent-ID: <c>\r\n\r\nx\r\n--b--\r\n",
    );
    assert_eq!(trouble(good.as_bytes()), Vec::<String>::new());
    for (from, to) in [
        ("MIME-Version: 1.0\r\n", ""),
        ("--b--\r\n", "--b--"),
        ("\r\n\r\n--b\r\n", "\r\n\r\npreamble\r\n--b\r\n"),
        ("Content-ID: <c>\r\n", ""),
        ("Content-ID: <c>", "Content-ID: <osci@message>"),
        ("Content-Transfer-Encoding: 8-bit\r\n", ""),
        ("Content-Type: text/plain\r\n", ""),
        ("charset=UTF-8", "charset=latin1"),
        ("xsi:schemaLocation", "a:schemaLocation"),
        (" soapResponse", "  soapResponse"),
        ("ControlBlock Id=\"a\"", "ControlBlock"),
        ("Id=\"body\"", "Id=\"a\""),
        ("y=\"z\"", "y=\"a>b\""),
        ("ds:RetrievalMethod", "ds:X509Data"),
        ("<soap:Body Id", "<soap:Body xmlns:o=\"http://xoev.de/transport/osci12/7\" Id"),
        ("osci:SupplierSignature Id=\"s\"", "osci:ControlBlock Id=\"s\""),
        ("<osci:ControlBlock Id=\"a\"></osci:ControlBlock>", ""),
        ("ds:KeyInfo>", "osci:CipherCertificateIntermediary>"),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        assert!(!trouble(bad.as_bytes()).is_empty(), "{from:?} -> {to:?}");
    }
}
