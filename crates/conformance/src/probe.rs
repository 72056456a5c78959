//! What a check has in its hands: a specimen, and the steps that every check takes.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_driver::{Interrupt, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, block, device_type, feature};

use crate::check::{Ended, Needs, Outcome};
use crate::raw::{Queue, Used};
use crate::run::RunOptions;
use crate::subject::{Bus, Raw, Specimen, Subject, Trace};

/// Descriptors of a virtqueue, if the device has as many.
const QUEUE_SIZE: u16 = 32;

/// A specimen, and a record of what is done to it.
///
/// Its methods end a check as inconclusive where a device does not do what no clause of the check is about.
pub struct Probe {
    specimen: Specimen,
    bus: Bus,
    trace: Trace,
    /// How long a device may take for what it has to do.
    patience: Duration,
    /// How long it is watched for what it must not do.
    quiet: Duration,
}

impl Probe {
    /// A specimen of `subject`.
    pub(crate) fn new(subject: &dyn Subject, trace: &Trace, options: &RunOptions) -> Outcome<Self> {
        let specimen = subject
            .open(trace)
            .map_err(|error| Ended::Inconclusive(format!("the subject: {error}")))?;
        Ok(Self {
            specimen,
            bus: subject.bus(),
            trace: trace.clone(),
            patience: options.patience,
            quiet: options.quiet,
        })
    }

    /// Ends the check if the specimen has not what it needs.
    pub(crate) fn need(&mut self, needs: &Needs) -> Outcome {
        if !needs.buses.is_empty() && !needs.buses.contains(&self.bus) {
            let names: Vec<_> = needs.buses.iter().map(|bus| bus.name()).collect();
            return Err(Ended::NotApplicable(format!(
                "it is not on {}",
                names.join(" or ")
            )));
        }
        if needs.device.is_some_and(|id| id != self.device_id()) {
            return Err(Ended::NotApplicable("it is a device of another type".into()));
        }
        if self.specimen.transport.legacy().is_some() {
            return Err(Ended::NotApplicable("it is reached by a legacy interface".into()));
        }
        let missing = needs.features - self.offered()?;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Ended::NotApplicable(format!(
                "it does not offer {}",
                self.names(missing)
            ))),
        }
    }

    /// The device type's id.
    pub fn device_id(&self) -> u32 {
        self.specimen.transport.device_id()
    }

    /// Features by the document's names for a device of this type.
    pub fn names(&self, features: Features) -> String {
        let device = device_type::by_id(self.device_id());
        let name = |bit| match device.and_then(|device| device.feature(bit)) {
            Some(feature) => feature.name.to_owned(),
            None => format!("bit {bit}"),
        };
        features.bits().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The bus that the specimen is on.
    pub fn bus(&self) -> Bus {
        self.bus
    }

    /// The driver's view of the bus.
    pub fn transport(&mut self) -> &mut dyn Transport {
        &mut *self.specimen.transport
    }

    /// The registers.
    pub fn raw(&mut self) -> &mut Raw {
        &mut self.specimen.raw
    }

    /// Makes the device's configuration change. Ends the check if nothing can.
    pub fn change_config(&mut self) -> Outcome {
        let missing = || Ended::NotApplicable("nothing here can change its configuration".into());
        let change = self.specimen.change.as_mut().ok_or_else(missing)?;
        match change() {
            true => {
                self.note("the configuration changes");
                Ok(())
            }
            false => Err(Ended::Inconclusive("its configuration did not change".into())),
        }
    }

    /// Sends a frame to a network card, as what is at the other end of its cable does. Ends the check if nothing can.
    pub fn send_frame(&mut self, frame: &[u8]) -> Outcome {
        let missing = || Ended::NotApplicable("nothing here can send it frames".into());
        let cable = self.specimen.cable.as_mut().ok_or_else(missing)?;
        let bytes = [&(frame.len() as u32).to_be_bytes(), frame].concat();
        cable
            .write_all(&bytes)
            .map_err(|error| Ended::Inconclusive(format!("a frame cannot be sent: {error}")))?;
        self.note(format_args!("a frame of {} bytes arrives", frame.len()));
        Ok(())
    }

    /// The next frame that a network card has sent to the other end of its cable. `None` if there is none within the patience
    /// of the run.
    pub fn sent_frame(&mut self) -> Outcome<Option<Vec<u8>>> {
        let missing = || Ended::NotApplicable("nothing here can receive its frames".into());
        let patience = self.patience;
        let cable = self.specimen.cable.as_mut().ok_or_else(missing)?;
        let mut next = || -> std::io::Result<Vec<u8>> {
            cable.set_read_timeout(Some(patience))?;
            let mut length = [0; 4];
            cable.read_exact(&mut length)?;
            // No frame is longer.
            let mut frame = vec![0; u32::from_be_bytes(length).min(1 << 17) as usize];
            cable.read_exact(&mut frame)?;
            Ok(frame)
        };
        let frame = next().ok();
        match &frame {
            Some(frame) => self.note(format_args!("a frame of {} bytes is sent", frame.len())),
            None => self.note("no frame is sent"),
        }
        Ok(frame)
    }

    /// The memory that the device reaches.
    pub fn area(&self) -> &Arc<Area> {
        &self.specimen.area
    }

    /// Writes a line into the record.
    pub fn note(&self, line: impl std::fmt::Display) {
        self.trace.note(line);
    }

    /// The features that the device offers.
    pub fn offered(&mut self) -> Outcome<Features> {
        let offered = self.specimen.transport.device_features()?;
        self.trace
            .note(format_args!("device features -> {:#x}", offered.0));
        Ok(offered)
    }

    /// The device status field.
    pub fn status(&mut self) -> Outcome<Status> {
        let status = self.specimen.transport.status()?;
        self.trace.note(format_args!("status -> {status:?}"));
        Ok(status)
    }

    /// Writes the device status field.
    pub fn set_status(&mut self, status: Status) -> Outcome {
        self.trace.note(format_args!("status <- {status:?}"));
        Ok(self.specimen.transport.set_status(status)?)
    }

    /// Adds a bit to the device status field.
    pub fn add_status(&mut self, step: Status) -> Outcome {
        let status = self.status()?;
        self.set_status(status | step)
    }

    /// Resets the device, and waits until it says that it is. `false` if it never does.
    pub fn reset(&mut self) -> Outcome<bool> {
        self.set_status(Status::NONE)?;
        self.wait(|probe| Ok(probe.status()? == Status::NONE))
    }

    /// Resets the device and goes through its initialization up to the features, of which `accept` are accepted. Returns
    /// the status that the device shows then.
    pub fn accept(&mut self, accept: Features) -> Outcome<Status> {
        if !self.reset()? {
            return Err(Ended::Inconclusive("the device does not finish its reset".into()));
        }
        self.add_status(Status::ACKNOWLEDGE)?;
        self.add_status(Status::DRIVER)?;
        self.offered()?;
        self.trace
            .note(format_args!("driver features <- {:#x}", accept.0));
        self.specimen.transport.set_driver_features(accept)?;
        self.add_status(Status::FEATURES_OK)?;
        self.status()
    }

    /// As [`accept`](Self::accept), and the device has to agree.
    pub fn negotiate(&mut self, accept: Features) -> Outcome {
        match self.accept(accept)?.contains(Status::FEATURES_OK) {
            true => Ok(()),
            false => Err(Ended::Inconclusive(format!(
                "the device does not accept {accept:?}, of what it offers"
            ))),
        }
    }

    /// What a driver accepts that wants `features`: these, and what a device may insist on. Ends the check if they are not
    /// offered.
    pub fn wanted(&mut self, features: Features) -> Outcome<Features> {
        let offered = self.offered()?;
        let missing = features - offered;
        if !missing.is_empty() {
            return Err(Ended::NotApplicable(format!(
                "it does not offer {}",
                self.names(missing)
            )));
        }
        let mut insisted = feature::VERSION_1
            .union(feature::ACCESS_PLATFORM)
            .union(feature::ORDER_PLATFORM);
        if self.device_id() == block::DEVICE.id {
            // dev:blk:device-initialization:07
            insisted = insisted.union(block::features::ZONED);
        }
        Ok(features | (offered & insisted))
    }

    /// Memory for virtqueue `index`, of the format that `features` say.
    pub fn queue(&mut self, index: u16, features: Features) -> Outcome<Queue> {
        let most = self.specimen.transport.queue_max_size(index)?;
        self.queue_of(index, features, most.min(QUEUE_SIZE))
    }

    /// As [`queue`](Self::queue), of `size` descriptors.
    pub fn queue_of(&mut self, index: u16, features: Features, size: u16) -> Outcome<Queue> {
        if size == 0 {
            return Err(Ended::Inconclusive(format!("there is no virtqueue {index}")));
        }
        let queue = Queue::new(self.area(), index, size, features.contains(feature::RING_PACKED));
        queue.ok_or_else(|| Ended::Inconclusive("no memory for a virtqueue".into()))
    }

    /// Tells the device where a virtqueue lies, and enables it.
    pub fn enable(&mut self, queue: &Queue) -> Outcome {
        self.trace
            .note(format_args!("virtqueue {} <- {:x?}", queue.index, queue.layout));
        Ok(self.specimen.transport.enable_queue(queue.index, &queue.layout)?)
    }

    /// Resets a virtqueue, and waits until that is done.
    pub fn reset_queue(&mut self, index: u16) -> Outcome {
        self.note(format_args!("virtqueue {index} <- reset"));
        self.transport().reset_queue(index)?;
        match self.wait(|probe| Ok(probe.transport().queue_is_reset(index)?))? {
            true => Ok(()),
            false => Err(Ended::Inconclusive(
                "the reset of a virtqueue does not end".into(),
            )),
        }
    }

    /// Sends an available buffer notification.
    pub fn notify(&mut self, queue: &Queue) -> Outcome {
        self.trace
            .note(format_args!("virtqueue {} <- notification", queue.index));
        let data = queue.notification_data();
        Ok(self.specimen.transport.notify(queue.index, data)?)
    }

    /// Takes what the device has notified.
    pub fn interrupt(&mut self) -> Outcome<Interrupt> {
        let interrupt = self.specimen.transport.take_interrupt()?;
        if interrupt != Interrupt::default() {
            self.trace.note(format_args!("interrupt -> {interrupt:?}"));
        }
        Ok(interrupt)
    }

    /// Waits until the device has used a buffer of `queue`, and takes it. `None` if it does not within the patience of the run.
    pub fn used(&mut self, queue: &mut Queue) -> Outcome<Option<Used>> {
        self.wait(|_| Ok(queue.has_used()))?;
        let used = queue.take_used();
        match used {
            Some(used) => self
                .trace
                .note(format_args!("virtqueue {} -> {used:?}", queue.index)),
            None => self
                .trace
                .note(format_args!("virtqueue {} -> nothing", queue.index)),
        }
        Ok(used)
    }

    /// Waits until `done`, within the patience of the run. Whether it came.
    pub fn wait(&mut self, done: impl FnMut(&mut Self) -> Outcome<bool>) -> Outcome<bool> {
        self.within(self.patience, done)
    }

    /// Watches the device [for a while](RunOptions::quiet). Whether `seen` never was.
    pub fn never(&mut self, seen: impl FnMut(&mut Self) -> Outcome<bool>) -> Outcome<bool> {
        Ok(!self.within(self.quiet, seen)?)
    }

    /// Memory that the device reaches, full of `fill`.
    pub fn buffer(&mut self, length: usize, fill: u8) -> Outcome<Buffer> {
        let buffer = self.area().allocate(length, 16);
        let buffer = buffer.ok_or_else(|| Ended::Inconclusive("no memory for a buffer".into()))?;
        // It has just been made of this length.
        let _ = buffer.write(0, &vec![fill; length]);
        Ok(buffer)
    }

    fn within(&mut self, time: Duration, mut done: impl FnMut(&mut Self) -> Outcome<bool>) -> Outcome<bool> {
        let end = Instant::now() + time;
        loop {
            if done(self)? {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }
}

/// Ends a check: `clause` is broken, unless `holds`.
pub(crate) fn holds(holds: bool, clause: &'static str, evidence: impl FnOnce() -> String) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(Ended::Broken {
            clause,
            evidence: evidence(),
        }),
    }
}
