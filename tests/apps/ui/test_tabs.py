from apps.ui.tabs import LIFE_S, MOST_TABS, Tabs


class Large:
    """What says itself how much it holds."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def test_a_tab_remembers_what_was_its_and_its_owners() -> None:
    tabs = Tabs()
    tabs.keep(("ann", "1"), {"a": 1})
    tabs.keep(("ann", "1"), {"b": 2})
    tabs.keep(("bob", "1"), {"a": 3})
    assert tabs.of(("ann", "1")) == {"a": 1, "b": 2}
    assert tabs.of(("bob", "1")) == {"a": 3}
    assert tabs.of(("ann", "2")) == {}


def test_beyond_the_bytes_the_tab_used_longest_ago_is_forgotten() -> None:
    tabs = Tabs(most_bytes=1_000)
    for name in ("1", "2", "3"):
        tabs.keep(("", name), {"loaded": Large(400)})
        tabs.keep(("", "1"), {"loaded": Large(400)})
    assert [name for name in ("1", "2", "3") if tabs.of(("", name))] == ["1", "3"]
    assert tabs.size_bytes == 800
    growing = Large(100)
    tabs.keep(("", "4"), {"loaded": growing})
    growing.size_bytes = 2_000
    tabs.keep(("", "4"), {})
    assert tabs.size_bytes <= 1_000
    assert not any(tabs.of(("", name)) for name in ("1", "2", "3", "4"))


def test_too_many_and_too_old_ones_are_forgotten() -> None:
    at = 0.0
    tabs = Tabs(now=lambda: at)
    for number in range(MOST_TABS + 1):
        tabs.keep(("", str(number)), {"a": number})
    assert tabs.of(("", "0")) == {}
    assert tabs.of(("", "1")) == {"a": 1}
    at = LIFE_S
    assert tabs.of(("", "1")) == {}
    assert tabs.size_bytes == 0
