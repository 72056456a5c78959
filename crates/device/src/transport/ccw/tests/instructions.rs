//! The I/O instructions: condition codes, and what becomes of the status.

use ringwright_spec::ccw::channel::{PmcwCharacteristics, ScswControl};

use super::*;

const STATUS_PENDING: ConditionCode = ConditionCode::STATUS_PENDING;
const NOT_OPERATIONAL: ConditionCode = ConditionCode::NOT_OPERATIONAL;
const BUSY: ConditionCode = ConditionCode::BUSY;
const OK: ConditionCode = ConditionCode::DONE;

fn board() -> Board {
    Board::new(sevens(), Features::NONE)
}

fn control(board: &Board) -> ScswControl {
    ScswControl(board.subchannel.store().scsw.control.get())
}

#[test]
fn a_subchannel_tells_what_it_is() {
    let options = Options {
        subchannel: 5,
        device_number: 0xbeef,
        channel_path: 0x17,
        ..Options::default()
    };
    let interrupts = Arc::new(Interrupts::default());
    let subchannel = Subchannel::new(Box::new(sevens()), options, interrupts).unwrap();
    assert_eq!(subchannel.id(), 0x1_0005);
    let pmcw = subchannel.store().pmcw;
    assert_eq!(pmcw.flags.get(), PmcwFlags::DEVICE_NUMBER_VALID.0);
    assert_eq!(pmcw.device_number.get(), 0xbeef);
    assert_eq!((pmcw.path_installed_mask, pmcw.path_available_mask), (0x80, 0x80));
    assert_eq!(pmcw.channel_paths[0], 0x17);
}

#[test]
fn nothing_works_before_it_is_enabled() {
    let mut board = board();
    board.enable(false);
    let orb = board.orb();
    let subchannel = &mut board.subchannel;
    assert_eq!(subchannel.start(&orb), NOT_OPERATIONAL);
    assert_eq!(subchannel.resume_program(), NOT_OPERATIONAL);
    assert_eq!(subchannel.test().0, NOT_OPERATIONAL);
    assert_eq!(subchannel.halt(), NOT_OPERATIONAL);
    assert_eq!(subchannel.clear(), NOT_OPERATIONAL);
    assert_eq!(subchannel.cancel(), NOT_OPERATIONAL);
    assert_eq!(board.interrupts.pending().count, 0);
}

#[test]
fn modify_changes_what_programs_may_change() {
    let mut board = board();
    let mut schib = Schib::default();
    zerocopy::IntoBytes::as_mut_bytes(&mut schib).fill(0xff);
    assert_eq!(board.subchannel.modify(&schib), OK);
    let stored = board.subchannel.store();
    // Neither QF, W, bits 5 to 7, nor T; V was set.
    assert_eq!(stored.pmcw.flags.get(), 0x38fd);
    assert_eq!(stored.pmcw.interruption_parameter.get(), u32::MAX);
    assert_eq!(stored.pmcw.device_number.get(), 0);
    assert_eq!(
        (stored.pmcw.logical_path_mask, stored.pmcw.path_installed_mask),
        (0xff, 0x80)
    );
    assert_eq!(stored.pmcw.path_available_mask, 0x80);
    assert_eq!(stored.pmcw.characteristics.get(), 7);
    assert_eq!(stored.measurement_block_address.get(), u64::MAX);
    assert_eq!(stored.scsw, Scsw::default());
}

#[test]
fn status_is_pending_until_it_is_tested() {
    let mut board = board();
    board.place(Command::NO_OPERATION, NONE, 0);
    let orb = board.orb();
    assert_eq!(board.subchannel.start(&orb), OK);
    // One interruption, which says what the program and the subchannel have in mind.
    let expected = Interruption {
        subchannel: 0x1_0000,
        parameter: 0xabcd,
        subclass: 3,
    };
    assert_eq!(board.interrupts.pending().interruption, Some(expected));
    let schib = board.subchannel.store();
    let subchannel = &mut board.subchannel;
    assert_eq!(subchannel.start(&orb), STATUS_PENDING);
    assert_eq!(subchannel.modify(&schib), STATUS_PENDING);
    assert_eq!(subchannel.resume_program(), STATUS_PENDING);
    assert_eq!(subchannel.halt(), STATUS_PENDING);
    assert_eq!(subchannel.cancel(), STATUS_PENDING);
    let (code, irb) = subchannel.test();
    assert_eq!(code, OK);
    let ended = ScswControl::START_FUNCTION
        | ScswControl::PRIMARY
        | ScswControl::SECONDARY
        | ScswControl::STATUS_PENDING;
    assert_eq!(irb.scsw.control.get(), ended.0);
    assert_eq!(irb.scsw.flags.get(), orb.control.get());
    assert_eq!(irb.scsw.ccw_address.get(), 0x1008);
    assert_eq!(irb.extended_status[0].get(), 0x0080_0000);
    // Taken: the interruption too.
    assert_eq!(board.interrupts.pending().interruption, None);
    assert_eq!(control(&board), ScswControl::NONE);
    assert_eq!(board.subchannel.test().0, STATUS_PENDING);
    assert_eq!(board.subchannel.modify(&schib), OK);
}

#[test]
fn what_went_wrong_is_an_alert() {
    let mut board = board();
    for (command, alert) in [
        (Command::NO_OPERATION, false),
        (Command(0x99), true),
        (Command(0x10), true),
    ] {
        board.place(command, NONE, 0);
        let scsw = board.run();
        assert_eq!(
            ScswControl(scsw.control.get()).contains(ScswControl::ALERT),
            alert,
            "{command:?}"
        );
    }
}

#[test]
fn sense_data_may_come_with_the_status() {
    let mut board = board();
    let mut schib = board.subchannel.store();
    schib.pmcw.characteristics = PmcwCharacteristics::CONCURRENT_SENSE.0.into();
    assert_eq!(board.subchannel.modify(&schib), OK);
    board.place(Command(0x99), NONE, 0);
    let orb = board.orb();
    assert_eq!(board.subchannel.start(&orb), OK);
    let (_, irb) = board.subchannel.test();
    assert_eq!(irb.extended_control[0], Sense::COMMAND_REJECT.0);
    assert_eq!(irb.extended_status[1].get(), 0x0120_0000);
    assert_eq!(irb.scsw.flags.get() & 2, 2);
    // It is not there twice.
    assert_eq!(board.sense(), Sense::NONE);
    // And not where there is nothing wrong.
    board.place(Command::NO_OPERATION, NONE, 0);
    assert_eq!(board.subchannel.start(&orb), OK);
    let (_, irb) = board.subchannel.test();
    assert_eq!(irb.extended_status[1].get(), 0);
}

#[test]
fn programs_that_cannot_be_fetched() {
    let mut board = board();
    board.place(Command::NO_OPERATION, NONE, 0);
    let check = SubchannelStatus::PROGRAM_CHECK.0;
    // Not a program of channel command words.
    let mut orb = board.orb();
    orb.control = (orb.control.get() | OrbControl::TRANSPORT_MODE.0).into();
    assert_eq!(board.subchannel.start(&orb), OK);
    assert_eq!(board.subchannel.test().1.scsw.subchannel_status, check);
    // No path.
    let mut orb = board.orb();
    orb.logical_path_mask = 0x7f;
    assert_eq!(board.subchannel.start(&orb), OK);
    let scsw = board.subchannel.test().1.scsw;
    assert_eq!((scsw.flags.get() & 0x300, scsw.subchannel_status), (0x300, 0));
    assert!(ScswControl(scsw.control.get()).contains(ScswControl::ALERT));
    assert_eq!(board.interrupts.pending().count, 2);
    // No memory at all.
    let interrupts = Arc::new(Interrupts::default());
    let subchannel = Subchannel::new(Box::new(sevens()), Options::default(), interrupts).unwrap();
    board.subchannel = subchannel;
    board.enable(true);
    let orb = board.orb();
    assert_eq!(board.subchannel.start(&orb), OK);
    assert_eq!(board.subchannel.test().1.scsw.subchannel_status, check);
}

/// Starts a program that suspends itself before its only command.
fn suspend(board: &mut Board, control: OrbControl) {
    board.place(Command::NO_OPERATION, CcwFlags::SUSPEND, 0);
    let mut orb = board.orb();
    orb.control = (orb.control.get() | OrbControl::SUSPEND.0 | control.0).into();
    assert_eq!(board.subchannel.start(&orb), OK);
}

#[test]
fn a_suspended_program_is_resumed() {
    let suspended = ScswControl::START_FUNCTION | ScswControl::SUSPENDED;
    let pending = suspended | ScswControl::INTERMEDIATE | ScswControl::STATUS_PENDING;
    let mut board = board();
    suspend(&mut board, OrbControl::NONE);
    assert_eq!(board.subchannel.resume_program(), STATUS_PENDING);
    let (code, irb) = board.subchannel.test();
    assert_eq!((code, irb.scsw.control.get()), (OK, pending.0));
    // Still suspended, and nothing else can be done.
    let (orb, schib) = (board.orb(), board.subchannel.store());
    assert_eq!(control(&board), suspended);
    assert_eq!(board.subchannel.start(&orb), BUSY);
    assert_eq!(board.subchannel.modify(&schib), BUSY);
    // With the flag gone it goes on.
    board.place(Command::NO_OPERATION, NONE, 0);
    assert_eq!(board.subchannel.resume_program(), OK);
    let (code, irb) = board.subchannel.test();
    assert_eq!((code, irb.scsw.device_status), (OK, DONE.device.0));
    assert_eq!(board.subchannel.resume_program(), BUSY);
}

#[test]
fn a_suspension_need_not_interrupt() {
    let mut board = board();
    suspend(&mut board, OrbControl::SUPPRESS_SUSPENDED_INTERRUPTION);
    assert_eq!(board.interrupts.pending().count, 0);
    assert_eq!(board.subchannel.test().0, STATUS_PENDING);
    assert!(control(&board).contains(ScswControl::SUSPENDED));
}

#[test]
fn a_suspended_program_is_ended() {
    type Instruction = fn(&mut Subchannel) -> ConditionCode;
    let instructions: [(Instruction, u16); 3] = [
        (
            Subchannel::halt,
            ScswControl::HALT_FUNCTION.0 | ScswControl::START_FUNCTION.0 | 1,
        ),
        (Subchannel::clear, ScswControl::CLEAR_FUNCTION.0 | 1),
        (Subchannel::cancel, 0),
    ];
    for (instruction, expected) in instructions {
        let mut board = board();
        suspend(&mut board, OrbControl::SUPPRESS_SUSPENDED_INTERRUPTION);
        assert_eq!(instruction(&mut board.subchannel), OK);
        assert_eq!(control(&board).0, expected);
        let _ = board.subchannel.test();
        assert_eq!(control(&board), ScswControl::NONE);
        assert_eq!(board.subchannel.resume_program(), BUSY);
        board.place(Command::NO_OPERATION, NONE, 0);
        assert_eq!(board.run().device_status, DONE.device.0);
    }
}

#[test]
fn halt_and_clear_without_a_program() {
    let mut board = board();
    assert_eq!(board.subchannel.halt(), OK);
    assert_eq!(board.interrupts.wait().parameter, 0);
    let (_, irb) = board.subchannel.test();
    assert_eq!(irb.scsw.control.get(), ScswControl::HALT_FUNCTION.0 | 1);
    assert_eq!(board.subchannel.cancel(), BUSY);
    // Clear works even with status pending.
    board.place(Command(0x99), NONE, 0);
    let orb = board.orb();
    assert_eq!(board.subchannel.start(&orb), OK);
    assert_eq!(board.subchannel.clear(), OK);
    let (_, irb) = board.subchannel.test();
    assert_eq!(irb.scsw.control.get(), ScswControl::CLEAR_FUNCTION.0 | 1);
    assert_eq!((irb.scsw.device_status, irb.scsw.flags.get()), (0, 0));
}

#[test]
fn a_reset_of_the_machine_leaves_nothing() {
    let mut board = Board::in_revision(
        sevens(),
        ringwright_spec::feature::VERSION_1,
        Revision::READ_STATUS,
    );
    let fresh = Subchannel::new(Box::new(sevens()), Options::default(), board.interrupts.clone()).unwrap();
    board.start();
    suspend(&mut board, OrbControl::NONE);
    board.subchannel.reset();
    assert_eq!(board.subchannel.store(), fresh.store());
    board.enable(true);
    assert_eq!(board.subchannel.resume_program(), BUSY);
    assert_eq!(board.sense(), Sense::NONE);
    assert_eq!(board.set_revision(2, 0), DONE);
    assert_eq!(board.status(), Status::NONE);
}
