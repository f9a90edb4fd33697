"""The profile `replicas` of docker/compose.yaml: two API servers behind nginx with nginx.conf as it is shipped."""

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.images.docker import Compose, callers_network, container, docker, image, load, networks_of, wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]
SERVERS = ("api", "api-2")


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    system = Compose(tmp_path_factory.mktemp("replicas"), COMPOSE_PROFILES="cpu,replicas")
    override = {"services": {"api": {"environment": {"MODERATION_REPLICAS": "2"}}}}
    try:
        (system.folder / "compose.override.yaml").write_text(json.dumps(override))
        system("up", "-d", *SERVERS, "balancer")
        yield system
    finally:
        print(system("logs", "--tail", "30", check=False))
        system("down", "--volumes", "--timeout", "5", check=False)


def health(container: str) -> str:
    return docker("inspect", "-f", "{{.State.Health.Status}}", container).stdout.strip()


def test_nginx_takes_the_recipe_as_it_is(compose: Compose) -> None:
    compose("run", "--rm", "-T", "--no-deps", "balancer", "nginx", "-t")


def test_a_killed_server_costs_no_request_and_is_found_again_at_another_address(compose: Compose) -> None:
    key = compose("run", "--rm", "-T", "tools", "keys", "create", "caller", "--scope", "predict").strip()
    wait_for(lambda: {health(compose.id_of(name)) for name in SERVERS} == {"healthy"})
    outside = f"http://localhost:{compose.ports['BALANCER_PORT']}/ready"
    assert httpx.get(outside, trust_env=False).is_success
    network, balancer = callers_network(compose.id_of("api")), compose.id_of("balancer")

    def answered(upstreams: str) -> int:
        log = docker("logs", balancer).stdout
        return len(re.findall(rf" /predict/batch 200 .* upstream {upstreams}$", log, re.MULTILINE))

    def address_of(server: str) -> str:
        return networks_of(compose.id_of(server))[network]

    old, other = address_of("api"), address_of("api-2")
    with load(network, "http://balancer:8000", key) as callers:
        wait_for(lambda: answered(f"{old}:8001 200") >= 20)
        docker("kill", compose.id_of("api"))
        alone = answered(f"{other}:8001 200")
        wait_for(lambda: answered(f"{other}:8001 200") >= alone + 20)
        compose("rm", "--force", "api")
        with container(image("tools"), "--network", network, "--entrypoint", "sleep", command=["600"]):
            # Something else has the old address.
            compose("up", "-d", "--no-deps", "api")
            new = address_of("api")
            assert new not in {old, other}
            wait_for(lambda: answered(f"{new}:8001 200") >= 20)
        ended_at = time.time()
        compose("stop", "balancer")
        assert callers.stdout is not None
        seen = json.loads(callers.stdout.read())
    assert {how for _, answered_at, how in seen["asked"] if answered_at < ended_at} == {200}
    retried = answered(rf"{old}:8001, {other}:8001 50., 200")
    assert retried > 0
    took_s = max(answered_at - sent_at for sent_at, answered_at, _ in seen["asked"])
    print(f"{len(seen['asked'])} requests, {retried} of them asked again, the slowest took {took_s:.1f} s")
    listed = ", ".join(f"'{each}'" for each in seen["ids"])
    stored = f"SELECT count(*) || ' ' || count(DISTINCT id) FROM predictions WHERE id IN ({listed})"
    wait_for(lambda: compose.sql(stored) == f"{len(seen['ids'])} {len(seen['ids'])}")
