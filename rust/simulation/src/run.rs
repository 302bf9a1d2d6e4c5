//! One schedule from its seed to its verdict.

use std::rc::Rc;

use crate::invariants;
use crate::plan::Plan;
use crate::replica::{crash, Replica};
use crate::scripts::Scripts;
use crate::world::{sleep, World, MILLI, SECOND};
use crate::wrong::Wrong;
use crate::{client, worker};

/// Time the system has to come to rest after the last fault.
const PATIENCE: i64 = 600 * SECOND;
/// No schedule needs more; one that does is stuck in a loop.
const MAX_EVENTS: u64 = 2_000_000;

/// How a schedule went.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// Of every line of the trace.
    pub hash: u64,
    pub events: u64,
    /// Boundaries between steps that were passed.
    pub steps: u64,
    pub virtual_s: i64,
    pub violations: Vec<String>,
    /// The trace, if it was asked for.
    pub lines: Vec<String>,
}

/// Run the schedule of a seed.
pub fn run(seed: u64, scripts: &Rc<Scripts>, wrong: Option<Wrong>, keep_lines: bool) -> Report {
    let plan = Plan::of(seed);
    let world = World::new(plan, scripts, wrong, keep_lines);
    worker::start(&world);
    *world.replicas.borrow_mut() = vec![None; world.plan.replicas];
    for index in 0..world.plan.replicas {
        Replica::start(&world, index);
    }
    client::start(&world);
    let trouble = Rc::clone(&world);
    let group = world.group();
    world.spawn(group, async move { make_trouble(trouble).await });
    let (policies, absences) = (Rc::clone(&world), Rc::clone(&world));
    world.spawn(group, async move { change_policies(policies).await });
    world.spawn(group, async move { send_workers_away(absences).await });
    let start = world.now();
    let mut until = start;
    let end = world.calm_at + PATIENCE;
    let broken = || !world.ghost.borrow().violations.is_empty();
    while until < end && !broken() && world.events() < MAX_EVENTS {
        until += SECOND;
        while world.turn(until) && !broken() {}
        invariants::each_second(&world);
        if until > world.calm_at && invariants::is_quiet(&world) {
            break;
        }
    }
    if !broken() {
        invariants::at_the_end(&world);
    }
    let ghost = world.ghost.take();
    let report = Report {
        seed,
        hash: world.hash(),
        events: world.events(),
        steps: ghost.steps,
        virtual_s: (until - start) / SECOND,
        violations: ghost.violations,
        lines: world.trace.borrow_mut().lines.take().unwrap_or_default(),
    };
    world.end();
    report
}

/// Break servers and connections now and then until the storm is over.
async fn make_trouble(world: Rc<World>) {
    let every = world.plan.trouble_every;
    if every == 0 {
        return;
    }
    while world.stormy() {
        let pause = world.range(0, 2 * every * SECOND);
        sleep(&world, pause).await;
        if world.stormy() {
            break_something(&world);
        }
    }
}

/// Load another policy again and again until the storm is over.
async fn change_policies(world: Rc<World>) {
    let every = world.plan.policy_every;
    while every > 0 && world.stormy() {
        let pause = world.range(SECOND, 2 * every * SECOND);
        sleep(&world, pause).await;
        world.note(format_args!("another policy"));
        world.kernel.change_policy();
    }
}

/// Workers come late, and go away again and again until the storm is over.
async fn send_workers_away(world: Rc<World>) {
    while world.plan.absences && world.stormy() {
        for index in 0..world.plan.workers + 1 {
            let gone = world.range(0, 30 * SECOND);
            if world.chance(700) {
                world.note(format_args!("w{index} is away for {gone}"));
                world.workers.borrow_mut()[index].gone_until = world.now() + gone;
            }
        }
        let pause = world.range(10 * SECOND, 40 * SECOND);
        sleep(&world, pause).await;
    }
}

fn break_something(world: &Rc<World>) {
    let link = world.index(world.plan.replicas) as u32;
    let node = world.index(world.cluster.size());
    let now = world.now();
    let kind = world.index(9);
    world.note(format_args!("trouble {kind}"));
    match kind {
        0 => {
            let (gone, lost) = (
                world.range(200 * MILLI, 4 * SECOND),
                world.range(MILLI, 300 * MILLI),
            );
            world
                .cluster
                .stop(world, node, gone, if world.plan.failover { lost } else { 0 });
            invariants::after_write(world);
        }
        1 | 2 => {
            let gone = world.range(500 * MILLI, 25 * SECOND);
            let all = world.chance(500);
            world.cluster.cut(link, (!all).then_some(node), now + gone);
        }
        3 | 4 => {
            let gone = world.range(500 * MILLI, 25 * SECOND);
            world.bus.cut(link, now + gone);
        }
        5 => {
            let gone = world.range(300 * MILLI, 4 * SECOND);
            world.bus.restart(world, gone);
        }
        6 => world
            .kernel
            .down_until
            .set(now + world.range(SECOND, 12 * SECOND)),
        7 => {
            let gone = world.range(4 * SECOND, 30 * SECOND);
            let mut workers = world.workers.borrow_mut();
            let index = world.index(workers.len());
            workers[index].gone_until = now + gone;
        }
        _ if world.plan.policy_changes => world.kernel.change_policy(),
        _ => crash(world, link as usize),
    }
}
