//! exitDialog and its answer (OSCI12, section 5). The request is an empty element.

use super::Error;
use super::feedback::Feedback;
use super::markup::Fields;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseToExitDialog {
    pub feedback: Feedback,
}

impl ResponseToExitDialog {
    pub(super) fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let feedback = Feedback::take(&mut fields)?;
        fields.finish()?;
        Ok(Self { feedback })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.feedback.write(writer);
    }
}
