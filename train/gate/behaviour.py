"""Behaviour cases: what a bundle must do on texts that we wrote, whatever its figures on data say.

Three kinds, after Ribeiro, Wu, Guestrin and Singh, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList
(ACL 2020): minimum functionality (the label is present, or absent), invariance (an edit that changes nothing must not
change the decision) and direction (an edit must move the score one way). Templates and words stand in YAML files;
every combination of a template's slots is a case.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderation.errors import ConfigurationError
from train.gate.checks import Check, at_least
from train.gate.rules import BehaviourRules, Label, case_files, read_yaml

Kind = Literal["minimum_functionality", "invariance", "direction"]
KINDS: tuple[Kind, ...] = ("minimum_functionality", "invariance", "direction")
_SLOT = re.compile(r"{(\w+)}")


class Suite(BaseModel):
    """Cases that are written the same way; ``templates`` hold one text, ``pairs`` a text before and after an edit.

    With ``vary``, each value of that slot is compared with the slot's first value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    capability: str
    kind: Kind
    label: Label = "toxic"
    expect: Literal["present", "absent", "same", "higher", "lower"]
    templates: list[str] = []
    pairs: list[tuple[str, str]] = []
    vary: str | None = None
    slots: dict[str, Annotated[list[str], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        expected = {
            "minimum_functionality": ("present", "absent"),
            "invariance": ("same",),
            "direction": ("higher", "lower"),
        }[self.kind]
        if self.expect not in expected:
            raise ValueError(f"{self.name}: {self.kind} expects one of {', '.join(expected)}, not {self.expect}")
        single = self.kind == "minimum_functionality"
        if single != (not self.pairs and self.vary is None) or bool(self.templates) == bool(self.pairs):
            raise ValueError(
                f"{self.name}: {self.kind} needs {'templates' if single else 'pairs, or templates and vary'}"
            )
        named = {slot for text in [*self.templates, *itertools.chain(*self.pairs)] for slot in _SLOT.findall(text)}
        if named != set(self.slots):
            raise ValueError(f"{self.name}: slots {sorted(self.slots)}, but the texts name {sorted(named)}")
        if self.vary is not None and len(self.slots.get(self.vary, [])) < 2:
            raise ValueError(f"{self.name}: vary needs a slot with two values or more")
        return self


@dataclass(frozen=True)
class Case:
    """One or two texts, and what is expected of the label's score on them."""

    suite: str
    capability: str
    kind: Kind
    label: str
    expect: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """A case with the label's score on each of its texts."""

    case: Case
    scores: tuple[float, ...]
    passed: bool


class CapabilityResult(BaseModel):
    """Cases of one capability and kind, how many passed, and some that the candidate failed (our own sentences)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capability: str
    kind: Kind
    cases: int
    passed: int
    rival_passed: int | None
    failed_examples: list[list[str]]


def read_cases(folder: Path) -> list[Case]:
    """Return every case of the YAML files in ``folder``, in order; raises as `read_suites`."""
    return [case for suite in read_suites(folder) for case in expand(suite)]


def read_suites(folder: Path) -> list[Suite]:
    """Return every suite of the YAML files in ``folder``, in order.

    Raises:
        ConfigurationError: a file that is no list of suites, or a suite that does not fit together.
    """
    found: list[Suite] = []
    for path in case_files(folder):
        raw = read_yaml(path)
        try:
            suites = [Suite.model_validate(each) for each in raw] if isinstance(raw, list) else None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "suite"
            raise ConfigurationError(f"{path}: {where}: {first['msg']}") from None
        if suites is None:
            raise ConfigurationError(f"{path} holds no list of suites")
        found += suites
    return found


def expand(suite: Suite) -> Iterator[Case]:
    """Yield the cases of a suite: every template with every combination of its slots."""
    for texts in [*((template,) for template in suite.templates), *suite.pairs]:
        slots = [slot for slot in dict.fromkeys(_SLOT.findall(" ".join(texts))) if slot != suite.vary]
        for values in itertools.product(*(suite.slots[slot] for slot in slots)):
            chosen = dict(zip(slots, values, strict=True))
            if suite.vary is None:
                yield _case(suite, tuple(text.format_map(chosen) for text in texts))
                continue
            first, *others = suite.slots[suite.vary]
            for other in others:
                yield _case(suite, tuple(texts[0].format_map(chosen | {suite.vary: word}) for word in (first, other)))


def _case(suite: Suite, texts: tuple[str, ...]) -> Case:
    return Case(suite.name, suite.capability, suite.kind, suite.label, suite.expect, texts)


def judge(case: Case, scores: tuple[float, ...], thresholds: Mapping[str, float]) -> Outcome:
    """Return whether the label's scores on the case's texts are as expected."""
    flagged = [score >= thresholds[case.label] for score in scores]
    passed = {
        "present": lambda: all(flagged),
        "absent": lambda: not any(flagged),
        "same": lambda: len(set(flagged)) == 1,
        "higher": lambda: scores[-1] > scores[0],
        "lower": lambda: scores[-1] < scores[0],
    }[case.expect]()
    return Outcome(case, scores, passed)


def summarise(candidate: list[Outcome], rival: list[Outcome] | None) -> list[CapabilityResult]:
    """Return what passed per kind and capability."""
    results = []
    keys = dict.fromkeys((outcome.case.kind, outcome.case.capability) for outcome in candidate)
    for kind, capability in sorted(keys, key=lambda key: (KINDS.index(key[0]), key[1])):
        places = [n for n, o in enumerate(candidate) if (o.case.kind, o.case.capability) == (kind, capability)]
        failed = [list(candidate[n].case.texts) for n in places if not candidate[n].passed]
        results.append(
            CapabilityResult(
                capability=capability,
                kind=kind,
                cases=len(places),
                passed=len(places) - len(failed),
                rival_passed=None if rival is None else sum(rival[n].passed for n in places),
                failed_examples=failed[:3],
            )
        )
    return results


def behaviour_checks(results: list[CapabilityResult], rules: BehaviourRules) -> list[Check]:
    """Return a check per kind: the share of its cases that passed."""
    checks = []
    for kind in KINDS:
        found = [result for result in results if result.kind == kind]
        count = sum(result.cases for result in found)
        if count:
            rivals = [result.rival_passed for result in found if result.rival_passed is not None]
            value = sum(result.passed for result in found) / count
            rival = sum(rivals) / count if rivals else None
            name = f"{kind.replace('_', ' ')} ({count} cases)"
            checks.append(at_least("behaviour", name, value, rival, getattr(rules, kind), rules.margin))
    return checks
