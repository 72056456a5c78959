//! The shell of a real Linux guest in the embedded machine is one as anywhere: Ctrl-C ends what runs in it, and every usual
//! way to end the guest does.
//!
//! Needs the peers, and a release build for the guest to be fast:
//! `cargo test --release --package ringwright --test shell -- --ignored`, with RINGWRIGHT_PEERS as `cargo xtask setup boot`
//! says. It is a step of `cargo xtask test`.

mod guest;

use guest::Guest;

#[test]
#[ignore = "needs a release build and the peers"]
fn every_way_out_of_the_shell_ends_the_guest() {
    for (words, bus) in [
        ("poweroff", "pci"),
        ("reboot", "mmio"),
        ("halt", "mmio"),
        ("exit", "pci"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = Guest::start(folder.path(), &["--bus", bus]);
        guest.wait_for("# ");
        guest.type_in(&format!("{words}\n"));
        let said = guest.end();
        assert!(
            !said.contains("not found") && !said.contains("can't access tty"),
            "{said}"
        );
    }
}

#[test]
#[ignore = "needs a release build and the peers"]
fn ctrl_c_ends_what_runs_in_the_shell_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::start(folder.path(), &[]);
    guest.wait_for("# ");
    // The marks are not in the words that the terminal echoes.
    guest.type_in("echo it\"-\"runs; sleep 1000\n");
    guest.wait_for("it-runs");
    guest.type_in("\x03");
    guest.type_in("echo it\"-\"goes-on; poweroff\n");
    guest.wait_for("it-goes-on");
    guest.end();
}
