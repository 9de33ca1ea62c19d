{{- define "playhead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "playhead.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "playhead.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "playhead.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "playhead.selector" -}}
app.kubernetes.io/name: {{ include "playhead.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "playhead.labels" -}}
{{ include "playhead.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "playhead.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "playhead.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "playhead.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "playhead.secretName" -}}
{{- required "secretName: name a Secret that exists, with PLAYHEAD_STORE, PLAYHEAD_BROKER and PLAYHEAD_CATALOG" .Values.secretName }}
{{- end }}

{{/* What every pod has. Takes (dict "root" $ "component" name). */}}
{{- define "playhead.podMetadata" -}}
labels:
  {{- include "playhead.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $hook := ternary (dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation") dict (eq .component "doctor") }}
{{- with merge $hook .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "playhead.podSpec" -}}
# Kubernetes would set PLAYHEAD_PORT=tcp://… for a Service named playhead.
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: home
    {{- toYaml .Values.home | nindent 4 }}
  - name: tmp
    {{- toYaml .Values.tmp | nindent 4 }}
{{- end }}

{{- define "playhead.container" -}}
image: {{ include "playhead.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: home, mountPath: /var/lib/playhead}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* What every process is told. Of two sources of a variable the later wins, and `env` wins over all. */}}
{{- define "playhead.envFrom" -}}
- secretRef: {name: {{ include "playhead.secretName" . | quote }}}
{{- with .Values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "playhead.env" -}}
{{- range $name, $value := .Values.settings }}
{{- if hasPrefix "PLAYHEAD_" $name }}
{{- fail (printf "settings.%s: without PLAYHEAD_, which is put before it" $name) }}
{{- end }}
{{- if has $name (list "STORE" "BROKER" "CATALOG" "API_KEYS") }}
{{- fail (printf "settings.%s: what may hold a password belongs in the Secret that secretName names, as PLAYHEAD_%s" $name $name) }}
{{- end }}
- {name: PLAYHEAD_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
