/**
 * Reads of a socket into one buffer that is used again: no allocation, no stream events. Node offers that (`onread`) to
 * sockets that it connects, not to those it accepts, and the state is the same for both: where this Node keeps it
 * otherwise, 'data' events do. Measured: a third less processor time for each request.
 */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** A chunk and how much of it is new; valid during the call alone. */
export type OnBytes = (chunk: Buffer, length: number) => void;

/** A buffer that all sockets given it share: each read is handled before the next one happens. */
export interface ReadBuffer {
  /** Where the next read goes; may be changed while one is handled. */
  bytes: Buffer;
}

interface RawSocket {
  _handle?: { useUserBuffer?: (bytes: Buffer) => void } | null;
  [state: symbol]: unknown;
}

type State = Record<"kBuffer" | "kBufferCb" | "kBufferGen", symbol>;

let found: State | false | undefined;

export function createReadBuffer(size: number): ReadBuffer {
  return { bytes: Buffer.allocUnsafeSlow(size) };
}

/** Starts reading. 'end', 'error', 'close', `pause()` and `resume()` are as ever. */
export function readRaw(socket: Duplex, shared: ReadBuffer, onBytes: OnBytes): void {
  const state = (found ??= findState());
  const raw = socket as unknown as RawSocket;
  if (state === false || typeof raw._handle?.useUserBuffer !== "function") {
    socket.on("data", (chunk: Buffer) => onBytes(chunk, chunk.length));
    return;
  }
  // What was read before somebody wanted it.
  for (let chunk = readOne(socket); chunk !== null; chunk = readOne(socket)) onBytes(chunk, chunk.length);
  raw[state.kBuffer] = shared.bytes;
  raw[state.kBufferGen] = () => shared.bytes;
  raw[state.kBufferCb] = (length: number, bytes: Buffer) => {
    onBytes(bytes, length);
    return true;
  };
  raw._handle?.useUserBuffer?.(shared.bytes);
  socket.resume();
}

function readOne(socket: Duplex): Buffer | null {
  return socket.readableLength > 0 ? (socket.read() as Buffer | null) : null;
}

function findState(): State | false {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  const named = (name: string) => symbols.find((s) => s.description === name);
  const [kBuffer, kBufferCb, kBufferGen] = [named("kBuffer"), named("kBufferCb"), named("kBufferGen")];
  return kBuffer && kBufferCb && kBufferGen ? { kBuffer, kBufferCb, kBufferGen } : false;
}
