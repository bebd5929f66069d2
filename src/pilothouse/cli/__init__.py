"""The `pilothouse` command: one module a subcommand. What it does is done by the rooms below; here are flags,
messages and exit codes (0 done, 1 failed, 2 wrong usage)."""
