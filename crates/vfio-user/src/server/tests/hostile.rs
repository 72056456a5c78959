//! What is no command, wants no reply, or comes from nobody any more.

use super::*;

#[test]
fn commands_that_want_no_reply_get_none() {
    let dialogue = Dialogue::new();
    let good = [access(2, 0, 1).as_bytes(), &[1]].concat();
    let bad = [access(2, BAR_SIZE, 1).as_bytes(), &[1]].concat();
    for payload in [good.as_slice(), bad.as_slice()] {
        dialogue
            .socket
            .send(1, Command::RegionWrite, Header::NO_REPLY, &[payload], &[])
            .unwrap();
    }
    let (_, data) = dialogue
        .get::<RegionAccess>(Command::RegionRead, &access(2, 0, 1))
        .unwrap();
    assert_eq!(
        data,
        [1],
        "the next reply is this one's, and the writes came before"
    );
}

#[test]
fn what_is_no_command_of_a_client_is_refused() {
    const ENOSYS: u32 = 38;
    let dialogue = Dialogue::new();
    for command in [Command::DmaRead, Command::DmaWrite] {
        assert_eq!(dialogue.tell(command, &()), Err(ENOSYS));
    }
    for command in [0u16, 14, 19, u16::MAX] {
        let header = Header {
            id: 9,
            command,
            size: 16,
            flags: 0,
            error: 0,
        };
        let stream = ringwright_socket::Stream::new(dialogue.socket.as_fd().try_clone_to_owned().unwrap());
        stream.send(header.as_bytes(), &[]).unwrap();
        let reply = dialogue.socket.receive().unwrap();
        assert_eq!((reply.header.id, reply.header.failure()), (9, Some(ENOSYS)));
    }
    // A reply to nothing is nothing.
    dialogue
        .socket
        .reply(&Header::new_zeroed(), &[&[1, 2, 3]], &[])
        .unwrap();
    dialogue.tell(Command::DeviceReset, &()).unwrap();
    // Every command refuses a payload that is too short for it.
    for (command, name) in Command::ALL {
        if ![Command::Version, Command::DeviceReset].contains(&command) {
            assert!(dialogue.ask(command, &[0; 3], &[]).is_err(), "{name}");
        }
    }
}

#[test]
fn bytes_that_are_no_message_end_the_connection() {
    let junk = |bytes: Vec<u8>| {
        let mut dialogue = Dialogue::new();
        let stream = ringwright_socket::Stream::new(dialogue.socket.as_fd().try_clone_to_owned().unwrap());
        stream.send(&bytes, &[]).unwrap();
        dialogue.outcome().unwrap_err()
    };
    let header = |size, flags| {
        let header = Header {
            id: 0,
            command: 9,
            size,
            flags,
            error: 0,
        };
        header.as_bytes().to_vec()
    };
    for (bytes, what) in [
        (vec![0xa5; 64], "garbage"),
        (vec![0; 64], "zeroes"),
        (header(15, 0), "less than a header"),
        (header(u32::MAX, 0), "four gigabytes"),
        (header(16, 2), "neither command nor reply"),
    ] {
        let error = junk(bytes);
        let expected = matches!(
            error,
            super::super::ServerError::Socket(SocketError::Size { .. } | SocketError::Type { .. })
        );
        assert!(expected, "{what}: {error}");
    }
    let mut dialogue = Dialogue::new();
    let stream = ringwright_socket::Stream::new(dialogue.socket.as_fd().try_clone_to_owned().unwrap());
    let event = event();
    stream.send(&header(16, 0), &[event.as_fd(); 17]).unwrap();
    assert!(dialogue.outcome().is_err());
}

#[test]
fn nothing_of_a_client_stays_when_it_goes() {
    let (insides, interrupts, event) = {
        let dialogue = Dialogue::new();
        let file = memfd(0x1000);
        let map = DmaMap {
            argsz: 32,
            flags: DmaMap::READ,
            offset: 0,
            address: 0,
            size: 0x1000,
        };
        dialogue
            .ask(Command::DmaMap, map.as_bytes(), &[file.as_fd()])
            .unwrap();
        let event = event();
        let set = irq_set(IrqSet::DATA_EVENTFD | IrqSet::ACTION_TRIGGER, IrqInfo::MSIX, 0, 1);
        dialogue
            .ask(Command::DeviceSetIrqs, set.as_bytes(), &[event.as_fd()])
            .unwrap();
        let kept = (dialogue.insides.clone(), dialogue.interrupts.clone(), event);
        dialogue.end().unwrap();
        kept
    };
    interrupts.message(0);
    assert_eq!(signalled(&event), 0);
    let insides = insides.lock().unwrap();
    assert!(insides.memory.as_ref().unwrap().regions().is_empty());
    assert_eq!(insides.resets, 1);
}
