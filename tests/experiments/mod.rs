//! The acceptance experiments, on the program as it is shipped: real processes, files, sockets, signals and clocks.
//!
//! `cargo test` runs them shortened, `make soak` (`SESSGATE_SOAK=1`) whole. Each prints one line with its figures and
//! the seed of its random choices, which `SESSGATE_SEED` sets.

use std::thread;
use std::time::{Duration, Instant};

mod door;
mod e01_kill;
mod e08_disk_full;
mod e09_clock;
mod e10_connections;
mod e11_flood;
mod e13_reload;
mod e14_hook;
mod e15_stop;
mod load;
mod receiver;

/// `whole` in `make soak`, `short` otherwise.
fn sized<T>(short: T, whole: T) -> T {
    if is_whole() { whole } else { short }
}

/// Whether the experiments run in full length.
fn is_whole() -> bool {
    std::env::var("SESSGATE_SOAK").is_ok_and(|value| value == "1")
}

/// Looks every few milliseconds until `probe` has found what it looks for, and says how long that took. For what the
/// program tells nobody.
#[track_caller]
fn until<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return (found, began.elapsed());
        }
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The 99th percentile.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}
