//! Label values: closed sets, so that every series exists, at 0, from the start.
//!
//! A [`Label`] is one label; a [`LabelSet`] is what distinguishes the series of a family, its arity part of the type.

use crate::session::EndReason;

/// A label whose values are known.
pub trait Label: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];
    /// The value's text.
    fn as_str(self) -> &'static str;
    /// The value's place in [`ALL`](Label::ALL).
    fn ordinal(self) -> usize;
}

/// The labels of a family: which series there are.
pub trait LabelSet: Copy + 'static {
    /// One text a label: an array, so that names and values cannot differ in number.
    type Texts: AsRef<[&'static str]> + Copy + Send + Sync + 'static;
    /// How many series there are.
    const SERIES: usize;
    /// Every series, by [`index`](LabelSet::index). Empty if the values are open.
    fn all() -> Vec<Self>;
    /// The series' place, below [`SERIES`](LabelSet::SERIES).
    fn index(self) -> usize;
    /// The values of the labels.
    fn texts(self) -> Self::Texts;
}

impl LabelSet for () {
    type Texts = [&'static str; 0];
    const SERIES: usize = 1;
    fn all() -> Vec<Self> {
        vec![()]
    }
    fn index(self) -> usize {
        0
    }
    fn texts(self) -> Self::Texts {
        []
    }
}

impl<A: Label> LabelSet for A {
    type Texts = [&'static str; 1];
    const SERIES: usize = A::ALL.len();
    fn all() -> Vec<Self> {
        A::ALL.to_vec()
    }
    fn index(self) -> usize {
        self.ordinal()
    }
    fn texts(self) -> Self::Texts {
        [self.as_str()]
    }
}

impl<A: Label, B: Label> LabelSet for (A, B) {
    type Texts = [&'static str; 2];
    const SERIES: usize = A::ALL.len() * B::ALL.len();
    fn all() -> Vec<Self> {
        A::ALL.iter().flat_map(|&a| B::ALL.iter().map(move |&b| (a, b))).collect()
    }
    fn index(self) -> usize {
        self.0.ordinal() * B::ALL.len() + self.1.ordinal()
    }
    fn texts(self) -> Self::Texts {
        [self.0.as_str(), self.1.as_str()]
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            fn ordinal(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// A tier that holds sessions.
    Tier {
        /// The memory tier.
        Memory = "memory",
        /// The storage tier.
        Storage = "storage",
    }
}
label! {
    /// Who sees what is counted.
    Scope {
        /// This sidecar.
        Local = "local",
        /// Every sidecar on the same store.
        Shared = "shared",
    }
}
label! {
    /// How an attempt to create a session ended.
    CreationOutcome {
        /// It was created.
        Created = "created",
        /// The user has as many as allowed.
        UserLimit = "user_limit",
        /// The client address creates too fast.
        CreationRate = "creation_rate",
        /// The storage tier is full.
        StorageFull = "storage_full",
        /// The data is too large.
        TooLarge = "too_large",
        /// The store failed.
        StoreError = "store_error",
    }
}
label! {
    /// Why a session left the memory tier.
    MemoryEviction {
        /// To make room.
        Lru = "lru",
        /// Unused for `lifetimes.memory_idle`.
        MemoryIdle = "memory_idle",
        /// The session ended.
        Ended = "ended",
    }
}
label! {
    /// What the store is asked for: steps of one cost and one purpose count as one, since each value is 18 series.
    StoreOp {
        /// Creates a session.
        Create = "create",
        /// Reads a session.
        Load = "load",
        /// Lists a user's sessions.
        List = "list",
        /// Replaces a session's data, or changes its key.
        Update = "update",
        /// Saves activity.
        Touch = "touch",
        /// Ends sessions that somebody names.
        End = "end",
        /// Ends what is due, users' surplus and what has no room.
        Sweep = "sweep",
        /// Reads figures, keeps the outbox, tries whether writing works.
        Upkeep = "upkeep",
    }
}
label! {
    /// Whether something worked.
    Outcome {
        /// It did.
        Ok = "ok",
        /// It did not.
        Error = "error",
    }
}
label! {
    /// What caused a reload.
    ReloadTrigger {
        /// The file changed.
        File = "file",
        /// SIGHUP.
        Signal = "signal",
        /// `POST /-/reload`.
        Request = "request",
    }
}
label! {
    /// What became of an attempt to deliver a notice.
    HookResult {
        /// Delivered.
        Ok = "ok",
        /// Failed, and will be tried again.
        Retried = "retried",
        /// Given up.
        Dropped = "dropped",
    }
}
label! {
    /// What became of a request for a lease, or of the lease.
    LeaseResult {
        /// Given.
        Granted = "granted",
        /// Refused: the user has as many as allowed.
        Refused = "refused",
        /// Ended by its `ttl`, not given back.
        Expired = "expired",
    }
}
label! {
    /// A way in.
    Door {
        /// The HTTP session API.
        Api = "api",
        /// The admin listener.
        Admin = "admin",
        /// The Redis door.
        Redis = "redis",
    }
}
label! {
    /// How a request ended.
    RequestOutcome {
        /// Answered as asked.
        Ok = "ok",
        /// Refused: the request is at fault, or a limit.
        Refused = "refused",
        /// Failed: the sidecar or its store is at fault.
        Failed = "failed",
    }
}

impl Label for EndReason {
    const ALL: &'static [Self] = &Self::ALL;
    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }
    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Default for Scope {
    /// What one sidecar alone sees.
    fn default() -> Self {
        Self::Local
    }
}

/// A departure from a tier. The reasons differ by tier: only from storage does it end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// From memory.
    Memory(MemoryEviction),
    /// From storage.
    Storage(EndReason),
}

impl LabelSet for Eviction {
    /// Tier, reason.
    type Texts = [&'static str; 2];
    const SERIES: usize = MemoryEviction::ALL.len() + EndReason::ALL.len();
    fn all() -> Vec<Self> {
        let memory = MemoryEviction::ALL.iter().copied().map(Self::Memory);
        memory.chain(EndReason::ALL.into_iter().map(Self::Storage)).collect()
    }
    fn index(self) -> usize {
        match self {
            Self::Memory(reason) => reason.ordinal(),
            Self::Storage(reason) => MemoryEviction::ALL.len() + reason.ordinal(),
        }
    }
    fn texts(self) -> Self::Texts {
        match self {
            Self::Memory(reason) => [Tier::Memory.as_str(), reason.as_str()],
            Self::Storage(reason) => [Tier::Storage.as_str(), reason.as_str()],
        }
    }
}

/// A tier and who sees it. Memory is always this sidecar's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopedTier {
    /// The memory tier.
    Memory,
    /// The storage tier.
    Storage(Scope),
}

impl LabelSet for ScopedTier {
    /// Tier, scope.
    type Texts = [&'static str; 2];
    const SERIES: usize = 1 + Scope::ALL.len();
    fn all() -> Vec<Self> {
        std::iter::once(Self::Memory).chain(Scope::ALL.iter().copied().map(Self::Storage)).collect()
    }
    fn index(self) -> usize {
        match self {
            Self::Memory => 0,
            Self::Storage(scope) => 1 + scope.ordinal(),
        }
    }
    fn texts(self) -> Self::Texts {
        match self {
            Self::Memory => [Tier::Memory.as_str(), Scope::Local.as_str()],
            Self::Storage(scope) => [Tier::Storage.as_str(), scope.as_str()],
        }
    }
}

/// How a look-up ended, and where the answer was found. Of the combinations of both only these occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUpEnd {
    /// A live session in memory.
    MemoryHit,
    /// A session in memory whose time is over.
    MemoryExpired,
    /// A live session in storage.
    StorageHit,
    /// A session in storage whose time is over.
    StorageExpired,
    /// There is none.
    Miss,
    /// The store failed.
    Error,
}

impl LookUpEnd {
    const ALL: [Self; 6] =
        [Self::MemoryHit, Self::MemoryExpired, Self::StorageHit, Self::StorageExpired, Self::Miss, Self::Error];
}

impl LabelSet for LookUpEnd {
    /// Tier, result.
    type Texts = [&'static str; 2];
    const SERIES: usize = Self::ALL.len();
    fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }
    fn index(self) -> usize {
        self as usize
    }
    fn texts(self) -> Self::Texts {
        match self {
            Self::MemoryHit => [Tier::Memory.as_str(), "hit"],
            Self::MemoryExpired => [Tier::Memory.as_str(), "expired"],
            Self::StorageHit => [Tier::Storage.as_str(), "hit"],
            Self::StorageExpired => [Tier::Storage.as_str(), "expired"],
            Self::Miss => ["none", "miss"],
            Self::Error => ["none", "error"],
        }
    }
}

/// Two labels whose values are not known beforehand: a rank and a user. The family itself bounds its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankAndUser {}

impl LabelSet for RankAndUser {
    type Texts = [&'static str; 2];
    const SERIES: usize = 0;
    fn all() -> Vec<Self> {
        Vec::new()
    }
    fn index(self) -> usize {
        match self {}
    }
    fn texts(self) -> Self::Texts {
        match self {}
    }
}
