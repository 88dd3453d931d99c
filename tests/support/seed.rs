//! Random choices that can be had again: the seed is printed, and taken from `SESSGATE_SEED` when that is set.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A generator: `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Seeded by the environment, or else differently each time.
    pub fn from_env() -> Self {
        let given = std::env::var("SESSGATE_SEED").ok();
        let seed = given.map(|seed| seed.parse().expect("SESSGATE_SEED is a number"));
        Self::new(seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()) >> 32))
    }

    /// Seeded by `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// One more generator, for a thread of its own.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("an index")]
    }
}
