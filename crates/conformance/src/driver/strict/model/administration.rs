//! The administration virtqueue of a strict device (section 2.13): it has the commands that say which commands there are.

use ringwright_memory::Memory;
use ringwright_spec::admin::{CmdHeader, CmdStatus, GroupType, Opcode, Status, StatusQualifier};
use zerocopy::{FromZeros, IntoBytes};

use super::{Done, MOST, fill, readable};
use crate::driver::event::Chain;

/// The commands that there are, as a list of opcodes.
const COMMANDS: u64 = 1 << Opcode::LIST_QUERY.0 | 1 << Opcode::LIST_USE.0;

/// Carries out a command.
pub fn administer(memory: &Memory, queue: u16, chain: &Chain) -> Done {
    let sent = readable(memory, chain, MOST);
    let (result, list) = match command(&sent) {
        Ok(list) => ((Status::OK, StatusQualifier::OK), list),
        Err(why) => ((Status::EINVAL, why), None),
    };
    let status = CmdStatus {
        status: result.0.0.into(),
        status_qualifier: result.1.0.into(),
        reserved2: [0; 4],
    };
    let list = list.unwrap_or_default().to_le_bytes();
    Done {
        queue,
        id: chain.id,
        // dev:admin:administration-virtqueues:03
        written: fill(memory, chain, 0, &[status.as_bytes(), &list].concat()),
    }
}

/// What a command comes to: a list of opcodes, if it asks for one. What it is too short for is zero
/// (`dev:admin:administration-virtqueues:01`).
fn command(sent: &[u8]) -> Result<Option<u64>, StatusQualifier> {
    let mut header = CmdHeader::new_zeroed();
    let (head, rest) = sent.split_at(sent.len().min(size_of::<CmdHeader>()));
    header.as_mut_bytes()[..head.len()].copy_from_slice(head);
    // dev:admin:group-administration-commands:02, dev:admin:group-administration-commands:17: there are no virtual functions.
    if GroupType(header.group_type.get()) != GroupType::SELF {
        return Err(StatusQualifier::INVALID_GROUP);
    }
    match Opcode(header.opcode.get()) {
        Opcode::LIST_QUERY => Ok(Some(COMMANDS)),
        // dev:admin:group-administration-commands:09
        Opcode::LIST_USE if uses(rest) & !COMMANDS != 0 => Err(StatusQualifier::INVALID_FIELD),
        Opcode::LIST_USE => Ok(None),
        // dev:admin:group-administration-commands:03
        _ => Err(StatusQualifier::INVALID_OPCODE),
    }
}

/// The first word of a list of opcodes.
fn uses(list: &[u8]) -> u64 {
    let mut word = [0; 8];
    let length = list.len().min(word.len());
    word[..length].copy_from_slice(&list[..length]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(opcode: Opcode, group: GroupType, list: &[u8]) -> Vec<u8> {
        let header = CmdHeader {
            opcode: opcode.0.into(),
            group_type: group.0.into(),
            ..CmdHeader::new_zeroed()
        };
        [header.as_bytes(), list].concat()
    }

    #[test]
    fn commands_about_commands_are_answered_and_no_others() {
        let own = GroupType::SELF;
        assert_eq!(command(&sent(Opcode::LIST_QUERY, own, &[])), Ok(Some(0b11)));
        // Shorter than a command: opcode and group are 0.
        assert_eq!(command(&[]), Ok(Some(0b11)));
        assert_eq!(command(&sent(Opcode::LIST_USE, own, &[0b11])), Ok(None));
        for (opcode, group, why) in [
            (Opcode::LIST_USE, own, StatusQualifier::INVALID_FIELD),
            (Opcode::CAP_ID_LIST_QUERY, own, StatusQualifier::INVALID_OPCODE),
            (
                Opcode::LIST_QUERY,
                GroupType::SR_IOV,
                StatusQualifier::INVALID_GROUP,
            ),
        ] {
            assert_eq!(command(&sent(opcode, group, &[0b111; 8])), Err(why));
        }
    }
}
