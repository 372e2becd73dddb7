/** The test's hands in a namespace: a process there that asks, talks and keeps flows going. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { node } from "./image.ts";
import type { Ask } from "./inside-child.ts";
import { DIE_WITH_PARENT } from "./network.ts";

export interface Answer {
  status: number;
  text: string;
}

export interface Flow {
  /** Lines that went out and came back; throws once the connection is closed. */
  rounds(): Promise<number>;
  isOpen(): Promise<boolean>;
}

export interface Inside {
  http(method: string, url: string, body?: unknown): Promise<Answer>;
  /** The JSON of a GET that answers 200. */
  get<T>(url: string): Promise<T>;
  talk(port: number, text: string): Promise<string>;
  flow(port: number): Promise<Flow>;
  close(): void;
}

export function enter(networkPid: number): Inside {
  const script = join(import.meta.dirname, "inside-child.ts");
  const args = ["-t", String(networkPid), "--net", "--", ...DIE_WITH_PARENT, node, script];
  const child = spawn("nsenter", args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let nextId = 1;
  child.on("message", ({ id, value, error }: { id: number; value?: unknown; error?: string }) => {
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(value);
    else waiter?.reject(new Error(error));
  });
  child.on("exit", () => {
    for (const { reject } of waiting.values()) reject(new Error("the process in the namespace has ended"));
  });
  const ask = <T>(what: Ask): Promise<T> =>
    new Promise((resolve, reject) => {
      const id = nextId++;
      waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      // A process that has ended is told of here, or would be an exception of nobody's.
      child.send({ id, ask: what }, (error) => error && reject(error));
    });
  const http = (method: string, url: string, body?: unknown) =>
    ask<Answer>({ op: "http", method, url, body: typeof body === "string" ? body : body ? JSON.stringify(body) : "" });
  return {
    http,
    async get<T>(url: string) {
      const { status, text } = await http("GET", url);
      if (status !== 200) throw new Error(`GET ${url}: ${status} ${text}`);
      return JSON.parse(text) as T;
    },
    talk: (port, text) => ask<string>({ op: "talk", port, text }),
    async flow(port) {
      const flow = await ask<number>({ op: "flow", port });
      const state = () => ask<{ rounds: number; isOpen: boolean }>({ op: "flow-state", flow });
      return {
        async rounds() {
          const { rounds, isOpen } = await state();
          if (!isOpen) throw new Error(`the flow was closed after ${rounds} rounds`);
          return rounds;
        },
        isOpen: async () => (await state()).isOpen,
      };
    },
    close: () => void child.kill("SIGKILL"),
  };
}
