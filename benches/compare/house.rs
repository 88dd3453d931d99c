//! A gateway on its embedded store, inside this process, for what cannot be measured through a door.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use sessgate::clock::Clock;
use sessgate::config;
use sessgate::gateway::{CreateRequest, Gateway, Parts};
use sessgate::metrics::{BuildInfo, Metrics};
use sessgate::session::{OsGenerator, SessionKey, UserName};
use sessgate::store::Store;
use sessgate::store::embedded::EmbeddedStore;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Result;
use crate::bars::{ROOMY, SESSIONS_A_USER};
use crate::exchanges::DATA_BYTES;
use crate::servers::scratch;

/// Creations under way at once, so that many share a commit.
const CREATIONS: usize = 1_000;

pub struct House {
    pub gateway: Arc<Gateway>,
    runtime: Runtime,
    store: Arc<dyn Store>,
    _dir: TempDir,
}

impl House {
    /// Opens an empty one. Nothing runs in the background.
    pub fn open(clock: Arc<dyn Clock>) -> Result<Self> {
        let dir = scratch()?;
        let settings = config::parse(ROOMY, "roomy", &|_| None).map_err(|problems| problems.to_string())?;
        let generator = Arc::new(OsGenerator);
        let store: Arc<dyn Store> = Arc::new(
            EmbeddedStore::open(&dir.path().join("store"), clock.now().at, Arc::clone(&generator) as _)
                .map_err(|error| error.to_string())?,
        );
        let metrics = Arc::new(Metrics::new(&BuildInfo { version: "bench", revision: "", store: store.kind() }));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let parts = Parts { settings: Arc::new(settings), store: Arc::clone(&store), clock, generator, metrics };
        Ok(Self { gateway: Gateway::new(parts), runtime, store, _dir: dir })
    }

    /// Creates sessions, ten a user, and returns their keys.
    pub fn fill(&self, sessions: u64, idle_timeout: Option<Duration>) -> Result<Vec<SessionKey>> {
        let request = |number: u64| {
            let mut user = String::new();
            // Writing to a string cannot fail.
            let _ = write!(user, "user-{:09}", number / SESSIONS_A_USER);
            let data = format!("\"{:x<1$}\"", "", DATA_BYTES - 2).into_bytes().into();
            Ok::<_, crate::Failure>(CreateRequest {
                user: Some(UserName::new(&user)?),
                data,
                idle_timeout,
                ..CreateRequest::default()
            })
        };
        self.runtime.block_on(async {
            let (mut creations, mut keys) = (JoinSet::new(), Vec::new());
            for number in 0..sessions {
                if creations.len() == CREATIONS
                    && let Some(created) = creations.join_next().await
                {
                    keys.push(created??);
                }
                let (gateway, request) = (Arc::clone(&self.gateway), request(number)?);
                creations.spawn(async move { gateway.create(request).await.map(|created| created.token.key()) });
            }
            while let Some(created) = creations.join_next().await {
                keys.push(created??);
            }
            Ok(keys)
        })
    }

    /// Sweeps and returns how many sessions it ended.
    pub fn sweep(&self) -> u64 {
        self.runtime.block_on(self.gateway.sweep())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // Before the directory goes.
        self.runtime.block_on(self.store.close());
    }
}
