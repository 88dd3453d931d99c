//! Bad input and bad surroundings, met by the program as it is shipped: each gets a clear error, and nothing is lost.
//!
//! What each door and the store refuse in detail is in `http_hostile`, `embedded_store` and `config::hostile`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Client, request};
use crate::support::disk::SmallDisk;
use crate::support::hex;
use crate::support::sidecar::{Place, Sidecar};

const PATIENCE: Duration = Duration::from_secs(60);

/// Creates a session, and answers its token.
fn create(sidecar: &Sidecar, user: &str) -> String {
    let body = serde_json::json!({ "user": user, "data": { "of": user } }).to_string();
    let created = sidecar.client().request("POST", "/v1/sessions", None, &body).expect(201).json();
    created["token"].as_str().expect("there is a token").to_owned()
}

#[track_caller]
fn assert_alive(sidecar: &Sidecar, token: &str, user: &str) {
    let session = sidecar.client().request("GET", "/v1/session", Some(token), "").expect(200).json();
    assert_eq!(session["data"]["of"], user);
}

/// What is in a directory, to the byte.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("it can be read")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default()))
        .collect();
    files.sort();
    files
}

/// Insists that the program refuses its store, says all of `told`, and leaves the file as it is.
#[track_caller]
fn refuses_store(place: &Place, told: &[&str]) {
    let database = place.store_path().join("sessgate.db");
    let before = fs::read(&database).ok();
    let refused = place.once(["run"]).expect(74);
    for words in told {
        assert!(refused.err.contains(words), "`{words}` is not in: {}", refused.err);
    }
    assert_eq!(refused.err.lines().filter(|line| line.contains("ERROR")).count(), 1, "{}", refused.err);
    assert_eq!(fs::read(&database).ok(), before, "the file is as it was");
    assert!(!refused.err.contains("panicked"), "{}", refused.err);
}

#[test]
fn a_database_that_is_none_is_refused_and_left_as_it_is() {
    let place = Place::new("");
    let database = place.store_path().join("sessgate.db");
    fs::create_dir(place.store_path()).unwrap();
    for garbage in [&b"these are not the sessions you are looking for\n".repeat(200)[..], &[0xff; 8192], b"SQLite"] {
        fs::write(&database, garbage).unwrap();
        refuses_store(
            &place,
            &["the store cannot be opened", "sessgate.db is damaged", "restore a copy, or move it away"],
        );
    }
}

#[test]
fn a_database_with_a_page_torn_out_is_refused_and_moving_it_away_helps() {
    let place = Place::new("limits: { per_user: { sessions: null } }\n");
    let sidecar = place.start();
    let tokens: Vec<_> = (0..200).map(|_| create(&sidecar, "ann")).collect();
    sidecar.stop();
    let database = place.store_path().join("sessgate.db");
    let mut bytes = fs::read(&database).unwrap();
    let copy = bytes.clone();
    bytes[4096..].fill(0xA5);
    fs::write(&database, &bytes).unwrap();
    refuses_store(&place, &["sessgate.db is damaged", "every session then ends"]);

    // Both things that the message advises.
    fs::write(&database, copy).unwrap();
    let sidecar = place.start();
    assert_alive(&sidecar, &tokens[0], "ann");
    sidecar.stop();
    fs::rename(&database, place.path().join("damaged.db")).unwrap();
    let sidecar = place.start();
    sidecar.client().request("GET", "/v1/session", Some(&tokens[0]), "").expect(404);
    create(&sidecar, "ann");
    sidecar.stop();
}

#[test]
fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let place = Place::new("");
    fs::create_dir(place.store_path()).unwrap();
    let foreign = rusqlite::Connection::open(place.store_path().join("sessgate.db")).unwrap();
    foreign
        .execute_batch("CREATE TABLE sessions (key BLOB, data BLOB); INSERT INTO sessions VALUES (x'00', x'01');")
        .unwrap();
    drop(foreign);
    refuses_store(
        &place,
        &["is the database of another program and was left as it is", "change `store.embedded.path`"],
    );
}

#[test]
fn the_database_of_a_newer_release_is_refused_and_left_as_it_is() {
    let place = Place::new("");
    place.start().stop();
    let newer = rusqlite::Connection::open(place.store_path().join("sessgate.db")).unwrap();
    newer.pragma_update(None, "user_version", 4_711).unwrap();
    drop(newer);
    refuses_store(&place, &["has schema version 4711", "run the newer release"]);
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    for (path, told) in [("file", "File exists"), ("file/below", "Not a directory"), ("dangling", "")] {
        let place = Place::new("");
        fs::write(place.path().join("file"), "somebody's notes").unwrap();
        symlink("nowhere", place.path().join("dangling")).unwrap();
        let config = format!("store: {{ embedded: {{ path: '{path}' }} }}\n");
        place.write_config(&config);
        let refused = place.once(["run"]).expect(74).err;
        assert!(refused.contains("cannot use") && refused.contains(path) && refused.contains(told), "{refused}");
        assert!(
            refused.contains("give `store.embedded.path` a directory that this user can create and write"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(place.path().join("file")).unwrap(), "somebody's notes");
    }
}

#[test]
fn missing_parents_are_made() {
    let place = Place::new("");
    place.write_config("store: { embedded: { path: 'not/there/yet' } }\n");
    let sidecar = place.start();
    create(&sidecar, "ann");
    sidecar.stop();
    assert!(place.path().join("not/there/yet/sessgate.db").is_file());
}

#[test]
fn a_read_only_directory_is_refused_and_nothing_in_it_is_lost() {
    let disk = SmallDisk::mount(64);
    let place = Place::with_store("", &disk.path().join("data"));
    let sidecar = place.start();
    let token = create(&sidecar, "ann");
    sidecar.stop();
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        let status = Command::new("mount").args(["-o", &options]).arg(disk.path()).status();
        assert!(status.expect("mount(8) runs").success());
    };
    remount("ro");
    let before = content(place.store_path());
    let refused = place.once(["run"]).expect(74).err;
    assert!(refused.contains("Read-only file system") && refused.contains("`store.embedded.path`"), "{refused}");
    let new = Place::with_store("", &disk.path().join("another"));
    assert!(new.once(["run"]).expect(74).err.contains("Read-only file system"));
    remount("rw");
    assert!(content(place.store_path()) == before, "nothing was touched");
    let sidecar = place.start();
    assert_alive(&sidecar, &token, "ann");
    sidecar.stop();
}

#[test]
fn a_second_process_on_a_store_is_refused_and_the_first_goes_on() {
    let place = Place::new("");
    let sidecar = place.start();
    let token = create(&sidecar, "ann");
    let told = ["is in use by another process", "stop that one, or give this one its own `store.embedded.path`"];
    let refused = place.once(["run"]).expect(74).err;
    assert!(told.iter().all(|words| refused.contains(words)), "{refused}");
    assert_alive(&sidecar, &token, "ann");
    let again = create(&sidecar, "ann");
    // Not even a death without a farewell leaves a lock behind.
    sidecar.kill();
    let sidecar = place.start();
    assert_alive(&sidecar, &token, "ann");
    assert_alive(&sidecar, &again, "ann");
    sidecar.stop();
}

#[test]
fn a_socket_path_that_is_taken_is_refused_and_a_left_over_is_replaced() {
    let place = Place::new("");
    let path = place.path().join("api.sock");
    place.write_config(&format!("listen: {{ api: 'unix:{}', admin: 127.0.0.1:0 }}\n", path.display()));
    let taken = UnixListener::bind(&path).unwrap();
    let refused = place.once(["run"]).expect(69).err;
    assert!(refused.contains("cannot listen on unix:") && refused.contains("api.sock"), "{refused}");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    drop(taken);
    place.start().kill();
    assert!(path.exists(), "a death without a farewell leaves it");
    let sidecar = place.start();
    create(&sidecar, "ann");
    sidecar.stop();
    fs::write(&path, "somebody's notes").unwrap();
    place.once(["run"]).expect(69);
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes");
}

/// What is wrong about a request, and the status and code that say so.
fn bad_requests() -> Vec<(&'static str, &'static str, Vec<u8>, u16, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let name = |name: &str| format!("{{\"user\":{}}}", Value::from(name)).into_bytes();
    let create = ("POST", "/v1/sessions");
    let list = |path| ("GET", path);
    let mut all = Vec::new();
    let mut add = |(method, path), body, status, code| all.push((method, path, body, status, code));
    for body in
        ["{", "[]", "nul", "{\"user\":}", "{}{}", "\0", "{\"data\":\u{1}}", "{\"user\":1}", "{\"data\":1,\"data\":2}"]
    {
        add(create, text(body), 400, "invalid_json");
    }
    for body in ["{\"users\":\"a\"}", "{\"token\":\"x\"}", "{\"id\":\"x\"}", "{\"user\":{\"$ne\":null}}", "{\"ip\":[]}"]
    {
        add(create, text(body), 400, "invalid_json");
    }
    add(create, b"{\"user\":\"\xff\xfe\"}".to_vec(), 400, "invalid_json");
    add(create, text("{\"ip\":\"10.0.0.0/8\"}"), 400, "invalid_ip");
    for timeout in ["-1", "0", "\"0s\"", "\"1y\"", "1e300", "18446744073709551615", "\"10000d\""] {
        add(create, text(&format!("{{\"idle_timeout\":{timeout}}}")), 400, "invalid_timeout");
    }
    for bad in ["", &"x".repeat(10_240), "a\0b", "a\r\nX: y", "\u{1b}[2J", "\u{7f}"] {
        add(create, name(bad), 400, "invalid_user");
    }
    for path in ["/v1/users//sessions", "/v1/users/%00/sessions", "/v1/users/%/sessions", "/v1/users/%ff/sessions"] {
        add(list(path), Vec::new(), 400, "invalid_user");
    }
    for path in
        ["/v1/users/../../etc/passwd", "/v1/users/a/../b/sessions", "/v1/users/a/sessions/", "/../metrics", "//"]
    {
        add(list(path), Vec::new(), 404, "not_found");
    }
    add(list("/v1/users/a/sessions?limit=100000000000000000000"), Vec::new(), 400, "invalid_query");
    add(create, text(&format!("{{\"data\":\"{}\"}}", "x".repeat(100_000))), 413, "session_too_large");
    add(create, vec![b' '; (1 << 20) + 1], 413, "body_too_large");
    all
}

#[test]
fn bad_requests_get_their_errors_and_nothing_is_lost() {
    let place = Place::new("");
    let sidecar = place.start();
    let token = create(&sidecar, "ann");
    for (method, path, body, status, code) in bad_requests() {
        let mut client = Client::connect(sidecar.api()).unwrap();
        let reply = client.call(method, path, &[], &body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path} {shown}");
        assert!(!reply.json()["detail"].as_str().expect("it is explained").is_empty());
    }
    // Names that only look dangerous are names.
    for user in ["../../etc/passwd", "a/b", "%2e%2e", "a%00b", "'; DROP TABLE sessions; --", "\u{202e}nna", "🦀", "."]
    {
        let token = create(&sidecar, user);
        assert_alive(&sidecar, &token, user);
        let encoded: String = user.bytes().flat_map(|byte| [String::from("%"), hex(&[byte])]).collect();
        let listed = sidecar.client().get(&format!("/v1/users/{encoded}/sessions")).expect(200).json();
        assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{user}");
    }
    // Data is the app's own, however deep; it is neither parsed here nor changed.
    let data = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let created =
        sidecar.client().request("POST", "/v1/sessions", None, &format!("{{\"data\":{data}}}")).expect(201).json();
    let shown = sidecar.client().request("GET", "/v1/session", created["token"].as_str(), "").expect(200).text();
    assert!(shown.contains(&data));
    assert_alive(&sidecar, &token, "ann");
    let files: BTreeSet<_> = content(place.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(files.len(), 2, "no name became a path: {files:?}");
    let log = sidecar.log().clone();
    sidecar.stop();
    assert!(!log.text().contains("panicked") && !log.text().contains(" ERROR "), "{}", log.text());
    assert!(!log.text().contains("etc/passwd") && !log.text().contains('\u{1b}'), "{}", log.text());
}

#[test]
fn what_is_no_request_ends_its_connection_and_no_other() {
    let place = Place::new("");
    let sidecar = place.start();
    let token = create(&sidecar, "ann");
    let endless = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET /v1/stats HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(65));
    let mut other = sidecar.client();
    for (junk, answer) in [
        (&b"\0\0\0\0\0\0\0\0\r\n\r\n"[..], "HTTP/1.1 400"),
        (b"GET /v1/stats HTTP/1.1\r\nHo\0st: a\r\n\r\n", "HTTP/1.1 400"),
        (b"GET /v1\0/stats HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400"),
        (b"GET /v1/stats HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", "HTTP/1.1 400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "HTTP/1.1 400"),
        (b"*1\r\n$4\r\nPING\r\n\r\n", "HTTP/1.1 400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        (b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400"),
        (b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 400"),
        (
            b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{}",
            "HTTP/1.1 413",
        ),
        (endless.as_bytes(), "HTTP/1.1 4"),
        (many.as_bytes(), "HTTP/1.1 431"),
    ] {
        for door in [sidecar.api(), sidecar.admin()] {
            let mut client = Client::connect(door).unwrap();
            client.send(junk).unwrap();
            let said = client.rest().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let reset = said.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
            let body_unread = door == sidecar.admin() && answer.ends_with("413");
            let fits = said.as_ref().is_ok_and(|said| said.starts_with(answer));
            assert!(
                fits || reset || body_unread,
                "{:?}: {said:?}",
                String::from_utf8_lossy(&junk[..junk.len().min(60)])
            );
        }
        // The same connection, all the time.
        other.request("GET", "/v1/session", Some(&token), "").expect(200);
    }
    let log = sidecar.log().clone();
    sidecar.stop();
    assert!(!log.text().contains("panicked"), "{}", log.text());
}

const MANY: i64 = 100_000;

/// Copies the one session that there is, without the program: what matters here is the reading and the ending.
fn multiply(place: &Place) {
    let store = rusqlite::Connection::open(place.store_path().join("sessgate.db")).unwrap();
    let copies = "
        WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO sessions (key, id, user, created_at, last_activity, idle_ms, absolute_ms, revision, size, content,
                              bound, data)
        SELECT randomblob(32), randomblob(16), user, created_at, last_activity, idle_ms, absolute_ms, revision, size,
               content, bound, data FROM sessions, n";
    assert_eq!(store.execute(copies, [MANY]).unwrap() + 1, usize::try_from(MANY).unwrap());
}

#[test]
fn a_user_with_a_hundred_thousand_sessions_is_listed_by_pages_and_revoked_in_steps() {
    let place = Place::new("limits: { per_user: { sessions: null }, stored_bytes: null }\n");
    let sidecar = place.start();
    create(&sidecar, "many");
    sidecar.stop();
    multiply(&place);
    let sidecar = place.start();
    let token = create(&sidecar, "ann");
    let mut client = sidecar.client();
    let (mut seen, mut pages, mut cursor) = (BTreeSet::new(), 0, String::new());
    loop {
        let page = client.get(&format!("/v1/users/many/sessions?limit=1000{cursor}")).expect(200).json();
        let sessions = page["sessions"].as_array().expect("a page");
        assert!(sessions.len() <= 1_000);
        seen.extend(sessions.iter().map(|session| session["id"].as_str().expect("an id").to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    // The last full page cannot tell that it is the last.
    assert_eq!((seen.len(), pages), (usize::try_from(MANY).unwrap(), 101));

    // Others are served, and can log in, while it ends them all.
    let mut revoking = Client::connect(sidecar.api()).unwrap();
    revoking.send(&request("DELETE", "/v1/users/many/sessions", &[], b"")).unwrap();
    let (mut served, mut slowest, begin) = (0, Duration::ZERO, Instant::now());
    while client.get("/v1/users/many/sessions?limit=1").expect(200).json()["sessions"] != Value::Array(Vec::new()) {
        let begin_one = Instant::now();
        assert_alive(&sidecar, &token, "ann");
        create(&sidecar, &format!("newcomer {served}"));
        slowest = slowest.max(begin_one.elapsed());
        served += 1;
        assert!(begin.elapsed() < 5 * PATIENCE, "it does not end");
    }
    assert_eq!(revoking.reply("DELETE").unwrap().expect(200).json()["revoked"], MANY);
    assert!(served > 20 && slowest < PATIENCE / 10, "{served} served, the slowest in {slowest:?}");
    assert_alive(&sidecar, &token, "ann");
    let begin = Instant::now();
    while client.get("/v1/stats").expect(200).json()["sessions"]["storage"] != served + 1 {
        assert!(begin.elapsed() < PATIENCE, "the figures follow");
    }
    sidecar.stop();
}
