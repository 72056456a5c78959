//! A device that is live, and answers requests.

use ringwright_memory::Buffer;
use ringwright_spec::Features;
use ringwright_spec::status::Status;

use crate::check::{Ended, Outcome};
use crate::exercise::{Answer, Exercise, exercise};
use crate::probe::Probe;
use crate::raw::{Element, Queue, Used};

/// A live device's virtqueues, and the request that shows that it works.
pub struct Live {
    /// What was negotiated.
    pub features: Features,
    /// The virtqueues, from the first on.
    pub queues: Vec<Queue>,
    /// The request that it answers.
    pub exercise: &'static Exercise,
}

/// The buffers of a request that is not yet answered, or was.
pub struct Pending {
    /// What comes back with the used buffer.
    pub id: u16,
    /// The device-readable part; it may be empty.
    pub readable: Option<Buffer>,
    /// The device-writable part; it may be empty.
    pub writable: Option<Buffer>,
}

impl Probe {
    /// Resets the device and brings it up with `features`, of which it has to offer all, up to DRIVER_OK.
    pub fn go_live(&mut self, features: Features) -> Outcome<Live> {
        let live = self.set_up(features)?;
        self.add_status(Status::DRIVER_OK)?;
        Ok(live)
    }

    /// As [`go_live`](Self::go_live), but without DRIVER_OK.
    pub fn set_up(&mut self, features: Features) -> Outcome<Live> {
        let missing = "there is no request that each device of its type answers at once";
        let exercise = exercise(self.device_id()).ok_or_else(|| Ended::NotApplicable(missing.into()))?;
        let features = self.wanted(features)?;
        self.negotiate(features)?;
        let mut queues = Vec::new();
        for index in 0..exercise.queues {
            let queue = self.queue(index, features)?;
            self.enable(&queue)?;
            queues.push(queue);
        }
        Ok(Live {
            features,
            queues,
            exercise,
        })
    }

    /// Makes the request, and waits for the answer, which has to be right.
    pub fn request(&mut self, live: &mut Live) -> Outcome<Used> {
        let pending = self.send(live)?;
        self.answer(live, &pending)
    }

    /// Waits for the answer to a request, which has to be right.
    pub fn answer(&mut self, live: &mut Live, pending: &Pending) -> Outcome<Used> {
        let Some(used) = self.used(live.queue())? else {
            return Err(Ended::Inconclusive("a legal request is not answered".into()));
        };
        match live.exercise.mistake(pending, used) {
            None => Ok(used),
            Some(mistake) => Err(Ended::Inconclusive(format!(
                "a legal request is answered wrong: {mistake}"
            ))),
        }
    }

    /// Makes the request available in the simplest framing, and notifies the device.
    pub fn send(&mut self, live: &mut Live) -> Outcome<Pending> {
        let pending = self.prepare(live, 0)?;
        self.notify(live.queue())?;
        Ok(pending)
    }

    /// Makes the request available in the simplest framing, its device-writable part full of `fill`.
    pub fn prepare(&mut self, live: &mut Live, fill: u8) -> Outcome<Pending> {
        let mut pending = self.buffers(live.exercise, fill)?;
        pending.id = live.queue().add(&pending.elements());
        Ok(pending)
    }

    /// The buffers of the request, of which the device does not know yet.
    pub fn buffers(&mut self, exercise: &Exercise, fill: u8) -> Outcome<Pending> {
        let readable = match exercise.readable {
            [] => None,
            bytes => {
                let buffer = self.buffer(bytes.len(), 0)?;
                // It has just been made of this length.
                let _ = buffer.write(0, bytes);
                Some(buffer)
            }
        };
        let writable = match exercise.writable {
            0 => None,
            length => Some(self.buffer(length, fill)?),
        };
        Ok(Pending {
            id: 0,
            readable,
            writable,
        })
    }

    /// After something illegal: the device still answers a legal request, or has asked for a reset; and after a reset it
    /// answers one in any case.
    pub fn survives(&mut self, mut live: Live) -> Outcome {
        let features = live.features;
        let asks = self.status()?.contains(Status::DEVICE_NEEDS_RESET);
        if !asks && self.request(&mut live).is_ok() {
            return Ok(());
        }
        drop(live);
        let revived = self
            .go_live(features)
            .and_then(|mut live| self.request(&mut live));
        match revived {
            Ok(_) => Ok(()),
            Err(error) => Err(Ended::Dead(format!(
                "after that the device answers no request any more, not even after a reset: {error:?}"
            ))),
        }
    }
}

impl Live {
    /// The virtqueue that the request goes to.
    pub fn queue(&mut self) -> &mut Queue {
        // As many were made as the exercise has.
        &mut self.queues[usize::from(self.exercise.queue)]
    }
}

impl Pending {
    /// The elements of the simplest framing: one for each part.
    pub fn elements(&self) -> Vec<Element> {
        let parts = [(&self.readable, false), (&self.writable, true)];
        let parts = parts
            .into_iter()
            .filter_map(|(part, writable)| Some((part.as_ref()?, writable)));
        parts.map(|(part, writable)| element(part, writable)).collect()
    }

    /// The bytes of the device-writable part.
    pub fn written(&self) -> Vec<u8> {
        self.writable.as_ref().map(bytes).unwrap_or_default()
    }

    /// The bytes of the device-readable part.
    pub fn read(&self) -> Vec<u8> {
        self.readable.as_ref().map(bytes).unwrap_or_default()
    }
}

impl Exercise {
    /// What is wrong about an answer, if anything is.
    pub fn mistake(&self, pending: &Pending, used: Used) -> Option<String> {
        if used.id != u32::from(pending.id) {
            return Some(format!(
                "buffer {} was available, {} is used",
                pending.id, used.id
            ));
        }
        let written = pending.written();
        match self.answer {
            Answer::Ends(expected) => match written.last() {
                Some(last) if *last != expected => Some(format!("its status is {last}, not {expected}")),
                _ => None,
            },
            Answer::Has(start, expected) => match written.get(start..start + expected.len()) {
                Some(found) if found != expected => Some(format!(
                    "from byte {start} on there is {found:02x?}, not {expected:02x?}"
                )),
                _ => None,
            },
            // The length of a packed used descriptor without the flag WRITE says nothing, so that what is there counts.
            Answer::Some if used.length == 0 && all_the_same(&written) => Some("nothing is written".into()),
            Answer::Some | Answer::Nothing => None,
        }
    }
}

/// All of a buffer, as an element.
pub(crate) fn element(buffer: &Buffer, writable: bool) -> Element {
    Element {
        address: buffer.segment().address(),
        length: buffer.segment().len(),
        writable,
    }
}

fn bytes(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    // The buffer is as long as that.
    let _ = buffer.read(0, &mut bytes);
    bytes
}

/// Whether all bytes are the same, as before they were written.
fn all_the_same(bytes: &[u8]) -> bool {
    bytes.windows(2).all(|pair| pair[0] == pair[1])
}
