//! The key under which user names are hashed in metrics and logs: kept beside the store, so that a user has the same
//! label after a restart, and nobody without the file can guess names from labels.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::session::Generator;

const FILE: &str = "user-label.key";

/// The key of the store in `directory`, made at the first start. If it cannot be kept, labels change with the next
/// restart, which is no reason not to start.
pub(super) fn keep(directory: &Path, generator: &dyn Generator) -> [u8; 32] {
    let path = directory.join(FILE);
    if let Ok(Ok(key)) = fs::read(&path).map(<[u8; 32]>::try_from) {
        return key;
    }
    let mut key = [0; 32];
    generator.fill(&mut key);
    if let Err(error) = write(&path, &key) {
        tracing::warn!(%error, file = %path.display(), "user labels in metrics will change with the next restart");
    }
    key
}

fn write(path: &Path, key: &[u8; 32]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::OsGenerator;

    #[test]
    fn the_key_is_kept_for_its_owner_only_and_a_broken_one_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let key = keep(directory.path(), &OsGenerator);
        assert_eq!(keep(directory.path(), &OsGenerator), key);
        let file = directory.path().join(FILE);
        assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
        fs::write(&file, "short").expect("writes");
        assert_ne!(keep(directory.path(), &OsGenerator), key);
    }
}
