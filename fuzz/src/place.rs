//! Where the files are that a fuzz target needs.

use std::path::Path;

use tempfile::TempDir;

/// A folder of its own, in memory if that is possible.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.expect("a folder")
}
