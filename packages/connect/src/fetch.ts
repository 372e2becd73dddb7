/** `fetch` for services of the mesh (WHATWG Fetch, without cookies, caches and compression) over Node's `http` and an agent of ours. */
import { type Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const MAX_REDIRECTS = 20;
const NO_BODY = new Set([101, 204, 205, 304]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export type MeshFetch = (input: Request | URL | string, init?: RequestInit) => Promise<Response>;

/** Rejects with TypeError, as `fetch` does, whose cause says why: RefusedError where the mesh refused it. */
export function createFetch(agent: Agent): MeshFetch {
  return async (input, init) => {
    // Node asks for `duplex` where the body is a stream; its types do not know it.
    const given = init?.body instanceof ReadableStream ? Object.assign({ duplex: "half" }, init) : init;
    let request = new Request(input, given);
    for (let redirects = 0; ; redirects++) {
      const url = new URL(request.url);
      if (url.protocol !== "http:")
        throw new TypeError(`fetch failed: want an http: URL, for the mesh encrypts by itself, not '${url.protocol}'`);
      // A body is sent once: where another request may have to send it again, it is kept.
      const again = request.body === null ? request : undefined;
      const answer = await exchange(agent, url, request).catch((error: unknown) => {
        request.signal.throwIfAborted();
        throw new TypeError("fetch failed", { cause: error });
      });
      const location = answer.headers.location;
      const status = answer.statusCode ?? 0;
      if (location === undefined || !REDIRECTS.has(status) || request.redirect === "manual")
        return toResponse(answer, request, redirects > 0);
      answer.resume();
      if (request.redirect === "error") throw new TypeError(`fetch failed: redirected to '${location}'`);
      if (redirects >= MAX_REDIRECTS) throw new TypeError(`fetch failed: more than ${MAX_REDIRECTS} redirects`);
      request = redirected(request, new URL(location, url), status, again);
    }
  };
}

function redirected(from: Request, to: URL, status: number, again: Request | undefined): Request {
  const { method, signal, redirect } = from;
  const isGet = status === 303 ? method !== "HEAD" : (status === 301 || status === 302) && method === "POST";
  if (!isGet && !again) throw new TypeError(`fetch failed: cannot send a body again, to '${to.href}'`);
  const headers = new Headers(from.headers);
  if (isGet) for (const name of ["content-type", "content-length", "content-encoding"]) headers.delete(name);
  if (to.host !== new URL(from.url).host) headers.delete("authorization");
  return new Request(to, { method: isGet ? "GET" : method, headers, signal, redirect });
}

/** One request and the head of its answer. */
async function exchange(agent: Agent, url: URL, request: Request): Promise<IncomingMessage> {
  const canRepeat = request.body === null;
  for (;;) {
    const sent = httpRequest(url, {
      agent,
      method: request.method,
      headers: Object.fromEntries(request.headers),
      signal: request.signal,
    });
    try {
      return await answerOf(sent, request);
    } catch (error) {
      // The far end closed a kept connection while the request was on its way: nobody has seen it.
      if (!(sent.reusedSocket && canRepeat && (error as NodeJS.ErrnoException).code === "ECONNRESET")) throw error;
    }
  }
}

function answerOf(sent: ClientRequest, request: Request): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    sent.once("response", resolve);
    sent.on("error", reject);
    if (request.body === null) return void sent.end();
    pipeline(Readable.fromWeb(request.body), sent).catch(reject);
  });
}

function toResponse(answer: IncomingMessage, request: Request, isRedirected: boolean): Response {
  const headers = new Headers();
  for (let i = 0; i < answer.rawHeaders.length; i += 2)
    headers.append(answer.rawHeaders[i] as string, answer.rawHeaders[i + 1] as string);
  const status = answer.statusCode ?? 0;
  const hasBody = request.method !== "HEAD" && !NO_BODY.has(status);
  if (!hasBody) answer.resume();
  const body = hasBody ? (Readable.toWeb(answer) as ReadableStream<Uint8Array>) : null;
  const response = new Response(body, { status, statusText: answer.statusMessage ?? "", headers });
  // What a constructed Response cannot be told.
  Object.defineProperties(response, { url: { value: request.url }, redirected: { value: isRedirected } });
  return response;
}
