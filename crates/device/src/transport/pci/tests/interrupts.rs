//! INTx#, the ISR status, MSI-X.

use std::sync::Arc;

use ringwright_spec::pci::Isr;
use ringwright_spec::{feature, pci};

use super::*;
use crate::transport::testing::{Handle, probe};

const COMMAND: u64 = header::COMMAND as u64;
const VERSION_1: Features = feature::VERSION_1;

/// A device that is live with one queue, and the way to change its configuration.
fn live() -> (Driver, Queue, Arc<Handle>) {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, VERSION_1, Options::default());
    let queue = driver.start(16);
    (driver, queue, handle)
}

fn isr(driver: &mut Driver) -> u8 {
    let isr = driver.places.isr.start;
    driver.get8(isr)
}

/// The Interrupt Status bit, read in every way that includes it.
fn interrupt_status(driver: &mut Driver) -> bool {
    let mut word = [0; 4];
    driver.config_read(COMMAND, &mut word);
    let mut byte = [0];
    driver.config_read(header::STATUS as u64, &mut byte);
    assert_eq!(word[2], byte[0]);
    u16::from(byte[0]) & header::status::INTERRUPT != 0
}

/// Has the device use a buffer.
fn use_buffer(driver: &mut Driver, queue: &mut Queue) {
    queue.submit_silently(&[], &[8]);
    let places = driver.notify_places();
    driver.bar_write(places.bar, places.offset, &[0, 0]);
    let deadline = std::time::Instant::now() + crate::testing::DEADLINE;
    while queue.poll().is_none() {
        assert!(std::time::Instant::now() < deadline, "no used buffer in time");
        std::thread::yield_now();
    }
    // What follows the used buffer has been done when the thread has answered this.
    driver.pause();
    driver.resume();
}

/// `dev:pci:isr-status-capability:02`, `dev:pci:isr-status-capability:03`, `dev:pci:isr-status-capability:04`,
/// `dev:pci:isr-status-capability:05`
#[test]
fn intx_is_asserted_as_long_as_the_isr_status_is_not_read() {
    let (mut driver, mut queue, handle) = live();
    assert_eq!((isr(&mut driver), interrupt_status(&mut driver)), (0, false));
    use_buffer(&mut driver, &mut queue);
    assert!(driver.board.is_asserted() && interrupt_status(&mut driver));
    handle.change_config(&[1]);
    assert_eq!(isr(&mut driver), (Isr::QUEUE | Isr::CONFIG).0);
    assert!(!driver.board.is_asserted() && !interrupt_status(&mut driver));
    assert_eq!(isr(&mut driver), 0);
    handle.change_config(&[2]);
    assert!(driver.board.is_asserted());
    assert_eq!(isr(&mut driver), Isr::CONFIG.0);
}

#[test]
fn the_isr_status_is_one_byte_that_is_only_read() {
    let (mut driver, _queue, handle) = live();
    handle.change_config(&[1]);
    let place = driver.places.isr.start;
    // Neither writes nor reads beside it touch it.
    for width in [1, 2, 4] {
        driver.bar_write(STRUCTURES_BAR, place, &vec![0xff; width]);
        let mut data = vec![0xa5; width];
        driver.bar_read(STRUCTURES_BAR, place + 1, &mut data);
        assert_eq!(data, vec![0; width]);
    }
    assert!(driver.board.is_asserted());
    assert_eq!(driver.get::<4>(place), [Isr::CONFIG.0, 0, 0, 0]);
    assert!(!driver.board.is_asserted());
}

/// Interrupt Disable holds back the pin, not the status (`dev:pci:isr-status-capability:04`).
#[test]
fn intx_can_be_disabled() {
    let (mut driver, mut queue, _) = live();
    let disable = command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;
    driver.config_write(COMMAND, &disable.to_le_bytes());
    use_buffer(&mut driver, &mut queue);
    assert!(!driver.board.is_asserted());
    assert!(interrupt_status(&mut driver));
    driver.config_write(COMMAND, &(disable - command::INTX_DISABLE).to_le_bytes());
    assert!(driver.board.is_asserted());
    driver.config_write(COMMAND, &disable.to_le_bytes());
    assert!(!driver.board.is_asserted());
    assert_eq!(isr(&mut driver), Isr::QUEUE.0);
}

#[test]
fn a_function_without_intx_has_no_pin() {
    let device = probe(1);
    let handle = device.handle.clone();
    let options = Options {
        without_intx: true,
        ..Options::default()
    };
    let mut driver = Driver::new(device, VERSION_1, options);
    driver.start(16);
    handle.change_config(&[1]);
    let mut pin = [0xff];
    driver.config_read(header::INTERRUPT_PIN as u64, &mut pin);
    assert_eq!(pin, [0]);
    assert!(!driver.board.is_asserted());
    assert_eq!(isr(&mut driver), Isr::CONFIG.0);
}

/// `dev:pci:used-buffer-notifications:01`, `dev:pci:notification-of-device-configuration-changes:01`,
/// `dev:pci:msi-x-vector-configuration:05`
#[test]
fn what_is_mapped_to_no_vector_is_not_told() {
    let (mut driver, mut queue, handle) = live();
    driver.enable_msix(&[0, 1], 0x1000);
    use_buffer(&mut driver, &mut queue);
    handle.change_config(&[1]);
    assert_eq!(
        (driver.board.messages(), driver.board.is_asserted()),
        (vec![], false)
    );
    driver.put16(field::QUEUE_MSIX_VECTOR, 1);
    driver.put16(field::CONFIG_MSIX_VECTOR, 0);
    use_buffer(&mut driver, &mut queue);
    handle.change_config(&[2]);
    assert_eq!(driver.board.messages(), [(1, 0x1000, 1), (0, 0x1000, 0)]);
    driver.put16(field::QUEUE_MSIX_VECTOR, pci::MSI_NO_VECTOR);
    driver.put16(field::CONFIG_MSIX_VECTOR, pci::MSI_NO_VECTOR);
    use_buffer(&mut driver, &mut queue);
    handle.change_config(&[3]);
    assert_eq!(
        (driver.board.messages(), driver.board.is_asserted()),
        (vec![], false)
    );
    // dev:pci:isr-status-capability:02 holds with MSI-X, too; dev:pci:isr-status-capability:04 does not.
    assert!(!interrupt_status(&mut driver));
    assert_eq!(isr(&mut driver), Isr::CONFIG.0);
}

/// `dev:pci:msi-x-vector-configuration:01`, `dev:pci:msi-x-vector-configuration:02`,
/// `dev:pci:msi-x-vector-configuration:04`, `dev:pci:msi-x-vector-configuration:06`,
/// `dev:pci:msi-x-vector-configuration:08`, `dev:pci:msi-x-vector-configuration:09`
#[test]
fn events_map_to_every_vector_there_is() {
    for (vectors, expected) in [(None, 3), (Some(1), 1), (Some(5), 5), (Some(2048), 2048)] {
        let options = Options {
            vectors,
            ..Options::default()
        };
        let mut driver = Driver::new(probe(2), VERSION_1, options);
        assert_eq!(driver.vectors(), expected);
        let at = driver.capability(header::capability::MSIX, |_, _| true);
        assert_eq!(driver.space.u16(at + msix::CONTROL), expected - 1);
        driver.put16(field::QUEUE_SELECT, 1);
        for register in [field::CONFIG_MSIX_VECTOR, field::QUEUE_MSIX_VECTOR] {
            assert_eq!(driver.get16(register), pci::MSI_NO_VECTOR);
            for vector in (0..expected).chain([pci::MSI_NO_VECTOR, 0]) {
                driver.put16(register, vector);
                assert_eq!(driver.get16(register), vector);
            }
            for vector in [expected, 2048, 0x7fff, 0xfffe] {
                driver.put16(register, 0);
                driver.put16(register, vector);
                assert_eq!(driver.get16(register), pci::MSI_NO_VECTOR, "vector {vector}");
            }
        }
    }
}

#[test]
fn a_function_can_do_without_msix() {
    let options = Options {
        vectors: Some(0),
        ..Options::default()
    };
    let mut driver = Driver::new(probe(1), VERSION_1, options);
    assert!(driver.offsets.msix.is_none());
    assert!(driver.bars().iter().all(|bar| bar.index != MSIX_BAR));
    for register in [field::CONFIG_MSIX_VECTOR, field::QUEUE_MSIX_VECTOR] {
        driver.put16(register, 0);
        assert_eq!(driver.get16(register), pci::MSI_NO_VECTOR);
    }
    let mut queue = driver.start(16);
    driver.request(&mut queue, 8, Driver::wait_intx);
    let board = Arc::new(Board::default());
    let options = Options {
        vectors: Some(2049),
        ..Options::default()
    };
    let outcome = Function::new(Box::new(probe(1)), options, board);
    assert!(matches!(outcome, Err(FunctionError::Vectors(2049))));
}

fn pending(driver: &mut Driver) -> u64 {
    let place = driver.places.pending.start;
    let mut bits = [0; 8];
    driver.bar_read(MSIX_BAR, place, &mut bits);
    let mut halves = [0; 8];
    let (low, high) = halves.split_at_mut(4);
    driver.bar_read(MSIX_BAR, place, low);
    driver.bar_read(MSIX_BAR, place + 4, high);
    assert_eq!(bits, halves);
    u64::from_le_bytes(bits)
}

#[test]
fn a_vector_that_is_masked_is_pending_until_it_is_not() {
    let device = probe(1);
    let handle = device.handle.clone();
    let options = Options {
        vectors: Some(40),
        ..Options::default()
    };
    let mut driver = Driver::new(device, VERSION_1, options);
    driver.start(16);
    driver.enable_msix(&[33], 0x2000);
    driver.put16(field::CONFIG_MSIX_VECTOR, 33);
    let control = driver.places.table.start + 33 * msix::VECTOR_SIZE + 12;
    driver.bar_write(MSIX_BAR, control, &msix::MASK.to_le_bytes());
    for config in 0..3 {
        handle.change_config(&[config]);
    }
    assert_eq!(driver.board.messages(), []);
    assert_eq!(pending(&mut driver), 1 << 33);
    driver.bar_write(MSIX_BAR, control, &[0; 4]);
    assert_eq!(driver.board.messages(), [(33, 0x2000, 33)], "once");
    assert_eq!(pending(&mut driver), 0);

    // The same with the mask of the function.
    let at = driver.capability(header::capability::MSIX, |_, _| true) + msix::CONTROL;
    driver.config_write(at as u64, &(msix::ENABLE | msix::FUNCTION_MASK).to_le_bytes());
    handle.change_config(&[9]);
    assert_eq!((driver.board.messages(), pending(&mut driver)), (vec![], 1 << 33));
    driver.config_write(at as u64, &msix::ENABLE.to_le_bytes());
    assert_eq!(
        (driver.board.messages(), pending(&mut driver)),
        (vec![(33, 0x2000, 33)], 0)
    );

    // Messages are accesses to memory, for which the function needs to be bus master.
    driver.config_write(COMMAND, &command::MEMORY.to_le_bytes());
    handle.change_config(&[10]);
    assert_eq!((driver.board.messages(), pending(&mut driver)), (vec![], 1 << 33));
    driver.config_write(COMMAND, &(command::MEMORY | command::BUS_MASTER).to_le_bytes());
    assert_eq!(
        (driver.board.messages(), pending(&mut driver)),
        (vec![(33, 0x2000, 33)], 0)
    );
}

#[test]
fn the_vector_table_is_accessed_in_aligned_words() {
    let mut driver = Driver::new(probe(1), VERSION_1, Options::default());
    let get = |driver: &mut Driver, offset, width: usize| {
        let mut data = vec![0xa5; width];
        driver.bar_read(MSIX_BAR, offset, &mut data);
        data
    };
    // After a reset every vector is masked.
    assert_eq!(get(&mut driver, 16, 8), [0; 8]);
    assert_eq!(get(&mut driver, 24, 8), [0, 0, 0, 0, 1, 0, 0, 0]);
    driver.bar_write(MSIX_BAR, 16, &0x1122_3344_5566_7788u64.to_le_bytes());
    driver.bar_write(MSIX_BAR, 24, &0x99aa_bbccu32.to_le_bytes());
    driver.bar_write(MSIX_BAR, 28, &0xffff_fffeu32.to_le_bytes());
    driver.bar_write(MSIX_BAR, 20, &0xdead_beefu32.to_le_bytes());
    assert_eq!(get(&mut driver, 16, 8), 0xdead_beef_5566_7788u64.to_le_bytes());
    assert_eq!(get(&mut driver, 24, 8), 0x0000_0000_99aa_bbccu64.to_le_bytes());
    let before = driver.state();
    for offset in 0..64 {
        for width in [1, 2, 3, 4, 8, 16] {
            let legal = matches!(width, 4 | 8) && offset % width == 0 && offset < 32;
            if !legal {
                driver.bar_write(MSIX_BAR, offset, &vec![0x5a; width as usize]);
                let data = get(&mut driver, offset, width as usize);
                assert_eq!(data, vec![0; width as usize], "{width} bytes at {offset}");
            }
        }
    }
    // Pending bits are not for the driver to write.
    let place = driver.places.pending.start;
    driver.bar_write(MSIX_BAR, place, &[0xff; 8]);
    driver.bar_write(MSIX_BAR, place + 8, &[0xff; 8]);
    driver.bar_write(MSIX_BAR, u64::MAX - 7, &[0xff; 8]);
    assert!(driver.state() == before);
}

#[test]
fn a_client_with_the_table_gets_vectors_only() {
    let device = probe(1);
    let handle = device.handle.clone();
    let options = Options {
        msix_table: MsixTable::Client,
        ..Options::default()
    };
    let mut driver = Driver::new(device, VERSION_1, options);
    let mut queue = driver.start(16);
    // It knows nothing of addresses, and masks by itself.
    let at = driver.capability(header::capability::MSIX, |_, _| true) + msix::CONTROL;
    driver.config_write(at as u64, &msix::ENABLE.to_le_bytes());
    driver.put16(field::CONFIG_MSIX_VECTOR, 0);
    driver.put16(field::QUEUE_MSIX_VECTOR, 1);
    handle.change_config(&[1]);
    use_buffer(&mut driver, &mut queue);
    assert_eq!(driver.board.messages(), [(0, 0, 0), (1, 0, 0)]);
}

#[test]
fn messages_come_through_however_threads_race() {
    let mut driver = Driver::new(probe(1), VERSION_1, Options::default());
    driver.enable_msix(&[1], 0x1000);
    driver.negotiate();
    let mut queue = driver.guest.queue(0, 256);
    driver.enable(0, queue.layout());
    driver.put16(field::QUEUE_MSIX_VECTOR, 1);
    driver.drive();
    let control = driver.places.table.start + msix::VECTOR_SIZE + 12;
    for round in 0..20_000u32 {
        // Masked and unmasked while the message is on its way.
        driver.request(&mut queue, 1, |driver| {
            if round.is_multiple_of(2) {
                driver.bar_write(MSIX_BAR, control, &msix::MASK.to_le_bytes());
                driver.bar_write(MSIX_BAR, control, &[0; 4]);
            }
            driver.board.wait_message();
        });
    }
}
