"""Workflow engine service. Filled by the workflow milestone."""
