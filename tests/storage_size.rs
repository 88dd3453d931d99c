//! What a session takes on the disk: the figure that limits in bytes count with.

use std::fs;
use std::sync::Arc;

use sessgate::session::{OnExcess, Session};
use sessgate::store::{CreateLimits, FiguresQuery, Store};

use crate::support::sessions::{START, everybody, session, terms, with_data};
use crate::support::stores::open_embedded;

/// Enough for the indexes to fill their pages as they do for good.
const SESSIONS: u64 = 50_000;

/// Callers at once.
const CALLERS: u64 = 200;

/// 50,000 sessions of 256 bytes, ten a user: [`Session::STORED_OVERHEAD`] must foretell the file within 15 %.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_bytes_foretell_the_size_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open_embedded(directory.path()));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            for n in (caller..SESSIONS).step_by(usize::try_from(CALLERS).unwrap()) {
                let at = START + std::time::Duration::from_millis(n);
                let owner = format!("user-{:011}", n.wrapping_mul(7_919) % (SESSIONS / 10));
                let new = with_data(session(n, Some(&owner), at), 256);
                store.create(new, CreateLimits::default(), terms(at)).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let asked = FiguresQuery { stale_before: START, top: 0, user_limits: everybody(None, OnExcess::Reject) };
    let counted = store.figures(asked).await.unwrap().bytes;
    store.close().await;

    let on_disk = fs::metadata(directory.path().join("sessgate.db")).unwrap().len();
    let overhead = on_disk / SESSIONS - 256 - 16;
    let percent = on_disk * 100 / counted;
    assert!(
        (85..=115).contains(&percent),
        "{on_disk} bytes on the disk are {percent} % of {counted} counted: the overhead is {overhead}, not {}",
        Session::STORED_OVERHEAD
    );
}
