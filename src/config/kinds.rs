//! What a value may be: how it is read, which bounds it has, and how the JSON Schema says so.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::files;
use super::problem::{masked_url, nearest, quoted};
use super::settings::{Address, HookUrl, Secret};
use super::units::{parse_duration, parse_size, show_duration, show_size};
use crate::session::identity::{MAX_PATH_BYTES, Path as ValuePath};

/// The longest path of a Unix socket: `sun_path` has 108 bytes on Linux, the last one a NUL.
const MAX_SOCKET_PATH: usize = 107;

/// The longest URL, as most servers accept it.
const MAX_URL_BYTES: usize = 2048;

/// A scalar of the file.
pub struct Scalar<'a> {
    /// Its text, environment variables filled in.
    pub text: &'a str,
    /// Its text as it was typed. Only this may appear in messages.
    pub typed: &'a str,
    /// Whether it says "nothing".
    pub null: bool,
}

/// Why a value is refused: a predicate that follows the value in the message.
pub struct Fault {
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl<T: Into<String>> From<T> for Fault {
    fn from(message: T) -> Self {
        Self { message: message.into(), hint: None }
    }
}

/// A kind of value.
pub trait Kind {
    /// What is read.
    type Value;

    /// The noun for it, with its article.
    fn noun(&self) -> String;

    /// Reads a scalar.
    fn read(&self, scalar: &Scalar<'_>) -> Result<Self::Value, Fault>;

    /// What a message calls a value as it was typed. A URL may hold a password, wherever somebody puts it.
    fn named(&self, typed: &str) -> String {
        if typed.contains("://") { quoted(&masked_url(typed)) } else { quoted(typed) }
    }

    /// The value as it would be typed, for the schema.
    fn show(&self, value: &Self::Value) -> Json;

    /// Its JSON Schema, environment variables aside.
    fn schema(&self) -> Json;
}

fn check_bounds<T: PartialOrd>(value: &T, min: &T, max: &T, show: impl Fn(&T) -> String) -> Result<(), Fault> {
    if value < min {
        Err(format!("is too small; it must be at least {}", show(min)).into())
    } else if value > max {
        Err(format!("is too large; it must be at most {}", show(max)).into())
    } else {
        Ok(())
    }
}

/// A duration between two bounds.
pub struct DurationKind {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Kind for DurationKind {
    type Value = Duration;

    fn noun(&self) -> String {
        "a duration, such as `25m`".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<Duration, Fault> {
        let value = parse_duration(scalar.text).map_err(|error| error.to_string())?;
        check_bounds(&value, &self.min, &self.max, |bound| show_duration(*bound))?;
        Ok(value)
    }

    fn show(&self, value: &Duration) -> Json {
        json!(show_duration(*value))
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2 })
    }
}

/// A number of bytes between two bounds.
pub struct SizeKind {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Kind for SizeKind {
    type Value = u64;

    fn noun(&self) -> String {
        "a size, such as `256MiB`".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<u64, Fault> {
        let value = parse_size(scalar.text).map_err(|error| error.to_string())?;
        check_bounds(&value, &self.min, &self.max, |bound| show_size(*bound))?;
        Ok(value)
    }

    fn show(&self, value: &u64) -> Json {
        json!(show_size(*value))
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": self.min, "maximum": self.max },
            { "type": "string", "pattern": "^[0-9]+(B|[KMGT]i?B)?$" },
        ] })
    }
}

/// A whole number between two bounds.
pub struct CountKind<T> {
    /// The smallest.
    pub min: T,
    /// The largest.
    pub max: T,
}

impl<T: Copy + Display + FromStr + PartialOrd + Serialize> Kind for CountKind<T> {
    type Value = T;

    fn noun(&self) -> String {
        "a whole number".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<T, Fault> {
        let digits = scalar.text.strip_prefix('-').unwrap_or(scalar.text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("is no whole number; write it with digits only".into());
        }
        let out_of_range = || format!("is out of range; it must be from {} to {}", self.min, self.max);
        let value = scalar.text.parse().map_err(|_| out_of_range())?;
        if value < self.min || value > self.max { Err(out_of_range().into()) } else { Ok(value) }
    }

    fn show(&self, value: &T) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({ "type": "integer", "minimum": self.min, "maximum": self.max })
    }
}

/// One of a few words.
pub struct WordKind<T: 'static>(pub &'static [(&'static str, T)]);

impl<T> WordKind<T> {
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(word, _)| *word)
    }
}

impl<T: Copy + PartialEq> Kind for WordKind<T> {
    type Value = T;

    fn noun(&self) -> String {
        format!("one of {}", self.words().collect::<Vec<_>>().join(", "))
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<T, Fault> {
        let found = self.0.iter().find(|(word, _)| *word == scalar.text);
        found.map(|(_, value)| *value).ok_or_else(|| Fault {
            message: format!("is not {}", self.noun()),
            hint: nearest(scalar.typed, self.words()).map(|word| format!("did you mean `{word}`?")),
        })
    }

    fn show(&self, value: &T) -> Json {
        json!(self.0.iter().find(|(_, known)| known == value).map(|(word, _)| *word))
    }

    fn schema(&self) -> Json {
        json!({ "enum": self.words().collect::<Vec<_>>() })
    }
}

/// Where a listener is bound: `host:port` or `unix:/path`.
pub struct AddressKind;

impl Kind for AddressKind {
    type Value = Address;

    fn noun(&self) -> String {
        "an address, `host:port` or `unix:/path`".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<Address, Fault> {
        if let Some(path) = scalar.text.strip_prefix("unix:") {
            check_path(path)?;
            if path.len() > MAX_SOCKET_PATH {
                return Err(format!("is too long; the path of a socket has at most {MAX_SOCKET_PATH} bytes").into());
            }
            return Ok(Address::Unix(path.into()));
        }
        let Some((host, port)) = scalar.text.rsplit_once(':') else {
            return Err("has no port; write `host:port` or `unix:/path`".into());
        };
        let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten();
        let port = port.ok_or("has no valid port; it must be from 0 to 65535, 0 being any free one")?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip = match (host, bracketed) {
            (_, Some(v6)) => v6.parse().map(IpAddr::V6).ok(),
            ("localhost", None) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            (v4, None) => v4.parse().map(IpAddr::V4).ok(),
        };
        ip.map(|ip| Address::Tcp(SocketAddr::new(ip, port))).ok_or_else(|| Fault {
            message: "has no valid host; it must be an IP address or `localhost`".to_owned(),
            hint: if host.parse::<IpAddr>().is_ok() {
                Some(format!("write an IPv6 address in brackets: `[{host}]:{port}`"))
            } else {
                Some("`0.0.0.0` is every interface".to_owned())
            },
        })
    }

    fn show(&self, value: &Address) -> Json {
        json!(value.to_string())
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^(unix:.+|.*:[0-9]{1,5})$" })
    }
}

/// A path. A relative one starts at the working directory.
pub struct PathKind;

impl Kind for PathKind {
    type Value = PathBuf;

    fn noun(&self) -> String {
        "a path".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<PathBuf, Fault> {
        check_path(if scalar.null { "" } else { scalar.text })?;
        Ok(scalar.text.into())
    }

    fn show(&self, value: &PathBuf) -> Json {
        json!(value.to_string_lossy())
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

fn check_path(path: &str) -> Result<(), Fault> {
    if path.is_empty() { Err("is an empty path".into()) } else { check_no_control(path) }
}

fn check_no_control(text: &str) -> Result<(), Fault> {
    if text.chars().any(char::is_control) { Err("holds a control character".into()) } else { Ok(()) }
}

/// Text on one line, not empty.
pub struct TextKind {
    /// What it is, with its article.
    pub noun: &'static str,
    /// The most bytes it may have.
    pub max: usize,
}

impl Kind for TextKind {
    type Value = String;

    fn noun(&self) -> String {
        self.noun.to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<String, Fault> {
        if scalar.null || scalar.text.is_empty() {
            return Err("is empty".into());
        }
        if scalar.text.len() > self.max {
            return Err(format!("is too long; it has at most {} bytes", self.max).into());
        }
        check_no_control(scalar.text)?;
        Ok(scalar.text.to_owned())
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": self.max })
    }
}

/// A place within the value of a session.
pub struct ValuePathKind;

impl Kind for ValuePathKind {
    type Value = ValuePath;

    fn noun(&self) -> String {
        "a path within a value, such as `/user/id`".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<ValuePath, Fault> {
        scalar.text.parse().map_err(|error| format!("does not lead into a value: {error}").into())
    }

    fn show(&self, value: &ValuePath) -> Json {
        json!(value.to_string())
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^(/.*)?$", "maxLength": MAX_PATH_BYTES })
    }
}

/// The secret in the file of that path.
pub struct SecretFileKind {
    /// Whether it is one that notices are signed with.
    pub signs: bool,
}

impl Kind for SecretFileKind {
    type Value = Secret;

    fn noun(&self) -> String {
        "the path of a file".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<Secret, Fault> {
        check_path(scalar.text)?;
        let secret = files::read_secret(scalar.text.as_ref())?;
        if self.signs && secret.signing_key().is_none() {
            return Err("begins with `whsec_`, and what follows is not base64".into());
        }
        Ok(secret)
    }

    /// Only what can be nothing but a path is shown. A secret that somebody typed here may well hold a `/`, as base64 does.
    fn named(&self, typed: &str) -> String {
        if ["/", "./", "../", "${"].iter().any(|begin| typed.starts_with(begin)) {
            quoted(typed)
        } else {
            "the file it names (not shown: this key takes the path of a file, not the secret)".to_owned()
        }
    }

    fn show(&self, _secret: &Secret) -> Json {
        json!(super::effective::MASKED)
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// An absolute `http` or `https` URL without credentials.
pub struct UrlKind;

impl Kind for UrlKind {
    type Value = HookUrl;

    fn noun(&self) -> String {
        "a URL".to_owned()
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<HookUrl, Fault> {
        if scalar.text.len() > MAX_URL_BYTES {
            return Err(format!("is too long; a URL has at most {MAX_URL_BYTES} bytes").into());
        }
        if scalar.text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("holds a blank or a control character".into());
        }
        let absolute = "is no absolute URL; it must start with `http://` or `https://` and a host";
        if !scalar.text.starts_with("http://") && !scalar.text.starts_with("https://") {
            return Err(absolute.into());
        }
        let url = reqwest::Url::parse(scalar.text).map_err(|_| absolute)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds credentials, which would show in logs; sign notices with `secret_file` instead".into());
        }
        if url.fragment().is_some() {
            return Err("holds a fragment (`#…`), which is never sent".into());
        }
        Ok(HookUrl::new(scalar.text, scalar.typed))
    }

    fn named(&self, typed: &str) -> String {
        quoted(&masked_url(typed))
    }

    fn show(&self, value: &HookUrl) -> Json {
        json!(value.to_string())
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^(https?://|.*\\$\\{)" })
    }
}

/// What is told to somebody who means `null`.
pub const NULL_HINT: &str = "`null` turns it off";

/// What is typed for it.
const NULL_WORDS: [&str; 7] = ["off", "no", "none", "never", "unlimited", "disabled", "false"];

/// Another kind, or `null`.
pub struct Nullable<K>(pub K);

impl<K: Kind> Kind for Nullable<K> {
    type Value = Option<K::Value>;

    fn noun(&self) -> String {
        format!("{}, or null", self.0.noun())
    }

    fn read(&self, scalar: &Scalar<'_>) -> Result<Self::Value, Fault> {
        if scalar.null {
            return Ok(None);
        }
        let means_null = NULL_WORDS.iter().any(|word| scalar.typed.eq_ignore_ascii_case(word));
        let value = self
            .0
            .read(scalar)
            .map_err(|fault| if means_null { Fault { hint: Some(NULL_HINT.to_owned()), ..fault } } else { fault });
        value.map(Some)
    }

    fn named(&self, typed: &str) -> String {
        self.0.named(typed)
    }

    fn show(&self, value: &Self::Value) -> Json {
        value.as_ref().map_or(Json::Null, |value| self.0.show(value))
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [self.0.schema(), { "type": "null" }] })
    }
}
