"""What the lab uses of this machine: network, control groups, formats of programs, installed programs."""
