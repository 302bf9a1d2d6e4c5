"""Context engine service. Filled by the context milestone."""
