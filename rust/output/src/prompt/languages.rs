//! The words of twelve languages, by what they stand for.

use super::vocabulary::*;

pub(super) type Row = (Roles, &'static str);

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

pub(super) static LANGUAGES: [&[Row]; 11] = [
    ENGLISH, MESSAGES, GERMAN, FRENCH, SPANISH, ITALIAN, PORTUGUESE, DUTCH, POLISH, RUSSIAN, HEBREW,
];
