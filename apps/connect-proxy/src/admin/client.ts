/** Asks running proxies over their admin sockets. */
import { type ApiClient, createApiClient } from "@heddle/api-client";
import { describeError } from "@heddle/daemon";
import { listSockets } from "./places.ts";
import type { StatusView } from "./status.ts";

const ANSWER_MS = 5_000;

/** A running proxy that answered. */
export interface RunningAdmin {
  pid: number;
  /** Of its socket. */
  path: string;
  status: StatusView;
  get<T>(path: string): Promise<T>;
  /** Asks it to accept nothing more, finish and end. */
  takeOver(): Promise<void>;
}

/** Those in a folder; one that does not answer is left out and told to `onFailure`. */
export async function findRunning(dir: string, onFailure = (_text: string): void => {}): Promise<RunningAdmin[]> {
  const sockets = await listSockets(dir);
  const found = await Promise.all(
    sockets.map(async ({ pid, path }) => {
      try {
        const { body } = await ask<StatusView>(path, (client) => client.get("/status", { timeoutMs: ANSWER_MS }));
        return [toRunning(pid, path, body)];
      } catch (error) {
        onFailure(`${path}: ${describeError(error)}`);
        return [];
      }
    }),
  );
  return found.flat().toSorted((a, b) => a.pid - b.pid);
}

function toRunning(pid: number, path: string, status: StatusView): RunningAdmin {
  return {
    pid,
    path,
    status,
    get: async <T>(at: string) => (await ask<T>(path, (client) => client.get(at, { timeoutMs: ANSWER_MS }))).body,
    takeOver: async () => void (await ask(path, (client) => client.post("/takeover", { timeoutMs: ANSWER_MS }))),
  };
}

async function ask<T>(path: string, run: (client: ApiClient) => Promise<{ body: T }>): Promise<{ body: T }> {
  const client = createApiClient({ address: `unix://${path}` });
  try {
    return await run(client);
  } finally {
    client.close();
  }
}
