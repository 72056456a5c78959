use super::*;
use std::io::Write;
use std::os::unix::net::UnixStream;

fn pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Socket::new(ours).with_timeout(Duration::from_secs(10)), theirs)
}

fn bytes(command: u16, size: u32, flags: u32) -> [u8; 16] {
    zerocopy::transmute!(Header {
        id: 7,
        command,
        size,
        flags,
        error: 0
    })
}

#[test]
fn a_message_arrives_as_it_was_sent() {
    let (a, b) = UnixStream::pair().unwrap();
    let (a, b) = (Socket::new(a), Socket::new(b));
    let file = tempfile::tempfile().unwrap();
    a.send(
        3,
        Command::DmaMap,
        Header::NO_REPLY,
        &[&[1, 2], &[3]],
        &[file.as_fd()],
    )
    .unwrap();
    let message = b.receive().unwrap();
    let expected = Header {
        id: 3,
        command: 2,
        size: 19,
        flags: Header::NO_REPLY,
        error: 0,
    };
    assert_eq!(message.header, expected);
    assert!(!message.header.wants_reply() && message.header.is_command());
    assert_eq!(
        (message.payload.as_slice(), message.descriptors.len()),
        ([1, 2, 3].as_slice(), 1)
    );

    b.reply(&message.header, &[&[9; 5]], &[]).unwrap();
    let reply = a.receive().unwrap();
    assert!(reply.header.is_reply() && reply.header.failure().is_none());
    assert_eq!(
        (reply.header.id, reply.header.command, reply.payload.len()),
        (3, 2, 5)
    );

    b.reply_error(&message.header, 22).unwrap();
    let reply = a.receive().unwrap();
    assert_eq!((reply.header.failure(), reply.payload.len()), (Some(22), 0));
    drop(a);
    assert!(matches!(b.receive(), Err(SocketError::Stream(Error::Closed))));
}

#[test]
fn an_end_within_a_message_is_told() {
    for length in 1..20 {
        let (socket, mut peer) = pair();
        let message = [bytes(9, 20, 0).as_slice(), &[1, 2, 3, 4]].concat();
        peer.write_all(&message[..length]).unwrap();
        drop(peer);
        match socket.receive() {
            Err(SocketError::Stream(Error::Truncated { found, .. })) => assert_eq!(found, length),
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn sizes_and_types_are_checked() {
    let largest = (Header::SIZE + MAX_PAYLOAD) as u32;
    for size in [0, 15, largest + 1, u32::MAX] {
        let (socket, mut peer) = pair();
        peer.write_all(&bytes(9, size, 0)).unwrap();
        match socket.receive() {
            Err(SocketError::Size {
                command: 9,
                size: found,
            }) => assert_eq!(found, size),
            other => panic!("{size}: {other:?}"),
        }
    }
    for flags in [2, 0xf, Header::ERROR | 3] {
        let (socket, mut peer) = pair();
        peer.write_all(&bytes(9, 16, flags)).unwrap();
        assert!(matches!(socket.receive(), Err(SocketError::Type { found }) if found == flags));
    }
}

#[test]
fn more_descriptors_than_were_agreed_on_are_refused() {
    let (socket, peer) = pair();
    let file = tempfile::tempfile().unwrap();
    let peer = Stream::new(peer);
    let send = |count| peer.send(&bytes(8, 16, 0), &vec![file.as_fd(); count]).unwrap();
    send(MAX_DESCRIPTORS);
    assert_eq!(socket.receive().unwrap().descriptors.len(), MAX_DESCRIPTORS);
    send(MAX_DESCRIPTORS + 1);
    let refusal = socket.receive().unwrap_err();
    assert!(matches!(
        refusal,
        SocketError::Stream(Error::TooManyDescriptors { most: 16 })
    ));
}

#[test]
fn messages_of_several_threads_do_not_mix() {
    let (a, b) = UnixStream::pair().unwrap();
    let (a, b) = (Socket::new(a), Socket::new(b));
    std::thread::scope(|scope| {
        for id in 0..4u16 {
            let a = &a;
            scope.spawn(move || {
                for _ in 0..50 {
                    a.send(id, Command::DmaWrite, 0, &[&vec![id as u8; 100_000]], &[])
                        .unwrap();
                }
            });
        }
        for _ in 0..200 {
            let message = b.receive().unwrap();
            assert!(
                message
                    .payload
                    .iter()
                    .all(|byte| u16::from(*byte) == message.header.id)
            );
        }
    });
}
