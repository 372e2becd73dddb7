/** What an application holds of a connection in the mesh: a stream with what `net.Socket` has and Node's HTTP asks for. */
import { type Connection, RefusedError } from "@heddle/data-plane";
import { PairedSocket, withoutStack } from "./socket-pair.ts";

/** Who is at the other end, as its certificate proved. */
export interface MeshPeer {
  service: string;
  /** `spiffe://…/svc/<service>`. */
  spiffeId: string;
  /** Its address: the caller's, or that of the instance that was reached. */
  address: string;
}

export class MeshSocket extends PairedSocket {
  readonly connecting = false;
  peer: MeshPeer = { service: "", spiffeId: "", address: "" };
  remoteAddress: string | undefined;
  remotePort: number | undefined;
  #connection: Connection | undefined;
  #idleMs = 0;
  #idle: NodeJS.Timeout | undefined;

  /** Called when the far end is known, before the application has it. */
  attach(connection: Connection): void {
    this.#connection = connection;
  }

  /** Names the far end. */
  named(peer: MeshPeer): this {
    this.peer = peer;
    const [, address = peer.address, port] = /^\[?(.*?)\]?:(\d+)$/.exec(peer.address) ?? [];
    this.remoteAddress = address;
    this.remotePort = port === undefined ? undefined : Number(port);
    return this;
  }

  protected override resetError(): NodeJS.ErrnoException {
    const why = this.#connection?.cutBy ?? this.#connection?.pipe.refusal;
    if (!why) return super.resetError();
    return withoutStack(() => {
      const error = new RefusedError(why.code, `the connection was cut: ${why.reason}`, { refusal: why });
      return Object.assign(error, { code: why.code });
    });
  }

  // What net.Socket has.

  setTimeout(ms: number, onTimeout?: () => void): this {
    this.#idleMs = ms;
    if (onTimeout && ms > 0) this.once("timeout", onTimeout);
    else if (onTimeout) this.off("timeout", onTimeout);
    this.#touch();
    return this;
  }

  get timeout(): number {
    return this.#idleMs;
  }

  #touch(): void {
    clearTimeout(this.#idle);
    if (this.#idleMs <= 0 || this.destroyed) return;
    this.#idle = setTimeout(() => this.emit("timeout"), this.#idleMs);
    this.#idle.unref();
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    this.#touch();
    return super.push(chunk, encoding);
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#touch();
    super._write(chunk, encoding, done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#idle);
    super._destroy(error, done);
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  get readyState(): string {
    if (this.destroyed) return "closed";
    return this.readable ? (this.writable ? "open" : "readOnly") : "writeOnly";
  }
}
