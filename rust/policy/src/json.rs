//! JSON → the same value tree. Duplicate keys are errors.

use std::fmt;
use std::rc::Rc;

use ahash::AHashSet;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::Deserializer;

use super::{at, Node, Value};
use crate::error::Issue;

/// Why a text is no JSON document of ours.
pub(crate) enum Failure {
    /// Not JSON at all.
    NotJson,
    /// JSON, but against our rules.
    Refused(Issue),
}

/// Parse `text` as one JSON value.
pub(crate) fn parse(text: &str) -> Result<Rc<Node>, Failure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let node = Seed.deserialize(&mut deserializer).map_err(failure)?;
    deserializer.end().map_err(failure)?;
    Ok(node)
}

fn failure(error: serde_json::Error) -> Failure {
    if !error.is_data() {
        return Failure::NotJson;
    }
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    Failure::Refused(at(error.line(), message))
}

struct Seed;

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Rc<Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rc<Node>, D::Error> {
        deserializer.deserialize_any(Seed)
    }
}

fn node<E: serde::de::Error>(value: Value) -> Result<Rc<Node>, E> {
    Node::new(value, 0)
        .map(Rc::new)
        .map_err(|issue| E::custom(issue.message))
}

impl<'de> Visitor<'de> for Seed {
    type Value = Rc<Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Rc<Node>, E> {
        node(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Rc<Node>, E> {
        node(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Rc<Node>, E> {
        node(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Rc<Node>, E> {
        node(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Rc<Node>, E> {
        node(Value::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Rc<Node>, E> {
        node(Value::Str(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Rc<Node>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Seed)? {
            items.push(item);
        }
        node(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Rc<Node>, A::Error> {
        let mut entries = Vec::new();
        let mut seen = AHashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("duplicate key \"{key}\"")));
            }
            entries.push((key, access.next_value_seed(Seed)?));
        }
        node(Value::Map(entries))
    }
}
