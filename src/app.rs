//! The only wiring: opens the store, builds the gateway, binds the doors, owns reload and the order of stopping.
//!
//! Starting: bind, open, serve. Stopping: readiness off, the API drains, background work saves what is left, the
//! store closes, the admin door goes last, so that the end can be watched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock};
use crate::config::settings::{Address, Settings, StoreSettings};
use crate::config::{self, ContentHash, Loaded, Problems, ReadError, Watcher};
use crate::doors::admin::{AdminService, Phase, Readiness};
use crate::doors::http::Api;
use crate::doors::resp::door::{self, Access, RedisDoor};
use crate::doors::serve::h1::Http;
use crate::doors::serve::{BindError, ServeLimits, Serving, Surroundings, bind};
use crate::gateway::{Gateway, Parts};
use crate::logging::Logging;
use crate::metrics::labels::Door;
use crate::metrics::{BuildInfo, Metrics};
use crate::session::{Generator, OsGenerator};
use crate::shutdown::{Drain, Shutdown};
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, OpenError, Options};

mod reload;
mod rlimits;
mod user_key;

use reload::Reloads;

/// The configuration to start with, and where it came from.
#[derive(Debug)]
pub struct Configuration {
    /// The file that is watched.
    pub path: PathBuf,
    /// Whether it was asked for by name. If not, it need not exist.
    pub asked_for: bool,
    /// What it holds; `None`: there is no file, and the documented defaults hold.
    pub loaded: Option<Loaded>,
}

impl Configuration {
    /// The name of the file that is read if none is named.
    pub const DEFAULT_PATH: &str = "config.yaml";

    /// Reads the file that was asked for, or the one by the default name if it is there.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn read(asked_for: Option<&Path>) -> Result<Self, Problems> {
        let path = asked_for.unwrap_or(Path::new(Self::DEFAULT_PATH)).to_owned();
        let loaded = match asked_for {
            Some(_) => Some(config::load(&path)?),
            None => config::load_if_present(&path)?,
        };
        Ok(Self { path, asked_for: asked_for.is_some(), loaded })
    }

    /// What is in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.loaded.as_ref().map_or_else(Settings::default, |loaded| loaded.settings.clone())
    }
}

/// Why the sidecar did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] OpenError),
    /// A listener cannot be bound.
    #[error("cannot listen on {address} (`{key}`): {source}")]
    Bind {
        /// The key that says to listen there.
        key: &'static str,
        /// Where.
        address: Address,
        /// Why not.
        source: BindError,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// A part ended that never should.
    #[error("{0}; this is a bug, please report it with the log lines before this one")]
    Internal(String),
}

/// A running sidecar.
pub struct Sidecar {
    gateway: Arc<Gateway>,
    store: Arc<dyn Store>,
    readiness: Arc<Readiness>,
    reloads: Arc<Reloads>,
    api: Serving,
    redis: Option<Serving>,
    admin: Serving,
    stop_api: Shutdown,
    stop_background: Shutdown,
    stop_admin: Shutdown,
    background: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl Sidecar {
    /// Starts everything; when it returns, requests are served. `trust_clock`: even if it is far behind what is stored.
    ///
    /// # Errors
    /// If a listener or the store is not to be had.
    pub async fn start(configuration: Configuration, trust_clock: bool, logging: Logging) -> Result<Self, RunError> {
        rlimits::adjust();
        let settings = Arc::new(configuration.settings());
        let listen = &settings.listen;
        let bind = |key, address: &Address, event_loops| {
            bind(address, event_loops).map_err(|source| RunError::Bind { key, address: address.clone(), source })
        };
        let api = bind("listen.api", &listen.api, listen.event_loops)?;
        let redis =
            listen.redis.as_ref().map(|address| bind("listen.redis", address, listen.event_loops)).transpose()?;
        let admin = bind("listen.admin", &listen.admin, 1)?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let generator: Arc<dyn Generator> = Arc::new(OsGenerator);
        let (store, user_key) = open_store(&settings.store, &clock, &generator, trust_clock).await?;
        let metrics = Arc::new(Metrics::with_user_key(&build_info(&*store), &user_key));
        metrics.config_loaded(clock.wall());
        metrics.config_hash(config::live_hash(&settings));

        let parts = Parts {
            settings: Arc::clone(&settings),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            generator,
            metrics: Arc::clone(&metrics),
        };
        let gateway = Gateway::new(parts);
        // The figures are right from the first scrape on.
        gateway.keep_up().await;

        let known = configuration.loaded.as_ref().map(|loaded| loaded.hash).ok_or(ReadError::Missing);
        let reloads = Arc::new(Reloads::new(configuration, Arc::clone(&gateway), Arc::clone(&metrics), logging));
        let watching = watch(Arc::clone(&reloads), known)?;

        let (stop_api, drain_api) = Shutdown::new();
        let (stop_background, mut drain_background) = Shutdown::new();
        let (stop_admin, drain_admin) = Shutdown::new();
        let background = tokio::spawn(Arc::clone(&gateway).run(async move { drain_background.begun().await }));

        let limits = ServeLimits::default();
        let surroundings =
            |drain: Drain| Surroundings { limits, metrics: Arc::clone(&metrics), clock: Arc::clone(&clock), drain };
        let key = listen.api_key.clone();
        let access = Access { user: listen.redis_user.clone(), password: listen.redis_password().cloned() };
        let readiness = Arc::new(Readiness::default());
        let config = {
            let gateway = Arc::clone(&gateway);
            Box::new(move || config::effective(&gateway.settings()))
        };
        let admin_service = AdminService::new(
            Arc::clone(&metrics),
            Arc::clone(&readiness),
            Box::new(reload::OnRequest(Arc::clone(&reloads))),
            config,
            key.clone(),
        );
        let starting = |source| RunError::System { doing: "starting the event loops", source };
        let admin = admin.serve(&Arc::new(Http(admin_service)), &surroundings(drain_admin)).map_err(starting)?;
        let api_service = Api::new(Arc::clone(&gateway), key, limits);
        let api = api.serve(&Arc::new(Http(api_service)), &surroundings(drain_api.clone())).map_err(starting)?;
        let redis = redis.map(|redis| {
            let port = match redis.address() {
                Address::Tcp(address) => address.port(),
                Address::Unix(_) => 0,
            };
            let door = RedisDoor::new(Arc::clone(&gateway), access, port);
            let surroundings = Surroundings { limits: door::limits(), ..surroundings(drain_api) };
            redis.serve(&Arc::new(door), &surroundings).map_err(starting)
        });
        let redis = redis.transpose()?;
        readiness.enter(Phase::Serving);
        if let Some(redis) = &redis {
            tracing::info!(redis = %redis.address(), "serving the Redis protocol");
        }
        tracing::info!(api = %api.address(), admin = %admin.address(), store = store.kind(), "serving");
        Ok(Self {
            gateway,
            store,
            readiness,
            reloads,
            api,
            redis,
            admin,
            stop_api,
            stop_background,
            stop_admin,
            background,
            watching,
        })
    }

    /// Where the API listens, with the port that was chosen.
    #[must_use]
    pub fn api_address(&self) -> &Address {
        self.api.address()
    }

    /// Where the Redis door listens, if there is one.
    #[must_use]
    pub fn redis_address(&self) -> Option<&Address> {
        self.redis.as_ref().map(Serving::address)
    }

    /// Where the admin door listens.
    #[must_use]
    pub fn admin_address(&self) -> &Address {
        self.admin.address()
    }

    /// Reads the configuration file anew, because of a signal.
    pub fn reload_on_signal(&self) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.reloads).on_signal()
    }

    /// Drains and stops: requests under way are answered, and everything is saved.
    ///
    /// # Errors
    /// If a part had failed before.
    pub async fn stop(self) -> Result<(), RunError> {
        tracing::info!("stopping: requests under way are being answered");
        self.readiness.enter(Phase::Draining);
        self.stop_api.begin();
        let api = self.api.finished(Door::Api).await;
        let redis = match self.redis {
            Some(redis) => redis.finished(Door::Redis).await,
            None => Ok(()),
        };
        self.stop_background.begin();
        let background = self.background.await;
        self.watching.abort();
        self.store.close().await;
        self.stop_admin.begin();
        let admin = self.admin.finished(Door::Admin).await;
        drop(self.gateway);
        api.and(redis).and(admin).map_err(|error| RunError::Internal(error.to_string()))?;
        background.map_err(|error| RunError::Internal(format!("background work has failed: {error}")))?;
        tracing::info!("stopped; everything is saved");
        Ok(())
    }
}

async fn open_store(
    settings: &StoreSettings,
    clock: &Arc<dyn Clock>,
    generator: &Arc<dyn Generator>,
    trust_clock: bool,
) -> Result<(Arc<dyn Store>, [u8; 32]), RunError> {
    let StoreSettings::Embedded { path } = settings.clone();
    let (now, generator) = (clock.now().at, Arc::clone(generator));
    let opening = tokio::task::spawn_blocking(move || {
        let options = Options { trust_clock, ..Options::default() };
        let store = EmbeddedStore::open_with(&path, now, Arc::clone(&generator), options)?;
        Ok::<_, RunError>((Arc::new(store) as Arc<dyn Store>, user_key::keep(&path, &*generator)))
    });
    opening.await.map_err(|error| RunError::Internal(format!("opening the store has failed: {error}")))?
}

fn build_info(store: &dyn Store) -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("SESSGATE_REVISION").unwrap_or("unknown"),
        store: store.kind(),
    }
}

/// Reloads whenever the file changes.
fn watch(reloads: Arc<Reloads>, known: Result<ContentHash, ReadError>) -> Result<JoinHandle<()>, RunError> {
    let mut watcher = Watcher::start(reloads.path().to_owned(), known)
        .map_err(|source| RunError::System { doing: "watching the configuration file", source })?;
    reloads.watched(watcher.in_force());
    Ok(tokio::spawn(async move {
        loop {
            let content = watcher.changed().await;
            reloads.on_change(content).await;
        }
    }))
}
