//! The widths of the fields of configuration spaces.

use ringwright_memory::Width;
use ringwright_spec::{block, console, network};

/// The width of accesses to the field at `offset` of a device type's configuration space; `None` if there is no field.
pub(in crate::driver::rules) fn field_width(id: u32, offset: u64) -> Option<Width> {
    let fields = match id {
        id if id == block::DEVICE.id => BLOCK,
        id if id == console::DEVICE.id => CONSOLE,
        id if id == network::DEVICE.id => NETWORK,
        _ => &[],
    };
    let field = fields
        .iter()
        .find(|(start, end, _)| (*start..*end).contains(&offset));
    field.map(|(_, _, width)| *width)
}

/// First byte, last byte and one more, width.
type Fields = &'static [(u64, u64, Width)];

const BLOCK: Fields = &[
    (0, 16, Width::Four),
    (16, 18, Width::Two),
    (18, 20, Width::One),
    (20, 24, Width::Four),
    (24, 26, Width::One),
    (26, 28, Width::Two),
    (28, 32, Width::Four),
    (32, 34, Width::One),
    (34, 36, Width::Two),
    (36, 56, Width::Four),
    (56, 60, Width::One),
    (60, 92, Width::Four),
    (92, 96, Width::One),
];

const CONSOLE: Fields = &[(0, 4, Width::Two), (4, 12, Width::Four)];

const NETWORK: Fields = &[
    (0, 6, Width::One),
    (6, 12, Width::Two),
    (12, 16, Width::Four),
    (16, 18, Width::One),
    (18, 20, Width::Two),
    (20, 28, Width::Four),
];
