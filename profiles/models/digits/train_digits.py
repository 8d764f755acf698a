"""Trains the built-in demo model and writes every file of this folder but model.toml.

Needs an environment of its own (Python 3.11, CPU only):
    pip install torch==2.13.0
    pip install litert-torch==0.10.0 scikit-learn onnx onnxscript onnxruntime
    python train_digits.py

The data are the 1797 handwritten digits of scikit-learn (UCI, Alpaydin and Kaynak, CC BY 4.0): 1347 to
train on, 450 held out, drawn per class with a fixed seed. Pixels 0..16 become 0..1.
digits.onnx and digits.tflite hold the same weights and have the same interface:
    image   float32 (N, 8, 8, 1)    scores  float32 (N, 10), logits
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import flatbuffers
import litert_torch
import numpy as np
import onnx
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

FOLDER = Path(__file__).resolve().parent
SEED = 20261121
HELD_OUT = 450
CALIBRATION_IMAGES = 256
EPOCHS = 30
BATCH = 64
#: Five convolutions at full resolution: 29 million multiplications (a quarter of a millisecond on a
#: server's core), so that a measurement is of the network and not of the call, in files below 2 MB.
WIDTHS = (64, 96, 128, 128, 128)


class DigitNet(nn.Module):
    """Five 3x3 convolutions, a mean over the image, one linear layer. (N, 8, 8, 1) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out in pairwise((1, *WIDTHS)):
            layers += [
                nn.Conv2d(channels_in, channels_out, 3, padding=1),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(WIDTHS[-1], 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the ten digits."""
        # One channel: NHWC to NCHW moves no data. A mean, unlike a flatten, fixes no batch size in TFLite.
        features = self.features(image.permute(0, 3, 1, 2)).mean(dim=(2, 3))
        scores: torch.Tensor = self.classifier(features)
        return scores


def main() -> None:
    """Trains, exports both files, checks that they agree, writes the data."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype(np.float32)
    train, held_out, train_labels, held_out_labels = train_test_split(
        images, digits.target.astype(np.int64), test_size=HELD_OUT, stratify=digits.target, random_state=SEED
    )
    model = trained(torch.from_numpy(train), torch.from_numpy(train_labels))
    np.savez_compressed(FOLDER / "evaluation.npz", image=held_out, labels=held_out_labels)
    np.savez_compressed(
        FOLDER / "calibration.npz",
        image=train[:CALIBRATION_IMAGES],
        labels=train_labels[:CALIBRATION_IMAGES],
    )
    export_onnx(model, FOLDER / "digits.onnx")
    export_tflite(model, FOLDER / "digits.tflite")
    report(model, held_out, held_out_labels)


def trained(images: torch.Tensor, labels: torch.Tensor) -> DigitNet:
    """The model after all epochs, in evaluation mode."""
    model = DigitNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            loss = nn.functional.cross_entropy(
                model(shifted(images[rows])), labels[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Augmentation: every batch moved by up to one pixel each way."""
    down, right = (int(step) for step in torch.randint(-1, 2, (2,)))
    padded = nn.functional.pad(images, (0, 0, 1, 1, 1, 1))
    return padded[:, 1 + down : 9 + down, 1 + right : 9 + right, :]


def export_onnx(model: DigitNet, path: Path) -> None:
    """Opset 13, which TensorRT 8.0 and onnxruntime 1.10 still read, with a dynamic batch axis named N."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 8, 8, 1),),
        str(path),
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes={"image": {0: "N"}, "scores": {0: "N"}},
        opset_version=13,
        dynamo=False,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def export_tflite(model: DigitNet, path: Path) -> None:
    """Batch 1, resizable; the signature's entries are renamed to image and scores."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.tflite"
        litert_torch.convert(model, (torch.zeros(1, 8, 8, 1),)).export(str(raw))
        content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(raw.read_bytes()))
    signature: Any = content.signatureDefs[0]
    graph: Any = content.subgraphs[0]
    for entry, name in ((signature.inputs[0], "image"), (signature.outputs[0], "scores")):
        entry.name = name
        graph.tensors[entry.tensorIndex].name = name
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(content.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def report(model: DigitNet, images: np.ndarray, labels: np.ndarray) -> None:
    """Prints accuracy and agreement of the exports; raises if they do not agree."""
    import onnxruntime

    expected = model(torch.from_numpy(images)).detach().numpy()
    session = onnxruntime.InferenceSession(str(FOLDER / "digits.onnx"), providers=["CPUExecutionProvider"])
    from_onnx = session.run(["scores"], {"image": images})[0]
    from_tflite = np.concatenate(
        [_tflite_scores(batch) for batch in np.array_split(images, len(images) // 4)]
    )
    for name, scores in (("torch", expected), ("onnx", from_onnx), ("tflite", from_tflite)):
        correct = int((scores.argmax(1) == labels).sum())
        largest = float(np.abs(scores - expected).max())
        print(f"{name}: {correct} of {len(labels)} correct, largest difference {largest:.2e}")  # noqa: T201
        if largest > 1e-4:
            raise SystemExit(f"{name} disagrees with the trained model by {largest}")


def _tflite_scores(images: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_path=str(FOLDER / "digits.tflite"))
    detail = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(detail["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(detail["index"], images)
    interpreter.invoke()
    scores: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return scores


if __name__ == "__main__":
    main()
