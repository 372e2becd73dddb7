/**
 * Servers by the names that DNS has of them: each address of a name is a server of the list, and the name is asked for again while they
 * are used, so that servers come and go without anybody's restart. A server at one address of a name is written
 * "https://servers.example:8300#10.0.0.1": certificates are checked for the name.
 */
import { lookup as systemLookup } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import { describeError, isLoopback, type Logger, sleep } from "@heddle/daemon";
import { type ServerList, serverList } from "./servers.ts";

const EVERY_MS = 10_000;
/** A server that fails has its name asked for at once, but no more often than this. */
const MIN_PAUSE_MS = 500;
/** A start waits for names this long; then the servers are found once they are known. */
const START_MS = 1_000;
const MAX_ADDRESSES = 64;

export interface Target {
  url: string;
  /** The address that is meant, where the list says which one of the name's. */
  at?: string;
  /** For `net.connect`, and what calls it. */
  options: { lookup?: LookupFunction };
}

/** Where a server of a list is connected to. */
export function toTarget(server: string): Target {
  const [url = "", at] = server.split("#");
  if (!at) return { url, options: {} };
  const family = isIP(at);
  const lookup: LookupFunction = (_name, { all }, done) =>
    all ? done(null, [{ address: at, family }]) : done(null, at, family);
  return { url, at, options: { lookup } };
}

export type Resolve = (name: string) => Promise<string[]>;

const resolveBySystem: Resolve = async (name) =>
  (await systemLookup(name, { all: true })).map(({ address }) => address);

/**
 * Follows every name of a list of servers ("https://servers.example:8300", or several with commas). Resolves when each is known or a
 * second has passed. Call it before whatever uses the list.
 */
export async function followServerNames(
  text: string,
  log: Logger,
  resolve: Resolve = resolveBySystem,
): Promise<Disposable> {
  const names = text.split(",").flatMap((url) => {
    const host = hostOf(url.trim());
    return host === undefined ? [] : [{ url: url.trim(), host }];
  });
  const list = names.length > 0 ? serverList(text) : undefined;
  const followed = list ? names.map((name) => followName(name, { list, log, resolve })) : [];
  const gaveUp = new AbortController();
  await Promise.race([
    Promise.all(followed.map(({ asked }) => asked)),
    sleep(START_MS, gaveUp.signal).catch(() => {}), // over
  ]);
  gaveUp.abort();
  return { [Symbol.dispose]: () => followed.forEach(({ close }) => close()) };
}

/** Undefined where there is nothing to ask for. */
function hostOf(url: string): string | undefined {
  const host = URL.parse(url)?.hostname.replace(/^\[|\]$/g, "");
  return !host || isIP(host) || isLoopback(host) ? undefined : host;
}

function followName(
  { url, host }: { url: string; host: string },
  { list, log, resolve }: { list: ServerList; log: Logger; resolve: Resolve },
): { asked: Promise<void>; close: () => void } {
  let known = "";
  let isUnknown = false;
  let askedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let underWay: Promise<void> | undefined;
  let isClosed = false;

  const take = (addresses: readonly string[]) => {
    isUnknown = false;
    const all = [...new Set(addresses)].toSorted().slice(0, MAX_ADDRESSES);
    if (all.length === 0 || all.join() === known) return;
    if (known !== "") log.info("a name stands for other servers now", { name: host, addresses: all.join() });
    known = all.join();
    list.stands(
      url,
      all.map((address) => `${url}#${address}`),
    );
  };
  const ask = async (): Promise<void> => {
    clearTimeout(timer);
    askedAt = performance.now();
    try {
      const addresses = await resolve(host);
      if (!isClosed) take(addresses);
    } catch (error) {
      if (!isUnknown)
        log.warn("cannot resolve the servers' name, going on", { name: host, error: describeError(error) });
      isUnknown = true;
    }
    underWay = undefined;
    if (isClosed) return;
    timer = setTimeout(() => void start(), EVERY_MS);
    timer.unref();
  };
  const start = (): Promise<void> => (underWay ??= ask());
  const off = list.onFailure(() => {
    if (performance.now() - askedAt >= MIN_PAUSE_MS) void start();
  });
  return {
    asked: start(),
    close() {
      isClosed = true;
      off();
      clearTimeout(timer);
    },
  };
}
