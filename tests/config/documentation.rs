//! The shipped file and the JSON Schema say what the program knows.

use std::collections::HashMap;

use serde_json::Value as Json;
use sessgate::config::settings::SessionRule;
use sessgate::config::{self, Settings};
use sessgate::session::identity::{Format, Rule};

use super::{SHIPPED, parse};

/// The paths of all keys of a schema.
fn keys(schema: &Json, section: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        all.extend(keys(schema, &path));
        all.push(path);
    }
    all
}

/// The keys of a YAML text that is indented by two, with their lines.
fn lines_of(text: &str) -> Vec<(String, &str)> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()) {
        let name = line.trim_start();
        open.truncate((line.len() - name.len()) / 2);
        open.push(name.split(':').next().unwrap());
        all.push((open.join("."), line));
    }
    all
}

#[test]
fn the_shipped_file_has_every_key_with_a_reason() {
    let mut documented: Vec<_> = lines_of(SHIPPED)
        .into_iter()
        .map(|(path, line)| {
            let mut section = path == "limits.per_user" || path == "limits.leases";
            section |= path == "limits.creation_per_ip";
            assert!(section || line.contains(" # "), "{path} needs a reason");
            path
        })
        .collect();
    let mut declared = keys(&config::schema(), "");
    documented.sort();
    declared.sort();
    assert_eq!(documented, declared);
}

#[test]
fn the_effective_configuration_has_every_key() {
    let effective = config::effective(&Settings::default());
    let mut shown: Vec<_> = lines_of(&effective).into_iter().map(|(path, _)| path).collect();
    // Shown on one line, because it may be null as a whole.
    let mut declared = keys(&config::schema(), "");
    declared.retain(|path| !path.starts_with("limits.creation_per_ip."));
    shown.sort();
    declared.sort();
    assert_eq!(shown, declared);
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    let defaults = config::effective(&Settings::default());
    let shown: HashMap<_, _> = lines_of(&defaults).into_iter().collect();
    for (path, line) in lines_of(SHIPPED) {
        let value = line.split_once(':').unwrap().1.split(" #").next().unwrap().trim();
        // One that differs by its nature, one shown on a single line, and some in another unit.
        let own =
            ["listen.event_loops", "limits.leases.track_for", "hooks.session_closed.max_age", "redis_door.tombstone"];
        if let Some(shown) = shown.get(&path).filter(|_| !own.contains(&&*path) && !path.contains("creation_per_ip")) {
            assert_eq!(value, shown.split_once(':').unwrap().1.trim(), "{path}");
        }
    }
}

#[test]
fn the_shipped_file_has_an_example_of_a_rule_with_every_key() {
    let example =
        SHIPPED.lines().skip_while(|line| *line != "  # sessions:                   # the first rule that fits counts");
    let example: Vec<_> = example.map_while(|line| line.strip_prefix("  # ")).collect();
    let text = format!("redis_door:\n  {}\n", example.join("\n  "));
    let settings = parse(&text).unwrap();
    let name = |key: &str| key.trim_start_matches(['-', ' ']).split(':').next().unwrap().to_owned();
    let mut named: Vec<_> = example[1..].iter().map(|line| name(line)).collect();
    let mut declared = keys(&config::schema()["properties"]["redis_door"]["properties"]["sessions"]["items"], "");
    named.sort();
    declared.sort();
    assert_eq!(named, declared);
    let path = |text: &str| Some(text.parse().unwrap());
    let [user, ip, created] = ["/user/id", "/ip", "/created_at"].map(path);
    let rule = Rule::new(Format::Json, user.as_ref(), ip.as_ref(), created.as_ref());
    assert_eq!(settings.redis_door.sessions, [SessionRule { pattern: "app:session:".to_owned(), rule }]);
}

/// Whether `value` follows `schema`, as far as ours use the language; patterns aside.
fn follows(value: &Json, schema: &Json) -> bool {
    let of_type = |name: &Json| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("unexpected type {other}"),
    };
    schema.as_object().unwrap().iter().all(|(word, rule)| match word.as_str() {
        "type" => rule.as_array().map_or_else(|| of_type(rule), |types| types.iter().any(of_type)),
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| follows(value, schema)),
        // The shipped file fills nothing in from the environment.
        "$ref" => false,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => value.as_u64().is_some_and(|value| value >= rule.as_u64().unwrap()),
        "maximum" => value.as_u64().is_some_and(|value| value <= rule.as_u64().unwrap()),
        "minLength" => value.as_str().is_some_and(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        "maxLength" => value.as_str().is_some_and(|text| text.len() as u64 <= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_some_and(|items| items.len() as u64 <= rule.as_u64().unwrap()),
        "items" => value.as_array().is_some_and(|items| items.iter().all(|item| follows(item, rule))),
        "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "maxProperties" => value.as_object().unwrap().len() as u64 <= rule.as_u64().unwrap(),
        "additionalProperties" => {
            let known = schema["properties"].as_object();
            let mut others = value
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
            others.all(|(_, value)| rule.is_object() && follows(value, rule))
        }
        "properties" => {
            let known = rule.as_object().unwrap().iter();
            known
                .filter_map(|(key, schema)| Some((value.get(key)?, schema)))
                .all(|(value, schema)| follows(value, schema))
        }
        "$schema" | "$defs" | "title" | "description" | "default" | "pattern" => true,
        other => panic!("unexpected word {other}"),
    })
}

#[test]
fn the_schema_accepts_the_shipped_file_and_refuses_what_is_not_in_it() {
    let schema = config::schema();
    let shipped: Json = serde_yaml::from_str(SHIPPED).unwrap();
    assert!(follows(&shipped, &schema));
    for path in ["/limits/memory_sessions", "/lifetimes/on_stale", "/limits/creation_per_ip/count", "/log"] {
        let mut wrong = shipped.clone();
        *wrong.pointer_mut(path).unwrap() = serde_json::json!(["wrong"]);
        assert!(!follows(&wrong, &schema), "{path}");
    }
    let mut unknown = shipped.clone();
    unknown["limits"]["memroy_sessions"] = 1.into();
    assert!(!follows(&unknown, &schema));
    for (rules, valid) in [
        (serde_json::json!([{ "match": "s:", "format": "php", "user": "/id", "ip": null }]), true),
        (serde_json::json!([{ "match": "s:" }, { "format": "php" }]), false),
        (serde_json::json!([{ "match": "s:", "usr": "/id" }]), false),
        (serde_json::json!([{ "match": "s:", "format": "perl" }]), false),
        (serde_json::json!([{ "match": 7 }]), false),
        (serde_json::json!({ "match": "s:" }), false),
    ] {
        let mut ruled = shipped.clone();
        ruled["redis_door"]["sessions"] = rules;
        assert_eq!(follows(&ruled, &schema), valid, "{}", ruled["redis_door"]);
    }
    let listen = &schema["properties"]["listen"]["properties"]["api"];
    assert_eq!(listen["default"], "127.0.0.1:8480");
    assert!(listen["description"].as_str().unwrap().ends_with("Restart to change."), "{listen}");
}
