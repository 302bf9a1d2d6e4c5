//! The worker chosen is the one a full scan by the letter of scheduler spec §7.2 would choose, through any sequence of events.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use cordum_dispatch::config::Config;
use cordum_dispatch::matching::{Matcher, Miss};
use cordum_dispatch::workers::{Mode, Worker, WorkerTable};
use cordum_wire::messages::{Handshake, JobMetadata, JobRequest};
use proptest::prelude::*;
use support::*;

const TTL_US: i64 = 30_000_000;

#[derive(Clone, Debug)]
enum Event {
    Beat {
        worker: u8,
        pool: u8,
        active: i32,
        max: i32,
        cpu: u8,
        zone: u8,
    },
    Shake {
        worker: u8,
        topics: Vec<u8>,
    },
    Finished(u8),
    Expire,
    Wait(u32),
    Pick {
        topic: u8,
        pool: Option<u8>,
        worker: Option<u8>,
        zone: Option<u8>,
        gpu: bool,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..90_u8, 0..4_u8, 0..6_i32, 0..12_i32, prop_oneof![Just(0_u8), 0..120_u8], 0..3_u8)
            .prop_map(|(worker, pool, active, max, cpu, zone)| Event::Beat { worker, pool, active, max, cpu, zone }),
        1 => (0..90_u8, proptest::collection::vec(0..5_u8, 0..3)).prop_map(|(worker, topics)| Event::Shake { worker, topics }),
        1 => (0..90_u8).prop_map(Event::Finished),
        1 => Just(Event::Expire),
        1 => (0..9_000_000_u32).prop_map(Event::Wait),
        6 => (0..4_u8, proptest::option::weighted(0.1, 0..4_u8), proptest::option::weighted(0.2, 0..90_u8),
              proptest::option::weighted(0.2, 0..3_u8), prop::bool::weighted(0.2))
            .prop_map(|(topic, pool, worker, zone, gpu)| Event::Pick { topic, pool, worker, zone, gpu }),
    ];
    proptest::collection::vec(event, 1..250)
}

fn config() -> Config {
    Config::parse(
        br#"{"topics": {"job.t0": ["p0"], "job.t1": ["p0", "p1"], "job.t2": ["p2", "p1", "p0"]},
             "pools": {"p1": {"requires": ["gpu"]}, "p2": {"status": "draining"}}}"#,
    )
    .unwrap()
}

fn wanted(topic: u8, pool: Option<u8>, worker: Option<u8>, zone: Option<u8>, gpu: bool) -> JobRequest {
    let mut wanted = request("j", &format!("job.t{topic}"));
    let mut labels = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
    labels.extend(pool.map(|pool| ("preferred_pool".to_owned(), format!("p{pool}"))));
    labels.extend(worker.map(|id| ("preferred_worker_id".to_owned(), format!("w{id}"))));
    labels.extend(zone.map(|zone| ("node.zone".to_owned(), format!("z{zone}"))));
    wanted.labels = labels;
    wanted.meta = gpu.then(|| JobMetadata {
        requires: vec![" GPU".into()],
        ..JobMetadata::default()
    });
    wanted
}

/// The spec's algorithm over plain lists: the ids of the best workers (several when equal), or why there is none.
fn naive(workers: &[Worker], request: &JobRequest, replicas: i64, now_us: i64) -> Result<Vec<String>, Miss> {
    let pools: Vec<&str> = match request.topic.as_str() {
        "job.t0" => vec!["p0"],
        "job.t1" => vec!["p0", "p1"],
        "job.t2" => vec!["p1", "p0"], // p2 drains
        _ => vec![],
    };
    let gpu = request.meta.is_some();
    let preferred = request.labels.get("preferred_pool");
    let pools: Vec<&str> = pools
        .into_iter()
        .filter(|pool| preferred.is_none_or(|wanted| wanted == pool))
        .filter(|pool| !gpu || *pool == "p1")
        .collect();
    if pools.is_empty() {
        return Err(Miss::NoPoolMapping);
    }
    let mapped = |topic: &str| -> Vec<&str> {
        match topic {
            "job.t0" => vec!["p0"],
            "job.t1" => vec!["p0", "p1"],
            "job.t2" => vec!["p2", "p1", "p0"],
            _ => vec![],
        }
    };
    let candidate = |worker: &&Worker| {
        let own: Vec<&str> = if worker.pool.is_empty() {
            worker
                .ready_topics
                .iter()
                .flat_map(|topic| mapped(topic))
                .collect()
        } else {
            vec![worker.pool.as_str()]
        };
        let ready = !worker.ready_topics.is_empty() && now_us - worker.ready_at_us <= 60_000_000;
        now_us - worker.last_seen_us <= TTL_US
            && own.iter().any(|pool| pools.contains(pool))
            && (!ready || worker.ready_topics.contains(&request.topic))
            && request
                .labels
                .get("node.zone")
                .is_none_or(|zone| worker.labels.get("node.zone") == Some(zone))
    };
    let active =
        |worker: &Worker| (worker.active_jobs.max(0) + worker.dispatched * replicas - worker.finished).max(0);
    let overloaded = |worker: &Worker| {
        let (active, max) = (active(worker), worker.max_parallel);
        (max > 0 && (active >= max || active as f64 / max as f64 >= 0.9))
            || worker.cpu_load >= 90.0
            || worker.gpu_utilization >= 90.0
    };
    let candidates: Vec<&Worker> = workers.iter().filter(candidate).collect();
    if candidates.is_empty() {
        return Err(Miss::NoWorkers);
    }
    let free: Vec<&Worker> = candidates
        .into_iter()
        .filter(|worker| !overloaded(worker))
        .collect();
    if free.is_empty() {
        return Err(Miss::PoolOverloaded);
    }
    if let Some(hinted) = request.labels.get("preferred_worker_id") {
        if free.iter().any(|worker| worker.id == *hinted) {
            return Ok(vec![hinted.clone()]);
        }
    }
    let score = |worker: &Worker| active(worker) as f64 + f64::from(worker.cpu_load) / 100.0;
    let lowest = free.iter().map(|worker| score(worker)).fold(f64::MAX, f64::min);
    Ok(free
        .iter()
        .filter(|worker| score(worker) - lowest < 1e-9)
        .map(|worker| worker.id.clone())
        .collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_ranking_equals_a_full_scan(events in events(), replicas in 1..4_i64) {
        let config = config();
        let (mut table, mut now) = (WorkerTable::default(), NOW);
        for event in events {
            now += 1_000;
            match event {
                Event::Beat { worker, pool, active, max, cpu, zone } => {
                    let pool = if pool == 3 { String::new() } else { format!("p{pool}") };
                    let mut beat = beat(&format!("w{worker}"), &pool, active, max);
                    beat.cpu_load = f32::from(cpu);
                    beat.labels.insert("node.zone".into(), format!("z{zone}"));
                    table.heartbeat(&beat, 0, now, &config);
                }
                Event::Shake { worker, topics } => {
                    let shake = Handshake {
                        component_id: format!("w{worker}"),
                        role: 3,
                        ready_topics: topics.iter().map(|topic| format!("job.t{topic}")).collect(),
                        ..Handshake::default()
                    };
                    table.handshake(&shake, now, &config);
                }
                Event::Finished(worker) => {
                    table.finished(&format!("w{worker}"), replicas);
                }
                Event::Expire => {
                    table.expire(now, &config);
                }
                Event::Wait(us) => now += i64::from(us),
                Event::Pick { topic, pool, worker, zone, gpu } => {
                    let request = wanted(topic, pool, worker, zone, gpu);
                    let expected = naive(table.all(), &request, replicas, now);
                    let mut matcher = Matcher::new(&mut table, &config, replicas, now);
                    // Twice in one batch: the second choice sees the first.
                    let first = matcher.pools(&request).and_then(|pools| matcher.pick(&request, &pools));
                    match (&first, &expected) {
                        (Ok(target), Ok(best)) => {
                            prop_assert!(best.contains(&target.worker_id), "{} is not one of {best:?}", target.worker_id);
                            prop_assert_eq!(target.mode, Mode::Direct);
                        }
                        (Err(miss), Err(expected)) => prop_assert_eq!(miss, expected),
                        _ => prop_assert!(false, "{first:?} instead of {expected:?}"),
                    }
                    drop(matcher);
                    let expected = naive(table.all(), &request, replicas, now);
                    let mut matcher = Matcher::new(&mut table, &config, replicas, now);
                    let second = matcher.pools(&request).and_then(|pools| matcher.pick(&request, &pools));
                    prop_assert_eq!(second.is_ok(), expected.is_ok());
                }
            }
        }
    }
}

#[test]
fn more_schedulers_make_each_dispatch_count_more() {
    let config = support::config();
    let mut table = table(&[beat("a", "p", 0, 8)]);
    let mut matcher = Matcher::new(&mut table, &config, 3, NOW);
    let request = request("j", "job.a");
    let pools = matcher.pools(&request).unwrap();
    let chosen = (0..8).filter(|_| matcher.pick(&request, &pools).is_ok()).count();
    // 0, 3, 6 jobs are below the line; 9 are above the limit.
    assert_eq!(chosen, 3);
}

#[test]
fn a_refund_after_a_heartbeat_gives_no_room_that_is_not_there() {
    let config = support::config();
    let mut table = table(&[beat("a", "p", 0, 2)]);
    {
        let mut matcher = Matcher::new(&mut table, &config, 1, NOW);
        matcher.pick(&request("j", "job.a"), &["p".to_owned()]).unwrap();
    }
    table.heartbeat(&beat("a", "p", 2, 2), 0, NOW + 1, &config);
    table.refund("a");
    let mut matcher = Matcher::new(&mut table, &config, 1, NOW + 2);
    assert_eq!(
        matcher.pick(&request("k", "job.a"), &["p".to_owned()]),
        Err(Miss::PoolOverloaded)
    );
}

#[test]
fn a_licence_limits_new_workers_and_keeps_known_ones() {
    let licensed = |workers: i64| {
        let document = format!(r#"{{"topics": {{"job.a": ["p"]}}, "max_workers": {workers}}}"#);
        Config::parse(document.as_bytes()).unwrap()
    };
    let mut table = WorkerTable::default();
    let two = licensed(2);
    table.reconfigure(&two);
    for id in ["a", "b", "c", "a"] {
        table.heartbeat(&beat(id, "p", 0, 4), 0, NOW, &two);
    }
    let known = |table: &WorkerTable| {
        table
            .all()
            .iter()
            .map(|worker| worker.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(known(&table), ["a", "b"]);
    assert_eq!(table.take_refused(), ["c"]);
    assert!(table.take_refused().is_empty());
    let one = licensed(1);
    table.reconfigure(&one);
    table.heartbeat(&beat("b", "p", 0, 4), 0, NOW + 1, &one);
    assert_eq!(known(&table), ["a", "b"], "known workers stay");
    let unlimited = licensed(-1);
    table.reconfigure(&unlimited);
    table.heartbeat(&beat("c", "p", 0, 4), 0, NOW + 2, &unlimited);
    assert_eq!(known(&table), ["a", "b", "c"]);
}
