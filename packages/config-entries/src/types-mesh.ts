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

/** Who issues tokens, and how they are checked; of Consul from 1.16 on. */
export interface JwtProviderEntry {
  Kind: "jwt-provider";
  Name: string;
  JSONWebKeySet?: {
    Local?: { JWKS?: string; Filename?: string };
    Remote?: {
      URI?: string;
      RequestTimeoutMs?: number;
      CacheDuration?: string;
      FetchAsynchronously?: boolean;
      UseSNI?: boolean;
      RetryPolicy?: { NumRetries?: number; RetryPolicyBackOff?: { BaseInterval?: string; MaxInterval?: string } };
      JWKSCluster?: {
        DiscoveryType?: string;
        ConnectTimeout?: string;
        TLSCertificates?: {
          CaCertificateProviderInstance?: { InstanceName?: string; CertificateName?: string };
          TrustedCA?: Record<string, string>;
        };
      };
    };
  };
  Issuer?: string;
  Audiences?: string[];
  Locations?: {
    Header?: { Name?: string; ValuePrefix?: string; Forward?: boolean };
    QueryParam?: { Name?: string };
    Cookie?: { Name?: string };
  }[];
  Forwarding?: { HeaderName?: string; PadForwardPayloadHeader: boolean };
  ClockSkewSeconds: number;
  CacheConfig?: { Size?: number };
  Meta?: Meta;
}

/** A token of one of these providers, with these claims; of Consul from 1.16 on. */
export interface IntentionJwt {
  Providers?: { Name: string; VerifyClaims?: { Path?: string[]; Value: string }[] }[];
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
  JWT?: IntentionJwt;
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
  /** Demanded of every request, whichever source may send it. */
  JWT?: IntentionJwt;
  Meta?: Meta;
}
