//! The effective config of a job, which can only restrict (policy spec §6.8).

use crate::facts::Facts;
use crate::glob::Glob;
use crate::limits::MAX_EFFECTIVE_CONFIG_BYTES;
use crate::mcp::McpLists;
use crate::read_match::read_mcp_lists;
use crate::reader::{Object, Reader};
use crate::yaml::{json, Node, Value};

pub(crate) const INVALID: &str = "invalid effective config";

#[derive(Default)]
struct Safety {
    denied_topics: Vec<Glob>,
    allowed_topics: Vec<Glob>,
    mcp: McpLists,
}

/// Reason to deny, when the config gives one. Unreadable bytes are one.
pub(crate) fn refusal(bytes: &[u8], facts: &Facts<'_, '_>) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    match parse(bytes) {
        None => Some(INVALID.to_owned()),
        Some(safety) => safety.refusal(facts),
    }
}

impl Safety {
    fn refusal(&self, facts: &Facts<'_, '_>) -> Option<String> {
        let topic = facts.topic;
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(topic));
        let mut reason = None;
        if matches(&self.denied_topics) {
            reason = Some(format!("topic '{topic}' denied by effective config"));
        }
        if !self.allowed_topics.is_empty() && !matches(&self.allowed_topics) {
            reason = Some(format!("topic '{topic}' not allowed by effective config"));
        }
        if facts.mcp.is_present() {
            if let Some(refusal) = self.mcp.refusal(&facts.mcp) {
                reason = Some(refusal.reason(&facts.mcp));
            }
        }
        reason
    }
}

/// `None` for anything that is not a JSON object or whose `safety` has a wrong shape.
fn parse(bytes: &[u8]) -> Option<Safety> {
    if bytes.len() > MAX_EFFECTIVE_CONFIG_BYTES {
        return None;
    }
    let root = json::parse(std::str::from_utf8(bytes).ok()?).ok()?;
    if !matches!(root.value, Value::Map(_)) {
        return None;
    }
    let enveloped = || root.get("data").and_then(|data| data.get("safety"));
    match root.get("safety").or_else(enveloped) {
        None => Some(Safety::default()),
        Some(safety) => read_safety(safety),
    }
}

fn read_safety(node: &Node) -> Option<Safety> {
    if !matches!(node.value, Value::Map(_)) {
        return None;
    }
    let mut reader = Reader::default();
    let safety = Object {
        node,
        path: "safety".to_owned(),
    };
    let globs = |patterns: Vec<String>| -> Option<Vec<Glob>> {
        patterns.iter().map(|pattern| Glob::new(pattern)).collect()
    };
    let denied_topics = globs(reader.strings(&safety, "denied_topics"))?;
    let allowed_topics = globs(reader.strings(&safety, "allowed_topics"))?;
    let mcp = match node.get("mcp") {
        None => McpLists::default(),
        Some(node) if matches!(node.value, Value::Map(_)) => {
            let object = Object {
                node,
                path: "safety.mcp".to_owned(),
            };
            read_mcp_lists(&mut reader, &object)
        }
        Some(_) => return None,
    };
    reader.issues.is_empty().then_some(Safety {
        denied_topics,
        allowed_topics,
        mcp,
    })
}
