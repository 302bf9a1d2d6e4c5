//! Routing and time-outs as one immutable snapshot (scheduler spec §23).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cordum_boundary::{Boundary, Registry, Topic};
use serde::Deserialize;

/// Why a configuration document was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the expected JSON shape.
    #[error("routing document: {0}")]
    Shape(#[from] serde_json::Error),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    topics: BTreeMap<String, Vec<String>>,
    pools: BTreeMap<String, PoolDocument>,
    timeouts: TimeoutDocument,
    readiness_required: bool,
    readiness_ttl_s: f64,
    worker_ttl_s: f64,
    attestation_enforced: bool,
    session_authority: bool,
    limits_apply: bool,
    tenant_weights: HashMap<String, u32>,
    max_concurrent_jobs: i64,
    max_workers: i64,
    agents: HashMap<String, Agent>,
}

/// The agent a worker works for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Agent {
    pub id: String,
    pub name: String,
    pub risk_tier: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolDocument {
    requires: Vec<String>,
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TimeoutDocument {
    dispatch_timeout_seconds: i64,
    running_timeout_seconds: i64,
    retrying_timeout_seconds: i64,
    topics: HashMap<String, TopicTimeout>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TopicTimeout {
    timeout_seconds: i64,
    max_retries: i64,
}

/// A pool's offer.
#[derive(Debug, Default)]
pub struct Pool {
    /// Capabilities offered, trimmed and lower-cased.
    pub requires: Vec<String>,
    /// False for draining and inactive pools.
    pub dispatchable: bool,
    /// False for inactive pools.
    pub live: bool,
}

/// Immutable configuration of one planner.
#[derive(Debug, Default)]
pub struct Config {
    topics: BTreeMap<String, Vec<String>>,
    pools: HashMap<String, Pool>,
    timeouts: TimeoutDocument,
    /// Topic registrations and their schemas.
    pub boundary: Arc<Boundary>,
    /// Workers that never announced readiness are not eligible.
    pub readiness_required: bool,
    /// Age limit of readiness, µs.
    pub readiness_ttl_us: i64,
    /// Age limit of a worker's last sign of life, µs.
    pub worker_ttl_us: i64,
    /// Only workers that proved who they are are eligible.
    pub attestation_enforced: bool,
    /// Sessions decide who lives, not heartbeats (protocol spec §15.4).
    pub session_authority: bool,
    /// The limits of credentials count.
    pub limits_apply: bool,
    tenant_weights: HashMap<String, u32>,
    /// Active jobs the licence allows a tenant; 0 or less: no limit.
    pub max_concurrent_jobs: i64,
    /// Workers the licence allows to be known at once; 0 or less: no limit.
    pub max_workers: i64,
    /// By worker id.
    agents: HashMap<String, Agent>,
}

impl Config {
    /// Parse the JSON document the service builds from its files and stored sections.
    pub fn parse(document: &[u8]) -> Result<Self, ConfigError> {
        let document: Document = serde_json::from_slice(document)?;
        let mut pools: HashMap<String, Pool> = document
            .pools
            .into_iter()
            .map(|(name, pool)| {
                let requires = pool.requires.iter().map(|item| normal(item)).collect();
                let dispatchable = !matches!(pool.status.as_str(), "draining" | "inactive");
                (
                    name,
                    Pool {
                        requires,
                        dispatchable,
                        live: pool.status != "inactive",
                    },
                )
            })
            .collect();
        for name in document.topics.values().flatten() {
            pools.entry(name.clone()).or_insert(Pool {
                requires: Vec::new(),
                dispatchable: true,
                live: true,
            });
        }
        Ok(Config {
            topics: document.topics,
            pools,
            timeouts: document.timeouts,
            boundary: Arc::default(),
            readiness_required: document.readiness_required,
            readiness_ttl_us: seconds_or(document.readiness_ttl_s, 60.0),
            worker_ttl_us: seconds_or(document.worker_ttl_s, 30.0),
            attestation_enforced: document.attestation_enforced,
            session_authority: document.session_authority,
            limits_apply: document.limits_apply,
            tenant_weights: document.tenant_weights,
            max_concurrent_jobs: document.max_concurrent_jobs,
            max_workers: document.max_workers,
            agents: document.agents,
        })
    }

    /// The same with these topic registrations.
    #[must_use]
    pub fn with_boundary(mut self, boundary: Arc<Boundary>) -> Self {
        self.boundary = boundary;
        self
    }

    /// Pools of a topic in file order, else the pool of its registration for everybody; empty when it is not routed.
    pub fn pools_of(&self, topic: &str) -> &[String] {
        self.pools_for("", topic)
    }

    /// Pools of a tenant's topic: those it is mapped to, else the one of its registration (scheduler spec §7.1).
    pub fn pools_for(&self, tenant: &str, topic: &str) -> &[String] {
        let registered = || self.registry().and_then(|registry| registry.find(tenant, topic));
        match self.topics.get(topic) {
            Some(pools) => pools,
            None => registered().map_or(&[], |topic: &Topic| topic.pools.as_slice()),
        }
    }

    /// Whether the routing table names the topic, so that it goes the same way for every tenant.
    pub fn is_mapped(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    fn registry(&self) -> Option<&Registry> {
        self.boundary.registry()
    }

    /// One pool.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name)
    }

    /// Topics with the pools that serve them: mapped ones, and registered ones of all tenants that are not mapped.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &[String])> {
        let registered = self.registry().into_iter().flat_map(Registry::all);
        let registered = registered
            .filter(|(name, _)| !self.topics.contains_key(*name))
            .map(|(name, topic)| (name, topic.pools.as_slice()));
        self.topics
            .iter()
            .map(|(name, pools)| (name.as_str(), pools.as_slice()))
            .chain(registered)
    }

    /// Share of scarce workers relative to other tenants, at least 1 (scheduler spec §32).
    pub fn tenant_weight(&self, tenant: &str) -> u32 {
        self.tenant_weights.get(tenant).copied().unwrap_or(1).max(1)
    }

    /// The agent a worker works for, if it has one.
    pub fn agent_of(&self, worker_id: &str) -> Option<&Agent> {
        self.agents.get(worker_id)
    }

    /// Label value of a topic in metrics: only routed and registered topics keep their name.
    pub fn metric_topic<'a>(&self, topic: &'a str) -> &'a str {
        let known = || {
            self.topics.contains_key(topic) || self.registry().is_some_and(|registry| registry.knows(topic))
        };
        match topic {
            "" => "unknown",
            _ if known() => topic,
            _ => "other",
        }
    }

    /// Time a dispatch may stay without evidence of running, µs.
    pub fn dispatch_timeout_us(&self) -> i64 {
        positive_or(self.timeouts.dispatch_timeout_seconds, 300) * 1_000_000
    }

    /// Time a job of the topic may run, µs.
    pub fn running_timeout_us(&self, topic: &str) -> i64 {
        let own = self
            .timeouts
            .topics
            .get(topic)
            .map_or(0, |entry| entry.timeout_seconds);
        positive_or(own, positive_or(self.timeouts.running_timeout_seconds, 900)) * 1_000_000
    }

    /// Retry budget of the topic, if it has one of its own.
    pub fn max_retries(&self, topic: &str) -> Option<i64> {
        let entry = self.timeouts.topics.get(topic)?;
        Some(entry.max_retries).filter(|limit| *limit > 0)
    }

    /// Time a workflow's job may wait for its engine to try again, µs.
    pub fn retrying_timeout_us(&self) -> i64 {
        positive_or(self.timeouts.retrying_timeout_seconds, 900) * 1_000_000
    }
}

/// Trimmed and lower-cased, as capabilities compare.
pub fn normal(text: &str) -> String {
    text.trim().to_lowercase()
}

fn positive_or(value: i64, default: i64) -> i64 {
    if value > 0 {
        value
    } else {
        default
    }
}

fn seconds_or(value: f64, default: f64) -> i64 {
    ((if value > 0.0 { value } else { default }) * 1_000_000.0) as i64
}
