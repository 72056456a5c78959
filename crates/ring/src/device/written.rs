//! Which memory the device may write for each buffer in flight, so that it can be marked in the dirty log once the
//! buffer is complete. Only there while the memory has a log.

use alloc::boxed::Box;
use alloc::vec;

use ringwright_memory::{Access, Memory, Window};
use ringwright_spec::split::DescFlags;

use super::core::{Decode, Scratch};

/// End of a list.
const END: u16 = u16::MAX;
/// In place of a list: the buffer was taken before there was a log, or by another device end.
const UNKNOWN: u16 = u16::MAX - 1;

/// Lists of descriptors, one list for each buffer in flight. There are as many nodes as the ring has descriptors.
pub(super) struct WriteRecord {
    nodes: Box<[Node]>,
    free: u16,
    /// First node of the buffer that is being taken.
    open: u16,
    /// Last node of that buffer.
    open_end: u16,
    /// First node by id.
    lists: Box<[u16]>,
}

#[derive(Clone, Copy)]
struct Node {
    address: u64,
    length: u32,
    is_table: bool,
    next: u16,
}

/// What marking needs of the queue.
pub(super) struct Marker<'c> {
    pub memory: &'c Memory,
    pub window: &'c mut Window,
    /// Empty room for segments.
    pub scratch: &'c mut Scratch,
    /// More of it.
    pub table: &'c mut Scratch,
    /// How indirect tables are read.
    pub decode: Decode,
}

impl WriteRecord {
    pub fn new(size: u16) -> Self {
        let node = |index| Node {
            address: 0,
            length: 0,
            is_table: false,
            next: index,
        };
        let mut nodes: Box<[Node]> = (1..=size).map(node).collect();
        if let Some(last) = nodes.last_mut() {
            last.next = END;
        }
        Self {
            nodes,
            free: 0,
            open: END,
            open_end: END,
            lists: vec![UNKNOWN; usize::from(size)].into(),
        }
    }

    /// Adds a device-writable element of the buffer that is being taken.
    pub fn push_element(&mut self, address: u64, length: u32) {
        self.push(Node {
            address,
            length,
            is_table: false,
            next: END,
        });
    }

    /// Adds an indirect table of the buffer that is being taken.
    pub fn push_table(&mut self, address: u64, length: u32) {
        self.push(Node {
            address,
            length,
            is_table: true,
            next: END,
        });
    }

    fn push(&mut self, node: Node) {
        let index = self.free;
        // There is no free node only for a driver that has more descriptors available than there are; that is found
        // out and ends the queue.
        let Some(slot) = self.nodes.get_mut(usize::from(index)) else {
            return;
        };
        self.free = slot.next;
        *slot = node;
        match self.nodes.get_mut(usize::from(self.open_end)) {
            Some(last) => last.next = index,
            None => self.open = index,
        }
        self.open_end = index;
    }

    /// Forgets a buffer that was not taken after all.
    pub fn abandon(&mut self) {
        self.release(self.open);
        (self.open, self.open_end) = (END, END);
    }

    /// The buffer being taken has this id.
    pub fn close(&mut self, id: u16) {
        self.lists[usize::from(id)] = self.open;
        (self.open, self.open_end) = (END, END);
    }

    /// Forgets a taken buffer.
    pub fn forget(&mut self, id: u16) {
        let first = core::mem::replace(&mut self.lists[usize::from(id)], UNKNOWN);
        self.release(first);
    }

    fn release(&mut self, first: u16) {
        let mut index = first;
        while let Some(node) = self.nodes.get_mut(usize::from(index)) {
            let next = core::mem::replace(&mut node.next, self.free);
            self.free = index;
            index = next;
        }
    }

    /// Marks the first `written` bytes of what buffer `id` may be written to, and forgets the buffer. Marks everything if it
    /// is not known where that is, or no longer.
    pub fn mark(&mut self, id: u16, written: u32, marker: &mut Marker<'_>) {
        let first = self.lists[usize::from(id)];
        let mut known = first != UNKNOWN;
        let mut index = first;
        while let Some(node) = self.nodes.get(usize::from(index)) {
            known &= if node.is_table {
                marker.resolve_table(node, self.nodes.len())
            } else {
                marker.resolve(node.address, node.length)
            };
            index = node.next;
        }
        let memory = marker.memory;
        if known {
            memory.mark_written(marker.scratch.segments(), written as usize);
        } else if written != 0
            && let Some(log) = memory.dirty_log()
        {
            log.mark(0, log.end());
        }
        self.forget(id);
    }
}

impl Marker<'_> {
    /// Adds memory that was resolved before. False if it cannot be found again: regions or translations may be gone that
    /// were there when the buffer was taken, and written.
    fn resolve(&mut self, address: u64, length: u32) -> bool {
        self.memory
            .resolve(self.window, address, length, Access::Write, self.scratch)
            .is_ok()
    }

    /// Adds what an indirect table says is device-writable; false as in `resolve`. The driver must not have changed the table
    /// since; if it did, it deceives itself only, as the table is as harmless as when it was first read.
    fn resolve_table(&mut self, node: &Node, limit: usize) -> bool {
        self.table.clear();
        let table = self
            .memory
            .resolve(self.window, node.address, node.length, Access::Read, self.table);
        let (mut known, mut next) = (table.is_ok(), Some(0));
        for _ in 0..limit {
            let Some(index) = next.filter(|_| known) else {
                break;
            };
            let Some(words) = self.table.entry(index) else {
                break;
            };
            let (entry, after) = (self.decode)(index, node.length / 16, words);
            if entry.flags & DescFlags::WRITE.0 != 0 {
                known = self.resolve(entry.address, entry.length);
            }
            next = after;
        }
        known
    }
}
