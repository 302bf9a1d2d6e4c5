//! `instruction_override` in Chinese and Japanese, which set no blanks between words.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::view::View;
use super::Draft;

/// Bytes between verb and target, at most: about twenty characters.
const REACH: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Verb,
    /// Before, above, your, system.
    Binding,
    All,
    Noun,
}

static PARTS: &[(Part, &str)] = &[
    (
        Part::Verb,
        "忽略 忽视 忽視 无视 無視 忘记 忘記 忘掉 绕过 繞過 不要遵守 不要遵循 不要理会 不要听从 别管 抛弃 摒弃 违反 \
         忘れ 従わない 従うな 従わず 無効に 破棄",
    ),
    (
        Part::Binding,
        "之前 以前 先前 此前 上述 以上 前面 上面 你的 您的 系统 系統 原有 原来 安全 これまで 前の 上記 あなたの システム \
         先ほど 今までの 従来の 元の",
    ),
    (Part::All, "所有 全部 一切 任何 すべて 全て 一切の あらゆる"),
    (
        Part::Noun,
        "指令 指示 提示词 提示詞 提示 规则 規則 限制 约束 約束 准则 準則 命令 政策 策略 说明 說明 指引 規定 规定 設定 设定 \
         ルール プロンプト 制限 ガイドライン ポリシー 指令",
    ),
];

struct Table {
    automaton: Option<AhoCorasick>,
    parts: Vec<Part>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let words = PARTS
        .iter()
        .flat_map(|(part, words)| words.split_whitespace().map(|word| (*part, word)));
    let (parts, words): (Vec<Part>, Vec<&str>) = words.unzip();
    Table {
        automaton: AhoCorasick::builder()
            .match_kind(aho_corasick::MatchKind::LeftmostLongest)
            .build(words)
            .ok(),
        parts,
    }
});

/// Verb and target close to each other, in either order and one sentence.
pub(super) fn find_overrides(view: &View<'_>, found: &mut Vec<Draft>) {
    let text = view.text();
    // All its characters begin with bytes from here on.
    if text.is_ascii() || !text.bytes().any(|byte| byte >= 0xe3) {
        return;
    }
    let Some(automaton) = &TABLE.automaton else { return };
    let hits = automaton.find_iter(text).filter_map(|hit| {
        let part = TABLE.parts.get(hit.pattern().as_usize())?;
        Some((*part, hit.start(), hit.end()))
    });
    let hits: Vec<(Part, usize, usize)> = hits.collect();
    for (place, (_, start, end)) in hits.iter().enumerate().filter(|(_, hit)| hit.0 == Part::Verb) {
        let near = |hit: &&(Part, usize, usize)| {
            let (from, to) = if hit.1 < *start {
                (hit.2, *start)
            } else {
                (*end, hit.1)
            };
            to.saturating_sub(from) <= REACH
                && !text
                    .get(from..to)
                    .unwrap_or("")
                    .contains(['。', '！', '？', '\n'])
        };
        // A verb has few neighbours that count: looking at eight on each side keeps the work linear.
        let around = hits
            .get(place.saturating_sub(8)..(place + 9).min(hits.len()))
            .unwrap_or(&[]);
        let nouns = around.iter().filter(|hit| hit.0 == Part::Noun);
        let Some(noun) = nouns.filter(near).min_by_key(|hit| hit.1.abs_diff(*start)) else {
            continue;
        };
        let has = |part: Part| around.iter().filter(|hit| hit.0 == part).any(|hit| near(&hit));
        let confidence = match (has(Part::Binding), has(Part::All)) {
            (true, _) => 0.85,
            (false, true) => 0.6,
            (false, false) => 0.35,
        };
        let span = view.source((*start).min(noun.1)..(*end).max(noun.2));
        found.push(Draft::new("instruction_override", span, confidence));
    }
}

#[cfg(test)]
mod tests {
    use super::PARTS;

    #[test]
    fn all_characters_begin_with_high_bytes() {
        let words = PARTS.iter().flat_map(|(_, words)| words.split_whitespace());
        for character in words.flat_map(str::chars) {
            assert!(character.to_string().as_bytes()[0] >= 0xe3, "{character}");
        }
    }
}
