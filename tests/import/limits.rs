//! What the sidecar's rules have against a session is counted, and the others arrive.

use std::fs;

use sessgate::config::settings::Address;

use super::{door, door_of, expect_figures, figures, import, place, url};
use crate::support::redis_server::RedisServer;
use crate::support::sidecar::Place;

/// A source with so many sessions of a user, from one address, and those of others.
fn source(count: usize) -> RedisServer {
    let source = RedisServer::start();
    let value = |user: &str, ip: &str| format!(r#"{{"user":{{"id":"{user}"}},"ip":"{ip}"}}"#);
    let mut commands: Vec<_> =
        (0..count).map(|n| ["SET".to_owned(), format!("secret-key-{n}"), value("ada", "192.0.2.7")]).collect();
    commands.push(["SET".to_owned(), "secret-key-bob".to_owned(), value("bob", "192.0.2.8")]);
    source.connect().call(commands);
    source
}

#[test]
fn what_is_refused_is_counted_by_reason_and_never_named() {
    let source = source(8);
    let mut here = source.connect();
    let long = "x".repeat(5_000);
    here.call([["SET", "secret-key-long", &long]]);
    here.call([["SET", "secret-key-huge", &"x".repeat(3 << 20)]]);
    let many: Vec<_> = (0..600).flat_map(|n| [format!("field{n}"), "x".to_owned()]).collect();
    here.call([["HSET".to_owned(), "secret-key-many".to_owned()].into_iter().chain(many)]);
    let place =
        place("limits: { session_bytes: 4KiB, creation_per_ip: null, per_user: { sessions: 5, on_excess: reject } }\n");
    let sidecar = place.start();
    let url = url(&source.socket());
    let ended = import(&place, &["--redis", &url]).expect(1);
    expect_figures(&ended, [6, 0, 0, 6]);
    let by_reason = figures(&ended.out);
    let of = |words: &str| by_reason.iter().find(|(name, _)| name.contains(words)).map(|(_, figure)| *figure);
    assert_eq!(of("limits.per_user.sessions"), Some(3), "{}", ended.out);
    assert_eq!(of("limits.session_bytes"), Some(1), "{}", ended.out);
    assert_eq!(of("beyond what the door takes"), Some(2), "{}", ended.out);
    assert!(!(ended.out + &ended.err).contains("secret-key"));
    assert_eq!(door(&place).say("DBSIZE"), ":6\r\n");

    // Raise the limits while it runs, and run it again.
    expect_figures(&import(&place, &["--redis", &url]).expect(1), [0, 6, 0, 6]);
    sidecar.stop();
}

#[test]
fn sessions_that_end_to_make_room_are_counted() {
    let source = source(8);
    let place = place("limits: { creation_per_ip: null, per_user: { sessions: 5 } }\n");
    let sidecar = place.start();
    let ended = import(&place, &["--redis", &url(&source.socket())]).expect(0);
    expect_figures(&ended, [9, 0, 0, 0]);
    let figures = figures(&ended.out);
    assert_eq!((figures["ended for room"], figures["user_limit"]), (3, 3), "{}", ended.out);
    assert_eq!(door(&place).say("DBSIZE"), ":6\r\n");
    // They have just ended, and an import does not bring them back.
    let again = import(&place, &["--redis", &url(&source.socket())]).expect(1);
    expect_figures(&again, [0, 6, 0, 3]);
    assert!(again.out.contains("  3  ended there a moment ago"), "{}", again.out);
    sidecar.stop();
}

#[test]
fn they_are_counted_where_the_api_asks_for_its_key_too() {
    let source = source(8);
    let place = Place::new("");
    fs::write(place.path().join("key"), "s3cret-key\n").unwrap();
    place.write_config(&format!(
        "listen: {{ api: 127.0.0.1:0, admin: 127.0.0.1:0, redis: 'unix:{}', api_key_file: key }}\n\
         limits: {{ creation_per_ip: null, per_user: {{ sessions: 5 }} }}\n",
        door_of(&place).display()
    ));
    let sidecar = place.start();
    // Asked at the address that the file names.
    let Address::Tcp(api) = sidecar.api() else { panic!("it listens on TCP") };
    let file = fs::read_to_string(place.config_path()).unwrap();
    fs::write(place.path().join("known.yaml"), file.replacen("127.0.0.1:0", &api.to_string(), 1)).unwrap();
    let ended = import(&place, &["--redis", &url(&source.socket()), "--config", "known.yaml"]).expect(0);
    assert_eq!(figures(&ended.out).get("user_limit"), Some(&3), "{}", ended.out);
    sidecar.stop();
}

#[test]
fn a_session_that_has_ended_is_not_brought_back() {
    let source = source(2);
    source.connect().say("HSET secret-key-hash user ada");
    let place = place("limits: { creation_per_ip: null }\n");
    let sidecar = place.start();
    let url = url(&source.socket());
    expect_figures(&import(&place, &["--redis", &url]).expect(0), [4, 0, 0, 0]);
    sidecar.client().request("DELETE", "/v1/users/ada/sessions", None, "").expect(200);
    let again = import(&place, &["--redis", &url]).expect(1);
    expect_figures(&again, [0, 1, 0, 3]);
    assert!(again.out.contains("  3  ended there a moment ago"), "{}", again.out);
    // A logout is as good as that.
    assert_eq!(door(&place).say("DEL secret-key-bob"), ":1\r\n");
    expect_figures(&import(&place, &["--redis", &url]).expect(1), [0, 0, 0, 4]);
    assert_eq!(door(&place).say("DBSIZE"), ":0\r\n");
    sidecar.stop();
}

#[test]
fn creations_and_plain_keys_have_their_limits_too() {
    let source = source(8);
    source.connect().call((0..2_000).map(|n| ["SET".to_owned(), format!("cache-{n}"), "x".repeat(1_000)]));
    let place = place(
        "limits: { creation_per_ip: { count: 3, per: 1h } }\n\
         redis_door: { plain_bytes: 1MiB, sessions: [{ match: 'secret-key-' }] }\n",
    );
    let sidecar = place.start();
    let ended = import(&place, &["--redis", &url(&source.socket())]).expect(1);
    let figures = figures(&ended.out);
    let of = |words: &str| figures.iter().find(|(name, _)| name.contains(words)).map(|(_, figure)| *figure);
    assert_eq!(of("limits.creation_per_ip"), Some(5), "{}", ended.out);
    assert!(of("redis_door.plain_bytes").is_some_and(|refused| (500..2_000).contains(&refused)), "{}", ended.out);
    assert_eq!(figures["moved"] + figures["refused"], 2_009, "{}", ended.out);
    assert_eq!(door(&place).say("DBSIZE"), format!(":{}\r\n", figures["moved"]));
    sidecar.stop();
}
