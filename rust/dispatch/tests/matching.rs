//! Worker choice: order, load, pools, readiness (scheduler spec §7).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use cordum_dispatch::matching::{Matcher, Miss, Target};
use cordum_dispatch::workers::{subject_matches, Mode, WorkerTable};
use cordum_wire::messages::{Handshake, JobMetadata, JobRequest};
use proptest::prelude::*;
use support::*;

fn pick(table: &mut WorkerTable, request: &JobRequest) -> Result<Target, Miss> {
    let config = config();
    let mut matcher = Matcher::new(table, &config, 1, NOW);
    let pools = matcher.pools(request)?;
    matcher.pick(request, &pools)
}

fn picks(table: &mut WorkerTable, topic: &str, count: usize) -> Vec<String> {
    let config = config();
    let mut matcher = Matcher::new(table, &config, 1, NOW);
    let request = request("j", topic);
    let pools = matcher.pools(&request).unwrap();
    (0..count)
        .filter_map(|_| matcher.pick(&request, &pools).ok().map(|target| target.worker_id))
        .collect()
}

#[test]
fn equal_workers_share_a_batch_evenly() {
    let mut table = table(&[beat("a", "p", 0, 0), beat("b", "p", 0, 0), beat("c", "p", 0, 0)]);
    let chosen = picks(&mut table, "job.a", 300);
    for id in ["a", "b", "c"] {
        assert_eq!(chosen.iter().filter(|worker| *worker == id).count(), 100, "{id}");
    }
}

#[test]
fn the_least_loaded_worker_wins() {
    let mut table = table(&[beat("busy", "p", 5, 100), beat("free", "p", 1, 100)]);
    assert_eq!(
        pick(&mut table, &request("j", "job.a")).unwrap().worker_id,
        "free"
    );
}

#[test]
fn a_batch_never_fills_a_worker_beyond_its_limit() {
    let mut table = table(&[beat("a", "p", 0, 4)]);
    assert_eq!(picks(&mut table, "job.a", 10).len(), 4);
    assert_eq!(
        pick(&mut table, &request("j", "job.a")),
        Err(Miss::PoolOverloaded)
    );
}

#[test]
fn a_worker_at_nine_tenths_of_its_limit_counts_as_overloaded() {
    let mut table = table(&[beat("a", "p", 9, 10)]);
    assert_eq!(
        pick(&mut table, &request("j", "job.a")),
        Err(Miss::PoolOverloaded)
    );
}

#[test]
fn processor_load_overloads_too() {
    let mut hot = beat("a", "p", 0, 10);
    hot.cpu_load = 95.0;
    let mut table = table(&[hot]);
    assert_eq!(
        pick(&mut table, &request("j", "job.a")),
        Err(Miss::PoolOverloaded)
    );
}

#[test]
fn no_worker_no_pool_and_draining_pool_are_told_apart() {
    let mut table = table(&[beat("a", "d", 0, 4)]);
    assert_eq!(pick(&mut table, &request("j", "job.a")), Err(Miss::NoWorkers));
    assert_eq!(
        pick(&mut table, &request("j", "job.unknown")),
        Err(Miss::NoPoolMapping)
    );
    assert_eq!(
        pick(&mut table, &request("j", "job.drain")),
        Err(Miss::NoPoolMapping)
    );
}

#[test]
fn a_worker_silent_for_the_ttl_is_not_chosen() {
    let config = config();
    let mut table = table(&[beat("a", "p", 0, 4)]);
    let mut matcher = Matcher::new(&mut table, &config, 1, NOW + 30_000_001);
    assert_eq!(
        matcher.pick(&request("j", "job.a"), &["p".to_owned()]),
        Err(Miss::NoWorkers)
    );
}

#[test]
fn requirements_select_pools_ignoring_case() {
    let mut table = table(&[beat("plain", "p", 0, 0), beat("gpu", "g", 50, 0)]);
    let mut wanting = request("j", "job.gpu");
    wanting.meta = Some(JobMetadata {
        requires: vec![" gpu ".into()],
        ..JobMetadata::default()
    });
    assert_eq!(pick(&mut table, &wanting).unwrap().worker_id, "gpu");
    wanting.meta = Some(JobMetadata {
        requires: vec!["tpu".into()],
        ..JobMetadata::default()
    });
    assert_eq!(pick(&mut table, &wanting), Err(Miss::NoPoolMapping));
}

#[test]
fn preferred_pool_must_be_mapped_and_preferred_worker_is_a_hint() {
    let mut table = table(&[
        beat("a", "p", 0, 0),
        beat("b", "q", 9, 0),
        beat("full", "p", 4, 4),
    ]);
    let mut wanting = request("j", "job.two");
    wanting.labels = BTreeMap::from([("preferred_pool".into(), "q".into())]);
    assert_eq!(pick(&mut table, &wanting).unwrap().worker_id, "b");
    wanting.labels = BTreeMap::from([("preferred_pool".into(), "g".into())]);
    assert_eq!(pick(&mut table, &wanting), Err(Miss::NoPoolMapping));
    wanting.labels = BTreeMap::from([("preferred_worker_id".into(), "b".into())]);
    assert_eq!(pick(&mut table, &wanting).unwrap().worker_id, "b");
    wanting.labels = BTreeMap::from([("preferred_worker_id".into(), "full".into())]);
    assert_eq!(pick(&mut table, &wanting).unwrap().worker_id, "a");
}

#[test]
fn placement_labels_constrain_and_others_do_not() {
    let mut eu = beat("eu", "p", 9, 0);
    eu.labels = BTreeMap::from([("placement.region".into(), "eu".into())]);
    let mut table = table(&[beat("any", "p", 0, 0), eu]);
    let mut wanting = request("j", "job.a");
    wanting.labels = BTreeMap::from([
        ("placement.region".into(), "eu".into()),
        ("team".into(), "x".into()),
    ]);
    assert_eq!(pick(&mut table, &wanting).unwrap().worker_id, "eu");
}

#[test]
fn readiness_decides_direct_topic_or_nothing() {
    let config = config();
    let mut table = WorkerTable::default();
    let shake = |topics: &[&str]| Handshake {
        component_id: "w".into(),
        role: 3,
        ready_topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Handshake::default()
    };
    table.handshake(&shake(&["job.a"]), NOW, &config);
    let literal = pick(&mut table, &request("j", "job.a")).unwrap();
    assert_eq!(
        (literal.mode, literal.subject.as_str(), literal.pool.as_str()),
        (Mode::Direct, "worker.w.jobs", "p")
    );
    table.heartbeat(&beat("w", "p", 0, 9), 0, NOW, &config);
    table.handshake(&shake(&["job.*"]), NOW, &config);
    let wildcard = pick(&mut table, &request("j", "job.a")).unwrap();
    assert_eq!((wildcard.mode, wildcard.subject.as_str()), (Mode::Topic, "job.a"));
    table.handshake(&shake(&["job.other"]), NOW, &config);
    assert_eq!(pick(&mut table, &request("j", "job.a")), Err(Miss::NoWorkers));
}

#[test]
fn an_id_that_is_no_subject_is_served_on_the_topic() {
    let mut table = table(&[beat("a b", "p", 0, 0)]);
    assert_eq!(pick(&mut table, &request("j", "job.a")).unwrap().subject, "job.a");
}

#[test]
fn a_pool_comes_online_once() {
    let config = config();
    let mut table = WorkerTable::default();
    let online = |list: Vec<cordum_dispatch::workers::Capacity>| list.iter().any(|capacity| capacity.online);
    assert!(online(table.heartbeat(&beat("a", "p", 0, 4), 0, NOW, &config)));
    assert!(!online(table.heartbeat(
        &beat("a", "p", 0, 4),
        0,
        NOW + 1,
        &config
    )));
    assert!(!online(table.heartbeat(
        &beat("b", "p", 0, 4),
        0,
        NOW + 2,
        &config
    )));
    assert!(online(table.heartbeat(
        &beat("a", "p", 0, 4),
        0,
        NOW + 60_000_000,
        &config
    )));
}

#[test]
fn an_older_heartbeat_does_not_overwrite_a_newer_one() {
    let config = config();
    let mut table = WorkerTable::default();
    table.heartbeat(&beat("a", "p", 7, 9), NOW, NOW, &config);
    table.heartbeat(&beat("a", "p", 0, 9), NOW - 1, NOW, &config);
    assert_eq!(table.get("a").unwrap().active_jobs, 7);
}

proptest! {
    /// The heap gives what a full scan for the lowest score would give.
    #[test]
    fn picks_equal_a_full_scan(loads in proptest::collection::vec((0..20_i32, 0..12_i32), 1..12), count in 1..30_usize) {
        let beats: Vec<_> = loads.iter().enumerate()
            .map(|(index, (active, max))| beat(&format!("w{index}"), "p", *active, *max)).collect();
        let mut table = table(&beats);
        let mut active: Vec<i64> = loads.iter().map(|(active, _)| i64::from(*active)).collect();
        let chosen = picks(&mut table, "job.a", count);
        for id in &chosen {
            let index: usize = id.trim_start_matches('w').parse().unwrap();
            let free = |at: usize| {
                let max = i64::from(loads[at].1);
                max == 0 || (active[at] < max && active[at] * 10 < max * 9)
            };
            prop_assert!(free(index));
            let lowest = (0..active.len()).filter(|at| free(*at)).map(|at| active[at]).min().unwrap();
            prop_assert_eq!(active[index], lowest);
            active[index] += 1;
        }
        let room = (0..active.len()).any(|at| {
            let max = i64::from(loads[at].1);
            max == 0 || (active[at] < max && active[at] * 10 < max * 9)
        });
        prop_assert!(chosen.len() == count || !room);
    }

    #[test]
    fn subject_wildcards_match_like_nats(tokens in proptest::collection::vec("[a-c]", 1..5)) {
        let subject = tokens.join(".");
        prop_assert!(subject_matches(&subject, &subject));
        prop_assert!(subject_matches(">", &subject));
        let stars = vec!["*"; tokens.len()].join(".");
        let longer = format!("{}.>", stars);
        prop_assert!(subject_matches(&stars, &subject));
        prop_assert!(!subject_matches(&longer, &subject));
    }
}
