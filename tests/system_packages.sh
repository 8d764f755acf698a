#!/usr/bin/env bash
# Installs what the tests want from the system, where this user may; says plainly what is left out and why.
set -u

wanted=()
[ -x /usr/sbin/sshd ] || command -v sshd >/dev/null || wanted+=(openssh-server)
command -v ssh >/dev/null || wanted+=(openssh-client)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || wanted+=(chromium)
# Virtual boards (bench lab).
command -v ip >/dev/null || wanted+=(iproute2)
command -v mmdebstrap >/dev/null || wanted+=(mmdebstrap)
command -v arch-test >/dev/null || wanted+=(arch-test)
command -v sudo >/dev/null || wanted+=(sudo)  # the virtual Jetson's, whose user raises its clocks
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || wanted+=(debian-archive-keyring)

if [ ${#wanted[@]} -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "left out: ${wanted[*]} (no apt-get here; install them yourself, the tests that need them are skipped)"
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "left out: ${wanted[*]} (not root; try: sudo apt-get install ${wanted[*]}; the tests that need them are skipped)"
  exit 0
fi
echo "installing ${wanted[*]}"
log=$(mktemp)
if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${wanted[@]}"; } >"$log" 2>&1; then
  tail -5 "$log"
  echo "left out: ${wanted[*]} (apt-get failed, see above; the tests that need them are skipped)"
fi
rm -f "$log"
