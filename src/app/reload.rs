//! Reload: the whole file is read, validated and put in force, or not at all.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::Configuration;
use crate::config::watch::{Content, InForce};
use crate::config::{
    Problem, Problems, ReadError, ReloadOutcome, live_hash, process_env, read_config, reload, unreadable,
};
use crate::doors::admin::Reload;
use crate::gateway::Gateway;
use crate::logging::Logging;
use crate::metrics::Metrics;
use crate::metrics::labels::{Outcome, ReloadTrigger};

/// What a reload touches. One runs at a time.
pub(super) struct Reloads {
    path: PathBuf,
    /// Whether the file was asked for by name.
    asked_for: bool,
    /// Whether what is in force is from the file. If not, that there is none is no problem.
    from_file: AtomicBool,
    /// Tells who watches the file; set as soon as somebody does.
    in_force: OnceLock<InForce>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    logging: Logging,
    turn: Mutex<()>,
}

impl Reloads {
    pub(super) fn new(
        configuration: Configuration,
        gateway: Arc<Gateway>,
        metrics: Arc<Metrics>,
        logging: Logging,
    ) -> Self {
        let Configuration { path, asked_for, loaded } = configuration;
        let from_file = AtomicBool::new(loaded.is_some());
        let in_force = OnceLock::new();
        Self { path, asked_for, from_file, in_force, gateway, metrics, logging, turn: Mutex::new(()) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn watched(&self, in_force: InForce) {
        // There is one watcher.
        let _ = self.in_force.set(in_force);
    }

    pub(super) async fn on_change(self: &Arc<Self>, content: Content) {
        // What is wrong has been logged, and nobody waits for an answer.
        let _ = self.reload(Some(content), ReloadTrigger::File).await;
    }

    pub(super) async fn on_signal(self: Arc<Self>) {
        let _ = self.reload(None, ReloadTrigger::Signal).await;
    }

    /// Puts `content`, or what the file holds now, in force.
    async fn reload(self: &Arc<Self>, content: Option<Content>, trigger: ReloadTrigger) -> Result<(), Vec<String>> {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        // Reading files, and weighing memory anew, may take a while.
        let judged = tokio::task::spawn_blocking(move || this.put_in_force(content)).await;
        let outcome = judged.unwrap_or_else(|error| Err(vec![format!("the reload has failed: {error}")]));
        let label = if outcome.is_ok() { Outcome::Ok } else { Outcome::Error };
        self.metrics.reload(label, trigger, self.gateway.wall());
        if let Err(problems) = &outcome {
            for problem in problems {
                let problem = problem.replace("\n  hint: ", "; ");
                tracing::error!(problem, "configuration refused; the last good one stays in force");
            }
        }
        outcome
    }

    fn put_in_force(&self, content: Option<Content>) -> Result<(), Vec<String>> {
        let file = self.path.display().to_string();
        let content = content.unwrap_or_else(|| read_config(&self.path).map(Into::into));
        let bytes = match content {
            Ok(bytes) => bytes,
            Err(ReadError::Missing) if self.from_file.load(Relaxed) => return Err(self.gone(&file).paragraphs()),
            Err(ReadError::Missing) => return Ok(()),
            Err(error) => return Err(unreadable(&file, &error).paragraphs()),
        };
        let current = self.gateway.settings().clone();
        let outcome = reload(&current, &bytes, &file, &process_env);
        let hash = match &outcome {
            ReloadOutcome::Applied { loaded, .. } | ReloadOutcome::Unchanged(loaded) => Some(loaded.hash),
            ReloadOutcome::Refused(_) => None,
        };
        if let Some(hash) = hash {
            self.from_file.store(true, Relaxed);
            if let Some(in_force) = self.in_force.get() {
                in_force.is(hash);
            }
        }
        match outcome {
            ReloadOutcome::Applied { loaded, changed } => {
                self.metrics.config_hash(live_hash(&loaded.settings));
                self.logging.apply(loaded.settings.log);
                self.gateway.apply(&Arc::new(loaded.settings));
                for key in changed {
                    tracing::info!(key = key.path, from = %key.old, to = %key.new, "configuration changed");
                }
                Ok(())
            }
            ReloadOutcome::Unchanged(_) => {
                tracing::info!("configuration read again; nothing has changed");
                Ok(())
            }
            ReloadOutcome::Refused(problems) => Err(problems.paragraphs()),
        }
    }

    fn gone(&self, file: &str) -> Problems {
        let at_restart = if self.asked_for { "would fail" } else { "would take the defaults" };
        let message = format!("the file is gone; what it said last stays in force until a restart, which {at_restart}");
        Problems::one(file, Problem::with_file(message))
    }
}

/// `POST /-/reload`.
pub(super) struct OnRequest(pub(super) Arc<Reloads>);

#[async_trait]
impl Reload for OnRequest {
    async fn reload(&self) -> Result<(), Vec<String>> {
        self.0.reload(None, ReloadTrigger::Request).await
    }
}
