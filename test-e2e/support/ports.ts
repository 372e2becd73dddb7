/**
 * Ports for tests that run side by side: each takes a block and holds the block's first port for as long as the process
 * lives, so that no other test is given it. Blocks lie below the range of ports that the kernel gives to clients.
 */
import { createServer, type Server } from "node:net";

const FIRST_PORT = 22_000;
const BLOCK_SIZE = 20;
const BLOCK_COUNT = 490;

/** A port of its own for each name, and `count` more in a row where a range is wanted. */
export async function claimPorts<Name extends string>(
  names: readonly Name[],
  count = 0,
): Promise<{ port: Record<Name, number>; range: number[] }> {
  if (names.length + count >= BLOCK_SIZE) throw new RangeError(`a block has ${BLOCK_SIZE - 1} ports`);
  const start = Math.floor(Math.random() * BLOCK_COUNT);
  for (let i = 0; i < BLOCK_COUNT; i++) {
    const first = FIRST_PORT + ((start + i) % BLOCK_COUNT) * BLOCK_SIZE;
    const claim = await listen(first);
    if (!claim) continue;
    const ports = Array.from({ length: names.length + count }, (_, n) => first + 1 + n);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) {
      claim.unref();
      const port = Object.fromEntries(names.map((name, n) => [name, ports[n]])) as Record<Name, number>;
      return { port, range: ports.slice(names.length) };
    }
    claim.close();
  }
  throw new Error(`no free block of ${BLOCK_SIZE} ports from ${FIRST_PORT} on`);
}

async function isFree(port: number): Promise<boolean> {
  const probe = await listen(port);
  if (!probe) return false;
  await new Promise((resolve) => probe.close(resolve));
  return true;
}

/** A listener on every address of the port, or undefined where it is taken. */
function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen({ port, host: "0.0.0.0", exclusive: true }, () => resolve(server));
  });
}
