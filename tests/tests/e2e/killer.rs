//! A TCP relay before an S3 server that kills a process at its nth request: before the server hears of it, or after
//! it was answered and nobody heard. So a kill -9 falls on every storage operation in turn.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// When the victim dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

#[derive(Debug, Default)]
struct Plan {
    victim: AtomicI32,
    /// The request at which it dies, from 1; 0 for never.
    at: AtomicUsize,
    after: AtomicBool,
    seen: AtomicUsize,
    fired: AtomicBool,
    /// Stops the victim at its commit, rather than killing it, and holds the request until it is released.
    hold: AtomicBool,
    /// No request goes on while it is set.
    stalled: AtomicBool,
}

/// The relay; it stops with the test's process.
pub(crate) struct Killer {
    address: SocketAddr,
    plan: Arc<Plan>,
}

impl Killer {
    pub(crate) fn before(server: SocketAddr) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, server)
    }

    /// The same, on another address of this machine.
    pub(crate) fn at(address: Ipv4Addr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Plan::default());
        let shared = plan.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = shared.clone();
                std::thread::spawn(move || relay(client, server, &plan));
            }
        });
        Self { address, plan }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Counts from zero again; the victim is told once it runs.
    pub(crate) fn arm(&self, at: usize, moment: Moment) {
        self.plan.victim.store(0, Ordering::SeqCst);
        self.plan.seen.store(0, Ordering::SeqCst);
        self.plan.fired.store(false, Ordering::SeqCst);
        self.plan.hold.store(false, Ordering::SeqCst);
        self.plan.after.store(moment == Moment::After, Ordering::SeqCst);
        self.plan.at.store(at, Ordering::SeqCst);
    }

    pub(crate) fn victim(&self, pid: u32) {
        self.plan.victim.store(i32::try_from(pid).unwrap(), Ordering::SeqCst);
    }

    /// Requests since it was armed.
    pub(crate) fn seen(&self) -> usize {
        self.plan.seen.load(Ordering::SeqCst)
    }

    /// Stops the victim when it writes a manifest; the request waits until [`Self::release`].
    pub(crate) fn stop_at_commit(&self, pid: u32) {
        self.arm(0, Moment::Before);
        self.victim(pid);
        self.plan.hold.store(true, Ordering::SeqCst);
    }

    /// Lets the held request go on to the server.
    pub(crate) fn release(&self) {
        self.plan.hold.store(false, Ordering::SeqCst);
    }

    /// Holds every request while it is told to.
    pub(crate) fn stall(&self, stalled: bool) {
        self.plan.stalled.store(stalled, Ordering::SeqCst);
    }

    pub(crate) fn disarm(&self) {
        self.arm(0, Moment::Before);
    }

    /// Whether the victim's time came.
    pub(crate) fn fired(&self) -> bool {
        self.plan.fired.load(Ordering::SeqCst)
    }
}

fn kill(plan: &Plan) {
    plan.fired.store(true, Ordering::SeqCst);
    // The victim connects as it starts: its pid may come a moment later.
    for _ in 0..1000 {
        if let Some(pid) = Pid::from_raw(plan.victim.load(Ordering::SeqCst)) {
            let _gone = kill_process(pid, Signal::KILL);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// The first commit under a plan that holds; others, those of a successor, pass.
fn hold(plan: &Plan, bytes: &[u8]) {
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let commit = line.starts_with(b"PUT /") && line.windows(11).any(|w| w == b"/manifests/");
    if !commit || !plan.hold.load(Ordering::SeqCst) || plan.fired.swap(true, Ordering::SeqCst) {
        return;
    }
    if let Some(pid) = Pid::from_raw(plan.victim.load(Ordering::SeqCst)) {
        let _gone = kill_process(pid, Signal::STOP);
    }
    while plan.hold.load(Ordering::SeqCst) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn is_request(bytes: &[u8]) -> bool {
    ["GET /", "PUT /", "HEAD /", "POST /", "DELETE /"].iter().any(|m| bytes.starts_with(m.as_bytes()))
}

fn relay(mut client: TcpStream, server: SocketAddr, plan: &Arc<Plan>) {
    let Ok(mut upstream) = TcpStream::connect(server) else { return };
    let (mut back, mut answers) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    let dies_after_answer = Arc::new(AtomicBool::new(false));
    let (flag, shared) = (dies_after_answer.clone(), plan.clone());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = answers.read(&mut buffer) {
            if n > 0 && flag.load(Ordering::SeqCst) {
                kill(&shared);
                break;
            }
            if n == 0 || back.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _closed = back.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n) = client.read(&mut buffer) {
        if n == 0 {
            break;
        }
        if is_request(&buffer[..n]) {
            hold(plan, &buffer[..n]);
            while plan.stalled.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let number = plan.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if number == plan.at.load(Ordering::SeqCst) {
                if !plan.after.load(Ordering::SeqCst) {
                    kill(plan);
                    break;
                }
                dies_after_answer.store(true, Ordering::SeqCst);
            }
        }
        if upstream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _closed = upstream.shutdown(Shutdown::Both);
}
