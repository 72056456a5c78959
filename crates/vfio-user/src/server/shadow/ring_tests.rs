//! Virtqueues of both formats between a client that answers and a device that is played.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwright_memory::{Mapping, Region};
use ringwright_ring::{Layout, State};

use super::chain::{Copier, Descriptor, Due, Taken};
use super::packed::Packed;
use super::queue::Finish;
use super::split::Split;
use super::tests::{answer, far_with_socket};
use super::{Arc, Far, GiveUp, Memory};
use crate::server::remote::RemoteError;
use crate::socket::Socket;

const SIZE: u16 = 8;
const SPLIT: Layout = Layout {
    size: SIZE,
    descriptor_area: 0,
    driver_area: 0x80,
    device_area: 0x100,
};
const PACKED: Layout = Layout {
    size: SIZE,
    descriptor_area: 0,
    driver_area: 0x80,
    device_area: 0x84,
};
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// A client that answers, its memory, and the shadow of that.
struct Pair {
    far: Arc<Far>,
    theirs: Memory,
    client: Socket,
    server: Arc<Socket>,
    give_up: GiveUp,
    packed: bool,
}

impl Pair {
    fn new(packed: bool) -> Self {
        let (far, client, server) = far_with_socket(&[(0, 0x3fff)]);
        let theirs = Region::new(0, Arc::new(Mapping::anonymous(0x4000).unwrap()));
        Self {
            far,
            theirs: Memory::new(vec![theirs]).unwrap(),
            client,
            server,
            give_up: GiveUp::default(),
            packed,
        }
    }

    /// Does `what` while the client answers.
    fn answering<T>(&self, what: impl FnOnce(&Copier<'_>) -> Result<T, RemoteError>) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    if self.client.is_readable(Duration::from_millis(1)).unwrap() {
                        answer(&self.far, &self.client, &self.server, &self.theirs);
                    }
                }
            });
            let outcome = what(&self.copier());
            done.store(true, Ordering::Release);
            outcome.unwrap()
        })
    }

    fn copier(&self) -> Copier<'_> {
        Copier {
            far: &self.far,
            give_up: &self.give_up,
            packed: self.packed,
        }
    }

    /// The driver writes a word.
    fn put16(&self, address: u64, value: u16) {
        self.theirs.write(address, &value.to_le_bytes()).unwrap();
    }

    /// The driver writes a descriptor, whose last words are `third` and `fourth`.
    fn put_descriptor(&self, index: u64, address: u64, length: u32, [third, fourth]: [u16; 2]) {
        let place = index * 16;
        self.theirs.write(place, &address.to_le_bytes()).unwrap();
        self.theirs.write(place + 8, &length.to_le_bytes()).unwrap();
        self.put16(place + 12, third);
        self.put16(place + 14, fourth);
    }
}

fn word(memory: &Memory, address: u64) -> u16 {
    let mut word = [0; 2];
    memory.read(address, &mut word).unwrap();
    u16::from_le_bytes(word)
}

fn state(index: u16, wrap: bool) -> State {
    State {
        next_available: index,
        available_wrap: wrap,
        next_used: index,
        used_wrap: wrap,
    }
}

#[test]
fn heads_are_fetched_around_the_end_of_the_available_ring() {
    let pair = Pair::new(false);
    let mut split = Split::new(SPLIT, state(6, true), false);
    split.prepare(&pair.copier());
    for (place, head) in [(6, 3), (7, 1), (0, 4), (1, 2)] {
        pair.put16(0x84 + 2 * place, head);
        pair.put_descriptor(head.into(), 0x1000, 4, [WRITE, 0]);
    }
    pair.put16(0x82, 10);
    // Whoever had the virtqueue before wanted no notifications.
    pair.put16(0x100, 1);
    let mut taken = VecDeque::new();
    assert!(pair.answering(|copier| split.fetch(copier, &mut taken)));
    let ids: Vec<_> = taken.iter().map(|chain: &Taken| chain.id).collect();
    assert_eq!(ids, [3, 1, 4, 2]);
    assert_eq!(word(&pair.far.memory, 0x82), 10, "the device is shown them");
    assert_eq!(word(&pair.far.memory, 0x84), 4);
    assert_eq!(word(&pair.theirs, 0x100), 0, "the driver is to notify");
}

#[test]
fn the_driver_is_asked_to_notify_of_the_next_buffer() {
    let pair = Pair::new(false);
    let mut split = Split::new(SPLIT, state(6, true), true);
    pair.put16(0x82, 7);
    pair.put_descriptor(0, 0x1000, 4, [WRITE, 0]);
    pair.answering(|copier| split.fetch(copier, &mut VecDeque::new()));
    let avail_event = 0x104 + 8 * u64::from(SIZE);
    assert_eq!(word(&pair.theirs, avail_event), 7);
}

#[test]
fn more_chains_than_descriptors_are_for_the_ring_to_refuse() {
    let pair = Pair::new(false);
    let mut split = Split::new(SPLIT, State::default(), false);
    pair.put16(0x82, SIZE + 1);
    let mut taken = VecDeque::new();
    assert!(pair.answering(|copier| split.fetch(copier, &mut taken)));
    assert!(taken.is_empty());
    assert_eq!(word(&pair.far.memory, 0x82), SIZE + 1);
}

#[test]
fn a_chain_without_an_end_is_cut() {
    let pair = Pair::new(false);
    let mut split = Split::new(SPLIT, State::default(), false);
    pair.put_descriptor(0, 0x1000, 4, [NEXT, 1]);
    pair.put_descriptor(1, 0x1000, 4, [NEXT, 0]);
    pair.put16(0x82, 1);
    let mut taken = VecDeque::new();
    pair.answering(|copier| split.fetch(copier, &mut taken));
    assert_eq!(taken[0].descriptors, SIZE);

    let pair = Pair::new(true);
    let mut packed = Packed::new(PACKED, State::default(), false);
    (0..8).for_each(|index| pair.put_descriptor(index, 0x1000, 4, [0, NEXT | AVAIL]));
    let mut taken = VecDeque::new();
    assert!(pair.answering(|copier| packed.fetch(copier, &mut taken)));
    assert_eq!(taken[0].descriptors, SIZE);
    assert_eq!(taken.len(), 1);
}

#[test]
fn nothing_is_available_in_the_shadow_of_a_packed_virtqueue_wherever_it_stands() {
    for wrap in [false, true] {
        let pair = Pair::new(true);
        Packed::new(PACKED, state(3, wrap), false).prepare(&pair.copier());
        for index in 0..u64::from(SIZE) {
            let flags = word(&pair.far.memory, 16 * index + 14);
            let of_lap = if (index >= 3) == wrap { 0 } else { AVAIL | USED };
            assert_eq!(flags, of_lap, "{index} {wrap}");
        }
    }
}

#[test]
fn chains_of_a_packed_virtqueue_go_there_and_back() {
    let pair = Pair::new(true);
    let mut packed = Packed::new(PACKED, State::default(), false);
    packed.prepare(&pair.copier());
    // A chain of two descriptors and one of one; whoever had the virtqueue before wanted no notifications.
    pair.put_descriptor(0, 0x1000, 4, [9, NEXT | WRITE | AVAIL]);
    pair.put_descriptor(1, 0x2000, 4, [5, WRITE | AVAIL]);
    pair.put_descriptor(2, 0x3000, 4, [6, WRITE | AVAIL]);
    pair.put16(0x86, 1);
    let mut taken = VecDeque::new();
    assert!(pair.answering(|copier| packed.fetch(copier, &mut taken)));
    let found: Vec<_> = taken
        .iter()
        .map(|chain: &Taken| (chain.id, chain.descriptors))
        .collect();
    assert_eq!(found, [(5, 2), (6, 1)]);
    assert_eq!(word(&pair.theirs, 0x86), 0, "the driver is to notify");

    // The device uses both, in order.
    let use_at = |index: u64, id: u16, written: u32| {
        let memory = &pair.far.memory;
        memory.write(16 * index + 8, &written.to_le_bytes()).unwrap();
        memory.write(16 * index + 12, &id.to_le_bytes()).unwrap();
        memory
            .write(16 * index + 14, &(AVAIL | USED).to_le_bytes())
            .unwrap();
    };
    pair.far.memory.write(0x1000, b"four").unwrap();
    use_at(0, 5, 4);
    use_at(2, 6, 0);
    let mut finish = Finish {
        taken: &mut taken,
        in_order: false,
    };
    let used = packed.collect(&pair.copier(), &mut finish);
    let due = |address, bytes: &[u8]| Due {
        address,
        bytes: bytes.to_vec(),
    };
    assert_eq!(
        used.due,
        [
            due(0x1000, b"four"),
            due(0x8, &[4, 0, 0, 0, 5, 0]),
            due(0xe, &[0x80, 0x80]),
            due(0x28, &[0, 0, 0, 0, 6, 0]),
            due(0x2e, &[0x80, 0x80]),
        ]
    );
    assert_eq!((used.count, taken.len()), (3, 0));
}

#[test]
fn tables_are_no_longer_than_the_virtqueue_and_have_no_tables_in_them() {
    const INDIRECT: u16 = 4;
    for packed in [false, true] {
        let pair = Pair::new(packed);
        let flags = |flags: u16, other: u16| if packed { [other, flags] } else { [flags, other] };
        // A table at 0x400 of 20 descriptors, of which the second is a table again: this one.
        let table = 0x40;
        for index in 0..20 {
            let next = NEXT | WRITE;
            pair.put_descriptor(table + index, 0x1000, 4, flags(next, index as u16 + 1));
        }
        pair.put_descriptor(table + 1, 0x400, 20 * 16, flags(INDIRECT | NEXT, 2));
        pair.put_descriptor(0, 0x400, 20 * 16, flags(INDIRECT, 0));
        let mut descriptor = [0; 16];
        pair.theirs.read(0, &mut descriptor).unwrap();
        let descriptor = match packed {
            true => Descriptor::packed(&descriptor),
            false => Descriptor::split(&descriptor),
        };
        let mut taken = Taken::default();
        pair.answering(|copier| copier.take(descriptor, SIZE, &mut taken));
        assert_eq!(taken.writable, vec![(0x1000, 4); usize::from(SIZE) - 1]);
    }
}

#[test]
fn in_order_a_used_buffer_stands_for_those_before_it() {
    for (in_order, expected) in [(false, vec![7]), (true, vec![3, 7])] {
        let chain = |id| Taken {
            id,
            ..Taken::default()
        };
        let mut taken = [3, 7, 5].map(chain).into();
        let mut finish = Finish {
            taken: &mut taken,
            in_order,
        };
        let ids = |chains: Vec<Taken>| Vec::from_iter(chains.iter().map(|chain| chain.id));
        assert_eq!(finish.take(7).map(ids), Some(expected));
        assert!(finish.take(7).is_none());
        assert_eq!(taken.back().map(|chain| chain.id), Some(5));
    }
}
