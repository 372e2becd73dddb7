/**
 * A server that hangs keeps its connections, and whoever waits on one for what changes would learn of it minutes later. So it is
 * asked something small each second: where it does not answer, all who use its list go on to the next one (`servers.ts`).
 */
import type { ApiClient } from "./client.ts";
import { serverList } from "./servers.ts";

const EVERY_MS = 1_000;
const TIMEOUT_MS = 1_500; // as long as an agent waits that has other servers to go to

/** Looks at the server of `url`'s list that is asked, as long as there are others, until it is disposed of. */
export function watchForHangs(client: ApiClient, url: string, everyMs = EVERY_MS): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const stop = new AbortController();
  const look = async () => {
    // Any answer will do; where there is none, the client itself has gone on.
    if (serverList(url).all.length > 1)
      await client.get("/healthz", { timeoutMs: TIMEOUT_MS, signal: stop.signal }).catch(() => {});
    if (!stop.signal.aborted) timer = setTimeout(() => void look(), everyMs).unref();
  };
  void look();
  return {
    [Symbol.dispose]() {
      stop.abort();
      clearTimeout(timer);
    },
  };
}
