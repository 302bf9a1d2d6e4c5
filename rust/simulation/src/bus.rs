//! NATS: two streams with a duplicate window, durable pull consumers with ack wait and redelivery, and core subjects that are
//! heard at most once by whoever listens.

mod pull;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::cluster::{Link, Unavailable};
use crate::subscribers;
use crate::world::{sleep, Group, Slot, World, MILLI, SECOND};

use pull::pump;
pub use pull::{answer, fetch};

pub const SUBMIT: &str = "sys.job.submit";
pub const RESULT: &str = "sys.job.result";
pub const ACCEPTED: &str = "sys.internal.job.result.accepted";
pub const DLQ: &str = "sys.job.dlq";

const DUPLICATE_WINDOW: i64 = 120 * SECOND;
const ACK_WAIT: i64 = 30 * SECOND;
const PUBLISH_TIMEOUT: i64 = 5 * SECOND;

/// A stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    pub subject: String,
    pub id: String,
    pub payload: Rc<[u8]>,
    pub at: i64,
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    pub subject: String,
    pub id: String,
    pub payload: Rc<[u8]>,
}

/// How a publish went, as `cordum.bus.publisher` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// No answer in time: it may be stored.
    Timeout,
    /// Nothing was handed over.
    Connection,
    /// No stream and no subscriber took it.
    NoStream,
}

/// A message on its way to a handler.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub sequence: usize,
    pub delivered: u64,
    pub payload: Rc<[u8]>,
}

/// What a handler says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Ack,
    Nak(i64),
}

struct Pending {
    due: i64,
    delivered: u64,
    /// The process that holds it extends the ack wait while it lives and is connected.
    holder: Option<(Link, Group)>,
}

struct Waiter {
    link: Link,
    limit: usize,
    slot: Slot<Vec<Delivery>>,
    group: Group,
}

/// A durable pull consumer of one subject.
#[derive(Default)]
struct Consumer {
    next: usize,
    pending: BTreeMap<usize, Pending>,
    waiters: Vec<Waiter>,
}

/// The servers, seen as one.
pub struct Bus {
    streams: RefCell<BTreeMap<&'static str, Vec<Stored>>>,
    consumers: RefCell<BTreeMap<&'static str, Consumer>>,
    down_until: Cell<i64>,
    cuts: RefCell<BTreeMap<Link, i64>>,
    atomic: bool,
    /// The server died with messages it had handed on and not stored.
    pub lost_messages: Cell<bool>,
    /// Dispatch ids the server took, in order.
    pub taken: RefCell<Vec<String>>,
}

fn stream_of(subject: &str) -> &'static str {
    if subject.starts_with("sys.") {
        "SYS"
    } else {
        "JOBS"
    }
}

impl Bus {
    pub fn new(atomic: bool) -> Self {
        Bus {
            streams: RefCell::new(BTreeMap::from([("SYS", Vec::new()), ("JOBS", Vec::new())])),
            consumers: RefCell::new(BTreeMap::from([
                (SUBMIT, Consumer::default()),
                (RESULT, Consumer::default()),
            ])),
            down_until: Cell::new(0),
            cuts: RefCell::default(),
            atomic,
            lost_messages: Cell::new(false),
            taken: RefCell::default(),
        }
    }

    /// Messages of a subject.
    pub fn stored(&self, subject: &str) -> Vec<Stored> {
        let streams = self.streams.borrow();
        let stream = streams.get(stream_of(subject)).map_or(&[][..], Vec::as_slice);
        stream
            .iter()
            .filter(|message| message.subject == subject)
            .cloned()
            .collect()
    }

    /// Messages of the stream of dispatches.
    pub fn dispatches(&self) -> Vec<Stored> {
        self.streams.borrow().get("JOBS").cloned().unwrap_or_default()
    }

    /// Payloads of a durable consumer's messages that nobody has acknowledged, but one.
    pub fn waiting(&self, subject: &str, except: usize) -> Vec<Rc<[u8]>> {
        let (consumers, streams) = (self.consumers.borrow(), self.streams.borrow());
        let Some(consumer) = consumers.get(subject) else {
            return Vec::new();
        };
        let stream = &streams["SYS"];
        let new = (consumer.next..stream.len()).filter(|at| stream[*at].subject == subject);
        let held = consumer.pending.keys().copied().chain(new);
        held.filter(|at| *at != except)
            .map(|at| Rc::clone(&stream[at].payload))
            .collect()
    }

    /// Messages of durable consumers nobody has acknowledged.
    pub fn unacknowledged(&self) -> usize {
        let consumers = self.consumers.borrow();
        let waiting = |subject: &str, consumer: &Consumer| {
            let new = self.streams.borrow()["SYS"][consumer.next..]
                .iter()
                .filter(|m| m.subject == subject)
                .count();
            new + consumer.pending.len()
        };
        consumers
            .iter()
            .map(|(subject, consumer)| waiting(subject, consumer))
            .sum()
    }

    /// Break the connection of one end.
    pub fn cut(&self, link: Link, until: i64) {
        self.cuts.borrow_mut().insert(link, until);
    }

    /// Restart the server: what it stored stays.
    pub fn restart(&self, world: &Rc<World>, for_us: i64) {
        self.down_until.set(world.now() + for_us);
        let mut consumers = self.consumers.borrow_mut();
        for consumer in consumers.values_mut() {
            for waiter in consumer.waiters.drain(..) {
                // The client notices and pulls again once it is back.
                let delay = for_us + world.range(MILLI, 2 * SECOND);
                world.after(delay, move |world| waiter.slot.fill(world, Vec::new()));
            }
        }
    }

    /// Forget who waits.
    pub fn end(&self) {
        self.consumers.borrow_mut().clear();
    }

    pub fn reachable(&self, world: &World, link: Link) -> bool {
        let cut = self.cuts.borrow().get(&link).copied().unwrap_or(0);
        self.down_until.get() <= world.now() && cut <= world.now()
    }

    /// Take a message into its stream; true unless its id was seen within the duplicate window.
    fn store(&self, message: Stored) -> bool {
        let mut streams = self.streams.borrow_mut();
        let Some(stream) = streams.get_mut(stream_of(&message.subject)) else {
            return false;
        };
        let known = !message.id.is_empty()
            && stream
                .iter()
                .any(|other| other.id == message.id && message.at - other.at < DUPLICATE_WINDOW);
        if !known {
            stream.push(message);
        }
        !known
    }

    fn receive(world: &Rc<World>, publish: Publish) {
        let message = Stored {
            subject: publish.subject,
            id: publish.id,
            payload: publish.payload,
            at: world.now(),
        };
        if stream_of(&message.subject) == "JOBS" {
            world.bus.taken.borrow_mut().push(message.id.clone());
        }
        crate::invariants::on_publish(world, &message);
        subscribers::hear(world, &message);
        let subject = message.subject.clone();
        world.bus.store(message);
        if !world.plan.busy {
            return pump(world, &subject);
        }
        // By the time a busy client looks, more has come.
        let delay = world.range(0, 30 * MILLI);
        world.after(delay, move |world| pump(world, &subject));
    }
}

/// Publish a core message: heard now or never.
pub fn publish_core(world: &Rc<World>, link: Link, subject: &str, payload: Vec<u8>) {
    if !world.bus.reachable(world, link) || world.fault(20) {
        return;
    }
    let message = Stored {
        subject: subject.to_owned(),
        id: String::new(),
        payload: payload.into(),
        at: world.now(),
    };
    let delay = world.latency();
    world.after(delay, move |world| {
        if world.bus.reachable(world, link) {
            subscribers::hear(world, &message);
        }
    });
}

/// Publish messages to their streams and wait for all acknowledgements. `atomic`: all or none, where the stream allows it.
pub async fn publish(world: &Rc<World>, link: Link, messages: Vec<Publish>, atomic: bool) -> Vec<Outcome> {
    if messages.is_empty() {
        return Vec::new();
    }
    let count = messages.len();
    if !world.bus.reachable(world, link) {
        sleep(world, MILLI).await;
        return vec![Outcome::Connection; count];
    }
    let together = atomic && world.bus.atomic && count > 1;
    let batches: Vec<Vec<Publish>> = if together {
        vec![messages]
    } else {
        messages.into_iter().map(|message| vec![message]).collect()
    };
    let mut waits = Vec::new();
    let mut delay = world.latency();
    for batch in batches {
        let slot: Slot<Outcome> = Slot::default();
        let size = batch.len();
        send(world, link, batch, delay, &slot);
        delay += world.range(1, 300);
        waits.push((size, slot));
    }
    let mut outcomes = Vec::with_capacity(count);
    for (size, slot) in waits {
        let outcome = slot.wait(world).await;
        outcomes.extend(std::iter::repeat_n(outcome, size));
    }
    outcomes
}

fn send(world: &Rc<World>, link: Link, batch: Vec<Publish>, delay: i64, slot: &Slot<Outcome>) {
    let late = slot.clone();
    world.after(PUBLISH_TIMEOUT, move |world| late.fill(world, Outcome::Timeout));
    let dispatches = batch.iter().any(|message| stream_of(&message.subject) == "JOBS");
    let (lost, refused) = match dispatches {
        true => (world.plan.losses.1, world.plan.refused),
        false => (world.plan.losses.0, 5),
    };
    if world.fault(refused) {
        let refused = slot.clone();
        return world.after(delay, move |world| refused.fill(world, Outcome::NoStream));
    }
    let reply = slot.clone();
    world.after(delay, move |world| {
        if !world.bus.reachable(world, link) || world.fault(lost) {
            return;
        }
        if world.plan.bus_dies && world.fault(8) {
            return die(world, batch);
        }
        for message in batch {
            Bus::receive(world, message);
        }
        let back = world.latency();
        world.after(back, move |world| {
            if world.bus.reachable(world, link) && !world.fault(lost) {
                reply.fill(world, Outcome::Ok);
            }
        });
    });
}

/// The server crashes after core subscribers heard these messages and before its stream has them.
fn die(world: &Rc<World>, batch: Vec<Publish>) {
    for publish in batch {
        let message = Stored {
            subject: publish.subject,
            id: publish.id,
            payload: publish.payload,
            at: world.now(),
        };
        if stream_of(&message.subject) == "JOBS" {
            world.bus.lost_messages.set(true);
            world.bus.taken.borrow_mut().push(message.id.clone());
            crate::invariants::on_publish(world, &message);
            subscribers::hear(world, &message);
        }
    }
    world.note(format_args!("bus dies"));
    let gone = world.range(500 * MILLI, 3 * SECOND);
    world.bus.restart(world, gone);
}

/// A publish without acknowledgement, as workers do it: lost without a trace when it is lost.
pub fn publish_unconfirmed(world: &Rc<World>, link: Link, subject: &str, payload: Vec<u8>, delay: i64) {
    let publish = Publish {
        subject: subject.to_owned(),
        id: String::new(),
        payload: payload.into(),
    };
    world.after(delay, move |world| {
        if world.bus.reachable(world, link) && !world.fault(15) {
            Bus::receive(world, publish);
        }
    });
}

/// Which of the wanted ids a subject of the stream of dispatches holds since a time (`bus/stream_lookup.py`).
pub async fn find(
    world: &Rc<World>,
    link: Link,
    subject: &str,
    since: i64,
    wanted: BTreeSet<String>,
) -> Result<BTreeSet<String>, Unavailable> {
    if !world.bus.reachable(world, link) {
        sleep(world, MILLI).await;
        return Err(Unavailable);
    }
    let slot = Slot::default();
    let reply = slot.clone();
    let subject = subject.to_owned();
    let delay = world.latency();
    world.after(delay, move |world| {
        if !world.bus.reachable(world, link) || world.fault(10) {
            let wait = world.range(MILLI, 10 * SECOND);
            return world.after(wait, move |world| reply.fill(world, Err(Unavailable)));
        }
        let stored = world.bus.stored(&subject);
        let found = stored
            .into_iter()
            .filter(|m| m.at >= since && wanted.contains(&m.id))
            .map(|m| m.id)
            .collect();
        let back = world.latency();
        world.after(back, move |world| {
            let arrived = world.bus.reachable(world, link);
            reply.fill(world, if arrived { Ok(found) } else { Err(Unavailable) });
        });
    });
    slot.wait(world).await
}
