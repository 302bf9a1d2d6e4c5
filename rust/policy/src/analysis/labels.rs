//! Values of one label that pass several tests, or the proof that none does.
//!
//! The tests divide all texts into finitely many classes: equal to a literal, equal when folded to a listed value, a number between two
//! limits, anything else. One text of every class is tried; padding keeps number and folded value and makes a text that is no literal.

use std::collections::BTreeSet;

use crate::analysis::condition::LabelTest;
use crate::analysis::limits::MAX_LABEL_VALUES;
use crate::mcp::fold;
use crate::rule::decimal;

/// What is known about a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// It is best absent.
    Absent,
    Text(String),
    None,
    Undecided,
}

impl LabelTest {
    fn holds(&self, value: Option<&str>) -> bool {
        let text = value.unwrap_or("");
        let is_inside = |list: &BTreeSet<String>| {
            let folded = fold(text);
            !folded.is_empty() && list.contains(&*folded)
        };
        match self {
            LabelTest::Is(expected) => text == expected,
            LabelTest::IsNot(expected) => text != expected,
            LabelTest::Outside(list) => value.is_some() && !is_inside(list),
            LabelTest::InsideOrAbsent(list) => value.is_none() || is_inside(list),
            LabelTest::Above(limit) => decimal(text).is_some_and(|number| number > *limit),
            LabelTest::NotAbove(limit) => decimal(text).is_none_or(|number| number <= *limit),
        }
    }
}

/// A value that passes all `tests`, absent when that does; `is_absent` allows nothing else.
pub(crate) fn choose(tests: &[LabelTest], is_absent: bool) -> Value {
    let passes = |value: Option<&str>| tests.iter().all(|test| test.holds(value));
    if passes(None) {
        return Value::Absent;
    }
    if is_absent {
        return Value::None;
    }
    // A literal that is demanded decides alone.
    if let Some(text) = tests.iter().find_map(|test| match test {
        LabelTest::Is(text) => Some(text),
        _ => None,
    }) {
        return if passes(Some(text)) {
            Value::Text(text.clone())
        } else {
            Value::None
        };
    }
    let Some(texts) = candidates(tests) else {
        return Value::Undecided;
    };
    let found = texts.into_iter().find(|text| passes(Some(text)));
    found.map_or(Value::None, Value::Text)
}

/// Whether some value passes.
pub(crate) fn is_possible(tests: &[LabelTest], is_absent: bool) -> bool {
    choose(tests, is_absent) != Value::None
}

fn candidates(tests: &[LabelTest]) -> Option<Vec<String>> {
    let mut literals = 0usize;
    let mut listed: BTreeSet<&String> = BTreeSet::new();
    let mut limits: Vec<f64> = Vec::new();
    for test in tests {
        match test {
            LabelTest::Is(_) | LabelTest::IsNot(_) => literals += 1,
            LabelTest::Outside(list) | LabelTest::InsideOrAbsent(list) => listed.extend(list.iter()),
            LabelTest::Above(limit) | LabelTest::NotAbove(limit) => limits.push(*limit),
        }
    }
    let spellings = literals + listed.len() + 1;
    if (listed.len() + (2 * limits.len() + 3) * spellings) * (literals + 1) > MAX_LABEL_VALUES {
        return None;
    }
    let mut texts = vec!["other".to_owned(), String::new()];
    texts.extend((0..spellings).map(|at| format!("other-{at}")));
    texts.extend(listed.iter().map(|text| (*text).clone()));
    for number in numbers(&limits) {
        // Leading zeros give as many spellings of one number as are needed to be none of the listed ones.
        for zeros in 0..spellings {
            texts.push(with_zeros(&number, zeros));
        }
    }
    let mut padded = Vec::new();
    for spaces in 0..=literals {
        let space = " ".repeat(spaces);
        padded.extend(texts.iter().map(|text| format!("{text}{space}")));
    }
    Some(padded)
}

/// A number of every stretch between the limits, as text.
fn numbers(limits: &[f64]) -> Vec<String> {
    let mut numbers = Vec::new();
    for limit in limits.iter().filter(|limit| limit.is_finite()) {
        for number in [limit + 1.0, next_up(*limit), *limit] {
            if number.is_finite() {
                numbers.push(format!("{number}"));
            }
        }
    }
    // Reads as infinity, above every finite limit.
    numbers.extend((!limits.is_empty()).then(|| "1e999".to_owned()));
    numbers
}

/// The next larger number, for a finite one.
fn next_up(number: f64) -> f64 {
    let bits = number.to_bits();
    f64::from_bits(match number {
        0.0 => 1,
        positive if positive > 0.0 => bits + 1,
        _ => bits - 1,
    })
}

fn with_zeros(number: &str, zeros: usize) -> String {
    match number.strip_prefix('-') {
        Some(rest) => format!("-{}{rest}", "0".repeat(zeros)),
        None => format!("{}{number}", "0".repeat(zeros)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::{choose, Value};
    use crate::analysis::condition::LabelTest::{Above, InsideOrAbsent, Is, IsNot, NotAbove, Outside};

    fn list(values: &[&str]) -> Arc<BTreeSet<String>> {
        Arc::new(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn contradictions_have_no_value() {
        for tests in [
            vec![Is("a".to_owned()), IsNot("a".to_owned())],
            vec![Is("A".to_owned()), Outside(list(&["a"]))],
            vec![Above(5.0), NotAbove(4.0)],
            vec![Above(5.0), InsideOrAbsent(list(&["3", "x"]))],
            vec![Outside(list(&["a"])), InsideOrAbsent(list(&["a"]))],
        ] {
            assert_eq!(choose(&tests, false), Value::None, "{tests:?}");
        }
    }

    #[test]
    fn values_of_every_class_are_found() {
        for tests in [
            vec![Above(5.0), NotAbove(5.5)],
            vec![Above(5.0), Outside(list(&["6", "7"])), NotAbove(6.0)],
            vec![Above(5.0), InsideOrAbsent(list(&["6"])), IsNot("6".to_owned())],
            vec![Above(-3.0), Outside(list(&["-2", "-02"])), NotAbove(-2.0)],
            vec![Outside(list(&["a"]))],
            vec![Above(1e308), Outside(list(&["1e999"]))],
        ] {
            assert!(matches!(choose(&tests, false), Value::Text(_)), "{tests:?}");
        }
    }
}
