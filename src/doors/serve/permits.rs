//! How many connections there may be, all together and of one client.
//!
//! A client is told apart by its address. Addresses of this host and Unix sockets are not counted by client: a
//! sidecar's one client is the app beside it, which may need every connection there is, and whoever runs code on
//! this host can do worse than open sockets. They do count in the total.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections of one listener.
#[derive(Debug)]
pub struct Permits {
    max: usize,
    max_per_peer: usize,
    open: AtomicUsize,
    /// Clients with at least one connection, so never more than `max`.
    peers: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
    counted: Option<IpAddr>,
}

impl Permits {
    /// Allows `max` connections, and `max_per_peer` to each client of another host.
    #[must_use]
    pub fn new(max: usize, max_per_peer: usize) -> Self {
        Self { max, max_per_peer, open: AtomicUsize::new(0), peers: Mutex::default() }
    }

    /// Takes the right to a connection from `peer` (`None`: a Unix socket); `None` if there are too many.
    #[must_use]
    pub fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Permit> {
        let one_more = |open| (open < self.max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let mut permit = Permit { permits: Arc::clone(self), counted: None };
        if let Some(peer) = peer.map(|peer| peer.to_canonical()).filter(|peer| !peer.is_loopback()) {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let open = peers.entry(peer).or_default();
            if *open >= self.max_per_peer {
                // Dropping the permit gives back the place in the total, and locks nothing: it counts no peer yet.
                return None;
            }
            *open += 1;
            permit.counted = Some(peer);
        }
        Some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.open.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.counted else { return };
        let mut peers = self.permits.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = peers.get_mut(&peer) {
            *open -= 1;
            if *open == 0 {
                peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_holds_for_everybody_and_is_given_back() {
        let permits = Arc::new(Permits::new(2, 1));
        let first = permits.take(None).expect("room for two");
        let second = permits.take(Some(IpAddr::from([127, 0, 0, 1]))).expect("room for two");
        assert!(permits.take(None).is_none());
        drop(first);
        assert!(permits.take(Some(IpAddr::from([10, 0, 0, 1]))).is_some());
        drop(second);
    }

    #[test]
    fn one_client_cannot_take_all_but_this_host_can() {
        let permits = Arc::new(Permits::new(100, 2));
        let peer = IpAddr::from([10, 0, 0, 1]);
        let mapped = IpAddr::from(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets());
        let held = [permits.take(Some(peer)), permits.take(Some(mapped))];
        assert!(held.iter().all(Option::is_some));
        assert!(permits.take(Some(peer)).is_none(), "an address written as IPv6 is the same client");
        assert!(permits.take(Some(IpAddr::from([10, 0, 0, 2]))).is_some());
        let own: Vec<_> = (0..50).filter_map(|_| permits.take(Some(IpAddr::from([127, 0, 0, 1])))).collect();
        assert_eq!(own.len(), 50);
        drop((held, own));
        assert_eq!(permits.open.load(Ordering::Relaxed), 0);
        assert!(permits.peers.lock().unwrap().is_empty());
    }
}
