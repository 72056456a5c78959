//! The load through our own front-end on storage that loses power, and keeps nothing but what was made stable. The cache of
//! the disk is a write-back one or a write-through one, by turns.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringwright_spec::block::SECTOR_SIZE;

use crate::Common;
use crate::load::{Load, SECTORS};
use crate::model::Random;
use crate::server::Server;
use crate::store::Store;
use crate::trouble::Trouble;

/// Name of the image.
const IMAGE: &str = "disk.img";
/// How long the power stays, in milliseconds.
const LEAST: u64 = 50;
const MOST: u64 = 500;

/// What to ask for.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The server goes past the page cache.
    #[arg(long)]
    direct: bool,
    /// The disk is in a qcow2 image.
    #[arg(long, requires = "qemu_img")]
    qcow2: bool,
    /// The program `qemu-img`, for that.
    #[arg(long)]
    qemu_img: Option<PathBuf>,
}

/// Runs the load until the last loss, and says what happened.
pub fn run(args: &Args) -> Result<serde_json::Value> {
    let common = &args.common;
    let folder = common.folder.join("storage");
    std::fs::create_dir(&folder)?;
    let image = folder.join(IMAGE);
    let store = Store::new(vec![(IMAGE.into(), new_image(args)?)], common.seed);
    let mut mounted = Some(store.mount(&folder)?);
    let mut options = Vec::new();
    if args.direct {
        // What FUSE does not say is taken to be as coarse as it gets.
        options.extend(["--direct", "--block-size", "4096"].map(String::from));
    }
    if args.qcow2 {
        options.extend(["--format", "qcow2"].map(String::from));
    }
    let server = Server::start(&common.server, &image, common.folder.join("disk.sock"), options)?;
    let start = Instant::now();
    let mut load = Load::open(common, false, &server, Trouble::default())?;
    let mut random = Random(common.seed);
    let (mut losses, mut repairs) = (0, 0);
    while losses < common.kills {
        // Before the power goes, the server alone may end, and the next one goes on.
        for more in (0..=random.below(3)).rev() {
            let end = Instant::now() + Duration::from_millis(LEAST + random.below(MOST - LEAST + 1));
            while Instant::now() < end {
                load.step(&server)?;
                if random.below(300) == 0 {
                    load.switch_cache(&server)?;
                }
            }
            if more > 0 {
                server.kill_once()?;
            }
        }
        store.freeze();
        server.power_off(|| store.lose());
        losses += 1;
        let restart = || {
            drop(mounted.take());
            if args.qcow2 {
                repairs += u64::from(repair_qcow2(args, &store)? > 0);
            }
            mounted = Some(store.mount(&folder)?);
            server.start_again()
        };
        load.lose_power(common.packed, restart, &server)
            .with_context(|| format!("after loss {losses} of power"))?;
    }
    let (_, flushes) = store.counts();
    let kills = server.end()?;
    drop(mounted);
    Ok(serde_json::json!({
        "losses_of_power": losses,
        "kills": kills,
        "requests": load.completed,
        "flushes_of_the_image": flushes,
        "images_repaired": repairs,
        "switches_of_the_cache": load.switches,
        "sectors_written": load.model.written(),
        "sectors_compared": load.model.compared(),
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

/// The content of a new image.
fn new_image(args: &Args) -> Result<Vec<u8>> {
    let size = SECTORS * SECTOR_SIZE;
    let Some(program) = args.qemu_img.as_ref().filter(|_| args.qcow2) else {
        return Ok(vec![0; size as usize]);
    };
    let file = args.common.folder.join("new.qcow2");
    let mut command = Command::new(program);
    command.args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096"]);
    let status = command.arg(&file).arg(size.to_string()).status()?;
    ensure!(status.success(), "qemu-img makes no image");
    Ok(std::fs::read(file)?)
}

/// Repairs a qcow2 image after a loss of power, as its owner would; says how much there was to mend.
fn repair_qcow2(args: &Args, store: &Store) -> Result<u64> {
    let program = args.qemu_img.as_ref().context("no --qemu-img given")?;
    let file = args.common.folder.join("lost.qcow2");
    std::fs::write(&file, store.content(IMAGE).context("no image")?)?;
    let mut command = Command::new(program);
    command
        .args(["check", "-r", "all", "--output", "json"])
        .arg(&file);
    let output = command.output()?;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).context("what qemu-img says")?;
    let number = |field: &str| found[field].as_u64().unwrap_or(0);
    ensure!(
        number("corruptions") == 0 && number("leaks") == 0 && number("check-errors") == 0,
        "the image cannot be repaired: {found}"
    );
    store.replace(IMAGE, std::fs::read(&file)?);
    Ok(number("corruptions-fixed"))
}
