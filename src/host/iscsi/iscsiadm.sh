#!/bin/sh
# Does what iscsiadm(8) does to a made-up machine, with its exit codes. Every call is noted in `log`.
root=@ROOT@
echo "iscsiadm $*" >>"$root/log"
[ "$1 $2" = "-m node" ] || exit 7
shift 2
op=show
while [ $# -gt 0 ]; do
  case $1 in
    -T) target=$2; shift 2 ;;
    -p) portal=$2; shift 2 ;;
    --op) op=$2; shift 2 ;;
    -n) name=$2; shift 2 ;;
    -v) value=$2; shift 2 ;;
    --login | --logout) op=${1#--}; shift ;;
    *) exit 7 ;;
  esac
done
record=$root/db/$target@$portal
[ "$op" = new ] || [ -d "$record" ] || { echo "iscsiadm: No records found" >&2; exit 21; }
session() { cat "$record/session" 2>/dev/null; }
case $op in
  show) ;;
  new) mkdir -p "$record" ;;
  update) echo "$value" >"$record/$name" ;;
  delete) rm -r "$record" ;;
  login)
    [ -z "$(session)" ] || { echo "iscsiadm: default: 1 session requested, but 1 already present." >&2; exit 15; }
    if [ -e "$root/refuse/$portal" ]; then
      echo "iscsiadm: Could not login to [portal: $portal]." >&2
      exit "$(cat "$root/refuse/$portal")"
    fi
    [ -e "$root/targets/$target/$portal" ] || { echo "iscsiadm: initiator reported error (19)" >&2; exit 19; }
    read -r disk numbers sectors device <"$root/targets/$target/$portal"
    # Logins at several portals go on at once.
    n=0
    until mkdir "$root/sys/class/iscsi_session/session$n" 2>/dev/null; do n=$((n + 1)); done
    block=$root/sys/block/$disk
    mkdir -p "$block/device" "$block/holders"
    echo "$numbers" >"$block/dev"
    echo "$sectors" >"$block/size"
    echo "$((n + 1))" >"$block/diskseq"
    echo running >"$block/device/state"
    : >"$block/device/rescan"
    ln -s "$root/sys/bus/scsi" "$block/device/subsystem"
    ln -s "$device" "$root/dev/$disk"
    mkdir -p "$root/sys/devices/host$n/session$n/target$n:0:0/$n:0:0:0/block/$disk"
    connection=$root/sys/class/iscsi_connection/connection$n:0
    mkdir -p "$connection"
    echo "${portal%:*}" >"$connection/persistent_address"
    echo "${portal##*:}" >"$connection/persistent_port"
    # The controller that serves the target.
    echo 10.9.9.9 >"$connection/address"
    ln -s "$root/sys/devices/host$n/session$n" "$root/sys/class/iscsi_session/session$n/device"
    echo "$target" >"$root/sys/class/iscsi_session/session$n/targetname"
    echo "$n" >"$record/session"
    ;;
  logout)
    n=$(session)
    [ -n "$n" ] || { echo "iscsiadm: No matching sessions found" >&2; exit 21; }
    [ ! -e "$root/busy" ] || { echo "iscsiadm: Session is in use" >&2; exit 28; }
    for disk in "$root/sys/devices/host$n/session$n/"target*/*/block/*; do
      rm -r "$root/sys/block/${disk##*/}" "$root/dev/${disk##*/}"
    done
    rm -r "$root/sys/devices/host$n" "$root/sys/class/iscsi_connection/connection$n:0" \
      "$root/sys/class/iscsi_session/session$n" "$record/session"
    ;;
  *) exit 7 ;;
esac
