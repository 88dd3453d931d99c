//! The configuration: one YAML file, live where it can be.
//!
//! Text becomes a located tree ([`yaml`]), the tree is read along the declared keys (`keys`, `together`, `reader`,
//! `kinds`, [`units`], [`mod@env`]) into [`Settings`], and every [`Problem`] on the way is told. [`diff`] says what a change
//! takes, [`reload()`] decides, [`watch`] notices. [`schema()`] and [`effective()`] show it to editors and operators.

use std::path::Path;
use std::{fmt, io};

use sha2::{Digest, Sha256};

pub mod diff;
mod effective;
pub mod env;
pub mod files;
mod keys;
mod kinds;
pub mod problem;
mod reader;
mod reload;
mod schema;
pub mod settings;
mod together;
pub mod units;
pub mod watch;
pub mod yaml;

pub use diff::{Change, ChangedKey, classify};
pub use effective::{effective, live_hash};
pub use files::{ReadError, read_config};
pub use problem::{Position, Problem, Problems};
pub use reload::{ReloadOutcome, reload};
pub use schema::schema;
pub use settings::Settings;
pub use watch::Watcher;

use env::Lookup;

/// A configuration that was read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What it is, to the byte.
    pub hash: ContentHash,
}

/// The SHA-256 of a configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// Its first 48 bits in hexadecimal.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// The documented defaults, which are also what an empty document says.
impl Default for Settings {
    fn default() -> Self {
        keys::read(None, &|_| None, Vec::new()).0
    }
}

/// The process's environment, as [`parse`] asks for it. A variable that is no UTF-8 counts as not set.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and validates the configuration file at `path`, with the process's environment.
///
/// # Errors
/// All problems, if the file is missing, unreadable, empty or invalid.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let bytes = files::read_config(path).map_err(|error| unreadable(&file, &error))?;
    parse_file(&bytes, &file, &process_env)
}

/// The same for a file that need not be there; `None` if it is not. A link that leads nowhere counts as there.
///
/// # Errors
/// All problems, if there is a file and it is unreadable, empty or invalid.
pub fn load_if_present(path: &Path) -> Result<Option<Loaded>, Problems> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => load(path).map(Some),
    }
}

/// What is told of a file that cannot be read.
#[must_use]
pub fn unreadable(file: &str, error: &ReadError) -> Problems {
    Problems::one(file, Problem::with_file(format!("the file {error}")))
}

/// Validates the content of a configuration file.
///
/// A file without any key is refused, because it is more likely to be half-written than meant; `{}` asks for the
/// defaults.
///
/// # Errors
/// All problems.
pub fn parse_file(bytes: &[u8], file: &str, env: Lookup<'_>) -> Result<Loaded, Problems> {
    let text = utf8(bytes).map_err(|problem| Problems::one(file, problem))?;
    let (root, problems) = yaml::parse(text);
    if root.as_ref().is_none_or(yaml::Node::is_null) && problems.is_empty() {
        let problem = Problem::with_file("the file is empty").hint("write `{}` to ask for the defaults");
        return Err(Problems::one(file, problem));
    }
    Ok(Loaded { settings: decode(root, problems, file, env)?, hash: ContentHash::of(bytes) })
}

/// Validates a text. `file` is its name in problems; `env` looks environment variables up. Relative paths in it start
/// at the working directory.
///
/// # Errors
/// All problems.
pub fn parse(text: &str, file: &str, env: Lookup<'_>) -> Result<Settings, Problems> {
    let (root, problems) = yaml::parse(text);
    decode(root, problems, file, env)
}

fn decode(root: Option<yaml::Node>, problems: Vec<Problem>, file: &str, env: Lookup<'_>) -> Result<Settings, Problems> {
    let (settings, problems) = keys::read(root.filter(|root| !root.is_null()), env, problems);
    match Problems::of(file, problems) {
        None => Ok(settings),
        Some(problems) => Err(problems),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let last_line = valid.rsplit('\n').next().unwrap_or_default();
        let line = valid.matches('\n').count() + 1;
        Problem::at(Position { line, column: last_line.chars().count() + 1 }, "not UTF-8")
    })
}
