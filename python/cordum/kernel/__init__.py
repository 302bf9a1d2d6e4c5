"""Safety kernel service: policy sources, snapshots, gRPC servers."""
