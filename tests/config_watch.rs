//! Every way a configuration file changes, on the real file system, with and without events.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use sessgate::config::watch::{LONGEST_UNSETTLED, Next, SAMPLE, SETTLE, Seen, Settling};
use sessgate::config::{ContentHash, ReadError, Watcher};
use tempfile::TempDir;

use crate::support::sidecar::Place;

/// The promise: in force at most a second after the write.
const PROMISED: Duration = Duration::from_secs(1);

/// Longer than any promise, so that a slow machine fails on the promise and not on this.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::unnecessary_wraps, reason = "what a look finds is a result")]
fn seen(text: &str) -> Seen {
    Seen::Ok(ContentHash::of(text.as_bytes()))
}

/// Starts each watcher that there is: with events, and without.
fn both(path: &Path, known: &Seen) -> [Watcher; 2] {
    let start = |start: fn(PathBuf, Seen) -> std::io::Result<Watcher>| start(path.to_owned(), known.clone()).unwrap();
    [start(Watcher::start), start(Watcher::start_polling)]
}

async fn next(watcher: &mut Watcher) -> Result<String, ReadError> {
    let content = tokio::time::timeout(PATIENCE, watcher.changed()).await.expect("a change is told");
    content.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// Each watcher tells `expected` next.
async fn expect(watchers: &mut [Watcher; 2], expected: Result<&str, ReadError>) {
    for watcher in watchers {
        assert_eq!(next(watcher).await, expected.clone().map(str::to_owned));
    }
}

/// A directory with a file `config.yaml` that says `one`, and its watchers.
fn setting() -> (TempDir, PathBuf, [Watcher; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    fs::write(&path, "one").unwrap();
    let watchers = both(&path, &seen("one"));
    (directory, path, watchers)
}

#[tokio::test]
async fn written_in_place() {
    let (_directory, path, mut watchers) = setting();
    for text in ["two", "own", "a longer text"] {
        fs::write(&path, text).unwrap();
        expect(&mut watchers, Ok(text)).await;
    }
}

#[tokio::test]
async fn renamed_over_as_editors_and_tools_do() {
    let (directory, path, mut watchers) = setting();
    for text in ["two", "three"] {
        let new = directory.path().join(".config.yaml.swp");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        expect(&mut watchers, Ok(text)).await;
    }
}

#[tokio::test]
async fn moved_away_and_written_anew() {
    let (directory, path, mut watchers) = setting();
    fs::rename(&path, directory.path().join("config.yaml~")).unwrap();
    fs::write(&path, "two").unwrap();
    expect(&mut watchers, Ok("two")).await;
}

#[tokio::test]
async fn a_kubernetes_config_map_swaps_a_link_beside_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (version, text) in [("..v1", "one"), ("..v2", "two"), ("..v3", "three")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("config.yaml"), text).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/config.yaml", at("config.yaml")).unwrap();
    let mut watchers = both(&at("config.yaml"), &seen("one"));
    for (version, old, text) in [("..v2", "..v1", "two"), ("..v3", "..v2", "three")] {
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at(old)).unwrap();
        expect(&mut watchers, Ok(text)).await;
    }
}

#[tokio::test]
async fn linked_from_another_directory() {
    let (_elsewhere, target, _) = setting();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    symlink(&target, &path).unwrap();
    let mut watchers = both(&path, &seen("one"));
    fs::write(&target, "two").unwrap();
    expect(&mut watchers, Ok("two")).await;
}

#[tokio::test]
async fn what_was_put_in_force_meanwhile_and_taken_back_is_told() {
    let (_directory, _path, mut watchers) = setting();
    for watcher in &watchers {
        // The file held it for a moment, and somebody read it then.
        watcher.in_force().is(ContentHash::of(b"two"));
    }
    expect(&mut watchers, Ok("one")).await;
}

#[test]
fn a_reload_that_is_taken_back_at_once_does_not_stay() {
    let (first, second) = ("limits: { memory_sessions: 7 }\n", "limits: { memory_sessions: 8 }\n");
    let place = Place::new(first);
    let sidecar = place.start();
    let in_force = || sidecar.admin_client().get("/-/config").expect(200).text();
    place.write_config(second);
    sidecar.admin_client().request("POST", "/-/reload", None, "").expect(200);
    assert!(in_force().contains("memory_sessions: 8"));
    place.write_config(first);
    let begin = Instant::now();
    while !in_force().contains("memory_sessions: 7") {
        assert!(begin.elapsed() < PATIENCE, "the file says so");
    }
    sidecar.stop();
}

#[tokio::test]
async fn told_within_a_second() {
    let (_directory, path, watchers) = setting();
    for mut watcher in watchers {
        let mut took = Vec::new();
        for round in 0..5 {
            let text = format!("round {round}");
            let written = Instant::now();
            fs::write(&path, &text).unwrap();
            while next(&mut watcher).await.as_ref() != Ok(&text) {}
            took.push(written.elapsed());
        }
        took.sort();
        // The median, because other tests use this machine as well.
        assert!(took[2] <= PROMISED, "{took:?}");
    }
}

#[tokio::test]
async fn a_half_written_file_is_not_told_if_the_rest_follows() {
    const PARTS: [&str; 4] = ["limits:\n", "  memory_sessions: ", "7\n", "log:\n  level: warn\n"];
    let (_directory, path, mut watchers) = setting();
    let mut file = File::create(&path).unwrap();
    let (began, mut pace) = (Instant::now(), tokio::time::interval(SAMPLE));
    for part in PARTS {
        pace.tick().await;
        file.write_all(part.as_bytes()).unwrap();
    }
    let held_up = began.elapsed() >= SETTLE;
    for watcher in &mut watchers {
        let mut told = next(watcher).await;
        // What a writer leaves half-written for that long may be told as it is.
        while held_up && told != Ok(PARTS.concat()) {
            told = next(watcher).await;
        }
        assert_eq!(told, Ok(PARTS.concat()));
    }
}

#[tokio::test]
async fn a_deleted_file_is_told_and_so_is_its_return() {
    let (_directory, path, mut watchers) = setting();
    fs::remove_file(&path).unwrap();
    expect(&mut watchers, Err(ReadError::Missing)).await;
    fs::write(&path, "one").unwrap();
    expect(&mut watchers, Ok("one")).await;
}

#[tokio::test]
async fn a_directory_that_appears_goes_and_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("etc");
    let path = directory.join("config.yaml");
    let mut watchers = both(&path, &Err(ReadError::Missing));
    for text in ["one", "two"] {
        fs::create_dir(&directory).unwrap();
        fs::write(&path, text).unwrap();
        expect(&mut watchers, Ok(text)).await;
        fs::write(&path, "three").unwrap();
        expect(&mut watchers, Ok("three")).await;
        fs::remove_dir_all(&directory).unwrap();
        expect(&mut watchers, Err(ReadError::Missing)).await;
    }
}

#[tokio::test]
async fn replaced_by_something_unreadable() {
    let (_directory, path, mut watchers) = setting();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    expect(&mut watchers, Err(ReadError::NotAFile)).await;
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    expect(&mut watchers, Err(ReadError::TooLong(1024 * 1024))).await;
}

#[tokio::test]
async fn changed_before_the_watch_began() {
    let (_directory, path, _) = setting();
    let mut watchers = both(&path, &seen("what was loaded"));
    expect(&mut watchers, Ok("one")).await;
}

#[tokio::test]
async fn a_file_that_never_rests_is_told_all_the_same() {
    let (_directory, path, mut watchers) = setting();
    let (stop, stopped) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        // The time-out is the writer's pace; what ends it is the drop of `stop`.
        while stopped.recv_timeout(SAMPLE / 2) == Err(RecvTimeoutError::Timeout) {
            file.write_all(b"#").unwrap();
        }
    });
    for watcher in &mut watchers {
        assert!(next(watcher).await.unwrap().starts_with("one#"));
    }
    drop(stop);
    writer.join().unwrap();
}

mod settling {
    use super::*;

    /// Plays looks, each so many milliseconds after the beginning, and returns what follows from each.
    fn play(looks: &[(u64, &str)]) -> Vec<Next> {
        let start = Instant::now();
        let mut settling = Settling::new(seen("one"));
        looks.iter().map(|(ms, text)| settling.look(seen(text), start + Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn nothing_new_is_never_told() {
        assert_eq!(play(&[(0, "one"), (1_000, "one")]), [Next::Rest; 2]);
    }

    #[test]
    fn a_change_is_told_once_it_has_settled() {
        let told = play(&[(0, "two"), (50, "two"), (199, "two"), (200, "two"), (250, "two")]);
        assert_eq!(told, [Next::LookAgain, Next::LookAgain, Next::LookAgain, Next::Tell, Next::Rest]);
    }

    #[test]
    fn each_new_content_settles_anew() {
        let told = play(&[(0, ""), (150, "half"), (300, "whole"), (499, "whole")]);
        assert_eq!(told, [Next::LookAgain; 4]);
    }

    #[test]
    fn restlessness_has_an_end() {
        let told = play(&[(0, "a"), (150, "b"), (300, "c"), (450, "d"), (500, "e"), (550, "e")]);
        assert_eq!(told[4..], [Next::Tell, Next::Rest]);
        assert_eq!(LONGEST_UNSETTLED, Duration::from_millis(500));
    }

    #[test]
    fn what_is_taken_back_in_time_is_not_told() {
        let told = play(&[(0, "two"), (50, "one"), (100, "two"), (250, "two"), (300, "two")]);
        assert_eq!(told, [Next::LookAgain, Next::Rest, Next::LookAgain, Next::LookAgain, Next::Tell]);
    }

    #[test]
    fn the_longest_way_keeps_the_promise() {
        assert!(sessgate::config::watch::POLL + SAMPLE + LONGEST_UNSETTLED < PROMISED);
    }
}
