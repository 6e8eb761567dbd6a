#!/bin/bash
# Runs a command in which Linux runs programs for arm64, by qemu where the machine is another. qemu is registered in
# a user namespace of the command's own: that takes no root, changes nothing outside and ends with the command.
#
#   run.sh COMMAND...
set -euo pipefail

# Reads as an ELF program, or a position-independent one, for arm64 (0xb7): the offsets of elf(5).
readonly MAGIC='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
readonly MASK='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
readonly BINFMT=/proc/sys/fs/binfmt_misc

if [[ $(uname -m) == aarch64 ]]; then
  exec "$@"
fi
if [[ ${1-} != --registered ]]; then
  namespace=(unshare --user --map-root-user --mount)
  "${namespace[@]}" mount -t binfmt_misc binfmt_misc "$BINFMT" || {
    echo "run.sh: cannot register qemu: it takes Linux 6.7, and user namespaces (on Ubuntu only root may)" >&2
    exit 1
  }
  exec "${namespace[@]}" "$0" --registered "$@"
fi
shift
mount -t binfmt_misc binfmt_misc "$BINFMT"
# The kernel reads the escapes itself.
echo ":arm64:M::$MAGIC:$MASK:$(realpath "$(dirname "$0")")/qemu.sh:" >"$BINFMT/register"
exec "$@"
