"""What stands behind small Makefile targets: python -m common.targets help|audit|sbom|lock ...

Standard library only: it runs before any environment is there.
"""

import re
import subprocess
import sys
from pathlib import Path

from common.options import parser_of

ROOT = Path.cwd()  # of the Makefile that calls
LOCKS = ROOT / "locks"
TARGET = re.compile(r"^([a-z-]+):[^#\n]*## (.*)$", re.MULTILINE)
PINNED = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?(==[^\s;\\]+)")
COMPILE = (
    "pip compile --quiet --generate-hashes --no-header --no-annotate "
    "--python-version 3.11 --python-platform x86_64-manylinux_2_36"
)
WITHOUT_NEEDS = ("flash-attn", "llama-cpp-python")


def targets(makefile: str) -> list[tuple[str, str]]:
    """(target, sentence) of each documented target of a Makefile's text, in its order."""
    return TARGET.findall(makefile)


def audit(locks: list[Path], known_bad: Path) -> list[str]:
    """One line, `file:line: what`, for each locked version that is known to be malicious."""
    bad = {}
    for line in known_bad.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            bad[line.split()[0]] = line
    found = []
    for lock in locks:
        for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), 1):
            pinned = PINNED.match(line)
            name = pinned and pinned[1] + pinned[2]
            if name in bad:
                found.append(f"{lock}:{number}: {bad[name]}; choose another version")
    return found


def lock(name: str, uv: str) -> int:
    """Compile locks/<name>.in into locks/<name>.lock with hashes; the exit code of uv."""
    words = [uv, *COMPILE.split(), f"{name}.in", "-o", f"{name}.lock"]
    if name in WITHOUT_NEEDS:
        words.append("--no-deps")
    return subprocess.run(words, cwd=LOCKS).returncode


def sbom(cyclonedx: str) -> int:
    """Write what each lock installs to sbom/<environment>.cdx.json; the first code not 0."""
    folder = ROOT / "sbom"
    folder.mkdir(exist_ok=True)
    for path in sorted(LOCKS.glob("*.lock")):
        target = folder / f"{path.stem}.cdx.json"
        words = [cyclonedx, "requirements", str(path), "--output-reproducible", "-o", str(target)]
        code = subprocess.run(words).returncode
        if code:
            return code
    return 0


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("help", "audit", "sbom", "lock"))
    parser.add_argument("names", nargs="*", help="lock: environments; audit: lock files")
    parser.add_argument("--tool", help="lock: the uv to call; sbom: the cyclonedx-py to call")
    options = parser.parse_args()
    if options.what == "help":
        for target, sentence in targets((ROOT / "Makefile").read_text(encoding="utf-8")):
            print(f"  make {target:<11} {sentence}")
        return 0
    if options.what == "audit":
        locks = [Path(name) for name in options.names] or sorted(LOCKS.glob("*.lock"))
        found = audit(locks, LOCKS / "known-bad.txt")
        print("\n".join(found), end="\n" if found else "")
        return 1 if found else 0
    if options.what == "sbom":
        return sbom(options.tool)
    names = options.names or sorted(path.stem for path in LOCKS.glob("*.in"))
    return max(lock(name, options.tool) for name in names)


if __name__ == "__main__":
    sys.exit(main())
