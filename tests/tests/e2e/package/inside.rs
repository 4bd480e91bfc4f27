//! What the units' sandboxes refuse, tried from inside: each unit's own file, with another program in it that tries.

use super::{Host, STORE};
use crate::systemd::tell;
use serde_json::Value;

/// Tries each thing and prints what came of it as JSON.
const TRIES: &str = r#"
import json, os, socket, subprocess, sys
out = {}
def attempt(name, what):
    try:
        what()
        out[name] = "allowed"
    except OSError as e:
        out[name] = e.strerror
def touch(folder):
    open(folder + "/a-try", "w").close()
    os.unlink(folder + "/a-try")
for folder in ["/etc", "/etc/lifeboat", "/usr/bin", "/usr/lib/systemd/system", "/var/lib", "/var/log", "/srv", "/opt",
               "/boot", "/proc/sys/kernel", "/sys/kernel", "/dev", "/run/systemd", "/var/lib/lifeboat"]:
    attempt("write " + folder, lambda: touch(folder))
def listen():
    s = socket.socket(socket.AF_INET)
    s.bind(("127.0.0.1", 0))
    s.listen()
attempt("listen", listen)
def sneak():
    s = socket.socket(socket.AF_INET)
    s.listen()
attempt("listen without bind", sneak)
def connect():
    host, port = sys.argv[1].split(":")
    socket.create_connection((host, int(port)), 5)
attempt("connect", connect)
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("run", lambda: subprocess.run(["/usr/bin/id"]))
attempt("home", lambda: os.listdir("/root"))
attempt("own credential of another unit", lambda: os.listdir("/etc/credstore.encrypted"))
def others():
    if [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]:
        raise PermissionError(0, "seen")
attempt("see nobody", others)
print(json.dumps(out))
"#;

/// The unit's file with a Python in it that may be executed, and nothing else changed of what holds it.
fn with_python(unit: &str, python: &str) -> String {
    let drop =
        ["ExecStart=", "ExecReload=", "Type=", "Restart", "WatchdogSec=", "NotifyAccess=", "Conflicts="];
    let lines = unit.lines().filter(|line| !drop.iter().any(|d| line.starts_with(d)));
    let run =
        format!("Type=oneshot\nExecStart={python} -I /usr/share/tries.py {STORE}\nExecPaths={python}\n");
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    text.replacen("[Service]\n", &format!("[Service]\n{run}"), 1)
}

fn tries(host: &Host, name: &str, python: &str) -> Value {
    let unit = host.run(&["cat", &format!("/usr/lib/systemd/system/lifeboat-replicator{name}.service")]);
    let tried = format!("tries{name}.service");
    let path = format!("/etc/systemd/system/{tried}");
    host.systemd.put_file(&path, 0o644, with_python(&unit, python).as_bytes()).unwrap();
    host.run(&["systemctl", "daemon-reload"]);
    let ran = host.systemd.run(&["systemctl", "start", &tried]);
    let journal = host.systemd.journal(&tried).unwrap();
    assert!(ran.is_ok(), "{journal}");
    let line = journal.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{journal}"));
    serde_json::from_str(line).unwrap()
}

pub(super) fn no_unit_does_what_it_is_not_for(host: &Host) {
    let python = host.run(&["readlink", "-f", "/usr/bin/python3"]).trim().to_owned();
    host.systemd.put_file("/usr/share/tries.py", 0o644, TRIES.as_bytes()).unwrap();
    for name in ["-pull", "-retain", "-scrub"] {
        let tried = tries(host, name, &python);
        tell(&format!("lifeboat-replicator{name}: {tried}"));
        let allowed: Vec<&str> =
            tried.as_object().unwrap().iter().filter(|t| t.1 == "allowed").map(|t| t.0.as_str()).collect();
        // Its own directory; and the network outward, where it has one.
        let mut expected = vec!["see nobody", "write /var/lib/lifeboat"];
        if name != "-scrub" {
            expected.insert(0, "connect");
        }
        assert_eq!(allowed, expected, "{name}: {tried:#}");
    }
}
