"""A registry that is a collection of W&B's registry, such as ``wandb-registry-model/toxicity``.

A bundle is an artifact of type ``model`` whose metadata holds our version; aliases are W&B's own, so a protected one
moves with a registry admin's key only. A move through us is also a run of job type ``alias-move`` with who, when and
why; a move made by hand on W&B's pages leaves none, and shows as an event whose ``previous`` is not the version of the
event before. Gate reports are artifacts of type ``gate-report``. Every call is bounded in time.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from moderation import clock
from moderation.bundle import Bundle, read_bundle
from moderation.labels import LABELS
from moderation.registry.cache import BundleCache
from moderation.registry.registry import ANYTHING, AliasEvent, Move, check_alias, match_version
from moderation.wandb_process import MODEL, REPORT, WandbProcess


class WandbRegistry:
    """Implements `moderation.registry.registry.Registry`; methods raise what `WandbProcess.ask` raises."""

    def __init__(self, collection: str, cache: BundleCache, query_s: float = 30, transfer_s: float = 600) -> None:
        """Use ``collection``; questions may take ``query_s`` seconds, files and runs ``transfer_s``."""
        self.collection = collection
        self.cache = cache
        self._query_s = query_s
        self._transfer_s = transfer_s
        self._process = WandbProcess()

    def publish(self, directory: Path) -> str:
        """Verify and upload the bundle in ``directory``, and verify what arrived; return its version."""
        bundle = read_bundle(directory)
        if bundle.version not in self.versions():
            artifact = bundle_artifact(bundle)
            self._process.ask("publish", self._transfer_s, collection=self.collection, artifact=artifact)
        self.verify(bundle.version)
        return bundle.version

    def verify(self, version: str) -> Path:
        """Download ``version`` whether it is cached or not, check every hash, and return its cached folder."""
        with self.cache.staging() as staging:
            self._process.ask(
                "fetch", self._transfer_s, collection=self.collection, version=version, directory=str(staging)
            )
            return self.cache.add(staging, version)

    def resolve(self, alias: str) -> str:
        """Return the version that ``alias`` points to.

        Raises:
            NotFoundError: no such alias.
        """
        version: str = self._process.ask("resolve", self._query_s, collection=self.collection, alias=check_alias(alias))
        return version

    def fetch(self, version: str) -> Path:
        """Return the cached folder of ``version``, or of the one version that starts with it; download what is missing.

        Raises:
            NotFoundError: no published version matches.
            BundleError: what arrived is damaged, or another version.
        """
        if len(version) < 64:
            version = match_version(version, self.versions())
        return self.cache.find(version) or self.verify(version)

    def point(self, alias: str, version: str, move: Move, expected_previous: str | None = ANYTHING) -> AliasEvent:
        """Make ``alias`` point to ``version`` (or the one version that starts with it), and record who and why.

        W&B has no compare-and-swap: ``expected_previous`` is compared before the move is recorded and again right
        before the alias is saved. Who is overtaken between the two leaves a record of a move that did not happen; two
        that save within one request of each other both succeed, and the later one stands.
        """
        event = self._process.ask(
            "point",
            self._transfer_s,
            collection=self.collection,
            alias=check_alias(alias),
            version=match_version(version, self.versions()),
            expected_previous=expected_previous,
            event={"moved_at": clock.now().isoformat(), "moved_by": move.by, "reason": move.reason},
        )
        return _event(event)

    def versions(self) -> list[str]:
        """Return every published version, oldest first."""
        return list(dict.fromkeys(member["version"] for member in self._members()))

    def aliases(self) -> dict[str, str]:
        """Return every alias with its version, W&B's own ``latest`` left out."""
        members = self._members()
        found = {alias: member["version"] for member in members for alias in member["aliases"]}
        own = {member["name"] for member in members} | {"latest"}
        return {alias: found[alias] for alias in sorted(found) if alias not in own}

    def events(self, alias: str) -> list[AliasEvent]:
        """Return the moves of ``alias`` that were made through us, oldest first."""
        found = self._process.ask("events", self._query_s, collection=self.collection, alias=check_alias(alias))
        return [_event(event) for event in found]

    def keep_report(self, version: str, directory: Path) -> None:
        """Upload the gate report in ``directory``, from a run that uses the bundle."""
        version = match_version(version, self.versions())
        artifact = {
            "name": _report_name(version),
            "type": REPORT,
            "metadata": {"version": version},
            "directory": str(directory.resolve()),
        }
        self._process.ask(
            "keep_report", self._transfer_s, collection=self.collection, version=version, artifact=artifact
        )

    def reports(self, version: str) -> list[Path]:
        """Return folders with the gate reports on ``version``, oldest first; downloads those that are not cached."""
        version = match_version(version, self.versions())
        found = self._process.ask("reports", self._query_s, name=_report_name(version))
        return [self._report(report["name"], report["digest"]) for report in found]

    def probe(self) -> str:
        """Return the entity that the key belongs to; raises if W&B cannot be used."""
        answer: dict[str, str] = self._process.ask("probe", self._query_s)
        return answer["entity"]

    def record(self, run: dict[str, Any], **parts: object) -> dict[str, Any]:
        """Start a run or go on with one, add ``parts`` (`moderation.wandb_client`), and return its path and URL."""
        where: dict[str, Any] = self._process.ask("record", self._transfer_s, run=run, **parts)
        return where

    def workspace(self, name: str) -> str:
        """Save a workspace of the project, named ``name``, that compares its runs; return its URL."""
        return str(self._process.ask("workspace", self._query_s, name=name, labels=list(LABELS)))

    def sync(self, directory: Path) -> None:
        """Upload what the SDK kept of an offline run in ``directory``."""
        self._process.ask("sync", self._transfer_s, directory=str(directory.resolve()))

    def close(self) -> None:
        """End the process that talks to W&B."""
        self._process.close()

    def _members(self) -> list[dict[str, Any]]:
        members: list[dict[str, Any]] = self._process.ask("versions", self._query_s, collection=self.collection)
        return members

    def _report(self, name: str, digest: str) -> Path:
        if found := self.cache.find_report(digest):
            return found
        with self.cache.staging() as staging:
            self._process.ask("fetch_report", self._transfer_s, name=name, directory=str(staging))
            return self.cache.add_report(staging, digest)


def bundle_artifact(bundle: Bundle) -> dict[str, object]:
    """Return the artifact that holds ``bundle``: its name, and what is known without downloading it."""
    provenance = bundle.manifest.provenance
    return {
        "name": bundle.manifest.name,
        "type": MODEL,
        "metadata": {
            "version": bundle.version,
            "architecture": bundle.manifest.architecture,
            "git_commit": provenance.git_commit,
            "git_dirty": provenance.git_dirty,
            "dataset": provenance.dataset,
            "dataset_digest": provenance.dataset_digest,
            "thresholds": bundle.manifest.thresholds,
        },
        "directory": str(bundle.path.resolve()),
    }


def _report_name(version: str) -> str:
    return f"{REPORT}-{version[:16]}"


def _event(raw: dict[str, str]) -> AliasEvent:
    return AliasEvent(**{**raw, "moved_at": datetime.fromisoformat(raw["moved_at"])})  # type: ignore[arg-type]
