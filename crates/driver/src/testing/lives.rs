//! The four drivers, brought up over a transport under test, put to work once, and taken down.

use alloc::sync::Arc;
use core::mem::offset_of;
use std::vec;

use ringwright_memory::{Area, Mapping, Memory, Region};
use ringwright_ring::{ByteOrder, DeviceQueue, State};
use ringwright_spec::{Features, block, console, data, entropy, feature, network};
use zerocopy::IntoBytes;

use super::model::Model;
use crate::block::{Block, Request};
use crate::console::{Console, Size};
use crate::entropy::Entropy;
use crate::field::Field;
use crate::network::Network;
use crate::{DriverError, Options, Transport};

/// The device ids of the four drivers.
pub const IDS: [u32; 4] = [
    entropy::DEVICE.id,
    block::DEVICE.id,
    console::DEVICE.id,
    network::DEVICE.id,
];

/// Bytes of memory for rings and buffers.
const LENGTH: usize = 4 << 20;

/// Memory that driver and device share.
pub struct Shared {
    pub area: Arc<Area>,
    pub memory: Arc<Memory>,
    /// Byte order of a guest that uses a legacy interface.
    pub guest: ByteOrder,
}

impl Shared {
    /// Memory that the device sees from `address` on.
    pub fn at(address: u64, guest: ByteOrder) -> Self {
        let region = Region::new(address, Arc::new(Mapping::anonymous(LENGTH).unwrap()));
        Self {
            area: Area::from_region(region.clone()).unwrap(),
            memory: Arc::new(Memory::new(vec![region]).unwrap()),
            guest,
        }
    }

    pub fn new() -> Self {
        Self::at(0x8_1000_0000, ByteOrder::Little)
    }

    pub fn is_whole(&self) -> bool {
        self.area.allocate(self.area.len(), 1).is_some()
    }

    /// The device end of virtqueue `index`, as the driver has told the device of it.
    fn device(&self, model: &Model, index: usize) -> DeviceQueue {
        let order = match model.legacy {
            true => self.guest,
            false => ByteOrder::Little,
        };
        let layout = model.layout(index).expect("the virtqueue is enabled");
        let (memory, state) = (self.memory.clone(), State::default());
        DeviceQueue::with_byte_order(layout, model.accepted, memory, state, order).unwrap()
    }

    /// Uses all buffers of virtqueue `index`, each full of ones but for a last byte 0.
    pub fn serve(&self, model: &Model, index: usize) -> usize {
        let mut queue = self.device(model, index);
        let mut served = 0;
        while let Some(chain) = queue.pop().unwrap() {
            let (writable, length) = (chain.writable(), chain.writable().len());
            if length > 0 {
                writable.fill(0, length - 1, 1).unwrap();
                writable.fill(length - 1, 1, 0).unwrap();
            }
            let token = chain.into_token();
            queue.complete(token, length as u32).unwrap();
            served += 1;
        }
        queue.publish().unwrap();
        served
    }
}

/// Device-specific features that make a driver of device `id` read its configuration space.
pub fn features(id: u32) -> Features {
    match id {
        1 => network::features::MAC | network::features::STATUS | network::features::MTU,
        2 => block::features::BLK_SIZE | block::features::SIZE_MAX | block::features::MQ,
        3 => console::features::SIZE,
        _ => Features::NONE,
    }
}

/// Gives `model` the configuration space of its device type.
pub fn configure(model: &mut Model, guest: ByteOrder) {
    let order = if model.legacy { guest } else { ByteOrder::Little };
    let mut put = |offset: usize, bytes: &[u8]| model.config[offset..][..bytes.len()].copy_from_slice(bytes);
    match model.id {
        1 => {
            put(0, &[2, 3, 4, 5, 6, 7]);
            put(
                offset_of!(network::Config, status),
                1_u16.in_order(order).as_bytes(),
            );
            put(
                offset_of!(network::Config, mtu),
                1400_u16.in_order(order).as_bytes(),
            );
        }
        2 => {
            put(0, 0x1_0000_0001_u64.in_order(order).as_bytes());
            let size_max = 0x2_0000_u32.in_order(order);
            put(offset_of!(block::Config, size_max), size_max.as_bytes());
            put(
                offset_of!(block::Config, blk_size),
                4096_u32.in_order(order).as_bytes(),
            );
            put(
                offset_of!(block::Config, num_queues),
                2_u16.in_order(order).as_bytes(),
            );
        }
        3 => put(0, [80_u16, 25].in_order(order).as_bytes()),
        _ => {}
    }
    let layouts: [(u32, &data::Layout); 3] = [
        (1, &network::Config::LAYOUT),
        (2, &block::Config::LAYOUT),
        (3, &console::Config::LAYOUT),
    ];
    let layout = layouts.iter().find(|(id, _)| *id == model.id);
    model.fields = layout.map_or(&[], |(_, layout)| layout.fields);
}

/// Drives the device behind `transport`, which `model` shows, from its initialization to its end.
pub fn live<T: Transport>(
    transport: T,
    shared: &Shared,
    with_model: impl Fn(&mut dyn FnMut(&mut Model)),
    accept: Features,
) -> Result<(), DriverError> {
    let options = Options {
        accept: accept | feature::DEVICE_TYPE_BITS,
        queue_size: 16,
        indirect: 0,
    };
    let area = &shared.area;
    let serve = |index: usize, expected: usize| {
        with_model(&mut |model| assert_eq!(shared.serve(model, index), expected));
    };
    match transport.device_id() {
        1 => {
            let mut card = Network::new(transport, area, options)?;
            assert_eq!((card.mac(), card.mtu()), (Some([2, 3, 4, 5, 6, 7]), 1400));
            assert!(card.link_up()?);
            card.send(&[7; 60])?;
            card.publish()?;
            serve(1, 1);
        }
        2 => {
            let mut disk = Block::new(transport, area, 2, options)?;
            let geometry = disk.geometry();
            assert_eq!((geometry.capacity, geometry.block_size), (0x1_0000_0001, 4096));
            assert_eq!((geometry.segment_size, disk.queues()), (0x2_0000, 2));
            for queue in [1, 0] {
                let buffer = area.allocate(512, 512).unwrap();
                disk.submit(queue, Request::read(0x1_0000_0000, buffer), 7)
                    .unwrap();
                disk.publish(queue)?;
                serve(queue.into(), 1);
                assert_eq!(disk.poll(queue)?.unwrap().result, Ok(()));
            }
        }
        3 => {
            let mut terminal = Console::new(transport, area, options)?;
            let (columns, rows) = (80, 25);
            assert_eq!(terminal.size()?, Some(Size { columns, rows }));
            terminal.write(b"out")?;
            serve(1, 1);
            assert!(terminal.flushed()?);
        }
        _ => {
            let mut source = Entropy::new(transport, area, options)?;
            source.request(area.allocate(16, 1).unwrap())?.unwrap();
            serve(0, 1);
            assert_eq!(source.poll()?.unwrap().1, 16);
        }
    }
    Ok(())
}
