"""Keras files and SavedModels, each made for one behaviour; a script for a Python with TensorFlow.

usage: keras_networks.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import h5py
import keras
import numpy as np
import tensorflow as tf

layers = keras.layers


def small() -> Any:
    """Image (N, 48, 80, 3) -> mask (N, 48, 80, 4) and logits (N, 64): of every kind of layer one."""
    image = layers.Input((48, 80, 3), name="image")
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False)(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Activation("hard_swish")(x)
    mask = layers.UpSampling2D(2, interpolation="bilinear")(x)
    mask = layers.Conv2D(4, 1, name="mask")(mask)
    x = layers.Dense(64, activation="relu")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, [mask, layers.Dense(64, name="logits")(x)])
    calibrate_norm(model)
    return model


def calibrate_norm(model: Any) -> None:
    """Gives the batch normalisation the figures that noise has where it stands."""
    noise = np.random.RandomState(0).standard_normal((16, 48, 80, 3)).astype(np.float32)
    before = np.asarray(model.layers[1](noise))
    norm = model.get_layer("norm")
    norm.moving_mean.assign(before.mean((0, 1, 2)))
    norm.moving_variance.assign(before.var((0, 1, 2)))


def embedding() -> Any:
    """Row numbers ids (N, 6) below 20 -> (N, 6, 3)."""
    ids = layers.Input((6,), dtype="int32", name="ids")
    return keras.Model(ids, layers.Dense(3, name="dense")(layers.Embedding(20, 4)(ids)))


def odd_names() -> Any:
    """Names that no signature takes, a dict of outputs, and an output that is the input."""
    given = layers.Input((4,), name="in put:1")
    return keras.Model(given, {"a b": layers.Dense(2)(given), "raw": given})


def states() -> Any:
    """One layer with three outputs."""
    given = layers.Input((2, 2), name="steps")
    return keras.Model(given, layers.LSTM(4, return_state=True, name="lstm")(given))


class Scale(layers.Layer):
    """A layer that no other program has."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2.0


def on_four(layer: Any) -> Any:
    given = layers.Input((4,), name="x")
    return keras.Model(given, layer(given))


class Functions(tf.Module):
    """Signatures of SavedModels, each with something about it."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    def python(self, x: Any) -> Any:
        return {"y": tf.py_function(lambda value: value * 2, [x], tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    def writes(self, x: Any) -> Any:
        tf.io.write_file("written", tf.constant("by the model"))
        return {"y": x}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def any_rank(self, x: Any) -> Any:
        return {"y": x * 2.0}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def picks(self, x: Any) -> Any:
        return {"y": tf.boolean_mask(x, x[:, 0] > 0)}


def write_all(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    network = small()
    network.save(folder / "small.keras")
    network.save(folder / "small.h5")
    network.export(folder / "small", verbose=False)
    network.save_weights(folder / "small.weights.h5")
    embedding().save(folder / "embedding.keras")
    odd_names().save(folder / "odd_names.keras")
    states().save(folder / "states.keras")
    keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 96, 3)).save(folder / "v3.keras")
    keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 96, 3)).save(folder / "v3.h5")
    on_four(layers.Lambda(lambda x: x * 2)).save(folder / "lambda.keras")
    on_four(layers.Lambda(lambda x: x * 2, name="doubled")).save(folder / "lambda.h5")
    on_four(Scale()).save(folder / "custom.keras")
    on_four(Scale()).save(folder / "custom.h5")
    on_four(lambda x: keras.ops.erfinv(x)).save(folder / "erfinv.keras")
    keras.Sequential([layers.Dense(3)]).save(folder / "unbuilt.keras")
    sequential = keras.Sequential([layers.Input((4,), name="x"), layers.Dense(3, name="dense")])
    sequential.save(folder / "sequential.keras")
    with h5py.File(folder / "elsewhere.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink("/etc/hostname", "/secret")
        file.attrs["model_config"] = "{}"
    functions = Functions()
    for name in ("python", "writes", "any_rank", "picks"):
        signatures = {"serving_default": getattr(functions, name)}
        tf.saved_model.save(functions, str(folder / name), signatures=signatures)
    two = {"one": functions.picks, "other": functions.any_rank}
    tf.saved_model.save(functions, str(folder / "two_signatures"), signatures=two)
    tf.saved_model.save(tf.Module(), str(folder / "no_signature"))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
