"""The house rules that keep the stages apart, read from the code's own imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = Path(__file__).resolve().parent.parent / "pipeline"
LEAVES = {path.stem for path in PIPELINE.glob("[a-z]*.py")} - {"combined"}
ALSO = {"learn": {"models"}, "partners": {"learn", "models"}}
PACKAGES = {path.parent.name for path in PIPELINE.glob("*/__init__.py")} - {"stages"}


def _imports(path):
    """Every module a file imports, at the top or inside a function, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _ours(path):
    """First-level names inside `pipeline` that a file imports."""
    return {name.split(".")[1] for name in _imports(path) if name.startswith("pipeline.")}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_meet_in_stages_alone(package):
    for path in (PIPELINE / package).rglob("*.py"):
        allowed = {"models", "errors"} if package == "models" else LEAVES | {package} | ALSO.get(package, set())
        strangers = _ours(path) - allowed
        assert not strangers, f"{path.relative_to(PIPELINE)} imports {sorted(strangers)}"


def test_leaves_import_only_leaves():
    for leaf in LEAVES:
        assert _ours(PIPELINE / f"{leaf}.py") <= LEAVES | {"models"}, leaf


def test_training_and_statistics_never_load_the_clients():
    """On a bare GPU machine there is no caveclient and no cloud-volume."""
    modules = sorted(
        ".".join(path.relative_to(PIPELINE.parent).with_suffix("").parts).removesuffix(".__init__")
        for stage in ("learn", "models", "partners", "stats")
        for path in (PIPELINE / stage).rglob("*.py")
    )
    code = (
        "import importlib, sys\n"
        "sys.modules['caveclient'] = sys.modules['cloudvolume'] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_pickle_is_loaded():
    """Weights from outside are safetensors; `torch.load` appears only with weights_only=True."""
    for path in PIPELINE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "pickle.load", "pickle.loads"}:
                arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert arguments.get("weights_only") == "True", f"{path}:{node.lineno}"
