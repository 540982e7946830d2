"""Data flows one way: a floor imports only floors below it."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "abpnet"
# From the ground up; modules on one floor do not import one another.
FLOORS = [
    {"errors", "chance", "ahead", "memory"},
    {
        "values",
        "student",
        "positions",
        "parallel",
        "durable",
        "history",
        "convergence",
        "uncertainty",
        "emissions.protocol",
        "priors.protocol",
    },
    {
        "replacing",
        "emissions.noise",
        "emissions.discrete",
        "emissions.mixed",
        "priors.factors",
        "priors.sequences",
        "priors.mixture",
    },
    {"emissions.learned", "priors.recurrence"},
    {
        "priors",
        "emissions",
        "observations",
        "metrics",
        "factor_analysis",
        "recipes",
        "latents",
        "interruption",
        "recording",
        "arithmetic",
        "report",
        "interpolation",
        "sample_quality",
        "networks.layers",
        "networks.adapted",
        "cochlea",
        "lattice",
        "residuals",
        "data.limits",
        "data.files",
        "data.series",
        "baselines.inpainting",
        "arguments",
    },
    {
        "networks.vectors",
        "networks.objects",
        "networks.patchworks",
        "networks.sounds",
        "networks.tables",
        "networks.textures",
        "dynamics",
        "sound_distance",
        "temporal_statistics",
        "texture_distance",
        "whitening",
        "projected_residuals",
        "holding_out",
        "optimizing",
        "disk",
        "inference.energies",
        "inference.adapting",
    },
    {"patches", "networks.videos", "inference.langevin_dynamics", "inference.hamiltonian_dynamics", "inference.modes"},
    {
        "patch_network",
        "model",
        "decoders",
        "networks.building",
        "sound_statistics",
        "texture_statistics",
        "operators",
        "arrays",
        "descriptions",
        "runs",
        "data.builtin",
        "data.array_files",
        "data.pictures",
        "data.scaling",
        "data.table_files",
        "data.video_files",
        "data.tables",
        "data.variations",
        "data.sounds",
        "baselines",
        "baselines.quilting",
        "baselines.spectral_noise",
        "baselines.linear_dynamics",
        "recurrent",
        "inference.random_walk",
    },
    {
        "inference",
        "entrywise",
        "tables.choosing",
        "tables.judging",
        "baselines.tables",
        "imputing",
        "estimator_settings",
        "data.images",
        "networks",
        "rhythm",
        "baselines.bottom_up",
        "baselines.low_rank",
    },
    {
        "data.datasets",
        "data.masks",
        "data.videos",
        "figures",
        "explaining",
        "precision",
        "learning_state",
        "divergence",
        "baselines.imputers",
        "tables.models",
    },
    {"batches", "beginning"},
    {
        "data",
        "learning",
        "short_chains",
        "exporting",
        "posterior",
        "baselines.sensing",
        "baselines.vae",
        "baselines.dcgan",
        "evaluation",
        "analysis",
        "likelihood",
    },
    {"validation", "analysis_figures", "tables.learning"},
    {"saving", "progress", "fitted", "trackers"},
    {"sharing"},
    {"stored"},
    {"estimator", "tables.imputer", "motion"},
    {"tables"},
    {"tasks", "tasks.settings", "dynamic_textures"},
    {"tasks.session"},
    {"tasks.reading"},
    {"tasks.recovery", "tasks.synthesis"},
    {"tasks.certainty", "tasks.table"},
    {
        "tasks.complete",
        "tasks.evaluate",
        "tasks.objects",
        "tasks.sense",
        "tasks.sound",
        "tasks.texture",
        "tasks.sample",
        "tasks.explain",
        "tasks.video",
        "tasks.sharing",
    },
    {"tasks.demo", "web", "web.pages", "web.gate", "web.holes", "web.pictures", "web.served"},
    {"web.latent_space", "web.synthesis", "web.training", "web.pages.parts"},
    {"web.examples", "web.repairing"},
    {"web.pages.painting", "web.pages.latent_space", "web.pages.synthesise", "web.pages.training"},
    {"web.pages.repair"},
    {"web.pages.compare"},
    {"web.app"},
    {"web.server"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in SOURCE.rglob("*.py")
)


def imports_of(module):
    """Modules of abpnet that this one imports at any place."""
    path = SOURCE / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "abpnet":
            base = node.module.removeprefix("abpnet").lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                yield name if name in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("abpnet.") for a in node.names if a.name.startswith("abpnet."))


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__"])
def test_no_module_imports_upwards(module):
    assert module in FLOOR_OF, "a new module needs a floor"
    for other in imports_of(module):
        if other:  # the package itself holds only the version
            assert FLOOR_OF[other] < FLOOR_OF[module], f"{module} imports {other}"


def test_no_pickle_in_the_source():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        found = re.search(r"import pickle|(?<!safetensors\.)torch\.(load|save)\(|allow_pickle=True|joblib\.load", text)
        assert found is None, f"{path.name}: {found}"


def test_no_file_holds_two_ideas_by_its_length():
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path.name
