//! The load on a zoned disk, through our own front-end and driver, while the server is killed: an append must not take effect
//! twice, and a write not find the write pointer behind itself. A zone that is full is looked at as a whole: its write
//! pointer is behind what came back, and every sector has the stamp of the request that was told to have gone there.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ringwright_driver::block::{Block, BlockError, Completion, Request, read_report};
use ringwright_memory::Buffer;
use ringwright_spec::block::SECTOR_SIZE;
use ringwright_vhost_user::frontend::Frontend;

use crate::load::{PATIENCE, open_disk, rest};
use crate::model::Random;
use crate::server::Server;
use crate::{Common, QUEUES};

/// Sectors of a zone, and number of zones.
const ZONE: u64 = 128;
const ZONES: u64 = 64;
/// Most sectors of a request.
const LONGEST: u64 = 16;
/// Requests outstanding in each queue.
const DEPTH: usize = 16;

/// What to ask for.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Runs the load until the last process was killed, and says what happened.
pub fn run(args: &Args) -> Result<serde_json::Value> {
    let common = &args.common;
    let image = common.folder.join("disk.img");
    std::fs::File::create(&image)?.set_len(ZONES * ZONE * SECTOR_SIZE)?;
    let options = ["--zoned", "host-managed", "--zone-size", "64K"];
    let options = options.map(String::from).to_vec();
    let server = Server::start(&common.server, &image, common.folder.join("disk.sock"), options)?;
    let start = Instant::now();
    let mut load = Load {
        disk: open_disk(common.packed, false, &server)?,
        random: Random(common.seed),
        zones: (0..ZONES).map(|_| Zone::default()).collect(),
        outstanding: (0..usize::from(QUEUES) * DEPTH).map(|_| None).collect(),
        serial: 0,
        counts: Counts::default(),
    };
    server.kill_again_and_again(common.kills, common.seed);
    while server.is_killing() {
        load.step(&server, true)?;
    }
    // Every zone is looked at once more.
    for zone in &mut load.zones {
        zone.full = true;
    }
    let resets = load.counts.zones_verified;
    while load.counts.zones_verified < resets + ZONES {
        load.step(&server, false)?;
    }
    let kills = server.end()?;
    let Counts {
        appends,
        writes,
        zones_verified,
        reconnections,
    } = load.counts;
    Ok(serde_json::json!({
        "kills": kills,
        "reconnections": reconnections,
        "appends": appends,
        "writes": writes,
        "zones_verified": zones_verified,
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

struct Load {
    disk: Block<Frontend>,
    random: Random,
    zones: Vec<Zone>,
    outstanding: Vec<Option<(What, Instant)>>,
    serial: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    appends: u64,
    writes: u64,
    zones_verified: u64,
    reconnections: u32,
}

/// What a zone must hold.
#[derive(Default)]
struct Zone {
    /// By sector: the request that was told to be there, and which of its sectors.
    sectors: Vec<Option<(u64, u64)>>,
    /// Requests that are out.
    outstanding: u32,
    /// Sectors that these may add.
    coming: u64,
    /// Nothing more is written to it before it has been looked at and reset.
    full: bool,
    /// It is written by writes, one after the other, and not by appends.
    by_writes: bool,
}

#[derive(Clone, Copy)]
enum What {
    Append { zone: usize, sectors: u64, serial: u64 },
    Write { zone: usize, sectors: u64, serial: u64 },
    Report { zone: usize },
    Read { zone: usize },
    Reset { zone: usize },
}

impl Zone {
    fn room(&self) -> u64 {
        ZONE - self.sectors.iter().flatten().count() as u64
    }

    /// A request was told to be at a sector of the zone.
    fn put(&mut self, at: u64, sectors: u64, serial: u64) -> Result<()> {
        self.sectors.resize(ZONE as usize, None);
        let places = self.sectors.get_mut(at as usize..(at + sectors) as usize);
        let places = places.context("beyond the zone's end")?;
        for (index, place) in (0..).zip(places) {
            let before = place.replace((serial, index));
            ensure!(
                before.is_none(),
                "two requests are told to be at sector {at} of a zone"
            );
        }
        Ok(())
    }
}

impl Load {
    fn step(&mut self, server: &Server, writing: bool) -> Result<()> {
        for queue in 0..QUEUES {
            for place in 0..DEPTH {
                let tag = usize::from(queue) * DEPTH + place;
                if self.outstanding[tag].is_none()
                    && let Some((what, request)) = self.choose(writing)?
                {
                    self.submit(queue, tag, what, request)?;
                }
            }
            self.disk.publish(queue)?;
        }
        let mut found = false;
        for queue in 0..QUEUES {
            while let Some(completion) = self.disk.poll(queue)? {
                found = true;
                let tag = completion.tag as usize;
                let outstanding = self.outstanding.get_mut(tag).and_then(Option::take);
                let (what, _) = outstanding.with_context(|| format!("request {tag} comes back again"))?;
                if let Some((what, request)) = self.take(what, completion)? {
                    self.submit(queue, tag, what, request)?;
                }
            }
            self.disk.publish(queue)?;
        }
        let hung = |(_, since): &(What, Instant)| since.elapsed() > PATIENCE;
        ensure!(!self.outstanding.iter().flatten().any(hung), "a request hangs");
        if !found {
            self.counts.reconnections += rest(&mut self.disk, server)?;
        }
        Ok(())
    }

    fn submit(&mut self, queue: u16, tag: usize, what: What, request: Request) -> Result<()> {
        self.disk
            .submit(queue, request, tag as u64)
            .map_err(|refused| anyhow!("request {tag}: {refused:?}"))?;
        self.outstanding[tag] = Some((what, Instant::now()));
        Ok(())
    }

    /// Something to do with some zone, if there is.
    fn choose(&mut self, writing: bool) -> Result<Option<(What, Request)>> {
        let number = self.random.below(ZONES) as usize;
        let sectors = 1 + self.random.below(LONGEST);
        let start = number as u64 * ZONE;
        let buffer = self.buffer(sectors * SECTOR_SIZE)?;
        let report = self.buffer(128)?;
        let zone = &mut self.zones[number];
        if zone.full {
            if zone.outstanding > 0 {
                return Ok(None);
            }
            zone.outstanding = 1;
            return Ok(Some((
                What::Report { zone: number },
                Request::zone_report(start, report),
            )));
        }
        if !writing || zone.by_writes && zone.outstanding > 0 {
            return Ok(None);
        }
        if zone.room() < sectors + zone.coming {
            zone.full = true;
            return Ok(None);
        }
        self.serial += 1;
        let serial = self.serial;
        zone.outstanding += 1;
        zone.coming += sectors;
        buffer.write(0, &stamps(serial, sectors))?;
        let written = ZONE - zone.room();
        Ok(Some(match zone.by_writes {
            true => (
                What::Write {
                    zone: number,
                    sectors,
                    serial,
                },
                Request::write(start + written, buffer),
            ),
            false => (
                What::Append {
                    zone: number,
                    sectors,
                    serial,
                },
                Request::zone_append(start, buffer),
            ),
        }))
    }

    fn buffer(&mut self, bytes: u64) -> Result<Buffer> {
        Ok(self.disk.session().allocate(bytes as usize)?)
    }

    /// Takes what is finished, and gives what is to be done next with the same zone.
    fn take(&mut self, what: What, completion: Completion) -> Result<Option<(What, Request)>> {
        let failed = |kind: &str, error: BlockError| anyhow!("{kind} has failed: {error}");
        match what {
            What::Append {
                zone,
                sectors,
                serial,
            } => {
                completion.result.map_err(|error| failed("an append", error))?;
                let at = completion.append_sector.context("an append without a sector")?;
                let at = at
                    .checked_sub(zone as u64 * ZONE)
                    .context("another zone's sector")?;
                self.finish_write(zone, at, sectors, serial)?;
                self.counts.appends += 1;
                Ok(None)
            }
            What::Write {
                zone,
                sectors,
                serial,
            } => {
                completion.result.map_err(|error| failed("a write", error))?;
                let at = ZONE - self.zones[zone].room();
                self.finish_write(zone, at, sectors, serial)?;
                self.counts.writes += 1;
                Ok(None)
            }
            What::Report { zone } => {
                completion.result.map_err(|error| failed("a report", error))?;
                let buffer = completion
                    .data
                    .into_buffer()
                    .context("a report without its buffer")?;
                let found = read_report(&buffer).flatten().next().context("an empty report")?;
                let start = zone as u64 * ZONE;
                let written = found.write_pointer.unwrap_or(start + ZONE) - start;
                let expected = ZONE - self.zones[zone].room();
                ensure!(
                    written == expected,
                    "zone {zone} has {written} sectors, and {expected} came back"
                );
                let into = self.buffer(ZONE * SECTOR_SIZE)?;
                Ok(Some((What::Read { zone }, Request::read(start, into))))
            }
            What::Read { zone } => {
                completion.result.map_err(|error| failed("a read", error))?;
                let buffer = completion
                    .data
                    .into_buffer()
                    .context("a read without its buffer")?;
                let mut bytes = vec![0; buffer.len()];
                buffer.read(0, &mut bytes)?;
                let sectors = &self.zones[zone].sectors;
                for (index, found) in bytes.chunks_exact(SECTOR_SIZE as usize).enumerate() {
                    let expected = match sectors.get(index).copied().flatten() {
                        Some((serial, place)) => stamp(serial, place),
                        None => vec![0; SECTOR_SIZE as usize],
                    };
                    if found != expected {
                        bail!("zone {zone}, sector {index}: other data than were written there");
                    }
                }
                let start = zone as u64 * ZONE;
                Ok(Some((What::Reset { zone }, Request::zone_reset(start))))
            }
            What::Reset { zone } => {
                completion.result.map_err(|error| failed("a reset", error))?;
                self.zones[zone] = Zone {
                    by_writes: self.random.below(3) == 0,
                    ..Zone::default()
                };
                self.counts.zones_verified += 1;
                Ok(None)
            }
        }
    }

    fn finish_write(&mut self, zone: usize, at: u64, sectors: u64, serial: u64) -> Result<()> {
        let zone = &mut self.zones[zone];
        zone.outstanding -= 1;
        zone.coming -= sectors;
        zone.put(at, sectors, serial)
    }
}

fn stamps(serial: u64, sectors: u64) -> Vec<u8> {
    (0..sectors).flat_map(|place| stamp(serial, place)).collect()
}

/// What one sector of a request has in it.
fn stamp(serial: u64, place: u64) -> Vec<u8> {
    let mut random = Random(serial << 8 ^ place);
    (0..SECTOR_SIZE / 8)
        .flat_map(|_| random.below(u64::MAX).to_le_bytes())
        .collect()
}
