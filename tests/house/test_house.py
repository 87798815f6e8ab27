"""The shape of the house: one-way imports, no circle, no private name across modules, rooms of a size one can read."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Ceilings that may only fall. What was planned is 28,000 a room and 100,000 in all; the importers,
# the proofs and the programs that make conversations went past it (LOG.md, 2026-11-28).
ROOM_TOKENS = {
    "common": 34_720,
    "preprocess": 76_420,
    "training": 49_900,
    "evaluation": 18_000,
    "serving": 28_478,
}
FILE_TOKENS = 2_500
PACKED_PER_1000_LINES = 5
NODES_A_LINE = 9.0
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return [Path(name) for name in listed if not name.startswith("tests/")]


FILES = code_files()
TEXTS = {path: (ROOT / path).read_text(encoding="utf-8") for path in FILES}
TREES = {path: ast.parse(text) for path, text in TEXTS.items()}


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def docstring_lines(tree: ast.Module) -> set[int]:
    """The lines on which docstrings begin."""
    found = set()
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            found.add(node.body[0].lineno)
    return found


def code_tokens(path: Path) -> int:
    """Tokens without comments, docstrings and line breaks: no formatter can hide them."""
    docstrings = docstring_lines(TREES[path])
    count = 0
    for token in tokenize.generate_tokens(io.StringIO(TEXTS[path]).readline):
        is_docstring = token.type == tokenize.STRING and token.start[0] in docstrings
        if token.type not in LAYOUT and not is_docstring:
            count += 1
    return count


def imported(path: Path) -> list[tuple[str, str | None]]:
    """(module of ours, name taken from it or None) of each import of a file, inner ones too."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES:
                    found.append((whole, None))
                elif node.module in MODULES:
                    found.append((node.module, alias.name))
    return found


def test_rooms_import_common_and_never_each_other():
    for path in FILES:
        for module, _ in imported(path):
            room = module.partition(".")[0]
            assert room in ("common", path.parts[0]), f"{path} imports {module}"


def test_only_training_imports_torch_and_axolotl():
    heavy = {"torch", "axolotl", "transformers", "peft", "bitsandbytes"}
    for path in FILES:
        if path.parts[0] in ("common", "preprocess", "evaluation"):
            for node in ast.walk(TREES[path]):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names = [node.module]
                assert not {name.partition(".")[0] for name in names} & heavy, path


def test_no_circle_of_imports():
    graph = {name: {module for module, _ in imported(path)} for name, path in MODULES.items()}
    seen: set[str] = set()

    def visit(name: str, above: list[str]) -> None:
        assert name not in above, " → ".join([*above[above.index(name) :], name])
        if name in seen:
            return
        for other in sorted(graph[name] - {name}):
            visit(other, [*above, name])
        seen.add(name)

    for name in sorted(graph):
        visit(name, [])


def test_no_private_name_is_used_by_another_module():
    for path in FILES:
        known = {}
        for module, name in imported(path):
            assert not (name or "").startswith("_") or name.startswith("__"), f"{path}: {name}"
            if name is None:
                known[module.rpartition(".")[2]] = module
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                assert not (private and node.value.id in known), f"{path}:{node.lineno} {node.attr}"


def test_common_and_the_engine_know_no_dataset_by_name():
    names = {path.parent.name for path in ROOT.glob("datasets/*/mix.yaml")}
    assert names >= {"aether", "tiny"}
    for path in FILES:
        if path.parts[0] not in ("common", "preprocess"):
            continue
        docstrings = docstring_lines(TREES[path])
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node.lineno in docstrings:
                    continue
                for name in names:
                    assert not re.search(rf"datasets/{name}\b", node.value), f"{path}: {node.value}"


def test_rooms_and_files_are_of_a_size_one_can_read():
    sizes = {path: code_tokens(path) for path in FILES}
    too_long = {str(path): size for path, size in sizes.items() if size > FILE_TOKENS}
    assert not too_long
    assert {path.parts[0] for path in FILES} == set(ROOM_TOKENS)
    for room, ceiling in ROOM_TOKENS.items():
        total = sum(size for path, size in sizes.items() if path.parts[0] == room)
        assert total <= ceiling, f"{room}: {total:,} tokens"


def test_one_thought_a_line():
    lines = sum(bool(line.strip()) for text in TEXTS.values() for line in text.splitlines())
    nodes = sum(1 for tree in TREES.values() for _ in ast.walk(tree))
    packed = 0
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                packed += any(isinstance(target, ast.Tuple) for target in node.targets)
    assert nodes / lines <= NODES_A_LINE
    assert 1000 * packed / lines <= PACKED_PER_1000_LINES


@pytest.mark.parametrize("name", ["README.md", "LOG.md"])
def test_pages_read_at_120_columns(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    long = [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 120 and line[0] != "|"]
    assert not long, f"{name}: lines {long[:5]}"
