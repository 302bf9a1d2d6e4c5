//! The phrases that wake the injection detectors, all found in one pass.

use std::ops::Range;
use std::sync::LazyLock;

use crate::sightings::{Automaton, Phrase, Spelling};

pub(crate) type Sighting = crate::sightings::Sighting<Kind>;

/// What a phrase announces. Pairs wake a detector only together (see `prompt::windows`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Ignore, disregard …; with `Target`.
    Verb,
    /// Letters set apart.
    Spaced,
    /// Instructions, rules …
    Target,
    /// You are now, act as …; with `Limit`.
    Lead,
    /// No rules, without restrictions.
    Limit,
    /// A word that is never innocent enough to pass unread.
    Persona,
    /// Print, reveal …; with `Confided`.
    Ask,
    /// System prompt, text above …
    Confided,
    /// The model is spoken to; with `Call`.
    Address,
    /// Call, invoke, run.
    Call,
    /// Send, post, upload; looked at when an address follows.
    Send,
    ChatToken,
    Heading,
    CallTag,
    CallKey,
    MarkdownLink,
    HtmlImage,
    Comment,
    Style,
    Rot13,
    Reversed,
    // Code injection, from here on.
    Union,
    Tautology,
    Cut,
    Stacked,
    Statement,
    SqlCall,
    Piped,
    Substituted,
    Socket,
    Remove,
    Device,
    Arithmetic,
    Lookup,
    Walk,
    Markup,
    Handler,
    ScriptUrl,
    DynamicCode,
    Traversal,
}

/// Phrases are set apart by `·`. In them `^` is a border, ` ` blanks, `?` perhaps blanks, `9` a digit, `"` a quote.
static ROWS: &[(Kind, Spelling, &str)] = &[
    (
        Kind::Verb,
        Spelling::Leet,
        "^ignor·disregard·^forget·^forgot·overrid·^bypass·supersed·circumvent",
    ),
    (Kind::Spaced, Spelling::Spaced, ""),
    (
        Kind::Verb,
        Spelling::Plain,
        "not follow·n't follow·stop follow·not obey·stop obey·not comply·neglect·^discard·overrul·\
         ^violat·^abandon·overlook·^vergiss·^vergess·missacht·^umgeh·berschreib·befolge nicht·\
         nicht befolg·nicht beacht·^oubli·pas compte·contourne·outrepass·^olvid·^omit·^desatiend·\
         omiso·^descart·no siga·o siga ·ne suis p·ne suivez p·^befolg·ne respecte·^dimentic·^trascur·^aggira·non seguire·^esquec·esque·desconsider·\
         ^negeer·^negeren·^vergeet·omzeil·zignor·zapomnij·^pomi·nie przestrzegaj·^skip ·unlearn·\
         no longer follow·not listen·n't listen·not adhere·not heed·cease follow·cease obey·^scorda·niet volg·^volg ·skip all·skip your·disable your·disable all·drop your·\
         drop all·cancel all·cancel your·erase all·erase your·reset your·replace your·^revoke ·^set aside·\
         ^put aside·delete your·remove your·remove all·never mind·no attention·are void·is void·and void·no longer valid·\
         longer appl·longer in effect·longer in force·longer active·are revoked·hereby revoked·been revoked·are cancel·\
         been cancel·hereby cancel·are suspended·been suspended·are obsolete·are invalid·not apply to you·\
         precedence over·replaces your·cancels your·you were told",
    ),
    (
        Kind::Target,
        Spelling::Leet,
        "directive·instru·^prompt·guideline·^rule·polic·restri·guardrail",
    ),
    (
        Kind::Target,
        Spelling::Plain,
        "^checks·^check^·^message·^safety·governance·^control·constraint·^limit·^command·\
         ^order·^context·^filter·^training·anterior·^protocol·safeguard·programming·everything·anything·^above·told you·anweisung·\
         vorgabe·richtlinie·^regel·beschr·befehl·nachricht·consigne·^regle·ci-dessus·gles·sicherheitsr·indicacion·directri·\
         ^pauta·^norma·^regla·^regol·istruzion·indicazion·restrizion·^regra·diretriz·^ordens·\
         ^ordenes·orienta·mensage·aanwijzing·richtlijn·opdracht·beperking·polece·wytyczn·^zasad·\
         ^regu·ogranicz·wskaz·direction·direttiv",
    ),
    (Kind::Persona, Spelling::Plain, "pr0mpt"),
    (
        Kind::Persona,
        Spelling::Leet,
        "system override·jailbr·unrestricted^·unfiltered^·uncensored·anything now·never refuse·developer mode·longer bound by·\
         free from all·free of all·from all restric·from any restric·character as·freed from·you are dan·dan mode·you never refuse",
    ),
    (
        Kind::Lead,
        Spelling::Plain,
        "you are now·you're now·u are now·youre now·from now on·^act as·^act like·pretend·roleplay·\
         role-play·role play·^imagine you·you are an ai·you are free·you have no·persona of·role of·behave as·behave like·respond as·answer as·simulate·\
         ^become ·you will·operate as",
    ),
    (
        Kind::Limit,
        Spelling::Leet,
        "no rule·no restrict·no limit·no filter",
    ),
    (
        Kind::Limit,
        Spelling::Plain,
        "no ethic·no moral·no guideline·no constrain·no bound·\
         no content·no safe·no guard·no censor·any rule·any restrict·any limit·any filter·any ethic·\
         any moral·any guideline·safety guideline·without any·any constrain·without rule·without restrict·without limit·\
         without filter·without ethic·of all restrict·of restrict·of any·^dan^·unbound·amoral·\
         unaligned·god mode·debug mode·longer bound·or restrict·or limit",
    ),
    (Kind::Ask, Spelling::Leet, "^print·^repeat·^reveal"),
    (
        Kind::Ask,
        Spelling::Plain,
        "^show·translate·^encode·^output·^display·^dump·^leak·disclose·\
         ^recite·^echo·^tell ·^share·^expose·summari·^list ·^write·^return·^quote·^paste·^give ·\
         ^what·^type ·^spell·^describe·^send·^copy·^convert·^say ·^read ·^provide",
    ),
    (
        Kind::Confided,
        Spelling::Leet,
        "system prompt·system message·system instruction",
    ),
    (
        Kind::Confided,
        Spelling::Plain,
        "developer message·developer prompt·\
         initial instruction·initial prompt·hidden rule·hidden instruction·hidden prompt·\
         secret instruction·secret prompt·original instruction·original prompt·internal instruction·\
         internal rule·internal guideline·confidential instruction·your prompt·your instruction·your exact·your full·your complete·your entire·your actual·\
         text above·words above·everything above·message above·messages above·above text·\
         above instruction·above prompt·above conversation·conversation above·content above·\
         initial rule·secret rule·of the above·you were given·you were told·have been given·above this·instructions above·rules above·guidelines above",
    ),
    (
        Kind::Address,
        Spelling::Plain,
        "assistant?,·assistant?:·assistant!·agent,·agent:·agent!·agents,·agents:·^ai,·^ai:·^ai!·\
         agents must·agents should·agent should·assistant should·assistant must·model,·model:·llm,·llm:·assistant]·reading this·llm:·chatbot,·copilot,·you must now·assistant, you·assistant you must·\
         agent you must",
    ),
    (
        Kind::Call,
        Spelling::Plain,
        "^call ·invoke ·^execute ·^run ·^use ·trigger ·^launch ·^issue ·^perform ·^make ",
    ),
    (
        Kind::Send,
        Spelling::Plain,
        "^send ·^post ·^upload ·e-mail ·^email ·^forward ·exfiltrat·^transmit ·^leak ·^submit ·\
         ^deliver ·^append ·^put ·^curl ·request to http·followed by the·get request·post request·^mail ",
    ),
    (
        Kind::ChatToken,
        Spelling::Plain,
        "<|im_·<|syst·<|user·<|assis·<|endof·<|end_·<|start·<|eot·<|begin·<|end|·<|mess·<|chan·\
         [inst]·[/inst]·<<sys>>·<</sys>>·<start_of_t·<end_of_t·</tool_re·</function_re·</tool_out",
    ),
    (
        Kind::Heading,
        Spelling::Plain,
        "###?system·###?instruct·###?assist·###?user·###?human",
    ),
    (
        Kind::CallTag,
        Spelling::Plain,
        "<tool_call·<function_call·<invoke name",
    ),
    (
        Kind::CallKey,
        Spelling::Plain,
        "\"tool\"?:·\"tool\\\"?:·\"tool_name\"?:·\"tool_call\"?:·\"tool_call\\\"?:·\"tool_name\\\"?:·\"tool_calls\"?:·\
         \"tool_calls\\\"?:·\"function_call\\\"?:·\"function_call\"?:·\"function\"?:?\"·\"arguments\"?:·\"arguments\\\"?:·\"tool_use\"·\"tool_use\\\"",
    ),
    (Kind::MarkdownLink, Spelling::Plain, "](http·](<http·](//·]:?http"),
    (Kind::HtmlImage, Spelling::Plain, "<img "),
    (Kind::Comment, Spelling::Plain, "<!--"),
    (Kind::Style, Spelling::Plain, " style=\"· style=\\\""),
    (
        Kind::Rot13,
        Spelling::Plain,
        "^vtaber·qvfertneq·^sbetrg·^bireevqr·^olcnff·flfgrz cebzcg·vafgehpgvbaf·lbh ner abj·fraq nyy·fraq gur",
    ),
    (
        Kind::Reversed,
        Spelling::Plain,
        "erongi^·dragersid^·tegrof^·edirrevo^·ssapyb^·tpmorp metsys·snoitcurtsni·won era uoy·lla dnes·eht dnes·laever^",
    ),
    (
        Kind::Union,
        Spelling::Plain,
        "union all·union select·union(·union distinct·union/·union^select·union^all",
    ),
    (
        Kind::Tautology,
        Spelling::Plain,
        "9?=?9·\"?=?\"·\"=\\\"·\"?=?9·9?=?\"·^or true·^or 9·^or not false·\"or true",
    ),
    (Kind::Cut, Spelling::Plain, "'?--·'?#"),
    (
        Kind::Stacked,
        Spelling::Plain,
        ";?drop ·;?delete ·;?update ·;?exec·;?insert ·;?truncate ·;?alter ·;?shutdown·;?create ·;%20d",
    ),
    (
        Kind::Statement,
        Spelling::Plain,
        "^drop table·^truncate table·^drop database",
    ),
    (
        Kind::SqlCall,
        Spelling::Plain,
        "xp_cmdshell·^sleep?(·waitfor delay·pg_sleep·^benchmark?(",
    ),
    (
        Kind::Piped,
        Spelling::Plain,
        "|?sh^·|?bash·|?sudo·|?zsh·|?python·|?perl·|?node·|?ruby·|?php·|?iex·|?ksh·|?dash·|?/bin/·\
         |?/usr/bin/·|?env ·|?source ·|?xargs ·|?invoke-expr",
    ),
    (
        Kind::Substituted,
        Spelling::Plain,
        "$(?curl·$(?wget·`curl·`wget·<(?curl·<(?wget·;?$(·|?$(·&?$(·;?`·|`·&?`·;?cat /etc/·|?cat /etc/·&?cat /etc/",
    ),
    (
        Kind::Socket,
        Spelling::Plain,
        "/dev/tcp/·/dev/udp/·^nc -·-e /bin/·-e bash·-e sh^·-e cmd·^ncat ·netcat ·mkfifo ·socat ·\"/bin/sh·\"/bin/bash",
    ),
    (
        Kind::Remove,
        Spelling::Plain,
        "^rm -·^rm --·no-preserve-root·^rm /·chmod -·chmod 777·chmod 0777",
    ),
    (
        Kind::Device,
        Spelling::Plain,
        "of=/dev/·:(){·:()?{·:( ){·>?/dev/sd·>?/dev/nvme",
    ),
    (
        Kind::Arithmetic,
        Spelling::Plain,
        "{{?9·{{?\"9·{{?(9·${?9·#{?9·<%=?9·<%?9",
    ),
    (Kind::Lookup, Spelling::Plain, "${jndi:·${lower:·${upper:·${::-"),
    (
        Kind::Walk,
        Spelling::Plain,
        "__class__·__mro__·__globals__·__subclasses__·__builtins__·__base__·__bases__·r.constructor·\
         getruntime·t(java.·freemarker.template·request.application·constructor[·constructor(·\
         .forname(·processbuilder·__import__·__init__.",
    ),
    (
        Kind::Markup,
        Spelling::Plain,
        "<script·<svg·<iframe·srcdoc?=·<object·<embed",
    ),
    (
        Kind::Handler,
        Spelling::Plain,
        "onerror?=·onload?=·onclick?=·onmouseover?=·onmouseenter?=·onfocus?=·onfocusin?=·onblur?=·\
         ontoggle?=·onstart?=·onanimationstart?=·onanimationend?=·onpointerover?=·onpointerenter?=·\
         onkeydown?=·onkeyup?=·onkeypress?=·onbegin?=·onsubmit?=·oninput?=·onchange?=·onpageshow?=·\
         onwheel?=·ondrag?=·oncopy?=·onpaste?=·onscroll?=·onresize?=·onhashchange?=·onmousemove?=·\
         ondblclick?=·oncontextmenu?=·ontransitionend?=·onunload?=·onbeforeunload?=·onmessage?=·\
         onended?=·onplay?=·onloadstart?=",
    ),
    (
        Kind::ScriptUrl,
        Spelling::Plain,
        "javascript:·vbscript:·data:text/html",
    ),
    (
        Kind::DynamicCode,
        Spelling::Plain,
        "^eval?(·^exec?(·^os.system?(·^os.popen?(·shell?=?true·.loads?(·getruntime()·-enc·-e jab·-ec jab·-e sqb·-ec sqb·^iex^·\
         invoke-expression·__import__?(·child_process·function(atob·^system?(·passthru?(·\
         shell_exec?(·downloadstring·frombase64string",
    ),
    (
        Kind::Traversal,
        Spelling::Plain,
        "../../../·..\\..\\..\\·..\\\\..\\\\..·%2e%2e%2f·%2e%2e/·..%2f·..%5c·%2e%2e%5c·%252e%252e·\
         ..%252f·....//....·..;/..;/·..%c0%af·..%c1%9c·..//..//..",
    ),
];

/// Two halves of a pair further apart than this have nothing to do with each other.
pub(crate) const PAIR: usize = 200;

impl Kind {
    /// The half of a pair that ordinary text is full of: it is looked for only around the other half.
    const fn is_common_half(self) -> bool {
        matches!(self, Kind::Target | Kind::Limit | Kind::Ask | Kind::Call)
    }

    /// Whether detectors of code injection are woken.
    pub(crate) fn is_of_code(self) -> bool {
        self >= Kind::Union
    }

    const fn is_rare_half(self) -> bool {
        matches!(self, Kind::Verb | Kind::Lead | Kind::Confided | Kind::Address)
    }
}

fn phrases(is_wanted: impl Fn(Kind) -> bool) -> impl Iterator<Item = Phrase<'static, Kind>> {
    let rows = ROWS.iter().filter(move |(kind, ..)| is_wanted(*kind));
    rows.flat_map(|(kind, spelling, words)| {
        words.split('·').map(|text| Phrase {
            text,
            spelling: *spelling,
            kind: *kind,
        })
    })
}

/// Everything but the common halves of pairs.
pub(crate) fn rare() -> impl Iterator<Item = Phrase<'static, Kind>> {
    phrases(|kind| !kind.is_common_half())
}

fn compiled(is_wanted: impl Fn(Kind) -> bool) -> Automaton<Kind> {
    Automaton::new(&phrases(is_wanted).collect::<Vec<_>>())
}

static RARE: LazyLock<Automaton<Kind>> = LazyLock::new(|| compiled(|kind| !kind.is_common_half()));
static COMMON: LazyLock<Automaton<Kind>> = LazyLock::new(|| compiled(Kind::is_common_half));

/// Everything in the content that is a reason to look closer, by offset, but common halves of pairs.
pub(crate) fn find_rare(content: &[u8]) -> Vec<Sighting> {
    RARE.find(content, 0..content.len())
}

/// Adds the common halves of pairs where the other half is near.
pub(crate) fn add_common(content: &[u8], found: &mut Vec<Sighting>) {
    let common = COMMON.find_in(content, &around_rare_halves(content, found));
    if !common.is_empty() {
        found.extend(common);
        found.sort();
    }
}

/// All of them.
#[cfg(test)]
pub(crate) fn find(content: &[u8]) -> Vec<Sighting> {
    let mut found = find_rare(content);
    add_common(content, &mut found);
    found
}

/// Where the other halves of pairs may end.
fn around_rare_halves(content: &[u8], found: &[Sighting]) -> Vec<Range<usize>> {
    let mut around: Vec<Range<usize>> = Vec::new();
    for sighting in found.iter().filter(|sighting| sighting.kind.is_rare_half()) {
        let start = sighting.end.saturating_sub(PAIR + 1);
        let end = (sighting.end + PAIR).min(content.len());
        match around.last_mut().filter(|last| start <= last.end) {
            Some(last) => last.end = end,
            None => around.push(start..end),
        }
    }
    around
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automata_are_small() {
        for automaton in [&RARE, &COMMON] {
            let (states, classes) = automaton.size();
            assert!(states <= 8192, "{states} states");
            assert!(classes <= 64, "{classes} classes");
        }
    }

    /// Halves of pairs that are near each other are all found.
    #[test]
    fn pairs_are_found_as_one_search_finds_them() {
        let all = compiled(|_| true);
        let words = [
            "ignore ",
            "the rules ",
            "instructions",
            "you are now ",
            "no limits ",
            "print ",
            "system prompt ",
            "assistant, ",
            "call ",
            "weather and other things ",
            "x ",
            "\n\n",
            "1gn0r3 ",
            "i g n o r e ",
        ];
        let mut state = 11_u32;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize % below
        };
        for _ in 0..200 {
            let mut text = String::new();
            for _ in 0..draw(60) {
                text.push_str(words[draw(words.len())]);
                text.push_str(&" ".repeat(if draw(8) == 0 { draw(260) } else { 0 }));
            }
            let (text, found) = (text.as_bytes(), find(text.as_bytes()));
            let whole = all.find_plainly(text);
            let is_near = |one: &&Sighting| {
                let rare = whole.iter().filter(|other| other.kind.is_rare_half());
                !one.kind.is_common_half() || rare.clone().any(|other| other.end.abs_diff(one.end) <= PAIR)
            };
            let expected: Vec<_> = whole.iter().filter(is_near).copied().collect();
            let kept: Vec<_> = found.iter().filter(is_near).copied().collect();
            assert_eq!(kept, expected);
        }
    }
}
