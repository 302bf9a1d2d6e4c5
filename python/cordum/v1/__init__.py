"""Generated from proto/cordum/v1 (make proto)."""
