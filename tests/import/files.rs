//! From a file.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use sessgate::clock::{Clock, SystemClock};

use super::{FREE, door, expect_figures, import, place};

/// Seconds since the epoch.
fn now() -> i64 {
    SystemClock::new().now().at.as_millis() / 1_000
}

#[track_caller]
fn seconds(answer: &str) -> i64 {
    let ms = answer.trim_end().strip_prefix(':').and_then(|ms| ms.parse::<i64>().ok());
    ms.unwrap_or_else(|| panic!("no number: {answer}")) / 1_000
}

#[test]
fn sessions_of_every_kind_move_in_with_their_ends() {
    let place = place(&format!("{FREE}lifetimes: {{ idle_timeout: 2h }}\n"));
    let sidecar = place.start();
    let now = now();
    let file = format!(
        r#"{{
  "text": "plain \"text\" é",
  "json": {{ "user": {{ "id": "ada" }}, "createdAt": {created}, "n": 1.0 }},
  "list": [1, 2],
  "around": {{ "data": {{ "user": {{ "id": "ada" }} }}, "created": {created}, "last_access": {used} }},
  "milliseconds": {{ "session": "m", "lastAccess": {used}000 }},
  "expires": {{ "value": "e", "expires": {soon} }},
  "ttl": {{ "data": "t", "ttl": 90 }},
  "old": {{ "data": "o", "last_access": {created} }},
  "past": {{ "data": "p", "expires": "2020-01-01T00:00:00Z" }},
  "\u006bey": "escaped",
  "text": "twice"
}}
"#,
        created = now - 10_000,
        used = now - 600,
        soon = now + 300,
    );
    fs::write(place.path().join("sessions.json"), file).unwrap();
    let ended = import(&place, &["--sessions-json", "sessions.json"]).expect(0);
    expect_figures(&ended, [8, 1, 2, 0]);

    let mut there = door(&place);
    for (key, value) in [
        ("text", "plain \"text\" é".to_owned()),
        ("json", format!(r#"{{"user":{{"id":"ada"}},"createdAt":{},"n":1.0}}"#, now - 10_000)),
        ("list", "[1,2]".to_owned()),
        ("around", r#"{"user":{"id":"ada"}}"#.to_owned()),
        ("milliseconds", "m".to_owned()),
        ("expires", "e".to_owned()),
        ("ttl", "t".to_owned()),
        ("key", "escaped".to_owned()),
    ] {
        assert_eq!(there.say(&format!("GET {key}")), format!("${}\r\n{value}\r\n", value.len()), "{key}");
    }
    for (key, left) in [("around", 6_600), ("milliseconds", 6_600), ("expires", 300), ("ttl", 90)] {
        let ttl = seconds(&there.say(&format!("PTTL {key}")));
        assert!((left - 30..=left).contains(&ttl), "{key}: {ttl}");
    }
    assert_eq!(there.say("PTTL text"), ":-1\r\n");
    let sessions = sidecar.client().get("/v1/users/ada/sessions").expect(200).text();
    assert_eq!(sessions.matches("\"id\"").count(), 2, "{sessions}");

    expect_figures(&import(&place, &["--sessions-json", "sessions.json"]).expect(0), [0, 9, 2, 0]);
    sidecar.stop();
}

#[test]
fn a_broken_file_is_told_with_its_place_and_what_stands_before_it_moves() {
    let place = place(FREE);
    let sidecar = place.start();
    let mut good = String::from("{\n");
    for number in 0..200 {
        writeln!(good, "\"k{number}\": {{\"n\": {number}}},").unwrap();
    }
    for (name, file, told, moved) in [
        ("cut", good.clone(), ":202:0: EOF while parsing", 200),
        ("comma", good.clone() + "\"x\": 1\n  \"y\": 2 }", ":203:3: expected `,` or `}`", 201),
        ("more", "{\"a\": 1} x".to_owned(), ":1:10: trailing characters", 1),
        ("list", "[1]".to_owned(), ":1:1: invalid type: sequence, expected an object, each key with its session", 0),
        ("empty", String::new(), ":1:0: EOF while parsing", 0),
    ] {
        fs::write(place.path().join(name), file).unwrap();
        let ended = import(&place, &["--sessions-json", name]).expect(64);
        assert!(ended.err.contains(&format!("{name}{told}")), "{}", ended.err);
        assert!(ended.err.contains("what stands before that is moved"), "{}", ended.err);
        let figures = super::figures(&ended.out);
        assert_eq!(figures["moved"] + figures["there already"], moved, "{name}: {}", ended.out);
    }
    assert_eq!(door(&place).say("GET k199"), "$9\r\n{\"n\":199}\r\n");
    let told = import(&place, &["--sessions-json", "missing"]).expect(64).err;
    assert!(told.contains("missing: No such file"), "{told}");
    let told = import(&place, &["--sessions-json", "."]).expect(64).err;
    assert!(told.contains(".: "), "{told}");
    sidecar.stop();
}

#[test]
fn what_is_too_large_is_counted_and_the_rest_moves() {
    let place = place(FREE);
    let sidecar = place.start();
    let file =
        format!(r#"{{"a": 1, "large": "{}", "larger": "{}", "b": 2}}"#, "x".repeat(100_000), "x".repeat(2_000_000));
    fs::write(place.path().join("f"), file).unwrap();
    let ended = import(&place, &["--sessions-json", "f"]).expect(1);
    expect_figures(&ended, [2, 0, 0, 2]);
    assert!(ended.out.contains("limits.session_bytes") && ended.out.contains("beyond what the door takes"));
    // And what is no session at all ends it, since it would not fit into memory.
    let file = format!(r#"{{"c": 3, "vast": "{}"}}"#, "x".repeat(70 << 20));
    fs::write(place.path().join("f"), file).unwrap();
    let ended = import(&place, &["--sessions-json", "f"]).expect(64);
    assert!(ended.err.contains("f: an entry of more than 64 MiB is no session"), "{}", ended.err);
    expect_figures(&ended, [1, 0, 0, 0]);
    sidecar.stop();
}

#[test]
fn on_a_terminal_it_shows_where_it_is() {
    let place = place(FREE);
    let sidecar = place.start();
    let pipe = place.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo(1) is essential").success());
    let mut terminal = Command::new("script");
    let command = format!("exec {} import --sessions-json pipe", env!("CARGO_BIN_EXE_sessgate"));
    terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]).current_dir(place.path());
    let mut child = terminal.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script(1) is essential");
    let mut screen = child.stdout.take().unwrap();
    let (mut shown, mut buffer) = (String::new(), [0; 4096]);
    let is_shown = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().write(true).open(&pipe).expect("it is read");
            file.write_all(b"{").expect("it is read");
            for number in 0.. {
                if is_shown.load(Ordering::Relaxed) {
                    break;
                }
                writeln!(file, "\"k{number}\": {number},").expect("it is read");
            }
            file.write_all(b"\"end\": 1}").expect("it is read");
        });
        loop {
            let count = screen.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                break;
            }
            shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
            is_shown.fetch_or(shown.contains("/s, 0 refused\x1b[K"), Ordering::Relaxed);
        }
        // Whatever it died of, the writer has to end, even if nobody has opened the other end of the pipe.
        is_shown.store(true, Ordering::Relaxed);
        drop(fs::OpenOptions::new().read(true).write(true).open(&pipe));
    });
    assert_eq!(child.wait().expect("it is ours").code(), Some(0), "{shown}");
    assert!(shown.contains("\r\x1b[Kmoved "), "the line is cleared before the summary: {shown:?}");
    sidecar.stop();
}
