//! Programs of other people's that some tests ask. Where one is missing, such a test tests nothing and says so, on the
//! error output itself, because the runner keeps to itself what a passing test prints. With `AMTSBOTE_TOOLS_REQUIRED`
//! set, as `.ci/run` does, it fails.

use std::io::Write as _;
use std::process::Command;

/// Whether the command, with arguments that make it succeed at once, is there. `what` says what is not tested otherwise.
pub fn is_here(command: &str, arguments: &[&str], what: &str) -> bool {
    let ran = Command::new(command).args(arguments).output();
    let why = match ran {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!("`{command} {}` ends with {}", arguments.join(" "), output.status),
        Err(error) => format!("`{command}` cannot be run: {error}"),
    };
    is_missing(&why, what);
    false
}

/// Says that a test cannot test, and why; fails where that must not be.
pub fn is_missing(why: &str, what: &str) {
    let required = std::env::var_os("AMTSBOTE_TOOLS_REQUIRED").is_some_and(|value| !value.is_empty());
    assert!(!required, "{why}, and AMTSBOTE_TOOLS_REQUIRED is set: {what}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}
