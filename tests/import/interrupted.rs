//! Whoever dies in the middle: an import goes on, and nothing is lost.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use super::servers::{expect_same, keys};
use super::{FREE, door, ended, expect_figures, figures, import, place, start, url};
use crate::support::proxy::Proxy;
use crate::support::redis_server::RedisServer;
use crate::support::sidecar::Place;

const KEYS: usize = 3_000;
/// In the middle: all values have about ten times as many.
const SOME_BYTES: usize = 100_000;

fn state_of(place: &Place) -> PathBuf {
    let files = fs::read_dir(place.store_path()).unwrap().map(|entry| entry.unwrap().path());
    let mut states = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    states.next().expect("the state is beside the store")
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
    assert!(sent.expect("a shell").success());
}

/// A source with keys, on which everything is on disk before it is answered.
fn source() -> (RedisServer, Vec<Vec<u8>>) {
    let source = RedisServer::start_in(tempfile::tempdir().unwrap(), &["--appendonly", "yes"]);
    let (commands, keys) = keys(KEYS);
    source.connect().call(commands);
    (source, keys)
}

/// An import that waits in the middle, for a source behind a proxy.
fn held_in_the_middle(source: &RedisServer, place: &Place) -> (Proxy, String, Child) {
    let proxy = Proxy::to(&source.socket());
    proxy.hold_after(SOME_BYTES);
    let url = format!("redis://{}", proxy.address());
    let running = start(place, &["--redis", &url]);
    proxy.await_hold();
    (proxy, url, running)
}

#[test]
fn a_killed_import_goes_on_where_it_was() {
    let (source, keys) = source();
    let proxy = Proxy::to(&source.socket());
    let url = format!("redis://{}", proxy.address());
    let place = place(FREE);
    let sidecar = place.start();
    for signalled in ["KILL", "INT"] {
        proxy.hold_after(SOME_BYTES);
        let running = start(&place, &["--redis", &url]);
        proxy.await_hold();
        signal(running.id(), signalled);
        proxy.open();
        let ended = ended(running);
        if signalled == "INT" {
            assert_eq!(ended.code, Some(130), "{ended:?}");
            assert!(ended.err.contains("interrupted\n  hint: run the same command again"), "{ended:?}");
            assert!(ended.out.contains("moved"), "{ended:?}");
        }
        let state = fs::read_to_string(state_of(&place)).unwrap();
        assert!(!state.contains("\"cursor\":\"0\""), "it had come further: {state}");
    }
    let last = import(&place, &["--redis", &url]).expect(0);
    assert!(last.err.contains("going on after "), "{last:?}");
    let figures = figures(&last.out);
    // What a killed run has moved of its last page is there already.
    assert!(figures["moved"] > 500 && figures["moved"] + figures["there already"] == KEYS as u64, "{last:?}");
    expect_same(&mut source.connect(), &mut door(&place), &keys);
    sidecar.stop();
}

#[test]
fn a_source_that_dies_is_gone_through_anew_when_it_is_back() {
    let (source, keys) = source();
    let place = place(FREE);
    let sidecar = place.start();
    let (proxy, url, running) = held_in_the_middle(&source, &place);
    let directory = source.kill();
    proxy.open();
    let told = ended(running).expect(70).err;
    assert!(told.contains(&url) && told.contains("run the same command again: it goes on"), "{told}");

    // Its table of keys has another order now, so that the cursor means something else.
    let source = RedisServer::start_in(directory, &["--appendonly", "yes"]);
    let last = import(&place, &["--redis", &url]).expect(0);
    assert!(last.err.contains("has restarted since"), "{last:?}");
    let figures = figures(&last.out);
    assert!(figures["moved"] > 0 && figures["there already"] > 0, "{last:?}");
    assert_eq!(figures["moved"] + figures["there already"], KEYS as u64);
    expect_same(&mut source.connect(), &mut door(&place), &keys);
    sidecar.stop();
}

#[test]
fn a_sidecar_that_dies_has_what_was_counted() {
    let (source, keys) = source();
    let place = place(FREE);
    let sidecar = place.start();
    let (proxy, url, running) = held_in_the_middle(&source, &place);
    sidecar.kill();
    proxy.open();
    let broken = ended(running).expect(70);
    assert!(broken.err.contains("redis.sock: ") && broken.err.contains("it goes on"), "{broken:?}");
    fs::remove_file(place.path().join("redis.sock")).unwrap();

    let sidecar = place.start();
    let last = import(&place, &["--redis", &url]).expect(0);
    assert!(last.err.contains("going on after "), "{last:?}");
    let figures = figures(&last.out);
    assert_eq!(figures["moved"] + figures["there already"], KEYS as u64, "{last:?}");
    expect_same(&mut source.connect(), &mut door(&place), &keys);
    sidecar.stop();
}

#[test]
fn a_target_with_another_store_gets_everything_again() {
    let (source, keys) = source();
    let place = place(FREE);
    let sidecar = place.start();
    let (proxy, url, running) = held_in_the_middle(&source, &place);
    signal(running.id(), "INT");
    proxy.open();
    ended(running).expect(130);
    sidecar.stop();
    // As its advice is if the database is damaged: the state stays beside it.
    for file in ["sessgate.db", "sessgate.db-wal", "sessgate.db-shm"] {
        let _ = fs::remove_file(place.store_path().join(file));
    }
    assert!(state_of(&place).exists());

    let sidecar = place.start();
    let last = import(&place, &["--redis", &url]).expect(0);
    assert!(last.err.contains("redis.sock has another store now: beginning anew"), "{last:?}");
    expect_figures(&last, [KEYS as u64, 0, 0, 0]);
    expect_same(&mut source.connect(), &mut door(&place), &keys);
    sidecar.stop();
}

#[test]
fn the_state_of_another_import_is_left_alone() {
    let source = RedisServer::start();
    source.connect().say("SET a 1");
    let place = place(FREE);
    let sidecar = place.start();
    let state = r#"{"route":"x to y","process":null,"cursor":"7","tally":{"moved":1,"there":0,"expired":0,"refused":{},"skipped":{},"ended":{}}}"#;
    fs::write(place.path().join("mine"), state).unwrap();
    let url = url(&source.socket());
    let told = import(&place, &["--redis", &url, "--state", "mine"]).expect(64).err;
    assert!(told.contains("mine: belongs to the import x to y"), "{told}");
    assert_eq!(fs::read_to_string(place.path().join("mine")).unwrap(), state);
    // What is no state is none.
    fs::write(place.path().join("mine"), "{").unwrap();
    expect_figures(&import(&place, &["--redis", &url, "--state", "mine"]).expect(0), [1, 0, 0, 0]);
    assert!(!place.path().join("mine").exists());
    let told = import(&place, &["--redis", &url, "--state", "none/mine"]).expect(64).err;
    assert!(told.contains("none/mine: "), "{told}");
    sidecar.stop();
}
