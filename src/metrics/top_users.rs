//! The heaviest users, as a bounded and calm set of series.
//!
//! Who is in the table is decided when figures are published; a scrape only reads finished rows. Users enter and
//! change places with hysteresis: near-equal ones that overtake each other by a session now and then would otherwise
//! leave a trail of short-lived series.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use prometheus::proto::{Metric, MetricType};

use super::family::{Family, Header, Series, float};
use super::labels::RankAndUser;
use super::user_hash::UserHasher;
use crate::config::settings::{TopUserLabel, TopUsers};
use crate::session::UserName;

/// A user and how many sessions the user has.
pub type Weight = (UserName, u64);

/// The family of the heaviest users.
pub(super) struct TopUserTable {
    header: Header,
    rows: ArcSwap<Vec<Row>>,
    state: Mutex<State>,
}

/// One series. Its rank is its place.
struct Row {
    user: String,
    sessions: u64,
}

struct State {
    settings: TopUsers,
    /// The last ranking published: what a change of the settings starts from.
    ranking: Vec<Weight>,
    /// Who is in the table, by rank.
    table: Vec<Weight>,
}

impl TopUserTable {
    /// Takes a new ranking, heaviest first, and names users with `hasher` where the settings say so.
    pub(super) fn publish(&self, ranking: &[Weight], hasher: &UserHasher) {
        self.change(hasher, |state| {
            // Copies the names' references only, and no more than the table can use.
            state.ranking = ranking.iter().take(considered(state.settings.count)).cloned().collect();
        });
    }

    /// Changes how many users are shown, and how they are named, at once.
    pub(super) fn configure(&self, settings: TopUsers, hasher: &UserHasher) {
        self.change(hasher, |state| state.settings = settings);
    }

    fn change(&self, hasher: &UserHasher, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.table = arrange(&state.table, &state.ranking, state.settings.count);
        let name: &dyn Fn(&UserName) -> String = match state.settings.label {
            TopUserLabel::Hash => &|user| hasher.hash(user).to_string(),
            TopUserLabel::Plain => &|user| user.as_str().to_owned(),
            TopUserLabel::None => {
                self.rows.store(Vec::new().into());
                return;
            }
        };
        let rows: Vec<_> = state.table.iter().map(|(user, n)| Row { user: name(user), sessions: *n }).collect();
        self.rows.store(rows.into());
    }
}

impl Series for TopUserTable {
    type Labels = RankAndUser;
    const TYPE: MetricType = MetricType::GAUGE;

    fn new(_: &Family<RankAndUser>, header: Header) -> Self {
        let settings = TopUsers { count: 10, label: TopUserLabel::Hash };
        let state = State { settings, ranking: Vec::new(), table: Vec::new() };
        Self { header, rows: ArcSwap::default(), state: Mutex::new(state) }
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn metrics(&self) -> Vec<Metric> {
        let rows = self.rows.load();
        let series = rows
            .iter()
            .zip(1_usize..)
            .map(|(row, rank)| self.header.gauge([rank.to_string().as_str(), row.user.as_str()], float(row.sessions)));
        series.collect()
    }
}

/// How many of the heaviest users are looked at for a table of `count`: who is among them may stay in it.
#[must_use]
pub fn considered(count: usize) -> usize {
    count.saturating_mul(2)
}

/// The next table of `count` users, from the one before (`table`, by rank) and the new `ranking` (heaviest first).
///
/// 1. A user stays while among the first [`considered`] of the ranking, unless the table is full and somebody
///    outside has more by over a tenth.
/// 2. Somebody stands above another who has more only by a tenth at most.
#[must_use]
pub fn arrange(table: &[Weight], ranking: &[Weight], count: usize) -> Vec<Weight> {
    let ranking = &ranking[..ranking.len().min(considered(count))];
    let weights: HashMap<&UserName, u64> = ranking.iter().map(|(user, weight)| (user, *weight)).collect();
    let members: HashSet<&UserName> = table.iter().map(|(user, _)| user).collect();
    let mut next: Vec<Weight> =
        table.iter().filter_map(|(user, _)| weights.get(user).map(|&weight| (user.clone(), weight))).collect();
    while next.len() > count {
        next.remove(lightest(&next));
    }
    for outsider in ranking.iter().filter(|(user, _)| !members.contains(user)) {
        if next.len() == count {
            let least = lightest(&next);
            if !next.get(least).is_some_and(|(_, weight)| clearly_more(outsider.1, *weight)) {
                // Those who follow have no more than this one.
                break;
            }
            next.remove(least);
        }
        next.push(outsider.clone());
    }
    reorder(next)
}

/// The place of the least heavy; of several, the last.
fn lightest(table: &[Weight]) -> usize {
    table.iter().enumerate().rev().min_by_key(|(_, (_, weight))| *weight).map_or(0, |(at, _)| at)
}

/// Moves everybody up past those who have clearly less. An insertion sort, so whoever is not overtaken stays put.
fn reorder(table: Vec<Weight>) -> Vec<Weight> {
    let mut sorted: Vec<Weight> = Vec::with_capacity(table.len());
    for user in table {
        let at = sorted.iter().position(|above| clearly_more(user.1, above.1)).unwrap_or(sorted.len());
        sorted.insert(at, user);
    }
    sorted
}

/// Whether `a` is more than `b` by over a tenth.
fn clearly_more(a: u64, b: u64) -> bool {
    u128::from(a) * 10 > u128::from(b) * 11
}
