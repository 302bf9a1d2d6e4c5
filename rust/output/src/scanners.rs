//! Names that rules use for sets of detectors (output policy spec §5.1).

use crate::catalogue::{definitions, id_of};
use crate::definition::{Definition, Group};
use crate::mask::{DetectorId, Mask};

/// Names that do nothing beside patterns or keywords (§4.2).
pub const NO_OP_SCANNERS: [&str; 2] = ["custom", "regex"];
/// What is scanned for when nothing is named.
pub const DEFAULT_SCANNERS: [&str; 4] = ["secret", "pii", "injection", "prompt_injection"];
/// Prompt detectors of the scanner `injection`: those that speak in plain words.
const PLAIN_PROMPT: [&str; 3] = [
    "instruction_override",
    "role_hijack",
    "system_prompt_exfiltration",
];

/// One name per group and alias; single detector ids are names too. Lower-case, trimmed.
pub(crate) fn builtin_scanner(name: &str) -> Option<Mask> {
    let of = |is_part: &dyn Fn(&Definition) -> bool| -> Mask {
        let ids = (0u16..).map(DetectorId);
        let members = definitions().iter().zip(ids);
        members
            .filter(|(definition, _)| definition.is_default && is_part(definition))
            .map(|(_, id)| id)
            .collect()
    };
    match name {
        "secret" | "secret_leak" => Some(of(&|definition| definition.group == Group::SecretLeak)),
        "pii" => Some(of(&|definition| definition.group == Group::Pii)),
        "injection" | "code_injection" => Some(of(&|definition| {
            definition.group == Group::CodeInjection || PLAIN_PROMPT.contains(&definition.id)
        })),
        "prompt_injection" => Some(of(&|definition| definition.group == Group::PromptInjection)),
        id => id_of(id).map(|id| std::iter::once(id).collect()),
    }
}
