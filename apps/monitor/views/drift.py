"""The drift page: whether what a version sees is still what it saw in its first days."""

import altair as alt
import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.drift import languages_chart, levels_chart, lines_chart, texts_chart
from apps.monitor.components.intervals import intervals_chart, number_columns, show_refusals
from apps.monitor.services import drift
from apps.monitor.services.drift import LATER_DAYS, DriftPage
from apps.monitor.services.lineage import versions
from apps.monitor.services.prevalence import levels, prevalence_frame
from apps.monitor.views.guard import guarded
from apps.ui.colors import ink, label_words
from apps.ui.page import head
from apps.ui.table import offer_csv, show_table
from moderation import clock
from moderation.labels import LABELS
from moderation.review.access import Session
from moderation.statistics.noise import BASELINE_DAYS
from moderation.statistics.sight import FOUND, WITHIN_DAYS

_TEXTS = {
    "tokens": ("Mean length of texts", "Tokens", ".0f"),
    "with unknown tokens": ("Texts with tokens that the model does not know", "Share (%)", ".1%"),
    "tokens per character": ("Tokens per character", "Tokens per character", ".3f"),
}
"""Each line of `drift.texts_frame`: its chart's title, what the axis says, and how numbers are written."""


@guarded
def drift_view(engine: Engine, session: Session) -> None:
    """Let the reader choose a version, and show its days."""
    head("Drift", f"Whether a version still sees what it saw in its first {BASELINE_DAYS} days on this site.")
    now = clock.now()
    known = versions(engine, session, now)
    chosen = st.selectbox("Version", list(known.names), format_func=known.names.__getitem__, key="drift_version")
    found = drift.read(engine, session, known.records[chosen], now) if chosen else None
    if found is None:
        st.info("This version has answered on no full day yet.", icon=":material/hourglass_empty:")
        return
    _show_alarms(found)
    _show_classes(found)
    _show_prevalence(found)
    _show_texts(found)
    _show_distances(found)


def _show_alarms(found: DriftPage) -> None:
    alarms = drift.alarms_frame(found)
    changed = alarms.loc[alarms["state"] == "changed", "label"].to_list()
    if changed:
        st.warning(
            f"Predicted more or less often than before: {', '.join(changed)}. People, their topics or an attack may "
            "have changed; *Live quality* says whether the model is still right.",
            icon=":material/crisis_alert:",
        )
    st.subheader("The daily watch")
    show_table(
        alarms,
        "drift-alarms",
        {
            "share since": st.column_config.NumberColumn(format="percent"),
            f"found in {WITHIN_DAYS} days from": st.column_config.NumberColumn(format="× %.2f"),
        },
    )
    st.caption(
        "May be looked at every day: all labels together raise a false alarm in at most 5 % of quiet first years, if "
        f"days vary like normal noise. *Found in {WITHIN_DAYS} days from*: a share that rises alone to so many times "
        f"its usual value, from tomorrow on, is found that soon in {FOUND:.0%} of cases, if days go on to differ as "
        "they have so far; what is smaller takes longer, or is never seen."
    )
    evidence = drift.evidence_frame(found)
    if not evidence.empty:
        title = "Evidence of a change per day"
        st.markdown(f"**{title}**: at 100 % the alarm is raised")
        scale = alt.Scale(type="sqrt", domain=[0, max(1.0, float(evidence["of the alarm"].max()))])
        st.altair_chart(lines_chart(evidence, "of the alarm", "Of the alarm (%)", "%", scale), alt=title)
        offer_csv(evidence, "drift-evidence")


def _show_classes(found: DriftPage) -> None:
    st.subheader("Predicted classes per day")
    frame = drift.classes_frame(found)
    scale = alt.Scale(type="sqrt", domainMin=0)
    st.altair_chart(lines_chart(frame, "share", "Share (%)", ".1%", scale), alt="Predicted classes per day")
    offer_csv(frame, "drift-classes")
    label = st.selectbox("One class against its levels", LABELS, format_func=label_words, key="drift_label")
    one, held = frame[frame["label"] == label_words(label)], levels(found, label)
    title = f"Predicted {label_words(label)} per day, the first {BASELINE_DAYS} days and the training data"
    st.altair_chart(levels_chart(one, held, ink()), alt=title)
    st.caption(
        "*training*: what this version would predict of traffic like its training data"
        + ("." if "training" in held else ", which its bundle does not state for the threshold in force.")
    )


def _show_prevalence(found: DriftPage) -> None:
    st.subheader("How many comments are of each class")
    frame = prevalence_frame(found)
    if (frame["why not"] == "").any():
        chart = intervals_chart(frame, "label", "Corrected prevalence", "Share of comments", "predictions", by="days")
        st.altair_chart(chart, alt="Corrected prevalence with 95 % intervals")
    show_refusals(frame.drop_duplicates(["label", "why not"]), "label")
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("predicted", "in training")}
    show_table(frame, "drift-prevalence", {**number_columns(), **percent})
    st.caption(
        "The share predicted, corrected by the errors of this version on held-out comments, with 95 % intervals. It "
        "holds under label shift: more or fewer comments of a class, written as there. It does not under another way "
        "of writing, where only reviews tell (*Live quality*)."
    )


def _show_texts(found: DriftPage) -> None:
    st.subheader("What people write")
    languages, texts = drift.languages_frame(found), drift.texts_frame(found)
    if languages.empty:
        st.caption("Language, unknown tokens and tokens per character: not measured for this version yet.")
    else:
        st.markdown("**Languages per day**")
        st.altair_chart(languages_chart(languages), alt="Languages per day")
        offer_csv(languages, "drift-languages")
    for name, (title, axis, number) in _TEXTS.items():
        if texts[name].notna().any():
            st.markdown(f"**{title}**")
            st.altair_chart(texts_chart(texts, name, axis, number), alt=title)
    offer_csv(texts, "drift-texts")
    st.caption(
        "Of texts that may be stored. *und-…*: too short or too mixed to tell, with the script of its letters. Unknown "
        "tokens stand for what the tokenizer cannot read, none where it reads bytes; tokens per character rise with "
        "disguised words and languages that it did not learn."
    )


def _show_distances(found: DriftPage) -> None:
    st.subheader(f"The last {LATER_DAYS} days against the first {BASELINE_DAYS}")
    show_table(drift.distances_frame(found), "drift-distances")
    st.caption(
        "PSI if quiet: what two such ranges of a site differ by on average while nothing happens; the p-value says how "
        "often they differ as much. The training data is only shown: no site is like it."
    )
