from pathlib import Path

import pytest
import yaml

from moderation.errors import ConfigurationError
from moderation.review.policy import read_review_policy
from moderation.settings import MonitorSettings

SHIPPED = MonitorSettings().review_policy_path


def written(folder: Path, **changes: object) -> Path:
    file = folder / "review.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(SHIPPED.read_text()) | changes))
    return file


def test_the_shipped_policy_is_read_and_its_budget_is_that_of_a_window(tmp_path: Path) -> None:
    assert read_review_policy(SHIPPED).window_budget == 100
    assert read_review_policy(written(tmp_path, window_hours=6)).window_budget == 25


def test_the_digest_is_of_the_rules_and_not_of_their_writing(tmp_path: Path) -> None:
    shipped = read_review_policy(SHIPPED).digest
    assert read_review_policy(written(tmp_path)).digest == shipped
    assert read_review_policy(written(tmp_path, floor=6)).digest != shipped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"daily_budgets": 5}, "daily_budgets: Extra inputs"),
        ({"daily_budget": 0}, "daily_budget: .*greater than or equal to 1"),
        ({"window_hours": 1}, "is 4 items per window of 1 hours; expected one or more for each of the 5 strata"),
        ({"strata": [{"kind": "removed", "share": 1}]}, "the last stratum is 'removed'; expected 'rest'"),
        ({"strata": [{"kind": "rest", "share": 0.5}]}, "add up to 0.5; expected 1"),
        ({"strata": [{"kind": "near_threshold", "share": 0.5}, {"kind": "rest", "share": 0.5}]}, "needs a margin"),
        ({"strata": [{"kind": "rest", "share": 0.5}, {"kind": "rest", "share": 0.5}]}, "repeat a kind"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_review_policy(written(tmp_path, **changes))


def test_a_file_that_is_missing_or_no_yaml_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="check MODERATION_REVIEW_POLICY_PATH"):
        read_review_policy(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match="is not YAML"):
        read_review_policy(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("hours", "minutes", "words"),
    [
        (24, 60, "a sample of each window of 24 hours, 60 minutes after its end"),
        (1, 1, "a sample of each window of 1 hour, 1 minute after its end"),
        (6, 0, "a sample of each window of 6 hours, at its end"),
    ],
)
def test_what_is_drawn_and_when_is_said_in_words(tmp_path: Path, hours: int, minutes: int, words: str) -> None:
    changed = written(tmp_path, window_hours=hours, delay_minutes=minutes, daily_budget=2_400)
    assert read_review_policy(changed).draw_in_words == words
