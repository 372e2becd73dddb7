/**
 * `/internal/v1/external`: the WebSocket of those who probe nodes without an agent. All that are connected, to any of the catalogs,
 * share the nodes; each is told its checks anew whenever something changes, and when one is gone the others have its share. A
 * checker is believed for its own share alone.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { type Clock, describeError, InvalidArgumentError, type Logger, type Timer } from "@heddle/daemon";
import type { HealthCheck } from "@heddle/service-definition";
import type { Cluster } from "@heddle/store";
import { type WebSocket, WebSocketServer } from "ws";
import { type ExternalResult, judgeExternal } from "../commands/external.ts";
import { CHECKS, MEMBERS, NODES } from "../records.ts";
import type { CatalogState } from "../state.ts";
import { assign } from "./assign.ts";
import { type ExternalCheck, externalChecks, externalNodes, splitId } from "./external-checks.ts";

export const EXTERNAL_PATH = "/internal/v1/external";
const MAX_CHECKERS = 64;
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const MAX_ID = 128;
const MAX_OUTPUT = 4_096;
const PING_MS = 1_000;
const SILENCE_MS = 4_000; // after so long the others have its share
const SETTLE_MS = 100; // changes come in groups
/** What catalogs say of each other: that a checker is connected. */
const CHECKER = "checker";
const STATUSES: readonly HealthCheck["Status"][] = ["critical", "passing", "warning"];

export interface ExternalServer {
  /** Takes the connection over when it asks for external checks. */
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer): boolean;
  /** Checkers that are connected. */
  readonly checkers: number;
  close(): void;
}

interface Checker {
  id: string;
  /** The last list that it was sent, as JSON. */
  sent: string;
  nodes: ReadonlySet<string>;
}

export function createExternalServer({
  state,
  cluster,
  clock,
  log,
}: {
  state: CatalogState;
  /** The catalogs that share the store: those who are connected to one share the work with those of the others. */
  cluster: Cluster;
  clock: Clock;
  log: Logger;
}): ExternalServer {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  const checkers = new Map<WebSocket, Checker>();
  let timer: Timer | undefined;

  const elsewhere = () =>
    [...cluster.facts(CHECKER)].flatMap(([id, { server: by }]) => (by === cluster.self.id ? [] : [id]));
  const share = () => {
    timer = undefined;
    const nodes = new Map(externalNodes(state).map((node) => [node.Node, node]));
    const ids = new Set([...[...checkers.values()].map(({ id }) => id), ...elsewhere()]);
    const shares = assign([...nodes.keys()], [...ids]);
    for (const [client, checker] of checkers) {
      const own = shares.get(checker.id) ?? [];
      checker.nodes = new Set(own);
      const checks: ExternalCheck[] = own.flatMap((name) => {
        const node = nodes.get(name);
        return node ? externalChecks(state, node) : [];
      });
      const text = JSON.stringify({ type: "sync", checks });
      if (text === checker.sent) continue;
      checker.sent = text;
      client.send(text);
      log.info("external checks are assigned", { checker: checker.id, nodes: own.length, checks: checks.length });
    }
  };
  const shareSoon = () => {
    if (checkers.size > 0) timer ??= clock.after(SETTLE_MS, share);
  };
  // A result touches a check too, and changes nothing of what there is to probe: the lists are compared.
  const off = state.store.subscribe(({ changes }) => {
    if (changes.some(({ table }) => table === NODES || table === CHECKS || table === MEMBERS)) shareSoon();
  });

  const offFacts = cluster.onFact((kind, id, fact) => {
    if (kind !== CHECKER) return;
    // Two had the name for a moment, and the other one is gone.
    if (!fact && [...checkers.values()].some((own) => own.id === id)) void cluster.say(CHECKER, id, {});
    shareSoon();
  });

  const take = async (checker: Checker, results: ExternalResult[]) => {
    const foreign = results.find(({ node }) => !checker.nodes.has(node));
    // One that was moved to another checker a moment ago is no offence.
    if (foreign) log.debug("a result of a node that is another checker's", { checker: checker.id, node: foreign.node });
    const own = results.filter(({ node }) => checker.nodes.has(node));
    if (own.length === 0) return;
    const { result } = await state.store.run(judgeExternal(own));
    for (const { node, check, status } of result)
      log.info("external check changed", { node, check, status, checker: checker.id });
  };

  const serve = (client: WebSocket) => {
    let heardAt = clock.now();
    const ping = () => {
      if (clock.now() - heardAt > SILENCE_MS) return client.terminate();
      client.ping();
      pinging = clock.after(PING_MS, ping);
    };
    let pinging = clock.after(PING_MS, ping);
    const hear = (data: Buffer) => {
      heardAt = clock.now();
      const message = JSON.parse(data.toString("utf8")) as Record<string, unknown>;
      const known = checkers.get(client);
      if (known) return take(known, parseResults(message));
      const { type, id } = message;
      if (type !== "hello" || typeof id !== "string" || id === "" || id.length > MAX_ID)
        throw new InvalidArgumentError('want a message of type "hello" with the checker\'s "id" first');
      if ([...checkers.values()].some((other) => other.id === id) || elsewhere().includes(id))
        throw new InvalidArgumentError(`there is a checker '${id}' already: give each an -external-id of its own`);
      checkers.set(client, { id, sent: "", nodes: new Set() });
      log.info("a checker of external nodes is connected", { checker: id });
      void cluster.say(CHECKER, id, {});
      share();
      return undefined;
    };
    client.on("message", (data: Buffer) => {
      void (async () => hear(data))().catch((error: unknown) => {
        log.warn("refused a checker of external nodes", { reason: describeError(error) });
        client.close(1008, Buffer.from(describeError(error)).subarray(0, 120).toString("latin1"));
      });
    });
    client.on("pong", () => (heardAt = clock.now()));
    client.on("error", (error) => log.debug("a checker's connection failed", { error: describeError(error) }));
    client.on("close", () => {
      pinging.cancel();
      const gone = checkers.get(client);
      if (!checkers.delete(client)) return;
      log.info("a checker of external nodes is gone", { checker: gone?.id, left: checkers.size });
      if (gone) void cluster.say(CHECKER, gone.id, undefined);
      if (checkers.size === 0 && elsewhere().length === 0)
        log.warn("nobody probes external nodes, their checks keep their last status");
      shareSoon();
    });
  };
  return {
    upgrade(req, socket, head) {
      if (req.url?.split("?")[0] !== EXTERNAL_PATH) return false;
      if (server.clients.size >= MAX_CHECKERS) {
        socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return true;
      }
      server.handleUpgrade(req, socket, head, serve);
      return true;
    },
    get checkers() {
      return checkers.size;
    },
    close() {
      off();
      offFacts();
      timer?.cancel();
      for (const client of server.clients) client.close(1001, "the catalog is closing");
      server.close();
    },
  };
}

/** Throws InvalidArgumentError for what is no message of results. */
function parseResults({ type, results }: Record<string, unknown>): ExternalResult[] {
  if (type !== "results" || !Array.isArray(results)) throw new InvalidArgumentError('want a message of type "results"');
  return results.map((value: unknown) => {
    const { checkId, status, output } = (value ?? {}) as Record<string, unknown>;
    const known = STATUSES.find((name) => name === status);
    if (typeof checkId !== "string" || known === undefined || typeof output !== "string")
      throw new InvalidArgumentError("a result wants checkId, status and output");
    return { ...splitId(checkId), status: known, output: output.slice(0, MAX_OUTPUT) };
  });
}
