//! The admin door: metrics, health, reload and the configuration in force, for operators and their machines.
//!
//! [`AdminService`] turns a request into an answer and knows nothing of connections.
//!
//! | call | answers |
//! |---|---|
//! | `GET /` | a status page for people |
//! | `GET /metrics` | the Prometheus text format 0.0.4 |
//! | `GET /livez` | 200 while the process can answer at all |
//! | `GET /readyz` | 200 `ready`, 200 `degraded` without the store, 503 `starting` or `draining` |
//! | `POST /-/reload` | 200, or 422 with every problem of the file |
//! | `GET /-/config` | the configuration in force, secrets masked |
//! | `GET /-/stats` | the figures of the status page, for `sessgate top` |
//!
//! Errors are `application/problem+json` (RFC 9457) with a stable `code`. Where a key is set, all but the two health
//! checks ask for it: those say one word, and an orchestrator that probes them should not hold a secret for it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use subtle::ConstantTimeEq;

use crate::config::settings::Secret;
use crate::doors::serve::h1::{Head, KEY_HEADER, Service};
use crate::metrics::Metrics;
use crate::metrics::labels::{Door, RequestOutcome};

mod page;
mod readiness;
mod respond;

pub use readiness::{Phase, Readiness};

/// Reads the configuration anew.
#[async_trait]
pub trait Reload: Send + Sync + 'static {
    /// Reads, validates and puts the configuration in force.
    ///
    /// # Errors
    /// Every problem, one a line, if it was refused; the old configuration is then still in force.
    async fn reload(&self) -> Result<(), Vec<String>>;
}

/// Writes down the configuration in force as YAML, secrets masked.
pub type ConfigRenderer = dyn Fn() -> String + Send + Sync;

/// The admin door's answers.
pub struct AdminService {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    reload: Box<dyn Reload>,
    config: Box<ConfigRenderer>,
    key: Option<Secret>,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Status,
    Metrics,
    Live,
    Ready,
    Reload,
    Config,
    Stats,
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Status,
            "/metrics" => Self::Metrics,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/-/reload" => Self::Reload,
            "/-/config" => Self::Config,
            "/-/stats" => Self::Stats,
            _ => return None,
        })
    }

    /// The value of `Allow`.
    fn methods(self) -> &'static str {
        if self == Self::Reload { "POST" } else { "GET, HEAD" }
    }

    fn allows(self, method: &Method) -> bool {
        if self == Self::Reload { method == Method::POST } else { method == Method::GET || method == Method::HEAD }
    }

    fn is_open(self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }
}

impl AdminService {
    /// Answers from these parts. With a `key`, requests must carry it; it is always set beyond loopback.
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
        reload: Box<dyn Reload>,
        config: Box<ConfigRenderer>,
        key: Option<Secret>,
    ) -> Self {
        Self { metrics, readiness, reload, config, key }
    }

    /// Answers a request. Its body is not read: no call here has one.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Bytes> {
        let (head, _) = request.into_parts();
        let route = Route::find(head.uri.path());
        let mut answer = self.answer(route, &head.method, &head.headers).await;
        let outcome = match answer.status() {
            status if status.is_client_error() => RequestOutcome::Refused,
            // "Not ready" is a true answer, not a failure to give one.
            status if status.is_server_error() && route != Some(Route::Ready) => RequestOutcome::Failed,
            _ => RequestOutcome::Ok,
        };
        answer.extensions_mut().insert(outcome);
        answer
    }

    async fn answer(&self, route: Option<Route>, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        // The key comes first, so that nobody without it learns which paths there are.
        if !route.is_some_and(Route::is_open) && !self.is_allowed(headers) {
            return respond::key_required();
        }
        let Some(route) = route else { return respond::not_found() };
        if !route.allows(method) {
            return respond::method_not_allowed(route.methods());
        }
        match route {
            Route::Status => respond::html(page::render(&self.readiness(), &self.metrics.snapshot())),
            Route::Metrics => match self.metrics.encode() {
                Ok(text) => respond::metrics(text),
                Err(error) => respond::internal(&error.to_string()),
            },
            Route::Live => respond::text(StatusCode::OK, "ok\n"),
            Route::Ready => {
                let (status, said) = self.readiness();
                respond::text(status, said)
            }
            Route::Reload => match self.reload.reload().await {
                Ok(()) => respond::text(StatusCode::OK, "reloaded\n"),
                Err(problems) => respond::config_invalid(&problems),
            },
            Route::Config => respond::yaml((self.config)()),
            Route::Stats => respond::json(page::stats(&self.metrics.snapshot(), self.metrics.totals())),
        }
    }

    fn readiness(&self) -> (StatusCode, &'static str) {
        match self.readiness.phase() {
            Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            Phase::Serving if self.metrics.is_store_up() => (StatusCode::OK, "ready\n"),
            Phase::Serving => (StatusCode::OK, "degraded: the store does not answer\n"),
        }
    }

    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.key else { return true };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let presented = bearer.or_else(|| headers.get(KEY_HEADER).map(HeaderValue::as_bytes));
        // Takes the same time wherever the two differ; that their lengths differ may show.
        presented.is_some_and(|presented| !presented.is_empty() && presented.ct_eq(key.expose()).into())
    }
}

impl Service for AdminService {
    const DOOR: Door = Door::Admin;

    async fn call(&self, request: Request<Incoming>) -> Response<Bytes> {
        self.handle(request).await
    }

    fn answer_at_once(&self, _: &Head<'_>, _: &[u8; 29], _: &mut Vec<u8>) -> Option<RequestOutcome> {
        None
    }
}

/// The credentials of `Bearer …`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credentials) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| credentials.trim_ascii())
}
