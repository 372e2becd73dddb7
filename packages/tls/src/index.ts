export { buildCertificate, nameFor, readCertificate, signatureAlgorithm } from "./certificate.ts";
export { createTrustBundle, MAX_CHAIN_LENGTH, verifyChain } from "./chain.ts";
export { dateProblem, formatSpan } from "./clocks.ts";
export {
  createMeshClient,
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  endFailedHandshakes,
  internalClientOptions,
  internalServerOptions,
  meshServerOptions,
  openInternalServerOptions,
  swapServerIdentity,
} from "./context.ts";
export { buildCrl, crlToPem } from "./crl.ts";
export { crossSign, signIntermediate } from "./cross-sign.ts";
export { createCsr, createSignerCsr, MAX_CSR_BYTES, parseCsr } from "./csr.ts";
export { createInternalCa, createInternalCertificate, INTERNAL_ROLES } from "./internal.ts";
export {
  certificateId,
  colonHex,
  generateKey,
  keyId,
  keyToPem,
  publicKeyDer,
  write0600,
} from "./keys.ts";
export { CLOCK_SKEW_MS, createSigner, HOST_SKEW_MS, issueLeaf, issueLeafAsync } from "./leaf.ts";
export { checkPeer, checkPeerCertificate, peerDaemon, peerRole, toInternalPeer } from "./peer.ts";
export { verifyStrictly } from "./openssl.ts";
export { certificatesToDer, certificateToPem } from "./pem.ts";
export { issuingOf, rehearseRotation } from "./rehearsal.ts";
export { createRevocationList, daemonRevocable, NO_REVOCATIONS, revokedNode, serialKey } from "./revocation.ts";
export { createRootCertificate, DEFAULT_ROOT_VALIDITY_MS } from "./root.ts";
export {
  daysLeft,
  EXPIRED_STAGE,
  expiryStage,
  freshRenewalDelayMs,
  nextStageAt,
  renewalDelayMs,
  URGENT_STAGE,
} from "./expiry.ts";
export {
  certificateKeyType,
  generateSigningKey,
  parseSigningKey,
  signingKeyProblem,
  signingKeyType,
} from "./signing-key.ts";
export type { CertificateFacts, CertificateTemplate } from "./certificate.ts";
export type { ChainCheck, TrustBundle } from "./chain.ts";
export type { InternalClientOptions, MeshClient, MeshTlsOptions, TlsIdentity } from "./context.ts";
export type { CsrFacts } from "./csr.ts";
export type { InternalCaOptions, InternalCertificateOptions, InternalRole } from "./internal.ts";
export type { IssuedLeaf, LeafOptions, Signer } from "./leaf.ts";
export type { InternalPeer, Peer, PeerChain, PeerCheck, PeerExpectation } from "./peer.ts";
export type { KeyAndCertificate, RootOptions } from "./root.ts";
export type { CrossSignOptions, IntermediateOptions } from "./cross-sign.ts";
export type { Validity } from "./expiry.ts";
export type { CrlOptions } from "./crl.ts";
export type {
  Revocable,
  RevocationList,
  RevocationsAnswer,
  RevokedNode,
  RevokedSerial,
  RevokedService,
} from "./revocation.ts";
export type { StrictCheck } from "./openssl.ts";
export type { Issuing, Rehearsal } from "./rehearsal.ts";
export type { SigningKeyType } from "./signing-key.ts";
