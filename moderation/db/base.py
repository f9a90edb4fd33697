"""What all tables are made of: their base, and types that mean the same on SQLite and on PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Double, MetaData, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase

_UNSTORABLE = dict.fromkeys((0, *range(0xD800, 0xE000)), "\ufffd")


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: only aware datetimes go in, UTC comes out, also from SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Turn the value into UTC."""
        if value is not None and value.utcoffset() is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Make the value aware."""
        if value is None or value.utcoffset() is None:
            return None if value is None else value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


def storable(value: str) -> str:
    """Return ``value`` with U+FFFD for what PostgreSQL or UTF-8 cannot hold."""
    return value if value.isascii() and "\0" not in value else value.translate(_UNSTORABLE)


def storable_in(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return JSON whose strings, but for keys, are `storable`."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {key: storable_in(each) for key, each in value.items()}
    return [storable_in(each) for each in value] if isinstance(value, list) else value


class StorableText(TypeDecorator[str]):
    """Text in which what PostgreSQL or UTF-8 cannot hold (NUL, lone surrogates) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Replace what cannot be stored."""
        return None if value is None else storable(value)


class Base(DeclarativeBase):
    """Base of the tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        float: Double,
        str: StorableText,
        list[str]: JSON,
        dict[str, bool]: JSON(none_as_null=True),
        dict[str, int]: JSON,
        dict[str, float]: JSON(none_as_null=True),
        dict[str, dict[str, float | None]]: JSON,
        dict[str, Any]: JSON,
    }
