/** Where a command reads and writes: the process's own streams, or a test's. */
import { InvalidArgumentError } from "@heddle/daemon";

const MAX_STDIN_BYTES = 64 * 1024 * 1024; // more than any value, definition or export that an agent accepts

export interface Terminal {
  out(data: string | Uint8Array): void;
  err(text: string): void;
  readStdin(): Promise<Buffer>;
  readonly env: Record<string, string | undefined>;
  /** Aborts at SIGINT or SIGTERM; who never asks keeps the default: to end at once. */
  readonly interrupted: AbortSignal;
}

export function processTerminal(): Terminal {
  let controller: AbortController | undefined;
  // `heddle kv get -recurse | head -1` closes the pipe: that is an end, not an error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  return {
    out: (data) => void process.stdout.write(data),
    err: (text) => void process.stderr.write(text),
    env: process.env,
    async readStdin() {
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > MAX_STDIN_BYTES)
          throw new InvalidArgumentError(`standard input is longer than ${MAX_STDIN_BYTES} bytes`);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    },
    get interrupted() {
      if (!controller) {
        const created = new AbortController();
        for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => created.abort());
        controller = created;
      }
      return controller.signal;
    },
  };
}
