"""``python -m serve``: the API server with its settings from the environment."""

import sys

from moderation.errors import ModerationError
from moderation.settings import ApiSettings, load
from serve.process import run


def main() -> None:
    """Serve; a start that fails says why in one line."""
    try:
        run(load(ApiSettings))
    except ModerationError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
