//! Workflow expressions and templates. Filled by the workflow milestone.
