//! What a request says: key, token, query, conditions and body.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, IF_MATCH};
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::problem::Problem;
use crate::clock::Timestamp;
use crate::doors::serve::ServeLimits;
use crate::session::{SessionId, SessionKey, UserName};
use crate::store::Cursor;

/// The most sessions on one page of a listing, and how many are there if nothing is said.
pub const MAX_PAGE: usize = 1_000;
const DEFAULT_PAGE: usize = 100;

/// The longest key of an app's own that a path may name.
const MAX_KEY_BYTES: usize = 1024;

/// The largest useless body that is worth reading to keep a connection.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;

/// What an `Authorization` header presents as a token.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    // RFC 9110: the scheme in any case, then one space or more.
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    let token = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// What a request presents as a token; `Ok(None)`: something that cannot be one of ours.
pub fn key(headers: &HeaderMap) -> Result<Option<SessionKey>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            bearer(value.as_bytes()).map(SessionKey::from_presented).ok_or_else(Problem::token_missing)
        }
        _ => Err(Problem::token_missing()),
    }
}

/// The key of the session that a request is about.
pub fn session_key(headers: &HeaderMap) -> Result<SessionKey, Problem> {
    key(headers)?.ok_or_else(Problem::session_not_found)
}

/// The revisions that a change is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Any.
    Any,
    /// This one.
    Revision(u64),
    /// None: what was sent is no revision of ours.
    Never,
}

/// Reads `If-Match`. As RFC 9110 asks, weak tags never match; a list of several is taken as its only known member
/// cannot be told without the session, so it never matches either.
pub fn if_match(headers: &HeaderMap) -> IfMatch {
    let mut values = headers.get_all(IF_MATCH).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return IfMatch::Any,
        (Some(value), None) => value.as_bytes(),
        _ => return IfMatch::Never,
    };
    if value == b"*" {
        return IfMatch::Any;
    }
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    quoted
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .map_or(IfMatch::Never, IfMatch::Revision)
}

/// Undoes percent-encoding; `None` if it is malformed or gives no UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    if text.contains('%') { String::from_utf8(percent_decode_bytes(text)?).ok() } else { Some(text.to_owned()) }
}

fn percent_decode_bytes(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let byte = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
            decoded.push(u8::try_from(byte).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

/// The user that a path names.
pub fn user(encoded: &str) -> Result<UserName, Problem> {
    let name = percent_decode(encoded).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_user", "the user in the path is not percent-encoded UTF-8")
    })?;
    Ok(UserName::new(&name)?)
}

/// The key that a path names: any bytes.
pub fn raw_key(encoded: &str) -> Result<Vec<u8>, Problem> {
    percent_decode_bytes(encoded).filter(|key| key.len() <= MAX_KEY_BYTES).ok_or_else(|| {
        let detail = format!("the key in the path must be percent-encoded and have at most {MAX_KEY_BYTES} bytes");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_key", detail)
    })
}

/// The parameters of a query, decoded. A parameter that is not among `known`, or there twice, is refused.
pub fn query<const N: usize>(query: Option<&str>, known: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let place = known.iter().position(|known| *known == name);
        let Some(place) = place else {
            return Err(Problem::invalid_query(match N {
                0 => "this call takes no query parameters".to_owned(),
                _ => format!("unknown query parameter; this call takes: {}", known.join(", ")),
            }));
        };
        let value =
            percent_decode(value).ok_or_else(|| Problem::invalid_query("the query is not percent-encoded UTF-8"))?;
        if values[place].replace(value).is_some() {
            return Err(Problem::invalid_query(format!("`{}` is there twice", known[place])));
        }
    }
    Ok(values)
}

/// How many sessions of a listing, and from where on.
pub fn page(parameters: Option<&str>) -> Result<(usize, Option<Cursor>), Problem> {
    let [limit, cursor] = query(parameters, ["limit", "cursor"])?;
    let limit =
        match limit {
            None => DEFAULT_PAGE,
            Some(limit) => limit.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)).ok_or_else(|| {
                Problem::invalid_query(format!("`limit` must be a whole number from 1 to {MAX_PAGE}"))
            })?,
        };
    let cursor = cursor
        .map(|cursor| {
            decode_cursor(&cursor).ok_or_else(|| Problem::invalid_query("`cursor` is not a `next_cursor` of ours"))
        })
        .transpose()?;
    Ok((limit, cursor))
}

/// A cursor as text: what comes back from a client says nothing that it was not told before.
pub fn encode_cursor(cursor: Cursor) -> String {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&cursor.created_at.as_millis().to_be_bytes());
    bytes[8..].copy_from_slice(cursor.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_cursor(text: &str) -> Option<Cursor> {
    let mut bytes = [0; 24];
    if text.len() != 32 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != bytes.len() {
        return None;
    }
    let (created_at, id) = bytes.split_first_chunk()?;
    Some(Cursor {
        created_at: Timestamp::from_millis(i64::from_be_bytes(*created_at)),
        id: SessionId::from_bytes(id.try_into().ok()?),
    })
}

/// Reads a body that must be JSON, or empty.
pub async fn body(request: Request<Incoming>, limits: &ServeLimits) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    let limit = limits.body_bytes;
    // By its announced length first: what is too large is not even invited (`Expect: 100-continue`).
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::body_too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if !head.headers.get(CONTENT_TYPE).is_none_or(|value| is_json(value.as_bytes())) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be `application/json`",
        ));
    }
    match timeout(limits.body_read, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::body_too_large(limit)),
        Ok(Err(_)) => Err(Problem::invalid_json("the body ended early or its framing is broken")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long to arrive")),
    }
}

/// Reads a body that the call has no use for, so that the connection can go on behind it. A large or slow one is left
/// where it is, which ends the connection after the answer.
pub async fn discard(body: &mut Incoming, limits: &ServeLimits) {
    if !body.is_end_stream() && body.size_hint().lower() <= MAX_DISCARDED_BYTES as u64 {
        let _ = timeout(limits.body_read, Limited::new(body, MAX_DISCARDED_BYTES).collect()).await;
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// A client address as text.
pub fn ip(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_ip",
            "`ip` must be an IPv4 or IPv6 address, without port or prefix",
        )
    })
}
