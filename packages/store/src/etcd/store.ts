/**
 * The store on etcd: any number of servers hold every record in memory and follow each other's commits. A command runs
 * against memory; what it read are the compares of its transaction, so it takes place as if it had run alone, or is run again.
 */
import type { Logger } from "@heddle/daemon";
import type { Cluster, ServerInfo } from "../cluster.ts";
import type { Command, CommandResult, Commit, Contact, RunOptions, Store, StoredRecord, Write } from "../record.ts";
import type { EtcdClient } from "./client.ts";
import { EtcdClusterView } from "./cluster.ts";
import { Committer } from "./committer.ts";
import { ContactKeeper } from "./contact.ts";
import { StoreEvents } from "./events.ts";
import { Follower } from "./follower.ts";
import { Layout } from "./layout.ts";
import { restore } from "./restore.ts";
import type { SeenFile } from "./seen.ts";
import { atStart, HOLD_MS, unreachable, untilAnswered } from "./retry.ts";

export interface EtcdStoreOptions {
  /** Closed with the store. */
  client: EtcdClient;
  /** Above all stores of this mesh: "heddle/dc1". */
  root: string;
  /** "catalog", "ca". */
  name: string;
  log: Logger;
  emptyRevision?: number;
  /** Remembers etcd's history from one life of the server to the next. */
  seen?: SeenFile | undefined;
  /** Where given, an etcd that is away at the start is waited for until it aborts. */
  waitUntil?: AbortSignal | undefined;
}

const NOTE_EVERY_MS = 1_000;

interface Parts {
  layout: Layout;
  follower: Follower;
  events: StoreEvents;
}

export class EtcdStore implements Store {
  readonly events: StoreEvents;
  readonly #options: EtcdStoreOptions;
  readonly #client: EtcdClient;
  readonly #layout: Layout;
  readonly #follower: Follower;
  readonly #committer: Committer;
  readonly #contact: ContactKeeper;
  readonly #wasEmpty: boolean;
  readonly #noting: NodeJS.Timeout;
  #noted = 0;
  #cluster: EtcdClusterView | undefined;
  #isClosed = false;

  private constructor(options: EtcdStoreOptions, parts: Parts) {
    const { client } = options;
    this.events = parts.events;
    this.#options = options;
    this.#client = client;
    this.#layout = parts.layout;
    this.#follower = parts.follower;
    this.#wasEmpty = parts.follower.headRevision === 0;
    this.#committer = new Committer({ client, ...parts, log: options.log, waitUntil: options.waitUntil });
    this.#contact = new ContactKeeper({ client, ...parts, retrying: (call) => this.#retrying(call) });
    this.#noting = setInterval(() => this.#note(), NOTE_EVERY_MS).unref();
  }

  /** Reads everything into memory. Throws UnavailableError where etcd cannot be asked. */
  static async open(options: EtcdStoreOptions): Promise<EtcdStore> {
    const layout = new Layout(options.root, options.name);
    const { client, log, emptyRevision = 1 } = options;
    const events = new StoreEvents();
    const onReload = () => events.count("reload");
    const follower = new Follower({ client, layout, emptyRevision, log, onReload });
    try {
      await atStart(() => follower.start(options.seen?.read(layout.prefix)), options);
      return new EtcdStore(options, { layout, follower, events });
    } catch (error) {
      follower.close();
      client.close();
      throw error;
    }
  }

  get instance(): string {
    return `${this.#layout.prefix}${this.#follower.founded}`;
  }

  get wasEmpty(): boolean {
    return this.#wasEmpty;
  }

  get revision(): number {
    return this.#follower.revision;
  }

  get next(): number {
    return this.revision + 1;
  }

  get<V = unknown>(table: string, key: string): StoredRecord<V> | undefined {
    return this.#follower.records.get<V>(table, key);
  }

  list<V = unknown>(table: string, prefix = ""): StoredRecord<V>[] {
    return this.#follower.records.list<V>(table, prefix);
  }

  count(table: string): number {
    return this.#follower.records.count(table);
  }

  subscribe(listener: (commit: Commit) => void): () => void {
    return this.#follower.records.subscribe(listener);
  }

  snapshot(): { revision: number; records: StoredRecord[] } {
    return { revision: this.revision, records: this.#follower.records.all() };
  }

  run<R>(command: Command<R>, { fence }: RunOptions = {}): Promise<CommandResult<R>> {
    if (this.#isClosed) return Promise.reject(new Error("the store is closed"));
    return this.#committer.run(command, fence);
  }

  catchUp(): Promise<void> {
    return this.#contact.catchUp();
  }

  contact(): Contact {
    return this.#contact.contact();
  }

  hasStarted(): void {
    this.#committer.hasStarted();
  }

  async join(self: ServerInfo): Promise<Cluster> {
    if (this.#cluster) throw new Error("this store's server has joined already");
    const { root, name, log } = this.#options;
    const cluster = new EtcdClusterView({ client: this.#client, root, name, self, log });
    this.#cluster = cluster;
    await atStart(() => cluster.start(), this.#options);
    return cluster;
  }

  restore(records: readonly StoredRecord[], index: number, also: readonly Write[] = []): Promise<CommandResult<void>> {
    const parts = { client: this.#client, layout: this.#layout, follower: this.#follower };
    return restore({ ...parts, retrying: (call) => this.#retrying(call) }, { records, index, also });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#noting);
    this.#note();
    this.#contact.close();
    this.#committer.close();
    this.#follower.close();
    await this.#cluster?.close();
    await this.#committer.forget().catch(() => {});
    this.#client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #note(): void {
    const seen = this.#follower.seen;
    if (!seen || seen.index === this.#noted) return;
    this.#noted = seen.index;
    this.#options.seen?.write(seen);
  }

  async #retrying<T>(call: () => Promise<T>): Promise<T> {
    const ask = () => (this.#isClosed ? Promise.reject(new Error("the store is closed")) : call());
    try {
      return await untilAnswered(ask, performance.now() + HOLD_MS, () => this.events.count("retry"));
    } catch (error) {
      throw unreachable(this.#client, error);
    }
  }
}
