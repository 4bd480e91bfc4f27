#!/usr/bin/env bash
# Makes lifeboat_VERSION_ARCH.deb from built programs: packaging/deb.sh PROGRAMS OUT
# PROGRAMS is the folder with lifeboat and lifeboat-replicator, OUT the folder for the package. Needs dpkg-dev and binutils, no
# debhelper. The same programs give the same bytes: every time in the package is SOURCE_DATE_EPOCH, or else the last commit's.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
programs=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
arch=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}
umask 022
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/root
put() { install -D -m "$1" "$2" "$root/$3"; }

for program in lifeboat lifeboat-replicator; do
  put 0755 "$programs/$program" "usr/bin/$program"
  strip --strip-unneeded "$root/usr/bin/$program"
done
for unit in systemd/*.service systemd/*.timer systemd/*.socket; do
  [ ! -e "$unit" ] || put 0644 "$unit" "usr/lib/systemd/system/$(basename "$unit")"
done
put 0644 systemd/lifeboat-replicator.sysusers.conf usr/lib/sysusers.d/lifeboat-replicator.conf
put 0644 systemd/lifeboat-replicator.tmpfiles.conf usr/lib/tmpfiles.d/lifeboat-replicator.conf

doc=usr/share/doc/lifeboat
put 0644 systemd/replicator.example.toml "$doc/examples/replicator.example.toml"
for page in docs/operations.md docs/restore-runbook.md docs/threat-model.md docs/format.md docs/metrics.md; do
  [ ! -e "$page" ] || put 0644 "$page" "$doc/$(basename "$page")"
done
for rules in deploy/monitoring/*; do
  [ ! -f "$rules" ] || put 0644 "$rules" "$doc/examples/monitoring/$(basename "$rules")"
done
cat >"$stage/copyright" <<COPYRIGHT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: lifeboat

Files: *
Copyright: 2026 the authors of Lifeboat
License: Apache-2.0
 On Debian systems the text of the license is in /usr/share/common-licenses/Apache-2.0.
COPYRIGHT
put 0644 "$stage/copyright" "$doc/copyright"
# The scripts are three lines around systemd's own tools; debhelper's would ask for debhelper.
printf 'lifeboat: maintainer-script-calls-systemctl [%s]\n' 'postinst:*' 'prerm:*' >"$stage/overrides"
put 0644 "$stage/overrides" usr/share/lintian/overrides/lifeboat
printf 'lifeboat (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/lifeboat/NEWS.gz.\n\n -- Lifeboat <packages@lifeboat.dev>  %s\n' \
  "$version" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$stage/changelog"
put 0644 "$stage/changelog" "$doc/changelog"
put 0644 CHANGELOG.md "$doc/NEWS"
gzip -9n "$root/$doc/changelog" "$root/$doc/NEWS"

"$programs/lifeboat" man "$root/usr/share/man/man1"
"$programs/lifeboat-replicator" man "$root/usr/share/man/man1"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
for program in lifeboat lifeboat-replicator; do
  for shell in bash:bash-completion/completions/$program zsh:zsh/vendor-completions/_$program fish:fish/vendor_completions.d/$program.fish; do
    mkdir -p "$root/usr/share/$(dirname "${shell#*:}")"
    "$programs/$program" completions "${shell%%:*}" >"$root/usr/share/${shell#*:}"
  done
done

mkdir -p "$root/DEBIAN" "$stage/debian"
for script in postinst prerm postrm; do
  install -m 0755 "packaging/debian/$script" "$root/DEBIAN/$script"
done
printf 'Source: lifeboat\n\nPackage: lifeboat\nArchitecture: any\n' >"$stage/debian/control"
depends=$(cd "$stage" && dpkg-shlibdeps -O root/usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
size=$(find "$root" -type f -not -path '*/DEBIAN/*' -printf '%s\n' | awk '{n += int(($1 + 1023) / 1024)} END {print n}')
sed -e "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@DEPENDS@/$depends/; s/@SIZE@/$size/" packaging/debian/control >"$root/DEBIAN/control"
(cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs md5sum) >"$root/DEBIAN/md5sums"
chmod 0644 "$root/DEBIAN/md5sums" "$root/DEBIAN/control"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

package=$out/lifeboat_${version}_${arch}.deb
dpkg-deb --root-owner-group -Zxz "-z${DEB_LEVEL:-6}" --build "$root" "$package.new" >/dev/null
mv "$package.new" "$package"
echo "$package"
