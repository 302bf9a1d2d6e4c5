-- States that nothing follows, but for SUCCEEDED -> OUTPUT_QUARANTINED (scheduler spec §2.2).
local FINAL = {SUCCEEDED = true, FAILED = true, CANCELLED = true, TIMEOUT = true, DENIED = true, OUTPUT_QUARANTINED = true}
