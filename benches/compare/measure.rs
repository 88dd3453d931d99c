//! Rounds, medians and what one round yields.

use std::time::Duration;

use crate::Result;
use crate::load::Load;

/// How much is measured.
pub struct Plan {
    /// Alternating rounds.
    pub rounds: usize,
    /// How long one side of one round is under load.
    pub window: Duration,
    /// "A million" sessions.
    pub million: u64,
}

/// One side of one round under load.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Operations a second.
    pub per_second: f64,
    /// Processor time of the server an operation, in seconds.
    pub cpu: f64,
    /// Latency that 99 % of the operations stay within, in seconds.
    pub p99: f64,
}

impl Sample {
    /// What a load of our generator came to that cost the server `cpu` seconds. A failed request spoils it.
    pub fn of(load: &Load, cpu: f64) -> Result<Self> {
        if load.failed > 0 || load.done == 0 {
            return Err(format!("{} requests failed, {} were done", load.failed, load.done).into());
        }
        Ok(Self { per_second: load.per_second(), cpu: each(cpu, load.done), p99: load.p99() })
    }
}

/// The samples of both sides.
#[derive(Default)]
pub struct Samples {
    pub peer: Vec<Sample>,
    pub ours: Vec<Sample>,
}

/// Takes the rounds of a peer and of ours.
pub fn alternate<T>(
    rounds: usize,
    mut peer: impl FnMut() -> Result<T>,
    mut ours: impl FnMut() -> Result<T>,
) -> Result<(Vec<T>, Vec<T>)> {
    let [peers, own] = take_turns(rounds, |side: usize| if side == 0 { peer() } else { ours() })?;
    Ok((peers, own))
}

/// Takes the rounds of several sides, which have numbers: first one unmeasured, to warm up, then the rest, each side
/// going first in turn.
pub fn take_turns<const SIDES: usize, T>(
    rounds: usize,
    mut measure: impl FnMut(usize) -> Result<T>,
) -> Result<[Vec<T>; SIDES]> {
    for side in 0..SIDES {
        measure(side)?;
    }
    let mut taken = [const { Vec::new() }; SIDES];
    for round in 0..rounds {
        for turn in 0..SIDES {
            let side = (round + turn) % SIDES;
            taken[side].push(measure(side)?);
        }
    }
    Ok(taken)
}

/// `total` seconds shared by `count` operations.
pub fn each(total: f64, count: u64) -> f64 {
    total / as_f64(count)
}

/// `count` operations in `took`, a second.
pub fn per_second(count: u64, took: Duration) -> f64 {
    as_f64(count) / took.as_secs_f64()
}

/// A count as a measured value; exact up to 2^53, which no count here comes near.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The median; the mean of the middle two if there is no middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}
