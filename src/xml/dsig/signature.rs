//! The Signature element as data: first pass of a verification. Everything that is not known is refused, because
//! what a verifier skips, an attacker uses: a second SignedInfo, parameters of algorithms, foreign children.

use std::ops::Range;

use super::{
    BASE64, DigestMethod, ENVELOPED, Error, Limits, NS_DSIG, NS_EXCLUSIVE, SignatureMethod, Target, shortened,
};
use crate::mime::transfer::Base64Decoder;
use crate::xml::c14n;
use crate::xml::read::Event;
use crate::xml::tree::{self, Builder, Element, Node};

/// Canonicalization with the prefix list that the exclusive forms may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonicalization {
    pub algorithm: c14n::Algorithm,
    pub prefix_list: String,
}

impl Default for Canonicalization {
    /// What a reference without transforms means (XML Signature, section 4.4.3.2).
    fn default() -> Self {
        Self { algorithm: c14n::Algorithm::Inclusive, prefix_list: String::new() }
    }
}

/// What is digested of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The element's canonical form; with `enveloped` without the signature inside it.
    Canonical { canonicalization: Canonicalization, enveloped: bool },
    /// The octets of the base64 text in it.
    Base64,
    /// An attachment's octets.
    Octets,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub target: Target,
    pub form: Form,
    pub digest_method: DigestMethod,
    pub digest: Vec<u8>,
}

/// What SignedInfo says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignedInfo {
    pub canonicalization: Canonicalization,
    pub method: SignatureMethod,
    pub references: Vec<Reference>,
}

/// A signature that was found and not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub(super) signed_info: SignedInfo,
    pub(super) value: Vec<u8>,
    pub(super) span: Range<u64>,
    pub(super) signed_info_span: Range<u64>,
    pub(super) limits: Limits,
    key_info: Option<Element>,
}

impl Signature {
    fn from_element(element: &Element, limits: &Limits) -> Result<Self, Error> {
        let mut children = element.children();
        let signed_info = expect(children.next(), "SignedInfo")?;
        let value = expect(children.next(), "SignatureValue")?;
        let mut rest = children.peekable();
        let key_info = rest.next_if(|child| child.is(NS_DSIG, "KeyInfo")).cloned();
        if rest.any(|child| !child.is(NS_DSIG, "Object")) {
            return Err(Error::Malformed("child of Signature that does not belong there"));
        }
        Ok(Self {
            signed_info: SignedInfo::from_element(signed_info, limits)?,
            value: base64(value, "SignatureValue")?,
            span: element.span(),
            signed_info_span: signed_info.span(),
            limits: limits.clone(),
            key_info,
        })
    }

    pub fn method(&self) -> SignatureMethod {
        self.signed_info.method
    }

    pub fn references(&self) -> &[Reference] {
        &self.signed_info.references
    }

    /// For finding the certificate the caller knows; never a source of trust.
    pub fn key_info(&self) -> Option<&Element> {
        self.key_info.as_ref()
    }

    /// The bytes of the Signature element.
    pub fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    /// The attachments to be digested, with the algorithm.
    pub fn attachments(&self) -> impl Iterator<Item = (&str, DigestMethod)> {
        self.references().iter().filter_map(|reference| match &reference.target {
            Target::Attachment(id) => Some((id.as_str(), reference.digest_method)),
            Target::Document | Target::Element(_) => None,
        })
    }
}

/// A Signature element that was found, readable or not: whether one by somebody else, deep in the content, matters is
/// for the caller to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    path: Vec<(String, String)>,
    span: Range<u64>,
    pub signature: Result<Signature, Error>,
}

impl Candidate {
    /// The expanded names (namespace, local) of the elements around the signature, the root first.
    pub fn path(&self) -> &[(String, String)] {
        &self.path
    }

    /// True if the signature is a child of an element of this name.
    pub fn is_in(&self, ns: &str, local: &str) -> bool {
        self.path.last().is_some_and(|(parent_ns, parent)| parent_ns == ns && parent == local)
    }

    /// The bytes of the Signature element.
    pub fn span(&self) -> Range<u64> {
        self.span.clone()
    }
}

impl SignedInfo {
    pub(super) fn from_element(element: &Element, limits: &Limits) -> Result<Self, Error> {
        let mut children = element.children();
        let canonicalization = expect(children.next(), "CanonicalizationMethod")?;
        let method = expect(children.next(), "SignatureMethod")?;
        if method.children().next().is_some() {
            return Err(Error::Malformed("SignatureMethod with parameters"));
        }
        let mut references: Vec<Reference> = Vec::new();
        for child in children {
            let reference = Reference::from_element(expect(Some(child), "Reference")?)?;
            if references.iter().any(|known| known.target == reference.target) {
                return Err(Error::ReferenceTwice(reference.target.to_string()));
            }
            references.push(reference);
            if references.len() > limits.references_max {
                return Err(Error::LimitExceeded {
                    limit: "references of a signature",
                    value: limits.references_max,
                });
            }
        }
        if references.is_empty() {
            return Err(Error::Malformed("SignedInfo without Reference"));
        }
        let (canonicalization, method) = (read_canonicalization(canonicalization)?, algorithm(method)?);
        Ok(Self { canonicalization, method: SignatureMethod::from_uri(method)?, references })
    }
}

impl Reference {
    fn from_element(element: &Element) -> Result<Self, Error> {
        let uri = element.attribute("", "URI").ok_or(Error::Malformed("Reference without URI"))?;
        let target = Target::from_uri(uri)?;
        let mut children = element.children().peekable();
        let transforms = children.next_if(|child| child.is(NS_DSIG, "Transforms"));
        let digest_method = expect(children.next(), "DigestMethod")?;
        if digest_method.children().next().is_some() {
            return Err(Error::Malformed("DigestMethod with parameters"));
        }
        let digest = base64(expect(children.next(), "DigestValue")?, "DigestValue")?;
        if children.next().is_some() {
            return Err(Error::Malformed("child of Reference that does not belong there"));
        }
        let form = read_form(&target, transforms)?;
        let digest_method = DigestMethod::from_uri(algorithm(digest_method)?)?;
        Ok(Self { target, form, digest_method, digest })
    }
}

fn read_form(target: &Target, transforms: Option<&Element>) -> Result<Form, Error> {
    let transforms: Vec<&Element> = transforms.map(|list| list.children().collect()).unwrap_or_default();
    let mut uris = Vec::new();
    for transform in &transforms {
        uris.push(algorithm(expect(Some(transform), "Transform")?)?);
    }
    let refused = || Error::Transforms(shortened(&uris.join(" ")));
    if let Target::Attachment(_) = target {
        return if uris.is_empty() { Ok(Form::Octets) } else { Err(refused()) };
    }
    let enveloped = uris.first() == Some(&ENVELOPED);
    let rest = transforms.get(usize::from(enveloped)..).unwrap_or_default();
    match (rest, uris.last()) {
        ([], _) => Ok(Form::Canonical { canonicalization: Canonicalization::default(), enveloped }),
        ([only], Some(&BASE64)) if !enveloped && only.children().next().is_none() => Ok(Form::Base64),
        ([only], Some(uri)) if c14n::Algorithm::from_uri(uri).is_some() => {
            Ok(Form::Canonical { canonicalization: read_canonicalization(only)?, enveloped })
        }
        _ => Err(refused()),
    }
}

fn read_canonicalization(element: &Element) -> Result<Canonicalization, Error> {
    let uri = algorithm(element)?;
    let algorithm = c14n::Algorithm::from_uri(uri).ok_or_else(|| Error::Algorithm(shortened(uri)))?;
    let mut children = element.children();
    let prefix_list = match children.next() {
        None => String::new(),
        Some(child) if algorithm.is_exclusive() && child.is(NS_EXCLUSIVE, "InclusiveNamespaces") => {
            child.attribute("", "PrefixList").unwrap_or_default().to_owned()
        }
        Some(_) => return Err(Error::Malformed("parameter of a canonicalization")),
    };
    if children.next().is_some() {
        return Err(Error::Malformed("parameter of a canonicalization"));
    }
    Ok(Canonicalization { algorithm, prefix_list })
}

fn expect<'a>(element: Option<&'a Element>, local: &'static str) -> Result<&'a Element, Error> {
    element.filter(|element| element.is(NS_DSIG, local)).ok_or(Error::Malformed(match local {
        "SignedInfo" => "SignedInfo expected",
        "SignatureValue" => "SignatureValue expected",
        "CanonicalizationMethod" => "CanonicalizationMethod expected",
        "SignatureMethod" => "SignatureMethod expected",
        "DigestMethod" => "DigestMethod expected",
        "DigestValue" => "DigestValue expected",
        "Transform" => "Transform expected",
        _ => "Reference expected",
    }))
}

fn algorithm(element: &Element) -> Result<&str, Error> {
    element.attribute("", "Algorithm").ok_or(Error::Malformed("Algorithm is missing"))
}

fn base64(element: &Element, name: &'static str) -> Result<Vec<u8>, Error> {
    if element.nodes().iter().any(|node| matches!(node, Node::Element(_))) {
        return Err(Error::Malformed("element inside a base64 value"));
    }
    let mut decoder = Base64Decoder::new();
    let mut octets = Vec::new();
    let decoded = decoder.decode(element.text().as_bytes(), &mut octets).and_then(|()| decoder.finish());
    decoded.map_err(|_| Error::Base64(name.to_owned()))?;
    if octets.is_empty() {
        return Err(Error::Malformed("empty base64 value"));
    }
    Ok(octets)
}

/// First pass: finds every signature of a document. One inside another signature's Object is not reported.
#[derive(Debug)]
pub struct Collector {
    limits: Limits,
    builder: Builder,
    /// Of the elements around the signature that is being read.
    path: Vec<(String, String)>,
    found: Vec<Candidate>,
}

impl Collector {
    /// `tree` bounds what all signatures together may occupy.
    pub fn new(limits: Limits, tree: tree::Limits) -> Self {
        Self { limits, builder: Builder::new(tree), path: Vec::new(), found: Vec::new() }
    }

    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Error> {
        match event {
            _ if self.builder.is_open() => {}
            Event::Start(start) if start.is(NS_DSIG, "Signature") => {
                self.path = start.context().path();
                self.path.pop();
            }
            _ => return Ok(()),
        }
        if let Some(element) = self.builder.push(event)? {
            let signature = Signature::from_element(&element, &self.limits);
            self.found.push(Candidate {
                path: std::mem::take(&mut self.path),
                span: element.span(),
                signature,
            });
            if self.found.len() > self.limits.signatures_max {
                return Err(Error::LimitExceeded { limit: "signatures", value: self.limits.signatures_max });
            }
        }
        Ok(())
    }

    /// True while a signature is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.builder.is_open()
    }

    /// The signature that was found last.
    pub(super) fn last(&self) -> Option<&Candidate> {
        self.found.last()
    }

    pub(super) fn found(&self) -> usize {
        self.found.len()
    }

    /// The signatures in document order.
    pub fn finish(self) -> Vec<Candidate> {
        self.found
    }
}
