/**
 * `/internal/v1/lease`: the WebSocket on which an agent holds its node's lease. The agent says who it is, then beats; each
 * beat is answered, so that it knows too. The catalog may ask it to try to reach another agent.
 */
import type { IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import {
  type Caller,
  describeError,
  InvalidArgumentError,
  type Logger,
  PermissionDeniedError,
  whyCut,
} from "@heddle/daemon";
import { type WebSocket, WebSocketServer } from "ws";
import type { MemberFacts } from "../commands/members.ts";
import type { MemberLink, Probe } from "./lease.ts";
import type { HeldLease, Members } from "./members.ts";
import { NameTakenError } from "./taken.ts";
import { HEARTBEAT_MS } from "./suspicion.ts";

export const LEASE_PATH = "/internal/v1/lease";
const MAX_MESSAGE_BYTES = 8 * 1024;
const MAX_CONNECTIONS = 20_000;
const HELLO_TIMEOUT_MS = 5_000;
const MAX_TEXT = 256;
const NAME_TAKEN = 4409;

export interface LeaseServer {
  /** Takes the connection over when it asks for a lease. A caller whose certificate names a node gets that node's only. */
  upgrade(req: IncomingMessage, socket: Socket, head: Buffer, caller?: Caller): boolean;
  close(): void;
}

/** What an agent says first. */
interface Hello extends MemberFacts {
  probeUrl: string;
}

export function createLeaseServer({ members, log }: { members: Members; log: Logger }): LeaseServer {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  return {
    upgrade(req, socket, head, caller) {
      if (req.url?.split("?")[0] !== LEASE_PATH) return false;
      if (req.headers.origin !== undefined || server.clients.size >= MAX_CONNECTIONS) {
        socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return true;
      }
      server.handleUpgrade(req, socket, head, (client) =>
        serveLease(client, { members, log, caller, whyEnded: () => whyCut(socket) }),
      );
      return true;
    },
    close() {
      for (const client of server.clients) client.close(1001, "the catalog is closing");
      server.close();
    },
  };
}

interface ConnectionDeps {
  members: Members;
  log: Logger;
  caller: Caller | undefined;
  /** Why this end has cut the connection, where it has. */
  whyEnded: () => string | undefined;
}

function serveLease(client: WebSocket, { members, log, caller, whyEnded }: ConnectionDeps): void {
  const node = caller?.node;
  let held: Promise<HeldLease | undefined> | undefined;
  const link = createLink(client);
  const refuse = (error: unknown) => {
    log.warn("refused a lease", { reason: describeError(error) });
    client.close(error instanceof NameTakenError ? NAME_TAKEN : 1008, closeReason(describeError(error)));
    return undefined;
  };
  const open = async (data: Buffer): Promise<HeldLease | undefined> => {
    const { probeUrl, ...facts } = parseHello(data);
    if (caller?.role === "agent" && node === undefined)
      throw new PermissionDeniedError(
        "the certificate of role 'agent' names no node: make one with 'heddle tls cert create -client -node NAME'",
      );
    if (node !== undefined && node.toLowerCase() !== facts.Node.toLowerCase())
      throw new PermissionDeniedError(
        `the certificate is of node '${node}': it cannot hold the lease of '${facts.Node}'`,
      );
    const lease = await members.hold(facts, { probeUrl, link });
    client.send(JSON.stringify({ type: "lease", heartbeatMs: HEARTBEAT_MS }));
    return lease;
  };
  const timer = setTimeout(() => client.terminate(), HELLO_TIMEOUT_MS);
  client.on("message", (data: Buffer) => {
    clearTimeout(timer);
    held ??= open(data).catch(refuse);
    void held.then((lease) => {
      lease?.heard();
      link.receive(data);
    });
  });
  client.on("error", (error) => log.debug("a lease's connection failed", { error: describeError(error) }));
  client.on("close", () => {
    clearTimeout(timer);
    link.end();
    void held?.then((lease) => lease?.lost(whyEnded()));
  });
}

interface Link extends MemberLink {
  receive(data: Buffer): void;
  end(): void;
}

function createLink(client: WebSocket): Link {
  const asked = new Map<number, (probe: Probe | undefined) => void>();
  let nextId = 1;
  return {
    probe(target, timeoutMs) {
      const id = nextId++;
      const { promise, resolve } = Promise.withResolvers<Probe | undefined>();
      const timer = setTimeout(() => resolve(undefined), timeoutMs + HEARTBEAT_MS);
      timer.unref();
      asked.set(id, resolve);
      client.send(JSON.stringify({ type: "probe", id, ...target, timeoutMs }));
      return promise.finally(() => {
        clearTimeout(timer);
        asked.delete(id);
      });
    },
    receive(data) {
      const message = parse(data);
      if (message["type"] === "beat") client.send('{"type":"beat"}');
      else if (message["type"] === "probed" && typeof message["id"] === "number")
        asked.get(message["id"])?.({
          isReached: message["isReached"] === true,
          reason: typeof message["reason"] === "string" ? message["reason"].slice(0, MAX_TEXT) : "no reason given",
        });
    },
    deregister: (ask) => client.send(JSON.stringify({ type: "deregister", ...ask })),
    close: (reason) => client.close(1000, closeReason(reason)),
    end: () => asked.forEach((resolve) => resolve(undefined)),
  };
}

function parse(data: Buffer): Record<string, unknown> {
  try {
    return (JSON.parse(data.toString("utf8")) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** Throws InvalidArgumentError naming what is wrong with it. */
function parseHello(data: Buffer): Hello {
  const message = parse(data);
  const text = (key: string): string => {
    const value = message[key] ?? "";
    if (typeof value !== "string" || value.length > MAX_TEXT)
      throw new InvalidArgumentError(`"${key}" of a lease's hello: want text of at most ${MAX_TEXT} characters`);
    return value;
  };
  if (message["type"] !== "hello") throw new InvalidArgumentError('a lease begins with a message of "type" "hello"');
  const Node = text("Node");
  if (Node === "") throw new InvalidArgumentError("\"Node\" of a lease's hello: want the node's name");
  const Address = text("Address");
  return {
    ...{ Node, Address, ID: text("ID"), Server: message["Server"] === true },
    probeUrl: probeUrl(message["ProbePort"], { address: Address, isTls: message["ProbeTLS"] === true }),
  };
}

/** Other agents are sent to the node's own address only. */
function probeUrl(port: unknown, { address, isTls }: { address: string; isTls: boolean }): string {
  const family = isIP(address);
  if (!Number.isInteger(port) || (port as number) < 1 || (port as number) > 65_535 || family === 0) return "";
  return `${isTls ? "https" : "http"}://${family === 6 ? `[${address}]` : address}:${String(port)}`;
}

// RFC 6455 §5.5: a close frame holds 123 bytes of text.
const closeReason = (text: string): string => Buffer.from(text).subarray(0, 120).toString("latin1");
