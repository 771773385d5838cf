"""The rooms, and the one way that arrows point between them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "headwater"

LEAVES = {"config", "errors"}

ROOMS_BELOW = {
    "errors": set(),
    "config": {"errors"},
    "home": set(),
    "network": {"errors"},
    "metrics": {"errors"},
    "index": {"errors"},
    "store": {"errors"},
    "data": LEAVES,
    "nn": LEAVES | {"data", "metrics"},
    "retrieval": LEAVES | {"data", "metrics", "nn", "index"},
    "ranking": LEAVES | {"data", "metrics", "nn", "retrieval"},
    "knowledge": LEAVES | {"data", "metrics", "nn", "network", "ranking", "retrieval", "store"},
    "profile": LEAVES | {"data", "store"},
    "nearline": LEAVES | {"data", "network", "retrieval", "store"},
    "release": LEAVES | {"data", "ranking", "retrieval"},
    "recipe": LEAVES | {"data", "ranking", "retrieval"},
    "experiment": LEAVES | {"data", "home", "metrics", "profile", "ranking", "recipe", "release", "retrieval", "store"},
    "service": LEAVES
    | {"data", "home", "knowledge", "nearline", "network", "profile", "ranking", "release", "retrieval", "store"},
    "simulation": LEAVES | {"data", "index", "nearline", "ranking", "retrieval", "service", "store"},
    "search": LEAVES | {"data", "ranking", "retrieval"},
    "show": {"experiment", "metrics", "release", "service"},
    "demo": {"*"},
    "reproduce": {"*"},
    "cli": {"*"},
    "__main__": {"cli"},
}
"""Room -> rooms that it may import. `*`: all of them; nothing imports such a room."""

FORBIDDEN = {
    "metrics": {"polars", "faiss", "gensim", "msgspec", "torch"},
    "nn": {"polars", "faiss", "gensim", "msgspec"},
    "retrieval": {"polars", "faiss", "gensim", "msgspec"},
    "ranking": {"polars", "faiss", "gensim", "msgspec"},
    "knowledge": {"polars", "faiss", "gensim"},
    "simulation": {"polars", "faiss", "gensim", "lmdb", "redis"},
    "nearline/operator.py": {"torch", "lmdb", "redis", "polars"},
}
"""Part of the tree -> packages that it must not import, for a training machine or a stream has none of them."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    allowed = ROOMS_BELOW[room] | {room}
    if "*" in allowed:
        return
    reached = {name.split(".")[1] for name in imported(path) if name.startswith("headwater.")} & ROOMS_BELOW.keys()
    assert reached <= allowed, f"{path.name} of {room} imports {sorted(reached - allowed)}"


@pytest.mark.parametrize("place", FORBIDDEN)
def test_a_light_room_does_without_heavy_packages(place: str) -> None:
    root = SOURCE / place
    for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
        packages = {name.split(".")[0] for name in imported(path)}
        assert not packages & FORBIDDEN[place], f"{path} imports {packages & FORBIDDEN[place]}"


def test_every_module_belongs_to_a_known_room_and_no_room_is_empty() -> None:
    rooms = {room_of(path) for path in modules()} - {"__init__"}
    assert rooms <= ROOMS_BELOW.keys()
    for room in rooms:
        if (SOURCE / room).is_dir():
            assert [path for path in (SOURCE / room).rglob("*.py") if path.name != "__init__.py"], room


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_headwater_loads_no_heavy_package() -> None:
    heavy = {"torch", "polars", "pyarrow", "numba", "scipy", "litestar", "granian", "matplotlib", "lmdb", "pydantic"}
    assert not loaded_by("import headwater") & heavy


def test_the_public_names_are_the_documented_ones_and_all_resolve() -> None:
    import headwater

    assert sorted(headwater.__all__) == headwater.__all__
    for name in headwater.__all__:
        assert getattr(headwater, name) is not None
    assert set(dir(headwater)) >= set(headwater.__all__)


SEES_THE_TRUTH = {"latents.py", "world.py", "fitted.py", "behaviour_kernels.py", "shoppers.py"}
"""What makes a bazaar's users and lets them act."""


def test_nothing_that_finds_or_ranks_can_see_what_a_bazaars_users_want() -> None:
    hidden = {"headwater.simulation.latents", "headwater.simulation.behaviour_kernels"}
    makers = hidden | {f"headwater.simulation.{name}" for name in ("world", "fitted", "shoppers", "audience")}
    for path in modules():
        names = imported(path)
        if room_of(path) not in {"simulation", "cli", "reproduce"}:
            assert not {name for name in names if name.startswith("headwater.simulation")}, path
        if path.name not in SEES_THE_TRUTH:
            assert not names & hidden, path
    for name in ("catalogue", "scenarios", "ranking", "ranking_kernels", "homepage", "blocks"):
        path = SOURCE / "simulation" / f"{name}.py"
        assert not imported(path) & (makers | {"headwater.simulation.play"}), path


def test_nothing_that_finds_or_ranks_loads_what_knows_the_truth_not_even_through_others() -> None:
    ours = ["homepage", "ranking", "ranking_kernels", "scenarios", "catalogue", "blocks"]
    rooms = ["retrieval", "ranking", "nearline", "service", "index", "knowledge"]
    names = [f"headwater.simulation.{name}" for name in ours]
    for room in rooms:
        paths = [path.relative_to(SOURCE).with_suffix("") for path in sorted((SOURCE / room).rglob("*.py"))]
        names += ["headwater." + ".".join(path.parts) for path in paths if "flink" not in path.parts]
    loaded = loaded_by(f"import importlib; [importlib.import_module(name) for name in {names!r}]")
    assert "headwater.simulation.homepage" in loaded
    truth = {f"headwater.simulation.{name.removesuffix('.py')}" for name in SEES_THE_TRUTH}
    assert not loaded & truth
