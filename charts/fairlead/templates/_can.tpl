{{/*
What a back end can do, as far as sidecars and classes depend on it, as a JSON list: snapshots, groups, growth, attributes. A
sidecar that finds nothing that it could do ends at once, and again and again. `fairlead check-config` has the driver's own word.
*/}}
{{- define "fairlead.can" -}}
{{- $can := list "snapshots" "groups" "growth" "attributes" -}}
{{- if eq .kind "file" -}}
{{- $can = list "snapshots" "groups" "growth" -}}
{{- else if eq (.dialect | default "") "rackspace" -}}
{{- $can = list "snapshots" -}}
{{- else if eq (.dialect | default "") "cyclades" -}}
{{- $can = list "attributes" -}}
{{- end -}}
{{- $can | toJson -}}
{{- end }}

{{/* What one of several back ends or another can do: a map of them. */}}
{{- define "fairlead.canAny" -}}
{{- $any := list -}}
{{- range . -}}
{{- $any = concat $any (include "fairlead.can" . | fromJsonArray) -}}
{{- end -}}
{{- $any | uniq | toJson -}}
{{- end }}
