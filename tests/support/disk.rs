//! A disk that can be filled.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::{TempDir, tempdir};

/// A file system of its own that is soon full.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn mount(mebibytes: u64) -> Self {
        let at = tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at.path()).status();
        assert!(mounted.unwrap().success(), "this test mounts a small tmpfs, so it runs as root");
        Self(at)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.path().display());
    }
}

/// Leaves not a byte to anybody.
pub fn fill_with_foreign(file: &mut File) {
    let block = vec![1; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..512]).is_ok() {}
}
