"""Measurements, each run by `python -m benchmarks.NAME [--json FILE]` from the repository's root.

Every benchmark prints one line per figure and can write a list of {"name", "value", "unit"}. Machines are noisy and
differ, so figures of the API server come with a ratio to a bare aiohttp handler that was measured in the same run.
"""
