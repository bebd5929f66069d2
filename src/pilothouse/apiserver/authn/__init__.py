"""Authentication: who sends a request. One method per file; the first that knows the credential wins."""
