//! The load through our own front-end and driver. Every sector carries a stamp: where it belongs, and which write brought it
//! there. Every read has to find the stamps of the newest write that had come back before, and so has whoever looks into
//! the image in the end.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ringwright_driver::Options;
use ringwright_driver::block::{Block, Request};
use ringwright_memory::Buffer;
use ringwright_spec::block::{DEVICE, SECTOR_SIZE};
use ringwright_spec::feature;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};

use crate::model::{Model, Random};
use crate::server::Server;
use crate::{Common, QUEUES};

/// Sectors of the disk: few enough that each is written many times, and that no request finds only untouched ones.
const SECTORS: u64 = 16384;
/// Most sectors of a request.
const LONGEST: u64 = 16;
/// Requests outstanding in each of them, of three descriptors each.
const DEPTH: usize = 20;
/// How long a request may be out, and a process may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to ask for.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Buffers are given back in order.
    #[arg(long)]
    in_order: bool,
    /// The server goes past the page cache, so that requests are out for longer and come back in another order.
    #[arg(long)]
    direct: bool,
}

/// Runs the load until the last process was killed, and says what happened.
pub fn run(args: &Args) -> Result<serde_json::Value> {
    let common = &args.common;
    let image = common.folder.join("disk.img");
    std::fs::File::create(&image)?.set_len(SECTORS * SECTOR_SIZE)?;
    let options = if args.direct { vec!["--direct"] } else { Vec::new() };
    let server = Server::start(&common.server, &image, common.folder.join("disk.sock"), options)?;
    let start = Instant::now();
    let mut load = Load::open(args, &server)?;
    server.kill_again_and_again(common.kills, common.seed);
    let mut told = Instant::now();
    while server.is_killing() {
        load.step(&server)?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("{} kills, {} requests", server.kills(), load.completed);
        }
    }
    load.drain(&server)?;
    load.read_all(&server)?;
    let Load {
        model,
        completed,
        reconnections,
        ..
    } = load;
    let kills = server.end()?;
    check_image(&image, &model)?;
    Ok(serde_json::json!({
        "kills": kills,
        "reconnections": reconnections,
        "requests": completed,
        "sectors_written": model.written(),
        "sectors_compared": model.compared(),
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

/// Every sector is in the image as it was last written.
fn check_image(image: &Path, model: &Model) -> Result<()> {
    let mut bytes = vec![0; (SECTORS * SECTOR_SIZE) as usize];
    std::fs::File::open(image)?.read_exact_at(&mut bytes, 0)?;
    model.check(0, &bytes).context("in the image")
}

/// A disk with requests outstanding.
struct Load {
    disk: Block<Frontend>,
    random: Random,
    model: Model,
    /// What is out, by tag.
    outstanding: Vec<Option<Outstanding>>,
    completed: u64,
    reconnections: u32,
}

struct Outstanding {
    what: What,
    since: Instant,
}

enum What {
    Read {
        sector: u64,
    },
    Write {
        sector: u64,
        sectors: u64,
        generation: u64,
    },
    Flush,
}

impl Load {
    fn open(args: &Args, server: &Server) -> Result<Self> {
        let frontend = Frontend::new(server.connect(PATIENCE)?, FrontendOptions::new(DEVICE.id))?;
        let area = frontend.area().clone();
        let mut left_out = feature::RING_PACKED | feature::IN_ORDER;
        if args.common.packed {
            left_out = left_out - feature::RING_PACKED;
        }
        if args.in_order {
            left_out = left_out - feature::IN_ORDER;
        }
        let options = Options {
            accept: Options::default().accept - left_out,
            queue_size: 64,
            indirect: 0,
        };
        let disk = Block::new(frontend, &area, QUEUES, options)?;
        Ok(Self {
            disk,
            random: Random(args.common.seed),
            model: Model::new(SECTORS, args.common.seed),
            outstanding: (0..usize::from(QUEUES) * DEPTH).map(|_| None).collect(),
            completed: 0,
            reconnections: 0,
        })
    }

    /// Keeps the virtqueues full and takes what is finished. Waits a moment if nothing is.
    fn step(&mut self, server: &Server) -> Result<()> {
        for queue in 0..QUEUES {
            self.fill(queue)?;
        }
        self.take(server)
    }

    fn fill(&mut self, queue: u16) -> Result<()> {
        for place in 0..DEPTH {
            let tag = usize::from(queue) * DEPTH + place;
            if self.outstanding[tag].is_some() {
                continue;
            }
            let Some((what, request)) = self.choose()? else {
                continue;
            };
            let submitted = self.disk.submit(queue, request, tag as u64);
            submitted.map_err(|refused| anyhow!("request {tag}: {refused:?}"))?;
            let since = Instant::now();
            self.outstanding[tag] = Some(Outstanding { what, since });
        }
        Ok(self.disk.publish(queue)?)
    }

    /// The next request, unless it would touch sectors that another one is at: which comes first is then not known.
    fn choose(&mut self) -> Result<Option<(What, Request)>> {
        if self.random.below(50) == 0 {
            return Ok(Some((What::Flush, Request::flush())));
        }
        let sectors = 1 + self.random.below(LONGEST);
        let sector = self.random.below(SECTORS - sectors + 1);
        if !self.model.lock(sector, sectors) {
            return Ok(None);
        }
        let buffer = self.buffer(sectors)?;
        if self.random.below(2) == 0 {
            return Ok(Some((What::Read { sector }, Request::read(sector, buffer))));
        }
        let generation = self.model.next_generation();
        buffer.write(0, &self.model.stamps(sector, sectors, generation))?;
        let what = What::Write {
            sector,
            sectors,
            generation,
        };
        Ok(Some((what, Request::write(sector, buffer))))
    }

    fn buffer(&mut self, sectors: u64) -> Result<Buffer> {
        Ok(self.disk.session().allocate((sectors * SECTOR_SIZE) as usize)?)
    }

    /// Takes what is finished, and goes on with the next process if the one there was is gone.
    fn take(&mut self, server: &Server) -> Result<()> {
        let mut found = false;
        for queue in 0..QUEUES {
            while let Some(completion) = self.disk.poll(queue)? {
                found = true;
                let place = self.outstanding.get_mut(completion.tag as usize);
                let Outstanding { what, .. } = place
                    .and_then(Option::take)
                    .with_context(|| format!("request {} comes back again", completion.tag))?;
                completion.result.context("a request has failed")?;
                self.completed += 1;
                match what {
                    What::Flush => {}
                    What::Read { sector } => {
                        let buffer = completion
                            .data
                            .into_buffer()
                            .context("a read without its buffer")?;
                        let mut bytes = vec![0; buffer.len()];
                        buffer.read(0, &mut bytes)?;
                        self.model.check(sector, &bytes)?;
                        self.model.unlock(sector, bytes.len() as u64 / SECTOR_SIZE);
                    }
                    What::Write {
                        sector,
                        sectors,
                        generation,
                    } => {
                        self.model.write(sector, sectors, generation);
                        self.model.unlock(sector, sectors);
                    }
                }
            }
        }
        for (tag, request) in self.outstanding.iter().enumerate() {
            let hung = request
                .as_ref()
                .is_some_and(|request| request.since.elapsed() > PATIENCE);
            ensure!(!hung, "request {tag} hangs");
        }
        if found || (0..QUEUES).any(|queue| self.disk.enable_notifications(queue)) {
            return Ok(());
        }
        let frontend = self.disk.session().transport();
        let waited = frontend.wait(None, Duration::from_millis(100));
        match waited.map(|_| ringwright_driver::Transport::take_interrupt(frontend)) {
            Ok(Ok(_)) => Ok(()),
            // Whatever is wrong, another process may do better; if none does, this ends there.
            Ok(Err(_)) | Err(_) => self.reconnect(server),
        }
    }

    fn reconnect(&mut self, server: &Server) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stream = server.connect(deadline.saturating_duration_since(Instant::now()))?;
            match self.disk.session().transport().reconnect(stream) {
                Ok(()) => break,
                // Killed while it was spoken to.
                Err(error) => ensure!(Instant::now() < deadline, "no process takes over: {error}"),
            }
        }
        self.reconnections += 1;
        Ok(())
    }

    /// Takes what is out, until nothing is.
    fn drain(&mut self, server: &Server) -> Result<()> {
        while self.outstanding.iter().any(Option::is_some) {
            self.take(server)?;
        }
        Ok(())
    }

    /// Reads the whole disk.
    fn read_all(&mut self, server: &Server) -> Result<()> {
        let mut sector = 0;
        while sector < SECTORS {
            let sectors = LONGEST.min(SECTORS - sector);
            ensure!(
                self.model.lock(sector, sectors),
                "sector {sector} is still in use"
            );
            let buffer = self.buffer(sectors)?;
            let submitted = self.disk.submit(0, Request::read(sector, buffer), 0);
            submitted.map_err(|refused| anyhow!("a read: {refused:?}"))?;
            let (what, since) = (What::Read { sector }, Instant::now());
            self.outstanding[0] = Some(Outstanding { what, since });
            self.disk.publish(0)?;
            self.drain(server)?;
            sector += sectors;
        }
        Ok(())
    }
}
