//! What a message carries: an ordered list of parts whose bytes are never touched.
//!
//! The bytes of all parts lie one behind the other in one payload; the manifest says where each begins. Signatures
//! are over bytes, so no part is decoded, re-encoded or repaired here or anywhere else.

use serde::{Deserialize, Serialize};

use super::hex;

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&hex::lower(&self.0))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, out)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex::lower(&digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = super::account::AccountError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        super::account::KeyFingerprint::try_from(text).map(|key| Self(key.0))
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartRole {
    /// The message proper (XTA: ContentContainer/Message).
    Message,
    Attachment,
    /// Content that only the reader can open (XTA: xenc:EncryptedData), as the XML element it came as.
    EncryptedData,
    /// The element `osci:ContentPackage` as it came, for readers who fetch by OSCI: signatures of authors hold only over
    /// these bytes. What of it is in the clear stands before it, as message and attachments.
    OsciPackage,
    /// An attachment of an OSCI delivery that no content in the clear refers to: it belongs to what is encrypted.
    OsciAttachment,
    /// What of an OSCI delivery is neither package nor attachment and goes on with it: certificates, custom headers,
    /// namespaces in scope, header fields of attachments. A JSON document of [`crate::osci::server`].
    OsciFrame,
}

impl PartRole {
    /// Whether the part is content of its own, in whatever protocol; the others are forms of the whole.
    pub fn is_content(self) -> bool {
        matches!(self, Self::Message | Self::Attachment | Self::EncryptedData)
    }
}

/// One part. The attributes are the author's and go back unchanged (XTA: ContentType).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub role: PartRole,
    /// Where the part begins in the payload, and how long it is, in bytes.
    pub offset: u64,
    pub length: u64,
    pub digest: Digest,
    pub content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// The size that the author stated, in his own spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub parts: Vec<Part>,
}

impl Manifest {
    /// Bytes of all parts together.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.length).sum()
    }
}
