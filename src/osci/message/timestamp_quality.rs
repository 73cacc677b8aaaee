//! QualityOfTimestamp: how the times of a process card shall be made, one block for creation and one for reception
//! (OSCI12, section 4.2).

use super::Error;
use super::markup;
use crate::xml::tree::Element;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quality {
    Plain,
    /// By a time stamping authority.
    Cryptographic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Creation,
    Reception,
}

/// The wishes of one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimestampQualities {
    pub creation: Option<Quality>,
    pub reception: Option<Quality>,
}

impl TimestampQualities {
    pub const PLAIN: Self = Self { creation: Some(Quality::Plain), reception: Some(Quality::Plain) };

    /// Adds what a block says; the second one for the same service is refused.
    pub fn add(&mut self, element: &Element) -> Result<(), Error> {
        markup::empty(element)?;
        let invalid = |what| Error::Invalid { what, why: "it is not one of the schema" };
        let quality = match markup::attribute(element, "Quality")? {
            "plain" => Quality::Plain,
            "cryptographic" => Quality::Cryptographic,
            _ => return Err(invalid("Quality")),
        };
        let slot = match markup::attribute(element, "Service")? {
            "creation" => &mut self.creation,
            "reception" => &mut self.reception,
            _ => return Err(invalid("Service")),
        };
        if slot.replace(quality).is_some() {
            return Err(Error::Twice { parent: "Header".into(), element: "QualityOfTimestamp".into() });
        }
        Ok(())
    }

    pub fn iter(self) -> impl Iterator<Item = (Service, Quality)> {
        let creation = self.creation.map(|quality| (Service::Creation, quality));
        creation.into_iter().chain(self.reception.map(|quality| (Service::Reception, quality)))
    }
}

impl Quality {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Cryptographic => "cryptographic",
        }
    }
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::Reception => "reception",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osci::message::markup::testing::element;

    #[test]
    fn one_block_for_each_service() {
        let block = |service: &str, quality: &str| {
            element(&format!("<osci:QualityOfTimestamp Service='{service}' Quality='{quality}'/>"))
        };
        let mut found = TimestampQualities::default();
        found.add(&block("reception", "cryptographic")).expect("taken");
        found.add(&block("creation", "plain")).expect("taken");
        assert_eq!(
            found.iter().map(|(s, q)| (s.name(), q.name())).collect::<Vec<_>>(),
            [("creation", "plain"), ("reception", "cryptographic")]
        );
        for (service, quality) in [("creation", "plain"), ("other", "plain"), ("creation", "other")] {
            assert!(found.add(&block(service, quality)).is_err(), "{service} {quality}");
        }
    }
}
