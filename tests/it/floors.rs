//! The map in `src/lib.rs` as a test: which module may import which, and which files do no IO.
//!
//! Works on the text, with comments and literals blanked. It sees plain paths, `use` trees of any depth and `super::`
//! chains that climb to the crate's root, also from modules that are nested within a file.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Bottom first. A module may import modules of lower floors only; neighbours do not meet.
const FLOORS: &[&[&str]] = &[
    &["clock", "domain", "net", "report"],
    &["mime", "page", "pki"],
    &["xml"],
    &["evidence"],
    &["store"],
    &["register", "relay"],
    &["admin", "enquiry", "osci", "portal", "spool", "xta"],
    &["gateway"],
    &["config"],
    &["app"],
    &["cli"],
];

/// Places on the map that nobody lives in yet. A module that appears must leave this list.
const VACANT: &[&str] = &[];

/// Documentation only: on no floor, and it imports nothing.
const DOCUMENTATION: &[&str] = &["manual"];

/// Pure parts: no sockets, no files, no clock of their own.
const PURE: &[&str] = &[
    "domain/",
    "evidence/",
    "gateway/",
    "mime.rs",
    "osci/chunk.rs",
    "osci/client/content.rs",
    "osci/client/dialog.rs",
    "osci/client/judge.rs",
    "osci/client/request.rs",
    "osci/code.rs",
    "osci/dialog.rs",
    "osci/envelope/",
    "osci/message/",
    "page/fields.rs",
    "portal/callback/network.rs",
    "portal/csv.rs",
    "portal/event.rs",
    "portal/places.rs",
    "portal/routing.rs",
    "portal/rules.rs",
    "register/",
    "relay/",
    "xml/",
    "xta/message/",
];
/// Inside a pure folder, the files that act.
const PURE_EXCEPT: &[&str] =
    &["register/copies/", "register/payment/client.rs", "relay/worker.rs", "relay/worker/"];
const IO_WORDS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "async fn",
    "async move",
];

#[test]
fn imports_point_downwards() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Some(own) = module_of(&path) else { continue };
        for target in imports(&path, &text) {
            if target != own && all_modules().contains(target.as_str()) {
                faults.extend(judge(&path, own, &target));
            }
        }
    }
    assert!(faults.is_empty(), "imports that do not point downwards:\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let vacant: BTreeSet<_> = VACANT.iter().copied().collect();
    let placed: BTreeSet<String> =
        all_modules().into_iter().filter(|name| !vacant.contains(name)).map(str::to_owned).collect();
    let found: BTreeSet<String> = sources()
        .iter()
        .filter_map(|(path, _)| module_of(path).map(str::to_owned))
        .filter(|name| !DOCUMENTATION.contains(&name.as_str()))
        .collect();
    assert_eq!(found, placed, "src/ and FLOORS name different modules");
}

#[test]
fn pure_files_do_no_io() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let name = path.to_string_lossy().replace('\\', "/");
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if starts(PURE) && !starts(PURE_EXCEPT) && !is_test_file(&path) {
            faults.extend(io_in(&without_tests(&text)).iter().map(|word| format!("src/{name}: `{word}`")));
        }
    }
    assert!(faults.is_empty(), "IO in files that are pure:\n{}", faults.join("\n"));
}

/// In a structured log `message` is the sentence; a field of that name takes its place.
#[test]
fn no_field_of_the_log_takes_the_sentences_place() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for field in ["message = %", "message = ?", "%message,", "?message,"] {
            for (at, _) in text.match_indices(field) {
                let before = text[..at].chars().next_back().unwrap_or(' ');
                let named_otherwise = before.is_alphanumeric() || before == '_';
                let value = text[..at].trim_end().ends_with('=');
                if !named_otherwise && !value {
                    let line = text[..at].matches('\n').count() + 1;
                    faults.push(format!("src/{}, about line {line}: {field}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "call the field `message_id`:\n{}", faults.join("\n"));
}

/// A room's tests may read samples and ask foreign tools; the room may not.
fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem == "tests" || stem.ends_with("_tests")
}

fn judge(path: &Path, own: &str, target: &str) -> Option<String> {
    let manual = DOCUMENTATION.contains(&own);
    let (own_floor, target_floor) = (if manual { 0 } else { floor(own) }, floor(target));
    (target_floor >= own_floor).then(|| {
        format!(
            "src/{}: `{own}` (floor {own_floor}) imports `{target}` (floor {target_floor})",
            path.display()
        )
    })
}

fn io_in(text: &str) -> Vec<&'static str> {
    IO_WORDS.iter().copied().filter(|word| text.contains(*word)).collect()
}

fn all_modules() -> BTreeSet<&'static str> {
    FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect()
}

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no floor; place it in FLOORS"))
}

/// The top-level module a file belongs to; `None` for the two crate roots.
fn module_of(path: &Path) -> Option<&str> {
    let first = path.iter().next()?.to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&name)).then_some(name)
}

/// How many `super::` lead from the file's own module to the crate's root.
fn depth_of(path: &Path) -> usize {
    path.iter().count() - usize::from(path.ends_with("mod.rs"))
}

/// Top-level modules that the text names, by `crate::`, by `amtsbote::`, or by climbing to the root.
fn imports(path: &Path, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut braces, mut opened_modules) = (0_usize, Vec::new());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let fresh = !(before.is_alphanumeric() || before == '_' || before == ':');
        let word = leading_word(rest);
        if fresh && word == "mod" && opens_a_module(rest) {
            opened_modules.push(braces);
        }
        if fresh && (word == "crate" || word == "super" || word == "self" || word == "amtsbote") {
            let nested = opened_modules.len();
            follow(rest, depth_of(path) + nested, &mut found);
        }
        match c {
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if opened_modules.last() == Some(&braces) {
                    opened_modules.pop();
                }
            }
            _ => {}
        }
        let step = word.len().max(c.len_utf8());
        before = rest[..step].chars().next_back().unwrap_or(' ');
        rest = &rest[step..];
    }
    found
}

/// `mod name {`, and not `mod name;`.
fn opens_a_module(text: &str) -> bool {
    let rest = text["mod".len()..].trim_start();
    let name = leading_word(rest);
    !name.is_empty() && rest[name.len()..].trim_start().starts_with('{')
}

/// Follows one path from its first word; `climb` is the number of `super` that reach the root.
fn follow(text: &str, climb: usize, found: &mut BTreeSet<String>) {
    let word = leading_word(text);
    let Some(rest) = text[word.len()..].trim_start().strip_prefix("::") else { return };
    match word {
        "crate" | "amtsbote" => collect(rest, 0, found),
        "self" => collect(rest, climb, found),
        "super" if climb > 0 => collect(rest, climb - 1, found),
        _ => {}
    }
}

/// `text` stands behind a `::`. At the root (`climb` 0) the next words are modules; above it only `super` leads on.
fn collect(text: &str, climb: usize, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        for item in items(group) {
            collect(item, climb, found);
        }
        return;
    }
    let word = leading_word(text);
    if climb == 0 {
        if word == "self" || word == "crate" {
            return;
        }
        if !word.is_empty() {
            found.insert(word.to_owned());
        }
        return;
    }
    if word == "super"
        && let Some(rest) = text[word.len()..].trim_start().strip_prefix("::")
    {
        collect(rest, climb - 1, found);
    }
}

/// The entries of a `use` group whose opening brace has been taken off.
fn items(group: &str) -> Vec<&str> {
    let (mut nested, mut start, mut out) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => nested += 1,
            '}' if nested == 0 => {
                out.push(&group[start..at]);
                return out;
            }
            '}' => nested -= 1,
            ',' if nested == 0 => {
                out.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out
}

fn leading_word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// Everything before the first test module: tests of pure parts may read files.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Code without comments and without what stands in string and character literals.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest, out.chars().next_back()) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').map_or(rest.len(), |at| at + 1);
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skipped..];
    }
    out
}

/// `r"`, `r#"`, `br##"` and so on: the number of hashes.
fn raw_string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let rest = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// A literal, and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut inside = text.chars().skip(1);
    match inside.next() {
        Some('\\') => true,
        Some(_) => inside.next() == Some('\''),
        None => false,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Every source file, its path under `src`, its code.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut open, mut found) = (vec![root.clone()], Vec::new());
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("src can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                let inside = path.strip_prefix(&root).expect("under src").to_owned();
                found.push((inside, code_only(&text)));
            }
        }
    }
    found
}

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    let found: Vec<_> = imports(Path::new(path), &code_only(text)).into_iter().collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn every_way_to_import_is_seen() {
    check("store/mod.rs", "use crate::relay::Relay;", &["relay"]);
    check(
        "store/mod.rs",
        "use crate::{relay::Relay, domain::{card, party::{self, Party}}};",
        &["domain", "relay"],
    );
    check("store/mod.rs", "use crate :: {\n    self,\n    cli,\n};", &["cli"]);
    check("store/mod.rs", "use super::relay::Relay;", &["relay"]);
    check("store/mod.rs", "use super::{relay, xml as markup};", &["relay", "xml"]);
    check("store/embedded/writer.rs", "use super::super::super::app::App;", &["app"]);
    check("store/embedded/writer.rs", "use super::super::relay;", &[]);
    check("store/embedded/mod.rs", "use super::super::{app, cli::exit};", &["app", "cli"]);
    check("mime.rs", "use super::xta;", &["xta"]);
    check("mime.rs", "mod tests { use super::super::xta; use super::Part; }", &["xta"]);
    check(
        "mime.rs",
        "mod tests { mod deep { use super::super::super::cli; } }\nuse super::app;",
        &["app", "cli"],
    );
    check("mime.rs", "use self::super::xta;", &["xta"]);
    check("store/embedded/mod.rs", "use super::{super::cli, writer};", &["cli"]);
    check(
        "mime.rs",
        "fn f() -> crate::relay::Relay { crate::store::open(\"crate::cli\") }",
        &["relay", "store"],
    );
    check(
        "mime.rs",
        "// use crate::cli;\n/* crate::app */ let x = r#\"crate::xta \" \"#; use crate::net;",
        &["net"],
    );
    check("mime.rs", "let quote = '\"'; use crate::net; let s = '\\''; let l: &'static str;", &["net"]);
    check("mime.rs", "use mycrate::cli; use other::crate_::app;", &[]);
}

#[test]
fn forbidden_things_are_refused() {
    let path = Path::new("store/mod.rs");
    assert!(
        judge(path, "store", "relay")
            .is_some_and(|fault| fault.contains("floor 4") && fault.contains("floor 5"))
    );
    assert!(judge(Path::new("mime/mod.rs"), "mime", "pki").is_some(), "neighbours meet");
    assert!(judge(path, "store", "evidence").is_none());
    assert!(judge(Path::new("manual/mod.rs"), "manual", "clock").is_some());
    assert_eq!(io_in("async fn f() { tokio::spawn(g()) }"), ["tokio::", "async fn"]);
    assert_eq!(io_in("fn f(now: Timestamp) {}"), Vec::<&str>::new());
}
