"""What the user may call a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convert.sources.source import Source
from harness.errors import ConfigurationError, UsageError
from harness.models import find_models
from profiles.model_spec import PreprocessingSpec


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model(path: Path, content: bytes = b"model") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_a_model_called_like_it(here: Path) -> None:
    (found,) = find_models([str(model(here / "net.ONNX"))])
    assert (found.name, dict(found.sources)) == ("net", {"onnx": Source("onnx", here / "net.ONNX")})


def test_a_built_in_model_is_found_by_its_name() -> None:
    (found,) = find_models(["digits"])
    assert (found.name, set(found.sources), found.metric) == ("digits", {"onnx", "tflite"}, "top1")
    assert found.dataset is not None
    assert found.calibration is not None


@pytest.mark.parametrize("word", ["net/model.toml", "net"])
def test_a_model_toml_or_its_folder_says_everything(here: Path, word: str) -> None:
    model(here / "net" / "weights.tflite")
    spec = """
        name = "my-net"
        metric = "top5"
        [sources]
        tflite = "weights.tflite"
        [inputs.image]
        shape = [1, 8, 8, 3]
        [preprocessing]
        mean = [0.5]
        layout = "NHWC"
    """
    (here / "net" / "model.toml").write_text(spec)
    (found,) = find_models([word])
    assert (found.name, found.metric, dict(found.shapes)) == ("my-net", "top5", {"image": (1, 8, 8, 3)})
    assert found.sources["tflite"].path == Path("net/weights.tflite")
    assert found.preprocessing == PreprocessingSpec(mean=(0.5,), layout="NHWC")


def test_a_missing_file_is_named_with_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"model 'nett\.onnx': no such file") as error:
        find_models(["nett.onnx"])
    assert "built in: digits" in (error.value.remedy or "")


def test_a_misspelt_name_is_guessed() -> None:
    with pytest.raises(UsageError) as error:
        find_models(["digit"])
    assert "did you mean 'digits'?" in (error.value.remedy or "")


def test_another_kind_of_file_is_refused(here: Path) -> None:
    with pytest.raises(UsageError, match=r"suffix '\.caffemodel', which is not a known model format"):
        find_models([str(model(here / "net.caffemodel"))])


def test_a_factory_is_a_model_called_like_its_function(here: Path) -> None:
    (found,) = find_models(["nets.small:make_net"])
    source = Source("pytorch", None, "nets.small:make_net", search=here)
    assert (found.name, dict(found.sources)) == ("make_net", {"pytorch": source})


def test_a_factory_of_a_model_toml_is_imported_from_its_folder(here: Path) -> None:
    model(here / "net" / "weights.pth")
    (here / "net" / "model.toml").write_text(
        'name = "n"\n[sources]\npytorch = "nets:make"\nweights = "weights.pth"\n[inputs.x]\nshape = [1, 3]\n'
    )
    (found,) = find_models(["net"])
    assert found.sources["pytorch"] == Source(
        "pytorch", Path("net/weights.pth"), "nets:make", search=here / "net"
    )


def test_a_faulty_model_toml_tells_all_its_faults(here: Path) -> None:
    (here / "model.toml").write_text('nmae = "x"\n[sources]\nonnx = 3\n')
    with pytest.raises(ConfigurationError) as error:
        find_models(["model.toml"])
    assert len(error.value.faults) == 3


def test_models_of_the_same_name_are_told_apart_by_their_folders(here: Path) -> None:
    words = [str(model(here / folder / "model.onnx")) for folder in ("a", "b")]
    assert [found.name for found in find_models(words)] == ["model", "b/model"]


def test_models_that_cannot_be_told_apart_are_refused(here: Path) -> None:
    words = [str(model(here / folder / "model.onnx")) for folder in ("a", "x/b", "y/b")]
    with pytest.raises(UsageError, match="two models are called 'b/model'"):
        find_models(words)


def test_the_same_model_named_twice_is_one_model(here: Path) -> None:
    word = str(model(here / "net.onnx"))
    assert [found.name for found in find_models([word, "digits", word, "digits"])] == ["net", "digits"]


# --- identity -------------------------------------------------------------------------------------


def test_a_models_identity_changes_with_its_content_and_not_with_its_time(here: Path) -> None:
    path = model(here / "net.onnx")
    (found,) = find_models([str(path)])
    before = found.identity()
    os.utime(path, (1, 1))
    assert found.identity() == before
    path.write_bytes(b"other")
    assert found.identity() != before


def test_a_models_identity_changes_with_an_image_of_its_dataset(here: Path) -> None:
    from dataclasses import replace

    images = model(here / "images" / "cat" / "1.png").parents[1]
    (found,) = find_models([str(model(here / "net.onnx"))])
    found = replace(found, dataset=images)
    before = found.identity()
    assert found.identity() == before
    (images / "cat" / "1.png").write_bytes(b"MODEL")  # as long as before
    os.utime(images / "cat" / "1.png", (1, 1))
    assert found.identity() != before
