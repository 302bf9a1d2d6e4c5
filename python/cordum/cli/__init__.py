"""cordumctl."""
