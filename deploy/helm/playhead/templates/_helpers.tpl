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
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
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
{{- required "secretName: name an existing Secret with the keys PLAYHEAD_STORE, PLAYHEAD_BROKER and PLAYHEAD_CATALOG" .Values.secretName }}
{{- end }}

{{/* The metadata of a pod. Argument: (dict "root" $ "component" name). */}}
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
# Otherwise Kubernetes sets PLAYHEAD_PORT=tcp://… for a Service named playhead.
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
    {{- include "playhead.volume" .Values.home | nindent 4 }}
  - name: tmp
    {{- include "playhead.volume" .Values.tmp | nindent 4 }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* A volume source. Helm merges maps, so the default emptyDir must be removed if there is another source. */}}
{{- define "playhead.volume" -}}
{{- toYaml (ternary (omit . "emptyDir") . (gt (len .) 1)) }}
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
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The environment of every process. Of two sources of a variable the later wins, and `env` wins over all.

The three backends are in `env`, because Kubernetes ignores a missing key in `envFrom`: each pod would then use its
own local files. If a key of `env` is missing, the pod does not start, and its events name the key.
*/}}
{{- define "playhead.envFrom" -}}
{{- include "playhead.envFromSecret" (dict "root" . "secret" (include "playhead.secretName" .)) }}
{{- end }}

{{/* Argument: (dict "root" $ "secret" name). */}}
{{- define "playhead.envFromSecret" -}}
- secretRef: {name: {{ .secret | quote }}}
{{- with .root.Values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Workers may have users with fewer rights. Then they get no key of the first Secret. */}}
{{- define "playhead.workerSecretName" -}}
{{- .Values.worker.secretName | default (include "playhead.secretName" .) }}
{{- end }}

{{/* Argument: (dict "root" $ "from" (dict "CATALOG" name …)), the Secret of each backend that `env` must contain. */}}
{{- define "playhead.env" -}}
{{- $own := list }}
{{- range .root.Values.extraEnv }}{{ $own = append $own .name }}{{ end }}
{{- range $name := list "STORE" "BROKER" "CATALOG" }}
{{- $variable := printf "PLAYHEAD_%s" $name }}
{{- $secret := index $.from $name }}
{{- if and $secret (not (has (lower $name) $.root.Values.embedded)) (not (has $variable $own)) }}
- {name: {{ $variable }}, valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ $variable }}}}}
{{- end }}
{{- end }}
{{- range $name, $value := .root.Values.settings }}
{{- if hasPrefix "PLAYHEAD_" $name }}
{{- fail (printf "settings.%s: remove the prefix PLAYHEAD_, which the chart adds" $name) }}
{{- end }}
{{- if has $name (list "STORE" "BROKER" "CATALOG" "API_KEYS" "WEBHOOK_SECRET") }}
{{- fail (printf "settings.%s: this setting may contain a password. Put it into the Secret of secretName, as PLAYHEAD_%s" $name $name) }}
{{- end }}
- {name: PLAYHEAD_{{ $name }}, value: {{ include "playhead.number" $value | quote }}}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The environment of all processes except the migration job: the three backends come from one Secret.
Argument: (dict "root" $ "secret" name). */}}
{{- define "playhead.envOfOne" -}}
{{- include "playhead.env" (dict "root" .root "from" (dict "STORE" .secret "BROKER" .secret "CATALOG" .secret)) }}
{{- end }}

{{- define "playhead.envOfAll" -}}
{{- include "playhead.envOfOne" (dict "root" . "secret" (include "playhead.secretName" .)) }}
{{- end }}

{{/* A value as text. In Helm numbers are floats, and it prints large whole numbers as 1e+06. */}}
{{- define "playhead.number" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
