"""Scheduler service: submit and result pipelines, reconciler, worker registry."""
