//! The load through our own front-end and driver. Every sector carries a stamp: where it belongs, and which write brought it
//! there. Every read has to find the stamps of the newest write that had come back before, and so has whoever looks into
//! the image in the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ringwright_driver::Options;
use ringwright_driver::block::{Block, BlockError, CacheMode, Data, Range, Ranges, Request};
use ringwright_memory::Buffer;
use ringwright_spec::block::{DEVICE, DiscardWriteZeroes, SECTOR_SIZE};
use ringwright_spec::feature;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};

use crate::model::{Model, Moment, Random};
use crate::server::Server;
use crate::trouble::Trouble;
use crate::{Common, QUEUES};

/// Sectors of the disk: few enough that each is written many times, and that no request finds only untouched ones.
pub const SECTORS: u64 = 16384;
/// Most sectors of a request.
const LONGEST: u64 = 16;
/// Most sectors of a range that becomes zeroes.
const LONGEST_ZEROES: u64 = 64;
/// Requests outstanding in each of them, of three descriptors each.
const DEPTH: usize = 20;
/// How long a request may be out, and a process may take to start.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
    let options = if args.direct {
        vec!["--direct".into()]
    } else {
        Vec::new()
    };
    let server = Server::start(&common.server, &image, common.folder.join("disk.sock"), options)?;
    let start = Instant::now();
    let mut load = Load::open(common, args.in_order, &server, Trouble::default())?;
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
    check_image(&std::fs::read(&image)?, &model)?;
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
pub fn check_image(image: &[u8], model: &Model) -> Result<()> {
    ensure!(
        image.len() as u64 == SECTORS * SECTOR_SIZE,
        "the image has {} bytes",
        image.len()
    );
    model.check(0, image).context("in the image")
}

/// A disk with requests outstanding.
pub struct Load {
    disk: Block<Frontend>,
    random: Random,
    pub model: Model,
    trouble: Trouble,
    /// What is out, by tag.
    outstanding: Vec<Option<Outstanding>>,
    pub completed: u64,
    pub failed: u64,
    pub reconnections: u32,
    /// How often the cache was switched, and whether it is a write-through one now.
    pub switches: u64,
    write_through: bool,
}

struct Outstanding {
    what: What,
    since: Instant,
}

enum What {
    Read {
        sector: u64,
        sectors: u64,
    },
    Write {
        sector: u64,
        sectors: u64,
        generation: u64,
        /// The number of the switch to a write-through cache, if it was one then.
        write_through: Option<u64>,
    },
    Flush(Moment),
}

impl Load {
    pub fn open(common: &Common, in_order: bool, server: &Server, trouble: Trouble) -> Result<Self> {
        Ok(Self {
            disk: open_disk(common.packed, in_order, server)?,
            random: Random(common.seed),
            model: Model::new(SECTORS, common.seed),
            trouble,
            outstanding: (0..usize::from(QUEUES) * DEPTH).map(|_| None).collect(),
            completed: 0,
            failed: 0,
            reconnections: 0,
            switches: 0,
            write_through: false,
        })
    }

    /// Keeps the virtqueues full and takes what is finished. Waits a moment if nothing is.
    pub fn step(&mut self, server: &Server) -> Result<()> {
        for queue in 0..QUEUES {
            self.fill(queue)?;
        }
        self.take(server)
    }

    /// Makes the disk's cache a write-through one, or a write-back one again.
    pub fn switch_cache(&mut self, server: &Server) -> Result<()> {
        let mode = match self.write_through {
            true => CacheMode::WriteBack,
            false => CacheMode::WriteThrough,
        };
        // Killed while it was told.
        while let Err(error) = self.disk.set_cache_mode(mode) {
            eprintln!("the cache is switched at the next server: {error}");
            self.reconnect(server)?;
        }
        self.write_through = !self.write_through;
        self.switches += 1;
        Ok(())
    }

    /// The server is gone, and its storage has lost power: takes what had come back before, and goes on with another one, on
    /// which it finds what it may find, and nothing else.
    pub fn lose_power(
        &mut self,
        packed: bool,
        restart: impl FnOnce() -> Result<()>,
        server: &Server,
    ) -> Result<()> {
        while self.take_completed()? {}
        for outstanding in self.outstanding.iter_mut().filter_map(Option::take) {
            if let What::Write {
                sector,
                sectors,
                generation,
                ..
            } = outstanding.what
            {
                self.model.fail(sector, sectors, generation);
            }
        }
        self.model.lose_power();
        restart()?;
        self.disk = open_disk(packed, false, server)?;
        self.write_through = false;
        let mut sector = 0;
        while sector < SECTORS {
            let bytes = self.read_one(sector, LONGEST.min(SECTORS - sector), server)?;
            self.model.settle(sector, &bytes);
            sector += LONGEST;
        }
        Ok(())
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
            self.submit(queue, tag, what, request)?;
        }
        Ok(self.disk.publish(queue)?)
    }

    fn submit(&mut self, queue: u16, tag: usize, what: What, request: Request) -> Result<()> {
        let submitted = self.disk.submit(queue, request, tag as u64);
        submitted.map_err(|refused| anyhow!("request {tag}: {refused:?}"))?;
        let since = Instant::now();
        self.outstanding[tag] = Some(Outstanding { what, since });
        Ok(())
    }

    /// The next request, unless it would touch sectors that another one is at: which comes first is then not known.
    fn choose(&mut self) -> Result<Option<(What, Request)>> {
        if self.random.below(50) == 0 {
            return Ok(Some((What::Flush(self.model.now()), Request::flush())));
        }
        let zeroes = self.random.below(30) == 0;
        let longest = if zeroes { LONGEST_ZEROES } else { LONGEST };
        let block = u64::from(self.disk.geometry().block_size) / SECTOR_SIZE;
        let sectors = block * (1 + self.random.below(longest / block));
        let sector = block * self.random.below((SECTORS - sectors) / block + 1);
        if !self.model.lock(sector, sectors) {
            return Ok(None);
        }
        let write_through = self.write_through.then_some(self.switches);
        let write = |generation| What::Write {
            sector,
            sectors,
            generation,
            write_through,
        };
        if zeroes {
            let range = Range {
                sector,
                sectors: sectors as u32,
                unmap: true,
            };
            let buffer = self.disk.session().allocate(size_of::<DiscardWriteZeroes>())?;
            let ranges = Ranges::new(buffer, &[range]).map_err(|_| anyhow!("no room for a range"))?;
            return Ok(Some((write(0), Request::write_zeroes(ranges))));
        }
        let buffer = self.buffer(sectors)?;
        if self.random.below(2) == 0 {
            let what = What::Read { sector, sectors };
            return Ok(Some((what, Request::read(sector, buffer))));
        }
        let generation = self.model.next_generation();
        buffer.write(0, &self.model.stamps(sector, sectors, generation))?;
        Ok(Some((write(generation), Request::write(sector, buffer))))
    }

    fn buffer(&mut self, sectors: u64) -> Result<Buffer> {
        Ok(self.disk.session().allocate((sectors * SECTOR_SIZE) as usize)?)
    }

    /// Takes what is finished, and goes on with the next process if the one there was is gone.
    fn take(&mut self, server: &Server) -> Result<()> {
        let found = self.take_completed()?;
        for (tag, request) in self.outstanding.iter().enumerate() {
            let hung = request
                .as_ref()
                .is_some_and(|request| request.since.elapsed() > PATIENCE);
            ensure!(!hung, "request {tag} hangs");
        }
        if !found {
            self.reconnections += rest(&mut self.disk, server)?;
        }
        Ok(())
    }

    /// Takes what is finished; says whether anything is.
    fn take_completed(&mut self) -> Result<bool> {
        let mut found = false;
        for queue in 0..QUEUES {
            while let Some(completion) = self.disk.poll(queue)? {
                found = true;
                self.completed += 1;
                let place = self.outstanding.get_mut(completion.tag as usize);
                let outstanding = place
                    .and_then(Option::take)
                    .with_context(|| format!("request {} comes back again", completion.tag))?;
                match completion.result {
                    Ok(()) => self.succeeded(outstanding, completion.data)?,
                    Err(error) => self.fell_through(outstanding, error)?,
                }
            }
        }
        Ok(found)
    }

    fn succeeded(&mut self, outstanding: Outstanding, data: Data) -> Result<()> {
        self.trouble.succeeded(outstanding.since);
        match outstanding.what {
            What::Flush(asked) => self.model.flush(asked),
            What::Read { sector, sectors } => {
                let buffer = data.into_buffer().context("a read without its buffer")?;
                let mut bytes = vec![0; buffer.len()];
                buffer.read(0, &mut bytes)?;
                self.model.check(sector, &bytes)?;
                self.model.unlock(sector, sectors);
            }
            What::Write {
                sector,
                sectors,
                generation,
                write_through,
            } => {
                let stable = self.write_through && write_through == Some(self.switches);
                self.model.write(sector, sectors, generation, stable);
                self.model.unlock(sector, sectors);
            }
        }
        Ok(())
    }

    /// A request may fail in times of trouble, with the status for that.
    fn fell_through(&mut self, outstanding: Outstanding, error: BlockError) -> Result<()> {
        let flush = matches!(outstanding.what, What::Flush(_));
        let excused = error == BlockError::Io && self.trouble.excuses(outstanding.since, flush);
        ensure!(excused, "a request has failed: {error}");
        self.failed += 1;
        match outstanding.what {
            What::Flush(_) => {}
            What::Read { sector, sectors } => self.model.unlock(sector, sectors),
            What::Write {
                sector,
                sectors,
                generation,
                ..
            } => {
                self.model.fail(sector, sectors, generation);
                self.model.unlock(sector, sectors);
            }
        }
        Ok(())
    }

    fn reconnect(&mut self, server: &Server) -> Result<()> {
        self.reconnections += 1;
        reconnect(&mut self.disk, server)
    }

    /// Takes what is out, until nothing is.
    pub fn drain(&mut self, server: &Server) -> Result<()> {
        while self.outstanding.iter().any(Option::is_some) {
            self.take(server)?;
        }
        Ok(())
    }

    /// A flush, when nothing else is out.
    pub fn flush(&mut self, server: &Server) -> Result<()> {
        self.submit(0, 0, What::Flush(self.model.now()), Request::flush())?;
        self.disk.publish(0)?;
        self.drain(server)
    }

    /// Reads the whole disk.
    pub fn read_all(&mut self, server: &Server) -> Result<()> {
        let mut sector = 0;
        while sector < SECTORS {
            self.read_one(sector, LONGEST.min(SECTORS - sector), server)?;
            sector += LONGEST;
        }
        Ok(())
    }

    /// Reads and checks some sectors, when nothing else is out.
    fn read_one(&mut self, sector: u64, sectors: u64, server: &Server) -> Result<Vec<u8>> {
        let buffer = self.buffer(sectors)?;
        self.disk
            .submit(0, Request::read(sector, buffer), 0)
            .map_err(|refused| anyhow!("a read: {refused:?}"))?;
        self.disk.publish(0)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(completion) = self.disk.poll(0)? {
                completion.result.context("a read has failed")?;
                let buffer = completion
                    .data
                    .into_buffer()
                    .context("a read without its buffer")?;
                let mut bytes = vec![0; buffer.len()];
                buffer.read(0, &mut bytes)?;
                self.model.check(sector, &bytes)?;
                return Ok(bytes);
            }
            ensure!(Instant::now() < deadline, "a read hangs");
            self.reconnections += rest(&mut self.disk, server)?;
        }
    }
}

/// Waits a moment for something to be finished, and goes on with the next process if the one there was is gone. Says how often
/// that was.
pub fn rest(disk: &mut Block<Frontend>, server: &Server) -> Result<u32> {
    if (0..QUEUES).any(|queue| disk.enable_notifications(queue)) {
        return Ok(0);
    }
    let frontend = disk.session().transport();
    let waited = frontend.wait(None, Duration::from_millis(100));
    match waited.map(|_| ringwright_driver::Transport::take_interrupt(frontend)) {
        Ok(Ok(_)) => Ok(0),
        // Whatever is wrong, another process may do better; if none does, this ends there.
        Ok(Err(_)) | Err(_) => reconnect(disk, server).map(|()| 1),
    }
}

fn reconnect(disk: &mut Block<Frontend>, server: &Server) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stream = server.connect(deadline.saturating_duration_since(Instant::now()))?;
        match disk.session().transport().reconnect(stream) {
            Ok(()) => return Ok(()),
            // Killed while it was spoken to.
            Err(error) => ensure!(Instant::now() < deadline, "no process takes over: {error}"),
        }
    }
}

/// A disk at the server there is, with everything that the driver knows but these.
pub fn open_disk(packed: bool, in_order: bool, server: &Server) -> Result<Block<Frontend>> {
    let frontend = Frontend::new(server.connect(PATIENCE)?, FrontendOptions::new(DEVICE.id))?;
    let area = frontend.area().clone();
    let mut left_out = feature::RING_PACKED | feature::IN_ORDER;
    if packed {
        left_out = left_out - feature::RING_PACKED;
    }
    if in_order {
        left_out = left_out - feature::IN_ORDER;
    }
    let options = Options {
        accept: Options::default().accept - left_out,
        queue_size: 64,
        indirect: 0,
    };
    Ok(Block::new(frontend, &area, QUEUES, options)?)
}
