//! A checker for the part of JSON Schema that our documents use. What it does not know, it refuses.

use serde_json::Value;

/// Checks `value` against `schema`; `document` holds what `$ref` points to.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let rules = schema.as_object().ok_or("a schema is an object")?;
    for (rule, operand) in rules {
        let holds = match rule.as_str() {
            "description" | "default" => true,
            "$ref" => {
                let pointer = operand.as_str().and_then(|path| path.strip_prefix('#')).ok_or("a local reference")?;
                let target = document.pointer(pointer).ok_or_else(|| format!("{pointer} leads nowhere"))?;
                return check(document, target, value);
            }
            "type" => match operand {
                Value::Array(names) => names.iter().any(|name| is_of_type(value, name)),
                name => is_of_type(value, name),
            },
            "const" => value == operand,
            "enum" => operand.as_array().is_some_and(|allowed| allowed.contains(value)),
            "minimum" => value.as_f64().is_none_or(|number| Some(number) >= operand.as_f64()),
            "maximum" => value.as_f64().is_none_or(|number| Some(number) <= operand.as_f64()),
            "format" => value.as_str().is_none_or(|text| is_of_format(text, operand)),
            "pattern" => operand == "^sg_[A-Za-z0-9_-]{43}$" && value.as_str().is_some_and(is_token),
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, operand, item).map_err(|error| format!("[{place}]: {error}"))?;
                }
                true
            }
            "required" => {
                let names = operand.as_array().into_iter().flatten().filter_map(Value::as_str);
                value.as_object().is_none_or(|members| names.clone().all(|name| members.contains_key(name)))
            }
            "properties" | "additionalProperties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    let known = rules.get("properties").and_then(|properties| properties.get(name));
                    match known.or(rules.get("additionalProperties")) {
                        Some(Value::Bool(false)) => return Err(format!("unexpected member `{name}`")),
                        Some(Value::Bool(true)) | None => {}
                        Some(schema) => check(document, schema, member).map_err(|error| format!("{name}: {error}"))?,
                    }
                }
                true
            }
            other => return Err(format!("the checker does not know `{other}`")),
        };
        if !holds {
            return Err(format!("{value} breaks `{rule}: {operand}`"));
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

fn is_of_format(text: &str, format: &Value) -> bool {
    let shape = |pattern: &str| {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
                b'9' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
                wanted => byte == wanted,
            })
    };
    match format.as_str() {
        Some("date-time") => shape("9999-99-99T99:99:99.999Z"),
        Some("uuid") => shape("xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx"),
        _ => false,
    }
}

fn is_token(text: &str) -> bool {
    text.strip_prefix("sg_").is_some_and(|secret| {
        secret.len() == 43 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}
