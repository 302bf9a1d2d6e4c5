//! `fake_role_delimiter` and `tool_call_injection`: text that poses as the frame around the text.

use super::read::Read;
use super::vocabulary::WAKES_CALL;
use super::Draft;
use crate::around::{has_word, line_at, slice};
use crate::engine::ScanOptions;

const DELIMITER: &str = "fake_role_delimiter";
const TOOL_CALL: &str = "tool_call_injection";

/// Chat-template tokens and closing tags of tool results.
static TOKENS: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|endoftext|>",
    "<|end_of_turn|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|begin_of_text|>",
    "<|end|>",
    "<|endofprompt|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "<</sys>>",
    "<start_of_turn>",
    "<end_of_turn>",
    "</tool_result>",
    "</tool_results>",
    "</function_results>",
    "</function_result>",
    "</tool_response>",
    "</tool_output>",
    "</function_response>",
];

/// A token around the end of a sighting.
pub(super) fn token_at(content: &[u8], end: usize) -> Option<Draft> {
    const LONGEST: usize = 24;
    let from = end.saturating_sub(LONGEST);
    let start = from
        + slice(content, from..end)
            .iter()
            .rposition(|byte| matches!(byte, b'<' | b'['))?;
    // `</` opens with the bracket before the slash; `<<` with the first of two.
    let start = if start > 0 && slice(content, start - 1..start) == b"<" {
        start - 1
    } else {
        start
    };
    let here = slice(content, start..start + LONGEST);
    let token = TOKENS.iter().find(|token| {
        here.get(..token.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(token.as_bytes()))
    })?;
    // `[inst]` is a list of one variable.
    let is_spelled = !token.starts_with('[')
        || here
            .iter()
            .take(token.len())
            .all(|byte| !byte.is_ascii_lowercase());
    is_spelled.then(|| Draft::new(DELIMITER, start..start + token.len(), 0.8))
}

/// `### System:` or `### Instruction:` at the start of a line, with orders behind it.
pub(super) fn heading_at(content: &[u8], end: usize) -> Option<Draft> {
    let (start, stop) = line_at(content, end);
    let line = slice(content, start..stop);
    let is_escaped = line.windows(2).any(|pair| pair == b"\\n");
    let last = || slice(content, start..end).windows(3).rposition(|w| w == b"###");
    let from = if is_escaped {
        last()? + start
    } else {
        // The text of a JSON string begins a line too.
        let quoted = last().filter(|at| *at > 0 && line.get(at - 1) == Some(&b'"'));
        start + quoted.unwrap_or(0)
    };
    let text = String::from_utf8_lossy(slice(content, from..stop)).to_lowercase();
    let text = text.trim_start_matches([' ', '"', '>']);
    let rest = text.strip_prefix("###")?.trim_start_matches('#').trim_start();
    let name = ["system", "instruction", "assistant", "user", "human"]
        .iter()
        .find(|name| rest.starts_with(*name))?;
    let rest = rest.get(name.len()..)?.trim_start_matches('s');
    let rest = rest
        .strip_prefix(" prompt")
        .or_else(|| rest.strip_prefix(" message"))
        .unwrap_or(rest);
    let rest = rest.trim_start().strip_prefix(':')?;
    let below = String::from_utf8_lossy(slice(content, stop..stop + 200)).to_lowercase();
    let says = format!("{rest}\n{below}");
    let is_order = says
        .split(['\n', '.', ':', '!'])
        .map(|sentence| sentence.trim_start_matches("\\n").trim())
        .filter(|sentence| !sentence.is_empty())
        .take(3)
        .any(starts_with_order);
    is_order.then(|| Draft::new(DELIMITER, from..stop.min(from + 160), 0.75))
}

/// Whether a lower-case sentence starts like an order to a model.
pub(super) fn starts_with_order(sentence: &str) -> bool {
    const ORDERS: &[&str] = &[
        "ignore",
        "disregard",
        "forget",
        "you",
        "do",
        "never",
        "always",
        "respond",
        "reply",
        "answer",
        "act",
        "output",
        "print",
        "reveal",
        "send",
        "call",
        "execute",
        "run",
        "write",
        "say",
        "tell",
        "override",
        "bypass",
        "email",
        "forward",
        "upload",
        "post",
        "delete",
        "transfer",
        "approve",
        "follow",
        "use",
        "from",
        "pretend",
        "repeat",
        "please",
        "new",
        "provide",
        "give",
        "grant",
        "disable",
        "stop",
        "return",
        "visit",
        "fetch",
        "recommend",
        "buy",
        "click",
        "rate",
        "rank",
        "mark",
        "prefer",
        "choose",
        "mention",
        "open",
        "read",
    ];
    let first = sentence
        .split(|c: char| !c.is_alphanumeric())
        .find(|word| !word.is_empty());
    first.is_some_and(|word| ORDERS.contains(&word))
}

/// Orders to call a tool, addressed to the model.
pub(super) fn find_orders(read: &Read<'_>, found: &mut Vec<Draft>) {
    for place in read.waking(WAKES_CALL) {
        let Some((first, strength)) = address(read, place) else {
            continue;
        };
        let call = (place + 1..=place + 8).find(|at| {
            matches!(
                read.text(*at),
                "call"
                    | "invoke"
                    | "execute"
                    | "run"
                    | "use"
                    | "trigger"
                    | "launch"
                    | "issue"
                    | "perform"
                    | "make"
            )
        });
        let Some(call) = call else { continue };
        let tools = (call + 1..=call + 8).filter_map(|at| match read.text(at) {
            "tool" | "tools" | "plugin" => Some((at, 0.0_f64)),
            "function" | "functions" | "command" | "api" | "action" | "shell" => Some((at, 0.25)),
            // `get_secrets()`
            _ if at > call + 1 && is_apart(read, call) && is_called_by_name(read, at) => Some((at, 0.1)),
            _ => None,
        });
        let surest = tools.min_by(|left, right| left.1.total_cmp(&right.1));
        if let Some((last, doubt)) = surest {
            found.push(Draft::new(TOOL_CALL, read.source(first, last), strength - doubt));
        }
    }
}

/// A word of its own, not the start of a longer name.
fn is_apart(read: &Read<'_>, at: usize) -> bool {
    read.word(at).is_some_and(|word| read.view.after(word, 1) == " ")
}

/// The last word of a function's name that is called: `get_secrets(`.
fn is_called_by_name(read: &Read<'_>, at: usize) -> bool {
    let (Some(word), Some(before)) = (
        read.word(at),
        at.checked_sub(1).and_then(|before| read.word(before)),
    ) else {
        return false;
    };
    read.view.after(word, 1) == "("
        && (read.view.between(before, word) == "_" || read.view.word(word).contains('_'))
}

/// `gpg_agent`: the last part of a name.
fn is_part_of_name(read: &Read<'_>, place: usize) -> bool {
    match (
        place.checked_sub(1).and_then(|before| read.word(before)),
        read.word(place),
    ) {
        (Some(before), Some(word)) => matches!(read.view.between(before, word), "_" | "." | "-" | "/"),
        _ => false,
    }
}

/// Words that address the model, ending at `place`.
fn address(read: &Read<'_>, place: usize) -> Option<(usize, f64)> {
    let back = |count: usize| place.checked_sub(count);
    let text = |count: usize| back(count).map_or("", |at| read.text(at));
    let is_called = || {
        let next = read.word(place + 1)?;
        Some(
            read.view
                .between(read.word(place)?, next)
                .contains([',', ':', '!', ';', ']', '>', '\n'])
                && next.starts_clause,
        )
    };
    match read.text(place) {
        "now" if text(1) == "must" && text(2) == "you" => Some((back(2)?, 0.75)),
        "must" | "should" | "shall"
            if text(1) == "you" && matches!(text(2), "assistant" | "agent" | "ai" | "model") =>
        {
            Some((back(2)?, 0.8))
        }
        "this"
            if matches!(text(1), "reading" | "reads")
                && matches!(text(2), "ai" | "agent" | "agents" | "assistant" | "model" | "llm") =>
        {
            Some((back(2)?, 0.75))
        }
        "must" | "should" | "shall"
            if matches!(text(1), "assistant" | "assistants" | "agent" | "agents")
                && matches!(text(2), "ai" | "the" | "an" | "any" | "all" | "llm") =>
        {
            Some((back(2)?, 0.65))
        }
        "assistant" | "assistants" | "agent" | "agents" | "ai" | "model" | "llm" | "chatbot" | "copilot"
            if is_called() == Some(true) && !is_part_of_name(read, place) =>
        {
            let first = back(1).filter(|at| {
                matches!(
                    read.text(*at),
                    "ai" | "language" | "the" | "dear" | "attention" | "hey"
                )
            });
            Some((first.unwrap_or(place), 0.8))
        }
        _ => None,
    }
}

/// A forged call: an object with a tool's name and its arguments, or a call tag.
pub(super) fn forged_call_at(content: &[u8], end: usize, options: &ScanOptions) -> Option<Draft> {
    if options.is_tool_planner {
        return None;
    }
    let from = end.saturating_sub(24);
    let start = from
        + slice(content, from..end)
            .iter()
            .rposition(|byte| *byte == b'<' || *byte == b'{')
            .unwrap_or(0);
    let here = slice(content, start..start + 600);
    let lower = here.to_ascii_lowercase();
    if lower.starts_with(b"<tool_call")
        || lower.starts_with(b"<function_call")
        || lower.starts_with(b"<invoke name")
    {
        let length = memchr::memchr(b'>', &lower).map_or(10, |at| at + 1);
        let tag = lower.get(..length).unwrap_or(&lower);
        // Programs fill in names, documents set the tag in code.
        let is_template = tag.windows(2).any(|pair| pair == b"={" || pair == b"{{");
        let is_mention =
            slice(content, start.saturating_sub(1)..start) == b"`" && here.get(length) == Some(&b'`');
        if is_template || is_mention {
            return None;
        }
        return Some(Draft::new(TOOL_CALL, start..start + length, 0.75));
    }
    forged_object(content, end)
}

/// `{"tool": "name", … "arguments": …}` around a sighting on the first key.
fn forged_object(content: &[u8], end: usize) -> Option<Draft> {
    let start = object_start(content, end)?;
    let object = slice(content, start..start + 600);
    let stop = object_end(object).unwrap_or(object.len());
    // Quotes may be escaped when the object travels inside a string.
    let text = String::from_utf8_lossy(object.get(..stop).unwrap_or(object))
        .replace('\\', "")
        .to_ascii_lowercase();
    let text: String = text.split_whitespace().collect();
    let has_name = [
        "\"tool\":\"",
        "\"tool_name\":\"",
        "'tool':'",
        "\"function\":\"",
        "\"function_call\":",
        "\"tool_call\":",
        "\"tool_calls\":[",
    ];
    let has_arguments = ["arguments", "args", "parameters", "params", "input", "tool_input"];
    // Programs that handle calls write the same keys, and expressions behind them.
    let is_literal = [
        "\"tool\":\"",
        "'tool':'",
        "\"tool_name\":\"",
        "\"name\":\"",
        "\"function\":\"",
    ]
    .iter()
    .any(|key| text.contains(key));
    // The way models write calls: nothing but a name and an object of arguments, or the name of the kind.
    let is_written = text.contains("\"name\":\"")
        && (text.starts_with("{\"name\":") && text.contains("\"arguments\":{")
            || text.contains("\"type\":\"tool_use\"") && text.contains("\"input\":{"));
    let is_call = is_literal
        && (is_written || has_name.iter().any(|key| text.contains(key)))
        && has_arguments.iter().any(|key| {
            [format!("\"{key}\":"), format!("'{key}':")].iter().any(|key| {
                text.find(key.as_str())
                    .and_then(|at| text.get(at + key.len()..))
                    // Not an expression, not dots that stand for arguments.
                    .is_some_and(|value| {
                        value.starts_with(['{', '[', '"', '\'']) && !value.starts_with("{...")
                    })
            })
        });
    is_call.then(|| Draft::new(TOOL_CALL, start..start + stop, 0.7))
}

/// The brace that opens the object a key at `end` belongs to.
fn object_start(content: &[u8], end: usize) -> Option<usize> {
    let from = end.saturating_sub(300);
    let mut depth = 0_i32;
    for (place, byte) in slice(content, from..end).iter().enumerate().rev() {
        match byte {
            b'}' => depth += 1,
            b'{' if depth == 0 => return Some(from + place),
            b'{' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn object_end(object: &[u8]) -> Option<usize> {
    let mut depth = 0_i32;
    for (place, byte) in object.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(place + 1);
        }
    }
    None
}

/// Whether text speaks to a model: used for hidden text.
pub(super) fn addresses_model(text: &str) -> bool {
    [
        "assistant",
        "ai",
        "llm",
        "agent",
        "agents",
        "model",
        "chatbot",
        "copilot",
        "gpt",
        "claude",
        "gemini",
    ]
    .iter()
    .any(|word| has_word(text, word))
        || text.contains("you must")
        || text.contains("your instructions")
}
