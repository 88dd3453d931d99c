//! Log lines: one an event, on standard error, for people or for machines, changed while running.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::settings::{Log, LogFormat, LogLevel};

type Format = Box<dyn Layer<Filtered> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<LevelFilter, Registry>, Registry>;

/// Changes what is logged.
#[derive(Clone)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    format: reload::Handle<Format, Filtered>,
}

impl Logging {
    /// Starts logging for the whole process. A second call changes nothing but what it returns.
    #[must_use]
    pub fn start(log: Log) -> Self {
        let (level, level_handle) = reload::Layer::new(level_of(log.level));
        let (format, format_handle) = reload::Layer::new(format_of(log.format));
        // Fails only if a subscriber is there already, as in a test that starts two sidecars.
        let _ = tracing_subscriber::registry().with(level).with(format).try_init();
        Self { level: level_handle, format: format_handle }
    }

    /// Logs like that from now on.
    pub fn apply(&self, log: Log) {
        // Fails only when the subscriber is gone, and then nothing is logged anyway.
        let _ = self.level.reload(level_of(log.level));
        let _ = self.format.reload(format_of(log.format));
    }
}

fn level_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn format_of(format: LogFormat) -> Format {
    match format {
        LogFormat::Text => {
            fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(stderr).json().flatten_event(true).with_target(false).boxed(),
    }
}
