"""Who the agent is on this board, and which of root's commands it may use without a password."""

import fnmatch
import getpass
import grp
import os
import re
from typing import Dict, List, Optional

from device_agents.boards.commands import NOT_FOUND, Commands
from device_agents.boards.host import Host
from device_agents.performance.jetson import STORE

ALLOWED = "allowed"
PASSWORD = "password required"  # noqa: S105 - no password, but that one is asked for
REFUSED = "not allowed"
NO_SUDO = "no sudo"


def user(commands: Commands) -> Optional[str]:
    """The user's name."""
    said = commands.run("id", "-un")
    if said.status == 0 and said.stdout.strip():
        return said.stdout.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the password file and no variable
        return None


def groups(commands: Commands) -> List[str]:
    """The groups this very process has; one that was added after login is not among them."""
    said = commands.run("id", "-nG")
    if said.status == 0:
        return sorted(set(said.stdout.split()))
    names = []
    for number in {*os.getgroups(), os.getegid()}:
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return sorted(set(names))


def root_commands(host: Host, governor_files: List[str]) -> List[List[str]]:
    """What a performance mode on this board runs as root, each with its full path."""
    found = []
    nvpmodel = host.commands.path("nvpmodel")
    if nvpmodel:
        found.append([nvpmodel, "-m", "0"])
    clocks = host.commands.path("jetson_clocks")
    if clocks:
        found += [[clocks], [clocks, "--store", STORE], [clocks, "--restore", STORE]]
    if clocks:  # it sets the governors as well
        return found
    tee = host.commands.path("tee") or "/usr/bin/tee"
    return found + [[tee, path] for path in governor_files]


def sudo_answers(host: Host, wanted: List[List[str]]) -> Dict[str, str]:
    """For each command line whether it may be run as root now; nothing of it is run."""
    answers = {}
    listing: Optional[str] = None
    for words in wanted:
        line = " ".join(words)
        if host.commands.is_root:
            answers[line] = ALLOWED
            continue
        said = host.commands.run("sudo", "-n", "-l", *words)
        if said.status == NOT_FOUND:
            answers[line] = NO_SUDO
        elif said.status != 0:
            answers[line] = PASSWORD if "password" in said.stderr else REFUSED
        else:
            if listing is None:
                listing = host.commands.run("sudo", "-n", "-l").stdout
            # sudo lists what it would ask a password for as well.
            answers[line] = ALLOWED if without_password(listing, words) else PASSWORD
    return answers


def without_password(listing: str, words: List[str]) -> bool:
    """Whether the rules that `sudo -l` prints let a command through unasked; the last that fits decides."""
    free = False
    for rule in re.split(r"\n\s+(?=\()", listing)[1:]:
        tagged = False
        commands = re.sub(r"^\([^)]*\)", "", rule.partition("\n\n")[0])
        for part in re.split(r"(?<!\\),", commands):
            text = " ".join(part.split())
            for tag in re.findall(r"\b([A-Z_]+):", text):
                tagged = {"NOPASSWD": True, "PASSWD": False}.get(tag, tagged)
            text = re.sub(r"\b[A-Z_]+:\s*", "", text).strip()
            if text and _fits(text.replace("\\", ""), words):
                free = tagged
    return free


def _fits(rule: str, words: List[str]) -> bool:
    """sudoers(5): a command without arguments allows any; otherwise both sides are shell patterns."""
    command, _, arguments = rule.partition(" ")
    if rule == "ALL":
        return True
    if not fnmatch.fnmatchcase(words[0], command):
        return False
    given = " ".join(words[1:])
    return not arguments or (arguments == '""' and not given) or fnmatch.fnmatchcase(given, arguments)
