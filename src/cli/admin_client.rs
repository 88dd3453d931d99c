//! Asking a running sidecar's admin listener.

use std::time::Duration;

use super::{Exit, Watched, say};
use crate::config::settings::{Address, Secret};
use crate::http_client::{self, why};

/// How long an answer may take: container health checks wait for it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to an admin listener.
pub(super) struct AdminClient {
    client: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl AdminClient {
    /// # Errors
    /// If the command line names no such thing.
    pub(super) fn new(watched: &Watched) -> Result<Self, String> {
        let builder = http_client::builder().timeout(TIMEOUT);
        let (builder, base) = match watched.admin.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => (builder.unix_socket(path), "http://localhost".to_owned()),
            None if is_web_address(&watched.admin) => (builder, watched.admin.trim_end_matches('/').to_owned()),
            _ => return Err(format!("`--admin` takes `http://host:port` or `unix:/path`, not `{}`", watched.admin)),
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
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, base, key })
    }

    /// The same for a listener of the configuration, of whichever door.
    pub(super) fn to_listener(address: &Address, key: Option<&Secret>) -> Result<Self, String> {
        let builder = http_client::builder().timeout(TIMEOUT);
        let (builder, base) = match address {
            Address::Unix(path) => (builder.unix_socket(path.as_path()), "http://localhost".to_owned()),
            Address::Tcp(address) => (builder, format!("http://{address}")),
        };
        let key = key.map(|key| String::from_utf8_lossy(key.expose()).into_owned());
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, base, key })
    }

    /// The text under `path`.
    pub(super) async fn get(&self, path: &str) -> Result<String, String> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let asked = async {
            let response = request.send().await?.error_for_status()?;
            response.text().await
        };
        asked.await.map_err(why)
    }
}

fn is_web_address(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
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
        Err(error) => {
            eprintln!("sessgate: not ready: {error}");
            Exit::Unhealthy
        }
    }
}
