/** Forged certificates: every bad client certificate of SECURITY.md's checklist, each wrong in exactly one way. */
import { randomBytes, X509Certificate, type KeyObject } from "node:crypto";
import { daemonSpiffeId, formatSpiffeId } from "@heddle/spiffe";
import { buildCertificate, nameFor } from "./certificate.ts";
import type { TlsIdentity } from "./context.ts";
import { der, oid, sequence, TAG } from "./der.ts";
import {
  basicConstraints,
  dnsName,
  extKeyUsage,
  ipName,
  KEY_USAGE,
  keyUsage,
  leafExtensions,
  NAME_TAG,
  OID,
  signerExtensions,
  uriName,
  type AltName,
  type Extension,
} from "./extensions.ts";
import { generateKey, keyId, keyToPem, publicKeyDer } from "./keys.ts";
import { createSigner, type Signer } from "./leaf.ts";
import { certificateToPem } from "./pem.ts";
import { createTestMesh, type TestMesh } from "./testing-mesh.ts";

export interface ForgedLeaf {
  names?: AltName[];
  /** DNS names beside the URI, where `names` does not say all. */
  dns?: readonly string[];
  /** Each replaces the extension of its OID, or is added. */
  extensions?: Extension[];
  /** OIDs of extensions to leave out. */
  without?: string[];
  notBefore?: number;
  notAfter?: number;
  signer?: Signer;
  /** Certificates presented beside the leaf. */
  intermediates?: string[];
  key?: KeyObject;
  selfSigned?: boolean;
}

/** A leaf of the mesh with anything wrong about it, ready to present. */
export function forgeLeaf(mesh: TestMesh, forged: ForgedLeaf = {}): TlsIdentity {
  const { signer = mesh.signer, key = generateKey() } = forged;
  const spki = publicKeyDer(key);
  const subject = nameFor("web.svc.default.11111111.consul");
  const names = forged.names ?? [uriName(mesh.spiffeId("web")), ...(forged.dns ?? []).map(dnsName)];
  const extensions = leafExtensions(names, keyId(spki), signer.keyId)
    .filter((e) => !forged.without?.includes(e.oid) && !forged.extensions?.some((f) => f.oid === e.oid))
    .concat(forged.extensions ?? []);
  const certificate = buildCertificate(
    {
      serial: randomBytes(16).fill(0x41, 0, 1),
      issuer: forged.selfSigned ? subject : signer.subject,
      subject,
      notBefore: forged.notBefore ?? Date.now() - 60_000,
      notAfter: forged.notAfter ?? Date.now() + 3_600_000,
      spki,
      extensions,
    },
    forged.selfSigned ? key : signer.key,
  );
  return {
    certPem: [certificateToPem(certificate), ...(forged.intermediates ?? [])].join(""),
    keyPem: keyToPem(key),
    roots: [mesh.root.certPem],
  };
}

/** A CA below another, in the same trust domain. */
export function forgeSigner(parent: Signer, options: { commonName?: string; extensions?: Extension[] } = {}): Signer {
  const key = generateKey();
  const spki = publicKeyDer(key);
  const extensions = signerExtensions(`spiffe://${parent.trustDomain}`, keyId(spki), parent.keyId)
    .filter((e) => !options.extensions?.some((f) => f.oid === e.oid))
    .concat(options.extensions ?? []);
  const certificate = buildCertificate(
    {
      serial: randomBytes(16).fill(0x41, 0, 1),
      issuer: parent.subject,
      subject: nameFor(options.commonName ?? `intermediate ${randomBytes(4).toString("hex")}`),
      notBefore: Date.now() - 60_000,
      notAfter: Date.now() + 3_600_000,
      spki,
      extensions,
    },
    parent.key,
  );
  return createSigner({ certPem: certificateToPem(certificate), keyPem: keyToPem(key) });
}

export interface BadCertificate {
  name: string;
  identity: TlsIdentity;
  /** Who refuses it: OpenSSL in the handshake, or our SPIFFE rules right after. */
  refusedBy: "handshake" | "rules";
}

/** Client certificates that a listener of `mesh` must refuse: one for each row of the checklist. */
export async function badClientCertificates(mesh: TestMesh): Promise<BadCertificate[]> {
  const other = await createTestMesh();
  const sameName = await createTestMesh({ commonName: commonNameOf(mesh.root.certPem) });
  const intermediate = forgeSigner(mesh.signer);
  const chain = [intermediate];
  while (chain.length < 6) chain.push(forgeSigner(chain.at(-1) as Signer));
  const deepest = chain.at(-1) as Signer;
  const longChain = chain.toReversed().map((s) => s.certPem);
  const deep = forgeLeaf(mesh, { signer: deepest });
  const web = mesh.spiffeId("web");
  const td = mesh.trustDomain;
  const now = Date.now();
  const leaf = (forged: ForgedLeaf) => forgeLeaf(mesh, forged);
  const uri = (...texts: string[]) => leaf({ names: texts.map(uriName) });
  const otherName = der(TAG.oid, Buffer.from("1.3.6.1.4.1.311.20.2.3"));

  const byHandshake: Record<string, TlsIdentity> = {
    "expired one second ago": leaf({ notAfter: now - 1_000 }),
    "not yet valid": leaf({ notBefore: now + 600_000 }),
    "of another root": forgeLeaf(other, {}),
    "of another root with the same name": forgeLeaf(sameName, {}),
    "without its intermediate": leaf({ signer: intermediate }),
    "for servers only": leaf({ extensions: [extKeyUsage([OID.serverAuth])] }),
    "self-signed": leaf({ selfSigned: true }),
    "with an unknown critical extension": leaf({ extensions: [{ oid: "1.2.3.4", critical: true, value: sequence() }] }),
  };
  const byRules: Record<string, TlsIdentity> = {
    "at the end of a chain of seven": { ...deep, certPem: [deep.certPem, ...longChain].join("") },
    "twice before a chain of six": { ...deep, certPem: [deep.certPem, deep.certPem, ...longChain].join("") },
    "with CA:TRUE": leaf({ extensions: [basicConstraints(true)] }),
    "that may sign certificates": leaf({ extensions: [keyUsage(KEY_USAGE.digitalSignature | KEY_USAGE.keyCertSign)] }),
    "that may sign CRLs": leaf({ extensions: [keyUsage(KEY_USAGE.digitalSignature | KEY_USAGE.cRLSign)] }),
    "without key usage": leaf({ without: [OID.keyUsage] }),
    "for clients only": leaf({ extensions: [extKeyUsage([OID.clientAuth])] }),
    "without a name": leaf({ without: [OID.subjectAltName] }),
    "with two URIs": uri(web, mesh.spiffeId("db")),
    "with the same URI twice": uri(web, web),
    "with five URIs": uri(...["web", "db", "a", "b", "c"].map(mesh.spiffeId)),
    "with a DNS name beside its URI": leaf({ names: [uriName(web), dnsName("db.service.consul")] }),
    "with an IP address beside its URI": leaf({ names: [uriName(web), ipName("10.0.0.1")] }),
    "with a DNS name alone": leaf({ names: [dnsName("web.service.consul")] }),
    "with an e-mail name": leaf({ names: [uriName(web), { tag: NAME_TAG.email, value: Buffer.from("a@b") }] }),
    "with an otherName": leaf({
      names: [
        uriName(web),
        { tag: NAME_TAG.otherName, value: Buffer.concat([oid("1.3.6.1.4.1.311.20.2.3"), der(0xa0, otherName)]) },
      ],
    }),
    "with a registered id": leaf({
      names: [uriName(web), { tag: NAME_TAG.registeredId, value: Buffer.from([0x2a, 0x03]) }],
    }),
    "with an http: URI": uri(web.replace("spiffe:", "http:")),
    "with an upper-case scheme": uri(web.replace("spiffe:", "SPIFFE:")),
    "with an upper-case trust domain": uri(web.replace(td, td.toUpperCase())),
    "of another trust domain": uri(web.replace(td, "99999999-2222-3333-4444-555555555555.consul")),
    "of a sub-domain": uri(web.replace(td, `x.${td}`)),
    "of a domain that begins with ours": uri(web.replace(td, `${td}.evil`)),
    "with userinfo": uri(web.replace("//", "//user@")),
    "with a port": uri(web.replace(td, `${td}:443`)),
    "with a query": uri(`${web}?a=b`),
    "with a fragment": uri(`${web}#a`),
    "percent-encoded": uri(web.replace("web", "%77eb")),
    "with an empty segment": uri(web.replace("/dc/", "//dc/")),
    "with a dot segment": uri(web.replace("/svc/", "/./svc/")),
    "with a dot-dot segment": uri(web.replace("/svc/", "/x/../svc/")),
    "with a trailing slash": uri(`${web}/`),
    "with an empty path": uri(`spiffe://${td}`),
    "with an empty URI": uri(""),
    "with a NUL": uri(`${web}\0`),
    "with a comma": uri(`${web},URI:${mesh.spiffeId("db")}`),
    "with a byte outside ASCII": uri(`${web}\u00e9`),
    "with a URI of 3 KiB": uri(web + "x".repeat(3_072)),
    "of an agent": uri(formatSpiffeId({ kind: "agent", trustDomain: td, datacenter: "dc1", node: "n1" })),
    "of a server": uri(formatSpiffeId({ kind: "server", trustDomain: td, datacenter: "dc1" })),
    "of a gateway": uri(formatSpiffeId({ kind: "gateway", trustDomain: td, datacenter: "dc1" })),
    "of a daemon": uri(daemonSpiffeId({ trustDomain: td, datacenter: "dc1", role: "catalog" })),
  };
  return [
    ...Object.entries(byHandshake).map(([name, identity]) => ({ name, identity, refusedBy: "handshake" as const })),
    ...Object.entries(byRules).map(([name, identity]) => ({ name, identity, refusedBy: "rules" as const })),
  ];
}

function commonNameOf(pem: string): string {
  return new X509Certificate(pem).subject.replace("CN=", "");
}
