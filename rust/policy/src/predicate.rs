//! The three predicate forms of policy spec §5.7.

use std::cmp::Ordering;

use crate::delegation::DelegationFacts;
use crate::mcp::fold;

/// A test of how a call was delegated; a direct call never passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// The depth compares like one of these with the number.
    Depth(Vec<Ordering>, i64),
    /// Folded name of the root issuer.
    Issuer(String),
    /// Folded name among the scopes.
    Scope(String),
}

impl Predicate {
    /// Read one of the three forms; blanks around operators do not count.
    pub fn parse(text: &str) -> Option<Predicate> {
        let rest = text.trim().strip_prefix("delegation")?;
        let rest = rest.trim_start().strip_prefix('.')?.trim_start();
        if let Some(rest) = rest.strip_prefix("depth") {
            return comparison(rest.trim_start());
        }
        if let Some(rest) = rest.strip_prefix("issuer") {
            let written = rest.trim_start().strip_prefix("==")?;
            return name(written.trim()).map(Predicate::Issuer);
        }
        let rest = rest.strip_prefix("scope")?.trim_start().strip_prefix('.')?;
        let rest = rest.trim_start().strip_prefix("contains")?.trim();
        let inner = rest.strip_prefix('(')?.strip_suffix(')')?;
        name(inner.trim()).map(Predicate::Scope)
    }

    /// Whether the call passes; `None` is a direct one.
    pub fn holds(&self, call: Option<&DelegationFacts<'_>>) -> bool {
        let Some(call) = call else { return false };
        match self {
            Predicate::Depth(orderings, number) => orderings.contains(&call.depth.cmp(number)),
            Predicate::Issuer(name) => *fold(call.issuer) == **name,
            Predicate::Scope(name) => call.scope.iter().any(|scope| *fold(scope) == **name),
        }
    }
}

fn comparison(text: &str) -> Option<Predicate> {
    use Ordering::{Equal, Greater, Less};
    let operators: [(&str, &[Ordering]); 5] = [
        (">=", &[Greater, Equal]),
        ("<=", &[Less, Equal]),
        ("==", &[Equal]),
        (">", &[Greater]),
        ("<", &[Less]),
    ];
    let (orderings, number) = operators
        .iter()
        .find_map(|(operator, orderings)| Some((orderings, text.strip_prefix(operator)?)))?;
    Some(Predicate::Depth(orderings.to_vec(), number.trim().parse().ok()?))
}

/// A name in single, double or no quotes, folded.
fn name(text: &str) -> Option<String> {
    let unquoted = ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    let name = unquoted.unwrap_or(text);
    let is_plain = !name.trim().is_empty() && !name.contains(['\'', '"', '(', ')']);
    is_plain.then(|| fold(name).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::Predicate;
    use crate::delegation::DelegationFacts;

    #[test]
    fn the_three_forms_are_accepted_with_any_quotes_and_spaces() {
        for text in [
            "delegation.depth >= 2",
            "delegation.depth<3",
            " delegation.depth == 0 ",
            "delegation.issuer == 'root'",
            "delegation.issuer==\"root\"",
            "delegation.issuer == root",
            "delegation.scope.contains('read')",
            "delegation.scope.contains( read )",
        ] {
            assert!(Predicate::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "delegation",
            "delegation.depth",
            "delegation.depth != 2",
            "delegation.depth >= two",
            "delegation.issuer > 'a'",
            "delegation.issuer == ''",
            "delegation.scope == 'a'",
            "delegation.scope.contains('a') and true",
            "risk.depth > 1",
        ] {
            assert!(Predicate::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn each_form_tests_its_fact_and_a_direct_call_passes_none() {
        let call = DelegationFacts {
            depth: 2,
            issuer: "Root",
            chain: vec!["Root"],
            scope: vec!["Read", "write"],
        };
        for (text, expected) in [
            ("delegation.depth >= 2", true),
            ("delegation.depth > 2", false),
            ("delegation.depth <= 1", false),
            ("delegation.depth < 3", true),
            ("delegation.depth == 2", true),
            ("delegation.issuer == 'ROOT'", true),
            ("delegation.issuer == other", false),
            ("delegation.scope.contains(read)", true),
            ("delegation.scope.contains('admin')", false),
        ] {
            let predicate = Predicate::parse(text).unwrap();
            assert_eq!(predicate.holds(Some(&call)), expected, "{text}");
            assert!(!predicate.holds(None), "{text}");
        }
    }
}
