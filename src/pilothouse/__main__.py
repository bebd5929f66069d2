"""`python -m pilothouse` is `pilothouse`."""

from pilothouse.cli.main import main

main()
