//! `${NAME}` in a value: replaced by the environment variable of that name. `$${` stands for a literal `${`.

/// The most bytes that a value may have after substitution.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Looks up an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every `${NAME}` in `text`; `None` if there is nothing to replace.
///
/// # Errors
/// What is wrong, if a variable is not set or the syntax is not understood. The message never holds a variable's
/// value.
pub fn substitute(text: &str, env: Lookup<'_>) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &reference[2..];
        } else {
            out.push_str(before);
            let (name, behind) =
                reference[2..].split_once('}').ok_or("holds `${` without `}`; a literal `${` is written `$${`")?;
            if !is_name(name) {
                return Err("holds a `${…}` that is no variable's name: letters, digits and `_`, \
                            with no default behind it; a literal `${` is written `$${`"
                    .to_owned());
            }
            let value =
                env(name).ok_or_else(|| format!("needs the environment variable `{name}`, which is not set"))?;
            out.push_str(&value);
            rest = behind;
        }
        if out.len() > MAX_VALUE_BYTES {
            return Err(format!("is longer than {MAX_VALUE_BYTES} bytes after substitution"));
        }
    }
    out.push_str(rest);
    Ok(Some(out))
}

/// Writes `text` so that [`substitute`] gives it back.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
