"""The name that published snippets import the injector by."""

from drift.injector import Injector

__all__ = ["Injector"]
