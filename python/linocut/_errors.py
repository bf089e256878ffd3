"""Exceptions, by the kind of what went wrong."""

from __future__ import annotations


class Error(Exception):
    """Something went wrong; the message says what was found and what was expected.

    >>> import linocut
    >>> try:
    ...     linocut.Cut("no.cut")
    ... except linocut.Error as error:
    ...     print(type(error).__name__)
    FileError
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        #: What was found, what was expected and where.
        self.message = message
        #: What can be done about it, where that is known.
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class FileError(Error):
    """A file or folder cannot be read or written."""


class DataError(Error, ValueError):
    """Texts or labels are not what the task needs."""


class BaseError(Error):
    """A model folder is missing something, malformed, or of an architecture that is not supported."""


class CutError(Error):
    """A cut is malformed, altered, or belongs to another base."""


class ConfigError(Error, ValueError):
    """An argument is out of its range or contradicts another."""


class OutOfMemory(Error, MemoryError):
    """A budget of memory does not hold it."""


class Diverged(Error):
    """Training met a loss or gradient that is not a number."""


class Stopped(Error):
    """Training was asked to stop; its state was saved, where it has a place."""
