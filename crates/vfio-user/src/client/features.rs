//! Migration of the function, and the log of what it writes.

use zerocopy::IntoBytes;

use super::{Client, ClientError};
use crate::message::{Command, DeviceFeature, LoggingControl, LoggingReport, MAX_DATA, MigData, MigState};
use crate::socket::Message;

/// Longest state that is taken, in bytes.
const LONGEST: usize = 64 << 20;

impl Client {
    /// Stops the function, and returns its state.
    pub fn save(&self) -> Result<Vec<u8>, ClientError> {
        self.set_state(MigState::STOP_COPY)?;
        let limit = self.capabilities.data_limit() as u32 / 2;
        let asked = MigData {
            argsz: limit + size_of::<MigData>() as u32,
            size: limit,
        };
        let mut state = Vec::new();
        loop {
            let (head, reply) = self.dialogue.get::<MigData>(Command::MigDataRead, &asked)?;
            let piece = reply.payload.get(size_of::<MigData>()..).unwrap_or_default();
            if piece.len() != head.size as usize || head.size > asked.size {
                return Err(ClientError::Answer(Command::MigDataRead));
            }
            state.extend_from_slice(piece);
            if state.len() > LONGEST {
                return Err(ClientError::State(LONGEST));
            }
            if head.size < asked.size {
                break;
            }
        }
        self.set_state(MigState::STOP)?;
        Ok(state)
    }

    /// Gives the function a state, and lets it run.
    pub fn restore(&self, state: &[u8]) -> Result<(), ClientError> {
        self.set_state(MigState::RESUMING)?;
        for piece in state.chunks(self.capabilities.data_limit() / 2) {
            let size = piece.len() as u32;
            let head = MigData {
                argsz: size_of::<MigData>() as u32 + size,
                size,
            };
            self.dialogue
                .ask(Command::MigDataWrite, &[head.as_bytes(), piece].concat(), &[])?;
        }
        self.resume()
    }

    /// Lets a function run that was stopped.
    pub fn resume(&self) -> Result<(), ClientError> {
        self.set_state(MigState::RUNNING)
    }

    /// Begins to log which pages of memory the function writes.
    pub fn start_logging(&self) -> Result<(), ClientError> {
        let control = LoggingControl {
            page_size: 4096,
            ..LoggingControl::default()
        };
        self.feature(
            DeviceFeature::SET | DeviceFeature::DMA_LOGGING_START,
            control.as_bytes(),
        )?;
        Ok(())
    }

    /// Ends the log.
    pub fn stop_logging(&self) -> Result<(), ClientError> {
        self.feature(DeviceFeature::SET | DeviceFeature::DMA_LOGGING_STOP, &[])?;
        Ok(())
    }

    /// The DMA addresses of the pages among the `length` bytes from `address` on that were written since the last report.
    pub fn written_pages(&self, address: u64, length: u64) -> Result<Vec<u64>, ClientError> {
        let report = LoggingReport {
            iova: address,
            length,
            page_size: 4096,
        };
        let reply = self.feature(
            DeviceFeature::GET | DeviceFeature::DMA_LOGGING_REPORT,
            report.as_bytes(),
        )?;
        let bitmap = reply
            .payload
            .get(size_of::<DeviceFeature>() + size_of::<LoggingReport>()..);
        let words = bitmap
            .ok_or(ClientError::Answer(Command::DeviceFeature))?
            .as_chunks::<8>()
            .0;
        let words = words.iter().map(|word| u64::from_ne_bytes(*word)).zip(0u64..);
        let pages = words.flat_map(|(word, index)| {
            (0..64)
                .filter(move |bit| word & 1 << bit != 0)
                .map(move |bit| index * 64 + bit)
        });
        Ok(pages.map(|page| address + page * 4096).collect())
    }

    fn set_state(&self, device_state: u32) -> Result<(), ClientError> {
        let state = MigState {
            device_state,
            ..MigState::default()
        };
        self.feature(
            DeviceFeature::SET | DeviceFeature::MIG_DEVICE_STATE,
            state.as_bytes(),
        )?;
        Ok(())
    }

    fn feature(&self, flags: u32, data: &[u8]) -> Result<Message, ClientError> {
        let head = DeviceFeature {
            argsz: MAX_DATA as u32,
            flags,
        };
        self.dialogue
            .ask(Command::DeviceFeature, &[head.as_bytes(), data].concat(), &[])
    }
}
