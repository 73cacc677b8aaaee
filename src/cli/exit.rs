//! Exit codes: the command line's contract with scripts. A number never changes its meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or: everything is as it should be.
    Done = 0,
    /// Refused or failed; a sentence on stderr says why.
    Failed = 1,
    /// The arguments, the configuration or a given file cannot be used.
    Usage = 2,
    /// No server is running where one was looked for.
    NotRunning = 3,
    /// A check went through and found problems.
    Problems = 4,
    /// The person at the keyboard said no.
    Declined = 5,
    /// What was asked for does not exist: a message, a mailbox, a participant, a code.
    Unknown = 6,
}

impl Exit {
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotRunning,
        Self::Problems,
        Self::Declined,
        Self::Unknown,
    ];

    /// As `amtsbote --help` and the manual print it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; everything is as it should be",
            Self::Failed => "refused or failed",
            Self::Usage => "arguments, configuration or a file cannot be used",
            Self::NotRunning => "no server is running",
            Self::Problems => "a check found problems",
            Self::Declined => "not confirmed",
            Self::Unknown => "no such message, mailbox, participant or code",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stops before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub exit: Exit,
    /// One sentence without a full stop.
    pub sentence: String,
    /// What to do, in another.
    pub next_step: String,
}

impl Stop {
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into(), next_step: String::new() }
    }

    pub fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Failed, sentence)
    }

    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    pub fn then(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = next_step.into();
        self
    }
}

impl From<crate::config::ConfigError> for Stop {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand() {
        let table: Vec<_> = Exit::ALL.iter().map(|exit| (*exit as u8, *exit)).collect();
        assert_eq!(
            table,
            [
                (0, Exit::Done),
                (1, Exit::Failed),
                (2, Exit::Usage),
                (3, Exit::NotRunning),
                (4, Exit::Problems),
                (5, Exit::Declined),
                (6, Exit::Unknown),
            ]
        );
    }
}
