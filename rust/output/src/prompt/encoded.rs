//! `encoded_instruction`: an instruction written so that a filter does not see it and a model reads it.
//!
//! Rotated and reversed text is found here by its phrases. Base64, hex and percent layers are decoded by the engine.

use std::ops::Range;

use super::read::Read;
use super::view::View;
use super::{exfiltration, overrides, persona, Draft};
use crate::around::{slice, without_escapes};
use crate::phrases::{Kind, Sighting};

const ID: &str = "encoded_instruction";
const BEFORE: usize = 160;
const AFTER: usize = 240;

pub(super) fn find(content: &[u8], sightings: &[Sighting], found: &mut Vec<Draft>) {
    let mut free_at = 0;
    for sighting in sightings {
        let read: fn(&[u8]) -> Vec<u8> = match sighting.kind {
            Kind::Rot13 => rotated,
            Kind::Reversed => reversed,
            _ => continue,
        };
        if sighting.end < free_at {
            continue;
        }
        let window = sighting.end.saturating_sub(BEFORE)..(sighting.end + AFTER).min(content.len());
        free_at = window.end;
        let bytes = slice(content, window.clone());
        let plain = without_escapes(bytes);
        let bytes = plain.as_deref().unwrap_or(bytes);
        let decoded = read(bytes);
        let view = View::new(&decoded, 0..decoded.len());
        let words = Read::new(&view);
        let mut inner = Vec::new();
        overrides::find(&words, &mut inner);
        persona::find(&words, &mut inner);
        exfiltration::find_orders(&decoded, &words, &mut inner);
        let best = inner.into_iter().filter(|draft| draft.confidence >= 0.5);
        let Some(best) = best.max_by(|left, right| left.confidence.total_cmp(&right.confidence)) else {
            continue;
        };
        let span = if sighting.kind == Kind::Reversed {
            mirrored(&best.span, bytes.len())
        } else {
            best.span
        };
        found.push(Draft::new(
            ID,
            window.start + span.start..window.start + span.end,
            best.confidence.max(0.8),
        ));
    }
}

fn rotated(bytes: &[u8]) -> Vec<u8> {
    let turn = |byte: &u8| match byte {
        b'a'..=b'z' => (byte - b'a' + 13) % 26 + b'a',
        b'A'..=b'Z' => (byte - b'A' + 13) % 26 + b'A',
        _ => *byte,
    };
    bytes.iter().map(turn).collect()
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

fn mirrored(span: &Range<usize>, length: usize) -> Range<usize> {
    length.saturating_sub(span.end)..length.saturating_sub(span.start)
}
