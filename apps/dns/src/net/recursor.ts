/**
 * Names that are not ours, asked of the configured name servers: one after the other, one question under way for equal
 * ones, a bounded number in all. A question that comes back to us from ourselves is refused.
 */
import { randomInt } from "node:crypto";
import { describeError, type Logger, UnavailableError } from "@heddle/daemon";
import { CLASS_IN, FLAG, HEADER_BYTES, RCODE, TYPE } from "../codec/constants.ts";
import { toWireName } from "../codec/name.ts";
import type { Query } from "../codec/query.ts";
import { addressRecord, nameRecord, type Rr, toAddressBytes, typeOf } from "../codec/record.ts";
import type { HostResolver } from "../resolver.ts";
import { exchange, type NameServer } from "./exchange.ts";

const MAX_UNDER_WAY = 1_024; // each holds a socket
const MAX_RECORDS = 5; // of a foreign name in one of our answers, as Consul has it

export interface RecursorSettings {
  recursors: NameServer[];
  recursorTimeoutMs: number;
  isRandom: boolean;
}

export interface Recursor extends HostResolver {
  /** The answer to the client's own packet, with its ID. Throws UnavailableError when no name server answers. */
  forward(query: Query, transport: "tcp" | "udp"): Promise<Buffer>;
  /** Whether a datagram from this port is a question of ours that came back. */
  isOwnPort(port: number): boolean;
  readonly underWay: number;
}

export interface RecursorDeps {
  log: Logger;
  random: () => number;
  onOutcome?: (outcome: "answered" | "failed") => void;
}

export function createRecursor(settings: RecursorSettings, deps: RecursorDeps): Recursor {
  const { recursors, recursorTimeoutMs } = settings;
  const underWay = new Map<string, Promise<Buffer>>();
  const ownPorts = new Set<number>();
  const onPort = (port: number) => {
    ownPorts.add(port);
    return () => void ownPorts.delete(port);
  };

  const order = (): NameServer[] => {
    if (!settings.isRandom || recursors.length < 2) return recursors;
    const start = Math.floor(deps.random() * recursors.length);
    return [...recursors.slice(start), ...recursors.slice(0, start)];
  };

  const askAll = async (packet: Buffer, questionEnd: number, transport: "tcp" | "udp"): Promise<Buffer> => {
    let refusal: Buffer | undefined;
    for (const server of order()) {
      // An ID and a port of our own for each question: what an attacker has to guess to forge the answer.
      const query = Buffer.from(packet);
      query.writeUInt16BE(randomInt(0x10000), 0);
      try {
        const answer = await exchange({
          server,
          packet: query,
          questionEnd,
          transport,
          timeoutMs: recursorTimeoutMs,
          onPort,
        });
        const rcode = answer.readUInt16BE(2) & 15;
        if (rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN) return answer;
        refusal = answer;
      } catch (error) {
        deps.log.debug("a name server failed, trying the next", { server: server.host, error: describeError(error) });
      }
    }
    if (refusal) return refusal;
    throw new UnavailableError("no name server answered");
  };

  const ask = (packet: Buffer, questionEnd: number, transport: "tcp" | "udp"): Promise<Buffer> => {
    const key = `${transport}${packet.toString("latin1", 2)}`;
    const running = underWay.get(key);
    if (running) return running;
    if (underWay.size >= MAX_UNDER_WAY)
      return Promise.reject(new UnavailableError(`${MAX_UNDER_WAY} questions are under way already`));
    const asked = askAll(packet, questionEnd, transport)
      .then(
        (answer) => {
          deps.onOutcome?.("answered");
          return answer;
        },
        (error: unknown) => {
          deps.onOutcome?.("failed");
          throw error;
        },
      )
      .finally(() => underWay.delete(key));
    underWay.set(key, asked);
    return asked;
  };

  return {
    isEnabled: recursors.length > 0,
    get underWay() {
      return underWay.size;
    },
    isOwnPort: (port) => ownPorts.has(port),
    async forward(query, transport) {
      const answer = Buffer.from(await ask(query.packet, query.questionEnd, transport));
      answer.writeUInt16BE(query.id, 0);
      answer.writeUInt16BE(answer.readUInt16BE(2) | FLAG.RA, 2);
      // The client's own spelling: it may check that the question came back as it was sent.
      query.packet.copy(answer, HEADER_BYTES, HEADER_BYTES, query.questionEnd);
      return answer;
    },
    async lookup(host, type, maxTtl) {
      const name = toWireName(host);
      if (recursors.length === 0 || name === undefined) return [];
      const types = type === TYPE.ANY ? [TYPE.A, TYPE.AAAA] : [type];
      const lookups = types.map(async (t) => {
        const packet = buildQuery(name, t);
        const end = packet.length;
        let answer = await ask(packet, end, "udp");
        if (answer.readUInt16BE(2) & FLAG.TC) answer = await ask(packet, end, "tcp").catch(() => answer);
        return readRecords(answer, maxTtl);
      });
      const found = await Promise.allSettled(lookups);
      return withoutDoubles(found.flatMap((f) => (f.status === "fulfilled" ? f.value : [])));
    },
  };
}

function buildQuery(name: Buffer, type: number): Buffer {
  const packet = Buffer.alloc(HEADER_BYTES + name.length + 4);
  packet.writeUInt16BE(FLAG.RD, 2);
  packet.writeUInt16BE(1, 4);
  name.copy(packet, HEADER_BYTES);
  packet.writeUInt16BE(type, HEADER_BYTES + name.length);
  packet.writeUInt16BE(CLASS_IN, HEADER_BYTES + name.length + 2);
  return packet;
}

// Foreign answers are compressed in every way there is: the one place where a whole decoder is needed.
async function readRecords(answer: Buffer, maxTtl: number): Promise<Rr[]> {
  // A CommonJS module: the bundle gives it a default export alone.
  const { decode } = (await import("dns-packet")).default;
  const records: Rr[] = [];
  let answers: ReturnType<typeof decode>["answers"];
  try {
    answers = decode(answer).answers;
  } catch {
    return [];
  }
  for (const rr of answers ?? []) {
    if (records.length === MAX_RECORDS) break;
    const owner = toWireName(rr.name);
    if (owner === undefined || !("ttl" in rr)) continue;
    const ttl = Math.min(rr.ttl ?? 0, maxTtl);
    if (rr.type === "CNAME") {
      const target = toWireName(rr.data);
      if (target) records.push(nameRecord(owner, TYPE.CNAME, ttl, target));
    } else if (rr.type === "A" || rr.type === "AAAA") {
      const address = toAddressBytes(rr.data);
      if (address) records.push(addressRecord(owner, ttl, address));
    }
  }
  return records;
}

// Both families come by the same aliases, and each record is in an answer once (RFC 2181 §5).
function withoutDoubles(records: Rr[]): Rr[] {
  const key = ({ owner, body }: Rr) =>
    `${owner?.toString("hex")} ${typeOf({ owner, body })} ${body.toString("hex", 8)}`;
  const seen = new Set<string>();
  return records.filter((rr) => !seen.has(key(rr)) && seen.add(key(rr)));
}
