"""Typed settings per service and the configuration files."""
