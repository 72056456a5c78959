//! The pin, MSI-X, and the ways from one to the other.

use ringwright_spec::pci::header::msix;
use ringwright_spec::pci::{MSI_NO_VECTOR, header};
use std::vec;

use super::fake::Board;
use super::*;

/// A live device with `queues` virtqueues, as both interfaces have it.
fn live(
    fake: &Fake,
    queues: u16,
    options: Options,
) -> (crate::session::Session<Device>, Vec<DriverQueue<()>>) {
    let shared = Shared::new();
    let mut setup = set_up(fake, &shared, options);
    let queues = (0..queues).map(|index| setup.queue(index, 1).unwrap()).collect();
    (setup.finish().unwrap(), queues)
}

fn both(sizes: &[u16]) -> [Fake; 2] {
    [
        Fake::modern(ENTROPY, MODERN, sizes),
        Fake::legacy(ENTROPY, Features::NONE, sizes),
    ]
}

#[test]
fn the_pin_tells_by_the_isr_status() {
    for polling in [false, true] {
        for fake in both(&[8]) {
            let interrupts = if polling {
                Interrupts::Polling
            } else {
                Interrupts::Pin
            };
            let options = Options {
                interrupts,
                ..Options::default()
            };
            let mut device = probe_with(&fake, options);
            let delivery = if polling { Delivery::Polling } else { Delivery::Pin };
            assert_eq!(device.delivery(), delivery);
            let command = fake.board().config16(header::COMMAND);
            assert_eq!(command & header::command::INTX_DISABLE != 0, polling);
            // drv:pci:notification-of-device-configuration-changes:01: both may come at once.
            for (isr, queue, config) in [
                (0, false, false),
                (1, true, false),
                (2, false, true),
                (3, true, true),
                (0xfc, false, false),
            ] {
                fake.board().isr = isr;
                assert_eq!(device.take_interrupt(), Ok(Interrupt { queue, config }));
                assert_eq!(device.take_interrupt(), Ok(Interrupt::default()));
            }
        }
    }
}

#[test]
fn each_virtqueue_has_a_vector_and_the_configuration_has_one() {
    for fake in both(&[8, 8]) {
        let mailbox = Mailbox::new(9);
        let (mut session, _queues) = live(&fake, 2, mailbox.options());
        assert_eq!(session.transport().delivery(), Delivery::Messages);
        let board = fake.board();
        assert!(board.msix_enabled());
        assert_eq!(board.config_vector, 0);
        assert_eq!(
            (board.model.queues[0].vector, board.model.queues[1].vector),
            (1, 2)
        );
        // The message of each, and the last one masked.
        for (number, vector) in board.table.iter().enumerate() {
            let number = number as u32;
            let expected = match number {
                3 => [0, 0, 0, 1],
                _ => [0xfee0_0000 + number, 1, 0x4000 + number, 0],
            };
            assert_eq!(*vector, expected);
        }
        drop(board);
        assert_eq!(*mailbox.asked.lock().unwrap(), [1, 2, 0]);
        let device = session.transport();
        let mut told = |vectors: &[u16]| {
            vectors.iter().for_each(|vector| mailbox.arrive(*vector));
            device.take_interrupt().unwrap()
        };
        let (queue, config) = (true, true);
        let nothing = Interrupt::default();
        assert_eq!(told(&[]), nothing);
        assert_eq!(told(&[0]), Interrupt { config, ..nothing });
        assert_eq!(told(&[2]), Interrupt { queue, ..nothing });
        assert_eq!(told(&[1, 2, 2, 0]), Interrupt { queue, config });
        assert_eq!(told(&[3]), nothing);
    }
}

/// drv:pci:msi-x-vector-configuration:01, :04
#[test]
fn events_share_vectors_where_there_are_few() {
    // Table size, messages that the platform has, the vectors of the configuration and of two virtqueues.
    for (size, messages, config, queues) in [
        (2048, 9, 0, [1, 2]),
        (3, 9, 0, [1, 2]),
        (2, 9, 0, [1, 1]),
        (1, 9, 0, [0, 0]),
        (4, 2, 0, [1, 1]),
        (4, 1, 0, [0, 0]),
    ] {
        for fake in both(&[8, 8]) {
            fake.board().table = vec![[0, 0, 0, 1]; size];
            let table_bar = usize::from(fake.board().model.legacy);
            fake.board().bars[table_bar].2 = 0x10000;
            fake.board().capabilities[0] = vec![0x11, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0, 0];
            fake.board().seal();
            let mailbox = Mailbox::new(messages);
            let (mut session, _queues) = live(&fake, 2, mailbox.options());
            let found: Vec<u16> = fake
                .board()
                .model
                .queues
                .iter()
                .map(|queue| queue.vector)
                .collect();
            assert_eq!(found, queues);
            assert_eq!(fake.board().config_vector, config);
            // Each virtqueue asks for a vector once.
            let asked = mailbox.asked.lock().unwrap().clone();
            let mut pairs = asked.windows(2);
            assert!(pairs.all(|pair| pair[0] != pair[1]), "{asked:?}");
            // drv:pci:notification-of-device-configuration-changes:01
            mailbox.arrive(queues[1]);
            let taken = session.transport().take_interrupt().unwrap();
            let expected = Interrupt {
                queue: true,
                config: queues[1] == config,
            };
            assert_eq!(taken, expected);
        }
    }
}

/// drv:pci:msi-x-vector-configuration:05
#[test]
fn a_vector_that_the_device_does_not_take_is_not_relied_on() {
    // Vectors to which nothing can be mapped; where virtqueues 0 and 1 end up, if MSI-X goes on.
    for (unmappable, expected) in [
        (vec![2], Some([1, 1])),
        (vec![1], Some([0, 2])),
        (vec![1, 2], Some([0, 0])),
        (vec![1, 2, 0], None),
        // Only the configuration.
        (vec![0], None),
    ] {
        // NO_VECTOR as the document has it, or a lie.
        for answer in [MSI_NO_VECTOR, 3, 0x7ff] {
            for fake in both(&[8, 8]) {
                fake.board().unmappable = unmappable.clone();
                fake.board().answer = answer;
                let (mut session, _queues) = live(&fake, 2, Mailbox::new(9).options());
                let device = session.transport();
                match expected {
                    Some(expected) => {
                        assert_eq!(device.delivery(), Delivery::Messages);
                        let queues = &fake.board().model.queues;
                        assert_eq!([queues[0].vector, queues[1].vector], expected);
                    }
                    None => {
                        assert_eq!(device.delivery(), Delivery::Pin);
                        assert!(!fake.board().msix_enabled());
                        fake.board().isr = 1;
                        assert!(device.take_interrupt().unwrap().queue);
                    }
                }
            }
        }
    }
}

#[test]
fn the_pin_serves_where_msi_x_cannot_be_had() {
    let no_capability = |fake: &Fake| drop(fake.board().capabilities.remove(0));
    let table = |bar: u8, offset: u32| {
        move |fake: &Fake| {
            let word = offset | u32::from(bar);
            fake.board().capabilities[0][4..8].copy_from_slice(&word.to_le_bytes());
        }
    };
    let changes: [&dyn Fn(&Fake); 5] = [
        &no_capability,
        // A BAR that is not there, tables that end beyond theirs, one whose BAR is not reached.
        &table(7, 0),
        &table(1, 0xfc8),
        &table(1, 0xffff_fff8),
        &|fake: &Fake| fake.board().reaches = [true, false],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for fake in both(&[8]) {
            change(&fake);
            fake.board().seal();
            let (mut session, _queues) = live(&fake, 1, Mailbox::new(9).options());
            assert_eq!(session.transport().delivery(), Delivery::Pin, "{number}");
            assert!(!fake.board().msix_enabled());
        }
    }
}

#[test]
fn legacy_configuration_moves_when_msi_x_is_enabled() {
    let fake = Fake::legacy(ENTROPY, Features::NONE, &[8]);
    fake.board().model.config = (0..64).collect();
    let mut byte = [0];
    let mut device = probe_with(&fake, Mailbox::new(9).options());
    device.read_config(5, Width::One, &mut byte).unwrap();
    assert_eq!(
        (byte, fake.board().log.last().copied()),
        ([5], Some((IO_BAR, 24 + 5)))
    );
    // And back, when it is disabled again.
    fake.board().unmappable = vec![0];
    fake.board().model.status = Status::ACKNOWLEDGE | Status::DRIVER;
    device
        .set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::DRIVER_OK)
        .unwrap();
    device.write_config(5, Width::One, &[9]).unwrap();
    assert_eq!(fake.board().log.last().copied(), Some((IO_BAR, 20 + 5)));
    assert_eq!(fake.board().model.config[5], 9);
}

#[test]
fn a_reset_unmaps_the_vectors_and_the_next_driver_maps_them_again() {
    let fake = Fake::modern(ENTROPY, MODERN, &[8, 8]);
    let mailbox = Mailbox::new(9);
    let shared = Shared::new();
    let mut transport = probe_with(&fake, mailbox.options());
    for queues in [2, 1] {
        let options = DriverOptions::default();
        let mut setup = Setup::begin(
            &mut transport,
            &shared.area,
            &STAIRS_AS_ENTROPY,
            Features::NONE,
            options,
        )
        .unwrap();
        let _queues: Vec<DriverQueue<()>> = (0..queues).map(|index| setup.queue(index, 1).unwrap()).collect();
        let mut session = setup.finish().unwrap();
        let vectors = |board: &Board| (board.config_vector, board.model.queues[0].vector);
        assert_eq!(vectors(&fake.board()), (0, 1));
        mailbox.arrive(2);
        // Of the second driver, that virtqueue tells nothing.
        let queue = session.transport().take_interrupt().unwrap().queue;
        assert_eq!(queue, queues == 2);
    }
    // Each message was asked for once.
    assert_eq!(*mailbox.asked.lock().unwrap(), [1, 2, 0]);
}

#[test]
fn vectors_are_masked_until_they_have_messages() {
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    // As firmware may have left them.
    fake.board().table = vec![[0x1234, 0, 0, 0]; 4];
    let msix = 0x40 + msix::CONTROL;
    fake.board().config[msix + 1] = (msix::FUNCTION_MASK >> 8) as u8;
    let _device = probe_with(&fake, Mailbox::new(9).options());
    assert!(fake.board().table.iter().all(|vector| vector[3] == 1));
    assert_eq!(fake.board().config16(msix), msix::ENABLE | 3);
}

#[test]
fn msix_that_was_left_enabled_is_disabled_where_it_is_not_used() {
    for fake in both(&[8]) {
        drop(probe_with(&fake, Mailbox::new(9).options()));
        assert!(fake.board().msix_enabled());
        let mut device = probe(&fake);
        assert!(!fake.board().msix_enabled());
        fake.board().isr = 3;
        assert_eq!(
            device.take_interrupt(),
            Ok(Interrupt {
                queue: true,
                config: true
            })
        );
    }
}
