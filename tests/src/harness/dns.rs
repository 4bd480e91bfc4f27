//! A name server for pods: it knows the names that it was given, and says of all others that there are none (RFC 1035;
//! UDP, one question). Knows nothing of Kubernetes.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

const HEADER: usize = 12;
const A: u16 = 1;
const INTERNET: u16 = 1;

/// Names in lower case, without a dot at the end.
pub type Names = BTreeMap<String, Ipv4Addr>;

/// `NAME=ADDRESS`.
pub fn record(text: &str) -> Result<(String, Ipv4Addr)> {
    let (name, address) = text.split_once('=').context("a record is NAME=ADDRESS")?;
    Ok((name.to_ascii_lowercase(), address.parse().context("a record is NAME=ADDRESS")?))
}

/// Answers until its process ends.
pub fn serve(listen: SocketAddr, names: &Names) -> Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).context("cannot receive")?;
        if let Ok(answer) = answer(&buffer[..length], names) {
            let _asker_gone = socket.send_to(&answer, from);
        }
    }
}

fn answer(query: &[u8], names: &Names) -> Result<Vec<u8>> {
    let (name, end) = question(query)?;
    let field = |at: usize| u16::from_be_bytes([query[at], query[at + 1]]);
    let found = names.get(&name);
    let address = found.filter(|_| field(end) == A && field(end + 2) == INTERNET);
    // An answer, authoritative, recursion as if available; 3 stands for a name that does not exist.
    let code = if found.is_some() { 0 } else { 3 };
    let mut out =
        vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    out.extend(&query[HEADER..end + 4]);
    if let Some(address) = address {
        // The name of the question, A, IN, five seconds, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        out.extend(address.octets());
    }
    Ok(out)
}

/// The name that is asked for, and where it ends.
fn question(query: &[u8]) -> Result<(String, usize)> {
    let (mut at, mut labels) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*query.get(at).context("no question")?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = query.get(at..at + length).context("a name that is cut off")?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    if query.len() < at + 4 {
        bail!("a question that is cut off");
    }
    Ok((labels.join("."), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn known_names_have_an_address_and_others_do_not_exist() {
        let names = Names::from([record("Store.example.org=10.1.2.3").unwrap()]);
        let known = answer(&query("store.Example.org", 1), &names).unwrap();
        assert_eq!((&known[..2], known[3] & 15, known[7]), (&[7, 7][..], 0, 1));
        assert_eq!(known[known.len() - 4..], [10, 1, 2, 3]);
        let sixth = answer(&query("store.example.org", 28), &names).unwrap();
        assert_eq!((sixth[3] & 15, sixth[7]), (0, 0));
        assert_eq!(answer(&query("other.example.org", 1), &names).unwrap()[3] & 15, 3);
    }

    #[test]
    fn nonsense_gets_no_answer() {
        let whole = query("a.b", 1);
        for length in 0..whole.len() {
            assert!(answer(&whole[..length], &Names::new()).is_err());
        }
        assert!(record("x").is_err() && record("x=y").is_err());
    }
}
