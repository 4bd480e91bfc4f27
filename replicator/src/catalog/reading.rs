//! Opening a database of the vault for those who only read, also where they may not write at all.
//! Source: SQLite, "Write-Ahead Logging", section "Read-Only Databases".

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens it. A database that nobody writes has no log beside it, and where no file can be made, SQLite cannot share one:
/// it is then read as what it is, a file that does not change. Writers change that file only after they made a log, so
/// hold such a connection for one look.
pub(crate) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let shared = try_open(path.as_os_str().as_bytes(), FLAGS);
    let unshared = |error: &rusqlite::Error| {
        matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
    };
    match shared {
        Err(error) if unshared(&error) && !log(path).exists() => {
            let mut url = String::from("file:");
            for byte in path.as_os_str().as_bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                        url.push(char::from(*byte));
                    }
                    _ => write!(url, "%{byte:02x}").expect("a string takes all"),
                }
            }
            url.push_str("?immutable=1");
            try_open(url.as_bytes(), FLAGS | OpenFlags::SQLITE_OPEN_URI)
        }
        other => other,
    }
}

fn log(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn try_open(name: &[u8], flags: OpenFlags) -> rusqlite::Result<Connection> {
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let connection = Connection::open_with_flags(name, flags)?;
    connection.execute_batch("PRAGMA busy_timeout = 10000;")?;
    // Opening looks at nothing; this does.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}
