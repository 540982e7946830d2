"""Changing what abpnet wrote, as somebody would who knows how manifests are made."""

import json

from abpnet.durable import _digest, _digest_of


def sign(folder, **changes):
    """Make the manifest of a folder fit its files, and change what else it says."""
    path = folder / "manifest.json"
    files = {name: _digest(folder / name) for name in ("state.safetensors", "state.json")}
    manifest = json.loads(path.read_text()) | {"files": files} | changes
    path.write_text(json.dumps(manifest | {"sha256": _digest_of(manifest)}))


def change_facts(folder, change):
    """Change the facts of a folder: `change` takes them, and changes them in place."""
    path = folder / "state.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    sign(folder)
