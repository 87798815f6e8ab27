"""One module a source (see preprocess.source). What is found here, or among the generators, is what a mix.yaml may name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from preprocess.source import Source

PACKAGES = ("preprocess.sources", "preprocess.generators")


@cache
def found() -> dict[type[Source], ModuleType]:
    """The module of each source by its configuration, in the order of their names."""
    modules = {}
    for package in map(importlib.import_module, PACKAGES):
        for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(entry.name)
            if hasattr(module, "Config") and hasattr(module, "conversations"):
                modules[module.Config] = module
    return modules
