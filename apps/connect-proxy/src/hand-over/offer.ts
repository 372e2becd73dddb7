/**
 * Gives the listening sockets of this process to the one that takes over from it (SCM_RIGHTS, unix(7)): both then listen on the same
 * sockets, whose queues outlive ours, so no connection is lost between two processes.
 *
 * Node sends handles to its children alone, and to nobody else from the loop that they live in. So a child inherits them, which is
 * documented, and sends them with what Node's own channels are made of, which is not: where a Node lacks that, nothing is given, and the
 * new process shares the ports instead.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";

/** A socket that listens. */
export interface Offered {
  /** "127.0.0.1:9191" */
  at: string;
  fd: number;
}

const SEND_MS = 15_000;
const FIRST_FD = 3; // behind the standard three: the connection, and then what is given

/** Descriptor 3 is the connection, those behind it listen where the arguments say. */
const SEND = `
  const { Pipe, constants: { IPC } } = process.binding("pipe_wrap");
  const { TCP, constants: { SERVER } } = process.binding("tcp_wrap");
  const { WriteWrap } = process.binding("stream_wrap");
  const to = new Pipe(IPC);
  if (to.open(${FIRST_FD}) !== 0) process.exit(1);
  const places = process.argv.slice(1);
  const send = (i) => {
    if (i > places.length) process.exit(0);
    const socket = i < places.length ? new TCP(SERVER) : undefined;
    if (socket && socket.open(${FIRST_FD + 1} + i) !== 0) return send(i + 1);
    const request = new WriteWrap();
    const next = (status) => (status === 0 ? send(i + 1) : process.exit(1));
    request.oncomplete = next;
    const status = to.writeUtf8String(request, (places[i] ?? "end") + "\\n", ...(socket ? [socket] : []));
    if (status !== 0 || !request.async) next(status);
  };
  send(0);`;

/** Sends them over a connection of a Unix socket, which is then of no more use. */
export async function offerListeners(connection: Socket, offered: readonly Offered[]): Promise<void> {
  connection.on("error", () => {});
  try {
    const to = descriptorOf(connection);
    if (to === undefined) return;
    const places = offered.map(({ at }) => at);
    const child = spawn(process.execPath, ["--disable-sigusr1", "-e", SEND, "--", ...places], {
      stdio: ["ignore", "ignore", "ignore", to, ...offered.map(({ fd }) => fd)],
      env: {},
      timeout: SEND_MS,
    });
    await once(child, "exit");
  } finally {
    connection.destroy();
  }
}

/** The number of what a socket or server has open; undefined where this Node keeps it otherwise. */
export function descriptorOf(of: object): number | undefined {
  const { fd } = (of as { _handle?: { fd?: unknown } | null })._handle ?? {};
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}
