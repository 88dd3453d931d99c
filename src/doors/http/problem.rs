//! Answers that say no: `application/problem+json` (RFC 9457) with a stable `code`.

use std::borrow::Cow;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::gateway::api::GatewayError;
use crate::session::record::UserNameError;
use crate::store::StoreError;

/// When to try again after the store has failed: time for a restart or a failover, and no stampede.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// A refusal or a failure.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Shape<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'static str,
}

impl Problem {
    /// A problem that `code` tells a program, and `detail` a person.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), header: None }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    fn retry_after(self, after: Duration) -> Self {
        // Rounded up: a client that obeys must not come too early.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.with(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The request carries no token.
    pub fn token_missing() -> Self {
        let detail = "this call needs exactly one `Authorization: Bearer <token>`";
        Self::new(StatusCode::UNAUTHORIZED, "token_missing", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// The request carries no key, or a wrong one.
    pub fn unauthorized() -> Self {
        let detail = "this listener needs its API key in `X-Sessgate-Key`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("X-Sessgate-Key"))
    }

    /// There is no such session.
    pub fn session_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "session_not_found", "there is no such session, or its time is over")
    }

    /// There is no such lease.
    pub fn lease_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "lease_not_found", "there is no such lease, or its time is over")
    }

    /// There is nothing at this path.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; /v1/openapi.json lists all there is")
    }

    /// The path is right and the method is not; `allow` lists the right ones.
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        let detail = "the method is not one of those in `Allow`";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).with(ALLOW, allow)
    }

    /// The body is not what the call takes.
    pub fn invalid_json(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", detail)
    }

    /// The query is not what the call takes.
    pub fn invalid_query(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
    }

    /// A duration makes no sense.
    pub fn invalid_timeout(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_timeout", detail)
    }

    /// The body is larger than any call's.
    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("the body of a request has at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    }

    /// As an answer.
    pub fn into_response(self) -> Response<Bytes> {
        let shape = Shape {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        // A struct of texts and a number always has a JSON form.
        let body = serde_json::to_vec(&shape).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.header);
        response
    }
}

impl From<UserNameError> for Problem {
    fn from(error: UserNameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_user", error.to_string())
    }
}

impl From<GatewayError> for Problem {
    fn from(error: GatewayError) -> Self {
        let detail = error.to_string();
        match error {
            GatewayError::NotFound => Self::session_not_found(),
            GatewayError::CreationRate { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "creation_rate", detail).retry_after(retry_after)
            }
            GatewayError::UserLimit { .. } => Self::new(StatusCode::CONFLICT, "user_limit", detail),
            GatewayError::SessionTooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "session_too_large", detail)
            }
            GatewayError::StorageFull => Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail),
            GatewayError::RevisionMismatch { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", detail)
            }
            GatewayError::LeaseLimit { retry_after, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "lease_limit", detail).retry_after(retry_after)
            }
            GatewayError::InvalidTimeout(reason) => Self::invalid_timeout(reason),
            GatewayError::Unavailable(StoreError::Full(_)) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "the store has no room left")
            }
            // What the store says may name files and addresses: it is for the log, not for clients.
            GatewayError::Unavailable(StoreError::Unavailable(_) | StoreError::Damaged(_)) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).retry_after(STORE_RETRY)
            }
        }
    }
}
