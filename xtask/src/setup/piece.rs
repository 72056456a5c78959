//! One part of the peers folder, set up whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::apt::{Archive, Release};
use super::{Peers, Scope};

/// Raised when the way a piece is set up changes, so that folders set up the old way are set up again.
const RECIPE: u32 = 1;

/// Some Debian packages and what is done with them.
pub struct Piece<'a> {
    /// A short name, also that of its folder and stamp.
    pub name: &'a str,
    /// What a reader should call it.
    pub what: &'a str,
    /// What needs it.
    pub scopes: &'a [Scope],
    /// Where the packages come from.
    pub release: Release,
    /// The packages, each with `=` and a version where it has to be one; what they depend on follows. The first one's
    /// version is shown as the piece's.
    pub packages: &'a [&'a str],
    /// Makes the unpacked packages usable, and tries them.
    pub finish: fn(&Unpacked) -> Result<()>,
}

/// A piece's unpacked packages.
pub struct Unpacked<'a> {
    /// The folder that everything goes to.
    pub peers: &'a Peers,
    /// The folder that the packages were unpacked to.
    pub root: PathBuf,
}

impl Unpacked<'_> {
    /// A folder `name` of the peers folder, made empty.
    pub fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.peers.folder().join(name);
        remove(&folder)?;
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Piece<'_> {
    /// Whether `scope` needs this piece.
    pub fn serves(&self, scope: Scope) -> bool {
        let whole = scope == Scope::Engines && self.scopes.contains(&Scope::Boot);
        scope == Scope::All || whole || self.scopes.contains(&scope)
    }

    /// Whether it is set up, in this place and in this way.
    pub fn is_ready(&self, peers: &Peers) -> bool {
        self.stamp(peers)
            .is_some_and(|stamp| stamp.lines().next() == Some(&self.recipe(peers)))
    }

    /// The package that it came from and its version, if it is set up.
    pub fn version(&self, peers: &Peers) -> Option<String> {
        self.stamp(peers)
            .filter(|_| self.is_ready(peers))?
            .lines()
            .nth(1)
            .map(str::to_owned)
    }

    /// Fetches, unpacks and finishes it. The stamp comes last, so that an interrupted set-up starts again.
    pub fn install(&self, peers: &Peers, archive: &Archive) -> Result<()> {
        let started = Instant::now();
        let root = peers.folder().join("roots").join(self.name);
        let stamp = self.stamp_path(peers);
        remove(&stamp)?;
        remove(&root)?;
        fs::create_dir_all(&root)?;
        let plan = archive.plan(self.release, self.packages)?;
        let megabytes = plan.bytes.div_ceil(1_000_000);
        eprintln!(
            "  fetching {} ({} packages, {megabytes} MB)",
            self.what, plan.packages
        );
        let files = archive.unpack(self.release, self.packages, &root)?;
        (self.finish)(&Unpacked { peers, root })?;
        let (main, _) = self.packages[0].split_once('=').unwrap_or((self.packages[0], ""));
        let main = files.iter().find(|file| file.starts_with(&format!("{main}_")));
        let main = main.context("apt brought everything but the package asked for")?;
        // Names read PACKAGE_VERSION_ARCHITECTURE.deb, with the colon of a version escaped.
        let version = main
            .rsplit_once('_')
            .map_or(main.as_str(), |(front, _)| front)
            .replace("%3a", ":");
        fs::create_dir_all(peers.folder().join("stamps"))?;
        fs::write(
            stamp,
            format!("{}\n{}\n", self.recipe(peers), version.replacen('_', " ", 1)),
        )?;
        eprintln!(
            "  {} is ready ({:.0} s)",
            self.what,
            started.elapsed().as_secs_f32()
        );
        Ok(())
    }

    /// What the result depends on. The place is part of it because some files name their neighbours by full path.
    fn recipe(&self, peers: &Peers) -> String {
        format!(
            "{RECIPE} {} {} {}",
            peers.folder().display(),
            self.release.name(),
            self.packages.join(" ")
        )
    }

    fn stamp(&self, peers: &Peers) -> Option<String> {
        fs::read_to_string(self.stamp_path(peers)).ok()
    }

    fn stamp_path(&self, peers: &Peers) -> PathBuf {
        peers.folder().join("stamps").join(self.name)
    }
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_ready_only_with_the_stamp_of_its_recipe_and_place() {
        let folder = tempfile::tempdir().expect("folder");
        let peers = Peers {
            folder: folder.path().to_path_buf(),
        };
        let piece = Piece {
            name: "thing",
            what: "a thing",
            scopes: &[Scope::Test],
            release: Release::Trixie,
            packages: &["thing"],
            finish: |_| Ok(()),
        };
        assert!(!piece.is_ready(&peers));
        fs::create_dir(folder.path().join("stamps")).expect("stamps");
        let stamp = |text: String| fs::write(folder.path().join("stamps/thing"), text).expect("stamp");
        stamp(format!("{}\nthing 1.0\n", piece.recipe(&peers)));
        assert!(piece.is_ready(&peers));
        assert_eq!(piece.version(&peers).as_deref(), Some("thing 1.0"));
        stamp(format!("{RECIPE} /elsewhere trixie thing\nthing 1.0\n"));
        assert!(!piece.is_ready(&peers));
        assert!(piece.serves(Scope::Test) && piece.serves(Scope::All) && !piece.serves(Scope::Boot));
    }
}
