"""Audit trail. Filled by the audit milestone."""
