//! Random values, in every encoding: what is found is what a plain search finds.

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;
use sessgate::session::identity::Format;

use super::encode::{ENCODINGS, Value};
use super::{NoUser, user_at, user_of};

/// A step of a path.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Element(usize),
    Any,
    Prefix(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "/{key}"),
            Self::Element(at) => write!(f, "/{at}"),
            Self::Any => f.write_str("/*"),
            Self::Prefix(prefix) => write!(f, "/{prefix}*"),
        }
    }
}

/// Every value at a path, in order.
fn search<'v>(value: &'v Value, path: &[Step]) -> Vec<&'v Value> {
    let Some((step, rest)) = path.split_first() else { return vec![value] };
    let parts: Vec<&Value> = match (value, step) {
        (Value::Map(map), Step::Any) => map.iter().map(|(_, value)| value).collect(),
        (Value::Map(map), Step::Key(key)) => {
            map.iter().filter(|(known, _)| known == key).map(|(_, value)| value).collect()
        }
        (Value::Map(map), Step::Prefix(prefix)) => {
            map.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value).collect()
        }
        (Value::List(list), Step::Any) => list.iter().collect(),
        (Value::List(list), Step::Element(at)) => list.get(*at).into_iter().collect(),
        _ => Vec::new(),
    };
    parts.into_iter().flat_map(|value| search(value, rest)).collect()
}

/// The name that a value is.
fn name(value: &Value) -> Result<String, NoUser> {
    match value {
        Value::Text(text) if text.is_empty() => Err(NoUser::Anonymous),
        Value::Text(text) if text.chars().any(char::is_control) => Err(NoUser::Unknown),
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(0) => Err(NoUser::Anonymous),
        Value::Integer(value) => Ok(value.to_string()),
        Value::Real(value) if value.fract() != 0.0 || value.abs() >= 9e15 => Err(NoUser::Unknown),
        Value::Real(value) if *value == 0.0 => Err(NoUser::Anonymous),
        Value::Real(value) => Ok(format!("{value:.0}")),
        _ => Err(NoUser::Anonymous),
    }
}

/// The first name at a path; or, if there is something that cannot be one, that nobody knows.
fn expected(value: &Value, path: &[Step]) -> Result<String, NoUser> {
    let names: Vec<_> = search(value, path).into_iter().map(name).collect();
    let unfit = names.contains(&Err(NoUser::Unknown));
    let found = names.into_iter().find_map(Result::ok);
    found.ok_or(if unfit { NoUser::Unknown } else { NoUser::Anonymous })
}

/// Texts that do not look like values themselves, nor are too long for a name.
fn texts() -> impl Strategy<Value = String> {
    "([a-zé☕][a-zA-Z0-9é☕ \"\\\\\n]{0,12})?"
}

fn keys() -> impl Strategy<Value = String> {
    "[a-cé][a-c0-9\\\\]{0,2}"
}

fn map_of(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let pairs = prop::collection::btree_map(keys(), values, 0..20);
    pairs.prop_map(|map: BTreeMap<_, _>| Value::Map(map.into_iter().collect()))
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => prop_oneof![Just(0), -200..200_i64, any::<i64>()].prop_map(Value::Integer),
        1 => prop_oneof![Just(0.0), (-9_000..9_000_i32).prop_map(f64::from), -1e6..1e6].prop_map(Value::Real),
        6 => texts().prop_map(Value::Text),
    ];
    let nested = leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..20).prop_map(Value::List), map_of(inner)]
    });
    map_of(nested)
}

/// A path that leads somewhere, mostly: what `choices` say, down to where there is nothing more.
fn path(value: &Value, choices: &[u16]) -> Vec<Step> {
    let Some((&choice, rest)) = choices.split_first() else { return Vec::new() };
    let way = usize::from(choice);
    let (step, part) = match value {
        Value::Map(map) if !map.is_empty() => {
            let (key, part) = &map[way % map.len()];
            let step = match choice >> 13 {
                0 => Step::Any,
                1 => Step::Prefix(key.chars().take(1).collect()),
                2 => Step::Key("missing".to_owned()),
                _ => Step::Key(key.clone()),
            };
            (step, part)
        }
        Value::List(list) if !list.is_empty() => {
            let at = way % list.len();
            (if choice >> 13 == 0 { Step::Any } else { Step::Element(at) }, &list[at])
        }
        _ => return Vec::new(),
    };
    let mut path = path(part, rest);
    path.insert(0, step);
    path
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_is_there(value in values(), choices in prop::collection::vec(any::<u16>(), 1..6)) {
        let path = path(&value, &choices);
        let written: String = path.iter().map(Step::to_string).collect();
        for encoding in &ENCODINGS {
            let bytes = (encoding.encode)(&value);
            // An empty map has no variables, so that there is nothing.
            let expected = if path.is_empty() { Err(NoUser::Anonymous) } else { expected(&value, &path) };
            for format in [Format::Auto, encoding.format] {
                // The rule for the value itself takes what is of no format for a name; no value here is.
                let found = user_of(&user_at(format, &written), &bytes);
                prop_assert_eq!(&found, &expected, "{} as {}, at {:?}", encoding.name, format, written);
            }
        }
    }

    #[test]
    fn a_value_cut_short_says_nothing(value in values(), at in any::<prop::sample::Index>()) {
        for encoding in ENCODINGS.iter().filter(|encoding| encoding.name != "php") {
            let bytes = (encoding.encode)(&value);
            let length = at.index(bytes.len());
            let found = user_of(&user_at(encoding.format, "/*"), &bytes[..length]);
            // Of nothing, there is nothing unknown.
            let expected = if length == 0 { NoUser::Anonymous } else { NoUser::Unknown };
            prop_assert_eq!(found, Err(expected), "{}", encoding.name);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in Format::ALL {
            let _ = user_of(&user_at(format, "/*/*"), &bytes);
        }
    }
}
