"""GraphQL types of W&B over the store: a field is a method ``f_<name>`` or a key of the record."""

import base64
import hashlib
import json

from tests.fake_wandb.store import ORG, ORG_ENTITY, b64id, conn, now


class View:
    """Fields are methods f_<name>(**args) or keys of self.r; '__typename' is self.T."""

    T = "?"

    def __init__(self, s, r, **kw):
        self.s, self.r = s, r
        self.__dict__.update(kw)


class Entity(View):
    T = "Entity"

    def f_id(self):
        return b64id("Entity", self.r)

    def f_name(self):
        return self.r

    def f_organization(self):
        organization = {"id": b64id("Organization", 1), "name": ORG, "coreWeaveOrganizationId": None}
        return {**organization, "orgEntity": Entity(self.s, ORG_ENTITY)}

    def f_user(self):  # a team is no user
        return None

    def f_entityType(self):
        return "organization" if self.r == ORG_ENTITY else "team"

    def f_project(self, name):
        p = self.s.project(self.r, name)
        return p and Project(self.s, p)

    def f_artifactCollections(self, first=None, after=None, **_):
        return conn(
            [Collection(self.s, c) for c in self.s.d["collections"].values() if c["entity"] == self.r], first, after
        )

    def f_artifactMemberships(self, first=None, after=None, **_):
        return conn(
            [
                Membership(self.s, m, c=c)
                for c in self.s.d["collections"].values()
                if c["entity"] == self.r
                for m in c["members"]
            ],
            first,
            after,
        )

    def f_projects(self, first=None, after=None, **_):
        return conn([Project(self.s, p) for p in self.s.d["projects"].values() if p["entity"] == self.r], first, after)


class Project(View):
    T = "Project"

    def f_id(self):
        return b64id("Project", self.r["n"])

    f_internalId = f_id

    def f_entity(self):
        return Entity(self.s, self.r["entity"])

    def f_entityName(self):
        return self.r["entity"]

    def f_readOnly(self):
        return False

    def f_access(self):
        return "PRIVATE"

    def f_allowAllArtifactTypesInRegistry(self):
        return True

    def f_run(self, name):
        r = self.s.d["runs"].get(f"{self.r['entity']}/{self.r['name']}/{name}")
        return r and Run(self.s, r)

    def f_bucket(self, name, **_):
        return self.f_run(name)

    def _runs(self, filters):
        """Filters by equality alone, which is what we ask for."""
        here = {"entity": self.r["entity"], "project": self.r["name"], **json.loads(filters or "{}")}
        runs = [Run(self.s, r) for r in self.s.d["runs"].values()]
        return [run for run in runs if all(run.r.get(key) == wanted for key, wanted in here.items())]

    def f_runCount(self, filters=None, **_):
        return len(self._runs(filters))

    def f_runs(self, first=None, after=None, filters=None, order=None, **_):
        return conn(self._runs(filters)[:: 1 if order == "+created_at" else -1], first, after)

    def _colls(self, type_=None):
        return [
            Collection(self.s, c)
            for c in self.s.d["collections"].values()
            if (c["entity"], c["project"]) == (self.r["entity"], self.r["name"]) and type_ in (None, c["type"])
        ]

    def f_artifactCollection(self, name):
        c = self.s.collection(self.r["entity"], self.r["name"], name)
        return c and Collection(self.s, c)

    def f_artifactCollections(self, first=None, after=None, **_):
        return conn(self._colls(), first, after)

    def f_artifactTypes(self, first=None, after=None, **_):
        return conn(
            [ArtifactType(self.s, t, p=self) for t in sorted({c.r["type"] for c in self._colls()})], first, after
        )

    def f_artifactType(self, name):
        return ArtifactType(self.s, name, p=self) if self._colls(name) else None

    def f_artifactCollectionMembership(self, name):
        coll, _, alias = name.partition(":")
        c = self.f_artifactCollection(coll)
        return c and c.f_artifactMembership(alias or "latest")

    def f_artifact(self, name):
        m = self.f_artifactCollectionMembership(name)
        return m and m.f_artifact()


class ArtifactType(View):
    T = "ArtifactType"

    def f_id(self):
        return b64id("ArtifactType", self.r)

    def f_name(self):
        return self.r

    def f_createdAt(self):
        return self.p.r["createdAt"]

    def f_artifactCollection(self, name):
        c = self.p.f_artifactCollection(name)
        return c if c and c.r["type"] == self.r else None

    def f_artifactCollections(self, first=None, after=None, **_):
        return conn(self.p._colls(self.r), first, after)


class Collection(View):
    @property
    def T(self):
        return "ArtifactSequence" if self.r["kind"] == "SEQUENCE" else "ArtifactPortfolio"

    def f_id(self):
        return b64id("ArtifactCollection", self.r["n"])

    def f_project(self):
        return Project(self.s, self.s.project(self.r["entity"], self.r["project"]))

    def f_defaultArtifactType(self):
        return {"name": self.r["type"]}

    def f_tags(self, **_):
        return conn([])

    def f_state(self):
        return "READY"

    def f_updatedAt(self):
        return self.r["createdAt"]

    def f_digestAlgorithm(self):
        return None

    def f_latestArtifact(self):
        m = self.s.find_member(self.r, "latest")
        return m and Artifact(self.s, self.s.d["artifacts"][m["artifact"]])

    def f_artifactMembership(self, aliasName):
        m = self.s.find_member(self.r, aliasName)
        return m and Membership(self.s, m, c=self.r)

    def f_aliases(self, first=None, after=None):
        return conn([alias(self.r, a) for m in self.r["members"] for a in m["aliases"] + [f"v{m['v']}"]], first, after)

    def f_artifacts(self, first=None, after=None, **_):
        ms = sorted(self.r["members"], key=lambda m: -m["v"])
        vs = {m["artifact"]: f"v{m['v']}" for m in ms}
        return conn(
            [Artifact(self.s, self.s.d["artifacts"][m["artifact"]]) for m in ms],
            first,
            after,
            version=lambda n: vs[n.r["id"]],
        )


def alias(coll, a):
    return {"__typename": "ArtifactAlias", "id": b64id("ArtifactAlias", f"{coll['n']}:{a}"), "alias": a}


class Membership(View):
    T = "ArtifactCollectionMembership"

    def f_id(self):
        return b64id("ArtifactCollectionMembership", f"{self.c['n']}:{self.r['v']}")

    def f_versionIndex(self):
        return self.r["v"]

    def f_aliases(self):
        return [alias(self.c, a) for a in self.r["aliases"] + [f"v{self.r['v']}"]]

    def f_artifactCollection(self):
        return Collection(self.s, self.c)

    def f_artifact(self):
        return Artifact(self.s, self.s.d["artifacts"][self.r["artifact"]])

    def f_files(self, names=None, first=None, after=None):
        a = self.s.d["artifacts"][self.r["artifact"]]
        return conn(
            [a_file(self.s, a, n, e) for n, e in sorted(a["files"].items()) if names is None or n in names],
            first,
            after,
        )


def a_file(s, a, name, e):
    url = f"{s.base}/storage/{e['blob']}"
    return {
        "__typename": "File",
        "id": b64id("File", e["blob"]),
        "name": name,
        "displayName": name,
        "url": url,
        "directUrl": url,
        "sizeBytes": e["size"],
        "storagePath": e["blob"],
        "mimetype": None,
        "updatedAt": a["createdAt"],
        "digest": e["digest"],
        "md5": e["digest"],
    }


class Artifact(View):
    T = "Artifact"

    def _seq(self):
        return self.s.d["collections"][self.r["sequence"]]

    def f_artifactSequence(self):
        return Collection(self.s, self._seq())

    def f_versionIndex(self):
        return next((m["v"] for m in self._seq()["members"] if m["artifact"] == self.r["id"]), None)

    def f_artifactType(self):
        return {"name": self.r["type"]}

    def f_ttlDurationSeconds(self):
        return -2

    def f_ttlIsInherited(self):
        return True

    def f_tags(self):
        return []

    def f_size(self):
        return sum(e["size"] for e in self.r["files"].values())

    def f_fileCount(self):
        return len(self.r["files"])

    def f_currentManifest(self):
        return {"id": self.r["manifest_id"], "file": {"directUrl": f"{self.s.base}/storage/{self.r['manifest_blob']}"}}

    def _memberships(self):
        return [(c, m) for c in self.s.d["collections"].values() for m in c["members"] if m["artifact"] == self.r["id"]]

    def f_artifactMemberships(self, **_):
        return conn([Membership(self.s, m, c=c) for c, m in self._memberships()])

    def f_aliases(self):
        return [
            {**alias(c, a), "artifactCollection": Collection(self.s, c)}
            for c, m in self._memberships()
            for a in m["aliases"]
        ]

    def _runs(self, keys):
        return [Run(self.s, self.s.d["runs"][k]) for k in keys if k in self.s.d["runs"]]

    def f_usedBy(self, **_):
        return conn(self._runs(self.r["usedBy"]))

    def f_createdBy(self):
        return (self._runs([self.r["run"]]) or [None])[0]


class Run(View):
    T = "Run"

    def f_id(self):
        return b64id("Run", self.r["n"])

    def f_projectId(self):
        return str(self.s.project(self.r["entity"], self.r["project"])["n"])

    def f_project(self):
        return Project(self.s, self.s.project(self.r["entity"], self.r["project"]))

    def f_readOnly(self):
        return False

    def f_user(self):
        return {"name": "tester", "username": "tester"}

    def f_description(self):
        return self.r.get("notes")

    f_notes = f_description

    def f_group(self):
        return self.r.get("group")

    def f_sweepName(self):
        return None

    def _lines(self, name):
        return [line for line in self.r["streams"].get(name, []) if line]

    def f_historyTail(self):  # where a run that is resumed goes on
        return json.dumps(self._lines("wandb-history.jsonl")[-1:])

    def f_eventsTail(self):
        return json.dumps(self._lines("wandb-events.jsonl")[-1:])

    def f_eventsLineCount(self):
        return len(self.r["streams"].get("wandb-events.jsonl", []))

    def f_logLineCount(self):
        return len(self.r["streams"].get("output.log", []))

    def f_wandbConfig(self, keys=None):
        return json.dumps({"t": 1})

    def f_historyLineCount(self):
        return len(self.r["streams"].get("wandb-history.jsonl", []))

    def f_historyKeys(self):
        rows = self._rows()
        return {
            "lastStep": max((r.get("_step", 0) for r in rows), default=-1),
            "sets": [],
            "keys": {k: {"typeCounts": [{"type": "number", "count": 1}], "monotonic": False} for r in rows for k in r},
        }

    def _rows(self):
        return [json.loads(x) for x in self.r["streams"].get("wandb-history.jsonl", []) if x]

    def f_history(self, minStep=0, maxStep=1 << 60, samples=None, **_):
        return [json.dumps(r) for r in self._rows() if minStep <= r.get("_step", 0) < maxStep][:samples]

    def f_events(self, samples=None):
        return self.r["streams"].get("wandb-events.jsonl", [])[:samples]

    def f_sampledHistory(self, specs):
        return [
            [
                {k: r[k] for k in json.loads(s)["keys"]}
                for r in self._rows()
                if all(k in r for k in json.loads(s)["keys"])
            ]
            for s in specs
        ]

    def f_parquetHistory(self, **_):
        return {"parquetUrls": [], "liveData": [{"_step": r.get("_step", 0)} for r in self._rows()]}

    def f_fileCount(self):
        return len(self.r["files"])

    def f_files(self, names=None, first=None, after=None, **_):
        nodes = []
        for n, key in sorted(self.r["files"].items()):
            p = self.s.blob(key)
            if p.exists() and (not names or n in names):
                url = f"{self.s.base}/storage/{key}"
                nodes.append(
                    {
                        "id": b64id("File", key),
                        "name": n,
                        "url": url,
                        "directUrl": url,
                        "sizeBytes": p.stat().st_size,
                        "mimetype": None,
                        "updatedAt": now(),
                        "md5": base64.b64encode(hashlib.md5(p.read_bytes()).digest()).decode(),
                    }
                )
        return conn(nodes, first, after)

    def _arts(self, ids):
        return conn([Artifact(self.s, self.s.d["artifacts"][i]) for i in ids])

    def f_outputArtifacts(self, **_):
        return self._arts(
            [a["id"] for a in self.s.d["artifacts"].values() if a["run"] == self.r["key"] and a["state"] == "COMMITTED"]
        )

    def f_inputArtifacts(self, **_):
        return self._arts([a["id"] for a in self.s.d["artifacts"].values() if self.r["key"] in a["usedBy"]])
