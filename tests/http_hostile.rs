//! Bad input gets a clear error, breaks nothing, and is never repeated in the answer.

use crate::support::client::{Client, request};
use crate::support::door::{Options, TestDoor};
use crate::support::gateway::TestGateway;

#[test]
fn malformed_bodies_are_told_what_and_where() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    for (body, code, detail) in [
        ("{", "invalid_json", "EOF while parsing an object, at line 1 column 1"),
        ("{\"user\": \"a\",\n}", "invalid_json", "trailing comma, at line 2 column 1"),
        ("{} {}", "invalid_json", "trailing characters, at line 1 column 4"),
        ("{\"data\": 01}", "invalid_json", "invalid number, at line 1 column 11"),
        ("{\"data\": nul}", "invalid_json", "expected ident, at line 1 column 13"),
        ("{\"usr\": \"a\"}", "invalid_json", "unknown field `usr`, expected one of `user`, `data`"),
        ("{\"user\": \"a\", \"user\": \"b\"}", "invalid_json", "duplicate field `user`"),
        ("[\"a\", 1, null, null, null]", "invalid_json", "the body must be a JSON object"),
        ("\"text\"", "invalid_json", "the body must be a JSON object"),
        ("17", "invalid_json", "the body must be a JSON object"),
        ("null", "invalid_json", "the body must be a JSON object"),
        ("{\"user\": 17}", "invalid_json", "`user` must be a string or null"),
        ("{\"user\": {\"a\": 1}}", "invalid_json", "`user` must be a string or null"),
        ("{\"user\": \"\\ud800\"}", "invalid_json", "`user` must be a string or null"),
        ("{\"ip\": 17}", "invalid_json", "`ip` must be a string or null"),
        ("{\"ip\": \"10.0.0.1:80\"}", "invalid_ip", "`ip` must be an IPv4 or IPv6 address"),
        ("{\"ip\": \"10.0.0.0/8\"}", "invalid_ip", "`ip` must be"),
        ("{\"ip\": \"\"}", "invalid_ip", "`ip` must be"),
        ("{\"idle_timeout\": \"30\"}", "invalid_timeout", "`idle_timeout` must be a duration like \"30m\""),
        ("{\"idle_timeout\": \"-1s\"}", "invalid_timeout", "`idle_timeout` must be"),
        ("{\"idle_timeout\": -1}", "invalid_timeout", "`idle_timeout` must be"),
        ("{\"idle_timeout\": 1.5}", "invalid_timeout", "`idle_timeout` must be"),
        ("{\"idle_timeout\": 0}", "invalid_timeout", "`idle_timeout` must be"),
        ("{\"absolute_timeout\": \"99999999999999999999d\"}", "invalid_timeout", "`absolute_timeout` must be"),
        ("{\"absolute_timeout\": true}", "invalid_timeout", "`absolute_timeout` must be"),
        ("{\"idle_timeout\": 18446744073709551615}", "invalid_timeout", ""),
    ] {
        let reply = door.call("POST", "/v1/sessions", &[], body.as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{body}: {}", reply.json());
        let told = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.starts_with(detail), "{body}: {told}");
    }
    for body in
        [&b"{\"user\":\"\xff\"}"[..], b"{\"data\":\"\xc3\"}", b"\xef\xbb\xbf{}", b"\0", "[".repeat(100_000).as_bytes()]
    {
        let reply = door.call("POST", "/v1/sessions", &[], body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_json"), "{:?}", &body[..body.len().min(20)]);
    }
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(door.call("POST", "/v1/sessions", &[], deep.as_bytes()).status, 201, "depth is the app's own business");
    door.close();
}

#[test]
fn an_update_needs_data_and_nothing_else() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let created = door.call("POST", "/v1/sessions", &[], b"{}").json();
    let token = format!("Bearer {}", created["token"].as_str().unwrap());
    for (body, detail) in [
        ("", "EOF while parsing a value"),
        ("{}", "missing field `data`"),
        ("[1]", "the body must be a JSON object"),
        ("{\"data\":1,\"user\":\"b\"}", "unknown field `user`, expected `data`"),
    ] {
        let reply = door.call("PUT", "/v1/session", &[("Authorization", &token)], body.as_bytes());
        assert_eq!(reply.code(), "invalid_json");
        assert!(reply.json()["detail"].as_str().unwrap().starts_with(detail), "{}", reply.json());
    }
    door.close();
}

#[test]
fn no_answer_repeats_a_secret_that_was_put_in_the_wrong_place() {
    const CANARY: &str = "sg_CANARYcanaryCANARYcanaryCANARYcanaryCANARYca";
    let gateway = TestGateway::new();
    let door = TestDoor::with(&gateway, Options { key: Some("K3Y-canary"), ..Options::default() });
    let key = ("X-Sessgate-Key", "K3Y-canary");
    for body in [
        format!("{{\"{CANARY}\":1}}"),
        format!("\"{CANARY}\""),
        format!("{{\"user\":[\"{CANARY}\"]}}"),
        format!("{{\"ip\":\"{CANARY}\"}}"),
        format!("{{\"idle_timeout\":\"{CANARY}\"}}"),
        format!("{{\"user\":\"{CANARY}\\n\"}}"),
        CANARY.to_owned(),
    ] {
        let reply = door.call("POST", "/v1/sessions", &[key], body.as_bytes());
        assert_eq!(reply.status, 400);
        assert!(!String::from_utf8_lossy(&reply.body).contains("CANARY"), "{}", reply.json());
    }
    for path in [
        format!("/v1/session?token={CANARY}"),
        format!("/v1/session?{CANARY}"),
        format!("/v1/session?touch={CANARY}"),
        format!("/v1/sessions/{CANARY}"),
        format!("/v1/leases/{CANARY}"),
        format!("/v1/users/a/sessions?cursor={CANARY}"),
        format!("/v1/users/{CANARY}%0a/sessions"),
        format!("/{CANARY}"),
    ] {
        for auth in ["Bearer x", &format!("Bearer {CANARY}"), CANARY, &format!("Basic {CANARY}")] {
            let reply = door.call("GET", &path, &[key, ("Authorization", auth)], b"");
            assert!(reply.status >= 400, "{path}");
            let shown = format!("{reply:?}{}", String::from_utf8_lossy(&reply.body));
            assert!(!shown.contains("CANARY") && !shown.contains("K3Y"), "{path}: {shown}");
        }
    }
    door.close();
}

#[test]
fn hostile_user_names_are_refused_wherever_they_come_from() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let long = "x".repeat(10_240);
    for (encoded, json) in [
        ("", "\"\""),
        (long.as_str(), &format!("\"{long}\"")),
        ("a%00b", "\"a\\u0000b\""),
        ("a%0d%0aSet-Cookie:%20x", "\"a\\r\\nSet-Cookie: x\""),
        ("%1b[2J", "\"\\u001b[2J\""),
        ("%c2%85", "\"\\u0085\""),
    ] {
        let body = format!("{{\"user\":{json}}}");
        assert_eq!(door.call("POST", "/v1/sessions", &[], body.as_bytes()).code(), "invalid_user", "{json}");
        for (method, tail) in [("GET", "sessions"), ("DELETE", "sessions"), ("POST", "leases")] {
            let reply = door.call(method, &format!("/v1/users/{encoded}/{tail}"), &[], b"");
            assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_user"), "{encoded:.40}");
        }
    }
    for malformed in ["%", "%4", "%zz", "%ff", "%c3%28", "a%"] {
        let reply = door.call("GET", &format!("/v1/users/{malformed}/sessions"), &[], b"");
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_user"), "{malformed}");
    }
    for (encoded, name) in [("..%2f..%2fetc%2fpasswd", "../../etc/passwd"), ("..", ".."), ("a%5cb", "a\\b"), ("+", "+")]
    {
        let body = serde_json::json!({ "user": name }).to_string();
        assert_eq!(door.call("POST", "/v1/sessions", &[], body.as_bytes()).status, 201);
        let listed = door.call("GET", &format!("/v1/users/{encoded}/sessions"), &[], b"").json();
        assert_eq!(listed["sessions"][0]["user"], name, "path separators are only letters");
    }
    door.close();
}

#[test]
fn bad_tokens_are_missing_or_unknown_and_nothing_else() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let created = door.call("POST", "/v1/sessions", &[], b"{}").json();
    let good = created["token"].as_str().unwrap();
    let look = |value: &str| door.call("GET", "/v1/session", &[("Authorization", value)], b"");
    for missing in ["", "Bearer", "Bearer ", "Basic dTpw", good, "Bearer\t", "Bearersg_", "\"Bearer x\""] {
        let reply = look(missing);
        assert_eq!((reply.status, reply.code().as_str()), (401, "token_missing"), "{missing:?}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    let long = format!("Bearer sg_{}", "A".repeat(8_000));
    let almost = format!("Bearer {}", &good[..45]);
    let more = format!("Bearer {good}A");
    let two = format!("Bearer {good} {good}");
    for unknown in ["Bearer x", "Bearer sg_", &long, &almost, &more, &two, "Bearer \u{e9}", "Bearer ' OR 1=1 --"] {
        let reply = look(unknown);
        assert_eq!((reply.status, reply.code().as_str()), (404, "session_not_found"), "{unknown:.60?}");
    }
    for fine in [format!("Bearer {good}"), format!("bearer {good}"), format!("BEARER   {good}")] {
        assert_eq!(look(&fine).status, 200);
    }
    let value = format!("Bearer {good}");
    let twice = [("Authorization", value.as_str()), ("Authorization", value.as_str())];
    assert_eq!(door.call("GET", "/v1/session", &twice, b"").code(), "token_missing", "two tokens are not one");
    assert_eq!(door.call("DELETE", "/v1/session", &[("Authorization", "Bearer x")], b"").status, 204);
    door.close();
}

#[test]
fn queries_are_read_strictly() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "offset=3", "cursor=x"] {
        let reply = door.call("GET", &format!("/v1/users/a/sessions?{query}"), &[], b"");
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_query"), "{query}");
    }
    for query in ["limit=1", "limit=1000", "", "&", "limit=%31"] {
        assert_eq!(door.call("GET", &format!("/v1/users/a/sessions?{query}"), &[], b"").status, 200, "{query}");
    }
    for query in ["touch=0", "touch=False", "touch", "touch=true&touch=true", "tuch=false", "touch=%ff"] {
        let reply = door.call("GET", &format!("/v1/session?{query}"), &[("Authorization", "Bearer x")], b"");
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_query"), "{query}");
    }
    door.close();
}

#[test]
fn a_body_has_at_most_a_mebibyte_however_it_is_sent() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let fits = format!("{{\"data\":\"{}\"}}", "x".repeat((1 << 20) - 11));
    assert_eq!(fits.len(), 1 << 20);
    assert_eq!(door.call("POST", "/v1/sessions", &[], fits.as_bytes()).code(), "session_too_large");

    // The answer comes although the client is still sending, and is not lost by a reset.
    let large = vec![b' '; 3 << 20];
    assert_eq!(door.call("POST", "/v1/sessions", &[], &large).code(), "body_too_large");

    let mut client = door.client();
    let mut chunked = b"POST /v1/sessions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunked.extend(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(20).into_bytes());
    client.send(&chunked).unwrap();
    assert_eq!(client.reply("POST").unwrap().code(), "body_too_large");

    let mut client = door.client();
    let announced = [("Content-Length", "2000000"), ("Expect", "100-continue")];
    client.send(&request("POST", "/v1/sessions", &announced, b"")).unwrap();
    assert_eq!(client.reply("POST").unwrap().code(), "body_too_large", "and is not even invited");
    door.close();
}

#[test]
fn heads_are_limited_in_lines_and_bytes() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    let status_of = |head: String| {
        let mut client = door.client();
        client.send(head.as_bytes()).unwrap();
        client.reply("GET").unwrap().status
    };
    let with_lines = |count: usize| format!("GET /v1/stats HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!((status_of(with_lines(64)), status_of(with_lines(65))), (200, 431));
    let with_bytes = |count: usize| {
        let begin = "GET /v1/stats HTTP/1.1\r\nX: ";
        format!("{begin}{}\r\n\r\n", "y".repeat(count - begin.len() - 4))
    };
    assert_eq!((status_of(with_bytes(16 * 1024)), status_of(with_bytes(16 * 1024 + 1))), (200, 431));
    // Without an end in sight, the answer does not wait for one.
    assert_eq!(status_of(format!("GET /v1/stats HTTP/1.1\r\nX: {}", "y".repeat(64 * 1024))), 431);
    door.close();
}

#[test]
fn what_is_no_http_is_turned_away() {
    let gateway = TestGateway::new();
    let door = TestDoor::open(&gateway);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v1/session\r\n\r\n",
        b"GET /v1/session HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/session HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET /v1/session HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"GET /v1/session HTTP/1.1\r\nA: \0\r\n\r\n",
        b"GET /v1/session HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /v1/session HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/sessions HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v1/sessions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut client = door.client();
        client.send(garbage).unwrap();
        let answer = client.rest().expect("a plain close");
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        assert!(answer.is_empty() || line.ends_with(" 400 Bad Request"), "{garbage:?}: {line}");
    }
    let mut still_there = Client::tcp(door.address());
    assert_eq!(still_there.call("GET", "/v1/stats", &[], b"").status, 200);
    door.close();
}
