/**
 * The daemon's core: listeners in front, resolver and recursor behind, and between them the few rules that hold for every
 * question. A composition makes it with its own stream client; `start` makes the rest for a daemon of its own.
 */
import type { ApiClient } from "@heddle/api-client";
import { type ApiTable, type Clock, describeError, type Health, type Logger, systemClock } from "@heddle/daemon";
import type { Registry } from "prom-client";
import { failure } from "./answers/zone.ts";
import { createDirectory } from "./catalog/directory.ts";
import type { CatalogStream } from "./catalog/follower.ts";
import { RCODE } from "./codec/constants.ts";
import { clientAddress, parseQuery, type Query, udpLimit } from "./codec/query.ts";
import { type Answer, writeRefusal, writeReply } from "./codec/reply.ts";
import type { DnsConfig } from "./config.ts";
import { registerDnsMetrics, type Transport } from "./metrics.ts";
import { bindListeners, type Listeners } from "./net/listeners.ts";
import { explainTable } from "./routes/explain.ts";
import { createViews, type Views } from "./views.ts";

const MAX_WAITING = 4_096; // questions whose answer is not in memory yet
const MAX_UDP_BYTES = 4_096; // larger answers break into fragments, and serve an attacker who forges the sender
const MAX_TCP_BYTES = 65_535;

export interface DnsOptions {
  config: DnsConfig;
  /** `createStreamClient` of @heddle/api-client; the caller closes it. */
  stream: CatalogStream;
  /** Asks the catalog what has no place in the stream; the caller closes it. */
  api: Pick<ApiClient, "get">;
  registry: Registry;
  log: Logger;
  clock?: Clock;
  /** From 0 to 1: the order of records. */
  random?: () => number;
}

export interface Dns extends AsyncDisposable {
  /** Binds UDP and TCP. Throws UnavailableError for a port that is in use. */
  listen(): Promise<void>;
  /** The port of the first address; 0 before `listen`. */
  readonly port: number;
  health(): Record<string, Health>;
  /** The rows of the HTTP API that DNS answers. */
  readonly table: ApiTable;
  /** Takes new zone, TTL, limit and recursor settings; what it listens on and follows stays. */
  reload(config: DnsConfig): void;
  close(): Promise<void>;
}

type Send = (bytes: Buffer | undefined) => void;
type Peer = { address: string; port: number };

export function createDns(options: DnsOptions): Dns {
  const { log, stream } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const { nodeName } = options.config;
  const directory = createDirectory({ stream, api: options.api, clock, log, nodeName });
  let listeners: Listeners | undefined;
  let waiting = 0;
  const metrics = registerDnsMetrics(options.registry, {
    followed: () => directory.followed,
    tcpConnections: () => listeners?.tcpConnections ?? 0,
    isConnected: () => stream.connected,
  });
  const makeViews = (config: DnsConfig): Views =>
    createViews({ config, directory, clock, random, log, onRecursion: (outcome) => metrics.recursion(outcome) });
  let views = makeViews(options.config);

  const reply = (query: Query, answer: Answer, transport: Transport, send: Send) => {
    const isUdp = transport === "udp";
    const maxBytes = isUdp ? udpLimit(query.edns, MAX_UDP_BYTES) : MAX_TCP_BYTES;
    const { bytes, isTruncated } = writeReply(query, answer, {
      ...views.replies,
      maxBytes,
      maxRecords: isUdp && maxBytes === 512 ? views.udpAnswerLimit : Number.POSITIVE_INFINITY,
      random,
    });
    metrics.answered(transport, query.question.type, answer.rcode);
    if (isTruncated) metrics.truncated();
    if (!stream.connected) metrics.stale();
    send(bytes);
  };

  const forward = async (query: Query, transport: Transport, send: Send) => {
    const bytes = await views.recursor.forward(query, transport);
    metrics.answered(transport, query.question.type, bytes.readUInt16BE(2) & 15);
    send(bytes);
  };

  // The one place where a question waits; every way out of it answers.
  const later = async (work: () => Promise<void>, query: Query, transport: Transport, send: Send) => {
    if (waiting >= MAX_WAITING) return reply(query, failure(RCODE.SERVFAIL), transport, send);
    waiting++;
    try {
      await work();
    } catch (error) {
      log.debug("a question could not be answered", { question: query.question.name, error: describeError(error) });
      reply(query, failure(RCODE.SERVFAIL, { isRecursive: views.recursor.isEnabled }), transport, send);
    } finally {
      waiting--;
    }
  };

  const handle = (packet: Buffer, transport: Transport, peer: Peer, send: Send) => {
    const query = parseQuery(packet);
    if (query === undefined || "refuse" in query) {
      metrics.malformed();
      return send(query && writeRefusal(packet, query.refuse));
    }
    if (query.edns && query.edns.version > 0) return reply(query, failure(RCODE.BADVERS), transport, send);
    if (!query.isInternet) return reply(query, failure(RCODE.REFUSED), transport, send);
    const finish = (resolution: Answer | "forward"): void | Promise<void> => {
      if (resolution !== "forward") return reply(query, resolution, transport, send);
      if (!views.recursor.isEnabled) return reply(query, views.refusal(query.question), transport, send);
      if (transport === "udp" && views.recursor.isOwnPort(peer.port))
        return reply(query, failure(RCODE.REFUSED), transport, send);
      return later(() => forward(query, transport, send), query, transport, send);
    };
    const resolution = views.resolve(query.question, () => clientAddress(query.edns) ?? peer.address);
    if (!(resolution instanceof Promise)) return void finish(resolution);
    void later(async () => finish(await resolution), query, transport, send);
  };

  const guard = (packet: Buffer, transport: Transport, peer: Peer, send: Send) => {
    try {
      handle(packet, transport, peer, send);
    } catch (error) {
      // A fault of ours costs this question its answer, not the daemon its life.
      log.error("a question failed", { packet: packet.toString("hex", 0, 512), stack: (error as Error).stack });
      send(undefined);
    }
  };

  const close = async () => {
    await listeners?.close();
    directory.close();
  };
  return {
    async listen() {
      listeners = await bindListeners(options.config, {
        log,
        onUdp: (packet, peer, send) => guard(packet, "udp", peer, send),
        onTcp: (packet, peer, send) => guard(packet, "tcp", peer, send),
      });
    },
    get port() {
      return listeners?.port ?? 0;
    },
    health: () => ({
      catalog: {
        started: directory.isReady,
        live: true,
        ready: directory.isReady,
        ...(!directory.isReady
          ? { details: "no answer from the catalog yet" }
          : !stream.connected && { details: "no catalog is connected, answering from memory" }),
      },
      listeners: { started: listeners !== undefined, live: true, ready: listeners !== undefined },
    }),
    table: explainTable((name, type) => views.explain(name, type)),
    reload(config) {
      views = makeViews(config);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
