"""Power rails of Jetsons: INA3221 and INA238 monitors, by whichever files the kernel has for them.

JetPack 4 shows them as iio devices in milliwatts, later kernels as hwmon devices in millivolts and
milliamperes (INA3221) or microwatts (INA238). Which rail is which is only in their labels; the numbers of
devices vary by boot.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from device_agents.boards.linux_files import LinuxFiles

#: Where JetPack 4's driver puts its devices; the second is where the first's links lead.
_IIO = ("/sys/bus/iio/devices/iio:device*", "/sys/bus/i2c/drivers/ina3221x/*/iio:device*")

#: Rails that are the whole supply already. VIN on Thor is that of the carrier board, not of the module alone.
_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")

#: Boards without such a rail, where these together are everything that flows into the module. On AGX Xavier
#: each of the six is a supply of its own (Jetson AGX Xavier product design guide DG-09840, figure 5-14). On
#: AGX Orin VDDQ_VDD2_1V8AO is left out: it is fed from VIN_SYS_5V0 and would count twice.
_SUMS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)

#: Labels of channels that measure no rail of their own.
_NO_RAIL = ("NC", "sum of shunt voltages")


class _Channel(NamedTuple):
    """A rail and how to read it, in watts."""

    rail: str
    watts: Callable[[], Optional[float]]


class PowerRails:
    """The monitors under `files`, looked for once: a running board gets no new ones."""

    def __init__(self, files: LinuxFiles) -> None:
        self._files = files
        self._channels: Optional[List[_Channel]] = None

    def watts(self) -> Dict[str, float]:
        """Power by rail. A rail that cannot be read now is not in it."""
        if self._channels is None:
            self._channels = self._hwmon() + self._iio()
        read = [(channel.rail, channel.watts()) for channel in self._channels]
        return {rail: watts for rail, watts in read if watts is not None}

    def _hwmon(self) -> List[_Channel]:
        """INA3221 channels have labels; an INA238 has one channel and, on Thor, measures VIN."""
        channels = []
        for monitor in self._monitors("/sys/class/hwmon/hwmon*"):
            if self._files.integer(monitor + "/power1_input") is not None:
                rail = self._files.text(monitor + "/in1_label") or "VIN"
                channels.append(self._channel(rail, 1e6, monitor + "/power1_input"))
                continue
            for path in self._files.matches(monitor + "/in[0-9]*_label"):
                number = path[path.rindex("/in") + len("/in") : -len("_label")]
                volts, amperes = (monitor + "/" + name + number + "_input" for name in ("in", "curr"))
                channels.append(self._channel(self._files.text(path), 1e6, volts, amperes))
        return [channel for channel in channels if channel is not None]

    def _iio(self) -> List[_Channel]:
        channels = []
        monitors = self._monitors(_IIO[0]) or self._monitors(_IIO[1])
        for monitor in monitors:
            for path in self._files.matches(monitor + "/rail_name_[0-9]*"):
                number = path.rpartition("_")[2]
                power = "{}/in_power{}_input".format(monitor, number)
                channels.append(self._channel(self._files.text(path), 1e3, power))
        return [channel for channel in channels if channel is not None]

    def _monitors(self, pattern: str) -> List[str]:
        return [path for path in self._files.matches(pattern) if self._is_ina(path)]

    def _is_ina(self, path: str) -> bool:
        return (self._files.text(path + "/name") or "").startswith("ina")

    def _channel(self, rail: Optional[str], per_watt: float, *paths: str) -> Optional[_Channel]:
        """A rail that is the product of its files' numbers, in parts of a watt."""
        if rail is None or rail in _NO_RAIL:
            return None

        def watts() -> Optional[float]:
            product = 1
            for path in paths:
                value = self._files.integer(path)
                if value is None:
                    return None
                product *= value
            return product / per_watt

        return _Channel(rail, watts)


def total(rails_w: Dict[str, float]) -> Tuple[Optional[float], Optional[str]]:
    """What the board takes in watts, and which rail or sum of rails says so; nothing rather than a part."""
    for rail in _WHOLE:
        if rail in rails_w:
            return rails_w[rail], rail
    for rails in _SUMS:
        if all(rail in rails_w for rail in rails):
            return round(sum(rails_w[rail] for rail in rails), 6), " + ".join(rails)
    return None, None
