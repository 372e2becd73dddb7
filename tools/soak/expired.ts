/**
 * An agent that answers nothing for longer than a leaf lives (a minute): connections that are open go on, new ones work until the leaf ends
 * and are refused after, and again work once the agent is back. Prints when; ends with status 1 where it was otherwise.
 *
 *     node tools/soak/expired.ts [open]      # 100, three minutes
 */
import { sleep } from "@heddle/daemon";
import { startPair } from "./pair.ts";
import { type Bench, onBench, until } from "./support.ts";

const LEAF_TTL_MS = 60_000;
const BACK_MS = 5_000; // for new leaves, once the agent answers
const [open = 100] = process.argv.slice(2).map(Number);

await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const leaf = { leaf_cert_ttl: `${LEAF_TTL_MS / 1_000}s`, skip_validate: true, csr_max_per_second: 0 };
  const pair = await startPair(bench, 18_680, { connect: { ca_config: leaf } });
  const held = await pair.holdAll(open);
  const works = () =>
    pair.talk().then(
      () => true,
      () => false,
    );
  pair.agent.kill("SIGSTOP");
  const stoppedAt = performance.now();
  const since = (at: number) => `${((performance.now() - at) / 1_000).toFixed(1)} s`;
  while (await works()) await sleep(200);
  const servedMs = performance.now() - stoppedAt;
  console.log(`without an agent new connections worked for ${since(stoppedAt)}`);
  await sleep(LEAF_TTL_MS - servedMs + BACK_MS);
  const isRefused = !(await works());
  pair.agent.kill("SIGCONT");
  const backAt = performance.now();
  await until(works);
  const backMs = performance.now() - backAt;
  console.log(`with the agent again they worked after ${since(backAt)}`);
  // A leaf is renewed between 60 and 80 % of its life, so at least a fifth of one is left when the agent goes.
  return (await pair.isGood(held)) && isRefused && servedMs > LEAF_TTL_MS / 6 && backMs < BACK_MS;
}
