{{/* Annotations of a class, with the one that makes it the default: (list class key). */}}
{{- define "fairlead.classAnnotations" -}}
{{- $class := index . 0 -}}
{{- $annotations := $class.annotations | default dict -}}
{{- if $class.default -}}
{{- $annotations = merge (dict (index . 1) "true") $annotations -}}
{{- end -}}
{{- with $annotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}
