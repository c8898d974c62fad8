#!/bin/sh
# Writes a CycloneDX 1.6 bill of materials from lines of "cargo NAME VERSION" or "deb NAME VERSION".
# usage: sbom.sh VERSION FILE...
set -eu
version=${1:?the version of the driver}
shift
cat "$@" | sort -u | awk -v version="$version" '
  # Nothing is escaped, so nothing may need it.
  NF != 3 || /["\\]/ { print "sbom.sh: cannot tell what this line names: " $0 > "/dev/stderr"; failed = 1; exit 1 }
  BEGIN {
    print "{"
    print "  \"bomFormat\": \"CycloneDX\","
    print "  \"specVersion\": \"1.6\","
    print "  \"version\": 1,"
    print "  \"metadata\": {\"component\": {\"type\": \"application\", \"name\": \"fairlead\", \"version\": \"" version "\"}},"
    print "  \"components\": ["
  }
  {
    purl = ($1 == "deb" ? "pkg:deb/debian/" : "pkg:cargo/") $2 "@" $3
    gsub(/\+/, "%2B", purl)
    printf "%s    {\"type\": \"library\", \"name\": \"%s\", \"version\": \"%s\", \"purl\": \"%s\"}", comma, $2, $3, purl
    comma = ",\n"
  }
  END { if (failed) exit 1; print "\n  ]\n}" }
'
