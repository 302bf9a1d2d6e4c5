//! Does the payload stay inside what was asked? (policy spec §7.3)

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::scope_tally::{ScopeCounts, ScopeResult, ScopeTally};
use super::{Content, Finding};
use crate::document::ContentScope;

/// Items looked at; a longer list is out of bounds and counts as a violation.
const MAX_ITEMS: usize = 10_000;

/// A compiled `match.scope`.
#[derive(Debug)]
pub(crate) struct ScopeCheck {
    instruction_path: Vec<String>,
    items_path: Vec<String>,
    category_path: String,
    name_path: String,
    /// Normal form of an intent, its name as written and its categories; longest first, then by name.
    intents: Vec<(String, String, Vec<String>)>,
    aliases: BTreeMap<String, String>,
    allows_missing_input: bool,
    allows_ambiguous: bool,
    tally: ScopeTally,
}

/// Normal form of a text.
fn normal(text: &str) -> String {
    text.trim().to_lowercase().replace(['-', ' '], "_")
}

fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

fn at<'v>(object: &'v Map<String, Value>, path: &[String]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.get(first)?, |value, key| value.get(key))
}

impl ScopeCheck {
    pub fn new(scope: &ContentScope) -> ScopeCheck {
        let aliases: BTreeMap<String, String> = scope
            .aliases
            .iter()
            .map(|(from, to)| (normal(from), normal(to)))
            .collect();
        let mut check = ScopeCheck {
            instruction_path: path(&scope.instruction_path),
            items_path: path(&scope.items_path),
            category_path: scope.category_path.clone(),
            name_path: scope.name_path.clone(),
            intents: Vec::new(),
            aliases,
            allows_missing_input: scope.allows_missing_input,
            allows_ambiguous: scope.allows_ambiguous,
            tally: ScopeTally::default(),
        };
        check.intents = scope
            .allowed_categories
            .iter()
            .map(|(intent, categories)| {
                let mapped = categories.iter().map(|name| check.category(name)).collect();
                (normal(intent), intent.clone(), mapped)
            })
            .filter(|(intent, ..)| !intent.is_empty())
            .collect();
        check
            .intents
            .sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        check
    }

    /// Normal form of a category after the aliases.
    fn category(&self, name: &str) -> String {
        let name = normal(name);
        self.aliases.get(&name).cloned().unwrap_or(name)
    }

    /// The finding for a request without content.
    pub fn without_content(&self) -> Option<Finding> {
        let text = "scope rule requires structured input content but none was provided";
        let finding = (!self.allows_missing_input).then(|| Finding::plain(text));
        self.note_unjudged("missing_input");
        finding
    }

    fn note_unjudged(&self, violation: &'static str) {
        if self.allows_missing_input {
            self.tally.note(ScopeResult::Allow, "", violation, 0);
        } else {
            self.tally.note(ScopeResult::Error, "", violation, 1);
        }
    }

    /// What was counted since this was last asked.
    pub fn take_counts(&self) -> ScopeCounts {
        self.tally.take()
    }

    /// Append what is out of scope.
    pub fn check(&self, content: &Content<'_>, found: &mut Vec<Finding>) {
        let missing = |text: &'static str, found: &mut Vec<Finding>| {
            self.note_unjudged(text.split(':').next().unwrap_or(text));
            if !self.allows_missing_input {
                found.push(Finding::plain(text));
            }
        };
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(content.bytes()) else {
            return missing("malformed_payload: the content is not a JSON object", found);
        };
        let instruction = at(&object, &self.instruction_path)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty());
        let Some(instruction) = instruction else {
            return missing("missing_input: no instruction text", found);
        };
        let items = at(&object, &self.items_path)
            .and_then(Value::as_array)
            .filter(|items| !items.is_empty());
        let Some(items) = items else {
            return missing("missing_input: no list of items", found);
        };
        let instruction = normal(instruction);
        let intent = self
            .intents
            .iter()
            .find(|(intent, ..)| instruction.contains(intent));
        match intent {
            Some((_, intent, allowed)) => {
                let before = found.len();
                self.check_items(items, intent, allowed, found);
                let count = (found.len() - before) as u64;
                let result = if count > 0 {
                    ScopeResult::Deny
                } else {
                    ScopeResult::Allow
                };
                self.tally.note(result, intent, "scope_violation", count);
            }
            None if self.allows_ambiguous => self.tally.note(ScopeResult::Allow, "", "ambiguous_intent", 0),
            None => {
                self.tally.note(ScopeResult::Deny, "", "ambiguous_intent", 1);
                found.push(Finding::plain(
                    "ambiguous_intent: no allowed intent in the instruction",
                ));
            }
        }
    }

    fn check_items(&self, items: &[Value], intent: &str, allowed: &[String], found: &mut Vec<Finding>) {
        if allowed.is_empty() {
            return;
        }
        for item in items.iter().take(MAX_ITEMS) {
            let Value::Object(item) = item else {
                found.push(Finding::plain("item is not an object"));
                continue;
            };
            let name = item.get(&self.name_path).and_then(Value::as_str).unwrap_or("");
            let given = item.get(&self.category_path).and_then(Value::as_str);
            let Some(given) = given.filter(|category| !category.trim().is_empty()) else {
                found.push(Finding::plain(format!("item \"{name}\" has no category")));
                continue;
            };
            if !allowed.contains(&self.category(given)) {
                found.push(Finding::plain(format!(
                    "item \"{name}\" has category \"{given}\" which is not allowed for intent \"{intent}\""
                )));
            }
        }
        if items.len() > MAX_ITEMS {
            found.push(Finding::plain(format!("more than {MAX_ITEMS} items")));
        }
    }
}
