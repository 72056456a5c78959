//! Seccomp: which system calls the process makes.
//!
//! The strictest of several filters counts. The last is a list of what is let through. The others are for calls that the C
//! library tries before something else, or whose failure it expects: they fail as if the system did not have them, or did not
//! allow them, whereas what is on no list is a breach, and ends the process.

use std::collections::BTreeMap;

use libc::{EACCES, ENOSYS, c_long};
use ringwright_sys::tap::TUNSETOFFLOAD;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::{Mode, Needs};

/// For each system call the rules of which one has to be met; none for whatever arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// `PR_GET_AUXV` of `linux/prctl.h`: what the kernel told the program at its start.
const PR_GET_AUXV: i32 = 0x4155_5856;

/// Those that need no look at their arguments.
const PLAIN: &[c_long] = &[
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_memfd_create,
    // Threads and signals.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Descriptors.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    // Files that are open.
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    // Sockets that are open.
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getrandom,
];

/// Those that only older machines have; later ones have others for the same.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// What has a path: for files that are not open, of which none is needed any more.
const PATHS: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_unlinkat,
];
#[cfg(target_arch = "x86_64")]
const OLD_PATHS: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_access,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_PATHS: &[c_long] = &[];

/// Of `linux/fs.h`: `_IO(0x12, 119)`.
const BLKDISCARD: u64 = 0x1277;

/// From now on, no thread makes other system calls.
pub fn restrict(mode: Mode, needs: &Needs) -> Result<(), Error> {
    let refuse = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    let paths = PATHS.iter().chain(OLD_PATHS).copied();
    let mut allowed = allowed(needs)?;
    // Its flags are in memory, where no filter sees them; the C library then uses the one whose flags are not.
    let no_clone3 = program(
        [(libc::SYS_clone3, Vec::new())].into(),
        SeccompAction::Allow,
        refuse(ENOSYS),
    )?;
    allowed.insert(libc::SYS_clone3, Vec::new());
    let mut programs = vec![no_clone3];
    match mode {
        Mode::Log => programs.push(program(allowed, SeccompAction::Log, SeccompAction::Allow)?),
        _ => {
            let mut refused: Rules = paths.map(|call| (call, Vec::new())).collect();
            allowed.extend(refused.clone());
            // Of what has a name. Of what is open it is let through.
            for (call, flags) in [(libc::SYS_newfstatat, 3), (libc::SYS_statx, 2)] {
                refused.insert(call, vec![rule(&[(flags, has(libc::AT_EMPTY_PATH), 0)])?]);
                allowed.insert(call, Vec::new());
            }
            programs.push(program(refused, SeccompAction::Allow, refuse(EACCES))?);
            programs.push(program(allowed, SeccompAction::Trap, SeccompAction::Allow)?);
        }
    }
    programs
        .iter()
        .try_for_each(|program| seccompiler::apply_filter_all_threads(program))
}

/// What is let through.
fn allowed(needs: &Needs) -> Result<Rules, Error> {
    let plain = PLAIN.iter().chain(OLD).map(|call| (*call, Vec::new()));
    let mut rules: Rules = plain.collect();
    let mut add = |call: c_long, conditions: &[(u8, Is, u64)]| -> Result<(), Error> {
        rules.entry(call).or_default().push(rule(conditions)?);
        Ok(())
    };
    // Nothing new becomes code.
    let executable = has(libc::PROT_EXEC);
    add(libc::SYS_mmap, &[(2, executable.clone(), 0)])?;
    add(libc::SYS_mprotect, &[(2, executable, 0)])?;
    // Threads, no processes.
    let thread = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    add(libc::SYS_clone, &[(0, has(thread), thread as u64)])?;
    let own = u64::from(std::process::id());
    add(libc::SYS_tgkill, &[(0, Is::Eq, own)])?;
    for option in [libc::PR_SET_NAME, PR_GET_AUXV] {
        add(libc::SYS_prctl, &[(0, Is::Eq, option as u64)])?;
    }
    add(libc::SYS_sched_setaffinity, &[(0, Is::Eq, 0)])?;
    // No device's own requests, but that of disks to discard, and one of taps.
    for request in [libc::FIONBIO, libc::TIOCGSID, BLKDISCARD] {
        add(libc::SYS_ioctl, &[(1, Is::Eq, request)])?;
    }
    if needs.tap {
        add(libc::SYS_ioctl, &[(1, Is::Eq, TUNSETOFFLOAD.into())])?;
    }
    // Of what is open, not of what has a name.
    for (call, flags) in [(libc::SYS_newfstatat, 3), (libc::SYS_statx, 2)] {
        add(
            call,
            &[(flags, has(libc::AT_EMPTY_PATH), libc::AT_EMPTY_PATH as u64)],
        )?;
    }
    // To and from those who are connected.
    add(libc::SYS_sendto, &[(4, Is::Eq, 0), (5, Is::Eq, 0)])?;
    add(libc::SYS_recvfrom, &[(4, Is::Eq, 0), (5, Is::Eq, 0)])?;
    if needs.io_uring {
        for call in [
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ] {
            rules.insert(call, Vec::new());
        }
    }
    connecting(&mut rules, needs)?;
    Ok(rules)
}

/// Stream sockets, if a server is to be found again when it has gone away.
fn connecting(rules: &mut Rules, needs: &Needs) -> Result<(), Error> {
    let tcp: &[i32] = if needs.ports.is_empty() {
        &[]
    } else {
        &[libc::AF_INET, libc::AF_INET6]
    };
    let unix: &[i32] = if needs.unix { &[libc::AF_UNIX] } else { &[] };
    for family in tcp.iter().chain(unix) {
        let family = u64::from(family.unsigned_abs());
        // Beside flags.
        let stream = (1, Is::MaskedEq(0xf), libc::SOCK_STREAM as u64);
        let rule = rule(&[(0, Is::Eq, family), stream])?;
        rules.entry(libc::SYS_socket).or_default().push(rule);
        rules.insert(libc::SYS_connect, Vec::new());
    }
    Ok(())
}

/// Met if all of these arguments, by number, compare like that with the values.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule, Error> {
    let conditions = conditions
        .iter()
        .map(|(argument, is, value)| SeccompCondition::new(*argument, Length::Dword, is.clone(), *value));
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

/// Compares these bits only.
fn has(bits: i32) -> Is {
    Is::MaskedEq(u64::from(bits.unsigned_abs()))
}

/// A filter for what has these rules, and for everything else.
fn program(rules: Rules, others: SeccompAction, these: SeccompAction) -> Result<BpfProgram, Error> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, others, these, machine)?.try_into()?)
}
