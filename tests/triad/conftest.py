"""One proxy for all tests of the Triad, with stand-ins as members and Debian's Redis."""

import pytest
import yaml
from house import REDIS, House

from common.files import ROOT


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    if REDIS is None:
        pytest.fail("redis-server is not installed: apt-get install redis-server", pytrace=False)
    folder = tmp_path_factory.mktemp("triad")
    told = yaml.safe_load((ROOT / "datasets" / "aether" / "triad.yaml").read_text())
    told["members"]["edge"]["seconds"] = 1.5
    told["members"]["grok-4-fast"] |= {"dollars_in": 10, "dollars_out": 10, "dollars_a_day": 0.02}
    (folder / "triad.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    house = House(folder)
    try:
        house.start()
        yield house
        house.stop()
    finally:
        house.stop_redis()


@pytest.fixture
def house(running):
    running.forget()
    return running
