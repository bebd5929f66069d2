"""The scheduler's rules, one a file. `plugins.registry` is the table of all of them.

Each columnar rule (`filter`, `score`: whole columns of nodes at once) has the obvious scalar one beside it as a
plain function (`fits`, `score_node`: one pod, one node); its test holds the two together.
"""
