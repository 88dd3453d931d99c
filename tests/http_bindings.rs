//! Sessions that an app has named itself, at the HTTP door: they are bound to users, listed, looked at and ended.

use std::time::Duration;

use serde_json::{Value, json};
use sessgate::clock::Clock;
use sessgate::gateway::raw::RawRequest;
use sessgate::session::{OnExcess, RawName};
use sessgate::store::raw::{Condition, Deadline, RawOp, RawReply, RawSet};
use tokio::runtime::Runtime;

use crate::support::client::Reply;
use crate::support::door::TestDoor;
use crate::support::gateway::TestGateway;

/// A gateway, its HTTP door, and a hand on the keys as the Redis door has it.
struct Place {
    gateway: TestGateway,
    door: TestDoor,
    runtime: Runtime,
}

impl Place {
    fn with(gateway: TestGateway) -> Self {
        let door = TestDoor::open(&gateway);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { gateway, door, runtime }
    }

    fn new() -> Self {
        Self::with(TestGateway::new())
    }

    fn run(&self, op: RawOp) -> RawReply {
        let request = RawRequest { ops: vec![op], ..RawRequest::default() };
        let replies = self.runtime.block_on(self.gateway.gateway.run_raw(request)).unwrap();
        replies.unwrap().pop().unwrap()
    }

    fn set(&self, name: &[u8], value: &str) {
        let at = self.gateway.clock.now().at + Duration::from_secs(600);
        let set = RawSet {
            name: RawName::new(0, name),
            value: value.as_bytes().into(),
            condition: Condition::Always,
            deadline: Deadline::At(at),
            get: false,
        };
        assert_eq!(self.run(RawOp::Set(set)), RawReply::Done);
    }

    fn bind(&self, key: &str, body: &str) -> Reply {
        self.door.call("PUT", &format!("/v1/bindings/{key}"), &[], body.as_bytes())
    }

    fn sessions_of(&self, user: &str) -> Vec<Value> {
        let listed = self.door.call("GET", &format!("/v1/users/{user}/sessions"), &[], b"");
        assert_eq!(listed.status, 200);
        listed.json()["sessions"].as_array().unwrap().clone()
    }
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{}", reply.json());
}

#[test]
fn a_bound_session_is_the_users_whatever_is_written_to_it() {
    let place = Place::new();
    place.set(b"sess:1", "a format of its own");
    assert_eq!(place.sessions_of("u-1"), [Value::Null; 0]);
    for _ in 0..2 {
        assert_eq!(place.bind("sess:1", r#"{"user": "u-1"}"#).status, 204, "also when it is bound already");
    }
    let id = place.sessions_of("u-1")[0]["id"].clone();
    for value in ["another value", "{\"cart\": []}", ""] {
        place.set(b"sess:1", value);
        place.gateway.forget();
        let sessions = place.sessions_of("u-1");
        assert_eq!((sessions.len(), &sessions[0]["id"]), (1, &id), "after {value:?}");
    }
    assert_eq!(place.bind("sess:1", r#"{"user": "u-2", "database": 0}"#).status, 204);
    assert_eq!((place.sessions_of("u-1").len(), place.sessions_of("u-2").len()), (0, 1), "it has moved");
    let revoked = place.door.call("DELETE", "/v1/users/u-2/sessions", &[], b"");
    assert_eq!(revoked.json(), json!({ "revoked": 1 }));
    assert_eq!(place.run(RawOp::Get(RawName::new(0, b"sess:1"))), RawReply::Nil);
    place.door.close();
}

#[test]
fn an_unbound_session_is_whose_its_next_value_says() {
    let place = Place::new();
    place.set(b"s", r#"{"user_id": "of the value"}"#);
    assert_eq!(place.sessions_of("of%20the%20value").len(), 1);
    assert_eq!(place.bind("s", r#"{"user": "of the call"}"#).status, 204);
    assert_eq!((place.sessions_of("of%20the%20value").len(), place.sessions_of("of%20the%20call").len()), (0, 1));
    assert_eq!(place.bind("s", r#"{"user": null}"#).status, 204);
    assert_eq!(place.sessions_of("of%20the%20call").len(), 0);
    place.set(b"s", r#"{"user_id": "of the value"}"#);
    assert_eq!(place.sessions_of("of%20the%20value").len(), 1);
    place.door.close();
}

#[test]
fn a_binding_keeps_the_limit_of_the_user() {
    let place = Place::with(TestGateway::with(|settings| settings.limits.per_user.sessions = Some(1)));
    for key in ["1", "2"] {
        place.set(key.as_bytes(), "opaque");
        assert_eq!(place.bind(key, r#"{"user": "u"}"#).status, 204);
    }
    assert_eq!(place.sessions_of("u").len(), 1);
    assert_eq!(place.run(RawOp::Get(RawName::new(0, b"1"))), RawReply::Nil, "the oldest has gone");
    place.door.close();

    let place = Place::with(TestGateway::with(|settings| {
        settings.limits.per_user.sessions = Some(1);
        settings.limits.per_user.on_excess = OnExcess::Reject;
    }));
    place.set(b"1", "opaque");
    place.set(b"2", "opaque");
    assert_eq!(place.bind("1", r#"{"user": "u"}"#).status, 204);
    refused(&place.bind("2", r#"{"user": "u"}"#), 409, "user_limit");
    assert_eq!(place.bind("1", r#"{"user": "u"}"#).status, 204, "it is one of them already");
    assert_eq!(place.run(RawOp::Get(RawName::new(0, b"2"))), RawReply::Bytes((*b"opaque").into()), "it is still there");
    place.door.close();
}

#[test]
fn only_a_live_session_can_be_bound() {
    let place = Place::new();
    place.set(b"s", "opaque");
    place.set(b"s_LOCK", "no session");
    for (key, body) in [
        ("nobody", r#"{"user": "u"}"#),
        ("", r#"{"user": "u"}"#),
        ("s_LOCK", r#"{"user": "u"}"#),
        ("s", r#"{"user": "u", "database": 1}"#),
        ("nobody", r#"{"user": null}"#),
    ] {
        refused(&place.bind(key, body), 404, "session_not_found");
    }
    place.gateway.clock.advance(Duration::from_secs(600));
    refused(&place.bind("s", r#"{"user": "u"}"#), 404, "session_not_found");
    place.door.close();
}

#[test]
fn a_key_is_any_bytes() {
    let place = Place::new();
    let long = [b'k'; 1024];
    for (key, encoded) in [
        (&b"a/b"[..], "a%2Fb"),
        (b"a/b c?#", "a%2fb%20c%3F%23"),
        (b"%", "%25"),
        (b"\xac\xed\0\x05t\0\x01", "%ac%ED%00%05t%00%01"),
        (b"", ""),
        (&long, &"k".repeat(1024)),
        (&[0xff; 1024], &"%ff".repeat(1024)),
    ] {
        place.set(key, "opaque");
        assert_eq!(place.bind(encoded, r#"{"user": "u"}"#).status, 204, "{encoded}");
    }
    assert_eq!(place.sessions_of("u").len(), 7);
    for malformed in ["%", "%4", "%zz", "a%", &"k".repeat(1025), &"%ff".repeat(1025)] {
        refused(&place.bind(malformed, r#"{"user": "u"}"#), 400, "invalid_key");
    }
    refused(&place.bind("a/b", r#"{"user": "u"}"#), 404, "not_found");
    place.door.close();
}

#[test]
fn the_body_says_whose_it_is_or_that_it_is_nobodys() {
    let place = Place::new();
    place.set(b"s", "opaque");
    for (body, code, detail) in [
        ("", "invalid_json", "EOF while parsing a value"),
        ("{}", "invalid_json", "missing field `user`"),
        ("{\"database\": 0}", "invalid_json", "missing field `user`"),
        ("[\"u\", 0]", "invalid_json", "the body must be a JSON object"),
        ("{\"user\": \"u\", \"db\": 0}", "invalid_json", "unknown field `db`, expected `user` or `database`"),
        ("{\"user\": 7}", "invalid_json", "`user` must be a string or null"),
        ("{\"user\": \"u\", \"database\": -1}", "invalid_json", "`database` must be a whole number from 0 to 65535"),
        ("{\"user\": \"u\", \"database\": 65536}", "invalid_json", "`database` must be"),
        ("{\"user\": \"u\", \"database\": 1.5}", "invalid_json", "`database` must be"),
        ("{\"user\": \"u\", \"database\": \"0\"}", "invalid_json", "`database` must be"),
        ("{\"user\": \"\"}", "invalid_user", "a user name must not be empty"),
        ("{\"user\": \"a\\nb\"}", "invalid_user", "a user name must not hold control characters"),
    ] {
        let reply = place.bind("s", body);
        refused(&reply, 400, code);
        let told = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.starts_with(detail), "{body}: {told}");
    }
    refused(&place.door.call("PUT", "/v1/bindings/s?x=1", &[], b"{\"user\": \"u\"}"), 400, "invalid_query");
    assert_eq!(place.bind("s", "{ \"user\" :  \"u\", \"database\": null }").status, 204);
    place.door.close();
}

#[test]
fn no_answer_repeats_a_key() {
    let place = Place::new();
    for (key, body) in [("CANARY", "{\"user\": \"u\"}"), ("CANARY%", "{\"user\": \"u\"}"), ("CANARY", "{}")] {
        let reply = place.bind(key, body);
        assert!(reply.status >= 400 && !format!("{reply:?}").contains("CANARY"));
        assert!(!String::from_utf8_lossy(&reply.body).contains("CANARY"), "{}", reply.json());
    }
    place.door.close();
}

#[test]
fn a_value_that_is_no_json_is_not_shown() {
    let place = Place::new();
    let looks_like_json = r#"{"user_id": "u"}"#;
    place.set(b"1", looks_like_json);
    place.set(b"2", "a:1:{s:7:\"user_id\";s:1:\"u\";}");
    let pairs = vec![(Box::from(*b"user_id"), Box::from(*b"u"))];
    assert_eq!(place.run(RawOp::HSet { name: RawName::new(0, b"3"), pairs }), RawReply::Integer(1));
    for in_memory in [true, false] {
        if !in_memory {
            place.gateway.forget();
        }
        let sessions = place.sessions_of("u");
        assert_eq!(sessions.len(), 3);
        for session in sessions {
            assert!(session.get("data").is_none(), "a listing shows no data: {session}");
            let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
            let found = place.door.call("GET", &path, &[], b"");
            let mut expected = session.clone();
            expected["data"] = Value::Null;
            assert_eq!((found.status, found.json()), (200, expected));
        }
    }
    place.door.close();
}
