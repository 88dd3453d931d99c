//! Secrets that can be told apart from everything else are driven through every path of the program, and then looked
//! for wherever they must not be.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::receiver::{HookReceiver, answer};
use crate::support::client::{Client, Reply};
use crate::support::sidecar::{Place, Sidecar};

const DATA: &str = "CANARY-session-data";
const API_KEY: &str = "CANARY-api-key-5f1c";
const HOOK_SECRET: &str = "CANARY-hook-secret-77";
const HOOK_PATH: &str = "CANARY-hook-path-secret";
const USER: &str = "CANARY-user-ann";
const IP: &str = "198.51.100.77";
/// A well-formed token that nobody was given, put where no token belongs.
const STRAY: &str = "sg_CANARYstrayCANARYstrayCANARYstrayCANARYstr0";

/// The conversation with one sidecar: every token it gave, and every answer that should hold none.
struct Talk {
    api: Client,
    tokens: Vec<String>,
    answers: Vec<(String, String)>,
}

impl Talk {
    fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = [headers, &[("X-Sessgate-Key", API_KEY)]].concat();
        self.api.call(method, path, &headers, body.as_bytes())
    }

    /// A call whose answer must show no secret at all.
    fn discreet(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let reply = self.call(method, path, headers, body);
        let shown = format!("{:?} {}", reply.headers, reply.text());
        self.answers.push((format!("the answer to {method} {path}"), shown));
        reply.status
    }

    /// A call that hands out a token.
    fn token(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let reply = self.call("POST", path, headers, body);
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        let token = reply.json()["token"].as_str().expect("there is a token").to_owned();
        self.tokens.push(token.clone());
        token
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Everything that the API does, done.
fn everything_at_the_api(talk: &mut Talk) {
    let body = format!("{{\"user\":\"{USER}\",\"data\":{{\"x\":\"{DATA}\"}},\"ip\":\"{IP}\"}}");
    let first = talk.token("/v1/sessions", &[], &body);
    let kept = talk.token("/v1/sessions", &[], &body);
    let auth = bearer(&first);
    let auth = [("Authorization", auth.as_str())];
    let shown = talk.call("GET", "/v1/session", &auth, "").expect(200);
    assert!(shown.text().contains(DATA), "the data is the session's own");
    let id = shown.json()["id"].as_str().expect("there is an id").to_owned();
    talk.call("GET", "/v1/session?touch=false", &auth, "").expect(200);
    talk.call("PUT", "/v1/session", &auth, &format!("{{\"data\":\"{DATA}-2\"}}")).expect(200);
    assert_eq!(talk.discreet("PUT", "/v1/session", &[auth[0], ("If-Match", "\"9\"")], "{\"data\":1}"), 412);
    assert_eq!(talk.discreet("POST", "/v1/session/touch", &auth, ""), 204);
    let rotated = talk.token("/v1/session/rotate", &auth, "");
    assert_eq!(talk.discreet("GET", "/v1/session", &auth, ""), 404);
    let listed = format!("/v1/users/{USER}/sessions");
    let page = talk.call("GET", &listed, &[], "").expect(200).text();
    talk.answers.push(("a list".to_owned(), page.replace(USER, "")));
    talk.call("POST", &format!("/v1/users/{USER}/leases"), &[], "").expect(201);
    talk.call("GET", &format!("/v1/sessions/{id}"), &[], "").expect(200);
    assert_eq!(talk.discreet("DELETE", &format!("/v1/sessions/{id}"), &[], ""), 204);
    assert_eq!(talk.discreet("DELETE", "/v1/session", &[("Authorization", &bearer(&rotated))], ""), 204);
    // A user over the limit, and a client that creates too fast.
    talk.token("/v1/sessions", &[], &body);
    talk.token("/v1/sessions", &[], &body);
    assert_eq!(talk.discreet("POST", "/v1/sessions", &[], &body), 429);
    let too_large = format!("{{\"data\":\"{}\"}}", DATA.repeat(5_000));
    assert_eq!(talk.discreet("POST", "/v1/sessions", &[], &too_large), 413);
    talk.call("GET", "/v1/stats", &[], "").expect(200);
    assert_eq!(talk.discreet("GET", "/v1/session", &[("Authorization", &bearer(&kept))], ""), 404, "over the limit");
}

/// Secrets where they do not belong.
fn everything_in_the_wrong_place(talk: &mut Talk, sidecar: &Sidecar) {
    let live = talk.token("/v1/sessions", &[], "");
    for token in [STRAY, &live] {
        for body in [
            token.to_owned(),
            format!("{{\"token\":\"{token}\"}}"),
            format!("{{\"{token}\":1}}"),
            format!("{{\"user\":[\"{token}\"]}}"),
            format!("{{\"ip\":\"{token}\"}}"),
            format!("{{\"idle_timeout\":\"{token}\"}}"),
        ] {
            assert_eq!(talk.discreet("POST", "/v1/sessions", &[], &body), 400);
            assert_eq!(talk.discreet("PUT", "/v1/session", &[("Authorization", &bearer(&live))], &body), 400);
        }
        for path in ["/", "/v1/session?token=", "/v1/sessions/", "/v1/leases/", "/v1/users/a/sessions?cursor=", "//"] {
            for method in ["GET", "POST", "DELETE", "OPTIONS", "BREW"] {
                assert!(talk.discreet(method, &format!("{path}{token}"), &[], "") >= 204);
            }
        }
        for value in [token.to_owned(), format!("Basic {token}"), format!("Bearer {token} {token}")] {
            assert!(talk.discreet("GET", "/v1/session", &[("Authorization", &value)], "") >= 400);
        }
        talk.discreet("GET", "/v1/session", &[("X-Sessgate-Key", token)], "");
        // What is no HTTP at all, and what is too much of it.
        for junk in [
            format!("GET /{token} HTTP/9.9\r\n\r\n"),
            format!("\x16\x03\x01{token}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nA\0{token}: b\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("A: {token}\r\n").repeat(400)),
            format!("POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: {token}\r\n\r\n"),
        ] {
            for address in [sidecar.api(), sidecar.admin()] {
                let mut client = Client::connect(address).expect("it listens");
                let _ = client.send(junk.as_bytes());
                // A reset is an answer, too.
                let answered = client.rest().unwrap_or_default();
                talk.answers.push(("an answer to junk".to_owned(), String::from_utf8_lossy(&answered).into_owned()));
            }
        }
    }
}

/// Everything that the admin door and the command line show. User names are theirs to show; the rest is not.
fn everything_an_operator_sees(place: &Place, sidecar: &Sidecar) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut admin = Client::connect(sidecar.admin()).expect("it listens");
    let key = bearer(API_KEY);
    for path in ["/", "/metrics", "/livez", "/readyz", "/-/config", "/-/stats", "/nowhere"] {
        for headers in [&[][..], &[("Authorization", key.as_str())]] {
            let reply = admin.call("GET", path, headers, b"");
            let shown = format!("{:?} {}", reply.headers, reply.text());
            assert!(path != "/metrics" || !shown.contains(USER), "a user is in a metric");
            seen.push((format!("GET {path}"), shown.replace(USER, "")));
        }
    }
    // A file that is wrong just where the secrets are.
    let good = fs::read_to_string(place.config_path()).expect("it is there");
    let broken = good.replace("http://", "gopher://").replace("level: trace", "level: '${HOOK_PATH}'");
    fs::write(place.config_path(), broken).expect("it can be written");
    let refused = admin.call("POST", "/-/reload", &[("Authorization", &key)], b"").expect(422).text();
    assert!(refused.contains("HOOK_PATH") && refused.contains("log.level"), "{refused}");
    let checked = place.once(["check"]).expect(78);
    fs::write(place.config_path(), good).expect("it can be written");
    admin.call("POST", "/-/reload", &[("Authorization", &key)], b"").expect(200);
    seen.extend([("a refused reload".to_owned(), refused), ("check".to_owned(), checked.err)]);

    let url = format!("http://{}", sidecar.admin());
    let top = place.once(["top", "--admin", &url, "--api-key-file", "key"]).expect(0);
    let refused = place.once(["top", "--admin", &url]).expect(1);
    let health = place.once(["health", "--admin", &url, "--api-key-file", "key"]).expect(0);
    for (name, ended) in [("top", top), ("top without key", refused), ("health", health)] {
        seen.push((name.to_owned(), format!("{}{}", ended.out.replace(USER, ""), ended.err)));
    }
    seen
}

/// A token in every form that it could be found in: itself, and the key of its session.
fn forms(token: &str) -> Vec<Vec<u8>> {
    let secret = URL_SAFE_NO_PAD.decode(&token["sg_".len()..]).expect("base64url");
    let hash = Sha256::digest(token);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let encoded = [STANDARD.encode(hash), URL_SAFE_NO_PAD.encode(hash), hex, format!("{:?}", &hash[..6])];
    let mut forms: Vec<_> = encoded.into_iter().map(|form| form.trim_matches(['[', ']']).as_bytes().to_vec()).collect();
    forms.extend([token["sg_".len()..].as_bytes().to_vec(), secret]);
    forms
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("it can be read").map(|entry| entry.expect("an entry").path());
    // The reserve is 16 MiB of the same noise in every store.
    let files = entries.filter(|path| path.is_file() && !path.ends_with("reserve"));
    files.map(|path| (path.display().to_string(), fs::read(&path).expect("a file"))).collect()
}

/// One whole life of a sidecar. Answers what must hold no secret, what is at rest, and the tokens it gave.
fn drive(format: &str) {
    // The first attempt is cut off, the second refused, the third taken.
    let app = HookReceiver::new([String::new(), answer("500 Internal Server Error", ""), answer("204 No Content", "")]);
    let mut place = Place::new("");
    fs::write(place.path().join("key"), API_KEY).expect("it can be written");
    fs::write(place.path().join("hook"), HOOK_SECRET).expect("it can be written");
    place.set_env("HOOK_PATH", HOOK_PATH);
    let config = format!(
        "listen: {{ api: 127.0.0.1:0, admin: 127.0.0.1:0, api_key_file: key }}
limits: {{ per_user: {{ sessions: 2 }}, creation_per_ip: {{ count: 4, per: 1h, ipv6_prefix: 64 }} }}
hooks: {{ session_closed: {{ url: 'http://{}/${{HOOK_PATH}}', secret_file: hook }} }}
log: {{ level: trace, format: {format} }}
",
        app.address
    );
    // The format is changed while it runs, because the fixture reads the first lines.
    place.write_config(&config.replace("format: json", "format: text"));
    let sidecar = place.start();
    place.write_config(&config);
    let key = bearer(API_KEY);
    let mut admin = Client::connect(sidecar.admin()).expect("it listens");
    admin.call("POST", "/-/reload", &[("Authorization", &key)], b"").expect(200);

    let api = Client::connect(sidecar.api()).expect("it listens");
    let mut talk = Talk { api, tokens: Vec::new(), answers: Vec::new() };
    everything_at_the_api(&mut talk);
    everything_in_the_wrong_place(&mut talk, &sidecar);
    let mut discreet = std::mem::take(&mut talk.answers);
    let mut notices = Vec::new();
    // Two sessions ended, and two attempts failed.
    while notices.len() < 4 {
        let notice = app.next();
        assert!(notice.starts_with(&format!("POST /{HOOK_PATH} ")), "the secret path is used: {notice}");
        notices.push(notice);
    }
    let body = notices[3].split_once("\r\n\r\n").expect("a body").1;
    let notice: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(notice["user"], USER);
    discreet
        .extend(notices.into_iter().map(|text| ("a hook".to_owned(), text.replace(HOOK_PATH, "").replace(USER, ""))));
    discreet.extend(everything_an_operator_sees(&place, &sidecar));
    let log = sidecar.log().clone();
    let mut at_rest = files(place.store_path());
    sidecar.stop();
    at_rest.extend(files(place.store_path()));

    assert!(log.text().lines().count() > 20 && log.text().contains("hook failed"), "{}", log.text());
    discreet.push(("the log".to_owned(), log.text()));
    assert!(talk.tokens.len() >= 6);
    for (place, text) in &discreet {
        for secret in [DATA, API_KEY, HOOK_SECRET, HOOK_PATH, USER, IP, &STRAY[3..], "CANARY"] {
            assert!(!text.contains(secret), "{secret} is in {place}: {text}");
        }
        for form in talk.tokens.iter().flat_map(|token| forms(token)) {
            assert!(!contains(text.as_bytes(), &form), "{:?} is in {place}: {text}", String::from_utf8_lossy(&form));
        }
    }
    // The search is no good if it does not find what is there.
    let live = Sha256::digest(talk.tokens.last().expect("there is one"));
    assert!(at_rest.iter().any(|(_, bytes)| contains(bytes, &live)), "the hash of a live token is at rest");
    for (path, bytes) in &at_rest {
        for token in &talk.tokens {
            let secret = URL_SAFE_NO_PAD.decode(&token["sg_".len()..]).expect("base64url");
            assert!(!contains(bytes, token.as_bytes()) && !contains(bytes, &secret), "a token is at rest in {path}");
        }
        for secret in [API_KEY, HOOK_SECRET, HOOK_PATH, &STRAY[3..], IP] {
            assert!(!contains(bytes, secret.as_bytes()), "{secret} is at rest in {path}");
        }
    }
}

#[test]
fn no_secret_leaves_by_a_log_for_people_a_metric_an_answer_a_hook_or_a_file() {
    drive("text");
}

#[test]
fn no_secret_leaves_by_a_log_for_machines_either() {
    drive("json");
}
