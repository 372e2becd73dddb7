/**
 * Answers leave together at the end of a turn of the event loop. The kernel wakes a reader with each write, and where that is
 * dear (an idle core of a virtual machine) it costs more than the answer: one wake-up for all that were due is enough.
 * They go past Node's `ServerResponse`, which flushes each for itself; what it would have written, it is asked.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** What of Node's response is neither documented nor typed. Node's version is pinned, and a test sees that it is as said. */
interface Internals {
  /** The head as text, once it was made; null before. */
  _header: string | null;
  _headerSent: boolean;
  readonly _hasBody: boolean;
  /** The answer that a socket is for now; others wait behind it. */
  readonly outputData: readonly unknown[];
}

interface Held {
  res: ServerResponse;
  socket: Socket;
}

const EMPTY = Buffer.alloc(0);
const MOST = 64; // held in one turn: thousands of waiters are not kept from theirs until the last is ready

/** Whether Node would write head and body on this connection now, and keep it open. */
export function canHold(res: ServerResponse): boolean {
  const { _header, _hasBody, outputData } = res as unknown as Internals;
  return (
    _header === null &&
    _hasBody &&
    outputData.length === 0 &&
    res.shouldKeepAlive &&
    res.socket !== null &&
    res.socket.writable &&
    res.req.httpVersionMinor === 1 &&
    res.req.headers.expect === undefined
  );
}

/** The head that `writeHead` has made. */
export function headOf(res: ServerResponse): string {
  return (res as unknown as Internals)._header as string;
}

let count = 0; // answers of this turn
let held: Held[] = [];
let written: Held[] = [];

/** Answers with a head and a body that are ready, as one piece. Only where `canHold`. */
export function holdAnswer(res: ServerResponse, status: number, head: string, bytes: Buffer | string): void {
  const internals = res as unknown as Internals;
  res.statusCode = status;
  internals._header = head;
  internals._headerSent = true;
  const socket = res.socket as Socket;
  if (count++ === 0) setImmediate(endTurn);
  if (count <= MOST) {
    socket.cork();
    held.push({ res, socket });
    socket.write(bytes);
    if (count === MOST) release();
  } else {
    socket.write(bytes);
    finishLater({ res, socket });
  }
}

function endTurn(): void {
  count = 0;
  release();
}

function release(): void {
  for (const answer of held) {
    answer.socket.uncork();
    finishLater(answer);
  }
  held = [];
}

// In one go after all that are written to in this turn: the last waiter is not kept from its answer by what is left to do.
function finishLater(answer: Held): void {
  if (written.push(answer) === 1) process.nextTick(finishWritten);
}

function finishWritten(): void {
  const done = written;
  written = [];
  for (const { res, socket } of done) {
    // What the kernel did not take is not out, and a connection with an answer under way is not an idle one.
    if (socket.writableLength > 0) socket.write(EMPTY, () => finish(res));
    else finish(res);
  }
}

/** Tells Node that the answer is out: with its head said to be sent and no body, `end` writes nothing. */
function finish(res: ServerResponse): void {
  if (!res.destroyed) res.end();
}
