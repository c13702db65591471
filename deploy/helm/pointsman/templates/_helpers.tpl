{{/* What each service hears, which image it runs from, which door it keeps, whether it asks language models. */}}
{{- define "pointsman.facts" -}}
describer: {hears: prompts, image: embedder-cpu, asks: true}
embedder: {hears: descriptions, image: embedder-cpu}
assigner: {hears: embeddings, image: light}
selector: {hears: assignments, image: light}
dispatcher: {hears: decisions, image: embedder-cpu, asks: true}
judge: {hears: completions, image: light, asks: true}
reclusterer: {image: tools}
gateway: {image: embedder-cpu, asks: true, door: 8787}
console: {image: light, door: 8788}
{{- end }}

{{- define "pointsman.labels" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "pointsman.selector" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "pointsman.image" -}}
{{ with .root.Values.images.registry }}{{ . }}/{{ end }}pointsman-{{ .target }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* The Kafka user of a service, or of the administrator who makes the topics. */}}
{{- define "pointsman.user" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if and (eq .name "topics") $kafka.adminUser }}{{ $kafka.adminUser }}{{ else }}{{ $kafka.user | default (printf "%s%s" $kafka.userPrefix .name) }}{{ end -}}
{{- end }}

{{- define "pointsman.userSecret" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if and (eq .name "topics") $kafka.adminUser }}{{ $kafka.adminUser }}{{ else }}{{ $kafka.userSecret | default (include "pointsman.user" .) }}{{ end -}}
{{- end }}

{{- define "pointsman.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pointsman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "pointsman.env" -}}
{{- $values := .root.Values }}
- {name: POINTSMAN_KAFKA_BOOTSTRAP_SERVERS, value: {{ $values.kafka.bootstrapServers | quote }}}
- {name: POINTSMAN_KAFKA_TOPIC_PREFIX, value: {{ $values.kafka.topicPrefix | quote }}}
- {name: POINTSMAN_KAFKA_PARTITIONS, value: {{ $values.kafka.partitions | quote }}}
- {name: POINTSMAN_KAFKA_INSTANCE, value: "{host}"}  # a container that is started again in its pod has its partitions at once
- {name: POINTSMAN_KAFKA_REPLICATION, value: {{ $values.kafka.replication | quote }}}
- {name: POINTSMAN_KAFKA_SECURITY_PROTOCOL, value: {{ $values.kafka.securityProtocol }}}
{{- if hasPrefix "SASL" $values.kafka.securityProtocol }}
- {name: POINTSMAN_KAFKA_SASL_MECHANISM, value: {{ $values.kafka.saslMechanism }}}
- {name: POINTSMAN_KAFKA_USERNAME, value: {{ include "pointsman.user" . | quote }}}
- {name: POINTSMAN_KAFKA_PASSWORD_FILE, value: /secrets/kafka/{{ $values.kafka.passwordKey }}}
{{- end }}
{{- if $values.kafka.caSecret }}
- {name: POINTSMAN_KAFKA_CA_FILE, value: /secrets/kafka-ca/ca.crt}
{{- end }}
{{- if $values.redis.urlSecret }}
- {name: POINTSMAN_REDIS_URL_FILE, value: /secrets/redis/url}
{{- else }}
- {name: POINTSMAN_REDIS_URL, value: {{ $values.redis.url | quote }}}
{{- end }}
{{- if $values.redis.caSecret }}
- {name: POINTSMAN_REDIS_CA_FILE, value: /secrets/redis-ca/ca.crt}
{{- end }}
{{- if and .asks $values.llm.apiKeySecret }}
- {name: POINTSMAN_LLM_API_KEY_FILE, value: /secrets/llm/apiKey}
{{- end }}
{{- if .door }}
- {name: POINTSMAN_KEYS_FILE, value: /secrets/keys/keys.yaml}
- {name: POINTSMAN_{{ upper .name }}_HOST, value: 0.0.0.0}
{{- end }}
- {name: POINTSMAN_METRICS_PORT, value: "9000"}
- {name: POINTSMAN_METRICS_HOST, value: 0.0.0.0}
- {name: POINTSMAN_LOG_FORMAT, value: json}
{{- range $name, $value := merge (dict) (.settings | default dict) $values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "pointsman.mounts" -}}
{{- $values := .root.Values }}
- {name: tmp, mountPath: /tmp}
{{- if hasPrefix "SASL" $values.kafka.securityProtocol }}
- {name: kafka, mountPath: /secrets/kafka, readOnly: true}
{{- end }}
{{- if $values.kafka.caSecret }}
- {name: kafka-ca, mountPath: /secrets/kafka-ca, readOnly: true}
{{- end }}
{{- if $values.redis.urlSecret }}
- {name: redis, mountPath: /secrets/redis, readOnly: true}
{{- end }}
{{- if $values.redis.caSecret }}
- {name: redis-ca, mountPath: /secrets/redis-ca, readOnly: true}
{{- end }}
{{- if and .asks $values.llm.apiKeySecret }}
- {name: llm, mountPath: /secrets/llm, readOnly: true}
{{- end }}
{{- if .door }}
- {name: keys, mountPath: /secrets/keys, readOnly: true}
{{- end }}
{{- end }}

{{- define "pointsman.volumes" -}}
{{- $values := .root.Values }}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- if hasPrefix "SASL" $values.kafka.securityProtocol }}
- {name: kafka, secret: {secretName: {{ include "pointsman.userSecret" . }}}}
{{- end }}
{{- if $values.kafka.caSecret }}
- {name: kafka-ca, secret: {secretName: {{ $values.kafka.caSecret }}}}
{{- end }}
{{- if $values.redis.urlSecret }}
- {name: redis, secret: {secretName: {{ $values.redis.urlSecret }}}}
{{- end }}
{{- if $values.redis.caSecret }}
- {name: redis-ca, secret: {secretName: {{ $values.redis.caSecret }}}}
{{- end }}
{{- if and .asks $values.llm.apiKeySecret }}
- {name: llm, secret: {secretName: {{ $values.llm.apiKeySecret }}}}
{{- end }}
{{- if .door }}
- {name: keys, secret: {secretName: {{ $values.keys.secret }}, optional: true}}
{{- end }}
{{- end }}
