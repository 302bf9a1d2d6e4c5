//! The Redis deployment: primaries, connections that break, restarts that keep everything and fail-overs that do not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::redis::{tag_of, Command, Database, Resp};
use crate::scripts::{Node, Scripts};
use crate::world::{Slot, World, MILLI, SECOND};

/// The store did not answer; nothing is known about what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// One end of connections: a replica or a client.
pub type Link = u32;

/// All primaries.
pub struct Cluster {
    nodes: Vec<Node>,
    scripts: Rc<Scripts>,
    down_until: Vec<Cell<i64>>,
    cuts: RefCell<BTreeMap<(Link, usize), i64>>,
    /// Writes were lost by a fail-over: the weaker guarantees count.
    pub lost_writes: Cell<bool>,
    /// Commands a node refused: always a mistake of ours.
    pub refusals: RefCell<Vec<String>>,
}

impl Cluster {
    pub fn new(nodes: usize, journaling: bool, scripts: Rc<Scripts>) -> Self {
        let node = || {
            let mut database = Database::default();
            database.journaling = journaling;
            Rc::new(RefCell::new(database))
        };
        Cluster {
            nodes: (0..nodes).map(|_| node()).collect(),
            scripts,
            down_until: vec![Cell::new(0); nodes],
            cuts: RefCell::default(),
            lost_writes: Cell::new(false),
            refusals: RefCell::default(),
        }
    }

    /// Number of primaries; 1 stands for a standalone server.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    fn node_of(&self, key: &str) -> usize {
        // Any fixed map of tags to nodes will do; neighbours go apart.
        let sum: usize = tag_of(key).bytes().map(usize::from).sum();
        sum % self.nodes.len()
    }

    /// The database that holds a key, as an observer sees it.
    pub fn database(&self, now: i64, key: &str) -> std::cell::Ref<'_, Database> {
        let node = &self.nodes[self.node_of(key)];
        node.borrow().now.set(now);
        node.borrow()
    }

    /// Let something behind everybody's back change the text of a key; false when there is none.
    pub fn overwrite(&self, now: i64, key: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
        let mut database = self.nodes[self.node_of(key)].borrow_mut();
        database.now.set(now);
        database.overwrite(key, change)
    }

    /// Keys with a prefix on every node.
    pub fn keys(&self, now: i64, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for node in &self.nodes {
            node.borrow().now.set(now);
            keys.extend(node.borrow().keys(prefix));
        }
        keys
    }

    /// Keys written since the last call.
    pub fn take_touched(&self) -> Vec<String> {
        let mut touched = Vec::new();
        for node in &self.nodes {
            touched.append(&mut node.borrow_mut().touched);
        }
        touched
    }

    /// Break the connections of one end to a node, or to all.
    pub fn cut(&self, link: Link, node: Option<usize>, until: i64) {
        for index in (0..self.size()).filter(|index| node.is_none_or(|node| node == *index)) {
            self.cuts.borrow_mut().insert((link, index), until);
        }
    }

    /// Stop a node for a while. `lost_us`: a replica takes over that has not seen the writes of this last time.
    pub fn stop(&self, world: &Rc<World>, node: usize, for_us: i64, lost_us: i64) {
        self.down_until[node].set(world.now() + for_us);
        if lost_us > 0 {
            let mut database = self.nodes[node].borrow_mut();
            database.now.set(world.now());
            database.lose_since(world.now() - lost_us);
            self.lost_writes.set(true);
        }
    }

    fn reachable(&self, world: &World, link: Link, node: usize) -> bool {
        let cut = self.cuts.borrow().get(&(link, node)).copied().unwrap_or(0);
        self.down_until[node].get() <= world.now() && cut <= world.now()
    }

    fn execute(&self, now: i64, node: usize, commands: &[Command]) -> Vec<Resp> {
        self.nodes[node].borrow().now.set(now);
        let replies: Vec<Resp> = commands.iter().map(|command| self.one(node, command)).collect();
        for reply in &replies {
            if let Resp::Error(text) = reply {
                let first = text.lines().next().unwrap_or_default();
                self.refusals.borrow_mut().push(first.to_owned());
            }
        }
        replies
    }

    fn one(&self, node: usize, command: &Command) -> Resp {
        if command[0] != b"EVALSHA" {
            return self.nodes[node].borrow_mut().run(command);
        }
        let name = String::from_utf8_lossy(&command[1]);
        let key = String::from_utf8_lossy(&command[2]);
        self.scripts.run(&self.nodes[node], &name, &key, &command[3..])
    }
}

/// The call of a script with one key.
pub fn script(name: &str, key: &str, args: Vec<Vec<u8>>) -> Command {
    let mut command = vec![
        b"EVALSHA".to_vec(),
        name.as_bytes().to_vec(),
        key.as_bytes().to_vec(),
    ];
    command.extend(args);
    command
}

fn key_of(command: &Command) -> String {
    let at = if command[0] == b"EVALSHA" { 2 } else { 1 };
    String::from_utf8_lossy(&command[at]).into_owned()
}

/// The text of a reply that is missing because its node did not answer.
const LOST: &str = "UNAVAILABLE";

/// Whether a reply is missing.
pub fn is_lost(reply: &Resp) -> bool {
    matches!(reply, Resp::Error(text) if text == LOST)
}

/// Send commands, one burst per node; replies in order. Err when no node answered. As in `store/connection.py`, a standalone
/// server loses all replies of a broken connection, a cluster those of the lost node.
pub async fn pipeline(
    world: &Rc<World>,
    link: Link,
    commands: Vec<Command>,
) -> Result<Vec<Resp>, Unavailable> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let count = commands.len();
    let mut groups: BTreeMap<usize, Vec<(usize, Command)>> = BTreeMap::new();
    for (index, command) in commands.into_iter().enumerate() {
        let node = world.cluster.node_of(&key_of(&command));
        groups.entry(node).or_default().push((index, command));
    }
    let mut waits = Vec::new();
    for (node, group) in groups {
        let (indexes, commands): (Vec<usize>, Vec<Command>) = group.into_iter().unzip();
        waits.push((indexes, send(world, link, node, commands)));
    }
    let mut replies = vec![Resp::Error(LOST.into()); count];
    for (indexes, slot) in waits {
        if let Some(found) = slot.wait(world).await {
            for (index, reply) in indexes.into_iter().zip(found) {
                replies[index] = reply;
            }
        }
    }
    if replies.iter().all(is_lost) {
        return Err(Unavailable);
    }
    Ok(replies)
}

/// One burst to one node; None when its replies did not come back, whatever the node did.
fn send(world: &Rc<World>, link: Link, node: usize, commands: Vec<Command>) -> Slot<Option<Vec<Resp>>> {
    let slot = Slot::default();
    let reply = slot.clone();
    if !world.cluster.reachable(world, link, node) {
        let wait = world.range(10 * MILLI, 3 * SECOND);
        world.after(wait, move |world| reply.fill(world, None));
        return slot;
    }
    // The commands of one connection run in order; those of others may come between them.
    let split = if world.chance(150) {
        world.index(commands.len())
    } else {
        commands.len()
    };
    let delay = world.latency();
    world.after(delay, move |world| {
        let arrived = world.cluster.reachable(world, link, node) && !world.fault(world.plan.loss);
        if !arrived {
            let wait = world.range(10 * MILLI, 3 * SECOND);
            return world.after(wait, move |world| reply.fill(world, None));
        }
        let mut replies = world.cluster.execute(world.now(), node, &commands[..split]);
        crate::invariants::after_write(world);
        if split == commands.len() {
            return answer(world, link, node, reply, replies);
        }
        let gap = world.range(1, 500);
        world.after(gap, move |world| {
            if !world.cluster.reachable(world, link, node) {
                return reply.fill(world, None);
            }
            replies.extend(world.cluster.execute(world.now(), node, &commands[split..]));
            crate::invariants::after_write(world);
            answer(world, link, node, reply, replies);
        });
    });
    slot
}

fn answer(world: &Rc<World>, link: Link, node: usize, reply: Slot<Option<Vec<Resp>>>, replies: Vec<Resp>) {
    let delay = world.latency();
    world.after(delay, move |world| {
        let arrived = world.cluster.reachable(world, link, node) && !world.fault(world.plan.loss);
        reply.fill(world, arrived.then_some(replies));
    });
}

/// One command. Err when it was not answered or refused.
pub async fn execute(world: &Rc<World>, link: Link, command: Command) -> Result<Resp, Unavailable> {
    let mut replies = pipeline(world, link, vec![command]).await?;
    match replies.pop() {
        Some(Resp::Error(_)) | None => Err(Unavailable),
        Some(reply) => Ok(reply),
    }
}

/// Several commands; Err when one of them was not answered or refused.
pub async fn all(world: &Rc<World>, link: Link, commands: Vec<Command>) -> Result<Vec<Resp>, Unavailable> {
    let replies = pipeline(world, link, commands).await?;
    if replies.iter().any(|reply| matches!(reply, Resp::Error(_))) {
        return Err(Unavailable);
    }
    Ok(replies)
}
