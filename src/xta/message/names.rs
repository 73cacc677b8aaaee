//! Namespaces of XTA 2 web service 2.1.1 and the prefixes that our answers declare for them.

pub const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
pub const WSA: &str = "http://www.w3.org/2005/08/addressing";
pub const XTA: &str = "http://xoev.de/transport/xta/211";
/// MessageMetaData and its parts.
pub const OSCIMETA: &str = "http://www.osci.eu/ws/2014/10/transport";
/// The message box.
pub const OSCI: &str = "http://www.osci.eu/ws/2008/05/transport";
pub const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub const XOP: &str = "http://www.w3.org/2004/08/xop/include";
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// The children `code` and `name` of every code type.
pub const NONE: &str = "";

/// Declared once, on the envelope, so that the rest of an answer names things briefly.
pub const PREFIXES: [(&str, &str); 5] =
    [("soap", SOAP), ("wsa", WSA), ("xta", XTA), ("oscimeta", OSCIMETA), ("osci", OSCI)];
