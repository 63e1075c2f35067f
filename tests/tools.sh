#!/bin/sh
# Install what the tests use and pip cannot bring, where this user may: Chromium, for the service's pages, and g++, for
# kernels of GPUs on a processor. Where it may not, the tests that need them are left out, and say so at their end.
missing=
[ -n "$HAMFIT_CHROMIUM" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing="chromium"
command -v g++ >/dev/null || missing="$missing g++ libc6-dev"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || exit 0
as_root=
if [ "$(id -u)" != 0 ]; then
	sudo -n true 2>/dev/null || exit 0
	as_root="sudo -n"
fi
export DEBIAN_FRONTEND=noninteractive
# what cannot be installed is no reason not to run the rest
$as_root apt-get update -qq >/dev/null 2>&1
# shellcheck disable=SC2086 # a list of names
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
	echo "not installed: $missing; the tests that need them are left out" >&2
exit 0
