//! `ringwright boot` with kernels that cannot be booted, give up or go astray: each gets a clear message and an exit code, and
//! no guest keeps the program from ending. The kernels are a few instructions long, so nothing has to be fetched.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Calls the firmware, with these arguments and the numbers of extension and function.
fn call(extension: u32, function: u32, arguments: [u32; 2]) -> Vec<u32> {
    let [a0, a1] = arguments.map(|argument| argument << 20 | 0x13);
    let low = (extension as i32) << 20 >> 20;
    let high = extension.wrapping_sub(low as u32);
    vec![
        a0 | 10 << 7,
        a1 | 11 << 7,
        high | 17 << 7 | 0x37,
        (low as u32) << 20 | 17 << 15 | 17 << 7 | 0x13,
        function << 20 | 16 << 7 | 0x13,
        0x73,
    ]
}

/// Writes a text to the debug console.
fn say(text: &str) -> Vec<u32> {
    text.bytes()
        .flat_map(|byte| call(0x4442_434e, 2, [byte.into(), 0]))
        .collect()
}

fn reset(kind: u32) -> Vec<u32> {
    call(0x5352_5354, 0, [kind, 0])
}

/// A kernel that runs these instructions.
fn kernel(program: &[u32]) -> Vec<u8> {
    let mut file = vec![0; 64];
    // A jump over the header.
    file[..4].copy_from_slice(&0x0400_006fu32.to_le_bytes());
    file[8..16].copy_from_slice(&0x20_0000u64.to_le_bytes());
    file[16..24].copy_from_slice(&0x1_0000u64.to_le_bytes());
    file[56..60].copy_from_slice(b"RSC\x05");
    file.extend(program.iter().flat_map(|word| word.to_le_bytes()));
    file
}

/// A folder with what `boot` looks for, and this kernel.
fn peers(kernel: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in ["kernels/riscv64/modules", "guest/riscv64/e2fsprogs"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    for (path, content) in [
        ("kernels/riscv64/vmlinuz", kernel),
        ("kernels/riscv64/modules/modules.dep", b""),
        ("guest/riscv64/busybox", b""),
    ] {
        fs::write(folder.path().join(path), content).unwrap();
    }
    folder
}

fn boot(peers: &Path, arguments: &str) -> Output {
    command(peers, arguments).output().unwrap()
}

fn command(peers: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwright"));
    command
        .args(["boot", "--peers"])
        .arg(peers)
        .args(arguments.split_whitespace());
    command
        .current_dir(peers)
        .stdin(Stdio::null())
        .env("RUST_LOG", "off");
    command
}

/// Boots, and checks that it fails with a message that has all of `words`.
fn fails(kernel: &[u8], arguments: &str, words: &[&str]) {
    let folder = peers(kernel);
    let output = boot(folder.path(), arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments}: no `{word}` in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn a_guest_that_switches_itself_off_is_a_success() {
    let folder = peers(&kernel(&reset(0)));
    for arguments in [
        "",
        "--bus mmio --legacy --harts 3",
        "--bus mixed --ring packed",
        "--interrupts intx",
    ] {
        let output = boot(folder.path(), arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
    }
}

#[test]
fn a_guest_has_as_many_harts_as_were_asked_for() {
    // Asks for the status of hart 2, and goes astray if there is none.
    let status = call(0x48_534d, 2, [2, 0]);
    let kernel = kernel(&[status, vec![0x0005_0463, 0x6f], reset(0)].concat());
    fails(&kernel, "--harts 2", &["jumps to itself"]);
    let output = boot(peers(&kernel).path(), "--harts 3");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_no_kernel_for_this_machine_is_called_what_it_is() {
    let mut x86 = vec![0; 0x400];
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    fails(&x86, "", &["cannot boot", "vmlinuz", "x86"]);
    fails(&[0; 4096], "", &["not a Linux Image for RISC-V"]);
    fails(b"", "", &["shorter than a header"]);
    fails(&[0x1f, 0x8b, 8, 0], "", &["cannot be unpacked"]);
    let mut cut = kernel(&[]);
    cut[..2].copy_from_slice(b"MZ");
    cut[60..64].copy_from_slice(&0x40u32.to_le_bytes());
    fails(&cut, "", &["truncated"]);
}

#[test]
fn files_that_are_not_there_are_named() {
    fails(&kernel(&[]), "--kernel nowhere", &["nowhere", "missing"]);
    fails(&kernel(&[]), "--initrd nowhere", &["nowhere", "No such file"]);
    fails(&kernel(&[]), "--disk nowhere", &["nowhere"]);
    fails(
        &kernel(&[]),
        "--restore nowhere --disk disk",
        &["nowhere", "No such file"],
    );
    let folder = peers(&kernel(&[]));
    fs::write(folder.path().join("disk"), [0; 512]).unwrap();
    let output = boot(folder.path(), "--restore kernels/riscv64/vmlinuz --disk disk");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && message.contains("no snapshot"),
        "{message}"
    );
}

#[test]
fn too_little_memory_is_said_in_numbers() {
    let folder = peers(&kernel(&[]));
    let initrd = fs::File::create(folder.path().join("large")).unwrap();
    initrd.set_len(100 << 20).unwrap();
    let output = boot(folder.path(), "--memory 128 --initrd large");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        message.contains("too little memory") && message.contains("the machine has 128 MiB"),
        "{message}"
    );
}

#[test]
fn a_kernel_that_panics_says_why_and_what_came_before() {
    let words = "it goes well\nKernel panic - not syncing: no init\n";
    let program = [say(words), reset(1)].concat();
    fails(&kernel(&program), "", &["given up: no init", "it goes well"]);
}

#[test]
fn a_guest_that_cannot_go_on_is_ended_with_a_look_at_its_registers() {
    // A load from 0 with the trap handler at 0; and a jump to itself.
    fails(
        &kernel(&[say("here"), vec![0x0000_3503]].concat()),
        "",
        &["hart 0", "traps itself", "here", "sstatus"],
    );
    fails(&kernel(&[0x6f]), "", &["jumps to itself", "hart 0", "sstatus"]);
}

#[test]
fn a_guest_that_never_shows_a_shell_is_ended_in_time() {
    // Counts for ever.
    fails(
        &kernel(&[0x0012_8293, 0xffdf_f06f]),
        "--timeout 1",
        &["within 1 s", "instructions executed", "hart 0"],
    );
}

#[test]
fn a_standard_error_that_takes_nothing_changes_nothing() {
    let folder = peers(&kernel(
        &[say("RINGWRIGHT|guest|kernel|ok|here\n"), reset(0)].concat(),
    ));
    for arguments in ["--check --bus mmio --legacy", "--kernel nowhere"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = command(folder.path(), arguments);
        let output = command.stderr(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let report = String::from_utf8(output.stdout).unwrap();
        // The guest's line is in the report, although its echo has failed. This guest has not checked anything.
        for words in ["kernel", "stopped before the end"] {
            assert_eq!(report.contains(words), arguments.contains("--check"), "{report}");
        }
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    fails(&kernel(&[]), "--legacy --ring packed", &["split virtqueues only"]);
    fails(&kernel(&[]), "--engine qemu --bus mmio", &["embedded machine"]);
}
