"""The frame every service process runs in: lifecycle, logs, metrics, health."""
