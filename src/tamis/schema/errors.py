"""The exceptions that Tamis raises. Each message names the value, the place and how to fix it.

TamisError
├── ConfigError          tamis.toml, an option or a declared feature is wrong
├── DataError            a table cannot be read or holds nothing usable
├── NotFittedError       a model or channel is used before it is fitted
├── RequestError         a field of a request is wrong
├── StageError           a stage broke one of the cascade's rules
├── TrainingError        a loss became NaN, a fit had no usable rows
│   └── LabelError       labels or sample weights that a task cannot have (also a DataError)
├── VersionError         a version is missing, incomplete or damaged
├── StoreError           online state cannot be read or written: no server, no lists
└── MissingExtraError    an optional dependency is not installed

TamisWarning (a UserWarning) is what a call on data frames reports beside its result.
"""


class TamisError(Exception):
    """Base of all exceptions of Tamis; the message is written for users."""


class ConfigError(TamisError):
    """`tamis.toml`, a command's option or a declared feature is wrong."""


class DataError(TamisError):
    """A table cannot be read, or holds nothing that can be used."""


class NotFittedError(TamisError):
    """A model, channel or encoder is used before `fit`."""


class RequestError(TamisError):
    """A field of a request is wrong; the message says which one, its value and how to fix it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """Name of the request's field, empty where it is not one field."""


class StageError(TamisError):
    """A stage of the cascade broke a rule (added, lost or reordered candidates)."""


class TrainingError(TamisError):
    """Training cannot go on: a NaN loss, no rows, no positive labels."""


class LabelError(TrainingError, DataError):
    """Labels or sample weights that a task cannot have; the message names values and rows."""


class VersionError(TamisError):
    """A version directory is missing, incomplete or damaged."""


class StoreError(TamisError):
    """Online state cannot be read or written; the message names the store and how to fix it."""


class MissingExtraError(TamisError):
    """An optional dependency is needed; the message names the extra to install."""


class TamisWarning(UserWarning):
    """Something about the data that the caller should know, although the call succeeds: labels of
    one class, an undefined metric, users who are unknown."""
