//! Room kept back for a full disk.
//!
//! SQLite needs room even to remove: the change goes to the write-ahead log first. So a file of [`RESERVE_BYTES`]
//! lies in the directory for nothing but to be given up when the disk is full. From then on nothing may grow; what
//! is needed to end sessions, save activity and copy the log into the database lives on the room it leaves.
//!
//! How much that is. When the disk fills up, the log holds at most [`CHECKPOINT_PAGES`](super::schema) (4 MiB) and
//! the batch that was being committed (2 MiB of data or one command, at most about 8 MiB with its index pages). All
//! of it may be pages that the database has yet to grow by: up to 12 MiB. Once it is copied, the log keeps its 4 MiB,
//! which nobody else can take: each command is then committed and copied alone and touches at most [`STEP_WHEN_FULL`]
//! sessions, about 640 pages, so that those 4 MiB are used over and over.
//!
//! Creation resumes when the reserve fits again, or when ended sessions have left more room than that in the database.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directory::open_owner_only;
use crate::clock::Timestamp;
use crate::store::LEAST_STEP;

/// How much is kept back.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Sessions that one command ends or saves while the disk is full.
pub(super) const STEP_WHEN_FULL: usize = LEAST_STEP;

/// The reserve is back when it and half of it again fit: the disk is not merely full of what was just let go.
const MARGIN_DIVISOR: u64 = 2;

/// How often room is looked for: an attempt writes until the disk is full.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Bytes written at once.
const BLOCK: usize = 256 * 1024;

/// The file, and whether it has been given up.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    spent: bool,
    tried: Option<Timestamp>,
}

impl Reserve {
    /// Makes sure that the reserve is there. If it does not fit, it counts as given up.
    pub(super) fn keep(path: PathBuf, bytes: u64) -> Self {
        let kept = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes);
        let mut reserve = Self { path, bytes, spent: !kept, tried: None };
        if !kept {
            reserve.restore();
        }
        reserve
    }

    /// Whether it has been given up: the disk is full.
    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }

    /// How large it is meant to be.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives it up.
    pub(super) fn spend(&mut self) {
        self.spent = true;
        discard(&self.path);
    }

    /// Tries to get it back, at most once a [`RETRY_EVERY`]. Says whether it is there.
    pub(super) fn regain(&mut self, now: Timestamp) -> bool {
        let recently = |tried: Timestamp| now >= tried && now.since(tried) < RETRY_EVERY;
        if self.spent && !self.tried.is_some_and(recently) {
            self.tried = Some(now);
            self.restore();
        }
        !self.spent
    }

    fn restore(&mut self) {
        match fill(&self.path, self.bytes) {
            Ok(()) => self.spent = false,
            Err(error) => {
                tracing::warn!(%error, "no room for the store's reserve: nothing that grows is stored");
                self.spend();
            }
        }
    }
}

/// Whether the system refuses to write a small file for want of room or quota.
pub(super) fn is_disk_full(directory: &Path) -> bool {
    let probe = directory.join("probe");
    let outcome = write_blocks(&probe, BLOCK as u64);
    discard(&probe);
    outcome.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
    })
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let file = write_blocks(path, bytes + bytes / MARGIN_DIVISOR)?;
    file.set_len(bytes)?;
    file.sync_all()
}

/// Writes so many bytes, all of them: a hole would take no room, nor, on some file systems, would zeros.
fn write_blocks(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = open_owner_only(path)?;
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            // xorshift64 (Marsaglia 2003): cheap, and nothing compresses it.
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes());
        }
        let part = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.sync_all()?;
    Ok(file)
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "cannot remove a file of the store");
    }
}
