"""What a request does once it is let in: verbs, patch, apply, watch, discovery, OpenAPI, tables."""
