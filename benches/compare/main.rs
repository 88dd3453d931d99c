//! The sidecar beside its peers: every performance bar, measured on this machine in one run. `make bench`.
//!
//! Figures are ratios of medians over alternating rounds; absolute times are orientation only. `--only P1,P5` runs
//! some and keeps the other sections of `benches/RESULTS.md`, of whatever machine they are; `--quick` runs small and only
//! prints.
//!
//! Read [`measure`] for what a round is, [`load`] for the generator, [`servers`] for the peers; `bars` has one module
//! for each comparison.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sessgate::clock::{Clock, SystemClock};

use measure::Plan;

mod bars;
mod ceiling;
mod exchanges;
mod house;
mod load;
mod machine;
mod measure;
mod process;
mod redis_benchmark;
mod report;
mod servers;
mod visits;
mod wrk;

/// The program's own allocator: what runs in process here runs as it does there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why a comparison cannot be made; the text says it all.
type Failure = Box<dyn Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

/// Measures the sidecar beside its peers and writes benches/RESULTS.md.
#[derive(Parser)]
struct Options {
    /// Run only these, as in P1,P5; the other sections of the report stay.
    #[arg(long, value_delimiter = ',', value_parser = bars::ALL.map(|comparison| comparison.id))]
    only: Vec<String>,
    /// Alternating rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Short rounds and small crowds: shows that everything runs; prints the report and keeps the file.
    #[arg(long)]
    quick: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True if everything that could be compared was. A missed bar is a finding and no failure.
fn run(options: &Options) -> Result<bool> {
    let rounds = usize::from(options.rounds);
    let plan = if options.quick {
        Plan { rounds, window: Duration::from_secs(1), million: 20_000 }
    } else {
        Plan { rounds, window: Duration::from_secs(5), million: 1_000_000 }
    };
    let now = SystemClock::new().now().at.to_string();
    let mut lab = bars::Lab::new(plan);
    let (mut fresh, mut complete) = (Vec::new(), true);
    for comparison in bars::ALL {
        if !options.only.is_empty() && !options.only.iter().any(|id| id == comparison.id) {
            continue;
        }
        let versions: Option<Vec<_>> = comparison.programs.iter().map(machine::Program::version).collect();
        let Some(versions) = versions else {
            let names: Vec<_> = comparison.programs.iter().map(|program| program.name).collect();
            println!("{}: skipped, it needs {} installed", comparison.id, names.join(" and "));
            continue;
        };
        println!("{}: {}", comparison.id, comparison.title);
        let started = Instant::now();
        match (comparison.measure)(&mut lab) {
            Ok(section) => {
                let measured = [vec![now.clone(), format!("on {}", machine::describe())], versions].concat().join(", ");
                let text = section.render(comparison.id, comparison.title, &measured);
                let verdict = if section.met() { "met" } else { "MISSED" };
                println!("{text}\n{}: {verdict}, in {:.0} s\n", comparison.id, started.elapsed().as_secs_f64());
                fresh.push((comparison.id, text));
            }
            Err(error) => {
                complete = false;
                println!("{}: failed: {error}", comparison.id);
            }
        }
    }
    if !options.quick && !fresh.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
        let earlier = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, report::merge(HEAD, &earlier, fresh))?;
        println!("written: {}", path.display());
    }
    Ok(complete)
}

/// What the report says of all sections.
const HEAD: &str = "\
# Measured side by side

Written by `make bench`; do not edit. Ratios are ours by the peer's, medians over alternating rounds, with the least and the \
most in parentheses. Absolute figures are orientation only. Nothing is pinned to a core: servers and generators share them as \
the kernel sees fit, alike on both sides. Files are on the disk of the build, not in memory.
";
