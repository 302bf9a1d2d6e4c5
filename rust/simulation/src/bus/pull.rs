//! Pulling from a durable consumer and answering it.

use std::rc::Rc;

use super::{Answer, Consumer, Delivery, Pending, Waiter, ACK_WAIT};
use crate::cluster::Link;
use crate::world::{sleep, Group, Slot, World, MILLI, SECOND};

/// Pull up to `limit` messages; empty when the server went away meanwhile.
pub async fn fetch(
    world: &Rc<World>,
    link: Link,
    group: Group,
    subject: &'static str,
    limit: usize,
) -> Vec<Delivery> {
    while !world.bus.reachable(world, link) {
        let pause = world.range(50 * MILLI, SECOND);
        sleep(world, pause).await;
    }
    let slot = Slot::default();
    let waiter = Waiter {
        link,
        limit,
        slot: slot.clone(),
        group,
    };
    if let Some(consumer) = world.bus.consumers.borrow_mut().get_mut(subject) {
        consumer.waiters.push(waiter);
    }
    pump(world, subject);
    slot.wait(world).await
}

/// Answer deliveries; an answer that is lost means a redelivery.
pub fn answer(world: &Rc<World>, link: Link, subject: &'static str, answers: Vec<(usize, Answer)>) {
    let delay = world.latency();
    world.after(delay, move |world| {
        if !world.bus.reachable(world, link) || world.fault(15) {
            let mut consumers = world.bus.consumers.borrow_mut();
            if let Some(consumer) = consumers.get_mut(subject) {
                // Nobody works on them any more, so nobody extends them.
                for (sequence, _) in &answers {
                    if let Some(pending) = consumer.pending.get_mut(sequence) {
                        pending.holder = None;
                    }
                }
            }
            return;
        }
        for (sequence, answer) in &answers {
            if *answer == Answer::Ack {
                let payload = Rc::clone(&world.bus.streams.borrow()["SYS"][*sequence].payload);
                crate::invariants::on_ack(world, subject, *sequence, &payload);
            }
        }
        let mut next = None;
        if let Some(consumer) = world.bus.consumers.borrow_mut().get_mut(subject) {
            for (sequence, answer) in answers {
                match answer {
                    Answer::Ack => {
                        consumer.pending.remove(&sequence);
                    }
                    Answer::Nak(after) => {
                        if let Some(pending) = consumer.pending.get_mut(&sequence) {
                            pending.due = world.now() + after;
                            pending.holder = None;
                            next = Some(after.max(next.unwrap_or(0)));
                        }
                    }
                }
            }
        }
        if let Some(after) = next {
            world.after(after + 1, move |world| pump(world, subject));
        }
    });
}

/// Give waiting pulls what is there.
pub(super) fn pump(world: &Rc<World>, subject: &str) {
    let mut consumers = world.bus.consumers.borrow_mut();
    let Some((name, consumer)) = consumers.iter_mut().find(|(name, _)| **name == subject) else {
        return;
    };
    let name = *name;
    consumer.waiters.retain(|waiter| world.lives(waiter.group));
    while !consumer.waiters.is_empty() && world.bus.down_until.get() <= world.now() {
        let at = world.index(consumer.waiters.len());
        let limit = consumer.waiters[at].limit;
        let limit = 1 + world.index(limit);
        let batch = take(world, name, consumer, at, limit);
        if batch.is_empty() {
            break;
        }
        let waiter = consumer.waiters.swap_remove(at);
        let delay = world.latency();
        world.after(delay, move |world| {
            // What a broken connection swallows comes again after the ack wait.
            if world.bus.reachable(world, waiter.link) {
                waiter.slot.fill(world, batch);
            } else {
                if let Some(consumer) = world.bus.consumers.borrow_mut().get_mut(name) {
                    for delivery in &batch {
                        if let Some(pending) = consumer.pending.get_mut(&delivery.sequence) {
                            pending.holder = None;
                        }
                    }
                }
                waiter.slot.fill(world, Vec::new());
            }
        });
    }
}

fn take(
    world: &Rc<World>,
    name: &'static str,
    consumer: &mut Consumer,
    at: usize,
    limit: usize,
) -> Vec<Delivery> {
    let now = world.now();
    let waiter = &consumer.waiters[at];
    let holder = Some((waiter.link, waiter.group));
    let streams = world.bus.streams.borrow();
    let stream = &streams["SYS"];
    let (mut batch, mut extended) = (Vec::new(), false);
    for (sequence, pending) in &mut consumer.pending {
        if batch.len() >= limit {
            break;
        }
        if pending.due > now {
            continue;
        }
        let held = pending
            .holder
            .is_some_and(|(link, group)| world.runs(group) && world.bus.reachable(world, link));
        if held {
            pending.due = now + ACK_WAIT;
            extended = true;
            continue;
        }
        pending.delivered += 1;
        pending.due = now + ACK_WAIT;
        pending.holder = holder;
        batch.push(Delivery {
            sequence: *sequence,
            delivered: pending.delivered,
            payload: Rc::clone(&stream[*sequence].payload),
        });
    }
    while batch.len() < limit && consumer.next < stream.len() {
        let sequence = consumer.next;
        consumer.next += 1;
        if stream[sequence].subject != name {
            continue;
        }
        let pending = Pending {
            due: now + ACK_WAIT,
            delivered: 1,
            holder,
        };
        consumer.pending.insert(sequence, pending);
        batch.push(Delivery {
            sequence,
            delivered: 1,
            payload: Rc::clone(&stream[sequence].payload),
        });
    }
    if extended || !batch.is_empty() {
        world.after(ACK_WAIT + 1, move |world| pump(world, name));
    }
    batch
}
