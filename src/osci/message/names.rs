//! Namespaces of OSCI-Transport 1.2.

pub use crate::xml::dsig::NS_DSIG;
pub use crate::xml::enc::{NS_XENC, NS_XENC11};

pub const NS_SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub const NS_OSCI: &str = "http://www.osci.de/2002/04/osci";
pub const NS_XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// FeatureDescription and partial deliveries.
pub const NS_OSCI2017: &str = "http://xoev.de/transport/osci12/7";
/// IvLength.
pub const NS_OSCI128: &str = "http://xoev.de/transport/osci12/8";

/// The prefixes that every known client declares on the envelope, in their order.
pub const STANDARD: [(&str, &str); 5] =
    [("ds", NS_DSIG), ("osci", NS_OSCI), ("soap", NS_SOAP), ("xenc", NS_XENC), ("xsi", NS_XSI)];
