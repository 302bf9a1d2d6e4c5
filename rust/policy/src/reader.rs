//! Reads values of the tree into types and collects every error on the way.

use std::collections::BTreeMap;

use crate::error::Issue;
use crate::glob::Glob;
use crate::limits::{MAX_ISSUES, MAX_REGEX_BYTES, MAX_REGEX_CHARS};
use crate::output::engine::Detectors;
use crate::yaml::{Node, Value};

/// A mapping and its path. Null values of a key count as absent where the key is a scalar.
#[derive(Clone)]
pub(crate) struct Object<'a> {
    pub node: &'a Node,
    pub path: String,
}

impl Object<'_> {
    pub fn at(&self, key: &str) -> String {
        child(&self.path, key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }
}

fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

#[derive(Default)]
pub(crate) struct Reader {
    /// What rules may name.
    pub detectors: Detectors,
    pub issues: Vec<Issue>,
}

impl Reader {
    pub fn report(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(Issue::new(path, message));
        } else if self.issues.len() == MAX_ISSUES {
            self.issues
                .push(Issue::new("", format!("more than {MAX_ISSUES} errors")));
        }
    }

    /// What was read from `root`, or every error with the line it stands in.
    pub fn finish<T>(self, root: &Node, read: T) -> Result<T, Vec<Issue>> {
        if self.issues.is_empty() {
            return Ok(read);
        }
        let located = |issue: Issue| {
            let unknown = issue.message.strip_prefix("unknown field \"");
            let key = unknown.and_then(|rest| rest.strip_suffix('"'));
            let path = if issue.path == "policy" { "" } else { &issue.path };
            let line = root.line_at(path, key);
            issue.on_line(line)
        };
        Err(self.issues.into_iter().map(located).collect())
    }

    /// `node` as a mapping with no other keys than `known`.
    pub fn object<'a>(&mut self, node: &'a Node, path: String, known: &[&str]) -> Option<Object<'a>> {
        let Value::Map(entries) = &node.value else {
            self.report(path, "must be a mapping");
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.as_str()) {
                let path = if path.is_empty() { "policy" } else { &path };
                self.report(path, format!("unknown field \"{key}\""));
            }
        }
        Some(Object { node, path })
    }

    /// Mapping under `key`, when present.
    pub fn child<'a>(&mut self, object: &Object<'a>, key: &str, known: &[&str]) -> Option<Object<'a>> {
        let node = object.node.get(key)?;
        self.object(node, object.at(key), known)
    }

    fn scalar<'a>(object: &Object<'a>, key: &str) -> Option<&'a Value> {
        match &object.node.get(key)?.value {
            Value::Null => None,
            value => Some(value),
        }
    }

    pub fn string(&mut self, object: &Object<'_>, key: &str) -> Option<String> {
        match Self::scalar(object, key)? {
            Value::Str(text) => Some(text.clone()),
            _ => {
                self.report(object.at(key), "must be a string");
                None
            }
        }
    }

    /// String, blank read as absent.
    pub fn text(&mut self, object: &Object<'_>, key: &str) -> String {
        let text = self.string(object, key).unwrap_or_default();
        if text.trim().is_empty() {
            String::new()
        } else {
            text
        }
    }

    pub fn boolean(&mut self, object: &Object<'_>, key: &str) -> Option<bool> {
        match Self::scalar(object, key)? {
            Value::Bool(value) => Some(*value),
            _ => {
                self.report(object.at(key), "must be a boolean");
                None
            }
        }
    }

    pub fn number(&mut self, object: &Object<'_>, key: &str) -> Option<f64> {
        let value = Self::scalar(object, key)?;
        self.finite(value, object.at(key))
    }

    fn finite(&mut self, value: &Value, path: String) -> Option<f64> {
        match value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) if value.is_finite() => Some(*value),
            _ => {
                self.report(path, "must be a number");
                None
            }
        }
    }

    /// Integer in `min..=max`; a float with zero fraction is one too.
    pub fn integer(&mut self, object: &Object<'_>, key: &str, min: i64, max: i64) -> Option<i64> {
        let value = match Self::scalar(object, key)? {
            Value::Int(value) => *value,
            // Beyond 2^63 the cast saturates, and the range below speaks.
            Value::Float(value) if value.fract() == 0.0 => *value as i64,
            _ => {
                self.report(object.at(key), "must be an integer");
                return None;
            }
        };
        if value < min {
            self.report(object.at(key), format!("must be >= {min}"));
            return None;
        }
        if value > max {
            self.report(object.at(key), format!("must be <= {max}"));
            return None;
        }
        Some(value)
    }

    /// Position in `names`; compared exactly.
    pub fn one_of(&mut self, object: &Object<'_>, key: &str, names: &[&str]) -> Option<usize> {
        let text = self.string(object, key)?;
        let found = names.iter().position(|name| *name == text);
        if found.is_none() {
            self.report(object.at(key), format!("must be one of {}", names.join(", ")));
        }
        found
    }

    /// As [`Self::one_of`], a blank text read as absent.
    pub fn one_of_or_blank(&mut self, object: &Object<'_>, key: &str, names: &[&str]) -> Option<usize> {
        match Self::scalar(object, key)? {
            Value::Str(text) if text.trim().is_empty() => None,
            _ => self.one_of(object, key, names),
        }
    }

    /// Items of a list with their paths.
    pub fn items<'a>(&mut self, object: &Object<'a>, key: &str) -> Vec<(&'a Node, String)> {
        let Some(node) = object.node.get(key) else {
            return Vec::new();
        };
        self.list_items(node, object.at(key))
    }

    fn list_items<'a>(&mut self, node: &'a Node, path: String) -> Vec<(&'a Node, String)> {
        let Value::List(items) = &node.value else {
            self.report(path, "must be a list");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(at, item)| (&**item, format!("{path}[{at}]")))
            .collect()
    }

    pub fn strings(&mut self, object: &Object<'_>, key: &str) -> Vec<String> {
        match object.node.get(key) {
            Some(node) => self.texts_of(node, || object.at(key)),
            None => Vec::new(),
        }
    }

    /// Texts of a list. Its path is asked for only where something is wrong: lists are most of a policy.
    fn texts_of(&mut self, node: &Node, path: impl Fn() -> String) -> Vec<String> {
        let Value::List(items) = &node.value else {
            self.report(path(), "must be a list");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match &item.value {
                Value::Str(text) => texts.push(text.clone()),
                _ => self.report(format!("{}[{at}]", path()), "must be a string"),
            }
        }
        texts
    }

    /// Entries of a mapping with free keys.
    pub fn entries<'a>(&mut self, object: &Object<'a>, key: &str) -> Vec<(String, &'a Node, String)> {
        let Some(node) = object.node.get(key) else {
            return Vec::new();
        };
        let path = object.at(key);
        let Value::Map(entries) = &node.value else {
            self.report(path, "must be a mapping");
            return Vec::new();
        };
        entries
            .iter()
            .map(|(name, node)| (name.clone(), &**node, child(&path, name)))
            .collect()
    }

    pub fn string_map(&mut self, object: &Object<'_>, key: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (name, node, path) in self.entries(object, key) {
            match &node.value {
                Value::Str(text) => {
                    map.insert(name, text.clone());
                }
                _ => self.report(path, "must be a string"),
            }
        }
        map
    }

    pub fn list_map(&mut self, object: &Object<'_>, key: &str) -> BTreeMap<String, Vec<String>> {
        let mut map = BTreeMap::new();
        for (name, node, path) in self.entries(object, key) {
            map.insert(name, self.texts_of(node, || path.clone()));
        }
        map
    }

    pub fn number_map(&mut self, object: &Object<'_>, key: &str) -> BTreeMap<String, f64> {
        let mut map = BTreeMap::new();
        for (name, node, path) in self.entries(object, key) {
            if let Some(value) = self.finite(&node.value, path) {
                map.insert(name, value);
            }
        }
        map
    }

    /// Topic patterns; an unusable one is an error, never dropped.
    pub fn globs(&mut self, object: &Object<'_>, key: &str) -> Vec<String> {
        let patterns = self.strings(object, key);
        for (at, pattern) in patterns.iter().enumerate() {
            if Glob::new(pattern).is_none() {
                self.report(
                    format!("{}[{at}]", object.at(key)),
                    format!("invalid topic pattern \"{pattern}\""),
                );
            }
        }
        patterns
    }

    /// Content patterns, compiled to see that they can be.
    pub fn patterns(&mut self, object: &Object<'_>, key: &str) -> Vec<String> {
        let patterns = self.strings(object, key);
        for (at, pattern) in patterns.iter().enumerate() {
            if let Err(message) = check_pattern(pattern) {
                self.report(
                    format!("{}[{at}]", object.at(key)),
                    format!("invalid pattern: {message}"),
                );
            }
        }
        patterns
    }
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.chars().count() > MAX_REGEX_CHARS {
        return Err(format!("longer than {MAX_REGEX_CHARS} characters"));
    }
    let built = regex::RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX_BYTES)
        .build();
    match built {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!("compiles to more than {MAX_REGEX_BYTES} bytes")),
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or(&text);
            Err(last.trim_start_matches("error: ").to_owned())
        }
    }
}
