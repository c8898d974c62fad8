{{/*
What the schema cannot judge, or not in words that say what to do. Ends the rendering with the first fault.
*/}}
{{- define "fairlead.check" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is not set: build the image with `make image IMAGE=<registry>/fairlead:<tag>`, push it, and set image.repository and image.tag" -}}
{{- end -}}
{{- if not .Values.backends -}}
{{- fail "backends is empty: configure at least one, such as --set backends.here.kind=file,backends.here.directory=/srv/volumes" -}}
{{- end -}}
{{- include "fairlead.check.backends" . -}}
{{- include "fairlead.check.classes" . -}}
{{- end }}

{{- define "fairlead.check.backends" -}}
{{- $names := keys .Values.backends | sortAlpha | join ", " -}}
{{- $directories := dict -}}
{{- range $name, $backend := .Values.backends -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$" $name) -}}
{{- fail (printf "backends.%s: the name of a back end has 1 to 32 lower-case letters, digits and inner '-'" $name) -}}
{{- end -}}
{{- /* The driver itself sees only its own back ends, so it cannot find those of another one. */ -}}
{{- with $backend.directory -}}
{{- $other := get $directories (clean .) -}}
{{- if $other -}}
{{- fail (printf "backends.%s.directory: the back end %q has the same directory: give each its own" $name $other) -}}
{{- end -}}
{{- $_ := set $directories (clean .) $name -}}
{{- end -}}
{{- if and $backend.iscsi (not $.Values.node.hostNetwork) -}}
{{- fail (printf "backends.%s.iscsi: set node.hostNetwork=true, for open-iscsi's daemon is reached in the host's network alone" $name) -}}
{{- end -}}
{{- $socket := printf "%s/plugins_registry/%s-reg.sock" $.Values.node.kubeletDir ($backend.driver | default $.Values.driverName) -}}
{{- if gt (len $socket) 107 -}}
{{- fail (printf "node.kubeletDir and the driver's name are too long: the path of a socket has at most 107 bytes, %s has %d" $socket (len $socket)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.foreign (not (hasKey .Values.backends .Values.foreign)) -}}
{{- fail (printf "foreign: no back end is named %q: there are %s" .Values.foreign $names) -}}
{{- end -}}
{{- end }}

{{- define "fairlead.check.classes" -}}
{{- $names := keys .Values.backends | sortAlpha | join ", " -}}
{{- range $name, $class := .Values.storageClasses -}}
{{- if not (hasKey $.Values.backends $class.backend) -}}
{{- fail (printf "storageClasses.%s.backend: no back end is named %q: there are %s" $name $class.backend $names) -}}
{{- end -}}
{{- $can := include "fairlead.can" (get $.Values.backends $class.backend) | fromJsonArray -}}
{{- if and (eq $class.allowVolumeExpansion true) (not (has "growth" $can)) -}}
{{- fail (printf "storageClasses.%s.allowVolumeExpansion: the back end %q cannot grow volumes: leave it out" $name $class.backend) -}}
{{- end -}}
{{- range $key, $_ := $class.parameters -}}
{{- if or (eq $key "backend") (hasPrefix "csi.storage.k8s.io/" $key) -}}
{{- fail (printf "storageClasses.%s.parameters: %s is not for here: use the keys backend and fsType of the class" $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $drivers := dict -}}
{{- range .Values.backends -}}
{{- $driver := .driver | default $.Values.driverName -}}
{{- $can := include "fairlead.can" . | fromJsonArray -}}
{{- $_ := set $drivers $driver (concat $can (get $drivers $driver | default list)) -}}
{{- end -}}
{{- $needs := dict "volumeSnapshotClasses" "snapshots" "volumeGroupSnapshotClasses" "groups" "volumeAttributesClasses" "attributes" -}}
{{- range $kind := list "volumeSnapshotClasses" "volumeGroupSnapshotClasses" "volumeAttributesClasses" -}}
{{- range $name, $class := get $.Values $kind -}}
{{- $driver := $class.driver | default $.Values.driverName -}}
{{- if not (hasKey $drivers $driver) -}}
{{- fail (printf "%s.%s.driver: no driver of this release is named %q: there are %s" $kind $name $driver (keys $drivers | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if not (has (get $needs $kind) (get $drivers $driver)) -}}
{{- fail (printf "%s.%s: no back end of the driver %q can do what such a class is for" $kind $name $driver) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "storageClasses" "volumeSnapshotClasses" "volumeGroupSnapshotClasses" -}}
{{- $defaults := dict -}}
{{- range $name, $class := get $.Values $kind -}}
{{- if $class.default -}}
{{- /* The cluster has one default StorageClass, and one snapshot class for each driver. */ -}}
{{- $of := eq $kind "storageClasses" | ternary "the cluster" ($class.driver | default $.Values.driverName) -}}
{{- if hasKey $defaults $of -}}
{{- fail (printf "%s.%s.default: %s is the default of %s too: there can be one" $kind $name (get $defaults $of) $of) -}}
{{- end -}}
{{- $_ := set $defaults $of $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.volumeSnapshotClasses .Values.volumeGroupSnapshotClasses) (not .Values.snapshots.enabled) -}}
{{- fail "snapshots.enabled is false: then there can be no volumeSnapshotClasses and volumeGroupSnapshotClasses" -}}
{{- end -}}
{{- if and .Values.volumeGroupSnapshotClasses (not .Values.snapshots.groups) -}}
{{- fail "snapshots.groups is false: then there can be no volumeGroupSnapshotClasses" -}}
{{- end -}}
{{- end }}
