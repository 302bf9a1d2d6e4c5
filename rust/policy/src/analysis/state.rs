//! What is known about a class of requests, fact by fact. Facts are taken as independent, which is more than real requests can be: an
//! impossible class is impossible in truth, and a possible one is checked by evaluating a request of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::analysis::condition::{LabelTest, Literal, Scalar, TopicSet};
use crate::analysis::labels;
use crate::mcp::McpField;

type Texts = Arc<BTreeSet<String>>;

/// A class of requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub is_edge: bool,
    pub topics: Vec<Arc<TopicSet>>,
    pub not_topics: Vec<Arc<TopicSet>>,
    scalars: BTreeMap<Scalar, ScalarState>,
    pub any_tags: Vec<Texts>,
    no_tags: BTreeSet<String>,
    pub required: BTreeSet<String>,
    missing: Vec<Texts>,
    pub labels: BTreeMap<String, Vec<LabelTest>>,
    pub labelled: Option<bool>,
    pub secrets: Option<bool>,
    pub mcp: Option<bool>,
}

#[derive(Clone, Debug, Default)]
struct ScalarState {
    allowed: Option<Texts>,
    excluded: BTreeSet<String>,
}

impl ScalarState {
    /// A listed value that is left; the outer `None` when no value is.
    fn value(&self) -> Option<Option<&str>> {
        match &self.allowed {
            None => Some(None),
            Some(allowed) => {
                let mut left = allowed.iter().filter(|value| !self.excluded.contains(*value));
                left.next().map(|value| Some(value.as_str()))
            }
        }
    }

    fn narrow(&mut self, list: &Texts) {
        self.allowed = Some(match &self.allowed {
            None => Arc::clone(list),
            Some(allowed) => Arc::new(allowed.intersection(list).cloned().collect()),
        });
    }
}

fn actor_types() -> Texts {
    Arc::new(["", "human", "service"].map(str::to_owned).into())
}

impl State {
    pub fn new(is_edge: bool) -> State {
        let mut state = State {
            is_edge,
            ..State::default()
        };
        let types = ScalarState {
            allowed: Some(actor_types()),
            ..ScalarState::default()
        };
        state.scalars.insert(Scalar::ActorType, types);
        state
    }

    /// Add a statement; `false` when the class became empty. Topics are not looked at here, they cost more.
    pub fn add(&mut self, literal: &Literal) -> bool {
        match literal {
            Literal::Topic(set) => self.add_topic(set),
            Literal::NotTopic(set) => self.add_not_topic(set),
            Literal::In(scalar, list) => {
                self.scalar(*scalar).narrow(list);
                self.scalar_holds(*scalar)
            }
            Literal::NotIn(scalar, list) => {
                let state = self.scalar(*scalar);
                state.excluded.extend(list.iter().cloned());
                self.scalar_holds(*scalar)
            }
            Literal::AnyTag(list) => {
                self.any_tags.push(Arc::clone(list));
                self.tags_hold()
            }
            Literal::NoTag(list) => {
                self.no_tags.extend(list.iter().cloned());
                self.tags_hold()
            }
            Literal::AllRequired(list) => {
                self.required.extend(list.iter().cloned());
                self.requirements_hold()
            }
            Literal::SomeMissing(list) => {
                self.missing.push(Arc::clone(list));
                self.requirements_hold()
            }
            Literal::Labelled(expected) => {
                let is_new = self.labelled.is_none_or(|known| known == *expected);
                self.labelled = Some(*expected);
                is_new && self.labels_hold()
            }
            Literal::Label(key, test) => self.add_label(key, test),
            Literal::Secrets(expected) => {
                let is_new = self.secrets.is_none_or(|known| known == *expected);
                self.secrets = Some(*expected);
                if !expected {
                    self.no_tags.insert("secrets".to_owned());
                }
                is_new && self.tags_hold()
            }
            Literal::McpCall(expected) => {
                let is_new = self.mcp.is_none_or(|known| known == *expected);
                self.mcp = Some(*expected);
                is_new && self.mcp_holds()
            }
        }
    }

    fn add_topic(&mut self, set: &Arc<TopicSet>) -> bool {
        if self.is_edge {
            return set.takes_edge;
        }
        if !set.is_open() && !self.topics.iter().any(|known| Arc::ptr_eq(known, set)) {
            self.topics.push(Arc::clone(set));
        }
        true
    }

    fn add_not_topic(&mut self, set: &Arc<TopicSet>) -> bool {
        if self.is_edge {
            return !set.takes_edge;
        }
        if !self.not_topics.iter().any(|known| Arc::ptr_eq(known, set)) {
            self.not_topics.push(Arc::clone(set));
        }
        !set.is_open()
    }

    fn add_label(&mut self, key: &str, test: &LabelTest) -> bool {
        let tests = self.labels.entry(key.to_owned()).or_default();
        if !tests.contains(test) {
            tests.push(test.clone());
        }
        labels::is_possible(tests, self.labelled == Some(false))
    }

    fn scalar(&mut self, scalar: Scalar) -> &mut ScalarState {
        self.scalars.entry(scalar).or_default()
    }

    fn scalar_holds(&self, scalar: Scalar) -> bool {
        let has_value = self
            .scalars
            .get(&scalar)
            .is_none_or(|state| state.value().is_some());
        has_value && (!matches!(scalar, Scalar::Mcp(_)) || self.mcp_holds())
    }

    fn tags_hold(&self) -> bool {
        self.any_tags
            .iter()
            .all(|list| list.iter().any(|tag| !self.no_tags.contains(tag)))
    }

    fn requirements_hold(&self) -> bool {
        self.missing
            .iter()
            .all(|list| list.iter().any(|name| !self.required.contains(name)))
    }

    fn labels_hold(&self) -> bool {
        let is_absent = self.labelled == Some(false);
        self.labels
            .values()
            .all(|tests| labels::is_possible(tests, is_absent))
    }

    fn mcp_holds(&self) -> bool {
        let state = |field: McpField| self.scalars.get(&Scalar::Mcp(field as u8));
        let can_be = |field: McpField, is_named: bool| {
            state(field).is_none_or(|state| match &state.allowed {
                None => is_named || !state.excluded.contains(""),
                Some(allowed) => allowed
                    .iter()
                    .any(|value| value.is_empty() != is_named && !state.excluded.contains(value)),
            })
        };
        match self.mcp {
            None => true,
            Some(true) => McpField::ALL.into_iter().any(|field| can_be(field, true)),
            Some(false) => McpField::ALL.into_iter().all(|field| can_be(field, false)),
        }
    }

    /// A value for `scalar`: a listed one that is left, or `None` when any other will do.
    pub fn value(&self, scalar: Scalar) -> Option<&str> {
        self.scalars
            .get(&scalar)
            .and_then(|state| state.value().flatten())
    }

    /// Whether `value` would do for `scalar`.
    pub fn admits(&self, scalar: Scalar, value: &str) -> bool {
        self.scalars.get(&scalar).is_none_or(|state| {
            !state.excluded.contains(value)
                && state
                    .allowed
                    .as_ref()
                    .is_none_or(|allowed| allowed.contains(value))
        })
    }

    /// One tag for every demanded list, none that is refused; `secrets` only when nothing else will do.
    pub fn tags(&self) -> Vec<String> {
        let mut chosen: Vec<String> = Vec::new();
        for list in &self.any_tags {
            if list.iter().any(|tag| chosen.contains(tag)) {
                continue;
            }
            let left = || list.iter().filter(|tag| !self.no_tags.contains(*tag));
            let tag = left().find(|tag| *tag != "secrets").or_else(|| left().next());
            chosen.extend(tag.cloned());
        }
        chosen
    }
}
