//! What speaks against an override: orders about other things, and code that only has the words.

use super::read::Read;
use super::vocabulary::*;

/// What a word before the noun says of it. "System" and "all" belong to the word behind them: in "ignore any effects on the
/// instructions" to another one.
pub(super) fn quality(read: &Read<'_>, at: usize, noun: usize) -> Roles {
    let belongs = (at + 1..noun).all(|between| {
        let word = read.text(between);
        read.at(between) != 0
            || ADJECTIVES.split_ascii_whitespace().any(|known| known == word)
            || word.ends_with("'s")
            || !word.is_ascii()
    });
    let roles = read.at(at) & !elsewhere(read, at);
    if belongs {
        roles
    } else {
        roles & !(SYSTEM | ALL)
    }
}

/// Words between "all" and what is meant that leave it what it is.
const ADJECTIVES: &str = "of and or any existing current present active other these those such remaining standard normal usual default \
     original old new built in hard hardcoded coded corporate company internal external legal developer developers \
     user model bot chatbot assistant operator openai anthropic google further future subsequent additional stated \
     given set imposed known";

/// What takes weight off an order whose target is nobody's in particular: signs that another thing is meant.
pub(super) fn aside(read: &Read<'_>, place: usize, noun: usize) -> f64 {
    let gap = |left: usize, right: usize| match (read.word(left), read.word(right)) {
        (Some(left), Some(right)) => read.view.between(left, right),
        _ => "",
    };
    let next = read.text(noun + 1);
    // "Ignore changes to the flags (alignment check)".
    let is_bracketed = (place + 1..noun).any(|at| gap(at, at + 1).contains('('));
    // "Override instruction dispatch", "the command-line", "ignore-check" of an option.
    let is_single = matches!(
        read.text(noun),
        "instruction" | "prompt" | "rule" | "check" | "command" | "message"
    );
    let is_part = is_single
        && !read.starts_clause(noun + 1)
        && read.at(noun + 1) == 0
        && !matches!(
            next,
            "from"
                | "given"
                | "by"
                | "in"
                | "on"
                | "that"
                | "which"
                | "i"
                | "when"
                | "and"
                | "or"
                | "so"
                | "now"
                | ""
        );
    let is_option = place > 0 && gap(place - 1, place).ends_with("--") && gap(place, place + 1) == "-";
    // "Bypass all checks if the variable is set" is what a program does.
    let is_conditional =
        read.has(place, TECHNICAL_VERB) && matches!(next, "if" | "when" | "unless" | "while");
    // "Any instructions related to setting up files".
    let is_narrow = matches!(next, "related" | "relating" | "concerning")
        && !read
            .following(noun + 1, 5)
            .any(|at| read.has(at, SAFETY | SYSTEM));
    match () {
        () if is_bracketed || is_part || is_option || is_narrow => 0.35,
        () if is_conditional => 0.1,
        () => 0.0,
    }
}

/// Whether the text between two words ends statements of a program.
pub(super) fn crosses_code(read: &Read<'_>, first: usize, last: usize) -> bool {
    const ENDS: &[&str] = &[
        ");", "):", "){", ") {", ") ->", "};", "::", "\"\"\"", "*/", "\n//", "-> ", " // ", "{\n", "(\n",
        ",\n", ": &",
    ];
    (first..last).any(|at| match (read.word(at), read.word(at + 1)) {
        (Some(left), Some(right)) => {
            let gap = read.view.between(left, right);
            gap.len() > 1 && ENDS.iter().any(|end| gap.contains(end))
        }
        _ => false,
    })
}

/// "Before directives", "above the include": where something stands, not which.
pub(super) fn elsewhere(read: &Read<'_>, at: usize) -> Roles {
    let is_place = match read.text(at) {
        "before" => true,
        "above" => read.has(at + 1, ARTICLE),
        _ => false,
    };
    if is_place {
        PRIOR
    } else {
        0
    }
}

/// "Everything before", "everything above this line", not "everything before the member".
pub(super) fn is_before_here(read: &Read<'_>, place: usize) -> bool {
    if !matches!(read.text(place), "before" | "above") {
        return true;
    }
    let is_text = |at: usize| {
        let word = read.text(at);
        ends_order(read, at - 1)
            || matches!(
                word,
                "message"
                    | "point"
                    | "line"
                    | "text"
                    | "sentence"
                    | "paragraph"
                    | "conversation"
                    | "chat"
                    | "moment"
            )
            || word.starts_with("prompt")
            || word.starts_with("instruction")
    };
    match read.text(place + 1) {
        "this" | "that" | "the" => is_text(place + 2),
        "it" | "now" | "here" | "today" => true,
        _ => is_text(place + 1) || read.has(place + 1, YOUR | YOU),
    }
}

/// Whether an order may end with the word at `place`: "ignore rules now", "ignore rules and …".
pub(super) fn ends_order(read: &Read<'_>, place: usize) -> bool {
    let next = read.text(place + 1);
    read.starts_clause(place + 1) || matches!(next, "and" | "now" | "immediately" | "instead" | "then" | "so")
}
