{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
What the agent may do on the node. NET_ADMIN and NET_RAW plumb; SYS_ADMIN enters
the network namespaces of pods and makes /proc/sys writable inside the
container. SYS_MODULE is not among them: the kernel loads vxlan and wireguard by
itself when a device of that kind is asked for.
*/}}
{{- define "magpie.agent.securityContext" -}}
{{- if .Values.agent.privileged }}
privileged: true
{{- else }}
privileged: false
allowPrivilegeEscalation: true
runAsUser: 0
capabilities:
  drop: [ALL]
  add: [NET_ADMIN, NET_RAW, SYS_ADMIN]
seccompProfile: {type: Unconfined}
appArmorProfile: {type: Unconfined}
{{- end }}
{{- end }}

{{- define "magpie.agent.volumeMounts" -}}
- {name: config, mountPath: /etc/magpie, readOnly: true}
- {name: run, mountPath: {{ .Values.agent.runDir }}}
- {name: state, mountPath: {{ .Values.agent.stateDir }}}
- {name: cni-conf, mountPath: {{ .Values.agent.cniConfDir }}}
- {name: cni-bin, mountPath: {{ .Values.agent.cniBinDir }}}
- {name: netns, mountPath: /run/netns, mountPropagation: HostToContainer}
- {name: netns, mountPath: /var/run/netns, mountPropagation: HostToContainer}
- {name: xtables-lock, mountPath: /run/xtables.lock}
- {name: dev-net, mountPath: /dev/net}
{{- end }}

{{/* /dev/net, not /dev/net/tun: a missing device must not keep the agent from starting. */}}
{{- define "magpie.agent.volumes" -}}
- {name: config, configMap: {name: {{ .configMap }}}}
- {name: run, hostPath: {path: {{ .Values.agent.runDir }}, type: DirectoryOrCreate}}
- {name: state, hostPath: {path: {{ .Values.agent.stateDir }}, type: DirectoryOrCreate}}
- {name: cni-conf, hostPath: {path: {{ .Values.agent.cniConfDir }}, type: DirectoryOrCreate}}
- {name: cni-bin, hostPath: {path: {{ .Values.agent.cniBinDir }}, type: DirectoryOrCreate}}
- {name: netns, hostPath: {path: /run/netns, type: DirectoryOrCreate}}
- {name: xtables-lock, hostPath: {path: /run/xtables.lock, type: FileOrCreate}}
- {name: dev-net, hostPath: {path: /dev/net, type: DirectoryOrCreate}}
{{- end }}
