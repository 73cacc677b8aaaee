//! The EncryptedData element as data: which algorithms, whose keys, where the content is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::rsa::{self, RecipientKey};
use super::stream::{Opening, Written};
use super::{
    ContentKey, ContentMethod, Error, IvLength, KeyTransport, NS_DSIG, NS_OSCI128, NS_XENC, NS_XENC11,
    OaepHash, Plan, Policy, RECIPIENTS_MAX,
};
use crate::mime::transfer::Base64Decoder;
use crate::xml::tree::{Element, Node};
use crate::xml::write::Writer;

const RSA_15: &str = "http://www.w3.org/2001/04/xmlenc#rsa-1_5";
const RSA_OAEP: &str = "http://www.w3.org/2009/xmlenc11#rsa-oaep";
const RSA_OAEP_MGF1P: &str = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p";
const BASE64: &str = "http://www.w3.org/2000/09/xmldsig#base64";

/// Each hash with its digest and, if there is one, its mask generation function.
const HASHES: [(OaepHash, &str, Option<&str>); 7] = [
    (OaepHash::Sha1, "http://www.w3.org/2000/09/xmldsig#sha1", Some("mgf1sha1")),
    (OaepHash::Sha256, "http://www.w3.org/2001/04/xmlenc#sha256", Some("mgf1sha256")),
    (OaepHash::Sha384, "http://www.w3.org/2001/04/xmldsig-more#sha384", Some("mgf1sha384")),
    (OaepHash::Sha512, "http://www.w3.org/2001/04/xmlenc#sha512", Some("mgf1sha512")),
    (OaepHash::Sha3_256, "http://www.w3.org/2007/05/xmldsig-more#sha3-256", None),
    (OaepHash::Sha3_384, "http://www.w3.org/2007/05/xmldsig-more#sha3-384", None),
    (OaepHash::Sha3_512, "http://www.w3.org/2007/05/xmldsig-more#sha3-512", None),
];

/// Where the encrypted content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In CipherValue.
    Inline(Vec<u8>),
    /// In the attachment of this content id, as written behind `cid:`.
    Attachment(String),
}

/// An EncryptedData element whose algorithms the policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedData {
    method: ContentMethod,
    iv: IvLength,
    keys: Vec<EncryptedKey>,
    content: Content,
}

/// The content's key, wrapped for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedKey {
    /// None if the method is not known or not allowed: another recipient may use what we do not.
    transport: Option<KeyTransport>,
    key_info: Option<Element>,
    wrapped: Vec<u8>,
}

impl EncryptedKey {
    /// By which the recipient finds the key.
    pub fn key_info(&self) -> Option<&Element> {
        self.key_info.as_ref()
    }

    /// The recipient's certificate (DER), if KeyInfo holds exactly one and nothing else.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let data = only_child(self.key_info()?).filter(|data| data.is(NS_DSIG, "X509Data"))?;
        only_child(data).filter(|certificate| certificate.is(NS_DSIG, "X509Certificate")).and_then(octets)
    }

    pub fn transport(&self) -> Option<KeyTransport> {
        self.transport
    }

    fn from_element(element: &Element, policy: &Policy) -> Option<Self> {
        Some(Self {
            transport: method(element).and_then(read_transport).filter(|found| found.is_allowed(policy)),
            key_info: element.child(NS_DSIG, "KeyInfo").cloned(),
            wrapped: octets(element.descend(&[(NS_XENC, "CipherData"), (NS_XENC, "CipherValue")])?)?,
        })
    }

    /// Puts the key into `into`, which comes with a random one; that stays if this one does not unwrap.
    fn unwrap(&self, transport: KeyTransport, key: &RecipientKey, into: &mut [u8]) -> Option<()> {
        match transport {
            KeyTransport::Rsa15 => key.pkcs1(&self.wrapped, into),
            KeyTransport::Oaep { digest, mask } => {
                let unwrapped = key.oaep(digest, mask, &self.wrapped)?;
                if unwrapped.len() == into.len() {
                    into.copy_from_slice(&unwrapped);
                }
                Some(())
            }
        }
    }
}

impl EncryptedData {
    pub fn from_element(element: &Element, policy: &Policy) -> Result<Self, Error> {
        Self::read(element, policy).ok_or(Error::Undecryptable)
    }

    fn read(element: &Element, policy: &Policy) -> Option<Self> {
        if !element.is(NS_XENC, "EncryptedData") {
            return None;
        }
        let content_method = method(element)?;
        let method = ContentMethod::from_uri(content_method.attribute("", "Algorithm")?)
            .filter(|method| !method.is_cbc() || policy.cbc)?;
        let iv = match content_method.child(NS_OSCI128, "IvLength") {
            None => policy.iv,
            Some(length) => match length.attribute("", "Value")?.trim() {
                "12" => IvLength::Twelve,
                "16" => IvLength::Sixteen,
                _ => return None,
            },
        };
        let keys = element.child(NS_DSIG, "KeyInfo")?.children_named(NS_XENC, "EncryptedKey");
        let keys =
            keys.take(RECIPIENTS_MAX).filter_map(|key| EncryptedKey::from_element(key, policy)).collect();
        let content = read_content(only_child(element.child(NS_XENC, "CipherData")?)?)?;
        Some(Self { method, iv, keys, content })
    }

    pub fn method(&self) -> ContentMethod {
        self.method
    }

    pub fn iv(&self) -> IvLength {
        self.iv
    }

    pub fn keys(&self) -> &[EncryptedKey] {
        &self.keys
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Begins to decrypt, with one of [`Self::keys`] and the private key it was wrapped for. A key that does not
    /// unwrap is noticed at the end of the content, as is everything else.
    pub fn open<S: std::io::Read + std::io::Write + std::io::Seek + 'static>(
        &self,
        wrapped: &EncryptedKey,
        key: &RecipientKey,
        written: Written,
        spool: S,
    ) -> Result<Opening<S>, Error> {
        let transport = wrapped.transport.ok_or(Error::Undecryptable)?;
        // The method is no secret. From here on a wrong key goes the way of a right one: it is the random one, and the content will not open.
        let mut content_key = ContentKey::random(self.method, self.iv).ok_or(Error::Undecryptable)?;
        let _ = wrapped.unwrap(transport, key, &mut content_key.octets);
        Ok(Opening::new(content_key, written, spool))
    }
}

fn read_content(element: &Element) -> Option<Content> {
    if element.is(NS_XENC, "CipherValue") {
        return octets(element).map(Content::Inline);
    }
    if !element.is(NS_XENC, "CipherReference") {
        return None;
    }
    // Clients declare base64 whether it is so or not; any other transform would be executed by somebody.
    let declared = element
        .children()
        .map(|list| {
            let transform = only_child(list).filter(|one| one.is(NS_DSIG, "Transform"));
            let known = transform.is_some_and(|one| one.attribute("", "Algorithm") == Some(BASE64));
            list.is(NS_XENC, "Transforms") && known
        })
        .collect::<Vec<_>>();
    if !matches!(declared.as_slice(), [] | [true]) {
        return None;
    }
    let id = element.attribute("", "URI")?.strip_prefix("cid:").filter(|id| !id.is_empty())?;
    Some(Content::Attachment(id.to_owned()))
}

fn method(element: &Element) -> Option<&Element> {
    element.child(NS_XENC, "EncryptionMethod")
}

fn only_child(element: &Element) -> Option<&Element> {
    let mut children = element.children();
    children.next().filter(|_| children.next().is_none())
}

fn octets(element: &Element) -> Option<Vec<u8>> {
    if element.nodes().iter().any(|node| matches!(node, Node::Element(_))) {
        return None;
    }
    let mut decoder = Base64Decoder::new();
    let mut octets = Vec::new();
    decoder.decode(element.text().as_bytes(), &mut octets).ok()?;
    decoder.finish().ok()?;
    Some(octets)
}

fn read_transport(method: &Element) -> Option<KeyTransport> {
    let uri = method.attribute("", "Algorithm")?;
    if uri == RSA_15 {
        return Some(KeyTransport::Rsa15);
    }
    if method.child(NS_XENC, "OAEPparams").is_some_and(|label| !label.text_trimmed().is_empty()) {
        return None;
    }
    let digest = match method.child(NS_DSIG, "DigestMethod") {
        None => OaepHash::Sha1,
        Some(element) => {
            let uri = element.attribute("", "Algorithm")?;
            HASHES.iter().find(|(_, digest, _)| *digest == uri)?.0
        }
    };
    let mask = match (uri, method.child(NS_XENC11, "MGF")) {
        (RSA_OAEP_MGF1P | RSA_OAEP, None) => OaepHash::Sha1,
        (RSA_OAEP, Some(element)) => {
            let name = element.attribute("", "Algorithm")?.strip_prefix(NS_XENC11)?;
            HASHES.iter().find(|(.., mask)| *mask == Some(name))?.0
        }
        _ => return None,
    };
    Some(KeyTransport::Oaep { digest, mask })
}

fn write_transport(writer: &mut Writer, digest: OaepHash, mask: OaepHash) -> Option<()> {
    let digest = HASHES.iter().find(|(hash, ..)| *hash == digest)?.1;
    writer.start("xenc:EncryptionMethod");
    if mask == OaepHash::Sha1 {
        // The older name means this mask, and older peers know no other.
        writer.attribute("Algorithm", RSA_OAEP_MGF1P);
    } else {
        let mask = HASHES.iter().find(|(hash, ..)| *hash == mask)?.2?;
        writer.attribute("Algorithm", RSA_OAEP);
        writer.start("xenc11:MGF").namespace("xenc11", NS_XENC11);
        writer.attribute("Algorithm", &format!("{NS_XENC11}{mask}")).end();
    }
    writer.start("ds:DigestMethod").attribute("Algorithm", digest).end().end();
    Some(())
}

pub(super) fn write_inline(plan: &Plan, key: &ContentKey, sealed: &[u8]) -> Result<String, Error> {
    let mut writer = Writer::new();
    writer.start("xenc:EncryptedData").namespace("xenc", NS_XENC).namespace("ds", NS_DSIG);
    writer.start("xenc:EncryptionMethod").attribute("Algorithm", plan.method.uri()).end();
    write_keys(&mut writer, plan, key).ok_or(Error::Encrypting)?;
    writer.start("xenc:CipherData").element("xenc:CipherValue", &STANDARD.encode(sealed));
    Ok(writer.finish())
}

pub(super) fn write_with_reference(
    plan: &Plan,
    key: &ContentKey,
    content_id: &str,
    mime_type: &str,
) -> Result<String, Error> {
    let mut writer = Writer::new();
    writer.start("xenc:EncryptedData").namespace("xenc", NS_XENC).namespace("ds", NS_DSIG);
    writer.attribute("MimeType", mime_type);
    writer.start("xenc:EncryptionMethod").attribute("Algorithm", plan.method.uri());
    if plan.iv == IvLength::Twelve {
        writer.start("osci128:IvLength").namespace("osci128", NS_OSCI128).attribute("Value", "12").end();
    }
    writer.end();
    write_keys(&mut writer, plan, key).ok_or(Error::Encrypting)?;
    writer.start("xenc:CipherData").start("xenc:CipherReference");
    writer.attribute("URI", &format!("cid:{content_id}"));
    writer.start("xenc:Transforms").start("ds:Transform").attribute("Algorithm", BASE64);
    Ok(writer.finish())
}

fn write_keys(writer: &mut Writer, plan: &Plan, key: &ContentKey) -> Option<()> {
    let KeyTransport::Oaep { digest, mask } = plan.transport else { return None };
    writer.start("ds:KeyInfo");
    for recipient in &plan.recipients {
        let wrapped = rsa::wrap(key.octets(), digest, mask, &recipient.spki_der)?;
        writer.start("xenc:EncryptedKey");
        write_transport(writer, digest, mask)?;
        writer.start("ds:KeyInfo").raw(&recipient.key_info).end();
        writer.start("xenc:CipherData").element("xenc:CipherValue", &STANDARD.encode(wrapped)).end().end();
    }
    writer.end();
    Some(())
}
