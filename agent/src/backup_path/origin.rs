//! Which host a volume was read on: so that a copy of a configuration, or of a whole machine, does not go on with the
//! snapshots of another unnoticed.

use lifeboat_format::id::Sha256;
use std::path::Path;

/// A machine's id (machine-id(5)) is far shorter.
const MACHINE_ID_MAX: usize = 256;
const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// SHA-256 of this machine's id and of where the agent's configuration is. A machine without an id, such as a container,
/// is known by its configuration alone.
#[must_use]
pub fn host_origin(config: &Path) -> Sha256 {
    let id = MACHINE_ID.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    let id = id.get(..MACHINE_ID_MAX).unwrap_or(&id);
    let config = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    origin(id.trim_ascii(), config.as_os_str().as_encoded_bytes())
}

fn origin(machine_id: &[u8], config: &[u8]) -> Sha256 {
    Sha256::of(&[b"lifeboat/1 host\0", machine_id, b"\0", config].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_and_configuration_count() {
        let one = origin(b"a", b"/x/agent.toml");
        assert_eq!(one, origin(b"a", b"/x/agent.toml"));
        assert!(one != origin(b"b", b"/x/agent.toml") && one != origin(b"a", b"/y/agent.toml"));
    }
}
