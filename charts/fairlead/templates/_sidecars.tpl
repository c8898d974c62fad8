{{/*
The upstream sidecars of a controller pod. Each talks to the driver in its own pod; of each kind only one in the cluster
leads. Every flag bears its reason, and stands nowhere else: (list $ driver).
*/}}
{{- define "fairlead.sidecars" -}}
{{- $values := (index . 0).Values -}}
{{- $can := include "fairlead.canAny" (index . 1).backends | fromJsonArray -}}
- name: csi-provisioner
  {{- include "fairlead.sidecar.image" (list $values "provisioner") | nindent 2 }}
  args:
    {{- include "fairlead.sidecar.args" (list $values 9801) | nindent 4 }}
    - --worker-threads={{ $values.sidecars.workers }}
    # For a StorageClass without a type; with none at all the kubelet would not apply fsGroup.
    - --default-fstype=ext4
    {{- if $values.sidecars.strictTopology }}
    # A volume that is bound to a server is made on that of its pod, which no other way of ordering it names.
    - --strict-topology
    {{- end }}
    # Volumes bear the names of their claim, so a person finds them in the cloud, and events find their claim.
    - --extra-create-metadata
    # CSIStorageCapacity objects let the scheduler choose a node where there is room. They belong to the Deployment
    # (pod, ReplicaSet, Deployment: level 2) and go when it goes.
    - --enable-capacity
    - --capacity-ownerref-level=2
    # Room changes by other hands too; each of these asks the driver once per class and segment.
    - --capacity-poll-interval=1m
  env:
    - name: NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- include "fairlead.sidecar.rest" (list $values "provisioner" 9801) | nindent 2 }}
- name: csi-attacher
  {{- include "fairlead.sidecar.image" (list $values "attacher") | nindent 2 }}
  args:
    {{- include "fairlead.sidecar.args" (list $values 9802) | nindent 4 }}
    - --worker-threads={{ $values.sidecars.workers }}
    # For PersistentVolumes made by hand without a type.
    - --default-fstype=ext4
    # Lists of volumes come in pages: one answer of more than 4 MiB would be refused.
    - --max-entries=1000
  {{- include "fairlead.sidecar.rest" (list $values "attacher" 9802) | nindent 2 }}
- name: csi-resizer
  {{- include "fairlead.sidecar.image" (list $values "resizer") | nindent 2 }}
  args:
    {{- include "fairlead.sidecar.args" (list $values 9803) | nindent 4 }}
    - --workers={{ $values.sidecars.workers }}
    # Else it keeps all pods of the cluster in memory, to know when a volume is free; trying again is enough.
    - --handle-volume-inuse-error=false
  {{- include "fairlead.sidecar.rest" (list $values "resizer" 9803) | nindent 2 }}
{{- if and $values.snapshots.enabled (has "snapshots" $can) }}
- name: csi-snapshotter
  {{- include "fairlead.sidecar.image" (list $values "snapshotter") | nindent 2 }}
  args:
    {{- include "fairlead.sidecar.args" (list $values 9804) | nindent 4 }}
    - --worker-threads={{ $values.sidecars.workers }}
    # Snapshots bear the names of their objects.
    - --extra-create-metadata
    # On by default only since v8.7.
    - --feature-gates=CSIVolumeGroupSnapshot={{ and $values.snapshots.groups (has "groups" $can) }}
  {{- include "fairlead.sidecar.rest" (list $values "snapshotter" 9804) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "fairlead.sidecar.image" -}}
{{- $sidecars := (index . 0).sidecars -}}
image: {{ $sidecars.registry }}/csi-{{ index . 1 }}:{{ (index $sidecars (index . 1)).tag }}
imagePullPolicy: {{ $sidecars.pullPolicy }}
{{- end }}

{{/* The flags of all four: (list values port). */}}
{{- define "fairlead.sidecar.args" -}}
{{- $sidecars := (index . 0).sidecars -}}
- --csi-address=/run/csi/socket
# Two replicas run; the lease is in the pod's own namespace.
- --leader-election
# Metrics, and whether the lease is renewed.
- --http-endpoint=:{{ index . 1 }}
# Clones and attachments take a cloud minutes. Short timeouts would only make more calls of the same operation.
- --timeout={{ $sidecars.timeout }}
# With the default of 5 minutes, room that was freed is noticed late.
- --retry-interval-max={{ $sidecars.retryIntervalMax }}
# The defaults of 5 and 10 make a hundred volumes wait for the API server's clients, not for storage.
- --kube-api-qps={{ $sidecars.kubeApi.qps }}
- --kube-api-burst={{ $sidecars.kubeApi.burst }}
- --v={{ $sidecars.verbosity }}
{{- end }}

{{/* (list values name port) */}}
{{- define "fairlead.sidecar.rest" -}}
ports:
  - {name: {{ index . 1 }}, containerPort: {{ index . 2 }}}
# A sidecar ends by itself when it loses its lease or its driver; this is for one that hangs. It answers only once the
# driver is ready, so it has two minutes.
livenessProbe:
  httpGet: {path: /healthz/leader-election, port: {{ index . 1 }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml (index . 0).sidecars.resources | nindent 2 }}
volumeMounts:
  - {name: socket, mountPath: /run/csi}
{{- end }}
