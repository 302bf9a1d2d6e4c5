"""HTTP gateway service."""
