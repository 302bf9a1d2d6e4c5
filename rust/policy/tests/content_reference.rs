//! Input rules against a naive reading of policy spec §7.2 and §7.3: rule by rule, detector by detector, no index, no prefilter.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cordum_policy::{Policy, Source, SourceKind};
use cordum_wire::messages::{PolicyCheckRequest, PolicyCheckResponse};
use proptest::prelude::*;
use prost::Message;
use regex::Regex;
use serde_json::{json, Value};

const ALLOW: i32 = 1;
const DENY: i32 = 2;
const HUMAN: i32 = 3;

#[derive(Clone, Debug, Default)]
struct Scope {
    allowed: Vec<(&'static str, Vec<&'static str>)>,
    aliases: Vec<(&'static str, &'static str)>,
    allows_missing: bool,
    allows_ambiguous: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    topic: Option<&'static str>,
    content_type: Option<&'static str>,
    enabled: bool,
    asks: bool,
    reason: &'static str,
    max_bytes: i64,
    keywords: Vec<&'static str>,
    patterns: Vec<&'static str>,
    scope: Option<Scope>,
}

impl Rule {
    fn document(&self, id: usize) -> Value {
        let mut found = json!({});
        if let Some(topic) = self.topic {
            found["topics"] = json!([topic]);
        }
        if let Some(content_type) = self.content_type {
            found["content_types"] = json!([content_type]);
        }
        if self.max_bytes > 0 {
            found["max_input_bytes"] = json!(self.max_bytes);
        }
        if !self.keywords.is_empty() {
            found["keywords"] = json!(self.keywords);
        }
        if !self.patterns.is_empty() {
            found["content_patterns"] = json!(self.patterns);
        }
        if let Some(scope) = &self.scope {
            let allowed: serde_json::Map<String, Value> = scope
                .allowed
                .iter()
                .map(|(intent, list)| ((*intent).to_owned(), json!(list)))
                .collect();
            let aliases: serde_json::Map<String, Value> = scope
                .aliases
                .iter()
                .map(|(from, to)| ((*from).to_owned(), json!(to)))
                .collect();
            found["scope"] = json!({
                "instruction_path": "task.ask", "items_path": "things", "category_path": "kind", "name_path": "name",
                "allowed_categories": allowed, "aliases": aliases,
                "on_missing_input": if scope.allows_missing { "allow" } else { "deny" },
                "on_ambiguous": if scope.allows_ambiguous { "allow" } else { "deny" },
            });
        }
        let decision = if self.asks { "require_approval" } else { "deny" };
        let mut rule =
            json!({"id": format!("r{id}"), "match": found, "decision": decision, "enabled": self.enabled});
        if !self.reason.is_empty() {
            rule["reason"] = json!(self.reason);
        }
        rule
    }

    fn concerns(&self, request: &PolicyCheckRequest) -> bool {
        let topic = self.topic.is_none_or(|topic| {
            topic
                .strip_suffix('*')
                .map_or(topic == request.topic, |prefix| request.topic.starts_with(prefix))
        });
        let kind = self
            .content_type
            .is_none_or(|kind| kind.eq_ignore_ascii_case(&request.input_content_type));
        self.enabled && topic && kind
    }

    /// Findings when it fires.
    fn fires(&self, request: &PolicyCheckRequest) -> Option<Vec<String>> {
        if self.max_bytes > 0 {
            let is_large = request.input_size_bytes > self.max_bytes;
            return is_large.then(|| vec!["input size exceeds policy limit".to_owned()]);
        }
        // Blank keywords are none, so a rule of nothing else looks at no content and fires.
        let plain = self.keywords.iter().all(|keyword| keyword.trim().is_empty())
            && self.patterns.is_empty()
            && self.scope.is_none();
        if plain {
            return Some(Vec::new());
        }
        if request.input_content.is_empty() {
            let missing = "scope rule requires structured input content but none was provided";
            let scope = self.scope.as_ref().filter(|scope| !scope.allows_missing);
            return scope.map(|_| vec![missing.to_owned()]);
        }
        let text = String::from_utf8_lossy(&request.input_content).into_owned();
        let mut found = self
            .scope
            .as_ref()
            .map(|scope| in_scope(scope, &text))
            .unwrap_or_default();
        for pattern in &self.patterns {
            if Regex::new(pattern).unwrap().is_match(&text) {
                found.push("input content matched pattern".to_owned());
            }
        }
        for keyword in self.keywords.iter().filter(|keyword| !keyword.trim().is_empty()) {
            if text.to_lowercase().contains(&keyword.trim().to_lowercase()) {
                found.push(format!("keyword matched: {keyword}"));
            }
        }
        (!found.is_empty()).then_some(found)
    }
}

fn normal(text: &str) -> String {
    text.trim().to_lowercase().replace(['-', ' '], "_")
}

fn in_scope(scope: &Scope, text: &str) -> Vec<String> {
    let one = |text: &str, allowed: bool| {
        if allowed {
            Vec::new()
        } else {
            vec![text.to_owned()]
        }
    };
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else {
        return one(
            "malformed_payload: the content is not a JSON object",
            scope.allows_missing,
        );
    };
    let ask = object
        .get("task")
        .and_then(|task| task.get("ask"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let things = object
        .get("things")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if ask.trim().is_empty() || things.is_empty() {
        let what = if ask.trim().is_empty() {
            "instruction text"
        } else {
            "list of items"
        };
        return one(&format!("missing_input: no {what}"), scope.allows_missing);
    }
    let mut intents: Vec<_> = scope.allowed.clone();
    intents.retain(|(intent, _)| !normal(intent).is_empty() && normal(ask).contains(&normal(intent)));
    intents.sort_by_key(|(intent, _)| (std::cmp::Reverse(normal(intent).len()), normal(intent)));
    let Some((intent, allowed)) = intents.first() else {
        return one(
            "ambiguous_intent: no allowed intent in the instruction",
            scope.allows_ambiguous,
        );
    };
    let category = |name: &str| {
        let alias = scope
            .aliases
            .iter()
            .find(|(from, _)| normal(from) == normal(name));
        alias.map_or_else(|| normal(name), |(_, to)| normal(to))
    };
    let allowed: Vec<String> = allowed.iter().map(|name| category(name)).collect();
    let mut found = Vec::new();
    for thing in things.iter().filter(|_| !allowed.is_empty()) {
        let name = thing.get("name").and_then(Value::as_str).unwrap_or("");
        match thing
            .get("kind")
            .and_then(Value::as_str)
            .filter(|kind| !kind.trim().is_empty())
        {
            _ if !thing.is_object() => found.push("item is not an object".to_owned()),
            None => found.push(format!("item \"{name}\" has no category")),
            Some(kind) if !allowed.contains(&category(kind)) => found.push(format!(
                "item \"{name}\" has category \"{kind}\" which is not allowed for intent \"{intent}\""
            )),
            Some(_) => {}
        }
    }
    found
}

/// Decision, rule and reason by the letter.
fn expected(rules: &[Rule], request: &PolicyCheckRequest) -> (i32, String, String) {
    for (id, rule) in rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.concerns(request))
    {
        if let Some(found) = rule.fires(request) {
            let listed = found.join(", ");
            let reason = match (rule.reason, listed.as_str()) {
                ("", "") => "input content flagged".to_owned(),
                (reason, "") => reason.to_owned(),
                ("", listed) => format!("input content flagged: {listed}"),
                (reason, listed) => format!("{reason}: {listed}"),
            };
            return (if rule.asks { HUMAN } else { DENY }, format!("r{id}"), reason);
        }
    }
    (ALLOW, String::new(), String::new())
}

fn scope() -> impl Strategy<Value = Scope> {
    let categories = prop::sample::subsequence(vec!["apple", "Red-Pear", "car"], 0..3);
    let other = prop::sample::subsequence(vec!["car", "van"], 0..2);
    let aliases = prop::sample::subsequence(vec![("pomme", "apple"), ("auto", "car")], 0..=2);
    (
        categories,
        other,
        aliases,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(first, second, aliases, both, allows_missing, allows_ambiguous)| {
                let mut allowed = vec![("buy fruit", first)];
                if both {
                    allowed.push(("buy", second));
                }
                Scope {
                    allowed,
                    aliases,
                    allows_missing,
                    allows_ambiguous,
                }
            },
        )
}

fn rule() -> impl Strategy<Value = Rule> {
    let filters = (
        prop::option::of(prop::sample::select(vec!["job.a", "job.*", "job.b"])),
        prop::option::weighted(0.2, prop::sample::select(vec!["application/json", "TEXT/plain"])),
        prop::bool::weighted(0.9),
        any::<bool>(),
        prop::sample::select(vec!["", "stop it"]),
    );
    let detectors = (
        prop::option::weighted(0.15, 1..40i64),
        prop::sample::subsequence(vec!["bomb", "Fruit", "", "ß", "12 3"], 0..3),
        prop::sample::subsequence(vec!["a+b", "^\\{", "[0-9]{3}", "(?i)PEAR", "x$"], 0..3),
        prop::option::weighted(0.4, scope()),
    );
    (filters, detectors).prop_map(
        |((topic, content_type, enabled, asks, reason), (max_bytes, keywords, patterns, scope))| Rule {
            topic,
            content_type,
            enabled,
            asks,
            reason,
            max_bytes: max_bytes.unwrap_or(0),
            keywords,
            patterns,
            scope,
        },
    )
}

fn content() -> impl Strategy<Value = String> {
    let thing = prop_oneof![
        Just(json!({"name": "p", "kind": "apple"})),
        Just(json!({"name": "q", "kind": "POMME"})),
        Just(json!({"name": "r", "kind": "red pear"})),
        Just(json!({"name": "s", "kind": "auto"})),
        Just(json!({"name": "t", "kind": "bomb"})),
        Just(json!({"name": "u"})),
        Just(json!(7)),
    ];
    let ask = prop::sample::select(vec!["", "please BUY-fruit 123", "buy a car", "sell", "aab"]);
    let object = (ask, prop::collection::vec(thing, 0..4))
        .prop_map(|(ask, things)| json!({"task": {"ask": ask}, "things": things}).to_string());
    prop_oneof![
        3 => object,
        2 => "[abx12 3BOMßs]{0,12}",
        1 => prop::sample::select(vec!["", "[1]", "{}", "a bomb", "FRUIT", "{\"task\": 1}"]).prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_compiled_input_rules_say_what_the_letter_says(
        rules in prop::collection::vec(rule(), 0..5),
        contents in prop::collection::vec(content(), 1..6),
        topic in prop::sample::select(vec!["job.a", "job.b", "job.c"]),
        kind in prop::sample::select(vec!["application/json", "text/plain", ""]),
    ) {
        let listed: Vec<Value> = rules.iter().enumerate().map(|(id, rule)| rule.document(id)).collect();
        let document = json!({"default_decision": "allow", "input_rules": listed}).to_string();
        let source = Source { kind: SourceKind::Base, content: document.as_bytes() };
        let policy = Policy::compile(&[source]).map_err(|error| TestCaseError::fail(format!("{error:?}\n{document}")))?;
        for content in contents {
            let request = PolicyCheckRequest {
                job_id: "j".into(),
                topic: topic.into(),
                tenant: "t".into(),
                input_size_bytes: i64::try_from(content.len()).unwrap(),
                input_content: content.into_bytes(),
                input_content_type: kind.into(),
                ..PolicyCheckRequest::default()
            };
            let bytes = policy.evaluate_bytes(&request.encode_to_vec()).unwrap();
            let said = PolicyCheckResponse::decode(bytes.as_slice()).unwrap();
            let wanted = expected(&rules, &request);
            prop_assert_eq!((said.decision, said.rule_id, said.reason), wanted, "{}\n{:?}", document, request);
        }
    }
}
