//! Which rules two policies have in common, in the same order.

use similar::{capture_diff_slices, Algorithm, DiffOp};

use crate::compile::Policy;
use crate::rule::CompiledRule;

/// Per rule of each policy: whether it stands, in the same order among such rules, in the other one too.
#[derive(Debug)]
pub(crate) struct Common {
    pub old: Vec<bool>,
    pub new: Vec<bool>,
}

/// What of a rule decides; names and reasons do not, unless the rule counts, because counts belong to the name.
fn identity(policy: &Policy, rank: u32, rule: &CompiledRule) -> String {
    let groups = &policy.groups;
    let group = u8::from(groups.invariants.contains(&rank)) + 2 * u8::from(groups.ordinary.contains(&rank));
    let counted = rule.counted.as_ref().map(|counted| (&rule.id, counted));
    format!(
        "{group} {:?} {:?} {:?} {counted:?} {:?}",
        rule.scope, rule.decision, rule.constraints, rule.matching
    )
}

/// Align the rules of two policies.
pub(crate) fn align(old: &Policy, new: &Policy) -> Common {
    let identities = |policy: &Policy| -> Vec<String> {
        let ranked = (0u32..).zip(&policy.rules);
        ranked.map(|(rank, rule)| identity(policy, rank, rule)).collect()
    };
    let (before, after) = (identities(old), identities(new));
    let mut common = Common {
        old: vec![false; before.len()],
        new: vec![false; after.len()],
    };
    for op in capture_diff_slices(Algorithm::Myers, &before, &after) {
        if let DiffOp::Equal {
            old_index,
            new_index,
            len,
        } = op
        {
            for (list, start) in [(&mut common.old, old_index), (&mut common.new, new_index)] {
                let run = list.iter_mut().skip(start).take(len);
                run.for_each(|is_common| *is_common = true);
            }
        }
    }
    common
}
