//! The devices of a server, as its control socket and its signals reach them.

use anyhow::bail;
use ringwright_device::block::{Handle, KindCounters, RequestCounters};
use ringwright_device::network::Drops;
use ringwright_device::{Meter, QueueCounters};

use super::disks::Disks;
use crate::control::{Answer, DeviceStats, DropStats, KindStats, Question, QueueStats, RequestStats};

/// Every device that is served.
#[derive(Default)]
pub struct Fleet {
    members: Vec<Member>,
    disks: Disks,
}

/// A device that is served.
struct Member {
    id: String,
    device_type: &'static str,
    disk: Option<(String, Handle)>,
    drops: Option<Drops>,
    meter: Meter,
}

impl Fleet {
    /// One more. Without an id it is named after its type, with a number if there are others of it.
    pub fn add(
        &mut self,
        id: Option<String>,
        device_type: &'static str,
        disk: Option<(String, Handle)>,
        drops: Option<Drops>,
        meter: Meter,
    ) -> anyhow::Result<()> {
        let taken = |id: &str| self.members.iter().any(|member| member.id == id);
        let id = match id {
            Some(id) if taken(&id) => bail!("two devices have the id {id}; each needs one of its own"),
            Some(id) => id,
            None => {
                let numbered = (2..).map(|number| format!("{device_type}{number}"));
                let mut names = std::iter::once(device_type.into()).chain(numbered);
                names.find(|id| !taken(id)).unwrap_or_default()
            }
        };
        if let Some((name, handle)) = &disk {
            self.disks.add(name, handle.clone());
        }
        self.members.push(Member {
            id,
            device_type,
            disk,
            drops,
            meter,
        });
        Ok(())
    }

    /// The ids of all, separated by commas.
    pub fn names(&self) -> String {
        let ids: Vec<&str> = self.members.iter().map(|member| member.id.as_str()).collect();
        ids.join(", ")
    }

    /// Looks at the size of each disk again; virtual machines are told of those that are another now.
    pub fn look_again(&self) {
        self.disks.refresh();
    }

    /// Answers a question.
    pub fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Stats {} => Answer::Devices(self.members.iter().map(Member::stats).collect()),
            Question::Resize { device, size, shrink } => self
                .resize(device.as_deref(), size, shrink)
                .unwrap_or_else(|error| Answer::Error(format!("{error:#}"))),
        }
    }

    fn resize(&self, device: Option<&str>, size: Option<u64>, shrink: bool) -> anyhow::Result<Answer> {
        let (id, disk) = self.disk(device)?;
        let now = disk.capacity();
        let resized = match size {
            None => disk.refresh(),
            Some(size) if size < now && !shrink => {
                bail!("{id} has {now} bytes; what is beyond {size} would be lost: pass --shrink if it may be")
            }
            Some(size) if !size.is_multiple_of(512) || size == 0 => {
                bail!("a disk has a whole number of 512-byte sectors, not {size} bytes")
            }
            Some(size) => disk.resize(size),
        };
        match resized {
            Ok(resized) => {
                tracing::info!("{id}: {} bytes, {} before", resized.now, resized.before);
                Ok(Answer::Resized {
                    device: id.into(),
                    before: resized.before,
                    now: resized.now,
                })
            }
            Err(error) => bail!("{id} has {now} bytes as before: {error}"),
        }
    }

    /// The disk of this id, or the only one.
    fn disk(&self, id: Option<&str>) -> anyhow::Result<(&str, &Handle)> {
        let mut disks = self
            .members
            .iter()
            .filter_map(|member| Some((member.id.as_str(), &member.disk.as_ref()?.1)));
        let found = match id {
            Some(wanted) => disks.clone().find(|(id, _)| *id == wanted),
            None => disks.next().filter(|_| disks.next().is_none()),
        };
        found.map_or_else(|| bail!("{}", self.choice(id)), Ok)
    }

    /// Which disks there are to choose from.
    fn choice(&self, id: Option<&str>) -> String {
        let disks = self.members.iter().filter(|member| member.disk.is_some());
        let ids: Vec<&str> = disks.map(|member| member.id.as_str()).collect();
        match (ids.as_slice(), id) {
            ([], _) => "there is no disk here".into(),
            (ids, None) => format!("several disks: say which one by --device: {}", ids.join(", ")),
            (ids, Some(id)) => format!("no disk here is {id}: expected one of {}", ids.join(", ")),
        }
    }
}

impl Member {
    fn stats(&self) -> DeviceStats {
        let requests = self
            .disk
            .as_ref()
            .map(|(_, disk)| disk.counters())
            .unwrap_or_default();
        let queues = self.meter.read().into_iter().enumerate();
        DeviceStats {
            id: self.id.clone(),
            r#type: self.device_type.into(),
            image: self.disk.as_ref().map(|(image, _)| image.clone()),
            capacity: self.disk.as_ref().map(|(_, disk)| disk.capacity()),
            dropped: self.drops.as_ref().map(|drops| DropStats {
                from_driver: drops.transmit(),
                to_driver: drops.receive(),
            }),
            queues: queues
                .map(|(index, counters)| queue_stats(counters, requests.get(index)))
                .collect(),
        }
    }
}

fn queue_stats(counters: QueueCounters, requests: Option<&RequestCounters>) -> QueueStats {
    QueueStats {
        kicks: counters.kicks,
        notifications: counters.notifications,
        suppressed: counters.suppressed,
        coalesced: counters.coalesced,
        buffers: counters.chains,
        in_flight: counters.in_flight,
        bytes_from_driver: counters.bytes_read,
        bytes_to_driver: counters.bytes_written,
        queue_errors: counters.errors,
        requests: requests.map(request_stats),
    }
}

fn request_stats(counters: &RequestCounters) -> RequestStats {
    let kind = |counters: KindCounters| KindStats {
        requests: counters.requests,
        errors: counters.errors,
        bytes: counters.bytes,
    };
    RequestStats {
        reads: kind(counters.reads),
        writes: kind(counters.writes),
        flushes: kind(counters.flushes),
        discards: kind(counters.discards),
        write_zeroes: kind(counters.write_zeroes),
        others: kind(counters.others),
        late: counters.late,
        late_nanoseconds: counters.late_time.as_nanos() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ringwright_device::block::{Block, Options, backend};

    use super::*;

    fn resize(fleet: &Fleet, device: Option<&str>, size: u64, shrink: bool) -> String {
        let question = Question::Resize {
            device: device.map(Into::into),
            size: Some(size),
            shrink,
        };
        match fleet.answer(question) {
            Answer::Resized { device, now, .. } => format!("{device} {now}"),
            Answer::Error(error) => error,
            answer => panic!("{answer:?}"),
        }
    }

    #[test]
    fn a_disk_is_the_only_one_or_has_to_be_named() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4096).unwrap();
        let disk = || {
            let file = Arc::new(backend::File::open(image.path(), false).unwrap());
            let disk = Block::new(file, Options::default()).unwrap();
            Some(("disk.img".to_owned(), disk.handle()))
        };
        let mut fleet = Fleet::default();
        let add = |fleet: &mut Fleet, id: Option<&str>, disk| {
            fleet.add(id.map(Into::into), "block", disk, None, Meter::default())
        };
        add(&mut fleet, Some("other"), None).unwrap();
        assert!(resize(&fleet, None, 8192, false).contains("no disk"));
        add(&mut fleet, None, disk()).unwrap();
        assert_eq!(resize(&fleet, None, 8192, false), "block 8192");
        assert!(resize(&fleet, None, 512, false).contains("--shrink"));
        assert!(resize(&fleet, None, 100, true).contains("sectors"));
        assert_eq!(resize(&fleet, None, 512, true), "block 512");
        add(&mut fleet, None, disk()).unwrap();
        assert!(resize(&fleet, None, 8192, false).contains("--device: block, block2"));
        assert!(resize(&fleet, Some("other"), 8192, false).contains("one of block, block2"));
        assert_eq!(resize(&fleet, Some("block2"), 8192, false), "block2 8192");
        assert!(add(&mut fleet, Some("block2"), None).is_err());
    }
}
