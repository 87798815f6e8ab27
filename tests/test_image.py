"""The image. Without one: what its files say. With IMAGE=<name> and ENGINE=<docker or podman> (make image-test): the tiny recipe
trained in it, without a network, and a search for planted keys in all that the build and the run left behind."""

import gzip
import hashlib
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
from conftest import ROOT, message, row, some_rows, write_dataset

from training import provenance

DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
INSTRUCTIONS = [
    re.sub(r"\\\n\s*", "", text).split(None, 1)
    for text in re.findall(r"^[A-Z]+ (?:.*\\\n(?:#.*\n)*)*.*", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M), re.M)
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
    assert stages >= {"train", "serve"} and "latest" not in DOCKERFILE


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
    assert len(installs) == 3 and all("--require-hashes -r" in line or "--require-hashes -w" in line for line in installs)
    for name in re.findall(r"docker/\S+\.lock", DOCKERFILE) + ["requirements.lock", "bootstrap.lock"]:
        lock = (ROOT / name).read_text()
        pinned = re.findall(r"^[a-z0-9][a-z0-9._-]*==\S+", lock, re.M)
        assert pinned and len(pinned) == len(re.findall(r"^[a-z0-9]", lock, re.M)), name
        assert lock.count("--hash=sha256:") >= len(pinned) and "://" not in lock, name


def test_the_compiler_of_flash_attn_is_of_the_cuda_of_torch():
    lock, compiler = (ROOT / "requirements.lock").read_text(), (DOCKER / "nvcc.lock").read_text()
    cuda = re.search(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", lock, re.M)[1]
    found = dict(re.findall(r"^(nvidia-[\w-]+)==(\d+\.\d+)\.", compiler, re.M))
    assert {"nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt"} <= found.keys() and set(found.values()) == {cuda}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gpu"]
    assert (DOCKER / "flash-attn.lock").read_text().split()[0] == wanted[0]


@pytest.mark.parametrize("stage", ["train", "serve"])
def test_a_stage_ends_without_root_and_copies_code_after_packages(stage):
    text = re.split(r"^FROM \S+ AS ", DOCKERFILE, flags=re.M)
    body = next(part for part in text if part.split()[0] == stage)
    assert re.findall(r"^USER (.*)", body, re.M) == ["1000"] and body.strip().endswith("USER 1000")
    assert body.index("COPY . .") > max(body.find("pip install"), 0) and body.index("ARG COMMIT") > body.index("COPY . .")


def test_the_context_is_a_list_of_what_is_wanted():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    wanted = {line[1:] for line in lines if line.startswith("!")}
    assert not wanted & {".git", "outputs", ".venv", "tests", "wandb"}
    assert {"datasets/*/build", "datasets/*/conversations", "datasets/*/clips", "**/.env*"} <= set(lines)
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith("datasets/")]
    assert {line.replace("build-work-*", "build-*") for line in ignored} <= set(lines), "what git ignores must not be in the image"


def test_compose_names_the_volume_of_the_image_and_no_key():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    places = having("VOLUME")
    assert compose["services"].keys() == {"train", "serve"}
    for name, service in compose["services"].items():
        assert service["image"] == f"aether:{name}"
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
        (f"echo '{SMI}'; echo '570.124.06, NVIDIA L40S, 46068 MiB'", 1, "driver 570.124.06: CUDA 13 wants R580 or newer"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", 1, "Driver/library version mismatch"),
        ("echo '[N/A], NVIDIA L40S, [N/A]'", 1, "CUDA 13 wants R580 or newer"),
    ],
)
def test_the_health_check_names_gpu_and_driver(tmp_path, says, code, expected):
    if says:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    for name in ("bash", "head", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run([shutil.which("bash"), DOCKER / "gpu"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == code and expected in done.stdout + done.stderr


def test_a_known_bad_version_stops_the_audit(tmp_path):
    def audit(*words):
        return subprocess.run(["make", "audit", *words], cwd=ROOT, capture_output=True, text=True)

    assert audit().returncode == 0
    (tmp_path / "x.lock").write_text("litellm==1.82.6 \\\n    --hash=sha256:00\nlitellm==1.82.8 \\\n    --hash=sha256:00\n")
    done = audit(f"LOCKS={tmp_path}/x.lock")
    assert done.returncode and "x.lock:3: litellm==1.82.8  stole credentials" in done.stdout and "1.82.6" not in done.stdout


def test_the_sbom_lists_every_package_of_the_lock(tmp_path):
    if not (ROOT / ".venv-tools" / ".ready").exists():
        pytest.skip("make lint or make sbom makes .venv-tools, which is not there")
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=lambda _, names: {n for n in names if n.startswith((".", "outputs", "datasets"))})
    for name in (".venv", ".venv-tools"):
        (tree / name).symlink_to(ROOT / name)
    command = ["make", "-o", ".venv/.ready", "-o", ".venv-tools/.ready", "sbom"]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    bill = json.loads((tree / "sbom" / "requirements.cdx.json").read_text())
    lock = (ROOT / "requirements.lock").read_text()
    wanted = {tuple(pin.split("==")) for pin in re.findall(r"^[a-z0-9][a-z0-9._-]*==[^\s;\\]+", lock, re.M)}
    assert {(part["name"], part["version"]) for part in bill["components"]} == wanted
    assert bill["bomFormat"] == "CycloneDX" and all(part["externalReferences"] for part in bill["components"])


def test_without_git_the_commit_is_that_of_the_image(tmp_path, monkeypatch):
    monkeypatch.setenv("AETHER_COMMIT", "a" * 40)
    (tmp_path / "code.py").write_text("x = 1\n")
    listed = hashlib.sha256(b"x = 1\n").hexdigest()
    (tmp_path / ".commit.sha256").write_text(f"{listed}  ./code.py\n")
    assert provenance.git_state(tmp_path) == {"commit": "a" * 40, "dirty": False}
    (tmp_path / "code.py").write_text("x = 2\n")
    assert provenance.git_state(tmp_path) == {"commit": "a" * 40, "dirty": True}
    monkeypatch.setenv("AETHER_COMMIT", "b" * 40 + "-dirty")
    assert provenance.git_state(tmp_path) == {"commit": "b" * 40, "dirty": True}
    monkeypatch.setenv("AETHER_COMMIT", "")
    assert provenance.git_state(tmp_path) == {"commit": None, "dirty": None}


def test_a_dataset_is_built_through_a_link_to_a_volume(tmp_path):
    from preprocess import build

    folder, volume = tmp_path / "datasets" / "small", tmp_path / "workspace" / "datasets" / "small"
    folder.mkdir(parents=True)
    said = [{"user": f"What fills queue {n}?", "reasoning": f"Work arrives, {n}.", "answer": f"Slow reader {n}."} for n in range(9)]
    seeds = [{"id": f"async-{n:03d}", "domain": "games", "level": "expert", "mood": "neutral", "turns": [t]} for n, t in enumerate(said)]
    (folder / "seeds.yaml").write_text(yaml.safe_dump(seeds))
    (folder / "system.md").write_text("You are AetherAI.")
    sources = [{"kind": "seeds", "path": "seeds.yaml", "category": "async", "system": "system.md"}]
    plan = {"seed": 3, "val_share": 0.2, "licence": "MIT", "total": 9, "quotas": {"async": 9}, "sources": sources}
    (folder / "mix.yaml").write_text(yaml.safe_dump(plan))
    (folder / "build").symlink_to(volume / "build")
    for text in ("You are AetherAI.", "You are Aether."):  # the second build takes the place of the first
        (folder / "system.md").write_text(text)
        assert "9" in build.build(folder) and (folder / "build").is_symlink()
        assert text in (volume / "build" / "train.jsonl").read_text()
    assert [path.name for path in volume.iterdir()] == ["build"]
