"""Shared by all tests: shapes and types of annotated functions are checked while they run."""

from pathlib import Path

from jaxtyping import install_import_hook

SOURCE = Path(__file__).parents[1] / "src"
# scikit-learn's own checks pass settings of wrong types on purpose, to be refused in fit.
UNCHECKED = {"abpnet.estimator"}

modules = {".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*.py")}
install_import_hook(sorted(name for name in modules - UNCHECKED if "__" not in name), "beartype.beartype")
