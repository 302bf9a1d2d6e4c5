"""Native engines (crate ``rust/python``). Bytes in and out, one call per batch, the GIL released while working."""

__version__: str
build_profile: str

def job_partition(job_id: str, partitions: int) -> int:
    """Return CRC-32 of ``job_id`` modulo ``partitions`` (scheduler spec §30)."""

def request_hash(job_request: bytes) -> str:
    """Return the canonical hash of a serialized ``JobRequest`` (protocol spec §19); raises ValueError when it does not decode."""

def request_to_json(job_request: bytes) -> bytes:
    """Return the protojson of a serialized ``JobRequest`` with every field (the stored form); raises ValueError."""

def request_from_json(text: bytes) -> bytes:
    """Return the canonically serialized ``JobRequest`` of stored protojson; raises ValueError naming the field."""
