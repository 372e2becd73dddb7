/**
 * Real pipes for the output of scripts. Node's own "pipe" is a socket, on which `echo >/dev/stderr` fails, and one for each
 * stream, which loses the order in which they were written. Node cannot call pipe(2), so these are FIFOs whose names are gone
 * before anybody uses them.
 */
import { execFile } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const BATCH = 16; // pipes made by one run of mkfifo: a process for every sixteen scripts

export interface Pipe {
  readonly readFd: number;
  /** The taker closes it once the program has it. */
  readonly writeFd: number;
}

export interface PipeSupply {
  /** A fresh pipe; undefined where none can be made (no mkfifo, no writable temporary directory). */
  take(): Promise<Pipe | undefined>;
  close(): void;
}

export function createPipeSupply(): PipeSupply {
  const ready: Pipe[] = [];
  const state: { making?: Promise<boolean>; isClosed: boolean } = { isClosed: false };
  const close = () => {
    state.isClosed = true;
    for (const { readFd, writeFd } of ready.splice(0)) for (const fd of [readFd, writeFd]) closeSync(fd);
  };
  const make = async (): Promise<boolean> => {
    try {
      ready.push(...(await makePipes()));
      return true;
    } catch {
      return false; // nobody is worse off than with Node's own
    } finally {
      delete state.making;
      if (state.isClosed) close();
    }
  };
  return {
    async take() {
      // A round serves as many takers as it made pipes; who comes too late waits for the next.
      for (;;) {
        const pipe = ready.pop();
        if (pipe !== undefined || state.isClosed) return pipe;
        if (!(await (state.making ??= make()))) return undefined;
      }
    },
    close,
  };
}

async function makePipes(): Promise<Pipe[]> {
  const dir = await mkdtemp(join(tmpdir(), "heddle-pipes-"));
  const pipes: Pipe[] = [];
  try {
    const paths = Array.from({ length: BATCH }, (_, i) => join(dir, String(i)));
    await promisify(execFile)("mkfifo", ["-m", "600", ...paths], { timeout: 5_000 });
    for (const path of paths) {
      const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      pipes.push({ readFd, writeFd: openSync(path, constants.O_WRONLY) });
    }
    return pipes;
  } catch (error) {
    for (const { readFd, writeFd } of pipes) for (const fd of [readFd, writeFd]) closeSync(fd);
    throw error;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

// One for all pipes: its bytes are taken before the next read, and a flood of output makes no garbage.
const buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** Reads a pipe to its end, or until the returned socket is destroyed; "close" tells. */
export function readPipe({ readFd }: Pipe, onData: (chunk: Buffer) => void): Socket {
  const socket = new Socket({
    fd: readFd,
    readable: true,
    writable: false,
    onread: {
      buffer,
      callback: (size) => {
        onData(buffer.subarray(0, size));
        return true;
      },
    },
  });
  socket.on("error", () => {});
  return socket.resume();
}
