/** The entries of gateways, of the mesh as a whole, and of intentions. */
import type { Meta } from "./types.ts";
import type { HeaderMatch, HeaderModifiers } from "./types-routing.ts";

export interface IngressService {
  Name: string;
  Hosts: string[] | null;
  Namespace?: string;
  RequestHeaders?: HeaderModifiers;
  ResponseHeaders?: HeaderModifiers;
}

export interface IngressListener {
  Port: number;
  Protocol: string;
  Services: IngressService[];
}

export interface IngressGatewayEntry {
  Kind: "ingress-gateway";
  Name: string;
  TLS: { Enabled: boolean };
  Listeners: IngressListener[] | null;
  Meta?: Meta;
}

export interface LinkedService {
  Name: string;
  Namespace?: string;
  CAFile?: string;
  CertFile?: string;
  KeyFile?: string;
  SNI?: string;
}

export interface TerminatingGatewayEntry {
  Kind: "terminating-gateway";
  Name: string;
  Services: LinkedService[] | null;
  Meta?: Meta;
}

export interface MeshEntry {
  Kind: "mesh";
  /** Always MESH_NAME here; the answer has no name, as Consul's. */
  Name: string;
  TransparentProxy: { MeshDestinationsOnly: boolean };
  AllowEnablingPermissiveMutualTLS?: boolean;
  TLS?: { Incoming?: MeshTls; Outgoing?: MeshTls };
  HTTP?: { SanitizeXForwardedClientCert: boolean };
  Peering?: { PeerThroughMeshGateways?: boolean };
  Meta?: Meta;
}

export interface MeshTls {
  TLSMinVersion?: string;
  TLSMaxVersion?: string;
  CipherSuites?: string[];
}

export interface ExportedServicesEntry {
  Kind: "exported-services";
  Name: string;
  Services: { Name: string; Namespace?: string; Consumers: { Partition?: string; Peer?: string }[] }[] | null;
  Meta?: Meta;
}

/** A rule on HTTP requests; the first of a source's that matches decides. */
export interface IntentionPermission {
  Action: string;
  HTTP?: {
    PathExact?: string;
    PathPrefix?: string;
    PathRegex?: string;
    Header?: HeaderMatch[];
    Methods?: string[];
  };
  /** Of Consul from 1.16 on: a token of one of these providers, with these claims. */
  JWT?: { Providers?: { Name: string; VerifyClaims?: { Path?: string[]; Value: string }[] }[] };
}

export interface IntentionSource {
  Name: string;
  Action?: string;
  Permissions?: IntentionPermission[];
  Precedence: number;
  Type: string;
  Description?: string;
  Namespace?: string;
  Peer?: string;
  LegacyID?: string;
  LegacyMeta?: Meta;
  LegacyCreateTime?: string;
  LegacyUpdateTime?: string;
}

export interface ServiceIntentionsEntry {
  Kind: "service-intentions";
  Name: string;
  Sources: IntentionSource[] | null;
  Meta?: Meta;
}
