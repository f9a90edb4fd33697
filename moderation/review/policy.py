"""How many predictions of which kind people review: ``configs/review.yaml``, read into a frozen model."""

import hashlib
import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderation.errors import ConfigurationError

Kind = Literal["removed", "disagreement", "near_threshold", "shadow", "rest"]
REST: Kind = "rest"
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stratum(_Section):
    """Predictions of one kind, and their share of the budget; ``margin`` is how near to a threshold a score is."""

    kind: Kind
    share: Share
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _has_its_margin(self) -> Self:
        if (self.margin is None) == (self.kind == "near_threshold"):
            raise ValueError("near_threshold, and no other kind, needs a margin")
        return self


class ReviewPolicy(_Section):
    """The rules of the draw and of the queue; what each means stands beside it in ``configs/review.yaml``."""

    window_hours: Count
    delay_minutes: Annotated[int, Field(ge=0)]
    daily_budget: Count
    floor: Count
    expiry_days: Count
    double_share: Share
    golden_share: Annotated[float, Field(ge=0, lt=1)]
    lease_minutes: Count
    daily_triage: Annotated[int, Field(ge=0)]
    strata: Annotated[tuple[Stratum, ...], Field(min_length=1)]

    @property
    def window(self) -> timedelta:
        """Length of a window."""
        return timedelta(hours=self.window_hours)

    @property
    def delay(self) -> timedelta:
        """How long after its end a window is closed."""
        return timedelta(minutes=self.delay_minutes)

    @property
    def draw_in_words(self) -> str:
        """What is drawn and when, as part of a sentence."""
        hours, minutes = self.window_hours, self.delay_minutes
        delay = f"{minutes} minute{'s' if minutes > 1 else ''} after" if minutes else "at"
        return f"a sample of each window of {hours} hour{'s' if hours > 1 else ''}, {delay} its end"

    @property
    def expiry(self) -> timedelta:
        """How long an item waits for its labels."""
        return timedelta(days=self.expiry_days)

    @property
    def lease(self) -> timedelta:
        """How long an item is one reviewer's without another sign of life."""
        return timedelta(minutes=self.lease_minutes)

    @property
    def window_budget(self) -> int:
        """Items drawn per window."""
        return round(self.daily_budget * self.window_hours / 24)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the budget of each stratum, in the order in which they are tried."""
        return {stratum.kind: stratum.share for stratum in self.strata}

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, whatever comments and spaces stand in their file."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @model_validator(mode="after")
    def _covers_everything_once(self) -> Self:
        kinds = [stratum.kind for stratum in self.strata]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"strata repeat a kind: {', '.join(kinds)}")
        if kinds[-1] != REST:
            raise ValueError(f"the last stratum is {kinds[-1]!r}; expected 'rest', so that every prediction has one")
        if not math.isclose(total := sum(self.shares.values()), 1, abs_tol=1e-9):
            raise ValueError(f"shares of the strata add up to {total:g}; expected 1")
        if self.window_budget < len(kinds):
            raise ValueError(
                f"daily_budget {self.daily_budget} is {self.window_budget} items per window of {self.window_hours} "
                f"hours; expected one or more for each of the {len(kinds)} strata, else some are never drawn"
            )
        return self


def read_review_policy(path: Path) -> ReviewPolicy:
    """Read the policy in ``path``.

    Raises:
        ConfigurationError: it cannot be read, is not YAML, or holds a key or value that does not fit.
    """
    try:
        return ReviewPolicy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the review policy {path} ({error.strerror}); check MODERATION_REVIEW_POLICY_PATH"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the review policy {path} is not YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"the review policy {path}: {wrong}") from None
