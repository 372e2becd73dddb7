/**
 * Many connections between two proxies over one TLS connection, whose peer is checked once and whose streams are each
 * authorised by themselves. One end opens streams, the other accepts or refuses them.
 */
import { deadline } from "../deadline.ts";
import type { MeshLeg } from "../mesh-tls.ts";
import type { PlainSocket } from "../pipe.ts";
import { readRaw } from "../raw-reads.ts";
import { messageOf, type Refusal, RefusedError } from "../refusal.ts";
import { ALPN, FRAME, type FrameHandler, FrameReader, type FrameType, MAX_DATA_BYTES } from "./frames.ts";
import { LAST_WORDS_MS } from "./refuse.ts";
import { encodeReason, parseReason } from "./reason.ts";
import { ReadRing } from "./ring.ts";
import { type StreamCarrier, type StreamOptions, TunnelStream } from "./stream.ts";
import { FrameWriter } from "./writer.ts";

const MAX_STREAM = 0x7fff_ffff;
const MAX_OPENING = 4_096; // streams that wait for the service to be reached
const MAX_WAITING_BYTES = 8 * 1024 * 1024; // words for a far end that does not read: more is no tunnel
const PING_MS = 20_000;
const SILENCE_MS = 60_000; // without an answer for so long the far end is gone, whatever TCP says

export interface TunnelOptions {
  /** The accepting end's: a caller wants a stream. Answer with `accept` or `refuse`. */
  onOpen?: (stream: number) => void;
  /** Called once, when the tunnel is gone. */
  onClose: () => void;
}

interface Opening {
  resolve: (stream: TunnelStream) => void;
  reject: (error: RefusedError) => void;
  socket: PlainSocket;
  options: StreamOptions;
}

export class Tunnel implements StreamCarrier, FrameHandler {
  readonly leg: MeshLeg;
  readonly #options: TunnelOptions;
  readonly #writer: FrameWriter;
  readonly #reader = new FrameReader(this);
  readonly #ring = new ReadRing();
  readonly #takesLong: boolean; // a far end of before takes usual frames alone
  #holding: TunnelStream | undefined; // whose frame is not whole yet: frames come one after another
  #isFlushScheduled = false;
  readonly #streams = new Map<number, TunnelStream>();
  readonly #opening = new Map<number, Opening>(); // ours, not accepted yet
  readonly #asked = new Set<number>(); // the far end's, not answered yet
  readonly #ping: NodeJS.Timeout;
  #blocked: TunnelStream[] = [];
  #hasHeard = false;
  #lastStream = 0;
  #heardAt = performance.now();
  #isLeaving = false;
  #isClosed = false;

  /** The leg is the tunnel's from here on. */
  constructor(leg: MeshLeg, options: TunnelOptions) {
    this.leg = leg;
    this.#options = options;
    const { stream: socket } = leg;
    this.#takesLong = socket.alpnProtocol === ALPN;
    this.#writer = new FrameWriter(socket, () => this.#hasRoom());
    socket.on("error", (error) => this.#close(new RefusedError("handshake", messageOf(error), { cause: error })));
    socket.once("end", () => this.#close());
    socket.once("close", () => this.#close());
    // In the turn's last phase: a loop that was held up hears first what has come meanwhile.
    this.#ping = setInterval(() => setImmediate(() => this.#checkAlive()), PING_MS);
    this.#ping.unref();
    readRaw(socket, this.#ring.reads, (chunk, length) => this.#read(chunk, length));
    if (socket.destroyed) this.#close();
  }

  /** Streams, those under way included. */
  get size(): number {
    return this.#streams.size + this.#opening.size + this.#asked.size;
  }

  /** False once no new stream may be opened. */
  get isUsable(): boolean {
    return !this.#isLeaving && !this.#isClosed && this.#lastStream < MAX_STREAM;
  }

  /** True once either end has said that no new stream may be opened. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** True once the far end has said anything: a peer that refuses our certificate says nothing. */
  get hasHeard(): boolean {
    return this.#hasHeard;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Opens a stream for a socket from which nothing has been read. Rejects with RefusedError and leaves the socket as it
   * was: no byte of the application has been sent, so another instance can be tried.
   */
  open(socket: PlainSocket, timeoutMs: number, options: StreamOptions): Promise<TunnelStream> {
    return new Promise((resolve, reject) => {
      if (!this.isUsable) return reject(new RefusedError("unreachable", "the tunnel is closed"));
      const id = ++this.#lastStream;
      const callOff = deadline(timeoutMs, () => {
        if (!this.#opening.delete(id)) return;
        this.#writer.control(FRAME.reset, id);
        reject(new RefusedError("unreachable", `the far proxy gave no answer within ${Math.round(timeoutMs)} ms`));
      });
      const settle =
        <T>(done: (value: T) => void) =>
        (value: T) => {
          callOff();
          done(value);
        };
      this.#opening.set(id, { resolve: settle(resolve), reject: settle(reject), socket, options });
      this.#writer.control(FRAME.open, id);
    });
  }

  /** Still waited for? False where the caller has given up, or the tunnel is gone. */
  isAsked(id: number): boolean {
    return this.#asked.has(id);
  }

  /** Joins a stream that was asked for to the service's socket. */
  accept(id: number, socket: PlainSocket, options: StreamOptions): TunnelStream {
    this.#asked.delete(id);
    this.#writer.control(FRAME.accept, id);
    const stream = new TunnelStream(id, this, socket, options);
    this.#streams.set(id, stream);
    return stream;
  }

  refuse(id: number, refusal: Refusal): void {
    if (this.#asked.delete(id)) this.#writer.control(FRAME.reset, id, encodeReason(refusal));
  }

  /** No new streams; those that are open go on, and with the last of them the tunnel ends. With a reason: it ends now. */
  leave(refusal?: Refusal): void {
    if (this.#isClosed || (this.#isLeaving && !refusal)) return;
    this.#isLeaving = true;
    this.#writer.control(FRAME.leave, 0, refusal && encodeReason(refusal));
    this.#writer.flushNow();
    if (refusal) this.#end();
    else this.#endIfUnused();
  }

  /** Resets everything on it. */
  destroy(): void {
    this.#close();
  }

  // Frames.

  #read(chunk: Buffer, length: number): void {
    this.#heardAt = performance.now();
    this.#hasHeard = true;
    // Where Node reads otherwise than it was asked to, each chunk is a new one.
    const isOurs = chunk === this.#ring.reads.bytes;
    const start = isOurs ? this.#ring.at : 0;
    const end = start + length;
    const wrong = this.#reader.push(isOurs ? this.#ring.bytes : chunk, start, end);
    if (wrong !== undefined)
      return this.#close(new RefusedError("protocol", `the far proxy sent what cannot be read: ${wrong}`));
    if (!isOurs) return;
    if (this.#holding && this.#ring.isFull(end)) {
      this.#ring.foundLongFrame();
      this.#flushHeld();
    }
    this.#ring.advance(this.#holding ? end : 0, this.#streams.size);
  }

  #flushHeld(): void {
    this.#holding?.flush();
    this.#holding = undefined;
  }

  readonly #onTurn = (): void => {
    this.#isFlushScheduled = false;
    this.#flushHeld();
  };

  keep(): void {
    this.#ring.keep();
  }

  onData(id: number, chunk: Buffer, start: number, end: number, isLast: boolean): string | undefined {
    const stream = this.#streams.get(id);
    // One that we have ended already: its last bytes were under way.
    if (!stream) return this.#isKnown(id) ? undefined : `data of stream ${id}, which nobody opened`;
    if (!stream.received(chunk, start, end, isLast)) return `more data of stream ${id} than was granted`;
    this.#holding = isLast ? undefined : stream;
    if (!isLast && !this.#isFlushScheduled) {
      this.#isFlushScheduled = true;
      setImmediate(this.#onTurn);
    }
    return undefined;
  }

  onControl(type: FrameType, id: number, payload: Buffer): string | undefined {
    switch (type) {
      case FRAME.open:
        return this.#onOpen(id);
      case FRAME.accept:
        return this.#onAccept(id);
      case FRAME.fin:
        this.#streams.get(id)?.farEnded();
        break;
      case FRAME.reset:
        this.#onReset(id, payload.length > 0 ? parseReason(payload) : undefined);
        break;
      case FRAME.window:
        if (payload.length !== 4) return `a window of ${payload.length} bytes`;
        this.#streams.get(id)?.granted(payload.readUInt32BE(0));
        break;
      case FRAME.ping:
        this.#writer.control(FRAME.pong, 0, payload);
        break;
      case FRAME.leave:
        this.#onLeave(payload);
        break;
      case FRAME.pong:
      case FRAME.data:
        break;
    }
    return this.#writer.waitingControl > MAX_WAITING_BYTES ? "questions, and takes no answers" : undefined;
  }

  #onOpen(id: number): string | undefined {
    if (!this.#options.onOpen) return "a stream of the service's proxy, which opens none";
    if (id <= this.#lastStream || id > MAX_STREAM) return `stream ${id} after stream ${this.#lastStream}`;
    if (this.#asked.size >= MAX_OPENING) return `more than ${MAX_OPENING} streams that wait for an answer`;
    this.#lastStream = id;
    // On its way while we ended the tunnel: nobody could be told, and its caller dials anew.
    if (this.leg.stream.writableEnded) return undefined;
    this.#asked.add(id);
    this.#options.onOpen(id);
    return undefined;
  }

  #onAccept(id: number): string | undefined {
    const opening = this.#opening.get(id);
    if (!opening)
      return this.#isKnown(id) && !this.#streams.has(id)
        ? undefined
        : `an answer for stream ${id}, which waits for none`;
    this.#opening.delete(id);
    if (opening.socket.destroyed) {
      this.#writer.control(FRAME.reset, id);
      opening.reject(new RefusedError("closing", "the application went away"));
      return undefined;
    }
    const stream = new TunnelStream(id, this, opening.socket, opening.options);
    this.#streams.set(id, stream);
    opening.resolve(stream);
    return undefined;
  }

  #onReset(id: number, refusal: Refusal | undefined): void {
    const opening = this.#opening.get(id);
    if (opening) {
      this.#opening.delete(id);
      const reason = refusal?.reason ?? "refused without a reason";
      opening.reject(new RefusedError(refusal?.code ?? "protocol", reason, refusal && { refusal }));
      this.#endIfUnused();
    } else if (!this.#asked.delete(id)) this.#streams.get(id)?.farReset(refusal);
  }

  #onLeave(payload: Buffer): void {
    this.#isLeaving = true;
    if (payload.length === 0) return this.#endIfUnused();
    const refusal = parseReason(payload);
    this.#close(new RefusedError(refusal.code, refusal.reason, { refusal }), refusal);
  }

  #isKnown(id: number): boolean {
    return id > 0 && id <= this.#lastStream;
  }

  // What streams ask for.

  send(stream: TunnelStream, chunk: Buffer, length: number, framed: Buffer | undefined, isOwn: boolean): boolean {
    if (length <= MAX_DATA_BYTES) this.#writer.data(stream.id, chunk, length, framed, isOwn);
    else
      for (let at = 0; at < length; at += MAX_DATA_BYTES)
        this.#writer.data(stream.id, chunk.subarray(at), Math.min(MAX_DATA_BYTES, length - at));
    if (!this.#writer.isFull) return true;
    this.#blocked.push(stream);
    return false;
  }

  get takesLongFrames(): boolean {
    return this.#takesLong && !this.#writer.isBusy;
  }

  grant(stream: TunnelStream, bytes: number): void {
    this.#writer.window(stream.id, bytes);
  }

  end(stream: TunnelStream): void {
    this.#writer.control(FRAME.fin, stream.id);
  }

  reset(stream: TunnelStream, refusal?: Refusal): void {
    if (!this.#isClosed) this.#writer.control(FRAME.reset, stream.id, refusal && encodeReason(refusal));
  }

  forget(stream: TunnelStream): void {
    this.#streams.delete(stream.id);
    this.#endIfUnused();
  }

  #hasRoom(): void {
    if (this.#blocked.length === 0 || this.#writer.isFull) return;
    const blocked = this.#blocked;
    this.#blocked = [];
    for (const stream of blocked) stream.resume();
  }

  // The tunnel's end.

  #checkAlive(): void {
    if (this.#isClosed) return;
    this.#ring.rest();
    this.#writer.rest();
    const silentMs = performance.now() - this.#heardAt;
    if (silentMs > SILENCE_MS)
      this.#close(
        new RefusedError("unreachable", `the far proxy has been silent for ${Math.round(silentMs / 1000)} s`),
      );
    else if (silentMs > PING_MS / 2) this.#writer.control(FRAME.ping, 0, Buffer.alloc(8));
  }

  #endIfUnused(): void {
    if (this.#isLeaving && this.size === 0) this.#end();
  }

  #end(): void {
    if (this.leg.stream.destroyed || this.leg.stream.writableEnded) return;
    this.#writer.end();
    setTimeout(() => this.#close(), LAST_WORDS_MS).unref();
  }

  #close(why?: RefusedError, refusal?: Refusal): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#ping);
    this.#ring.close();
    this.leg.stream.destroy();
    this.#blocked = [];
    for (const { reject } of this.#opening.values())
      reject(why ?? new RefusedError("unreachable", "it closed the connection after the handshake without a word"));
    this.#opening.clear();
    this.#asked.clear();
    for (const stream of [...this.#streams.values()]) stream.farReset(refusal, why);
    this.#options.onClose();
  }
}
