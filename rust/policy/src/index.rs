//! Finds the first rule whose indexed fields all hold, without looking at the others.
//!
//! Per field: which rules do not restrict it, and per value which rules list it. A request selects one set per field; ranks in all of
//! them are candidates, visited in rank order.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::bits::Bits;
use crate::facts::Facts;
use crate::glob::Glob;
use crate::mcp::{fold, McpField};
use crate::topics::TopicIndex;

/// What a rule can be found by, besides the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    JobScope,
    WorkflowScope,
    Tenant,
    Capability,
    RiskTag,
    /// One of the listed requirements.
    Requirement,
    PackId,
    ActorId,
    ActorType,
    ContentType,
    /// One of the labels that must be equal, as key, NUL, value.
    Label,
    AllowlistLabel,
    ThresholdLabel,
    Secrets,
    Mcp(u8),
    /// Selects only MCP requests.
    McpRequest,
}

/// How one rule is found.
#[derive(Debug, Default)]
pub struct Entry {
    pub topics: Vec<Glob>,
    /// Fields the rule restricts, with the values that admit it.
    pub fields: Vec<(Field, Vec<String>)>,
}

#[derive(Debug)]
struct FieldIndex {
    field: Field,
    free: Bits,
    values: AHashMap<String, Bits>,
}

/// Index over the rules of a policy; the rank of a rule is its place in the order of evaluation.
#[derive(Debug)]
pub struct Index {
    topics: TopicIndex,
    fields: Vec<FieldIndex>,
}

/// Rules one field admits for one request.
struct View<'a> {
    free: &'a Bits,
    hits: SmallVec<[&'a Bits; 4]>,
}

impl View<'_> {
    #[inline]
    fn summary(&self, block: usize) -> u64 {
        self.hits
            .iter()
            .fold(self.free.summary(block), |all, bits| all | bits.summary(block))
    }

    #[inline]
    fn word(&self, word: usize) -> u64 {
        self.hits
            .iter()
            .fold(self.free.word(word), |all, bits| all | bits.word(word))
    }
}

/// The sets one request selects; good for several searches.
pub struct Selection<'a> {
    topic: Arc<Bits>,
    views: SmallVec<[View<'a>; 8]>,
}

impl Index {
    /// Index of `entries` in rank order.
    pub fn new(entries: &[Entry], edge_range: Range<u32>) -> Index {
        let live: Vec<(u32, &Entry)> = (0u32..).zip(entries).collect();
        let topics: Vec<(u32, &[Glob])> = live
            .iter()
            .map(|(rank, entry)| (*rank, entry.topics.as_slice()))
            .collect();
        let mut used: Vec<Field> = live
            .iter()
            .flat_map(|(_, entry)| entry.fields.iter().map(|(field, _)| *field))
            .collect();
        used.sort_unstable();
        used.dedup();
        Index {
            topics: TopicIndex::new(&topics, edge_range),
            fields: used
                .into_iter()
                .map(|field| FieldIndex::new(field, &live))
                .collect(),
        }
    }

    /// Look up every field of a request once.
    pub fn select<'a>(&'a self, facts: &Facts<'_, '_>) -> Selection<'a> {
        let mut views = SmallVec::new();
        for field in &self.fields {
            let mut hits = SmallVec::new();
            field.collect(facts, &mut hits);
            views.push(View {
                free: &field.free,
                hits,
            });
        }
        Selection {
            topic: self.topics.lookup(facts.topic),
            views,
        }
    }
}

impl FieldIndex {
    fn new(field: Field, entries: &[(u32, &Entry)]) -> FieldIndex {
        let mut free = Vec::new();
        let mut values: AHashMap<String, Vec<u32>> = AHashMap::new();
        for (rank, entry) in entries {
            match entry.fields.iter().find(|(other, _)| *other == field) {
                None => free.push(*rank),
                Some((_, listed)) => {
                    // A blank entry equals nothing, so it admits nothing; a label may have an empty name.
                    let is_key = matches!(field, Field::AllowlistLabel | Field::ThresholdLabel);
                    for value in listed.iter().filter(|value| is_key || !value.is_empty()) {
                        values.entry(value.clone()).or_default().push(*rank);
                    }
                }
            }
        }
        FieldIndex {
            field,
            free: Bits::new(&free),
            values: values
                .into_iter()
                .map(|(value, ranks)| (value, Bits::new(&ranks)))
                .collect(),
        }
    }

    fn collect<'a>(&'a self, facts: &Facts<'_, '_>, hits: &mut SmallVec<[&'a Bits; 4]>) {
        let mut exact = |value: &str| hits.extend(self.values.get(value));
        match self.field {
            Field::JobScope => exact(facts.job_scope),
            Field::WorkflowScope => exact(facts.workflow_scope),
            Field::Tenant => exact(&fold(facts.tenant)),
            Field::Capability => exact(&fold(facts.request.capability)),
            Field::PackId => exact(&fold(facts.request.pack_id)),
            Field::ActorId => exact(&fold(facts.actor_id)),
            Field::ActorType => exact(facts.actor_type),
            Field::ContentType => exact(&fold(facts.request.input_content_type)),
            Field::RiskTag => {
                for tag in &facts.request.risk_tags {
                    exact(&fold(tag));
                }
            }
            Field::Requirement => {
                for name in &facts.request.requires {
                    exact(&fold(name));
                }
            }
            Field::Label => {
                let mut pair = String::new();
                for (key, value) in &facts.request.labels {
                    pair.clear();
                    pair.push_str(key);
                    pair.push('\0');
                    pair.push_str(value);
                    exact(&pair);
                }
            }
            Field::AllowlistLabel | Field::ThresholdLabel => {
                for (key, _) in &facts.request.labels {
                    exact(key);
                }
            }
            Field::Secrets => exact(if facts.has_secrets { "true" } else { "false" }),
            Field::Mcp(at) => {
                if let Some(field) = McpField::ALL.get(usize::from(at)) {
                    exact(&fold(facts.mcp.value(*field)));
                }
            }
            Field::McpRequest => exact(if facts.mcp.is_present() { "true" } else { "" }),
        }
    }
}

impl Selection<'_> {
    /// Lowest rank in `range` that every field admits and `accept` takes.
    pub fn first(&self, range: Range<u32>, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        if range.is_empty() {
            return None;
        }
        let (first_word, last_word) = (range.start as usize / 64, (range.end as usize - 1) / 64);
        for block in first_word / 64..=last_word / 64 {
            let mut live = self.live_words(block);
            while live != 0 {
                let word = block * 64 + live.trailing_zeros() as usize;
                live &= live - 1;
                if word < first_word {
                    continue;
                }
                if word > last_word {
                    return None;
                }
                let mut candidates = self.candidates(word);
                while candidates != 0 {
                    let rank = word as u32 * 64 + candidates.trailing_zeros();
                    candidates &= candidates - 1;
                    if range.contains(&rank) && accept(rank) {
                        return Some(rank);
                    }
                }
            }
        }
        None
    }

    #[inline]
    fn live_words(&self, block: usize) -> u64 {
        let mut live = self.topic.summary(block);
        for view in &self.views {
            if live == 0 {
                return 0;
            }
            live &= view.summary(block);
        }
        live
    }

    #[inline]
    fn candidates(&self, word: usize) -> u64 {
        let mut candidates = self.topic.word(word);
        for view in &self.views {
            if candidates == 0 {
                return 0;
            }
            candidates &= view.word(word);
        }
        candidates
    }
}
