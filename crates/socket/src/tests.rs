use super::*;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

const LONG: Duration = Duration::from_secs(10);

fn pair() -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Stream::new(ours).with_timeout(LONG), theirs)
}

fn fill(stream: &Stream, length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    let found = stream.fill(&mut bytes, &mut Vec::new(), stream.deadline())?;
    bytes.truncate(found);
    Ok(bytes)
}

#[test]
fn bytes_and_descriptors_arrive_as_they_were_sent() {
    let (a, b) = UnixStream::pair().unwrap();
    let (a, b) = (Stream::new(a), Stream::new(b));
    let file = tempfile::tempfile().unwrap();
    a.send(&[1, 2, 3, 4], &[file.as_fd(), file.as_fd()]).unwrap();
    a.send(&[5], &[]).unwrap();
    let (mut bytes, mut descriptors) = ([0; 2], Vec::new());
    assert_eq!(b.fill(&mut bytes, &mut descriptors, None).unwrap(), 2);
    assert_eq!((bytes, descriptors.len()), ([1, 2], 2));
    drop(a);
    assert_eq!(fill(&b, 100).unwrap(), [3, 4, 5]);
    assert_eq!(fill(&b, 100).unwrap(), []);
}

#[test]
fn bytes_in_pieces_are_put_together() {
    let (stream, mut peer) = pair();
    let writer = std::thread::spawn(move || (0..50).for_each(|byte| peer.write_all(&[byte]).unwrap()));
    assert_eq!(fill(&stream, 50).unwrap(), Vec::from_iter(0..50));
    writer.join().unwrap();
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    for (limit, count) in [(8, 9), (8, 40), (MOST_DESCRIPTORS, 33), (1000, 33)] {
        let (stream, peer) = pair();
        let stream = stream.with_descriptors(limit);
        let (reader, writer) = std::io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = vec![writer.as_fd(); count];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&peer, &[IoSlice::new(&[0])], &mut control, SendFlags::empty()).unwrap();
        drop(writer);
        assert!(matches!(fill(&stream, 1), Err(Error::TooManyDescriptors { .. })));
        // A pipe ends when the last descriptor of its writing end is closed.
        assert_eq!(readable(&[reader.as_fd()], Some(Duration::ZERO)).unwrap(), [true]);
    }
}

#[test]
fn stop_ends_waiting_for_bytes_and_for_room() {
    let (ours, peer) = UnixStream::pair().unwrap();
    let stop = Stop::new().unwrap();
    let stream = Stream::new(ours).with_stop(stop.clone());
    let waiter = std::thread::spawn(move || {
        let received = fill(&stream, 1).unwrap_err();
        let sent = loop {
            if let Err(error) = stream.send(&[0; 4096], &[]) {
                break error;
            }
        };
        (received, sent)
    });
    assert!(!stop.is_raised());
    stop.raise();
    assert!(stop.is_raised());
    let (received, sent) = waiter.join().unwrap();
    assert!(matches!(received, Error::Stopped) && matches!(sent, Error::Stopped));
    drop(peer);
}

#[test]
fn a_silent_peer_times_out() {
    let (ours, _peer) = UnixStream::pair().unwrap();
    let stream = Stream::new(ours).with_timeout(Duration::from_millis(5));
    assert!(matches!(fill(&stream, 1), Err(Error::TimedOut(_))));
    assert!(!stream.is_readable(Duration::ZERO).unwrap());
    assert_eq!(
        readable(&[stream.as_fd()], Some(Duration::ZERO)).unwrap(),
        [false]
    );
}

#[test]
fn clients_are_accepted_until_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let stop = Stop::new().unwrap();
    let raised = stop.clone();
    let accepting =
        std::thread::spawn(move || std::iter::from_fn(|| accept(&listener, &raised).unwrap()).count());
    for _ in 0..3 {
        let client = UnixStream::connect(&path).unwrap();
        // Accepted and dropped: the connection ends.
        assert_eq!(readable(&[client.as_fd()], Some(LONG)).unwrap(), [true]);
    }
    stop.raise();
    assert_eq!(accepting.join().unwrap(), 3);
}
