"""``python -m train.workspace``: a saved view of the W&B project in which its runs compare at a glance.

Needs `wandb-workspaces` (requirements/train.txt). Each call saves a new view.
"""

import argparse
import sys

from moderation.errors import ModerationError
from moderation.registry.opening import open_wandb
from moderation.settings import RegistrySettings, load


def main() -> int:
    """Save the view and print where it is; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.workspace", description=__doc__)
    parser.add_argument("--name", default="Runs compared", help="of the saved view (default %(default)s)")
    arguments = parser.parse_args()
    try:
        registry = open_wandb(load(RegistrySettings))
        try:
            print(registry.workspace(arguments.name))
        finally:
            registry.close()
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
