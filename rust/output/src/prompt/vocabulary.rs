//! Words of the instruction detectors in twelve languages, and what each stands for.
//!
//! A stem ends in `*` (up to seven more letters), `+` (up to two) or stands for itself. Stems are written as the view
//! writes words: lower case, no marks. Sources: dictionaries; inflections by hand.

use std::sync::LazyLock;

use crate::bytes::{is, LOWER};

/// What a word can be; several at once.
pub(super) type Roles = u32;

/// Ignore, disregard, forget.
pub(super) const VERB: Roles = 1;
/// Override, bypass: also everyday words of technical text.
pub(super) const TECHNICAL_VERB: Roles = 1 << 1;
/// Not an imperative: `ignored`, `ignores`.
pub(super) const INFLECTED: Roles = 1 << 2;
pub(super) const FOLLOW: Roles = 1 << 3;
pub(super) const NOT: Roles = 1 << 4;
pub(super) const STOP: Roles = 1 << 5;
/// Previous, prior, above, earlier.
pub(super) const PRIOR: Roles = 1 << 6;
pub(super) const YOUR: Roles = 1 << 7;
pub(super) const ALL: Roles = 1 << 8;
pub(super) const SYSTEM: Roles = 1 << 9;
pub(super) const SAFETY: Roles = 1 << 10;
/// Instructions, prompt, guidelines.
pub(super) const STRONG_NOUN: Roles = 1 << 11;
/// Rules, policy, checks, messages: ordinary things as well.
pub(super) const WEAK_NOUN: Roles = 1 << 12;
/// Messages, commands, context: a target only when it is the reader's own or came before.
pub(super) const LOOSE_NOUN: Roles = 1 << 21;
/// Everything, anything.
pub(super) const EVERYTHING: Roles = 1 << 13;
/// Articles and the like.
pub(super) const ARTICLE: Roles = 1 << 14;
/// A word an order may follow: please, now, must.
pub(super) const URGE: Roles = 1 << 15;
pub(super) const MY: Roles = 1 << 16;
/// Must, should, are, be: `instructions should be ignored`.
pub(super) const MODAL: Roles = 1 << 17;
/// `ignoring`.
pub(super) const GERUND: Roles = 1 << 18;
pub(super) const YOU: Roles = 1 << 19;
/// Skip, drop, cancel: an override only of what the reader was told.
pub(super) const EVERYDAY_VERB: Roles = 1 << 20;
/// Void, revoked, suspended: `your instructions are void`.
pub(super) const VOID: Roles = 1 << 22;
pub(super) const NOUN: Roles = STRONG_NOUN | WEAK_NOUN | LOOSE_NOUN;

/// Which detectors a word is reason enough to look at its neighbours for. Every other word they pass by.
pub(super) type Wakes = u8;

pub(super) const WAKES_OVERRIDE: Wakes = 1;
pub(super) const WAKES_ANNOUNCEMENT: Wakes = 1 << 1;
pub(super) const WAKES_PERSONA: Wakes = 1 << 2;
pub(super) const WAKES_JAILBREAK: Wakes = 1 << 3;
pub(super) const WAKES_THEFT: Wakes = 1 << 4;
pub(super) const WAKES_CALL: Wakes = 1 << 5;
pub(super) const WAKES_SEND: Wakes = 1 << 6;
/// Roles that `overrides` starts from.
const OVERRIDING: Roles = VERB | TECHNICAL_VERB | EVERYDAY_VERB | FOLLOW | NOUN;

/// Stems in `-` may go on in any way.
static WAKING: &[(Wakes, &str)] = &[
    (WAKES_OVERRIDE, "aside mind"),
    (WAKES_ANNOUNCEMENT, "overrides supersedes replaces cancels invalidates precedence system"),
    (
        WAKES_PERSONA,
        "now on as like be are pretend roleplay you u you're simulate emulate impersonate of to an become will",
    ),
    (WAKES_JAILBREAK, "jailbr-"),
    (
        WAKES_THEFT,
        "prompt- instruction- rule- guideline- directive- message- text words everything content conversation above \
         were have",
    ),
    (
        WAKES_CALL,
        "now must should shall this assistant assistants agent agents ai model llm chatbot copilot",
    ),
    (
        WAKES_SEND,
        "mail send post upload email forward exfiltrate transmit leak submit deliver put append curl request fetch \
         visit open load call",
    ),
];

type Row = (Roles, &'static str);

static ENGLISH: &[Row] = &[
    (VERB, "ignore disregard forget supersede neglect abandon overlook"),
    (VERB | INFLECTED, "ignored ignores disregarded disregards forgets forgot forgotten superseded neglected neglects"),
    (VERB | GERUND, "ignoring disregarding forgetting superseding neglecting"),
    // An order to obey what comes next speaks of it in the third person.
    (VERB, "supersedes"),
    (TECHNICAL_VERB, "override bypass circumvent discard overrule violate unlearn"),
    (TECHNICAL_VERB | INFLECTED, "overrides overrode overridden bypasses bypassed circumvents circumvented discarded overruled violated violates"),
    (TECHNICAL_VERB | GERUND, "overriding bypassing circumventing discarding overruling violating"),
    (EVERYDAY_VERB, "skip disable drop cancel revoke erase reset replace delete remove evade suspend dismiss"),
    (VOID, "void invalid obsolete cancelled canceled revoked rescinded suspended superseded overridden nullified lifted"),
    (FOLLOW, "follow following obey obeying comply complying adhere adhering respect listen attention bound heed"),
    (NOT, "not don't dont never no longer cannot can't won't mustn't shouldn't doesn't without"),
    (STOP, "stop cease quit"),
    (PRIOR, "previous previously prior above earlier preceding foregoing former initial original preexisting existing past before anymore"),
    (YOUR, "your yours ur"),
    (YOU, "you u"),
    (MY, "my our his her their"),
    (ALL, "all any every each whatever entire whole"),
    (SYSTEM, "system developer hidden operator system's developer's developers user's users' operator's"),
    (SAFETY, "safety security ethical ethics moral governance alignment content"),
    (STRONG_NOUN, "instruction instructions instruct prompt prompts directive directives guideline guidelines guardrail guardrails programming directions"),
    (WEAK_NOUN, "rule rules policy policies check checks restriction restrictions controls safeguard safeguards"),
    (LOOSE_NOUN, "message messages constraint constraints limit limits limitations command commands orders context filter filters protocol protocols conversation requirements task tasks training text"),
    (EVERYTHING, "everything anything"),
    (ARTICLE, "the these those of this that its and or given to from any about"),
    (URGE, "please now must should shall then just simply kindly immediately instead ai assistant agent model will important urgent attention"),
    (MODAL, "must should shall be are is can now"),
];

/// Messages in the other languages.
static MESSAGES: &[Row] = &[(
    LOOSE_NOUN,
    "nachricht* mensaje* messaggi* mensagem mensagens bericht berichten wiadomosc* сообщен* הודעה הודעות",
)];

static GERMAN: &[Row] = &[
    (VERB, "ignorier* vergiss vergesst vergessen missacht* vernachlassig* umgeh umgehe umgehen uberschreib* verwirf*"),
    (FOLLOW, "folge folgen befolg* beacht* halte"),
    (NOT, "nicht keine keinen"),
    (PRIOR, "vorherig* vorig* vorhergehend* bisherig* fruher* obig* vorangegangen* vorangehend* ursprunglich* zuvor oben"),
    (YOUR, "dein deine deiner deinen deinem ihre ihren ihrer eure euren"),
    (ALL, "alle aller allen samtlich* jede jegliche*"),
    (SAFETY, "sicherheits*"),
    (STRONG_NOUN, "anweisung* instruktion* vorgabe* richtlinie* eingabeaufforderung*"),
    (STRONG_NOUN | SYSTEM, "systemprompt* systemanweisung* systemvorgabe*"),
    (WEAK_NOUN, "regel regeln befehl* beschrankung* einschrankung* kontrolle*"),
    (WEAK_NOUN | SAFETY, "sicherheitsregel* sicherheitsrichtlinie* sicherheitsvorgabe*"),
    (EVERYTHING, "alles"),
    (ARTICLE, "die den der das von"),
    (URGE, "bitte jetzt sofort"),
];

static FRENCH: &[Row] = &[
    (VERB, "ignore ignorez ignorer ignorons oublie oubliez oublier neglige negligez negliger contourne contournez contourner outrepasse* desobei*"),
    (FOLLOW, "suis suivez suivre respecte respectez obeis obeissez compte"),
    (NOT, "ne pas jamais"),
    (PRIOR, "precedent* anterieur* prealable* initial* ci-dessus dessus"),
    (YOUR, "tes vos ta ton votre"),
    (ALL, "tout tous toute toutes"),
    (SAFETY, "securite"),
    (STRONG_NOUN, "consigne consignes directive* instructions"),
    (WEAK_NOUN, "regle regles restriction+ politique+ commande* contrainte* limite* controle*"),
    (ARTICLE, "les des le la l'ensemble de d'ici ci"),
    (URGE, "maintenant veuillez"),
];

static SPANISH: &[Row] = &[
    (VERB, "ignora ignore ignoren ignorar ignorad olvida olvide olviden olvidar olvidate omite omita omitir desatiende desatienda descarta descarte omiso desobedece elude evade"),
    (FOLLOW, "sigas siga sigan obedezcas obedezca hagas"),
    (NOT, "no"),
    (PRIOR, "anterior* previa+ previo+ precedente* inicial* antes"),
    (YOUR, "tus tu sus vuestr*"),
    (ALL, "todo todos toda todas cualquier*"),
    (SAFETY, "seguridad"),
    (STRONG_NOUN, "instruccion* indicacion* directriz directrices pauta pautas"),
    (WEAK_NOUN, "regla reglas norma normas orden ordenes restriccion* politica+ limitacion* controles"),
    (ARTICLE, "las los el la del de caso lo"),
    (SYSTEM, "sistema"),
    (URGE, "ahora favor"),
];

static ITALIAN: &[Row] = &[
    (VERB, "ignora ignorate ignorare dimentica dimenticate dimenticare trascura trascurate aggira aggirate scorda scordati tralascia"),
    (FOLLOW, "seguire segui rispettare"),
    (NOT, "non"),
    (PRIOR, "precedent* anterior* sopra inizial*"),
    (YOUR, "tue tuoi tua vostre"),
    (ALL, "tutte tutti tutta tutto qualsiasi ogni"),
    (SAFETY, "sicurezza"),
    (STRONG_NOUN, "istruzion* indicazion* direttiv* direttive"),
    (WEAK_NOUN, "regola regole restrizion* politiche comandi ordini limitazion*"),
    (ARTICLE, "le gli il delle di"),
];

static PORTUGUESE: &[Row] = &[
    (VERB, "ignore ignorem ignora ignorar esquec* desconsider* contorne contornar negligencie descarte desobedeca"),
    (FOLLOW, "siga sigam obedeca"),
    (NOT, "nao"),
    (PRIOR, "anterior* previa+ previo+ acima inicial iniciais"),
    (YOUR, "suas seus sua seu tuas teus"),
    (ALL, "todas todos toda todo quaisquer qualquer"),
    (SAFETY, "seguranca"),
    (STRONG_NOUN, "instrucao instrucoes orientac* diretriz diretrizes"),
    (WEAK_NOUN, "regra regras restric* politica+ ordens comandos limitac*"),
    (ARTICLE, "as os das dos do da"),
];

static DUTCH: &[Row] = &[
    (
        VERB,
        "negeer negeren vergeet vergeten omzeil omzeilen veronachtzaam overschrijf",
    ),
    (FOLLOW, "volg volgen"),
    (NOT, "niet geen"),
    (
        PRIOR,
        "vorige voorgaande eerdere bovenstaande voorafgaande oorspronkelijke",
    ),
    (YOUR, "je jouw uw jullie"),
    (ALL, "alle elke"),
    (SAFETY, "veiligheids*"),
    (
        STRONG_NOUN,
        "instructie* aanwijzing* richtlijn* opdracht opdrachten systeemprompt*",
    ),
    (
        WEAK_NOUN,
        "regel regels beperking* beleid bevelen veiligheidsregel*",
    ),
    (ARTICLE, "de het van"),
];

static POLISH: &[Row] = &[
    (VERB, "zignoruj* ignoruj ignorujcie zignorowac ignorowac zapomnij* pomin pomincie pominac omin obejdz zlekcewaz odrzuc"),
    (FOLLOW, "przestrzegaj stosuj wykonuj"),
    (NOT, "nie"),
    (PRIOR, "poprzedni* wczesniejsz* powyzsz* dotychczasow* pierwotn*"),
    (YOUR, "swoje swoich twoje twoich"),
    (ALL, "wszystkie wszystkich wszelkie wszelkich wszystko"),
    (SAFETY, "bezpieczenstwa"),
    (STRONG_NOUN, "instrukcj* polecen* polecenia wytyczn* wskazowk*"),
    (WEAK_NOUN, "zasady zasad reguly regul ograniczen* polityk* komend*"),
];

static RUSSIAN: &[Row] = &[
    (VERB, "игнорируй* игнорировать проигнорируй* забудь* забыть забудьте пренебреги* отбрось* обойди* отмени* нарушь*"),
    (FOLLOW, "следуй* соблюдай* выполняй* подчиняйся слушай*"),
    (NOT, "не"),
    (PRIOR, "предыдущ* прежн* прошл* вышеуказанн* вышеизложенн* ранее выше предшествующ* изначальн*"),
    (YOUR, "свои своих твои твоих ваши ваших"),
    (ALL, "все всех всё любые любых"),
    (SYSTEM, "системн*"),
    (SAFETY, "безопасности"),
    (STRONG_NOUN, "инструкц* указан* директив* промпт* предписан* установки"),
    (WEAK_NOUN, "правил* ограничен* команд* политик* запрет* приказ*"),
    (URGE, "пожалуйста теперь"),
];

static HEBREW: &[Row] = &[
    (
        VERB,
        "התעלם התעלמי התעלמו להתעלם תתעלם תתעלמי תתעלמו שכח שכחי שכחו תשכח תשכחי תשכחו עקוף עקפו הפר",
    ),
    (FOLLOW, "תציית לציית תמלא תפעל"),
    (NOT, "אל לא"),
    (
        PRIOR,
        "קודמות הקודמות קודמים הקודמים הקודמת קודמת הקודם לעיל שלמעלה",
    ),
    (YOUR, "שלך שלכם"),
    (ALL, "כל מכל"),
    (SYSTEM, "המערכת מערכת"),
    (SAFETY, "בטיחות אבטחה"),
    (STRONG_NOUN, "הוראה הוראות הנחיה הנחיות פרומפט"),
    (
        WEAK_NOUN,
        "כלל כללים חוק חוקים מגבלה מגבלות הגבלות מדיניות פקודות",
    ),
];

static LANGUAGES: [&[Row]; 11] = [
    ENGLISH, MESSAGES, GERMAN, FRENCH, SPANISH, ITALIAN, PORTUGUESE, DUTCH, POLISH, RUSSIAN, HEBREW,
];

/// A stem and what it stands for.
struct Stem {
    text: &'static str,
    /// Letters that may follow it.
    more: usize,
    roles: Roles,
    wakes: Wakes,
}

/// Stems by the first three bytes of a word.
struct Stems {
    all: Vec<Stem>,
    /// Where the stems of a slot begin; they end where those of the next begin.
    starts: Vec<u16>,
}

const SLOTS: usize = 4096;
/// Longest word with a leet character that can be one of the stems.
const LONGEST_LEET: usize = 64;

static STEMS: LazyLock<Stems> = LazyLock::new(|| {
    let meanings = LANGUAGES.iter().flat_map(|rows| rows.iter());
    let meanings = meanings.map(|(roles, words)| (*roles, 0, *words));
    let waking = WAKING.iter().map(|(wakes, words)| (0, *wakes, *words));
    let mut all: Vec<Stem> = Vec::new();
    for (roles, wakes, words) in meanings.chain(waking) {
        for word in words.split_ascii_whitespace() {
            let more = match word.as_bytes().last() {
                Some(b'*') => 7,
                Some(b'+') => 2,
                Some(b'-') => usize::MAX,
                _ => 0,
            };
            let text = word.strip_suffix(['*', '+', '-']).unwrap_or(word);
            all.push(Stem {
                text,
                more,
                roles,
                wakes,
            });
        }
    }
    all.sort_by_key(|stem| slot(stem.text.as_bytes()));
    let starts = (0..=SLOTS).map(|wanted| {
        let start = all.partition_point(|stem| slot(stem.text.as_bytes()) < wanted);
        u16::try_from(start).unwrap_or(u16::MAX)
    });
    Stems {
        starts: starts.collect(),
        all,
    }
});

/// Slot of the first three bytes; a shorter word is filled up with zeros.
fn slot(word: &[u8]) -> usize {
    let byte = |place: usize| u32::from(word.get(place).copied().unwrap_or(0));
    let head = byte(0) | byte(1) << 8 | byte(2) << 16;
    (head.wrapping_mul(0x9E37_79B1) >> 20) as usize % SLOTS
}

impl Stems {
    fn of(&self, word: &[u8]) -> &[Stem] {
        let slot = slot(word);
        match self.starts.get(slot..slot + 2) {
            Some([start, end]) => self
                .all
                .get(usize::from(*start)..usize::from(*end))
                .unwrap_or(&[]),
            _ => &[],
        }
    }

    /// What a word stands for as it is spelled, and which detectors it wakes.
    fn read(&self, word: &str) -> (Roles, Wakes) {
        let (mut roles, mut wakes) = (0, 0);
        for stem in self.of(word.as_bytes()) {
            // A letter has four bytes at most.
            let more = word.len().checked_sub(stem.text.len());
            if more.is_none_or(|more| more > stem.more.saturating_mul(4)) {
                continue;
            }
            let Some(rest) = word.strip_prefix(stem.text) else {
                continue;
            };
            if rest.len() <= stem.more || rest.chars().count() <= stem.more {
                roles |= stem.roles;
                wakes |= stem.wakes;
            }
        }
        (roles, wakes)
    }
}

/// What a word of the view stands for, 0 for any other word, and which detectors it wakes.
pub(super) fn read(word: &str) -> (Roles, Wakes) {
    let (plain, wakes) = STEMS.read(word);
    let is_plain = plain != 0 || word.bytes().all(|byte| is(byte, LOWER));
    let roles = if is_plain { plain } else { roles_in_disguise(word) };
    let overriding = if roles & OVERRIDING != 0 {
        WAKES_OVERRIDE
    } else {
        0
    };
    (roles, wakes | overriding)
}

/// Roles of a word that is none as it is spelled.
fn roles_in_disguise(word: &str) -> Roles {
    let is_leet = |byte: u8| matches!(byte, b'0'..=b'9' | b'@' | b'$' | b'!');
    if word.bytes().any(is_leet) {
        let other = if word.contains(['1', '!']) {
            as_letters(word, b'l')
        } else {
            0
        };
        return as_letters(word, b'i') | other;
    }
    // Hebrew writes prepositions and the article with the noun.
    let mut rest = word;
    for _ in 0..2 {
        if rest.is_ascii() {
            break;
        }
        let Some(shorter) = rest.strip_prefix(['מ', 'ה', 'ב', 'ל', 'ו', 'ש', 'כ']) else {
            break;
        };
        let (found, _) = STEMS.read(shorter);
        if found != 0 {
            return found;
        }
        rest = shorter;
    }
    0
}

/// Roles of a word with its leet characters read as letters.
fn as_letters(word: &str, one: u8) -> Roles {
    let bytes = word.as_bytes();
    let byte = |place: usize| plain_letter(bytes.get(place).copied().unwrap_or(0), one);
    // The first three tell nearly always that it is no stem.
    if STEMS.of(&[byte(0), byte(1), byte(2)]).is_empty() {
        return 0;
    }
    let mut letters = [0_u8; LONGEST_LEET];
    let Some(letters) = letters.get_mut(..bytes.len()) else {
        return 0;
    };
    for (letter, byte) in letters.iter_mut().zip(bytes) {
        *letter = plain_letter(*byte, one);
    }
    std::str::from_utf8(letters).map_or(0, |word| STEMS.read(word).0)
}

/// `letter_of`, for a byte; those of longer characters stay as they are.
fn plain_letter(byte: u8, one: u8) -> u8 {
    match LETTERS.get(usize::from(byte)).copied().unwrap_or(byte) {
        ONE => one,
        letter => letter,
    }
}

/// Stands for what `1` and `!` may be.
const ONE: u8 = b'1';
static LETTERS: [u8; 256] = letters();

const fn letters() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "a byte, at compile time")]
        {
            table[byte as usize] = match byte {
                b'0' => b'o',
                b'1' | b'!' => ONE,
                b'3' => b'e',
                b'4' | b'@' => b'a',
                b'5' | b'$' => b's',
                b'7' => b't',
                b'8' => b'b',
                b'9' => b'g',
                other => other,
            };
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// The letter a leet character stands for; `1` and `!` can be two.
pub(super) fn letter_of(character: char, one: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' => one,
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        '8' => 'b',
        '9' => 'g',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(word: &str) -> Roles {
        read(word).0
    }

    #[test]
    fn words_wake_the_detectors_that_start_from_them() {
        assert_eq!(read("you").1, WAKES_PERSONA);
        assert_eq!(read("instructions").1, WAKES_OVERRIDE | WAKES_THEFT);
        assert_eq!(read("promptly").1, WAKES_THEFT);
        assert_eq!(read("1gn0re").1, WAKES_OVERRIDE);
        assert_eq!(read("banana").1, 0);
    }

    #[test]
    fn words_stand_for_what_the_tables_say() {
        assert_eq!(roles("ignore"), VERB);
        assert_eq!(roles("1gn0re"), VERB);
        assert_eq!(roles("ignored"), VERB | INFLECTED);
        assert_eq!(roles("anweisungen"), STRONG_NOUN);
        assert_eq!(roles("ru1es"), WEAK_NOUN);
        assert_eq!(roles("предыдущие"), PRIOR);
        assert_eq!(roles("מההוראות"), STRONG_NOUN);
        assert_eq!(roles("instructional"), 0);
        assert_eq!(roles("banana"), 0);
    }
}
