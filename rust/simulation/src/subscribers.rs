//! Who hears a message that passes the bus: schedulers and workers on core subscriptions, at most once each.

use std::rc::Rc;

use cordum_wire::messages::{BusPacket, Payload};
use prost::Message;

use crate::bus::Stored;
use crate::replica::Replica;
use crate::results;
use crate::worker;
use crate::world::World;

/// Hand a message to its subscribers, each in its own time.
pub fn hear(world: &Rc<World>, message: &Stored) {
    match message.subject.as_str() {
        "sys.heartbeat" | "sys.handshake" => {
            for index in 0..world.plan.replicas {
                let payload = Rc::clone(&message.payload);
                later(world, index, move |replica| replica.hear_presence(&payload));
            }
        }
        "sys.job.cancel" | "sys.job.progress" => {
            // A queue group: one of the living hears it.
            let living: Vec<usize> = (0..world.plan.replicas)
                .filter(|i| world.replicas.borrow()[*i].is_some())
                .collect();
            if living.is_empty() {
                return;
            }
            let index = living[world.index(living.len())];
            let Some(payload) = BusPacket::decode(&*message.payload)
                .ok()
                .and_then(|packet| packet.payload)
            else {
                return;
            };
            later(world, index, move |replica| match payload {
                Payload::JobCancel(cancel) => {
                    replica.world.spawn(
                        replica.group,
                        results::on_cancel(Rc::clone(replica), cancel.job_id),
                    );
                }
                Payload::JobProgress(progress) => {
                    replica.world.spawn(
                        replica.group,
                        results::on_progress(Rc::clone(replica), progress.job_id),
                    );
                }
                _ => {}
            });
        }
        _ => worker::hear(world, message),
    }
}

fn later(world: &Rc<World>, index: usize, action: impl FnOnce(&Rc<Replica>) + 'static) {
    if world.fault(20) {
        return;
    }
    let delay = world.latency();
    world.after(delay, move |world| {
        let replica = world.replicas.borrow()[index].clone();
        let Some(replica) = replica else {
            return;
        };
        if world.runs(replica.group) && world.bus.reachable(world, replica.link()) {
            action(&replica);
        }
    });
}
