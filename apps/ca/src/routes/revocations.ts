/**
 * /v1/connect/ca: `revocations` (GET, blocking) is what is refused; `revoke` and `reinstate` (PUT) change it; `crl` (GET) tells
 * other software. Ours; Consul revokes nothing.
 */
import {
  type ApiRequest,
  type ApiTable,
  type Clock,
  decodeBody,
  type Followable,
  HeddleError,
  InvalidArgumentError,
  readBody,
  reply,
} from "@heddle/daemon";
import { buildCrl, crlToPem } from "@heddle/tls";
import type { Authority } from "../authority.ts";
import { answerBlocking } from "../blocking.ts";
import type { Revocations } from "../revocations.ts";
import { wantsPem } from "./roots.ts";

const MAX_BODY_BYTES = 64 * 1024;
const CRL_LIFE_MS = 24 * 3_600_000; // whoever fetches it is told of changes no later
const text = "string" as const;
export const REVOKE_FIELDS = { SerialNumber: text, Certificate: text, Service: text, Reason: text };
export const REINSTATE_FIELDS = { Service: text };

export interface RevocationRoutesOptions {
  authority: Authority;
  revocations: Revocations;
  clock: Clock;
}

export const REVOCATIONS_PATH = "/v1/connect/ca/revocations";

export const revocationsRead = (revocations: Revocations): Followable => ({
  index: () => revocations.index,
  onChanged: (listener) => revocations.onChanged(listener),
  answer: () => revocations.list.answer,
});

export function revocationsTable({ authority, revocations, clock }: RevocationRoutesOptions): ApiTable {
  const read = revocationsRead(revocations);
  return {
    [REVOCATIONS_PATH]: { GET: (request) => answerBlocking(request, read) },
    "/v1/connect/ca/revoke": {
      async PUT(request) {
        const { SerialNumber, Certificate, Service, Reason } = await readFields(request, REVOKE_FIELDS);
        const entry = await revocations.revoke({
          serial: SerialNumber,
          certificate: Certificate,
          service: Service,
          reason: Reason,
        });
        reply(request, entry);
      },
    },
    "/v1/connect/ca/reinstate": {
      async PUT(request) {
        const { Service } = await readFields(request, REINSTATE_FIELDS);
        if (!Service) throw new InvalidArgumentError("want Service: which one may have certificates again");
        reply(request, await revocations.reinstate(Service));
      },
    },
    "/v1/connect/ca/crl": { GET: (request) => sendCrl(request, { authority, revocations, clock }) },
  };
}

const readFields = async <K extends string>({ req }: ApiRequest, fields: Record<K, "string">) =>
  decodeBody(await readBody(req, MAX_BODY_BYTES), fields) as Partial<Record<K, string>>;

function sendCrl({ res, query }: ApiRequest, { authority, revocations, clock }: RevocationRoutesOptions): void {
  const { Serials } = revocations.list.answer;
  const now = clock.now();
  const { signer } = authority.activeRoot;
  if (!signer) throw new HeddleError("conflict", "Vault keeps the key that signs: it has a list of its own");
  const crl = buildCrl({
    signer,
    revoked: Serials.map(({ SerialNumber, RevokedAt }) => ({ serial: SerialNumber, at: Date.parse(RevokedAt) })),
    number: revocations.index,
    now,
    nextUpdate: now + CRL_LIFE_MS,
  });
  const isPem = wantsPem(query);
  const body = isPem ? Buffer.from(crlToPem(crl)) : crl;
  res.writeHead(200, {
    "Content-Type": isPem ? "application/x-pem-file" : "application/pkix-crl",
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
  });
  res.end(body);
}
