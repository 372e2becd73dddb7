/**
 * The ports of sidecars: given once for a service id and kept, whatever is registered, reloaded or restarted later, so that
 * a proxy never sits on another port than the catalog says.
 */
import { createServer } from "node:net";
import { refusal } from "@heddle/daemon";
import type { Store } from "@heddle/store";

const TABLE = "sidecar-ports";

export interface SidecarPortsOptions {
  store: Store;
  min: number;
  max: number;
  /** Ports that registered services claim for themselves, with who claims them. */
  claimed: () => Map<number, string>;
}

export class SidecarPorts {
  readonly #options: SidecarPortsOptions;
  /** One allocation at a time: two at once would find the same port free. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: SidecarPortsOptions) {
    this.#options = options;
  }

  /** The port of this sidecar: the one it had, else the first that is free. Throws where the range is used up. */
  reserve(sidecarId: string): Promise<number> {
    const mine = this.#turn.then(() => this.#reserve(sidecarId));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** Refuses a port that somebody chose and that another sidecar has. */
  refuseTaken(sidecarId: string, port: number): void {
    const holder = this.#options.claimed().get(port);
    if (holder !== undefined && holder !== sidecarId)
      throw refusal(
        400,
        `port ${port} of ${sidecarId} is taken by ${holder}: choose another, or leave it out to be given one`,
      );
  }

  async #reserve(sidecarId: string): Promise<number> {
    const { store, min, max, claimed } = this.#options;
    const known = store.get<number>(TABLE, sidecarId)?.value;
    const claims = claimed();
    if (known !== undefined && known >= min && known <= max && (claims.get(known) ?? sidecarId) === sidecarId)
      return known;
    const given = new Map(store.list<number>(TABLE).map((r) => [r.value, r.key]));
    for (let port = min; port <= max; port++) {
      if (given.has(port) || claims.has(port) || !(await isFree(port))) continue;
      await store.run(() => ({ writes: [{ table: TABLE, key: sidecarId, value: port }], result: undefined }));
      return port;
    }
    // Nothing is new: take over the port of a sidecar that is no longer registered.
    for (const [port, formerId] of given) {
      if (claims.has(port) || port < min || port > max) continue;
      await store.run(() => ({
        writes: [
          { table: TABLE, key: formerId },
          { table: TABLE, key: sidecarId, value: port },
        ],
        result: undefined,
      }));
      return port;
    }
    throw refusal(
      400,
      `no port left for ${sidecarId}: all of ${min}-${max} are given (ports.sidecar_min_port, ports.sidecar_max_port)`,
    );
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "0.0.0.0", exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
