"""Authorization: may this user do that. RBAC with upstream's bootstrap policy."""
