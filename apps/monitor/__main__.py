"""Starts the monitor app: ``python -m apps.monitor``. Further arguments go to ``streamlit run``, see its ``--help``."""

import os
import sys
from pathlib import Path

from apps.monitor.services.identity import write_secrets
from moderation.errors import ConfigurationError
from moderation.settings import MonitorSettings, load

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write Streamlit's secrets file if an identity provider is configured, then become Streamlit."""
    try:
        settings = load(MonitorSettings)
        path = write_secrets(settings)
    except ConfigurationError as error:
        sys.exit(str(error))
    script = str(Path(__file__).with_name("server.py"))
    options = ["--server.port", str(settings.monitor_port), "--browser.gatherUsageStats", "false"]
    if path is not None:
        options += ["--secrets.files", str(path)]
    # Later options win.
    argv = [sys.executable, "-m", "streamlit", "run", script, *options, *sys.argv[1:]]
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]  # Streamlit puts the script's folder alone
    # Labels are estimated side by side; NumPy's own threads below ours wait for each other, for seconds (measured).
    environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    os.execve(sys.executable, argv, environment)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
