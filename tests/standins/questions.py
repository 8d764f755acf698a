"""What a TensorRT package does with broken models and wrong calls: asked of the real one and of the stand-in.

    python questions.py PACKAGE MODELS.json

prints the answers; the file has each model as hexadecimal digits under its name.
"""

import importlib
import json
import sys
from pathlib import Path


def answers(trt, models):
    """Of everything that needs no GPU, in an order of its own."""

    class Log(trt.ILogger):
        """Keeps nothing."""

        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            """Forget it."""

    log = Log()
    builder = trt.Builder(log)
    said = [_parsing(trt, builder, log, name, data) for name, data in sorted(models.items())]
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    parser.parse(models["relu"])
    return [*said, *_building(trt, builder, network), *_wrong_calls(trt, builder, network)]


def _parsing(trt, builder, log, name, data):
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    said = [name, parser.parse(data), parser.num_errors, network.num_inputs]
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        said += [
            error.code().name,
            error.node(),
            error.node_name(),
            error.node_operator(),
            error.desc(),
            str(error),
        ]
    return said


def _building(trt, builder, network):
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    shape, flag = network.get_input(0).shape, trt.BuilderFlag.TF32
    yield [shape == (1, 4), shape == (1, 4), list(shape), shape[1:], repr(shape), isinstance(shape, tuple)]
    yield [
        bool(profile),
        profile.set_shape("x", (1, 4), (1, 4), (1, 4)),
        bool(profile),
        config.get_flag(flag),
    ]
    yield [config.add_optimization_profile(profile), config.num_optimization_profiles, flag == int(flag)]
    yield [
        int(config.profiling_verbosity),
        network.num_layers,
        network.get_layer(0).name,
        network.get_input(7),
    ]
    plan = builder.build_serialized_network(network, config)
    yield [type(plan).__name__, plan.nbytes == len(bytes(plan)), trt.nptype(trt.float32).__name__]
    yield [repr(trt.MemoryPoolType.WORKSPACE), str(trt.DataType.HALF), builder.num_DLA_cores, config.flags]


def _wrong_calls(trt, builder, network):
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()

    class Forgetful(trt.ILogger):
        """Does not call the constructor of its base."""

        def __init__(self):
            pass

    calls = {
        "an attribute made up": lambda: setattr(config, "nosuch", 1),
        "an attribute of an older version": lambda: config.max_workspace_size,
        "the same set": lambda: setattr(config, "max_workspace_size", 1),
        "a count set": lambda: setattr(config, "num_optimization_profiles", 3),
        "a flag by number": lambda: config.set_flag(1),
        "a pool by name": lambda: config.set_memory_pool_limit("WORKSPACE", 1),
        "a shift by a flag": lambda: 1 << trt.BuilderFlag.TF32,
        "no network": lambda: builder.build_serialized_network(None, config),
        "no logger": lambda: trt.Builder("x"),
        "a base without its constructor": Forgetful,
        "shapes out of order": lambda: profile.set_shape("x", (1, 4), (9, 4), (4, 4)),
        "shapes of several ranks": lambda: profile.set_shape("x", (1, 4), (1, 4, 1), (4, 4)),
        "whether they are good": lambda: bool(profile),
        "such a profile added": lambda: config.add_optimization_profile(profile),
        "shapes of an input there is not": lambda: profile.get_shape("z"),
        "an output there is not": lambda: network.get_output(3),
        "workspace below nothing": lambda: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, -1),
    }
    for name, call in calls.items():
        try:
            yield [name, call()]
        except Exception as error:  # noqa: BLE001 - which one is the answer
            yield [name, type(error).__name__]


def main():
    """As the module's docstring says."""
    package, path = sys.argv[1:]
    found = json.loads(Path(path).read_text())
    models = {name: bytes.fromhex(data) for name, data in found.items()}
    sys.stdout.write(json.dumps(answers(importlib.import_module(package), models)) + "\n")


if __name__ == "__main__":
    main()
