"""What does not fit in a setting, in one line of people's words: what was given, and what is expected."""

from pydantic_core import ErrorDetails

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_parsing": "on or off",
    "literal_error": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "too_short": "at least {min_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_pattern_mismatch": "the form {pattern}",
}
"""By pydantic's name of what is wrong."""


def explain(error: ErrorDetails, is_secret: bool) -> str:
    """Return what is wrong with a value, which is not repeated where ``is_secret``."""
    expected = _EXPECTED.get(error["type"])
    if expected is None:
        return error["msg"].removeprefix("Value error, ")
    given = "does not fit" if is_secret else f"is {error['input']!r}"
    return f"{given}; expected {expected.format(**error.get('ctx', {}))}"
