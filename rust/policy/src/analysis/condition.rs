//! A rule's match as conditions that can be demanded or refused one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::document::{Delegation, Match, Scope};
use crate::glob::Glob;
use crate::mcp::{fold, McpField, McpLists};
use crate::topics::EDGE_TOPIC;

/// A fact with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scalar {
    Tenant,
    Capability,
    PackId,
    ActorId,
    ActorType,
    ContentType,
    WorkflowScope,
    JobScope,
    Mcp(u8),
}

/// One statement about a request.
#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Topic(Arc<TopicSet>),
    NotTopic(Arc<TopicSet>),
    In(Scalar, Arc<BTreeSet<String>>),
    NotIn(Scalar, Arc<BTreeSet<String>>),
    AnyTag(Arc<BTreeSet<String>>),
    NoTag(Arc<BTreeSet<String>>),
    AllRequired(Arc<BTreeSet<String>>),
    /// At least one of them is not required.
    SomeMissing(Arc<BTreeSet<String>>),
    /// The request has labels, or has none.
    Labelled(bool),
    Label(String, LabelTest),
    Secrets(bool),
    McpCall(bool),
}

/// One statement about the value of a label. A label that is absent reads as empty text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LabelTest {
    Is(String),
    IsNot(String),
    /// Present with a value that is not in the folded list.
    Outside(Arc<BTreeSet<String>>),
    InsideOrAbsent(Arc<BTreeSet<String>>),
    Above(f64),
    NotAbove(f64),
}

/// The topics a rule takes.
#[derive(Debug)]
pub(crate) struct TopicSet {
    pub globs: Vec<Glob>,
    /// Whether the rule is a candidate for the edge topic (policy spec §6.2).
    pub takes_edge: bool,
}

/// Alternatives; each is a list of statements that must all hold.
pub(crate) type Clause = Vec<Vec<Literal>>;

/// What a rule asks of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub topics: Option<Arc<TopicSet>>,
    pub conditions: Vec<Condition>,
    /// It also depends on what the analysis does not model: delegation, agents, detectors, counts.
    pub is_opaque: bool,
}

/// One field of a match.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Scalar(Scalar, Arc<BTreeSet<String>>),
    Tags(Arc<BTreeSet<String>>),
    Requires(Arc<BTreeSet<String>>),
    Labels(Vec<(String, String)>),
    Allowlist(Vec<(String, Arc<BTreeSet<String>>)>),
    Threshold(Vec<(String, f64)>),
    Secrets(bool),
    Mcp(McpLists),
    /// Facts a velocity rule counts by, which must not be empty: scalars and labels.
    CountedBy(Vec<Scalar>, Vec<String>),
}

/// Folded entries without blank ones, which equal nothing.
fn values(texts: &[String]) -> Arc<BTreeSet<String>> {
    let folded = texts.iter().map(|text| fold(text).into_owned());
    Arc::new(folded.filter(|text| !text.is_empty()).collect())
}

fn one(text: &str) -> Arc<BTreeSet<String>> {
    Arc::new(BTreeSet::from([text.to_owned()]))
}

fn is_plain(delegation: &Delegation) -> bool {
    *delegation == Delegation::default()
        || *delegation
            == (Delegation {
                delegation_required: Some(false),
                ..Delegation::default()
            })
}

impl Shape {
    /// The shape of a rule with this match; `is_ordinary` rules take the edge topic only when they list it.
    pub fn new(matching: &Match, scope: &Scope, content_types: &[String], is_ordinary: bool) -> Shape {
        let mut shape = Shape {
            topics: topics(&matching.topics, is_ordinary),
            ..Shape::default()
        };
        match scope {
            Scope::Global => {}
            Scope::Workflow(id) => shape.add_scalar(Scalar::WorkflowScope, one(id)),
            Scope::Job(id) => shape.add_scalar(Scalar::JobScope, one(id)),
        }
        let lists = [
            (Scalar::Tenant, &matching.tenants[..]),
            (Scalar::Capability, &matching.capabilities),
            (Scalar::PackId, &matching.pack_ids),
            (Scalar::ActorId, &matching.actor_ids),
            (Scalar::ActorType, &matching.actor_types),
            (Scalar::ContentType, content_types),
        ];
        for (scalar, list) in lists {
            if !list.is_empty() {
                shape.add_scalar(scalar, values(list));
            }
        }
        shape.add_sets(matching);
        shape.add_labels(matching);
        shape.is_opaque = matching.predicate.is_some()
            || matching
                .delegation
                .as_ref()
                .is_some_and(|delegation| !is_plain(delegation))
            || !matching.agent_risk_tiers.is_empty()
            || !matching.agent_data_classifications.is_empty();
        shape
    }

    /// The rule counts by these facts (policy spec §13.1).
    pub fn count_by<'a>(&mut self, parts: impl Iterator<Item = &'a str>) {
        let (mut scalars, mut labels) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                "actor_id" => scalars.push(Scalar::ActorId),
                "actor_type" => scalars.push(Scalar::ActorType),
                "pack_id" => scalars.push(Scalar::PackId),
                "capability" => scalars.push(Scalar::Capability),
                other => labels.extend(other.strip_prefix("labels.").map(str::to_owned)),
            }
        }
        if !scalars.is_empty() || !labels.is_empty() {
            self.conditions.push(Condition::CountedBy(scalars, labels));
        }
    }

    fn add_scalar(&mut self, scalar: Scalar, list: Arc<BTreeSet<String>>) {
        self.conditions.push(Condition::Scalar(scalar, list));
    }

    fn add_sets(&mut self, matching: &Match) {
        if !matching.risk_tags.is_empty() {
            self.conditions.push(Condition::Tags(values(&matching.risk_tags)));
        }
        if !matching.requires.is_empty() {
            let has_blank = matching.requires.iter().any(|name| name.trim().is_empty());
            // A blank entry is never among the request's, so the empty list of values for it is demanded as a tag.
            self.conditions.push(if has_blank {
                Condition::Tags(Arc::default())
            } else {
                Condition::Requires(values(&matching.requires))
            });
        }
        if let Some(expected) = matching.secrets_present {
            self.conditions.push(Condition::Secrets(expected));
        }
        if !matching.mcp.is_empty() {
            self.conditions.push(Condition::Mcp(matching.mcp.clone()));
        }
    }

    fn add_labels(&mut self, matching: &Match) {
        if !matching.labels.is_empty() {
            let pairs = matching.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
            self.conditions.push(Condition::Labels(pairs.collect()));
        }
        if !matching.label_allowlist.is_empty() {
            let lists = matching
                .label_allowlist
                .iter()
                .map(|(k, list)| (k.clone(), values(list)));
            self.conditions.push(Condition::Allowlist(lists.collect()));
        }
        if !matching.label_threshold.is_empty() {
            let limits = matching
                .label_threshold
                .iter()
                .map(|(k, limit)| (k.clone(), *limit));
            self.conditions.push(Condition::Threshold(limits.collect()));
        }
    }

    /// Values the rule lists for `scalar`, when it restricts it.
    pub fn listed(&self, scalar: Scalar) -> Option<&BTreeSet<String>> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::Scalar(other, list) if *other == scalar => Some(&**list),
            _ => None,
        })
    }

    /// Whether the two can match one request, as far as their lists of values tell.
    pub fn may_share(&self, other: &Shape) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Scalar(scalar, list) => {
                let theirs = other.listed(*scalar);
                theirs.is_none_or(|theirs| list.iter().any(|value| theirs.contains(value)))
            }
            _ => true,
        })
    }

    /// Which fields the rule restricts.
    pub fn restricts(&self) -> Vec<String> {
        let mut fields: Vec<String> = self.conditions.iter().map(Condition::field).collect();
        fields.extend(
            self.topics
                .iter()
                .filter(|set| !set.is_open())
                .map(|_| "topics".to_owned()),
        );
        fields.sort_unstable();
        fields
    }

    /// The rule matches exactly when each clause holds.
    pub fn demanded(&self) -> Vec<Clause> {
        let topics = self
            .topics
            .iter()
            .map(|set| vec![vec![Literal::Topic(Arc::clone(set))]]);
        topics
            .chain(self.conditions.iter().flat_map(Condition::demanded))
            .collect()
    }

    /// The rule does not match exactly when one of the alternatives holds.
    pub fn refused(&self) -> Clause {
        let topics = self
            .topics
            .iter()
            .map(|set| vec![Literal::NotTopic(Arc::clone(set))]);
        // Topics come last: the other statements cost less to decide.
        self.conditions
            .iter()
            .flat_map(Condition::refused)
            .chain(topics)
            .collect()
    }
}

fn topics(patterns: &[String], is_ordinary: bool) -> Option<Arc<TopicSet>> {
    if patterns.is_empty() && !is_ordinary {
        return None;
    }
    let globs: Vec<Glob> = match patterns {
        // Any topic but the edge's; both spellings, because a star does not pass a slash.
        [] => {
            return Some(Arc::new(TopicSet {
                globs: Vec::new(),
                takes_edge: false,
            }))
        }
        patterns => patterns.iter().filter_map(|pattern| Glob::new(pattern)).collect(),
    };
    let takes_edge = globs.iter().any(|glob| {
        if is_ordinary {
            glob.text() == EDGE_TOPIC
        } else {
            glob.matches(EDGE_TOPIC)
        }
    });
    Some(Arc::new(TopicSet { globs, takes_edge }))
}

impl TopicSet {
    /// No pattern, so every topic but perhaps the edge's.
    pub fn is_open(&self) -> bool {
        self.globs.is_empty()
    }
}

fn labelled(pairs: &[(String, String)]) -> impl Iterator<Item = Clause> + '_ {
    let each = pairs
        .iter()
        .map(|(key, value)| vec![vec![Literal::Label(key.clone(), LabelTest::Is(value.clone()))]]);
    std::iter::once(vec![vec![Literal::Labelled(true)]]).chain(each)
}

fn mcp_lists(
    lists: &McpLists,
) -> impl Iterator<Item = (Scalar, Arc<BTreeSet<String>>, Arc<BTreeSet<String>>)> + '_ {
    McpField::ALL.into_iter().filter_map(|field| {
        let lists = lists.lists(field)?;
        let scalar = Scalar::Mcp(field as u8);
        // A list of blank entries only is a list all the same, which no value is in.
        Some((scalar, values(&lists.allow), values(&lists.deny)))
            .filter(|_| !lists.allow.is_empty() || !lists.deny.is_empty())
    })
}

/// Alternatives by which lists refuse an MCP call.
pub(crate) fn refusals(lists: &McpLists) -> Clause {
    let mut clause = Clause::new();
    for (scalar, allow, deny) in mcp_lists(lists) {
        if !deny.is_empty() {
            clause.push(vec![Literal::In(scalar, deny)]);
        }
        let has_allow = match scalar {
            Scalar::Mcp(at) => lists
                .fields
                .get(usize::from(at))
                .is_some_and(|lists| !lists.allow.is_empty()),
            _ => false,
        };
        if has_allow {
            clause.push(vec![Literal::NotIn(scalar, allow)]);
        }
    }
    clause
}

impl Condition {
    fn field(&self) -> String {
        match self {
            Condition::Scalar(scalar, _) => format!("{scalar:?}"),
            Condition::Tags(_) => "risk_tags".to_owned(),
            Condition::Requires(_) => "requires".to_owned(),
            Condition::Labels(_) => "labels".to_owned(),
            Condition::Allowlist(_) => "label_allowlist".to_owned(),
            Condition::Threshold(_) => "label_threshold".to_owned(),
            Condition::Secrets(_) => "secrets_present".to_owned(),
            Condition::Mcp(_) => "mcp".to_owned(),
            Condition::CountedBy(..) => "velocity".to_owned(),
        }
    }

    pub fn demanded(&self) -> Vec<Clause> {
        let plain = |literal| vec![vec![vec![literal]]];
        match self {
            Condition::Scalar(scalar, list) => plain(Literal::In(*scalar, Arc::clone(list))),
            Condition::Tags(list) => plain(Literal::AnyTag(Arc::clone(list))),
            Condition::Requires(list) => plain(Literal::AllRequired(Arc::clone(list))),
            Condition::Secrets(expected) => plain(Literal::Secrets(*expected)),
            Condition::Labels(pairs) => labelled(pairs).collect(),
            Condition::CountedBy(scalars, labels) => {
                let scalars = scalars.iter().map(|scalar| Literal::NotIn(*scalar, one("")));
                let labels = labels
                    .iter()
                    .map(|key| Literal::Label(key.clone(), LabelTest::IsNot(String::new())));
                scalars.chain(labels).map(|literal| vec![vec![literal]]).collect()
            }
            Condition::Allowlist(lists) => {
                let outside = |(key, list): &(String, Arc<BTreeSet<String>>)| {
                    vec![Literal::Label(key.clone(), LabelTest::Outside(Arc::clone(list)))]
                };
                vec![lists.iter().map(outside).collect()]
            }
            Condition::Threshold(limits) => {
                let above = |(key, limit): &(String, f64)| {
                    vec![Literal::Label(key.clone(), LabelTest::Above(*limit))]
                };
                vec![limits.iter().map(above).collect()]
            }
            Condition::Mcp(lists) => {
                let mut clauses = plain(Literal::McpCall(true));
                for alternative in refusals(lists) {
                    // None of the ways to be refused may hold; each is one statement.
                    clauses.extend(alternative.into_iter().filter_map(|literal| match literal {
                        Literal::In(scalar, deny) => Some(vec![vec![Literal::NotIn(scalar, deny)]]),
                        Literal::NotIn(scalar, allow) => Some(vec![vec![Literal::In(scalar, allow)]]),
                        _ => None,
                    }));
                }
                clauses
            }
        }
    }

    pub fn refused(&self) -> Clause {
        match self {
            Condition::Scalar(scalar, list) => vec![vec![Literal::NotIn(*scalar, Arc::clone(list))]],
            Condition::Tags(list) => vec![vec![Literal::NoTag(Arc::clone(list))]],
            Condition::Requires(list) => vec![vec![Literal::SomeMissing(Arc::clone(list))]],
            Condition::Secrets(expected) => vec![vec![Literal::Secrets(!expected)]],
            Condition::Labels(pairs) => {
                let differs = |(key, value): &(String, String)| {
                    vec![Literal::Label(key.clone(), LabelTest::IsNot(value.clone()))]
                };
                let each = pairs.iter().map(differs);
                each.chain(std::iter::once(vec![Literal::Labelled(false)]))
                    .collect()
            }
            Condition::CountedBy(scalars, labels) => {
                let scalars = scalars.iter().map(|scalar| Literal::In(*scalar, one("")));
                let labels = labels
                    .iter()
                    .map(|key| Literal::Label(key.clone(), LabelTest::Is(String::new())));
                scalars.chain(labels).map(|literal| vec![literal]).collect()
            }
            Condition::Allowlist(lists) => {
                let inside = |(key, list): &(String, Arc<BTreeSet<String>>)| {
                    Literal::Label(key.clone(), LabelTest::InsideOrAbsent(Arc::clone(list)))
                };
                vec![lists.iter().map(inside).collect()]
            }
            Condition::Threshold(limits) => {
                let below =
                    |(key, limit): &(String, f64)| Literal::Label(key.clone(), LabelTest::NotAbove(*limit));
                vec![limits.iter().map(below).collect()]
            }
            Condition::Mcp(lists) => {
                let mut clause = vec![vec![Literal::McpCall(false)]];
                // Where no tool is named at all, a list refuses nothing.
                clause.extend(refusals(lists).into_iter().map(|mut alternative| {
                    alternative.push(Literal::McpCall(true));
                    alternative
                }));
                clause
            }
        }
    }
}
