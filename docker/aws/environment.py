"""What an environment's file says: the parameters of the templates, and the settings of what runs."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from stacks import DeploymentError, read_template

from moderation.settings import PROCESS_SETTINGS, known_variables, secret_variables

HERE = Path(__file__).resolve().parent
LAYERS = ("network", "data", "tasks")
"""Stacks below the services, each made from the template of its name, in the order in which they are made."""
SERVICES = {
    "api": {"Port": "8001", "HealthPath": "/ready", "LivePath": "/health"},
    "moderator": {"Port": "8501", "HealthPath": "/_stcore/health", "LivePath": "/_stcore/health"},
    "monitor": {"Port": "8502", "HealthPath": "/_stcore/health", "LivePath": "/_stcore/health"},
}
SETTINGS = ("ApiEnvironment", "ModeratorEnvironment", "MonitorEnvironment", "TasksEnvironment")
"""Parameters that hold settings, which the file gives as lines of their own."""
_VALUE = re.compile(r"[A-Za-z0-9_.,:/@%+=-]+")


@dataclass(frozen=True)
class Environment:
    """One environment: its name, its region, and what its file says of the templates' parameters."""

    name: str
    region: str
    values: Mapping[str, str]

    def stack(self, part: str) -> str:
        """Return the name of the stack of ``part``."""
        return f"moderation-{self.name}-{part}"


def read_environment(name: str, folder: Path = HERE / "environments") -> Environment:
    """Read ``<folder>/<name>.yaml``.

    Raises:
        DeploymentError: there is no such file, or it names a parameter that no template has, or a setting that nothing
            reads or that the templates make, or parameters do not go together.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        raise DeploymentError(f"there is no {path}; copy {folder / 'example.yaml'} and fill it in")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or "Region" not in values:
        raise DeploymentError(f"{path} must be lines `Name: value`, Region among them")
    known = known_parameters()
    for key, value in values.items():
        _check_known(f"{path}: unknown parameter", str(key), known)
        if key in SETTINGS:
            _check_settings(f"{path}: {key}", value)
    texts = {key: _text(value) for key, value in values.items()}
    _check_together(path, texts)
    return Environment(name, texts.pop("Region"), texts)


def known_parameters() -> set[str]:
    """Return what an environment's file may say."""
    known = {"Region"}
    for layer in LAYERS:
        known |= set(parameters(layer))
    return known | {f"{service.title()}{name}" for service in SERVICES for name in parameters("service")}


def parameters(template: str) -> dict[str, dict[str, Any]]:
    """Return the parameters that a template declares."""
    found: dict[str, dict[str, Any]] = read_template(HERE / f"{template}.yaml").get("Parameters", {})
    return found


def made_by_templates() -> set[str]:
    """Return the variables that the templates give to what runs."""
    texts = ((HERE / f"{name}.yaml").read_text(encoding="utf-8") for name in ("data", "tasks", "service"))
    return {name for text in texts for name in re.findall(r"(?:\b|Name: )([A-Z][A-Z0-9_]{3,})(?:=|, Value)", text)}


def _check_settings(where: str, settings: object) -> None:
    if not isinstance(settings, dict):
        raise DeploymentError(f"{where} must be lines `NAME: value`")
    secrets = {name for kind in PROCESS_SETTINGS for name in secret_variables(kind)}
    for name, value in settings.items():
        if str(name).startswith("MODERATION_"):
            _check_known(f"{where}: unknown setting", name, known_variables())
        if name in made_by_templates():
            raise DeploymentError(f"{where}: {name} is made by the templates")
        if name in secrets or f"{name}".removesuffix("_FILE") in secrets:
            raise DeploymentError(f"{where}: {name} is a secret; give the ARN of one of Secrets Manager (docs/aws.md)")
        if not _VALUE.fullmatch(_text(value)):
            raise DeploymentError(f"{where}: {name} is {value!r}; expected letters, digits and any of _.,:/@%+=-")


def _check_together(path: Path, values: Mapping[str, str]) -> None:
    needed = {
        "Registry": ("wandb", ("WandbSecretArn", "WandbTasksSecretArn")),
        "OidcMetadataUrl": ("", ("OidcClientId", "OidcSecretArn")),
    }
    for key, (only, others) in needed.items():
        if values.get(key) and only in ("", values[key]) and (missing := [it for it in others if not values.get(it)]):
            raise DeploymentError(f"{path}: {key} is {values[key]}, which needs {' and '.join(missing)}")
    for service in SERVICES:
        low, high = (_bound(path, service, name, values) for name in ("MinInstances", "MaxInstances"))
        if low >= high:
            prefix = service.title()
            raise DeploymentError(
                f"{path}: {prefix}MinInstances is {low} and {prefix}MaxInstances {high}; expected the maximum to be "
                "greater, because instances are replaced with one more beside them"
            )


def _bound(path: Path, service: str, name: str, values: Mapping[str, str]) -> int:
    prefix = f"{service.title()}{name}"
    found = values.get(prefix, str(parameters("service")[name]["Default"]))
    if not re.fullmatch("[0-9]+", found):
        raise DeploymentError(f"{path}: {prefix} is {found!r}; expected a whole number")
    return int(found)


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=1)
        raise DeploymentError(f"{what} {name}" + (f"; did you mean {near[0]}?" if near else ""))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
