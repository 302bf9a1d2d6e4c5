//! The search: lanes over parts of a text, so that one is read while the others wait for the table.

use std::ops::Range;

use crate::bits::ones;

use super::{number_of, Automaton, Sighting, CELLS, COMPLETE, LONGEST, UNIT};

/// Parts searched at a time.
const LANES: usize = 8;
/// Bytes of a part, at most.
const PART: usize = 8 * 1024;
/// Bytes of every lane between two looks at where its part ends.
const STRIDE: usize = 64;
/// What stands behind the end of a text: a border like any other.
const BEHIND: [u8; STRIDE] = [b'\n'; STRIDE];

impl<K: Copy + Ord> Automaton<K> {
    /// Ends of all phrases in `text[range]`, by offset in the text. A phrase may begin before the range.
    pub(crate) fn find(&self, text: &[u8], range: Range<usize>) -> Vec<Sighting<K>> {
        self.find_in(text, std::slice::from_ref(&range))
    }

    /// Ends of all phrases in ranges of the text, which are in order and apart.
    pub(crate) fn find_in(&self, text: &[u8], ranges: &[Range<usize>]) -> Vec<Sighting<K>> {
        let mut found = Vec::new();
        let mut lanes: [Vec<Sighting<K>>; LANES] = std::array::from_fn(|_| Vec::new());
        for parts in parts_of(text.len(), ranges).chunks(LANES) {
            self.find_in_parts(text, parts, &mut lanes);
            // Each lane is in order, and so are the lanes.
            lanes.iter_mut().for_each(|lane| found.append(lane));
        }
        found
    }

    /// One lane over each part.
    fn find_in_parts(&self, text: &[u8], parts: &[Range<usize>], found: &mut [Vec<Sighting<K>>; LANES]) {
        let Some(table) = self.cells() else {
            return;
        };
        let start = |lane: usize| parts.get(lane).map_or(text.len(), |part| part.start);
        let mut states: [usize; LANES] = std::array::from_fn(|lane| self.state_before(text, start(lane)));
        let longest = parts.iter().map(Range::len).max().unwrap_or(0);
        let mut strides = [BEHIND; LANES];
        for done in (0..longest).step_by(STRIDE) {
            for (stride, part) in strides.iter_mut().zip(parts) {
                copy_stride(text, part.start + done, stride);
            }
            let mut place = 0;
            while place < STRIDE {
                place = walk(table, &self.classes, &strides, &mut states, place);
                if states.iter().any(|state| state & COMPLETE != 0) {
                    self.report(states, parts, done + place, found);
                }
            }
        }
    }

    /// Adds what the lanes complete with their first `count` bytes.
    #[inline(never)]
    fn report(
        &self,
        states: [usize; LANES],
        parts: &[Range<usize>],
        count: usize,
        found: &mut [Vec<Sighting<K>>; LANES],
    ) {
        // Mostly it is one of them.
        let complete = states
            .iter()
            .rev()
            .fold(0, |all, state| all << 1 | (state & COMPLETE) as u64);
        for lane in ones(complete).map(|lane| lane as usize) {
            let (Some(part), Some(state), Some(found)) =
                (parts.get(lane), states.get(lane), found.get_mut(lane))
            else {
                continue;
            };
            let end = part.start + count;
            if end <= part.end {
                let kinds = self.kinds_of(*state).iter();
                found.extend(kinds.map(|kind| Sighting { end, kind: *kind }));
            }
        }
    }

    /// Kinds of the phrases that a state completes.
    fn kinds_of(&self, state: usize) -> &[K] {
        let state = number_of(state);
        let end_of =
            |state: Option<usize>| state.and_then(|state| self.ends.get(state)).copied().unwrap_or(0);
        let (from, to) = (end_of(state.checked_sub(1)), end_of(Some(state)));
        self.kinds.get(from as usize..to as usize).unwrap_or(&[])
    }

    fn cells(&self) -> Option<&[u16; CELLS]> {
        self.cells.get(self.skipped..)?.first_chunk()
    }

    /// State of the automaton just before offset `at`.
    fn state_before(&self, text: &[u8], at: usize) -> usize {
        let Some(table) = self.cells() else {
            return 0;
        };
        // The start of a text is a border like its end.
        let border = step(table, &self.classes, 0, b'\n');
        let before = text.get(at.saturating_sub(LONGEST)..at).unwrap_or(&[]);
        before
            .iter()
            .fold(border, |state, byte| step(table, &self.classes, state, *byte))
    }

    /// One lane over everything: what the lanes are tested against.
    #[cfg(test)]
    pub(crate) fn find_plainly(&self, text: &[u8]) -> Vec<Sighting<K>> {
        let table = self.cells().unwrap();
        let mut state = self.state_before(text, 0);
        let mut found = Vec::new();
        for (place, byte) in text.iter().chain(b"\n").enumerate() {
            state = step(table, &self.classes, state, *byte);
            if state & COMPLETE != 0 {
                let end = place + 1;
                found.extend(
                    self.kinds_of(state)
                        .iter()
                        .map(|kind| Sighting { end, kind: *kind }),
                );
            }
        }
        found
    }
}

/// Steps of all lanes over their strides from `place` on, up to the end or a complete state; answers where. A function of its own,
/// so that all states stay in registers.
#[inline(never)]
fn walk(
    table: &[u16; CELLS],
    classes: &[u8; 256],
    strides: &[[u8; STRIDE]; LANES],
    states: &mut [usize; LANES],
    place: usize,
) -> usize {
    // Told so, the compiler knows that no place is outside of the table.
    let mut here = states.map(|state| state & usize::from(u16::MAX));
    let mut place = place;
    let mut any = 0;
    while place < STRIDE && any & COMPLETE == 0 {
        any = 0;
        for (state, stride) in here.iter_mut().zip(strides) {
            let byte = stride.get(place).copied().unwrap_or(0);
            *state = step(table, classes, *state, byte);
            any |= *state;
        }
        place = place.wrapping_add(1);
    }
    *states = here;
    place
}

/// One step; the sizes of the tables make the checks of the places in them vanish.
#[inline(always)]
fn step(table: &[u16; CELLS], classes: &[u8; 256], state: usize, byte: u8) -> usize {
    let class = classes.get(usize::from(byte)).copied().unwrap_or(0);
    let cell = state.wrapping_mul(UNIT).wrapping_add(usize::from(class));
    table.get(cell).copied().map_or(0, usize::from)
}

/// Bytes of the text from `at` on, and what stands behind its end.
#[inline]
fn copy_stride(text: &[u8], at: usize, stride: &mut [u8; STRIDE]) {
    let rest = text.get(at..).unwrap_or(&[]);
    if let Some(bytes) = rest.first_chunk() {
        *stride = *bytes;
        return;
    }
    *stride = BEHIND;
    stride.iter_mut().zip(rest).for_each(|(slot, byte)| *slot = *byte);
}

/// The ranges in parts of about one size, as many as fill all lanes. The last byte of a text has a border behind it.
fn parts_of(length: usize, ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let whole = |range: &Range<usize>| {
        let is_last = range.end >= length;
        range.start..range.end.min(length) + usize::from(is_last)
    };
    let total: usize = ranges.iter().map(|range| whole(range).len()).sum();
    let rounds = total.div_ceil(LANES * PART).max(1);
    let size = total
        .div_ceil(LANES * rounds)
        .next_multiple_of(STRIDE)
        .max(STRIDE);
    let cut = |range: Range<usize>| {
        let (from, end) = (range.start, range.end);
        (from..end)
            .step_by(size)
            .map(move |start| start..(start + size).min(end))
    };
    ranges.iter().map(whole).flat_map(cut).collect()
}
