//! YAML text to a tree that knows where each part stands. The only module that names the YAML crate.
//!
//! The tree is built from the parser's events rather than through serde, because serde stops at the first problem,
//! forgets places, and guesses types before the key is known (`1e3`, `on`, a user called `null`). Here a scalar stays
//! text until its key says what it is.
//!
//! What a configuration does not need is refused: several documents, directives, tags, merge keys, keys that are no
//! text. Aliases work, within [`MAX_ALIASED_BYTES`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_yaml::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Position, Problem, quoted};

/// The largest text that is read.
pub const MAX_BYTES: usize = 1024 * 1024;

/// How deep it may be nested, aliases followed. The schema needs four.
pub const MAX_DEPTH: usize = 16;

/// How much all anchors and aliases together may add to the tree: as much as the largest text itself.
pub const MAX_ALIASED_BYTES: usize = MAX_BYTES;

/// What a node counts in addition to its text.
const NODE_BYTES: usize = 32;

/// A part of the document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins; for an alias: where the alias stands.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a part of the document is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar.
    Scalar {
        /// Its text.
        text: String,
        /// Whether it is written without quotes, so that `null` means nothing rather than the word.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file, each key once.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it stands.
    pub at: Position,
    /// Its text.
    pub text: String,
}

impl Node {
    /// Whether it says "nothing": `null`, `~`, or no text at all.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Where the value of the key at `path` stands, dots between the names.
    #[must_use]
    pub fn place_of(&self, path: &str) -> Option<Position> {
        let mut node = self;
        for name in path.split('.') {
            let Value::Mapping(entries) = &node.value else { return None };
            node = &entries.iter().find(|(key, _)| key.text == name)?.1;
        }
        Some(node.at)
    }

    /// How much it counts against [`MAX_ALIASED_BYTES`], and how deep it is.
    fn measure(&self) -> (usize, usize) {
        let measure_all = |nodes: &mut dyn Iterator<Item = &Self>| {
            nodes.map(Self::measure).fold((0, 0), |(bytes, depth), (b, d)| (bytes + b, depth.max(d)))
        };
        let (bytes, depth) = match &self.value {
            Value::Scalar { text, .. } => (text.len(), 0),
            Value::Sequence(items) => measure_all(&mut items.iter()),
            Value::Mapping(entries) => {
                let keys: usize = entries.iter().map(|(key, _)| key.text.len() + NODE_BYTES).sum();
                let (bytes, depth) = measure_all(&mut entries.iter().map(|(_, node)| node));
                (bytes + keys, depth)
            }
        };
        (bytes + NODE_BYTES, depth + 1)
    }
}

/// Parses a text. The tree is `None` if the text says nothing (no document, or only comments).
///
/// What can be passed over, such as a duplicate key, is reported while the tree goes on without it; a syntax error
/// ends it.
#[must_use]
pub fn parse(text: &str) -> (Option<Node>, Vec<Problem>) {
    if text.len() > MAX_BYTES {
        let message = format!("has {} bytes; a configuration has at most {MAX_BYTES}", text.len());
        return (None, vec![Problem::with_file(message)]);
    }
    let mut builder = Builder::default();
    let options = serde_yaml::granit_parser::options! { emit_comments: false, disallow_directives: true };
    for event in Parser::new_from_str_with_options(text, options) {
        let go_on = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                builder.problems.push(syntax_problem(&error));
                false
            }
        };
        if !go_on {
            return (None, builder.problems);
        }
    }
    (builder.root, builder.problems)
}

fn syntax_problem(error: &ScanError) -> Problem {
    let marker = error.marker();
    let at = Position { line: marker.line().max(1), column: marker.col() + 1 };
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        // The scanner runs ahead of the events, so its own limit may be met before ours.
        return too_deep(at);
    }
    let what = error.info();
    let hint = what.contains("tab").then_some("indent with spaces");
    let problem = Problem::at(at, format!("not valid YAML: {what}"));
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// An unfinished list or mapping.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, seen: HashMap<String, Position>, key: KeyState },
}

/// What a mapping waits for.
enum KeyState {
    /// A key.
    Wanted,
    /// The value of this key.
    Of(Key),
    /// The value of a key that is passed over.
    Ignored,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied_bytes: usize,
    documents: usize,
    problems: Vec<Problem>,
}

impl Builder {
    /// Takes an event; false if it makes no sense to go on.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = Position { line: span.start.line().max(1), column: span.start.col() + 1 };
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problems.push(Problem::at(at, "a second document begins; a configuration is one document"));
                    return false;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                return self.close(Node { at, value }, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                return self.open(Open { at, anchor, content: Content::Sequence(Vec::new()) });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let content = Content::Mapping { entries: Vec::new(), seen: HashMap::new(), key: KeyState::Wanted };
                return self.open(Open { at, anchor, content });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { at, anchor, content }) = self.open.pop() else { return false };
                let value = match content {
                    Content::Sequence(items) => Value::Sequence(items),
                    Content::Mapping { entries, .. } => Value::Mapping(entries),
                };
                return self.close(Node { at, value }, anchor);
            }
            Event::Alias(anchor) => return self.alias(anchor, at),
            // Stream and document ends carry nothing; the rest is switched off in the options.
            _ => {}
        }
        true
    }

    fn refuse_tag(&mut self, tagged: bool, at: Position) {
        if tagged {
            self.problems.push(Problem::at(at, "YAML tags (`!…`) are not supported"));
        }
    }

    fn open(&mut self, open: Open) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.problems.push(too_deep(open.at));
            return false;
        }
        self.open.push(open);
        true
    }

    fn alias(&mut self, anchor: usize, at: Position) -> bool {
        let Some(node) = self.anchors.get(&anchor) else {
            self.problems.push(Problem::at(at, "the alias refers to what it is part of"));
            return false;
        };
        let measure = node.measure();
        // Measured before it is copied: a copy may not even be made when it is too much.
        if !self.may_copy(measure, at) {
            return false;
        }
        let value = self.anchors.get(&anchor).map(|node| node.value.clone());
        value.is_some_and(|value| self.close(Node { at, value }, 0))
    }

    /// Counts one more copy of a node of that weight and depth, to stand at the present level.
    fn may_copy(&mut self, (bytes, depth): (usize, usize), at: Position) -> bool {
        self.copied_bytes += bytes;
        if self.copied_bytes > MAX_ALIASED_BYTES {
            let message = format!("anchors and aliases add more than {MAX_ALIASED_BYTES} bytes to the document");
            self.problems.push(Problem::at(at, message));
            return false;
        }
        if self.open.len() + depth > MAX_DEPTH + 1 {
            self.problems.push(too_deep(at));
            return false;
        }
        true
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, node: Node, anchor: usize) -> bool {
        if anchor != 0 {
            if !self.may_copy(node.measure(), node.at) {
                return false;
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, seen, key }) => {
                *key = match std::mem::replace(key, KeyState::Wanted) {
                    KeyState::Wanted => take_key(node, seen, &mut self.problems),
                    KeyState::Of(key) => {
                        entries.push((key, node));
                        KeyState::Wanted
                    }
                    KeyState::Ignored => KeyState::Wanted,
                }
            }
        }
        true
    }
}

fn take_key(node: Node, seen: &mut HashMap<String, Position>, problems: &mut Vec<Problem>) -> KeyState {
    let Node { at, value } = node;
    let Value::Scalar { text, plain } = value else {
        problems.push(Problem::at(at, "a key must be text, not a list or a mapping"));
        return KeyState::Ignored;
    };
    if plain && text == "<<" {
        let problem = Problem::at(at, "merge keys (`<<`) are not supported");
        problems.push(problem.hint("write the keys out, or alias single values"));
        return KeyState::Ignored;
    }
    match seen.entry(text.clone()) {
        Entry::Occupied(first) => {
            let line = first.get().line;
            problems.push(Problem::at(at, format!("duplicate key {}; it is already on line {line}", quoted(&text))));
            KeyState::Ignored
        }
        Entry::Vacant(free) => {
            free.insert(at);
            KeyState::Of(Key { at, text })
        }
    }
}

fn too_deep(at: Position) -> Problem {
    Problem::at(at, format!("nested deeper than {MAX_DEPTH} levels"))
}
