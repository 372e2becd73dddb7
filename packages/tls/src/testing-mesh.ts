/** A mesh for tests: one root, and identities for any service. */
import { serviceSpiffeId } from "@heddle/spiffe";
import type { TlsIdentity } from "./context.ts";
import { generateKey, keyToPem } from "./keys.ts";
import { createSigner, issueLeaf, type Signer } from "./leaf.ts";
import { createRootCertificate, type KeyAndCertificate } from "./root.ts";

export interface TestMesh {
  trustDomain: string;
  datacenter: string;
  root: KeyAndCertificate;
  signer: Signer;
  spiffeId: (service: string) => string;
  /** A valid leaf of a service, with its key and the mesh's root. */
  identity: (service: string) => TlsIdentity;
}

export interface TestMeshOptions {
  trustDomain?: string;
  datacenter?: string;
  commonName?: string;
  /** A root that exists already, with its key; its trust domain is then the mesh's. A new one by default. */
  root?: KeyAndCertificate;
}

export async function createTestMesh(options: TestMeshOptions = {}): Promise<TestMesh> {
  const { datacenter = "dc1", commonName } = options;
  const given = options.trustDomain ?? "11111111-2222-3333-4444-555555555555.consul";
  const now = Date.now() - 60_000;
  const root =
    options.root ?? (await createRootCertificate({ trustDomain: given, now, ...(commonName && { commonName }) }));
  const signer = createSigner(root);
  const { trustDomain } = signer;
  const spiffeId = (service: string) => serviceSpiffeId({ trustDomain, datacenter, service });
  return {
    trustDomain,
    datacenter,
    root,
    signer,
    spiffeId,
    identity(service) {
      const key = generateKey();
      const leaf = issueLeaf({
        publicKey: key,
        spiffeId: spiffeId(service),
        signer,
        ttlMs: 3_600_000,
        now: Date.now(),
      });
      return { certPem: leaf.certPem, keyPem: keyToPem(key), roots: [root.certPem] };
    },
  };
}
