"""Product telemetry. Filled by the telemetry milestone."""
