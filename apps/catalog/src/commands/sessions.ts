/** Sessions as commands: created on a node, ended by their owner, their TTL, or a check that fails. */
import { randomUUID } from "node:crypto";
import { type Decoded, formatDuration, parseDuration, refusal, type Spec } from "@heddle/daemon";
import type { Command, View, Write } from "@heddle/store";
import {
  checkKey,
  CHECKS,
  KV,
  nodeKey,
  NODES,
  SESSIONS,
  type CheckRecord,
  type KvRecord,
  type SessionRecord,
} from "../records.ts";
import { queryRemoval } from "./queries.ts";

/** Which keys a session holds: key `<session>\0<key>`, so that ending a session needs no scan of the KV table. */
export const LOCKS = "locks";

export const SESSION_FIELDS: Record<string, Spec> = {
  ID: "string",
  Name: "string",
  Node: "string",
  LockDelay: "any",
  Behavior: "string",
  TTL: "string",
  NodeChecks: "strings",
  ServiceChecks: { list: { object: { ID: "string", Namespace: "string" } } },
  Checks: "strings",
  Namespace: "string",
  CreateIndex: "integer",
  ModifyIndex: "integer",
};

const DEFAULT_LOCK_DELAY_NS = 15e9; // Consul's default
const MIN_TTL_MS = 10_000; // Consul's session_ttl_min
const MAX_TTL_MS = 86_400_000;
const DEFAULT_CHECKS = ["serfHealth"];

export interface SessionDefaults {
  node: string;
  minTtlMs?: number;
}

/** The session that a body asks for. Throws the refusals of Consul's Session.Apply. */
export function toSession(body: Decoded, { node, minTtlMs = MIN_TTL_MS }: SessionDefaults): SessionRecord {
  const behavior = (body["Behavior"] as string | undefined) || "release";
  if (behavior !== "release" && behavior !== "delete") throw refusal(500, `Invalid Behavior setting '${behavior}'`);
  if (body["Node"] === "") throw refusal(500, "Must provide Node");
  const ttl = (body["TTL"] as string | undefined) ?? "";
  if (ttl !== "" && ttl !== "0") {
    const ms = ttlMs(ttl);
    if (ms !== 0 && (ms < minTtlMs || ms > MAX_TTL_MS)) {
      throw refusal(
        500,
        `Invalid Session TTL '${Math.round(ms * 1e6)}', must be between [${formatDuration(minTtlMs)}=${formatDuration(MAX_TTL_MS)}]`,
      );
    }
  }
  // `Checks` is what both lists were once: empty it takes the default away, and as the default it says nothing.
  // So do empty `NodeChecks`, whatever `Checks` says.
  const nodeChecks = Object.hasOwn(body, "NodeChecks")
    ? ((body["NodeChecks"] as string[] | undefined) ?? null)
    : DEFAULT_CHECKS;
  const given = Object.hasOwn(body, "Checks") ? ((body["Checks"] as string[] | undefined) ?? []) : DEFAULT_CHECKS;
  const checks = nodeChecks?.length ? given : [];
  const isDefault = checks.length === 1 && checks[0] === DEFAULT_CHECKS[0];
  const serviceChecks = body["ServiceChecks"] as { ID?: string; Namespace?: string }[] | undefined;
  return {
    ID: randomUUID(),
    Name: (body["Name"] as string | undefined) ?? "",
    Node: (body["Node"] as string | undefined) || node,
    LockDelay: lockDelayNs(body["LockDelay"]),
    Behavior: behavior,
    TTL: ttl,
    NodeChecks: given.length === 0 ? [] : nodeChecks,
    ServiceChecks: serviceChecks?.map(({ ID, Namespace }) => ({ ID: ID ?? "", Namespace: Namespace ?? "" })) ?? null,
    ...(checks.length > 0 && !isDefault && { Checks: checks }),
  };
}

/** A session's TTL in milliseconds; 0 for none. */
export function ttlMs(ttl: string): number {
  if (ttl === "") return 0;
  try {
    return parseDuration(ttl);
  } catch {
    throw refusal(500, `Session TTL '${ttl}' invalid: time: invalid duration ${JSON.stringify(ttl)}`);
  }
}

// Text is a Go duration, a number nanoseconds; of either what is below 1000 is seconds. Anything else is no delay.
function lockDelayNs(given: unknown): number {
  if (given === undefined || given === null) return DEFAULT_LOCK_DELAY_NS;
  const seconds = (ns: number): number => (ns < 1000 ? ns * 1e9 : ns);
  if (typeof given === "number") return seconds(Math.trunc(given));
  if (typeof given !== "string") return 0;
  try {
    return seconds(Math.round(parseDuration(given) * 1e6));
  } catch {
    throw refusal(400, `Request decode failed: time: invalid duration ${JSON.stringify(given)}`);
  }
}

/** Stores a session once its node and its checks are there and none is critical. */
export function createSession(session: SessionRecord): Command<string> {
  return (view) => {
    if (!view.get(NODES, nodeKey(session.Node))) throw refusal(500, `Missing node registration`);
    for (const id of checkIds(session)) {
      const check = view.get<CheckRecord>(CHECKS, checkKey(session.Node, id));
      if (!check) throw refusal(500, `Missing check '${id}' registration`);
      if (check.value.Status === "critical") throw refusal(500, `Check '${id}' is in critical state`);
    }
    return { writes: [{ table: SESSIONS, key: session.ID, value: session }], result: session.ID };
  };
}

/** Ends a session; the keys that it held are released or deleted. Ending an unknown one succeeds. */
export function destroySession(id: string): Command<SessionRecord | undefined> {
  return (view) => {
    const session = view.get<SessionRecord>(SESSIONS, id);
    return session
      ? { writes: sessionRemoval(view, session.value), result: session.value }
      : { writes: [], result: undefined };
  };
}

/** The writes that end every session of a node, or those bound to one of its checks. */
export function invalidateSessions(view: View, { node, checkId }: { node: string; checkId?: string }): Write[] {
  return view
    .list<SessionRecord>(SESSIONS)
    .map((s) => s.value)
    .filter((s) => s.Node.toLowerCase() === node.toLowerCase())
    .filter((s) => checkId === undefined || checkIds(s).includes(checkId))
    .flatMap((s) => sessionRemoval(view, s));
}

/** The checks that a session lives by. */
function checkIds({ NodeChecks, ServiceChecks, Checks }: SessionRecord): string[] {
  return [...(Checks ?? []), ...(NodeChecks ?? []), ...(ServiceChecks ?? []).map((c) => c.ID)];
}

function sessionRemoval(view: View, session: SessionRecord): Write[] {
  const writes: Write[] = [{ table: SESSIONS, key: session.ID }, ...queryRemoval(view, session.ID)];
  for (const lock of view.list<{ Key: string }>(LOCKS, `${session.ID}\0`)) {
    const held = view.get<KvRecord>(KV, lock.value.Key);
    writes.push({ table: LOCKS, key: lock.key });
    if (!held || held.value.Session !== session.ID) continue;
    const { Session: _, ...free } = held.value;
    writes.push(
      session.Behavior === "delete" ? { table: KV, key: held.key } : { table: KV, key: held.key, value: free },
    );
  }
  return writes;
}
