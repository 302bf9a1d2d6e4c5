//! The rules of one document as their author wrote them, for listings (policy spec §18).

use std::io::{self, Write};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::error::Issue;
use crate::limits::MAX_LISTING_BYTES;
use crate::output::engine::Detectors;
use crate::read_document;
use crate::yaml::{self, Node, Value};

const SECTIONS: [&str; 3] = ["rules", "input_rules", "output_rules"];
const SELECTOR_KEYS: [&str; 3] = ["workflow_id", "job_id", "session_id"];

/// Every rule of a valid document as a JSON list of `{section, rule, tier, selector, enabled}`: the rule raw and in
/// its own key order, tier and selector as they apply, filled from the document.
///
/// Errors: what is wrong with the document, or that the listing would be too large.
pub fn list_rules(source: &[u8]) -> Result<Vec<u8>, Vec<Issue>> {
    let root = yaml::parse(source).map_err(|issue| vec![issue])?;
    // A listing changes nothing, so names of a scanner file that is not at hand may stand in it.
    read_document::read_root(&root, &Detectors::any())?;
    let mut out = Bounded(Vec::new());
    serde_json::to_writer(&mut out, &Listing(&root)).map_err(|_| {
        let message = format!("the rules take more than {MAX_LISTING_BYTES} bytes");
        vec![Issue::new("", message)]
    })?;
    Ok(out.0)
}

/// Aliases make a listing larger than its source.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_LISTING_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Listing<'a>(&'a Node);

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for section in SECTIONS {
            let Some(Value::List(rules)) = self.0.get(section).map(|node| &node.value) else {
                continue;
            };
            for rule in rules {
                list.serialize_element(&Entry {
                    section,
                    rule,
                    document: self.0,
                })?;
            }
        }
        list.end()
    }
}

struct Entry<'a> {
    section: &'static str,
    rule: &'a Node,
    document: &'a Node,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tier = text(self.rule, "tier").or_else(|| text(self.document, "tier"));
        let is_off = matches!(
            self.rule.get("enabled").map(|node| &node.value),
            Some(Value::Bool(false))
        );
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("section", self.section)?;
        map.serialize_entry("rule", &Raw(self.rule))?;
        map.serialize_entry("tier", tier.unwrap_or("global"))?;
        map.serialize_entry("selector", &Selector(self.rule, self.document))?;
        map.serialize_entry("enabled", &!is_off)?;
        map.end()
    }
}

/// The rule's selector, each blank key taken from the document's.
struct Selector<'a>(&'a Node, &'a Node);

impl Serialize for Selector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for key in SELECTOR_KEYS {
            let own = |node: &'_ Node| {
                node.get("selector")
                    .and_then(|selector| text(selector, key).map(str::to_owned))
            };
            if let Some(value) = own(self.0).or_else(|| own(self.1)) {
                map.serialize_entry(key, &value)?;
            }
        }
        map.end()
    }
}

/// Trimmed text under `key`; `None` when it is absent, blank or no text.
fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    match &node.get(key)?.value {
        Value::Str(text) => Some(text.trim()).filter(|text| !text.is_empty()),
        _ => None,
    }
}

struct Raw<'a>(&'a Node);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items.iter().map(|item| Raw(item))),
            Value::Map(entries) => serializer.collect_map(entries.iter().map(|(key, node)| (key, Raw(node)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::list_rules;

    fn listed(source: &str) -> String {
        String::from_utf8(list_rules(source.as_bytes()).expect("valid")).expect("utf-8")
    }

    #[test]
    fn rules_keep_their_keys_and_their_order() {
        assert_eq!(
            listed("rules: [{reason: x, id: a, decision: allow, match: {topics: ['job.*'], label_threshold: {n: 1.5}}}]"),
            r#"[{"section":"rules","rule":{"reason":"x","id":"a","decision":"allow","match":{"topics":["job.*"],"label_threshold":{"n":1.5}}},"tier":"global","selector":{},"enabled":true}]"#
        );
    }

    #[test]
    fn tier_and_selector_come_from_the_document_where_the_rule_is_silent() {
        let text = listed(
            "tier: workflow\nselector: {workflow_id: w1}\nrules: [{id: a}, {id: b, selector: {workflow_id: w2}}, {id: c, tier: global}]\n",
        );
        assert!(text.contains(r#""rule":{"id":"a"},"tier":"workflow","selector":{"workflow_id":"w1"}"#));
        assert!(text.contains(r#""tier":"workflow","selector":{"workflow_id":"w2"}"#));
        assert!(text.contains(r#""rule":{"id":"c","tier":"global"},"tier":"global""#));
    }

    #[test]
    fn a_switched_off_content_rule_says_so() {
        let text = listed(
            "input_rules: [{id: i, enabled: false, decision: deny, match: {keywords: [x]}}]\noutput_rules: [{id: o, decision: redact}]\n",
        );
        assert!(text.contains(r#""section":"input_rules""#));
        assert!(text.contains(r#""enabled":false}"#));
        assert!(text.contains(r#"{"section":"output_rules","rule":{"id":"o","decision":"redact"},"tier":"global","selector":{},"enabled":true}"#));
    }

    #[test]
    fn a_broken_document_is_refused_with_every_problem() {
        let issues = list_rules(b"rules: [{decision: maybe}, {topic: x}]").expect_err("broken");
        assert_eq!(issues.len(), 2);
        assert!(list_rules(b": {").is_err());
    }

    #[test]
    fn aliases_cannot_make_a_small_document_huge() {
        let long = "x".repeat(1_000_000);
        let copies = "*a, ".repeat(1_000);
        let source = format!("rules: [{{id: &a {long}, match: {{topics: [{copies}]}}}}]");
        let issues = list_rules(source.as_bytes()).expect_err("too large");
        assert!(
            issues[0].message.contains("aliases expand"),
            "{}",
            issues[0].message
        );
    }
}
