//! Promises of time: nothing ends before it is due, nor long after; places that are free are given back.

use std::rc::Rc;

use super::is_final;
use super::record::Record;
use crate::ghost::{Last, Seen};
use crate::plan::JobPlan;
use crate::replica::SCAN;
use crate::store;
use crate::world::{World, SECOND, START};

/// Two clocks may differ by so much, and a write may be under way so long.
const EARLY: i64 = 5 * SECOND;
/// Once the storm is over the last process that stood still wakes, and the last broken connection heals.
const HEALING: i64 = 90 * SECOND;
/// A time-out is found by the next scan; this much is for its steps.
const SLACK: i64 = 2 * SECOND;
/// A place that is free is given back by then, well before the repair looks for it.
const PROMPTLY: i64 = 8 * SECOND;
const ACTIVE: [&str; 3] = ["SCHEDULED", "DISPATCHED", "RUNNING"];

/// A job moved: was it time for it?
pub(super) fn on_move(
    world: &World,
    record: &Record<'_>,
    seen: &mut Seen,
    plan: &JobPlan,
    current: &Last,
    faults: &mut Vec<String>,
) {
    let now = world.now();
    let (last, clocks) = (&seen.last, &mut seen.clocks);
    if last.state.is_empty() || (current.state == "DISPATCHED" && last.state != "DISPATCHED") {
        clocks.deadline_from = now;
    }
    if is_final(&current.state) && !is_final(&last.state) {
        let deadline = (plan.deadline_ms > 0).then(|| clocks.deadline_from + plan.deadline_ms * 1000);
        let reason = record.text("failure_reason");
        if reason == "timeout: deadline expired" && deadline.is_none_or(|at| now + EARLY < at) {
            faults.push("ended before its deadline".into());
        }
        check_delay(world, "its deadline", deadline, faults);
        if reason.starts_with("timeout: dispatched") || reason.starts_with("timeout: running") {
            let due = clocks.due.map(|score| score as i64);
            if due.is_none_or(|at| now + EARLY < at) {
                faults.push(format!("{reason}, but it was due at {due:?}"));
            }
            check_delay(world, "its time-out", due, faults);
        }
    }
    clocks.due = record.at("due");
}

/// What is due is found soon: always in calm weather, else once everything has healed.
fn check_delay(world: &World, what: &str, due: Option<i64>, faults: &mut Vec<String>) {
    let skews = world.plan.skews.iter().copied().chain([0]);
    let spread = skews.clone().max().unwrap_or(0) - skews.min().unwrap_or(0);
    let healed = if world.plan.calm {
        START
    } else {
        world.calm_at + HEALING
    };
    let Some(due) = due.map(|at| at.max(healed)) else {
        return;
    };
    let late = world.now() - due;
    if late > SCAN + SLACK + spread {
        faults.push(format!("ended {} ms after {what}", late / 1000));
    }
}

/// In calm weather a tenant's sets list nobody for long who is not what they list.
pub fn each_second(world: &Rc<World>) {
    if !world.plan.calm {
        return;
    }
    let (now, mut faults) = (world.now(), Vec::new());
    let mut ghost = world.ghost.borrow_mut();
    for plan in &world.plan.jobs {
        let Some(seen) = ghost.jobs.get_mut(&plan.id) else {
            continue;
        };
        let state = seen.last.state.as_str();
        let belongs = [ACTIVE.contains(&state), !is_final(state)];
        for ((name, belongs), since) in ["active", "open"]
            .into_iter()
            .zip(belongs)
            .zip(&mut seen.clocks.listed)
        {
            let set = store::tenant_set(name, plan.tenant);
            let listed = world.cluster.database(now, &set).score(&set, &plan.id).is_some();
            *since = (listed && !belongs).then(|| since.unwrap_or(now));
            if since.is_some_and(|at| now - at > PROMPTLY) {
                faults.push(format!("{}: {state}, and still listed in {set}", plan.id));
            }
        }
    }
    ghost.violations.extend(faults);
}
