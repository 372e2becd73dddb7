/**
 * Reads with `?cached` on a node without servers: each question is followed on one stream to the servers, however many here ask
 * it, and answered from memory, also while the servers are away: `Age` then says for how many seconds nothing was heard.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { StreamClient } from "@heddle/api-client";
import { type Clock, readParams, type ReadParams, reply, type Timer } from "@heddle/daemon";
import { Counter, Gauge, type Registry } from "prom-client";
import { Watched } from "./watched.ts";

const MAX_ENTRIES = 5_000;
const IDLE_MS = 10 * 60_000; // nobody asks any more: the servers need not tell it
const LOOK_EVERY_MS = 60_000;
const FIRST_ANSWER_MS = 5_000;
/** What may be followed, and depends on nothing but its path and its query. */
const PATHS =
  /^\/v1\/(?:health\/(?:service|connect|ingress|node|checks|state)\/|catalog\/(?:nodes|services|(?:service|connect|node-services|gateway-services)\/)|connect\/intentions\/match|discovery-chain\/)/;
/** Of the request, and not of the question. */
const OF_REQUEST = ["cached", "index", "wait", "stale", "max_stale", "pretty", "token"];
/** With these the answer depends on who asks, or is none of the stream's. */
const NOT_FOLLOWED = ["consistent", "explain", "hash", "near"];

interface Entry {
  answer: Watched<unknown>;
  askedAt: number;
  subscription: { close(): void };
  isRefused: boolean;
}

export interface StreamCacheOptions {
  /** Opens the stream to the servers, with the first question that is asked; the cache closes it. */
  connect: () => StreamClient;
  datacenter: string;
  /** What the servers say holds without rules; undefined while that is not known. */
  isDefaultAllow: () => boolean | undefined;
  /** When the servers fell silent, though the stream may seem to stand; undefined while they answer. */
  silentSince: () => number | undefined;
  registry: Registry;
  clock: Clock;
}

export interface StreamCache extends Disposable {
  /** Takes a request over that it can answer; the others are `next`'s, as are those of which the servers have said nothing. */
  handle(req: IncomingMessage, res: ServerResponse, next: () => void): boolean;
}

export function createStreamCache(options: StreamCacheOptions): StreamCache {
  const { connect, datacenter, isDefaultAllow, silentSince, registry, clock } = options;
  const entries = new Map<string, Entry>();
  let stream: StreamClient | undefined;
  /** When the stream was lost; undefined while it stands, or was never needed. */
  let lostAt: number | undefined;
  const open = (): StreamClient => {
    const opened = connect();
    lostAt = clock.now();
    opened.onState((isConnected) => {
      lostAt = isConnected ? undefined : clock.now();
    });
    return opened;
  };
  const awaySince = () => lostAt ?? (stream && silentSince());
  const age = () => Math.floor((clock.now() - (awaySince() ?? clock.now())) / 1_000);
  const reads = registerMetrics(registry, { size: () => entries.size, age });

  const remove = (path: string) => {
    entries.get(path)?.subscription.close();
    entries.delete(path);
  };
  const look = () => {
    const now = clock.now();
    for (const [path, { answer, askedAt }] of entries) if (!answer.isAwaited && now - askedAt > IDLE_MS) remove(path);
    timer = clock.after(LOOK_EVERY_MS, look);
  };
  let timer: Timer = clock.after(LOOK_EVERY_MS, look);

  const follow = (path: string): Entry | undefined => {
    if (entries.size >= MAX_ENTRIES) {
      const [idle] = [...entries].find(([, { answer }]) => !answer.isAwaited) ?? [];
      if (idle === undefined) return undefined;
      remove(idle);
    }
    const entry: Entry = { answer: new Watched(), askedAt: 0, subscription: { close() {} }, isRefused: false };
    entries.set(path, entry);
    stream ??= open();
    entry.subscription = stream.subscribe(path, {
      onAnswer: ({ index, body }) => entry.answer.set(body, index),
      onError() {
        entry.isRefused = true;
        if (entries.get(path) === entry) entries.delete(path);
        entry.answer.set(undefined, 0); // whoever waits asks the servers
      },
    });
    return entry;
  };

  const answer = async (request: Request, next: () => void): Promise<void> => {
    const { path, params, query, req, res } = request;
    const known = entries.get(path);
    const entry = known ?? follow(path);
    if (!entry) return next();
    entries.delete(path); // to the end: the first is the one that was asked for the longest ago
    if (!entry.isRefused) entries.set(path, entry);
    entry.askedAt = clock.now();
    const gone = new AbortController();
    res.once("close", () => gone.abort());
    const isHit = entry.answer.value !== undefined;
    if (!isHit) await entry.answer.changed(0, FIRST_ANSWER_MS, gone.signal);
    if (entry.answer.value === undefined) return next();
    reads.inc({ result: isHit ? "hit" : "miss" });
    const { index, waitMs } = params;
    if (index > 0) await entry.answer.changed(index, waitMs + (Math.random() * waitMs) / 16, gone.signal);
    if (req.destroyed || res.destroyed) return;
    const isAllowed = isDefaultAllow();
    reply({ res, query }, entry.answer.value, {
      "X-Consul-Index": entry.answer.index,
      "X-Consul-KnownLeader": String(awaySince() === undefined),
      "X-Consul-LastContact": age() * 1_000,
      ...(isAllowed !== undefined && { "X-Consul-Default-ACL-Policy": isAllowed ? "allow" : "deny" }),
      "X-Cache": isHit ? "HIT" : "MISS",
      Age: age(),
    });
  };
  return {
    handle(req, res, next) {
      const request = readRequest(req, res, datacenter);
      if (!request) return false;
      answer(request, next).catch(() => res.destroy());
      return true;
    },
    [Symbol.dispose]() {
      timer.cancel();
      for (const path of [...entries.keys()]) remove(path);
      stream?.close();
    },
  };
}

interface Request {
  /** The question: the same for all who ask it, whatever order they write it in. */
  path: string;
  params: ReadParams;
  query: URLSearchParams;
  req: IncomingMessage;
  res: ServerResponse;
}

/** Undefined for what is not asked of the cache, or cannot be answered by it. */
function readRequest(req: IncomingMessage, res: ServerResponse, datacenter: string): Request | undefined {
  const { method, url = "" } = req;
  if (method !== "GET" || !url.includes("cached") || !PATHS.test(url)) return undefined;
  const [path = "", text = ""] = url.split("?", 2);
  const query = new URLSearchParams(text);
  const dc = query.get("dc");
  if (!query.has("cached") || NOT_FOLLOWED.some((name) => query.has(name))) return undefined;
  if (dc !== null && dc !== "" && dc !== datacenter) return undefined;
  const params = (() => {
    try {
      return readParams(query);
    } catch {
      return undefined; // the servers say what is wrong with it
    }
  })();
  if (!params) return undefined;
  const question = new URLSearchParams(query);
  for (const name of [...OF_REQUEST, "dc"]) question.delete(name);
  question.sort();
  return { path: question.size > 0 ? `${path}?${question.toString()}` : path, params, query, req, res };
}

function registerMetrics(registry: Registry, { size, age }: { size: () => number; age: () => number }) {
  new Gauge({
    name: "heddle_agent_cache_entries",
    help: "Questions that this agent follows for its clients.",
    registers: [registry],
    collect() {
      this.set(size());
    },
  });
  new Gauge({
    name: "heddle_agent_cache_age_seconds",
    help: "Since the servers were last heard of, for what is answered from the cache; 0 while the stream stands.",
    registers: [registry],
    collect() {
      this.set(age());
    },
  });
  return new Counter({
    name: "heddle_agent_cache_reads_total",
    help: "Reads with ?cached that were answered here, by whether the answer was known already.",
    labelNames: ["result"],
    registers: [registry],
  });
}
