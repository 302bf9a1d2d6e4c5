//! Topic registrations: which topics exist, for whom, and which pool serves them (scheduler spec §19.5).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

const TENANT_PREFIX: &str = "tenant:";

/// Why stored registrations were refused.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not a map of records.
    #[error("topic registrations: {0}")]
    Shape(#[from] serde_json::Error),
}

/// Life of a registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use.
    #[default]
    Active,
    /// In use, with a warning.
    Deprecated,
    /// Not accepted.
    Disabled,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Record {
    pool: String,
    input_schema_id: String,
    status: Status,
}

/// One registration.
#[derive(Debug, Default)]
pub struct Topic {
    /// The pool that serves the topic where the routing table does not say; at most one.
    pub pools: Vec<String>,
    /// Schema of its payloads, empty for none.
    pub input_schema_id: String,
    /// Whether jobs may use it.
    pub status: Status,
}

type Topics = BTreeMap<String, Topic>;

/// All registrations, those of tenants apart.
#[derive(Debug, Default)]
pub struct Registry {
    global: Topics,
    scoped: BTreeMap<String, Topics>,
}

impl Registry {
    /// Read the data of `cfg:system:topics`: records by name or `tenant:<tenant>:<name>`.
    pub fn parse(data: &[u8]) -> Result<Self, RegistryError> {
        let records: BTreeMap<String, Record> = serde_json::from_slice(data)?;
        let mut registry = Registry::default();
        for (key, record) in records {
            let topic = Topic {
                pools: Some(record.pool)
                    .filter(|pool| !pool.is_empty())
                    .into_iter()
                    .collect(),
                input_schema_id: record.input_schema_id,
                status: record.status,
            };
            match key
                .strip_prefix(TENANT_PREFIX)
                .and_then(|rest| rest.split_once(':'))
            {
                Some((tenant, name)) => registry
                    .scoped
                    .entry(tenant.to_owned())
                    .or_default()
                    .insert(name.to_owned(), topic),
                None => registry.global.insert(key, topic),
            };
        }
        Ok(registry)
    }

    /// Whether nothing is registered: then topics are not checked.
    pub fn is_empty(&self) -> bool {
        self.global.is_empty() && self.scoped.is_empty()
    }

    /// The registration a tenant's job falls under: its tenant's own, else the global one.
    pub fn find(&self, tenant: &str, name: &str) -> Option<&Topic> {
        let own = self.scoped.get(tenant).and_then(|topics| topics.get(name));
        own.or_else(|| self.global.get(name))
    }

    /// The registration of a name for everybody.
    pub fn find_global(&self, name: &str) -> Option<&Topic> {
        self.global.get(name)
    }

    /// Whether any tenant knows the name.
    pub fn knows(&self, name: &str) -> bool {
        self.global.contains_key(name) || self.scoped.values().any(|topics| topics.contains_key(name))
    }

    /// Every registration with its name, of all tenants.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Topic)> {
        let scoped = self.scoped.values().flatten();
        self.global
            .iter()
            .chain(scoped)
            .map(|(name, topic)| (name.as_str(), topic))
    }

    /// The first names a tenant's jobs may use, sorted, at most `limit`; and whether there are more.
    pub fn usable(&self, tenant: &str, limit: usize) -> (Vec<&str>, bool) {
        let is_usable = |(_, topic): &(&String, &Topic)| topic.status != Status::Disabled;
        let own = self.scoped.get(tenant);
        let global = self
            .global
            .iter()
            .filter(is_usable)
            .filter(|(name, _)| own.is_none_or(|topics| !topics.contains_key(*name)));
        let mut names: BTreeSet<&str> = global.take(limit + 1).map(|(name, _)| name.as_str()).collect();
        let own = own.into_iter().flatten().filter(is_usable);
        names.extend(own.take(limit + 1).map(|(name, _)| name.as_str()));
        let is_cut = names.len() > limit;
        (names.into_iter().take(limit).collect(), is_cut)
    }
}
