"""``python -m train.workspace``: a saved view of the W&B project in which its runs compare at a glance.

Needs `wandb-workspaces` (requirements/train.txt). Each call saves a new view.
"""

import argparse
import sys

from train.entry import exit_status, explain_missing_packages


def main() -> int:
    """Save the view and print where it is; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.workspace", description=__doc__)
    parser.add_argument("--name", default="Runs compared", help="of the saved view (default: %(default)s)")
    arguments = parser.parse_args()
    return exit_status(lambda: _save(arguments.name))


def _save(name: str) -> None:
    from moderation.registry.opening import open_wandb
    from moderation.settings import RegistrySettings, load

    registry = open_wandb(load(RegistrySettings))
    try:
        print(registry.workspace(name))
    finally:
        registry.close()


if __name__ == "__main__":
    explain_missing_packages()
    sys.exit(main())
