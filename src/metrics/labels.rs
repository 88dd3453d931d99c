//! Label values: closed sets, so that every series exists, at 0, from the start.

/// A label whose values are known.
pub trait Label: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];
    /// The value's text.
    fn as_str(self) -> &'static str;
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
    /// Where a look-up found its answer.
    LookupTier {
        /// In memory.
        Memory = "memory",
        /// In storage.
        Storage = "storage",
        /// Nowhere.
        None = "none",
    }
}
label! {
    /// How a look-up ended.
    LookupResult {
        /// A live session.
        Hit = "hit",
        /// There is none.
        Miss = "miss",
        /// There was one, and its time is over.
        Expired = "expired",
        /// The store failed.
        Error = "error",
    }
}
label! {
    /// A step of the store.
    StoreOp {
        /// Creates a session.
        Create = "create",
        /// Reads a session by key.
        Load = "load",
        /// Reads a session by id.
        Find = "find",
        /// Replaces data.
        Update = "update",
        /// Changes the key.
        Rotate = "rotate",
        /// Saves activity.
        Touch = "touch",
        /// Ends sessions.
        End = "end",
        /// Claims what is due.
        ClaimDue = "claim_due",
        /// Trims users above their limit.
        TrimUsers = "trim_users",
        /// Makes room.
        MakeRoom = "make_room",
        /// Lists a user's sessions.
        UserSessions = "user_sessions",
        /// Reads the figures.
        Figures = "figures",
        /// Takes or settles notices.
        Notices = "notices",
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
