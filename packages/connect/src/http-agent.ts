/** An agent of Node's `http` whose connections go through the mesh: for `http.request` and every client that takes an agent. */
import { Agent, type AgentOptions, type ClientRequestArgs } from "node:http";
import type { Duplex } from "node:stream";
import type { MeshSocket } from "./mesh-socket.ts";

type Callback = (error: Error | null, socket: Duplex) => void;

export class MeshAgent extends Agent {
  readonly #dial: (host: string) => Promise<MeshSocket>;

  /** Connections are kept for the next request, as many as there were at once. */
  constructor(dial: (host: string) => Promise<MeshSocket>, options: AgentOptions = {}) {
    super({ keepAlive: true, scheduling: "lifo", ...options });
    this.#dial = dial;
  }

  override createConnection(options: ClientRequestArgs, callback?: Callback): Duplex | undefined {
    void this.#connect(options.host ?? options.hostname ?? "", callback);
    return undefined;
  }

  async #connect(host: string, callback: Callback | undefined): Promise<void> {
    try {
      callback?.(null, await this.#dial(host));
    } catch (error) {
      callback?.(error as Error, undefined as unknown as Duplex);
    }
  }
}
