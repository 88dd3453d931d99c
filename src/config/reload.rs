//! From a changed file to a new configuration, whole or not at all.

use super::diff::{Change, ChangedKey, classify};
use super::env::Lookup;
use super::problem::{Problem, Problems};
use super::settings::Settings;
use super::yaml::{self, Node};
use super::{Loaded, parse_file};

/// What a reload comes to.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The file is valid and changes what it may: put `loaded` in force.
    Applied {
        /// The new configuration.
        loaded: Loaded,
        /// What is different about it.
        changed: Vec<ChangedKey>,
    },
    /// The file is valid and says what is in force already. Its comments may have changed, and with them its hash.
    Unchanged(Loaded),
    /// The file is not valid, or changes what needs a restart. What is in force stays.
    Refused(Problems),
}

/// Judges `bytes`, the content of `file`, as the successor of `current`.
///
/// Reads the secret files it names, so it may block for as long as that takes.
#[must_use]
pub fn reload(current: &Settings, bytes: &[u8], file: &str, env: Lookup<'_>) -> ReloadOutcome {
    let loaded = match parse_file(bytes, file, env) {
        Ok(loaded) => loaded,
        Err(problems) => return ReloadOutcome::Refused(problems),
    };
    match classify(current, &loaded.settings) {
        Change::None => ReloadOutcome::Unchanged(loaded),
        Change::Live(changed) => ReloadOutcome::Applied { loaded, changed },
        Change::NeedsRestart(keys) => {
            let text = String::from_utf8_lossy(bytes);
            let root = yaml::parse(&text).0;
            let problems = keys.iter().map(|key| needs_restart(key, root.as_ref())).collect();
            Problems::of(file, problems).map_or(ReloadOutcome::Unchanged(loaded), ReloadOutcome::Refused)
        }
    }
}

/// Points at the key, or at no place if it was taken out of the file.
fn needs_restart(ChangedKey { path, old, new }: &ChangedKey, root: Option<&Node>) -> Problem {
    let message = format!("`{path}` needs a restart to change (from {old} to {new}); nothing was changed");
    Problem { at: root.and_then(|root| root.place_of(path)), ..Problem::with_file(message) }
        .hint("restart to put the whole file in force, or set the key back")
}
