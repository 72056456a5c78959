//! Random programs on a hart and under QEMU's user mode emulation: all registers and all memory are the same at the end.
//!
//! QEMU is in the folder that `RINGWRIGHT_PEERS` names, which `cargo xtask test` sets up. `RINGWRIGHT_CASES` sets how many
//! programs are run, `RINGWRIGHT_SEED` the first of them.

mod generate;
mod program;

use program::Program;

/// Programs of an ordinary run.
const CASES: u64 = 40;

#[test]
fn random_programs_end_alike() {
    let Some(qemu) = program::qemu() else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    let first = number("RINGWRIGHT_SEED").unwrap_or(1);
    let cases = number("RINGWRIGHT_CASES").unwrap_or(CASES);
    let mut instructions = 0;
    for seed in first..first + cases {
        let program = Program::new(generate::random(seed));
        let (ours, retired) = program.on_a_hart();
        let theirs = program.under(&qemu);
        assert_eq!(ours.len(), theirs.len(), "seed {seed}");
        for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(
                our,
                their,
                "seed {seed}: {}: {our:#018x}, not {their:#018x}",
                program::place(index)
            );
        }
        instructions += retired;
    }
    assert!(instructions > 2000 * cases, "the programs are not empty");
    println!("instructions in {cases} programs: {instructions}");
}
