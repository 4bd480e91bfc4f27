//! From the system's error numbers to the store's errors, each with what to do next. Does no I/O.

use crate::store::{StoreError, StoreErrorKind};
use rustix::io::Errno;

/// What is being done, to what.
#[derive(Debug, Clone)]
pub(super) struct At {
    operation: &'static str,
    target: String,
}

impl At {
    pub(super) fn new(operation: &'static str, target: String) -> Self {
        Self { operation, target }
    }

    pub(super) fn because(&self, kind: StoreErrorKind, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.operation, self.target.clone(), detail)
    }

    pub(super) fn fail(&self, errno: Errno) -> StoreError {
        let kind = kind_of(errno);
        let next = match kind {
            StoreErrorKind::NotFound => "; check the path, and that its disk is mounted",
            StoreErrorKind::Denied => "; give this user the right to it, or mount it writable",
            StoreErrorKind::Full => "; free some space or raise the quota",
            StoreErrorKind::Protocol => "; something else than a file or a folder lies there",
            _ => "",
        };
        self.because(kind, format!("{errno}{next}"))
    }

    pub(super) fn fail_io(&self, error: &std::io::Error) -> StoreError {
        match Errno::from_io_error(error) {
            Some(errno) => self.fail(errno),
            None => self.because(StoreErrorKind::Unavailable, error.to_string()),
        }
    }
}

fn kind_of(errno: Errno) -> StoreErrorKind {
    match errno {
        Errno::NOENT => StoreErrorKind::NotFound,
        Errno::EXIST => StoreErrorKind::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => StoreErrorKind::Full,
        Errno::NAMETOOLONG | Errno::INVAL => StoreErrorKind::Invalid,
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => StoreErrorKind::Protocol,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_say_what_a_caller_can_do() {
        let at = At::new("create", "file:///x/k".to_owned());
        for (errno, kind) in [
            (Errno::NOSPC, StoreErrorKind::Full),
            (Errno::DQUOT, StoreErrorKind::Full),
            (Errno::ACCESS, StoreErrorKind::Denied),
            (Errno::PERM, StoreErrorKind::Denied),
            (Errno::ROFS, StoreErrorKind::Denied),
            (Errno::IO, StoreErrorKind::Unavailable),
            (Errno::MFILE, StoreErrorKind::Unavailable),
        ] {
            assert_eq!(at.fail(errno).kind, kind, "{errno}");
        }
        assert!(at.fail(Errno::NOSPC).to_string().starts_with("Cannot create file:///x/k: "));
    }
}
