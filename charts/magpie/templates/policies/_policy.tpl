{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The policies look at our agents only and cost nobody else anything. */}}
{{- define "magpie.policy.onlyAgents" -}}
- name: only-agents
  expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:magpie-agent'
{{- end }}

{{- define "magpie.policy.variables" -}}
- name: claim
  expression: "'authentication.kubernetes.io/node-name'"
- name: named
  expression: >-
    has(request.userInfo.extra) && variables.claim in request.userInfo.extra
    && size(request.userInfo.extra[variables.claim]) == 1
- name: node
  expression: "variables.named ? request.userInfo.extra[variables.claim][0] : ''"
- name: subject
  expression: "request.operation == 'DELETE' ? oldObject : object"
{{- end }}

{{- define "magpie.policy.named" -}}
- expression: variables.named
  message: >-
    the token does not name a node: Kubernetes 1.30 or newer puts the name into
    the token of every pod; tokens made by hand have none
  reason: Forbidden
{{- end }}

{{- define "magpie.policy.binding" }}
{{- $top := index . 0 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels: {{- include "magpie.labels" (list $top "agent") | nindent 4 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
{{- end }}
