import pandas as pd
import pytest

from train.data.overlap import count_overlap, drop_overlap, find_overlap, follow_pinned


def test_a_free_row_follows_into_the_most_protected_split_of_its_group() -> None:
    rows = pd.DataFrame(
        {
            "group": ["a", "a", "a", "b", "b", "c"],
            "pinned": pd.Series(["train", "test", None, None, "validation", None], dtype=object),
        }
    )
    assert follow_pinned(rows).fillna("free").tolist() == ["train", "test", "test", "validation", "validation", "free"]


@pytest.mark.parametrize("turned", [False, True])
def test_overlap_is_found_whichever_way_a_link_is_written(turned: bool) -> None:
    rows = pd.DataFrame(
        {"text_key": ["a", "b", "c", "c", "d"], "split": ["train", "test", "train", "validation", "train"]}
    )
    links = pd.DataFrame({"text_key": ["a", "c"], "other_key": ["b", "d"]}, dtype=object)
    if turned:
        links = links.rename(columns={"text_key": "other_key", "other_key": "text_key"})
    found = find_overlap(rows, links)
    assert count_overlap(found) == {
        "train in test": {"exact": 0, "near": 1},
        "train in validation": {"exact": 1, "near": 1},
    }
    assert drop_overlap(rows, found).to_numpy().tolist() == [["b", "test"], ["c", "validation"]]
