//! What must hold once the system is quiet.

use std::rc::Rc;

use cordum_wire::messages::{BusPacket, Payload};
use prost::Message;

use super::{is_final, states_of, DEAD, POOLS};
use crate::bus::{ACCEPTED, DLQ};
use crate::plan::JobPlan;
use crate::store;
use crate::world::World;

/// Sets that must be empty when no job is open.
pub fn leftovers(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut sets = Vec::new();
    for tag in store::tags() {
        sets.extend(["due", "retry", "disp", "deadline", "after"].map(|name| store::schedule(&tag, name)));
        sets.extend(POOLS.map(|pool| store::wait(&tag, pool)));
    }
    for tenant in ["acme", "zeta"] {
        sets.extend([
            store::tenant_set("active", tenant),
            store::tenant_set("open", tenant),
        ]);
    }
    for set in sets {
        let members = world.cluster.database(world.now(), &set).ranked(&set);
        if !members.is_empty() {
            found.push(format!(
                "{set} still lists {:?}",
                members.iter().map(|(member, _)| member).collect::<Vec<_>>()
            ));
        }
    }
    found
}

/// Whether everything that was to happen has happened.
pub fn is_quiet(world: &World) -> bool {
    let ghost = world.ghost.borrow();
    let over = |job: &JobPlan| {
        let seen = ghost.jobs.get(&job.id);
        seen.is_some_and(|seen| {
            seen.submitted && (is_final(&seen.last.state) || (gone(world) && seen.last.state.is_empty()))
        })
    };
    world.plan.jobs.iter().all(over) && leftovers(world).is_empty() && world.bus.unacknowledged() == 0
}

/// Records may be gone after a fail-over that lost writes.
fn gone(world: &World) -> bool {
    world.cluster.lost_writes.get()
}

/// What must hold once the system is quiet, or has had its time.
pub fn at_the_end(world: &Rc<World>) {
    let mut faults = leftovers(world);
    let weak = world.cluster.lost_writes.get();
    if world.bus.unacknowledged() > 0 {
        faults.push(format!(
            "{} messages are not acknowledged",
            world.bus.unacknowledged()
        ));
    }
    let accepted = told(world, ACCEPTED);
    let letters = told(world, DLQ);
    let mut ghost = world.ghost.borrow_mut();
    for (id, seen) in &ghost.jobs {
        let state = seen.last.state.as_str();
        if state.is_empty() {
            if seen.submitted && !weak {
                faults.push(format!("{id}: lost, there is no record"));
            }
            continue;
        }
        if !is_final(state) {
            faults.push(format!("{id}: never ended, still {state}"));
            continue;
        }
        let says = |list: &[(String, i32)]| {
            list.iter()
                .any(|(job, status)| job == id && states_of(*status).contains(&state))
        };
        if !weak && !says(&accepted) {
            faults.push(format!("{id}: {state}, and nobody was told"));
        }
        if !weak && DEAD.contains(&state) && !says(&letters) {
            faults.push(format!("{id}: {state}, and no dead letter was announced"));
        }
        for (dispatch, workers) in &seen.runs {
            if workers.len() > 1 && !world.bus.lost_messages.get() {
                faults.push(format!("dispatch {dispatch} was run by {workers:?}"));
            }
        }
    }
    ghost.violations.extend(faults);
}

fn told(world: &World, subject: &str) -> Vec<(String, i32)> {
    let packets = world.bus.stored(subject).into_iter();
    packets
        .filter_map(
            |message| match BusPacket::decode(&*message.payload).ok()?.payload {
                Some(Payload::JobResult(result)) => Some((result.job_id, result.status)),
                _ => None,
            },
        )
        .collect()
}
