//! What a front-end does to move a device to another back-end, perhaps on another machine: the dirty log while it runs, and
//! its state when it has stopped.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use ringwright_memory::{DirtyLog, Mapping, Region};
use ringwright_socket::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PIPE_BUF, PipeFlags, pipe_with};

use super::{Frontend, FrontendError};
use crate::message::{DeviceState, Log, ProtocolFeatures, Request};

/// Most bytes of a state that are taken, and how many at a time.
const MOST: usize = 16 << 20;
const PIECE: usize = 64 << 10;

impl Frontend {
    /// Has the back-end log the pages of memory that it writes, from now on and while virtqueues run. The log covers the
    /// regions that are shared now. Needs LOG_SHMFD and LOG_ALL.
    pub fn start_logging(&mut self) -> Result<Arc<DirtyLog>, FrontendError> {
        if !self.protocol.contains(ProtocolFeatures::LOG_SHMFD)
            || !self.offered.contains(crate::message::LOG_ALL)
        {
            return Err(FrontendError::Unsupported("a dirty log"));
        }
        let ends = self
            .regions
            .iter()
            .map(|region| region.guest_address() + region.len());
        let pages = ends.max().unwrap_or(0).div_ceil(DirtyLog::PAGE_SIZE);
        let size = pages.div_ceil(8).next_multiple_of(DirtyLog::PAGE_SIZE);
        let mapping = Arc::new(Mapping::memfd("vhost-user log", size as usize)?);
        let region = Region::new(0, mapping.clone());
        let (file, _) = region.file().ok_or(FrontendError::NotAFile(0))?;
        self.dialogue
            .ask(Request::SET_LOG_BASE, &Log { size, offset: 0 }, &[file])?;
        let log = DirtyLog::in_mapping(mapping).map_err(|_| FrontendError::NotAFile(0))?;
        self.tell_logging(true)?;
        Ok(Arc::new(log))
    }

    /// Ends [`Frontend::start_logging`].
    pub fn stop_logging(&mut self) -> Result<(), FrontendError> {
        self.tell_logging(false)
    }

    fn tell_logging(&mut self, logging: bool) -> Result<(), FrontendError> {
        self.logging = logging;
        self.tell_features()?;
        for index in 0..self.queues() {
            let queue = self.queues.get(usize::from(index));
            if let Some(layout) = queue.and_then(|queue| queue.layout()) {
                self.tell_addresses(index, &layout)?;
            }
        }
        Ok(())
    }

    /// The state of the device, for [`Frontend::load_state`] of a front-end with another back-end. All virtqueues must be
    /// stopped. Needs DEVICE_STATE.
    pub fn save_state(&mut self) -> Result<Vec<u8>, FrontendError> {
        let (reader, writer) = pipe()?;
        self.move_state(DeviceState::SAVE, writer.as_fd())?;
        // Its copy is the back-end's, which closes it at the end of the state.
        drop(writer);
        let (mut file, mut state) = (std::fs::File::from(reader), Vec::new());
        let mut piece = vec![0; PIECE];
        loop {
            self.wait_for(&file, PollFlags::IN)?;
            match file.read(&mut piece).map_err(FrontendError::Resources)? {
                0 => break,
                count => state.extend_from_slice(&piece[..count]),
            }
            if state.len() > MOST {
                return Err(FrontendError::Unsupported("a state of a reasonable size"));
            }
        }
        self.check_state()?;
        Ok(state)
    }

    /// Gives a back-end whose virtqueues do not run the state that another one has saved. Needs DEVICE_STATE.
    pub fn load_state(&mut self, state: &[u8]) -> Result<(), FrontendError> {
        let (reader, writer) = pipe()?;
        self.move_state(DeviceState::LOAD, reader.as_fd())?;
        drop(reader);
        let mut file = std::fs::File::from(writer);
        // What is written at a time fits where there is room at all.
        for piece in state.chunks(PIPE_BUF) {
            self.wait_for(&file, PollFlags::OUT)?;
            file.write_all(piece).map_err(FrontendError::Resources)?;
        }
        drop(file);
        self.check_state()
    }

    fn move_state(
        &mut self,
        direction: u32,
        descriptor: std::os::fd::BorrowedFd<'_>,
    ) -> Result<(), FrontendError> {
        if !self.protocol.contains(ProtocolFeatures::DEVICE_STATE) {
            return Err(FrontendError::Unsupported("a state that can be moved"));
        }
        let request = Request::SET_DEVICE_STATE_FD;
        let phase = DeviceState::STOPPED;
        let reply = self
            .dialogue
            .ask(request, &DeviceState { direction, phase }, &[descriptor])?;
        match reply.read::<u64>() {
            // A back-end may have a better channel. Ours is good enough for those that are known.
            Some(code) if code == DeviceState::NO_DESCRIPTOR => Ok(()),
            code => Err(FrontendError::Refused {
                request,
                code: code.unwrap_or(u64::MAX),
            }),
        }
    }

    /// Waits until the back-end has done its part of a transfer.
    fn wait_for(&self, file: &std::fs::File, what: PollFlags) -> Result<(), FrontendError> {
        let timeout = Timespec::try_from(self.options.timeout).ok();
        match poll(&mut [PollFd::new(file, what)], timeout.as_ref()) {
            Ok(0) => Err(Error::TimedOut(self.options.timeout).into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(FrontendError::Resources(error.into())),
        }
    }

    fn check_state(&mut self) -> Result<(), FrontendError> {
        let request = Request::CHECK_DEVICE_STATE;
        match self.dialogue.number(request)? {
            0 => Ok(()),
            code => Err(FrontendError::Refused { request, code }),
        }
    }
}

fn pipe() -> Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd), FrontendError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| FrontendError::Resources(error.into()))
}
