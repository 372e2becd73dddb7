/**
 * HTTP and HTTPS: 2xx passes, 429 warns, anything else is critical. Redirects are followed unless the check says not to, at
 * most ten and, where the operator has not asked for more, on the host that the check names; what the check carries (headers, body, credentials, TLS exceptions) never leaves the host it was meant for.
 */
import type { Check } from "../check.ts";
import { TailBuffer } from "../output.ts";
import { type Answer, createDeadline, type Deadline, exchange, type Hop, TimeUpError } from "./http-exchange.ts";
import { critical, passing, type Probe, ProbeError, type ProbeContext, timeoutOf, warning } from "./probe.ts";

const MAX_REDIRECTS = 10; // Go's client
const USER_AGENT = "Consul Health Check"; // what servers' logs and filters know
const ACCEPT = "text/plain, text/*, */*";
const TIME_UP = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";

// Framing is ours: a check that could set these could smuggle a second request.
const OWN_HEADERS = new Set(["connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"]);

export const probe: Probe = async (check, context) => {
  const method = check.Method || "GET";
  const deadline = createDeadline(context, timeoutOf(check));
  let hop: Hop | undefined;
  try {
    hop = firstHop(check, method);
    const answer = await follow(check, hop, context, deadline, (next) => (hop = next));
    const output = `HTTP ${method} ${withoutPassword(check.HTTP ?? "")}: ${answer.status} Output: ${answer.body.text()}`;
    if (answer.code >= 200 && answer.code <= 299) return passing(output);
    return answer.code === 429 ? warning(output) : critical(output);
  } catch (error) {
    const why = error instanceof TimeUpError ? TIME_UP : (error as Error).message;
    if (hop === undefined) return critical(why);
    return critical(`${titleCase(hop.method)} "${withoutPassword(hop.shown)}": ${why}`);
  } finally {
    deadline.cancel();
  }
};

function firstHop(check: Check, method: string): Hop {
  const target = check.HTTP ?? "";
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method))
    throw new ProbeError(`net/http: invalid method ${JSON.stringify(method)}`);
  const headers: [string, string][] = [];
  for (const [name, values] of Object.entries(check.Header ?? {}))
    if (!OWN_HEADERS.has(name.toLowerCase())) for (const value of values) headers.push([name, value]);
  return { url: parseTarget(target), shown: target, method, headers, body: check.Body ?? "", check };
}

// Go's errors for what is not a URL, and for a URL of another scheme.
function parseTarget(target: string): URL | ProbeError {
  const refuse = (why: string) => new ProbeError(`parse ${JSON.stringify(withoutPassword(target))}: ${why}`);
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(target)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    const segment = target.split("/")[0] ?? "";
    if (segment.startsWith(":")) throw refuse("missing protocol scheme");
    if (segment.includes(":")) throw refuse("first path segment in URL cannot contain colon");
  }
  if (scheme !== "http" && scheme !== "https")
    return new ProbeError(`unsupported protocol scheme ${JSON.stringify(scheme ?? "")}`);
  const port = /^https?:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/i.exec(target)?.[1];
  if (port !== undefined && Number(port) > 65_535) return new ProbeError(`dial tcp: address ${port}: invalid port`);
  const url = URL.parse(target);
  if (url === null) throw refuse("invalid URL");
  return url;
}

async function follow(
  check: Check,
  first: Hop,
  context: ProbeContext,
  deadline: Deadline,
  onHop: (hop: Hop) => void,
): Promise<Answer> {
  let hop = first;
  for (let redirects = 0; ; redirects++) {
    if (hop.url instanceof ProbeError) throw hop.url;
    const answer = await exchange(withDefaults(hop), new TailBuffer(context.outputMaxBytes), context, deadline);
    if (check.DisableRedirects || ![301, 302, 303, 307, 308].includes(answer.code)) return answer;
    if (answer.location === undefined) {
      if (answer.code >= 307) return answer;
      throw new ProbeError(`${answer.code} response missing Location header`);
    }
    const next = nextHop(hop, hop.url, answer.code, answer.location);
    // A target that was broken into could have this machine ask whatever only this machine can reach.
    if (!context.redirectsElsewhere && next.url instanceof URL && next.url.hostname !== hop.url.hostname)
      throw new ProbeError(
        `refusing to follow a redirect to another host, ${next.url.host}: -follow-redirects-elsewhere allows it`,
      );
    hop = next;
    onHop(hop);
    if (redirects >= MAX_REDIRECTS - 1) throw new ProbeError(`stopped after ${MAX_REDIRECTS} redirects`);
  }
}

function nextHop(from: Hop, base: URL, code: number, location: string): Hop {
  const url = URL.parse(location, base);
  if (url === null) throw new ProbeError(`failed to parse Location header ${JSON.stringify(location)}`);
  const isElsewhere = url.origin !== base.origin;
  const keepsMethod = code >= 307 || from.method === "GET" || from.method === "HEAD";
  if (isElsewhere && code >= 307 && !["GET", "HEAD"].includes(from.method))
    throw new ProbeError(
      `refusing to repeat ${from.method} at ${url.origin}: a redirect may not take a request to another host`,
    );
  if (!isElsewhere) url.hash = "";
  return {
    url:
      url.protocol === "http:" || url.protocol === "https:"
        ? url
        : new ProbeError(`unsupported protocol scheme ${JSON.stringify(url.protocol.slice(0, -1))}`),
    shown: url.href,
    method: keepsMethod ? from.method : "GET",
    headers: isElsewhere ? [] : from.headers,
    body: code >= 307 && !isElsewhere ? from.body : "",
    // Elsewhere the target is checked as any other: the exceptions were made for the host that the check names.
    check: isElsewhere ? {} : from.check,
  };
}

function withDefaults(hop: Hop): Hop & { url: URL } {
  const has = (name: string) => hop.headers.some(([n, value]) => n.toLowerCase() === name && value !== "");
  const headers = [...hop.headers];
  if (!has("user-agent")) headers.push(["User-Agent", USER_AGENT]);
  if (!has("accept")) headers.push(["Accept", ACCEPT]);
  return { ...hop, url: hop.url as URL, headers };
}

const titleCase = (method: string): string => method.slice(0, 1) + method.slice(1).toLowerCase();

// A password in a URL is not for everybody who may read the check.
const withoutPassword = (url: string): string =>
  url.replace(/^([a-z][a-z0-9+.-]*:\/\/[^/?#:@]*):[^/?#@]*@/i, "$1:***@");
