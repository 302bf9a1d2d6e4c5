//! What a change keeps of the policy's decision (scheduler spec §3.4, policy spec §16.1).

use cordum_wire::messages::PolicyCheckResponse;
use cordum_wire::remediations_json;
use serde_json::Value;

use crate::decision_entry::{Approval, Decision};
use crate::draft::Draft;
use crate::judge::Content;

impl Draft<'_> {
    /// Decision record on the hash and in the decision list (scheduler spec §3.4, policy spec §16.1). `constraints` are those of
    /// the response unless given.
    pub(crate) fn record_decision(
        &mut self,
        response: &PolicyCheckResponse,
        word: &'static str,
        constraints: Option<&Value>,
    ) {
        let constraints = constraints.cloned().unwrap_or_else(|| {
            let given = response.constraints.as_ref();
            given.map_or(Value::Null, cordum_wire::constraints_json)
        });
        let remediations = match response.remediations.as_slice() {
            [] => Value::Null,
            list => remediations_json(list),
        };
        self.append_decision(response, word, &constraints, &remediations);
        self.put_or_drop("safety_reason", &response.reason);
        self.put_or_drop("safety_rule_id", &response.rule_id);
        self.change.set_if("safety_snapshot", &response.policy_snapshot);
        self.put_or_drop("safety_constraints", &json_text(&constraints));
        self.put_or_drop("safety_remediations", &json_text(&remediations));
        self.put_or_drop("safety_defers", "");
    }

    /// The kernel did not answer: what was decided before stays readable in the list (policy spec §15.3).
    pub(crate) fn record_no_answer(&mut self, reason: &str) {
        let response = PolicyCheckResponse {
            reason: reason.to_owned(),
            ..PolicyCheckResponse::default()
        };
        self.append_decision(&response, "UNAVAILABLE", &Value::Null, &Value::Null);
        self.change.set_if("safety_reason", reason);
    }

    fn append_decision(
        &mut self,
        response: &PolicyCheckResponse,
        word: &'static str,
        constraints: &Value,
        remediations: &Value,
    ) {
        let now = self.now_us;
        let entry = Decision {
            decision: word,
            reason: &response.reason,
            rule_id: &response.rule_id,
            policy_snapshot: &response.policy_snapshot,
            constraints,
            remediations,
            approval_required: response.approval_required,
            approval_ref: &response.approval_ref,
            job_hash: &self.item.hash,
            checked_at: now,
            approval: self.approval_of(word),
            content: if self.item.content == Content::Missing {
                "missing"
            } else {
                ""
            },
        };
        let before = self.unlisted_decision();
        let is_same = before.as_ref().is_none_or(|before| before.repeats(&entry));
        if entry.is_plain() && is_same && self.item.text("decision_key").is_empty() {
            self.change.plain = Some(self.item.text("safety_checked_at").to_owned());
        } else {
            let (entry, before) = (entry.to_json(), before.map(|before| before.to_json()));
            self.change.decision_before = before;
            self.change.decision = Some(entry);
            self.change.decision_key = Some(format!(
                "{word}|{}|{}|{}",
                response.rule_id, response.policy_snapshot, response.reason
            ));
        }
        self.change.set.insert("safety_decision", word.to_owned());
        self.change.set.insert("safety_checked_at", now.to_string());
    }

    /// The decision the record holds, when its list does not.
    fn unlisted_decision(&self) -> Option<Decision<'_>> {
        let item = &self.item;
        let is_unlisted = item.text("decision_key").is_empty() && !item.text("safety_decision").is_empty();
        is_unlisted.then(|| Decision {
            decision: item.text("safety_decision"),
            reason: item.text("safety_reason"),
            rule_id: item.text("safety_rule_id"),
            policy_snapshot: item.text("safety_snapshot"),
            constraints: &Value::Null,
            remediations: &Value::Null,
            approval_required: false,
            approval_ref: "",
            job_hash: item.text("req_hash"),
            checked_at: item.number("safety_checked_at"),
            approval: None,
            content: "",
        })
    }

    /// Where the question of a held job stands after this decision; nothing for a job that is not held.
    fn approval_of(&self, word: &str) -> Option<Approval<'_>> {
        let revision = self.item.number("approval_revision");
        let decision = self.item.text("approval_decision");
        if word == "REQUIRE_APPROVAL" && self.may_hold() {
            return Some(Approval {
                approval_status: "pending",
                actionability: "actionable",
                approval_revision: revision + 1,
                approval_decision: "",
            });
        }
        (word == "ALLOW" && decision == "approve").then(|| Approval {
            approval_status: self.item.text("approval_status"),
            actionability: self.item.text("approval_actionability"),
            approval_revision: revision,
            approval_decision: decision,
        })
    }

    /// Set a field, or remove what an earlier decision left in it.
    fn put_or_drop(&mut self, field: &'static str, value: &str) {
        if !value.is_empty() {
            self.change.set.insert(field, value.to_owned());
        } else if !self.item.text(field).is_empty() {
            self.change.del.push(field);
        }
    }
}

fn json_text(value: &Value) -> String {
    if value.is_null() {
        String::new()
    } else {
        value.to_string()
    }
}
