//! A far network in front of a server: each byte arrives half a round trip later, a connection costs a round trip, and no
//! more of it than a window is under way. TCP on loopback; the kernel's own delays are not to be had everywhere. Knows no
//! protocol.

use anyhow::{Context as _, Result};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// What Linux has under way on one connection at most, as it comes (`tcp_rmem`, half of it for the payload).
const WINDOW: usize = 3 << 20;
const PIECE: usize = 128 << 10;
/// Connections at a time.
const CONNECTIONS: usize = 512;

/// The far side; it goes when this is dropped.
#[derive(Debug)]
pub struct Slow {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Slow {
    /// Listens on loopback, `round_trip` away from `server`.
    pub fn before(server: SocketAddr, round_trip: Duration) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, server, round_trip));
        Ok(Self { address, _runtime: runtime })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, round_trip: Duration) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        // One that broke before it was taken is no reason to stop.
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let _gone = relay(client, server, round_trip).await;
            drop(permit);
        });
    }
}

async fn relay(client: TcpStream, server: SocketAddr, round_trip: Duration) -> io::Result<()> {
    sleep(round_trip).await;
    let server = TcpStream::connect(server).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(
        one_way(from_client, to_server, round_trip / 2),
        one_way(from_server, to_client, round_trip / 2)
    );
    Ok(())
}

/// What is under way: when it arrives, what it is, and its part of the window.
type Flying = (Instant, Vec<u8>, OwnedSemaphorePermit);

async fn one_way(mut from: OwnedReadHalf, to: OwnedWriteHalf, delay: Duration) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let (depart, arriving) = mpsc::unbounded_channel::<Flying>();
    let far = tokio::spawn(arrive(arriving, to, delay));
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let part = u32::try_from(length).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&window).acquire_many_owned(part).await else { break };
        if depart.send((Instant::now() + delay, piece[..length].to_vec(), permit)).is_err() {
            break;
        }
    }
    drop(depart);
    let _ended = far.await;
}

async fn arrive(mut arriving: mpsc::UnboundedReceiver<Flying>, mut to: OwnedWriteHalf, delay: Duration) {
    let (acknowledge, mut acknowledged) = mpsc::unbounded_channel::<(Instant, OwnedSemaphorePermit)>();
    tokio::spawn(async move {
        while let Some((at, permit)) = acknowledged.recv().await {
            sleep_until(at).await;
            drop(permit);
        }
    });
    while let Some((at, bytes, permit)) = arriving.recv().await {
        sleep_until(at).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        let _gone = acknowledge.send((Instant::now() + delay, permit));
    }
    let _closed = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn an_answer_takes_a_round_trip_and_a_connection_another() {
        let server = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let slow = Slow::before(server.local_addr().unwrap(), Duration::from_millis(200)).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut bytes = [0; 4];
            for _ in 0..2 {
                stream.read_exact(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        });
        let mut stream = std::net::TcpStream::connect(slow.address()).unwrap();
        let mut took = [Duration::ZERO; 2];
        for took in &mut took {
            let began = std::time::Instant::now();
            stream.write_all(b"ping").unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"ping");
            *took = began.elapsed();
        }
        assert!(took[0] >= Duration::from_millis(400), "{took:?}");
        assert!(took[1] >= Duration::from_millis(200), "{took:?}");
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the end arrives, too");
        echo.join().unwrap();
    }
}
