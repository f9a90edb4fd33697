"""What a tab remembers over a reload: text that is being typed, what was chosen, and what the app made of it.

Streamlit's own state ends with the page. Here the browser keeps a random name for the tab, and what stands in its text
boxes, in `sessionStorage`, which a reload leaves alone and the end of the tab deletes; this process keeps the rest
under that name (`apps.ui.tabs`). So two tabs have a memory each, and a restart of the app leaves only what the browser
has.
"""

from collections.abc import Mapping

import streamlit as st

from apps.ui.tabs import Tabs

_PLACE, _SAID = "memory_place", "memory_said"
_JS = """
export default function ({ setStateValue }) {
  const store = window.sessionStorage;
  const texts = () => JSON.parse(store.getItem("texts") || "{}");
  const tab = store.getItem("tab")
    || Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  const keep = ({ target }) => {
    if (target.tagName !== "TEXTAREA") return;
    try {
      store.setItem("texts", JSON.stringify({ ...texts(), [target.ariaLabel]: target.value }));
    } catch { /* there is no room for it: it is not kept */ }
  };
  store.setItem("tab", tab);
  document.addEventListener("input", keep);
  setStateValue("kept", { tab, texts: texts() });
  return () => document.removeEventListener("input", keep);
}
"""
_browser = st.components.v2.component("tab_memory", js=_JS)


def remember(place: tuple[str, str], keys: tuple[str, ...], text_boxes: Mapping[str, str] | None = None) -> None:
    """Keep what is in Streamlit's state under keys that begin with one of ``keys``; put it back where it got lost.

    Called once in each run, before the widgets. ``place`` is who looks, who gets back only what was theirs, and at
    which page: Streamlit forgets what was chosen on a page when another one is opened. ``text_boxes`` are the keys of
    text areas by their labels; what stands in them is the tab's, whoever looks.
    """
    state = st.session_state
    kept = _browser(key="memory-of-tab", default={"kept": None}, on_kept_change=_nothing).kept or state.get(_SAID)
    if not kept:  # the page is being loaded, or runs no JavaScript
        return
    state[_SAID] = kept
    tab = place[0], str(kept["tab"])
    if state.get(_PLACE) != place:
        typed = {key: kept["texts"][label] for label, key in (text_boxes or {}).items() if label in kept["texts"]}
        state.update(_tabs().of(tab) | (typed if _PLACE not in state else {}))
        state[_PLACE] = place
    _tabs().keep(tab, {str(key): value for key, value in state.items() if str(key).startswith(keys)})


@st.cache_resource(show_spinner=False)
def _tabs() -> Tabs:
    return Tabs()


def _nothing() -> None:
    """Stand for a callback: without one Streamlit takes no value from the browser."""
