//! One scheduler process: its state and its loops, step by step as `cordum/scheduler` takes them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::bus::{self, Answer, Delivery, RESULT, SUBMIT};
use crate::cluster::{self, Link, Unavailable};
use crate::command;
use crate::planner::config::Config;
use crate::planner::intake::decode_presence;
use crate::planner::submit::{Surroundings, Verdict};
use crate::planner::workers::{Capacity, WorkerTable};
use crate::redis::{Command, Resp};
use crate::side::Side;
use crate::store;
use crate::world::{never, sleep, Group, Slot, World, MILLI, SECOND};
use crate::{reconciler, results, settling, side, submits, wheel};
use cordum_wire::messages::Payload;

/// Routing and time-outs.
fn routing(world: &World) -> Vec<u8> {
    serde_json::json!({
        "topics": {"job.a": ["p"], "job.b": ["q", "p"], "job.t": ["t"]},
        "pools": {},
        "timeouts": {
            "dispatch_timeout_seconds": world.plan.dispatch_timeout_s,
            "running_timeout_seconds": 25,
            "topics": {"job.b": {"max_retries": 1}},
        },
        "worker_ttl_s": 12,
    })
    .to_string()
    .into_bytes()
}
pub const SCAN: i64 = 5 * SECOND;
const BATCH_MAX: usize = 8;
const BEAT: i64 = 5 * SECOND;
const INSTANCE_TTL_S: i64 = 15;

/// A living scheduler.
pub struct Replica {
    pub world: Rc<World>,
    pub index: usize,
    pub group: Group,
    pub instance: String,
    skew: i64,
    pub config: Arc<Config>,
    pub table: RefCell<WorkerTable>,
    pub side: RefCell<Side>,
    pub side_pending: RefCell<Slot<bool>>,
    pub waiting: RefCell<BTreeSet<String>>,
    pub turn: RefCell<Slot<bool>>,
    pub capacity: RefCell<Slot<bool>>,
    pub pools: RefCell<BTreeSet<String>>,
    pub probed: RefCell<BTreeMap<String, i64>>,
    pub any_parked: Cell<bool>,
    pub leading: Cell<bool>,
    pub snapshot: RefCell<String>,
}

impl Replica {
    /// Start a scheduler at a place; the one that was there before is dead.
    pub fn start(world: &Rc<World>, index: usize) -> Rc<Self> {
        let group = world.group();
        let replica = Rc::new(Replica {
            world: Rc::clone(world),
            index,
            group,
            instance: format!("s{index}-{group}"),
            skew: world.plan.skews[index],
            config: Arc::new(Config::parse(&routing(world)).unwrap()),
            table: RefCell::default(),
            side: RefCell::default(),
            side_pending: RefCell::default(),
            waiting: RefCell::default(),
            turn: RefCell::default(),
            capacity: RefCell::default(),
            pools: RefCell::default(),
            probed: RefCell::default(),
            any_parked: Cell::new(true),
            leading: Cell::new(false),
            snapshot: RefCell::default(),
        });
        world.replicas.borrow_mut()[index] = Some(Rc::clone(&replica));
        world.note(format_args!("{} starts", replica.instance));
        for _ in 0..2 {
            world.spawn(group, consume(Rc::clone(&replica), SUBMIT));
        }
        world.spawn(group, consume(Rc::clone(&replica), RESULT));
        world.spawn(group, beat(Rc::clone(&replica)));
        world.spawn(group, expire(Rc::clone(&replica)));
        world.spawn(group, side::run(Rc::clone(&replica)));
        world.spawn(group, wheel::run(Rc::clone(&replica)));
        world.spawn(group, wheel::watch_capacity(Rc::clone(&replica)));
        world.spawn(group, reconciler::run(Rc::clone(&replica)));
        world.spawn(group, settling::run(Rc::clone(&replica)));
        replica
    }

    /// This process's clock.
    pub fn now(&self) -> i64 {
        self.world.now() + self.skew
    }

    /// Which end of connections it is.
    pub fn link(&self) -> Link {
        self.index as Link
    }

    pub fn surroundings(&self) -> Surroundings {
        let replicas = self.world.replicas.borrow().iter().flatten().count();
        Surroundings {
            config: Arc::clone(&self.config),
            instance: self.instance.clone(),
            partitions: store::PARTITIONS,
            replicas: replicas.max(1) as i64,
        }
    }

    pub fn seed(&self) -> u64 {
        self.world.random.borrow_mut().next()
    }

    /// The boundary between two steps: here a process may die, stand still, or simply be late.
    pub async fn step(&self, name: &'static str) {
        let world = &self.world;
        world.ghost.borrow_mut().steps += 1;
        world.note(format_args!("{} {name}", self.instance));
        if world.fault(world.plan.kill) {
            crash(world, self.index);
            never(world).await;
        }
        if world.plan.parts.contains(&name) && world.fault(300) {
            let node = world.index(world.cluster.size());
            let gone = world.range(MILLI, 2 * SECOND);
            world.cluster.cut(self.link(), Some(node), world.now() + gone);
        } else if world.plan.places.contains(&name) && world.fault(300) {
            self.get_into_trouble().await;
        } else if world.plan.stands.contains(&name) && world.fault(500) {
            let seconds = [4, 20, 60][world.index(3)];
            self.stand_still(seconds).await;
        } else if world.fault(world.plan.freeze) {
            self.stand_still(40).await;
        } else if world.chance(if world.plan.busy { 700 } else { 100 }) {
            let pause = world.range(1, if world.plan.busy { 60 } else { 20 } * MILLI);
            sleep(world, pause).await;
        }
    }

    async fn stand_still(&self, seconds: i64) {
        let world = &self.world;
        let still = world.range(SECOND, seconds * SECOND);
        world.note(format_args!("{} stands still for {still}", self.instance));
        world.freeze(self.group, still);
        sleep(world, still).await;
    }

    /// Die, stand still, lose a part of the store, lose the bus.
    async fn get_into_trouble(&self) {
        let world = &self.world;
        let gone = world.now() + world.range(SECOND / 2, 8 * SECOND);
        match world.index(4) {
            0 => {
                crash(world, self.index);
                never(world).await;
            }
            1 => self.stand_still(75).await,
            2 => {
                let node = world.index(world.cluster.size());
                world.cluster.cut(self.link(), Some(node), gone);
            }
            _ => world.bus.cut(self.link(), gone),
        }
    }

    pub async fn pipeline(&self, commands: Vec<Command>) -> Result<Vec<Resp>, Unavailable> {
        cluster::pipeline(&self.world, self.link(), commands).await
    }

    pub async fn all(&self, commands: Vec<Command>) -> Result<Vec<Resp>, Unavailable> {
        cluster::all(&self.world, self.link(), commands).await
    }

    pub async fn execute(&self, command: Command) -> Result<Resp, Unavailable> {
        cluster::execute(&self.world, self.link(), command).await
    }

    /// Records of jobs, in order.
    pub async fn records(&self, ids: &[String]) -> Result<Vec<Option<Fields>>, Unavailable> {
        let commands = ids
            .iter()
            .map(|id| command!["HGETALL", store::meta(id)])
            .collect();
        let replies = self.all(commands).await?;
        let found = ids.iter().zip(&replies);
        Ok(found.map(|(id, reply)| store::fields(id, reply)).collect())
    }

    /// Chosen fields of jobs, in order; empty where absent.
    pub async fn columns(&self, ids: &[String], names: &[&str]) -> Result<Vec<Vec<String>>, Unavailable> {
        let command = |id: &String| {
            let mut command = command!["HMGET", store::meta(id)];
            command.extend(names.iter().map(|name| name.as_bytes().to_vec()));
            command
        };
        let replies = self.all(ids.iter().map(command).collect()).await?;
        Ok(replies
            .iter()
            .map(|reply| reply.list().iter().map(Resp::text).collect())
            .collect())
    }

    /// Jobs of a schedule that are not after a time.
    pub async fn overdue(&self, name: &str, before: i64, limit: i64) -> Result<Vec<String>, Unavailable> {
        let keys = store::tags()
            .into_iter()
            .map(|tag| match name.strip_prefix("index:") {
                Some(state) => store::index(&tag, state),
                None => store::schedule(&tag, name),
            });
        let commands = keys
            .map(|key| command!["ZRANGEBYSCORE", key, "-inf", before, "LIMIT", 0_i64, limit])
            .collect();
        let replies = self.all(commands).await?;
        Ok(replies
            .iter()
            .flat_map(|reply| reply.list().iter().map(Resp::text))
            .collect())
    }

    /// Apply one change; the reply of the script.
    pub async fn change(
        &self,
        transition: &cordum_wire::Transition,
    ) -> Result<crate::planner::reply::Reply, Unavailable> {
        let number = store::partition(&transition.id);
        let call = store::apply("job_move", number, self.now(), vec![transition.pack()]);
        let reply = self.execute(call).await?;
        Ok(reply
            .list()
            .first()
            .map_or(crate::planner::reply::Reply::Failed, store::reply_of))
    }

    /// Heartbeats, handshakes.
    pub fn hear_presence(self: &Rc<Self>, payload: &[u8]) {
        let now = self.now();
        let mut table = self.table.borrow_mut();
        let capacity = match decode_presence(payload) {
            Some((envelope, Payload::Heartbeat(beat))) => {
                table.heartbeat(&beat, envelope.created_us, now, &self.config)
            }
            Some((_, Payload::Handshake(shake))) => table.handshake(&shake, now, &self.config),
            _ => Vec::new(),
        };
        drop(table);
        self.note_capacity(capacity);
    }

    /// Pools with room: wake who waits there.
    pub fn note_capacity(self: &Rc<Self>, capacity: Vec<Capacity>) {
        wheel::on_capacity(self, capacity);
    }
}

pub type Fields = std::collections::HashMap<String, String>;

/// Text of a field, empty when absent.
pub fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

/// Kill the scheduler at a place; another one starts there a little later.
pub fn crash(world: &Rc<World>, index: usize) {
    let Some(replica) = world.replicas.borrow_mut()[index].take() else {
        return;
    };
    world.note(format_args!("{} dies", replica.instance));
    world.kill(replica.group);
    let away = world.range(200 * MILLI, 25 * SECOND);
    world.after(away, move |world| {
        Replica::start(world, index);
    });
}

async fn beat(replica: Rc<Replica>) {
    loop {
        let command = command![
            "SET",
            store::instance(&replica.instance),
            "{}",
            "EX",
            INSTANCE_TTL_S
        ];
        // A beat that fails is tried again with the next one.
        let _ = replica.execute(command).await;
        sleep(&replica.world, BEAT).await;
    }
}

async fn expire(replica: Rc<Replica>) {
    loop {
        let now = replica.now();
        replica.table.borrow_mut().expire(now, &replica.config);
        sleep(&replica.world, BEAT).await;
    }
}

/// Pull and handle batches for ever (`bus/consumer.py`).
async fn consume(replica: Rc<Replica>, subject: &'static str) {
    let world = Rc::clone(&replica.world);
    loop {
        let batch = bus::fetch(&world, replica.link(), replica.group, subject, BATCH_MAX).await;
        if batch.is_empty() {
            continue;
        }
        world.note(format_args!(
            "{} takes {} of {subject}",
            replica.instance,
            batch.len()
        ));
        if world.is(crate::wrong::Wrong::AckFirst) {
            let answers = batch
                .iter()
                .map(|delivery| (delivery.sequence, Answer::Ack))
                .collect();
            bus::answer(&world, replica.link(), subject, answers);
        }
        let handled = match subject {
            SUBMIT => submits::handle(&replica, &batch).await,
            _ => results::handle(&replica, &batch).await,
        };
        // An exception means: all of them again in one second.
        let failed = if world.is(crate::wrong::Wrong::AckOnError) {
            Answer::Ack
        } else {
            Answer::Nak(SECOND)
        };
        let answers = handled.unwrap_or_else(|Unavailable| vec![failed; batch.len()]);
        bus::answer(&world, replica.link(), subject, numbered(&batch, &answers));
    }
}

fn numbered(batch: &[Delivery], answers: &[Answer]) -> Vec<(usize, Answer)> {
    batch
        .iter()
        .map(|delivery| delivery.sequence)
        .zip(answers.iter().copied())
        .collect()
}

/// From planner verdicts to bus answers (`scheduler/verdicts.py`); nothing here is corrupt.
pub fn answers(verdicts: &[Verdict]) -> Vec<Answer> {
    verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Ack => Answer::Ack,
            Verdict::Nak(delay) => Answer::Nak(*delay),
            Verdict::Corrupt => Answer::Nak(5 * SECOND),
        })
        .collect()
}
