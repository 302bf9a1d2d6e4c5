//! Keys and commands of the job store, as `cordum/store/{keys,jobs,job_sets,schedule,dlq}.py` build them.

use std::collections::{BTreeMap, HashMap};

use crate::cluster::script;
use crate::command;
use crate::planner::reply::{Reply, Value};
use crate::redis::{Command, Resp};

/// Partitions of the simulated store: two, so that jobs share some and not others.
pub const PARTITIONS: u32 = 2;
pub const META_TTL_S: i64 = 7 * 86_400;
const DLQ_TTL_S: i64 = 30 * 86_400;
const RECENT_MAX: i64 = 100_000;

pub const LEADER_LOCK: &str = "cordum:reconciler:default";
pub const TENANTS: &str = "job:tenants";

pub fn partition(job_id: &str) -> u32 {
    cordum_wire::partition(job_id, PARTITIONS)
}

pub fn tag_of(partition: u32) -> String {
    format!("{{j{partition:02x}}}")
}

pub fn tag(job_id: &str) -> String {
    tag_of(partition(job_id))
}

pub fn tags() -> Vec<String> {
    (0..PARTITIONS).map(tag_of).collect()
}

pub fn meta(job_id: &str) -> String {
    format!("job:meta:{}:{job_id}", tag(job_id))
}

pub fn request(job_id: &str) -> String {
    format!("job:req:{}:{job_id}", tag(job_id))
}

pub fn events(job_id: &str) -> String {
    format!("job:events:{}:{job_id}", tag(job_id))
}

pub fn decisions(job_id: &str) -> String {
    format!("job:decisions:{}:{job_id}", tag(job_id))
}

pub fn index(tag: &str, state: &str) -> String {
    format!("job:index:{tag}:{}", state.to_lowercase())
}

/// A zset of a partition: `due`, `retry`, `disp`, `deadline`, `after`, `recent`.
pub fn schedule(tag: &str, name: &str) -> String {
    format!("job:{name}:{tag}")
}

pub fn wait(tag: &str, pool: &str) -> String {
    format!("job:wait:{tag}:{pool}")
}

pub fn dlq_entry(job_id: &str) -> String {
    format!("dlq:entry:{}:{job_id}", tag(job_id))
}

pub fn tenant_set(name: &str, tenant: &str) -> String {
    format!("job:tenant:{name}:{{{tenant}}}")
}

pub fn instance(id: &str) -> String {
    format!("cordum:instance:scheduler:{id}")
}

pub fn job_lock(job_id: &str) -> String {
    format!("cordum:scheduler:job:{job_id}")
}

fn anchor(partition: u32) -> String {
    format!("job:anchor:{}", tag_of(partition))
}

fn options(partition: u32) -> Vec<u8> {
    let document = serde_json::json!({
        "p": format!("j{partition:02x}"), "meta_ttl_s": META_TTL_S, "recent_max": RECENT_MAX,
        "dlq_max": 5_000, "dlq_ttl_s": DLQ_TTL_S,
    });
    rmp_serde::to_vec_named(&document).unwrap()
}

/// The call of a job script for one partition.
pub fn apply(name: &str, partition: u32, now: i64, blobs: Vec<Vec<u8>>) -> Command {
    let mut args = vec![now.to_string().into_bytes(), options(partition)];
    args.extend(blobs);
    script(name, &anchor(partition), args)
}

/// Group job ids by partition.
pub fn by_partition(ids: impl IntoIterator<Item = String>) -> BTreeMap<u32, Vec<String>> {
    let mut grouped: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for id in ids {
        grouped.entry(partition(&id)).or_default().push(id);
    }
    grouped
}

/// End post-commit duties; with a revision, only if the record has not moved since.
pub fn clear_after(jobs: &[(String, Option<i64>)]) -> Vec<Command> {
    let mut grouped: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for (id, rev) in jobs {
        let pair = [id.clone(), rev.map_or(String::new(), |rev| rev.to_string())];
        grouped
            .entry(partition(id))
            .or_default()
            .extend(pair.map(String::into_bytes));
    }
    grouped
        .into_iter()
        .map(|(number, pairs)| script("after_clear", &anchor(number), pairs))
        .collect()
}

/// End the named duties of (job id, revision), if the record has not moved since.
pub fn duties_done(jobs: &[(String, i64)], words: &str) -> Vec<Command> {
    let mut grouped: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for (id, rev) in jobs {
        let triple = [id.clone(), rev.to_string(), words.to_owned()];
        grouped
            .entry(partition(id))
            .or_default()
            .extend(triple.map(String::into_bytes));
    }
    grouped
        .into_iter()
        .map(|(number, triples)| script("after_done", &anchor(number), triples))
        .collect()
}

/// Mark publishes as confirmed.
pub fn confirm(dispatches: &[(String, String)]) -> Vec<Command> {
    let mut grouped: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for (id, dispatch) in dispatches {
        let pair = [id.clone().into_bytes(), dispatch.clone().into_bytes()];
        grouped.entry(partition(id)).or_default().extend(pair);
    }
    grouped
        .into_iter()
        .map(|(number, pairs)| script("disp_confirm", &anchor(number), pairs))
        .collect()
}

/// Updates of the tenant sets: (tenant, job id, now, open, active).
pub fn tenant_commands(changes: &[(String, String, i64, bool, bool)]) -> Vec<Command> {
    let mut tenants: BTreeMap<&str, BTreeMap<&str, (i64, bool, bool)>> = BTreeMap::new();
    for (tenant, job, now, open, active) in changes {
        tenants
            .entry(tenant)
            .or_default()
            .insert(job, (*now, *open, *active));
    }
    if tenants.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = tenants.keys().map(|tenant| (*tenant).to_owned()).collect();
    let mut commands = vec![command!["SADD", TENANTS, names]];
    for (tenant, jobs) in tenants {
        for (name, only_new) in [("open", true), ("active", false)] {
            let key = tenant_set(name, tenant);
            let (mut add, mut remove) = (command!["ZADD", key], command!["ZREM", key]);
            if only_new {
                add.push(b"NX".to_vec());
            }
            let least = add.len();
            for (job, (now, open, active)) in &jobs {
                if *(if name == "open" { open } else { active }) {
                    add.extend(command![*now, *job]);
                } else {
                    remove.extend(command![*job]);
                }
            }
            if add.len() > least {
                commands.push(add);
            }
            if remove.len() > 2 {
                commands.push(remove);
            }
        }
    }
    commands
}

/// Give back the slots of (tenant, job id, time), unless they were taken anew since.
pub fn release_commands(slots: &[(String, String, i64)], unfenced: bool) -> Vec<Command> {
    let release = |(tenant, job, at): &(String, String, i64)| {
        let key = tenant_set("active", tenant);
        if unfenced {
            return command!["ZREM", key, job];
        }
        script(
            "tenant_release",
            &key,
            vec![at.to_string().into_bytes(), job.clone().into_bytes()],
        )
    };
    slots.iter().map(release).collect()
}

/// Updates of a tenant's list of dead letters.
pub fn dead_letter_commands(letters: &[(String, String, i64)]) -> Vec<Command> {
    letters
        .iter()
        .map(|(tenant, job, now)| command!["ZADD", format!("dlq:tenant:{{{tenant}}}"), now / 1_000_000, job])
        .collect()
}

/// A flat reply of HGETALL as fields; None for an absent record.
pub fn fields(id: &str, reply: &Resp) -> Option<HashMap<String, String>> {
    let flat = reply.list();
    if flat.is_empty() {
        return None;
    }
    let pairs = flat.chunks_exact(2);
    let stored: HashMap<String, String> = pairs.map(|pair| (pair[0].text(), pair[1].text())).collect();
    let read = |name: &str| stored.get(name).cloned().unwrap_or_default();
    let whole = |(name, value): (&String, &String)| (name.clone(), whole(id, name, value.clone(), read));
    Some(stored.iter().map(whole).collect())
}

/// A field as readers see it (`record_of`): records of finished jobs do not repeat what other fields say.
pub fn whole(id: &str, field: &str, stored: String, read: impl Fn(&str) -> String) -> String {
    match (field, stored.as_str()) {
        ("dispatch_id", nonce) if !nonce.is_empty() && !nonce.contains(':') => {
            format!("{id}:{}:{nonce}", read("attempts"))
        }
        ("dispatch_subject", "worker.") => format!("worker.{}.jobs", read("worker_id")),
        _ => stored,
    }
}

/// One job's answer of a script.
pub fn reply_of(reply: &Resp) -> Reply {
    let values: Vec<Value> = reply
        .list()
        .iter()
        .map(|item| match item {
            Resp::Int(number) => Value::Int(*number),
            other => Value::Text(other.text()),
        })
        .collect();
    Reply::parse(&values)
}

/// Answers of one script call for `count` jobs.
pub fn replies_of(reply: &Resp, count: usize) -> Vec<Reply> {
    match reply {
        Resp::List(items) => items.iter().map(reply_of).collect(),
        _ => vec![Reply::Failed; count],
    }
}
