"""The tiny model as AetherAI, served by make serve's own command: make triad-test, where it is trained."""

import re
import shutil
import signal
import subprocess

import pytest
from house import House
from stand_in import Says
from test_triad import ask

from common.files import ROOT
from common.servers import free_port

TRAIN = ROOT / ".venvs" / "train" / "bin" / "python"
RED = (  # a picture of 32 by 32 pixels, all red
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKklEQVR42mM4ISdHU8Qwas"
    "GoBaMWjFowasGoBaMWjFowasGoBaMWDBULACXLED1gHZEpAAAAAElFTkSuQmCC"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "outputs" / "tiny" / "v2" / "merged" / "proof.json").is_file(),
        reason="no tiny model here: make train RECIPE=tiny && make merge RECIPE=tiny",
    ),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A Triad whose AetherAI is the tiny model, and whose members are stand-ins."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy(ROOT / "datasets" / "aether" / "triad.yaml", folder)
    words = [str(TRAIN), "-m", "serving.serve", "tiny", "--port", str(free_port())]
    served = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    house = None
    try:
        model, url = re.match(r"(\S+) at (\S+) ", served.stdout.readline()).groups()
        house = House(folder, AETHER_URL=url, AETHER_MODEL=model)
        house.start()
        yield house
        house.stop()
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(60)
        if house:
            house.redis.terminate()
            house.redis.wait(30)


def test_what_the_tiny_model_says_reaches_the_client_whole_and_streamed(tiny):
    picture = {"type": "image_url", "image_url": {"url": RED}}
    asked = [{"role": "user", "content": [picture, {"type": "text", "text": "What colour is it?"}]}]
    more = {"messages": asked, "temperature": 0, "max_tokens": 300}
    alone, finish, _, _ = ask(tiny, model="aether", **more)
    assert alone and finish == "stop"
    for stream in (False, True):
        text, finish, told, _ = ask(tiny, stream, metadata={"outside": True}, **more)
        assert (text, finish) == (alone, "stop")
        assert told == {"route": "self", "outcome": "stayed"}  # it is too small to hand over
    assert not any(tiny.asked(id_) for id_ in tiny.members)
    print(f"the tiny model: {alone!r}")


def test_the_tiny_model_takes_the_place_of_a_member_that_is_down(tiny):
    tiny.members["edge"].says = Says(status=400)
    asked = [{"role": "user", "content": "Why async?"}]
    text, _, _, tokens = ask(tiny, model="edge", messages=asked, temperature=0, max_tokens=40)
    assert tiny.asked("edge") and tokens > 0
    assert "Done." not in (text or "")
