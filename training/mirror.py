"""MIRROR=<folder or any fsspec URL, such as s3://bucket/runs>: a second place for a run's
checkpoints.

Each sealed folder is copied to <MIRROR>/<recipe>/v<N> with run.json, and a machine that does not
have the run fetches the newest whole one. The mirror's keys stay in its own client's environment.
"""

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

from common import runs
from common.runs import RunError
from training.checkpoints import SEAL, damage, sealed, step_of


class Mirror:
    """The folder of one run in the mirror."""

    def __init__(self, url: str, run_id: str):
        from fsspec.core import url_to_fs

        self.system, root = url_to_fs(url)
        self.root = f"{root.rstrip('/')}/{run_id}"

    def names(self) -> list[str]:
        """What lies in it.

        The folder is made first: `exists` of fsspec takes a mirror that is down for an empty one.
        """
        self.system.makedirs(self.root, exist_ok=True)
        paths = self.system.ls(self.root, detail=False)
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in paths]

    def checkpoints(self) -> list[str]:
        """The names of its checkpoints, newest first."""
        steps = {step_of(name): name for name in self.names()}
        return [steps[step] for step in sorted((s for s in steps if s is not None), reverse=True)]

    def record(self) -> dict | None:
        """Its run.json, None where there is none or half of one."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(self.system.cat_file(f"{self.root}/{runs.FILE}"))
        return None

    def at(self, name: str) -> str:
        """The address of a checkpoint, or with "" of the run itself."""
        return f"{self.root}/{name}".rstrip("/")


def of(run_id: str) -> Mirror | None:
    """The mirror of a run, None where MIRROR is not set. Raises RunError for what is no address."""
    url = os.environ.get("MIRROR")
    if not url:
        return None
    if "://" not in url and not Path(url).expanduser().is_absolute():
        raise RunError(
            f"MIRROR: {url} is relative; give a whole path such as {Path(url).resolve()}"
        )
    try:
        return Mirror(url, run_id)
    except (ValueError, ImportError) as error:
        raise RunError(
            f"MIRROR: {error}; give a folder, or a URL such as s3://bucket/runs"
        ) from None


def require(run_id: str) -> None:
    """Raise RunError where MIRROR is set and cannot be reached."""
    with _reached(run_id):
        mirror = of(run_id)
        if mirror is not None:
            mirror.names()


def push(run: Path, name: str = "", keep: int = sys.maxsize) -> None:
    """Copy run/name, sealed, and run.json to the mirror, then remove all but `keep` checkpoints
    there.

    A failure is said and the run goes on: a mirror that is down must not end the training.
    """
    try:
        record = runs.read(run)
        mirror = of(record["identity"]["recipe"]) if record else None
        if mirror is not None:
            _push(mirror, run, name, keep)
    except Exception as error:  # any of a dozen clients' own
        said = f"{type(error).__name__}: {error}"
        print(f"warning: MIRROR: {name or 'the result'} was not copied: {said}", file=sys.stderr)


def _push(mirror: Mirror, run: Path, name: str, keep: int) -> None:
    system = mirror.system
    before = mirror.checkpoints()
    system.makedirs(mirror.at(name), exist_ok=True)
    files = [*sealed(run / name)["files"], SEAL]
    system.put([str(run / name / file) for file in files], f"{mirror.at(name)}/")
    # Aside first: half a record would be no run.
    system.put_file(str(run / runs.FILE), mirror.at(f".{runs.FILE}"))
    system.mv(mirror.at(f".{runs.FILE}"), mirror.at(runs.FILE))
    others = [other for other in before if other != name]
    for old in others[max(keep - 1, 0) :]:
        system.rm(mirror.at(old), recursive=True)


def forget(run_id: str) -> None:
    """Remove a run from the mirror, as FRESH=1 does on this machine.

    Raises RunError where what lies there does not say itself that it is this run, or cannot be
    reached.
    """
    mirror = of(run_id)
    if mirror is None:
        return
    with _reached(run_id):
        if not mirror.names():
            return
        record = mirror.record() or {}
        if record.get("identity", {}).get("recipe") != run_id:
            raise RunError(
                f"MIRROR: {mirror.root} has no run.json of {run_id}; move it away, or unset MIRROR"
            )
        mirror.system.rm(mirror.root, recursive=True)


def fetch(run: Path, run_id: str) -> None:
    """Bring a run that this machine does not have from the mirror, whole or not at all.

    Raises RunError when it cannot be read.
    """
    mirror = of(run_id)
    if mirror is None or (run.exists() and any(run.iterdir())):
        return
    aside = run.with_name(f".{run.name}-fetching")
    shutil.rmtree(aside, ignore_errors=True)
    with _reached(run_id):
        names = mirror.checkpoints()
        if not names and SEAL in mirror.names():
            names = [""]  # a finished run has no checkpoints there
        for name in names:
            mirror.system.get(f"{mirror.at(name)}/", f"{aside / name}/", recursive=True)
            if damage(aside / name) is None:
                mirror.system.get_file(mirror.at(runs.FILE), str(aside / runs.FILE))
                shutil.rmtree(run, ignore_errors=True)  # empty
                aside.rename(run)
                print(f"fetched {f'{run_id}/{name}'.rstrip('/')} from MIRROR")
                return
            shutil.rmtree(aside / name)


@contextlib.contextmanager
def _reached(run_id: str):
    """Turn what any of a dozen clients may raise into one line."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        raise RunError(
            f"MIRROR: {run_id} cannot be reached: {type(error).__name__}: {error}; or unset MIRROR"
        ) from error
