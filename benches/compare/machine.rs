//! What the figures were measured on, and with.

use std::fs;
use std::process::Command;
use std::thread;

use crate::process::version;

/// The processor, its cores and the kernel, on one line.
pub fn describe() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {} cores, Linux {}",
        model.map_or("unknown processor", |(_, name)| name),
        thread::available_parallelism().map_or(0, usize::from),
        kernel.trim()
    )
}

/// A program that a comparison needs.
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What starts it.
    path: &'static str,
    /// What makes it say its version.
    version: &'static str,
}

pub const NGINX: Program = Program { name: "nginx", path: "nginx", version: "-v" };
pub const REDIS: Program = Program { name: "redis-server", path: "redis-server", version: "--version" };
/// `scripts/setup` puts it there.
pub const VALKEY: Program = Program {
    name: "Valkey",
    path: concat!(env!("CARGO_MANIFEST_DIR"), "/target/valkey/bin/valkey-server"),
    version: "--version",
};
pub const REDIS_BENCHMARK: Program = Program { name: "redis-benchmark", path: "redis-benchmark", version: "--version" };
pub const WRK: Program = Program { name: "wrk", path: "wrk", version: "-v" };

impl Program {
    /// What starts it.
    pub fn command(&self) -> Command {
        Command::new(self.path)
    }

    /// Its version, in its own words; `None` if it is not installed.
    pub fn version(&self) -> Option<String> {
        let said = version(self.path, self.version)?;
        // Redis and wrk go on with their build and author.
        let words: Vec<_> = said.split_whitespace().take_while(|word| !word.starts_with(['[', '('])).take(3).collect();
        Some(words.join(" "))
    }
}
