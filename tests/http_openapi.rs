//! The API's description and the running server say the same: whatever is documented happens, whatever happens is
//! documented.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sessgate::doors::http::OPENAPI;
use sessgate::doors::http::routes::ROUTES;
use sessgate::doors::serve::ServeLimits;
use sessgate::gateway::raw::RawRequest;
use sessgate::session::{OnExcess, RawName};
use sessgate::store::raw::{Condition, Deadline, RawOp, RawSet};

use crate::support::client::{Reply, request};
use crate::support::door::{Options, TestDoor};
use crate::support::gateway::TestGateway;
use crate::support::schema;

const UUID: &str = "01890000-0000-7000-8000-000000000000";
const KEY: (&str, &str) = ("X-Sessgate-Key", "open sesame");

/// Answers as they come in, checked against the document and ticked off.
struct Checklist {
    document: Value,
    seen: BTreeSet<(String, String, u16)>,
}

impl Checklist {
    fn new() -> Self {
        Self { document: serde_json::from_str(OPENAPI).expect("the document is JSON"), seen: BTreeSet::new() }
    }

    /// Makes a call that is documented as `template` and must be answered with `status`.
    fn expect(&mut self, door: &TestDoor, status: u16, call: &Call<'_>) -> Reply {
        let path = call.path() + call.query;
        let mut headers = call.headers.to_vec();
        if call.keyed {
            headers.push(KEY);
        }
        let reply = door.call(call.method, &path, &headers, call.body);
        assert_eq!(reply.status, status, "{} {path}: {}", call.method, String::from_utf8_lossy(&reply.body));
        self.check(call.method, call.template, &reply);
        reply
    }

    fn check(&mut self, method: &str, template: &str, reply: &Reply) {
        let place = format!("{method} {template} {}", reply.status);
        let operation = &self.document["paths"][template][method.to_lowercase()];
        let documented = self.resolve(&operation["responses"][reply.status.to_string()]);
        assert!(documented.is_object(), "{place} is not documented");
        match documented["content"].as_object().and_then(|content| content.iter().next()) {
            None => assert!(reply.body.is_empty(), "{place} has a body"),
            Some((content_type, content)) => {
                assert_eq!(reply.header("content-type"), Some(content_type.as_str()), "{place}");
                schema::check(&self.document, &content["schema"], &reply.json())
                    .unwrap_or_else(|error| panic!("{place}: {error} in {}", reply.json()));
            }
        }
        for header in documented["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_lowercase()) {
            assert!(reply.header(&header).is_some(), "{place} has no {header}");
        }
        self.seen.insert((method.to_owned(), template.to_owned(), reply.status));
    }

    fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).expect("a reference leads somewhere"),
            None => value,
        }
    }

    fn documented(&self) -> BTreeSet<(String, String, u16)> {
        let mut all = BTreeSet::new();
        for (path, operations) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    all.insert((method.to_uppercase(), path.clone(), status.parse().unwrap()));
                }
            }
        }
        all
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'a str,
    template: &'a str,
    value: &'a str,
    query: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    keyed: bool,
}

impl<'a> Call<'a> {
    const fn new(method: &'a str, template: &'a str) -> Self {
        Self { method, template, value: UUID, query: "", headers: &[], body: b"", keyed: true }
    }

    fn path(&self) -> String {
        match (self.template.find('{'), self.template.find('}')) {
            (Some(begin), Some(end)) => self.template.replacen(&self.template[begin..=end], self.value, 1),
            _ => self.template.to_owned(),
        }
    }
}

const BIND: Call<'_> = Call::new("PUT", "/v1/bindings/{key}");

/// Makes an anonymous session as the Redis door does.
fn set(gateway: &TestGateway, name: &str) {
    let (name, value) = (RawName::new(0, name.as_bytes()), (*b"opaque").into());
    let (condition, deadline) = (Condition::Always, Deadline::None);
    let ops = vec![RawOp::Set(RawSet { name, value, condition, deadline, get: false })];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(gateway.gateway.run_raw(RawRequest { ops, ..RawRequest::default() })).unwrap();
}

fn door(gateway: &TestGateway) -> TestDoor {
    let limits = ServeLimits { body_read: Duration::from_millis(50), ..ServeLimits::default() };
    TestDoor::with(gateway, Options { key: Some(KEY.1), limits, ..Options::default() })
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn create(door: &TestDoor, body: &str) -> (String, String) {
    let reply = door.call("POST", "/v1/sessions", &[KEY], body.as_bytes());
    assert_eq!(reply.status, 201, "{reply:?}");
    let created = reply.json();
    (bearer(created["token"].as_str().unwrap()), created["id"].as_str().unwrap().to_owned())
}

#[test]
fn every_route_is_documented_and_every_documented_path_is_a_route() {
    let list = Checklist::new();
    let documented: BTreeSet<_> = list.documented().into_iter().map(|(method, path, _)| (method, path)).collect();
    let routed = ROUTES.iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(documented, routed);
}

#[test]
fn every_documented_answer_can_be_had_and_looks_as_documented() {
    let mut list = Checklist::new();
    successes(&mut list);
    refusals_of_any_call(&mut list);
    refusals_of_creations_and_updates(&mut list);
    failures_of_the_store(&mut list);
    let missing: Vec<_> = list.documented().difference(&list.seen).cloned().collect();
    assert!(missing.is_empty(), "documented, and never seen: {missing:?}");
}

fn successes(list: &mut Checklist) {
    let gateway = TestGateway::new();
    let door = door(&gateway);
    let body = br#"{"user":"a","data":{"k":[1,2]},"ip":"10.0.0.1","idle_timeout":"30m","absolute_timeout":86400}"#;
    let created = list.expect(&door, 201, &Call { body, ..Call::new("POST", "/v1/sessions") }).json();
    let token = bearer(created["token"].as_str().unwrap());
    let id = created["id"].as_str().unwrap().to_owned();
    let headers = &[("Authorization", token.as_str())];
    list.expect(&door, 200, &Call { headers, ..Call::new("GET", "/v1/session") });
    list.expect(&door, 200, &Call { headers, query: "?touch=false", ..Call::new("GET", "/v1/session") });
    list.expect(&door, 200, &Call { headers, body: br#"{"data":null}"#, ..Call::new("PUT", "/v1/session") });
    list.expect(&door, 204, &Call { headers, ..Call::new("POST", "/v1/session/touch") });
    let rotated = list.expect(&door, 200, &Call { headers, ..Call::new("POST", "/v1/session/rotate") }).json();
    list.expect(&door, 200, &Call { value: &id, ..Call::new("GET", "/v1/sessions/{id}") });
    list.expect(&door, 200, &Call { value: "a", ..Call::new("GET", "/v1/users/{user}/sessions") });
    let token = bearer(rotated["token"].as_str().unwrap());
    list.expect(&door, 204, &Call { headers: &[("Authorization", &token)], ..Call::new("DELETE", "/v1/session") });
    let (_, id) = create(&door, r#"{"user":"b"}"#);
    list.expect(&door, 204, &Call { value: &id, ..Call::new("DELETE", "/v1/sessions/{id}") });
    create(&door, r#"{"user":"b"}"#);
    list.expect(&door, 200, &Call::new("GET", "/v1/stats"));
    list.expect(&door, 200, &Call { value: "b", ..Call::new("DELETE", "/v1/users/{user}/sessions") });
    let lease = list.expect(&door, 201, &Call { value: "b", ..Call::new("POST", "/v1/users/{user}/leases") }).json();
    let lease = lease["lease"].as_str().unwrap();
    list.expect(&door, 200, &Call { value: lease, ..Call::new("PUT", "/v1/leases/{lease}") });
    list.expect(&door, 204, &Call { value: lease, ..Call::new("DELETE", "/v1/leases/{lease}") });
    list.expect(&door, 200, &Call::new("GET", "/v1/openapi.json"));
    set(&gateway, "k");
    list.expect(&door, 204, &Call { value: "k", body: br#"{"user":"b"}"#, ..BIND });
    door.close();
}

fn refusals_of_any_call(list: &mut Checklist) {
    let gateway = TestGateway::new();
    let door = door(&gateway);
    let token = bearer(&format!("sg_{}", "A".repeat(43)));
    for route in &ROUTES {
        let call = Call { headers: &[("Authorization", &token)], ..Call::new(route.method.as_str(), route.path) };
        let reply = list.expect(&door, 401, &Call { keyed: false, ..call });
        assert_eq!(reply.code(), "unauthorized");
        let reply = if call.template == "/v1/session" && call.method == "PUT" || call.template == "/v1/sessions" {
            list.expect(&door, 400, &Call { body: b"{", ..call })
        } else {
            list.expect(&door, 400, &Call { query: "?surprise=1", ..call })
        };
        assert!(["invalid_query", "invalid_json"].contains(&reply.code().as_str()));
        if call.template.starts_with("/v1/session") && call.template != "/v1/sessions" {
            if call.template.contains("{id}") || (call.method, call.template) == ("DELETE", "/v1/session") {
                continue;
            }
            assert_eq!(list.expect(&door, 401, &Call { headers: &[], ..call }).code(), "token_missing");
            let body: &[u8] = if call.method == "PUT" { br#"{"data":1}"# } else { b"" };
            assert_eq!(list.expect(&door, 404, &Call { body, ..call }).code(), "session_not_found");
        }
    }
    for method in ["GET", "DELETE"] {
        list.expect(&door, 404, &Call::new(method, "/v1/sessions/{id}"));
    }
    let reply = list.expect(&door, 404, &Call { body: br#"{"user":"a"}"#, ..BIND });
    assert_eq!(reply.code(), "session_not_found");
    assert_eq!(list.expect(&door, 400, &Call { value: "%", ..BIND }).code(), "invalid_key");
    for method in ["PUT", "DELETE"] {
        let reply = list.expect(&door, 404, &Call::new(method, "/v1/leases/{lease}"));
        assert_eq!(reply.code(), "lease_not_found");
    }
    let lease = Call { value: "greedy", ..Call::new("POST", "/v1/users/{user}/leases") };
    for _ in 0..3 {
        list.expect(&door, 201, &lease);
    }
    assert_eq!(list.expect(&door, 429, &lease).code(), "lease_limit");
    door.close();
}

fn refusals_of_creations_and_updates(list: &mut Checklist) {
    let gateway = TestGateway::with(|settings| {
        settings.limits.per_user.on_excess = OnExcess::Reject;
        settings.limits.per_user.sessions = Some(1);
        settings.limits.stored.bytes = Some(20_000);
        settings.limits.stored.sessions = Some(3);
        settings.limits.session_bytes = 30_000;
    });
    let door = door(&gateway);
    let (token, _) = create(&door, r#"{"user":"a"}"#);
    let headers = &[("Authorization", token.as_str())];
    let post = Call::new("POST", "/v1/sessions");
    let put = Call { headers, ..Call::new("PUT", "/v1/session") };
    let user_limit = list.expect(&door, 409, &Call { body: br#"{"user":"a"}"#, ..post });
    assert_eq!(user_limit.code(), "user_limit");
    set(&gateway, "k");
    let bind = Call { value: "k", ..BIND };
    assert_eq!(list.expect(&door, 409, &Call { body: br#"{"user":"a"}"#, ..bind }).code(), "user_limit");
    list.expect(&door, 204, &Call { body: br#"{"user":"k"}"#, ..bind });
    let of = |bytes: usize| format!(r#"{{"data":"{}"}}"#, "x".repeat(bytes));
    for (call, too_large, code) in
        [(post, 40_000, "session_too_large"), (put, 40_000, "session_too_large"), (bind, 2 << 20, "body_too_large")]
    {
        let reply = list.expect(&door, 413, &Call { body: of(too_large).as_bytes(), ..call });
        assert_eq!(reply.code(), code);
        let html = [headers[0], ("Content-Type", "text/html")];
        let reply = list.expect(&door, 415, &Call { headers: &html, body: b"{}", ..call });
        assert_eq!(reply.code(), "unsupported_media_type");
        let mut client = door.client();
        let mut slow = request(call.method, &call.path(), &[KEY, headers[0], ("Content-Length", "5")], b"");
        slow.extend_from_slice(b"{");
        client.send(&slow).unwrap();
        let reply = client.reply(call.method).expect("an answer to half a body");
        assert_eq!((reply.status, reply.code().as_str()), (408, "body_timeout"));
        list.check(call.method, call.template, &reply);
    }
    let stale = [headers[0], ("If-Match", "\"99\"")];
    let reply = list.expect(&door, 412, &Call { headers: &stale, body: br#"{"data":1}"#, ..put });
    assert_eq!(reply.code(), "revision_mismatch");
    let reply = list.expect(&door, 507, &Call { body: of(25_000).as_bytes(), ..put });
    assert_eq!(reply.code(), "storage_full");
    create(&door, r#"{"user":"b"}"#);
    // Nobody is anonymous and everybody has one session, so nobody may be displaced.
    assert_eq!(list.expect(&door, 507, &Call { body: br#"{"user":"z"}"#, ..post }).code(), "storage_full");
    door.close();

    let gateway = TestGateway::new();
    let door = self::door(&gateway);
    let from_one_address = Call { body: br#"{"ip":"10.0.0.1"}"#, ..post };
    for _ in 0..10 {
        list.expect(&door, 201, &from_one_address);
    }
    let reply = list.expect(&door, 429, &from_one_address);
    assert_eq!((reply.code().as_str(), reply.header("retry-after")), ("creation_rate", Some("360")));
    door.close();
}

fn failures_of_the_store(list: &mut Checklist) {
    let gateway = TestGateway::new();
    let door = door(&gateway);
    let (token, id) = create(&door, r#"{"user":"a"}"#);
    gateway.break_store();
    for route in &ROUTES {
        if route.path.contains("lease") || route.path.contains("openapi") {
            continue;
        }
        let value = if route.path.contains("{id}") { id.as_str() } else { "a" };
        let body: &[u8] = match (route.method.as_str(), route.path) {
            ("PUT", "/v1/bindings/{key}") => br#"{"user":"b"}"#,
            ("PUT", _) => br#"{"data":1}"#,
            _ => b"",
        };
        let headers = &[("Authorization", token.as_str())];
        let call = Call { value, headers, body, ..Call::new(route.method.as_str(), route.path) };
        let reply = list.expect(&door, 503, &call);
        assert_eq!((reply.code().as_str(), reply.header("retry-after")), ("store_unavailable", Some("1")));
    }
    door.close();
}
