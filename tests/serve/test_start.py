import socket
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from moderation.db.database import connect, migrate
from moderation.db.models import Version
from moderation.errors import BundleError, ConfigurationError, NotFoundError, UnavailableError
from moderation.labels import LABELS
from moderation.registry.local import LocalRegistry
from moderation.settings import ApiSettings
from serve.process import prepared
from tests.bundles import build_tiny_bundle
from tests.chaos.disk import small_disk
from tests.serve.process import free_port
from tests.serve.server import listening, settings_in, tiny_registry


@pytest.fixture
def settings(tmp_path: Path) -> ApiSettings:
    """Settings of a server that can start."""
    return prepared_settings(tmp_path)


def prepared_settings(tmp_path: Path) -> ApiSettings:
    settings = settings_in(tmp_path, api_port=free_port())
    tiny_registry(settings, tmp_path)
    engine = connect(settings.resolved_database_url())
    migrate(engine)
    engine.dispose()
    return settings


def refuses(settings: ApiSettings, error: type[Exception], *words: str, **changes: object) -> None:
    with pytest.raises(error) as raised, prepared(settings.model_copy(update=changes)):
        pass
    assert all(word in str(raised.value) for word in words), raised.value
    with prepared(settings):  # nothing is left locked or bound
        pass


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(settings: ApiSettings) -> None:
    with prepared(settings) as (_, (listener,)), socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_served_version_is_recorded_with_what_it_decides_by(settings: ApiSettings) -> None:
    with prepared(settings):
        pass
    engine = connect(settings.resolved_database_url())
    with engine.connect() as connection:
        (row,) = connection.execute(select(Version)).all()
    engine.dispose()
    assert (row.name, row.labels) == ("tiny", list(LABELS))
    assert row.thresholds["severe_toxic"] == {"review": 0.5, "remove": 0.6}
    assert row.reference["prevalence"]["toxic"] == 0.1


def test_an_unknown_alias_is_refused(settings: ApiSettings) -> None:
    refuses(settings, NotFoundError, "'canary'", "production", "moderation promote", alias="canary")


def test_an_empty_registry_is_refused(settings: ApiSettings, tmp_path: Path) -> None:
    refuses(settings, NotFoundError, "'production'", "none", registry_dir=tmp_path / "empty")


def test_a_corrupt_bundle_is_refused(settings: ApiSettings) -> None:
    (weights,) = settings.resolved_registry_dir().glob("versions/*/model.int8.onnx")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\x00")
    with pytest.raises(BundleError, match=r"model\.int8\.onnx"), prepared(settings):
        pass


def damage(settings: ApiSettings, version: str) -> None:
    weights = settings.resolved_registry_dir() / "versions" / version / "model.int8.onnx"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")


def test_a_restart_on_a_corrupt_version_serves_the_last_good_one_and_says_why(
    settings: ApiSettings, tmp_path: Path
) -> None:
    first = LocalRegistry(settings.resolved_registry_dir()).resolve("production")
    with prepared(settings):
        pass
    registry = LocalRegistry(settings.resolved_registry_dir())
    second = registry.publish(build_tiny_bundle(tmp_path / "second", bias=-5.0))
    damage(settings, second)
    (registry.path / "aliases" / "production").write_text(second + "\n")
    with prepared(settings) as (app, _), listening(app) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert http.get("/version").json()["version"] == first
        ready = http.get("/ready")
        assert (ready.status_code, "model.int8.onnx" in ready.json()["parts"]["registry"]) == (200, True)
    damage(settings, first)  # then there is nothing to go by
    with pytest.raises(BundleError, match=r"model\.int8\.onnx"), prepared(settings):
        pass


def test_a_database_that_is_behind_is_refused(settings: ApiSettings, tmp_path: Path) -> None:
    url = SecretStr(f"sqlite:///{tmp_path / 'new.db'}")
    refuses(settings, ConfigurationError, "moderation migrate", database_url=url)


def test_a_read_only_state_folder_is_refused_in_one_line_until_it_can_be_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state") as disk:
        settings = prepared_settings(tmp_path)
        with prepared(settings):
            pass
        disk.set_writable(False)
        try:
            with pytest.raises((ConfigurationError, UnavailableError)) as raised, prepared(settings):
                pass
        finally:
            disk.set_writable(True)
        assert str(settings.state_dir) in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
        with prepared(settings):
            pass


def test_a_missing_policy_is_refused(settings: ApiSettings, tmp_path: Path) -> None:
    refuses(settings, ConfigurationError, "none.yaml", "MODERATION_POLICY_PATH", policy_path=tmp_path / "none.yaml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_an_address_other_than_loopback_is_refused_without_keys(settings: ApiSettings, host: str) -> None:
    words = ("MODERATION_API_HOST", "127.0.0.1", "moderation keys create")
    refuses(settings, ConfigurationError, *words, api_host=host, auth=False)


def test_a_container_listens_anywhere_without_keys_and_answers_to_localhost_only(settings: ApiSettings) -> None:
    inside = settings.model_copy(update={"api_host": "0.0.0.0", "auth": False, "in_container": True})
    with prepared(inside) as (app, (listener,)):
        assert listener.getsockname()[0] == "0.0.0.0"
        with listening(app) as url, httpx.Client(base_url=url, trust_env=False) as http:
            assert http.get("/ready").status_code == 200
            assert http.get("/ready", headers={"Host": "api.example"}).status_code == 403


def test_a_port_in_use_is_refused(settings: ApiSettings) -> None:
    with prepared(settings):
        with pytest.raises(ConfigurationError, match=f"{settings.api_port}.*MODERATION_API_PORT"), prepared(settings):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_taken_by_address_and_by_name(settings: ApiSettings, host: str) -> None:
    with prepared(settings.model_copy(update={"api_host": host})) as (_, (listener,)):
        assert listener.getsockname()[1] == settings.api_port
