"""What the stand-in keeps: runs, artifacts, collections and their aliases, in one JSON file and a folder of blobs."""

import base64
import datetime
import json
import re
import threading
from pathlib import Path

ENTITY, ORG_ENTITY, ORG = "acme-team", "acme_org_entity", "acme"
# What this server claims to support. The SDK switches code paths on these names.
FEATURES = [
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "ARTIFACT_REGISTRY_SEARCH",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "FILESTREAM_GZIP",
    "QUERY_AUTOMATIONS_ON_ENTITY",
]
PROTECTED = {"production"}  # aliases that the admin key alone may add or delete, in a registry


class GQLError(Exception):
    def __init__(self, message, status=200):
        super().__init__(message)
        self.status = status


def now():
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def b64id(kind, n):
    return base64.b64encode(f"{kind}:{n}".encode()).decode()


def b64_to_hex(d):
    return base64.b64decode(d).hex()


def conn(nodes, first=None, after=None, **extra):
    """A Relay connection over a list; the cursor is the next offset."""
    start = int(after or 0)
    page = nodes[start : start + first] if first else nodes[start:]
    end = start + len(page)
    return {
        "totalCount": len(nodes),
        "edges": [
            {"node": n, "cursor": str(start + i + 1), **{k: f(n) for k, f in extra.items()}} for i, n in enumerate(page)
        ],
        "pageInfo": {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(nodes)},
    }


class Store:
    def __init__(self, root):
        self.root, self.lock = Path(root), threading.RLock()
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        self.file = self.root / "state.json"
        self.d = {"seq": 0, "runs": {}, "artifacts": {}, "collections": {}, "projects": {}, "clients": {}}
        if self.file.exists():
            self.d.update(json.loads(self.file.read_text()))

    def save(self):
        tmp = self.file.with_suffix(".tmp")
        tmp.write_text(json.dumps(self.d, indent=1))
        tmp.replace(self.file)

    def next(self):
        self.d["seq"] += 1
        return self.d["seq"]

    def blob(self, key):
        p = (self.root / "blobs" / key).resolve()
        if not p.is_relative_to((self.root / "blobs").resolve()):
            raise GQLError("bad path", 400)
        return p

    def project(self, entity, name, create=False):
        k = f"{entity}/{name}"
        if k not in self.d["projects"]:
            if not create:
                return None
            self.d["projects"][k] = {"n": self.next(), "entity": entity, "name": name, "createdAt": now()}
        return self.d["projects"][k]

    def collection(self, entity, project, name, kind=None, type_=None):
        k = f"{entity}/{project}/{name}"
        if k not in self.d["collections"]:
            if kind is None:
                return None
            self.project(entity, project, create=True)
            self.d["collections"][k] = {
                "n": self.next(),
                "key": k,
                "entity": entity,
                "project": project,
                "name": name,
                "kind": kind,
                "type": type_,
                "description": None,
                "createdAt": now(),
                "members": [],
                "tags": [],
            }
        return self.d["collections"][k]

    def add_member(self, coll, aid, aliases):
        """Append artifact `aid` to a collection (or find it there), then set aliases; 'latest' follows the newest."""
        m = next((m for m in coll["members"] if m["artifact"] == aid), None)
        if m is None:
            m = {"artifact": aid, "v": coll.setdefault("nextv", 0), "createdAt": now(), "aliases": []}
            coll["nextv"] += 1
            coll["members"].append(m)
            self.set_alias(coll, m, "latest")
        for a in aliases:
            self.set_alias(coll, m, a)
        return m

    def set_alias(self, coll, m, alias):
        if re.fullmatch(r"v\d+", alias):
            raise GQLError(f"alias {alias!r} is reserved for version numbers", 400)
        for other in coll["members"]:
            if alias in other["aliases"]:
                other["aliases"].remove(alias)
        m["aliases"].append(alias)

    def find_member(self, coll, alias):
        named = (m for m in coll["members"] if alias == f"v{m['v']}" or alias in m["aliases"])
        return next(named, None)
