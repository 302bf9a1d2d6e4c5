//! Patterns that are rows of byte classes, as most forms are: matched without an automaton.

use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::ParserBuilder;

/// Bytes that may stand at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes([u64; 4]);

impl Bytes {
    fn of(bytes: impl Iterator<Item = u8>) -> Bytes {
        let mut set = Bytes([0; 4]);
        for byte in bytes {
            if let Some(bits) = set.0.get_mut(usize::from(byte >> 6)) {
                *bits |= 1 << (byte & 63);
            }
        }
        set
    }

    pub const ALL: Bytes = Bytes([u64::MAX; 4]);

    #[inline]
    pub fn has(&self, byte: u8) -> bool {
        let bits = self.0.get(usize::from(byte >> 6)).copied().unwrap_or(0);
        bits & 1 << (byte & 63) != 0
    }

    pub fn add(&mut self, other: &Bytes) {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(mine, theirs)| *mine |= theirs);
    }

    fn meets(&self, other: &Bytes) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .any(|(mine, theirs)| mine & theirs != 0)
    }
}

/// So many bytes of one class in a row.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Bytes,
    least: usize,
    most: usize,
}

/// Alternatives that a pattern may be taken apart into.
const MAX_ROWS: usize = 16;
/// Copies of a group that is repeated.
const MAX_COPIES: u32 = 16;

/// A pattern as rows of byte classes, of which the first that matches counts. In each row there is one way to match: what a
/// class may take more of, the class behind it cannot take.
#[derive(Debug)]
pub(crate) struct Rows(Vec<Row>);

/// One row, cut where the first class of varying number is.
#[derive(Debug)]
struct Row {
    /// The classes of the row.
    sets: Vec<Bytes>,
    /// For each place of the first part the class that stands there.
    places: Vec<u8>,
    /// The second part.
    pieces: Vec<Piece>,
}

impl Rows {
    /// `None` when the pattern is no such thing.
    pub fn of(pattern: &str) -> Option<Rows> {
        let mut parser = ParserBuilder::new();
        let hir = parser.unicode(false).utf8(false).build().parse(pattern).ok()?;
        let mut rows = vec![Vec::new()];
        add(&hir, &mut rows)?;
        Some(Rows(rows.into_iter().map(Row::new).collect()))
    }

    /// Bytes that a match may begin with.
    pub fn first(&self) -> Bytes {
        let mut first = Bytes::default();
        for row in &self.0 {
            let set = row.places.first().and_then(|set| row.sets.get(usize::from(*set)));
            let piece = row.pieces.first().filter(|piece| piece.least > 0);
            match set.or(piece.map(|piece| &piece.bytes)) {
                Some(bytes) => first.add(bytes),
                None => return Bytes::ALL,
            }
        }
        first
    }

    /// Length of the match that the text begins with.
    #[inline]
    pub fn match_length(&self, text: &[u8]) -> Option<usize> {
        self.0.iter().find_map(|row| row.match_length(text))
    }
}

/// Places of a first part, at most.
const MAX_PLACES: usize = 128;

impl Row {
    fn new(pieces: Vec<Piece>) -> Row {
        let mut row = Row {
            sets: Vec::new(),
            places: Vec::new(),
            pieces: Vec::new(),
        };
        let mut pieces = pieces.into_iter().peekable();
        let is_fixed = |piece: &Piece, before: usize| {
            piece.least > 0 && piece.least == piece.most && before.saturating_add(piece.least) <= MAX_PLACES
        };
        while let Some(piece) = pieces.next_if(|piece| is_fixed(piece, row.places.len())) {
            let place = u8::try_from(row.sets.len()).unwrap_or(u8::MAX);
            row.places.extend(std::iter::repeat_n(place, piece.least));
            row.sets.push(piece.bytes);
        }
        row.pieces = pieces.collect();
        row
    }

    fn match_length(&self, text: &[u8]) -> Option<usize> {
        let head = text.get(..self.places.len())?;
        // One loop over all classes ends once, where a loop for each would end as often as there are classes.
        let takes =
            |(byte, set): (&u8, &u8)| self.sets.get(usize::from(*set)).is_some_and(|set| set.has(*byte));
        if !head.iter().zip(&self.places).all(takes) {
            return None;
        }
        match_pieces(&self.pieces, text, head.len())
    }
}

fn match_pieces(pieces: &[Piece], text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for piece in pieces {
        let rest = text.get(at..).unwrap_or_default();
        let taken = rest
            .iter()
            .take(piece.most)
            .take_while(|byte| piece.bytes.has(**byte))
            .count();
        if taken < piece.least {
            return None;
        }
        at = at.saturating_add(taken);
    }
    Some(at)
}

/// Adds what one part of a pattern matches to every row.
fn add(part: &Hir, rows: &mut Vec<Vec<Piece>>) -> Option<()> {
    match part.kind() {
        HirKind::Empty => Some(()),
        HirKind::Literal(literal) => literal
            .0
            .iter()
            .try_for_each(|byte| push(rows, Bytes::of(std::iter::once(*byte)), 1, 1)),
        HirKind::Class(class) => push(rows, bytes_of(class)?, 1, 1),
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| add(part, rows)),
        HirKind::Alternation(parts) => {
            let before = std::mem::take(rows);
            // The first alternative of the first part counts first.
            for row in &before {
                for part in parts {
                    let mut more = vec![row.clone()];
                    add(part, &mut more)?;
                    rows.append(&mut more);
                }
            }
            (rows.len() <= MAX_ROWS).then_some(())
        }
        HirKind::Repetition(times) => match times.sub.kind() {
            HirKind::Class(class) if times.greedy => {
                let least = usize::try_from(times.min).ok()?;
                let most = times
                    .max
                    .map_or(Some(usize::MAX), |most| usize::try_from(most).ok())?;
                push(rows, bytes_of(class)?, least, most)
            }
            _ if times.max == Some(times.min) && times.min <= MAX_COPIES => {
                (0..times.min).try_for_each(|_| add(&times.sub, rows))
            }
            _ => None,
        },
        _ => None,
    }
}

fn bytes_of(class: &Class) -> Option<Bytes> {
    let Class::Bytes(class) = class else { return None };
    Some(Bytes::of(
        class.iter().flat_map(|range| range.start()..=range.end()),
    ))
}

/// Equal classes in a row are one piece; a class behind one of varying number must not take the same bytes.
fn push(rows: &mut [Vec<Piece>], bytes: Bytes, least: usize, most: usize) -> Option<()> {
    for row in rows {
        match row.last_mut() {
            Some(last) if last.bytes == bytes => {
                last.least = last.least.saturating_add(least);
                last.most = last.most.saturating_add(most);
                continue;
            }
            Some(last) if last.least != last.most && (least == 0 || last.bytes.meets(&bytes)) => return None,
            _ => row.push(Piece { bytes, least, most }),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tables::TABLES;

    #[test]
    fn rows_match_what_their_pattern_matches() {
        let mut state = 5_u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let mut count = 0;
        for entry in TABLES.entries.iter() {
            let Some(row) = Rows::of(entry.form.pattern) else {
                continue;
            };
            count += 1;
            let pattern = format!("^(?:{})", entry.form.pattern);
            let regex = regex::bytes::RegexBuilder::new(&pattern)
                .unicode(false)
                .build()
                .unwrap();
            for (seed, example) in (0..).zip(entry.definition.hits.iter().cycle().take(12)) {
                let mut text = crate::sample::expand(example, seed).into_bytes();
                text.extend_from_slice(b"aA0_-.");
                for _ in 0..20 {
                    for start in 0..text.len() {
                        let expected = regex.find(&text[start..]).map(|found| found.end());
                        assert_eq!(row.match_length(&text[start..]), expected, "{pattern} at {start}");
                    }
                    let place = draw(text.len());
                    text[place] = b"aZ09_-./ \n\xff"[draw(11)];
                }
            }
        }
        assert!(count > 100, "{count}");
    }
}
