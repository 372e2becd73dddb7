/** Whether memory is what etcd has: asked for a consistent read, and several times a second by itself. */
import type { Contact } from "../record.ts";
import type { EtcdClient } from "./client.ts";
import type { Follower } from "./follower.ts";
import type { Layout } from "./layout.ts";
import type { RangeResult } from "./messages.ts";
import { HOLD_MS } from "./retry.ts";

/** Memory is asked whether it is current this often, which is what X-Consul-LastContact tells. */
const CONTACT_EVERY_MS = 300;
/** Without contact for this long no commit can be expected to be made. */
const LEADER_LOST_MS = 2_500;
/** A commit that is known of has to be heard of by the watch within this, or the watch goes to another endpoint. */
const STALL_MS = 1_000;

export interface ContactOptions {
  client: EtcdClient;
  layout: Layout;
  follower: Follower;
  retrying: <T>(call: () => Promise<T>) => Promise<T>;
}

export class ContactKeeper {
  readonly #options: ContactOptions;
  #catchingUp: { begun: boolean; done: Promise<void> } | undefined;
  #currentAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ContactOptions) {
    this.#options = options;
    this.#keep();
  }

  contact(): Contact {
    const lastContactMs = Math.round(performance.now() - this.#currentAt);
    return { lastContactMs, knowsLeader: lastContactMs < LEADER_LOST_MS };
  }

  /** Resolves when memory has every commit from before the call. */
  catchUp(): Promise<void> {
    // Who comes while a question is on its way asks the next one, together with all who come until that is sent.
    if (this.#catchingUp && !this.#catchingUp.begun) return this.#catchingUp.done;
    const previous = this.#catchingUp?.done.catch(() => {}) ?? Promise.resolve();
    const round = { begun: false, done: Promise.resolve() };
    round.done = previous.then(async () => {
      round.begun = true;
      await this.#askHead();
    });
    const forget = () => {
      if (this.#catchingUp === round) this.#catchingUp = undefined;
    };
    round.done.then(forget, forget);
    this.#catchingUp = round;
    return round.done;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #askHead(): Promise<void> {
    const { client, follower, layout, retrying } = this.#options;
    let asked = 0;
    let known = 0;
    const ask = (): Promise<RangeResult> => {
      asked = performance.now();
      known = follower.etcdRevision;
      return client.range({ key: layout.head });
    };
    const { header, kvs } = await retrying(ask);
    // An answer is of everything that was committed before the question; less than was known then is another history.
    if (header.revision < known) follower.hasGoneBack();
    const head = kvs[0]?.modRevision ?? 0;
    const stalled = setTimeout(() => follower.isStalled(), STALL_MS);
    try {
      await follower.reached(head, HOLD_MS);
    } finally {
      clearTimeout(stalled);
    }
    if (follower.headRevision === head) follower.isCurrentAt(header.revision);
    this.#currentAt = Math.max(this.#currentAt, asked);
  }

  #keep(): void {
    this.#timer = setTimeout(() => {
      const again = () => {
        if (!this.#isClosed) this.#keep();
      };
      this.catchUp().then(again, again);
    }, CONTACT_EVERY_MS);
    this.#timer.unref();
  }
}
