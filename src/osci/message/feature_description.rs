//! FeatureDescription: what the sender of a message understands beyond the specification of 2002 (OSCI12, section 4.4).

use super::Error;
use super::markup::{self, Fields};
use super::names::NS_OSCI2017;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

const FEATURES_MAX: usize = 64;
const FEATURE_BYTES_MAX: usize = 256;

/// What [`FeatureDescription`] can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Parts that are not base64 are understood.
    DisableBase64,
    OaepEncryption,
    Sha3HashAlgo,
    /// AES-GCM.
    GcmPaddingModus,
    PartialMessageTransmission,
    /// An initialisation vector of 12 bytes.
    Support96Bit12ByteIv,
}

impl Feature {
    pub const ALL: [Self; 6] = [
        Self::DisableBase64,
        Self::OaepEncryption,
        Self::Sha3HashAlgo,
        Self::GcmPaddingModus,
        Self::PartialMessageTransmission,
        Self::Support96Bit12ByteIv,
    ];

    pub fn key(self) -> &'static str {
        match self {
            Self::DisableBase64 => "DisableBase64",
            Self::OaepEncryption => "OAEPEncryption",
            Self::Sha3HashAlgo => "SHA3HashAlgo",
            Self::GcmPaddingModus => "GCMPaddingModus",
            Self::PartialMessageTransmission => "PartialMessageTransmission",
            Self::Support96Bit12ByteIv => "Support96Bit12ByteIV",
        }
    }

    /// The version under which clients list it.
    pub fn version(self) -> &'static str {
        match self {
            Self::DisableBase64 => "1.2.0",
            Self::OaepEncryption => "1.6.0",
            Self::Sha3HashAlgo => "1.6.3",
            Self::GcmPaddingModus => "1.7.0",
            Self::PartialMessageTransmission => "1.8.0",
            Self::Support96Bit12ByteIv => "1.9.0",
        }
    }
}

/// Sizes are kilobytes. What is listed may be unknown to us, and then it is kept and ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeatureDescription {
    pub chunk_kilobytes_min: Option<u64>,
    pub chunk_kilobytes_max: Option<u64>,
    pub message_kilobytes_max: Option<u64>,
    /// Milliseconds.
    pub chunk_timeout: Option<u64>,
    /// Key and version.
    pub features: Vec<(String, String)>,
}

impl FeatureDescription {
    /// Lists these features and no sizes.
    pub fn of(features: impl IntoIterator<Item = Feature>) -> Self {
        let pair = |feature: Feature| (feature.key().to_owned(), feature.version().to_owned());
        Self { features: features.into_iter().map(pair).collect(), ..Self::default() }
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.features.iter().any(|(key, _)| key == feature.key())
    }

    pub fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let mut listed = match fields.optional(NS_OSCI2017, "SupportedFeatures")? {
            Some(supported) => Fields::of(supported)?,
            None => {
                return Err(Error::Missing {
                    parent: "FeatureDescription".to_owned(),
                    element: "SupportedFeatures".to_owned(),
                });
            }
        };
        fields.finish()?;
        let mut features = Vec::new();
        for feature in listed.all(NS_OSCI2017, "Feature") {
            markup::empty(feature)?;
            let value = |local| {
                markup::bounded("Feature", FEATURE_BYTES_MAX, markup::attribute(feature, local)?.to_owned())
            };
            features.push((value("Key")?, value("Version")?));
        }
        listed.finish()?;
        if features.len() > FEATURES_MAX {
            return Err(Error::TooLong { what: "Feature elements", max: FEATURES_MAX, seen: features.len() });
        }
        // The library and the schema spell it differently.
        let timeout = match number(element, "ChunkMessageTimeout")? {
            Some(timeout) => Some(timeout),
            None => number(element, "ChunkMessageTimeOut")?,
        };
        Ok(Self {
            chunk_kilobytes_min: number(element, "MinChunkSize")?,
            chunk_kilobytes_max: number(element, "MaxChunkSize")?,
            message_kilobytes_max: number(element, "MaxMessageSize")?,
            chunk_timeout: timeout,
            features,
        })
    }

    /// Attributes stand in alphabetical order with that of the block.
    pub fn write_attributes(&self, writer: &mut Writer, id: &str) {
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        writer.attribute_if("ChunkMessageTimeout", text(self.chunk_timeout).as_deref());
        writer.attribute("Id", id);
        writer.attribute_if("MaxChunkSize", text(self.chunk_kilobytes_max).as_deref());
        writer.attribute_if("MaxMessageSize", text(self.message_kilobytes_max).as_deref());
        writer.attribute_if("MinChunkSize", text(self.chunk_kilobytes_min).as_deref());
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.start("osci2017:SupportedFeatures");
        for (key, version) in &self.features {
            writer.start("osci2017:Feature").attribute("Key", key).attribute("Version", version).end();
        }
        writer.end();
    }
}

fn number(element: &Element, local: &str) -> Result<Option<u64>, Error> {
    let Some(text) = element.attribute("", local) else { return Ok(None) };
    let parsed = text.trim().parse().map_err(|_| Error::Invalid {
        what: "attribute of FeatureDescription",
        why: "it is not a positive number",
    })?;
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osci::message::markup::testing::element;

    #[test]
    fn descriptions_of_the_field() {
        let read = |attributes: &str, inside: &str| {
            FeatureDescription::read(&element(&format!(
                "<osci2017:FeatureDescription Id='f' {attributes}><osci2017:SupportedFeatures>{inside}\
                 </osci2017:SupportedFeatures></osci2017:FeatureDescription>"
            )))
        };
        let unknown = "<osci2017:Feature Key='Teleport' Version='9'/>";
        let gcm = "<osci2017:Feature Key='GCMPaddingModus' Version='1.7.0'/>";
        for (attributes, inside, expected) in [
            (
                "MaxChunkSize='5' MinChunkSize='1' MaxMessageSize='9' ChunkMessageTimeout='60'",
                gcm,
                Some((Some(60), true)),
            ),
            ("ChunkMessageTimeOut='61'", unknown, Some((Some(61), false))),
            ("", "", Some((None, false))),
            ("MaxChunkSize='-5'", gcm, None),
            ("", "<osci2017:Feature Version='1'/>", None),
            ("", "<osci2017:Other/>", None),
            ("", "text", None),
        ] {
            let found = read(attributes, inside).ok();
            let found = found.map(|found| (found.chunk_timeout, found.has(Feature::GcmPaddingModus)));
            assert_eq!(found, expected, "{attributes} {inside}");
        }
        assert!(read("", &gcm.repeat(FEATURES_MAX + 1)).is_err());
        assert!(FeatureDescription::of(Feature::ALL).has(Feature::Support96Bit12ByteIv));
    }
}
