/// What the text to find is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An expression.
    Value,
    /// One or more statements.
    Statement,
    /// A match arm; the replacement is its body.
    Arm,
}

/// A wrong edit of the planner: module, what it says, what it would say.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    pub name: &'static str,
    pub file: &'static str,
    pub kind: Kind,
    pub find: &'static str,
    pub replace: &'static str,
}

const fn value(name: &'static str, file: &'static str, find: &'static str, replace: &'static str) -> Edit {
    let kind = Kind::Value;
    Edit {
        name,
        file,
        kind,
        find,
        replace,
    }
}

const fn statement(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Edit {
    let kind = Kind::Statement;
    Edit {
        name,
        file,
        kind,
        find,
        replace,
    }
}

const fn arm(name: &'static str, file: &'static str, find: &'static str, replace: &'static str) -> Edit {
    let kind = Kind::Arm;
    Edit {
        name,
        file,
        kind,
        find,
        replace,
    }
}

const ALLOW: &str = "self.allow(Value::Null, \"\", matcher, random, jitter, config)";
const ALLOWED: &str = "Judgement::Allow { constraints, response }";

/// Every wrong edit of the planner.
pub const EDITS: &[Edit] = &[
    // Intake and reads.
    value("redelivered submits are not read", "submit", "!is_fresh", "false"),
    statement(
        "jobs of the bus get no record",
        "submit",
        "self.needs_create = self.message.is_some();",
        "self.needs_create = false;",
    ),
    value(
        "any state is processable",
        "submit",
        "!processable || differs",
        "differs",
    ),
    statement(
        "a lost creation is acknowledged",
        "submit",
        "let message = item.message; self.settle(message, Verdict::Nak(500_000));",
        "",
    ),
    // Limits.
    statement(
        "a limit never refuses",
        "slots",
        "item.over_limit = item.limit.map(|limit| limit.cause);",
        "",
    ),
    value("a limit of one is none", "slots", "asked > 0", "asked > 1"),
    value(
        "the limit is not looked at",
        "draft",
        "self.item.over_limit",
        "None::<&'static str>",
    ),
    // Judgement.
    arm(
        "denied jobs run",
        "draft",
        "Some(Judgement::Deny { response }) => self.deny(&response),",
        ALLOW,
    ),
    arm(
        "unjudged jobs run",
        "draft",
        "Some(Judgement::Unavailable { reason, .. }) => self.unavailable(&reason, jitter),",
        ALLOW,
    ),
    arm(
        "held jobs run",
        "draft",
        "Some(Judgement::Approval { response }) => self.hold(&response),",
        ALLOW,
    ),
    arm(
        "altered jobs run",
        "draft",
        "Some(Judgement::Altered) => self.refuse_altered(),",
        ALLOW,
    ),
    arm(
        "approval means allow",
        "judge",
        r#""REQUIRE_APPROVAL" => Judgement::Approval { response },"#,
        ALLOWED,
    ),
    arm(
        "throttle means allow",
        "judge",
        r#""THROTTLE" => Judgement::Throttle { response },"#,
        ALLOWED,
    ),
    arm(
        "deny means allow",
        "judge",
        "_ => Judgement::Deny { response },",
        ALLOWED,
    ),
    value(
        "faults of an item are answers",
        "judge",
        "item.code != 0",
        "false",
    ),
    statement(
        "the decision is not kept",
        "decided",
        "self.change.decision = Some(entry);",
        "",
    ),
    value(
        "every decision is in the record alone",
        "decided",
        "entry.is_plain() && is_same && self.item.text(\"decision_key\").is_empty()",
        "true",
    ),
    statement(
        "the decision before is not listed",
        "decided",
        "self.change.decision_before = before;",
        "",
    ),
    statement(
        "the decision's word is lost",
        "decided",
        r#"self.change.set.insert("safety_decision", word.to_owned());"#,
        "",
    ),
    // The change.
    value(
        "changes are not fenced by revision",
        "draft",
        "item.record.as_ref().map(crate::record::Record::revision)",
        "None",
    ),
    value(
        "changes leave any state",
        "draft",
        "vec![item.state()]",
        r#"vec!["", "PENDING", "SCHEDULED", "RETRYING", "DISPATCHED", "RUNNING", "TIMEOUT", "CANCELLED", "DENIED"]"#,
    ),
    statement(
        "attempts count double",
        "draft",
        r#"self.change.incr.insert("attempts", 1);"#,
        r#"self.change.incr.insert("attempts", 2);"#,
    ),
    statement(
        "the attempt does not fence",
        "draft",
        "self.change.attempt = Some(attempt);",
        "self.change.attempt = Some(attempt + 1);",
    ),
    statement(
        "a dispatch is not listed",
        "draft",
        "self.change.disp = Some(self.now_us);",
        "",
    ),
    statement(
        "a dispatch has no time-out",
        "draft",
        "self.change.due = Some(self.now_us + config.dispatch_timeout_us());",
        "",
    ),
    value(
        "every dispatch is the first",
        "draft",
        r#"format!("{}:{attempt}:{random:08x}", self.item.request.job_id)"#,
        r#"format!("{}:1:{random:08x}", self.item.request.job_id)"#,
    ),
    statement(
        "the dispatch id is not stored",
        "draft",
        r#"set.insert("dispatch_id", dispatch_id.clone());"#,
        "",
    ),
    statement(
        "the worker is not stored",
        "draft",
        r#"set.insert("worker_id", assigned.clone());"#,
        "",
    ),
    value(
        "retrying jobs are denied",
        "draft",
        r#"self.item.state() == "RETRYING""#,
        "false",
    ),
    value(
        "any job can be held",
        "draft",
        r#"self.item.state() == "PENDING""#,
        "true",
    ),
    statement(
        "held jobs are scheduled",
        "draft",
        r#"self.change.to = "APPROVAL_REQUIRED";"#,
        r#"self.change.to = "SCHEDULED";"#,
    ),
    statement(
        "jobs are parked outside the wheel",
        "draft",
        "self.change.retry = Some(at);",
        "",
    ),
    statement(
        "jobs are parked without their pools",
        "draft",
        "self.change.wait.clone_from(&pools);",
        r#"self.change.set.insert("wait_pools", pools.join(","));"#,
    ),
    statement(
        "a dispatch has no event",
        "draft",
        r#"self.event("DISPATCHED", &context);"#,
        "",
    ),
    statement(
        "denied jobs fail",
        "draft",
        "self.change.to = state;",
        r#"self.change.to = if state == "DENIED" { "FAILED" } else { state };"#,
    ),
    statement(
        "ended jobs have no duties",
        "draft",
        r#"self.change.after = Some(if dead_letter { vec!["result", "dlq"] } else { vec!["result"] });"#,
        "",
    ),
    value(
        "refused jobs have no dead letter",
        "draft",
        r#"self.finish(JobStatus::Denied, state, code, reason, true)"#,
        r#"self.finish(JobStatus::Denied, state, code, reason, false)"#,
    ),
    value(
        "deadlines are milliseconds",
        "draft",
        "self.now_us.saturating_add(deadline_ms.saturating_mul(1000))",
        "self.now_us.saturating_add(deadline_ms)",
    ),
    // After the commit.
    arm(
        "a lost race is retried at once for ever",
        "commit",
        r#""rev" | "attempt" if !is_settled(state) => Verdict::Nak(500_000),"#,
        "Verdict::Nak(600_000_000_000)",
    ),
    arm(
        "a commit without an answer is acknowledged",
        "commit",
        "_ => Verdict::Nak(1_000_000),",
        "Verdict::Ack",
    ),
    value(
        "changes of another partition",
        "commit",
        "cordum_wire::partition(&item.request.job_id, self.surroundings.partitions)",
        "1 - cordum_wire::partition(&item.request.job_id, self.surroundings.partitions)",
    ),
    statement(
        "outcomes of the planner are not told",
        "commit",
        "tell(SUBJECT_ACCEPTED, result);",
        "",
    ),
    statement(
        "dead letters of the planner are not told",
        "commit",
        "tell(SUBJECT_DLQ, result.clone());",
        "",
    ),
    statement(
        "ended jobs keep their slots",
        "commit",
        "applied.tenants.push((self.tenant, self.job_id.clone(), false, false));",
        "",
    ),
    // Results.
    statement(
        "the dispatch id does not fence results",
        "result_item",
        "change.dispatch_id = Some(dispatch.dispatch_id.clone())",
        "",
    ),
    arm(
        "the worker does not fence results",
        "result_item",
        "_ => change.worker_id = Some(self.result.worker_id.clone()),",
        "()",
    ),
    value(
        "results end any job",
        "result_item",
        "OPEN.to_vec()",
        r#"vec!["", "PENDING", "APPROVAL_REQUIRED", "DISPATCHED", "RUNNING", "SCHEDULED", "RETRYING", "TIMEOUT", "CANCELLED", "FAILED"]"#,
    ),
    statement(
        "retries are outside the wheel",
        "result_item",
        "change.retry = Some(at);",
        "",
    ),
    statement(
        "retries are not told",
        "result_item",
        r#"change.after = Some(vec!["result"]);"#,
        "",
    ),
    value(
        "one retry more",
        "result_item",
        "retries::charged(&record) > limit",
        "retries::charged(&record) > limit + 1",
    ),
    value(
        "rollbacks are charged",
        "retries",
        r#"record.number("attempts") - record.number("rollbacks")"#,
        r#"record.number("attempts")"#,
    ),
    statement(
        "retries are not fenced",
        "result_item",
        "change.rev = Some(record.revision());",
        "",
    ),
    arm(
        "failure is success",
        "result_item",
        r#"JobStatus::Failed => self.dead(&mut change, "FAILED", JobStatus::Failed, &code, &reason, now_us),"#,
        r#"self.to = "SUCCEEDED""#,
    ),
    arm(
        "retryable is success",
        "result_item",
        "JobStatus::FailedRetryable => return self.retry(change, surroundings, jitter, now_us),",
        r#"self.to = "SUCCEEDED""#,
    ),
    arm(
        "success is failure",
        "result_item",
        r#"Course::Accept => self.to = "SUCCEEDED","#,
        r#"self.to = "FAILED""#,
    ),
    statement(
        "results leave no event",
        "result_item",
        "change.events.push(event(&change.id, now_us, self.to, &context));",
        "",
    ),
    statement(
        "results have no duties",
        "result_item",
        "change.after = Some(after);",
        "",
    ),
    arm(
        "a result without an answer is acknowledged",
        "results",
        "Reply::Failed => verdicts.push((item.message, Verdict::Nak(1_000_000))),",
        "()",
    ),
    statement(
        "outcomes are not told",
        "result_item",
        "applied.events.push(outgoing::result(SUBJECT_ACCEPTED, told, &self.trace_id, now_us));",
        "",
    ),
    statement(
        "tenants keep the slots of ended jobs",
        "result_item",
        "applied.tenants.push((tenant.to_owned(), job_id.clone(), false, false));",
        "",
    ),
    value(
        "further results are taken for repetitions",
        "results",
        "same_run && first.status() == item.status()",
        "true",
    ),
    value(
        "results of another partition",
        "results",
        "cordum_wire::partition(&change.id, self.surroundings.partitions)",
        "1 - cordum_wire::partition(&change.id, self.surroundings.partitions)",
    ),
    // What is published.
    value(
        "dispatches share the id of the job",
        "outgoing",
        r#"format!("dispatch:{}", identity.dispatch_id)"#,
        r#"format!("dispatch:{job_id}")"#,
    ),
    value(
        "outcomes share the id of the job",
        "outgoing",
        r#"format!( "{subject}:{}:{}:{dispatch_id}{masked}", result.job_id, result.status )"#,
        r#"format!("{subject}:{}", result.job_id)"#,
    ),
    value(
        "dispatches have no identity",
        "outgoing",
        "Some(identity)",
        "None",
    ),
    // Matching.
    value(
        "workers that are gone get jobs",
        "matching",
        "placed && worker.alive(self.config, self.now_us)",
        "placed",
    ),
];
