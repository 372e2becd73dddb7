/** /v1/agent/connect: roots, leaves and decisions for this node's proxies. */
import type { ServerResponse } from "node:http";
import {
  type ApiRequest,
  type ApiTable,
  decodeBody,
  describeError,
  readBody,
  readParams,
  refusal,
  reply,
  type Spec,
  UnavailableError,
  whenDraining,
} from "@heddle/daemon";
import { decide } from "@heddle/intentions";
import { isSegment, parseSpiffeId, type ServiceId } from "@heddle/spiffe";
import type { AgentDeps } from "../deps.ts";
import type { Rules } from "../followed.ts";
import type { Roots } from "../leaves.ts";
import type { Watched } from "../watched.ts";

const FIRST_ANSWER_MS = 5_000; // how long a first caller waits for the CA to have answered
const MAX_BODY = 16 * 1024;
const MAX_NAME = 256;
export const AUTHORIZE_FIELDS: Record<string, Spec> = {
  Target: "string",
  ClientCertURI: "string",
  ClientCertSerial: "string",
  TargetNamespace: "string",
  Namespace: "string",
};

export function connectTable(deps: AgentDeps): ApiTable {
  const { followed, leaves } = deps;
  return {
    "/v1/agent/connect/ca/roots": {
      GET: async (request) => {
        await answerWatched(request, followed.roots, "the CA has not answered yet: no roots are known");
      },
    },
    "/v1/agent/connect/ca/revocations": {
      GET: async (request) => {
        const missing = "the CA has not answered yet: it is not known what was revoked";
        await answerWatched(request, followed.revocations, missing, ({ answer }) => answer);
      },
    },
    "/v1/agent/connect/ca/leaf/": {
      GET: async (request) => {
        const service = request.rest;
        if (service === "") throw refusal(500, "URI must be either service or agent");
        if (service.length > MAX_NAME) throw refusal(400, `service name is longer than ${MAX_NAME} characters`);
        if (!isSegment(service)) throw refusal(500, `SPIFFE ID is not in the expected format: ${uriOf(deps, service)}`);
        await answerWatched(request, await leaves.get(service), "no leaf");
      },
    },
    "/v1/agent/connect/authorize": { POST: (request) => authorize(deps, request) },
  };
}

const uriOf = ({ followed, config }: AgentDeps, service: string): string =>
  `spiffe://${followed.roots.value?.TrustDomain ?? ""}/ns/default/dc/${config.datacenter}/svc/${service}`;

/** Answers the value as it stands, or once its index is no longer the caller's. */
async function answerWatched<T>(
  request: ApiRequest,
  watched: Watched<T>,
  missing: string,
  show: (value: T) => unknown = (value) => value,
): Promise<void> {
  const { index, waitMs } = readParams(request.query);
  if (watched.value === undefined) await watched.changed(0, FIRST_ANSWER_MS, closed(request.res));
  if (index > 0) await watched.changed(index, waitMs + (Math.random() * waitMs) / 16, closed(request.res));
  if (watched.value === undefined) throw new UnavailableError(missing);
  reply(request, show(watched.value), {
    "X-Consul-Index": watched.index,
    "X-Consul-KnownLeader": "true",
    "X-Consul-LastContact": 0,
    "X-Cache": "HIT",
    Age: 0,
  });
}

const signals = new WeakMap<ServerResponse, AbortSignal>();
function closed(res: ServerResponse): AbortSignal {
  let signal = signals.get(res);
  if (!signal) {
    const controller = new AbortController();
    res.once("close", () => controller.abort());
    whenDraining(res, () => controller.abort());
    signal = controller.signal;
    signals.set(res, signal);
  }
  return signal;
}

/** Whether a caller with this URI may connect to a target service (POST /v1/agent/connect/authorize). */
async function authorize({ followed, decisions }: AgentDeps, request: ApiRequest): Promise<void> {
  const { target, uri, serial } = questionOf(await readBody(request.req, MAX_BODY));
  if (target === "") throw refusal(400, "Bad request: Target service must be specified");
  followed.freshen();
  if (followed.rules.value === undefined) await followed.rules.changed(0, FIRST_ANSWER_MS, closed(request.res));
  if (followed.roots.value === undefined) await followed.roots.changed(0, FIRST_ANSWER_MS, closed(request.res));
  if (followed.revocations.value === undefined)
    await followed.revocations.changed(0, FIRST_ANSWER_MS, closed(request.res));
  const rules = followed.rules.value;
  const roots = followed.roots.value;
  const revocations = followed.revocations.value;
  if (rules === undefined || roots === undefined || revocations === undefined)
    throw new UnavailableError("the intentions, the roots or what was revoked are not known yet");
  const known = verdicts(rules);
  const key = `${target}\0${uri}\0${roots.TrustDomain}`;
  let verdict = known.get(key);
  const revoked = revocations.check({ serial, service: parseCaller(uri).service });
  if (revoked !== undefined) verdict = { Authorized: false, Reason: `Revoked: ${revoked}` };
  else if (!verdict) {
    verdict = judge(rules, roots, parseCaller(uri), target);
    if (known.size >= MAX_VERDICTS) known.clear();
    known.set(key, verdict);
  }
  if (decisions.isFollowed)
    decisions.tell({
      Time: new Date().toISOString(),
      By: "authorize",
      Outcome: verdict.Authorized ? "allowed" : "refused",
      Source: parseCaller(uri).service,
      Destination: target,
      SourceURI: uri,
      Peer: "",
      Rule: /^Matched intention: (.*)$/.exec(verdict.Reason)?.[1] ?? "",
      Reason: verdict.Reason,
    });
  reply(request, verdict, { "X-Cache": "HIT", Age: 0 });
}

interface Question {
  target: string;
  uri: string;
  serial: string;
}

// A proxy asks the same about each connection of a caller: it is known by its bytes.
const MAX_QUESTIONS = 1_000;
const MAX_QUESTION_BYTES = 1_024;
const questions = new Map<string, Question>();

function questionOf(body: Buffer): Question {
  if (body.length > MAX_QUESTION_BYTES) return decodeAuthorize(body);
  const bytes = body.toString("latin1");
  let question = questions.get(bytes);
  if (!question) {
    question = decodeAuthorize(body);
    if (questions.size >= MAX_QUESTIONS) questions.clear();
    questions.set(bytes, question);
  }
  return question;
}

function decodeAuthorize(body: Buffer): Question {
  try {
    const { Target, ClientCertURI, ClientCertSerial } = decodeBody(body, AUTHORIZE_FIELDS) as Partial<
      Record<string, string>
    >;
    return { target: Target ?? "", uri: ClientCertURI ?? "", serial: ClientCertSerial ?? "" };
  } catch (error) {
    throw refusal(400, `Bad request: ${describeError(error)}`);
  }
}

interface Verdict {
  Authorized: boolean;
  Reason: string;
}

// The same pairs connect again and again; new rules are a new object, and so start with no verdicts.
const MAX_VERDICTS = 10_000;
const verdictsOf = new WeakMap<Rules, Map<string, Verdict>>();
function verdicts(rules: Rules): Map<string, Verdict> {
  let known = verdictsOf.get(rules);
  if (!known) verdictsOf.set(rules, (known = new Map()));
  return known;
}

function judge(rules: Rules, roots: Roots, caller: ServiceId, target: string): Verdict {
  // Consul's authorize leaves the trust domain out; a caller of another cluster is nobody here (SECURITY.md, peer check 3).
  if (caller.trustDomain !== roots.TrustDomain)
    return { Authorized: false, Reason: `Identity from an external trust domain: ${caller.trustDomain}` };
  const { allowed, reason } = decide({
    intentions: rules.intentions,
    source: caller.service,
    sourceNS: caller.namespace,
    destination: target,
    defaultAllow: rules.defaultAllow,
  });
  return { Authorized: allowed, Reason: reason };
}

function parseCaller(uri: string): ServiceId {
  const id = (() => {
    try {
      return parseSpiffeId(uri);
    } catch (cause) {
      throw refusal(400, "Bad request: ClientCertURI not a valid Connect identifier", cause);
    }
  })();
  if (id.kind !== "service") throw refusal(400, "Bad request: ClientCertURI not a valid Service identifier");
  return id;
}
