import importlib
import json
import pkgutil

import serve
from moderation import errors
from moderation.errors import ModerationError, OverloadedError, OverQuotaError, UnauthorizedError
from serve.errors import STATUS, documented, error_response


def all_errors(base: type[ModerationError] = ModerationError) -> set[type[ModerationError]]:
    return {base}.union(*(all_errors(child) for child in base.__subclasses__()))


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    for module in pkgutil.walk_packages(serve.__path__, "serve."):
        if module.name != "serve.__main__":
            importlib.import_module(module.name)
    ours = {kind for kind in all_errors() if kind.__module__.partition(".")[0] in ("moderation", "serve")}
    assert errors.InvalidInputError in ours
    assert ours == set(STATUS)
    named = [kind for kind in ours if "code" in vars(kind)]
    assert len({kind.code for kind in named}) == len(named)
    assert ours - set(named) == {errors.BeyondQuotaError}  # too large, as its callers hear


def test_the_body_says_code_message_and_request_id() -> None:
    for kind, status in STATUS.items():
        more = {"limit": 10} if kind is errors.BeyondQuotaError else {}
        response = error_response(kind("what is wrong", **more), "id-1")
        assert response.status_code == status
        assert json.loads(bytes(response.body)) == {
            "code": kind.code,
            "message": "what is wrong",
            "request_id": "id-1",
        }


def test_overload_says_when_to_come_back() -> None:
    assert error_response(OverloadedError("full", retry_after_s=7), "id-1").headers["retry-after"] == "7"


def test_every_503_says_when_to_come_back() -> None:
    refused = [error_response(kind("what is wrong"), "id-1") for kind, status in STATUS.items() if status == 503]
    assert refused
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)


def test_over_quota_says_when_to_come_back_and_no_key_says_how_to_show_one() -> None:
    assert error_response(OverQuotaError("used up", retry_after_s=9), "id-1").headers["retry-after"] == "9"
    assert error_response(UnauthorizedError("no key"), "id-1").headers["www-authenticate"].startswith("Bearer ")


def test_documented_answers_show_the_body_of_that_error() -> None:
    answers = documented(OverloadedError)
    assert set(answers) == {400, 401, 403, 404, 408, 413, 415, 431, 500, 503}
    assert answers[503]["content"]["application/json"]["example"]["code"] == "overloaded"
