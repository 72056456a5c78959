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
    assert!(matches!(b.receive(), Err(SocketError::Closed)));
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
    assert!(matches!(socket.receive(), Err(SocketError::Closed)));
}

#[test]
fn an_end_within_a_message_is_told() {
    for length in 1..16 {
        let (socket, mut peer) = pair();
        let message = [bytes(9, 1, 4).as_slice(), &[1, 2, 3, 4]].concat();
        peer.write_all(&message[..length]).unwrap();
        drop(peer);
        match socket.receive() {
            Err(SocketError::Truncated { found, .. }) => assert_eq!(found, length),
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
fn too_many_descriptors_are_refused_and_closed() {
    for count in [MAX_DESCRIPTORS + 1, 40] {
        let (socket, peer) = pair();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = vec![writer.as_fd(); count];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(
            &peer,
            &[IoSlice::new(&bytes(5, 1, 0))],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        drop(writer);
        assert!(matches!(socket.receive(), Err(SocketError::TooManyDescriptors)));
        // A pipe ends when the last descriptor of its writing end is closed.
        assert!(readable(reader.as_fd(), Some(Duration::ZERO)).unwrap());
    }
}

#[test]
fn stop_ends_waiting_for_a_message_and_for_room() {
    let (ours, peer) = UnixStream::pair().unwrap();
    let stop = Stop::new().unwrap();
    let socket = Socket::new(ours).with_stop(stop.clone());
    let waiter = std::thread::spawn(move || {
        let received = socket.receive().unwrap_err();
        let sent = loop {
            if let Err(error) = socket.send(1, 0, &[&[0; MAX_PAYLOAD]], &[]) {
                break error;
            }
        };
        (received, sent)
    });
    assert!(!stop.is_raised());
    stop.raise();
    assert!(stop.is_raised());
    let (received, sent) = waiter.join().unwrap();
    assert!(matches!(received, SocketError::Stopped) && matches!(sent, SocketError::Stopped));
    drop(peer);
}

#[test]
fn a_silent_peer_times_out() {
    let (ours, _peer) = UnixStream::pair().unwrap();
    let socket = Socket::new(ours).with_timeout(Duration::from_millis(5));
    assert!(matches!(socket.receive(), Err(SocketError::TimedOut(_))));
    assert!(!socket.is_readable(Duration::ZERO).unwrap());
}
