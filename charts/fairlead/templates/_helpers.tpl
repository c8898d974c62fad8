{{/* What the objects' names begin with. */}}
{{- define "fairlead.fullname" -}}
{{- if contains "fairlead" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-fairlead" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Labels of the release, on every object. */}}
{{- define "fairlead.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "fairlead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "fairlead.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What tells the pods of one driver and component from all others: (list $ driver component). Never changeable. */}}
{{- define "fairlead.podSelector" -}}
{{- $driver := index . 1 -}}
{{ include "fairlead.selector" (index . 0) }}
app.kubernetes.io/component: {{ index . 2 }}
fairlead.dev/driver: {{ $driver.name }}
{{- end }}

{{- define "fairlead.podLabels" -}}
{{ include "fairlead.labels" (index . 0) }}
app.kubernetes.io/component: {{ index . 2 }}
fairlead.dev/driver: {{ (index . 1).name }}
{{- end }}

{{- define "fairlead.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/*
The drivers of this release as a JSON list of {name, base, port, backends}: driverName first, the others in order.
`base` is what the names of its objects begin with; only the other drivers' names are part of it.
*/}}
{{- define "fairlead.drivers" -}}
{{- include "fairlead.check" . -}}
{{- $byName := dict -}}
{{- range $name, $backend := .Values.backends -}}
{{- $driver := $backend.driver | default $.Values.driverName -}}
{{- $_ := set $byName $driver (merge (dict $name $backend) (get $byName $driver | default dict)) -}}
{{- end -}}
{{- $others := without (keys $byName | sortAlpha) .Values.driverName -}}
{{- $names := hasKey $byName .Values.driverName | ternary (prepend $others .Values.driverName) $others -}}
{{- $drivers := list -}}
{{- $bases := dict -}}
{{- range $index, $name := $names -}}
{{- $base := include "fairlead.fullname" $ -}}
{{- if ne $name $.Values.driverName -}}
{{- $base = printf "%s-%s" $base (regexReplaceAll "[^a-z0-9]+" (lower $name) "-") | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- if hasKey $bases $base -}}
{{- fail (printf "the drivers %q and %q would both have objects named %s-…: choose driver names that differ earlier, or in more than case and punctuation" (get $bases $base) $name $base) -}}
{{- end -}}
{{- $_ := set $bases $base $name -}}
{{- /* On the host's network the pods of all drivers share the ports of a node. */ -}}
{{- $port := add $.Values.http.port ($.Values.node.hostNetwork | ternary $index 0) -}}
{{- $drivers = append $drivers (dict "name" $name "base" $base "port" $port "backends" (get $byName $name)) -}}
{{- end -}}
{{- $drivers | toJson -}}
{{- end }}

{{/* The user that the controller's containers have in common: the socket between them has mode 0600. */}}
{{- define "fairlead.controllerUser" -}}
{{- $user := 65532 -}}
{{- range .backends -}}
{{- if eq .kind "file" -}}{{- $user = 0 -}}{{- end -}}
{{- end -}}
{{- $user -}}
{{- end }}
