//! The command line: what is asked for, and the exit code that says how it went.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Configuration, RunError, Sidecar};
use crate::config::{self, Problems};
use crate::logging::Logging;

mod admin_client;
mod import;
mod top;

/// How the program ends, as `sysexits.h` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Clean = 0,
    /// Asked, and the answer is no: `health` of a sidecar that is not ready, or `import` of sessions of which some were
    /// refused.
    Unhealthy = 1,
    /// The command line is not understood.
    Usage = 64,
    /// An address cannot be listened on.
    Unavailable = 69,
    /// Something is wrong with the machine or with us.
    Internal = 70,
    /// The store cannot be opened.
    Store = 74,
    /// The configuration is not valid.
    Configuration = 78,
    /// Told to stop before it was done, as shells number it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // The discriminants above all fit.
        Self::from(exit as u8)
    }
}

/// Session gateway sidecar: live limits, clean-up and metrics in front of an app's session store.
#[derive(Debug, Parser)]
#[command(name = "sessgate", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Start even if the clock is more than a day behind what is stored; times ahead of it are taken for now
    #[arg(long)]
    trust_clock: bool,
}

#[derive(Debug, Default, clap::Args)]
struct ConfigFile {
    /// The configuration file [default: config.yaml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar (what happens without a command, too)
    Run(Run),
    /// Validate the configuration and print every problem with its place
    Check(ConfigFile),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Show tiers, rates and the heaviest users, live
    Top(Watched),
    /// Move existing sessions in, through the Redis door of a running sidecar; resumable
    Import(import::Import),
    /// Ask a running sidecar whether it is ready: exit code 0 if it is, for container health checks
    Health(Watched),
}

#[derive(Debug, clap::Args)]
struct Watched {
    /// The admin listener: `http://host:port` or `unix:/path`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9480")]
    admin: String,
    /// A file with the API key, where the admin listener asks for one
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

/// Does what the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if asked_for { Exit::Clean } else { Exit::Usage }.into();
        }
    };
    match arguments.command {
        None => run(&arguments.run),
        Some(Command::Run(asked)) => run(&asked),
        Some(Command::Check(file)) => check(&file),
        Some(Command::Schema) => {
            say(&format!("{:#}\n", config::schema()));
            Exit::Clean
        }
        Some(Command::Top(watched)) => with_runtime(top::run(&watched)),
        Some(Command::Import(asked)) => with_runtime(import::run(asked)),
        Some(Command::Health(watched)) => with_runtime(admin_client::health(&watched)),
    }
    .into()
}

fn check(file: &ConfigFile) -> Exit {
    match Configuration::read(file.config.as_deref()) {
        Ok(Configuration { path, loaded: Some(_), .. }) => {
            say(&format!("{}: valid\n", path.display()));
            Exit::Clean
        }
        Ok(Configuration { path, loaded: None, .. }) => {
            say(&format!("there is no {}: the documented defaults hold\n", path.display()));
            Exit::Clean
        }
        Err(problems) => refuse(&problems),
    }
}

/// Writes what was asked for. Whoever does not read it to its end has seen enough.
fn say(text: &str) {
    let _ = stdout().write_all(text.as_bytes());
}

fn refuse(problems: &Problems) -> Exit {
    eprintln!("{problems}");
    Exit::Configuration
}

fn run(asked: &Run) -> Exit {
    let configuration = match Configuration::read(asked.file.config.as_deref()) {
        Ok(configuration) => configuration,
        Err(problems) => return refuse(&problems),
    };
    let logging = Logging::start(configuration.settings().log);
    if configuration.loaded.is_none() {
        let file = configuration.path.display();
        tracing::info!("there is no {file}: running on the documented defaults; the file is read when it appears");
    }
    with_runtime(serve(configuration, asked.trust_clock, logging))
}

async fn serve(configuration: Configuration, trust_clock: bool, logging: Logging) -> Exit {
    match serve_until_told(configuration, trust_clock, logging).await {
        Ok(()) => Exit::Clean,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                RunError::Store(_) => Exit::Store,
                RunError::Bind { .. } => Exit::Unavailable,
                RunError::System { .. } | RunError::Internal(_) => Exit::Internal,
            }
        }
    }
}

async fn serve_until_told(configuration: Configuration, trust_clock: bool, logging: Logging) -> Result<(), RunError> {
    let listen = |kind| signal(kind).map_err(|source| RunError::System { doing: "listening for signals", source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let sidecar = Sidecar::start(configuration, trust_clock, logging).await?;
    // A reload may hang on a file system that does, and must not keep it from stopping.
    let reloads = async {
        while hangup.recv().await.is_some() {
            sidecar.reload_on_signal().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = reloads => {}
    }
    sidecar.stop().await
}

/// Background work needs one thread; the doors bring their own.
fn with_runtime(work: impl Future<Output = Exit>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sessgate: the runtime cannot be started: {error}");
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(work);
    // A reload that hangs on a dead file system shall not keep us from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}
