/** Takes the listening sockets that a process before this one offers: `offer.ts` says how, and why by such means. */
import type { Server } from "node:net";

const ANSWER_MS = 15_000; // it starts a process for it, maybe on a machine that is full
const MAX_EACH = 64; // of one place: one for each thread of the other process, and those that it took over itself
const ASK = "GET /listeners HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: heddle-listeners\r\n\r\n";

/** A socket that listens already, for `server.listen`. */
export type Handle = object & { close(): void };

export interface Adopted {
  /** How many there are. */
  readonly size: number;
  /** Those that listen at "127.0.0.1:9191", which are the caller's from here on. */
  take(at: string): Handle[];
  /** Closes what nobody has taken. */
  close(): void;
}

/** Never rejects: what cannot be had is not there. */
export async function adoptListeners(adminPath: string): Promise<Adopted> {
  const handles = new Map<string, Handle[]>();
  await receive(adminPath, (at, handle) => {
    const known = handles.get(at) ?? [];
    if (known.length >= MAX_EACH) return handle.close();
    handles.set(at, [...known, handle]);
  }).catch(() => {});
  return {
    get size() {
      return [...handles.values()].flat().length;
    },
    take(at) {
      const found = handles.get(at) ?? [];
      handles.delete(at);
      return found;
    },
    close() {
      for (const handle of [...handles.values()].flat()) handle.close();
      handles.clear();
    },
  };
}

/** Has a server accept from a socket that listens already. */
export function listenOn(server: Server, handle: Handle, backlog: number): void {
  server.listen(handle, backlog as never);
}

interface Channel extends Handle {
  pendingHandle?: Handle | null;
  onread: (bytes: ArrayBuffer | undefined) => void;
  connect(request: object, path: string): number;
  readStart(): void;
  writeUtf8String(request: object, text: string): number;
}

type Binding = (name: string) => Record<string, new (type?: number) => never> & { constants: { IPC: number } };

function receive(path: string, onHandle: (at: string, handle: Handle) => void): Promise<void> {
  const { binding } = process as unknown as { binding: Binding };
  const { Pipe, PipeConnectWrap, constants } = binding("pipe_wrap");
  const { WriteWrap } = binding("stream_wrap");
  if (!Pipe || !PipeConnectWrap || !WriteWrap) return Promise.reject(new Error("this Node has no such channel"));
  const channel: Channel = new Pipe(constants.IPC);
  let timer: NodeJS.Timeout | undefined;
  return new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => reject(new Error("no answer")), ANSWER_MS);
    channel.onread = (bytes) => {
      const handle = channel.pendingHandle;
      channel.pendingHandle = null;
      const text = bytes ? Buffer.from(bytes).toString().trimEnd() : "end";
      if (handle) return onHandle(text, handle);
      if (text === "end") resolve();
      else reject(new Error("another answer"));
    };
    const connected: { oncomplete?: (status: number) => void } = new PipeConnectWrap();
    connected.oncomplete = (status) => {
      if (status !== 0) return reject(new Error(`no connection: ${status}`));
      channel.readStart();
      const asked: { oncomplete?: () => void } = new WriteWrap();
      asked.oncomplete = () => {};
      channel.writeUtf8String(asked, ASK);
    };
    const status = channel.connect(connected, path);
    if (status !== 0) reject(new Error(`no connection: ${status}`));
  }).finally(() => {
    clearTimeout(timer);
    channel.close();
  });
}
