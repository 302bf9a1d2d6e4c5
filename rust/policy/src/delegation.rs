//! Delegated calls: their facts (policy spec §20.1) and the match keys that test them (§5.7).

use crate::document::{Delegation, Match};
use crate::mcp::fold;
use crate::request::Request;

/// How a call was delegated; there is none for a direct call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationFacts<'a> {
    /// Above zero.
    pub depth: i64,
    /// Root issuer.
    pub issuer: &'a str,
    /// Without repetitions that differ only in case.
    pub chain: Vec<&'a str>,
    pub scope: Vec<&'a str>,
}

impl<'a> DelegationFacts<'a> {
    /// From the labels that the gateway sets after verifying a delegation token.
    pub fn of(request: &Request<'a>) -> Option<DelegationFacts<'a>> {
        let label = |name| request.label(name).unwrap_or("").trim();
        let depth = label("_delegation.depth").parse::<i64>().ok()?;
        if depth <= 0 {
            return None;
        }
        let mut chain: Vec<&str> = Vec::new();
        for id in entries(label("_delegation.issuer_chain")) {
            if !chain.iter().any(|known| fold(known) == fold(id)) {
                chain.push(id);
            }
        }
        let mut issuer = label("_delegation.issuer");
        if issuer.is_empty() {
            issuer = chain.first().copied().unwrap_or("");
        } else if chain.is_empty() {
            chain.push(issuer);
        }
        Some(DelegationFacts {
            depth,
            issuer,
            chain,
            scope: entries(label("_delegation.scope")).collect(),
        })
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (fold(one), fold(other));
    !one.is_empty() && one == other
}

impl Delegation {
    /// Whether the keys hold for a call; `None` is a direct one.
    pub fn holds(&self, call: Option<&DelegationFacts<'_>>) -> bool {
        let Some(call) = call else {
            return self.matches_direct_call();
        };
        if self.forbid_delegated {
            return false;
        }
        let is_listed = |id: &&str| self.issuers.iter().any(|listed| listed.trim() == *id);
        let has_scope = |wanted: &String| call.scope.iter().any(|scope| is_same(scope, wanted));
        self.max_depth.is_none_or(|limit| call.depth <= limit)
            // Nobody is not a trusted issuer.
            && (self.issuers.is_empty() || (!call.chain.is_empty() && call.chain.iter().all(is_listed)))
            && (self.require_issuer.as_ref()).is_none_or(|issuer| is_same(issuer, call.issuer))
            && self.required_scope.iter().all(has_scope)
    }

    /// Names of the keys that are set.
    pub fn fields(&self) -> Vec<&'static str> {
        let fields = [
            ("forbid_delegated", self.forbid_delegated),
            ("max_depth", self.max_depth.is_some()),
            ("issuers", !self.issuers.is_empty()),
            ("require_issuer", self.require_issuer.is_some()),
            ("required_scope", !self.required_scope.is_empty()),
            ("delegation_required", self.delegation_required.is_some()),
        ];
        fields
            .into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| name)
            .collect()
    }
}

impl Match {
    /// Whether the rule asks how the call was delegated.
    pub fn reads_delegation(&self) -> bool {
        self.predicate.is_some() || self.delegation.is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn facts<'a>(labels: &[(&'a str, &'a str)]) -> Option<DelegationFacts<'a>> {
        DelegationFacts::of(&Request {
            labels: labels.iter().copied().collect(),
            ..Request::default()
        })
    }

    #[test]
    fn only_a_positive_depth_is_a_delegated_call() {
        for depth in ["", "0", "-1", "x", "1.5", "99999999999999999999"] {
            assert_eq!(facts(&[("_delegation.depth", depth)]), None, "{depth}");
        }
        assert_eq!(facts(&[("_delegation.depth", " 2 ")]).unwrap().depth, 2);
    }

    #[test]
    fn root_and_chain_stand_for_each_other() {
        let depth = ("_delegation.depth", "1");
        let chain = facts(&[depth, ("_delegation.issuer_chain", "a, B,A,, c")]).unwrap();
        assert_eq!((chain.issuer, chain.chain), ("a", vec!["a", "B", "c"]));
        let root = facts(&[depth, ("_delegation.issuer", "root")]).unwrap();
        assert_eq!((root.issuer, root.chain), ("root", vec!["root"]));
    }

    #[test]
    fn a_chain_without_anybody_is_not_trusted() {
        let call = facts(&[("_delegation.depth", "1")]).unwrap();
        let keys = Delegation {
            issuers: vec!["root".to_owned()],
            ..Delegation::default()
        };
        assert!(!keys.holds(Some(&call)));
    }
}
