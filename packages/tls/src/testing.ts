/** Fakes for tests of whoever uses certificates: a mesh of its own, and everything that must be refused in it. */
export { badClientCertificates, forgeLeaf, forgeSigner } from "./testing-certificates.ts";
export { badRequests, forgeCsr } from "./testing-requests.ts";
export { createTestMesh } from "./testing-mesh.ts";
export { NOISES } from "./testing-noise.ts";
export type { BadCertificate, ForgedLeaf } from "./testing-certificates.ts";
export type { BadRequest, ForgedCsr } from "./testing-requests.ts";
export type { TestMesh } from "./testing-mesh.ts";
