"""A test's sensitivity: worlds of which one parameter differs, each played once, and a table of what they came to."""

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import ConfigError
from headwater.reproduce.bazaar import sensitivity
from headwater.reproduce.bazaar.sensitivity import VARIED, Variant, done, run, variants
from headwater.reproduce.bazaar.sensitivity_page import nearline_pvr, sheet, write_page
from headwater.reproduce.jobs import chosen_jobs
from headwater.retrieval.classic.popular import PopularConfig
from headwater.simulation.arms import ArmConfig, NearlineArm
from headwater.simulation.config import BazaarConfig, WorldConfig

BAZAAR = BazaarConfig(world=WorldConfig(items=1_000, categories=16, departments=4, shops=16, brands=16))


def arms() -> list[ArmConfig]:
    plain = ArmConfig(name="plain", bazaar=BAZAAR, channels=(PopularConfig(),))
    return [plain, plain.model_copy(update={"name": "fresh", "nearline": NearlineArm()})]


def document(pvr: float, relative: float) -> dict[str, Any]:
    ctr = {"control": 0.05, "treatment": 0.05 * (1 + relative), "relative": relative, "low": -0.01, "high": 0.2}
    return {
        "users": 80,
        "arms": ["plain", "fresh"],
        "pvr": {"all channels": 1.0, "popular": 0.9, "nearline": pvr},
        "differences": {"CTR": ctr},
        "row": {"commit": "abc", "machine": "a machine"},
    }


def test_each_variant_changes_one_parameter_and_the_frozen_world_comes_first() -> None:
    found = variants()
    assert found[0].id == "frozen"
    assert len(found) == 1 + sum(len(values) - 1 for values in VARIED.values())
    frozen = Variant("", 0.0).of(arms()[0], 80).bazaar.model_dump()
    for variant in found[1:]:
        other = variant.of(arms()[0], 80).bazaar.model_dump()
        changed = [
            f"{table}.{name}" for table in other for name in other[table] if other[table][name] != frozen[table][name]
        ]
        assert changed == [variant.key]


def test_a_value_that_a_world_cannot_have_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"behaviour\.intent_in_search"):
        Variant("behaviour.intent_in_search", 1.5).of(arms()[0], 80)


def test_variants_are_played_once_and_again_where_an_arm_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "VARIED", {"behaviour.examination": (0.5, 1.0)})
    first = list(run(variants(), arms(), 250, tmp_path))
    assert [variant.id for variant, _ in first] == ["frozen", "examination-1"]
    assert nearline_pvr(first[0][1]) > 0.1
    for variant, found in first:
        assert json.loads((tmp_path / f"{variant.id}.json").read_text()) == found
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert list(run(variants(), arms(), 250, tmp_path)) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    assert done(arms(), 250, tmp_path) == first
    assert done(arms(), 251, tmp_path) == [], "other users"
    changed = [arm.model_copy(update={"stall_seconds": 9.0}) for arm in arms()]
    next(run(variants(), changed, 250, tmp_path))
    assert (tmp_path / "frozen.json").stat().st_mtime_ns != times[tmp_path / "frozen.json"]


def test_worlds_are_chosen_as_shells_do_and_a_stranger_is_named() -> None:
    assert [variant.id for variant in chosen_jobs(variants(), ["drift-*", "frozen"])] == [
        "frozen", "drift-0", "drift-0.2", "drift-0.4"
    ]  # fmt: skip
    assert chosen_jobs(variants(), []) == variants()
    with pytest.raises(ConfigError, match=r"no 'drift-9'; did you mean 'drift-.*'\? \(there are frozen, "):
        chosen_jobs(variants(), ["drift-9"])


def test_the_page_has_a_row_for_each_world_and_its_picture(tmp_path: Path) -> None:
    found = [(variant, document(0.5 + 0.01 * at, 0.1)) for at, variant in enumerate(variants())]
    text = sheet(found).markdown()
    assert "| as frozen | 50.0% | 0.0500 | 0.0550 | +10.0% | -1.0% to +20.0% | - |" in text
    assert "| zipf-0.5 |" in text
    page = write_page(found, tmp_path, lambda _: None).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1
    some = write_page(found[1:3], tmp_path, lambda _: None).read_text(encoding="utf-8")
    assert "data:image/png" not in some, "nothing to be drawn around"
    assert "intent_in_search-0.5" in some
