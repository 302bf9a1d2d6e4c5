//! The report of a run: cases, and which rules some case is decided by.

use serde_json::{json, Value as Json};

use crate::compile::Policy;
use crate::document::Decision;
use crate::evaluate::Decider;
use crate::testing::case::{Expectation, TestCase};
use crate::testing::verdict::{constraints_json, nested, Verdict};

/// Counts everything, lists what fits; failed cases have the first claim on the room.
pub(super) struct Report<'p> {
    policy: &'p Policy,
    rules: Vec<u64>,
    overlay: Vec<u64>,
    input_rules: Vec<u64>,
    passed: u64,
    failed: u64,
    omitted: u64,
    failures: Listed,
    passes: Listed,
}

/// Entries with their place among all cases.
struct Listed {
    entries: Vec<(u64, Json)>,
    room: usize,
}

impl Listed {
    fn new(room: usize) -> Listed {
        Listed {
            entries: Vec::new(),
            room,
        }
    }

    fn add(&mut self, at: u64, entry: Json) -> bool {
        let Some(left) = self.room.checked_sub(entry.to_string().len()) else {
            // What comes later does not slip in before it.
            self.room = 0;
            return false;
        };
        self.room = left;
        self.entries.push((at, entry));
        true
    }
}

impl<'p> Report<'p> {
    pub fn new(policy: &'p Policy, max_bytes: usize) -> Report<'p> {
        Report {
            policy,
            rules: vec![0; policy.rules.len()],
            overlay: vec![0; policy.overlay.len()],
            input_rules: vec![0; policy.input_rules.len()],
            passed: 0,
            failed: 0,
            omitted: 0,
            failures: Listed::new(max_bytes / 2),
            passes: Listed::new(max_bytes / 4),
        }
    }

    pub fn add(&mut self, source: &str, case: &TestCase, verdict: &Verdict) {
        let hits = match verdict.decider {
            Decider::Rule(rank) => self.rules.get_mut(rank as usize),
            Decider::Overlay(rank) => self.overlay.get_mut(rank as usize),
            Decider::InputRule(rank) => self.input_rules.get_mut(rank as usize),
            Decider::NoRule => None,
        };
        if let Some(hits) = hits {
            *hits += 1;
        }
        let at = self.passed + self.failed;
        let entry = entry(source, case, verdict);
        let list = if verdict.is_passed() {
            self.passed += 1;
            &mut self.passes
        } else {
            self.failed += 1;
            &mut self.failures
        };
        self.omitted += u64::from(!list.add(at, entry));
    }

    /// The whole as JSON.
    pub fn into_json(self) -> Vec<u8> {
        let coverage = self.coverage();
        let mut cases = self.failures.entries;
        cases.extend(self.passes.entries);
        cases.sort_by_key(|(at, _)| *at);
        let report = json!({
            "passed": self.passed,
            "failed": self.failed,
            "omitted": self.omitted,
            "cases": cases.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(),
            "coverage": coverage,
        });
        report.to_string().into_bytes()
    }

    fn coverage(&self) -> Json {
        let rules = self.policy.rules.iter().chain(&self.policy.overlay);
        let rules = rules.map(|rule| (&rule.id, &rule.path));
        let input_rules = self.policy.input_rules.iter().map(|rule| (&rule.id, &rule.path));
        let hits = self.rules.iter().chain(&self.overlay).chain(&self.input_rules);
        // The rest of the room, half for each list.
        let room = self.passes.room / 2;
        let (mut uncovered, mut by_rule) = (Listed::new(room.max(4096)), serde_json::Map::new());
        let (mut total, mut covered, mut by_rule_room) = (0u64, 0u64, room.max(4096));
        for ((id, path), hits) in rules.chain(input_rules).zip(hits) {
            total += 1;
            if *hits == 0 {
                uncovered.add(total, json!({"id": id, "path": path}));
                continue;
            }
            covered += 1;
            let name = if id.is_empty() { path } else { id };
            if let Some(left) = by_rule_room.checked_sub(name.len() + 8) {
                by_rule_room = left;
                // Rules that share an id share the count.
                let before = by_rule.get(name).and_then(Json::as_u64).unwrap_or(0);
                by_rule.insert(name.clone(), json!(before + hits));
            }
        }
        let listed: Vec<Json> = uncovered.entries.into_iter().map(|(_, entry)| entry).collect();
        json!({"rules": total, "covered": covered, "uncovered": listed, "by_rule": by_rule})
    }
}

fn entry(source: &str, case: &TestCase, verdict: &Verdict) -> Json {
    let mut entry = json!({
        "source": source,
        "name": case.name,
        "passed": verdict.is_passed(),
        "expected": expected(&case.expect),
        "got": {
            "decision": Decision::name(verdict.decision),
            "rule_id": verdict.rule_id,
            "reason": verdict.reason,
            "constraints": constraints_json(verdict.constraints.as_ref()),
        },
        "differs": verdict.differs,
    });
    if let (Some(error), Some(members)) = (&verdict.error, entry.as_object_mut()) {
        members.insert("error".to_owned(), json!(error));
    }
    entry
}

/// What the case mentions.
fn expected(expect: &Expectation) -> Json {
    let mut members = serde_json::Map::new();
    members.insert("decision".to_owned(), json!(expect.decision.name()));
    let texts = [
        ("rule_id", &expect.rule_id),
        ("reason_contains", &expect.reason_contains),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            members.insert(name.to_owned(), json!(text));
        }
    }
    if !expect.constraints.is_empty() {
        let leaves = expect
            .constraints
            .iter()
            .map(|(path, value)| (path.as_str(), value.clone()));
        members.insert("constraints".to_owned(), nested(leaves));
    }
    Json::Object(members)
}
