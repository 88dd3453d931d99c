//! Answers that say yes: JSON, written straight into the answer's buffer.
//!
//! An app's data goes out as the very bytes that came in; they were checked to be JSON then.

use crate::clock::Timestamp;
use crate::doors::serve::h1::answer::append_number as number;
use crate::gateway::api::{Lease, View};
use crate::session::{Content, SessionId, Token};

/// What a session takes beside its data and user: 6 names, 2 handles and a token, 3 times, 2 numbers.
const FRAME_BYTES: usize = 384;

/// Whether a session shows its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// It does.
    Shown,
    /// It does not: in listings, whose size would have no useful bound otherwise.
    Hidden,
}

/// How many bytes to set aside for a session.
pub fn session_size(view: &View) -> usize {
    let session = &view.entry.session;
    FRAME_BYTES + session.data.len() + session.user.as_ref().map_or(0, |user| user.as_str().len() * 2)
}

/// Writes a session; with the token it has just got, if it has.
pub fn session(out: &mut Vec<u8>, view: &View, token: Option<&Token>, data: Data) {
    let session = &view.entry.session;
    out.extend_from_slice(b"{\"id\":\"");
    id(out, session.id);
    if let Some(token) = token {
        out.extend_from_slice(b"\",\"token\":\"");
        out.extend_from_slice(token.expose().as_bytes());
    }
    out.extend_from_slice(b"\",\"user\":");
    user(out, session.user.as_ref().map(crate::session::UserName::as_str));
    out.extend_from_slice(b",\"created_at\":\"");
    time(out, session.created_at);
    out.extend_from_slice(b"\",\"last_activity\":\"");
    time(out, view.last_activity);
    out.extend_from_slice(b"\",\"expires_at\":\"");
    time(out, view.expires_at);
    out.extend_from_slice(if view.stale {
        b"\",\"stale\":true,\"revision\":".as_slice()
    } else {
        b"\",\"stale\":false,\"revision\":"
    });
    number(out, session.revision);
    if data == Data::Shown {
        out.extend_from_slice(b",\"data\":");
        // What came through the Redis door is no JSON.
        let is_json = view.entry.content == Content::Json;
        out.extend_from_slice(if is_json { &session.data } else { b"null" });
    }
    out.push(b'}');
}

/// Writes a session that was created, and whom it made room with.
pub fn created(out: &mut Vec<u8>, view: &View, token: &Token, evicted: &[SessionId]) {
    out.extend_from_slice(b"{\"id\":\"");
    id(out, view.entry.session.id);
    out.extend_from_slice(b"\",\"token\":\"");
    out.extend_from_slice(token.expose().as_bytes());
    out.extend_from_slice(b"\",\"user\":");
    user(out, view.entry.session.user.as_ref().map(crate::session::UserName::as_str));
    out.extend_from_slice(b",\"created_at\":\"");
    time(out, view.entry.session.created_at);
    out.extend_from_slice(b"\",\"expires_at\":\"");
    time(out, view.expires_at);
    out.extend_from_slice(b"\",\"evicted\":[");
    for (place, evicted) in evicted.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"\"".as_slice() } else { b",\"" });
        id(out, *evicted);
        out.push(b'"');
    }
    out.extend_from_slice(b"]}");
}

/// Writes a lease.
pub fn lease(out: &mut Vec<u8>, lease: &Lease) {
    out.extend_from_slice(b"{\"lease\":\"");
    out.extend_from_slice(lease.id.encode(&mut [0; 36]).as_bytes());
    out.extend_from_slice(b"\",\"expires_at\":\"");
    time(out, lease.expires_at);
    out.extend_from_slice(b"\",\"in_use\":");
    number(out, u64::from(lease.in_use));
    out.extend_from_slice(b",\"limit\":");
    match lease.limit {
        Some(limit) => number(out, u64::from(limit)),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn id(out: &mut Vec<u8>, id: SessionId) {
    out.extend_from_slice(id.encode(&mut [0; 36]).as_bytes());
}

fn time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&time.to_rfc3339());
}

fn user(out: &mut Vec<u8>, user: Option<&str>) {
    match user {
        None => out.extend_from_slice(b"null"),
        // A name holds no control characters, so only these two have to be escaped.
        Some(name) if !name.bytes().any(|byte| matches!(byte, b'"' | b'\\')) => {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        }
        // Writing a text to memory cannot fail.
        Some(name) => serde_json::to_writer(out, name).unwrap_or_default(),
    }
}
