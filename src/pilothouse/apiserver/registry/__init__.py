"""Every kind as a REST resource: one generic registry, and one strategy for each kind that differs.

Not storage (keys, revisions, caches: `storage`) and not HTTP (`endpoints`).
"""
