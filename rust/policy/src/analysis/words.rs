//! A class of requests in words: the conditions that make it, as few as possible.

use std::collections::BTreeSet;

use crate::analysis::condition::{Clause, Condition, Literal, Scalar, Shape};
use crate::analysis::solve::{Solved, Solver};
use crate::mcp::{McpField, McpLists};

/// Values of one list that are told; the rest are counted.
const MAX_TOLD: usize = 8;

/// One condition of a class.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub demanded: Vec<Clause>,
    pub refused: Clause,
    pub words: String,
}

impl Shape {
    /// The conditions one by one.
    pub fn parts(&self) -> Vec<Part> {
        let topics = self.topics.iter().map(|set| Part {
            demanded: vec![vec![vec![Literal::Topic(set.clone())]]],
            refused: vec![vec![Literal::NotTopic(set.clone())]],
            words: match set.globs.as_slice() {
                [] => "topic is not the edge topic".to_owned(),
                globs => one_of(
                    "topic",
                    globs.iter().map(|glob| glob.text()),
                    "is",
                    "matches one of",
                ),
            },
        });
        let others = self.conditions.iter().map(|condition| Part {
            demanded: condition.demanded(),
            refused: condition.refused(),
            words: condition.words(),
        });
        topics.chain(others).collect()
    }
}

/// Leave out what follows from the rest.
pub(crate) fn without_implied(solver: &mut Solver, mut parts: Vec<Part>) -> Vec<Part> {
    let mut at = parts.len();
    while at > 0 {
        at -= 1;
        let rest = parts.iter().enumerate().filter(|(other, _)| *other != at);
        let Some(part) = parts.get(at) else { break };
        let clauses: Vec<&Clause> = rest
            .flat_map(|(_, part)| &part.demanded)
            .chain(std::iter::once(&part.refused))
            .collect();
        if matches!(solver.solve(&clauses), Solved::Impossible) {
            parts.remove(at);
        }
    }
    parts
}

fn one_of<'a>(
    subject: &str,
    values: impl ExactSizeIterator<Item = &'a str>,
    single: &str,
    several: &str,
) -> String {
    let count = values.len();
    let told: Vec<&str> = values.take(MAX_TOLD).collect();
    let list = told.join(", ");
    match (count, count - told.len()) {
        (1, _) => format!("{subject} {single} {list}"),
        (_, 0) => format!("{subject} {several} {list}"),
        (_, more) => format!("{subject} {several} {list} and {more} more"),
    }
}

fn listed(subject: &str, list: &BTreeSet<String>) -> String {
    one_of(subject, list.iter().map(String::as_str), "is", "is one of")
}

fn scalar_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Tenant => "tenant",
        Scalar::Capability => "capability",
        Scalar::PackId => "pack_id",
        Scalar::ActorId => "actor_id",
        Scalar::ActorType => "actor_type",
        Scalar::ContentType => "content_type",
        Scalar::WorkflowScope => "workflow",
        Scalar::JobScope => "job or session",
        Scalar::Mcp(_) => "mcp",
    }
}

impl Condition {
    /// The condition as a sentence without end, e.g. `tenant is one of north, south`.
    pub fn words(&self) -> String {
        match self {
            Condition::Scalar(scalar, list) => listed(scalar_name(*scalar), list),
            Condition::Tags(list) => one_of(
                "risk_tags",
                list.iter().map(String::as_str),
                "hold",
                "hold one of",
            ),
            Condition::Requires(list) => one_of(
                "requires",
                list.iter().map(String::as_str),
                "holds",
                "holds all of",
            ),
            Condition::Labels(pairs) => joined(
                pairs
                    .iter()
                    .map(|(key, value)| format!("label {key} is `{value}`")),
                " and ",
            ),
            Condition::Allowlist(lists) => joined(
                lists.iter().map(|(key, list)| {
                    one_of(
                        &format!("label {key}"),
                        list.iter().map(String::as_str),
                        "is not",
                        "is none of",
                    )
                }),
                " or ",
            ),
            Condition::Threshold(limits) => joined(
                limits
                    .iter()
                    .map(|(key, limit)| format!("label {key} is above {limit}")),
                " or ",
            ),
            Condition::Secrets(true) => "secrets are present".to_owned(),
            Condition::Secrets(false) => "no secrets are present".to_owned(),
            Condition::Mcp(lists) => mcp_words(lists),
            Condition::CountedBy(scalars, labels) => {
                let names = scalars.iter().map(|scalar| scalar_name(*scalar).to_owned());
                let labels = labels.iter().map(|key| format!("label {key}"));
                format!("{} not empty", joined(names.chain(labels), ", "))
            }
        }
    }
}

fn joined(texts: impl Iterator<Item = String>, with: &str) -> String {
    texts.collect::<Vec<_>>().join(with)
}

fn mcp_words(lists: &McpLists) -> String {
    let mut told = vec!["an MCP call".to_owned()];
    for (field, lists) in McpField::ALL.into_iter().zip(&lists.fields) {
        let subject = field.name();
        if !lists.allow.is_empty() {
            told.push(one_of(
                subject,
                lists.allow.iter().map(String::as_str),
                "is",
                "is one of",
            ));
        }
        if !lists.deny.is_empty() {
            told.push(one_of(
                subject,
                lists.deny.iter().map(String::as_str),
                "is not",
                "is none of",
            ));
        }
    }
    told.join(", ")
}
