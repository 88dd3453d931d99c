//! The answers of the admin door.

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

type Answer = Response<Bytes>;

/// An error as RFC 9457 has it, with a stable `code`.
#[derive(Serialize)]
struct Problem<'p> {
    title: &'p str,
    status: u16,
    code: &'p str,
    detail: &'p str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'p [String],
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: &'static str) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

/// The exposition.
pub(super) fn metrics(text: String) -> Answer {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

/// JSON.
pub(super) fn json(text: String) -> Answer {
    answer(StatusCode::OK, "application/json", text)
}

/// YAML (RFC 9512).
pub(super) fn yaml(text: String) -> Answer {
    answer(StatusCode::OK, "application/yaml", text)
}

/// A page without scripts, which loads nothing and may not be framed.
pub(super) fn html(page: String) -> Answer {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    with(answer(StatusCode::OK, "text/html; charset=utf-8", page), CONTENT_SECURITY_POLICY, policy)
}

/// 401.
pub(super) fn key_required() -> Answer {
    let detail = "send the key as `Authorization: Bearer …` or `X-Sessgate-Key`";
    let refused = problem(StatusCode::UNAUTHORIZED, "api_key_required", detail, &[]);
    with(refused, WWW_AUTHENTICATE, "Bearer")
}

/// 404.
pub(super) fn not_found() -> Answer {
    problem(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path", &[])
}

/// 405.
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    let refused = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "`Allow` lists what is possible", &[]);
    with(refused, ALLOW, allow)
}

/// 422.
pub(super) fn config_invalid(problems: &[String]) -> Answer {
    let detail = "the file was refused; the configuration in force is unchanged";
    problem(StatusCode::UNPROCESSABLE_ENTITY, "config_invalid", detail, problems)
}

/// 500.
pub(super) fn internal(detail: &str) -> Answer {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail, &[])
}

fn problem(status: StatusCode, code: &str, detail: &str, problems: &[String]) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = Problem { title, status: status.as_u16(), code, detail, problems };
    // Strings and numbers always have a JSON form.
    answer(status, "application/problem+json", serde_json::to_vec(&problem).unwrap_or_default())
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let answer = with(answer, CONTENT_TYPE, content_type);
    with(with(answer, CACHE_CONTROL, "no-store"), X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
