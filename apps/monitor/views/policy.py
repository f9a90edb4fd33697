"""The review policy that the pages go by."""

from apps.ui.page import settings_or_stop
from moderation.review.policy import ReviewPolicy, read_review_policy
from moderation.settings import ReviewSettings


def read_policy() -> ReviewPolicy:
    """Return the policy; stop the page where a setting is wrong.

    Raises:
        ConfigurationError: the policy cannot be read.
    """
    return read_review_policy(settings_or_stop(ReviewSettings).review_policy_path)
