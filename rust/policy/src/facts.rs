//! What a request becomes before matching (policy spec §4).

use crate::delegation::DelegationFacts;
use crate::mcp::{McpCall, McpField};
use crate::request::Request;

/// Facts of one request.
#[derive(Clone, Debug)]
pub struct Facts<'r, 'a> {
    pub request: &'r Request<'a>,
    pub topic: &'r str,
    pub tenant: &'r str,
    pub actor_id: &'r str,
    /// `human`, `service` or empty.
    pub actor_type: &'static str,
    pub has_secrets: bool,
    pub mcp: McpCall<'r>,
    /// Empty = no rules of the workflow tier.
    pub workflow_scope: &'r str,
    /// Empty = no rules of the job tier.
    pub job_scope: &'r str,
    pub input_size: i64,
    /// The content is only the prompt label.
    pub is_prompt_only: bool,
    /// There is content, but not here: the scheduler sends it when asked, the decision log does not keep it.
    pub is_content_withheld: bool,
    /// None: a direct call, or a policy that does not tell.
    pub delegation: Option<DelegationFacts<'a>>,
}

/// Labels the engine itself reads, collected in one pass.
#[derive(Default)]
struct KnownLabels<'a> {
    mcp: [[&'a str; 3]; 4],
    workflow: [&'a str; 5],
    edge_job: [&'a str; 3],
    secrets_present: &'a str,
    source: &'a str,
    attachment_id: &'a str,
    prompt: &'a str,
    content_state: &'a str,
    is_delegated: bool,
}

impl<'a> KnownLabels<'a> {
    fn read(labels: &[(&'a str, &'a str)]) -> KnownLabels<'a> {
        let mut known = KnownLabels::default();
        for (key, value) in labels {
            if let Some(slot) = known.slot(key) {
                *slot = value;
            }
            known.is_delegated |= *key == "_delegation.depth";
        }
        known
    }

    fn slot(&mut self, key: &str) -> Option<&mut &'a str> {
        if let Some(name) = key.strip_prefix("mcp") {
            let (form, name) = match name.strip_prefix(['.', '_']) {
                Some(rest) => (usize::from(key.as_bytes().get(3) == Some(&b'_')), rest),
                None => (2, name),
            };
            let field = match (form, name) {
                (2, "Server") | (0 | 1, "server") => McpField::Server,
                (2, "Tool") | (0 | 1, "tool") => McpField::Tool,
                (2, "Resource") | (0 | 1, "resource") => McpField::Resource,
                (2, "Action") | (0 | 1, "action") => McpField::Action,
                _ => return None,
            };
            return self.mcp.get_mut(field as usize)?.get_mut(form);
        }
        let [workflow_id, dot_id, workflow, run_id, dot_run_id] = &mut self.workflow;
        let [edge_job_id, session_id, edge_session_id] = &mut self.edge_job;
        match key {
            "secrets_present" => Some(&mut self.secrets_present),
            "_source" => Some(&mut self.source),
            "policy.attachment_id" => Some(&mut self.attachment_id),
            "_content.prompt" => Some(&mut self.prompt),
            "_content.state" => Some(&mut self.content_state),
            "workflow_id" => Some(workflow_id),
            "workflow.id" => Some(dot_id),
            "workflow" => Some(workflow),
            "workflow_run_id" => Some(run_id),
            "workflow.run_id" => Some(dot_run_id),
            "edge.job_id" => Some(edge_job_id),
            "session_id" => Some(session_id),
            "edge.session_id" => Some(edge_session_id),
            _ => None,
        }
    }

    fn mcp_call(&self) -> McpCall<'a> {
        let mut call = McpCall::default();
        for (value, forms) in call.values.iter_mut().zip(&self.mcp) {
            *value = first_text(forms).into();
        }
        if let Some(action) = call.values.get_mut(McpField::Action as usize) {
            if action.chars().any(char::is_uppercase) {
                *action = action.to_lowercase().into();
            }
        }
        call
    }
}

/// First non-blank text, trimmed.
fn first_text<'a>(texts: &[&'a str]) -> &'a str {
    texts
        .iter()
        .map(|text| text.trim())
        .find(|text| !text.is_empty())
        .unwrap_or("")
}

impl<'r, 'a> Facts<'r, 'a> {
    /// Facts of `request`; the other two are the policy's.
    pub fn new(request: &'r Request<'a>, default_tenant: &'r str, reads_delegation: bool) -> Facts<'r, 'a> {
        let labels = KnownLabels::read(&request.labels);
        let is_edge = labels.source == "edge";
        let is_trusted = is_edge || labels.source == "workflow";
        let trusted = |value| if is_trusted { value } else { "" };
        let [edge_job_id, session_id, edge_session_id] = if is_edge { labels.edge_job } else { [""; 3] };
        let (size, is_prompt_only) = content(request, labels.prompt);
        Facts {
            request,
            topic: request.topic.trim(),
            tenant: first_text(&[request.tenant, request.meta_tenant_id, default_tenant, "default"]),
            actor_id: first_text(&[request.meta_actor_id, request.principal_id]),
            actor_type: match request.meta_actor_type {
                1 => "human",
                2 => "service",
                _ => "",
            },
            has_secrets: has_secrets(request, labels.secrets_present),
            mcp: labels.mcp_call(),
            workflow_scope: if is_trusted {
                first_text(&labels.workflow)
            } else {
                ""
            },
            job_scope: first_text(&[
                trusted(labels.attachment_id),
                request.job_id,
                edge_job_id,
                session_id,
                edge_session_id,
            ]),
            input_size: size,
            is_prompt_only,
            delegation: (reads_delegation && labels.is_delegated)
                .then(|| DelegationFacts::of(request))
                .flatten(),
            is_content_withheld: request.is_content_withheld
                || (labels.content_state == "omitted" && request.input_content.is_empty() && !is_prompt_only),
        }
    }
}

impl Facts<'_, '_> {
    /// Why the agent behind the request may not act (policy spec §20.2).
    pub fn agent_refusal(&self) -> Option<String> {
        self.request.agent?.refusal(self.tenant)
    }
}

fn has_secrets(request: &Request<'_>, label: &str) -> bool {
    // A label can say yes; it can never hide the tag.
    matches!(label, "true" | "1")
        || label.eq_ignore_ascii_case("yes")
        || request
            .risk_tags
            .iter()
            .any(|tag| tag.trim().eq_ignore_ascii_case("secrets"))
}

fn content(request: &Request<'_>, prompt: &str) -> (i64, bool) {
    let is_prompt_only = request.input_content.is_empty() && !prompt.is_empty();
    let length = if is_prompt_only {
        prompt.len()
    } else {
        request.input_content.len()
    };
    let size = if request.input_size_bytes > 0 {
        request.input_size_bytes
    } else {
        i64::try_from(length).unwrap_or(i64::MAX)
    };
    (size, is_prompt_only)
}
