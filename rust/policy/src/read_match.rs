//! Match, delegation and MCP lists (policy spec §2.3, §2.4).

use crate::document::{Delegation, Match};
use crate::mcp::{fold, McpField, McpLists};
use crate::predicate::Predicate;
use crate::reader::{Object, Reader};

const MATCH: &[&str] = &[
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "requires",
    "pack_ids",
    "actor_ids",
    "actor_types",
    "agent_risk_tiers",
    "agent_data_classifications",
    "labels",
    "label_allowlist",
    "label_threshold",
    "secrets_present",
    "predicate",
    "delegation",
    "mcp",
];

pub(crate) fn read_match(reader: &mut Reader, rule: &Object<'_>) -> Match {
    let Some(object) = reader.child(rule, "match", MATCH) else {
        return Match::default();
    };
    Match {
        tenants: reader.strings(&object, "tenants"),
        topics: reader.globs(&object, "topics"),
        capabilities: reader.strings(&object, "capabilities"),
        risk_tags: reader.strings(&object, "risk_tags"),
        requires: reader.strings(&object, "requires"),
        pack_ids: reader.strings(&object, "pack_ids"),
        actor_ids: reader.strings(&object, "actor_ids"),
        actor_types: reader.strings(&object, "actor_types"),
        agent_risk_tiers: reader.strings(&object, "agent_risk_tiers"),
        agent_data_classifications: reader.strings(&object, "agent_data_classifications"),
        labels: reader.string_map(&object, "labels"),
        label_allowlist: reader.list_map(&object, "label_allowlist"),
        label_threshold: reader.number_map(&object, "label_threshold"),
        secrets_present: reader.boolean(&object, "secrets_present"),
        predicate: read_predicate(reader, &object),
        delegation: read_delegation(reader, &object),
        mcp: read_mcp(reader, &object),
    }
}

fn read_predicate(reader: &mut Reader, object: &Object<'_>) -> Option<String> {
    let text = reader.string(object, "predicate")?;
    if Predicate::parse(&text).is_none() {
        reader.report(object.at("predicate"), format!("invalid predicate \"{text}\""));
    }
    Some(text)
}

fn read_delegation(reader: &mut Reader, object: &Object<'_>) -> Option<Delegation> {
    let known = [
        "max_depth",
        "issuers",
        "require_issuer",
        "required_scope",
        "forbid_delegated",
        "delegation_required",
    ];
    let object = reader.child(object, "delegation", &known)?;
    let delegation = Delegation {
        max_depth: reader.integer(&object, "max_depth", 0, i64::MAX),
        issuers: reader.strings(&object, "issuers"),
        require_issuer: reader.string(&object, "require_issuer"),
        required_scope: reader.strings(&object, "required_scope"),
        forbid_delegated: reader.boolean(&object, "forbid_delegated").unwrap_or(false),
        delegation_required: reader.boolean(&object, "delegation_required"),
    };
    check_issuers(reader, &object, &delegation);
    for (at, scope) in delegation.required_scope.iter().enumerate() {
        if scope.trim().is_empty() {
            let path = format!("{}[{at}]", object.at("required_scope"));
            reader.report(path, "scope must not be blank");
        }
    }
    Some(delegation)
}

fn check_issuers(reader: &mut Reader, object: &Object<'_>, delegation: &Delegation) {
    for (at, issuer) in delegation.issuers.iter().enumerate() {
        let path = format!("{}[{at}]", object.at("issuers"));
        check_issuer(reader, path.clone(), issuer);
        let earlier = delegation.issuers.iter().take(at);
        if earlier.into_iter().any(|other| other.trim() == issuer.trim()) {
            reader.report(path, format!("duplicate issuer \"{}\"", issuer.trim()));
        }
    }
    if let Some(issuer) = &delegation.require_issuer {
        check_issuer(reader, object.at("require_issuer"), issuer);
    }
}

fn check_issuer(reader: &mut Reader, path: String, issuer: &str) {
    let name = issuer.trim();
    if name.is_empty() {
        reader.report(path, "issuer must not be blank");
        return;
    }
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let fits = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !starts_well || !fits || name.len() > 128 {
        reader.report(path, format!("invalid issuer \"{issuer}\""));
    }
}

/// MCP lists under key `mcp`, case-folded.
pub(crate) fn read_mcp(reader: &mut Reader, object: &Object<'_>) -> McpLists {
    let mut known = vec!["gateway_enabled", "upstream_servers", "allowed_upstreams"];
    for field in McpField::ALL {
        let (allow, deny) = field.list_keys();
        known.extend([allow, deny]);
    }
    let Some(object) = reader.child(object, "mcp", &known) else {
        return McpLists::default();
    };
    reader.boolean(&object, "gateway_enabled");
    reader.items(&object, "upstream_servers");
    reader.items(&object, "allowed_upstreams");
    read_mcp_lists(reader, &object)
}

/// The eight lists of an MCP object.
pub(crate) fn read_mcp_lists(reader: &mut Reader, object: &Object<'_>) -> McpLists {
    let mut lists = McpLists::default();
    for (field, target) in McpField::ALL.into_iter().zip(lists.fields.iter_mut()) {
        let (allow, deny) = field.list_keys();
        let mut folded = |key| -> Vec<String> {
            let texts = reader.strings(object, key);
            texts.iter().map(|text| fold(text).into_owned()).collect()
        };
        target.allow = folded(allow);
        target.deny = folded(deny);
    }
    lists
}
