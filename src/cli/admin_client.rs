//! Asking a running sidecar's admin listener.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use super::{Exit, Watched, say};
use crate::config::problem::masked_url;
use crate::config::settings::{Address, Secret};
use crate::doors::serve::h1::KEY_HEADER;
use crate::http_client::{self, why};

/// How long an answer may take: container health checks wait for it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to an admin listener.
pub(super) struct AdminClient {
    client: reqwest::Client,
    /// What it is called in messages.
    name: String,
    base: String,
    key: Option<String>,
}

/// Why there is no answer of use.
pub(super) enum Failure {
    /// Nobody listens there.
    Nobody,
    /// It was answered otherwise than with 200, and with these words.
    Answered(StatusCode, String),
    /// Anything else.
    Other(String),
}

impl AdminClient {
    /// # Errors
    /// If the command line names no such thing.
    pub(super) fn new(watched: &Watched) -> Result<Self, String> {
        let name = masked_url(&watched.admin);
        let builder = http_client::builder().timeout(TIMEOUT);
        let (builder, base) = match watched.admin.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => (builder.unix_socket(path), "http://localhost".to_owned()),
            None if is_web_address(&watched.admin) => (builder, watched.admin.trim_end_matches('/').to_owned()),
            _ => return Err(format!("`--admin` takes `http://host:port` or `unix:/path`, not `{name}`")),
        };
        let key = match &watched.api_key_file {
            None => None,
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| format!("{}: {error}", file.display()))?
                    .trim_end()
                    .to_owned(),
            ),
        };
        let client = builder.build().map_err(why)?;
        Ok(Self { client, name, base, key })
    }

    /// The same for a listener of the configuration, of whichever door.
    pub(super) fn to_listener(address: &Address, key: Option<&Secret>) -> Result<Self, String> {
        let builder = http_client::builder().timeout(TIMEOUT);
        let (builder, base) = match address {
            Address::Unix(path) => (builder.unix_socket(path.as_path()), "http://localhost".to_owned()),
            Address::Tcp(address) => (builder, format!("http://{address}")),
        };
        let key = key.map(|key| String::from_utf8_lossy(key.expose()).into_owned());
        let client = builder.build().map_err(why)?;
        Ok(Self { client, name: address.to_string(), base, key })
    }

    /// What it is called in messages: what was typed, without a password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text under `path`.
    pub(super) async fn get(&self, path: &str) -> Result<String, Failure> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header(KEY_HEADER, key);
        }
        let asked = async {
            let response = request.send().await?;
            Ok((response.status(), response.text().await?))
        };
        match asked.await {
            Ok((StatusCode::OK, text)) => Ok(text),
            Ok((status, text)) => Err(Failure::Answered(status, text)),
            Err(error) if is_nobody(&error) => Err(Failure::Nobody),
            Err(error) => Err(Failure::Other(why(error))),
        }
    }

    /// What is told of a failure, with what to do about it.
    pub(super) fn told(&self, failure: &Failure) -> String {
        let name = &self.name;
        match failure {
            Failure::Nobody => format!(
                "nothing listens on {name}; is the sidecar running? If `listen.admin` differs, name it with `--admin`"
            ),
            Failure::Answered(StatusCode::UNAUTHORIZED, _) if self.key.is_some() => {
                format!("{name} refuses the key of `--api-key-file`")
            }
            Failure::Answered(StatusCode::UNAUTHORIZED, _) => {
                format!("{name} asks for the API key: name its file with `--api-key-file`")
            }
            Failure::Answered(StatusCode::NOT_FOUND, _) => {
                format!("{name} is not an admin listener; see `listen.admin`")
            }
            // Somebody else may have said it: nothing that moves the cursor, and no page.
            Failure::Answered(StatusCode::SERVICE_UNAVAILABLE, said) => {
                let line: String = said.trim().chars().take_while(|c| !c.is_control()).take(80).collect();
                format!("{name} is not ready: {line}")
            }
            Failure::Answered(status, _) => format!("{name} answers {status}; see `listen.admin`"),
            Failure::Other(why) => format!("{name} does not answer: {why}"),
        }
    }
}

fn is_web_address(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| url.scheme() == "http" && url.has_host())
}

/// Whether the system says that nobody listens: the port is closed, or there is no such socket.
fn is_nobody(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    error.is_connect() && kinds.any(|kind| matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

/// Whether the sidecar is ready.
pub(super) async fn health(watched: &Watched) -> Exit {
    let client = match AdminClient::new(watched) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("sessgate: {error}");
            return Exit::Usage;
        }
    };
    match client.get("/readyz").await {
        Ok(said) => {
            say(&said);
            Exit::Clean
        }
        Err(failure) => {
            eprintln!("sessgate: {}", client.told(&failure));
            Exit::Unhealthy
        }
    }
}
