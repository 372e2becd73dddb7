import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
export { ManualClock } from "./manual-clock.ts";
export { rememberCaller } from "./internal.ts";

/** A port of loopback that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Reads a line as readers of logfmt do (github.com/go-logfmt/logfmt); throws where it is none. */
export function parseLogfmt(line: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  const pair = /([^\s="\u0000-\u001f]+)=("(?:[^"\\\u0000-\u001f]|\\.)*"|[^\s="\u0000-\u001f]*)(?: |\n?$)/y;
  while (pair.lastIndex < line.length) {
    const at = pair.lastIndex;
    const [, key = "", value = ""] = pair.exec(line) ?? [];
    if (key === "" || Object.hasOwn(pairs, key)) throw new Error(`not logfmt at ${at}: ${JSON.stringify(line)}`);
    pairs[key] = value.startsWith('"') ? (JSON.parse(value) as string) : value;
  }
  return pairs;
}
