use super::*;
use std::io::Write;
use std::os::unix::net::UnixStream;

fn pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Socket::new(ours).with_timeout(Duration::from_secs(10)), theirs)
}

fn bytes(request: u32, flags: u32, size: u32) -> [u8; 12] {
    zerocopy::transmute!(Header { request, flags, size })
}

#[test]
fn a_message_arrives_as_it_was_sent() {
    let (a, b) = UnixStream::pair().unwrap();
    let (a, b) = (Socket::new(a), Socket::new(b));
    let file = tempfile::tempfile().unwrap();
    a.send(
        5,
        Header::NEED_REPLY,
        &[&[1, 2], &[3]],
        &[file.as_fd(), file.as_fd()],
    )
    .unwrap();
    a.send(6, 0, &[], &[]).unwrap();
    let message = b.receive().unwrap();
    assert_eq!(
        message.header,
        Header {
            request: 5,
            flags: Header::VERSION | Header::NEED_REPLY,
            size: 3
        }
    );
    assert_eq!(message.payload, [1, 2, 3]);
    assert_eq!(message.descriptors.len(), 2);
    let message = b.receive().unwrap();
    assert_eq!(
        (
            message.header.request,
            message.payload.len(),
            message.descriptors.len()
        ),
        (6, 0, 0)
    );
    drop(a);
    assert!(matches!(b.receive(), Err(SocketError::Stream(Error::Closed))));
}

#[test]
fn a_message_in_pieces_is_put_together() {
    let (socket, mut peer) = pair();
    let writer = std::thread::spawn(move || {
        for byte in bytes(9, 1, 4).iter().chain(&[1, 2, 3, 4]) {
            peer.write_all(&[*byte]).unwrap();
        }
        peer
    });
    let message = socket.receive().unwrap();
    assert_eq!(
        (message.header.request, message.payload.as_slice()),
        (9, [1, 2, 3, 4].as_slice())
    );
    drop(writer.join().unwrap());
    assert!(matches!(
        socket.receive(),
        Err(SocketError::Stream(Error::Closed))
    ));
}

#[test]
fn an_end_within_a_message_is_told() {
    for length in 1..16 {
        let (socket, mut peer) = pair();
        let message = [bytes(9, 1, 4).as_slice(), &[1, 2, 3, 4]].concat();
        peer.write_all(&message[..length]).unwrap();
        drop(peer);
        match socket.receive() {
            Err(SocketError::Stream(Error::Truncated { found, .. })) => assert_eq!(found, length),
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn version_and_size_are_checked() {
    let (socket, mut peer) = pair();
    peer.write_all(&bytes(1, 2, 0)).unwrap();
    assert!(matches!(socket.receive(), Err(SocketError::Version { found: 2 })));
    peer.write_all(&bytes(1, 1, MAX_PAYLOAD as u32 + 1)).unwrap();
    assert!(matches!(
        socket.receive(),
        Err(SocketError::TooLarge {
            request: 1,
            size: 4097
        })
    ));
    peer.write_all(&bytes(1, 1, u32::MAX)).unwrap();
    assert!(matches!(
        socket.receive(),
        Err(SocketError::TooLarge { size: u32::MAX, .. })
    ));
}

#[test]
fn more_descriptors_than_the_protocol_has_are_refused() {
    let (socket, peer) = pair();
    let file = tempfile::tempfile().unwrap();
    let peer = Stream::new(peer);
    let send = |count| peer.send(&bytes(5, 1, 0), &vec![file.as_fd(); count]).unwrap();
    send(MAX_DESCRIPTORS);
    assert_eq!(socket.receive().unwrap().descriptors.len(), MAX_DESCRIPTORS);
    send(MAX_DESCRIPTORS + 1);
    let refusal = socket.receive().unwrap_err();
    assert!(matches!(
        refusal,
        SocketError::Stream(Error::TooManyDescriptors { most: 8 })
    ));
}
