#!/bin/sh
# What run.sh has the kernel run arm64 programs by: qemu, with the libraries of Debian's libc6-arm64-cross.
exec qemu-aarch64 -L /usr/aarch64-linux-gnu "$@"
