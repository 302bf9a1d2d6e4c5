"""Shared fixtures: real servers on free ports, started once per session."""

from hypothesis import HealthCheck, settings

# How fast examples come says more about the machine than about the tests.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

pytest_plugins = ["tests.support.redis_servers", "tests.support.nats_server"]
