"""The roots of W&B's GraphQL: what can be asked, and what can be changed."""

import json
import urllib.parse

from tests.fake_wandb.store import ENTITY, FEATURES, ORG, ORG_ENTITY, PROTECTED, GQLError, b64_to_hex, b64id, conn, now
from tests.fake_wandb.views import Artifact, Collection, Entity, Membership, Project, Run, View


class Query(View):
    def __init__(self, s, admin=False):
        self.s, self.admin = s, admin

    def f_viewer(self):
        return {
            "__typename": "User",
            "id": b64id("User", 1),
            "entity": ENTITY,
            "username": "tester",
            "name": "tester",
            "email": "t@example.com",
            "admin": False,
            "flags": "{}",
            "deletedAt": None,
            "apiKeys": conn([]),
            "teams": conn([{"name": ENTITY}]),
        }

    def f_serverInfo(self):
        return {
            "features": [{"name": f, "isEnabled": True} for f in FEATURES],
            "cliVersionInfo": {},
            "latestLocalVersionInfo": None,
        }

    def f_entity(self, name):
        return Entity(self.s, name) if name in (ENTITY, ORG_ENTITY) else None

    def f_organization(self, name):
        return Entity(self.s, ENTITY).f_organization() if name in (ORG, ORG_ENTITY) else None

    def f_project(self, name=None, entityName=None):
        entity = ORG_ENTITY if entityName == ORG else entityName or ENTITY
        if name == "model-registry":  # the legacy per-team registry is redirected, as on wandb.ai
            entity, name = ORG_ENTITY, "wandb-registry-model"
        if (
            entity == ORG_ENTITY and name
        ):  # registry names are matched without regard to case (inferred from the SDK's comments)
            name = name.lower()
        p = self.s.project(entity, name)
        return p and Project(self.s, p)

    f_model = f_project

    def f_artifact(self, id):
        a = self.s.d["artifacts"].get(id)
        return a and Artifact(self.s, a)

    def f_artifactCollection(self, id):
        c = self._coll_by_id(id)
        return c and Collection(self.s, c)

    def f_clientIDMapping(self, clientID):
        return {"serverID": self.s.d["clients"][clientID]} if clientID in self.s.d["clients"] else None

    def _coll_by_id(self, id):
        return next((c for c in self.s.d["collections"].values() if b64id("ArtifactCollection", c["n"]) == id), None)


class Mutation(Query):
    def f_upsertView(self, input):
        views = self.s.d.setdefault("views", {})
        identity = input.get("id") or b64id("View", len(views) + 1)
        views[identity] = input
        return {"view": {"id": identity, "name": input["name"]}, "inserted": "id" not in input}

    def f_upsertBucket(self, input):
        i = input
        if i.get("id"):
            r = next(r for r in self.s.d["runs"].values() if b64id("Run", r["n"]) == i["id"])
            inserted = False
        else:
            entity, project = i.get("entityName") or ENTITY, i.get("modelName") or "uncategorized"
            if entity != ENTITY:
                raise GQLError("permission denied", 403)
            self.s.project(entity, project, create=True)
            k = f"{entity}/{project}/{i['name']}"
            inserted = k not in self.s.d["runs"]
            r = self.s.d["runs"].setdefault(
                k,
                {
                    "n": self.s.next(),
                    "key": k,
                    "entity": entity,
                    "project": project,
                    "name": i["name"],
                    "displayName": i["name"],
                    "state": "running",
                    "commit": None,
                    "config": "{}",
                    "summaryMetrics": "{}",
                    "systemMetrics": "{}",
                    "tags": [],
                    "streams": {},
                    "files": {},
                    "createdAt": now(),
                    "heartbeatAt": now(),
                },
            )
        for src, dst in {
            "displayName": "displayName",
            "config": "config",
            "commit": "commit",
            "host": "host",
            "jobProgram": "program",
            "jobRepo": "repo",
            "jobType": "jobType",
            "groupName": "group",
            "notes": "notes",
            "tags": "tags",
            "state": "state",
            "summaryMetrics": "summaryMetrics",
        }.items():
            if i.get(src) is not None:
                r[dst] = i[src]
        return {"bucket": Run(self.s, r), "inserted": inserted}

    def f_createRunFiles(self, input):
        r = self.s.d["runs"][f"{input['entityName']}/{input['projectName']}/{input['runName']}"]
        for f in input["files"]:
            r["files"][f] = f"runs/{r['n']}/{f}"
        return {
            "runID": b64id("Run", r["n"]),
            "uploadHeaders": [],
            "files": [
                {"name": f, "uploadUrl": f"{self.s.base}/storage/{urllib.parse.quote(r['files'][f])}"}
                for f in input["files"]
            ],
        }

    def f_markRunFilesUploaded(self, input):
        return {"success": True}

    def f_createArtifact(self, input):
        i = input
        name = i.get("artifactCollectionName") or i["artifactCollectionNames"][0]
        c = self.s.collection(i["entityName"], i["projectName"], name, "SEQUENCE", i["artifactTypeName"])
        if c["type"] != i["artifactTypeName"]:
            raise GQLError(f"artifact type mismatch: collection {name!r} has type {c['type']!r}", 400)
        aliases = [a["alias"] for a in i.get("aliases") or []]
        latest = Collection(self.s, c).f_latestArtifact()
        if latest and latest.r["digest"] == i["digest"]:  # same content as latest: no new version
            self.s.add_member(c, latest.r["id"], aliases)
            return {"artifact": latest}
        n = self.s.next()
        aid = b64id("Artifact", n)
        run = f"{i['entityName']}/{i['projectName']}/{i['runName']}" if i.get("runName") else None
        self.s.d["artifacts"][aid] = {
            "id": aid,
            "n": n,
            "sequence": c["key"],
            "type": i["artifactTypeName"],
            "digest": i["digest"],
            "digestAlgorithm": i.get("digestAlgorithm"),
            "state": "PENDING",
            "description": i.get("description"),
            "metadata": i.get("metadata"),
            "aliases_wanted": aliases,
            "files": {},
            "run": run,
            "usedBy": [],
            "historyStep": i.get("historyStep"),
            "commitHash": None,
            "createdAt": now(),
            "updatedAt": None,
            "manifest_id": None,
            "manifest_blob": None,
        }
        if i.get("clientID"):
            self.s.d["clients"][i["clientID"]] = aid
        return {"artifact": Artifact(self.s, self.s.d["artifacts"][aid])}

    def _manifest(self, a, digest):
        a["manifest_id"], a["manifest_blob"], a["manifest_digest"] = (
            b64id("ArtifactManifest", a["n"]),
            f"manifests/{a['n']}.json",
            digest,
        )
        return {
            "artifactManifest": {
                "id": a["manifest_id"],
                "file": {
                    "id": b64id("File", a["manifest_blob"]),
                    "uploadUrl": f"{self.s.base}/storage/{a['manifest_blob']}",
                    "uploadHeaders": [f"Content-MD5:{digest}"] if digest else [],
                },
            }
        }

    def f_createArtifactManifest(self, input):
        return self._manifest(self.s.d["artifacts"][input["artifactID"]], input.get("digest"))

    def f_updateArtifactManifest(self, input):
        a = next(a for a in self.s.d["artifacts"].values() if a["manifest_id"] == input["artifactManifestID"])
        return self._manifest(a, input.get("digest"))

    def f_createArtifactFiles(self, input):
        nodes = []
        for f in input["artifactFiles"]:
            a = self.s.d["artifacts"][f["artifactID"]]
            digest = f.get("digest") or f.get("md5")
            key = f"content/{b64_to_hex(digest)}"
            have = self.s.blob(key).exists()  # content-addressed: known content is not uploaded again
            nodes.append(
                {
                    "storagePath": key,
                    "uploadUrl": None if have else f"{self.s.base}/storage/{key}",
                    "uploadMultipartUrls": None,
                    "uploadHeaders": [f"Content-MD5:{digest}"],
                    "artifact": {"id": a["id"]},
                }
            )
        return {"files": conn(nodes)}

    def f_commitArtifact(self, input):
        a = self.s.d["artifacts"][input["artifactID"]]
        manifest = json.loads(self.s.blob(a["manifest_blob"]).read_text())
        for name, e in manifest["contents"].items():
            if "ref" in e:
                continue
            key = f"content/{b64_to_hex(e['digest'])}"
            if not self.s.blob(key).exists():
                raise GQLError(f"file {name!r} was not uploaded", 400)
            a["files"][name] = {"digest": e["digest"], "size": e["size"], "blob": key}
        a["state"] = "COMMITTED"
        self.s.add_member(self.s.d["collections"][a["sequence"]], a["id"], a["aliases_wanted"])
        return {"artifact": Artifact(self.s, a)}

    def f_useArtifact(self, input):
        a = self.s.d["artifacts"][input["artifactID"]]
        run = f"{input['entityName']}/{input['projectName']}/{input['runName']}"
        if run not in a["usedBy"]:
            a["usedBy"].append(run)
        return {"artifact": Artifact(self.s, a)}

    def _check_protected(self, aliases):
        if (bad := PROTECTED.intersection(aliases)) and not self.admin:
            raise GQLError(f"permission denied: protected alias {sorted(bad)}", 403)

    def f_linkArtifact(self, input):
        i = input
        aid = i.get("artifactID") or self.s.d["clients"].get(i.get("clientID"))
        a, entity, project = self.s.d["artifacts"].get(aid), i["entityName"], i["projectName"]
        if a is None or a["state"] != "COMMITTED":
            raise GQLError("artifact not found", 404)
        aliases = [x["alias"] for x in i.get("aliases") or []]
        self._check_protected(aliases)
        if project == "model-registry":
            entity, project = ORG_ENTITY, "wandb-registry-model"
        registry = project.startswith("wandb-registry-")
        project = project.lower() if registry else project
        if registry != (entity == ORG_ENTITY) or entity not in (ENTITY, ORG_ENTITY):
            raise GQLError(
                "linking is only allowed within the same team or to a collection in your organization's registry", 400
            )
        if registry and self.s.project(entity, project) is None:
            raise GQLError(f"project {project!r} not found under entity {entity!r}", 404)
        c = self.s.collection(entity, project, i["artifactPortfolioName"], "PORTFOLIO", a["type"])
        if c["type"] != a["type"]:
            raise GQLError(f"collection {c['name']!r} holds type {c['type']!r}", 400)
        m = self.s.add_member(c, aid, aliases)
        return {"versionIndex": m["v"], "artifactMembership": Membership(self.s, m, c=c)}

    def f_unlinkArtifact(self, input):
        c = self._coll_by_id(input["artifactPortfolioID"])
        c["members"] = [m for m in c["members"] if m["artifact"] != input["artifactID"]]
        return {"success": True}

    def _alias_targets(self, input):
        self._check_protected([x["alias"] for x in input["aliases"]])
        for x in input["aliases"]:
            c = self.s.collection(x["entityName"], x["projectName"], x["artifactCollectionName"])
            m = c and next((m for m in c["members"] if m["artifact"] == input["artifactID"]), None)
            if not m:
                raise GQLError("artifact is not a member of the collection", 404)
            yield c, m, x["alias"]

    def f_addAliases(self, input):
        for c, m, a in self._alias_targets(input):
            self.s.set_alias(c, m, a)
        return {"success": True}

    def f_deleteAliases(self, input):
        for _, m, a in self._alias_targets(input):
            if a in m["aliases"]:
                m["aliases"].remove(a)
        return {"success": True}

    def f_updateArtifact(self, input):
        a = self.s.d["artifacts"][input["artifactID"]]
        a.update({k: input[k] for k in ("description", "metadata") if input.get(k) is not None}, updatedAt=now())
        return {"artifact": Artifact(self.s, a)}

    def f_deleteArtifact(self, input):
        a = self.s.d["artifacts"][input["artifactID"]]
        for c, m in Artifact(self.s, a)._memberships():
            if m["aliases"] and not input.get("deleteAliases"):
                raise GQLError("cannot delete an artifact that has aliases", 409)
            c["members"].remove(m)
        a["state"] = "DELETED"
        return {"artifact": Artifact(self.s, a)}

    def f_upsertModel(self, input):
        p = self.s.project(input.get("entityName") or ENTITY, input["name"], create=True)
        return {"inserted": True, "project": Project(self.s, p), "model": Project(self.s, p)}

    def _delete_coll(self, id):
        c = self._coll_by_id(id)
        self.s.d["collections"].pop(c["key"])
        return {"artifactCollection": {"__typename": Collection(self.s, c).T, "state": "DELETED"}}

    def f_deleteArtifactPortfolio(self, input):
        return self._delete_coll(input["artifactPortfolioID"])

    def f_deleteArtifactSequence(self, input):
        return self._delete_coll(input["artifactSequenceID"])
