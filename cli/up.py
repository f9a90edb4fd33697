"""`moderation up`: the whole system on one machine, with what it needs made first."""

import os
import socket
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moderation.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    import httpx

    from moderation.settings import ApiSettings

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN_S = 120.0
LOOPBACK = "127.0.0.1"
STREAMLIT = (
    *("--server.headless", "true", "--server.address", LOOPBACK, "--browser.gatherUsageStats", "false"),
    *("--server.fileWatcherType", "none"),
)


@dataclass(frozen=True)
class Service:
    """One of the processes that `up` starts."""

    name: str
    port: int
    port_variable: str
    health_path: str
    argv: tuple[str, ...]
    host: str = LOOPBACK

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def up() -> None:
    """Start API, apps and worker, and stop them together.

    Migrates the database, gives the registry the starter bundle if the alias is missing, waits until API and apps
    answer, and prints where. Ctrl-C stops all, once the API has answered what it was asked, and a second one at once;
    so does the end of any of them. Their logs are in the state folder; warnings and errors are shown here as well.
    """
    from moderation.settings import ApiSettings, ModeratorSettings, MonitorSettings, load

    begun = time.monotonic()
    settings = load(ApiSettings)
    services = _services(settings, load(ModeratorSettings).ui_port, load(MonitorSettings).monitor_port)
    state_dir = settings.state_dir.resolve()
    with _claim(state_dir):
        _check_ports(services)
        prepare(settings)
        raise typer.Exit(_run(services, state_dir, settings.deadline_s, begun))


def _services(settings: "ApiSettings", ui_port: int, monitor_port: int) -> list[Service]:
    script = str(ROOT / "apps" / "moderator" / "app.py")
    serve = (sys.executable, "-m", "cli", "serve")
    moderator = (sys.executable, "-m", "streamlit", "run", script, "--server.port", str(ui_port), *STREAMLIT)
    monitor = (sys.executable, "-m", "apps.monitor", *STREAMLIT)
    return [
        Service("api", settings.api_port, "MODERATION_API_PORT", "/ready", serve, settings.api_host),
        Service("moderator", ui_port, "MODERATION_UI_PORT", "/_stcore/health", moderator),
        Service("monitor", monitor_port, "MODERATION_MONITOR_PORT", "/_stcore/health", monitor),
    ]


def _claim(state_dir: Path) -> AbstractContextManager[object]:
    """Hold the state folder; the lock goes with the process, however it ends."""
    from filelock import FileLock, Timeout

    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(state_dir / "up.lock").acquire(blocking=False)
    except Timeout:
        raise ConfigurationError(
            f"`moderation up` already runs with state folder {state_dir}; stop it or set MODERATION_STATE_DIR"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to state folder {state_dir}: {error.strerror}; check MODERATION_STATE_DIR"
        ) from error


def _check_ports(services: list[Service]) -> None:
    held: list[socket.socket] = []
    try:
        for service in services:
            probe = socket.socket(socket.AF_INET6 if ":" in service.host else socket.AF_INET)
            held.append(probe)
            # As the servers do: a port that a stopped server has just left is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((service.host, service.port))
                probe.listen()
            except OSError as error:
                raise ConfigurationError(
                    f"port {service.port} for the {service.name} is taken ({error.strerror}); "
                    f"stop what listens there or set {service.port_variable} to a free port"
                ) from None
    finally:
        for probe in held:
            probe.close()


def prepare(settings: "ApiSettings") -> None:
    """Migrate the database, and give a local registry the starter bundle where the alias is missing."""
    from cli.history import record
    from moderation.db.database import connect, migrate
    from moderation.registry.opening import open_local
    from moderation.registry.starter import seed

    engine = connect(settings.resolved_database_url())
    migrate(engine)
    engine.dispose()
    if settings.registry == "local":  # what W&B holds is its owners' to decide
        registry = open_local(settings)
        record(registry, settings, seed(registry, settings.alias))


def _run(services: list[Service], state_dir: Path, deadline_s: float, begun: float) -> int:
    from cli.processes import Command, Runner
    from serve.stopping import stop_s

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "MODERATION_API_URL": services[0].url,
    }
    late: list[str] = []

    def announce(runner: Runner) -> None:
        late.extend(_wait(services))
        if late:
            runner.terminate()
        else:
            _print_addresses(services, state_dir, time.monotonic() - begun)

    typer.echo("Starting the API, both apps and the worker ...")
    commands = [Command(service.name, service.argv, environment) for service in services]
    commands[0] = replace(commands[0], stop_s=stop_s(deadline_s))
    commands.append(Command("worker", (sys.executable, "-m", "cli", "worker"), environment))
    runner = Runner(commands, state_dir / "logs", announce)
    exit_code = runner.run()
    failed = runner.first_ended or next(iter(late), None)
    if failed is None:
        typer.echo("Stopped.")
        return exit_code
    typer.echo(f"Last lines of {runner.logs.paths[failed]}:", err=True)
    typer.echo("\n".join(f"  {line}" for line in runner.logs.last_lines[failed]), err=True)
    reason = "ended" if runner.first_ended else f"did not answer within {READY_WITHIN_S:.0f} s"
    raise UnavailableError(f"the {failed} {reason}, so all were stopped")


def _wait(services: list[Service]) -> list[str]:
    """Return the names of those that have not answered in time."""
    import httpx

    deadline = time.monotonic() + READY_WITHIN_S
    waiting = list(services)
    with httpx.Client(timeout=2.0, trust_env=False) as client:  # a proxy of the environment is not for loopback
        while waiting and time.monotonic() < deadline:
            waiting = [service for service in waiting if not _answers(client, service.url + service.health_path)]
            time.sleep(0.1 if waiting else 0)
    return [service.name for service in waiting]


def _answers(client: "httpx.Client", url: str) -> bool:
    import httpx

    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False


def _print_addresses(services: list[Service], state_dir: Path, seconds: float) -> None:
    api, moderator, monitor = services
    typer.echo(f"""
Up after {seconds:.1f} s. Ctrl-C stops all.

  API            {api.url}  (documentation: {api.url}/docs)
  Moderator app  {moderator.url}
  Monitor app    {monitor.url}
  Data and logs  {state_dir}

Try it:

  curl -s {api.url}/predict -H 'Content-Type: application/json' -d '{{"comment_text": "You are disgusting."}}'
""")
