"""The image. Without one: what its files say. With IMAGE=<name> and ENGINE=<docker or podman> (make image-test): the tiny recipe
trained in it, without a network, and a search for planted keys in all that the build and the run left behind."""

import gzip
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import time
import tomllib

import pytest
import yaml
from conftest import ROOT

from common import processes

DOCKER = ROOT / "docker"
LOCKS = ROOT / "locks"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
INSTRUCTIONS = [
    re.sub(r"\\\n\s*", "", text).split(None, 1)
    for text in re.findall(
        r"^[A-Z]+ (?:.*\\\n(?:#.*\n)*)*.*", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M), re.M
    )
]
SECRET = re.compile(r"key|token|secret|passw", re.I)


def having(name: str) -> list[str]:
    return [words for instruction, words in INSTRUCTIONS if instruction == name]


# ---- what the files say ----


def test_every_base_is_pinned_by_digest():
    stages = set()
    bases = dict(words.split("=", 1) for words in having("ARG") if "=" in words)
    for words in having("FROM"):
        base, _, stage = re.fullmatch(r"(\S+)( AS (\S+))?", words).groups()
        base = re.sub(r"\$\{(\w+)\}", lambda m: bases[m[1]], base)
        assert base in stages or re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", base), words
        stages.add(stage)
    assert stages >= {"train", "serve", "triad"} and "latest" not in DOCKERFILE


def test_no_secret_is_a_variable_and_nothing_is_fetched_by_address():
    for name in ("ARG", "ENV", "LABEL"):
        for words in having(name):
            names = [word.partition("=")[0] for word in shlex.split(words)]
            assert not [n for n in names if SECRET.search(n)], words
    assert not having("ADD") and not re.search(r"curl|wget|git clone", DOCKERFILE)
    assert all("type=secret" in words for words in having("RUN") if "docker/install" in words)


def test_packages_come_from_locks_alone():
    for words in having("RUN"):
        if "apt-get install" in words:
            assert "--no-install-recommends" in words and "rm -rf /var/lib/apt/lists/*" in words
        assert not re.search(r"pip install (?!.*--no-deps)", words), words
    script = (DOCKER / "install").read_text()
    installs = [line for line in script.splitlines() if re.search(r"pip (install|wheel)", line)]
    assert len(installs) == 3 and all(
        "--require-hashes -r" in line or "--require-hashes -w" in line for line in installs
    )
    for name in set(re.findall(r"locks/\S+\.lock", DOCKERFILE)):
        lock = (ROOT / name).read_text()
        pinned = re.findall(r"^[a-z0-9][a-z0-9._-]*==\S+", lock, re.M)
        assert pinned and len(pinned) == len(re.findall(r"^[a-z0-9]", lock, re.M)), name
        assert lock.count("--hash=sha256:") >= len(pinned) and "://" not in lock, name


def test_the_compiler_of_flash_attn_is_of_the_cuda_of_torch():
    lock, compiler = (LOCKS / "train.lock").read_text(), (LOCKS / "nvcc.lock").read_text()
    cuda = re.search(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", lock, re.M)[1]
    found = dict(re.findall(r"^(nvidia-[\w-]+)==(\d+\.\d+)\.", compiler, re.M))
    assert {"nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt"} <= found.keys() and set(
        found.values()
    ) == {cuda}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["gpu"]
    assert (LOCKS / "flash-attn.lock").read_text().split()[0] == wanted[0]


@pytest.mark.parametrize("stage", ["train", "serve", "triad"])
def test_a_stage_ends_without_root_and_copies_code_after_packages(stage):
    text = re.split(r"^FROM \S+ AS ", DOCKERFILE, flags=re.M)
    body = next(part for part in text if part.split()[0] == stage)
    assert re.findall(r"^USER (.*)", body, re.M) == ["1000"] and body.strip().endswith("USER 1000")
    assert body.index("COPY . .") > max(body.find("pip install"), 0) and body.index(
        "ARG COMMIT"
    ) > body.index("COPY . .")


def test_the_context_is_a_list_of_what_is_wanted():
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    wanted = {line[1:] for line in lines if line.startswith("!")}
    assert not wanted & {".git", "outputs", ".venvs", "tests", "wandb"}
    assert {"datasets/*/build", "datasets/*/conversations", "datasets/*/clips", "**/.env*"} <= set(
        lines
    )
    ignored = [
        line.strip("/")
        for line in (ROOT / ".gitignore").read_text().splitlines()
        if line.startswith("datasets/")
    ]
    assert {line.replace("build-work-*", "build-*") for line in ignored} <= set(lines), (
        "what git ignores must not be in the image"
    )


def test_compose_names_the_volume_of_the_image_and_no_key():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    places = having("VOLUME")
    assert compose["services"].keys() == {"train", "serve", "triad", "redis"}
    known = yaml.safe_load((ROOT / "datasets" / "aether" / "triad.yaml").read_text())
    members = [known["self"], *known["members"].values()]
    named = {member[kind] for member in members for kind in ("url", "model", "key")}
    assert set(compose["services"]["triad"]["environment"]) == named | {"TRIAD_KEY"}
    makefile = (ROOT / "Makefile").read_text()
    redis = compose["services"]["redis"]
    [kept] = re.findall(r"^redis-server (.*?) &", (ROOT / "docs/triad.md").read_text(), re.M)
    assert kept in redis["command"] and "--bind 127.0.0.1" in redis["command"]
    assert compose["services"]["triad"]["depends_on"]["redis"]["condition"] == "service_healthy"
    for name, service in compose["services"].items():
        target = re.fullmatch(r"make (\w+).*", service["command"])
        assert name == "redis" or target[1] == name and f"\n{name}: " in makefile
        # All listen on the loopback of the machine, and find each other there.
        assert name == "train" or service["network_mode"] == "host"
        assert service["image"] == f"aether:{'triad' if name == 'redis' else name}"
        assert [volume.split(":")[1] for volume in service["volumes"]] == places
        assert all("=" not in variable for variable in service["environment"])
        assert {volume.split(":")[0] for volume in service["volumes"]} <= compose["volumes"].keys()
    for variable in re.findall(r"\w+=(/workspace/\S+)", DOCKERFILE):
        assert variable.startswith(places[0])


SMI = "580.95.05, NVIDIA L40S, 46068 MiB"


@pytest.mark.parametrize(
    "says, code, expected",
    [
        (None, 0, "no GPU in this container: the tiny recipes run"),
        (f"echo '{SMI}'", 0, "GPU: NVIDIA L40S, 46068 MiB, driver 580.95.05"),
        (
            f"echo '{SMI}'; echo '570.124.06, NVIDIA L40S, 46068 MiB'",
            1,
            "driver 570.124.06: CUDA 13 wants R580 or newer",
        ),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            1,
            "Driver/library version mismatch",
        ),
        ("echo '[N/A], NVIDIA L40S, [N/A]'", 1, "CUDA 13 wants R580 or newer"),
    ],
)
def test_the_health_check_names_gpu_and_driver(tmp_path, says, code, expected):
    if says:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    for name in ("bash", "head", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [shutil.which("bash"), DOCKER / "gpu"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code and expected in done.stdout + done.stderr


def test_a_known_bad_version_stops_the_audit(tmp_path):
    def audit(*words):
        return subprocess.run(["make", "audit", *words], cwd=ROOT, capture_output=True, text=True)

    assert audit().returncode == 0
    (tmp_path / "x.lock").write_text(
        "litellm==1.82.6 \\\n    --hash=sha256:00\nlitellm==1.82.8 \\\n    --hash=sha256:00\n"
    )
    done = audit(f"LOCKS={tmp_path}/x.lock")
    assert (
        done.returncode
        and "x.lock:3: litellm==1.82.8  stole credentials" in done.stdout
        and "1.82.6" not in done.stdout
    )


def test_the_sbom_lists_every_package_of_a_lock_with_its_hashes(tmp_path):
    if not (ROOT / ".venvs" / "tools" / ".ready").exists():
        pytest.skip("make lint or make sbom makes .venvs/tools, which is not there")
    for name in ("Makefile", "common", ".venvs"):
        (tmp_path / name).symlink_to(ROOT / name)
    lock = (LOCKS / "nvcc.lock").read_text()
    (tmp_path / "locks").mkdir()
    shutil.copy(LOCKS / "nvcc.lock", tmp_path / "locks")
    command = ["make", "-o", ".venvs/tools/.ready", "sbom"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "sbom" / "nvcc.cdx.json").read_text())
    wanted = {
        tuple(pin.split("=="))
        for pin in re.findall(r"^[a-z0-9][a-z0-9._-]*==[^\s;\\]+", lock, re.M)
    }
    assert {(part["name"], part["version"]) for part in bill["components"]} == wanted and bill[
        "bomFormat"
    ] == "CycloneDX"
    assert sum(
        len(r["hashes"]) for part in bill["components"] for r in part["externalReferences"]
    ) == lock.count("sha256:")


def test_without_git_the_commit_is_that_of_the_image(tmp_path, monkeypatch):
    monkeypatch.setenv("AETHER_COMMIT", "a" * 40)
    (tmp_path / "code.py").write_text("x = 1\n")
    listed = hashlib.sha256(b"x = 1\n").hexdigest()
    (tmp_path / ".commit.sha256").write_text(f"{listed}  ./code.py\n")
    assert processes.git_state(tmp_path) == {"commit": "a" * 40, "dirty": False}
    (tmp_path / "code.py").write_text("x = 2\n")
    assert processes.git_state(tmp_path) == {"commit": "a" * 40, "dirty": True}
    monkeypatch.setenv("AETHER_COMMIT", "b" * 40 + "-dirty")
    assert processes.git_state(tmp_path) == {"commit": "b" * 40, "dirty": True}
    monkeypatch.setenv("AETHER_COMMIT", "")
    assert processes.git_state(tmp_path) == {"commit": None, "dirty": None}


def test_a_dataset_is_built_through_a_link_to_a_volume(tmp_path):
    from preprocess import build

    folder, volume = tmp_path / "datasets" / "small", tmp_path / "workspace" / "datasets" / "small"
    folder.mkdir(parents=True)
    said = [
        {
            "user": f"What fills queue {n}?",
            "reasoning": f"Work arrives, {n}.",
            "answer": f"Slow reader {n}.",
        }
        for n in range(9)
    ]
    seeds = [
        {
            "id": f"async-{n:03d}",
            "domain": "games",
            "level": "expert",
            "mood": "neutral",
            "turns": [t],
        }
        for n, t in enumerate(said)
    ]
    (folder / "seeds.yaml").write_text(yaml.safe_dump(seeds))
    (folder / "system.md").write_text("You are AetherAI.")
    sources = [{"kind": "seeds", "path": "seeds.yaml", "category": "async", "system": "system.md"}]
    plan = {
        "seed": 3,
        "val_share": 0.2,
        "licence": "MIT",
        "total": 9,
        "quotas": {"async": 9},
        "sources": sources,
    }
    (folder / "mix.yaml").write_text(yaml.safe_dump(plan))
    (folder / "build").symlink_to(volume / "build")
    for text in (
        "You are AetherAI.",
        "You are Aether.",
    ):  # the second build takes the place of the first
        (folder / "system.md").write_text(text)
        assert "9" in build.build(folder) and (folder / "build").is_symlink()
        assert text in (volume / "build" / "train.jsonl").read_text()
    assert [path.name for path in volume.iterdir()] == ["build"]


# ---- the image itself ----

IMAGE, ENGINE, FLAGS = (
    os.environ.get("IMAGE", ""),
    os.environ.get("ENGINE", "docker"),
    os.environ.get("BUILD_FLAGS", ""),
)
with_image = pytest.mark.skipif(not IMAGE, reason="no image named: make image-test")
PLANTED = {
    "HF_TOKEN": "hf_plantedAtRunTime7c1e5f0a9b3d2846XyZ",
    "WANDB_API_KEY": "91b7e4aa0c5d3f2886aa17e5f02c4a6b8d1e3f5a",
}
STRAY = (
    ".env",
    "key.pem",
    "outputs/key",
    "wandb/key",
    "datasets/tiny/build/key",
    "datasets/tiny/conversations/key",
)


def engine(*words, stderr=subprocess.PIPE, text=True):
    done = subprocess.run(
        [ENGINE, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=text
    )
    assert done.returncode == 0, (
        f"{ENGINE} {shlex.join(words)}: {(done.stderr or done.stdout)[-3000:]}"
    )
    return done.stdout


def built(image: str) -> dict:
    return json.loads(engine("image", "inspect", image))[0]


def needles() -> set[bytes]:
    """What must be found nowhere: the planted keys, and every value handed to the build as the secret `network`."""
    lines = [line for path in re.findall(r"id=network,src=(\S+)", FLAGS) for line in open(path)]
    values = [line.partition("=")[2].strip() for line in lines] + list(PLANTED.values())
    return {value.encode() for value in values if len(value) > 15 and not value.startswith("/")}


def found_in(archive: tarfile.TarFile, wanted: set[bytes]) -> set[tuple[str, bytes]]:
    """(file, needle) for every needle in a file of a tar, gzipped or not."""
    found = set()
    for member in archive:
        if member.isfile():
            file, tail = archive.extractfile(member), b""
            stream = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
            while block := stream.read(2**24):
                found |= {(member.name, needle) for needle in wanted if needle in tail + block}
                tail = block[-100:]
    return found


def test_the_search_sees_into_layers():
    """The search itself, which must not find nothing because it looks at nothing: a key in a gzipped layer, across two reads."""
    key = PLANTED["HF_TOKEN"].encode()
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w") as archive:
        for name, content in (
            ("a.tar", bytes(2**24 - 10) + key),
            ("b.tar.gz", gzip.compress(b"x" + key)),
            ("c.tar", key[:-1]),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    outer.seek(0)
    assert found_in(tarfile.open(fileobj=outer, mode="r|"), {key}) == {
        ("a.tar", key),
        ("b.tar.gz", key),
    }


def keys_in_layers(image: str) -> set[tuple[str, bytes]]:
    """Needles in anything that `save` writes of an image: its layers, one on the other, its configuration, its history."""
    with subprocess.Popen([ENGINE, "save", image], stdout=subprocess.PIPE) as saved:
        found = found_in(tarfile.open(fileobj=saved.stdout, mode="r|"), needles())
    assert saved.returncode == 0
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(what a training in the image printed, its whole volume as a tar): as the image's user, without a network, with keys."""
    volume, tar = (
        f"aether-image-test-{os.getpid()}",
        tmp_path_factory.mktemp("run") / "workspace.tar",
    )
    keys = [word for name, key in PLANTED.items() for word in ("-e", f"{name}={key}")]
    machine = ["run", "--rm", "--no-healthcheck", "--network", "none", "-v", f"{volume}:/workspace"]
    about = [*keys, "-e", "WANDB_MODE=offline", "-e", f"IMAGE_DIGEST={built(IMAGE)['Id']}"]
    try:
        started = time.monotonic()
        printed = engine(
            *machine, *about, IMAGE, "make", "train", "RECIPE=tiny", stderr=subprocess.STDOUT
        )
        print(f"\nmake train RECIPE=tiny in {IMAGE}: {time.monotonic() - started:.0f} s")
        tar.write_bytes(
            engine(*machine, "--entrypoint", "tar", IMAGE, "-cC", "/workspace", ".", text=False)
        )
    finally:
        engine("volume", "rm", "-f", volume)
    return printed, tar


def read(tar, pattern: str) -> list[tuple[str, bytes]]:
    with tarfile.open(tar) as archive:
        return [
            (m.name, archive.extractfile(m).read())
            for m in archive
            if m.isfile() and re.search(pattern, m.name)
        ]


@with_image
def test_the_tiny_recipe_trains_inside(run):
    printed, tar = run
    assert "no GPU in this container" in printed and "tiny/v2: finished" in printed
    [(_, text)] = read(tar, r"outputs/tiny/v2/run\.json$")
    record, labels = json.loads(text), built(IMAGE)["Config"]["Labels"]
    print(json.dumps({key: value for key, value in record.items() if key != "packages"}, indent=1))
    assert record["status"] == "finished" and record["image_digest"] == built(IMAGE)["Id"]
    assert record["commit"] == labels["org.opencontainers.image.revision"].partition("-")[0]
    assert record["lock_sha256"] == labels["aether.train.lock.sha256"]
    assert read(tar, r"outputs/tiny/v2/adapter_model\.safetensors$") and read(
        tar, r"datasets/tiny/build/manifest\.json$"
    )
    with tarfile.open(tar) as archive:
        assert {(m.uid, m.gid) for m in archive} == {(1000, 1000)}
    losses = [
        log
        for _, text in read(tar, r"outputs/tiny/v2/checkpoint-\d+/trainer_state.json$")
        for log in json.loads(text)["log_history"]
    ]
    held_out = {log["step"]: log["eval_loss"] for log in losses if "eval_loss" in log}
    print("held-out loss by step:", held_out)
    assert held_out[max(held_out)] < held_out[min(held_out)]


@with_image
def test_the_run_left_no_key(run):
    printed, tar = run
    assert read(tar, r"\.wandb$"), "no offline W&B run to look into"
    with tarfile.open(tar) as archive:
        assert not found_in(archive, needles())
    assert not [needle for needle in needles() if needle.decode() in printed]


@with_image
def test_the_container_is_not_root_and_cannot_change_the_code():
    script = "id -u; touch /aether/Makefile /aether/.venvs/x /aether/training/x 2>&1 | grep -c 'Permission denied'"
    printed = engine(
        "run", "--rm", "--no-healthcheck", "--network", "none", IMAGE, "bash", "-c", script
    )
    assert printed.split()[-2:] == ["1000", "3"]
    other = [
        ENGINE,
        "run",
        "--rm",
        "--no-healthcheck",
        "--network",
        "none",
        "--user",
        "4242",
        IMAGE,
        "true",
    ]
    done = subprocess.run(other, capture_output=True, text=True)
    assert done.returncode and "error: /workspace cannot be written by user 4242" in done.stderr


@with_image
def test_a_line_of_code_is_rebuilt_in_seconds_and_no_layer_holds_a_key(tmp_path):
    """A copy of the tree with stray keys in it and one line changed, built again as somebody else would."""
    tree = tmp_path / "tree"
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for name in STRAY:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(PLANTED["HF_TOKEN"])
    with (tree / "training" / "train.py").open("a") as file:
        file.write(f"# {time.time()}\n")
    again = f"{IMAGE}-again"
    started = time.monotonic()
    command = ["make", "image", f"ENGINE={ENGINE}", f"IMAGE={again}", f"BUILD_FLAGS={FLAGS}"]
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, env=os.environ | PLANTED
    )
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr[-2000:]
    print(
        f"\nrebuilt after a change of one line in {seconds:.1f} s; {built(again)['Size'] / 1e9:.2f} GB"
    )
    try:
        assert seconds < 30 and built(again)["Id"] != built(IMAGE)["Id"]
        assert built(again)["RootFS"]["Layers"][:-3] == built(IMAGE)["RootFS"]["Layers"][:-3]
        assert not keys_in_layers(again)
    finally:
        engine("rmi", again)
