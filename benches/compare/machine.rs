//! What the figures were measured on, and with.

use std::fs;
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
    /// Its name, also in Debian.
    pub name: &'static str,
    /// What makes it say its version.
    version: &'static str,
}

pub const NGINX: Program = Program { name: "nginx", version: "-v" };
pub const REDIS: Program = Program { name: "redis-server", version: "--version" };
pub const WRK: Program = Program { name: "wrk", version: "-v" };

impl Program {
    /// Its version, in its own words; `None` if it is not installed.
    pub fn version(&self) -> Option<String> {
        let said = version(self.name, self.version)?;
        // Redis and wrk go on with their build and author.
        let words: Vec<_> = said.split_whitespace().take_while(|word| !word.starts_with(['[', '('])).take(3).collect();
        Some(words.join(" "))
    }
}
