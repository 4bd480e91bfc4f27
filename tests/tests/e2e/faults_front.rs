//! A server's front that misbehaves at will: passes on, falls silent, closes every connection, answers each request by
//! itself, or breaks off in the middle. The same address all the time, so that the next run meets it healed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What it does with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mood {
    Pass,
    /// Passes so many bytes on, and is gone then.
    GoneAfter {
        to_server: usize,
        to_client: usize,
    },
    Gone,
    Silent,
    /// Gives so many requests this answer (status line, headers, body), and passes on then.
    Answers(usize, String),
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    mood: Mutex<Mood>,
    to_server: AtomicUsize,
    to_client: AtomicUsize,
}

/// The front; it stops with the test's process.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Front {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to_server, to_client) = Default::default();
        let shared = Arc::new(Shared { server, mood: Mutex::new(Mood::Pass), to_server, to_client });
        let for_all = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = for_all.clone();
                std::thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.shared.to_server.store(0, Ordering::SeqCst);
        self.shared.to_client.store(0, Ordering::SeqCst);
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Waits until it went away in the middle.
    pub(crate) fn wait_until_gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.shared.mood() != Mood::Gone {
            assert!(Instant::now() < deadline, "so much was never sent");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        self.mood.lock().unwrap().clone()
    }

    fn serve(self: Arc<Self>, mut client: TcpStream) {
        match self.mood() {
            Mood::Gone => {}
            Mood::Silent => {
                let mut buffer = [0; 4096];
                while matches!(client.read(&mut buffer), Ok(n) if n > 0) {}
            }
            Mood::Answers(..) => self.answer(client),
            Mood::Pass | Mood::GoneAfter { .. } => self.relay(client),
        }
    }

    /// Answers one request, if it still is the time for it.
    fn answer(self: Arc<Self>, mut client: TcpStream) {
        let Some(head) = read_request(&mut client) else { return };
        let text = {
            let mut mood = self.mood.lock().unwrap();
            let Mood::Answers(left, text) = &mut *mood else { return };
            let text = text.clone();
            *left -= 1;
            if *left == 0 {
                *mood = Mood::Pass;
            }
            text
        };
        let (top, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let top = top.replace('\n', "\r\n");
        let sent = if head.starts_with("HEAD ") { "" } else { body };
        let length = body.len();
        let answer = format!("HTTP/1.1 {top}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{sent}");
        let _gone = client.write_all(answer.as_bytes());
    }

    fn relay(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let shared = self.clone();
        std::thread::spawn(move || shared.pump(server_too, client_too, false));
        self.pump(client, server, true);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, to_server: bool) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || self.is_gone(n, to_server) || to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Counts bytes, and is gone when they are enough.
    fn is_gone(&self, bytes: usize, up: bool) -> bool {
        let mut mood = self.mood.lock().unwrap();
        let counter = if up { &self.to_server } else { &self.to_client };
        let sum = counter.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let limit = match *mood {
            Mood::GoneAfter { to_server, .. } if up => to_server,
            Mood::GoneAfter { to_client, .. } => to_client,
            _ => usize::MAX,
        };
        if sum > limit {
            *mood = Mood::Gone;
        }
        *mood == Mood::Gone
    }
}

/// Reads a request to its end; its head.
fn read_request(client: &mut TcpStream) -> Option<String> {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|l| {
            let (name, value) = l.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            return Some(head);
        }
    }
}
