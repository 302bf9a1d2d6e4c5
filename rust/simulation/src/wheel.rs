//! The retry wheel and early wake-ups (`scheduler/wheel.py`, `store/schedule.py`).

use std::rc::Rc;

use crate::cluster::{script, Unavailable};
use crate::command;
use crate::planner::workers::Capacity;
use crate::redis::Resp;
use crate::replica::Replica;
use crate::store;
use crate::submits;
use crate::world::{sleep, wait_or, Slot, MILLI, SECOND};
use crate::wrong::Wrong;

const TICK: i64 = 100 * MILLI;
const BATCH_MAX: usize = 8;
const LEASE: i64 = 30 * SECOND;

/// Note pools that came online or have room again.
pub fn on_capacity(replica: &Rc<Replica>, capacity: Vec<Capacity>) {
    let now = replica.world.now();
    let mut pools = replica.pools.borrow_mut();
    for Capacity { pool, online, .. } in capacity {
        if !online && !replica.waiting.borrow().contains(&pool) {
            let mut probed = replica.probed.borrow_mut();
            if !replica.any_parked.get() || now - probed.get(&pool).copied().unwrap_or(0) < SECOND {
                continue;
            }
            probed.insert(pool.clone(), now);
        }
        pools.insert(pool);
    }
    if !pools.is_empty() {
        replica.capacity.borrow().fill(&replica.world, true);
    }
}

/// Lease and process due jobs for ever.
pub async fn run(replica: Rc<Replica>) {
    let world = Rc::clone(&replica.world);
    if world.is(Wrong::WheelStands) {
        return;
    }
    loop {
        let wait = turn(&replica).await.unwrap_or(SECOND);
        if wait > 0 {
            let slot = replica.turn.borrow().clone();
            wait_or(&world, &slot, wait).await;
        }
        replica.turn.replace(Slot::default());
    }
}

/// Process what is due; time until the wheel has to turn again.
async fn turn(replica: &Rc<Replica>) -> Result<i64, Unavailable> {
    let now = replica.now();
    let tags = store::tags();
    let first = |tag: &String| {
        command![
            "ZRANGE",
            store::schedule(tag, "retry"),
            0_i64,
            0_i64,
            "WITHSCORES"
        ]
    };
    let replies = replica.all(tags.iter().map(first).collect()).await?;
    let earliest: Vec<(i64, String)> = replies
        .iter()
        .zip(tags)
        .filter_map(|(reply, tag)| Some((reply.list().get(1)?.text().parse::<f64>().ok()? as i64, tag)))
        .collect();
    replica.any_parked.set(!earliest.is_empty());
    let ready: Vec<&String> = earliest
        .iter()
        .filter(|(at, _)| *at <= now)
        .map(|(_, tag)| tag)
        .collect();
    if ready.is_empty() {
        let next = earliest.iter().map(|(at, _)| *at).min().unwrap_or(now + SECOND);
        return Ok((next - now).clamp(TICK, SECOND));
    }
    let share = BATCH_MAX / ready.len();
    let calls = ready.into_iter().map(|tag| {
        let args = [now, share as i64, LEASE].map(|number| number.to_string().into_bytes());
        script("wheel_lease", &store::schedule(tag, "retry"), args.to_vec())
    });
    replica.step("wheel.lease").await;
    let replies = replica.all(calls.collect()).await?;
    let due: Vec<String> = replies
        .iter()
        .flat_map(|reply| reply.list().iter().map(Resp::text))
        .collect();
    if due.is_empty() {
        return Ok(TICK);
    }
    submits::handle_due(replica, due).await?;
    Ok(0)
}

/// Make waiting jobs of pools with room due at once, for ever.
pub async fn watch_capacity(replica: Rc<Replica>) {
    let world = Rc::clone(&replica.world);
    loop {
        let slot = replica.capacity.borrow().clone();
        slot.wait(&world).await;
        sleep(&world, 20 * MILLI).await;
        replica.capacity.replace(Slot::default());
        let pools = std::mem::take(&mut *replica.pools.borrow_mut());
        for pool in pools {
            if wake(&replica, &pool).await.is_err() {
                break;
            }
        }
    }
}

async fn wake(replica: &Rc<Replica>, pool: &str) -> Result<(), Unavailable> {
    let replicas = replica.surroundings().replicas;
    let room = replica.table.borrow_mut().room(pool, replicas, &replica.config);
    if room <= 0 {
        return Ok(());
    }
    let tags = store::tags();
    let limit = room.min(1024);
    let share = limit / i64::from(store::PARTITIONS);
    let first = |tag: &String| command!["ZRANGE", store::wait(tag, pool), 0_i64, share, "WITHSCORES"];
    let replies = replica.all(tags.iter().map(first).collect()).await?;
    let mut waiting: Vec<(f64, String, String)> = Vec::new();
    for (tag, reply) in tags.iter().zip(&replies) {
        for pair in reply.list().chunks_exact(2) {
            waiting.push((pair[1].text().parse().unwrap_or(0.0), tag.clone(), pair[0].text()));
        }
    }
    waiting.sort_by(|a, b| a.0.total_cmp(&b.0));
    waiting.truncate(limit as usize);
    let front = waiting.first().map(|(place, ..)| *place as i64);
    replica.table.borrow_mut().looked_at_line(pool, front);
    if waiting.is_empty() {
        replica.waiting.borrow_mut().remove(pool);
        return Ok(());
    }
    let until = replica.now() + LEASE;
    let updates = waiting.iter().map(|(_, tag, id)| {
        let key = store::schedule(tag, "retry");
        command!["ZADD", key, "XX", until, id]
    });
    replica.step("wheel.wake").await;
    replica.all(updates.collect()).await?;
    let ids = waiting
        .into_iter()
        .map(|(_, _, id)| id)
        .take(room as usize)
        .collect();
    submits::handle_due(replica, ids).await
}
