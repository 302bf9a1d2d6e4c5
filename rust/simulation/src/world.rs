//! Virtual time, tasks and the trace of one run. A task is a future; every wait goes through an event of the one queue, so a
//! seed decides the order of everything. Killing a process drops its tasks where they stand.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::{Arguments, Write};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::bus::Bus;
use crate::cluster::Cluster;
use crate::ghost::Ghost;
use crate::kernel::Kernel;
use crate::plan::Plan;
use crate::random::Random;
use crate::replica::Replica;
use crate::scripts::Scripts;
use crate::worker::Worker;
use crate::wrong::Wrong;

/// Start of virtual time, µs since the epoch.
pub const START: i64 = 1_800_000_000_000_000;
pub const SECOND: i64 = 1_000_000;
pub const MILLI: i64 = 1_000;

/// A process: its tasks live and die together.
pub type Group = u32;

type Job = Pin<Box<dyn Future<Output = ()>>>;
type Action = Box<dyn FnOnce(&Rc<World>)>;

enum What {
    Wake(usize),
    Call(Action),
}

struct Event {
    at: i64,
    tie: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

struct Task {
    group: Group,
    job: Option<Job>,
}

/// Hash of everything that happened, and the lines themselves when somebody wants to read them.
pub struct Trace {
    hash: u64,
    line: String,
    pub lines: Option<Vec<String>>,
}

/// One run.
pub struct World {
    pub plan: Plan,
    pub random: RefCell<Random>,
    pub cluster: Cluster,
    pub bus: Bus,
    pub ghost: RefCell<Ghost>,
    pub wrong: Option<Wrong>,
    pub trace: RefCell<Trace>,
    /// Until when faults happen; afterwards the system is left to heal.
    pub calm_at: i64,
    now: Cell<i64>,
    events: Cell<u64>,
    queue: RefCell<BinaryHeap<Reverse<Event>>>,
    tasks: RefCell<BTreeMap<usize, Task>>,
    next_task: Cell<usize>,
    current: Cell<usize>,
    frozen: RefCell<BTreeMap<Group, i64>>,
    next_group: Cell<Group>,
    alive: RefCell<BTreeSet<Group>>,
    pub kernel: Kernel,
    pub replicas: RefCell<Vec<Option<Rc<Replica>>>>,
    pub workers: RefCell<Vec<Worker>>,
}

impl World {
    pub fn new(plan: Plan, scripts: &Rc<Scripts>, wrong: Option<Wrong>, keep_lines: bool) -> Rc<Self> {
        let random = RefCell::new(Random::new(plan.seed));
        Rc::new(World {
            cluster: Cluster::new(plan.nodes, plan.failover, Rc::clone(scripts)),
            bus: Bus::new(plan.atomic),
            calm_at: START + plan.storm_us,
            plan,
            random,
            ghost: RefCell::default(),
            wrong,
            trace: RefCell::new(Trace {
                hash: 0xcbf2_9ce4_8422_2325,
                line: String::new(),
                lines: keep_lines.then(Vec::new),
            }),
            now: Cell::new(START),
            events: Cell::new(0),
            queue: RefCell::default(),
            tasks: RefCell::default(),
            next_task: Cell::new(1),
            current: Cell::new(0),
            frozen: RefCell::default(),
            next_group: Cell::new(1),
            alive: RefCell::default(),
            kernel: Kernel::default(),
            replicas: RefCell::default(),
            workers: RefCell::default(),
        })
    }

    /// Virtual time, µs since the epoch.
    pub fn now(&self) -> i64 {
        self.now.get()
    }

    /// Events handled so far.
    pub fn events(&self) -> u64 {
        self.events.get()
    }

    /// Whether faults still happen.
    pub fn stormy(&self) -> bool {
        self.now() < self.calm_at
    }

    /// Whether this run carries the wrong edit `wrong`.
    pub fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    pub fn chance(&self, per_mille: u32) -> bool {
        self.random.borrow_mut().chance(per_mille)
    }

    pub fn range(&self, low: i64, high: i64) -> i64 {
        self.random.borrow_mut().range(low, high)
    }

    pub fn index(&self, count: usize) -> usize {
        self.random.borrow_mut().index(count)
    }

    /// A chance that only counts while faults happen.
    pub fn fault(&self, per_mille: u32) -> bool {
        self.stormy() && !self.plan.calm && self.chance(per_mille)
    }

    /// Time a packet takes.
    pub fn latency(&self) -> i64 {
        if self.fault(20) {
            self.range(5 * MILLI, 800 * MILLI)
        } else {
            self.range(50, 2 * MILLI)
        }
    }

    /// Add a line to the trace.
    pub fn note(&self, text: Arguments<'_>) {
        let mut trace = self.trace.borrow_mut();
        let trace = &mut *trace;
        trace.line.clear();
        let elapsed = self.now() - START;
        // Writing to a String cannot fail.
        let _ = write!(
            trace.line,
            "{:>4}.{:06} {text}",
            elapsed / SECOND,
            elapsed % SECOND
        );
        for byte in trace.line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(lines) = &mut trace.lines {
            lines.push(trace.line.clone());
        }
    }

    /// Hash of the trace so far.
    pub fn hash(&self) -> u64 {
        self.trace.borrow().hash
    }

    // -- processes --------------------------------------------------------------------------------------------------

    /// A new process id.
    pub fn group(&self) -> Group {
        let group = self.next_group.get();
        self.next_group.set(group + 1);
        self.alive.borrow_mut().insert(group);
        group
    }

    /// Start a task of a process.
    pub fn spawn(self: &Rc<Self>, group: Group, job: impl Future<Output = ()> + 'static) {
        if !self.lives(group) {
            return;
        }
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let job = Some(Box::pin(job) as Job);
        self.tasks.borrow_mut().insert(id, Task { group, job });
        self.push(self.now(), What::Wake(id));
    }

    /// End a process at once. A task of it that is running ends at its next wait.
    pub fn kill(&self, group: Group) {
        self.alive.borrow_mut().remove(&group);
        self.tasks.borrow_mut().retain(|_, task| task.group != group);
        self.frozen.borrow_mut().remove(&group);
    }

    /// Whether a process exists.
    pub fn lives(&self, group: Group) -> bool {
        self.alive.borrow().contains(&group)
    }

    /// Whether a process exists and does not stand still.
    pub fn runs(&self, group: Group) -> bool {
        self.lives(group)
            && self
                .frozen
                .borrow()
                .get(&group)
                .is_none_or(|until| *until <= self.now())
    }

    /// Let a process stand still for a while, as a stopped or starved one does.
    pub fn freeze(&self, group: Group, for_us: i64) {
        self.frozen.borrow_mut().insert(group, self.now() + for_us);
    }

    /// Drop everything that is still to happen; tasks and events hold on to the world.
    pub fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        let queue = std::mem::take(&mut *self.queue.borrow_mut());
        let replicas = std::mem::take(&mut *self.replicas.borrow_mut());
        drop((tasks, queue, replicas));
        self.bus.end();
    }

    // -- events -----------------------------------------------------------------------------------------------------

    fn push(&self, at: i64, what: What) {
        let tie = self.random.borrow_mut().next();
        self.queue.borrow_mut().push(Reverse(Event { at, tie, what }));
    }

    /// Do something later.
    pub fn after(&self, delay_us: i64, action: impl FnOnce(&Rc<World>) + 'static) {
        self.push(self.now() + delay_us.max(0), What::Call(Box::new(action)));
    }

    /// Handle the next event; false when there is none before `until`.
    pub fn turn(self: &Rc<Self>, until: i64) -> bool {
        let event = {
            let mut queue = self.queue.borrow_mut();
            match queue.peek() {
                Some(Reverse(next)) if next.at <= until => queue.pop(),
                _ => None,
            }
        };
        let Some(Reverse(event)) = event else {
            return false;
        };
        self.now.set(self.now().max(event.at));
        self.events.set(self.events() + 1);
        match event.what {
            What::Call(action) => action(self),
            What::Wake(id) => self.poll(id),
        }
        true
    }

    fn poll(self: &Rc<Self>, id: usize) {
        let job = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else {
                return;
            };
            let frozen = self.frozen.borrow().get(&task.group).copied().unwrap_or(0);
            if frozen > self.now() {
                drop(tasks);
                self.push(frozen, What::Wake(id));
                return;
            }
            task.job.take()
        };
        let Some(mut job) = job else {
            return;
        };
        self.current.set(id);
        let polled = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.current.set(0);
        let mut tasks = self.tasks.borrow_mut();
        if polled.is_ready() {
            tasks.remove(&id);
        } else if let Some(task) = tasks.get_mut(&id) {
            task.job = Some(job);
        }
        // Otherwise the task was killed while it ran; it goes with this borrow.
    }
}

struct Arrival<T> {
    value: Option<T>,
    task: usize,
    filled: bool,
}

/// A value that arrives by an event; the first one counts.
pub struct Slot<T>(Rc<RefCell<Arrival<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Slot(Rc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot(Rc::new(RefCell::new(Arrival {
            value: None,
            task: 0,
            filled: false,
        })))
    }
}

impl<T> Slot<T> {
    /// Supply the value, unless somebody did.
    pub fn fill(&self, world: &Rc<World>, value: T) {
        let mut cell = self.0.borrow_mut();
        if cell.filled {
            return;
        }
        cell.filled = true;
        cell.value = Some(value);
        if cell.task != 0 {
            world.push(world.now(), What::Wake(cell.task));
        }
    }

    /// Whether nobody can be waiting any more.
    pub fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) == 1 || self.0.borrow().filled
    }

    /// Wait for the value.
    pub fn wait(&self, world: &Rc<World>) -> Wait<T> {
        Wait {
            slot: self.clone(),
            world: Rc::clone(world),
        }
    }
}

/// Future of a [`Slot`].
pub struct Wait<T> {
    slot: Slot<T>,
    world: Rc<World>,
}

impl<T> Future for Wait<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        let mut cell = self.slot.0.borrow_mut();
        match cell.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                cell.task = self.world.current.get();
                Poll::Pending
            }
        }
    }
}

/// Wait for a while.
pub async fn sleep(world: &Rc<World>, us: i64) {
    let slot = Slot::default();
    let filled = slot.clone();
    world.after(us, move |world| filled.fill(world, ()));
    slot.wait(world).await;
}

/// Never come back: what a killed task sees.
pub async fn never(world: &Rc<World>) {
    Slot::<()>::default().wait(world).await;
}

/// Wait for an event or for a time to pass, whichever comes first; true for the event.
pub async fn wait_or(world: &Rc<World>, slot: &Slot<bool>, us: i64) -> bool {
    let filled = slot.clone();
    world.after(us, move |world| filled.fill(world, false));
    slot.wait(world).await
}
