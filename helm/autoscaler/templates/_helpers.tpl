{{- define "autoscaler.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters, so that "-valkey" and a pod's own suffix fit behind it. */ -}}
{{- define "autoscaler.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "autoscaler.selectorLabels" -}}
app.kubernetes.io/name: {{ include "autoscaler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Labels of an object. Takes (list CONTEXT COMPONENT). */ -}}
{{- define "autoscaler.labels" -}}
{{- $context := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{ include "autoscaler.selectorLabels" $context }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
app.kubernetes.io/part-of: autoscaler
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What the Service, the policies and the budget look for. */ -}}
{{- define "autoscaler.podSelector" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- toYaml .Values.sidecar.selector -}}
{{- else -}}
{{- include "autoscaler.selectorLabels" . }}
app.kubernetes.io/component: controller
{{- end -}}
{{- end -}}

{{- define "autoscaler.serviceAccountName" -}}
{{- default (ternary (include "autoscaler.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "autoscaler.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "autoscaler.trialSecret" -}}
{{- default (printf "%s-trial" (include "autoscaler.fullname" .)) .Values.trial.existingSecret -}}
{{- end -}}

{{- define "autoscaler.onLoopback" -}}
{{- if or (hasPrefix "127." .Values.api.host) (has .Values.api.host (list "localhost" "::1")) -}}yes{{- end -}}
{{- end -}}

{{- define "autoscaler.address" -}}
{{- $host := index . 0 -}}
{{- if contains ":" $host -}}[{{ $host }}]{{- else -}}{{ $host }}{{- end -}}:{{ int (index . 1) }}
{{- end -}}

{{- /* A value as the environment has it: whole numbers without exponent, lists with commas. */ -}}
{{- define "autoscaler.word" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{- /* Refuses values that no controller could run with. */ -}}
{{- define "autoscaler.checks" -}}
{{- $told := dict -}}
{{- range $map := list "settings" "secretSettings" "fileSettings" -}}
{{- range $name, $value := get $.Values $map -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if hasKey $told $name -}}
{{- fail (printf "%s: in %s and in %s; one of them must go" $name (get $told $name) $map) -}}
{{- end -}}
{{- $_ := set $told $name $map -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $map := $told -}}
{{- $plain := trimSuffix "_file" $name -}}
{{- if and (ne $plain $name) (hasKey $told $plain) -}}
{{- fail (printf "%s: in %s, and as %s in %s; one of them must go" $plain (get $told $plain) $name $map) -}}
{{- end -}}
{{- end -}}
{{- range $name, $by := dict "redis_url" .Values.trial.valkey.enabled "amqp_url" .Values.trial.rabbitmq.enabled -}}
{{- $map := coalesce (get $told $name) (get $told (printf "%s_file" $name)) -}}
{{- if and $by $map -}}
{{- fail (printf "%s: in %s and set by trial; one of them must go" $name $map) -}}
{{- end -}}
{{- end -}}
{{- $elsewhere := or .Values.extraEnv .Values.extraEnvFrom -}}
{{- $store := or .Values.trial.valkey.enabled $elsewhere -}}
{{- range $name, $_ := $told -}}
{{- if and (hasPrefix "redis_" $name) (contains "url" $name) -}}{{- $store = true -}}{{- end -}}
{{- end -}}
{{- if not $store -}}
{{- fail "redis_url: expected in secretSettings or settings (or trial.valkey.enabled for a trial): without it every pod would start a Valkey of its own and lose it" -}}
{{- end -}}
{{- $auth := toString (default "noauth" .Values.settings.auth) | lower -}}
{{- if and (eq $auth "noauth") (not (eq (toString .Values.settings.auth_force) "true")) (not (include "autoscaler.onLoopback" .)) (not $elsewhere) -}}
{{- fail "settings.auth: expected keystone or another that looks at callers, since noauth believes everybody who reaches the pod (settings.auth_force: true allows it, api.host: 127.0.0.1 closes it)" -}}
{{- end -}}
{{- if and .Values.autoscaling.kind (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas: expected at most autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (eq .Values.autoscaling.kind "keda") (not .Values.autoscaling.prometheusAddress) -}}
{{- fail "autoscaling.prometheusAddress: expected with autoscaling.kind: keda" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.serviceMonitor.authorization) (ne (toString .Values.settings.metrics_open) "true") -}}
{{- fail "metrics.serviceMonitor.authorization: expected, since the controller shows /metrics to nobody without a token (settings.metrics_open: true shows it to everybody)" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts: expected with ingress.enabled" -}}
{{- end -}}
{{- if and (include "autoscaler.onLoopback" .) (or .Values.fileSettings.api_client_ca .Values.settings.api_client_ca) -}}
{{- fail "fileSettings.api_client_ca: nobody could probe an API at loopback that wants a certificate" -}}
{{- end -}}
{{- if and (include "autoscaler.onLoopback" .) (or .Values.ingress.enabled .Values.metrics.serviceMonitor.enabled) -}}
{{- fail "api.host: nobody outside the pod reaches loopback, so there is nothing for an ingress or a ServiceMonitor" -}}
{{- end -}}
{{- end -}}

{{- define "autoscaler.env" -}}
- name: AUTOSCALER_REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: AUTOSCALER_API
  value: {{ include "autoscaler.address" (list .Values.api.host .Values.api.port) | quote }}
- name: AUTOSCALER_STATE_DIR
  value: /var/lib/autoscaler
{{- if .Values.api.udpPort }}
- name: AUTOSCALER_UDP
  value: {{ include "autoscaler.address" (list .Values.api.host .Values.api.udpPort) | quote }}
{{- end }}
{{- if include "autoscaler.declared" . }}
- name: AUTOSCALER_RULES
  value: /etc/autoscaler/declarations
{{- end }}
{{- if .Values.trial.valkey.enabled }}
- name: AUTOSCALER_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "autoscaler.trialSecret" . }}, key: redis-url}}
{{- end }}
{{- if .Values.trial.rabbitmq.enabled }}
- name: AUTOSCALER_AMQP_URL
  valueFrom: {secretKeyRef: {name: {{ include "autoscaler.trialSecret" . }}, key: amqp-url}}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
- name: AUTOSCALER_{{ upper $name }}
  value: {{ include "autoscaler.word" $value | quote }}
{{- end }}
{{- end }}
{{- range $name, $from := .Values.secretSettings }}
{{- if $from }}
- name: AUTOSCALER_{{ upper $name }}
  valueFrom: {secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key }}}}
{{- end }}
{{- end }}
{{- range $name, $from := .Values.fileSettings }}
{{- if $from }}
- name: AUTOSCALER_{{ upper $name }}
  value: /etc/autoscaler/files/{{ $name }}/{{ $from.key }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "autoscaler.declared" -}}
{{- if or (include "autoscaler.declarations" .) .Values.existingDeclarations -}}yes{{- end -}}
{{- end -}}

{{- /* The files of rules and policies, as the data of a ConfigMap; nothing where there are none. */ -}}
{{- define "autoscaler.declarations" -}}
{{- $files := dict -}}
{{- range $kind := list "rules" "policies" -}}
{{- range $name, $content := get $.Values $kind -}}
{{- if $content -}}
{{- $_ := set $files (printf "%s-%s" $kind $name) (ternary $content (toYaml $content) (kindIs "string" $content)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $files -}}{{- toYaml $files -}}{{- end -}}
{{- end -}}

{{- /* One volume for all declarations, since one volume changes at once. Takes (list CONTEXT NAME-OF-THE-CHART'S-CONFIGMAP). */ -}}
{{- define "autoscaler.declarationsVolume" -}}
{{- $context := index . 0 -}}
name: autoscaler-declarations
projected:
  defaultMode: 0444
  sources:
    {{- if include "autoscaler.declarations" $context }}
    - configMap: {name: {{ index . 1 }}}
    {{- end }}
    {{- range $context.Values.existingDeclarations }}
    - configMap: {name: {{ . }}}
    {{- end }}
{{- end -}}

{{- /* The volumes that "autoscaler.container" mounts, to be named in the pod's. */ -}}
{{- define "autoscaler.volumes" -}}
- name: autoscaler-tmp
  emptyDir: {sizeLimit: 64Mi}
- name: autoscaler-state
  emptyDir: {sizeLimit: 256Mi}
{{- if include "autoscaler.declared" . }}
- {{ include "autoscaler.declarationsVolume" (list . (printf "%s-declarations" (include "autoscaler.fullname" .))) | nindent 2 | trim }}
{{- end }}
{{- range $name, $from := .Values.fileSettings }}
{{- if $from }}
- name: autoscaler-{{ $name | replace "_" "-" }}
  {{- if $from.secret }}
  {{- /* another's pod has a group of its own, if any; only this container mounts the volume */}}
  secret: {secretName: {{ $from.secret }}, defaultMode: {{ ternary "0444" "0440" (eq $.Values.mode "sidecar") }}, items: [{key: {{ $from.key }}, path: {{ $from.key }}}]}
  {{- else }}
  configMap: {name: {{ $from.configMap }}, defaultMode: 0444, items: [{key: {{ $from.key }}, path: {{ $from.key }}}]}
  {{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* How the API is spoken to: it has a certificate or none. */ -}}
{{- define "autoscaler.scheme" -}}
{{- if or .Values.fileSettings.api_cert .Values.settings.api_cert -}}HTTPS{{- else -}}HTTP{{- end -}}
{{- end -}}

{{- /* What a probe asks. Takes (list CONTEXT PATH). */ -}}
{{- define "autoscaler.asked" -}}
{{- $context := index . 0 -}}
{{- if or $context.Values.fileSettings.api_client_ca $context.Values.settings.api_client_ca -}}
{{- /* which the kubelet cannot show a certificate of */ -}}
tcpSocket: {port: autoscaler}
{{- else if include "autoscaler.onLoopback" $context -}}
exec:
  command:
    - python
    - -c
    - import ssl, urllib.request; urllib.request.urlopen("{{ include "autoscaler.scheme" $context | lower }}://{{ include "autoscaler.address" (list $context.Values.api.host $context.Values.api.port) }}{{ index . 1 }}", timeout=4, context=ssl._create_unverified_context())
{{- else -}}
httpGet: {path: {{ index . 1 }}, port: autoscaler, scheme: {{ include "autoscaler.scheme" $context }}}
{{- end -}}
{{- end -}}

{{- /* The controller's container, for a pod of the chart's or of another chart's: its context is this chart's, which a chart that
has this one as a dependency names .Subcharts.autoscaler. */ -}}
{{- define "autoscaler.container" -}}
{{- include "autoscaler.checks" . -}}
name: autoscaler
image: {{ include "autoscaler.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - run
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: autoscaler, containerPort: {{ int .Values.api.port }}, protocol: TCP}
  {{- if .Values.api.udpPort }}
  - {name: autoscaler-udp, containerPort: {{ int .Values.api.udpPort }}, protocol: UDP}
  {{- end }}
env:
  {{- include "autoscaler.env" . | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $probe, $path := dict "startup" "/healthz" "liveness" "/healthz" "readiness" "/readyz" }}
{{- with get $.Values.probes $probe }}
{{ $probe }}Probe:
  {{- include "autoscaler.asked" (list $ $path) | nindent 2 }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if gt (int .Values.preStopSeconds) 0 }}
lifecycle:
  preStop:
    exec: {command: [python, -c, "import time; time.sleep({{ int .Values.preStopSeconds }})"]}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- if eq .Values.mode "sidecar" }}
  {{- /* the pod is another's: who the container runs as is said here */}}
  {{- $who := pick .Values.podSecurityContext "runAsNonRoot" "runAsUser" "runAsGroup" "seccompProfile" "seLinuxOptions" }}
  {{- toYaml (merge (deepCopy .Values.securityContext) $who) | nindent 2 }}
  {{- else }}
  {{- toYaml .Values.securityContext | nindent 2 }}
  {{- end }}
volumeMounts:
  - {name: autoscaler-tmp, mountPath: /tmp}
  - {name: autoscaler-state, mountPath: /var/lib/autoscaler}
  {{- if include "autoscaler.declared" . }}
  - {name: autoscaler-declarations, mountPath: /etc/autoscaler/declarations, readOnly: true}
  {{- end }}
  {{- range $name, $from := .Values.fileSettings }}
  {{- if $from }}
  - {name: autoscaler-{{ $name | replace "_" "-" }}, mountPath: /etc/autoscaler/files/{{ $name }}, readOnly: true}
  {{- end }}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
