//! The canonicaliser beside libxml2's, on arbitrary documents: the whole, and the subtree below one element.
//!
//! What our reader takes, libxml2 must read as well, and both must write the same octets, by events and by runs, for
//! each algorithm. What libxml2 alone refuses: namespaces with relative URIs and what is larger or deeper than it
//! takes; then nothing is compared.
//! Input: one byte for the algorithm and the element, one for the size of the pieces, the prefix list up to a line end,
//! the document. Needs libxml2 with its headers' library name (`libxml2-dev`).
#![no_main]

use std::ffi::{c_char, c_int, c_void};
use std::io::BufReader;

use amtsbote::xml::Limits;
use amtsbote::xml::c14n::{Algorithm, Canonicalizer};
use amtsbote::xml::namespaces::Context;
use amtsbote::xml::read::{Event, Permit, SliceReader, StreamReader};
use libfuzzer_sys::fuzz_target;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Inclusive,
    Algorithm::InclusiveWithComments,
    Algorithm::Exclusive,
    Algorithm::ExclusiveWithComments,
];

fn limits() -> Limits {
    Limits { depth_max: 64, attributes_max: 64, ..Limits::default() }
}

/// The canonical form of the element with this number in document order, or of the document for 0.
fn by_events(document: &[u8], apex: usize, algorithm: Algorithm, list: &str) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(document, limits());
    let mut canonicalizer = Canonicalizer::new(algorithm, list);
    let (mut out, mut seen, mut ended) = (Vec::new(), 0, false);
    while let Some(event) = reader.next_event().ok()? {
        seen += usize::from(matches!(event, Event::Start(_)));
        if seen >= apex && !ended {
            ended = canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes)) && apex > 0;
        }
    }
    (seen >= apex).then_some(out)
}

/// The same of the whole document, taken as it stands where that is possible.
fn by_runs(document: &[u8], piece: usize, algorithm: Algorithm, list: &str) -> Option<Vec<u8>> {
    let mut reader = StreamReader::new(BufReader::with_capacity(piece.max(1), document), limits());
    let mut canonicalizer = Canonicalizer::new(algorithm, list);
    let mut out = Vec::new();
    loop {
        let permit = |context: &Context, prefix: &str| match context.resolve(prefix) {
            Some(uri) => canonicalizer.permit(prefix, uri),
            None => Permit::Refused,
        };
        while let Some(run) = reader.plain_run(permit).ok()? {
            run.for_each(|octets| out.extend_from_slice(octets));
        }
        let Some(event) = reader.next_event().ok()? else { return Some(out) };
        canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes));
    }
}

/// What is used of libxml2 2.9 and later.
mod peer {
    use super::{c_char, c_int, c_void};

    /// The beginning of `xmlNode`; of `xmlNs` the second field is its type too.
    #[repr(C)]
    pub struct Node {
        pub private: *mut c_void,
        pub kind: c_int,
        pub name: *const c_char,
        pub children: *mut Node,
        pub last: *mut Node,
        pub parent: *mut Node,
        pub next: *mut Node,
    }

    pub const ELEMENT: c_int = 1;
    pub const NAMESPACE: c_int = 18;
    /// No network, no messages, no limits on depth and size that are not ours.
    pub const OPTIONS: c_int = 1 << 11 | 1 << 5 | 1 << 6 | 1 << 19;

    pub type IsVisible = unsafe extern "C" fn(*mut c_void, *mut Node, *mut Node) -> c_int;

    #[link(name = "xml2")]
    unsafe extern "C" {
        pub fn xmlReadMemory(
            buffer: *const c_char,
            size: c_int,
            url: *const c_char,
            encoding: *const c_char,
            options: c_int,
        ) -> *mut Node;
        pub fn xmlFreeDoc(document: *mut Node);
        pub fn xmlDocGetRootElement(document: *mut Node) -> *mut Node;
        pub fn xmlAllocOutputBuffer(encoder: *mut c_void) -> *mut c_void;
        pub fn xmlOutputBufferGetContent(buffer: *mut c_void) -> *const u8;
        pub fn xmlOutputBufferGetSize(buffer: *mut c_void) -> usize;
        pub fn xmlOutputBufferClose(buffer: *mut c_void) -> c_int;
        pub fn xmlC14NExecute(
            document: *mut Node,
            is_visible: Option<IsVisible>,
            data: *mut c_void,
            mode: c_int,
            prefixes: *mut *mut c_char,
            comments: c_int,
            buffer: *mut c_void,
        ) -> c_int;
        pub fn xmlSetStructuredErrorFunc(
            data: *mut c_void,
            handler: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
        );
    }

    pub unsafe extern "C" fn silent(_: *mut c_void, _: *mut c_void) {}

    /// Nodes of the subtree below `apex`, it included.
    pub unsafe extern "C" fn is_below(apex: *mut c_void, node: *mut Node, parent: *mut Node) -> c_int {
        // SAFETY: libxml2 hands out nodes of the document that is being written.
        unsafe {
            let mut at = if node.is_null() || (*node).kind == NAMESPACE { parent } else { node };
            while !at.is_null() {
                if at.cast() == apex {
                    return 1;
                }
                at = (*at).parent;
            }
        }
        0
    }

    /// The element with this number in document order, from 1 on.
    pub unsafe fn element(document: *mut Node, number: usize) -> Option<*mut Node> {
        // SAFETY: the document is not null, and its nodes live as long as it.
        unsafe {
            let root = xmlDocGetRootElement(document);
            let (mut at, mut seen) = (root, 0);
            while !at.is_null() {
                if (*at).kind == ELEMENT {
                    seen += 1;
                    if seen == number {
                        return Some(at);
                    }
                    if !(*at).children.is_null() {
                        at = (*at).children;
                        continue;
                    }
                }
                while at != root && (*at).next.is_null() {
                    at = (*at).parent;
                }
                at = if at == root { std::ptr::null_mut() } else { (*at).next };
            }
        }
        None
    }
}

enum Judgement {
    Canonical(Vec<u8>),
    /// It reads the document but does not canonicalise it.
    NotCanonical,
    NotRead,
}

fn libxml2(document: &[u8], apex: usize, algorithm: Algorithm, list: &str) -> Judgement {
    let mut prefixes: Vec<Vec<u8>> =
        list.split_ascii_whitespace().map(|p| [p.as_bytes(), b"\0"].concat()).collect();
    let mut pointers: Vec<*mut c_char> =
        prefixes.iter_mut().map(|prefix| prefix.as_mut_ptr().cast()).collect();
    pointers.push(std::ptr::null_mut());
    let list = if algorithm.is_exclusive() && pointers.len() > 1 {
        pointers.as_mut_ptr()
    } else {
        std::ptr::null_mut()
    };
    // SAFETY: every pointer lives through the calls that take it; what libxml2 makes is freed once.
    unsafe {
        peer::xmlSetStructuredErrorFunc(std::ptr::null_mut(), Some(peer::silent));
        let Ok(size) = c_int::try_from(document.len()) else { return Judgement::NotRead };
        let read = peer::xmlReadMemory(
            document.as_ptr().cast(),
            size,
            std::ptr::null(),
            std::ptr::null(),
            peer::OPTIONS,
        );
        if read.is_null() {
            return Judgement::NotRead;
        }
        let apex = match apex {
            0 => Some(std::ptr::null_mut()),
            number => peer::element(read, number),
        };
        let mut judgement = Judgement::NotCanonical;
        if let Some(apex) = apex {
            let buffer = peer::xmlAllocOutputBuffer(std::ptr::null_mut());
            let is_visible = if apex.is_null() { None } else { Some(peer::is_below as peer::IsVisible) };
            let (mode, comments) =
                (c_int::from(algorithm.is_exclusive()), c_int::from(algorithm.keeps_comments()));
            let done = peer::xmlC14NExecute(read, is_visible, apex.cast(), mode, list, comments, buffer);
            if done >= 0 {
                let (content, size) =
                    (peer::xmlOutputBufferGetContent(buffer), peer::xmlOutputBufferGetSize(buffer));
                let octets = if size == 0 { &[] } else { std::slice::from_raw_parts(content, size) };
                judgement = Judgement::Canonical(octets.to_vec());
            }
            peer::xmlOutputBufferClose(buffer);
        }
        peer::xmlFreeDoc(read);
        judgement
    }
}

fuzz_target!(|input: &[u8]| {
    let &[choice, piece, ref rest @ ..] = input else { return };
    let Some(line) = rest.iter().position(|&byte| byte == b'\n') else { return };
    let (list, document) = (&rest[..line], &rest[line + 1..]);
    let Ok(list) = std::str::from_utf8(list) else { return };
    if list.contains('\0') {
        return;
    }
    let algorithm = ALGORITHMS[usize::from(choice) % 4];
    let apex = usize::from(choice / 4) % 8;
    let Some(ours) = by_events(document, apex, algorithm, list) else { return };
    if apex == 0 {
        let found = by_runs(document, usize::from(piece), algorithm, list)
            .expect("what is read by events is read by runs");
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&ours), "by runs");
    }
    match libxml2(document, apex, algorithm, list) {
        Judgement::Canonical(theirs) => {
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "ours, libxml2's");
        }
        Judgement::NotCanonical => {}
        Judgement::NotRead => panic!("libxml2 does not read what is taken here"),
    }
});
