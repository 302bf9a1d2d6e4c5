//! One record against what is known of its job.

use cordum_wire::messages::JobStatus;
use cordum_wire::stored::{event_from_store, request_from_store};
use serde_json::Value;

use super::{is_final, legal, states_of, DEAD, POOLS, STATES};
use crate::ghost::{Last, Seen};
use crate::malice::MALLORY;
use crate::plan::{JobPlan, Verdict};
use crate::redis::{Data, Database};
use crate::saga;
use crate::store;
use crate::world::{World, SECOND};

/// Heartbeats count for twelve seconds; one that just arrived may have been under way for a while.
const SILENT: i64 = 13 * SECOND;

/// Retries a job may have; an altered request may have been the first to arrive.
fn allowed(plan: &JobPlan, seen: &Seen) -> i64 {
    let topic = seen.taken.as_ref().map_or(plan.topic, |(topic, _)| topic);
    match (plan.max_retries, topic) {
        (0, "job.b") => 1,
        (0, _) => 3,
        (limit, _) => i64::from(limit),
    }
}

/// A record as it is now.
pub(super) struct Record<'a> {
    pub(super) database: &'a Database,
    pub(super) id: &'a str,
    pub(super) tag: String,
}

impl Record<'_> {
    pub(super) fn text(&self, field: &str) -> String {
        let read = |name: &str| self.database.field(&store::meta(self.id), name);
        store::whole(self.id, field, read(field), read)
    }

    pub(super) fn number(&self, field: &str) -> i64 {
        self.text(field).parse().unwrap_or(0)
    }

    /// Topic and principal of the stored request.
    pub(super) fn taken(&self) -> Option<(String, String)> {
        match &self.database.get(&store::request(self.id))?.data {
            Data::Text(stored) => {
                let request = request_from_store(self.id, stored).ok()?;
                Some((request.topic, request.principal_id))
            }
            _ => None,
        }
    }

    pub(super) fn at(&self, schedule: &str) -> Option<f64> {
        self.database
            .score(&store::schedule(&self.tag, schedule), self.id)
    }

    pub(super) fn check_move(
        &self,
        seen: &mut Seen,
        current: &Last,
        excused: bool,
        faults: &mut Vec<String>,
    ) {
        let last = seen.last.clone();
        let last = &last;
        if current.state.is_empty() {
            return faults.push(format!("record of a job in {} is gone", last.state));
        }
        let refreshed = last.state == current.state && !is_final(&current.state);
        if !refreshed && !legal(&last.state, &current.state) {
            faults.push(format!("illegal move {} -> {}", last.state, current.state));
        }
        if current.rev != last.rev + 1 {
            faults.push(format!("revision {} after {}", current.rev, last.rev));
        }
        let started = i64::from(current.state == "DISPATCHED" && last.state != "DISPATCHED");
        if current.attempts != last.attempts + started {
            faults.push(format!(
                "attempts {} after {} ({})",
                current.attempts, last.attempts, current.state
            ));
        }
        if current.state == "RETRYING" && last.state != "RETRYING" && !self.text("after").contains("result") {
            faults.push("RETRYING, and nobody will be told".into());
        }
        if current.state == "SCHEDULED" && last.state == "DISPATCHED" {
            let dispatch = self.text("dispatch_id");
            if seen.published.contains_key(&dispatch) && !excused {
                faults.push(format!(
                    "dispatch {dispatch} is rolled back, and a worker may have it"
                ));
            }
            seen.rolled_back.insert(dispatch);
        }
        if last.state == "APPROVAL_REQUIRED"
            && current.state == "PENDING"
            && self.text("approval_decision") != "approve"
        {
            faults.push("released without a human".into());
        }
        let asked_anew = last.state == "APPROVAL_REQUIRED" && current.state == "PENDING";
        if asked_anew && !seen.looked_at.contains(&last.rev) {
            faults.push(format!(
                "approved at revision {}, which nobody has seen",
                last.rev
            ));
        }
        self.check_question(seen, current, faults);
        self.check_decision(faults);
        let events = self.database.list(&store::events(self.id));
        let said = |event: &Vec<u8>| {
            let stored = event_from_store(self.id, event, |_| String::new());
            let event: Value = stored.or_else(|| serde_json::from_slice(event).ok())?;
            Some(event.get("state")?.as_str()?.to_owned())
        };
        if !refreshed && events.last().and_then(said).as_deref() != Some(&current.state) {
            faults.push(format!("{} without its event", current.state));
        }
        let count = |state| {
            let of = |event: &&Vec<u8>| said(event).as_deref() == Some(state);
            events.iter().filter(of).count()
        };
        let dispatched = count("DISPATCHED");
        if dispatched as i64 != current.attempts {
            faults.push(format!(
                "{} attempts, {dispatched} dispatch events",
                current.attempts
            ));
        }
        seen.retries += usize::from(current.state == "RETRYING" && last.state != "RETRYING");
        if count("RETRYING") != seen.retries {
            faults.push(format!(
                "{} failures to repeat, {} events of them",
                seen.retries,
                count("RETRYING")
            ));
        }
        if last.state != current.state && (is_final(&current.state) || current.state == "RETRYING") {
            seen.told.clear();
        }
    }

    /// What was decided last can be read: it is the head of the list or, for a job that was simply allowed, in the record alone.
    fn check_decision(&self, faults: &mut Vec<String>) {
        let word = self.text("safety_decision");
        let list = self.database.list(&store::decisions(self.id));
        let head = list.first().map(|entry| {
            let entry: Value = serde_json::from_slice(entry).unwrap_or_default();
            entry.get("checked_at").map(Value::to_string)
        });
        let is_kept = match head {
            None => (word.is_empty() || word == "ALLOW") && self.text("decision_key").is_empty(),
            Some(checked_at) => {
                checked_at == Some(self.text("safety_checked_at")) && !self.text("decision_key").is_empty()
            }
        };
        if !is_kept {
            faults.push(format!("the decision `{word}` is not kept"));
        }
    }

    /// Every question to a human has a number of its own, and its answer the next one.
    fn check_question(&self, seen: &mut Seen, current: &Last, faults: &mut Vec<String>) {
        let number = self.number("approval_revision");
        let is_new = current.state == "APPROVAL_REQUIRED";
        if number < seen.question || (is_new && number == seen.question) {
            faults.push(format!(
                "{} with question {number} after question {}",
                current.state, seen.question
            ));
        }
        seen.question = seen.question.max(number);
        if is_new && !self.text("approval_decision").is_empty() {
            faults.push(format!(
                "asked, and answered `{}` already",
                self.text("approval_decision")
            ));
        }
    }

    /// A duty goes when it is done, and not before.
    pub(super) fn check_duties(&self, world: &World, seen: &Seen, after: &str, faults: &mut Vec<String>) {
        let state = match seen.last.state.as_str() {
            over if is_final(over) => over,
            // RETRYING is the only outcome a job moves on from.
            _ => "RETRYING",
        };
        let told = |dead: bool| {
            let fits =
                |(status, letter): &(i32, bool)| *letter == dead && states_of(*status).contains(&state);
            seen.told.iter().any(fits)
        };
        let left = |duty: &str| after.split(',').any(|word| word == duty);
        for duty in seen.after.split(',').filter(|duty| !left(duty)) {
            let done = match duty {
                "result" => told(false),
                "dlq" => told(true),
                _ => saga::is_done(world, duty, self.id),
            };
            if !done {
                faults.push(format!("{state}: the duty `{duty}` is gone and not done"));
            }
        }
    }

    /// A dispatch stays listed as unconfirmed until somebody can have it.
    pub(super) fn check_confirmed(&self, seen: &Seen, state: &str, faults: &mut Vec<String>) {
        let dispatch = self.text("dispatch_id");
        let off = seen.unconfirmed.as_ref() == Some(&dispatch) && self.at("disp").is_none();
        if off && state == "DISPATCHED" && !seen.published.contains_key(&dispatch) {
            faults.push(format!(
                "dispatch {dispatch} is confirmed and was never published"
            ));
        }
    }

    /// The stored worker is the one the dispatch goes to, and was alive.
    pub(super) fn check_worker(&self, silence: i64, faults: &mut Vec<String>) {
        let (subject, worker) = (self.text("dispatch_subject"), self.text("worker_id"));
        let addressed = subject
            .strip_prefix("worker.")
            .and_then(|rest| rest.strip_suffix(".jobs"))
            .unwrap_or_default();
        if addressed != worker {
            faults.push(format!("dispatched on {subject}, the record names `{worker}`"));
        }
        if silence > SILENT {
            faults.push(format!(
                "dispatched to {worker}, silent for {} ms",
                silence / 1000
            ));
        }
    }

    pub(super) fn check_dispatch(
        &self,
        seen: &mut Seen,
        plan: &JobPlan,
        current: &Last,
        weak: bool,
        crowd: usize,
        faults: &mut Vec<String>,
    ) {
        let dispatch = self.text("dispatch_id");
        if !dispatch.starts_with(&format!("{}:{}:", self.id, current.attempts)) {
            faults.push(format!(
                "attempt {} has dispatch id `{dispatch}`",
                current.attempts
            ));
        }
        if seen.dispatches.values().any(|known| *known == dispatch) {
            faults.push(format!("dispatch id `{dispatch}` is used twice"));
        }
        if let Some(before) = seen.dispatches.insert(current.attempts, dispatch.clone()) {
            if !weak {
                faults.push(format!("attempt {} is {before} and {dispatch}", current.attempts));
            }
        }
        let approved = self.text("approval_decision") == "approve";
        if !approved && !seen.verdicts.contains(&Verdict::Allow) {
            faults.push(format!("dispatched although the kernel said {:?}", seen.verdicts));
        }
        if !matches!(
            self.text("safety_decision").as_str(),
            "ALLOW" | "ALLOW_WITH_CONSTRAINTS"
        ) {
            faults.push(format!(
                "dispatched under decision `{}`",
                self.text("safety_decision")
            ));
        }
        if self.at("disp").is_none() {
            faults.push("dispatched without being listed as unconfirmed".into());
        }
        let request = self.database.get(&store::request(self.id)).is_some();
        if !request {
            faults.push("dispatched without a stored request".into());
        }
        if plan.max_concurrent > 0 && crowd >= plan.max_concurrent as usize && !weak && !approved {
            faults.push(format!(
                "dispatched beside {crowd} other jobs of a tenant that may have {}",
                plan.max_concurrent
            ));
        }
        let (charged, allowed) = (current.attempts - self.number("rollbacks"), allowed(plan, seen));
        if charged > allowed + 1 && !approved {
            faults.push(format!("{charged} attempts with {allowed} retries allowed"));
        }
    }

    pub(super) fn check_end(&self, seen: &Seen, plan: &JobPlan, state: &str, faults: &mut Vec<String>) {
        let ends = seen.states.iter().filter(|state| is_final(state)).count();
        if ends != 1 {
            faults.push(format!("terminal {ends} times: {:?}", seen.states));
        }
        let after = self.text("after");
        if !after.split(',').any(|duty| duty == "result") {
            faults.push(format!("{state} with duties `{after}`"));
        }
        let is_no = |verdict: &Verdict| matches!(verdict, Verdict::Deny | Verdict::Human);
        let said_no = seen.verdicts.iter().any(is_no);
        if state == "DENIED" && self.text("approval_decision") != "reject" && !said_no && !seen.tampered {
            faults.push(format!("DENIED although the kernel said {:?}", seen.verdicts));
        }
        if DEAD.contains(&state) {
            if !after.split(',').any(|duty| duty == "dlq") {
                faults.push(format!("{state} without the duty to tell of its dead letter"));
            }
            let letter = self.database.get(&store::dlq_entry(self.id)).is_some();
            let listed = self
                .database
                .score(&format!("dlq:index:{}", self.tag), self.id)
                .is_some();
            if !letter || !listed {
                faults.push(format!("{state} without a dead letter"));
            }
        }
        let (charged, allowed) = (
            self.number("attempts") - self.number("rollbacks"),
            allowed(plan, seen),
        );
        if self.text("failure_reason").starts_with("max retries exceeded") && charged <= allowed {
            faults.push(format!(
                "gave up after {charged} attempts with {allowed} retries allowed"
            ));
        }
        if state == "TIMEOUT" && self.text("failure_reason").starts_with("timeout: dispatched") {
            let dispatch = self.text("dispatch_id");
            if !seen.published.contains_key(&dispatch) {
                faults.push(format!(
                    "dispatch {dispatch} timed out before anybody could have it"
                ));
            }
        }
        if !self.text("execution_ms").is_empty() {
            self.check_result(seen, plan, state, faults);
        }
    }

    /// A result that ends a job was reported by the worker that has it.
    fn check_result(&self, seen: &Seen, plan: &JobPlan, state: &str, faults: &mut Vec<String>) {
        let (dispatch, worker) = (self.text("dispatch_id"), self.text("worker_id"));
        let fits = |status: i32| match state {
            "SUCCEEDED" => status == JobStatus::Succeeded as i32,
            _ => status != JobStatus::Succeeded as i32,
        };
        // After a dispatch to a topic, the first result without an identity wins (scheduler spec §10).
        let first_wins = !self.text("dispatch_subject").starts_with("worker.");
        let genuine = seen.reports.iter().any(|(of, by, status)| {
            fits(*status) && *by == worker && (first_wins || !plan.echoes || *of == dispatch)
        });
        let forged = seen.forged && worker == MALLORY && self.number("attempts") > 0 && first_wins;
        let assigned = seen.runs.values().flatten().any(|by| format!("w{by}") == worker);
        if !forged && (!genuine || !(assigned || first_wins)) {
            faults.push(format!(
                "{state} by a result of {worker} that nobody with {dispatch} reported"
            ));
        }
    }

    /// Indexes, schedules and times to live agree with the record.
    pub(super) fn check_keys(&self, state: &str, faults: &mut Vec<String>) {
        for other in STATES {
            let listed = self
                .database
                .score(&store::index(&self.tag, other), self.id)
                .is_some();
            if listed != (other == state) {
                faults.push(format!("in {state}, listed as {other}: {listed}"));
            }
        }
        if state.is_empty() {
            return;
        }
        let over = is_final(state);
        for key in [
            store::meta(self.id),
            store::request(self.id),
            store::events(self.id),
            store::decisions(self.id),
        ] {
            let expires = self.database.get(&key).map(|entry| entry.expires.is_some());
            if expires.is_some_and(|expires| expires != over) {
                faults.push(format!("{key} of a job in {state}: expiry {expires:?}"));
            }
        }
        let same = |field: &str, schedule: &str| {
            let (field, score) = (self.text(field), self.at(schedule));
            match score {
                Some(score) => field == format!("{score}"),
                None => field.is_empty(),
            }
        };
        if !same("deadline_unix", "deadline") || (over && self.at("deadline").is_some()) {
            faults.push(format!(
                "deadline `{}`, listed at {:?}",
                self.text("deadline_unix"),
                self.at("deadline")
            ));
        }
        if self.text("after").is_empty() != self.at("after").is_none() {
            faults.push(format!(
                "duties `{}`, listed at {:?}",
                self.text("after"),
                self.at("after")
            ));
        }
        let parked = !self.text("next_attempt_at").is_empty();
        if parked && (self.at("retry").is_none() || !matches!(state, "PENDING" | "SCHEDULED" | "RETRYING")) {
            faults.push(format!("{state}, parked, in the wheel: {:?}", self.at("retry")));
        }
        let waits = self.text("wait_pools");
        for pool in POOLS {
            let listed = self
                .database
                .score(&store::wait(&self.tag, pool), self.id)
                .is_some();
            if listed != waits.split(',').any(|name| name == pool) {
                faults.push(format!("waits for `{waits}`, listed for {pool}: {listed}"));
            }
        }
        let running = matches!(state, "DISPATCHED" | "RUNNING");
        if running != self.at("due").is_some() {
            faults.push(format!("{state} with a time-out at {:?}", self.at("due")));
        }
        if self.at("disp").is_some() && state != "DISPATCHED" {
            faults.push(format!("{state} and listed as unconfirmed"));
        }
    }
}
