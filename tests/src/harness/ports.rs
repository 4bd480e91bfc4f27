//! Hands out loopback ports that nothing uses. Starts nothing on them.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the ephemeral range, so that no outgoing connection takes a port while its server is stopped;
/// below the range of Kubernetes' node ports, too.
const RANGE: std::ops::Range<u16> = 14_000..29_000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A free port of 127.0.0.1, never given twice in one process. Another process may still be faster: see [`is_taken`].
pub fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1000 {
        let port = rand::random_range(RANGE);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free loopback port found between {} and {}", RANGE.start, RANGE.end)
}

/// Whether a program that failed says that its port was taken: then it is worth another port.
#[must_use]
pub fn is_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_never_given_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
