/**
 * Bytes at length (PRX-01): connections at once, together so many MiB each way, in pieces of odd sizes; what comes back is compared by hash.
 * Ends with status 1 where it differs.
 *
 *     node tools/soak/bytes.ts [connections] [MiB]      # 100 1024, a minute
 */
import { createHash, randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { startPair } from "./pair.ts";
import { type Bench, onBench } from "./support.ts";

const MAX_PIECE = 200_000;
const [connections = 100, mib = 1_024] = process.argv.slice(2).map(Number);
const pool = randomBytes(4 * MAX_PIECE);

await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const { upstream } = await startPair(bench, 18_660);
  const each = Math.ceil((mib * 1024 * 1024) / connections);
  const startedAt = performance.now();
  const equal = await Promise.all(Array.from({ length: connections }, () => comesBack(upstream, each)));
  const same = equal.filter(Boolean).length;
  console.log(
    `${connections} connections, ${mib} MiB each way in ${Math.round(performance.now() - startedAt)} ms: ${same} equal`,
  );
  return same === connections;
}

/** Whether an echo of so many bytes is what was sent, and ends where it ended. */
async function comesBack(port: number, bytes: number): Promise<boolean> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  let length = 0;
  socket.on("data", (chunk: Buffer) => {
    received.update(chunk);
    length += chunk.length;
  });
  const ended = once(socket, "end");
  for (let left = bytes; left > 0; ) {
    const size = Math.min(left, randomInt(1, MAX_PIECE));
    const from = randomInt(0, pool.length - size);
    const piece = pool.subarray(from, from + size);
    sent.update(piece);
    if (!socket.write(piece)) await once(socket, "drain");
    left -= size;
  }
  socket.end();
  await ended;
  return length === bytes && sent.digest("hex") === received.digest("hex");
}
