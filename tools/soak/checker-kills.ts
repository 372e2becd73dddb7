/**
 * DUR-11 for the health checker, by hand: killed 100 times while its agent has checks of targets that listen, that never do, and that come and
 * go. No check may turn passing while its target is away, and in the end each says what is true. Status 1 otherwise; two minutes.
 *
 *     node tools/soak/checker-kills.ts [kills]      # 100
 */
import { createServer, type Server } from "node:net";
import { createApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { type Bench, onBench, until } from "./support.ts";

const HTTP = 18_800;
const [SERVER, HEALTH, LIVE, NEVER, TOGGLED] = [1, 2, 3, 4, 5].map((i) => HTTP + i) as [
  number,
  number,
  number,
  number,
  number,
];
const OF_EACH = 20;
const UNDER_WAY_MS = 1_500; // a probe that reached its target before that went
const KILLS = Number(process.argv[2] ?? 100);

await onBench(async (bench: Bench) => {
  const api = createApiClient({ address: `127.0.0.1:${HTTP}` });
  const startChecker = async () => {
    const child = bench.heddle("serve", "health", `-port=${HEALTH}`, "-log-level=error");
    await until(async () => (await fetch(`http://127.0.0.1:${HEALTH}/healthz`)).ok);
    return child;
  };
  let checker = await startChecker();
  bench.heddle(
    ...["agent", "-server", "-bootstrap-expect=1", "-bind=127.0.0.1", `-data-dir=${bench.dir}/data`, "-log-level=err"],
    ...[`-health-addr=http://127.0.0.1:${HEALTH}`, `-http-port=${HTTP}`, `-server-port=${SERVER}`, "-dns-port=-1"],
    "-serf-lan-port=-1",
  );
  await until(async () => (await api.get("/v1/health/service/consul")).status === 200);
  const listen = (port: number) => createServer((socket) => socket.destroy()).listen(port, "127.0.0.1");
  const live = listen(LIVE);
  let toggled: Server | undefined = listen(TOGGLED);
  let awaySince = Infinity;
  for (const [name, port] of Object.entries({ live: LIVE, never: NEVER, toggled: TOGGLED }))
    for (let i = 0; i < OF_EACH; i++) {
      const body = { ID: `${name}-${i}`, Name: name, TCP: `127.0.0.1:${port}`, Interval: "1s", Timeout: "1s" };
      await api.put("/v1/agent/check/register", { body });
    }
  const statuses = async () => {
    const { body } = await api.get<Record<string, { Status: string }>>("/v1/agent/checks");
    return Object.entries(body).map(([id, { Status }]) => [id, Status] as const);
  };
  const all = async (name: string, status: string) =>
    (await statuses()).filter(([id, is]) => id.startsWith(name) && is === status).length === OF_EACH;
  const isTrue = async () =>
    (await all("live", "passing")) &&
    (await all("never", "critical")) &&
    (await all("toggled", toggled ? "passing" : "critical"));
  await until(isTrue);

  const wrong: string[] = [];
  const last = new Map(await statuses());
  let [looks, isOver] = [0, false];
  const watching = (async () => {
    while (!isOver) {
      for (const [id, status] of await statuses()) {
        const turned = status === "passing" && last.get(id) !== "passing";
        const isAway =
          id.startsWith("never") || (id.startsWith("toggled") && performance.now() > awaySince + UNDER_WAY_MS);
        if (turned && isAway) wrong.push(id);
        last.set(id, status);
      }
      looks++;
      await sleep(10);
    }
  })();
  for (let i = 0; i < KILLS; i++) {
    await sleep(200 + Math.random() * 1_000);
    checker.kill("SIGKILL");
    await until(async () => checker.signalCode !== null);
    if (i % 4 === 1) {
      toggled?.close();
      toggled = undefined;
      awaySince = performance.now();
    }
    if (i % 4 === 3) {
      awaySince = Infinity;
      toggled = listen(TOGGLED);
    }
    checker = await startChecker();
  }
  await until(isTrue, 20_000);
  isOver = true;
  await watching;
  live.close();
  toggled?.close();
  console.log(
    `${KILLS} kills, ${looks} looks at ${3 * OF_EACH} checks: ${wrong.length} turned passing without a target; all true in the end`,
  );
  return wrong.length === 0;
});
