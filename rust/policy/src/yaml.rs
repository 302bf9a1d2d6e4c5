//! YAML 1.2 core schema or JSON → a value tree with lines (policy spec §2).
//!
//! Duplicate keys, custom tags, a second document, alias bombs and deep nesting are errors.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

use ahash::{AHashMap, AHashSet};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::error::Issue;
use crate::limits::{ALIAS_BYTES_PER_NODE, MAX_ALIAS_NODES, MAX_DEPTH, MAX_SOURCE_BYTES};

/// A value and where it stands.
#[derive(Debug)]
pub struct Node {
    pub value: Value,
    /// 1-based; 0 in JSON sources.
    pub line: usize,
    /// Lines of the keys of a mapping, in order; empty in JSON sources.
    key_lines: Box<[usize]>,
    nodes: u64,
    depth: u32,
}

/// Values of the core schema; integers beyond 64 bits become floats.
#[derive(Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// Node of `value`, refused when nested too deeply.
    pub(crate) fn new(value: Value, line: usize) -> Result<Node, Issue> {
        let (mut nodes, mut depth) = (1u64, 0u32);
        let mut add = |child: &Rc<Node>| {
            nodes = nodes.saturating_add(child.nodes);
            depth = depth.max(child.depth);
        };
        match &value {
            Value::List(items) => items.iter().for_each(&mut add),
            Value::Map(entries) => entries.iter().for_each(|(_, child)| add(child)),
            _ => {}
        }
        // Whoever reads an alias copies its text: the limit must count it.
        let bytes = match &value {
            Value::Str(text) => text.len(),
            Value::Map(entries) => entries.iter().map(|(key, _)| key.len()).sum(),
            _ => 0,
        };
        nodes = nodes.saturating_add((bytes / ALIAS_BYTES_PER_NODE) as u64);
        let depth = depth + 1;
        if depth > MAX_DEPTH {
            return Err(at(line, &format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Node {
            value,
            line,
            key_lines: Box::default(),
            nodes,
            depth,
        })
    }

    /// Line of `key` when this is a mapping that has it.
    fn key_line(&self, key: &str) -> Option<usize> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let at = entries.iter().position(|(known, _)| known == key)?;
        self.key_lines.get(at).copied()
    }

    /// Line of the part that `path` (as `rules[3].match.topics[0]`) names, or of the last part of it that exists, and of `key` in
    /// it when that is given; 0 when lines are not known.
    pub(crate) fn line_at(&self, path: &str, key: Option<&str>) -> usize {
        let (mut node, mut line, mut rest) = (self, self.line, path);
        while let Some((child, child_line, after)) = node.step(rest) {
            (node, line, rest) = (child, child_line, after);
        }
        key.and_then(|key| node.key_line(key)).unwrap_or(line)
    }

    /// The child that `path` begins with, its line, and the rest of the path.
    fn step<'n, 'p>(&'n self, path: &'p str) -> Option<(&'n Node, usize, &'p str)> {
        match &self.value {
            Value::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let child = items.get(index.parse::<usize>().ok()?)?;
                Some((child, child.line, rest))
            }
            Value::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let fits = |key: &str| {
                    let rest = path.strip_prefix(key)?;
                    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
                };
                // A key may hold dots itself.
                let named = entries
                    .iter()
                    .filter_map(|(key, child)| Some((key, child, fits(key)?)));
                let (key, child, rest) = named.max_by_key(|(key, ..)| key.len())?;
                Some((child, self.key_line(key).unwrap_or(child.line), rest))
            }
            _ => None,
        }
    }

    /// Value of `key` when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| &**v),
            _ => None,
        }
    }
}

fn at(line: usize, message: &str) -> Issue {
    Issue::new("yaml", format!("line {line}: {message}")).on_line(line)
}

fn scan_error(error: &ScanError) -> Issue {
    let mark = error.marker();
    at(
        mark.line(),
        &format!("{} (column {})", error.info(), mark.col() + 1),
    )
}

/// Parse one document. An empty stream is null.
///
/// Errors: one issue with path `yaml`.
pub fn parse(source: &[u8]) -> Result<Rc<Node>, Issue> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(at(1, &format!("longer than {MAX_SOURCE_BYTES} bytes")));
    }
    let text = std::str::from_utf8(source).map_err(|error| {
        let before = source.get(..error.valid_up_to()).unwrap_or_default();
        at(
            before.iter().filter(|b| **b == b'\n').count() + 1,
            "not valid utf-8",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        match crate::yaml::json::parse(text) {
            Ok(node) => return Ok(node),
            Err(json::Failure::Refused(issue)) => return Err(issue),
            // A flow mapping of YAML also starts with a brace.
            Err(json::Failure::NotJson) => {}
        }
    }
    // The scanner is third-party code: a panic in it is one more way of being malformed.
    catch_unwind(AssertUnwindSafe(|| Builder::default().run(text)))
        .unwrap_or_else(|_| Err(at(1, "unreadable document")))
}

enum Frame {
    List {
        items: Vec<Rc<Node>>,
        anchor: usize,
        line: usize,
    },
    Map {
        entries: Vec<(String, Rc<Node>)>,
        seen: Keys,
        key: Option<String>,
        key_lines: Vec<usize>,
        anchor: usize,
        line: usize,
    },
}

/// Keys of a mapping so far; most mappings have few, and a set for each costs more than the parse.
#[derive(Default)]
struct Keys(Option<AHashSet<String>>);

impl Keys {
    const FEW: usize = 16;

    /// Note `key`; false when it was there, among `entries` or noted.
    fn insert(&mut self, key: &str, entries: &[(String, Rc<Node>)]) -> bool {
        if entries.len() < Self::FEW {
            return !entries.iter().any(|(known, _)| known == key);
        }
        self.0
            .get_or_insert_with(|| entries.iter().map(|(known, _)| known.clone()).collect())
            .insert(key.to_owned())
    }
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    anchors: AHashMap<usize, Rc<Node>>,
    alias_nodes: u64,
    documents: usize,
    root: Option<Rc<Node>>,
}

impl Builder {
    fn run(mut self, text: &str) -> Result<Rc<Node>, Issue> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| scan_error(&error))?;
            self.event(event, span)?;
        }
        match self.root {
            Some(root) => Ok(root),
            None => Node::new(Value::Null, 1).map(Rc::new),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Issue> {
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(at(line, "a second document is not allowed"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), line)
            }
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", line)?;
                self.open(
                    Frame::List {
                        items: Vec::new(),
                        anchor,
                        line,
                    },
                    line,
                )
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "map", line)?;
                self.open(
                    Frame::Map {
                        entries: Vec::new(),
                        seen: Keys::default(),
                        key: None,
                        key_lines: Vec::new(),
                        anchor,
                        line,
                    },
                    line,
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame, line: usize) -> Result<(), Issue> {
        if self.stack.len() >= MAX_DEPTH as usize {
            return Err(at(line, &format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.wants_key() {
            return Err(at(line, "a mapping key must be a scalar"));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn close(&mut self) -> Result<(), Issue> {
        let (value, key_lines, anchor, line) = match self.stack.pop() {
            Some(Frame::List { items, anchor, line }) => (Value::List(items), Vec::new(), anchor, line),
            Some(Frame::Map {
                entries,
                key_lines,
                anchor,
                line,
                ..
            }) => (Value::Map(entries), key_lines, anchor, line),
            None => return Ok(()),
        };
        let node = Rc::new(Node {
            key_lines: key_lines.into(),
            ..Node::new(value, line)?
        });
        self.remember(anchor, &node);
        self.place(node);
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<(), Issue> {
        if anchor == 0 && tag.is_none() && self.wants_key() {
            return self.key(text.to_owned(), line);
        }
        let value = resolve(text, style, tag).ok_or_else(|| bad_tag(tag, line))?;
        let node = Rc::new(Node::new(value, line)?);
        self.remember(anchor, &node);
        if self.wants_key() {
            return self.key(text.to_owned(), line);
        }
        self.place(node);
        Ok(())
    }

    fn key(&mut self, text: String, line: usize) -> Result<(), Issue> {
        if let Some(Frame::Map {
            entries,
            seen,
            key,
            key_lines,
            ..
        }) = self.stack.last_mut()
        {
            if !seen.insert(&text, entries) {
                return Err(at(line, &format!("duplicate key \"{text}\"")));
            }
            *key = Some(text);
            key_lines.push(line);
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Issue> {
        let node = match self.anchors.get(&anchor) {
            Some(node) => Rc::clone(node),
            None => return Err(at(line, "an alias refers to a value that is not complete")),
        };
        self.alias_nodes = self.alias_nodes.saturating_add(node.nodes);
        if self.alias_nodes > MAX_ALIAS_NODES {
            return Err(at(
                line,
                &format!("aliases expand to more than {MAX_ALIAS_NODES} nodes"),
            ));
        }
        if self.wants_key() {
            return match &node.value {
                Value::Str(text) => self.key(text.clone(), line),
                _ => Err(at(line, "a mapping key must be a scalar")),
            };
        }
        self.place(node);
        Ok(())
    }

    fn place(&mut self, node: Rc<Node>) {
        match self.stack.last_mut() {
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
            None => self.root = Some(node),
        }
    }
}

fn bad_tag(tag: Option<&Tag>, line: usize) -> Issue {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() => {
            at(line, &format!("value does not fit tag `!!{}`", tag.suffix))
        }
        _ => at(line, "custom tags are not allowed"),
    }
}

fn collection_tag(tag: Option<&Tag>, expected: &str, line: usize) -> Result<(), Issue> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(()),
        Some(_) => Err(bad_tag(tag, line)),
    }
}

/// Core-schema value of a scalar; `None` when the tag is custom or does not fit the text.
fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Value> {
    let Some(tag) = tag else {
        return Some(match style {
            ScalarStyle::Plain => plain(text),
            _ => Value::Str(text.to_owned()),
        });
    };
    if tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty() {
        return Some(Value::Str(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return None;
    }
    match (tag.suffix.as_str(), plain(text)) {
        ("str", _) => Some(Value::Str(text.to_owned())),
        ("null", Value::Null) => Some(Value::Null),
        ("bool", Value::Bool(value)) => Some(Value::Bool(value)),
        ("int", Value::Int(value)) => Some(Value::Int(value)),
        ("float", Value::Int(value)) => Some(Value::Float(value as f64)),
        ("float", Value::Float(value)) => Some(Value::Float(value)),
        _ => None,
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::Str(text.to_owned()))
}

fn number(text: &str) -> Option<Value> {
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8)
            .ok()
            .filter(|_| !digits.starts_with(['+', '-']))
            .map(Value::Int);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16)
            .ok()
            .filter(|_| !digits.starts_with(['+', '-']))
            .map(Value::Int);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Value::Float(sign * f64::INFINITY));
    }
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !unsigned.is_empty() && digits(unsigned) {
        return match text.parse::<i64>() {
            Ok(value) => Some(Value::Int(value)),
            Err(_) => text.parse().ok().map(Value::Float),
        };
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let some_digit = !whole.is_empty() || !fraction.is_empty();
    if some_digit && digits(whole) && digits(fraction) && exponent_fits {
        return text.parse().ok().map(Value::Float);
    }
    None
}

#[path = "json.rs"]
pub(crate) mod json;
