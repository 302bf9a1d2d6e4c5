//! The three predicate forms of policy spec §5.7. Every call is direct in this version, so a predicate is checked and never holds.

/// Whether `text` is one of the three forms.
pub fn is_valid(text: &str) -> bool {
    let Some(rest) = text.trim().strip_prefix("delegation") else {
        return false;
    };
    let Some(rest) = rest.trim_start().strip_prefix('.') else {
        return false;
    };
    let rest = rest.trim_start();
    if let Some(rest) = rest.strip_prefix("depth") {
        return is_comparison(rest.trim_start());
    }
    if let Some(rest) = rest.strip_prefix("issuer") {
        return rest
            .trim_start()
            .strip_prefix("==")
            .is_some_and(|name| is_name(name.trim()));
    }
    is_scope_test(rest)
}

fn is_comparison(text: &str) -> bool {
    [">=", "<=", "==", ">", "<"]
        .iter()
        .find_map(|operator| text.strip_prefix(operator))
        .is_some_and(|number| number.trim().parse::<i64>().is_ok())
}

fn is_scope_test(text: &str) -> bool {
    let inner = text
        .strip_prefix("scope")
        .and_then(|rest| rest.trim_start().strip_prefix('.'))
        .and_then(|rest| rest.trim_start().strip_prefix("contains"))
        .and_then(|rest| rest.trim().strip_prefix('('))
        .and_then(|rest| rest.strip_suffix(')'));
    inner.is_some_and(|name| is_name(name.trim()))
}

/// A name in single, double or no quotes.
fn is_name(text: &str) -> bool {
    let unquoted = ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    let name = unquoted.unwrap_or(text);
    !name.trim().is_empty() && !name.contains(['\'', '"', '(', ')'])
}

#[cfg(test)]
mod tests {
    use super::is_valid;

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
            assert!(is_valid(text), "{text}");
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
            assert!(!is_valid(text), "{text}");
        }
    }
}
