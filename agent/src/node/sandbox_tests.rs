//! Tests of the parent. The filter is for good, so each is in a process of its own.

use super::*;
use rustix::fs::{CWD, Mode, OFlags};
use std::process::{Command, Stdio};

/// In the child: the folder that it works in.
const FOLDER: &str = "LIFEBOAT_TEST_SANDBOX";

#[test]
fn the_filter_lets_files_be_read_and_nothing_be_written_or_reached() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--ignored", "--nocapture", "node::sandbox::tests::inside"]);
    child.env(FOLDER, folder.path()).stdin(Stdio::null());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["file"], "nothing was made, renamed or removed");
    assert_eq!(std::fs::read_to_string(folder.path().join("file")).unwrap(), "content");
}

#[test]
#[ignore = "started by the test before"]
fn inside() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    // A thread that is there already is under it, too.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let other = folder.clone();
    let earlier = std::thread::spawn(move || {
        let _ = gone.recv();
        std::fs::write(other.join("by another thread"), "x").map_err(|e| e.raw_os_error())
    });
    install().unwrap();
    go.send(()).unwrap();
    assert_eq!(earlier.join().unwrap(), Err(Some(libc::EPERM)));
    let file = folder.join("file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::thread::spawn(|| 1).join().unwrap();
    writes(&folder, &file);
    reaches();
}

fn refused<T, E: std::fmt::Debug>(what: &str, done: Result<T, E>, code: impl Fn(&E) -> Option<i32>) {
    let error = done.err().unwrap_or_else(|| panic!("{what} was not refused"));
    assert_eq!(code(&error), Some(libc::EPERM), "{what}: {error:?}");
}

fn writes(folder: &std::path::Path, file: &std::path::Path) {
    use std::fs;
    let new = folder.join("new");
    let os = |e: &std::io::Error| e.raw_os_error();
    refused("write", fs::write(file, "other"), os);
    refused("append", fs::OpenOptions::new().append(true).open(file), os);
    refused("read and write", fs::OpenOptions::new().read(true).write(true).open(file), os);
    refused("create", fs::File::create(&new), os);
    refused("remove", fs::remove_file(file), os);
    refused("rename", fs::rename(file, &new), os);
    refused("link", fs::hard_link(file, &new), os);
    refused("symlink", std::os::unix::fs::symlink(file, &new), os);
    refused("mkdir", fs::create_dir(&new), os);
    refused("chmod", fs::set_permissions(file, fs::metadata(file).unwrap().permissions()), os);
    refused("chown", std::os::unix::fs::chown(file, Some(0), None), os);
    let errno = |e: &rustix::io::Errno| Some(e.raw_os_error());
    let create = OFlags::RDONLY | OFlags::CREATE;
    refused("create to read", rustix::fs::openat(CWD, &new, create, Mode::RUSR), errno);
    let truncate = OFlags::RDONLY | OFlags::TRUNC;
    refused("truncate", rustix::fs::openat(CWD, file, truncate, Mode::empty()), errno);
    let nameless = OFlags::TMPFILE | OFlags::RDWR;
    refused("a nameless file", rustix::fs::openat(CWD, folder, nameless, Mode::RUSR), errno);
    let resolve = rustix::fs::ResolveFlags::empty();
    refused("openat2", rustix::fs::openat2(CWD, file, OFlags::RDONLY, Mode::empty(), resolve), errno);
    let set = rustix::fs::setxattr(file, "user.x", b"y", rustix::fs::XattrFlags::empty());
    refused("setxattr", set, errno);
}

fn reaches() {
    let os = |e: &std::io::Error| e.raw_os_error();
    refused("exec", Command::new("/proc/self/exe").arg("--version").status(), os);
    let errno = |e: &rustix::io::Errno| Some(e.raw_os_error());
    refused("chroot", rustix::process::chroot("/"), errno);
    // Each call that is in the list is in the program: the number stands in a comparison.
    let program = program().unwrap();
    for call in DENIED.iter().chain(OLDER).chain(LATER) {
        let number = u32::try_from(*call).unwrap();
        assert!(program.iter().any(|i| i.code == 0x15 && i.k == number), "{call}");
    }
}
