//! The JSON Schema of the configuration, for editors.

use serde_json::{Value as Json, json};

use super::diff::{Class, entries};
use super::keys;
use super::settings::Settings;

/// The schema (draft 2020-12), built from the declarations of the keys.
#[must_use]
pub fn schema() -> Json {
    let settings = Settings::default();
    let needs_restart: Vec<&str> = entries(&settings)
        .into_iter()
        .filter(|entry| entry.class == Class::NeedsRestart)
        .map(|entry| entry.path)
        .collect();
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sessgate configuration",
        "type": "object",
        "$defs": { "variable": {
            "description": "Filled in from the environment.", "type": "string", "pattern": "\\$\\{[A-Za-z_]",
        } },
    });
    for declared in keys::declared() {
        let mut schema = declared.schema;
        let restart = if needs_restart.contains(&declared.path.as_str()) { " Restart to change." } else { "" };
        schema["description"] = format!("{}{restart}", declared.doc).into();
        if let Some(default) = declared.default {
            schema["default"] = default;
        }
        // Sections come before their keys, so the way there exists.
        let mut parent = &mut root;
        let mut names: Vec<&str> = declared.path.split('.').collect();
        let name = names.pop().unwrap_or_default();
        for section in names {
            parent = match section.strip_suffix("[]") {
                Some(list) => &mut parent["properties"][list]["items"],
                None => &mut parent["properties"][section],
            };
        }
        parent["additionalProperties"] = false.into();
        if declared.required {
            match &mut parent["required"] {
                Json::Array(required) => required.push(name.into()),
                none => *none = json!([name]),
            }
        }
        parent["properties"][name] = schema;
    }
    root
}
