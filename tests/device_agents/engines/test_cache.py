"""Engines kept between jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from device_agents.engines import cache as engine_cache
from device_agents.engines.cache import EngineCache, engine_key
from device_agents.workspace import Workspace
from tests.device_agents.board import names_in

KEY = "a" * 64


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(str(tmp_path))


def keep(cache: EngineCache, key: str = KEY, content: bytes = b"plan") -> Path:
    with cache.new(key) as target:
        Path(target).write_bytes(content)
        return Path(cache.keep(key, {"seconds": 1.5}).plan)


def test_an_engine_that_was_kept_is_found_with_its_note(cache: EngineCache) -> None:
    keep(cache)
    found = cache.find(KEY)
    assert found is not None
    assert (Path(found.plan).read_bytes(), found.note["seconds"], found.note["bytes"]) == (b"plan", 1.5, 4)


def test_the_key_does_not_depend_on_the_order_of_what_it_stands_for() -> None:
    assert engine_key({"gpu": "Orin", "flags": ["FP16"]}) == engine_key({"flags": ["FP16"], "gpu": "Orin"})
    assert engine_key({"gpu": "Orin"}) != engine_key({"gpu": "Thor"})


def test_an_engine_that_was_never_kept_is_not_there(cache: EngineCache) -> None:
    assert cache.find(KEY) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "no note", "a note of another key", "half a note"])
def test_an_engine_that_is_not_whole_is_not_found(cache: EngineCache, damage: str) -> None:
    plan = keep(cache)
    note = plan.with_name("engine.json")
    if damage == "cut":
        plan.write_bytes(b"pla")
    elif damage == "changed":
        plan.write_bytes(b"plam")
    elif damage == "no note":
        note.unlink()
    elif damage == "half a note":
        note.write_bytes(note.read_bytes()[:20])
    else:
        note.write_text(json.dumps(dict(json.loads(note.read_text()), key="b" * 64)))
    assert cache.find(KEY) is None


def test_a_build_that_failed_leaves_nothing(cache: EngineCache) -> None:
    with pytest.raises(RuntimeError), cache.new(KEY) as target:
        Path(target).write_bytes(b"half a plan")
        raise RuntimeError
    assert names_in(cache.folder) == []


def test_what_a_killed_build_left_behind_goes_with_the_next(cache: EngineCache) -> None:
    leftover = Path(cache.folder) / ("b" * 64 + ".part")
    leftover.mkdir()
    (leftover / "engine.plan").write_bytes(b"half a plan")
    keep(cache)
    assert names_in(cache.folder) == [KEY]


def test_the_least_recently_used_engine_goes_and_shared_folders_stay(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_cache, "ENGINE_BUDGET_BYTES", 3900)  # three, with their notes
    (Path(cache.folder) / "timing").mkdir()
    for age, key in enumerate("abc"):
        os.utime(keep(cache, key * 64, b"x" * 1000).parent, (1000.0 + age, 1000.0 + age))
    cache.find("a" * 64)  # used just now, so the second oldest goes
    keep(cache, "d" * 64, b"x" * 1000)
    assert [name[0] for name in names_in(cache.folder)] == ["a", "c", "d", "t"]


def test_an_engine_over_the_budget_all_by_itself_is_kept(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_cache, "ENGINE_BUDGET_BYTES", 10)
    keep(cache)
    assert cache.find(KEY) is not None


def test_clean_removes_engines_and_what_builds_share(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    workspace.create()
    keep(EngineCache(workspace.engines), content=b"x" * 5000)
    (Path(workspace.engines) / "timing").mkdir()
    assert workspace.clean() > 5000
    assert names_in(workspace.engines) == []


def test_clean_leaves_engines_alone_while_a_job_runs(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    workspace.create()
    keep(EngineCache(workspace.engines))
    held = workspace.try_board("job-1")
    assert held is not None
    with held:
        workspace.clean()
    assert names_in(workspace.engines) == [KEY]
