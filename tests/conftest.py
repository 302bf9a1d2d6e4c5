"""Shared fixtures: real servers on free ports, started once per session."""

pytest_plugins = ["tests.support.redis_servers", "tests.support.nats_server"]
