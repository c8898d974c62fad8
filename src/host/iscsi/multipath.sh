#!/bin/sh
# Does what multipath -f and multipathd resize map do to a made-up machine.
root=@ROOT@
echo "${0##*/} $*" >>"$root/log"
map=$root/sys/block/dm-0
case "${0##*/} $*" in
  "multipath -f mpatha")
    [ ! -e "$root/busy" ] || { echo "mpatha: map in use" >&2; exit 1; }
    rm -r "$map" "$root/dev/dm-0" "$root"/sys/block/*/holders/dm-0
    ;;
  "multipathd resize map mpatha") cat "$root/sys/block/sda/size" >"$map/size" ;;
  *) exit 1 ;;
esac
