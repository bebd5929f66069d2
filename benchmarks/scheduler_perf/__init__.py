"""Upstream's `test/integration/scheduler_perf` workloads, run against this API server and this scheduler.

    file ──read──▶ cases ──resolve──▶ operations ──run──▶ figures

A workload is a list of operations (create nodes, create pods, churn, wait, …) with parameters. `fields` is the
table of what each operation may say, `read` checks a file against it, `resolve` puts a workload's parameters in,
`templates` makes objects of template files, `cluster` is a server and a scheduler in this process, `run` performs
the operations on it, `throughput` counts as upstream counts. It is no load generator for a server elsewhere.
"""
