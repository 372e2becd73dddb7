/** What the agent follows of the servers, so that its own answers need no other process: roots and intentions. */
import type { ApiClient } from "@heddle/api-client";
import { describeError, type Logger } from "@heddle/daemon";
import type { Intention } from "@heddle/intentions";
import type { Roots } from "./leaves.ts";
import { Watched } from "./watched.ts";

export interface Rules {
  intentions: Intention[];
  defaultAllow: boolean;
}

export interface FollowedOptions {
  catalog: ApiClient;
  ca: ApiClient;
  log: Logger;
  onRoots: (roots: Roots) => void;
}

export interface Followed {
  roots: Watched<Roots>;
  rules: Watched<Rules>;
  run(signal: AbortSignal): Promise<void>;
}

export function followServers({ catalog, ca, log, onRoots }: FollowedOptions): Followed {
  const roots = new Watched<Roots>();
  const rules = new Watched<Rules>();
  const onError =
    (what: string) =>
    ({ error, attempt }: { error: unknown; attempt: number }) => {
      if (attempt === 1) log.warn(`cannot follow the ${what}, serving what is known`, { error: describeError(error) });
    };
  const followRoots = async (signal: AbortSignal) => {
    for await (const { body, index } of ca.watch<Roots>("/v1/connect/ca/roots", {
      signal,
      onError: onError("roots"),
    })) {
      if (!body.Roots?.some((r) => r.Active)) continue; // the CA has not made its root yet
      roots.set(body, index);
      onRoots(body);
    }
  };
  const followRules = async (signal: AbortSignal) => {
    for await (const { body, index, headers } of catalog.watch<Intention[]>("/v1/connect/intentions", {
      signal,
      onError: onError("intentions"),
    })) {
      rules.set({ intentions: body, defaultAllow: headers["x-consul-default-acl-policy"] !== "deny" }, index);
    }
  };
  return {
    roots,
    rules,
    async run(signal) {
      await Promise.all([followRoots(signal), followRules(signal)]);
    },
  };
}
