// k3s_config.h: what a K3s v1.36.3 server (node k3sn, its own addons disabled) answers to GET /v1-k3s/config.
#pragma once

inline constexpr const char* k3s_config = R"json(
{
  "ClusterDNSs": [
    "10.43.0.10"
  ],
  "ClusterIPRanges": [
    {
      "IP": "10.42.0.0",
      "Mask": "//8AAA=="
    }
  ],
  "ClusterDNS": "10.43.0.10",
  "ClusterDomain": "cluster.local",
  "ClusterIPRange": {
    "IP": "10.42.0.0",
    "Mask": "//8AAA=="
  },
  "DisableCCM": false,
  "DisableHelmController": false,
  "DisableNPC": true,
  "EncryptSecrets": false,
  "EncryptProvider": "aescbc",
  "EmbeddedRegistry": false,
  "FlannelBackend": "none",
  "FlannelIPv6Masq": false,
  "FlannelExternalIP": false,
  "EgressSelectorMode": "agent",
  "ServiceIPRange": {
    "IP": "10.43.0.0",
    "Mask": "//8AAA=="
  },
  "ServiceIPRanges": [
    {
      "IP": "10.43.0.0",
      "Mask": "//8AAA=="
    }
  ],
  "SupervisorMetrics": false,
  "AdvertisePort": 6443,
  "AdvertiseIP": "",
  "HTTPSPort": 6443,
  "SupervisorPort": 6443,
  "APIServerPort": 17444,
  "APIServerBindAddress": "",
  "ServiceNodePortRange": {
    "Base": 30000,
    "Size": 2768
  },
  "KubeConfigOutput": "/var/lib/rancher/k3s-kc.yaml",
  "KubeConfigMode": "",
  "KubeConfigGroup": "",
  "KubeConfigName": "default",
  "HelmJobImage": "",
  "DataDir": "/var/lib/rancher/k3s/server",
  "KineTLS": false,
  "Disables": {
    "coredns": true,
    "local-storage": true,
    "metrics-server": true,
    "servicelb": true,
    "traefik": true
  },
  "DisableAgent": false,
  "DisableAPIServer": false,
  "DisableControllerManager": false,
  "DisableETCD": false,
  "DisableKubeProxy": false,
  "DisableScheduler": false,
  "DisableServiceLB": true,
  "Rootless": false,
  "ServiceLBNamespace": "kube-system",
  "ExtraAPIArgs": [
    "tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"
  ],
  "ExtraControllerArgs": null,
  "ExtraCloudControllerArgs": null,
  "ExtraEtcdArgs": null,
  "ExtraSchedulerArgs": null,
  "ExtraHelmArgs": null,
  "NoLeaderElect": true,
  "JoinURL": "",
  "IPSECPSK": "bf4f9ac1e1b3bba72d1ab558af0d61db6be9747a27edc87f8639ea206a8060f977af8cc34dc945e4580df5779b99162e",
  "DefaultLocalStoragePath": "/var/lib/rancher/k3s/storage",
  "Skips": {
    "coredns": true,
    "local-storage": true,
    "metrics-server": true,
    "servicelb": true,
    "traefik": true
  },
  "SystemDefaultRegistry": "",
  "ClusterInit": false,
  "ClusterReset": false,
  "ClusterResetRestorePath": "",
  "MinTLSVersion": "",
  "CipherSuites": [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"
  ],
  "ServerNodeName": "k3sn",
  "VLevel": 0,
  "VModule": "",
  "BindAddress": "",
  "SANs": [
    "127.0.0.1",
    "::1",
    "localhost",
    "k3sn",
    "10.0.0.1",
    "fd00::2",
    "10.43.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local"
  ],
  "SANSecurity": true,
  "PrivateIP": ""
}
)json";
