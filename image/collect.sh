#!/bin/sh
# Copies the programs that the driver runs, and what these need to run, from a Debian system into an empty root.
# usage: collect.sh ROOT      (runs in the build's first stage; every file comes from an installed Debian package)
set -eu
root=${1:?the root to fill}

programs="blkid mkfs.ext4 e2fsck resize2fs mkfs.xfs xfs_growfs mkfs.btrfs btrfs"
# The libraries of the driver itself, which is put in later.
libraries="libc.so.6 libm.so.6 libgcc_s.so.1"
files="/etc/mke2fs.conf /etc/ssl/certs/ca-certificates.crt"

# Debian 12 keeps all of these in /usr.
mkdir -p "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/usr/share" "$root/var/lib/dpkg/status.d"
mkdir -m 1777 "$root/tmp"
for directory in bin sbin lib lib64; do
  mkdir -p "$root/usr/$directory"
  ln -s "usr/$directory" "$root/$directory"
done

# copy FILE: the file under its own name, and where that is a link, what it leads to as well.
copy() {
  directory=$(realpath "$(dirname "$1")")
  name=$directory/$(basename "$1")
  real=$(realpath "$1")
  mkdir -p "$root$directory" "$root$(dirname "$real")"
  [ -e "$root$real" ] || { cp "$real" "$root$real"; echo "$real" >> "$root/.copied"; }
  [ "$name" = "$real" ] || [ -e "$root$name" ] || ln -s "$real" "$root$name"
}

# needs PROGRAM: the libraries that the loader takes for it, and the loader.
needs() { ldd "$1" | sed -nE 's/^.*=> (\/[^ ]+).*$/\1/p; s/^\s*(\/[^ ]+).*$/\1/p'; }

for program in $programs; do
  path=$(command -v "$program") || { echo "collect.sh: $program is not installed" >&2; exit 1; }
  copy "$path"
  for library in $(needs "$path"); do copy "$library"; done
done
for library in $libraries; do
  path=$(ldconfig -p | sed -nE "s/^\s*$library .*=> (.+)\$/\1/p" | head -n 1)
  copy "${path:?$library is not installed}"
done
for file in $files; do copy "$file"; done

printf 'root:x:0:0:root:/:/nonexistent\nfairlead:x:65532:65532:fairlead:/:/nonexistent\n' > "$root/etc/passwd"
printf 'root:x:0:\nfairlead:x:65532:\n' > "$root/etc/group"
cp /etc/os-release "$root/etc/os-release"

# Which packages the files are of: for scanners, in the place where they look, with the licences.
while read -r file; do
  # The package database may know the file by its name from before /usr was merged.
  owner=$(dpkg-query -S "$file" 2>/dev/null || dpkg-query -S "${file#/usr}" 2>/dev/null) || {
    # Made by ca-certificates when it is installed.
    case $file in /etc/ssl/certs/*) owner=ca-certificates: ;; *) echo "collect.sh: no package has $file" >&2; exit 1 ;; esac
  }
  echo "${owner%%: *}" | sed 's/[:,].*//'
done < "$root/.copied" | sort -u > "$root/.packages"
rm "$root/.copied"
while read -r package; do
  dpkg-query -s "$package" > "$root/var/lib/dpkg/status.d/$package"
  if [ -e "/usr/share/doc/$package/copyright" ]; then
    mkdir -p "$root/usr/share/doc/$package"
    cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
  fi
done < "$root/.packages"
# shellcheck disable=SC2046 # one argument a package
dpkg-query -W -f 'deb ${Package} ${Version}\n' $(cat "$root/.packages") > "$root/usr/share/packages"
rm "$root/.packages"
