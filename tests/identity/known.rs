//! Places, names, addresses and times, in values written by hand.

use sessgate::clock::Timestamp;
use sessgate::session::identity::{Format, Path, Raw, Rule};

use super::NoUser::{Anonymous, Unknown};
use super::{NoUser, user_at, user_in, user_of};

fn user(json: &str) -> Result<String, NoUser> {
    user_of(&Rule::default(), json.as_bytes())
}

#[test]
fn users_are_found_where_libraries_keep_them() {
    for json in [
        r#"{"passport":{"user":"ann"}}"#,
        r#"{"passport":{"user":{"id":"ann","name":"Ann"}}}"#,
        r#"{"user_id":"bob","_auth_user_id":"ann"}"#,
        r#"{"_user_id":"ann","_fresh":true}"#,
        r#"{"created":1700000000,"session":{"AIOHTTP_SECURITY":"ann"}}"#,
        r#"{"login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d":"ann"}"#,
        r#"{"actix_identity.user_id":"\"ann\""}"#,
        r#"{"user":"{\"id\":\"ann\"}"}"#,
        r#"{"message":{"auth_web":"ann"},"purpose":"x"}"#,
        r#"["x",{"user":{"id":"ann"}},7]"#,
        r#"{"managed_dict":{"user_id":"ann"},"created":1}"#,
        r#"{"m":{"user_id":"ann"},"c":1,"v":1,"t":1200}"#,
        r#"{"item":{"user":{"id":"ann"}},"stored":1,"ttl":1200}"#,
        r#"{"value":{"user":{"id":"ann"}},"expires":1200}"#,
        r#"{"data":{"userId":"ann"}}"#,
        r#"{"user":"ann"}"#,
        r#"{"user":{"_id":"ann"}}"#,
        r#""{\"user_id\":\"ann\"}""#,
        " \n{ \"user\" : { \"name\" : \"a\" , \"id\" : \"ann\" } } ",
        r#"{"u\u0073er":{"\u0069d":"a\u006en"}}"#,
    ] {
        assert_eq!(user(json).as_deref(), Ok("ann"), "{json}");
    }
}

/// As `ActiveSupport::Cache::Entry` of Rails 6.1 is stored, when a cache keeps the sessions.
#[test]
fn users_are_found_in_the_cache_of_rails() {
    let user_id = b"\x04\x08o: ActiveSupport::Cache::Entry\x09:\x0b@value{\x06I\"\x0cuser_id\x06:\x06ETI\"\x08ann\x06;\x07T:\x0d@version0:\x10@created_atf\x060:\x10@expires_inf\x0a1.2e3";
    assert_eq!(user_of(&Rule::default(), user_id).as_deref(), Ok("ann"));
    let warden = b"\x04\x08o: ActiveSupport::Cache::Entry\x09:\x0b@value{\x06I\"\x19warden.user.user.key\x06:\x06ET[\x07[\x06i\x0cI\"\x09salt\x06;\x07T:\x0d@version0:\x10@created_atf\x060:\x10@expires_inf\x0a1.2e3";
    assert_eq!(user_of(&Rule::default(), warden).as_deref(), Ok("7"));
}

#[test]
fn nobody_is_who_is_not_logged_in() {
    for json in [
        "{}",
        "[]",
        r#"{"cart":["tea"]}"#,
        r#"{"user":null}"#,
        r#"{"user":false}"#,
        r#"{"user":{}}"#,
        r#"{"user":[]}"#,
        r#"{"user_id":""}"#,
        r#"{"user_id":0}"#,
        r#"{"user_id":"0"}"#,
        r#"{"passport":{}}"#,
        r#"{"deeper":{"user_id":"ann"}}"#,
        r#"{"user_id":"ann","user_id":null}"#,
    ] {
        assert_eq!(user(json), Err(Anonymous), "{json}");
    }
    for (what, bytes) in [
        ("nothing yet", &b""[..]),
        ("PHP", b"cart|a:0:{}"),
        ("PHP, a variable without a value", b"!user_id|cart|N;"),
        ("PHP, logged out", b"user_id|N;"),
        ("PHP, php_serialize", b"a:0:{}"),
        ("Django at creation", b"\x80\x05}\x94."),
        ("Ruby", b"\x04\x08{\x00"),
        ("MessagePack", b"\x80"),
    ] {
        assert_eq!(user_of(&Rule::default(), bytes), Err(Anonymous), "{what}");
    }
}

#[test]
fn numbers_name_users_by_their_digits() {
    for (json, expected) in [
        (r#"{"user_id":1001}"#, "1001"),
        (r#"{"user_id":-5}"#, "-5"),
        (r#"{"user_id":1001.0}"#, "1001"),
        (r#"{"user_id":1e3}"#, "1000"),
        (r#"{"user_id":12345678901234567890}"#, "12345678901234567890"),
    ] {
        assert_eq!(user(json).as_deref(), Ok(expected), "{json}");
    }
}

#[test]
fn what_cannot_be_a_name_is_unknown() {
    let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(257));
    for json in [&long, r#"{"user_id":"a\nb"}"#, r#"{"user_id":1.5}"#, r#"{"user_id":1e300}"#] {
        assert_eq!(user(json), Err(Unknown), "{json}");
        // A better name elsewhere helps.
        let with_name = format!(r#"{},"username":"ann"}}"#, json.strip_suffix('}').unwrap());
        assert_eq!(user(&with_name).as_deref(), Ok("ann"), "{json}");
    }
    assert_eq!(user_of(&Rule::default(), b"user_id|s:2:\"\xff\xfe\";"), Err(Unknown));
    let longest = "x".repeat(256);
    assert_eq!(user(&format!(r#"{{"user_id":"{longest}"}}"#)), Ok(longest));
}

#[test]
fn what_is_not_whole_or_of_no_format_is_unknown() {
    for text in [
        "u-1001",
        "12",
        "vm|23322",
        "{",
        "{\"user_id\":\"ann\"",
        "{\"user_id\":\"ann\"}}",
        "{\"user_id\":\"ann\",}",
        "{\"user_id\" \"ann\"}",
        "{\"user_id\":\"ann\"]",
        "{user_id:\"ann\"}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":+1}",
        "{\"a\":nul}",
        "{\"a\":\"\n\"}",
        "{\"user_id\":\"\\x\"}",
        "{\"user_id\":\"\\ud800\"}",
        "{\"user_id\":\"\\ud800\\u0041\"}",
        "s:9:\"encrypted\";",
        "a:1:{s:2:\"id\";i:5;",
        "a:1:{s:2:\"id\";i:5;}}",
        "a:2:{s:2:\"id\";i:5;}",
        "user_id|i:5",
        "user_id|i:5;cart",
    ] {
        assert_eq!(user(text), Err(Unknown), "{text}");
    }
}

#[test]
fn a_path_is_the_only_place() {
    for (path, json, expected) in [
        ("/who", r#"{"who":"ann","user_id":"bob"}"#, Ok("ann")),
        ("/who", r#"{"user_id":"bob"}"#, Err(Anonymous)),
        ("/a/b/c", r#"{"a":{"b":{"c":"ann"}}}"#, Ok("ann")),
        ("/a/1", r#"{"a":["bob","ann"]}"#, Ok("ann")),
        ("/a/*/id", r#"{"a":[{"x":1},{"id":"ann"},{"id":"bob"}]}"#, Ok("ann")),
        ("/a/*/id", r#"{"a":{"k":{"id":null},"l":{"id":"ann"}}}"#, Ok("ann")),
        ("/*", r#"{"k":{"id":"bob"},"l":"ann"}"#, Ok("ann")),
        ("/user.*.key", r#"{"user.admin.key":"ann"}"#, Ok("ann")),
        ("/a~1b", r#"{"a/b":"ann"}"#, Ok("ann")),
        ("/who", r#"{"who":{"id":"ann"}}"#, Err(Anonymous)),
        ("/who", r#"{"who":"bob","who":"ann"}"#, Ok("ann")),
        ("/box/who", r#"{"box":"{\"who\":\"ann\"}"}"#, Ok("ann")),
        ("", r#""ann""#, Ok("ann")),
        ("", "ann", Ok("ann")),
        ("", "1001", Ok("1001")),
    ] {
        let found = user_of(&user_at(Format::Auto, path), json.as_bytes());
        assert_eq!(found.as_deref(), expected.as_ref().copied(), "{path} in {json}");
    }
}

#[test]
fn hashes_have_the_user_in_a_field() {
    let found = |rule: &Rule, fields: &[(&str, &str)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        user_in(&rule.extract(Raw::Fields(&fields)))
    };
    for format in [Format::Auto, Format::Hash] {
        let rule = Rule::new(format, None, None, None);
        for (field, expected) in [
            (("user_id", "ann"), Ok("ann")),
            (("user_id", "1001"), Ok("1001")),
            (("user_id", "\"ann\""), Ok("ann")),
            (("user_id", "s:3:\"ann\";"), Ok("ann")),
            (("user_id", "domain|ann"), Ok("domain|ann")),
            (("user", "{\"id\":\"ann\"}"), Ok("ann")),
            (("data", "{\"user_id\":\"ann\"}"), Ok("ann")),
            (("user_id", ""), Err(Anonymous)),
            (("user_id", "0"), Err(Anonymous)),
            (("cart", "tea"), Err(Anonymous)),
            (("user_id", "a\u{7}"), Err(Unknown)),
        ] {
            assert_eq!(found(&rule, &[("a", "b"), field]).as_deref(), expected.as_ref().copied(), "{field:?}");
        }
    }
    assert_eq!(found(&user_at(Format::Hash, "/s/who"), &[("s", "{\"who\":\"ann\"}")]).as_deref(), Ok("ann"));
    assert_eq!(found(&user_at(Format::Php, "/s/who"), &[("s", "who|s:3:\"ann\";")]).as_deref(), Ok("ann"));
    assert_eq!(user_of(&Rule::new(Format::Hash, None, None, None), b"{\"user_id\":\"ann\"}"), Err(Unknown));
}

#[test]
fn addresses_and_times_are_found() {
    let path = |text: &str| Some(text.parse::<Path>().unwrap());
    let named = Rule::new(Format::Auto, None, path("/net/peer").as_ref(), path("/meta/*").as_ref());
    for (rule, json, ip, created_at) in [
        (&Rule::default(), r#"{"ip":"192.0.2.7","created_at":1700000000}"#, Some("192.0.2.7"), Some(1_700_000_000_000)),
        (
            &Rule::default(),
            r#"{"ip":"::ffff:192.0.2.7","createdAt":"2023-11-14T22:13:20.5Z"}"#,
            Some("192.0.2.7"),
            Some(1_700_000_000_500),
        ),
        (
            &Rule::default(),
            r#"{"data":{"ip_address":"2001:db8::1","created":1700000000123}}"#,
            Some("2001:db8::1"),
            Some(1_700_000_000_123),
        ),
        (&Rule::default(), r#"{"ip":"localhost","created_at":"yesterday"}"#, None, None),
        (
            &named,
            r#"{"net":{"peer":"192.0.2.7"},"meta":["x",1700000000,5]}"#,
            Some("192.0.2.7"),
            Some(1_700_000_000_000),
        ),
        (&named, r#"{"ip":"192.0.2.7","created_at":1700000000}"#, None, None),
    ] {
        let identity = rule.extract(Raw::Value(json.as_bytes()));
        assert!(identity.known && identity.user.is_none(), "{json}");
        assert_eq!(identity.ip.map(|ip| ip.to_string()).as_deref(), ip, "{json}");
        assert_eq!(identity.created_at.map(Timestamp::as_millis), created_at, "{json}");
    }
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert_eq!(Format::default(), Format::Auto);
    assert!("xml".parse::<Format>().unwrap_err().to_string().contains("msgpack"));
    assert_eq!(Rule::default(), Rule::new(Format::Auto, None, None, None));
}

/// A user is personal data.
#[test]
fn an_identity_does_not_show_the_user() {
    let identity = Rule::default().extract(Raw::Value(br#"{"user_id":"canary"}"#));
    assert!(identity.user.is_some() && !format!("{identity:?}").contains("canary"));
}
