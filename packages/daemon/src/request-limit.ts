/** How many requests a second one client may send: a bucket for each, that holds what may come at once and fills with time. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Counter, type Registry } from "prom-client";
import { type Clock, systemClock } from "./clock.ts";
import { sendText } from "./http.ts";
import type { Logger } from "./log.ts";

const MAX_BUCKETS = 10_000; // clients that are remembered; then the one that has been known the longest is forgotten
const LOG_EVERY_MS = 10_000; // a client that is refused is told of so often

export interface RequestLimitOptions {
  /** What the limit is called, for whoever meets it. */
  setting: string;
  registry: Registry;
  log: Logger;
  clock?: Clock;
}

interface Bucket {
  tokens: number;
  /** Milliseconds since the epoch. */
  filledAt: number;
  toldAt: number;
}

export class RequestLimit {
  readonly #rate: () => number;
  readonly #options: RequestLimitOptions;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();
  readonly #refused: Counter;

  /** `rate` is asked anew for each request: requests a second, as many of which may come at once; 0: no limit. */
  constructor(rate: () => number, options: RequestLimitOptions) {
    this.#rate = rate;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#refused = new Counter({
      name: "heddle_http_requests_refused_total",
      help: "Requests of clients that sent more than they may.",
      registers: [options.registry],
    });
  }

  /** False where it has refused the request: 429 with the limit's name and when to come again. */
  admit(req: IncomingMessage, res: ServerResponse): boolean {
    const rate = this.#rate();
    if (rate <= 0) return true;
    const client = req.socket.remoteAddress ?? "";
    const now = this.#clock.now();
    const bucket = this.#bucketOf(client, rate, now);
    bucket.tokens = Math.min(rate, bucket.tokens + ((now - bucket.filledAt) / 1_000) * rate);
    bucket.filledAt = now;
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return true;
    }
    this.#refused.inc();
    const { setting, log } = this.#options;
    if (now - bucket.toldAt >= LOG_EVERY_MS) {
      bucket.toldAt = now;
      log.warn("refusing requests of one client, it sends too many", { client, limit: rate, setting });
    }
    res.setHeader("Retry-After", "1");
    sendText(res, 429, `too many requests from ${client}: the limit is ${rate} a second (${setting})\n`);
    return false;
  }

  #bucketOf(client: string, rate: number, now: number): Bucket {
    let bucket = this.#buckets.get(client);
    if (bucket) return bucket;
    // Whoever is forgotten begins anew, with a second's worth.
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined && this.#buckets.size >= MAX_BUCKETS) this.#buckets.delete(oldest);
    bucket = { tokens: rate, filledAt: now, toldAt: 0 };
    this.#buckets.set(client, bucket);
    return bucket;
  }
}
