/** API-02: clients that dribble their heads are dropped in time, everywhere, while others are served as ever. */
import { expect, test } from "vitest";
import { daemon, freePort, get, serve } from "./daemon.ts";
import { latencies, percentile, raw } from "./tcp.ts";

const DRIBBLERS = 250; // for each daemon, from several addresses

test("every dribbler is gone within 15 s, good clients are served meanwhile", { timeout: 40_000 }, async () => {
  const [http, server] = [await freePort(), await freePort()];
  const daemons = [
    await serve("catalog", await freePort()),
    await serve("ca", await freePort()),
    await serve("health", await freePort()),
    await daemon(["agent", "-dev", `-http-port=${http}`, `-server-port=${server}`, "-dns-port=-1"], http),
  ];
  const stop = new AbortController();
  const measuring = daemons.map((d) => latencies(() => get(`${d.url}/healthz`), stop.signal));
  const clients = await Promise.all(
    daemons.flatMap(({ port }) =>
      Array.from({ length: DRIBBLERS }, (_, i) =>
        raw(port, i % 5 ? "GET /v1/kv/a HTTP/1.1\r\n" : "", `127.0.0.${20 + (i % 5)}`),
      ),
    ),
  );
  const dribble = setInterval(
    () => clients.forEach(({ socket }, i) => i % 5 && socket.writable && socket.write("a")),
    1_000,
  );
  const ends = await Promise.all(clients.map((c) => c.ended));
  clearInterval(dribble);
  stop.abort();
  for (const { text, afterMs } of ends) {
    expect(afterMs).toBeLessThan(15_000);
    expect(text).toMatch(/^(HTTP\/1\.1 408 |$)/);
  }
  for (const took of await Promise.all(measuring)) expect(percentile(took, 99)).toBeLessThan(5_000);
  for (const { url } of daemons) expect((await get(`${url}/healthz`)).status).toBe(200);
});
