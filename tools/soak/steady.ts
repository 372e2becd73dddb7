/**
 * Proxies over a long time (PRX-12, PRX-07): open connections that say nothing and new ones each second; what both proxies hold is printed each
 * minute. With `without`, the agent (and so CA and catalog) is gone but for the first and the last minute. Ends with status 1 where a connection failed.
 *
 *     node tools/soak/steady.ts [seconds] [open] [new a second] [without]      # 1800 1000 200
 *     node tools/soak/steady.ts 600 10000 0
 *     node tools/soak/steady.ts 720 100 50 without
 */
import { sleep } from "@heddle/daemon";
import { holdings, startPair } from "./pair.ts";
import { type Bench, onBench } from "./support.ts";

const [seconds = 1_800, open = 1_000, perSecond = 200] = process.argv.slice(2, 5).map(Number);
const isWithout = process.argv[5] === "without";
const MINUTE_MS = 60_000;

await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const pair = await startPair(bench, 18_640);
  const held = await pair.holdAll(open);
  const load = pair.load(perSecond);
  const startedAt = performance.now();
  const tell = () => {
    const all = pair.proxies.map(holdings).map(({ mib, descriptors }) => `${mib} MiB, ${descriptors} descriptors`);
    console.log(
      `${Math.round((performance.now() - startedAt) / 1_000)} s: ${all.join("; ")}; ${load.made()} new so far`,
    );
  };
  tell();
  const timer = setInterval(tell, MINUTE_MS);
  await (isWithout ? withoutAgent(pair) : sleep(seconds * 1_000));
  load.stop();
  clearInterval(timer);
  await sleep(1_000); // what is under way
  tell();
  return pair.isGood(held);
}

async function withoutAgent({ agent, startAgent }: Awaited<ReturnType<typeof startPair>>): Promise<void> {
  await sleep(MINUTE_MS);
  agent.kill("SIGKILL");
  console.log("the agent is gone");
  await sleep(Math.max(0, seconds * 1_000 - 2 * MINUTE_MS));
  await startAgent();
  console.log("the agent is back");
  await sleep(MINUTE_MS);
}
