/** What the agent follows of the servers, so that its own answers need no other process: roots, revocations and intentions. */
import type { ApiClient } from "@heddle/api-client";
import { describeError, type Logger, parseToPassOn, type RevokedCallers } from "@heddle/daemon";
import type { Intention } from "@heddle/intentions";
import {
  createRevocationList,
  daemonRevocable,
  NO_REVOCATIONS,
  type RevocationList,
  type RevocationsAnswer,
} from "@heddle/tls";
import type { Roots } from "./leaves.ts";
import { Watched } from "./watched.ts";

const ROOTS_RETRY_MAX_MS = 1_000; // by these it is known that the CA is back, and leaves that could not be renewed wait for it
const SOON_MS = 400; // who was cut off enforces what was written meanwhile within a second of its return

export interface Rules {
  intentions: Intention[];
  defaultAllow: boolean;
}

export interface FollowedOptions {
  catalog: ApiClient;
  ca: ApiClient;
  log: Logger;
  onRoots: (roots: Roots) => void;
  onRevocations: () => void;
  /** A snapshot was restored: the catalog may no longer hold what this agent has put there. */
  onRestored: () => void;
  /** In a composition: the catalog's memory, which knows of a write as soon as it is acknowledged. */
  local?: { stream: LocalStream; defaultAllow: boolean } | undefined;
}

/** What the agent needs of the catalog's stream within one process. */
export interface LocalStream {
  subscribe(
    path: string,
    handlers: { onAnswer: (answer: { index: number; body: unknown }) => void },
  ): { poll(): void; close(): void };
}

export interface Followed {
  roots: Watched<Roots>;
  revocations: Watched<RevocationList>;
  /** For listeners of this node's own. */
  revokedCallers: RevokedCallers;
  rules: Watched<Rules>;
  /** Takes over what was written up to now, where that is known without asking another process. */
  freshen(): void;
  run(signal: AbortSignal): Promise<void>;
}

export function followServers({
  catalog,
  ca,
  log,
  onRoots,
  onRevocations,
  onRestored,
  local,
}: FollowedOptions): Followed {
  const roots = new Watched<Roots>();
  const revocations = new Watched<RevocationList>();
  const onRevoked = new Set<() => void>();
  const rules = new Watched<Rules>();
  const onError =
    (what: string) =>
    ({ error, attempt }: { error: unknown; attempt: number }) => {
      if (attempt === 1) log.warn(`cannot follow the ${what}, serving what is known`, { error: describeError(error) });
    };
  const followRoots = async (signal: AbortSignal) => {
    for await (const { body, raw, index } of ca.watch<Roots>("/v1/connect/ca/roots", {
      signal,
      onError: onError("roots"),
      retryMaxMs: ROOTS_RETRY_MAX_MS,
    })) {
      if (!body.Roots?.some((r) => r.Active)) continue; // the CA has not made its root yet
      roots.set(parseToPassOn(raw.toString()) as Roots, index);
      onRoots(body);
    }
  };
  const followRevocations = async (signal: AbortSignal) => {
    // A CA of an older version revokes nothing.
    const options = { signal, onError: onError("revocations"), allow: [404], retryMaxMs: SOON_MS };
    for await (const { status, body, index } of ca.watch<RevocationsAnswer>("/v1/connect/ca/revocations", options)) {
      revocations.set(createRevocationList(status === 404 ? NO_REVOCATIONS : body), index);
      onRevocations();
      for (const listener of onRevoked) listener();
    }
  };
  const localRules = local?.stream.subscribe("/v1/connect/intentions", {
    onAnswer: ({ index, body }) =>
      rules.set({ intentions: body as Intention[], defaultAllow: local.defaultAllow }, index),
  });
  const followRules = async (signal: AbortSignal) => {
    if (localRules) {
      signal.addEventListener("abort", () => localRules.close(), { once: true });
      return;
    }
    for await (const { body, index, headers } of catalog.watch<Intention[]>("/v1/connect/intentions", {
      signal,
      onError: onError("intentions"),
      retryMaxMs: SOON_MS,
    })) {
      rules.set({ intentions: body, defaultAllow: headers["x-consul-default-acl-policy"] !== "deny" }, index);
    }
  };
  const followRestores = async (signal: AbortSignal) => {
    let known: number | undefined;
    for await (const { body } of catalog.watch<{ Index: number }>("/v1/internal/restored", {
      signal,
      onError: onError("restores"),
    })) {
      if (known !== undefined && body.Index !== known) onRestored();
      known = body.Index;
    }
  };
  return {
    roots,
    revocations,
    revokedCallers: {
      read: daemonRevocable,
      check: (facts) => revocations.value?.check(facts),
      onChanged(listener) {
        onRevoked.add(listener);
        return () => onRevoked.delete(listener);
      },
    },
    rules,
    freshen: () => localRules?.poll(),
    async run(signal) {
      await Promise.all([followRoots, followRevocations, followRules, followRestores].map((follow) => follow(signal)));
    },
  };
}
