"""What moto's CloudFormation lacks: secrets, with generated values and with references to other secrets resolved."""

import re
from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.secretsmanager.models import secretsmanager_backends
from moto.secretsmanager.utils import random_password

_REFERENCE = re.compile(r"\{\{resolve:secretsmanager:(arn:[^}]+)\}\}")


class Secret(CloudFormationModel):
    """AWS::SecretsManager::Secret."""

    def __init__(self, arn: str) -> None:
        self.arn = arn

    @property
    def physical_resource_id(self) -> str:
        return self.arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SecretsManager::Secret"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> "Secret":
        properties = cloudformation_json["Properties"]
        backend = secretsmanager_backends[account_id][region_name]
        value = properties.get("SecretString")
        if value is None:
            value = _generated(properties["GenerateSecretString"])
        value = _REFERENCE.sub(lambda found: backend.get_secret_value(found[1], "", "")["SecretString"], value)
        secret, _ = backend._add_secret(properties.get("Name", resource_name), secret_string=value)
        return cls(secret.arn)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str
    ) -> None:
        backend = secretsmanager_backends[account_id][region_name]
        backend.delete_secret(resource_name, None, force_delete_without_recovery=True)


def _generated(asked: dict[str, Any]) -> str:
    return random_password(
        password_length=int(asked["PasswordLength"]),
        exclude_characters=asked.get("ExcludeCharacters", ""),
        exclude_numbers=False,
        exclude_punctuation=asked.get("ExcludePunctuation", False),
        exclude_uppercase=asked.get("ExcludeUppercase", False),
        exclude_lowercase=False,
        include_space=False,
        require_each_included_type=asked.get("RequireEachIncludedType", True),
    )
