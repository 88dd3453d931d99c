//! Where a server of the Redis protocol is, and as whom to come: `redis://[[user]:password@]host[:port][/database]`, or
//! `unix:/path`.

use std::fmt;

use crate::config::settings::{Address, Secret};

const DEFAULT_PORT: u16 = 6379;

/// A server, and how to log in there. Shows itself without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    /// `None`: nobody has said.
    pub(super) database: Option<u32>,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A host, by name or address, and its port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(std::path::PathBuf),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) => write!(f, "redis://{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A URL that names no server. It does not repeat what was typed, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoServer {
    /// It is no such URL.
    #[error("takes `redis://[[user]:password@]host[:port][/database]` or `unix:/path`")]
    Form,
    /// It asks for TLS.
    #[error("does not speak TLS (`rediss://`) yet; let stunnel or `ssh -L` bring the server here, and name that")]
    Tls,
}

impl Server {
    /// The server that a URL names.
    pub(super) fn parse(text: &str) -> Result<Self, NoServer> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path`, as some clients have it, is `unix:/path`.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::at(Place::Unix(path.into()))) } else { Err(NoServer::Form) };
        }
        let url = reqwest::Url::parse(text).map_err(|_| NoServer::Form)?;
        match url.scheme() {
            "redis" => {}
            "rediss" => return Err(NoServer::Tls),
            _ => return Err(NoServer::Form),
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(NoServer::Form)?;
        let database = match url.path().trim_matches('/') {
            "" => None,
            digits => Some(digits.parse().map_err(|_| NoServer::Form)?),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NoServer::Form);
        }
        let user = Some(url.username()).filter(|user| !user.is_empty());
        let user = user.map(|user| String::from_utf8(unescape(user)?).ok().ok_or(NoServer::Form)).transpose()?;
        let password = url.password().map(|password| unescape(password).map(Secret::new)).transpose()?;
        Ok(Self {
            user,
            password,
            database,
            ..Self::at(Place::Tcp(host.to_owned(), url.port().unwrap_or(DEFAULT_PORT)))
        })
    }

    /// A listener of our own.
    pub(super) fn of_listener(address: &Address, user: Option<&str>, password: Option<&Secret>) -> Self {
        let place = match address {
            Address::Tcp(address) => Place::Tcp(
                // Every interface is none to connect to.
                if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() },
                address.port(),
            ),
            Address::Unix(path) => Place::Unix(path.clone()),
        };
        Self { user: user.map(str::to_owned), password: password.cloned(), ..Self::at(place) }
    }

    fn at(place: Place) -> Self {
        Self { place, user: None, password: None, database: None }
    }
}

/// `%2F` and its like.
fn unescape(text: &str) -> Result<Vec<u8>, NoServer> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).ok_or(NoServer::Form)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| NoServer::Form)?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_server_user_password_and_database() {
        let server = Server::parse("redis://ann:a%2Fb%40@example.org:6380/3").expect("it is one");
        assert_eq!(server.place, Place::Tcp("example.org".to_owned(), 6380));
        assert_eq!((server.user.as_deref(), server.database), (Some("ann"), Some(3)));
        assert_eq!(server.password, Some(Secret::new(b"a/b@".to_vec())));
        assert_eq!(server.to_string(), "redis://example.org:6380");
        let server = Server::parse("redis://:secret@[::1]").expect("it is one");
        assert_eq!((server.place, server.user), (Place::Tcp("[::1]".to_owned(), 6379), None));
        let server = Server::parse("unix:/run/redis.sock").expect("it is one");
        assert_eq!(server.to_string(), "unix:/run/redis.sock");
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for text in ["", "redis:", "redis://", "localhost:6379", "http://h", "redis://h/x", "redis://h/1?a=b", "unix:x"]
        {
            assert_eq!(Server::parse(text), Err(NoServer::Form), "{text}");
        }
        assert_eq!(Server::parse("redis://:%zz@h"), Err(NoServer::Form));
        assert_eq!(Server::parse("rediss://h"), Err(NoServer::Tls));
    }
}
