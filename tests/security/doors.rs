//! Doors: who gets in, how long it may take, and where the program itself goes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use sessgate::doors::http::routes::ROUTES;
use sessgate::doors::serve::ServeLimits;
use sessgate::doors::serve::h1::{MAX_HEAD_BYTES, MAX_HEADERS};

use super::receiver::{HookReceiver, answer};
use crate::support::client::Client;
use crate::support::sidecar::Place;

#[test]
fn a_listener_beyond_loopback_without_a_key_refuses_to_start() {
    let place = Place::new("");
    for (door, address, shown) in [
        ("api", "0.0.0.0:0", "0.0.0.0:0"),
        ("admin", "0.0.0.0:0", "0.0.0.0:0"),
        ("api", "[::]:0", "[::]:0"),
        ("admin", "192.0.2.1:9480", "192.0.2.1:9480"),
    ] {
        let other = if door == "api" { "admin" } else { "api" };
        place.write_config(&format!("listen:\n  {other}: 127.0.0.1:0\n  {door}: '{address}'\n"));
        let told = format!(
            "config.yaml:4:{}: `listen.{door}` is bound beyond loopback ({shown}), which needs `listen.api_key_file`\n  \
             hint: set `listen.api_key_file`, or listen on 127.0.0.1 or a Unix socket\n",
            door.len() + 5
        );
        for command in ["run", "check"] {
            let refused = place.once([command]).expect(78);
            assert_eq!(refused.err, told, "{command}");
        }
        assert!(!place.store_path().exists());
    }
}

#[test]
fn with_a_key_every_path_asks_for_it() {
    let place = Place::new("");
    fs::write(place.path().join("key"), "the-right-key\n").unwrap();
    place.write_config("listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0, api_key_file: key }\n");
    let sidecar = place.start();
    let mut api = Client::connect(sidecar.api()).unwrap();
    let right = ("X-Sessgate-Key", "the-right-key");
    let created = api.call("POST", "/v1/sessions", &[right], b"{}").expect(201).json();
    let token = format!("Bearer {}", created["token"].as_str().unwrap());
    let auth = ("Authorization", token.as_str());
    let paths = ROUTES.iter().map(|route| (route.method.as_str(), route.path.replace(['{', '}'], "")));
    let others = [("GET", "/"), ("GET", "/nowhere"), ("OPTIONS", "/v1/session"), ("PATCH", "/v1/session")];
    for (method, path) in paths.chain(others.map(|(method, path)| (method, path.to_owned()))) {
        let wrong = [&[][..], &[("X-Sessgate-Key", "the-wrong-key")], &[("X-Sessgate-Key", "")], &[right, right]];
        for headers in wrong.map(|headers| [headers, &[auth]].concat()) {
            let refused = api.call(method, &path, &headers, b"");
            assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"), "{method} {path} {headers:?}");
        }
    }
    let mut admin = Client::connect(sidecar.admin()).unwrap();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("POST", "/-/reload"),
        ("GET", "/-/config"),
        ("GET", "/-/stats"),
        ("GET", "/nowhere"),
    ] {
        for headers in [&[][..], &[("X-Sessgate-Key", "the-wrong-key")], &[("Authorization", "Bearer the-wrong-key")]] {
            let refused = admin.call(method, path, headers, b"");
            assert_eq!((refused.status, refused.code().as_str()), (401, "api_key_required"), "{path} {headers:?}");
        }
        assert_ne!(admin.call(method, path, &[right], b"").status, 401, "{path}");
        assert_ne!(admin.call(method, path, &[("Authorization", "Bearer the-right-key")], b"").status, 401, "{path}");
    }
    assert_eq!(admin.call("GET", "/livez", &[], b"").status, 200, "a probe needs no secret");
    api.call("GET", "/v1/session", &[right, auth], b"").expect(200);
    sidecar.stop();
}

#[test]
fn the_limits_of_a_listener_are_those_of_the_design() {
    let limits = ServeLimits::default();
    assert_eq!((limits.head_read, limits.body_bytes), (Duration::from_secs(5), 1 << 20));
    assert_eq!((MAX_HEADERS, MAX_HEAD_BYTES), (64, 16 * 1024));
    assert!(limits.connections <= 16_384 && limits.connections_per_peer <= limits.connections / 16);
}

/// The limits as a client of the program meets them. All at once, because it takes as long as the limit.
#[test]
fn a_head_that_drips_is_cut_off_after_five_seconds_while_others_are_served() {
    let place = Place::new("");
    let sidecar = place.start();
    let begin = Instant::now();
    let dripping: Vec<_> = [sidecar.api(), sidecar.admin()]
        .into_iter()
        .flat_map(|address| [(address.clone(), true), (address.clone(), false)])
        .map(|(address, drips)| {
            thread::spawn(move || {
                let mut client = Client::connect(&address).unwrap();
                client.send(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ").unwrap();
                while !client.is_closed_within(Duration::from_millis(200)) {
                    if drips && client.send(b"x").is_err() {
                        break;
                    }
                }
                begin.elapsed()
            })
        })
        .collect();
    let mut served = 0;
    let mut client = Client::connect(sidecar.api()).unwrap();
    while dripping.iter().any(|thread| !thread.is_finished()) {
        client.call("GET", "/v1/stats", &[], b"").expect(200);
        served += 1;
    }
    for thread in dripping {
        let took = thread.join().unwrap();
        assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&took), "{took:?}");
    }
    assert!(served > 100, "{served} were served meanwhile");
    sidecar.stop();
}

#[test]
fn a_hook_follows_no_redirect_and_no_proxy() {
    let elsewhere = HookReceiver::new([answer("204 No Content", "")]);
    let redirect = answer("302 Found", &format!("Location: http://{}/\r\n", elsewhere.address));
    let moved = answer("308 Permanent Redirect", &format!("Location: http://{}/\r\n", elsewhere.address));
    let app = HookReceiver::new([redirect, moved, answer("204 No Content", "")]);
    let mut place = Place::new(&format!("hooks: {{ session_closed: {{ url: 'http://{}/ended' }} }}\n", app.address));
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        place.set_env(variable, &format!("http://{}", elsewhere.address));
    }
    let sidecar = place.start();
    let mut api = sidecar.client();
    let created = api.request("POST", "/v1/sessions", None, "{\"user\":\"ann\"}").expect(201).json();
    api.request("DELETE", "/v1/session", created["token"].as_str(), "").expect(204);
    let attempts = [app.next(), app.next(), app.next()];
    assert!(attempts.iter().all(|attempt| attempt.starts_with("POST /ended HTTP/1.1")), "{attempts:?}");
    assert!(elsewhere.is_quiet(), "somebody else was told");
    // Where it goes is nobody's to say but the configuration's.
    for member in ["hook", "url", "webhook", "hooks", "callback"] {
        let body = format!("{{\"{member}\":\"http://{}/\"}}", elsewhere.address);
        assert_eq!(api.request("POST", "/v1/sessions", None, &body).code(), "invalid_json", "{member}");
    }
    sidecar.stop();
}

#[test]
fn metrics_name_users_only_if_the_configuration_says_so() {
    for (label, named) in [("hash", false), ("none", false), ("plain", true)] {
        let place = Place::new(&format!("top_users: {{ count: 10, label: {label} }}\n"));
        let sidecar = place.start();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let body = "{\"user\":\"eve@example.org\",\"ip\":\"198.51.100.77\"}";
            let created = sidecar.client().request("POST", "/v1/sessions", None, body).expect(201).json();
            ids.push(created["id"].as_str().unwrap().to_owned());
        }
        let begin = Instant::now();
        let text = loop {
            let text = sidecar.admin_client().get("/metrics").expect(200).text();
            if text.contains("sessgate_user_sessions_max 3\n") {
                break text;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{text}");
        };
        let naming: Vec<_> = text.lines().filter(|line| line.contains("eve@example.org")).collect();
        assert_eq!(naming.len(), usize::from(named), "{label}: {naming:?}");
        assert!(naming.iter().all(|line| line.starts_with("sessgate_top_user_sessions{")), "{naming:?}");
        assert!(!text.contains("198.51.100.77") && ids.iter().all(|id| !text.contains(id)), "{label}");
        sidecar.stop();
    }
}
