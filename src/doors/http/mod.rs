//! The HTTP session API.
//!
//! Reading order: [`routes`] what there is, `calls` what each call does, `request` and `body` what comes in,
//! `render` and [`problem`] what goes out. `openapi.json` says the same to machines, and is tested against it.

use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use subtle::ConstantTimeEq;

use self::problem::Problem;
use self::routes::Found;
use crate::config::settings::Secret;
use crate::doors::serve::ServeLimits;
use crate::doors::serve::h1::answer::{append, append_measured, append_number};
use crate::doors::serve::h1::{Head, KEY_HEADER, Service};
use crate::gateway::api::Slide;
use crate::gateway::{Gateway, MemoryLookUp};
use crate::metrics::labels::{Door, RequestOutcome};
use crate::session::SessionKey;

mod body;
mod calls;
pub mod problem;
mod render;
mod request;
pub mod routes;

/// The API's description, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The door.
pub struct Api {
    gateway: Arc<Gateway>,
    key: Option<Secret>,
    limits: ServeLimits,
}

impl Api {
    /// A door to `gateway`. With a `key`, every call has to bring it.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, key: Option<Secret>, limits: ServeLimits) -> Self {
        Self { gateway, key, limits }
    }

    /// Whether `presented` is the key, or none is asked for. Takes the same time for all keys of the right length.
    fn admits(&self, presented: Option<&[u8]>) -> bool {
        match &self.key {
            None => true,
            Some(key) => presented.is_some_and(|presented| bool::from(key.expose().ct_eq(presented))),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Bytes>, Problem> {
        let mut keys = request.headers().get_all(HeaderName::from_static(KEY_HEADER)).iter();
        let key = keys.next().filter(|_| keys.next().is_none());
        if !self.admits(key.map(HeaderValue::as_bytes)) {
            return Err(Problem::unauthorized());
        }
        let path = request.uri().path().to_owned();
        match routes::find(request.method(), &path) {
            Found::Call(operation, parameter) => self.call_operation(operation, parameter, request).await,
            Found::OtherMethods(methods) if request.method() == Method::OPTIONS => {
                Ok(empty(StatusCode::NO_CONTENT, ALLOW, routes::allow(&methods)))
            }
            Found::OtherMethods(methods) => Err(Problem::method_not_allowed(routes::allow(&methods))),
            Found::Nothing => Err(Problem::not_found()),
        }
    }
}

impl Service for Api {
    const DOOR: Door = Door::Api;

    async fn call(&self, request: Request<Incoming>) -> Response<Bytes> {
        self.answer(request).await.unwrap_or_else(Problem::into_response)
    }

    fn answer_at_once(&self, head: &Head<'_>, date: &[u8; 29], out: &mut Vec<u8>) -> Option<RequestOutcome> {
        if head.target != "/v1/session" || head.method != "GET" {
            return None;
        }
        if self.key.is_some() && !self.admits(head.only(KEY_HEADER)) {
            return None;
        }
        let key = SessionKey::from_presented(request::bearer(head.only("authorization")?)?)?;
        match self.gateway.look_up_in_memory(&key, Slide::Touch) {
            MemoryLookUp::Hit(view) => {
                out.extend_from_slice(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\netag: \"",
                );
                append_number(out, view.entry.session.revision);
                out.extend_from_slice(b"\"\r\n");
                append_measured(out, date, |out| render::session(out, &view, None, render::Data::Shown));
                Some(RequestOutcome::Ok)
            }
            MemoryLookUp::Expired => {
                append(out, &Problem::session_not_found().into_response(), date);
                Some(RequestOutcome::Refused)
            }
            MemoryLookUp::Absent => None,
        }
    }
}

/// An answer in JSON.
fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer without body.
fn empty(status: StatusCode, name: HeaderName, value: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response
}

fn no_content() -> Response<Bytes> {
    empty(StatusCode::NO_CONTENT, CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
