//! Exit codes, the same for every program, and the error that means "called wrongly". Knows no command.

use std::process::ExitCode;

/// What a program ends with (documented in `lifeboat --help`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All of it was done.
    Done,
    /// It was not done.
    Failed,
    /// Called wrongly: an argument, a configuration, a missing passphrase.
    Usage,
    /// Done in part, or done and something needs attention.
    Partial,
}

impl Exit {
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Called wrongly. A program that finds one in an error's chain ends with [`Exit::Usage`].
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct UsageError {
    pub why: String,
}

impl UsageError {
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

/// An error and its causes in one line; what an error says of its cause itself is not said again.
pub fn told_once<'a>(chain: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>) -> String {
    let mut text = String::new();
    for cause in chain.map(ToString::to_string).filter(|c| !c.is_empty()) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
