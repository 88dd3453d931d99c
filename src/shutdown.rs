//! The signal to drain: given once, by the application, and seen by everything that runs.

use tokio::sync::watch;

/// The end that gives the signal. Dropping it gives it too, so that nothing outlives a failed start.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<bool>);

/// The end that waits for the signal.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

impl Shutdown {
    /// A signal not given yet, and where to wait for it.
    #[must_use]
    pub fn new() -> (Self, Drain) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Drain(receiver))
    }

    /// Gives the signal. A second call changes nothing.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Returns once the signal is given; at once if it was.
    pub async fn begun(&mut self) {
        // An error means that the sender is gone, which is the signal as well.
        let _ = self.0.wait_for(|begun| *begun).await;
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_sees_the_signal_and_late_comers_too() {
        let (shutdown, mut drain) = Shutdown::new();
        let mut other = drain.clone();
        assert!(!drain.has_begun());
        shutdown.begin();
        drain.begun().await;
        other.begun().await;
        assert!(other.clone().has_begun());
    }

    #[tokio::test]
    async fn a_signal_that_can_no_longer_be_given_counts_as_given() {
        let (shutdown, mut drain) = Shutdown::new();
        drop(shutdown);
        drain.begun().await;
        assert!(drain.has_begun());
    }
}
