//! How far an import from Redis has come, in a small file, so that it can go on after an interruption.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Failure;
use super::tally::Tally;
use crate::config::ContentHash;

/// How far it has come: every key of the pages before `cursor` is on the target, or counted.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// From where to where, without passwords.
    pub(super) route: String,
    /// Which process of the source has given the cursor.
    pub(super) process: Option<String>,
    /// Which store of the target has the keys.
    #[serde(default)]
    pub(super) store: Option<String>,
    /// Where its `SCAN` goes on.
    pub(super) cursor: String,
    pub(super) tally: Tally,
}

/// Where it is kept.
pub(super) struct StateFile {
    path: PathBuf,
    route: String,
}

impl StateFile {
    /// A file that was asked for; or else one of a name of its own in `directory` if that is there, and here if not.
    pub(super) fn new(asked_for: Option<&Path>, directory: &Path, route: String) -> Self {
        let path = asked_for.map_or_else(
            || {
                let directory = if directory.is_dir() { directory } else { Path::new(".") };
                directory.join(format!("import-{}.json", ContentHash::of(route.as_bytes())))
            },
            Path::to_owned,
        );
        Self { path, route }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier import has left. What cannot be read, as after a power cut, is as good as nothing: to begin
    /// anew costs time only.
    pub(super) fn load(&self) -> Result<Option<State>, Failure> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failure(source)),
        };
        match serde_json::from_slice::<State>(&bytes) {
            Ok(state) if state.route == self.route => Ok(Some(state)),
            Ok(state) => Err(Failure::OtherImport { path: self.path.clone(), route: state.route }),
            Err(_) => Ok(None),
        }
    }

    /// Keeps it, whole or not at all.
    pub(super) fn save(
        &self,
        process: Option<&str>,
        store: Option<&str>,
        cursor: &str,
        tally: &Tally,
    ) -> Result<(), Failure> {
        let state = State {
            route: self.route.clone(),
            process: process.map(str::to_owned),
            store: store.map(str::to_owned),
            cursor: cursor.to_owned(),
            tally: tally.clone(),
        };
        let bytes = serde_json::to_vec(&state).map_err(|error| self.failure(error.into()))?;
        let new = self.path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&bytes)?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|source| self.failure(source))
    }

    /// Says that the import is done.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failure(error)),
            _ => Ok(()),
        }
    }

    fn failure(&self, source: io::Error) -> Failure {
        Failure::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_kept_for_its_owner_only_and_of_its_own_import_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::new(None, directory.path(), "a to b".to_owned());
        assert_eq!(file.load().expect("nothing is fine"), None);
        let tally = Tally { moved: 5, ..Tally::default() };
        file.save(Some("p1"), Some("s1"), "17", &tally).expect("it is written");
        let state = file.load().expect("it is read").expect("it is there");
        assert_eq!((state.process.as_deref(), state.store.as_deref()), (Some("p1"), Some("s1")));
        assert_eq!((state.cursor.as_str(), state.tally), ("17", tally));
        assert_eq!(fs::metadata(file.path()).expect("is there").permissions().mode() & 0o777, 0o600);

        let other = StateFile::new(Some(file.path()), directory.path(), "a to c".to_owned());
        assert!(matches!(other.load(), Err(Failure::OtherImport { .. })));
        fs::write(file.path(), "{\"route\"").expect("writes");
        assert_eq!(file.load().expect("as good as nothing"), None);
        file.remove().and_then(|()| file.remove()).expect("once or twice");
    }
}
