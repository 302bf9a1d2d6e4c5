//! What the control plane knows of the agents behind requests (policy spec §20.2). The caller looks them up; evaluation only reads.

use std::collections::BTreeMap;

use crate::error::{BatchError, RequestError};
use crate::request::Request;

/// Label that names the agent.
pub const AGENT_LABEL: &str = "agent_id";

/// One agent's record, as far as policy reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    pub id: String,
    pub tenant: String,
    /// Only `active` agents may act.
    pub status: String,
    pub risk_tier: String,
    pub data_classifications: Vec<String>,
}

/// Records looked up for some requests.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    known: BTreeMap<String, Option<Agent>>,
    is_complete: bool,
}

impl Agents {
    /// No agents exist: every id is unknown, and unknown agents have no facts.
    pub fn none() -> Agents {
        Agents {
            is_complete: true,
            ..Agents::default()
        }
    }

    /// The answers for the ids that were looked up; `None`: no such agent.
    pub fn looked_up(known: impl IntoIterator<Item = (String, Option<Agent>)>) -> Agents {
        Agents {
            known: known.into_iter().collect(),
            is_complete: false,
        }
    }

    /// Give the request its agent.
    ///
    /// Errors: an agent that nobody looked up; it may be one that rules refuse.
    pub fn attach<'a>(&'a self, request: &mut Request<'a>) -> Result<(), RequestError> {
        let Some(id) = agent_id(request) else {
            return Ok(());
        };
        request.agent = match self.known.get(id) {
            Some(agent) => agent.as_ref(),
            None if self.is_complete => None,
            None => return Err(RequestError::AgentNotLookedUp),
        };
        Ok(())
    }
}

const FOREIGN: &str = " is not known in this tenant";
const INACTIVE: &str = " is not active";

impl Agent {
    /// Why the agent may not act for `tenant`.
    pub(crate) fn refusal(&self, tenant: &str) -> Option<String> {
        let is_own = self.tenant.trim() == tenant;
        let is_active = self.status.trim().eq_ignore_ascii_case("active");
        match (is_own, is_active) {
            (false, _) => Some(format!("agent {}{FOREIGN}", self.id)),
            (true, false) => Some(format!("agent {}{INACTIVE}", self.id)),
            (true, true) => None,
        }
    }
}

/// Whether a decision gave this as its reason because of the agent.
pub(crate) fn is_refusal(reason: &str) -> bool {
    reason.starts_with("agent ") && (reason.ends_with(FOREIGN) || reason.ends_with(INACTIVE))
}

/// Id of the agent a request names.
fn agent_id<'a>(request: &Request<'a>) -> Option<&'a str> {
    let id = request.label(AGENT_LABEL)?.trim();
    (!id.is_empty()).then_some(id)
}

/// The agents that a serialized `BatchRequest` names, each once. Requests that do not decode name none.
///
/// Errors: a batch that does not decode.
pub fn named_agents(batch: &[u8]) -> Result<Vec<String>, BatchError> {
    let mut ids: Vec<String> = Vec::new();
    for bytes in crate::batch::split(batch)? {
        let Ok(request) = Request::decode(bytes) else {
            continue;
        };
        let id = agent_id(&request).filter(|id| !ids.iter().any(|known| known == id));
        ids.extend(id.map(str::to_owned));
    }
    Ok(ids)
}
