{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "magpie.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Labels of every object; call with (list . "agent"). */}}
{{- define "magpie.labels" -}}
{{- $top := index . 0 -}}
{{ include "magpie.selector" . }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version }}
{{- end }}

{{- define "magpie.selector" -}}
app.kubernetes.io/name: magpie
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Where the API is: the pod network must not wait for kube-proxy. */}}
{{- define "magpie.apiServerEnv" -}}
{{- if .Values.apiServer.host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.apiServer.host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.apiServer.port | quote }}
{{- end }}
{{- end }}

{{/* clusterCIDRs as JSON: the value, else what kubeadm was told, else a refusal. */}}
{{- define "magpie.clusterCIDRs" -}}
{{- $cidrs := .Values.network.clusterCIDRs -}}
{{- if not $cidrs -}}
  {{- $kubeadm := lookup "v1" "ConfigMap" "kube-system" "kubeadm-config" -}}
  {{- if $kubeadm -}}
    {{- $config := fromYaml (dig "data" "ClusterConfiguration" "" $kubeadm) -}}
    {{- $subnet := dig "networking" "podSubnet" "" $config -}}
    {{- if $subnet -}}{{- $cidrs = splitList "," $subnet -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- if not $cidrs -}}
  {{- fail "\n\nnetwork.clusterCIDRs is empty. Give kube-controller-manager's --cluster-cidr, for example:\n  helm install magpie ... --set 'network.clusterCIDRs={10.244.0.0/16}'\n" -}}
{{- end -}}
{{ toJson $cidrs }}
{{- end }}

{{- define "magpie.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Annotations of an object that lives only while the release is uninstalled. */}}
{{- define "magpie.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "magpie.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Annotations of an object that lives only before the release is uninstalled. */}}
{{- define "magpie.retireHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Annotations of an object that lives only before the release is upgraded. */}}
{{- define "magpie.upgradeHook" -}}
helm.sh/hook: pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
