//! Heartbeats as evidence that dispatched jobs run (scheduler spec §2.4 b).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeSet;

use cordum_dispatch::workers::WorkerTable;
use proptest::prelude::*;
use support::*;

fn running(table: &mut WorkerTable) -> BTreeSet<String> {
    let changes = table.evidence.take_running(64, &config(), NOW);
    changes
        .iter()
        .map(|(_, _, packed)| unpack(packed)["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_active_worker_runs_what_it_was_given_before() {
    let mut table = table(&[beat("w", "p", 0, 4), beat("v", "p", 0, 4)]);
    table.evidence.dispatched("w", "a", "a:1:x", "job.a", NOW);
    table.evidence.dispatched("w", "b", "b:1:x", "job.two", NOW);
    table.evidence.dispatched("v", "c", "c:1:x", "job.a", NOW);
    table.heartbeat(&beat("w", "p", 0, 4), 0, NOW + 1, &config());
    assert!(running(&mut table).is_empty());
    table.heartbeat(&beat("w", "p", 1, 4), 0, NOW + 2, &config());
    let changes = table.evidence.take_running(64, &config(), NOW + 2);
    let mut seen: Vec<_> = changes.iter().map(|(_, _, packed)| unpack(packed)).collect();
    seen.sort_by_key(|change| change["id"].as_str().unwrap().to_owned());
    assert_eq!(
        (seen.len(), &seen[0]["id"], &seen[1]["id"]),
        (2, &"a".into(), &"b".into())
    );
    assert_eq!(seen[0]["due"], NOW + 2 + 7_000_000);
    assert_eq!(seen[1]["due"], NOW + 2 + 900_000_000);
    assert_eq!(
        (&seen[0]["dispatch_id"], &seen[0]["from"][0]),
        (&"a:1:x".into(), &"DISPATCHED".into())
    );
    assert!(running(&mut table).is_empty());
}

#[test]
fn what_ended_or_is_too_old_is_forgotten() {
    let mut table = table(&[beat("w", "p", 0, 4)]);
    table.evidence.dispatched("w", "done", "d", "job.a", NOW);
    table
        .evidence
        .dispatched("w", "old", "d", "job.a", NOW - 301_000_000);
    table.evidence.dispatched("w", "new", "d", "job.a", NOW);
    table.evidence.ended("w", "done");
    table.expire(NOW, &config());
    table.heartbeat(&beat("w", "p", 2, 4), 0, NOW + 1, &config());
    assert_eq!(running(&mut table), BTreeSet::from(["new".to_owned()]));
}

proptest! {
    /// Against a plain list: a job is reported once, after a later active heartbeat of its worker, unless it ended before.
    #[test]
    fn a_job_is_reported_once_and_only_with_evidence(
        steps in proptest::collection::vec((0..4_u8, 0..3_u8, 0..6_u8), 0..60)
    ) {
        let mut table = table(&[]);
        let mut held: BTreeSet<(u8, u8)> = BTreeSet::new();
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for (action, worker, job) in steps {
            let (w, j) = (format!("w{worker}"), format!("w{worker}-j{job}"));
            match action {
                0 => {
                    table.evidence.dispatched(&w, &j, "d", "job.a", NOW);
                    held.insert((worker, job));
                }
                1 => {
                    table.evidence.ended(&w, &j);
                    held.remove(&(worker, job));
                }
                2 => {
                    table.heartbeat(&beat(&w, "p", 1, 4), 0, NOW, &config());
                    expected.extend(held.iter().filter(|(by, _)| *by == worker).map(|(by, id)| format!("w{by}-j{id}")));
                    held.retain(|(by, _)| *by != worker);
                }
                _ => {
                    prop_assert_eq!(&running(&mut table), &expected);
                    expected.clear();
                }
            }
        }
        prop_assert_eq!(running(&mut table), expected);
    }
}
