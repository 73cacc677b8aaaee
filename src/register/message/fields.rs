//! The children of an element, each taken once by name; what is left over was not meant by anybody.
//!
//! Every datum of a question must count, so an element that is not known is refused and not passed over. A feed's
//! record is read with [`Fields::left_over`]: there, what is not known is not kept, and named in the receipt.

use std::cell::Cell;

use super::{Code, Fault};
use crate::register::matching::date::PartialDate;
use crate::register::person::Ags;
use crate::xml::tree::Element;

pub struct Fields<'e> {
    parent: &'e Element,
    children: Vec<(&'e Element, Cell<bool>)>,
}

impl<'e> Fields<'e> {
    pub fn of(parent: &'e Element) -> Self {
        let children = parent.children().map(|child| (child, Cell::new(false))).collect();
        Self { parent, children }
    }

    /// All children of that name.
    pub fn all(&self, name: &'static str) -> Vec<&'e Element> {
        let named = self.children.iter().filter(|(child, _)| child.is("", name));
        named
            .map(|(child, taken)| {
                taken.set(true);
                *child
            })
            .collect()
    }

    pub fn optional(&self, name: &'static str) -> Result<Option<&'e Element>, Fault> {
        match self.all(name)[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(self.fault(name, "occurs twice")),
        }
    }

    pub fn required(&self, name: &'static str) -> Result<&'e Element, Fault> {
        self.optional(name)?.ok_or_else(|| self.fault(name, "is missing"))
    }

    /// Text that must be there, and must not be empty.
    pub fn text(&self, name: &'static str) -> Result<String, Fault> {
        text_of(self.required(name)?)
    }

    /// Text that may be absent; where the element is there, it must not be empty.
    pub fn text_if(&self, name: &'static str) -> Result<Option<String>, Fault> {
        self.optional(name)?.map(text_of).transpose()
    }

    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, Fault> {
        self.text_if(name)?
            .map(|text| match text.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(self.fault(name, "is neither true nor false")),
            })
            .transpose()
    }

    pub fn number(&self, name: &'static str) -> Result<u64, Fault> {
        // The database counts to 2^63.
        let good = |text: String| text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
        good(self.text(name)?).ok_or_else(|| self.fault(name, "is no number"))
    }

    /// `<name><code>…</code></name>`.
    pub fn code_if(&self, name: &'static str) -> Result<Option<String>, Fault> {
        self.optional(name)?.map(|element| Fields::of(element).text("code")).transpose()
    }

    pub fn ags(&self, name: &'static str) -> Result<Ags, Fault> {
        self.code_if(name)?
            .ok_or_else(|| self.fault(name, "is missing"))
            .and_then(|code| Ags::parse(&code).map_err(|_| self.code_fault(name)))
    }

    /// `<name><name>…</name></name>`, as XInneres writes a name; `nichtVorhanden` is DSMeld's `+`.
    pub fn name_if(&self, name: &'static str) -> Result<Option<String>, Fault> {
        self.optional(name)?.map(general_name).transpose()
    }

    pub fn names(&self, name: &'static str) -> Result<Vec<String>, Fault> {
        self.all(name).into_iter().map(general_name).collect()
    }

    pub fn date_if(&self, name: &'static str) -> Result<Option<PartialDate>, Fault> {
        self.optional(name)?.map(partial_date).transpose()
    }

    pub fn dates(&self, name: &'static str) -> Result<Vec<PartialDate>, Fault> {
        self.all(name).into_iter().map(partial_date).collect()
    }

    /// Nothing may be left.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.children.iter().find(|(_, taken)| !taken.get()) {
            None => Ok(()),
            Some(_) => {
                let why = format!("{} holds an element that this version does not know", self.parent.local());
                Err(Fault::new(Code::X001, why))
            }
        }
    }

    /// Names of what nobody took, each once. They are the sender's words, and bounded.
    pub fn left_over(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .children
            .iter()
            .filter(|(_, taken)| !taken.get())
            .map(|(child, _)| child.local().chars().take(60).collect())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub fn fault(&self, name: &str, what: &str) -> Fault {
        Fault::new(Code::X001, format!("{}/{name} {what}", self.parent.local()))
    }

    pub fn code_fault(&self, name: &str) -> Fault {
        Fault::new(Code::S011, format!("{}/{name} is not in its code list", self.parent.local()))
    }
}

/// The element's text: not empty, and of characters that names in the administration have.
pub fn text_of(element: &Element) -> Result<String, Fault> {
    if element.children().next().is_some() {
        return Err(Fault::new(Code::X001, format!("{} must hold text alone", element.local())));
    }
    let text = element.text_trimmed();
    if text.is_empty() {
        return Err(Fault::new(Code::S030, format!("{} is empty", element.local())));
    }
    if !text.chars().all(is_latin) {
        let why = format!("{} has a character that DIN 91379, data type C, does not have", element.local());
        return Err(Fault::new(Code::X001, why));
    }
    Ok(text)
}

fn general_name(element: &Element) -> Result<String, Fault> {
    let fields = Fields::of(element);
    let name = fields.text_if("name")?;
    let none = fields.flag("nichtVorhanden")?;
    fields.finish()?;
    match (name, none) {
        (Some(name), None) => Ok(name),
        (None, Some(true)) => Ok("+".to_owned()),
        _ => Err(Fault::new(Code::X001, format!("{} holds no name", element.local()))),
    }
}

/// `teilbekanntesDatum` with `jahrMonatTag`, `jahrMonat` or `jahr`; or `unbekannt`.
fn partial_date(element: &Element) -> Result<PartialDate, Fault> {
    let bad = || Fault::new(Code::X001, format!("{} is no date", element.local()));
    let fields = Fields::of(element);
    let unknown = fields.flag("unbekannt")?;
    let known = fields.optional("teilbekanntesDatum")?;
    fields.finish()?;
    match (known, unknown) {
        (None, Some(true)) => Ok(PartialDate::UNKNOWN),
        (Some(known), None) => {
            let parts = Fields::of(known);
            let shapes = [("jahrMonatTag", 10), ("jahrMonat", 7), ("jahr", 4)];
            let mut found = Vec::new();
            for (name, length) in shapes {
                found.extend(parts.text_if(name)?.map(|text| (text, length)));
            }
            parts.finish()?;
            match &found[..] {
                [(text, length)] if text.len() == *length => text.parse().map_err(|_| bad()),
                _ => Err(bad()),
            }
        }
        _ => Err(bad()),
    }
}

/// Characters of DIN 91379 (data types A to C), by their blocks: the blocks have no unassigned places.
fn is_latin(c: char) -> bool {
    matches!(c,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{a0}'..='\u{24f}' | '\u{259}' | '\u{292}'
        | '\u{2b9}'..='\u{2cc}' | '\u{2d9}'..='\u{2dd}' | '\u{300}'..='\u{36f}' | '\u{1e00}'..='\u{1eff}'
        | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{203a}' | '\u{2044}' | '\u{2070}' | '\u{2074}' | '\u{207f}'..='\u{2084}'
        | '\u{20ac}' | '\u{2122}' | '\u{221e}' | '\u{2264}' | '\u{2265}')
}
