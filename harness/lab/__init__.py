"""Virtual boards: a real Debian for the boards' processor, a real sshd, and no hardware."""
