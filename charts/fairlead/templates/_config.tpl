{{/* The configuration file of a driver, for its controller and its nodes: (list $ driver). */}}
{{- define "fairlead.config" -}}
{{- $values := (index . 0).Values -}}
{{- $driver := index . 1 -}}
driverName: {{ $driver.name }}
http: "{{ $values.http.address }}:{{ $driver.port }}"
log:
  {{- toYaml $values.log | nindent 2 }}
gracePeriod: {{ $values.gracePeriod }}
{{- if and $values.foreign (hasKey $driver.backends $values.foreign) }}
foreign: {{ $values.foreign }}
{{- end }}
# The controller alone talks to the API server; without it, it is not ready.
kubernetes:
  enabled: true
node:
  kubeletDir: {{ $values.node.kubeletDir }}
  fileSystems: {{ toJson $values.node.fileSystems }}
  {{- with $values.node.topology }}
  topology:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.node.maxVolumes }}
  maxVolumes: {{ . }}
  {{- end }}
backends:
  {{- range $name, $backend := $driver.backends }}
  {{ $name }}:
    {{- omit $backend "driver" "secret" "serverIdFile" "iscsi" | toYaml | nindent 4 }}
    {{- with $backend.iscsi }}
    iscsi:
      {{- merge (dict "hostRoot" (include "fairlead.hostRoot" $backend)) . | toYaml | nindent 6 }}
    {{- end }}
    {{- /* On the nodes the file is missing, and not needed. */}}
    {{- if and (eq $backend.kind "cinder") $backend.secret (not $backend.cloudsFile) (not $backend.cloudConfFile) }}
    cloudsFile: /run/secrets/fairlead/{{ $name }}/clouds.yaml
    {{- end }}
    {{- if and (eq $backend.kind "storpool") $backend.secret (not $backend.tokenFile) }}
    tokenFile: /run/secrets/fairlead/{{ $name }}/token
    {{- end }}
  {{- end }}
{{- end }}

{{/*
Changes with every setting that needs a restart, and so restarts the pods. The log level does not: a running driver
finds the new one by itself.
*/}}
{{- define "fairlead.configChecksum" -}}
{{- $config := include "fairlead.config" . | fromYaml -}}
{{- $_ := unset $config.log "level" -}}
{{- $config | toJson | sha256sum -}}
{{- end }}

{{/* Mounts of the configuration and of secrets: (list $ driver "controller" or "node"). */}}
{{- define "fairlead.configMounts" -}}
- {name: config, mountPath: /etc/fairlead, readOnly: true}
{{- range $name, $secret := include "fairlead.secrets" . | fromJson }}
- {name: secret-{{ $name }}, mountPath: /run/secrets/fairlead/{{ $name }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "fairlead.configVolumes" -}}
- name: config
  configMap: {name: {{ (index . 1).base }}-config}
{{- range $name, $secret := include "fairlead.secrets" . | fromJson }}
- name: secret-{{ $name }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* The Secrets that a component gets, as a JSON map from back end to the Secret's name. */}}
{{- define "fairlead.secrets" -}}
{{- $root := index . 0 -}}
{{- $component := index . 2 -}}
{{- $secrets := dict -}}
{{- range $name, $backend := (index . 1).backends -}}
{{- with $backend.secret -}}
{{- if or (eq $component "controller") .onNode -}}
{{- $_ := set $secrets $name (.existingSecret | default (printf "%s-backend-%s" (include "fairlead.fullname" $root) $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $secrets | toJson -}}
{{- end }}

{{/* Directories of `file` back ends, at the same path as on the host, for controller and node. */}}
{{- define "fairlead.directoryMounts" -}}
{{- range $name, $backend := .backends }}
{{- if eq $backend.kind "file" }}
# Storage that is mounted on the host later shows here too.
- {name: backend-{{ $name }}, mountPath: {{ $backend.directory | quote }}, mountPropagation: HostToContainer}
{{- end }}
{{- end }}
{{- end }}

{{- define "fairlead.directoryVolumes" -}}
{{- range $name, $backend := .backends }}
{{- if eq $backend.kind "file" }}
- name: backend-{{ $name }}
  # It must exist: a directory made here would hide that its storage is missing.
  hostPath: {path: {{ $backend.directory | quote }}, type: Directory}
{{- end }}
{{- end }}
{{- end }}

{{/* Files of the hosts that tell the nodes which server of a back end they are: option, mount, volume. */}}
{{- define "fairlead.serverIdOptions" -}}
{{- range $name, $backend := .backends }}
{{- if $backend.serverIdFile }}, --server-id, {{ $name }}=/run/fairlead/server-id/{{ $name }}{{ end }}
{{- end }}
{{- end }}

{{- define "fairlead.serverIdMounts" -}}
{{- range $name, $backend := .backends }}
{{- if $backend.serverIdFile }}
- {name: server-id-{{ $name }}, mountPath: /run/fairlead/server-id/{{ $name }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "fairlead.serverIdVolumes" -}}
{{- range $name, $backend := .backends }}
{{- with $backend.serverIdFile }}
- name: server-id-{{ $name }}
  # It must exist: a node that does not know which server it is would only fail later.
  hostPath: {path: {{ . | quote }}, type: File}
{{- end }}
{{- end }}
{{- end }}

{{/* Where nodes see the root directory of their hosts, for back ends that use the hosts' own tools. */}}
{{- define "fairlead.hostRoot" -}}
{{- .iscsi.hostRoot | default "/host" -}}
{{- end }}

{{/* The hosts' own root directories, with open-iscsi and its records: (list driver "mount" or "volume"). */}}
{{- define "fairlead.hostRoots" -}}
{{- $roots := dict -}}
{{- range $name, $backend := (index . 0).backends -}}
{{- if $backend.iscsi -}}
{{- $_ := set $roots (include "fairlead.hostRoot" $backend) true -}}
{{- end -}}
{{- end -}}
{{- if and $roots (eq (index . 1) "volume") }}
- name: host-root
  hostPath: {path: /, type: Directory}
{{- else }}
{{- range $root, $_ := $roots }}
- {name: host-root, mountPath: {{ $root | quote }}, mountPropagation: HostToContainer}
{{- end }}
{{- end }}
{{- end }}

{{/*
The hosts' own configuration of StorPool, which tells each node its number. It must be there, but for back ends with iSCSI,
whose nodes find it in the host's root directory, or do not: (list driver "mount" or "volume").
*/}}
{{- define "fairlead.storpool" -}}
{{- $files := dict -}}
{{- range $name, $backend := (index . 0).backends -}}
{{- if and (eq $backend.kind "storpool") (not $backend.iscsi) -}}
{{- $_ := set $files ($backend.confFile | default "/etc/storpool.conf") true -}}
{{- end -}}
{{- end -}}
{{- range $at, $file := keys $files | sortAlpha }}
{{- if eq (index $ 1) "mount" }}
- {name: storpool-{{ $at }}, mountPath: {{ $file | quote }}, readOnly: true}
- {name: storpool-{{ $at }}-d, mountPath: {{ printf "%s.d" $file | quote }}, readOnly: true}
{{- else }}
- name: storpool-{{ $at }}
  hostPath: {path: {{ $file | quote }}, type: File}
- name: storpool-{{ $at }}-d
  hostPath: {path: {{ printf "%s.d" $file | quote }}, type: DirectoryOrCreate}
{{- end }}
{{- end }}
{{- end }}
