"""The systems that boards lie on: Debian, QEMU, the runtimes on top."""
