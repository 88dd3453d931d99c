//! Handles: UUIDv7 (RFC 9562), time-ordered, unguessable enough to be unique, safe in logs and management calls.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::{Builder, Uuid};

use super::token::Generator;
use crate::clock::Timestamp;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new handle for something that happens at `at`.
            #[must_use]
            pub fn generate(at: Timestamp, generator: &dyn Generator) -> Self {
                let mut random = [0; 10];
                generator.fill(&mut random);
                let ms = u64::try_from(at.as_millis()).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
            }

            /// Reads the canonical text form; `None` if it is anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 36 {
                    return None;
                }
                Uuid::try_parse(text).ok().map(Self)
            }

            /// The handle's sixteen bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The handle with these sixteen bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Writes the canonical text form, 36 ASCII bytes.
            #[must_use]
            pub fn encode<'b>(&self, buffer: &'b mut [u8; 36]) -> &'b str {
                self.0.hyphenated().encode_lower(buffer)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.encode(&mut [0; 36]))
            }
        }
    };
}

handle! {
    /// The handle of a session.
    SessionId
}

impl SessionId {
    /// When the session was made, whatever its value says.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        let ms = self.as_bytes().iter().take(6).fold(0, |ms, byte| ms << 8 | i64::from(*byte));
        Timestamp::from_millis(ms)
    }
}

handle! {
    /// The handle of one notice that a session ended; the receiver of hooks drops repeats by it.
    EventId
}
handle! {
    /// The handle of a lease.
    LeaseId
}
