"""Names in files of written splits; alone, since the gate reads them without what training installs."""

TRUTH_PREFIX = "true_"
"""Before a label's name: so that a scored file can hold scores under the labels' names."""
