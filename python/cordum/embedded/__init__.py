"""Embedded mode: real NATS and Redis children plus all services, supervised."""
