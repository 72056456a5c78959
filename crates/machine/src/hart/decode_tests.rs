//! What running an instruction cannot tell.

use super::*;

#[test]
fn a_decoded_instruction_is_eight_bytes() {
    assert_eq!(size_of::<Op>(), 8);
}

/// Only a FENCE that orders writes before reads costs something.
#[test]
fn kinds_of_fences() {
    let fence = |mode: u32, predecessor: u32, successor: u32| {
        decode(mode << 28 | predecessor << 24 | successor << 20 | 0x0f, 0, 1)
    };
    let (input, output, read, write) = (8, 4, 2, 1);
    for (mode, predecessor, successor, expected) in [
        (0, 15, 15, Op::FenceFull),
        (0, read | write, read | write, Op::FenceFull),
        (0, write, read, Op::FenceFull),
        (0, output, input, Op::FenceFull),
        (0, output, read, Op::FenceFull),
        (0, read, read | write, Op::FencePartial),
        (0, read | write, write, Op::FencePartial),
        (0, input | read, 15, Op::FencePartial),
        (0, 15, output | write, Op::FencePartial),
        // PAUSE, and FENCE.TSO.
        (0, write, 0, Op::FencePartial),
        (8, read | write, read | write, Op::FencePartial),
    ] {
        assert_eq!(
            fence(mode, predecessor, successor),
            expected,
            "{mode} {predecessor:#x} {successor:#x}"
        );
    }
}

/// Immediates at their ends, and relative to the start of a block.
#[test]
fn targets_of_branches_and_jumps() {
    // BEQ x0, x0, -4096; JAL x1, -1048576; JAL x1, 1048574.
    let target = -4096 + 4094;
    assert_eq!(
        decode(0x8000_0063, 4094, 9),
        Op::Beq {
            rs1: 0,
            rs2: 0,
            done: 9,
            target
        }
    );
    assert_eq!(
        decode(0x8000_00ef, 16, 1),
        Op::Jal {
            rd: 1,
            target: -0x10_0000 + 16
        }
    );
    assert_eq!(
        decode(0x7fff_f0ef, 0, 1),
        Op::Jal {
            rd: 1,
            target: 0xf_fffe
        }
    );
    assert_eq!(decode(0x0000_006f, 8, 1), Op::Spin);
}
