//! What the operating system lets the process do.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to what is allowed: a connection is a file. And forbids core dumps: one would hold
/// every token that is being looked up.
pub(super) fn adjust() {
    let files = getrlimit(Resource::Nofile);
    if files.current != files.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })
    {
        tracing::warn!(%error, "the limit of open files stays at {:?}; it bounds the connections", files.current);
    }
    let core = getrlimit(Resource::Core);
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), ..core }) {
        tracing::warn!(%error, "a crash may write a core dump, which holds tokens: forbid it from outside");
    }
}
