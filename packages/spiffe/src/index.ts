export { IdentityError } from "./errors.ts";
export {
  daemonSpiffeId,
  DEFAULT_NAMESPACE,
  formatSpiffeId,
  isSegment,
  MAX_SPIFFE_ID_BYTES,
  parseSpiffeId,
  serviceSpiffeId,
} from "./spiffe-id.ts";
export { clusterTrustDomain, isTrustDomain, MAX_TRUST_DOMAIN_BYTES, parseTrustDomain } from "./trust-domain.ts";
export type {
  AgentId,
  DaemonId,
  GatewayId,
  ServerId,
  ServiceId,
  ServiceIdParts,
  SigningId,
  SpiffeId,
} from "./spiffe-id.ts";
