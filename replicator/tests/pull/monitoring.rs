//! The program telling how things are: the server over a vault that cannot be written, and real receivers of a webhook, of
//! mail, of a command and of the heartbeat. The receivers are on loopback and end with the test.

use crate::fixture::*;
use crate::service::{Site, code, text};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "a-token-nobody-may-see";
const PASSWORD: &str = "a-password-nobody-may-see";

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A web server that answers `status` to everything, and what it was asked: head and body.
fn receiver(status: &'static str) -> (SocketAddr, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            let length =
                head.to_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            if send.send((head, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (address, receive)
}

/// A mail server of a few words (RFC 5321), and all that it was told.
fn mail_server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut all, mut data) = (String::new(), false);
            stream.write_all(b"220 test\r\n").unwrap();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                all.push_str(&line);
                let answer = match (data, line.trim_end()) {
                    (true, ".") => {
                        data = false;
                        "250 taken\r\n"
                    }
                    (true, _) => continue,
                    (false, l) if l.starts_with("EHLO") => "250-test\r\n250 AUTH PLAIN LOGIN\r\n",
                    (false, l) if l.starts_with("AUTH") => "235 welcome\r\n",
                    (false, "DATA") => {
                        data = true;
                        "354 go on\r\n"
                    }
                    (false, "QUIT") => "221 bye\r\n",
                    _ => "250 ok\r\n",
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
            if send.send(all).is_err() {
                return;
            }
        }
    });
    (address, receive)
}

fn private(site: &Site, name: &str, content: &str) {
    std::fs::write(site.path(name), content).unwrap();
    std::fs::set_permissions(site.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn append(site: &Site, more: &str) {
    let config = std::fs::read_to_string(&site.config).unwrap();
    let (top, source) = config.split_once("[[source]]").unwrap();
    std::fs::write(&site.config, format!("{top}{more}\n[[source]]{source}")).unwrap();
}

fn notify(site: &Site, expect: i32) -> Value {
    let output = site.run(&["notify", "--once", "--json"]);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(code(&output), expect, "{said}");
    for secret in [TOKEN, PASSWORD, "hook-path"] {
        assert!(!said.contains(secret), "{said}");
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Damage that a pull finds, and that is repaired again.
fn damage(site: &Site, primary: &mut Primary) -> (std::path::PathBuf, Vec<u8>) {
    let seq = primary.snapshot(1);
    let pack = crate::plain::last_pack(primary, seq);
    site.write(primary);
    let path = site.path("primary/prod").join(&pack);
    let bytes = std::fs::read(&path).unwrap();
    let mut wrong = bytes.clone();
    wrong[40] ^= 1;
    std::fs::write(&path, wrong).unwrap();
    assert_eq!(code(&site.run(&["pull", "--once"])), 3);
    (path, bytes)
}

#[test]
fn people_are_told_once_by_every_channel_and_the_heartbeat_stops() {
    let mut primary = Primary::recent("prod", 2);
    let site = Site::new(&primary);
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
    let (hook, hooked) = receiver("200 OK");
    let (broken, refused) = receiver("500 Oops");
    let (mail, mailed) = mail_server();
    let (heart, beats) = receiver("204 No Content");
    private(&site, "hook-url", &format!("http://{hook}/hook-path\n"));
    private(&site, "token", TOKEN);
    private(&site, "password", PASSWORD);
    let script = site.path("tell.sh");
    let environment = site.path("environment");
    let (out, env) = (site.path("told.json"), environment.display());
    std::fs::write(&script, format!("#!/bin/sh\ncat > {}\nenv > {env}\n", out.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (script, port) = (script.display(), mail.port());
    append(
        &site,
        &format!(
            "[[notify.webhook]]\nurl_file = \"hook-url\"\ntoken_file = \"token\"\n\
             [[notify.webhook]]\nname = \"broken\"\nurl = \"http://{broken}/\"\n\
             [[notify.mail]]\nserver = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"Lifeboat <a@example.com>\"\n\
             to = [\"ops@example.com\"]\nusername = \"u\"\npassword_file = \"password\"\n\
             [[notify.command]]\nrun = [\"{script}\", \"--high\"]\n\
             [notify.heartbeat]\nurl = \"http://{heart}/beat\"\n"
        ),
    );
    let well = notify(&site, 0);
    assert_eq!((&well["well"], &well["channels"]["webhook-1"]), (&Value::Bool(true), &"nothing new".into()));
    assert!(beats.recv_timeout(SOON).unwrap().0.starts_with("GET /beat "));

    let (path, bytes) = damage(&site, &mut primary);
    let told = notify(&site, 1);
    assert_eq!(told["channels"]["command-1"], "told", "{told}");
    assert!(told["channels"]["broken"].as_str().unwrap().contains("500"), "{told}");
    let (head, body) = hooked.recv_timeout(SOON).unwrap();
    assert!(head.starts_with("POST /hook-path ") && head.contains(&format!("Bearer {TOKEN}")), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["event"], &body["alarms"][0]["kind"]), (&"alarm".into(), &"damaged".into()), "{body}");
    assert!(body["text"].as_str().unwrap().contains("packs/"), "{body}");
    let mail = mailed.recv_timeout(SOON).unwrap();
    assert!(mail.contains("Subject: Lifeboat on ") && mail.contains("damaged of prod"), "{mail}");
    assert!(mail.contains("RCPT TO:<ops@example.com>") && mail.contains("AUTH PLAIN "), "{mail}");
    let by_command: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(by_command["alarms"], body["alarms"]);
    let environment = std::fs::read_to_string(&environment).unwrap();
    assert!(!environment.contains("HOME=") && !environment.contains("CARGO"), "{environment}");
    refused.recv_timeout(SOON).unwrap();

    // Again: nobody is told twice, the broken one waits, and the heart stands still.
    let again = notify(&site, 0);
    assert_eq!(
        (&again["well"], &again["channels"]["mail-1"]),
        (&Value::Bool(false), &"nothing new".into()),
        "{again}"
    );
    assert!(beats.try_recv().is_err(), "a heartbeat while an alarm is open");
    assert!(hooked.try_recv().is_err() && mailed.try_recv().is_err() && refused.try_recv().is_err());

    // Repaired: the end is told when it stayed away; what was written down is made to look old.
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
    notify(&site, 0);
    let memory = site.path("vault/.lifeboat/notify.json");
    let told: String = std::fs::read_to_string(&memory).unwrap();
    let mut told: Value = serde_json::from_str(&told).unwrap();
    for one in told["channels"]["webhook-1"]["open"].as_object_mut().unwrap().values_mut() {
        assert!(one["gone_since"].is_string(), "{one}");
        one["gone_since"] = "2026-01-01T00:00:00Z".into();
    }
    std::fs::write(&memory, told.to_string()).unwrap();
    notify(&site, 0);
    let recovery: Value = serde_json::from_str(&hooked.recv_timeout(SOON).unwrap().1).unwrap();
    assert_eq!((&recovery["event"], &recovery["open"]), (&"recovery".into(), &0.into()), "{recovery}");
    assert!(beats.recv_timeout(SOON).is_ok(), "it beats again");
    assert_eq!(code(&site.run(&["notify", "--test"])), 1, "one channel is broken, and said to be");
    let test: Value = serde_json::from_str(&hooked.recv_timeout(SOON).unwrap().1).unwrap();
    assert_eq!(test["event"], "test");
}

#[test]
fn what_is_configured_wrongly_is_refused_with_the_key() {
    let primary = Primary::recent("prod", 1);
    let site = Site::new(&primary);
    let before = std::fs::read_to_string(&site.config).unwrap();
    for (table, said) in [
        ("[[notify.webhook]]\nname = \"x\"", "notify.webhook needs either url or url_file"),
        ("[[notify.webhook]]\nurl = \"ftp://x/\"", "notify.webhook: It is no URL"),
        ("[[notify.command]]\nrun = [\"relative\"]", "notify.command needs run"),
        ("[[notify.mail]]\nserver = \"x\"\nfrom = \"nobody\"\nto = []", "'nobody' is no address"),
        ("[notify.heartbeat]\nevery_seconds = 5", "notify.heartbeat needs either"),
        ("[http]\nlisten = \"everywhere\"", "socket address"),
    ] {
        append(&site, table);
        let output = site.run(&["status"]);
        assert_eq!(code(&output), 2, "{table}");
        assert!(text(&output.stderr).contains(said), "{table}: {}", text(&output.stderr));
        std::fs::write(&site.config, &before).unwrap();
    }
    assert_eq!(code(&site.run(&["http"])), 2, "nothing listens where nobody said so");
    assert_eq!(code(&site.run(&["notify", "--once"])), 2);
}

/// The server, and its address from its log.
fn serve(mut command: std::process::Command) -> (Running, SocketAddr) {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let running = Running(child);
    let address = lines.by_ref().map_while(Result::ok).find_map(|l| {
        let log: Value = serde_json::from_str(&l).ok()?;
        log["fields"]["address"].as_str().or(log["address"].as_str())?.parse().ok()
    });
    // Whatever it says later must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (running, address.expect("it says where it listens"))
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_server_says_how_things_are_and_needs_no_right_to_write() {
    let primary = Primary::recent("prod", 2);
    let site = Site::new(&primary);
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
    let plain = site.command(&["http", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    // Where this user may: everything read-only, as its unit has it.
    let bound = std::process::Command::new("unshare").args(["--mount", "true"]).status();
    let may = bound.is_ok_and(|s| s.success());
    let command = if may {
        let mut shut = std::process::Command::new("unshare");
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
        shut.args(["--mount", "sh", "-c", script, "sh"]).arg(site.path(""));
        shut.arg(plain.get_program()).args(plain.get_args());
        shut.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        shut
    } else {
        plain
    };
    let (_running, address) = serve(command);
    let ready = get(address, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let scrape = get(address, "/metrics");
    for line in [
        "lifeboat_replicator_readable 1",
        "lifeboat_replicator_snapshots{cluster=\"prod\",side=\"vault\"} 2",
        "lifeboat_replicator_snapshots{cluster=\"prod\",side=\"primary\"} 2",
        "lifeboat_replicator_rpo_seconds{cluster=\"prod\"} ",
        "lifeboat_replicator_protected_until_timestamp_seconds{cluster=\"prod\"} ",
        "lifeboat_replicator_disk_free_bytes ",
    ] {
        assert!(scrape.contains(line), "{line} is not in\n{scrape}");
    }
    let page = get(address, "/");
    assert!(page.contains("All backups are well") && page.contains("2 snapshots of 1 cluster"), "{page}");
    if may {
        // A pull at work beside it: what it writes is seen, also while it holds its log open.
        let mut child = site.command(&["pull"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(8));
        let beside = get(address, "/metrics");
        drop((child.kill(), child.wait()));
        assert!(beside.contains("lifeboat_replicator_readable 1"), "{beside}");
        std::thread::sleep(Duration::from_secs(6));
        let killed = get(address, "/readyz");
        assert!(killed.starts_with("HTTP/1.1 200 "), "what a killed pull left is read: {killed}");
    }
    let status: Value = serde_json::from_slice(&site.run(&["status", "--json"]).stdout).unwrap();
    let cluster = &status["clusters"][0];
    assert_eq!(cluster["in_primary"]["snapshots"], 2, "{status:#}");
    assert!(cluster["protected_until"].is_string() && cluster["rpo_hours"].is_u64(), "{status:#}");
    assert!(
        status["space"]["free"].is_u64() && cluster["warnings"].as_array().unwrap().is_empty(),
        "{status:#}"
    );
}
