//! Telling the app that sessions ended: notices from the store's outbox, delivered at least once, in the background.
//!
//! Signed as Standard Webhooks 1.0 asks: `webhook-id`, `webhook-timestamp`, and `webhook-signature` with the
//! HMAC-SHA256 of `id.timestamp.body`. Nothing waits for a delivery, and what waits is in the store, not in memory.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Gateway;
use crate::config::settings::{Hook, Secret};
use crate::http_client::{self, why};
use crate::metrics::labels::{HookResult, StoreOp};
use crate::session::EventId;
use crate::store::{NOTICE_LEASE, Notice, Settlement, StoreError};

/// Deliveries under way at once: an endpoint that hangs holds this many sockets, no more.
const CONCURRENT: usize = 16;
/// The first wait after a failure; it doubles with each, up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const LAST_WAIT: Duration = Duration::from_secs(3600);
/// Notices that are dropped for their age in one step of the store.
const DROPPED_AT_ONCE: usize = 1_000;
/// How often the outbox is looked at when nothing new comes in.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What delivers: the HTTP client, and the bell that new notices ring.
pub(super) struct Courier {
    /// With whether it is for `https`.
    client: Mutex<Option<(bool, reqwest::Client)>>,
    bell: Notify,
}

impl Courier {
    pub(super) fn new() -> Self {
        Self { client: Mutex::new(None), bell: Notify::new() }
    }

    /// There is something to deliver.
    pub(super) fn wake(&self) {
        self.bell.notify_one();
    }

    /// The client, made at the first need: most sidecars start without a hook, and only `https` needs certificates.
    fn client(&self, url: &str) -> Result<reqwest::Client, String> {
        let is_https = url.starts_with("https:");
        let mut client = self.client.lock().map_err(|_| "an earlier attempt panicked".to_owned())?;
        if let Some((_, client)) = client.as_ref().filter(|(made_for_https, _)| *made_for_https == is_https) {
            return Ok(client.clone());
        }
        let builder = if is_https { http_client::https_builder() } else { http_client::builder() };
        let built = builder.pool_max_idle_per_host(CONCURRENT).build();
        let built = built.map_err(|error| format!("the HTTP client could not be set up: {}", why(error)))?;
        *client = Some((is_https, built.clone()));
        Ok(built)
    }
}

impl Gateway {
    /// Starts an attempt whenever one ends or a notice becomes due, so that one that hangs holds up its own alone.
    pub(super) async fn deliver_for_ever(self: &Arc<Self>) {
        // Cut off when this is: what they were about waits in the outbox.
        let mut attempts = JoinSet::new();
        loop {
            if let Err(error) = self.start_due(&mut attempts).await {
                tracing::warn!(%error, "the outbox could not be read; notices wait in it");
            }
            let mut ended = Vec::new();
            tokio::select! {
                Some(first) = attempts.join_next() => ended.push(first),
                _ = timeout(LOOK_INTERVAL, self.courier.bell.notified()), if attempts.len() < CONCURRENT => {}
            }
            // Those that have ended by now are settled together.
            ended.extend(std::iter::from_fn(|| attempts.try_join_next()));
            // The notice of one that panicked comes again when its lease is over.
            let settled: Vec<_> = ended.into_iter().filter_map(Result::ok).collect();
            if !settled.is_empty()
                && let Err(error) = self.timed(StoreOp::Upkeep, self.store.settle_notices(settled)).await
            {
                tracing::warn!(%error, "deliveries could not be noted; they are repeated");
            }
        }
    }

    /// Starts an attempt to deliver each notice that is due, for as long as there may be more of them at once.
    async fn start_due(self: &Arc<Self>, attempts: &mut JoinSet<(EventId, Settlement)>) -> Result<(), StoreError> {
        let free = CONCURRENT - attempts.len();
        let Some(hook) = self.settings().hooks.session_closed.clone().filter(|_| free > 0) else { return Ok(()) };
        let hook = Arc::new(hook);
        for notice in self.timed(StoreOp::Upkeep, self.store.take_notices(self.now(), free)).await? {
            let (this, hook) = (Arc::clone(self), Arc::clone(&hook));
            attempts.spawn(async move { this.attempt(notice, &hook).await });
        }
        Ok(())
    }

    /// Drops notices for their age where there is no hook any more, and so no attempt that would.
    pub(super) async fn drop_old_notices(&self) -> Result<(), StoreError> {
        let settings = self.settings.load_full();
        if settings.hooks.session_closed.is_some() {
            return Ok(());
        }
        let until = self.now() - settings.hooks.max_age;
        let dropped = self.timed(StoreOp::Upkeep, self.store.drop_notices(until, DROPPED_AT_ONCE)).await?;
        if dropped > 0 {
            self.metrics.hooks_dropped(dropped);
            tracing::error!(
                notices = dropped,
                "there is no hook any more: old notices were dropped; see hooks.session_closed"
            );
        }
        Ok(())
    }

    async fn attempt(&self, notice: Notice, hook: &Hook) -> (EventId, Settlement) {
        let started = Instant::now();
        let outcome = self.post(&notice, hook).await;
        let now = self.now();
        let attempts = notice.attempts + 1;
        let over = attempts >= hook.max_attempts || now.since(notice.at) >= self.settings().hooks.max_age;
        let (result, settlement) = match &outcome {
            Ok(()) => (HookResult::Ok, Settlement::Remove),
            Err(_) if over => (HookResult::Dropped, Settlement::Remove),
            Err(_) => (HookResult::Retried, Settlement::RetryAt(now + self.wait_after(attempts))),
        };
        if let Err(error) = outcome {
            let (event, session) = (notice.event_id, notice.id);
            if over {
                tracing::error!(%event, %session, attempts, error, "hook given up: the app was not told that the session ended");
            } else {
                tracing::warn!(%event, %session, attempts, error, "hook failed and will be tried again; see hooks.session_closed");
            }
        }
        self.metrics.hook(result, started.elapsed());
        (notice.event_id, settlement)
    }

    async fn post(&self, notice: &Notice, hook: &Hook) -> Result<(), String> {
        let body = body_of(notice);
        let event = notice.event_id.to_string();
        // Receivers refuse what is a few minutes old by their clocks.
        let timestamp = self.wall().as_millis() / 1_000;
        let mut request = self
            .courier
            .client(hook.url.as_str())?
            .post(hook.url.as_str())
            .timeout(hook.timeout.min(NOTICE_LEASE / 2))
            .header("content-type", "application/json")
            .header("webhook-id", &event)
            .header("webhook-timestamp", timestamp.to_string());
        if let Some(secret) = &hook.secret {
            request = request.header("webhook-signature", sign(secret, &event, timestamp, &body));
        }
        let response = request.body(body).send().await.map_err(why)?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("the endpoint answered {status}")) }
    }

    fn wait_after(&self, attempts: u32) -> Duration {
        let mut random = [0];
        self.generator.fill(&mut random);
        wait(attempts, random[0])
    }
}

/// Exponential, with up to a quarter off at random, so that notices that failed together do not return together.
fn wait(attempts: u32, random: u8) -> Duration {
    let full = FIRST_WAIT.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    let full = full.min(LAST_WAIT);
    full.saturating_sub(full / 4 * u32::from(random) / 255)
}

fn body_of(notice: &Notice) -> String {
    serde_json::json!({
        "event_id": notice.event_id,
        "id": notice.id,
        "user": notice.user.as_ref().map(crate::session::UserName::as_str),
        "reason": notice.reason,
        "at": notice.at.to_string(),
    })
    .to_string()
}

/// The signature header: `v1,` and the base64 of the HMAC.
fn sign(secret: &Secret, event: &str, timestamp: i64, body: &str) -> String {
    // The configuration takes no secret without one.
    let key = secret.signing_key().unwrap_or_else(|| secret.expose().into());
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
    mac.update(format!("{event}.{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn by_default_a_notice_is_given_up_for_its_age_and_not_for_its_attempts() {
        let settings = config::parse("hooks: { session_closed: { url: http://app/ } }", "f", &|_| None).unwrap();
        let (hook, max_age) = (settings.hooks.session_closed.unwrap(), settings.hooks.max_age);
        for random in [0, u8::MAX] {
            let waited: Duration = (1..hook.max_attempts).map(|attempts| wait(attempts, random)).sum();
            assert!(waited > max_age, "{waited:?} with {random}");
        }
        assert_eq!((wait(1, 0), wait(12, 0), wait(13, 0)), (FIRST_WAIT, 2_048 * FIRST_WAIT, LAST_WAIT));
    }

    /// The worked example in the documentation of the Standard Webhooks reference implementation.
    #[test]
    fn signs_as_the_standard_does() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
