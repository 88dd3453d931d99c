//! The HTTP door on a free port, in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use sessgate::config::settings::{Address, Secret};
use sessgate::doors::http::Api;
use sessgate::doors::serve::h1::{Head, Http, Service};
use sessgate::doors::serve::{ServeLimits, Serving, Surroundings, bind};
use sessgate::metrics::labels::{Door, RequestOutcome};
use sessgate::shutdown::Shutdown;

use super::client::{Client, Reply};
use super::gateway::TestGateway;

/// How the door is set up.
pub struct Options {
    pub key: Option<&'static str>,
    pub limits: ServeLimits,
    pub event_loops: usize,
    /// Whether requests may be answered beneath hyper.
    pub lane: bool,
    /// A Unix socket instead of a port.
    pub socket: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { key: None, limits: ServeLimits::default(), event_loops: 1, lane: true, socket: None }
    }
}

/// A door that is open.
pub struct TestDoor {
    /// How many requests were not answered beneath hyper.
    pub through_hyper: Arc<AtomicU64>,
    address: Address,
    shutdown: Shutdown,
    serving: Serving,
}

/// The API, observed: which requests came through hyper?
struct Observed {
    api: Api,
    lane: bool,
    through_hyper: Arc<AtomicU64>,
}

impl Service for Observed {
    const DOOR: Door = Api::DOOR;

    async fn call(&self, request: Request<Incoming>) -> Response<Bytes> {
        self.through_hyper.fetch_add(1, Ordering::Relaxed);
        self.api.call(request).await
    }

    fn answer_at_once(&self, head: &Head<'_>, date: &[u8; 29], out: &mut Vec<u8>) -> Option<RequestOutcome> {
        if self.lane { self.api.answer_at_once(head, date, out) } else { None }
    }
}

impl TestDoor {
    pub fn open(gateway: &TestGateway) -> Self {
        Self::with(gateway, Options::default())
    }

    pub fn with(gateway: &TestGateway, options: Options) -> Self {
        let address = options.socket.map_or(Address::Tcp(([127, 0, 0, 1], 0).into()), Address::Unix);
        let bound = bind(&address, options.event_loops).expect("a free port");
        let key = options.key.map(|key| Secret::new(key.into()));
        let api = Api::new(Arc::clone(&gateway.gateway), key, options.limits);
        let (shutdown, drain) = Shutdown::new();
        let surroundings = Surroundings {
            limits: options.limits,
            metrics: Arc::clone(&gateway.metrics),
            clock: Arc::clone(&gateway.clock) as _,
            drain,
        };
        let through_hyper = Arc::default();
        let observed = Observed { api, lane: options.lane, through_hyper: Arc::clone(&through_hyper) };
        let serving = bound.serve(&Arc::new(Http(observed)), &surroundings).expect("the loops start");
        Self { through_hyper, address: serving.address().clone(), shutdown, serving }
    }

    pub fn address(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("listens on {}", path.display()),
        }
    }

    pub fn client(&self) -> Client {
        match &self.address {
            Address::Tcp(address) => Client::tcp(*address),
            Address::Unix(path) => Client::unix(Path::new(path)),
        }
    }

    /// One request on a connection of its own.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.client().call(method, path, headers, body)
    }

    /// Gives the signal to drain.
    pub fn begin_to_drain(&self) {
        self.shutdown.begin();
    }

    /// Drains and waits until it is done.
    pub fn close(self) {
        self.shutdown.begin();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.serving.finished(Door::Api)).expect("no loop fails");
    }
}
