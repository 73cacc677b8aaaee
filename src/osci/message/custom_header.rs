//! Header blocks that OSCI does not know, such as the message metadata of XTA: kept and handed on byte for byte
//! (OSCI12, sections 2 and 8.4).

/// A foreign block as it stood in its envelope. Prefixes it uses may be declared by the envelope alone; whoever
/// splices it writes the declarations of the sender's envelope again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomHeader {
    pub namespace: String,
    pub local: String,
    pub id: String,
    pub xml: String,
}
