"""The clouds themselves, a package each: `open_provider(setting)` makes one."""
