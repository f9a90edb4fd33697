"""The six labels of the Jigsaw Toxic Comment Classification challenge, in output order.

The order is part of every bundle: column k of a score matrix is ``LABELS[k]``.
"""

LABELS: tuple[str, ...] = (
    "toxic",
    "severe_toxic",
    "obscene",
    "threat",
    "insult",
    "identity_hate",
)
