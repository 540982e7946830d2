"""What is released: one version, a wheel that is whole, and public names that change only on purpose."""

import inspect
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import abpnet

ROOT = Path(__file__).parents[1]
API = ROOT / "tests" / "golden" / "public_api.txt"


def lines_of(name, thing):
    if inspect.ismodule(thing):
        return [f"{name}: {', '.join(thing.__all__)}"]
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return [f"{name}({', '.join(kind.__name__ for kind in thing.__bases__)})"]
    if hasattr(thing, "_fields"):
        return [f"{name}({', '.join(thing._fields)})"]
    lines = [f"{name}{inspect.signature(thing)}"]
    if inspect.isclass(thing):
        for method, function in inspect.getmembers(thing, callable):
            defined_here = (getattr(function, "__module__", None) or "").startswith("abpnet")
            if not method.startswith("_") and defined_here and not inspect.isclass(function):
                lines.append(f"    {method}{inspect.signature(function)}")
    return lines


def test_public_names_change_only_on_purpose():
    code = (
        "import sys; sys.path.insert(0, 'tests'); import abpnet, test_release as t; "
        "print('\\n'.join(line for name in abpnet.__all__ for line in t.lines_of(name, getattr(abpnet, name))))"
    )  # in a process of its own: types are not checked there, which changes signatures
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told == API.read_text(), f"if it is meant, tell the changelog, and write into {API.name}:\n{told}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of the wheel and the source archive, built from a copy of what git tracks or would track."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_version_stands_in_one_place(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"abpnet-{abpnet.__version__}-py3-none-any.whl"
    assert (built / f"abpnet-{abpnet.__version__}.tar.gz").exists()
    assert version("abpnet") == abpnet.__version__


def test_archives_pass_the_checks_of_the_index(built):
    command = [sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_all_of_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    kinds, root = ("*.py", "*.pyi", "py.typed"), ROOT / "src"
    source = {str(path.relative_to(root)) for kind in kinds for path in root.rglob(kind)}
    assert held == source
    (archive_of_source,) = built.glob("*.tar.gz")
    with tarfile.open(archive_of_source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "src/abpnet/cli.py"} <= names


def test_what_the_wheel_holds_runs_from_an_empty_folder(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True)
    code = "import abpnet, sys; assert abpnet.__file__.startswith(sys.argv.pop(1)); from abpnet.cli import main; main()"
    options = ["complete", "builtin:digits", "--limit", "20", "--mask", "pepper:0.5", "--max-iter", "1"]
    command = [sys.executable, "-c", code, str(site), *options, "--no-baselines", "--draws", "0"]
    surroundings = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=empty, env=surroundings, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (empty / "runs" / "complete" / "report.html").is_file()


def imported_by(code):
    """Which libraries that only some need."""
    later = ["torch", "sklearn", "PIL", "matplotlib", "rich", "tyro", "pandas", "skimage", "av", "soundfile", "gradio"]
    code = f"import sys; {code}; print(*sorted(set({later}) & {{*sys.modules}}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_what_is_imported_is_what_is_used():
    assert imported_by("import abpnet; abpnet.__all__") == []
    assert imported_by("import abpnet; abpnet.GeneratorModel, abpnet.infer, abpnet.alternate") == ["torch"]


def test_ctrl_c_while_libraries_are_imported_is_one_line(tmp_path):
    (tmp_path / "tyro.py").write_text("raise KeyboardInterrupt")
    command = [sys.executable, "-m", "abpnet", "demo"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "abpnet: stopped at once\n")
