//! MCP facts and lists (policy spec §4, §5.8, §6.6).

use std::borrow::Cow;

/// Trimmed and case-folded, without copying when the text is so already.
pub fn fold(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// The four things an MCP call names, in the order they are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpField {
    Server,
    Tool,
    Resource,
    Action,
}

impl McpField {
    pub const ALL: [McpField; 4] = [
        McpField::Server,
        McpField::Tool,
        McpField::Resource,
        McpField::Action,
    ];

    pub fn name(self) -> &'static str {
        match self {
            McpField::Server => "server",
            McpField::Tool => "tool",
            McpField::Resource => "resource",
            McpField::Action => "action",
        }
    }

    /// Keys of the allow and the deny list.
    pub fn list_keys(self) -> (&'static str, &'static str) {
        match self {
            McpField::Server => ("allow_servers", "deny_servers"),
            McpField::Tool => ("allow_tools", "deny_tools"),
            McpField::Resource => ("allow_resources", "deny_resources"),
            McpField::Action => ("allow_actions", "deny_actions"),
        }
    }

    /// Labels that carry the value, first non-blank wins.
    pub fn labels(self) -> [&'static str; 3] {
        match self {
            McpField::Server => ["mcp.server", "mcp_server", "mcpServer"],
            McpField::Tool => ["mcp.tool", "mcp_tool", "mcpTool"],
            McpField::Resource => ["mcp.resource", "mcp_resource", "mcpResource"],
            McpField::Action => ["mcp.action", "mcp_action", "mcpAction"],
        }
    }
}

/// Allow and deny list of one field, case-folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowDeny {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

/// Lists per field, in the order of [`McpField::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpLists {
    pub fields: [AllowDeny; 4],
}

/// What an MCP call names; empty = not named. The action is lower-cased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpCall<'a> {
    pub values: [Cow<'a, str>; 4],
}

impl McpCall<'_> {
    /// Whether the request is an MCP request at all.
    pub fn is_present(&self) -> bool {
        self.values.iter().any(|value| !value.is_empty())
    }

    pub fn value(&self, field: McpField) -> &str {
        self.values.get(field as usize).map_or("", |value| value)
    }
}

/// First field that fails a list test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub field: McpField,
    /// In the deny list, as against missing from the allow list.
    pub denied: bool,
}

impl Refusal {
    /// Reason text, the value printed as sent.
    pub fn reason(self, call: &McpCall<'_>) -> String {
        let outcome = if self.denied { "denied" } else { "not allowed" };
        format!(
            "mcp {} \"{}\" {outcome}",
            self.field.name(),
            call.value(self.field)
        )
    }
}

impl McpLists {
    pub fn is_empty(&self) -> bool {
        self.fields
            .iter()
            .all(|lists| lists.allow.is_empty() && lists.deny.is_empty())
    }

    pub fn lists(&self, field: McpField) -> Option<&AllowDeny> {
        self.fields.get(field as usize)
    }

    /// Append the lists of `other` (merge of tenants, policy spec §8.3).
    pub fn extend(&mut self, other: &McpLists) {
        for (mine, theirs) in self.fields.iter_mut().zip(&other.fields) {
            mine.allow.extend_from_slice(&theirs.allow);
            mine.deny.extend_from_slice(&theirs.deny);
        }
    }

    /// First field of `call` that the lists refuse.
    pub fn refusal(&self, call: &McpCall<'_>) -> Option<Refusal> {
        McpField::ALL.into_iter().find_map(|field| {
            let lists = self.lists(field)?;
            let value = fold(call.value(field));
            let listed = |list: &[String]| !value.is_empty() && list.iter().any(|v| *v == *value);
            if listed(&lists.deny) {
                return Some(Refusal { field, denied: true });
            }
            (!lists.allow.is_empty() && !listed(&lists.allow)).then_some(Refusal { field, denied: false })
        })
    }
}
