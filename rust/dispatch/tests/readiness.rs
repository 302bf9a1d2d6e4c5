//! Who may get which topic: readiness and the limits of credentials (protocol spec §13, scheduler spec §7.2, §19).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use cordum_dispatch::config::Config;
use cordum_dispatch::grants::Limits;
use cordum_dispatch::matching::{Matcher, Miss, Target};
use cordum_dispatch::worker_snapshot::WorkerEntry;
use cordum_dispatch::workers::{Mode, WorkerTable};
use cordum_wire::messages::Handshake;
use serde_json::json;
use support::{beat, request, NOW};

const SECOND: i64 = 1_000_000;

type Row<'a> = (Option<&'a [&'a str]>, i64, Option<Mode>, Option<Mode>);

fn config(more: serde_json::Value) -> Config {
    let mut document = json!({
        "topics": {"job.a": ["p"], "job.b": ["p"], "job.x": ["q"]},
        "readiness_ttl_s": 60.0, "worker_ttl_s": 600.0,
    });
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    Config::parse(document.to_string().as_bytes()).unwrap()
}

fn shake(id: &str, topics: &[&str]) -> Handshake {
    Handshake {
        component_id: id.into(),
        role: 3,
        ready_topics: owned(topics),
        ..Handshake::default()
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn limits(pools: &[&str], topics: &[&str]) -> Limits {
    Limits {
        pools: owned(pools),
        topics: owned(topics),
        ceiling: None,
    }
}

fn pick(table: &mut WorkerTable, config: &Config, topic: &str, now_us: i64) -> Result<Target, Miss> {
    let mut matcher = Matcher::new(table, config, 1, now_us);
    let request = request("j", topic);
    let pools = matcher.pools(&request)?;
    matcher.pick(&request, &pools)
}

fn mode(table: &mut WorkerTable, config: &Config, topic: &str, now_us: i64) -> Option<Mode> {
    pick(table, config, topic, now_us).ok().map(|target| target.mode)
}

#[test]
fn every_row_of_the_readiness_table_holds_in_both_modes() {
    // What the worker announced, seconds since its last sign of life, how it gets job.a: not required, required.
    let rows: [Row; 7] = [
        (Some(&["job.a"]), 0, Some(Mode::Direct), Some(Mode::Direct)),
        (
            Some(&["job.b", " job.a "]),
            60,
            Some(Mode::Direct),
            Some(Mode::Direct),
        ),
        (Some(&["job.*"]), 0, Some(Mode::Topic), Some(Mode::Topic)),
        (Some(&["job.b"]), 0, None, None),
        (None, 0, Some(Mode::Direct), None),
        (Some(&[]), 0, Some(Mode::Direct), None),
        (Some(&["job.b"]), 61, Some(Mode::Direct), None),
    ];
    for (topics, age_s, optional, required) in rows {
        for (is_required, expected) in [(false, optional), (true, required)] {
            let config = config(json!({"readiness_required": is_required}));
            let mut table = WorkerTable::default();
            table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
            if let Some(topics) = topics {
                table.handshake(&shake("w", topics), NOW, &config);
            }
            let found = mode(&mut table, &config, "job.a", NOW + age_s * SECOND);
            assert_eq!(
                found, expected,
                "{topics:?} after {age_s} s, required: {is_required}"
            );
        }
    }
}

#[test]
fn every_heartbeat_resets_the_age_of_readiness() {
    let config = config(json!({"readiness_required": true}));
    let mut table = WorkerTable::default();
    table.handshake(&shake("w", &["job.a"]), NOW, &config);
    for minute in 1..5 {
        let now_us = NOW + minute * 59 * SECOND;
        table.heartbeat(&beat("w", "p", 0, 9), 0, now_us, &config);
        assert_eq!(mode(&mut table, &config, "job.a", now_us), Some(Mode::Direct));
    }
}

#[test]
fn an_empty_announcement_clears_readiness() {
    let config = config(json!({"readiness_required": true}));
    let mut table = WorkerTable::default();
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    table.handshake(&shake("w", &["job.a"]), NOW, &config);
    table.handshake(&shake("w", &[]), NOW, &config);
    assert_eq!(mode(&mut table, &config, "job.a", NOW), None);
}

#[test]
fn a_worker_without_pool_belongs_to_the_pools_of_its_topics_before_its_first_heartbeat() {
    let config = config(json!({"readiness_required": true}));
    let mut table = WorkerTable::default();
    table.handshake(&shake("w", &["job.a", "job.x"]), NOW, &config);
    assert_eq!(table.get("w").unwrap().pools, ["p", "q"]);
    assert_eq!(mode(&mut table, &config, "job.x", NOW), Some(Mode::Direct));
    // Its capacity is one until a heartbeat tells.
    assert_eq!(pick(&mut table, &config, "job.a", NOW), Err(Miss::PoolOverloaded));
}

#[test]
fn readiness_and_proofs_survive_a_restart_with_their_age() {
    let config =
        config(json!({"readiness_required": true, "attestation_enforced": true, "limits_apply": true}));
    let mut table = WorkerTable::default();
    table.grant("w", limits(&["p"], &["job.*"]), NOW);
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    table.handshake(&shake("w", &["job.a"]), NOW, &config);
    let text = serde_json::to_string(&table.entries(NOW + SECOND)).unwrap();
    let entries: Vec<WorkerEntry> = serde_json::from_str(&text).unwrap();
    let mut restored = WorkerTable::default();
    for entry in entries {
        let age_us = 3 * SECOND + entry.age_ms * 1000;
        restored.restore(entry, age_us, NOW + 4 * SECOND, &config);
    }
    let (before, after) = (table.get("w").unwrap(), restored.get("w").unwrap());
    assert_eq!(after.ready_topics, before.ready_topics);
    assert_eq!(after.limits, before.limits);
    assert_eq!(after.last_seen_us, NOW);
    assert_eq!(after.attested_at_us, NOW);
    let last = NOW + 60 * SECOND;
    assert_eq!(mode(&mut restored, &config, "job.a", last), Some(Mode::Direct));
    assert_eq!(mode(&mut restored, &config, "job.a", last + SECOND), None);
}

#[test]
fn where_proof_is_asked_a_worker_without_one_gets_nothing() {
    let config = config(json!({"attestation_enforced": true, "limits_apply": true, "worker_ttl_s": 30.0}));
    let mut table = WorkerTable::default();
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    assert_eq!(mode(&mut table, &config, "job.a", NOW), None);
    table.grant("w", limits(&[], &[]), NOW);
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    assert_eq!(mode(&mut table, &config, "job.a", NOW), Some(Mode::Direct));
    // A heartbeat without proof keeps it alive, but the proof grows old.
    let later = NOW + 31 * SECOND;
    table.heartbeat(&beat("w", "p", 0, 9), 0, later, &config);
    assert_eq!(mode(&mut table, &config, "job.a", later), None);
    table.grant("w", limits(&[], &[]), later);
    table.withdraw("w");
    assert_eq!(mode(&mut table, &config, "job.a", later), None);
}

#[test]
fn credentials_limit_pools_and_topics_only_where_they_are_asked_for() {
    for (applies, elsewhere, other_topic) in [
        (true, None, None),
        (false, Some(Mode::Direct), Some(Mode::Direct)),
    ] {
        let config = config(json!({"limits_apply": applies}));
        let mut table = WorkerTable::default();
        table.grant("w", limits(&["p"], &["job.a", "job.x"]), NOW);
        table.handshake(&shake("w", &["job.a", "job.b", "job.x"]), NOW, &config);
        table.heartbeat(&beat("w", "", 0, 9), 0, NOW, &config);
        assert_eq!(mode(&mut table, &config, "job.a", NOW), Some(Mode::Direct));
        assert_eq!(mode(&mut table, &config, "job.x", NOW), elsewhere);
        assert_eq!(mode(&mut table, &config, "job.b", NOW), other_topic);
    }
}

#[test]
fn a_named_pool_beyond_the_limits_is_none() {
    let config = config(json!({"limits_apply": true}));
    let mut table = WorkerTable::default();
    table.grant("w", limits(&["q"], &[]), NOW);
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    assert_eq!(mode(&mut table, &config, "job.a", NOW), None);
    table.limit("w", owned(&["p"]), Vec::new());
    assert_eq!(mode(&mut table, &config, "job.a", NOW), Some(Mode::Direct));
}

#[test]
fn a_plain_handshake_takes_topics_away_from_an_authenticated_one_and_never_adds_any() {
    let config = config(json!({"limits_apply": true}));
    let mut table = WorkerTable::default();
    table.grant("w", limits(&[], &["job.a", "job.b"]), NOW);
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    table.set_ceiling("w", &owned(&["job.a", "job.b", "job.x"]));
    table.handshake(&shake("w", &["job.b", "job.x"]), NOW, &config);
    assert_eq!(table.get("w").unwrap().ready_topics, ["job.b"]);
    table.grant("w", limits(&[], &["job.a", "job.b"]), NOW + SECOND);
    table.handshake(&shake("w", &["job.a", "job.b", "job.x"]), NOW + SECOND, &config);
    assert_eq!(table.get("w").unwrap().ready_topics, ["job.a", "job.b"]);
}
