/** A config entry as somebody gave it, to the form that is stored: read, filled in, checked. */
import { InvalidArgumentError } from "@heddle/daemon";
import { canonicalName, type ConfigKind, isConfigKind } from "./kinds.ts";
import { checkMeta } from "./meta.ts";
import { readEntry } from "./read.ts";
import { goKind } from "./read-problems.ts";
import { entryShape } from "./shapes.ts";
import type { ConfigEntry } from "./types.ts";
import { checkIngress, checkTerminating, fillIngress } from "./validate-gateways.ts";
import { checkIntentions, fillIntentions } from "./validate-intentions.ts";
import { checkJwtProvider, fillJwtProvider } from "./validate-jwt.ts";
import { checkExports, checkMesh, checkProxyDefaults, checkServiceDefaults } from "./validate-mesh.ts";
import { checkResolver, checkRouter, checkSplitter, fillRouter, fillSplitter } from "./validate-routing.ts";

const MAX_NAME = 1_024; // of a service, as the catalog has it: nothing longer is looked up

/** Reads an entry out of parsed JSON or HCL. Throws InvalidArgumentError (400) with what does not fit. */
export function decodeConfigEntry(input: unknown): ConfigEntry {
  if (input !== null && (typeof input !== "object" || Array.isArray(input)))
    throw new InvalidArgumentError(`'' expected a map, got '${goKind(input)}'`);
  const given = (input ?? {}) as Record<string, unknown>;
  const kind = Object.hasOwn(given, "Kind") ? given["Kind"] : Object.hasOwn(given, "kind") ? given["kind"] : undefined;
  if (kind === undefined) throw new InvalidArgumentError("Payload does not contain a kind/Kind key at the top level");
  if (typeof kind !== "string") throw new InvalidArgumentError("Kind value in payload is not a string");
  if (!isConfigKind(kind)) throw new InvalidArgumentError(`invalid config entry kind: ${kind.slice(0, 200)}`);
  return { ...readEntry(given, entryShape(kind)), Kind: kind } as ConfigEntry;
}

/** Fills in what Consul fills in and checks an entry by itself. Throws Consul's refusals, as InvalidArgumentError with status 500. */
export function normaliseConfigEntry(entry: ConfigEntry): ConfigEntry {
  try {
    const filled = fill(entry);
    check(filled);
    return filled;
  } catch (cause) {
    // Consul's servers refuse what its HTTP layer let pass, and such a refusal is answered with 500.
    if (cause instanceof InvalidArgumentError) throw new InvalidArgumentError(cause.message, { status: 500, cause });
    throw cause;
  }
}

function fill(entry: ConfigEntry): ConfigEntry {
  switch (entry.Kind) {
    case "service-defaults":
      return { ...entry, Protocol: entry.Protocol.toLowerCase() };
    case "exported-services":
    case "mesh":
    case "proxy-defaults":
      return { ...entry, Name: canonicalName(entry.Kind, entry.Name) };
    case "service-router":
      return fillRouter(entry);
    case "service-splitter":
      return fillSplitter(entry);
    case "ingress-gateway":
      return fillIngress(entry);
    case "service-intentions":
      return fillIntentions(entry);
    case "jwt-provider":
      return fillJwtProvider(entry);
    case "service-resolver":
    case "terminating-gateway":
      return entry;
  }
}

function check(entry: ConfigEntry): void {
  if (entry.Name.length > MAX_NAME)
    throw new InvalidArgumentError(`Name is ${entry.Name.length} characters long, at most ${MAX_NAME} are accepted`);
  checkMeta(entry.Meta);
  switch (entry.Kind) {
    case "service-defaults":
      return checkServiceDefaults(entry);
    case "proxy-defaults":
      return checkProxyDefaults(entry);
    case "service-router":
      return checkRouter(entry);
    case "service-splitter":
      return checkSplitter(entry);
    case "service-resolver":
      return checkResolver(entry);
    case "ingress-gateway":
      return checkIngress(entry);
    case "terminating-gateway":
      return checkTerminating(entry);
    case "service-intentions":
      return checkIntentions(entry);
    case "jwt-provider":
      return checkJwtProvider(entry);
    case "mesh":
      return checkMesh(entry);
    case "exported-services":
      return checkExports(entry);
  }
}

/** The kind that a path names. Throws Consul's refusal with the status that the caller's endpoint has for it. */
export function toConfigKind(text: string, status: number): ConfigKind {
  if (isConfigKind(text)) return text;
  throw new InvalidArgumentError(`invalid config entry kind: ${text.slice(0, 200)}`, { status });
}
