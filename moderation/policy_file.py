"""Reads a policy from the YAML file that ``MODERATION_POLICY_PATH`` names."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from moderation.errors import ConfigurationError
from moderation.policy import Policy


def read_policy(path: Path, bundle_thresholds: Mapping[str, float]) -> Policy:
    """Read the policy in ``path`` and resolve it for one bundle.

    Raises:
        ConfigurationError: it cannot be read, is not YAML, or does not fit the bundle.
    """
    try:
        rules = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the policy {path} ({error.strerror}); check MODERATION_POLICY_PATH"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the policy {path} is not YAML: {str(error).splitlines()[0]}") from error
    return Policy.from_mapping(rules, bundle_thresholds)
