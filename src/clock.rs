//! Time: the only place that reads a clock.
//!
//! Sessions are stamped in wall-clock milliseconds, because the stamps outlive the process. A wall clock can be
//! set, though, and a jump of an hour must neither end every session at once nor keep one alive for ever. So
//! [`SystemClock`] advances with the monotonic clock and lets the wall clock only *steer* it: it approaches the
//! wall clock by at most [`MAX_SLEW`] of the time that passes. What others compare with clocks of their own is told
//! by the wall clock, and a time that they name is converted, since the steered clock may lag for hours.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The largest correction of the clock, as a divisor of the time elapsed: a tenth.
///
/// After a jump of one hour, a session with an idle timeout of 25 minutes ends at most 2.5 minutes early or late.
pub const MAX_SLEW: i64 = 10;

/// The largest correction in one step, however long the last one is ago.
const LARGEST_STEP_MS: i64 = 100;

/// Differences to the wall clock up to this are noise of ordinary NTP discipline and corrected in one step.
const STEP_BELOW_MS: i64 = 50;

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest representable time: "never".
    pub const MAX: Self = Self(i64::MAX);

    /// The time `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is in fact later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with milliseconds, `2026-01-31T23:59:59.999Z`, as ASCII bytes.
    ///
    /// The date comes from the day number by the `civil_from_days` algorithm of Howard Hinnant's "chrono-Compatible
    /// Low-Level Date Algorithms". Years outside 0–9999, which the format cannot hold, are shown as the nearest end.
    #[must_use]
    pub fn to_rfc3339(self) -> [u8; 24] {
        const FIRST: i64 = -62_167_219_200_000; // 0000-01-01T00:00:00.000Z
        const LAST: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
        let ms = self.0.clamp(FIRST, LAST);
        let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);

        let mut out = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, width: usize, mut value: i64| {
            for digit in out[at..at + width].iter_mut().rev() {
                *digit = b"0123456789"[usize::try_from(value % 10).unwrap_or(0)];
                value /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, of_day / 3_600_000);
        put(14, 2, of_day / 60_000 % 60);
        put(17, 2, of_day / 1_000 % 60);
        put(20, 3, of_day % 1_000);
        out
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_rfc3339()).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(later.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(earlier.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// One reading of a clock: what time it is, and a monotonic mark to measure a duration from.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time for stamps and deadlines.
    pub at: Timestamp,
    /// The monotonic instant of the same reading.
    pub mark: Instant,
}

/// What deadlines that others name are counted from, on a clock of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origins {
    /// Now: for the time that is left.
    pub now: Timestamp,
    /// When the epoch was, going by what the wall clock shows now: for times of day, which others read off wall clocks.
    pub epoch: Timestamp,
}

/// Where time comes from. It never jumps: a correction sets it back by a tenth of a second at most, which callers bear.
pub trait Clock: Send + Sync + 'static {
    /// Reads the clock once.
    fn now(&self) -> Now;

    /// The time as of the kernel's last tick: never ahead of [`now`](Self::now), and at most 10 ms behind it.
    ///
    /// For the hot path. An exact reading makes the processor finish all memory accesses before it, which costs a
    /// look-up several times as much as the reading itself.
    fn recent(&self) -> Timestamp;

    /// What the wall clock shows now, which may jump: only for what others compare with clocks of their own.
    fn wall(&self) -> Timestamp;

    /// What deadlines that others name are counted from.
    fn origins(&self) -> Origins {
        let now = self.now().at;
        let behind = self.wall().0.saturating_sub(now.0);
        // Without the noise, the same time of day is the same deadline every time.
        let behind = if behind.saturating_abs() <= STEP_BELOW_MS { 0 } else { behind };
        Origins { now, epoch: Timestamp(behind.saturating_neg()) }
    }

    /// Lets the clock approach the wall clock; the application calls it about once a second.
    fn discipline(&self) {}
}

/// The clock of a running sidecar: monotonic, steered towards the wall clock.
pub struct SystemClock {
    origin: Instant,
    /// The same moment as the kernel counts, for [`Clock::recent`].
    kernel_origin_ms: i64,
    /// Milliseconds since the epoch at `origin`, moved by `discipline`.
    offset_ms: AtomicI64,
    /// Time already handed out at the last discipline; the next one may not go below it.
    last: Mutex<Discipline>,
}

struct Discipline {
    elapsed_ms: i64,
}

impl SystemClock {
    /// Starts from the wall clock as it is now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            // Rounded up, so that the recent time is never ahead.
            kernel_origin_ms: kernel_ms(clock_gettime(ClockId::Monotonic)) + 1,
            offset_ms: AtomicI64::new(wall_ms()),
            last: Mutex::new(Discipline { elapsed_ms: 0 }),
        }
    }

    fn elapsed_ms(&self, mark: Instant) -> i64 {
        i64::try_from(mark.duration_since(self.origin).as_millis()).unwrap_or(i64::MAX)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let mark = Instant::now();
        let at = Timestamp(self.offset_ms.load(Ordering::Relaxed) + self.elapsed_ms(mark));
        Now { at, mark }
    }

    fn recent(&self) -> Timestamp {
        // The same clock as `Instant` reads, as of the last tick; which may lie before the origin.
        let elapsed = kernel_ms(clock_gettime(ClockId::MonotonicCoarse)) - self.kernel_origin_ms;
        Timestamp(self.offset_ms.load(Ordering::Relaxed) + elapsed.max(0))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(wall_ms())
    }

    fn discipline(&self) {
        let Ok(mut last) = self.last.lock() else { return };
        let elapsed = self.elapsed_ms(Instant::now());
        let passed = elapsed - last.elapsed_ms;
        let offset = self.offset_ms.load(Ordering::Relaxed);
        self.offset_ms.store(offset + correction(wall_ms() - (offset + elapsed), passed), Ordering::Relaxed);
        last.elapsed_ms = elapsed;
    }
}

fn kernel_ms(reading: Timespec) -> i64 {
    reading.tv_sec * 1_000 + reading.tv_nsec / 1_000_000
}

/// How far to move the clock, given that it is `behind` the wall clock (negative: ahead) and that `passed` has gone
/// by since the last correction, all in milliseconds. At most a tenth of `passed`, and of a second.
fn correction(behind: i64, passed: i64) -> i64 {
    let most = (passed / MAX_SLEW).clamp(0, LARGEST_STEP_MS);
    if (0..=STEP_BELOW_MS).contains(&behind) { behind } else { behind.clamp(-most, most) }
}

#[expect(clippy::disallowed_methods, reason = "the one reading of the wall clock")]
fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// A clock that moves only when told to: for tests, simulations and replays.
#[derive(Debug)]
pub struct ManualClock {
    at_ms: AtomicI64,
    wall_ahead_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self { at_ms: AtomicI64::new(at.0), wall_ahead_ms: AtomicI64::new(0) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.at_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets the wall clock, which goes on from there with this one.
    pub fn set_wall(&self, to: Timestamp) {
        self.wall_ahead_ms.store(to.0 - self.recent().0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now { at: self.recent(), mark: Instant::now() }
    }

    fn recent(&self) -> Timestamp {
        Timestamp(self.at_ms.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.recent().0 + self.wall_ahead_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_times() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(ms).to_string(), text);
        }
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_absorbed_slowly_in_both_directions() {
        for hour in [3_600_000_i64, -3_600_000] {
            let (mut behind, mut seconds) = (hour, 0);
            while behind != 0 {
                let step = correction(behind, 1_000);
                assert!(step.abs() <= 100, "time may run at most a tenth faster or slower, moved {step} ms in 1 s");
                behind -= step;
                seconds += 1;
            }
            assert_eq!(seconds, 36_000, "an hour is absorbed in ten");
        }
    }

    #[test]
    fn the_recent_time_is_never_ahead_and_at_most_a_tick_behind() {
        /// `CONFIG_HZ=100`, the slowest that Linux has.
        const TICK_MS: i64 = 10;
        let clock = SystemClock::new();
        for _ in 0..10_000 {
            let (before, recent, after) = (clock.now().at, clock.recent(), clock.now().at);
            assert!(recent <= after, "{recent} is ahead of {after}");
            // A millisecond may be lost by rounding either reading down.
            assert!(before.as_millis() - recent.as_millis() <= TICK_MS + 1, "{recent} is far behind {before}");
        }
    }

    #[test]
    fn small_lag_is_corrected_at_once_and_a_lead_in_small_steps() {
        assert_eq!(correction(40, 1_000), 40);
        assert_eq!(correction(-40, 100), -10);
        assert_eq!(correction(-40, 0), 0);
        assert_eq!(correction(-5_000, 60_000), -100);
    }
}
