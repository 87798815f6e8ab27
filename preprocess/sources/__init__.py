"""One module a source (see preprocess.source). What is found here, or among the generators, is what
a mix.yaml may name."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import get_args

from preprocess.source import Source

PACKAGES = ("preprocess.sources", "preprocess.generators")


@cache
def modules() -> dict[type[Source], ModuleType]:
    """The module of each source by its configuration, in the order of their names."""
    by_config: dict[type[Source], ModuleType] = {}
    for package in map(importlib.import_module, PACKAGES):
        for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(entry.name)
            if hasattr(module, "Config") and hasattr(module, "conversations"):
                by_config[module.Config] = module
    return by_config


def kinds() -> dict[str, type[Source]]:
    """The configuration of each source by the `kind` that an entry of a mix names."""
    return {
        kind: config
        for config in modules()
        for kind in get_args(config.model_fields["kind"].annotation)
    }
