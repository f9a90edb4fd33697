import resource

import pytest

from serve.protocol import MAX_FILES, most_files


@pytest.mark.parametrize(("hard", "most"), [(1_024, 1_024), (resource.RLIM_INFINITY, MAX_FILES), (2**30, MAX_FILES)])
def test_files_are_bounded_where_the_system_sets_no_bound(hard: int, most: int) -> None:
    assert most_files(hard) == most
