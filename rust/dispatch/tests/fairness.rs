//! Scarce workers are shared by weight, priority and age (scheduler spec §32).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use cordum_dispatch::config::Config;
use cordum_dispatch::fairness::{class, contests, Claim, Rotation, Turns};
use cordum_dispatch::submit::{SubmitPlan, Surroundings};
use cordum_dispatch::waits::Lines;
use cordum_dispatch::workers::WorkerTable;
use cordum_wire::messages::JobRequest;
use proptest::prelude::*;
use support::*;

fn claim(item: usize, tenant: usize, class: u8) -> Claim {
    Claim {
        item,
        tenant: format!("t{tenant}"),
        class,
        arrived_us: item as i64,
    }
}

/// Serve up to `slots` of the claims; returns the tenants served, in order.
fn serve(claims: Vec<Claim>, weights: &[u32], slots: usize, rotation: &mut Rotation) -> Vec<usize> {
    let tenants: HashMap<usize, usize> = claims
        .iter()
        .map(|claim| (claim.item, claim.tenant[1..].parse().unwrap()))
        .collect();
    let total = claims.len();
    let weight_of = |tenant: &str| weights[tenant[1..].parse::<usize>().unwrap()];
    let mut turns = Turns::new("p", claims, weight_of, rotation);
    let (mut served, mut taken) = (Vec::new(), Vec::new());
    while let Some(item) = turns.take() {
        taken.push(item);
        let placed = served.len() < slots;
        turns.settle(placed);
        if placed {
            served.push(tenants[&item]);
        }
    }
    turns.finish(rotation);
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), total, "every job has its turn once");
    served
}

/// Deficit round robin as in the textbook, over whole queues.
fn textbook(claims: &[Claim], weights: &[u32], slots: usize) -> Vec<usize> {
    let mut queues: BTreeMap<String, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        queues.entry(claim.tenant.clone()).or_default().push(claim);
    }
    let mut ring: VecDeque<(usize, VecDeque<&Claim>)> = queues
        .into_iter()
        .map(|(tenant, mut jobs)| {
            jobs.sort_by_key(|claim| (claim.class, claim.arrived_us));
            (tenant[1..].parse().unwrap(), jobs.into())
        })
        .collect();
    let mut served = Vec::new();
    while let Some((tenant, mut jobs)) = ring.pop_front() {
        let mut deficit = weights[tenant];
        while deficit > 0 && served.len() < slots {
            let Some(job) = jobs.pop_front() else { break };
            served.push(job.item);
            deficit -= 1;
        }
        if served.len() == slots {
            break;
        }
        if !jobs.is_empty() {
            ring.push_back((tenant, jobs));
        }
    }
    served
}

proptest! {
    #[test]
    fn turns_equal_the_textbook(
        jobs in proptest::collection::vec((0..6_usize, 0..4_u8), 1..120),
        weights in proptest::collection::vec(1..5_u32, 6),
        slots in 0..130_usize,
    ) {
        let claims: Vec<Claim> = jobs.iter().enumerate().map(|(item, (tenant, class))| claim(item, *tenant, *class)).collect();
        let weight_of = |tenant: &str| weights[tenant[1..].parse::<usize>().unwrap()];
        let mut turns = Turns::new("p", claims.clone(), weight_of, &Rotation::default());
        let mut served = Vec::new();
        while let Some(item) = turns.take() {
            let placed = served.len() < slots;
            turns.settle(placed);
            if placed {
                served.push(item);
            }
        }
        // Work conserving: no slot stays free while somebody wants it.
        prop_assert_eq!(served.len(), slots.min(claims.len()));
        prop_assert_eq!(served, textbook(&claims, &weights, slots));
    }

    /// However small the batches are, tenants that always want more get shares in proportion to their weights, and none waits
    /// longer than one round.
    #[test]
    fn shares_follow_weights_over_many_batches(
        weights in proptest::collection::vec(1..6_u32, 2..7),
        room in proptest::collection::vec(1..4_usize, 60..200),
    ) {
        let mut rotation = Rotation::default();
        let mut got = vec![0_u32; weights.len()];
        let mut since = vec![0_u32; weights.len()];
        let round: u32 = weights.iter().sum();
        for slots in &room {
            let claims = (0..weights.len() * 8).map(|item| claim(item, item % weights.len(), 3)).collect();
            for tenant in serve(claims, &weights, *slots, &mut rotation) {
                got[tenant] += 1;
                since.iter_mut().for_each(|waited| *waited += 1);
                since[tenant] = 0;
            }
            prop_assert!(since.iter().all(|waited| *waited <= round), "{since:?}");
        }
        let rounds: Vec<f64> = got.iter().zip(&weights).map(|(got, weight)| f64::from(*got) / f64::from(*weight)).collect();
        let (least, most) = rounds.iter().fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
        prop_assert!(most - least <= 1.0 + 1e-9, "{rounds:?}");
    }

    /// Groups are the connected components of "share a pool".
    #[test]
    fn contests_are_the_overlapping_pools(lists in proptest::collection::vec(proptest::collection::btree_set(0..8_u8, 1..3), 1..30)) {
        let claims = lists.iter().enumerate().map(|(item, pools)| {
            (claim(item, 0, 3), Arc::new(pools.iter().map(|pool| format!("p{pool}")).collect::<Vec<_>>()))
        }).collect();
        let mut group_of = vec![usize::MAX; lists.len()];
        let groups = contests(claims);
        for (number, (name, claims)) in groups.iter().enumerate() {
            let named: u8 = name[1..].parse().unwrap();
            prop_assert!(claims.iter().any(|claim| lists[claim.item].contains(&named)));
            for claim in claims {
                prop_assert_eq!(std::mem::replace(&mut group_of[claim.item], number), usize::MAX);
            }
        }
        for (a, left) in lists.iter().enumerate() {
            for (b, right) in lists.iter().enumerate() {
                if !left.is_disjoint(right) {
                    prop_assert_eq!(group_of[a], group_of[b]);
                }
            }
        }
        let mut reached: Vec<usize> = (0..lists.len()).collect();
        for _ in 0..lists.len() {
            for a in 0..lists.len() {
                for b in 0..lists.len() {
                    if !lists[a].is_disjoint(&lists[b]) {
                        let low = reached[a].min(reached[b]);
                        (reached[a], reached[b]) = (low, low);
                    }
                }
            }
        }
        let components = reached.iter().collect::<std::collections::BTreeSet<_>>().len();
        prop_assert_eq!(groups.len(), components);
    }

    /// In the order of places tenants alternate by weight, whatever the order in which they parked.
    #[test]
    fn lines_interleave_tenants_by_weight(
        parked in proptest::collection::vec(0..4_usize, 40..300),
        weights in proptest::collection::vec(1..4_u32, 4),
    ) {
        let mut lines = Lines::default();
        let mut line: Vec<(i64, usize, usize)> = parked.iter().enumerate()
            .map(|(item, tenant)| (lines.place("p", &format!("t{tenant}"), 3, weights[*tenant], NOW + item as i64), item, *tenant))
            .collect();
        line.sort_unstable();
        let mut left: Vec<i64> = (0..4).map(|tenant| parked.iter().filter(|of| **of == tenant).count() as i64).collect();
        let mut served = [0_i64; 4];
        for (_, _, tenant) in &line {
            served[*tenant] += 1;
            left[*tenant] -= 1;
            // Among those that still wait nobody is more than a turn ahead of another.
            for a in 0..4 {
                for b in 0..4 {
                    if left[a] > 0 && left[b] > 0 {
                        let ahead = served[a] as f64 / f64::from(weights[a]) - served[b] as f64 / f64::from(weights[b]);
                        prop_assert!(ahead <= 1.0 + 1e-9, "{served:?} of {weights:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn parking_raises_a_job_one_class_per_minute() {
    let minute = 60_000_000;
    for (priority, parked, expected) in [
        (3, 0, 0),
        (1, 0, 1),
        (2, 0, 2),
        (0, 0, 3),
        (77, 0, 3),
        (2, minute - 1, 2),
        (2, minute, 1),
        (2, 2 * minute, 0),
        (0, 3 * minute, 0),
        (2, 900 * minute, 0),
        (2, -minute, 2),
    ] {
        assert_eq!(class(priority, parked), expected, "{priority} parked {parked}");
    }
}

#[test]
fn who_comes_late_stands_in_front_of_a_flood() {
    let mut lines = Lines::default();
    let flood: Vec<i64> = (0..10_000)
        .map(|_| lines.place("p", "flooder", 2, 1, NOW))
        .collect();
    // The pool has served a hundred of them since.
    lines.looked("p", Some(flood[100]));
    let late = lines.place("p", "late", 2, 1, NOW + 5_000_000);
    assert!(late <= flood[101], "{late} is behind {}", flood[101]);
    // A new flood of a tenant whose old one is served starts at the front, not where the old one ended.
    lines.looked("p", Some(flood[9_999] + 1_000_000));
    assert!(lines.place("p", "flooder", 2, 1, NOW) >= flood[9_999]);
    lines.looked("p", None);
    assert_eq!(lines.place("p", "flooder", 2, 1, NOW + 9), NOW + 9);
}

#[test]
fn a_critical_job_stands_in_front_of_its_tenants_batch_jobs() {
    let mut lines = Lines::default();
    let batch: Vec<i64> = (0..50).map(|_| lines.place("p", "a", 2, 1, NOW)).collect();
    let critical = lines.place("p", "a", 0, 1, NOW);
    assert!(critical <= batch[0]);
    let next = lines.place("p", "a", 2, 1, NOW);
    assert!(next > batch[49] + 1_000_000, "the tenant pays for it later");
}

fn job(id: usize, tenant: &str, priority: i32) -> JobRequest {
    JobRequest {
        tenant_id: tenant.into(),
        priority,
        ..request(&format!("j{id:03}"), "job.a")
    }
}

/// Ids of the jobs that got one of the slots of the only worker, and those that park.
fn dispatched(jobs: Vec<JobRequest>, slots: i32, weights: &str) -> (Vec<String>, Vec<serde_json::Value>) {
    let document = format!(r#"{{"topics": {{"job.a": ["p"]}}, "tenant_weights": {weights}}}"#);
    let around = Surroundings {
        config: Arc::new(Config::parse(document.as_bytes()).unwrap()),
        ..surroundings()
    };
    let mut table = WorkerTable::default();
    table.heartbeat(&beat("w", "p", 0, slots), 0, NOW, &around.config);
    let messages: Vec<Vec<u8>> = jobs.into_iter().map(submitted).collect();
    let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let mut plan = SubmitPlan::new(around, &slices, &vec![1; slices.len()], Vec::new(), 7);
    plan.policy_batches();
    let bytes = answer(&vec![1; slices.len()]);
    plan.decide(&[(slices.len(), Some(&bytes))], "");
    let changes: Vec<serde_json::Value> = plan
        .commits(&mut table, &[], NOW)
        .iter()
        .map(|planned| unpack(&planned.packed))
        .collect();
    let (won, lost): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| change["to"] == "DISPATCHED");
    let mut ids: Vec<String> = won
        .iter()
        .map(|change| change["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    (ids, lost)
}

#[test]
fn a_flood_of_one_tenant_leaves_others_their_share() {
    let mut jobs: Vec<JobRequest> = (0..20).map(|id| job(id, "flooder", 1)).collect();
    jobs.extend((20..24).map(|id| job(id, "small", 1)));
    let (won, lost) = dispatched(jobs, 8, "{}");
    assert_eq!(
        won,
        ["j000", "j001", "j002", "j003", "j020", "j021", "j022", "j023"]
    );
    assert_eq!(lost.len(), 16);
    for change in lost {
        assert_eq!(change["set"]["last_cause"], "pool_overloaded");
        assert_eq!(change["wait"], serde_json::json!(["p"]));
        assert_eq!(change["wait_at"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn weights_set_the_shares() {
    let jobs = (0..40)
        .map(|id| job(id, if id < 20 { "heavy" } else { "light" }, 0))
        .collect();
    let (won, _) = dispatched(jobs, 8, r#"{"heavy": 3}"#);
    let heavy = won.iter().filter(|id| id.as_str() < "j020").count();
    assert_eq!((heavy, won.len()), (6, 8));
}

#[test]
fn priority_decides_inside_a_tenant_and_only_there() {
    let jobs = vec![
        job(0, "a", 0),
        job(1, "a", 2),
        job(2, "a", 1),
        job(3, "a", 3),
        job(4, "b", 0),
        job(5, "b", 0),
    ];
    assert_eq!(dispatched(jobs, 4, "{}").0, ["j002", "j003", "j004", "j005"]);
}
