//! What the calls of the session API do, beyond the form of their answers (which `http_openapi` checks).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::door::{Options, TestDoor};
use crate::support::gateway::TestGateway;

fn create(door: &TestDoor, body: &Value) -> Value {
    let reply = door.call("POST", "/v1/sessions", &[("Content-Type", "application/json")], body.to_string().as_bytes());
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

fn bearer(created: &Value) -> String {
    format!("Bearer {}", created["token"].as_str().unwrap())
}

fn with_token(door: &TestDoor, method: &str, path: &str, token: &str, body: &str) -> Reply {
    door.call(method, path, &[("Authorization", token)], body.as_bytes())
}

#[test]
fn a_session_is_created_looked_up_changed_rotated_and_ended() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let created = create(&door, &json!({ "user": "alice@example.org", "data": { "cart": [1, 2.50] } }));
    let token = bearer(&created);

    let found = with_token(&door, "GET", "/v1/session", &token, "");
    assert_eq!((found.status, found.header("etag")), (200, Some("\"1\"")));
    assert_eq!(found.header("cache-control"), Some("no-store"));
    assert_eq!(
        found.json(),
        json!({
            "id": created["id"],
            "user": "alice@example.org",
            "created_at": "2026-01-01T00:00:00.000Z",
            "last_activity": "2026-01-01T00:00:00.000Z",
            "expires_at": "2026-04-01T00:00:00.000Z",
            "stale": false,
            "revision": 1,
            "data": { "cart": [1, 2.50] },
        })
    );

    let changed = with_token(&door, "PUT", "/v1/session", &token, r#"{"data": {"b":1,  "a":1e2, "a":2}}"#);
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")));
    let text = String::from_utf8(changed.body).unwrap();
    assert!(text.ends_with(r#""data":{"b":1,  "a":1e2, "a":2}}"#), "data comes back byte for byte: {text}");

    let rotated = with_token(&door, "POST", "/v1/session/rotate", &token, "");
    assert_eq!(rotated.status, 200);
    assert_eq!(rotated.json()["id"], created["id"], "it is the same session");
    assert_eq!(with_token(&door, "GET", "/v1/session", &token, "").code(), "session_not_found");
    let token = bearer(&rotated.json());
    assert_eq!(with_token(&door, "GET", "/v1/session", &token, "").status, 200);

    for _ in 0..2 {
        assert_eq!(with_token(&door, "DELETE", "/v1/session", &token, "").status, 204, "also when it is gone");
    }
    assert_eq!(with_token(&door, "GET", "/v1/session", &token, "").status, 404);
    door.close();
}

#[test]
fn looking_slides_and_peeking_does_not() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let token = bearer(&create(&door, &json!({ "idle_timeout": "10m" })));
    gateway.clock.advance(Duration::from_secs(540));
    let peeked = with_token(&door, "GET", "/v1/session?touch=false", &token, "").json();
    assert_eq!(peeked["expires_at"], "2026-01-01T00:10:00.000Z");
    let looked = with_token(&door, "GET", "/v1/session", &token, "").json();
    assert_eq!(looked["expires_at"], "2026-01-01T00:19:00.000Z");
    gateway.clock.advance(Duration::from_secs(540));
    assert_eq!(with_token(&door, "POST", "/v1/session/touch", &token, "").status, 204);
    gateway.clock.advance(Duration::from_secs(599));
    assert_eq!(with_token(&door, "GET", "/v1/session?touch=true", &token, "").status, 200);
    gateway.clock.advance(Duration::from_secs(600));
    assert_eq!(with_token(&door, "GET", "/v1/session", &token, "").code(), "session_not_found");
    door.close();
}

#[test]
fn data_may_be_any_json_and_is_null_if_left_out() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    for data in [json!(null), json!(0), json!("x"), json!([]), json!({ "a": { "b": ["\u{1f600}", "\"\\"] } })] {
        let token = bearer(&create(&door, &json!({ "data": data })));
        assert_eq!(with_token(&door, "GET", "/v1/session", &token, "").json()["data"], data);
    }
    let empty = door.call("POST", "/v1/sessions", &[], b"");
    assert_eq!(empty.status, 201, "an empty body is an anonymous session");
    let found = with_token(&door, "GET", "/v1/session", &bearer(&empty.json()), "").json();
    assert_eq!((&found["user"], &found["data"]), (&json!(null), &json!(null)));
    door.close();
}

#[test]
fn a_change_meant_for_another_revision_is_refused() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let token = bearer(&create(&door, &json!({})));
    let put = |condition: &str| {
        let headers = [("Authorization", token.as_str()), ("If-Match", condition)];
        door.call("PUT", "/v1/session", &headers, br#"{"data":1}"#)
    };
    assert_eq!(put("\"1\"").header("etag"), Some("\"2\""));
    for never in ["\"1\"", "W/\"2\"", "2", "\"\"", "\"2\", \"3\"", "\"-2\"", "\"99999999999999999999\""] {
        let refused = put(never);
        assert_eq!((refused.status, refused.code().as_str()), (412, "revision_mismatch"), "{never}");
    }
    assert_eq!(put("*").header("etag"), Some("\"3\""));
    door.close();
}

#[test]
fn sessions_are_managed_by_handle_and_by_user_without_their_tokens() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let user = "o/ü %\"\\";
    let encoded = "o%2F%C3%BC%20%25%22%5c";
    let ids: Vec<_> = (0..5).map(|n| create(&door, &json!({ "user": user, "data": n }))["id"].clone()).collect();

    let by_id = door.call("GET", &format!("/v1/sessions/{}", ids[0].as_str().unwrap()), &[], b"");
    assert_eq!((by_id.status, &by_id.json()["user"]), (200, &json!(user)));
    assert!(by_id.json().get("token").is_none());

    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = door.call("GET", &format!("/v1/users/{encoded}/sessions?limit=2{cursor}"), &[], b"").json();
        let sessions = page["sessions"].as_array().unwrap();
        assert!((1..=2).contains(&sessions.len()));
        assert!(sessions.iter().all(|session| session.get("data").is_none() && session.get("token").is_none()));
        listed.extend(sessions.iter().map(|session| session["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    listed.sort_by_key(Value::to_string);
    let mut expected = ids.clone();
    expected.sort_by_key(Value::to_string);
    assert_eq!(listed, expected, "every session is listed once");

    assert_eq!(door.call("DELETE", &format!("/v1/sessions/{}", ids[0].as_str().unwrap()), &[], b"").status, 204);
    assert_eq!(door.call("DELETE", &format!("/v1/sessions/{}", ids[0].as_str().unwrap()), &[], b"").status, 404);
    let revoked = door.call("DELETE", &format!("/v1/users/{encoded}/sessions"), &[], b"");
    assert_eq!(revoked.json(), json!({ "revoked": 4 }));
    assert_eq!(
        door.call("GET", "/v1/users/nobody/sessions", &[], b"").json(),
        json!({ "sessions": [], "next_cursor": null })
    );
    door.close();
}

#[test]
fn a_newcomer_over_the_limit_reports_whom_it_ended() {
    let gateway = TestGateway::with(|settings| settings.limits.per_user.sessions = Some(1));
    let door = TestDoor::open(&gateway);
    let first = create(&door, &json!({ "user": "a" }));
    assert_eq!(first["evicted"], json!([]));
    let second = create(&door, &json!({ "user": "a" }));
    assert_eq!(second["evicted"], json!([first["id"]]));
    door.close();
}

#[test]
fn leases_are_taken_renewed_and_given_back() {
    let gateway = TestGateway::with(|settings| settings.limits.leases.per_user = Some(2));
    let door = TestDoor::open(&gateway);
    let take = || door.call("POST", "/v1/users/a%40b/leases", &[], b"");
    let first = take().json();
    assert_eq!((&first["in_use"], &first["limit"]), (&json!(1), &json!(2)));
    assert_eq!(first["expires_at"], "2026-01-01T00:05:00.000Z");
    assert_eq!(take().json()["in_use"], 2);
    let refused = take();
    assert_eq!((refused.status, refused.code().as_str()), (429, "lease_limit"));
    assert!(refused.header("retry-after").is_some());
    let path = format!("/v1/leases/{}", first["lease"].as_str().unwrap());
    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(door.call("PUT", &path, &[], b"").json()["expires_at"], "2026-01-01T00:06:00.000Z");
    assert_eq!(door.call("DELETE", &path, &[], b"").status, 204);
    assert_eq!(door.call("DELETE", &path, &[], b"").code(), "lease_not_found");
    assert_eq!(take().status, 201);
    door.close();
}

#[test]
fn the_key_is_needed_on_every_path_and_a_wrong_one_is_none() {
    let gateway = TestGateway::new();
    let door = TestDoor::with(&gateway, Options { key: Some("s3cret"), ..Options::default() });
    let with_key = |key: &str| door.call("GET", "/v1/stats", &[("x-sessgate-key", key)], b"").status;
    assert_eq!(with_key("s3cret"), 200);
    for wrong in ["", "s3cre", "s3creT", "s3cret1"] {
        assert_eq!(with_key(wrong), 401, "{wrong:?}");
    }
    let twice = [("X-Sessgate-Key", "s3cret"), ("X-Sessgate-Key", "s3cret")];
    assert_eq!(door.call("GET", "/v1/stats", &twice, b"").status, 401);
    for path in ["/v1/openapi.json", "/v1/session", "/", "/nowhere"] {
        assert_eq!(door.call("GET", path, &[], b"").code(), "unauthorized", "{path}");
    }
    let created = door.call("POST", "/v1/sessions", &[("X-Sessgate-Key", "s3cret")], b"{}").json();
    let token = bearer(&created);
    let look_up = |key| door.call("GET", "/v1/session", &[("Authorization", &token), ("X-Sessgate-Key", key)], b"");
    assert_eq!((look_up("s3cret").status, look_up("wrong!").status), (200, 401));
    door.close();
}

#[test]
fn head_options_and_wrong_methods_are_answered_sensibly() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let token = bearer(&create(&door, &json!({})));
    let get = with_token(&door, "GET", "/v1/session", &token, "");
    let head = with_token(&door, "HEAD", "/v1/session", &token, "");
    assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
    assert_eq!(head.header("etag"), get.header("etag"));

    let options = door.call("OPTIONS", "/v1/session", &[], b"");
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, PUT, DELETE, OPTIONS")));
    let wrong = door.call("PATCH", "/v1/sessions", &[], b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(wrong.code(), "method_not_allowed");
    for path in ["/", "/v1", "/v1/session/", "/v1/Session", "/v2/session", "/v1/users/a/b/sessions", "//v1/session"] {
        assert_eq!(door.call("GET", path, &[], b"").code(), "not_found", "{path}");
    }
    door.close();
}

#[test]
fn figures_name_the_limits_in_force() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    create(&door, &json!({ "user": "a" }));
    let stats = door.call("GET", "/v1/stats", &[], b"").json();
    assert_eq!(stats["sessions"], json!({ "memory": 1, "storage": 1, "active": 1, "stale": 0 }));
    assert_eq!(stats["storage"]["limit_bytes"], 1 << 30);
    assert_eq!(stats["limits"]["memory_sessions"], 50_000);
    assert_eq!(stats["limits"]["stored_sessions"], json!(null));
    assert_eq!(stats["top_users"], json!([{ "user": "a", "sessions": 1 }]));
    assert_eq!(stats["evictions"]["memory"]["lru"], 0);
    door.close();
}
