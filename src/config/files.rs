//! Reading small files: the configuration itself, and secrets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::settings::Secret;
use super::yaml;

/// The most bytes of a secret, its newline included.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Why a file was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("does not exist")]
    Missing,
    /// A directory, a pipe, a device. A pipe could keep the reader waiting for ever.
    #[error("is not a regular file")]
    NotAFile,
    /// It is longer than allowed.
    #[error("is too long; at most {0} bytes are read")]
    TooLong(usize),
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Reads a regular file of at most `max` bytes.
fn read(path: &Path, max: usize) -> Result<Vec<u8>, ReadError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(ReadError::TooLong(max)) } else { Ok(bytes) }
}

/// Reads a configuration file.
///
/// # Errors
/// If there is none, if it is longer than [`yaml::MAX_BYTES`], or if the system refuses.
pub fn read_config(path: &Path) -> Result<Vec<u8>, ReadError> {
    read(path, yaml::MAX_BYTES)
}

/// Reads a secret; one newline at its end is not part of it.
///
/// # Errors
/// What is wrong with the file, as a predicate that never holds any of it.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let mut bytes = read(path, MAX_SECRET_BYTES).map_err(|error| error.to_string())?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("is an empty file; a secret must not be empty".to_owned());
    }
    Ok(Secret::new(bytes))
}
