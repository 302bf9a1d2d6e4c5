//! What a comparison of two policies says, as JSON.

use serde_json::{json, Value as Json};

use crate::analysis::diff::Exceeded;
use crate::analysis::limits::MAX_LISTED;
use crate::analysis::model::Verdict;
use crate::analysis::witness::Witness;

/// Changes found and questions left open.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    found: Vec<(u8, Json)>,
    undecided: Vec<Json>,
    /// Changes and questions beyond the number listed.
    omitted: usize,
}

/// One class of requests whose verdict changes.
pub(crate) struct Change<'a> {
    /// Which part of the policy makes the difference.
    pub part: &'static str,
    pub old: Json,
    pub new: Json,
    pub class: Option<Json>,
    pub witness: &'a Witness,
    pub before: &'a Verdict,
    pub after: &'a Verdict,
    pub exceeded: &'a Exceeded<'a>,
}

impl Changes {
    pub fn add(&mut self, change: Change<'_>) {
        if self.found.len() == MAX_LISTED {
            self.omitted += 1;
            return;
        }
        let (before, after) = (change.before, change.after);
        // What becomes looser comes first: that is what a reviewer must not miss.
        let (order, direction) = match after.decision.cmp(&before.decision) {
            std::cmp::Ordering::Less => (0, "looser"),
            std::cmp::Ordering::Equal => (1, "constraints"),
            std::cmp::Ordering::Greater => (2, "stricter"),
        };
        let exceeded = change.exceeded;
        let is_counted = !exceeded.old.is_empty() || !exceeded.new.is_empty();
        let exceeded = is_counted.then(|| json!({"old": exceeded.old, "new": exceeded.new}));
        let witness = json!({
            "request": change.witness.to_json(),
            "old": before.to_json(),
            "new": after.to_json(),
            "exceeded": exceeded,
        });
        self.found.push((
            order,
            json!({
                "part": change.part,
                "direction": direction,
                "old": change.old,
                "new": change.new,
                "class": change.class,
                "witness": witness,
            }),
        ));
    }

    pub fn leave_open(&mut self, part: &'static str, reason: &str) {
        self.open(json!({"part": part, "old": null, "new": null, "reason": reason}));
    }

    pub fn leave_open_between(&mut self, part: &'static str, old: Json, new: Json, reason: &str) {
        self.open(json!({"part": part, "old": old, "new": new, "reason": reason}));
    }

    fn open(&mut self, question: Json) {
        if self.undecided.len() == MAX_LISTED {
            self.omitted += 1;
            return;
        }
        self.undecided.push(question);
    }

    /// The report, what becomes looser first, otherwise in the order of the rules.
    pub fn to_json(&self, old: &str, new: &str) -> Json {
        let mut found = self.found.clone();
        found.sort_by_key(|(order, _)| *order);
        let changes: Vec<Json> = found.into_iter().map(|(_, change)| change).collect();
        let equivalent = match (changes.is_empty(), self.undecided.is_empty()) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        };
        json!({
            "equivalent": equivalent,
            "old": old,
            "new": new,
            "changes": changes,
            "undecided": self.undecided,
            "omitted": self.omitted,
        })
    }
}
