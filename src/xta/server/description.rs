//! What the service says about itself: the WSDL and its schemas, with this server's address in them.

use hyper::Uri;

/// Stands in the WSDL where the address goes.
const PLACE: &str = "https://amtsbote.invalid";

const WSDL: &str = include_str!("../../../schemas/xta/2.1.1/xta.wsdl");

const SCHEMAS: [(&str, &str); 8] = [
    ("addressing.xsd", include_str!("../../../schemas/xta/2.1.1/addressing.xsd")),
    ("code.xsd", include_str!("../../../schemas/xta/2.1.1/code.xsd")),
    ("encryption.xsd", include_str!("../../../schemas/xta/2.1.1/encryption.xsd")),
    ("message-box.xsd", include_str!("../../../schemas/xta/2.1.1/message-box.xsd")),
    ("message-metadata.xsd", include_str!("../../../schemas/xta/2.1.1/message-metadata.xsd")),
    ("security-token.xsd", include_str!("../../../schemas/xta/2.1.1/security-token.xsd")),
    ("signature.xsd", include_str!("../../../schemas/xta/2.1.1/signature.xsd")),
    ("xta.xsd", include_str!("../../../schemas/xta/2.1.1/xta.xsd")),
];

/// The document that `?wsdl` or `?xsd=name` asks for.
pub(super) fn find(uri: &Uri, host: Option<&str>) -> Option<String> {
    let query = uri.query()?;
    // HTTP lets quotes and ampersands stand in a path; in XML they would be markup of the asker's making.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%:@".contains(&byte);
    if !uri.path().bytes().all(plain) {
        return None;
    }
    let base = format!("https://{}{}", host_of(host), uri.path().trim_end_matches('/'));
    if query.eq_ignore_ascii_case("wsdl") {
        return Some(with_references(&WSDL.replace(PLACE, &base), &base));
    }
    let (key, name) = query.split_once('=')?;
    if !key.eq_ignore_ascii_case("xsd") {
        return None;
    }
    let (_, schema) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    Some(with_references(schema, &base))
}

/// Points `schemaLocation="name"` at this server.
fn with_references(document: &str, base: &str) -> String {
    SCHEMAS.iter().fold(document.to_owned(), |text, (name, _)| {
        let (from, to) =
            (format!("schemaLocation=\"{name}\""), format!("schemaLocation=\"{base}?xsd={name}\""));
        text.replace(&from, &to)
    })
}

/// The request's Host where it can be nothing but one; it goes into XML that others read.
fn host_of(host: Option<&str>) -> &str {
    let fits = |host: &&str| {
        (1..=255).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    };
    host.filter(fits).unwrap_or("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, host: Option<&str>, expected: Option<&str>) {
        let found = find(&uri.parse().expect("a URI"), host);
        match expected {
            None => assert_eq!(found, None, "{uri}"),
            Some(part) => {
                let found = found.expect("a document");
                assert!(found.contains(part), "{uri}: no {part}");
                assert!(!found.contains(PLACE));
            }
        }
    }

    #[test]
    fn descriptions_name_this_server() {
        check("/xta?wsdl", Some("post.example:8443"), Some("\"https://post.example:8443/xta/SendXtaPort\""));
        check("/xta?WSDL", Some("[::1]:8443"), Some("schemaLocation=\"https://[::1]:8443/xta?xsd=xta.xsd\""));
        check("/xta?wsdl", Some("a\"><evil/>"), Some("\"https://localhost/xta/MsgBoxPort\""));
        check("/?wsdl", None, Some("\"https://localhost/ManagementPort\""));
        for (name, _) in SCHEMAS {
            check(&format!("/xta?xsd={name}"), None, Some("schema"));
        }
        check("/xta?xsd=../../Cargo.toml", None, None);
        check("/xta?xsd", None, None);
        check("/xta\"/x=\"?wsdl", None, None);
        check("/xta&lt;?wsdl", None, None);
        check("/xta", None, None);
    }
}
