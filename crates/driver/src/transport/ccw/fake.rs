//! A channel subsystem that checks what the document demands of drivers, and can lie.

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{RefCell, RefMut};
use core::ops::Range;
use std::vec;
use std::vec::Vec;

use ringwright_memory::Memory;
use ringwright_ring::Layout;
use ringwright_spec::ccw::channel::{
    Ccw1, ConditionCode, DeviceStatus, ERW_CONCURRENT_SENSE, Irb, Orb, PmcwFlags, SCSW_DEFERRED_CC,
    SUBCHANNEL_ID_ONE, Schib, ScswControl, Sense, SubchannelStatus,
};
use ringwright_spec::ccw::{Command, ThinintArea, VqInfoBlock, VqInfoBlockLegacy};
use ringwright_spec::{Features, feature};
use zerocopy::{FromBytes, IntoBytes};

use super::{ChannelSubsystem, TransportError};
use crate::testing::model::Model;

/// The subchannel that has the device.
pub const ID: u32 = SUBCHANNEL_ID_ONE | 2;

/// Subchannels, of which the last is the device's.
const SUBCHANNELS: u32 = 3;

/// The channel subsystem; clones are the same one.
#[derive(Clone)]
pub struct Fake(Rc<RefCell<Board>>);

/// What is behind the instructions.
pub struct Board {
    pub model: Model,
    memory: Arc<Memory>,
    pub cu_type: u16,
    pub schib: Schib,
    /// The highest revision there is; `None` if the device is a legacy one and knows of none.
    pub max_revision: Option<u16>,
    pub revision: Option<u16>,
    /// Whether the device has two-stage indicators.
    pub two_stage: bool,
    /// Whether sense data come with the status.
    pub concurrent_sense: bool,
    /// Commands that are rejected although they should not be.
    pub rejected: Vec<Command>,
    /// What sense data say instead of command reject.
    pub sense: Sense,
    /// Subchannel status that every program ends with.
    pub status: SubchannelStatus,
    /// Deferred condition code that every program ends with.
    pub deferred: bool,
    /// Condition codes of START SUBCHANNEL before it is carried out.
    pub start_codes: Vec<ConditionCode>,
    /// How often TEST SUBCHANNEL finds nothing before it finds the end of a program.
    pub slow: usize,
    /// A notification comes before every end of a program.
    pub alerts: bool,
    pending: Vec<(usize, Irb)>,
    last_sense: Sense,
    /// Commands in the order in which they were given.
    pub log: Vec<Command>,
    /// Number of instructions.
    pub instructions: usize,
    pub classic: Option<u64>,
    pub adapter: Option<ThinintArea>,
    pub config_indicators: Option<u64>,
    /// What the next notification returns.
    pub cookie: u64,
    /// The cookie that the next notification of each virtqueue has to carry.
    cookies: Vec<u64>,
    /// Which instructions fail.
    pub faults: Range<usize>,
}

impl Fake {
    pub fn new(memory: &Arc<Memory>, id: u32, offered: Features, sizes: &[u16]) -> Self {
        let mut schib = Schib::default();
        schib.pmcw.flags = PmcwFlags::DEVICE_NUMBER_VALID.0.into();
        schib.pmcw.device_number = 0x1234.into();
        Self(Rc::new(RefCell::new(Board {
            model: Model::new(id, offered, sizes),
            memory: memory.clone(),
            cu_type: 0x3832,
            schib,
            max_revision: Some(2),
            revision: None,
            two_stage: true,
            concurrent_sense: false,
            rejected: Vec::new(),
            sense: Sense::COMMAND_REJECT,
            status: SubchannelStatus::NONE,
            deferred: false,
            start_codes: Vec::new(),
            slow: 0,
            alerts: false,
            pending: Vec::new(),
            last_sense: Sense::NONE,
            log: Vec::new(),
            instructions: 0,
            classic: None,
            adapter: None,
            config_indicators: None,
            cookie: 77,
            cookies: vec![0; sizes.len()],
            faults: 0..0,
        })))
    }

    pub fn board(&self) -> RefMut<'_, Board> {
        self.0.borrow_mut()
    }
}

impl ChannelSubsystem for Fake {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        let mut board = self.board();
        board.begin()?;
        assert_eq!(id & 0xffff_0000, SUBCHANNEL_ID_ONE);
        Ok(match id - SUBCHANNEL_ID_ONE {
            number if number >= SUBCHANNELS => None,
            // Without a device, and of another kind.
            0 => Some(Schib::default()),
            1 => {
                let mut schib = board.schib;
                schib.pmcw.characteristics = 0x0020_0000.into();
                Some(schib)
            }
            _ => Some(board.schib),
        })
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        let mut board = self.board();
        board.begin()?;
        assert_eq!(id, ID);
        if !board.pending.is_empty() {
            return Ok(ConditionCode::STATUS_PENDING);
        }
        let enabled = |schib: &Schib| schib.pmcw.flags.get() & PmcwFlags::ENABLED.0;
        if enabled(&board.schib) != enabled(schib) {
            board.revision = None;
        }
        board.schib = *schib;
        Ok(ConditionCode::DONE)
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        let mut board = self.board();
        board.begin()?;
        assert_eq!(id, ID);
        if let Some(code) = board.start_codes.pop() {
            return Ok(code);
        }
        if !board.is_enabled() {
            return Ok(ConditionCode::NOT_OPERATIONAL);
        }
        if !board.pending.is_empty() {
            return Ok(ConditionCode::STATUS_PENDING);
        }
        board.run(orb);
        Ok(ConditionCode::DONE)
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        let mut board = self.board();
        board.begin()?;
        assert_eq!(id, ID);
        if !board.is_enabled() {
            return Ok((ConditionCode::NOT_OPERATIONAL, Irb::default()));
        }
        match board.pending.first_mut() {
            Some((0, irb)) => {
                let irb = *irb;
                board.pending.remove(0);
                Ok((ConditionCode::DONE, irb))
            }
            Some((wait, _)) => {
                *wait -= 1;
                Ok((ConditionCode::STATUS_PENDING, Irb::default()))
            }
            None => Ok((ConditionCode::STATUS_PENDING, Irb::default())),
        }
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        let mut board = self.board();
        board.begin()?;
        assert_eq!(id, ID);
        let Board {
            model,
            cookies,
            cookie: next,
            ..
        } = &mut *board;
        let index = match model.accepted.contains(feature::NOTIFICATION_DATA) {
            true => data & 0xffff,
            false => data,
        };
        let expected = &mut cookies[index as usize];
        assert_eq!(
            cookie, *expected,
            "drv:ccw:guest-host-notification:01: the cookie of the last notification"
        );
        *expected = *next;
        model.notify(index, data as u32);
        Ok(*next)
    }
}

impl Board {
    fn begin(&mut self) -> Result<(), TransportError> {
        let number = self.instructions;
        self.instructions += 1;
        match self.faults.contains(&number) {
            true => Err(TransportError::Os(5)),
            false => Ok(()),
        }
    }

    fn is_enabled(&self) -> bool {
        self.schib.pmcw.flags.get() & PmcwFlags::ENABLED.0 != 0
    }

    /// A notification: indicators are set by whoever calls this.
    pub fn alert(&mut self) {
        let mut irb = Irb::default();
        irb.scsw.control = (ScswControl::ALERT | ScswControl::STATUS_PENDING).0.into();
        self.pending.push((0, irb));
    }

    pub fn set_bits(&self, address: u64, bits: u8) -> u8 {
        self.memory.set_bits(address, bits).unwrap()
    }

    fn run(&mut self, orb: &Orb) {
        let mut word = Ccw1::default();
        let address = orb.channel_program.get();
        assert_eq!(address % 8, 0);
        self.memory.read(address.into(), word.as_mut_bytes()).unwrap();
        let command = Command(word.command);
        self.log.push(command);
        let mut irb = Irb::default();
        let mut device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        match self.execute(command, &word) {
            Some(transferred) => irb.scsw.count = (word.count.get() - transferred).into(),
            None => {
                device = DeviceStatus::UNIT_CHECK;
                irb.scsw.count = word.count;
                match self.concurrent_sense {
                    true => {
                        irb.extended_control[0] = self.sense.0;
                        irb.extended_status[1] = ERW_CONCURRENT_SENSE.into();
                    }
                    false => self.last_sense = self.sense,
                }
            }
        }
        irb.scsw.device_status = device.0;
        irb.scsw.subchannel_status = self.status.0;
        let ended = ScswControl::PRIMARY | ScswControl::SECONDARY | ScswControl::STATUS_PENDING;
        irb.scsw.control = ended.0.into();
        if self.deferred {
            irb.scsw.flags = SCSW_DEFERRED_CC.into();
        }
        if self.alerts {
            self.alert();
        }
        self.pending.push((self.slow, irb));
    }

    /// Carries out a command, and says how many bytes were transferred. `None` to reject it.
    fn execute(&mut self, command: Command, word: &Ccw1) -> Option<u16> {
        let count = word.count.get();
        let mut data = vec![0; count.into()];
        let address = u64::from(word.data_address.get());
        self.memory.read(address, &mut data).unwrap();
        let transferred = match command {
            Command::SENSE_ID => {
                let [high, low] = self.cu_type.to_be_bytes();
                // drv:ccw:basic-concepts:01: device type and model may be anything.
                let id = [0xff, high, low, self.model.id as u8, 0xde, 0xad, 0x99];
                let length = id.len().min(data.len());
                data[..length].copy_from_slice(&id[..length]);
                data.len() as u16
            }
            Command::BASIC_SENSE => {
                data.fill(0);
                data[0] = core::mem::take(&mut self.last_sense).0;
                count
            }
            _ => self.execute_virtio(command, word, &mut data)?,
        };
        self.memory.write(address, &data).unwrap();
        Some(transferred)
    }

    fn execute_virtio(&mut self, command: Command, word: &Ccw1, data: &mut [u8]) -> Option<u16> {
        assert_eq!(
            self.cu_type, 0x3832,
            "drv:ccw:basic-concepts:01: it is no virtio device"
        );
        if command == Command::SET_VIRTIO_REV {
            return self.set_revision(data);
        }
        let legacy = self.max_revision.is_none();
        let revision = self.revision.unwrap_or_else(|| {
            assert!(
                legacy,
                "drv:ccw:setting-the-virtio-revision:02: the revision comes before {command:?}"
            );
            0
        });
        self.model.legacy = revision == 0;
        let any_length = matches!(command, Command::READ_CONF | Command::WRITE_CONF);
        if !any_length {
            let expected = match command {
                Command::SET_VQ if revision == 0 => 16,
                Command::SET_VQ => 32,
                Command::SET_IND | Command::SET_CONF_IND => 8,
                Command::SET_IND_ADAPTER => 25,
                Command::READ_FEAT | Command::WRITE_FEAT => 5,
                Command::WRITE_STATUS | Command::READ_STATUS => 1,
                Command::READ_VQ_CONF => 4,
                _ => 0,
            };
            assert_eq!(
                (data.len(), word.flags),
                (expected, 0),
                "drv:ccw:basic-concepts:02: the correct length"
            );
        }
        if self.rejected.contains(&command) {
            return None;
        }
        self.carry_out(command, revision, data)
    }

    fn set_revision(&mut self, data: &[u8]) -> Option<u16> {
        assert_eq!(
            self.revision, None,
            "drv:ccw:setting-the-virtio-revision:03: it has been selected"
        );
        assert_eq!(data.len(), 4);
        assert_eq!(data[2..], [0, 0], "no further data");
        let revision = u16::from_be_bytes([data[0], data[1]]);
        if self.max_revision.is_none_or(|most| revision > most) {
            return None;
        }
        self.revision = Some(revision);
        Some(4)
    }

    fn carry_out(&mut self, command: Command, revision: u16, data: &mut [u8]) -> Option<u16> {
        let words = if revision == 0 { 1 } else { 4 };
        match command {
            Command::VDEV_RESET => {
                self.model.set_status(0);
                while self.model.read_status() != 0 {}
                (self.classic, self.adapter, self.config_indicators) = (None, None, None);
                self.cookies.fill(0);
            }
            Command::READ_FEAT => {
                assert!(data[4] < words, "features above bit 31 are not for revision 0");
                let word = self.model.offered.word(data[4].into());
                data[..4].copy_from_slice(&word.to_le_bytes());
            }
            Command::WRITE_FEAT => {
                assert!(data[4] < words);
                let word = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
                self.model.accept(data[4].into(), word);
            }
            Command::READ_STATUS => {
                assert!(
                    revision >= 2,
                    "drv:ccw:communicating-status-information:03: not in revision {revision}"
                );
                data[0] = self.model.status.0;
            }
            Command::WRITE_STATUS => self.model.set_status(data[0].into()),
            Command::READ_VQ_CONF => {
                self.model.selected = u16::from_be_bytes([data[0], data[1]]).into();
                let most = self.model.queue().most;
                data[2..].copy_from_slice(&most.to_be_bytes());
            }
            Command::SET_VQ => self.set_vq(revision, data),
            Command::SET_IND => {
                assert!(self.adapter.is_none(), "section 4.3.2.6.1");
                self.classic = Some(address(data));
            }
            Command::SET_CONF_IND => self.config_indicators = Some(address(data)),
            Command::SET_IND_ADAPTER => {
                assert!(
                    self.classic.is_none(),
                    "dev:ccw:setting-up-two-stage-queue-indicators:01, the other way round"
                );
                if !self.two_stage {
                    return None;
                }
                self.adapter = Some(ThinintArea::read_from_bytes(data).unwrap());
            }
            Command::READ_CONF => {
                let length = data.len().min(self.model.config.len());
                data[..length].copy_from_slice(&self.model.config[..length]);
                return Some(length as u16);
            }
            Command::WRITE_CONF => {
                let length = data.len().min(self.model.config.len());
                self.model.config[..length].copy_from_slice(&data[..length]);
                return Some(length as u16);
            }
            _ => panic!("{command:?}"),
        }
        Some(data.len() as u16)
    }

    fn set_vq(&mut self, revision: u16, data: &[u8]) {
        let (index, layout) = if revision == 0 {
            let block = VqInfoBlockLegacy::read_from_bytes(data).unwrap();
            let layout = Layout::in_one_piece(block.queue.get(), block.size.get(), block.align.get());
            (block.index.get(), layout.unwrap())
        } else {
            let block = VqInfoBlock::read_from_bytes(data).unwrap();
            let layout = Layout {
                size: block.size.get(),
                descriptor_area: block.desc.get(),
                driver_area: block.driver.get(),
                device_area: block.device.get(),
            };
            (block.index.get(), layout)
        };
        let model = &mut self.model;
        model.selected = index.into();
        let most = model.queue().most;
        assert!(revision > 0 || layout.size == most, "section 2.7.2");
        model.set_size(layout.size.into());
        model.set_up(|queue| {
            (queue.descriptor_area, queue.driver_area, queue.device_area) =
                (layout.descriptor_area, layout.driver_area, layout.device_area);
        });
        model.enable();
    }
}

fn address(data: &[u8]) -> u64 {
    u64::from_be_bytes(data.try_into().unwrap())
}
