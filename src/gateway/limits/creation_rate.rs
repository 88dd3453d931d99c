//! The creation rate of one client address: GCRA, the generic cell rate algorithm (ITU-T I.371), in its virtual
//! scheduling form: each address has a theoretical arrival time, and a creation is early if that lies further ahead
//! than the burst allows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::settings::CreationRate;

/// Addresses remembered at once. Beyond it the longest unseen are forgotten, which gives them a fresh allowance: a
/// flood from more addresses than this is for the storage cap to stop. About 32 MiB when full.
const MAX_ADDRESSES: usize = 500_000;

/// Refused addresses counted at once, for the gauge: more than this is a flood whatever the exact number.
const MAX_LIMITED: usize = 100_000;

/// Who created when, bounded in time and number.
#[derive(Default)]
pub(in crate::gateway) struct CreationLimiter {
    table: Mutex<Table>,
}

/// An address untouched for one period has its whole allowance again and may be forgotten, so two generations do:
/// each period the older one is dropped whole.
#[derive(Default)]
struct Table {
    current: HashMap<u128, Timestamp>,
    previous: HashMap<u128, Timestamp>,
    turned_at: Timestamp,
    /// Addresses refused, until when.
    limited: HashMap<u128, Timestamp>,
}

impl CreationLimiter {
    /// Counts a creation from `ip` at `now`.
    ///
    /// # Errors
    /// With the time to wait, if the address creates too fast; it is then not counted.
    pub(in crate::gateway) fn admit(&self, ip: IpAddr, rate: CreationRate, now: Timestamp) -> Result<(), Duration> {
        let client = client_of(ip, rate.ipv6_prefix);
        let interval = rate.per / rate.count.max(1);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.turn(rate.per, now);
        let known = table.current.get(&client).or_else(|| table.previous.get(&client)).copied();
        let arrival = known.unwrap_or(now).max(now) + interval;
        let early = arrival.since(now).saturating_sub(rate.per);
        if early > Duration::ZERO {
            if table.limited.len() < MAX_LIMITED {
                table.limited.insert(client, now + early);
            }
            return Err(early);
        }
        table.previous.remove(&client);
        table.current.insert(client, arrival);
        table.limited.remove(&client);
        Ok(())
    }

    /// Addresses remembered, and how many of them are being refused.
    pub(in crate::gateway) fn figures(&self, now: Timestamp) -> (u64, u64) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.limited.retain(|_, until| *until > now);
        ((table.current.len() + table.previous.len()) as u64, table.limited.len() as u64)
    }
}

impl Table {
    fn turn(&mut self, period: Duration, now: Timestamp) {
        let age = now.since(self.turned_at);
        if age >= period || self.current.len() >= MAX_ADDRESSES / 2 {
            // After two periods of silence even the younger generation is over.
            let previous = std::mem::take(&mut self.current);
            self.previous = if age >= period * 2 { HashMap::new() } else { previous };
            self.turned_at = now;
        }
    }
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

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ten_at_once_then_one_every_six_minutes() {
        let limiter = CreationLimiter::default();
        let start = Timestamp::from_millis(1_000_000_000_000);
        for _ in 0..10 {
            assert_eq!(limiter.admit(ip("192.0.2.1"), RATE, start), Ok(()));
        }
        assert_eq!(limiter.admit(ip("192.0.2.1"), RATE, start), Err(Duration::from_secs(360)));
        assert_eq!(limiter.figures(start), (1, 1));
        assert_eq!(limiter.admit(ip("192.0.2.2"), RATE, start), Ok(()), "others are not concerned");
        let later = start + Duration::from_secs(360);
        assert_eq!(limiter.admit(ip("192.0.2.1"), RATE, later), Ok(()));
        assert_eq!(limiter.admit(ip("192.0.2.1"), RATE, later), Err(Duration::from_secs(360)));
        assert_eq!(limiter.figures(later + Duration::from_secs(360)).1, 0);
    }

    #[test]
    fn in_any_hour_no_more_than_the_burst_and_the_rate_together() {
        let limiter = CreationLimiter::default();
        let start = Timestamp::from_millis(1_000_000_000_000);
        let admitted = (0..7200)
            .filter(|second| limiter.admit(ip("192.0.2.1"), RATE, start + Duration::from_secs(*second)).is_ok());
        assert_eq!(admitted.count(), 10 + 19, "the burst, and one every six minutes of two hours but the first");
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
        let limiter = CreationLimiter::default();
        let start = Timestamp::from_millis(1_000_000_000_000);
        for n in 0..1_000_000_u32 {
            assert_eq!(limiter.admit(IpAddr::V4(n.into()), RATE, start), Ok(()));
        }
        assert!(limiter.figures(start).0 <= MAX_ADDRESSES as u64);
    }
}
