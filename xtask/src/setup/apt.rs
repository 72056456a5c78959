//! Debian packages without installing them: apt resolves, downloads and verifies against a state of its own.
//!
//! Nothing here needs root, and neither the host's package lists nor its installed packages are touched. The mirror
//! is the one that the host's own apt configuration names; what comes from it must carry a signature by Debian's
//! archive keys, so a wrong guess fails rather than harms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{find, output};

/// Names a Debian mirror, for a host whose apt configuration has none.
const MIRROR_VARIABLE: &str = "RINGWRIGHT_DEBIAN_MIRROR";

/// Packages counted as installed already. The others depend on them for installation, configuration or compiling,
/// and none of that happens here: programs are only unpacked and run.
const NOT_WANTED: &[&str] = &[
    "adduser",
    "base-passwd",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "initramfs-tools",
    "kmod",
    "libdpdk-dev",
    "linux-base",
    "login.defs",
    "passwd",
    "perl-base",
    "python3",
    "sse4.2-support",
    "systemd",
    "tar",
    "udev",
];

/// Parts of a package that a program does not read when it runs.
const NOT_UNPACKED: &[&str] = &[
    "doc",
    "info",
    "lintian",
    "locale",
    "man",
    "bug",
    "bash-completion",
];

/// A Debian release that packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
    /// Debian 13 with its backports preferred.
    TrixieBackports,
    /// Debian 13 for another processor than this one: packages for guests.
    TrixieFor(Architecture),
    /// The same of Debian 12.
    BookwormFor(Architecture),
}

/// A processor, by the name that Debian has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64, which runs everything but the guests of other machines.
    Amd64,
    /// ARM of 64 bits.
    Arm64,
    /// RISC-V of 64 bits.
    Riscv64,
    /// IBM Z.
    S390x,
}

impl Architecture {
    /// Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
            Architecture::Riscv64 => "riscv64",
            Architecture::S390x => "s390x",
        }
    }
}

impl Release {
    /// The apt state that holds its package lists.
    pub fn state(self) -> String {
        let suite = self.suites()[0];
        match self.architecture() {
            Architecture::Amd64 => suite.into(),
            other => format!("{suite}-{}", other.name()),
        }
    }

    /// The processor that its packages are for.
    pub fn architecture(self) -> Architecture {
        match self {
            Release::TrixieFor(architecture) | Release::BookwormFor(architecture) => architecture,
            _ => Architecture::Amd64,
        }
    }

    /// The name that apt knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Release::Bookworm | Release::BookwormFor(_) => "bookworm",
            Release::Trixie | Release::TrixieFor(_) => "trixie",
            Release::TrixieBackports => "trixie-backports",
        }
    }

    /// The suites in one apt state with this release.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Release::Bookworm => &["bookworm", "bookworm-updates"],
            Release::Trixie | Release::TrixieBackports => &["trixie", "trixie-updates", "trixie-backports"],
            Release::TrixieFor(_) => &["trixie"],
            Release::BookwormFor(_) => &["bookworm"],
        }
    }
}

/// What a download would bring.
pub struct Plan {
    /// How many packages.
    pub packages: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// The package lists of one Debian release in a private apt state.
pub struct Archive {
    state: PathBuf,
}

impl Archive {
    /// Fetches the lists for `release` into a folder of their own below `folder`.
    pub fn open(folder: &Path, release: Release) -> Result<Archive> {
        if find("apt-get").is_none() || find("dpkg-deb").is_none() {
            bail!("this needs apt-get and dpkg-deb (Debian, Ubuntu or a relative of theirs)");
        }
        let archive = Archive {
            state: folder.join(release.state()),
        };
        let architecture = release.architecture();
        eprintln!("  fetching the package lists of Debian {}", release.state());
        fs::create_dir_all(archive.state.join("lists/partial"))?;
        fs::create_dir_all(archive.state.join("cache"))?;
        fs::write(
            archive.state.join("apt.conf"),
            configuration(&archive.state, architecture),
        )?;
        fs::write(archive.state.join("status"), assumed_installed(architecture))?;
        let keys = keyring()?;
        let mut refusal = None;
        for mirror in mirrors()? {
            let sources: String = release
                .suites()
                .iter()
                .map(|suite| {
                    format!(
                        "deb [arch={} target=Packages signed-by={}] {mirror} {suite} main\n",
                        architecture.name(),
                        keys.display()
                    )
                })
                .collect();
            fs::write(archive.state.join("sources.list"), sources)?;
            match output(archive.apt("apt-get").arg("update").args(["--error-on=any"])) {
                Ok(_) => {
                    output(archive.apt("apt-cache").arg("gencaches"))?;
                    return Ok(archive);
                }
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(no_mirror)).context("cannot fetch Debian's package lists")
    }

    /// What `packages` and all they depend on amount to.
    pub fn plan(&self, release: Release, packages: &[&str]) -> Result<Plan> {
        let listing = output(self.install(release, packages).arg("--print-uris"))?;
        // A line reads: 'address' file-name bytes checksum.
        let sizes = listing
            .lines()
            .filter(|line| line.starts_with('\''))
            .map(|line| line.split_whitespace().nth(2));
        let sizes: Vec<u64> = sizes
            .map(|size| size.and_then(|size| size.parse().ok()).unwrap_or(0))
            .collect();
        Ok(Plan {
            packages: sizes.len(),
            bytes: sizes.iter().sum(),
        })
    }

    /// Downloads `packages` and all they depend on, checks them, and unpacks them into `root`. Returns the names of
    /// the package files, which carry the versions.
    pub fn unpack(&self, release: Release, packages: &[&str], root: &Path) -> Result<Vec<String>> {
        let downloads = root.join("download");
        fs::create_dir_all(downloads.join("partial"))?;
        let mut directory = std::ffi::OsString::from("Dir::Cache::archives=");
        directory.push(&downloads);
        output(
            self.install(release, packages)
                .arg("--download-only")
                .arg("-o")
                .arg(directory),
        )?;
        // The folders that Debian merged into /usr, so that packages from before the merger end up in one place.
        for folder in ["bin", "lib", "lib64", "sbin"] {
            fs::create_dir_all(root.join("usr").join(folder))?;
            std::os::unix::fs::symlink(Path::new("usr").join(folder), root.join(folder))?;
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&downloads)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                unpack_one(&file, root)?;
                names.extend(file.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
        }
        fs::remove_dir_all(&downloads)?;
        names.sort();
        Ok(names)
    }

    fn install(&self, release: Release, packages: &[&str]) -> Command {
        let mut command = self.apt("apt-get");
        command
            .args([
                "install",
                "--yes",
                "--no-install-recommends",
                "-t",
                release.name(),
            ])
            .args(packages);
        command
    }

    /// `program` of the apt family, pointed at this state instead of the host's.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.state.join("apt.conf"))
            .arg("-q")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// The part of apt's configuration that differs from the host's; proxies and the like stay as the host has them.
fn configuration(state: &Path, architecture: Architecture) -> String {
    let (state, architecture) = (state.display(), architecture.name());
    format!(
        r#"Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
// apt's own user could not write below a folder that only this user may enter.
APT::Sandbox::User "root";
// Downloads into separate folders run at the same time.
Debug::NoLocking "true";
Acquire::Languages "none";
Acquire::Retries "3";
"#
    )
}

/// A dpkg status file that claims [`NOT_WANTED`], each newer than any dependency asks for.
fn assumed_installed(architecture: Architecture) -> String {
    let architecture = architecture.name();
    let entry = |package: &&str| {
        format!(
            "Package: {package}\nStatus: install ok installed\nVersion: 9999:1\nArchitecture: {architecture}\n\
             Multi-Arch: foreign\nMaintainer: none\nDescription: not wanted\n\n"
        )
    };
    NOT_WANTED.iter().map(entry).collect()
}

/// The mirrors to try: the one the environment names, or those of the host's configuration that may be Debian's.
fn mirrors() -> Result<Vec<String>> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return Ok(vec![mirror]);
    }
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(CREATED_BY)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let mirrors = mirrors_in(&targets);
    if mirrors.is_empty() {
        return Err(no_mirror());
    }
    Ok(mirrors)
}

/// The mirrors among lines of address, release, component and kind that have a release of Debian's name.
fn mirrors_in(targets: &str) -> Vec<String> {
    let mut mirrors = Vec::new();
    for line in targets.lines() {
        let [mirror, release, "main", "Packages"] = line.split(' ').collect::<Vec<_>>()[..] else {
            continue;
        };
        let known = [
            "bullseye",
            "bookworm",
            "trixie",
            "forky",
            "sid",
            "oldstable",
            "stable",
            "testing",
            "unstable",
        ];
        if known.contains(&release) && !mirrors.iter().any(|seen| seen == mirror) {
            mirrors.push(mirror.to_owned());
        }
    }
    mirrors
}

fn no_mirror() -> anyhow::Error {
    anyhow::anyhow!(
        "this system's apt configuration names no Debian mirror; set {MIRROR_VARIABLE} to the address of one"
    )
}

/// Debian's archive keys, as this host has them.
fn keyring() -> Result<PathBuf> {
    let names = ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"];
    let found = names
        .iter()
        .map(|name| Path::new("/usr/share/keyrings").join(name))
        .find(|path| path.is_file());
    found.context("Debian's archive keys are missing: install the package debian-archive-keyring")
}

/// Unpacks one package file into `root`, without documentation and without owners.
fn unpack_one(package: &Path, root: &Path) -> Result<()> {
    let mut source = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let mut sink = Command::new("tar");
    sink.args([
        "--extract",
        "--no-same-owner",
        "--keep-directory-symlink",
        "--directory",
    ])
    .arg(root);
    sink.args(
        NOT_UNPACKED
            .iter()
            .map(|folder| format!("--exclude=./usr/share/{folder}/*")),
    );
    sink.stdin(source.stdout.take().context("dpkg-deb has no output")?);
    let unpacked = sink.status().context("cannot start tar")?;
    let read = source.wait()?;
    if !unpacked.success() || !read.success() {
        bail!(
            "cannot unpack {}: dpkg-deb ended with {read}, tar with {unpacked}",
            package.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_those_with_a_release_of_debian() {
        let targets = "http://a.example/debian/ trixie main Packages\n\
                       http://a.example/debian/ trixie main DEP-11\n\
                       http://a.example/debian/ trixie main Packages\n\
                       http://b.example/debian-security/ trixie-security main Packages\n\
                       http://c.example/other/ stable contrib Packages\n\
                       http://d.example/ubuntu/ noble main Packages\n";
        assert_eq!(mirrors_in(targets), ["http://a.example/debian/"]);
        assert!(mirrors_in("").is_empty());
    }

    #[test]
    fn the_status_file_has_a_paragraph_for_each_package() {
        assert_eq!(
            assumed_installed(Architecture::Riscv64).matches("\n\n").count(),
            NOT_WANTED.len()
        );
    }
}
