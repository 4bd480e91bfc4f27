//! The filter of system calls that the daemon puts on itself: what it never needs and an intruder would. After it the
//! process can write into no file system, reach no other process, and open nothing but by its path.
//! Sources: seccomp(2), Linux `Documentation/userspace-api/seccomp_filter.rst`; the list of containerd's default profile.
//!
//! A filter of the container runtime cannot do this: the usual one allows open_by_handle_at(2) to whoever has
//! CAP_DAC_READ_SEARCH, and with it every file of the node is read past the container's mounts ("Shocker", 2014).
//! A read-only mount cannot either: it does not cover the volumes that are mounted below it.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads, sock_filter,
};
use std::collections::BTreeMap;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error(
        "There is no filter of system calls for this processor: {0}; run the daemon on x86_64 or aarch64"
    )]
    Processor(String),
    #[error(
        "The filter of system calls cannot be installed: {0}; the kernel must have seccomp, and the container's profile must allow seccomp(2)"
    )]
    Install(String),
}

/// Refused whatever their arguments.
#[rustfmt::skip]
const DENIED: &[i64] = &[
    // Files by handle instead of by path: past every mount of this container.
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    // Mounts and namespaces.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_mount_setattr,
    libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount,
    libc::SYS_fspick, libc::SYS_setns, libc::SYS_unshare,
    // Other processes, and other programs.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open, libc::SYS_kcmp, libc::SYS_execve, libc::SYS_execveat,
    // The kernel itself.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_keyctl, libc::SYS_add_key,
    libc::SYS_request_key, libc::SYS_kexec_load, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct,
    libc::SYS_syslog, libc::SYS_quotactl, libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime,
    libc::SYS_adjtimex, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_vhangup,
    libc::SYS_lookup_dcookie, libc::SYS_personality, libc::SYS_fanotify_init,
    // What opens files past this filter: rings of operations, and flags behind a pointer.
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_openat2,
    // Whatever changes a file system.
    libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_mkdirat,
    libc::SYS_mknodat, libc::SYS_fchmodat, libc::SYS_fchmod, libc::SYS_fchownat, libc::SYS_fchown,
    libc::SYS_utimensat, libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_setxattr,
    libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

/// The older names of the same, which only this processor has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[i64] = &[
    libc::SYS_unlink, libc::SYS_rmdir, libc::SYS_rename, libc::SYS_renameat, libc::SYS_link, libc::SYS_symlink,
    libc::SYS_mkdir, libc::SYS_mknod, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime,
    libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_creat, libc::SYS_uselib, libc::SYS_iopl, libc::SYS_ioperm,
    libc::SYS_modify_ldt, libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[libc::SYS_renameat];

/// Added to Linux lately, with the same number on every processor: setxattrat, removexattrat, open_tree_attr,
/// fchmodat2, file_setattr.
const LATER: &[i64] = &[463, 466, 467, 452, 469];

/// Puts the filter on every thread of this process, and on all that it starts. It cannot be taken off.
///
/// # Errors
/// The kernel or the container's profile does not let it be installed: the daemon does not go on then.
pub fn install() -> Result<(), SandboxError> {
    apply_filter_all_threads(&program()?).map_err(|e| SandboxError::Install(e.to_string()))
}

fn program() -> Result<BpfProgram, SandboxError> {
    let processor = |e: &dyn std::fmt::Display| SandboxError::Processor(e.to_string());
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| processor(&e))?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        [DENIED, OLDER, LATER].concat().into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_openat, writing(2).map_err(|e| processor(&e))?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writing(1).map_err(|e| processor(&e))?);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).map_err(|e| processor(&e))?;
    let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| processor(&e))?;
    Ok(guarded(program))
}

/// Opening in a way that can write or create; the flags are argument `flags`.
fn writing(flags: u8) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let bits = |mask: libc::c_int, value: libc::c_int| {
        let (mask, value) = (u64::from(mask.unsigned_abs()), u64::from(value.unsigned_abs()));
        let condition =
            SeccompCondition::new(flags, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)?;
        SeccompRule::new(vec![condition])
    };
    [
        bits(libc::O_ACCMODE, libc::O_WRONLY),
        bits(libc::O_ACCMODE, libc::O_RDWR),
        bits(libc::O_ACCMODE, libc::O_ACCMODE),
        bits(libc::O_CREAT, libc::O_CREAT),
        bits(libc::O_TRUNC, libc::O_TRUNC),
    ]
    .into_iter()
    .collect()
}

/// The x32 interface of x86_64 has the same calls under other numbers, all with this bit: refused as unknown.
fn guarded(program: BpfProgram) -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    // Classic BPF: BPF_LD|BPF_W|BPF_ABS of `seccomp_data.nr`, BPF_JMP|BPF_JGE|BPF_K, BPF_RET|BPF_K.
    let load = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let test = sock_filter { code: 0x35, jt: 0, jf: 1, k: X32 };
    let refuse = sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS.unsigned_abs() };
    if cfg!(target_arch = "x86_64") { [vec![load, test, refuse], program].concat() } else { program }
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;
