//! One finding per span and group; absorbing detectors take all (output policy spec §16.6, overlap).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::catalogue::definition;
use crate::definition::{Group, Rank};
use crate::hit::Hit;
use crate::mask::DetectorId;
use crate::scan::columns::{name_of, Table};
use crate::scan::context::{distance, has_word};

fn traits_of(hit: &Hit) -> (Group, Rank, bool) {
    definition(hit.detector).map_or((Group::Custom, Rank::Vendor, false), |definition| {
        (definition.group, definition.rank, definition.is_absorbing)
    })
}

/// Spans that do not overlap each other, by their start.
#[derive(Default)]
struct Spans(BTreeMap<usize, usize>);

impl Spans {
    fn touches(&self, hit: &Hit) -> bool {
        let before = self.0.range(..hit.end()).next_back();
        before.is_some_and(|(_, end)| *end > hit.offset)
    }

    fn insert(&mut self, hit: &Hit) {
        self.0.insert(hit.offset, hit.end());
    }
}

/// What decides between two hits: the lowest key stays.
type Key = (
    Reverse<bool>,
    Reverse<Rank>,
    Reverse<usize>,
    usize,
    usize,
    Reverse<u32>,
    DetectorId,
);

/// How far what a personal number is called stands from it: of two readings of the same digits the nearer name holds.
fn name_distance(content: &[u8], hit: &Hit, table: &mut Option<Table>) -> usize {
    let definition = definition(hit.detector).filter(|definition| definition.group == Group::Pii);
    let words = definition.map_or(&[][..], |definition| definition.context);
    if words.is_empty() {
        return usize::MAX;
    }
    let heads_column = || {
        let name = name_of(content, hit.offset, table);
        name.is_some_and(|name| has_word(name, words)).then_some(0)
    };
    distance(content, hit.offset, hit.end(), words)
        .or_else(heads_column)
        .unwrap_or(usize::MAX)
}

/// The hits that stay, in order of offset, then detector.
pub(crate) fn resolve(content: &[u8], mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort_unstable_by_key(|hit| (hit.offset, hit.detector, hit.length));
    let mut kept = Vec::with_capacity(hits.len());
    let mut table = None;
    let mut rest = hits.as_mut_slice();
    // Most hits stand alone; only those that touch each other, perhaps through others, have to be compared.
    while let Some(first) = rest.first() {
        let mut end = first.end();
        let count = rest.iter().take_while(|hit| {
            let touches = hit.offset < end;
            end = end.max(if touches { hit.end() } else { end });
            touches
        });
        let count = count.count().max(1);
        let (together, others) = rest.split_at_mut(count);
        match together {
            [alone] => kept.push(*alone),
            _ => settle(content, together, &mut kept, &mut table),
        }
        rest = others;
    }
    kept.dedup();
    kept
}

/// Adds the hits that stay of some that touch each other.
fn settle(content: &[u8], hits: &[Hit], kept: &mut Vec<Hit>, table: &mut Option<Table>) {
    let before = kept.len();
    let mut keyed: Vec<(Key, Group, Hit)> = hits
        .iter()
        .map(|hit| {
            let (group, rank, is_absorbing) = traits_of(hit);
            let key = (
                Reverse(is_absorbing),
                Reverse(rank),
                Reverse(hit.length),
                hit.offset,
                name_distance(content, hit, table),
                Reverse(hit.confidence.to_bits()),
                hit.detector,
            );
            (key, group, *hit)
        })
        .collect();
    keyed.sort_unstable_by_key(|(key, _, _)| *key);
    let mut absorbed = Spans::default();
    let mut by_group: [Spans; 5] = Default::default();
    for ((Reverse(is_absorbing), ..), group, hit) in keyed {
        let Some(spans) = by_group.get_mut(group as usize) else {
            continue;
        };
        // Operator patterns never hide one another, nor are they hidden.
        if group != Group::Custom {
            if absorbed.touches(&hit) || spans.touches(&hit) {
                continue;
            }
            spans.insert(&hit);
        }
        if is_absorbing {
            absorbed.insert(&hit);
        }
        kept.push(hit);
    }
    if let Some(added) = kept.get_mut(before..) {
        added.sort_unstable_by_key(|hit| (hit.offset, hit.detector, hit.length));
    }
}
