/**
 * Who holds rules on this node, as they report it themselves: in memory, and passed on to the catalog, which knows of all nodes. A
 * report is passed on as it comes; while the catalog is away the newest of each waits.
 */
import type { ApiClient } from "@heddle/api-client";
import { backoffMs, type Clock, describeError, type Logger, refusal, sleep } from "@heddle/daemon";
import { type RuleReport, withFewerPairs } from "@heddle/intentions";

const SILENT_MS = 60_000; // they say something every 15 s
const LOOK_MS = 1_000; // for those who are
const MAX_HOLDERS = 4_096;
const MAX_PAIRS = 50_000; // of all of them
const MAX_BATCH = 32; // reports in one request: at most 32 times 256 pairs
const RETRY_MAX_MS = 2_000;

export interface RuleHoldersOptions {
  catalog: Pick<ApiClient, "put">;
  node: string;
  clock: Clock;
  log: Logger;
}

/** A holder as this node's API shows it. */
export interface HeldRules extends RuleReport {
  LastSeen: string;
}

export class RuleHolders {
  readonly #options: RuleHoldersOptions;
  readonly #held = new Map<string, { report: RuleReport; at: number }>();
  readonly #unsent = new Map<string, RuleReport>();
  #pairCount = 0;
  #forgotAt = Number.NEGATIVE_INFINITY;
  #wake: () => void = () => {};

  constructor(options: RuleHoldersOptions) {
    this.#options = options;
  }

  /** Takes a report over. Refuses a new holder where there are too many (429). */
  take(report: RuleReport): void {
    this.#forgetSilent();
    if (!this.#held.has(report.ID) && this.#held.size >= MAX_HOLDERS)
      throw refusal(429, `${MAX_HOLDERS} proxies of this node report already`);
    const others = this.#pairCount - (this.#held.get(report.ID)?.report.Pairs.length ?? 0);
    const kept = withFewerPairs(report, MAX_PAIRS - others);
    this.#pairCount = others + (report.Gone ? 0 : kept.Pairs.length);
    if (report.Gone) this.#held.delete(report.ID);
    else this.#held.set(report.ID, { report: kept, at: this.#options.clock.now() });
    this.#unsent.set(report.ID, kept);
    this.#wake();
  }

  list(): HeldRules[] {
    this.#forgetSilent();
    return [...this.#held.values()].map(({ report, at }) => ({ ...report, LastSeen: new Date(at).toISOString() }));
  }

  /** Passes reports on until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { catalog, node, log } = this.#options;
    let attempt = 0;
    while (!signal.aborted) {
      if (this.#unsent.size === 0) {
        await this.#untilNews(signal);
        continue;
      }
      const batch = [...this.#unsent.values()].slice(0, MAX_BATCH);
      for (const { ID } of batch) this.#unsent.delete(ID);
      try {
        await catalog.put("/v1/internal/rule-holders", { body: { Node: node, Reports: batch }, signal });
        attempt = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (attempt === 0)
          log.warn("cannot tell the catalog which rules are held here, trying again", { error: describeError(error) });
        // What has come meanwhile is newer.
        for (const report of batch) if (!this.#unsent.has(report.ID)) this.#unsent.set(report.ID, report);
        await sleep(backoffMs(attempt++, 100, RETRY_MAX_MS), signal).catch(() => {});
      }
    }
  }

  #untilNews(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener("abort", done);
        this.#wake = () => {};
        resolve();
      };
      this.#wake = done;
      signal.addEventListener("abort", done, { once: true });
    });
  }

  #forgetSilent(): void {
    const now = this.#options.clock.now();
    if (now - this.#forgotAt < LOOK_MS) return;
    this.#forgotAt = now;
    for (const [id, { at, report }] of this.#held) {
      if (now - at <= SILENT_MS) continue;
      this.#held.delete(id);
      this.#pairCount -= report.Pairs.length;
    }
  }
}
