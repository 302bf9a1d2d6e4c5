//! Canonical JSON of a part of a document (RFC 8785): keys in UTF-16 order, no blanks, numbers as ECMAScript writes them.

use crate::yaml::{Node, Value};

/// The canonical text of `node`.
pub(crate) fn canonical(node: &Node) -> String {
    let mut out = String::new();
    write(node, &mut out);
    out
}

fn write(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&number(*value)),
        Value::Str(text) => out.push_str(&quoted(text)),
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            out.push('{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(key));
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// serde_json escapes as RFC 8785 asks: the short forms, else lower-case `\u00xx` for control characters only.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The shortest form that reads back, with an exponent outside of 1e-6 … 1e21.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::canonical;
    use crate::yaml::parse;

    #[test]
    fn the_text_depends_on_the_meaning_alone() {
        let text = |source: &str| canonical(&parse(source.as_bytes()).unwrap());
        assert_eq!(
            text("{b: 1, a: [x, true, null]}"),
            r#"{"a":["x",true,null],"b":1}"#
        );
        assert_eq!(
            text("b: 1.0\na:\n- x\n- true\n- ~\n"),
            r#"{"a":["x",true,null],"b":1}"#
        );
        assert_eq!(
            text("{n: 0.000001, m: 1.5e-7, k: 333333333.33, l: 1e21}"),
            r#"{"k":333333333.33,"l":1e+21,"m":1.5e-7,"n":0.000001}"#
        );
        assert_eq!(text(r#"{t: "a\"\n\u0001é"}"#), "{\"t\":\"a\\\"\\n\\u0001é\"}");
    }
}
