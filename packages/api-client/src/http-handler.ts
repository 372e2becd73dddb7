/** Tells a watch's change to somebody's HTTP endpoint, as an agent's `http_handler_config` says. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { describeError, InvalidArgumentError, parseDuration, UnavailableError } from "@heddle/daemon";
import type { WatchChange } from "./watch-changes.ts";

const DEFAULT_TIMEOUT_MS = 10_000; // Consul's
const MAX_OUTPUT_BYTES = 4 * 1024; // of the endpoint's answer, for the log

export interface HttpHandler {
  url: string;
  method: string;
  headers: Record<string, string[]>;
  timeoutMs: number;
  tlsSkipVerify: boolean;
}

/** Reads `http_handler_config`. Throws InvalidArgumentError in Consul's words. */
export function parseHttpHandler(config: Readonly<Record<string, unknown>>): HttpHandler {
  const fail = (why: string, cause?: unknown) =>
    new InvalidArgumentError(`Failed to parse 'http_handler_config': ${why}`, { cause });
  const { path = "", method = "", timeout = "", header = {}, tls_skip_verify: skip = false, ...others } = config;
  const unknown = Object.keys(others);
  if (unknown.length > 0)
    throw fail(`unknown key '${unknown[0]}': want path, method, timeout, header, tls_skip_verify`);
  if (path === "") throw fail("Requires 'path' to be set");
  if (typeof path !== "string" || !/^https?:$/.test(URL.parse(path)?.protocol ?? ""))
    throw fail(`path: invalid value '${String(path)}': want an http:// or https:// URL`);
  if (typeof method !== "string" || !/^[A-Za-z]*$/.test(method))
    throw fail(`method: invalid value '${String(method)}': want a method of HTTP`);
  if (typeof skip !== "boolean") throw fail("tls_skip_verify: want true or false");
  let timeoutMs = DEFAULT_TIMEOUT_MS;
  try {
    if (timeout !== "") timeoutMs = parseDuration(String(timeout));
  } catch (cause) {
    throw fail(`Failed to parse timeout: ${describeError(cause)}`, cause);
  }
  const headers = Object.entries(header as Record<string, unknown>).map(([name, values]) => {
    const list: unknown[] = Array.isArray(values) ? values : [values];
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || list.some((v) => typeof v !== "string" || /[\r\n\0]/.test(v)))
      throw fail(`header: invalid value for '${name}': want a list of texts`);
    return [name, list as string[]] as const;
  });
  return {
    url: path,
    method: method.toUpperCase() || "POST",
    headers: Object.fromEntries(headers),
    timeoutMs,
    tlsSkipVerify: skip,
  };
}

/** Resolves with the last of what the endpoint said. Throws UnavailableError where it did not answer 2xx in time. */
export async function tellHttpHandler(handler: HttpHandler, change: WatchChange, signal: AbortSignal): Promise<string> {
  const { url, method, headers, timeoutMs, tlsSkipVerify } = handler;
  const isTls = url.startsWith("https:");
  const late = AbortSignal.timeout(timeoutMs);
  const options = {
    method,
    headers: {
      "Content-Type": "application/json",
      "X-Consul-Index": String(change.index),
      "X-Heddle-Index": String(change.index),
      "X-Heddle-Change-ID": change.id,
      ...headers,
    },
    signal: AbortSignal.any([signal, late]),
    agent: false as const,
    ...(isTls && { rejectUnauthorized: !tlsSkipVerify }),
  };
  const { status, output } = await new Promise<{ status: number; output: string }>((resolve, reject) => {
    const req = (isTls ? httpsRequest : httpRequest)(url, options, (res) => {
      let tail = Buffer.alloc(0);
      res.on("data", (chunk: Buffer) => {
        tail = Buffer.concat([tail, chunk]).subarray(-MAX_OUTPUT_BYTES);
      });
      res.once("error", reject);
      res.once("end", () => resolve({ status: res.statusCode ?? 0, output: tail.toString("utf8") }));
    });
    req.once("error", reject);
    req.end(`${change.json}\n`);
  }).catch((cause: unknown) => {
    const why = late.aborted ? `no answer within ${timeoutMs} ms` : describeError(cause);
    throw new UnavailableError(`cannot tell ${url}: ${why}`, { cause });
  });
  if (status < 200 || status > 299) throw new UnavailableError(`${url} answered ${status}: ${output}`);
  return output;
}
