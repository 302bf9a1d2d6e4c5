//! Topic → rules that list a matching pattern or no topic at all, remembered per topic.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ahash::AHashMap;

use crate::bits::Bits;
use crate::glob::{Glob, Shape};
use crate::limits::{MAX_CACHED_TOPICS, MAX_CACHED_TOPIC_BYTES};

/// Threads share nothing they write, or two of them are hardly faster than one: each has a memory, up to this many.
const MEMORIES: usize = 8;
/// Only rules that list this topic literally apply to it (policy spec §6.2).
pub(crate) const EDGE_TOPIC: &str = "job.edge.action";

/// Literals by text, other patterns by their literal prefix.
#[derive(Debug)]
pub(crate) struct TopicIndex {
    free: Vec<u32>,
    literals: AHashMap<String, Vec<u32>>,
    patterns: Vec<(Glob, Vec<u32>)>,
    prefixes: AHashMap<String, Vec<usize>>,
    prefix_lengths: Vec<usize>,
    edge_literals: Vec<u32>,
    edge_range: Range<u32>,
    memories: [Memory; MEMORIES],
}

/// What the threads of one turn remember; lock and counts of two memories never lie in one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Memory(RwLock<AHashMap<Box<str>, Arc<Bits>>>);

/// The turn of the calling thread among the memories.
fn turn() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static TURN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % MEMORIES);
    TURN.with(|turn| *turn)
}

impl TopicIndex {
    /// `rules` are (rank, patterns); no patterns = any topic. Ranks in `edge_range` must list the edge topic literally.
    pub fn new(rules: &[(u32, &[Glob])], edge_range: Range<u32>) -> TopicIndex {
        let mut index = TopicIndex {
            free: Vec::new(),
            literals: AHashMap::new(),
            patterns: Vec::new(),
            prefixes: AHashMap::new(),
            prefix_lengths: Vec::new(),
            edge_literals: Vec::new(),
            edge_range,
            memories: Default::default(),
        };
        let mut known: AHashMap<&str, usize> = AHashMap::new();
        for (rank, globs) in rules {
            if globs.is_empty() {
                index.free.push(*rank);
            }
            for glob in *globs {
                index.add(*rank, glob, &mut known);
            }
        }
        index.prefix_lengths = index.prefixes.keys().map(String::len).collect();
        index.prefix_lengths.sort_unstable();
        index.prefix_lengths.dedup();
        index
    }

    fn add<'g>(&mut self, rank: u32, glob: &'g Glob, known: &mut AHashMap<&'g str, usize>) {
        if glob.text() == EDGE_TOPIC {
            self.edge_literals.push(rank);
        }
        let prefix = match glob.shape() {
            Shape::Blank => return,
            Shape::Literal(topic) => {
                self.literals.entry(topic.clone()).or_default().push(rank);
                return;
            }
            Shape::Prefix(prefix) | Shape::General(prefix) => prefix,
        };
        let at = *known.entry(glob.text()).or_insert_with(|| {
            let at = self.patterns.len();
            self.patterns.push((glob.clone(), Vec::new()));
            self.prefixes.entry(prefix.clone()).or_default().push(at);
            at
        });
        if let Some((_, ranks)) = self.patterns.get_mut(at) {
            ranks.push(rank);
        }
    }

    /// Ranks whose topics admit `topic`.
    pub fn lookup(&self, topic: &str) -> Arc<Bits> {
        if topic.len() > MAX_CACHED_TOPIC_BYTES {
            return Arc::new(self.compute(topic));
        }
        let Some(Memory(memory)) = self.memories.get(turn()) else {
            return Arc::new(self.compute(topic));
        };
        let known = memory.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(bits) = known.get(topic) {
            return Arc::clone(bits);
        }
        drop(known);
        let bits = Arc::new(self.compute(topic));
        let mut known = memory.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CACHED_TOPICS {
            known.clear();
        }
        known.insert(topic.into(), Arc::clone(&bits));
        bits
    }

    fn compute(&self, topic: &str) -> Bits {
        let mut ranks = self.free.clone();
        ranks.extend(self.literals.get(topic).into_iter().flatten());
        for length in &self.prefix_lengths {
            let Some(candidates) = topic.get(..*length).and_then(|p| self.prefixes.get(p)) else {
                continue;
            };
            for (glob, found) in candidates.iter().filter_map(|at| self.patterns.get(*at)) {
                if glob.matches(topic) {
                    ranks.extend(found);
                }
            }
        }
        if topic == EDGE_TOPIC {
            ranks.retain(|rank| !self.edge_range.contains(rank) || self.edge_literals.contains(rank));
        }
        Bits::new(&ranks)
    }
}
