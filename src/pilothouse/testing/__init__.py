"""For tests of programs that talk to Kubernetes: a cluster as a pytest fixture. Not for Pilothouse's users in
production."""
