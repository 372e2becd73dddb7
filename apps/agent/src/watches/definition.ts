/** The `watches` of the configuration: what is watched, and whom to tell. */
import {
  type Deliver,
  type FireOn,
  type HttpHandler,
  parseDeliver,
  parseFireOn,
  parseHttpHandler,
  parseWatchPlan,
  type WatchPlan,
} from "@heddle/api-client";
import { InvalidArgumentError } from "@heddle/daemon";

export type WatchHandler =
  | ({ kind: "http" } & HttpHandler)
  /** One line for the shell, or a program with its arguments. */
  | { kind: "script"; argv: readonly string[]; isShell: boolean };

export interface WatchDefinition {
  plan: WatchPlan;
  handler: WatchHandler;
  fireOn: FireOn;
  deliver: Deliver;
  /** The name under which the agent keeps what was told last; empty: it is kept in memory, and what fails is not told again. */
  cursor: string;
  /** ACL token of its reads; empty: the agent's own. */
  token: string;
  /** What a log line calls it. */
  label: string;
}

const HANDLER_KEYS = [
  "handler",
  "args",
  "handler_type",
  "http_handler_config",
  "token",
  "fire_on",
  "deliver",
  "cursor",
] as const;
const MAX_CURSOR = 128;

/** Reads one block of `watches`. Throws InvalidArgumentError in Consul's words. */
export function parseWatch(block: Readonly<Record<string, unknown>>): WatchDefinition {
  const { handler, args, handler_type: type = "", http_handler_config: http, token = "" } = block;
  const rest = Object.entries(block).filter(([key]) => !(HANDLER_KEYS as readonly string[]).includes(key));
  if (typeof token !== "string") throw new InvalidArgumentError("Expecting token to be a string");
  if (type !== "" && type !== "http" && type !== "script")
    throw new InvalidArgumentError(`invalid handler_type '${String(type)}': want script or http`);
  const { fire_on, deliver: given, cursor = "" } = block;
  if (typeof cursor !== "string" || cursor.length > MAX_CURSOR)
    throw new InvalidArgumentError(`invalid cursor: want a name of at most ${MAX_CURSOR} characters`);
  const [fireOn, deliver] = [parseFireOn(fire_on), parseDeliver(given)];
  const plan = parseWatchPlan(Object.fromEntries(rest));
  if ([handler !== undefined, args !== undefined, type === "http"].filter(Boolean).length > 1)
    throw new InvalidArgumentError("Only one watch handler allowed");
  if (type !== "http" && http !== undefined)
    throw new InvalidArgumentError('Invalid parameters: [http_handler_config]: want handler_type = "http" with it');
  const subject = rest.filter(([key]) => key !== "type").map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return { plan, token, fireOn, deliver, cursor, label: [plan.type, ...subject].join(" "), handler: parseHandler() };

  function parseHandler(): WatchHandler {
    if (type === "http") {
      if (http === undefined)
        throw new InvalidArgumentError("Handler type 'http' requires 'http_handler_config' to be set");
      // HCL gives a block as a list of one.
      const config: unknown = Array.isArray(http) && http.length === 1 ? (http as unknown[])[0] : http;
      if (typeof config !== "object" || config === null || Array.isArray(config))
        throw new InvalidArgumentError("Failed to parse 'http_handler_config': want one block of keys");
      return { kind: "http", ...parseHttpHandler(withPlainHeader(config as Record<string, unknown>)) };
    }
    if (args !== undefined) {
      const list = typeof args === "string" ? [args] : args;
      if (!Array.isArray(list) || list.length === 0 || list.some((arg) => typeof arg !== "string"))
        throw new InvalidArgumentError("Watch args must be a list of strings");
      return { kind: "script", argv: list as string[], isShell: false };
    }
    if (handler === undefined) throw new InvalidArgumentError("Must define a watch handler");
    if (typeof handler !== "string") throw new InvalidArgumentError("Watch handler must be a string");
    return { kind: "script", argv: [handler], isShell: true };
  }
}

function withPlainHeader(config: Record<string, unknown>): Record<string, unknown> {
  const { header } = config;
  if (Array.isArray(header) && header.length === 1) return { ...config, header: (header as unknown[])[0] };
  if (header !== undefined && (typeof header !== "object" || header === null || Array.isArray(header)))
    throw new InvalidArgumentError("Failed to parse 'http_handler_config': header: want a block of names and lists");
  return config;
}
