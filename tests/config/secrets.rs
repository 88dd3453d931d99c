//! Environment variables, secret files and the key of a door: used, never shown.

use std::fs;

use sessgate::config::settings::StoreSettings;
use sessgate::config::{self, Change};

use super::{parse, parse_with};

#[test]
fn variables_are_filled_in() {
    let env = [("DIR", "/srv"), ("N", "7"), ("EMPTY", ""), ("NULL", "null")];
    let settings =
        parse_with("store: {embedded: {path: \"${DIR}/a$${b}$c\"}}\nlimits: {memory_sessions: '${N}0'}", &env).unwrap();
    assert_eq!(settings.store, StoreSettings::Embedded { path: "/srv/a${b}$c".into() });
    assert_eq!(settings.limits.memory_sessions, 70);
    for (value, told) in [
        ("${NOPE}", "needs the environment variable `NOPE`, which is not set"),
        ("${N", "holds `${` without `}`; a literal `${` is written `$${`"),
        (
            "${N:-7}",
            "holds a `${…}` that is no variable's name: letters, digits and `_`, with no default behind it; a \
                 literal `${` is written `$${`",
        ),
    ] {
        let told = format!("f:1:26: `store.embedded.path`: `{value}` {told}");
        assert_eq!(parse_with(&format!("store: {{embedded: {{path: '{value}'}}}}"), &env).unwrap_err(), told);
    }
    // An empty variable must not turn a protection off.
    for name in ["EMPTY", "NULL"] {
        assert!(parse_with(&format!("limits: {{stored_bytes: '${{{name}}}'}}"), &env).is_err());
        assert!(parse_with(&format!("listen: {{api_key_file: '${{{name}}}'}}"), &env).is_err());
    }
    let long = "x".repeat(70_000);
    let told = parse_with("store: {embedded: {path: '${L}'}}", &[("L", &long)]).unwrap_err();
    assert!(told.ends_with("is longer than 65536 bytes after substitution"), "{told}");
}

#[test]
fn what_comes_from_the_environment_is_never_shown() {
    let env = [("TOKEN", "canary")];
    let text = "hooks: {session_closed: {url: 'https://app/${TOKEN}'}}";
    let settings = parse_with(text, &env).unwrap();
    assert_eq!(settings.hooks.session_closed.as_ref().unwrap().url.as_str(), "https://app/canary");
    let shown = config::effective(&settings);
    assert!(shown.contains("url: \"https://app/${TOKEN}\""), "{shown}");
    assert_eq!(parse_with(&shown, &env).unwrap(), settings);
    assert!(!format!("{shown}{settings:?}").contains("canary"));
    for text in [
        "limits: {memory_sessions: '${TOKEN}'}",
        "lifetimes: {stale_after: '${TOKEN}'}",
        "log: {level: '${TOKEN}'}",
        "hooks: {session_closed: {url: '${TOKEN}'}}",
        "listen: {api: '${TOKEN}'}",
        "listen: {api_key_file: '${TOKEN}'}",
    ] {
        let told = parse_with(text, &env).unwrap_err();
        assert!(told.contains("${TOKEN}") && !told.contains("canary"), "{told}");
    }
}

#[test]
fn secret_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let text = format!("listen:\n  api_key_file: {}\n", path.display());
    let read = || parse(&text).map(|settings| settings.listen.api_key.unwrap().expose().to_vec());
    let outcome = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        read()
    };
    assert_eq!(outcome(b"key").unwrap(), b"key");
    assert_eq!(outcome(b"key\n").unwrap(), b"key");
    assert_eq!(outcome(b"key\r\n").unwrap(), b"key");
    assert_eq!(outcome(b"key\n\n").unwrap(), b"key\n");
    assert_eq!(outcome(&vec![b'x'; 65_536]).unwrap().len(), 65_536);
    let told = |told: &str| Err(format!("f:2:17: `listen.api_key_file`: `{}` {told}", path.display()));
    for empty in ["", "\n", " \n"] {
        assert_eq!(outcome(empty.as_bytes()), told("is an empty file; a secret must not be empty"));
    }
    assert_eq!(outcome(&vec![b'x'; 65_537]), told("is too long; at most 65536 bytes are read"));
    fs::remove_file(&path).unwrap();
    assert_eq!(read(), told("does not exist"));
    fs::create_dir(&path).unwrap();
    assert_eq!(read(), told("is not a regular file"));
}

#[test]
fn a_secret_that_signs_is_base64_if_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let outcome = |secret: &str| {
        fs::write(&path, secret).unwrap();
        let settings =
            parse(&format!("hooks:\n  session_closed: {{ url: 'http://a/', secret_file: {} }}", path.display()))?;
        let secret = settings.hooks.session_closed.unwrap().secret.unwrap();
        Ok(secret.signing_key().unwrap().into_owned())
    };
    assert_eq!(outcome("whsec_AAEC\n"), Ok(vec![0, 1, 2]));
    assert_eq!(outcome("not base64!!\n"), Ok(b"not base64!!".to_vec()));
    for secret in ["whsec_not base64!!", "whsec_AAE", "whsec_AAEC\n\n"] {
        let told = "begins with `whsec_`, and what follows is not base64";
        let told = format!("f:2:52: `hooks.session_closed.secret_file`: `{}` {told}", path.display());
        assert_eq!(outcome(secret), Err(told));
    }
    assert_eq!(parse(&format!("listen: {{ api_key_file: {} }}", path.display())).err(), None, "that signs nothing");
}

#[test]
fn a_door_beyond_loopback_needs_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "key").unwrap();
    for (address, local) in [
        ("127.0.0.1:0", true),
        ("127.8.8.8:1", true),
        ("localhost:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("unix:/run/s.sock", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.168.0.1:1", false),
        ("[::ffff:8.8.8.8]:1", false),
    ] {
        for door in ["api", "admin"] {
            let text = format!("listen:\n  {door}: '{address}'\n");
            assert_eq!(parse(&text).is_ok(), local, "{text}");
            let with_key = format!("{text}  api_key_file: {}\n", key.display());
            assert!(parse(&with_key).is_ok(), "{with_key}");
        }
    }
}

#[test]
fn a_secret_that_stands_where_its_file_belongs_is_not_shown() {
    for key in ["listen: {api_key_file", "listen: {redis_password_file", "hooks: {session_closed: {secret_file"] {
        for typed in ["canary", "whsec_canary/canary+x==", "canary/canary", "canary${X}"] {
            let closed = "}".repeat(key.matches('{').count());
            let told = parse_with(&format!("{key}: '{typed}'{closed}"), &[("X", "")]).unwrap_err();
            let subject = "the file it names (not shown: this key takes the path of a file, not the secret)";
            assert!(told.ends_with(&format!("{subject} does not exist")) && !told.contains("canary"), "{told}");
        }
        for typed in ["/no/such/file", "./no-such-file", "../no/such/file"] {
            let closed = "}".repeat(key.matches('{').count());
            let told = parse(&format!("{key}: '{typed}'{closed}")).unwrap_err();
            assert!(told.ends_with(&format!("`{typed}` does not exist")), "{told}");
        }
    }
}

#[test]
fn the_query_of_a_url_is_never_shown_but_a_change_of_it_counts() {
    let with =
        |token: &str| parse(&format!("hooks: {{session_closed: {{url: 'https://app/hook?token={token}'}}}}")).unwrap();
    let (old, new) = (with("canary-1"), with("canary-2"));
    assert_eq!(old.hooks.session_closed.as_ref().unwrap().url.as_str(), "https://app/hook?token=canary-1");
    let Change::Live(changed) = config::classify(&old, &new) else { panic!("is a change") };
    assert_eq!(changed[0].path, "hooks.session_closed.url");
    let shown = config::effective(&old);
    assert!(shown.contains("url: \"https://app/hook?***\""), "{shown}");
    assert!(!format!("{changed:?}{shown}{old:?}").contains("canary"));
}
