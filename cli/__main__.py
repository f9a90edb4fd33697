"""`python -m cli`: the `moderation` command without its being installed."""

from cli.main import main

main()
