//! The store's directory: owner-only, and this process's alone.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenError;

const OWNER_ONLY_DIRECTORY: u32 = 0o700;
const OWNER_ONLY_FILE: u32 = 0o600;
/// The bits that let anybody else in.
const OTHERS: u32 = 0o077;

/// The directory, held for as long as this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The kernel gives the lock up with the file, however the process ends.
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A child that has just been forked has the file as well, until it becomes another program.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Makes the directory if need be, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { path: path.to_owned(), source };
        let lock_path = path.join("sessgate.lock");
        DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIRECTORY).create(path).map_err(unusable)?;
        let ours = lock_path.exists() || fs::read_dir(path).map_err(unusable)?.next().is_none();
        let lock = open_owner_only(&lock_path).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // A directory that holds other people's files as well, `/tmp` say, is not ours to close to them.
        if ours {
            tighten(path).map_err(unusable)?;
        } else {
            tracing::warn!(path = %path.display(), "the store shares its directory; its files are owner-only");
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes sure that a file is there and owner-only, and that its name outlives a power cut.
    pub(super) fn secure(&self, path: &Path) -> Result<(), OpenError> {
        let secured = || {
            let file = open_owner_only(path)?;
            if file.metadata()?.permissions().mode() & OTHERS != 0 {
                file.set_permissions(Permissions::from_mode(OWNER_ONLY_FILE))?;
            }
            file.sync_all()?;
            File::open(&self.path)?.sync_all()
        };
        secured().map_err(|source| OpenError::Directory { path: path.to_owned(), source })
    }
}

/// Opens a file for writing, owner-only if it is made by this.
pub(super) fn open_owner_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY_FILE).open(path)
}

/// Closes the directory to others. One that belongs to somebody else, as a volume in a container may, stays as it is.
fn tighten(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY_DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), "the store's directory is open to others and not ours to close");
            Ok(())
        }
        outcome => outcome,
    }
}
