"""What a result.json of an evaluation holds."""

from collections.abc import Iterator


def measurements(result: dict) -> Iterator[tuple[str, str, str, dict]]:
    """(suite, prompt, name, what was found) of each measurement of a result."""
    for suite, about in result.get("suites", {}).items():
        for prompt, cell in about["prompts"].items():
            for name, found in cell["measurements"].items():
                yield suite, prompt, name, found
