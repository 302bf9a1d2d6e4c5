//! One finding per span and group; absorbing detectors take all (output policy spec §16.6, overlap).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::catalogue::definition;
use crate::definition::{Group, Rank};
use crate::hit::Hit;
use crate::mask::DetectorId;

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
    Reverse<u32>,
    DetectorId,
);

/// The hits that stay, in order of offset, then detector.
pub(crate) fn resolve(hits: Vec<Hit>) -> Vec<Hit> {
    let mut keyed: Vec<(Key, Group, Hit)> = hits
        .into_iter()
        .map(|hit| {
            let (group, rank, is_absorbing) = traits_of(&hit);
            let key = (
                Reverse(is_absorbing),
                Reverse(rank),
                Reverse(hit.length),
                hit.offset,
                Reverse(hit.confidence.to_bits()),
                hit.detector,
            );
            (key, group, hit)
        })
        .collect();
    keyed.sort_unstable_by_key(|(key, _, _)| *key);
    let mut absorbed = Spans::default();
    let mut by_group: [Spans; 5] = Default::default();
    let mut kept = Vec::with_capacity(keyed.len());
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
    kept.sort_unstable_by_key(|hit| (hit.offset, hit.detector, hit.length));
    kept.dedup();
    kept
}
