//! Output parts of several documents → one (output policy spec §4.5).

use ahash::AHashMap;

use super::compile::MergedOutput;
use super::document::{FailMode, OutputRule, OutputSettings};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The security floor: its rules come first, so that nothing shadows them.
    Invariants,
    /// The base or a bundle of the operator.
    Operator { is_bundle: bool },
    /// A pack.
    Other,
}

/// Collects fragments in merge order.
#[derive(Debug, Default)]
pub(crate) struct OutputMerger {
    said_on: bool,
    /// An operator's block that does not say so.
    said_off: bool,
    /// Rules of a document without block, which mean that it is on (legacy).
    is_implied: bool,
    fail_mode: Option<FailMode>,
    min_confidence: Option<f64>,
    invariants: Vec<OutputRule>,
    rules: Vec<OutputRule>,
    /// Place of the first rule of an id, and the fragment it came with.
    ids: AHashMap<String, (usize, usize)>,
    fragments: usize,
}

impl OutputMerger {
    pub fn add(&mut self, voice: Voice, settings: Option<OutputSettings>, rules: Vec<OutputRule>) {
        self.fragments += 1;
        match settings {
            Some(settings) => self.add_settings(voice, &settings),
            None => self.is_implied |= !rules.is_empty(),
        }
        if voice == Voice::Invariants {
            self.invariants.extend(rules);
            return;
        }
        for rule in rules {
            self.add_rule(voice, rule);
        }
    }

    fn add_settings(&mut self, voice: Voice, settings: &OutputSettings) {
        self.said_on |= settings.enabled;
        // A pack cannot switch off what somebody else brings.
        self.said_off |= voice != Voice::Other && !settings.enabled;
        self.fail_mode = match (self.fail_mode, settings.fail_mode) {
            (Some(FailMode::Closed), _) | (_, Some(FailMode::Closed)) => Some(FailMode::Closed),
            (known, said) => known.or(said),
        };
        if voice != Voice::Other {
            self.min_confidence = self.min_confidence.or(settings.min_confidence);
        }
    }

    /// A rule of an operator's bundle takes the place of an earlier one of its id (policy spec §8.3); all others are added.
    fn add_rule(&mut self, voice: Voice, rule: OutputRule) {
        if voice == (Voice::Operator { is_bundle: true }) && !rule.id.is_empty() {
            let earlier = self.ids.get(&rule.id).filter(|(_, from)| *from < self.fragments);
            if let Some(place) = earlier.and_then(|(at, _)| self.rules.get_mut(*at)) {
                *place = rule;
                return;
            }
        }
        self.ids
            .entry(rule.id.clone())
            .or_insert((self.rules.len(), self.fragments));
        self.rules.push(rule);
    }

    pub fn merged(self) -> MergedOutput {
        let mut rules = self.invariants;
        rules.extend(self.rules);
        MergedOutput {
            is_enabled: self.said_on || (!self.said_off && self.is_implied),
            fail_mode: self.fail_mode,
            min_confidence: self.min_confidence,
            rules,
            ..MergedOutput::default()
        }
    }
}
