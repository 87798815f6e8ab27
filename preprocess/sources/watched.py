"""What cameras saw, as `make events DATASET=` writes it: a few frames in a row, with what a model
said of each, become a conversation about what changed.

The words around it stand in a file of the dataset (Words); what was seen is told in the words of
whoever described it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import Field

from common import events, pictures
from common.files import sha256_of, shown
from preprocess.rows import Conversation, Note, Skip, Turn
from preprocess.source import Context, Part, Source, load


class Config(Source):
    """Event logs by a glob, which need not exist; `frames` are shown in a conversation, and a pause
    of more than `pause_s` begins another."""

    kind: Literal["watched"]
    path: str = "events/*/events.jsonl"
    words: str = "watched.yaml"
    frames: int = Field(5, ge=2, le=6)
    pause_s: float = Field(300, gt=0)

    origins = ("watched",)
    written = True


class Words(Part):
    """Templates; of a list one is drawn. The file says what each is filled with."""

    leads: list[str]
    label: str
    asks: list[str]
    openings: list[str]
    seen: str
    later: str
    gap: str
    begins: str
    then: str
    same: str
    most_asks: list[str]
    most_works: str
    most_answers: list[str]


@dataclass(frozen=True)
class Scene:
    """A frame that was described; `change` is the percent of it that differs from the one before,
    `skipped` how many between the two nobody described."""

    id: str
    at: datetime
    text: str
    change: float
    png: bytes
    skipped: int


def conversations(config: Config, context: Context) -> Iterator[Conversation | Skip | Note]:
    """The conversations of all logs. Raises EventError, MixError or FileError."""
    paths = sorted(context.folder.glob(config.path))
    if not paths:
        return
    words = load(context.path(config.words), Words)
    for path in paths:
        by_camera = sorted(events.read(path), key=lambda pair: pair[1]["source"])
        for source, group in groupby(by_camera, lambda pair: pair[1]["source"]):
            run: list[Scene] = []
            skipped = 0
            for number, event in sorted(group, key=lambda pair: events.moment(pair[1])):
                try:
                    if event["type"] == events.SKIPPED:
                        skipped += event["data"]["count"]
                        yield Note("frames that nobody described", event["data"]["count"])
                        continue
                    scene = _scene(event, path.parent, skipped)
                    model = event["data"]["model"]
                except Skip as skip:
                    yield skip
                    continue
                except (LookupError, TypeError, ValueError, AttributeError) as error:
                    problem = f"data: {error}: missing, or not as make events writes it"
                    raise events.EventError(f"{shown(path)}:{number}: {problem}") from None
                yield Note(f"frames described by {model}")
                skipped = 0
                if run and (scene.at - run[-1].at).total_seconds() > config.pause_s:
                    yield from _left_over(run)
                    run = []
                run.append(scene)
                if len(run) == config.frames:
                    yield _conversation_or_skip(source, run, words)
                    run = []
            yield from _left_over(run)


def _left_over(run: list[Scene]) -> Iterator[Skip]:
    for _ in run:
        yield Skip("a scene without enough others near it")


def _scene(event: dict, folder: Path, skipped: int) -> Scene:
    """A scene with its frame. Raises Skip, and other errors for one that is damaged."""
    if event["type"] != events.SCENE:
        raise Skip("an event that is no scene of a camera")
    data = event["data"]
    if not data["whole"]:
        raise Skip("a description that was cut off")
    path = folder / events.IMAGES / f"{data['frame_sha256']}.jpg"
    if not path.is_file() or path.is_symlink():
        raise Skip("a scene whose frame is not there")
    if sha256_of(path) != data["frame_sha256"]:
        raise Skip("a frame that is not the one described")
    try:
        png = pictures.png(pictures.decode(path))
    except pictures.PictureError as error:
        raise Skip(f"a frame that is no picture: {error}") from None
    text = " ".join(data["text"].split())
    return Scene(event["id"], events.moment(event), text, float(data["change"]), png, skipped)


def _conversation_or_skip(source: str, run: list[Scene], words: Words) -> Conversation | Skip:
    """What changed in a run of scenes; then, where one frame changed most, which."""
    if len({scene.text for scene in run}) == 1:
        return Skip("frames in a row of which the same was said")
    rng = random.Random(run[0].id)
    camera = source.partition("/")[2]
    facts = {"camera": camera, "count": len(run), "date": run[0].at.date().isoformat()}
    thought = [rng.choice(words.openings)]
    told = []
    before = run[0]
    parts: list[str | bytes] = [f"{rng.choice(words.leads).format_map(facts)}\n"]
    for number, scene in enumerate(run, 1):
        seconds = f"{round((scene.at - before.at).total_seconds(), 1):g}"
        at = f"{scene.at:%H:%M:%S.%f}"[:-5]  # tenths of a second
        slots = {"n": number, "at": at, "text": scene.text, "seconds": seconds}
        slots |= {"change": f"{scene.change:g}", "count": scene.skipped}
        parts += [f"\n{words.label.format_map(slots)}\n", scene.png]
        if scene is not run[0]:
            thought.append((words.gap if scene.skipped else words.later).format_map(slots))
        thought.append(words.seen.format_map(slots))
        same = scene is not run[0] and scene.text == before.text
        template = words.same if same else words.then
        told.append((words.begins if scene is run[0] else template).format_map(slots))
        before = scene
    parts.append(f"\n\n{rng.choice(words.asks)}")
    user = "".join(part for part in parts if isinstance(part, str))
    turns = [Turn(user, "\n".join(thought), "\n\n".join(told), parts=tuple(parts))]
    turns += _most(run, words, rng)
    return Conversation(
        id=f"watched-{run[0].id}",
        origin="watched",
        turns=tuple(turns),
        tags=(f"camera:{camera}",),
        group=f"watched-{camera}-{facts['date']}",
    )


def _most(run: list[Scene], words: Words, rng: random.Random) -> list[Turn]:
    """The question at which frame most had changed; none where two did, or a frame is missing."""
    changes = [scene.change for scene in run[1:]]
    most = max(changes)
    if changes.count(most) > 1 or any(scene.skipped for scene in run[1:]):
        return []
    number = changes.index(most) + 2
    figures = ", ".join(f"{n}: {change:g} %" for n, change in enumerate(changes, 2))
    slots = {"n": number, "before": number - 1, "change": f"{most:g}", "changes": figures}
    check = {"kind": "number", "value": number, "changes": changes}
    answer = rng.choice(words.most_answers).format_map(slots)
    return [
        Turn(rng.choice(words.most_asks), words.most_works.format_map(slots), answer, check=check)
    ]


def recompute(answer: dict, config: Config, context: Context) -> int:
    """The number of the frame at which most had changed."""
    return answer["changes"].index(max(answer["changes"])) + 2
