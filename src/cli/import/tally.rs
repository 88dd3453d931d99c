//! What has become of the keys, by kind and reason; never a key itself.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Names of types and reasons that are kept apart. Redis has six types, and a module may bring more.
const KINDS: usize = 16;

/// Why the target did not take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    /// The value is larger than `limits.session_bytes`.
    TooLarge,
    /// The value, the name or the number of fields is beyond what the door takes at all.
    BeyondTheDoor,
    /// The user has as many sessions as allowed.
    UserLimit,
    /// Too many sessions of one client address.
    CreationRate,
    /// There is no room, and nothing that could be ended instead.
    StorageFull,
    /// A session of that name has ended there a moment ago, and is not brought back.
    JustEnded,
}

impl Refusal {
    /// What an error of the target means for one key; `None`: no key is to blame.
    pub(super) fn of(error: &str) -> Option<Self> {
        const BEGINNINGS: [(&str, Refusal); 4] = [
            ("ERR the value has ", Refusal::TooLarge),
            ("ERR the user has ", Refusal::UserLimit),
            ("ERR this client creates ", Refusal::CreationRate),
            ("OOM ", Refusal::StorageFull),
        ];
        BEGINNINGS.into_iter().find(|(beginning, _)| error.starts_with(beginning)).map(|(_, refusal)| refusal)
    }
}

/// What to tell, and what can be done about it.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the value is too large: raise limits.session_bytes",
            Self::BeyondTheDoor => "beyond what the door takes: 1 MiB a name, value or field, 511 fields",
            Self::UserLimit => "the user has as many sessions as allowed: raise limits.per_user.sessions",
            Self::CreationRate => "too many of one client address: raise limits.creation_per_ip for the time being",
            Self::StorageFull => {
                "there is no room: raise limits.stored_bytes, stored_sessions or redis_door.plain_bytes"
            }
            Self::JustEnded => "ended there a moment ago, and not brought back",
        })
    }
}

/// What has become of the keys so far. An import that goes on counts the keys of an unfinished page twice: as moved by
/// the first run only if it lived to say so, and as there already by the second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) moved: u64,
    /// Left as they are.
    pub(super) there: u64,
    /// Their time was over, or they went while we looked.
    pub(super) expired: u64,
    pub(super) refused: BTreeMap<Refusal, u64>,
    /// By type: what is neither string nor hash.
    pub(super) skipped: BTreeMap<String, u64>,
    /// Other sessions that ended on the target to make room, by reason.
    pub(super) ended: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        *self.refused.entry(refusal).or_default() += 1;
    }

    pub(super) fn skip(&mut self, kind: &str) {
        count(&mut self.skipped, kind, 1);
    }

    pub(super) fn end(&mut self, reason: &str, number: u64) {
        count(&mut self.ended, reason, number);
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// All that was looked at.
    pub(super) fn seen(&self) -> u64 {
        self.moved + self.there + self.expired + self.refusals() + self.skipped.values().sum::<u64>()
    }
}

fn count(counts: &mut BTreeMap<String, u64>, kind: &str, number: u64) {
    let kind = if counts.contains_key(kind) || counts.len() < KINDS { kind } else { "other" };
    *counts.entry(kind.to_owned()).or_default() += number;
}

/// The summary, one line a figure.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "moved          {}", self.moved)?;
        writeln!(f, "there already  {}", self.there)?;
        writeln!(f, "expired        {}", self.expired)?;
        writeln!(f, "refused        {}", self.refusals())?;
        for (refusal, number) in &self.refused {
            writeln!(f, "  {number}  {refusal}")?;
        }
        writeln!(f, "other types    {}", self.skipped.values().sum::<u64>())?;
        for (kind, number) in &self.skipped {
            writeln!(f, "  {number}  {kind}")?;
        }
        if !self.ended.is_empty() {
            writeln!(f, "ended for room {}", self.ended.values().sum::<u64>())?;
            for (reason, number) in &self.ended {
                writeln!(f, "  {number}  {reason}")?;
            }
        }
        Ok(())
    }
}
