"""The files that make a root a certain board: who it is, who may log in, and what its sensors read."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from harness.lab.boards.kinds import Kind
from harness.lab.machine.programs import call

USER = "bench"
#: Neither a person's nor a service's on any distribution; the kernel counts its processes here as well.
_UID = 61077

#: On a virtual board's root and nowhere else.
VIRTUAL_BOARD = "etc/edgebench-virtual-board"

_CPUS = Path("/sys/devices/system/cpu")
_VCGENCMD = Path(__file__).with_name("vcgencmd.sh")

_PASSWD = f"""\
root:x:0:0:root:/root:/bin/sh
sshd:x:61076:65534::/run/sshd:/usr/sbin/nologin
{USER}:x:{_UID}:{_UID}:edgebench:/home/{USER}:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = f"root:x:0:\ntty:x:5:\nvideo:x:44:{USER}\nshadow:x:42:\n{USER}:x:{_UID}:\nnogroup:x:65534:\n"
_SHADOW = f"root:*:19000:0:99999:7:::\nsshd:!:19000::::::\n{USER}:*:19000:0:99999:7:::\n"
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"


def sshd_config(cpu: str | None, environment: Mapping[str, str] | None = None) -> str:
    """Only the lab's key opens it. sshd hands no environment on, so QEMU's processor is named here."""
    variables = {**({"QEMU_CPU": cpu} if cpu else {}), **(environment or {})}
    # Of two such lines the first would count.
    words = " ".join(
        f'"{name}={value}"' if " " in value else f"{name}={value}" for name, value in variables.items()
    )
    lines = [
        "Port 22",
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "PidFile none",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "UseDNS no",
        "MaxStartups 100",
        "MaxSessions 100",
        f"AllowUsers {USER}",
        "Subsystem sftp internal-sftp",
        *([f"SetEnv {words}"] if words else []),
    ]
    return "\n".join(lines) + "\n"


def meminfo(memory_kib: int) -> str:
    """/proc/meminfo of an idle board of that size; the control group holds it to that."""
    free = memory_kib * 8 // 10
    rows = {
        "MemTotal": memory_kib,
        "MemFree": free,
        "MemAvailable": free,
        "Buffers": 0,
        "Cached": memory_kib // 10,
        "SwapCached": 0,
        "SwapTotal": 0,
        "SwapFree": 0,
    }
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in rows.items())


def system_files(name: str, kind: Kind, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Files of the board's own system, by their paths below its root."""
    return {
        "etc/passwd": _PASSWD,
        "etc/group": _GROUP,
        "etc/nsswitch.conf": _NSSWITCH,
        "etc/hostname": f"{name}\n",
        "etc/hosts": f"127.0.0.1 localhost {name}\n",
        "etc/resolv.conf": "",
        # The agent reads it: not every kernel lets a program see that it is emulated.
        VIRTUAL_BOARD: f"{kind.name}\n",
        "etc/ssh/sshd_config": sshd_config(kind.cpu, environment),
    }


def stand_ins(kind: Kind) -> dict[str, str]:
    """What is laid over /proc and /sys, by paths below the stand-ins' folder."""
    zone = "thermal/thermal_zone0"
    own = {"meminfo": meminfo(kind.memory_kib), "boot_id": f"{uuid.uuid4()}\n"}
    if kind.tree is not None:
        return own
    return {
        **own,
        **{f"vcgencmd/{question}": answer + "\n" for question, answer in kind.vcgencmd.items()},
        **_clocks(kind),
        **_processor(kind),
        **device_tree(kind, "firmware/devicetree/base"),
        f"{zone}/type": "cpu-thermal\n",
        f"{zone}/temp": f"{kind.temperature_mc}\n",
    }


def device_tree(kind: Kind, folder: str) -> dict[str, str]:
    """What the board is, as the kernel lays it out."""
    return {
        f"{folder}/model": kind.model + "\0",
        f"{folder}/compatible": "".join(text + "\0" for text in kind.compatible),
    }


def _clocks(kind: Kind) -> dict[str, str]:
    """One cpufreq policy for all cores, as on a Raspberry Pi."""
    if kind.max_khz is None or kind.min_khz is None:
        return {}
    policy = {
        "cpuinfo_max_freq": kind.max_khz,
        "cpuinfo_min_freq": kind.min_khz,
        "scaling_max_freq": kind.max_khz,
        "scaling_min_freq": kind.min_khz,
        "scaling_cur_freq": kind.max_khz,
        "scaling_governor": "ondemand",
        "scaling_available_governors": "conservative ondemand userspace powersave performance schedutil",
    }
    return {f"cpu/cpufreq/policy0/{name}": f"{value}\n" for name, value in policy.items()}


def _processor(kind: Kind) -> dict[str, str]:
    """/proc/cpuinfo in Linux's form, with as many cores as this machine has."""
    if not kind.cpuinfo:
        return {}
    cores = [{"processor": str(number), **kind.cpuinfo} for number in range(os.cpu_count() or 1)]
    blocks = ["".join(f"{name:<15}\t: {value}\n" for name, value in core.items()) for core in cores]
    return {"cpuinfo": "\n".join(blocks) + f"\nModel\t\t: {kind.model}\n"}


def link_cores(cpu: Path) -> None:
    """The cores that this machine has, the `cpufreq` of each a link to the one policy."""
    for word in ("online", "possible", "present"):
        write_tree(cpu, {word: (_CPUS / word).read_text()})
    for place in _CPUS.glob("cpu[0-9]*"):
        (cpu / place.name).mkdir()
        (cpu / place.name / "cpufreq").symlink_to("../cpufreq/policy0")


def write_board_files(
    folder: Path,
    name: str,
    kind: Kind,
    public_key: str,
    python: Path | None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Write `files` (what its root gets on top) and `stand-ins` below the board's folder."""
    files = folder / "files"
    write_tree(files, system_files(name, kind, environment))
    write_tree(folder / "stand-ins", stand_ins(kind))
    if kind.max_khz is not None:
        link_cores(folder / "stand-ins/cpu")
    if kind.vcgencmd:
        command = files / "usr/bin/vcgencmd"
        write_tree(files, {"usr/bin/vcgencmd": _VCGENCMD.read_text("utf-8")})
        command.chmod(0o755)
    (files / "etc/shadow").touch(mode=0o600)
    (files / "etc/shadow").write_text(_SHADOW)
    call(
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        name,
        "-f",
        files / "etc/ssh/ssh_host_ed25519_key",
    )
    write_tree(files, {f"home/{USER}/.ssh/authorized_keys": public_key})
    for path in (f"home/{USER}", f"home/{USER}/.ssh", f"home/{USER}/.ssh/authorized_keys"):
        os.chown(files / path, _UID, _UID)
    if python is not None:
        open_the_way(files, python)


def write_tree(folder: Path, files: dict[str, str]) -> None:
    """Write the files, everything readable by all whatever the umask is."""
    for path, text in files.items():
        target = folder / path
        missing = [place for place in (target.parent, *target.parent.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir()
            place.chmod(0o755)
        target.write_text(text, "utf-8")
        target.chmod(0o644)


def open_the_way(files: Path, program: Path) -> None:
    """Let the board's user walk to `program` of the host's own system: root's home is closed to others."""
    for place in reversed(program.resolve().parents[:-1]):
        status = place.stat()
        above = files / place.relative_to("/")
        above.mkdir(exist_ok=True)
        os.chown(above, status.st_uid, status.st_gid)
        above.chmod(status.st_mode & 0o7777 | 0o001)
