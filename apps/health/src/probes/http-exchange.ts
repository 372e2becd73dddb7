/** One request and its answer for the HTTP check: no agent, no kept connection, a bounded body, one deadline for all hops. */
import type { Check } from "../check.ts";
import {
  type ClientRequest,
  type IncomingMessage,
  request as requestPlain,
  type RequestOptions,
  validateHeaderName,
  validateHeaderValue,
} from "node:http";
import { request as requestTls } from "node:https";
import { BlockList } from "node:net";
import { dialText, joinHostPort, tlsText } from "../go-text.ts";
import type { TailBuffer } from "../output.ts";
import { targetTls } from "./dial.ts";
import { ProbeError, type ProbeContext } from "./probe.ts";

const MAX_BODY_BYTES = 1024 * 1024; // read to find the end of the body, whose last bytes are kept; then the rest is not wanted
const MAX_HEADER_BYTES = 256 * 1024;

const LINK_LOCAL = new BlockList();
LINK_LOCAL.addSubnet("169.254.0.0", 16, "ipv4");
LINK_LOCAL.addSubnet("fe80::", 10, "ipv6");

export interface Hop {
  /** An error where the target is none: it is told once the request would be made. */
  url: URL | ProbeError;
  /** As the user or the redirect wrote it. */
  shown: string;
  method: string;
  headers: [string, string][];
  body: string;
  /** The check's TLS exceptions; empty on another host. */
  check: Pick<Check, "TLSServerName" | "TLSSkipVerify">;
}

export interface Answer {
  code: number;
  /** "200 OK". */
  status: string;
  location: string | undefined;
  body: TailBuffer;
}

export class TimeUpError extends ProbeError {}

/** One deadline for a whole check: whatever is under way is told when it passes. */
export interface Deadline {
  onExpired(fn: (() => void) | undefined): void;
  readonly isOver: boolean;
  cancel(): void;
}

export function createDeadline(context: ProbeContext, timeoutMs: number): Deadline {
  let tell: (() => void) | undefined;
  let isOver = false;
  const expire = () => {
    isOver = true;
    tell?.();
  };
  const timer = context.clock.after(timeoutMs, expire);
  context.signal.addEventListener("abort", expire, { once: true });
  return {
    onExpired(fn) {
      tell = fn;
    },
    get isOver() {
      return isOver;
    },
    cancel() {
      timer.cancel();
      context.signal.removeEventListener("abort", expire);
    },
  };
}

/** Sends a hop and reads its answer. Throws ProbeError in Go's words, TimeUpError past the deadline. */
export function exchange(
  hop: Hop & { url: URL },
  body: TailBuffer,
  context: ProbeContext,
  deadline: Deadline,
): Promise<Answer> {
  const { url } = hop;
  const isSecure = url.protocol === "https:";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const options: RequestOptions = {
    agent: false,
    method: hop.method,
    headers: headerList(hop),
    maxHeaderSize: MAX_HEADER_BYTES,
    ...(!context.allowLinkLocal && { blockList: LINK_LOCAL }),
    ...(isSecure && targetTls(hop.check, host, context)),
  };
  return new Promise((resolve, reject) => {
    if (deadline.isOver) return reject(new TimeUpError());
    const request: ClientRequest = (isSecure ? requestTls : requestPlain)(url, options);
    let response: IncomingMessage | undefined;
    const finish = () => {
      deadline.onExpired(undefined);
      if (response === undefined) return reject(deadline.isOver ? new TimeUpError() : new ProbeError("EOF"));
      resolve({
        code: response.statusCode ?? 0,
        status: `${response.statusCode ?? 0} ${response.statusMessage ?? ""}`.trimEnd(),
        location: response.headers.location || undefined,
        body,
      });
      request.destroy();
    };
    deadline.onExpired(() => {
      finish();
      request.destroy();
    });
    request.on("error", (error: NodeJS.ErrnoException) => {
      deadline.onExpired(undefined);
      // An answer that breaks off in its body still has its status.
      if (response === undefined)
        reject(
          new ProbeError(
            requestText(error, joinHostPort(host, url.port || (isSecure ? 443 : 80)), hop.check.TLSServerName || host),
          ),
        );
    });
    request.on("upgrade", (upgraded: IncomingMessage, socket) => {
      socket.destroy();
      response = upgraded;
      finish();
    });
    request.on("response", (incoming) => {
      response = incoming;
      incoming.on("data", (chunk: Buffer) => {
        body.push(chunk);
        if (body.total >= MAX_BODY_BYTES) finish();
      });
      incoming.on("error", () => {});
      incoming.once("close", finish);
    });
    request.once("close", finish);
    request.end(hop.body === "" ? undefined : hop.body);
  });
}

// A flat list keeps repeated names apart; Node adds nothing to it but "Connection: close".
function headerList(hop: Hop & { url: URL }): string[] {
  const { url, method } = hop;
  const flat: string[] = [];
  const has = (name: string) => hop.headers.some(([given]) => given.toLowerCase() === name);
  if (!has("host")) flat.push("Host", url.host);
  for (const [name, value] of hop.headers) {
    try {
      validateHeaderName(name);
    } catch {
      throw new ProbeError(`net/http: invalid header field name ${JSON.stringify(name)}`);
    }
    try {
      validateHeaderValue(name, value);
    } catch {
      throw new ProbeError(`net/http: invalid header field value for ${JSON.stringify(name)}`); // the value may be a secret
    }
    flat.push(name, value);
  }
  if (url.username !== "" && !has("authorization")) {
    const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    flat.push("Authorization", `Basic ${Buffer.from(credentials).toString("base64")}`);
  }
  if (hop.body !== "" || ["PATCH", "POST", "PUT"].includes(method))
    flat.push("Content-Length", String(Buffer.byteLength(hop.body)));
  return flat;
}

function requestText(error: NodeJS.ErrnoException, target: string, name: string): string {
  const certificate = tlsText(error, name);
  if (certificate?.startsWith("tls: first record")) return "http: server gave HTTP response to HTTPS client";
  if (certificate !== undefined) return certificate;
  if (error instanceof AggregateError || ["connect", "getaddrinfo"].includes(error.syscall ?? ""))
    return dialText(error, "tcp", target);
  if (error.code === "ERR_IP_BLOCKED")
    return `dial tcp ${target}: link-local addresses are refused (-allow-link-local)`;
  if (error.code === "HPE_HEADER_OVERFLOW")
    return `net/http: server response headers exceeded ${MAX_HEADER_BYTES} bytes; aborted`;
  if (error.code?.startsWith("HPE_"))
    return `net/http: HTTP/1.x transport connection broken: ${error.message.replace(/^Parse Error: /, "")}`;
  // Without the local port that Go shows: an output that changes with every run would wake people for nothing.
  if (error.code === "ECONNRESET" && error.syscall === "read")
    return `read tcp ${target}: read: connection reset by peer`;
  return error.message === "socket hang up" ? "EOF" : error.message;
}
