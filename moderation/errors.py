"""Every error that the system raises on purpose, each with a stable ``code``.

Messages name the wrong value and the expected one, and never hold a comment's text.
This module knows nothing of HTTP: ``serve/errors.py`` maps each class to a status.
"""


class ModerationError(Exception):
    """Base of all errors raised on purpose."""

    code = "internal"


class InvalidInputError(ModerationError):
    """The caller's input parses but cannot be used: empty text, unknown label, missing column."""

    code = "invalid_input"


class TooLargeError(ModerationError):
    """The text, batch or body is over its limit."""

    code = "too_large"


class NotFoundError(ModerationError):
    """No such version, alias, prediction or file."""

    code = "not_found"


class UnauthorizedError(ModerationError):
    """The caller has no API key that holds: none, unknown, revoked or expired."""

    code = "unauthorized"


class ForbiddenError(ModerationError):
    """The caller may not do this: its key lacks the scope, or its host or origin is not answered."""

    code = "forbidden"


class OverloadedError(ModerationError):
    """No room for more work now; the caller may retry after ``retry_after_s`` seconds."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(ModerationError):
    """The work took longer than a request may; nothing was answered."""

    code = "deadline"


class OverQuotaError(ModerationError):
    """Less is left of a ``limit`` per minute than was asked for; ask again after ``retry_after_s`` seconds."""

    code = "over_quota"

    def __init__(self, message: str, retry_after_s: int = 60, limit: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.limit = limit


class BeyondQuotaError(TooLargeError):
    """More than a ``limit`` per minute ever allows was asked for at once; asking again does not help."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class UnavailableError(ModerationError):
    """Something this process needs (model, database, API) cannot be reached or is not ready."""

    code = "unavailable"


class ConfigurationError(ModerationError):
    """A setting, config file or environment variable is wrong; the process does not start."""

    code = "configuration"


class BundleError(ModerationError):
    """A bundle is incomplete, corrupt, or does not score its probes as stated."""

    code = "bundle"


class RegistryError(ModerationError):
    """The registry cannot do what was asked: a bad alias name, a lock not got in time."""

    code = "registry"
