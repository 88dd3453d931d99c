//! The creation rate of one client address: GCRA, the generic cell rate algorithm (ITU-T I.371), in its virtual
//! scheduling form: each address has a theoretical arrival time, and a creation is early if that lies further ahead
//! than the burst allows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::settings::CreationRate;
use crate::store::raw::Counted;

/// Addresses remembered at once. Beyond it the longest unseen are forgotten, which gives them a fresh allowance: a
/// flood from more addresses than this is for the storage cap to stop. About 32 MiB when full.
const MAX_ADDRESSES: usize = 500_000;

/// Refused addresses counted at once, for the gauge: more than this is a flood whatever the exact number.
const MAX_LIMITED: usize = 100_000;

/// Who created when, bounded in time and number.
#[derive(Default)]
pub(in crate::gateway) struct CreationLimiter {
    table: Arc<Mutex<Table>>,
}

/// A point in time as what has passed since the epoch: the interval of a high rate is far below the millisecond of a
/// [`Timestamp`].
type Arrival = Duration;

/// An address untouched for one period has its whole allowance again and may be forgotten, so two generations do:
/// each period the older one is dropped whole.
#[derive(Default)]
struct Table {
    /// The rate in force; `None`: addresses may create as fast as they like.
    rate: Option<CreationRate>,
    current: HashMap<u128, Arrival>,
    previous: HashMap<u128, Arrival>,
    turned_at: Arrival,
    /// The latest time that was asked about.
    now: Arrival,
    /// Addresses refused, until when.
    limited: HashMap<u128, Arrival>,
}

impl CreationLimiter {
    /// Puts a rate in force. Each address keeps what it has used of its allowance, counted in creations, so a higher rate
    /// frees at once who was refused under a lower one.
    pub(in crate::gateway) fn apply(&self, rate: Option<CreationRate>, now: Timestamp) {
        let mut table = lock(&self.table);
        match (table.rate, rate) {
            (before, after) if before == after => return,
            (Some(before), Some(after)) => table.rescale(before, after, arrival_at(now)),
            _ => *table = Table::default(),
        }
        table.rate = rate;
    }

    /// Counts a creation from `ip` at `now`, for as long as what it returns is not dropped.
    ///
    /// # Errors
    /// With the time to wait, if the address creates too fast; it is then not counted.
    pub(in crate::gateway) fn admit(&self, ip: IpAddr, now: Timestamp) -> Result<Counted, Duration> {
        let mut table = lock(&self.table);
        let Some(rate) = table.rate else { return Ok(Counted::for_good()) };
        let (client, now) = (client_of(ip, rate.ipv6_prefix), arrival_at(now));
        table.turn(rate.per, now);
        let known = table.current.get(&client).or_else(|| table.previous.get(&client)).copied();
        let arrival = known.unwrap_or(now).max(now) + interval_of(rate);
        let early = arrival.saturating_sub(now).saturating_sub(rate.per);
        if early > Duration::ZERO {
            if table.limited.len() < MAX_LIMITED {
                table.limited.insert(client, now + early);
            }
            return Err(early);
        }
        table.previous.remove(&client);
        table.current.insert(client, arrival);
        table.limited.remove(&client);
        let table = Arc::clone(&self.table);
        Ok(Counted::unless_dropped(move || lock(&table).give_back(client, arrival)))
    }

    /// Addresses remembered, and how many of them are being refused.
    pub(in crate::gateway) fn figures(&self, now: Timestamp) -> (u64, u64) {
        let mut table = lock(&self.table);
        let now = arrival_at(now);
        table.limited.retain(|_, until| *until > now);
        ((table.current.len() + table.previous.len()) as u64, table.limited.len() as u64)
    }
}

impl Table {
    fn turn(&mut self, period: Duration, now: Arrival) {
        self.now = self.now.max(now);
        let age = now.saturating_sub(self.turned_at);
        if age >= period || self.current.len() >= MAX_ADDRESSES / 2 {
            // After two periods of silence even the younger generation is over.
            let previous = std::mem::take(&mut self.current);
            self.previous = if age >= period * 2 { HashMap::new() } else { previous };
            self.turned_at = now;
        }
    }

    /// Takes back a creation that was to arrive at `arrival`. Once that has passed, it holds up nobody any more, and
    /// what was taken back would be an allowance that nobody has used.
    fn give_back(&mut self, client: u128, arrival: Arrival) {
        let Some(rate) = self.rate.filter(|_| arrival > self.now) else { return };
        if let Some(known) = self.current.get_mut(&client).or_else(|| self.previous.get_mut(&client)) {
            *known = known.saturating_sub(interval_of(rate));
        }
        self.limited.remove(&client);
    }

    /// Expresses what each address has used in terms of another rate, the whole allowance at most.
    fn rescale(&mut self, before: CreationRate, after: CreationRate, now: Arrival) {
        let (before, interval) = (interval_of(before), interval_of(after));
        for arrival in self.current.values_mut().chain(self.previous.values_mut()) {
            let used = arrival.saturating_sub(now).div_duration_f64(before);
            *arrival = now + interval.mul_f64(used).min(after.per);
        }
        self.limited.clear();
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn arrival_at(time: Timestamp) -> Arrival {
    time.since(Timestamp::from_millis(0))
}

/// The time between two creations of an address that has used its burst.
fn interval_of(rate: CreationRate) -> Duration {
    rate.per / rate.count.max(1)
}

/// What tells clients apart: an IPv4 address whole, of an IPv6 address the network that one customer has.
fn client_of(ip: IpAddr, ipv6_prefix: u8) -> u128 {
    match ip.to_canonical() {
        // IPv4-mapped, so that the two families never meet.
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & u128::MAX.checked_shl(u32::from(128 - ipv6_prefix.min(128))).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: CreationRate = CreationRate { count: 10, per: Duration::from_secs(3600), ipv6_prefix: 64 };

    const START: Timestamp = Timestamp::from_millis(1_000_000_000_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn limiter(rate: CreationRate) -> CreationLimiter {
        let limiter = CreationLimiter::default();
        limiter.apply(Some(rate), START);
        limiter
    }

    /// Creates a session.
    fn create(limiter: &CreationLimiter, from: &str, now: Timestamp) -> Result<(), Duration> {
        limiter.admit(ip(from), now).map(Counted::keep)
    }

    /// How many of so many creations at once are admitted.
    fn admitted(limiter: &CreationLimiter, from: &str, now: Timestamp, of: usize) -> usize {
        (0..of).filter(|_| create(limiter, from, now).is_ok()).count()
    }

    #[test]
    fn ten_at_once_then_one_every_six_minutes() {
        let limiter = limiter(RATE);
        assert_eq!(admitted(&limiter, "192.0.2.1", START, 10), 10);
        assert_eq!(create(&limiter, "192.0.2.1", START), Err(Duration::from_secs(360)));
        assert_eq!(limiter.figures(START), (1, 1));
        assert_eq!(create(&limiter, "192.0.2.2", START), Ok(()), "others are not concerned");
        let later = START + Duration::from_secs(360);
        assert_eq!(create(&limiter, "192.0.2.1", later), Ok(()));
        assert_eq!(create(&limiter, "192.0.2.1", later), Err(Duration::from_secs(360)));
        assert_eq!(limiter.figures(later + Duration::from_secs(360)).1, 0);
    }

    #[test]
    fn in_any_hour_no_more_than_the_burst_and_the_rate_together() {
        let limiter = limiter(RATE);
        let admitted =
            (0..7200).filter(|second| create(&limiter, "192.0.2.1", START + Duration::from_secs(*second)).is_ok());
        assert_eq!(admitted.count(), 10 + 19, "the burst, and one every six minutes of two hours but the first");
    }

    #[test]
    fn a_rate_far_above_one_in_a_millisecond_holds_exactly() {
        for count in [700, 1_500, 1_000_000] {
            let limiter = limiter(CreationRate { count, per: Duration::from_secs(1), ipv6_prefix: 64 });
            let count = count as usize;
            assert_eq!(admitted(&limiter, "192.0.2.1", START, count + 10), count);
            let later = START + Duration::from_millis(500);
            assert_eq!(admitted(&limiter, "192.0.2.1", later, count), count / 2);
        }
    }

    #[test]
    fn what_came_to_nothing_does_not_count() {
        let limiter = limiter(RATE);
        for _ in 0..20 {
            drop(limiter.admit(ip("192.0.2.1"), START).expect("nothing was created"));
        }
        assert_eq!(admitted(&limiter, "192.0.2.1", START, 9), 9);
        let tenth = limiter.admit(ip("192.0.2.1"), START).expect("the last one");
        assert_eq!(create(&limiter, "192.0.2.1", START), Err(Duration::from_secs(360)));
        drop(tenth);
        assert_eq!(limiter.figures(START).1, 0);
        assert_eq!(admitted(&limiter, "192.0.2.1", START, 10), 1);
    }

    #[test]
    fn what_comes_to_nothing_late_gives_nobody_more_than_the_burst() {
        let limiter = limiter(RATE);
        let slow: Vec<_> = (0..10).map(|_| limiter.admit(ip("192.0.2.1"), START).expect("free")).collect();
        let later = START + RATE.per;
        assert_eq!(admitted(&limiter, "192.0.2.1", later, 20), 10, "the hour has given all ten back");
        drop(slow);
        assert_eq!(admitted(&limiter, "192.0.2.1", later, 20), 0);
    }

    #[test]
    fn another_rate_counts_what_was_created_under_the_old_one() {
        let limiter = limiter(RATE);
        let to = |count, per| limiter.apply(Some(CreationRate { count, per, ..RATE }), START);
        assert_eq!(admitted(&limiter, "192.0.2.1", START, 20), 10);
        to(1_000, RATE.per);
        assert_eq!(limiter.figures(START).1, 0, "nobody is refused any more");
        assert_eq!(admitted(&limiter, "192.0.2.1", START, 2_000), 990);
        to(10, Duration::from_secs(60));
        assert_eq!(create(&limiter, "192.0.2.1", START), Err(Duration::from_secs(6)), "the whole allowance, not more");
        limiter.apply(None, START);
        assert_eq!(admitted(&limiter, "192.0.2.1", START, 100), 100);
        assert_eq!(limiter.figures(START), (0, 0));
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_count_as_one_client() {
        assert_eq!(client_of(ip("2001:db8::1"), 64), client_of(ip("2001:db8::ffff"), 64));
        assert_ne!(client_of(ip("2001:db8:0:1::1"), 64), client_of(ip("2001:db8::1"), 64));
        assert_ne!(client_of(ip("2001:db8::1"), 128), client_of(ip("2001:db8::2"), 128));
        assert_eq!(client_of(ip("::ffff:192.0.2.1"), 64), client_of(ip("192.0.2.1"), 64));
    }

    #[test]
    fn a_million_addresses_do_not_fill_memory() {
        let limiter = limiter(RATE);
        for n in 0..1_000_000_u32 {
            assert_eq!(limiter.admit(IpAddr::V4(n.into()), START).map(Counted::keep), Ok(()));
        }
        assert!(limiter.figures(START).0 <= MAX_ADDRESSES as u64);
    }
}
