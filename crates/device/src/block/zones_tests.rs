//! The zones by themselves: each sentence of the document about them, and random requests against a simpler model.

use proptest::prelude::*;

use super::*;

/// Ten zones of 16 sectors, of which 12 can be written; the last has 8. The first two are conventional.
fn shape(model: Model) -> Shape {
    Shape {
        model,
        capacity: 152,
        zone_sectors: 16,
        zone_capacity: 12,
        conventional: 2,
        max_open: 2,
        max_active: 4,
        max_append: 4,
        write_granularity: 2,
    }
}

fn managed() -> Zones {
    Zones::new(shape(Model::HM))
}

fn state(zones: &Zones, index: usize) -> (ZoneState, u64) {
    let zone = zones.get(index).unwrap();
    (zone.state, zone.written)
}

fn pieces(zones: &Zones, sector: u64, sectors: u64) -> Result<Vec<(u64, bool)>, Status> {
    let pieces = zones.read(sector, sectors)?;
    Ok(pieces.map(|piece| (piece.sectors, piece.written)).collect())
}

/// Puts zone 2 into a state; five sectors of it are written where there can be any.
fn zones_with(state: ZoneState) -> Zones {
    let mut zones = managed();
    let written = match state {
        ZoneState::EMPTY => 0,
        ZoneState::FULL => 12,
        _ => 6,
    };
    zones.put(2, Zone { state, written }).unwrap();
    zones
}

const INVALID: Result<(), Status> = Err(Status::ZONE_INVALID_CMD);
const SEQUENTIAL: [ZoneState; 7] = [
    ZoneState::EMPTY,
    ZoneState::IOPEN,
    ZoneState::EOPEN,
    ZoneState::CLOSED,
    ZoneState::FULL,
    ZoneState::RDONLY,
    ZoneState::OFFLINE,
];

/// dev:blk:device-operation:19, dev:blk:device-operation:21, dev:blk:device-operation:22,
/// dev:blk:device-operation:23: every state and every request that changes it.
#[test]
fn transitions_are_those_of_the_document() {
    use ZoneState as Z;
    // By state: what opening, closing, finishing, resetting leads to.
    let table: [(Z, [Option<Z>; 4]); 7] = [
        (Z::EMPTY, [Some(Z::EOPEN), None, Some(Z::FULL), Some(Z::EMPTY)]),
        (
            Z::IOPEN,
            [Some(Z::EOPEN), Some(Z::CLOSED), Some(Z::FULL), Some(Z::EMPTY)],
        ),
        (
            Z::EOPEN,
            [Some(Z::EOPEN), Some(Z::CLOSED), Some(Z::FULL), Some(Z::EMPTY)],
        ),
        (
            Z::CLOSED,
            [Some(Z::EOPEN), Some(Z::CLOSED), Some(Z::FULL), Some(Z::EMPTY)],
        ),
        (Z::FULL, [None, None, Some(Z::FULL), Some(Z::EMPTY)]),
        (Z::RDONLY, [None; 4]),
        (Z::OFFLINE, [None; 4]),
    ];
    type Act = fn(&mut Zones) -> Result<(), Status>;
    let acts: [Act; 4] = [
        |zones| zones.open(32),
        |zones| zones.close(32),
        |zones| zones.finish(32),
        |zones| zones.reset(32).map(drop),
    ];
    for (from, row) in table {
        for (number, (act, to)) in acts.iter().zip(row).enumerate() {
            let mut zones = zones_with(from);
            let before = state(&zones, 2);
            match to {
                Some(to) => {
                    assert_eq!(act(&mut zones), Ok(()), "{from:?} {number}");
                    let written = if to == Z::EMPTY { 0 } else { before.1 };
                    assert_eq!(state(&zones, 2), (to, written), "{from:?} {number}");
                }
                None => {
                    assert_eq!(act(&mut zones), INVALID, "{from:?} {number}");
                    assert_eq!(state(&zones, 2), before);
                }
            }
            zones.check();
        }
    }
}

#[test]
fn a_zone_that_nothing_was_written_to_is_empty_when_it_is_closed() {
    let mut zones = managed();
    zones.open(32).unwrap();
    zones.close(32).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::EMPTY, 0));
}

/// dev:blk:device-operation:17, dev:blk:device-operation:18
#[test]
fn conventional_zones_have_no_states_and_are_written_anywhere() {
    for model in [Model::HM, Model::HA] {
        let mut zones = Zones::new(shape(model));
        for sector in [0, 16] {
            assert_eq!(zones.open(sector), INVALID);
            assert_eq!(zones.close(sector), INVALID);
            assert_eq!(zones.finish(sector), INVALID);
            assert_eq!(zones.reset(sector).map(drop), INVALID);
            assert_eq!(zones.append(sector, 2).map(drop), INVALID);
        }
        zones.write(5, 7).unwrap();
        // From one into the next, which no sequential zone allows.
        zones.write(12, 20).unwrap();
        assert_eq!(pieces(&zones, 10, 20).unwrap(), [(6, true), (14, true)]);
        assert_eq!(state(&zones, 0), (ZoneState::NOT_WP, 0));
        assert!(!zones.can_be_reset(0));
    }
    // Nor have preferred ones appends.
    let mut zones = Zones::new(shape(Model::HA));
    assert_eq!(zones.append(32, 2).map(drop), INVALID);
}

/// dev:blk:device-operation:26, dev:blk:device-operation:30, dev:blk:device-operation:31
#[test]
fn required_zones_are_written_in_order() {
    let mut zones = managed();
    let unaligned = Err(Status::ZONE_UNALIGNED_WP);
    assert_eq!(zones.write(34, 2), unaligned);
    assert_eq!(zones.write(32, 1), unaligned);
    assert_eq!(state(&zones, 2), (ZoneState::EMPTY, 0));
    zones.write(32, 4).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::IOPEN, 4));
    assert_eq!(zones.write(32, 2), unaligned);
    assert_eq!(zones.write(38, 2), unaligned);
    assert_eq!(zones.write(36, 10), INVALID, "beyond the zone's capacity");
    assert_eq!(zones.write(36, 14), INVALID, "into the next zone");
    assert_eq!(zones.write(30, 4), INVALID, "out of a conventional one");
    assert_eq!(pieces(&zones, 30, 4), Err(Status::ZONE_INVALID_CMD));
    assert_eq!(pieces(&zones, 40, 16), Err(Status::ZONE_INVALID_CMD));
    assert_eq!(pieces(&zones, 32, 16).unwrap(), [(4, true), (12, false)]);
    zones.write(36, 8).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::FULL, 12));
    assert_eq!(zones.write(44, 2), INVALID);
    // The last zone is small.
    zones.write(144, 8).unwrap();
    assert_eq!(state(&zones, 9), (ZoneState::FULL, 8));
    assert_eq!(zones.write(150, 4), Err(Status::IOERR), "beyond the disk");
    assert_eq!(pieces(&zones, u64::MAX, 2), Err(Status::IOERR));
}

/// dev:blk:device-operation:25, dev:blk:device-operation:26, dev:blk:device-operation:27,
/// dev:blk:device-operation:28, dev:blk:device-operation:29
#[test]
fn appends_go_to_the_write_pointer() {
    let mut zones = managed();
    assert_eq!(zones.append(32, 4), Ok(32));
    assert_eq!(zones.append(32, 2), Ok(36));
    assert_eq!(zones.append(32, 6).map(drop), INVALID, "more than max_append");
    assert_eq!(zones.append(34, 2).map(drop), INVALID, "no beginning of a zone");
    assert_eq!(zones.append(32, 0).map(drop), INVALID);
    assert_eq!(zones.append(32, 1), Err(Status::ZONE_UNALIGNED_WP));
    assert_eq!(zones.append(160, 2).map(drop), INVALID, "beyond the disk");
    assert_eq!(zones.append(32, 4), Ok(38));
    assert_eq!(
        zones.append(32, 4).map(drop),
        INVALID,
        "beyond the zone's capacity"
    );
    assert_eq!(zones.append(32, 2), Ok(42));
    assert_eq!(state(&zones, 2), (ZoneState::FULL, 12));
    let mut without = Zones::new(Shape {
        max_append: 0,
        ..shape(Model::HM)
    });
    assert_eq!(without.append(32, 2), Err(Status::UNSUPP));
}

/// dev:blk:device-operation:20, dev:blk:device-operation:24
#[test]
fn limits_are_kept_and_named() {
    let mut zones = managed();
    // Two are open; a third one closes the one that was opened implicitly first.
    zones.write(32, 2).unwrap();
    zones.write(48, 2).unwrap();
    zones.open(64).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::CLOSED, 2));
    assert_eq!(zones.resources(), (2, 3));
    zones.open(48).unwrap();
    // Explicitly open ones are not closed by themselves.
    for refused in [
        zones.write(32, 2),
        zones.open(32),
        zones.open(80),
        zones.write(80, 2),
    ] {
        assert!(refused.is_err());
    }
    assert_eq!(zones.write(34, 2), Err(Status::ZONE_OPEN_RESOURCE));
    assert_eq!(zones.append(32, 2), Err(Status::ZONE_OPEN_RESOURCE));
    assert_eq!(zones.open(32), Err(Status::ZONE_OPEN_RESOURCE));
    assert_eq!(zones.open(80), Err(Status::ZONE_OPEN_RESOURCE));
    assert_eq!(state(&zones, 2), (ZoneState::CLOSED, 2));
    // The fourth active one; a fifth would exceed both limits, and then it is this one that is named.
    zones
        .put(
            5,
            Zone {
                state: ZoneState::CLOSED,
                written: 2,
            },
        )
        .unwrap();
    assert_eq!(zones.resources(), (2, 4));
    assert_eq!(zones.open(96), Err(Status::ZONE_ACTIVE_RESOURCE));
    assert_eq!(zones.write(96, 2), Err(Status::ZONE_ACTIVE_RESOURCE));
    assert_eq!(zones.append(96, 2), Err(Status::ZONE_ACTIVE_RESOURCE));
    // What becomes full or empty makes room.
    zones.finish(64).unwrap();
    assert_eq!(zones.resources(), (1, 3));
    zones.reset(80).unwrap();
    zones.write(96, 2).unwrap();
    assert_eq!(zones.resources(), (2, 3));
    zones.check();
}

/// dev:blk:device-operation:33, dev:blk:device-operation:34
#[test]
fn zones_whose_hardware_has_failed() {
    let mut zones = zones_with(ZoneState::RDONLY);
    assert_eq!(zones.write(38, 2), INVALID);
    assert_eq!(zones.append(32, 2).map(drop), INVALID);
    assert_eq!(pieces(&zones, 32, 8).unwrap(), [(6, true), (2, false)]);
    let mut zones = zones_with(ZoneState::OFFLINE);
    assert_eq!(zones.write(38, 2), INVALID);
    assert_eq!(zones.append(32, 2).map(drop), INVALID);
    assert_eq!(pieces(&zones, 32, 1), Err(Status::ZONE_INVALID_CMD));
    // Conventional ones can fail as well.
    let failed = Zone {
        state: ZoneState::RDONLY,
        written: 0,
    };
    zones.put(0, failed).unwrap();
    assert_eq!(zones.write(3, 1), INVALID);
    assert_eq!(zones.report(0).unwrap().next().unwrap().z_state, 13);
}

/// dev:blk:device-operation:35
#[test]
fn what_a_finished_zone_lacks_is_unwritten() {
    let mut zones = managed();
    zones.write(32, 4).unwrap();
    zones.finish(32).unwrap();
    assert_eq!(pieces(&zones, 33, 10).unwrap(), [(3, true), (7, false)]);
    assert_eq!(zones.reset(32), Ok(32..36));
    assert_eq!(pieces(&zones, 32, 4).unwrap(), [(4, false)]);
}

#[test]
fn preferred_zones_are_written_anywhere() {
    let mut zones = Zones::new(shape(Model::HA));
    zones.write(35, 3).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::IOPEN, 6));
    zones.write(32, 1).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::IOPEN, 6));
    zones.write(43, 1).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::FULL, 12));
    zones.write(33, 2).unwrap();
    assert_eq!(state(&zones, 2), (ZoneState::FULL, 12));
    assert_eq!(zones.write(43, 2), INVALID, "beyond the zone's capacity");
    // Several at a time, as far as each has the room.
    let mut whole = Zones::new(Shape {
        zone_capacity: 16,
        ..shape(Model::HA)
    });
    whole.write(30, 36).unwrap();
    let states = [2, 3, 4].map(|index| state(&whole, index));
    assert_eq!(
        states,
        [
            (ZoneState::FULL, 16),
            (ZoneState::FULL, 16),
            (ZoneState::IOPEN, 2)
        ]
    );
    assert_eq!(
        pieces(&whole, 60, 10).unwrap(),
        [(4, true), (2, true), (4, false)]
    );
    // All of it or nothing.
    let offline = Zone {
        state: ZoneState::OFFLINE,
        written: 0,
    };
    whole.put(7, offline).unwrap();
    assert_eq!(whole.write(100, 20), INVALID);
    assert_eq!(state(&whole, 6), (ZoneState::EMPTY, 0));
    whole.check();
}

#[test]
fn writes_that_failed_are_taken_back() {
    let mut zones = managed();
    zones.write(32, 4).unwrap();
    zones.write(36, 2).unwrap();
    zones.retract(32, 4);
    assert_eq!(
        state(&zones, 2),
        (ZoneState::IOPEN, 6),
        "more was written after it"
    );
    zones.retract(36, 2);
    assert_eq!(state(&zones, 2), (ZoneState::IOPEN, 4));
    zones.write(36, 8).unwrap();
    zones.retract(36, 8);
    assert_eq!(state(&zones, 2), (ZoneState::IOPEN, 4));
    zones.finish(32).unwrap();
    zones.retract(32, 4);
    assert_eq!(
        state(&zones, 2),
        (ZoneState::FULL, 4),
        "it was finished meanwhile"
    );
    zones.check();
}

#[test]
fn reports_describe_zones() {
    let mut zones = managed();
    zones.write(48, 2).unwrap();
    zones.finish(64).unwrap();
    let report: Vec<_> = zones.report(31).unwrap().collect();
    assert_eq!(report.len(), 9);
    let seen = |index: usize| {
        let zone = &report[index];
        (
            zone.z_start.get(),
            zone.z_cap.get(),
            zone.z_wp.get(),
            zone.z_type,
            zone.z_state,
        )
    };
    assert_eq!(seen(0), (16, 16, 32, 1, 0));
    assert_eq!(seen(1), (32, 12, 32, 2, 1));
    assert_eq!(seen(2), (48, 12, 50, 2, 2));
    assert_eq!(seen(3), (64, 12, 80, 2, 14));
    assert_eq!(seen(8), (144, 8, 144, 2, 1));
    assert!(report.iter().all(|zone| zone.reserved == [0; 38]));
    assert_eq!(zones.report(152).map(drop).err(), Some(Status::ZONE_INVALID_CMD));
    let preferred = Zones::new(shape(Model::HA));
    assert_eq!(preferred.report(32).unwrap().next().unwrap().z_type, 3);
}

#[test]
fn zones_that_cannot_be_are_not_put() {
    let mut zones = managed();
    for state in SEQUENTIAL {
        assert!(zones.put(2, Zone { state, written: 13 }).is_none());
        assert!(zones.put(10, Zone { state, written: 0 }).is_none());
    }
    for state in &SEQUENTIAL[..5] {
        let zone = Zone {
            state: *state,
            written: 0,
        };
        assert!(zones.put(0, zone).is_none());
    }
    let wrong = [
        (2, ZoneState::NOT_WP, 0),
        (2, ZoneState::EMPTY, 1),
        (0, ZoneState::NOT_WP, 1),
        (2, ZoneState(7), 0),
    ];
    for (index, state, written) in wrong {
        assert!(zones.put(index, Zone { state, written }).is_none());
    }
}

impl Zones {
    /// What is counted is what there is.
    fn check(&self) {
        let count = |state| self.zones.iter().filter(|zone| zone.state == state).count();
        let implicit: Vec<usize> = (0..self.zones.len())
            .filter(|index| self.zones[*index].state == ZoneState::IOPEN)
            .collect();
        let mut kept: Vec<usize> = self.implicit.iter().copied().collect();
        kept.sort_unstable();
        assert_eq!(kept, implicit);
        assert_eq!(self.explicit as usize, count(ZoneState::EOPEN));
        assert_eq!(self.closed as usize, count(ZoneState::CLOSED));
        let (open, active) = self.resources();
        assert!(open <= self.shape.max_open && active <= self.shape.max_active);
    }
}

/// A request for zone `zone`, with the sectors where it is about some.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write { zone: usize, skip: u64, sectors: u64 },
    Append { zone: usize, sectors: u64 },
    Open(usize),
    Close(usize),
    Finish(usize),
    Reset(usize),
}

fn acts() -> impl Strategy<Value = Act> {
    let zone = 0..10_usize;
    prop_oneof![
        4 => (zone.clone(), 0..3_u64, 1..7_u64).prop_map(|(zone, skip, sectors)| Act::Write { zone, skip, sectors }),
        3 => (zone.clone(), 1..7_u64).prop_map(|(zone, sectors)| Act::Append { zone, sectors }),
        2 => zone.clone().prop_map(Act::Open),
        2 => zone.clone().prop_map(Act::Close),
        1 => zone.clone().prop_map(Act::Finish),
        1 => zone.prop_map(Act::Reset),
    ]
}

/// Host-managed zones as the document tells of them, sector by sector and without counters.
struct Plain {
    states: Vec<ZoneState>,
    /// By zone: which sectors are written.
    sectors: Vec<Vec<bool>>,
}

impl Plain {
    fn new(shape: &Shape) -> Self {
        let conventional = shape.conventional as usize;
        let state = |index| match index < conventional {
            true => ZoneState::NOT_WP,
            false => ZoneState::EMPTY,
        };
        let sectors = |index| vec![false; if index == 9 { 8 } else { 16 }];
        Self {
            states: (0..10).map(state).collect(),
            sectors: (0..10).map(sectors).collect(),
        }
    }

    fn number(&self, of: &[ZoneState]) -> u32 {
        self.states.iter().filter(|state| of.contains(state)).count() as u32
    }

    fn pointer(&self, zone: usize) -> u64 {
        self.sectors[zone].iter().filter(|written| **written).count() as u64
    }

    /// What becomes of a zone that is to be open, other than that it becomes so; and whether some implicitly open zone has
    /// to be closed for it.
    fn room(&self, zone: usize) -> Result<bool, Status> {
        use ZoneState as Z;
        let state = self.states[zone];
        let open = self.number(&[Z::IOPEN, Z::EOPEN]);
        let active = self.number(&[Z::IOPEN, Z::EOPEN, Z::CLOSED]);
        match state {
            Z::EMPTY if active == 4 => Err(Status::ZONE_ACTIVE_RESOURCE),
            Z::EMPTY | Z::CLOSED if open == 2 && self.number(&[Z::IOPEN]) == 0 => {
                Err(Status::ZONE_OPEN_RESOURCE)
            }
            Z::EMPTY | Z::CLOSED => Ok(open == 2),
            _ => Ok(false),
        }
    }

    /// The answer, and whether some implicitly open zone is closed before.
    fn act(&mut self, act: Act) -> (Result<(), Status>, bool) {
        use ZoneState as Z;
        let invalid = (INVALID, false);
        let (zone, write) = match act {
            Act::Write { zone, skip, sectors } => (zone, Some((self.pointer(zone) + skip, sectors))),
            Act::Append { zone, sectors } if zone < 2 || sectors > 4 => {
                let _ = (zone, sectors);
                return invalid;
            }
            Act::Append { zone, sectors } => (zone, Some((self.pointer(zone), sectors))),
            Act::Open(zone) | Act::Close(zone) | Act::Finish(zone) | Act::Reset(zone) => (zone, None),
        };
        let state = self.states[zone];
        if let Some((from, sectors)) = write {
            let end = from + sectors;
            if zone < 2 {
                // Conventional; only into a required one they may not reach.
                return (if zone == 1 && end > 16 { INVALID } else { Ok(()) }, false);
            }
            let size = if zone == 9 { 8 } else { 16 };
            let room = size.min(12);
            if end > size && !matches!(act, Act::Append { .. }) {
                return (if zone == 9 { Err(Status::IOERR) } else { INVALID }, false);
            }
            if state == Z::FULL {
                return invalid;
            }
            if from != self.pointer(zone) || end % 2 != 0 {
                return (Err(Status::ZONE_UNALIGNED_WP), false);
            }
            if end > room {
                return invalid;
            }
            let closes = match self.room(zone) {
                Ok(closes) => closes,
                Err(status) => return (Err(status), false),
            };
            self.sectors[zone][from as usize..end as usize].fill(true);
            self.states[zone] = match state {
                _ if end == room => Z::FULL,
                Z::EOPEN => Z::EOPEN,
                _ => Z::IOPEN,
            };
            return (Ok(()), closes);
        }
        if zone < 2 {
            return invalid;
        }
        let next = match (act, state) {
            (Act::Open(_), Z::FULL) | (Act::Close(_), Z::EMPTY | Z::FULL) => return invalid,
            (Act::Open(_), _) => match self.room(zone) {
                Ok(closes) => {
                    self.states[zone] = Z::EOPEN;
                    return (Ok(()), closes);
                }
                Err(status) => return (Err(status), false),
            },
            (Act::Close(_), _) if self.pointer(zone) == 0 => Z::EMPTY,
            (Act::Close(_), _) => Z::CLOSED,
            (Act::Finish(_), _) => Z::FULL,
            (_, _) => {
                self.sectors[zone].fill(false);
                Z::EMPTY
            }
        };
        self.states[zone] = next;
        (Ok(()), false)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_requests_do_what_the_simple_model_does(acts in prop::collection::vec(acts(), 1..120)) {
        let mut zones = managed();
        let mut plain = Plain::new(zones.shape());
        for act in acts {
            let before: Vec<_> = (0..10).map(|index| state(&zones, index)).collect();
            let answer = match act {
                Act::Write { zone, skip, sectors } => {
                    let pointer = zones.get(zone).unwrap().written;
                    zones.write(zone as u64 * 16 + pointer + skip, sectors)
                }
                Act::Append { zone, sectors } => {
                    let pointer = before[zone].1;
                    let answer = zones.append(zone as u64 * 16, sectors);
                    if let Ok(at) = answer {
                        prop_assert_eq!(at, zone as u64 * 16 + pointer);
                    }
                    answer.map(drop)
                }
                Act::Open(zone) => zones.open(zone as u64 * 16),
                Act::Close(zone) => zones.close(zone as u64 * 16),
                Act::Finish(zone) => zones.finish(zone as u64 * 16),
                Act::Reset(zone) => zones.reset(zone as u64 * 16).map(drop),
            };
            let (expected, closes) = plain.act(act);
            prop_assert_eq!(answer, expected, "{:?}", act);
            if closes {
                // Which one is the device's choice: any that was implicitly open.
                let closed: Vec<usize> = (0..10)
                    .filter(|index| {
                        before[*index].0 == ZoneState::IOPEN && state(&zones, *index).0 == ZoneState::CLOSED
                    })
                    .collect();
                prop_assert_eq!(closed.len(), 1);
                plain.states[closed[0]] = ZoneState::CLOSED;
            }
            for index in 0..10 {
                prop_assert_eq!(state(&zones, index).0, plain.states[index], "{:?} {}", act, index);
                if index >= 2 {
                    prop_assert_eq!(state(&zones, index).1, plain.pointer(index));
                }
            }
            // Whatever has changed is told.
            let changed: Vec<usize> = zones.take_changed().map(|(index, _)| index).collect();
            for (index, before) in before.into_iter().enumerate() {
                prop_assert!(before == state(&zones, index) || changed.contains(&index));
            }
            zones.check();
        }
    }
}
