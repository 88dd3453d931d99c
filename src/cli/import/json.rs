//! From a file: one JSON object, each key with its session. Read as a stream, so that it may be larger than memory.
//!
//! A value is
//!
//! - the session as the app stores it: a text, as it is, or any other JSON, without the space around its parts; or
//! - that with times around it: an object with the session under `data` (or `session`, `value`), and nothing besides but
//!   times. Then only the session is written.
//!
//! Times are looked for in both kinds of object, by these names, whatever their case, `_` and `-`: `last_access`
//! (`last_accessed`, `last_access_time`, `last_activity`, `last_used`, `updated`, `…_at`), `created` (`created_at`,
//! `creation_time`), `expires` (`expires_at`, `expiry`, `expire`), `ttl` in seconds or `pttl` in milliseconds from the
//! last access, or else from now (a negative one is none, as Redis says it of a key without an end); and in
//! `cookie.expires`, where express-session has it. A time is a number of seconds, milliseconds or smaller units since
//! 1970, or a text of RFC 3339.
//!
//! A session ends at `cookie.expires`; or else at `expires` or by its `ttl`; or else `lifetimes.idle_timeout` after the
//! last access; and never later than `lifetimes.absolute_timeout` after its creation. Without any of these it has no end
//! of its own. When it was created the sidecar reads from the value that is written, by the rules of
//! `redis_door.sessions`.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::target::{Item, Value};
use super::{Failure, Work};
use crate::clock::Timestamp;
use crate::session::{Lifetimes, identity};

/// The longest entry that is read, in bytes: far more than a door takes, so that what is merely too large is counted.
const ENTRY_BYTES: u64 = 64 * 1024 * 1024;

/// Moves everything that is in the file.
pub(super) fn run(path: &Path, lifetimes: Lifetimes, work: &mut Work) -> Result<(), Failure> {
    let failure = |source| Failure::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failure)?;
    let meta = file.metadata().map_err(failure)?;
    if meta.is_dir() {
        return Err(failure(io::ErrorKind::IsADirectory.into()));
    }
    // A pipe has no size.
    let size = Some(meta.len()).filter(|_| meta.is_file());
    let place = Place { read: Rc::default(), limit: Rc::new(Cell::new(ENTRY_BYTES)) };
    let reader = BufReader::with_capacity(64 * 1024, Metered { inner: file, place: place.clone() });
    let mut json = serde_json::Deserializer::from_reader(reader);
    let mut failed = None;
    let entries = Entries { lifetimes, size, place, work: &mut *work, failed: &mut failed };
    let read = entries.deserialize(&mut json).and_then(|()| json.end());
    if let Some(failure) = failed {
        return Err(failure);
    }
    // What was read before an error is moved.
    work.target.flush(&mut work.tally)?;
    read.map_err(|error| {
        if error.is_io() {
            return failure(error.into());
        }
        let (line, column, what) = (error.line(), error.column(), error.to_string());
        let what = what.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&what).to_owned();
        Failure::Json { path: path.to_owned(), line, column, what }
    })
}

/// How far the file is read, and how far it may be until the next entry begins.
#[derive(Clone)]
struct Place {
    read: Rc<Cell<u64>>,
    limit: Rc<Cell<u64>>,
}

struct Metered<R> {
    inner: R,
    place: Place,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = self.place.read.get() + count as u64;
        self.place.read.set(read);
        if read > self.place.limit.get() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "an entry of more than 64 MiB is no session"));
        }
        Ok(count)
    }
}

/// Takes the entries of the object one by one.
struct Entries<'w> {
    lifetimes: Lifetimes,
    size: Option<u64>,
    place: Place,
    work: &'w mut Work,
    /// What has gone wrong that is not the file's fault.
    failed: &'w mut Option<Failure>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, each key with its session")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value::<Box<RawValue>>()?;
            let read = self.place.read.get();
            self.place.limit.set(read + ENTRY_BYTES);
            let session = Session::of(value.get(), self.lifetimes, self.work.target.now());
            let item = Item { key: key.into_bytes(), value: Value::Text(session.data), deadline: session.deadline };
            let added = self.work.target.add(item, &mut self.work.tally);
            let went = added.and_then(|()| self.work.step((read, self.size)));
            if let Err(failure) = went {
                *self.failed = Some(failure);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// What a value says.
struct Session {
    data: Vec<u8>,
    deadline: Option<Timestamp>,
}

/// What a member of the object around a session, or of the session, means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Data,
    Created,
    LastAccess,
    Expires,
    Seconds,
    Milliseconds,
    Other,
}

type Object<'v> = HashMap<Cow<'v, str>, &'v RawValue>;

/// The name as it is compared: `lastAccess`, `last_access` and `__lastAccess` are one.
fn member(name: &str) -> Member {
    let name: String = name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect();
    match name.as_str() {
        "data" | "session" | "value" => Member::Data,
        "created" | "createdat" | "creationtime" | "ctime" => Member::Created,
        "lastaccess" | "lastaccessed" | "lastaccessedat" | "lastaccesstime" | "lastaccessedtime" | "lastactivity"
        | "lastused" | "lastusedat" | "accessedat" | "updated" | "updatedat" | "mtime" => Member::LastAccess,
        "expires" | "expiresat" | "expire" | "expireat" | "expiry" => Member::Expires,
        "ttl" => Member::Seconds,
        "pttl" | "ttlms" => Member::Milliseconds,
        _ => Member::Other,
    }
}

impl Session {
    fn of(value: &str, lifetimes: Lifetimes, now: Timestamp) -> Self {
        let Ok(object) = serde_json::from_str::<Object<'_>>(value) else {
            return Self { data: text_of(value), deadline: None };
        };
        // The session itself is the data of just one member, or all of it.
        let mut around = object.iter().filter(|(name, _)| member(name) == Member::Data);
        let only_times = object.keys().all(|name| member(name) != Member::Other);
        let data = match (around.next(), around.next()) {
            (Some((_, data)), None) if only_times => data.get(),
            _ => value,
        };
        Self { data: text_of(data), deadline: deadline_of(&object, lifetimes, now) }
    }
}

fn deadline_of(object: &Object<'_>, lifetimes: Lifetimes, now: Timestamp) -> Option<Timestamp> {
    let latest = |wanted| {
        let times = object.iter().filter(|(name, _)| member(name) == wanted);
        times.filter_map(|(_, value)| moment(value)).max_by_key(|at| at.as_millis())
    };
    let length = |wanted| {
        let mut lengths = object.iter().filter(|(name, _)| member(name) == wanted);
        lengths.find_map(|(_, value)| value.get().parse::<f64>().ok().filter(|length| *length >= 0.0))
    };
    let in_cookie = || {
        let cookie = serde_json::from_str::<Object<'_>>(object.get("cookie")?.get()).ok()?;
        moment(cookie.get("expires")?)
    };
    let last_access = latest(Member::LastAccess);
    let ttl = length(Member::Seconds).map(|seconds| seconds * 1e3).or_else(|| length(Member::Milliseconds));
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, which is far enough away")]
    let by_ttl = || ttl.map(|ms| after(last_access.unwrap_or(now), ms as i64));
    let by_idleness = || last_access.map(|at| at + lifetimes.idle_timeout);
    // Beside a cookie it is the session itself that is read, and other ends in it may be those of something else, such
    // as an access token.
    let own = in_cookie().or_else(|| latest(Member::Expires)).or_else(by_ttl).or_else(by_idleness);
    let absolute = latest(Member::Created).and_then(|at| Some(at + lifetimes.absolute_timeout?));
    own.into_iter().chain(absolute).min_by_key(|at| at.as_millis())
}

fn after(at: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add(ms))
}

/// The time that a number or a text is.
fn moment(value: &RawValue) -> Option<Timestamp> {
    let text = serde_json::from_str::<Cow<'_, str>>(value.get()).unwrap_or(Cow::Borrowed(value.get()));
    identity::moment_of(text.as_bytes())
}

/// A text's own bytes; of other values, the JSON, without space between its parts.
fn text_of(value: &str) -> Vec<u8> {
    if let Ok(text) = serde_json::from_str::<String>(value) {
        return text.into_bytes();
    }
    let mut bytes = Vec::with_capacity(value.len());
    let (mut is_in_text, mut is_escaped) = (false, false);
    for byte in value.bytes() {
        if is_in_text || !byte.is_ascii_whitespace() {
            bytes.push(byte);
        }
        is_in_text ^= byte == b'"' && !is_escaped;
        is_escaped = is_in_text && byte == b'\\' && !is_escaped;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);
    const LIFETIMES: Lifetimes = Lifetimes { idle_timeout: HOUR, absolute_timeout: None, stale_after: HOUR };

    #[track_caller]
    fn check(value: &str, data: &str, deadline: Option<i64>) {
        let session = Session::of(value, LIFETIMES, Timestamp::from_millis(NOW));
        assert_eq!(String::from_utf8_lossy(&session.data), data);
        assert_eq!(session.deadline.map(|at| at.as_millis() - NOW), deadline, "{value}");
    }

    #[test]
    fn a_session_is_kept_as_the_app_has_it() {
        check(r#""a\"\u00e9 b""#, "a\"é b", None);
        check("[1, 2.50, \"a b\\\" c\", {\"d\": null}]", r#"[1,2.50,"a b\" c",{"d":null}]"#, None);
        check("12345678901234567890.0", "12345678901234567890.0", None);
        check("{ \"user\" : { \"id\" : 7 } }", r#"{"user":{"id":7}}"#, None);
        // Other members besides times: it is the session's own.
        check(r#"{"data":1,"user":2}"#, r#"{"data":1,"user":2}"#, None);
        check(r#"{"data":1,"value":2}"#, r#"{"data":1,"value":2}"#, None);
        check(r#"{"a\\":" x "}"#, r#"{"a\\":" x "}"#, None);
    }

    #[test]
    fn times_around_a_session_are_left_behind() {
        check(r#"{"data":{"u": 1},"created":1700000000,"last_access":1800000000}"#, r#"{"u":1}"#, Some(3_600_000));
        check(r#"{"session":"text","lastAccess":1800000000500}"#, "text", Some(3_600_500));
        check(r#"{"value":"x","expires":"2027-01-15T08:00:01.5Z"}"#, "x", Some(1_500));
        check(r#"{"data":"x","ttl":60}"#, "x", Some(60_000));
        check(r#"{"data":"x","pttl":60,"last_used":1799999999}"#, "x", Some(-940));
    }

    #[test]
    fn times_within_a_session_are_read_and_stay() {
        let value = r#"{"user":7,"__lastAccess":1800000000000}"#;
        check(value, value, Some(3_600_000));
        let value = r#"{"cookie":{"expires":"2027-01-15T08:00:02Z"},"u":1,"lastAccess":1800000000000}"#;
        check(value, value, Some(2_000));
        check(r#"{"expires":null,"u":1}"#, r#"{"expires":null,"u":1}"#, None);
    }

    #[test]
    fn a_negative_length_is_no_end() {
        check(r#"{"data":"x","ttl":-1}"#, "x", None);
        check(r#"{"data":"x","pttl":-1}"#, "x", None);
        check(r#"{"data":"x","ttl":-1,"pttl":60}"#, "x", Some(60));
        check(r#"{"data":"x","ttl":-1,"expires":1800000001}"#, "x", Some(1_000));
        check(r#"{"data":"x","ttl":0}"#, "x", Some(0));
    }

    #[test]
    fn the_end_of_the_cookie_is_the_session_s_and_other_ends_in_it_may_be_of_something_else() {
        for other in [r#""expires_at":1700000000"#, r#""ttl":0"#, r#""expires":"2020-01-01T00:00:00Z""#] {
            let value = format!(r#"{{"cookie":{{"expires":"2027-01-15T08:00:02Z"}},{other}}}"#);
            check(&value, &value, Some(2_000));
        }
        let value = r#"{"cookie":{"expires":null},"expires_at":1800000001}"#;
        check(value, value, Some(1_000));
    }

    #[test]
    fn nothing_lives_longer_than_sessions_may() {
        let lifetimes = Lifetimes { absolute_timeout: Some(HOUR), ..LIFETIMES };
        let session =
            Session::of(r#"{"data":"x","created":1799999000,"ttl":9000}"#, lifetimes, Timestamp::from_millis(NOW));
        assert_eq!(session.deadline.map(|at| at.as_millis() - NOW), Some(2_600_000));
    }
}
