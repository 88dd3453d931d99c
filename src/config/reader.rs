//! Walks the document along the declared keys, collects every problem, and remembers what was declared.
//!
//! A declaration is a call: [`Section::key`] names a key, says what it is for, what it may be and what it is when
//! left out, and returns its value. So the same few lines give the parser, the defaults and, through
//! [`Reader::declared`], the JSON Schema and the checks that nothing is undocumented.

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};

use super::env::{self, Lookup};
use super::kinds::{Fault, Kind, NULL_HINT, Scalar};
use super::problem::{MAX_TOLD, Position, Problem, nearest, quoted};
use super::yaml::{Key, Node, Value};

/// A key that was asked for.
pub struct Declared {
    /// Its path, dots between the names; `[]` behind the name of a list means each section in it.
    pub path: String,
    /// What it is for.
    pub doc: &'static str,
    /// Its JSON Schema; for a section without its keys, which follow.
    pub schema: Json,
    /// What it is when left out; `None` for a section, and for a key that must not be left out.
    pub default: Option<Json>,
    /// Whether it must not be left out.
    pub required: bool,
}

struct Unknown {
    key: Key,
    section: String,
}

/// Reads one document.
pub struct Reader<'a> {
    env: Lookup<'a>,
    problems: Vec<Problem>,
    declared: Vec<Declared>,
    unknown: Vec<Unknown>,
    places: HashMap<String, Position>,
    failed: HashSet<String>,
}

impl<'a> Reader<'a> {
    /// A reader that looks variables up in `env` and adds to `problems`.
    pub fn new(env: Lookup<'a>, problems: Vec<Problem>) -> Self {
        Self {
            env,
            problems,
            declared: Vec::new(),
            unknown: Vec::new(),
            places: HashMap::new(),
            failed: HashSet::new(),
        }
    }

    /// Reads the document itself. `None` is the empty one.
    pub fn document<T>(&mut self, root: Option<Node>, read: impl FnOnce(&mut Section<'_, 'a>) -> T) -> T {
        let entries = match root {
            None => Vec::new(),
            Some(node) => self.entries_of("", node),
        };
        self.section_of(String::new(), None, entries, read)
    }

    /// Reports a contradiction between keys, at the first of them that the file sets, unless one of them has a
    /// problem of its own.
    pub fn require(&mut self, holds: bool, keys: &[&str], message: impl FnOnce() -> Problem) {
        if !holds && !keys.iter().any(|key| self.failed.contains(*key)) {
            let at = keys.iter().find_map(|key| self.places.get(*key).copied());
            self.problems.push(Problem { at, ..message() });
        }
    }

    /// Everything that was asked for, sections before their keys.
    pub fn declared(self) -> Vec<Declared> {
        self.declared
    }

    /// Every problem, now that every key was asked for.
    pub fn problems(mut self) -> Vec<Problem> {
        let mut unknown = std::mem::take(&mut self.unknown);
        unknown.sort_by_key(|unknown| unknown.key.at);
        for (index, Unknown { key, section }) in unknown.into_iter().enumerate() {
            let problem = Problem::at(key.at, format!("unknown key {}", quoted(&join(&section, &key.text))));
            // A hint costs a search; those that are not told need none.
            let hint = if index < MAX_TOLD { self.suggest(&section, &key.text) } else { None };
            self.problems.push(match hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }
        self.problems
    }

    fn suggest(&self, section: &str, typed: &str) -> Option<String> {
        let paths = || self.declared.iter().map(|declared| split(&declared.path));
        let siblings = || paths().filter(|(parent, _)| *parent == section).map(|(_, name)| name);
        if let Some(name) = siblings().find(|name| name.strip_suffix("_file") == Some(typed)) {
            return Some(format!("did you mean `{name}`, the path of a file that holds it?"));
        }
        if let Some(name) = nearest(typed, siblings()) {
            return Some(format!("did you mean `{name}`?"));
        }
        let (parent, name) = paths().find(|(_, name)| *name == typed)?;
        Some(if parent.is_empty() {
            format!("`{name}` belongs at the top, without indentation")
        } else {
            format!("`{name}` belongs under `{parent}`")
        })
    }

    fn section_of<T>(
        &mut self,
        path: String,
        at: Option<Position>,
        entries: Vec<(Key, Node)>,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        let mut section = Section { reader: self, path, at, entries };
        let value = read(&mut section);
        let Section { path, entries, .. } = section;
        self.unknown.extend(entries.into_iter().map(|(key, _)| Unknown { key, section: path.clone() }));
        value
    }

    /// The keys and values of a mapping; a problem and none, if it is something else.
    fn entries_of(&mut self, path: &str, node: Node) -> Vec<(Key, Node)> {
        match node.value {
            Value::Mapping(entries) => entries,
            _ => self.wrong_shape(path, &node, "a mapping, `key: value`"),
        }
    }

    /// The same for a list of at most `max` items.
    fn items_of(&mut self, path: &str, node: Node, max: usize) -> Vec<Node> {
        match node.value {
            Value::Sequence(items) if items.len() > max => {
                self.fail(path, Problem::at(node.at, too_many(path, items.len(), max)));
                Vec::new()
            }
            Value::Sequence(items) => items,
            _ => self.wrong_shape(path, &node, "a list"),
        }
    }

    fn wrong_shape<T>(&mut self, path: &str, node: &Node, wanted: &str) -> Vec<T> {
        let found = match node.value {
            Value::Mapping(_) => "a mapping",
            Value::Sequence(_) => "a list",
            Value::Scalar { .. } if node.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
        };
        let subject = if path.is_empty() { "the document".to_owned() } else { format!("`{path}`") };
        let problem = Problem::at(node.at, format!("{subject} must be {wanted}, not {found}"));
        self.fail(path, if node.is_null() { problem.hint("leave it out for its defaults") } else { problem });
        Vec::new()
    }

    fn scalar<K: Kind>(&mut self, path: &str, kind: &K, node: Node) -> Option<K::Value> {
        self.places.insert(path.to_owned(), node.at);
        let null = node.is_null();
        let Value::Scalar { text: typed, .. } = node.value else {
            let found = if matches!(node.value, Value::Sequence(_)) { "a list" } else { "a mapping" };
            let message = format!("{} must be {}, not {found}", quoted(path), kind.noun());
            self.fail(path, Problem::at(node.at, message));
            return None;
        };
        let value = match env::substitute(&typed, self.env) {
            Err(message) => Err(message.into()),
            // What comes from the environment is text; an empty or `null` variable turns nothing off.
            Ok(Some(text)) => kind.read(&Scalar { text: &text, typed: &typed, null: false }),
            Ok(None) => kind.read(&Scalar { text: &typed, typed: &typed, null }),
        };
        value
            .map_err(|Fault { message, hint }| {
                let message = if null {
                    format!("{} must be {}, not empty", quoted(path), kind.noun())
                } else {
                    format!("{}: {} {message}", quoted(path), kind.named(&typed))
                };
                self.fail(path, Problem { at: Some(node.at), message, hint });
            })
            .ok()
    }

    fn fail(&mut self, path: &str, problem: Problem) {
        self.failed.insert(path.to_owned());
        self.problems.push(problem);
    }

    fn declare(&mut self, path: &str, doc: &'static str, schema: Json, default: Option<Json>) {
        self.declared.push(Declared { path: path.to_owned(), doc, schema, default, required: false });
    }
}

/// A mapping of the document, while its keys are asked for.
pub struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    path: String,
    /// Where it begins, if it is one of a list.
    at: Option<Position>,
    /// What was not asked for yet.
    entries: Vec<(Key, Node)>,
}

impl<'a> Section<'_, 'a> {
    /// The value of a key.
    pub fn key<K: Kind>(&mut self, name: &'static str, doc: &'static str, kind: &K, default: K::Value) -> K::Value {
        let path = join(&self.path, name);
        self.reader.declare(&path, doc, or_variable(&kind.schema()), Some(kind.show(&default)));
        self.take(name).and_then(|(_, node)| self.reader.scalar(&path, kind, node)).unwrap_or(default)
    }

    /// The value of a key that must not be left out; `None` and a problem, if it is, or its value is refused.
    pub fn required<K: Kind>(&mut self, name: &'static str, doc: &'static str, kind: &K) -> Option<K::Value> {
        let path = join(&self.path, name);
        let schema = or_variable(&kind.schema());
        self.reader.declared.push(Declared { path: path.clone(), doc, schema, default: None, required: true });
        let Some((_, node)) = self.take(name) else {
            let problem = Problem::with_file(format!("`{path}` is missing"));
            self.reader.fail(&path, Problem { at: self.at, ..problem });
            return None;
        };
        self.reader.scalar(&path, kind, node)
    }

    /// A mapping of names that the operator chooses, empty when left out.
    pub fn table<K: Kind>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        (kind, max): (&K, usize),
        check_name: impl Fn(&str) -> Result<(), String>,
    ) -> HashMap<String, K::Value> {
        let path = join(&self.path, name);
        let schema = json!({ "type": "object", "maxProperties": max,
            "additionalProperties": or_variable(&kind.schema()) });
        self.reader.declare(&path, doc, schema, Some(json!({})));
        let Some((_, node)) = self.take(name) else { return HashMap::new() };
        let at = node.at;
        let entries = self.reader.entries_of(&path, node);
        if entries.len() > max {
            self.reader.fail(&path, Problem::at(at, too_many(&path, entries.len(), max)));
            return HashMap::new();
        }
        let mut table = HashMap::with_capacity(entries.len());
        for (key, node) in entries {
            if let Err(message) = check_name(&key.text) {
                let message = format!("`{path}`: {} {message}", quoted(&key.text));
                self.reader.fail(&path, Problem::at(key.at, message));
            } else if let Some(value) = self.reader.scalar(&join(&path, &key.text), kind, node) {
                table.insert(key.text, value);
            }
        }
        table
    }

    /// A section, read as empty when left out.
    pub fn section<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        let path = join(&self.path, name);
        self.reader.declare(&path, doc, json!({ "type": "object" }), None);
        let entries = match self.take(name) {
            None => Vec::new(),
            Some((_, node)) => self.reader.entries_of(&path, node),
        };
        self.reader.section_of(path, None, entries, read)
    }

    /// A list of at most `max` sections of the same keys, empty when left out. Those that `read` gives up are not in it.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        max: usize,
        read: impl Fn(&mut Section<'_, 'a>) -> Option<T>,
    ) -> Vec<T> {
        let path = join(&self.path, name);
        let schema = json!({ "type": "array", "maxItems": max, "items": { "type": "object" } });
        self.reader.declare(&path, doc, schema, Some(json!([])));
        let item = format!("{path}[]");
        // The keys are declared once, however many sections there are, by a reader that has none of them.
        let mut empty = Reader::new(self.reader.env, Vec::new());
        empty.section_of(item.clone(), None, Vec::new(), &read);
        self.reader.declared.append(&mut empty.declared);
        let declared = self.reader.declared.len();
        let Some((_, node)) = self.take(name) else { return Vec::new() };
        let mut list = Vec::new();
        for node in self.reader.items_of(&path, node, max) {
            let (at, is_section) = (node.at, matches!(node.value, Value::Mapping(_)));
            let entries = self.reader.entries_of(&item, node);
            if is_section {
                list.extend(self.reader.section_of(item.clone(), Some(at), entries, &read));
            }
        }
        self.reader.declared.truncate(declared);
        list
    }

    /// A section that `null` turns off; read as empty when left out.
    pub fn nullable_section<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> Option<T> {
        let path = join(&self.path, name);
        self.reader.declare(&path, doc, json!({ "type": ["object", "null"] }), None);
        let taken = self.take(name);
        let off = taken.as_ref().is_some_and(|(_, node)| node.is_null());
        let entries = match taken {
            Some((_, Node { at, value: Value::Scalar { .. } })) if !off => {
                let message = format!("`{path}` must be a mapping, `key: value`, or null, not a single value");
                self.reader.fail(&path, Problem::at(at, message).hint(NULL_HINT));
                Vec::new()
            }
            Some((_, node)) if !off => self.reader.entries_of(&path, node),
            _ => Vec::new(),
        };
        // Read even when off: its keys are declared all the same.
        let value = self.reader.section_of(path, None, entries, read);
        (!off).then_some(value)
    }

    /// Keys that a later version will know.
    pub fn later(&mut self, names: &[&str]) {
        for name in names {
            if let Some((key, _)) = self.take(name) {
                let message = format!("`{}` is not available in this version", join(&self.path, name));
                self.reader.problems.push(Problem::at(key.at, message).hint("take it out of the file"));
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<(Key, Node)> {
        let index = self.entries.iter().position(|(key, _)| key.text == name)?;
        Some(self.entries.remove(index))
    }
}

/// The path of a key in a section.
fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn too_many(path: &str, entries: usize, max: usize) -> String {
    format!("`{path}` has {entries} entries; at most {max} are kept")
}

/// The section and the name of a declared key.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// Allows an environment variable wherever a value is no text anyway.
fn or_variable(schema: &Json) -> Json {
    json!({ "anyOf": [schema, { "$ref": "#/$defs/variable" }] })
}
