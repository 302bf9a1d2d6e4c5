//! A thousand policies without a finding, each given one defect: the defect is found, and nothing else is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use cordum_policy::analysis::analyze;
use cordum_policy::{Source, SourceKind};
use serde_json::Value as Json;

/// A small generator of numbers; seeds make the policies reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick(&mut self, list: &[&str]) -> String {
        list[self.below(list.len())].to_owned()
    }
}

struct Rule {
    id: String,
    decision: String,
    matching: Vec<String>,
}

impl Rule {
    fn new(id: &str, decision: &str, matching: &[&str]) -> Rule {
        Rule {
            id: id.to_owned(),
            decision: decision.to_owned(),
            matching: matching.iter().map(|field| (*field).to_owned()).collect(),
        }
    }
}

const DECISIONS: [&str; 4] = ["allow", "deny", "require_approval", "throttle"];

/// A rule about topics of its own, so that clean rules never meet.
fn clean(random: &mut Random, at: usize) -> Rule {
    let topic = match random.below(3) {
        0 => format!("topics: [\"job.clean{at}.*\"]"),
        1 => format!("topics: [\"job.clean{at}.run\", \"job.clean{at}.[xy]?\"]"),
        _ => format!("topics: [\"job.clean{at}.a*z\"]"),
    };
    let mut matching = vec![topic];
    let optional = [
        "capabilities: [build, test]",
        "risk_tags: [money, write]",
        "requires: [git, net]",
        "labels: {env: prod, zone: a}",
        "label_threshold: {amount: 250}",
        "label_allowlist: {region: [eu, us]}",
        "secrets_present: true",
        "actor_types: [human]",
        "mcp: {allow_tools: [read, list]}",
        "tenants: [north, south]",
    ];
    for field in optional {
        if random.below(3) == 0 {
            matching.push(field.to_owned());
        }
    }
    Rule {
        id: format!("clean-{at}"),
        decision: random.pick(&DECISIONS),
        matching,
    }
}

/// What was put in: rules in order, a tenant section, and the finding expected.
struct Defect {
    rules: Vec<Rule>,
    tenants: &'static str,
    kind: &'static str,
    id: &'static str,
}

fn shadowed(first: &[(&str, &[&str])], last: &[&str]) -> Defect {
    let mut rules: Vec<Rule> = first
        .iter()
        .enumerate()
        .map(|(at, (decision, fields))| Rule::new(&format!("cover-{at}"), decision, fields))
        .collect();
    rules.push(Rule::new("defect", "deny", last));
    Defect {
        rules,
        tenants: "",
        kind: "shadowed_rule",
        id: "defect",
    }
}

fn shadow_defect(random: &mut Random) -> Defect {
    let softer = random.pick(&["require_approval", "throttle"]);
    let soft = softer.as_str();
    match random.below(9) {
        0 => shadowed(
            &[(soft, &["topics: [\"job.bad.*\"]"])],
            &["topics: [\"job.bad.x\", \"job.bad.y?\"]", "capabilities: [a]"],
        ),
        1 => shadowed(
            &[
                (soft, &["topics: [\"job.bad\"]", "capabilities: [a]"]),
                (soft, &["topics: [\"job.bad\"]", "capabilities: [b, C]"]),
            ],
            &[
                "topics: [\"job.bad\"]",
                "capabilities: [A, b, c]",
                "risk_tags: [money]",
            ],
        ),
        2 => shadowed(
            &[
                (soft, &["topics: [\"job.bad.a*\"]"]),
                (soft, &["topics: [\"job.bad.[b-k]*\"]"]),
                (soft, &["topics: [\"job.bad.l?\"]"]),
            ],
            &["topics: [\"job.bad.[a-k]z\", \"job.bad.l[xyz]\"]"],
        ),
        3 => shadowed(
            &[(soft, &["topics: [\"job.bad\"]", "label_threshold: {amount: 10}"])],
            &["topics: [\"job.bad\"]", "label_threshold: {amount: 10.5}"],
        ),
        4 => shadowed(
            &[
                (soft, &["topics: [\"job.bad\"]", "secrets_present: true"]),
                (soft, &["topics: [\"job.bad\"]", "secrets_present: false"]),
            ],
            &["topics: [\"job.bad\"]", "actor_ids: [root]"],
        ),
        5 => shadowed(
            &[
                (soft, &["topics: [\"job.bad\"]", "mcp: {allow_tools: [read]}"]),
                (soft, &["topics: [\"job.bad\"]", "mcp: {deny_tools: [read]}"]),
            ],
            &["topics: [\"job.bad\"]", "mcp: {allow_servers: [files]}"],
        ),
        6 => shadowed(
            &[(
                soft,
                &["topics: [\"job.bad\"]", "label_allowlist: {region: [eu, us]}"],
            )],
            &["topics: [\"job.bad\"]", "labels: {region: moon}"],
        ),
        7 => shadowed(
            &[(soft, &["topics: [\"job.bad\"]", "requires: [git]"])],
            &["topics: [\"job.bad\"]", "requires: [Git, net]", "pack_ids: [p]"],
        ),
        _ => shadowed(
            &[(soft, &["topics: [\"job.bad*\"]", "labels: {env: prod}"])],
            &["topics: [\"job.bad.q\"]", "labels: {env: prod, zone: b}"],
        ),
    }
}

fn empty_defect(random: &mut Random) -> Defect {
    let fields: &[&str] = [
        &[
            "topics: [\"job.bad\"]",
            "labels: {region: EU}",
            "label_allowlist: {region: [eu]}",
        ][..],
        &[
            "topics: [\"job.bad\"]",
            "labels: {amount: \"10\"}",
            "label_threshold: {amount: 10}",
        ],
        &[
            "topics: [\"job.bad\"]",
            "risk_tags: [Secrets]",
            "secrets_present: false",
        ],
        &["topics: [\"job.bad\"]", "capabilities: [\" \"]"],
        &["topics: [\"task.*\"]"],
        &[
            "topics: [\"job.bad\"]",
            "mcp: {allow_tools: [x], deny_tools: [X]}",
        ],
        &["topics: [\"job.bad\"]", "actor_types: [robot]"],
        &["topics: [\"job.bad\"]", "requires: [git, \"\"]"],
    ][random.below(8)];
    Defect {
        rules: vec![Rule::new("defect", &random.pick(&DECISIONS), fields)],
        tenants: "",
        kind: "empty_match",
        id: "defect",
    }
}

fn contradiction(random: &mut Random) -> Defect {
    let (one, other): (&[&str], &[&str]) = [
        (
            &["topics: [\"job.bad\"]", "capabilities: [a, b]"][..],
            &["topics: [\"job.bad\"]", "capabilities: [b, c]"][..],
        ),
        (&["topics: [\"job.bad.*x\"]"], &["topics: [\"job.bad.y*\"]"]),
        (
            &["topics: [\"job.bad\"]", "labels: {env: prod}"],
            &["topics: [\"job.bad\"]", "labels: {zone: a}"],
        ),
        (
            &["topics: [\"job.bad\"]", "risk_tags: [x]"],
            &["topics: [\"job.bad\"]", "risk_tags: [y]"],
        ),
        (
            &["topics: [\"job.bad\"]", "label_threshold: {a: 5}"],
            &["topics: [\"job.bad\"]", "label_threshold: {b: 5}"],
        ),
    ][random.below(5)];
    let is_deny_first = random.below(2) == 0;
    let decisions = if is_deny_first {
        ("deny", "allow")
    } else {
        ("allow", "deny")
    };
    Defect {
        rules: vec![
            Rule::new("first", decisions.0, one),
            Rule::new("defect", decisions.1, other),
        ],
        tenants: "",
        kind: "contradiction",
        id: "defect",
    }
}

fn tenant_defect(random: &mut Random) -> Defect {
    match random.below(4) {
        0 => Defect {
            rules: vec![Rule::new(
                "defect",
                "allow",
                &["topics: [\"job.bad\"]", "mcp: {allow_tools: [read, drop]}"],
            )],
            tenants: "tenants:\n  North: {mcp: {deny_tools: [Drop]}}\n",
            kind: "mcp_allowance",
            id: "defect",
        },
        1 => Defect {
            rules: vec![Rule::new(
                "defect",
                "allow",
                &[
                    "topics: [\"job.bad\"]",
                    "tenants: [east]",
                    "mcp: {allow_servers: [files]}",
                ],
            )],
            tenants: "tenants:\n  east: {mcp: {allow_tools: [read]}}\n",
            kind: "mcp_allowance",
            id: "defect",
        },
        2 => Defect {
            rules: Vec::new(),
            tenants: "tenants:\n  west: {deny_topics: [\"job.secret.*\"]}\n",
            kind: "unused_tenant",
            id: "",
        },
        _ => Defect {
            rules: Vec::new(),
            tenants: "tenants:\n  \" west\": {mcp: {deny_tools: [x]}}\n",
            kind: "unused_tenant",
            id: "",
        },
    }
}

fn document(rules: &[Rule], tenants: &str) -> String {
    let mut text = String::from("rules:\n");
    for rule in rules {
        let fields = rule.matching.join(", ");
        text.push_str(&format!(
            "  - {{id: {}, decision: {}, match: {{{fields}}}}}\n",
            rule.id, rule.decision
        ));
    }
    text + tenants
}

fn report(text: &str) -> Json {
    let source = Source {
        kind: SourceKind::Base,
        content: text.as_bytes(),
    };
    serde_json::from_slice(&analyze(&[source]).unwrap()).unwrap()
}

#[test]
fn seeded_defects_are_found_and_nothing_else_is() {
    let (mut found, mut total) = (0, 0);
    for seed in 0..1000u64 {
        let mut random = Random(seed * 7919 + 13);
        let mut rules: Vec<Rule> = (0..12).map(|at| clean(&mut random, at)).collect();
        if seed % 50 == 0 {
            let clean = document(&rules, "");
            assert_eq!(report(&clean)["findings"], serde_json::json!([]), "{clean}");
        }
        let defect = match seed % 4 {
            0 => shadow_defect(&mut random),
            1 => empty_defect(&mut random),
            2 => contradiction(&mut random),
            _ => tenant_defect(&mut random),
        };
        let mut at = 0;
        for rule in defect.rules {
            at += random.below(rules.len() + 1 - at);
            rules.insert(at, rule);
            at += 1;
        }
        let text = document(&rules, defect.tenants);
        let report = report(&text);
        total += 1;
        let mut others = 0;
        let mut is_found = false;
        for finding in report["findings"].as_array().unwrap() {
            let is_it = finding["kind"] == defect.kind && finding["rule"]["id"] == defect.id;
            is_found |= is_it;
            // A clean rule that selects calls and a tenant list that refuses some of them are a true finding too.
            others += usize::from(!is_it && finding["kind"] != "mcp_allowance");
            assert!(!finding["witness"].is_null(), "{text}{finding}");
        }
        assert_eq!(others, 0, "{text}{report:#}");
        if is_found {
            found += 1;
        } else {
            println!("missed {} in\n{text}", defect.kind);
        }
    }
    println!("{found} of {total} seeded defects found");
    assert!(found * 100 >= total * 99, "{found} of {total}");
}
