//! Open files: what the configured connections may need, and the process's limit raised to it.
//!
//! Service managers start a process with a soft limit of 1,024 and a far higher hard one. Where the limit is reached
//! nobody new is served, so the server asks for what its own limits allow others to take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// A connection's socket, and the file that its message is read from or written to.
const FILES_PER_CONNECTION: u64 = 2;
/// Databases with their logs, listeners, outlets, the operator's and the administration's connections.
const FILES_BESIDE: u64 = 512;

/// Raises the soft limit as far as needed and allowed; says what to do where that is not enough.
pub fn provide(config: &Config) {
    let doors = 1 + u64::from(config.osci.address.is_some());
    let wanted = wanted(doors, config.limits.connections_max as u64);
    let limit = getrlimit(Resource::Nofile);
    let provided = provided(limit, wanted);
    if provided != limit
        && let Err(error) = setrlimit(Resource::Nofile, provided)
    {
        tracing::warn!(code = "open-files", %error, "the limit of open files stays as it is");
    }
    let left = provided.current.unwrap_or(u64::MAX);
    if left < wanted {
        tracing::warn!(
            code = "open-files",
            limit = left,
            wanted,
            next_step =
                "raise the hard limit (LimitNOFILE= in the service's unit), or lower limits.connections_max",
            "as many connections as configured may need more open files than the process may have"
        );
    }
}

fn wanted(doors: u64, connections_max: u64) -> u64 {
    doors.saturating_mul(connections_max).saturating_mul(FILES_PER_CONNECTION).saturating_add(FILES_BESIDE)
}

/// Never lower than before, never above the hard limit. `None` is "no limit".
fn provided(limit: Rlimit, wanted: u64) -> Rlimit {
    let most = limit.maximum.unwrap_or(u64::MAX);
    let current = limit.current.map(|current| current.max(wanted.min(most)));
    Rlimit { current, ..limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_wanted_and_allowed() {
        let of = |current, maximum, wanted| provided(Rlimit { current, maximum }, wanted).current;
        assert_eq!(of(Some(1024), Some(524_288), 4_608), Some(4_608));
        assert_eq!(of(Some(1024), Some(2048), 4_608), Some(2048), "no further than the hard limit");
        assert_eq!(of(Some(9000), Some(9000), 4_608), Some(9000), "never lowered");
        assert_eq!(of(Some(1024), None, 4_608), Some(4_608));
        assert_eq!(of(None, None, 4_608), None);
        assert_eq!(wanted(2, 1024), 4_608);
    }
}
