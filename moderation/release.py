"""Which release this is; images hold the code without the package that pyproject.toml describes."""

VERSION = "0.1.0"
