/** Where a snapshot's parts come from: one blocking query each, against the public agent API alone. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { type ApiClient, ApiError, type ApiResponse, type WatchFailure, type WatchOptions } from "@heddle/api-client";
import { backoffMs, describeError, type Logger, sleep } from "@heddle/daemon";
import type { Intention } from "@heddle/intentions";
import { parseSpiffeId } from "@heddle/spiffe";
import { colonHex, NO_REVOCATIONS, readCertificate, type RevocationsAnswer } from "@heddle/tls";
import type { AgentLink } from "./agent-link.ts";
import { type HealthEntry, type QueryAnswer, toEndpoints, toQueryEndpoints } from "./endpoints.ts";
import { type Leaf, type Roots, type Rules, type SnapshotStore, upstreamKey } from "./snapshot.ts";
import { type AgentService, inDatacenter, parseAgentService, type UpstreamSpec } from "./spec.ts";
import type { WatchLoop } from "./watches.ts";

const QUERY_POLL_MS = 2_000; // Consul's agents cannot wait for a query's answer to change
const NO_PATH = "No path to datacenter"; // what Consul's servers, and ours, say of a datacenter that they have no link to
const SELF_MS = 60_000; // how long what an agent says of itself is taken for known
const SELF_SPREAD_MS = 5_000;
const RETRY_MAX_MS = 800;
const RULES_RETRY_MAX_MS = 400; // a flipped intention must bite within a second of the agent's return, or its servers'

export interface SourceDeps {
  client: ApiClient;
  store: SnapshotStore;
  link: AgentLink;
  log: Logger;
}

/** The loops of one proxy, by what they watch. */
export function createSources({ client, store, link, log }: SourceDeps) {
  /** Runs `apply` on each changed answer; an answer that cannot be used is logged, and what was known stays. */
  const follow = async <T>(
    name: string,
    path: string,
    signal: AbortSignal,
    apply: (answer: ApiResponse<T>) => void | Promise<void>,
    options: Partial<WatchOptions> = {},
  ): Promise<void> => {
    const watching = client.watch<T>(path, {
      retryMaxMs: RETRY_MAX_MS,
      ...options,
      signal,
      onError(failure) {
        link.failed(name, failure);
        options.onError?.(failure);
      },
      onAnswer: () => link.answered(name),
    });
    try {
      for await (const answer of watching) {
        try {
          await apply(answer);
        } catch (error) {
          if (!signal.aborted)
            log.error("cannot use what the agent sent, keeping what is known", {
              watch: name,
              error: describeError(error),
            });
        }
      }
    } finally {
      link.forget(name);
    }
  };

  /** The proxy's own registration. */
  const registration =
    (proxyId: string): WatchLoop =>
    (signal) =>
      follow<AgentService>(
        "proxy config",
        `/v1/agent/service/${encodeURIComponent(proxyId)}`,
        signal,
        ({ body }) => {
          const { spec, problems, skipped } = parseAgentService(body);
          if (problems.length > 0) throw new Error(problems.join("; "));
          for (const reason of skipped) log.error("an upstream is left out", { reason });
          store.set("spec", spec);
        },
        { hash: true },
      );

  const roots: WatchLoop = (signal) =>
    follow<RootsAnswer>("roots", "/v1/agent/connect/ca/roots", signal, ({ body }) => store.set("roots", toRoots(body)));

  const revocations: WatchLoop = (signal) =>
    follow<RevocationsAnswer>(
      "revocations",
      "/v1/agent/connect/ca/revocations",
      signal,
      // Consul's agents have no such path: nothing is revoked there.
      ({ status, body }) => store.set("revocations", status === 404 ? NO_REVOCATIONS : body),
      { allow: [404] },
    );

  const leaf =
    (service: string): WatchLoop =>
    (signal) =>
      follow<LeafAnswer>("leaf", `/v1/agent/connect/ca/leaf/${encodeURIComponent(service)}`, signal, ({ body }) =>
        store.set("leaf", toLeaf(body, service)),
      );

  const endpoints =
    (upstream: UpstreamSpec): WatchLoop =>
    async (signal) => {
      const key = upstreamKey(upstream);
      const { datacenter } = upstream;
      const dc = datacenter === "" ? {} : { dc: datacenter };
      // One that nobody knows the way to has no instances: the listener stands, and says so to whoever comes.
      const onError = ({ error }: WatchFailure) => {
        const isNowhere = error instanceof ApiError && error.body.startsWith(NO_PATH);
        if (isNowhere && !store.current.endpoints.has(key)) store.setEndpoints(key, []);
      };
      if (upstream.kind === "prepared_query") {
        await follow<QueryAnswer>(
          `answer of query ${upstream.name}${inDatacenter(upstream)}`,
          `/v1/query/${encodeURIComponent(upstream.name)}/execute`,
          signal,
          // A query that is not there yet has no instances: the listener stands, and says so to whoever comes.
          ({ status, body }) => store.setEndpoints(key, status === 404 ? [] : toQueryEndpoints(body)),
          { query: { connect: "true", ...dc }, allow: [404], pollMs: QUERY_POLL_MS, onError },
        );
        return store.setEndpoints(key, undefined);
      }
      await follow<HealthEntry[]>(
        `endpoints of ${upstream.name}${inDatacenter(upstream)}`,
        `/v1/health/connect/${encodeURIComponent(upstream.name)}`,
        signal,
        ({ body }) => store.setEndpoints(key, toEndpoints(body)),
        // Its agent follows it for all proxies of the node together, and has it while the servers are away.
        { query: { passing: 1, cached: true, ...dc }, onError },
      );
      store.setEndpoints(key, undefined);
    };

  const rules =
    (service: string): WatchLoop =>
    async (signal) => {
      const path = "/v1/connect/intentions/match";
      const query = { by: "destination", name: service };
      // An agent's default policy is another only after it was started anew, which breaks the watch. A restart that was too quick to
      // be seen is found out some time after a later change: not with it, for all proxies hear of a change at once, and it is cuts first.
      let self: SelfAnswer | undefined;
      let askedAt = 0;
      let isToAsk = false;
      let latest: ApiResponse<MatchAnswer> | undefined;
      const onError = () => void (self = undefined);
      const soon = { onError, retryMaxMs: RULES_RETRY_MAX_MS };
      const policyIn = (answer: ApiResponse<MatchAnswer>) => answer.headers["x-consul-default-acl-policy"];
      const ask = async (answer: ApiResponse<MatchAnswer>) => {
        askedAt = performance.now();
        return askSelf(policyIn(answer) !== undefined);
      };
      const set = (answer: ApiResponse<MatchAnswer>) => {
        const { body, index } = answer;
        const found = toRules(body[service] ?? Object.values(body)[0] ?? [], policyIn(answer), self);
        store.set("rules", { ...found, ...(index > 0 && { version: index }) });
      };
      const askSoon = async () => {
        isToAsk = true;
        await sleep(Math.random() * SELF_SPREAD_MS, signal).catch(() => {});
        isToAsk = false;
        if (signal.aborted || !latest) return;
        self = (await ask(latest)) ?? self;
        if (!signal.aborted) set(latest);
      };
      const apply = async (answer: ApiResponse<MatchAnswer>) => {
        latest = answer;
        self ??= await ask(answer);
        set(answer);
        if (!isToAsk && performance.now() - askedAt >= SELF_MS) void askSoon();
      };
      const first = await firstAnswer(() => client.get<MatchAnswer>(path, { query, signal }), signal);
      if (!first) return;
      await apply(first);
      if (first.headers["x-consul-index"] !== undefined)
        return follow("intentions", path, signal, apply, { query, ...soon });
      // Consul before 1.9 gives this answer no index to wait on: its list of all intentions has one, and says when to ask.
      const applyAll = async () => apply(await client.get(path, { query, signal }));
      return follow("intentions", "/v1/connect/intentions", signal, applyAll, soon);
    };

  const firstAnswer = async <T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> => {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const answer = await ask();
        link.answered("intentions");
        return answer;
      } catch (error) {
        if (signal.aborted) break;
        const retryMs = backoffMs(attempt, 100, RULES_RETRY_MAX_MS);
        link.failed("intentions", { error, attempt, retryMs });
        await sleep(retryMs, signal).catch(() => {});
      }
    }
    return undefined;
  };

  const askSelf = async (isPolicyKnown: boolean): Promise<SelfAnswer | undefined> => {
    try {
      return (await client.get<SelfAnswer>("/v1/agent/self")).body;
    } catch (error) {
      if (!isPolicyKnown)
        log.warn("cannot read the agent's default policy: what no intention allows is denied", {
          error: describeError(error),
        });
      return undefined;
    }
  };

  /** What holds where no intention matches: the agent's intention policy, or its ACL policy, or "allow" without ACLs. */
  const toRules = (
    intentions: Intention[],
    header: string | string[] | undefined,
    self: SelfAnswer | undefined,
  ): Rules => {
    const config = self?.DebugConfig;
    if (config?.DefaultIntentionPolicy)
      return {
        intentions,
        defaultAllow: config.DefaultIntentionPolicy === "allow",
        defaultReason: `Default intention policy: ${config.DefaultIntentionPolicy}`,
      };
    if (typeof header === "string") return { intentions, defaultAllow: header === "allow" };
    if (config) return { intentions, defaultAllow: !config.ACLsEnabled || config.ACLDefaultPolicy === "allow" };
    return { intentions, defaultAllow: false, defaultReason: "the default policy is not known" };
  };

  return { registration, roots, revocations, leaf, rules, endpoints };
}

type MatchAnswer = Record<string, Intention[] | null>;

interface SelfAnswer {
  DebugConfig?: { ACLsEnabled?: boolean; ACLDefaultPolicy?: string; DefaultIntentionPolicy?: string };
}

interface RootsAnswer {
  TrustDomain: string;
  Roots: { RootCert: string }[] | null;
}

interface LeafAnswer {
  CertPEM: string;
  PrivateKeyPEM: string;
}

/** Throws where there is no root, or one that cannot be read. */
export function toRoots({ TrustDomain, Roots }: RootsAnswer): Roots {
  const certPems = (Roots ?? []).map((root) => root.RootCert);
  if (certPems.length === 0) throw new Error("the agent knows no root certificate");
  const names = certPems.map((pem) => /CN=([^,\n]+)/.exec(new X509Certificate(pem).subject)?.[1] ?? "");
  return { trustDomain: TrustDomain.toLowerCase(), certPems, names };
}

/** Throws where certificate, key and service do not fit. */
export function toLeaf({ CertPEM, PrivateKeyPEM }: LeafAnswer, service: string): Leaf {
  const certificate = new X509Certificate(CertPEM);
  const { altNames, serial } = readCertificate(certificate.raw);
  const uri = altNames.uris[0] ?? "";
  const id = parseSpiffeId(uri);
  if (id.kind !== "service") throw new Error(`the leaf is for '${uri}', which is no service`);
  if (id.service !== service) throw new Error(`the leaf is for '${uri}', wanted one for service '${service}'`);
  if (!certificate.checkPrivateKey(createPrivateKey(PrivateKeyPEM)))
    throw new Error("the leaf's key does not belong to it");
  const { trustDomain, namespace, datacenter } = id;
  return {
    certPem: CertPEM,
    keyPem: PrivateKeyPEM,
    uri,
    service,
    namespace,
    datacenter,
    trustDomain,
    serial: colonHex(serial),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}
