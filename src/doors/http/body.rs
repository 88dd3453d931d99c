//! The bodies that calls take.
//!
//! A body is read in two steps. The first splits it into its members and refuses unknown ones, the second reads each
//! member as what it should be. So every message can say which member is wrong and where, and none repeats what was
//! sent: it might be a token in the wrong place.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::problem::Problem;
use super::request;
use crate::config::units::parse_duration;
use crate::gateway::api::CreateRequest;
use crate::session::UserName;

/// What a session's data is when nothing is said.
const NO_DATA: &str = "null";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateMembers<'a> {
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    ip: Option<&'a RawValue>,
    #[serde(borrow)]
    idle_timeout: Option<&'a RawValue>,
    #[serde(borrow)]
    absolute_timeout: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateMembers<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindMembers<'a> {
    #[serde(borrow)]
    user: &'a RawValue,
    #[serde(borrow)]
    database: Option<&'a RawValue>,
}

/// Reads the body of a creation. An empty body means an anonymous session without data.
pub fn create(body: &[u8]) -> Result<CreateRequest, Problem> {
    let members: CreateMembers<'_> = if body.is_empty() { CreateMembers::default() } else { members(body)? };
    let user = text(members.user, "user")?.map(|name| UserName::new(&name)).transpose()?;
    let ip: Option<IpAddr> = text(members.ip, "ip")?.map(|ip| request::ip(&ip)).transpose()?;
    Ok(CreateRequest {
        user,
        data: data(members.data.map_or(NO_DATA, RawValue::get)),
        ip,
        idle_timeout: duration(members.idle_timeout, "idle_timeout")?,
        absolute_timeout: duration(members.absolute_timeout, "absolute_timeout")?,
    })
}

/// Reads the body of an update: the new data.
pub fn update(body: &[u8]) -> Result<Box<[u8]>, Problem> {
    members(body).map(|members: UpdateMembers<'_>| data(members.data.get()))
}

/// Reads the body of a binding: the user, if there is to be one, and the number of the key space.
pub fn bind(body: &[u8]) -> Result<(Option<UserName>, u16), Problem> {
    let BindMembers { user, database } = members(body)?;
    // Left out, the user would be taken away by a slip of the pen, so it takes a `null`.
    let user = Some(user).filter(|user| user.get() != "null");
    let user = text(user, "user")?.map(|name| UserName::new(&name)).transpose()?;
    let read = |database: &RawValue| serde_json::from_str(database.get());
    let database = database
        .map_or(Ok(0), read)
        .map_err(|_| Problem::invalid_json(format!("`database` must be a whole number from 0 to {}", u16::MAX)))?;
    Ok((user, database))
}

fn data(json: &str) -> Box<[u8]> {
    json.as_bytes().into()
}

fn members<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // serde would take an array for the members in their order of declaration.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid_json("the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::invalid_json(describe(&error)))
}

/// Says what is wrong with a body, in words of ours or of the parser, and never in the sender's.
fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
    let what = match error.classify() {
        // The parser's messages about form are fixed texts.
        Category::Syntax | Category::Eof | Category::Io => message.to_owned(),
        Category::Data => match message.split_once('`') {
            Some(("unknown field ", rest)) => match rest.split_once('`') {
                Some((name, expected)) if is_plain_name(name) => format!("unknown field `{name}`{expected}"),
                _ => "unknown field".to_owned(),
            },
            // These name a member that we know.
            Some(("missing field " | "duplicate field ", _)) => message.to_owned(),
            _ => "the body must be a JSON object".to_owned(),
        },
    };
    format!("{what}, at line {line} column {column}")
}

/// Whether a name is a slip of the pen rather than something secret in the wrong place.
fn is_plain_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn text(value: Option<&RawValue>, member: &str) -> Result<Option<String>, Problem> {
    let read = |value: &RawValue| serde_json::from_str(value.get());
    value.map(read).transpose().map_err(|_| Problem::invalid_json(format!("`{member}` must be a string or null")))
}

fn duration(value: Option<&RawValue>, member: &str) -> Result<Option<Duration>, Problem> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Seconds(u64),
        Text(String),
    }
    let Some(value) = value else { return Ok(None) };
    let duration = match serde_json::from_str(value.get()) {
        Ok(Form::Seconds(seconds)) => Some(Duration::from_secs(seconds)),
        Ok(Form::Text(text)) => parse_duration(&text).ok(),
        Err(_) => None,
    };
    match duration {
        Some(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(Problem::invalid_timeout(format!(
            "`{member}` must be a duration like \"30m\", or a whole number of seconds, and more than nothing"
        ))),
    }
}
