"""What does not fit in a config, in one sentence of people's words: pydantic's own name its inner layout."""

import difflib
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what does not fit and where; for an unknown key of ``model`` the nearest ones, as ``--set`` takes them."""
    location = tuple(map(str, error["loc"]))
    where = _shown(location)
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        found, expected = context["tag"], context["expected_tags"]
        return f"{where}.{context['discriminator'].strip(chr(39))}: {found!r} is none of {expected}"
    if error["type"] == "union_tag_not_found":
        return f"{where}: {error['ctx']['discriminator'].strip(chr(39))} is missing"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    *section, key = ("0" if part.isdecimal() else part for part in location)
    known = _keys(model)
    beside = [name for *place, name in known if place == section]
    elsewhere = [_shown(path) for path in known if path[-1] == key]
    alike = difflib.get_close_matches(key, beside, n=1)
    nearest = [_shown((*location[:-1], name)) for name in alike] or elsewhere or _alike(key, known)
    return f"unknown key {where}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _alike(key: str, known: list[tuple[str, ...]]) -> list[str]:
    """Return the full names of the keys that are spelt most like ``key``, wherever they stand."""
    names = difflib.get_close_matches(key, [path[-1] for path in known], n=1)
    return [_shown(path) for path in known if path[-1] in names]


def _shown(location: tuple[str, ...]) -> str:
    """Return a location as ``--set`` takes it: pydantic's has the layout after the index of a source."""
    befores = ("", *location)
    return ".".join(part for before, part in zip(befores, location, strict=False) if not before.isdecimal())


def _keys(model: type[BaseModel], place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every key; sources stand at index 0, below their layout, as in pydantic's locations."""
    keys: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        keys.append((*place, name))
        for part in _models(field.annotation):
            layout = part.model_fields.get("layout")
            below = ("0", *get_args(layout.annotation)) if layout else ()
            keys += _keys(part, (*place, name, *below))
    return keys


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
