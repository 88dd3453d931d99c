//! How far it is, on the standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::{Duration, Instant};

/// A terminal is drawn anew no more often.
const ON_TERMINAL: Duration = Duration::from_millis(200);
/// A log gets no more lines.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// The bar's width, in characters.
const WIDTH: u64 = 24;

/// What is told.
pub(super) struct Progress {
    is_terminal: bool,
    begun: Instant,
    told: Instant,
    /// Keys that an earlier run has seen: they do not count for the speed.
    before: u64,
}

/// Where it is.
#[derive(Clone, Copy)]
pub(super) struct Point {
    /// Keys that were looked at.
    pub(super) keys: u64,
    pub(super) refused: u64,
    /// What is done and what there is, in keys or bytes, if that is known.
    pub(super) done: (u64, Option<u64>),
}

impl Progress {
    pub(super) fn new(before: u64) -> Self {
        let now = Instant::now();
        Self { is_terminal: stderr().is_terminal(), begun: now, told: now, before }
    }

    /// Tells where it is, if it is time to.
    pub(super) fn tell(&mut self, point: Point) {
        let interval = if self.is_terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.told.elapsed() >= interval {
            self.told = Instant::now();
            let text = render(point, self.per_second(point.keys), self.is_terminal);
            // Whoever has closed it does not want to know.
            let _ = if self.is_terminal { write!(stderr(), "\r{text}\x1b[K") } else { writeln!(stderr(), "{text}") };
        }
    }

    /// Leaves the terminal to what comes next.
    pub(super) fn end(&self) {
        if self.is_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// How many keys a second, and how long it has taken.
    pub(super) fn speed(&self, keys: u64) -> (u64, Duration) {
        (self.per_second(keys), self.begun.elapsed())
    }

    fn per_second(&self, keys: u64) -> u64 {
        let millis = self.begun.elapsed().as_millis().max(1);
        u64::try_from(u128::from(keys.saturating_sub(self.before)) * 1_000 / millis).unwrap_or(u64::MAX)
    }
}

fn render(point: Point, per_second: u64, with_bar: bool) -> String {
    let Point { keys, refused, done: (done, total) } = point;
    let mut text = String::new();
    // The total may have changed since it was asked for. (Writing to a string cannot fail.)
    if let Some(total) = total.filter(|total| *total > 0) {
        let done = done.min(total);
        let share = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(total)).unwrap_or(of);
        if with_bar {
            let full = usize::try_from(share(WIDTH)).unwrap_or(0);
            let _ = write!(text, "[{:<width$}] ", "#".repeat(full), width = usize::try_from(WIDTH).unwrap_or(0));
        }
        let _ = write!(text, "{:>3} %  ", share(100));
    }
    let _ = write!(text, "{keys} keys, {per_second}/s, {refused} refused");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_the_share_that_is_done() {
        let point = Point { keys: 250, refused: 3, done: (250, Some(1_000)) };
        assert_eq!(render(point, 90, true), "[######                  ]  25 %  250 keys, 90/s, 3 refused");
        assert_eq!(render(point, 90, false), " 25 %  250 keys, 90/s, 3 refused");
        assert_eq!(render(Point { done: (250, None), ..point }, 90, true), "250 keys, 90/s, 3 refused");
        assert_eq!(render(Point { done: (9, Some(3)), ..point }, 90, false), "100 %  250 keys, 90/s, 3 refused");
    }
}
