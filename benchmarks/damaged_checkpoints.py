"""Checkpoints damaged in every way, and what loading them gives; see `faults`."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from abpnet.durable import _digest, _digest_of
from abpnet.errors import InputError
from abpnet.runs import RunFolder


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "code was run")


FILES = ("state.safetensors", "state.json", "manifest.json")


def cut(folder: Path, chance: random.Random, scratch: Path) -> None:
    path = folder / chance.choice(FILES)
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def flip(folder: Path, chance: random.Random, scratch: Path) -> None:
    path = folder / chance.choice(FILES)
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 1, 8))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def blank(folder: Path, chance: random.Random, scratch: Path) -> None:
    """A run of zeros, as blocks that were never written to disk have them."""
    path = folder / chance.choice(FILES)
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.choice((1, 512, 4096)))
    content[start:end] = bytes(end - start)
    path.write_bytes(content)


def lengthen(folder: Path, chance: random.Random, scratch: Path) -> None:
    path = folder / chance.choice(FILES)
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.choice((1, 100))))


def lose(folder: Path, chance: random.Random, scratch: Path) -> None:
    for name in chance.sample(FILES, chance.choice((1, 1, 2, 3))):
        (folder / name).unlink()


def swap(folder: Path, chance: random.Random, scratch: Path) -> None:
    """Files of the other checkpoint, of another run, or of one another."""
    name, siblings = chance.choice(FILES[:2]), sorted(folder.parent.glob("checkpoint-*"))
    other = chance.choice([*(path for path in siblings if path != folder), scratch])
    source = other / name if chance.random() < 0.8 else folder / FILES[1 - FILES.index(name)]
    shutil.copyfile(source, folder / name)


def replace_whole(folder: Path, chance: random.Random, scratch: Path) -> None:
    """The checkpoint of another run, whole and under the right name; or the older one under the newer's name."""
    siblings = sorted(folder.parent.glob("checkpoint-*"))
    other = chance.choice([*(path for path in siblings if path != folder), scratch])
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def sign(folder: Path, **changes: object) -> None:
    """Make the manifest fit the files, as somebody would who means harm."""
    files = {name: _digest(folder / name) for name in FILES[:2]}
    manifest = json.loads((folder / "manifest.json").read_text()) | {"files": files} | changes
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": _digest_of(manifest)}))


def of_another_schema(folder: Path, chance: random.Random, scratch: Path) -> None:
    sign(folder, schema=chance.choice((0, 2, 99, "1", None, [1])), written_by="abpnet 9.9")


def pickled(folder: Path, chance: random.Random, scratch: Path) -> None:
    """A pickle or a file of torch.save under one of our names, with a manifest that fits."""
    harm = {"history": Canary(scratch / "canary")}
    name = chance.choice(FILES[:2])
    if chance.random() < 0.5:
        (folder / name).write_bytes(pickle.dumps(harm))
    else:
        torch.save(harm, folder / "saved.pt")
        (folder / "saved.pt").rename(folder / name)
    if chance.random() < 0.8:
        sign(folder)


def forged(folder: Path, chance: random.Random, scratch: Path) -> None:
    """Facts of the wrong kind, with a manifest that fits."""
    path = folder / "state.json"
    facts = json.loads(path.read_text())
    wrong = (None, "x", -1, 1e999, [], {}, [[]], "../../..", 10**400)
    facts[chance.choice(["iteration", "history", "run"])] = chance.choice(wrong)
    path.write_text(json.dumps(facts) if chance.random() < 0.8 else "[" * 100_000)
    sign(folder)


DAMAGE = (cut, flip, blank, lengthen, lose, swap, replace_whole, of_another_schema, pickled, forged)


def judge(run: Path, states: dict[int, tuple[dict[str, torch.Tensor], dict]]) -> str:
    """What loading the checkpoints of a run gives: an error, the older state, the newer one, or something wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = RunFolder(run).load_checkpoint()
        except InputError as error:
            return "clear error" if "\n" not in str(error) and str(run) in str(error) else f"unclear error: {error}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
    if loaded is None:
        return "nothing loaded without a word"
    tensors, facts = loaded
    for iteration, (right, said) in states.items():
        same = tensors.keys() == right.keys() and all(torch.equal(tensors[name], right[name]) for name in right)
        if same and facts == said:
            if iteration == max(states):
                return "the newest, unharmed (what was damaged says the same)"
            told = any("instead" in str(warning.message) for warning in caught)
            return "the older one, with a warning" if told else "the older one without a word"
    return "wrong state loaded"


def survive_damage(
    count: int, good: Path, other: Path, scratch: Path, chance: random.Random
) -> dict[str, dict[str, int]]:
    """How loading ended, for every kind of damage.

    Args:
        count: How many checkpoints to damage.
        good: Folder of a run with two checkpoints.
        other: That of another run with as many.
        scratch: A folder to work in.
        chance: Source of all chance.
    """
    tally: dict[str, Counter[str]] = {damage.__name__: Counter() for damage in DAMAGE}
    run, case = RunFolder(good), scratch / "case"
    states = {}
    for path in run.checkpoints():
        tensors, facts = run._read_checkpoint(path)
        states[facts["iteration"]] = ({name: tensor.clone() for name, tensor in tensors.items()}, facts)
    for index in range(count):
        damage = DAMAGE[index % len(DAMAGE)]
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(good, case)
        checkpoints = RunFolder(case).checkpoints()
        for checkpoint in checkpoints[-1:] if chance.random() < 0.6 else checkpoints:
            damage(checkpoint, chance, RunFolder(other).checkpoints()[-1])
        ended = judge(case, states)
        canaries = list(scratch.rglob("canary")) + list(other.rglob("canary"))
        tally[damage.__name__]["code was run" if canaries else ended] += 1
    return {name: dict(sorted(ends.items())) for name, ends in tally.items()}


def count_of_wrong(damaged: dict[str, dict[str, int]]) -> int:
    """How many ended as none may."""
    return sum(number for ends in damaged.values() for ended, number in ends.items() if ended not in FINE)


FINE = ("clear error", "the older one, with a warning", "the newest, unharmed (what was damaged says the same)")
