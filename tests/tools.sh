#!/bin/sh
# Install what the tests use and pip cannot bring, where this user may: Chromium, for the service's pages, and g++, for
# kernels of GPUs on a processor. Where it may not, the tests that need them are left out, and say so at their end.
[ -n "$HAMFIT_CHROMIUM" ] || command -v chromium >/dev/null || browser=chromium
command -v g++ >/dev/null || compiler="g++ libc6-dev"
[ -n "$browser$compiler" ] || exit 0
command -v apt-get >/dev/null || exit 0
as_root=
if [ "$(id -u)" != 0 ]; then
	sudo -n true 2>/dev/null || exit 0
	as_root="sudo -n"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing for the tests: $browser $compiler"
$as_root apt-get update -qq >/dev/null 2>&1
# one by one: what cannot be had is no reason to go without the rest
for names in "$browser" "$compiler"; do
	[ -n "$names" ] || continue
	# shellcheck disable=SC2086 # a list of names
	said=$($as_root apt-get install -y -qq --no-install-recommends $names 2>&1) ||
		echo "not installed: $names ($(echo "$said" | tail -n 1)); the tests that need it are left out" >&2
done
exit 0
