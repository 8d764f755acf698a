"""Telemetry as a record keeps it: what a board's samples add up to."""

from __future__ import annotations

from typing import Any

import pytest

from device_agents.protocol import BlobRef, CooledDown, SamplesTaken, TelemetrySample
from harness.records.board_evidence import energy_of, telemetry_of

NOTHING = dict.fromkeys(TelemetrySample._fields[2:13])


def sample(phase: str, at: float, **known: Any) -> TelemetrySample:
    return TelemetrySample(**{**NOTHING, "time": 0.0, "phase": phase, "monotonic_s": at, **known})


def loop(began: float, ended: float) -> SamplesTaken:
    file = BlobRef("0" * 64, 8, "samples-0.i64")
    return SamplesTaken(0, file, 1, 1, 0.1, ended - began, 0.1, None, None, "precision", began, ended)


def test_power_counts_only_while_a_timed_loop_runs() -> None:
    told = [
        sample("running", 1.0, power_w=9.0, power_rail="VDD_IN"),  # loading
        *(sample("running", at, power_w=5.0, power_rail="VDD_IN") for at in (11.0, 12.0)),
        sample("running", 13.0, power_w=8.0, power_rail="VDD_IN"),
        sample("after", 30.0, power_w=1.0, power_rail="VDD_IN"),
    ]
    energy = energy_of(told, [loop(10.0, 14.0)], mean_latency_ms=20.0)
    assert energy is not None
    assert (energy.mean_power_w, energy.rail) == (6.0, "VDD_IN")
    assert energy.joules_per_inference == pytest.approx(0.12)


def test_two_readings_give_no_energy() -> None:
    told = [sample("running", at, power_w=5.0, power_rail="VDD_IN") for at in (11.0, 12.0)]
    assert energy_of(told, [loop(10.0, 14.0)], 20.0) is None


def test_the_mean_of_every_rail_is_kept() -> None:
    told = [sample("running", 10.0 + i, rails_w={"VDD_IN": 4.0 + i, "VDD_SOC": 1.0}) for i in range(3)]
    board = telemetry_of(told, [loop(9.0, 20.0)])
    assert board is not None
    assert board.rails_w == {"VDD_IN": 5.0, "VDD_SOC": 1.0}


SINCE_BOOT = 0x50000  # under-voltage and throttling, some time since boot


@pytest.mark.parametrize(
    ("before", "after", "throttled", "under_voltage"),
    [
        (0, 0, False, False),
        (SINCE_BOOT, SINCE_BOOT, False, False),  # long ago
        (0, 0x40000, True, False),
        (0, 0x10000, False, True),
        (0x40000, 0x50000, False, True),
    ],
)
def test_throttling_between_two_samples_shows_in_the_bits_that_stick(
    before: int, after: int, throttled: bool, under_voltage: bool
) -> None:
    told = [sample("before", 0.0, throttle_flags=before), sample("after", 9.0, throttle_flags=after)]
    board = telemetry_of(told, [])
    assert board is not None
    assert (board.throttled, board.under_voltage) == (throttled, under_voltage)


def test_a_board_that_tells_nothing_of_throttling_is_not_said_to_be_fine() -> None:
    board = telemetry_of([sample("before", 0.0), sample("after", 9.0)], [])
    assert board is not None
    assert (board.throttled, board.under_voltage) == (None, None)


def test_power_modes_are_kept_in_the_order_they_were_seen() -> None:
    told = [sample("running", 0.0, power_mode="MAXN (0)"), sample("running", 1.0, power_mode="5W (1)")]
    board = telemetry_of([*told, told[0]], [])
    assert board is not None
    assert board.power_modes == ("MAXN (0)", "5W (1)")


def test_clocks_of_gpu_and_memory_are_those_of_the_running_phase() -> None:
    told = [
        sample("before", 0.0, gpu_mhz=76.8, memory_mhz=204.0),
        sample("running", 1.0, gpu_mhz=921.6, memory_mhz=1600.0, gpu_temperature_c=41.0),
        sample("running", 2.0, gpu_mhz=844.8, memory_mhz=1600.0, gpu_temperature_c=43.5),
    ]
    board = telemetry_of(told, [])
    assert board is not None
    assert (board.gpu_mhz_min, board.gpu_mhz_max) == (844.8, 921.6)
    assert (board.memory_mhz_min, board.memory_mhz_max, board.gpu_temperature_max_c) == (1600, 1600, 43.5)


def test_waiting_to_cool_adds_up() -> None:
    cooling = [CooledDown(0.0, 12.5, 49.0, True), CooledDown(0.0, 3.5, 50.0, True)]
    board = telemetry_of([sample("before", 0.0)], [], cooling)
    assert board is not None
    assert board.cooled_s == 16.0
