/** GET /v1/connect/ca/roots: who is to be trusted; blocking, and as PEM. */
import type { ServerResponse } from "node:http";
import { type ApiTable, exactNumber, type Followable, readParams, refusal } from "@heddle/daemon";
import type { StoredRecord } from "@heddle/store";
import { certificateKeyType, certificatesToDer, colonHex, keyId, readCertificate } from "@heddle/tls";
import type { Authority } from "../authority.ts";
import { answerBlocking } from "../blocking.ts";
import type { RootRecord } from "../records.ts";
import { rfc3339 } from "../rfc3339.ts";

/** Who waits for the next change of the roots: each knows the list as it is. */
export type RootsFollowers = Set<() => void>;

export const ROOTS_PATH = "/v1/connect/ca/roots";

export const rootsRead = (authority: Authority): Followable => ({
  index: () => rootsIndex(authority),
  onChanged: (listener) => authority.onRootsChanged(listener),
  answer: () => showRoots(authority),
});

export function rootsTable(authority: Authority, followers: RootsFollowers): ApiTable {
  const read = rootsRead(authority);
  return {
    [ROOTS_PATH]: {
      GET(request) {
        readParams(request.query); // refuses what no read takes
        if (wantsPem(request.query)) return sendPem(request.res, authority);
        answerBlocking(request, { ...read, followers });
      },
    },
  };
}

/** The highest index of any root: at least 1, and never back. */
export function rootsIndex(authority: Authority): number {
  return Math.max(1, ...authority.roots().map((root) => root.modifyIndex));
}

function showRoots(authority: Authority) {
  return {
    ActiveRootID: authority.activeRoot.id,
    TrustDomain: authority.trustDomain,
    Roots: authority.roots().map((root) => showRoot(root, authority.clusterId)),
  };
}

function showRoot({ key, value, createIndex, modifyIndex }: StoredRecord<RootRecord>, clusterId: string) {
  const { serial, signingKeyId, notBefore, notAfter, type, bits } = factsOf(value.certPem);
  return {
    ID: key,
    Name: "Consul CA Root Cert",
    SerialNumber: serial,
    SigningKeyID: signingKeyId,
    ExternalTrustDomain: clusterId,
    NotBefore: notBefore,
    NotAfter: notAfter,
    RootCert: value.certPem,
    IntermediateCerts: value.intermediates.length > 0 ? value.intermediates : null,
    Active: value.isActive,
    PrivateKeyType: type,
    PrivateKeyBits: bits,
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

const MAX_KNOWN = 64;
const known = new Map<string, ReturnType<typeof readFacts>>();

/** What is shown of a root's certificate. */
export function factsOf(certPem: string) {
  let facts = known.get(certPem);
  if (!facts) {
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(certPem, (facts = readFacts(certPem)));
  }
  return facts;
}

function readFacts(certPem: string) {
  const { serial, spki, subjectKeyId, notBefore, notAfter } = readCertificate(certificatesToDer(certPem)[0] as Buffer);
  return {
    // The low 64 bits, as Consul's. Ours are made so that they are exact as a double too; an offered root's may be any.
    serial: exactNumber(BigInt(`0x${serial.subarray(-8).toString("hex")}`).toString()),
    signingKeyId: colonHex(subjectKeyId ?? keyId(spki)),
    notBefore: rfc3339(notBefore),
    notAfter: rfc3339(notAfter),
    ...certificateKeyType(certPem),
  };
}

/** `?pem`, with or without a truth value. Throws Consul's 400. */
export function wantsPem(query: URLSearchParams): boolean {
  const value = query.get("pem");
  if (value === null || value === "") return false;
  if (/^(?:1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(?:0|f|F|false|FALSE|False)$/.test(value)) return false;
  throw refusal(400, "Bad request: The 'pem' query parameter must be a boolean value");
}

function sendPem(res: ServerResponse, authority: Authority): void {
  const body = Buffer.from(
    authority
      .roots()
      .map((root) => root.value.certPem)
      .join(""),
  );
  res.writeHead(200, {
    "Content-Type": "application/pem-certificate-chain",
    "Content-Length": body.length,
    Vary: "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
  });
  res.end(body);
}
