use core::cell::RefMut;
use std::vec;
use std::vec::Vec;

use ringwright_ring::DriverQueue;
use ringwright_spec::ccw::channel::{ConditionCode, Sense, SubchannelStatus};

use super::fake::{Board, Fake, ID};
use super::*;
use crate::init::Setup;
use crate::testing::lives::{self, IDS, Shared};
use crate::testing::model::Model;
use crate::testing::stairs::STAIRS;
use crate::{DriverError, Options};

const MODERN: Features = feature::VERSION_1;

fn shared() -> Shared {
    Shared::at(0x1000_0000, ByteOrder::Big)
}

fn options(max_revision: u16, adapter_subclass: Option<u8>) -> CcwOptions {
    CcwOptions {
        max_revision: Revision(max_revision),
        adapter_subclass,
        ..CcwOptions::default()
    }
}

fn probe(fake: &Fake, shared: &Shared, options: CcwOptions) -> Result<Option<Ccw<Fake>>, TransportError> {
    Ccw::probe(fake.clone(), ID, &shared.area, options)
}

/// A device of type `STAIRS`.
fn stairs(shared: &Shared, offered: Features) -> Fake {
    Fake::new(&shared.memory, STAIRS.id, offered, &[8, 8])
}

fn ccw(fake: &Fake, shared: &Shared) -> Ccw<Fake> {
    probe(fake, shared, CcwOptions::default()).unwrap().unwrap()
}

fn drive(fake: &Fake, shared: &Shared, options: CcwOptions) -> Result<(), DriverError> {
    let transport = probe(fake, shared, options)?.unwrap();
    let with_model = |f: &mut dyn FnMut(&mut Model)| f(&mut fake.board().model);
    lives::live(transport, shared, with_model, Features(u128::MAX))
}

/// A device that is live, with two virtqueues.
fn start<'f>(
    fake: &'f Fake,
    shared: &Shared,
    options: CcwOptions,
) -> (crate::session::Session<Ccw<Fake>>, RefMut<'f, Board>) {
    let transport = probe(fake, shared, options).unwrap().unwrap();
    let mut setup = Setup::begin(
        transport,
        &shared.area,
        &STAIRS,
        Features::NONE,
        Options::default(),
    )
    .unwrap();
    for index in 0..2 {
        let _: DriverQueue<()> = setup.queue(index, 1).unwrap();
    }
    (setup.finish().unwrap(), fake.board())
}

/// The subchannel itself checks drv:ccw:basic-concepts:02, drv:ccw:setting-the-virtio-revision:02 and :03,
/// drv:ccw:communicating-status-information:03, drv:ccw:guest-host-notification:01.
#[test]
fn every_driver_in_every_revision() {
    let offers = [
        MODERN,
        MODERN | feature::EVENT_IDX | feature::NOTIFICATION_DATA | feature::SUSPEND,
        MODERN | feature::RING_PACKED | feature::IN_ORDER,
        Features(u128::MAX) - feature::DEVICE_TYPE_BITS,
    ];
    for id in IDS {
        for revision in 0..=2 {
            for offered in offers {
                for (adapter, two_stage) in [(None, true), (Some(5), true), (Some(5), false)] {
                    let shared = shared();
                    let offered = match revision {
                        0 => offered & feature::LEGACY_BITS,
                        _ => offered,
                    };
                    let fake = Fake::new(&shared.memory, id, offered | lives::features(id), &[64; 3]);
                    {
                        let board = &mut *fake.board();
                        board.max_revision = Some(revision);
                        board.two_stage = two_stage;
                        board.model.legacy = revision == 0;
                        lives::configure(&mut board.model, ByteOrder::Big);
                        board.model.fields = &[];
                    }
                    drive(&fake, &shared, options(2, adapter)).unwrap();
                    let board = fake.board();
                    assert_eq!(board.model.status, Status::NONE);
                    assert_eq!(board.schib.pmcw.flags.get() & 0x80, 0, "disabled in the end");
                    assert!(shared.is_whole());
                }
            }
        }
    }
}

#[test]
fn any_instruction_can_fail() {
    for id in IDS {
        for concurrent_sense in [false, true] {
            let device = |shared: &Shared| {
                let fake = Fake::new(&shared.memory, id, MODERN | lives::features(id), &[64; 3]);
                {
                    let board = &mut *fake.board();
                    board.max_revision = Some(1);
                    board.concurrent_sense = concurrent_sense;
                    lives::configure(&mut board.model, ByteOrder::Big);
                    board.model.fields = &[];
                }
                fake
            };
            let memory = shared();
            let fake = device(&memory);
            drive(&fake, &memory, CcwOptions::default()).unwrap();
            let instructions = fake.board().instructions;
            for number in 0..instructions {
                let memory = shared();
                let fake = device(&memory);
                fake.board().faults = number..number + 1;
                match drive(&fake, &memory, CcwOptions::default()) {
                    Err(DriverError::Transport(TransportError::Os(5))) => {}
                    // The reset at the end is told to nobody.
                    Ok(()) => assert!(number + 8 > instructions, "{number} of {instructions}"),
                    Err(error) => panic!("{number}: {error}"),
                }
            }
        }
    }
}

#[test]
fn virtio_devices_are_found_by_their_control_unit_drv_ccw_basic_concepts_01() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    let found = discover(fake.clone(), &shared.area).unwrap();
    let expected = Found {
        subchannel: ID,
        device_number: 0x1234,
        device_id: STAIRS.id as u8,
    };
    assert_eq!(found, [expected]);
    assert!(shared.is_whole());
    // Nothing was done but to ask.
    assert_eq!(fake.board().log, [Command::SENSE_ID]);
    assert_eq!(fake.board().schib.pmcw.flags.get() & 0x80, 0);
    // Other control units, one that does not know the command, and one that says less.
    for cu_type in [0x3830, 0x3990, 0x3832_u16.swap_bytes(), 0] {
        fake.board().cu_type = cu_type;
        assert_eq!(discover(fake.clone(), &shared.area), Ok(vec![]));
        assert!(probe(&fake, &shared, CcwOptions::default()).unwrap().is_none());
    }
    // No device, and no subchannel.
    fake.board().schib.pmcw.flags = 0.into();
    assert_eq!(discover(fake.clone(), &shared.area), Ok(vec![]));
    assert!(probe(&fake, &shared, CcwOptions::default()).unwrap().is_none());
    assert!(
        Ccw::probe(fake.clone(), ID + 1, &shared.area, CcwOptions::default())
            .unwrap()
            .is_none()
    );
}

#[test]
fn the_highest_common_revision_is_selected() {
    let shared = shared();
    for (device, driver, expected) in [(2, 2, 2), (1, 2, 1), (0, 2, 0), (2, 1, 1), (2, 0, 0), (9, 2, 2)] {
        let fake = stairs(&shared, MODERN);
        fake.board().max_revision = Some(device);
        let device = probe(&fake, &shared, options(driver, None)).unwrap().unwrap();
        assert_eq!(device.revision(), Revision(expected));
        assert_eq!(device.legacy().is_some(), expected == 0);
        // drv:ccw:setting-the-virtio-revision:01: downwards, one at a time.
        let tries = fake
            .board()
            .log
            .iter()
            .filter(|command| **command == Command::SET_VIRTIO_REV)
            .count();
        assert_eq!(tries, usize::from(driver - expected) + 1);
    }
}

#[test]
fn a_legacy_device_knows_of_no_revision() {
    let shared = shared();
    let fake = stairs(&shared, Features::NONE);
    fake.board().max_revision = None;
    // Section 4.3.2.1.3: a transitional driver goes on as in revision 0, another one stops.
    let device = ccw(&fake, &shared);
    assert_eq!(device.revision(), Revision::LEGACY);
    drop(device);
    let options = CcwOptions {
        transitional: false,
        ..CcwOptions::default()
    };
    let start = fake.board().log.len();
    let refused = probe(&fake, &shared, options).err();
    assert!(matches!(refused, Some(TransportError::Unsupported(_))));
    let virtio = [Command::SENSE_ID, Command::BASIC_SENSE, Command::SET_VIRTIO_REV];
    assert!(
        fake.board().log[start..]
            .iter()
            .all(|command| virtio.contains(command))
    );
    // Neither does it drive a device in revision 0 that has one.
    fake.board().max_revision = Some(0);
    assert!(probe(&fake, &shared, options).is_err());
}

#[test]
fn a_revision_that_somebody_else_selected_is_forgotten() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    core::mem::forget(ccw(&fake, &shared));
    assert_eq!(fake.board().revision, Some(2));
    assert_eq!(
        probe(&fake, &shared, options(1, None))
            .unwrap()
            .unwrap()
            .revision(),
        Revision(1)
    );
}

#[test]
fn a_status_that_is_rejected_stays_drv_ccw_communicating_status_information_01() {
    let shared = shared();
    for revision in [1, 2] {
        let fake = stairs(&shared, MODERN);
        let mut device = probe(&fake, &shared, options(revision, None)).unwrap().unwrap();
        device.set_status(Status::NONE).unwrap();
        let begun = Status::ACKNOWLEDGE | Status::DRIVER;
        device.set_status(begun).unwrap();
        fake.board().rejected = vec![Command::WRITE_STATUS];
        // The way to say that the features are no good.
        device.set_status(begun | Status::FEATURES_OK).unwrap();
        assert_eq!(device.status(), Ok(begun));
        let refused = device.set_status(begun | Status::FAILED);
        assert!(matches!(refused, Err(TransportError::Protocol(_))));
        assert_eq!(device.status(), Ok(begun));
    }
}

#[test]
fn the_status_is_read_where_it_can_be() {
    let shared = shared();
    for (revision, expected) in [
        (0, Status::ACKNOWLEDGE),
        (1, Status::ACKNOWLEDGE),
        (2, Status::ACKNOWLEDGE | Status::DEVICE_NEEDS_RESET),
    ] {
        let fake = stairs(&shared, MODERN & feature::LEGACY_BITS);
        let mut device = probe(&fake, &shared, options(revision, None)).unwrap().unwrap();
        device.set_status(Status::NONE).unwrap();
        device.set_status(Status::ACKNOWLEDGE).unwrap();
        let status = fake.board().model.status;
        fake.board().model.status = status | Status::DEVICE_NEEDS_RESET;
        assert_eq!(device.status(), Ok(expected));
        // What cannot be seen is not asked for.
        let suspends = !device.unsupported_features().contains(feature::SUSPEND);
        assert_eq!(suspends, revision == 2);
        assert!(
            device
                .unsupported_features()
                .contains(feature::RING_RESET | feature::ADMIN_VQ)
        );
    }
}

#[test]
fn ends_of_programs_are_waited_for_and_told_from_notifications() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    {
        let board = &mut *fake.board();
        board.slow = 3;
        board.alerts = true;
        board.start_codes = vec![ConditionCode::BUSY, ConditionCode::BUSY];
    }
    // Notifications that came before are taken first.
    fake.board().schib.pmcw.flags = 0x81.into();
    fake.board().alert();
    let mut device = ccw(&fake, &shared);
    fake.board().alert();
    fake.board().alert();
    assert_eq!(device.device_features(), Ok(MODERN));
    fake.board().rejected = vec![Command::READ_FEAT];
    assert!(
        device.device_features().is_err(),
        "the end, not the notification before it"
    );
}

#[test]
fn what_programs_may_not_end_with() {
    let shared = shared();
    let errors = [
        SubchannelStatus::PROGRAM_CHECK,
        SubchannelStatus::CHANNEL_DATA_CHECK,
        SubchannelStatus::INCORRECT_LENGTH,
    ]
    .map(|status| {
        let fake = stairs(&shared, MODERN);
        let mut device = ccw(&fake, &shared);
        fake.board().status = status;
        device.device_features().unwrap_err()
    });
    assert!(
        errors
            .iter()
            .all(|error| matches!(error, TransportError::Protocol(_)))
    );
    assert!(
        errors[0] == errors[1] && errors[1] != errors[2],
        "the length is told apart"
    );
    let fake = stairs(&shared, MODERN);
    let mut device = ccw(&fake, &shared);
    // A unit check for another reason, with and without sense data that come along.
    fake.board().rejected = vec![Command::READ_FEAT];
    for concurrent_sense in [false, true] {
        fake.board().concurrent_sense = concurrent_sense;
        fake.board().sense = Sense::EQUIPMENT_CHECK;
        let broken = device.device_features().unwrap_err();
        fake.board().sense = Sense::COMMAND_REJECT;
        let rejected = device.device_features().unwrap_err();
        assert!(
            matches!((broken, rejected), (TransportError::Protocol(a), TransportError::Protocol(b)) if a != b)
        );
    }
    fake.board().rejected.clear();
    // No path, no subchannel.
    fake.board().deferred = true;
    assert_eq!(device.device_features(), Err(TransportError::Gone));
    fake.board().deferred = false;
    fake.board().start_codes = vec![ConditionCode::NOT_OPERATIONAL];
    assert_eq!(device.device_features(), Err(TransportError::Gone));
    fake.board().schib.pmcw.flags = 0.into();
    assert_eq!(device.device_features(), Err(TransportError::Gone));
    assert_eq!(device.take_interrupt(), Err(TransportError::Gone));
}

#[test]
fn features_of_all_words() {
    let shared = shared();
    let all = MODERN | Features::bit(0) | Features::bit(70) | Features::bit(127);
    for (revision, expected) in [(0, Features::bit(0)), (1, all), (2, all)] {
        let fake = stairs(&shared, all);
        let mut device = probe(&fake, &shared, options(revision, None)).unwrap().unwrap();
        assert_eq!(device.device_features(), Ok(expected));
        device.set_status(Status::NONE).unwrap();
        device.set_status(Status::ACKNOWLEDGE | Status::DRIVER).unwrap();
        device.set_driver_features(expected).unwrap();
        assert_eq!(fake.board().model.accepted, expected);
        // Words that nothing is accepted of are left alone: a device may not know them.
        let start = fake.board().log.len();
        device
            .set_driver_features(expected & Features(u64::MAX.into()))
            .unwrap();
        assert_eq!(fake.board().log.len() - start, if revision == 0 { 1 } else { 2 });
    }
}

#[test]
fn virtqueues_that_are_not_there_or_refused() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    let mut device = ccw(&fake, &shared);
    assert_eq!(
        [0, 1, 2, u16::MAX].map(|index| device.queue_max_size(index).unwrap()),
        [8, 8, 0, 0]
    );
    let layout = Layout {
        size: 8,
        descriptor_area: 0x1000,
        driver_area: 0x2000,
        device_area: 0x3000,
    };
    fake.board().rejected = vec![Command::SET_VQ, Command::READ_VQ_CONF];
    assert_eq!(device.enable_queue(0, &layout), Err(TransportError::NoQueue(0)));
    assert_eq!(device.queue_max_size(3), Err(TransportError::NoQueue(3)));
    assert!(matches!(
        device.enable_queue(512, &layout),
        Err(TransportError::Unsupported(_))
    ));
    assert!(device.reset_queue(0).is_err() && device.queue_is_reset(0).is_err());
    assert_eq!(device.shared_memory(0), Ok(None));
    assert_eq!(device.notify(0, 0), Err(TransportError::NoQueue(0)));
    // In revision 0 it is in one piece.
    let fake = stairs(&shared, Features::NONE);
    let mut device = probe(&fake, &shared, options(0, None)).unwrap().unwrap();
    assert!(matches!(
        device.enable_queue(0, &layout),
        Err(TransportError::Unsupported(_))
    ));
}

#[test]
fn notifications_carry_the_index_or_notification_data_and_the_cookie() {
    let shared = shared();
    for (features, expected) in [
        (MODERN, [1, 0]),
        (MODERN | feature::NOTIFICATION_DATA, [0x8005_0001, 0x0007_0000]),
    ] {
        let fake = stairs(&shared, features);
        let (mut session, board) = start(&fake, &shared, CcwOptions::default());
        drop(board);
        let device = session.transport();
        device.notify(1, 0x8005_0001).unwrap();
        fake.board().cookie = 78;
        device.notify(0, 0x0007_0000).unwrap();
        let values: Vec<u32> = fake
            .board()
            .model
            .notified
            .iter()
            .map(|(_, value)| *value)
            .collect();
        assert_eq!(values, expected);
        // Each virtqueue has its own: the subsystem checks that.
        device.notify(1, 1).unwrap();
        device.notify(0, 0).unwrap();
        // An error is no cookie.
        fake.board().cookie = (-22_i64).cast_unsigned();
        assert!(matches!(device.notify(1, 1), Err(TransportError::Protocol(_))));
    }
}

#[test]
fn classic_indicators() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    let (mut session, mut board) = start(&fake, &shared, options(2, None));
    assert!(board.adapter.is_none());
    let (queues, config) = (board.classic.unwrap(), board.config_indicators.unwrap());
    board.set_bits(queues + 7, 2);
    board.alert();
    drop(board);
    let take =
        |session: &mut crate::session::Session<Ccw<Fake>>| session.transport().take_interrupt().unwrap();
    let interrupt = |queue, config| Interrupt { queue, config };
    assert_eq!(take(&mut session), interrupt(true, false));
    assert_eq!(take(&mut session), interrupt(false, false));
    // A notification without an interruption, as when another one is pending.
    fake.board().set_bits(config + 7, 1);
    assert_eq!(take(&mut session), interrupt(false, true));
    // The bit of every virtqueue there can be.
    fake.board().set_bits(queues, 0x80);
    assert_eq!(take(&mut session), interrupt(true, false));
    assert_eq!(fake.board().set_bits(queues, 0), 0);
    // Forgotten with a reset, and set up again.
    session.reset().unwrap();
    assert!(fake.board().classic.is_none());
    fake.board().set_bits(queues, 0x80);
    assert_eq!(take(&mut session), interrupt(false, false));
}

#[test]
fn two_stage_indicators() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    let (mut session, board) = start(&fake, &shared, options(1, Some(6)));
    assert!(board.classic.is_none());
    let area = board.adapter.unwrap();
    assert_eq!((area.isc, area.bit_nr.get()), (6, 0));
    let (summary, queues) = (area.summary_indicator.get(), area.indicator.get());
    let config = board.config_indicators.unwrap();
    board.set_bits(queues, 0x40);
    board.set_bits(summary, 1);
    drop(board);
    let transport = session.transport();
    assert_eq!(
        transport.take_interrupt(),
        Ok(Interrupt {
            queue: true,
            config: false
        })
    );
    // drv:ccw:notification-via-adapter-i-o-interrupts:01
    assert_eq!(
        [summary, queues].map(|address| fake.board().set_bits(address, 0)),
        [0, 0]
    );
    fake.board().set_bits(config + 7, 1);
    assert_eq!(
        transport.take_interrupt(),
        Ok(Interrupt {
            queue: false,
            config: true
        })
    );
}

#[test]
fn a_device_without_two_stage_indicators_gets_classic_ones() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    fake.board().two_stage = false;
    let (_session, board) = start(&fake, &shared, options(2, Some(6)));
    assert!(board.adapter.is_none() && board.classic.is_some());
    drop(board);
    drop(_session);
    // Those that rejects everything cannot be used.
    for rejected in [Command::SET_IND, Command::SET_CONF_IND] {
        let fake = stairs(&shared, MODERN);
        fake.board().rejected = vec![rejected];
        let transport = probe(&fake, &shared, options(2, None)).unwrap().unwrap();
        let mut setup = Setup::begin(
            transport,
            &shared.area,
            &STAIRS,
            Features::NONE,
            Options::default(),
        )
        .unwrap();
        let _: DriverQueue<()> = setup.queue(0, 1).unwrap();
        assert!(setup.finish().is_err());
    }
}

#[test]
fn the_configuration_space_is_read_and_written_from_its_beginning() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    fake.board().model.config = (0..32).collect();
    let mut device = ccw(&fake, &shared);
    device.set_status(Status::NONE).unwrap();
    let mut field = [0; 4];
    device.read_config(8, Width::Four, &mut field).unwrap();
    assert_eq!(field, [8, 9, 10, 11]);
    // What somebody else has changed meanwhile stays.
    fake.board().model.config[0] = 99;
    device.write_config(4, Width::Two, &[0xaa, 0xbb]).unwrap();
    let config = fake.board().model.config.clone();
    assert_eq!(config[..8], [99, 1, 2, 3, 0xaa, 0xbb, 6, 7]);
    assert_eq!(config[8..], (8..32).collect::<Vec<u8>>());
    // Beyond its end, beyond what a command carries, beyond everything.
    let outside = |offset, length| Err(TransportError::Config { offset, length });
    assert_eq!(device.read_config(30, Width::One, &mut field), outside(30, 4));
    assert_eq!(device.write_config(30, Width::One, &[0; 4]), outside(30, 4));
    assert_eq!(device.read_config(600, Width::One, &mut field), outside(600, 4));
    assert_eq!(
        device.read_config(usize::MAX, Width::One, &mut field),
        outside(usize::MAX, 4)
    );
    fake.board().rejected = vec![Command::WRITE_CONF];
    assert!(matches!(
        device.write_config(4, Width::Two, &[1, 2]),
        Err(TransportError::Protocol(_))
    ));
}

#[test]
fn the_generation_changes_with_what_is_read() {
    let shared = shared();
    let fake = stairs(&shared, MODERN);
    fake.board().model.config = vec![0; 16];
    let mut device = ccw(&fake, &shared);
    let mut read = |offset: usize| {
        device.read_config(offset, Width::One, &mut [0; 4]).unwrap();
        device.config_generation().unwrap()
    };
    assert_eq!([read(0), read(8), read(0), read(12)], [0, 0, 0, 0]);
    fake.board().model.config[9] = 1;
    // Of a change beyond what is read, nothing is known.
    assert_eq!([read(0), read(8), read(8)], [0, 1, 1]);
    fake.board().model.config[0] = 1;
    fake.board().model.config[15] = 1;
    assert_eq!([read(12), read(0), read(12)], [2, 2, 2]);
}

#[test]
fn memory_that_is_too_high_or_too_small() {
    for (address, found) in [(0x7fc0_0000, true), (0x7fff_ff00, false), (0x8000_0000, false)] {
        let shared = Shared::at(address, ByteOrder::Big);
        let fake = stairs(&shared, MODERN);
        match probe(&fake, &shared, CcwOptions::default()) {
            Ok(Some(_)) => assert!(found),
            Ok(None) => panic!("{address:#x}"),
            Err(error) => assert!(matches!(error, TransportError::Unsupported(_)) && !found),
        }
    }
    let shared = shared();
    let all = shared.area.allocate(shared.area.len() - 600, 1).unwrap();
    let refused = probe(&stairs(&shared, MODERN), &shared, CcwOptions::default()).err();
    assert!(matches!(refused, Some(TransportError::Unsupported(_))));
    drop(all);
}

#[test]
fn more_virtqueues_than_classic_indicators() {
    let shared = shared();
    for (queues, adapter, possible) in [(64, None, true), (65, None, false), (65, Some(1), true)] {
        let fake = Fake::new(&shared.memory, STAIRS.id, MODERN, &vec![2; queues]);
        let transport = probe(&fake, &shared, options(2, adapter)).unwrap().unwrap();
        let mut setup = Setup::begin(
            transport,
            &shared.area,
            &STAIRS,
            Features::NONE,
            Options::default(),
        )
        .unwrap();
        let last = queues as u16 - 1;
        let _: DriverQueue<()> = setup.queue(last, 1).unwrap();
        assert_eq!(setup.finish().is_ok(), possible);
    }
}
